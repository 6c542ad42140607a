"""How long large studies take on 1 to 64 GPUs, simulated; and the simulation beside real runs.

    python benchmarks/scaling.py                # the tables of docs/scaling.md, in a minute
    python benchmarks/scaling.py --tflops 300   # for a slower GPU
    python benchmarks/scaling.py --figure FILE  # the curves as SVG, too
    python benchmarks/scaling.py --check        # runs with 1 and 2 workers on this machine
    python benchmarks/scaling.py --idle         # workers that sleep instead of working

Nothing in the tables is measured. Work is counted in FLOPs, from published configurations and a
stand-in for the items (two pictures of 512 x 512 and 64 tokens of text); a GPU is assumed to do a
fixed share of its peak, the same in training, scoring and looking; a disk, to give 1 GB a second.
The schedule is that of `transferscope.study.schedule`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import vl_convert as convert
import yaml
from PIL import Image

from transferscope.plots import theme as look
from transferscope.study import Study
from transferscope.study.cost_record import Device, Prices
from transferscope.study.file import parse_study, suite_of
from transferscope.study.items import Stock
from transferscope.study.plan import Plan, plan_study
from transferscope.study.sampling import sample
from transferscope.study.schedule import (
    Opening,
    Rates,
    Schedule,
    jobs_of,
    openings_of,
    simulate,
)
from transferscope.study.shapes import Shapes, parse_shapes
from transferscope.study.study_cost import Whole, priced
from transferscope.suites.blink import BLINK

PEAK = 989.0
"""TFLOP/s of an H100 SXM in bfloat16 without sparsity, by its data sheet."""
SHARE = 0.4
"""Assumed of it. Training the 7B's shapes reached 42 % on one H100 (two pictures of 448 x 448)."""
DISK = 1e9
"""Bytes a second."""
READING = 0.01
"""Seconds to read and decode an item."""
GPU = Device("an H100", True, 78 << 30)
GPUS = (1, 2, 4, 8, 16, 32, 64)
STUDY = Path(__file__).resolve().parent.parent / "studies" / "blink-qwen2.5-vl-7b.yaml"
WORDS = "word " * 40

LANGUAGE = {
    "3B": (2048, 36, 11008, 16, 2, 151936, True),
    "7B": (3584, 28, 18944, 28, 4, 152064, False),
    "32B": (5120, 64, 27648, 40, 8, 152064, False),
}
"""Of Qwen2.5-VL: width, layers, feed-forward units, heads, key-value heads, vocabulary, tied."""


def shapes(size: str) -> Shapes:
    """A published configuration's shapes."""
    width, layers, units, heads, shared, words, tied = LANGUAGE[size]
    tower = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3456 if size == "32B" else 3420,
        "num_heads": 16, "out_hidden_size": width, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "in_chans": 3, "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    config = {
        "model_type": "qwen2_5_vl", "hidden_size": width, "num_hidden_layers": layers,
        "intermediate_size": units, "num_attention_heads": heads, "num_key_value_heads": shared,
        "vocab_size": words, "tie_word_embeddings": tied, "vision_config": tower,
    }  # fmt: skip
    return parse_shapes(config, size)


class Case(NamedTuple):
    """A study to be scheduled."""

    study: Study
    plan: Plan
    prices: dict[str, Prices]

    def on(self, gpus: int, tflops: float) -> Schedule:
        """Its schedule."""
        rate = tflops * 1e12
        rates = {
            name: Rates(rate, rate, rate, its.weights_bytes / DISK)
            for name, its in self.prices.items()
        }
        jobs = jobs_of(self.plan, self.prices, rates)
        return simulate(jobs, openings_of(self.prices, rates), gpus)


class Cut(NamedTuple):
    """How a study is divided."""

    fleet: int
    """Adapters of a shard."""
    disk: float = 20.0
    """GB of vision features that each worker may keep."""

    def __str__(self) -> str:
        kept = ", features kept" if self.disk > 20 else ""
        return f"fleets of {self.fleet}{kept}"


