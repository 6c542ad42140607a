"""Copies of BLINK and VSI-Bench as they are published, a few items each: what tests read.

Parquet with images as structs of bytes and path, one folder for each BLINK configuration; JSON
lines and small videos for VSI-Bench; and training folders as `transferscope build` leaves them.
"""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

CELL = pl.Struct({"bytes": pl.Binary, "path": pl.String})
SCHEMA = {
    "idx": pl.String,
    "question": pl.String,
    "sub_task": pl.String,
    **{f"image_{k}": CELL for k in range(1, 5)},
    "choices": pl.List(pl.String),
    "answer": pl.String,
    "prompt": pl.String,
    "explanation": pl.String,
}
"""Columns of the hub's files, in their order."""

JIGSAW = (
    "Given the first image with the lower right corner missing, can you tell which one of the "
    "second image or the third image is the missing part? Imagine which image would be more "
    "appropriate to place in the missing spot. You can also carefully observe and compare the edges"
    " of the images.\nSelect from the following choices.\n\n(A) the second image\n(B) the third "
    "image\n"
)
DEPTH = (
    "Two points are circled on the image, labeled by A and B beside each circle. Which point is "
    "closer to the camera?\nSelect from the following choices.\n(A) A is closer\n(B) B is closer"
)
REFLECTANCE = (
    "Two points are annotated on the image, labeled by A and B. Consider the surface color of the "
    "points (the albedo of the surface, without the effect of shading). Which point has darker "
    "surface color, or the colors is about the same? Select from the following choices.\n"
    "(A) A is darker\n(B) B is darker\n(C) About the same"
)
TASKS = {
    "Jigsaw": (3, "Which image is the missing part?", JIGSAW, 2),
    "Relative_Depth": (1, "Which point is closer to the camera?", DEPTH, 2),
    "Relative_Reflectance": (1, "Which point has darker surface color?", REFLECTANCE, 3),
}
"""Images, question, prompt and number of choices of three configurations."""
CHOICES = {
    "Jigsaw": ["the second image", "the third image"],
    "Relative_Depth": ["A is closer", "B is closer"],
    "Relative_Reflectance": ["A is darker", "B is darker", "About the same"],
}


def noise(seed: object, size: tuple[int, int] = (56, 56)) -> Image.Image:
    """A picture of its own for every seed; size is (width, height)."""
    draw = np.random.default_rng(list(repr(seed).encode()))
    return Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """A picture's file."""
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def blink_row(task: str, number: int, split: str = "val", **changes: object) -> dict[str, object]:
    """A row as the hub has it."""
    images, question, prompt, choices = TASKS[task]
    row = {
        "idx": f"{split}_{task}_{number}",
        "question": question,
        "sub_task": task.replace("_", " "),
        "choices": CHOICES[task],
        "answer": "hidden" if split == "test" else f"({'ABCD'[number % choices]})",
        "prompt": prompt,
        "explanation": "",
    }
    for k in range(1, 5):
        data = encoded(noise((task, split, number, k)))
        row[f"image_{k}"] = {"bytes": data, "path": f"{k}.jpg"} if k <= images else None
    return {**row, **changes}


def write_blink(
    folder: Path, task: str, rows: list[dict[str, object]], split: str = "val", **schema: object
) -> Path:
    """A configuration's file; `schema` replaces columns' types, None leaves a column out."""
    types = {name: kind for name, kind in {**SCHEMA, **schema}.items() if kind is not None}
    path = folder / task / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [{name: row[name] for name in types} for row in rows]
    pl.DataFrame(kept, schema=types).write_parquet(path)
    return path


def blink(folder: Path, items: int = 4, tasks: tuple[str, ...] = tuple(TASKS)) -> Path:
    """A snapshot of some configurations."""
    for task in tasks:
        write_blink(folder, task, [blink_row(task, n) for n in range(1, items + 1)])
    return folder


def training(folder: Path, items: int = 4, tasks: tuple[str, ...] = tuple(TASKS)) -> Path:
    """A folder of training items, TASK/train.jsonl and images."""
    for task in tasks:
        (folder / task / "images").mkdir(parents=True, exist_ok=True)
        count, question, prompt, choices = TASKS[task]
        lines = []
        for number in range(items):
            names = [f"images/{number}-{k}.png" for k in range(count)]
            for name in names:
                noise(("train", task, name)).save(folder / task / name)
            row = {"id": f"{task}-{number}", "images": names, "question": question}
            row |= {"choices": CHOICES[task], "answer": "ABC"[number % choices], "prompt": prompt}
            lines.append(json.dumps(row))
        (folder / task / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def vsi_row(number: int, kind: str, **changes: object) -> dict[str, object]:
    """A row of test.jsonl."""
    row: dict[str, object] = {
        "id": number,
        "dataset": "arkitscenes",
        "scene_name": "41069025",
        "question_type": kind,
        "question": "How many table(s) are in this room?",
        "ground_truth": "4",
        "options": None,
        "pruned": False,
    }
    if kind == "object_rel_distance":
        row |= {
            "question": "Which of these objects is the closest to the whiteboard?",
            "ground_truth": "C",
            "options": ["A. power strip", "B. computer tower", "C. chair", "D. table"],
        }
    return {**row, **changes}


def write_video(path: Path, frames: int = 12, size: tuple[int, int] = (64, 48)) -> Path:
    """A video whose frame k is a grey of about 20 * k; without PyAV its test is skipped."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k in range(frames):
            grey = np.full((size[1], size[0], 3), 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def vsi(folder: Path, rows: list[dict[str, object]]) -> Path:
    """A snapshot with a video for every scene that the rows name."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "test.jsonl").write_text(lines + "\n", encoding="utf-8")
    for dataset, scene in {(row["dataset"], row["scene_name"]) for row in rows}:
        write_video(folder / str(dataset) / f"{scene}.mp4")
    return folder
