"""An engine that trains nothing: answers are a hash of everything that should determine them.

An "adapter" is a hash over its training set, seeds, recipe and the adapters it was trained with,
so a study that resumes with other groups ends with other answers. Run as a script it carries out a
study and kills itself (SIGKILL) after a number of steps.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from transferscope.engine.loss_curve import LossCurve
from transferscope.engine.records import Prediction, TrainingJob
from transferscope.errors import DataError
from transferscope.execution import runner
from transferscope.study.file import read_study


class Made(str):
    """An adapter, and how it was trained."""

    curve = LossCurve((1.0, 0.5), (1.0, 1.0))
    snapshots: "dict[int, Made]" = {}  # noqa: RUF012


class FakeEngine:
    """Notes what it is asked to do; `fail` holds sources whose training fails, `diverge` those
    whose adapters come out as no numbers, `idle` those whose adapters answer as the base does. Two
    adapters at a time are trained together."""

    def __init__(self):
        self.trained: list[tuple[str, int]] = []
        self.scored: list[tuple[str, str]] = []
        self.loaded: list[Path] = []
        self.jobs: list[TrainingJob] = []
        self.fail: set[str] = set()
        self.diverge: set[str] = set()
        self.idle: set[str] = set()

    def step(self):
        """One step of work; the script dies in some."""

    def load(self):
        """As `load_engine`."""
        return self

    def check_training(self, base, recipe):
        return ""

    def check_checkpoint(self, base, folder):
        pass

    def load_base(
        self, where, *, name, precision, quantization, gpus, trust_remote_code, max_pixels,
        cache_limits, thinking,
    ):  # fmt: skip
        return SimpleNamespace(name=name, weights_hash=digest(Path(where, "weights").read_text()))

    def train_fleet(self, base, jobs, recipe, *, rows, progress, snapshots):
        if self.fail & {job.source for job in jobs}:
            raise RuntimeError("out of memory\nand more")
        own = [
            digest(
                [item.id for item in job.items], job.answers, job[3:6], recipe, base.weights_hash
            )
            for job in jobs
        ]
        self.jobs += jobs
        for start in range(0, len(jobs), 2):
            group = {}
            for index, job in list(enumerate(jobs))[start : start + 2]:
                self.step()
                progress(index + 1, len(jobs))
                self.trained.append((job.source, job.seed))
                content = digest(own[index], own[start : start + 2])
                content = base.weights_hash if job.source in self.idle else content
                group[index] = self.made(content, job, snapshots)
            yield group

    def made(self, content, job, snapshots=()):
        """An adapter, which failed where its source diverges."""
        one = Made(content)
        one.snapshots = {step: Made(digest(content, step)) for step in snapshots}
        if job.source in self.diverge:
            one.curve = LossCurve((1.0, float("nan")), (1.0, 1.0), "diverged: made up")
        return one

    def scaled(self, adapter, strength):
        return digest(adapter, strength)

    def save_adapter(self, adapter, folder):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        self.step()
        (folder / "adapter_model.safetensors").write_text(adapter)

    def load_adapter(self, base, folder):
        self.loaded.append(folder)
        text = (Path(folder) / "adapter_model.safetensors").read_text()
        if text.startswith("wrong"):
            raise DataError(f"{folder}: of another base")
        return text

    def load_checkpoint(self, base, folder):
        self.loaded.append(folder)
        weights = (Path(folder) / "model.safetensors").read_text()
        if weights.startswith("damaged"):
            raise DataError(f"{folder}: cannot be loaded as a vision-language model: incomplete")
        return SimpleNamespace(name=base.name, weights_hash=digest(weights))

    def score_fleet(self, base, adapters, items, *, scoring, reply_tokens, batch_size, progress):
        answers = []
        for number, adapter in enumerate(adapters, 1):
            self.step()
            progress(number * len(items), len(adapters) * len(items))
            self.scored += [(adapter or "base", item.task) for item in items]
            answers.append([answer(adapter or base.weights_hash, item, scoring) for item in items])
        return answers


def digest(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def answer(adapter, item, scoring):
    number = int(digest(adapter, item.id, scoring)[:8], 16)
    if item.truth is not None:
        return Prediction(None, (), float("nan"), None if number % 5 == 0 else number % 11 / 10)
    if scoring == "generate" and number % 5 == 0:
        return Prediction(None, (), float("nan"))
    choice = number % len(item.choices)
    least = number / 2**32  # no two adapters have the same log-probabilities
    return Prediction(choice, tuple(-(k != choice) - least for k in range(len(item.choices))), 1.0)


def main(study, out, steps, engine="fake"):
    """Carry out a study, and die at the given step of work or of moving a file.

    With the `real` engine only files are counted.
    """
    fake, left = FakeEngine(), int(steps)
    replace = os.replace

    def step():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def replaced(*paths):
        step()
        replace(*paths)

    fake.step, os.replace = step, replaced
    if engine == "fake":
        runner.load_engine = fake.load
    runner.run_study(read_study(study), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