def case(models: dict[str, str], tasks: dict[str, int], seeds: int, cut: Cut) -> Case:
    """The paper's recipe on so many tasks of a stand-in suite.

    Args:
        models: name to size.
        tasks: name to evaluation items.
    """
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "suite")
        _write_suite(suite, tasks)
        data = yaml.safe_load(STUDY.read_text())
        data |= {"models": models, "suite": str(suite), "seeds": seeds, "name": "scaling"}
        data["budget"] = cut._asdict()
        study = parse_study(json.dumps(data), "the study")
        stock = Stock(suite_of(study), study.evaluation.prompt)
        plan = plan_study(study, stock)
        sampled = sample(plan, stock)._replace(seconds=READING)
        whole = Whole(study, plan, stock, sampled)
        prices = {name: priced(whole, name, shapes(size), GPU) for name, size in models.items()}
    return Case(study, plan, prices)


def _write_suite(folder: Path, tasks: dict[str, int]) -> None:
    """Items that have the size of BLINK's on average: 1,000 to train on, and those to ask."""
    picture = Image.fromarray(np.zeros((512, 512, 3), np.uint8))
    for name, asked in tasks.items():
        (folder / name).mkdir(parents=True)
        picture.save(folder / name / "1.png")
        for split, count in (("train", 1000), ("eval", asked)):
            item = {"images": ["1.png", "1.png"], "question": WORDS, "answer": "A"}
            item["choices"] = ["this", "that"]
            lines = [json.dumps({"id": f"{split}-{k}"} | item) for k in range(count)]
            (folder / name / f"{split}.jsonl").write_text("\n".join(lines))
    heading = {"name": "stand-in", "tasks": [{"name": name} for name in tasks]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(heading))


