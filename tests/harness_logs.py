"""Files as the evaluation harnesses write them, for tests. Replies and answers are letters."""

import csv
import json
import zipfile
from pathlib import Path

from transferscope.readers.harness.merging import RunPath
from transferscope.readers.harness.runs import RunLog, read_run

TASK = "Multi-view_Reasoning"
OPTIONS = ("left", "right")
PROMPT = (
    "Note: You only need to respond with A, B without providing any additional information.\n"
    "Is the camera moving left or right when shooting the video? Select from the following "
    "options.\n(A) left\n(B) right"
)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(path: Path, rows) -> Path:
    return put(path, "".join(json.dumps(row) + "\n" for row in rows))


def first_letter(reply: str) -> str:
    """What lmms-eval's BLINK parser takes: the first letter, after brackets and blanks."""
    bare = reply.lstrip("( \t\n")
    return bare[:1].upper() if bare[:1].isascii() and bare[:1].isalpha() else ""


def lmms_blink(folder: Path, replies, gold, *, task=TASK, name=None, **more) -> Path:
    """lmms-eval's samples of one BLINK task; `more` is put into every line."""
    rows = []
    for n, (reply, right) in enumerate(zip(replies, gold, strict=True)):
        read = first_letter(reply)
        scored = {
            "id": f"val_{task}_{n + 1}",
            "gt_content": right,
            "pred_parsed": read,
            "pred": reply,
            "sub_task": task.replace("_", " "),
            "is_correct": read == right,
        }
        rows.append(
            {
                "doc_id": n,
                "target": f"({right})",
                "filtered_resps": reply,
                "doc_hash": "0" * 8,
                "input": PROMPT,
                "token_counts": None,
                "blink_acc": scored,
                **more,
            }
        )
    low = "blink_" + task.lower().replace("-", "_")
    return lines(folder / (name or f"20260101_120000_samples_{low}.jsonl"), rows)


def lmms_results(folder: Path, accuracies, *, items=100, limit=None, version="0.0", **more) -> Path:
    """lmms-eval's results file: accuracies by task, and the group's own mean."""
    tasks = {f"blink_{task.lower().replace('-', '_')}": value for task, value in accuracies.items()}
    results = {
        task: {"alias": task, "blink_acc,none": value, "blink_acc_stderr,none": 0.04}
        for task, value in tasks.items()
    }
    whole = sum(tasks.values()) / len(tasks)
    value = {
        "results": {**results, "blink": {"alias": "blink", "blink_acc,none": whole}},
        "groups": {"blink": {"blink_acc,none": whole}},
        "group_subtasks": {"blink": list(tasks), **{task: [] for task in tasks}},
        "configs": {},
        "versions": dict.fromkeys(tasks, version),
        "n-shot": dict.fromkeys(tasks, 0),
        "n-samples": {task: {"original": items, "effective": items} for task in tasks},
        "config": {"model": "qwen2_5_vl", "limit": limit},
        **more,
    }
    return put(folder / "20260101_120000_results.json", json.dumps(value, indent=2))


VLM_COLUMNS = ("index", "question", "A", "B", "answer", "category", "prediction")


def vlmevalkit(folder: Path, replies, gold, *, name="m_BLINK.tsv", hits=None, category=TASK):
    """VLMEvalKit's table, before scoring or (with `hits`) after it; every field is quoted."""
    rows = [
        dict(zip(VLM_COLUMNS, (n, "Which way?", *OPTIONS, right, category, reply), strict=True))
        for n, (reply, right) in enumerate(zip(replies, gold, strict=True))
    ]
    if hits is not None:
        rows = [row | {"hit": hit, "log": "."} for row, hit in zip(rows, hits, strict=True)]
    path = folder / name
    if name.endswith(".json"):
        return put(path, json.dumps(rows, indent=4))
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        comma = "\t" if name.endswith(".tsv") else ","
        writer = csv.DictWriter(file, list(rows[0]), delimiter=comma, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return path


def blink_outputs(folder: Path, replies, gold, *, task=TASK, name=None, test=()) -> Path:
    """The per-task outputs of BLINK's own evaluation; its rule wants `(A)` to stand alone."""
    rows = []
    for n, (reply, right) in enumerate(zip(replies, gold, strict=True), 1):
        found = set(reply.split()) & {"(A)", "(B)", "(C)", "(D)"}
        rows.append(
            {
                "idx": f"val_{task}_{n}",
                "answer": f"({right})",
                "full_prediction": reply,
                "prediction": found.pop() if len(found) == 1 else "(Z) Failed",
            }
        )
    hidden = [
        {"idx": f"test_{task}_{n}", "answer": "hidden", "full_prediction": r, "prediction": r}
        for n, r in enumerate(test, 1)
    ]
    name = name or f"{task.replace('_', ' ')}.json"
    return put(folder / name, json.dumps({"val": rows, "test": hidden}))


def read_one(path: Path) -> RunLog:
    """A file or a folder as one run."""
    return read_run([RunPath(path, "run")])


def mapping(folder: Path, *runs: str, head: str = "model: m\n") -> Path:
    """A mapping file with these runs, each the inside of `{...}`."""
    return put(folder / "mapping.yaml", head + "runs:\n" + "".join(f"  - {{{r}}}\n" for r in runs))


def two_runs(folder: Path, **more: str) -> Path:
    """A mapping of `base/` and one finetune, `tuned/`."""
    return mapping(folder, "path: base/", "path: tuned/, source: Jigsaw", **more)


def xlsx(path: Path, sheets: dict[str, list[tuple]]) -> Path:
    """A workbook with these sheets, as plainly as the format allows."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    numbered = list(enumerate(sheets, 1))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{kind}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{kind}"><sheets>'
        + "".join(f'<sheet name="{s}" sheetId="{n}" r:id="r{n}"/>' for n, s in numbered)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{n}" Type="{kind}/worksheet" Target="worksheets/s{n}.xml"/>'
            for n, _ in numbered
        )
        + "</Relationships>",
    }
    for n, rows in enumerate(sheets.values(), 1):
        cells = "".join("<row>" + "".join(_cell(value) for value in row) + "</row>" for row in rows)
        parts[f"xl/worksheets/s{n}.xml"] = (
            f"<worksheet {main}><sheetData>{cells}</sheetData></worksheet>"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def _cell(value) -> str:
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'