def curve(title: str, cases: dict[str, Case], tflops: float) -> list[Any]:
    """A Markdown table: each case's hours, times faster, and share of the GPUs' time at work.

    Returns:
        The same as records.
    """
    print(f"\n{title}\n")
    heads = [f"{what}, {name}" for name in cases for what in ("hours", "faster", "busy")]
    print(f"| GPUs | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    alone, points = {name: its.on(1, tflops).makespan for name, its in cases.items()}, []
    for gpus in GPUS:
        cells = [str(gpus)]
        for name, its in cases.items():
            found = its.on(gpus, tflops)
            hours, faster = found.makespan / 3600, alone[name] / found.makespan
            cells += [f"{hours:,.1f}", f"{faster:.1f}", f"{found.utilisation:.0%}"]
            points.append({"GPUs": gpus, "times faster": faster, "how": name})
        print(f"| {' | '.join(cells)} |", flush=True)
    return points


def figure(panels: dict[str, list[Any]]) -> str:
    """The curves beside the diagonal that nobody can beat, as SVG."""
    drawn = []
    for title, points in panels.items():
        hows = list(dict.fromkeys(one["how"] for one in points))
        scale = alt.Scale(type="log", base=2, domain=(1, 64))
        x = alt.X("GPUs:Q", scale=scale, axis=alt.Axis(values=list(GPUS)))
        y = alt.Y("times faster:Q", scale=scale, axis=alt.Axis(values=list(GPUS)))
        colours = alt.Scale(
            domain=hows, range=[look.NEGATIVE, look.POSITIVE, look.INK][: len(hows)]
        )
        legend = alt.Legend(title=None, orient="top-left", labelLimit=260, symbolType="stroke")
        color = alt.Color("how:N", scale=colours, legend=legend)
        lines = alt.Chart(alt.InlineData(points)).encode(x, y, color)
        ends = alt.InlineData([{"GPUs": n, "times faster": n} for n in (1, 64)])
        ideal = alt.Chart(ends).mark_line(color=look.RULE).encode(x, y)
        both = lines.mark_line() + lines.mark_point(filled=True, size=30, opacity=1)
        drawn.append((ideal + both).properties(title=title, width=300, height=300))
    whole = alt.hconcat(*drawn).resolve_scale(color="independent")
    return convert.vegalite_to_svg(whole.configure(**look.CONFIG).to_dict())


def shares(title: str, its: Case, tflops: float) -> None:
    """A Markdown table: what one shard of each model takes, and what taking up its base does."""
    print(f"\n{title}\n")
    print("| model | shards | longest shard | load the base | look at the questions | GPU-hours |")
    print("|---|---|---|---|---|---|")
    for name, own in its.prices.items():
        rate = tflops * 1e12
        rates = {name: Rates(rate, rate, rate, own.weights_bytes / DISK)}
        jobs, opening = jobs_of(its.plan, {name: own}, rates), openings_of({name: own}, rates)
        found = simulate(jobs, opening, 1)
        longest = max(job.seconds for job in jobs) / 60
        load, looking = opening[name].seconds / 60, opening[name].questions / 60
        cells = (f"{longest:.1f} min", f"{load:.1f} min", f"{looking:.1f} min")
        print(f"| {name} | {len(jobs)} | {' | '.join(cells)} | {found.makespan / 3600:.1f} |")


def simulated(tflops: float, svg: Path | None) -> None:
    """The tables of docs/scaling.md, and its figure."""
    paper = {"3B": "3B", "7B": "7B", "32B": "32B"}
    blink = {task.name: task.items or 0 for task in BLINK}
    cuts = [Cut(8), Cut(1), Cut(1, 250.0)]
    cases = {str(cut): case(paper, blink, 4, cut) for cut in cuts}
    print(f"at {tflops:.0f} TFLOP/s a GPU")
    sizes = f"the paper's study: {len(paper)} bases, {len(blink)} tasks, 4 seeds"
    first = curve(sizes, cases, tflops)
    shares(f"{sizes}; fleets of 1", cases["fleets of 1"], tflops)
    many = {"3B": "3B", "3B again": "3B", "7B": "7B", "7B again": "7B", "32B": "32B"}
    tasks = {f"task-{k}": 135 for k in range(100)}
    large = {str(cut): case(many, tasks, 10, cut) for cut in (Cut(8), Cut(8, 2000.0))}
    title = "100 tasks, 10 seeds, 5 bases"
    second = curve(title, large, tflops)
    shares(f"{title}; fleets of 8", large["fleets of 8"], tflops)
    if svg is not None:
        shown = [one for one in first if "kept" not in one["how"]]
        whole = [one for one in second if "kept" not in one["how"]]
        panels = {"3 bases, 13 tasks, 4 seeds": shown, "5 bases, 100 tasks, 10 seeds": whole}
        svg.write_text(figure(panels))


# The check: what the plan says beside what a run takes


CHECKED = """\
name: check
models: {s: glimpse-s}
suite: glimpse
sources: [Counting, Relative_Depth, Jigsaw, Spatial_Relation]
targets: [Counting, Relative_Depth, Jigsaw, Spatial_Relation]
seeds: 2
recipe: {items: 192, epochs: 3}
evaluation: {items: 100}
budget: {fleet: 1}
"""


def check() -> None:
    """Each number of workers: seconds by the plan, and by the log of a run."""
    print("| workers | plan, s | run, s | run / plan | busy by the plan |\n|---|---|---|---|---|")
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "check.yaml").write_text(CHECKED)
            told = json.loads(_command(folder, "plan", "--workers", str(workers), "--json"))
            planned = told["schedule"]
            _command(folder, "run", "--executor", "ray", "--workers", str(workers),
                     "--no-figures", "--no-pictures", "--out", "out")  # fmt: skip
            lines = Path(folder, "out", "run.jsonl").read_text().splitlines()
        seconds = _seconds([json.loads(line) for line in lines])
        expected = planned["makespan_seconds"]
        busy = f"{planned['utilisation']:.0%}"
        print(f"| {workers} | {expected:.0f} | {seconds:.0f} | {seconds / expected:.2f} | {busy} |")


LOAD, TRAIN, SCORE = 4.0, 5.0, 2.0
"""Seconds that an idle worker sleeps: for a base, for each adapter trained, for each scored."""


def idle() -> None:
    """The order of work alone: seconds by the simulation, and by Ray's workers, who sleep.

    Does not depend on how fast or how busy this machine is. Needs the tests' lab that trains
    nothing.
    """
    import logging

    import ray

    sys.path.insert(0, str(STUDY.parent.parent / "tests"))
    fake_engine: Any = import_module("fake_engine")
    cloudpickle: Any = import_module("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(fake_engine)

    class Sleeper(fake_engine.FakeEngine):
        """A lab whose work takes a known time."""

        def load_base(self, *given: Any, **how: Any) -> Any:
            time.sleep(LOAD)
            return super().load_base(*given, **how)

        def train_fleet(self, base: Any, jobs: Any, *given: Any, **how: Any) -> Any:
            time.sleep(TRAIN * len(jobs))
            return super().train_fleet(base, jobs, *given, **how)

        def score_fleet(self, base: Any, adapters: Any, *given: Any, **how: Any) -> Any:
            time.sleep(SCORE * len(adapters))
            return super().score_fleet(base, adapters, *given, **how)

    ray.init("local", num_cpus=4, object_store_memory=100 << 20, include_dashboard=False,
             log_to_driver=False, logging_level=logging.ERROR)  # fmt: skip
    print("| workers | simulation, s | run, s | run / simulation |\n|---|---|---|---|")
    for workers in (1, 2, 3):
        work = [TrainingJob(name, SCORE if base else 2 * (TRAIN + SCORE))
                for name in "ab" for base in (True, False, False, False)]  # fmt: skip
        expected = simulate(work, dict.fromkeys("ab", Opening(LOAD)), workers).makespan
        seconds = _slept(workers, Sleeper().load)
        print(f"| {workers} | {expected:.1f} | {seconds:.1f} | {seconds / expected:.2f} |")


def _slept(workers: int, load: Any) -> float:
    """Seconds from the first shard's begin to the last one's end."""
    from transferscope.execution.ray import carry_out
    from transferscope.execution.runner import run_study

    with tempfile.TemporaryDirectory() as folder:
        for name in "ab":
            Path(folder, name).mkdir()
            Path(folder, name, "weights").write_text(name)
        data = yaml.safe_load(CHECKED) | {"models": {name: f"{folder}/{name}" for name in "ab"}}
        data |= {"sources": data["sources"][:3], "budget": {"fleet": 2}}
        data |= {"recipe": {"items": 6}, "evaluation": {"items": 4}}
        study = parse_study(json.dumps(data), "the study")
        work = partial(carry_out, workers=workers, load=load)
        run_study(study, Path(folder, "out"), tell=lambda event: None, executor=work)
        lines = Path(folder, "out", "run.jsonl").read_text().splitlines()
    events = [one for line in lines if (one := json.loads(line))["event"] in ("start", "finished")]
    return _seconds(events)


def _command(folder: str, name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "transferscope", name, "check.yaml", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = re.sub(r"\s+", " ", done.stderr)[-300:]
        raise SystemExit(f"{' '.join(command[2:5])}: {said}")
    return done.stdout


def _seconds(lines: list[dict[str, Any]]) -> float:
    """From the first word of a run's log to the last."""
    times = [datetime.fromisoformat(one["time"]) for one in lines if "time" in one]
    return (max(times) - min(times)).total_seconds()


def main(arguments: list[str] | None = None) -> None:
    """Parse and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tflops", type=float, default=SHARE * PEAK, help="of a GPU")
    parser.add_argument("--figure", type=Path, help="write the curves there, as SVG")
    parser.add_argument("--check", action="store_true", help="real runs instead, beside the plan")
    parser.add_argument("--idle", action="store_true", help="workers that sleep instead")
    options = parser.parse_args(arguments)
    if options.check:
        check()
    elif options.idle:
        idle()
    else:
        simulated(options.tflops, options.figure)


if __name__ == "__main__":
    main()
