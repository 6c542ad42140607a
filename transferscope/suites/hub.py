"""Data sets from the Hugging Face Hub, and the base class of benchmarks published there."""

import re
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferscope.errors import MissingExtra, StudyError
from transferscope.suites.folder import read_items
from transferscope.suites.snapshot import Files, names_in
from transferscope.tasks import Item, ItemList, Split, Suite


@dataclass(eq=False)
class HubSuite(Suite):
    """A benchmark that the Hub has for evaluation; its training items are a folder's."""

    path: Path | None = None
    """A local snapshot; null downloads what is needed from the Hub."""

    revision: str | None = None
    """A branch, tag or commit on the Hub; null for the newest."""

    training: Path | None = None
    """A folder with TASK/train.jsonl, as `transferscope build` makes it."""

    def __post_init__(self) -> None:
        for option, folder, remedy in (
            ("path", self.path, f"must be a snapshot of {self.hub or 'the data set'}"),
            ("training", self.training, "`transferscope build` makes one, task by task"),
        ):
            if folder is not None and not folder.is_dir():
                raise StudyError(f"suite.{option}: {folder}: no such folder; {remedy}")

    @property
    def version(self) -> str:
        """The Hub's revision, or that it is a local copy."""
        return "local" if self.path else self.revision or "newest"

    @abstractmethod
    def evaluation_items(self, task: str) -> list[Item]:
        """All items of a task that the benchmark evaluates."""

    def items(self, task: str, split: Split) -> Sequence[Item]:
        """All items of a task: the benchmark's for evaluation, the training folder's for training.

        Raises:
            StudyError: there is no such task or split, no training folder, or no Hub.
            DataError: a file is missing or damaged, or a row is not what it must be.
            MissingExtra: a library that reads the items is not installed.
        """
        names = [each.name for each in self.tasks]
        task = self.check(task, split, [*names, *self.sources] if split == "train" else names)
        if split == "eval":
            return ItemList(self.evaluation_items(task), task, split)
        built = next((each.twin for each in self.tasks if each.name == task), None) or task
        builds = f"`transferscope build {built}` writes them" if built in self.sources else ""
        remedy = builds or "write them yourself"
        if self.training is None:
            raise StudyError(
                f"{self.name} has no training items; {remedy} into a folder, "
                "which the study names as suite.training"
            )
        path = self.training / task / "train.jsonl"
        if not path.is_file():
            raise StudyError(f"{path}: not found, so {task} has no training items; {remedy}")
        return ItemList(read_items(path, task, self.training), task, split)

    def snapshot(self, patterns: Sequence[str]) -> Path:
        """The local copy, or the Hub's snapshot with the files of these patterns.

        Raises:
            StudyError: the Hub cannot be reached, or does not have it.
            MissingExtra: huggingface_hub is not installed.
        """
        if self.path is not None:
            return self.path
        with self._hub() as hub:
            found = hub.snapshot_download(
                self.hub,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=list(patterns),
            )
        folder = Path(found)
        if re.fullmatch(r"[0-9a-f]{40}", folder.name):  # all files from one commit
            self.revision = folder.name
        return folder

    def files(self) -> Files:
        """The files of the local copy, or those that the Hub lists, downloaded when needed.

        Raises:
            StudyError: the Hub cannot be reached, or does not have it.
            MissingExtra: huggingface_hub is not installed.
        """
        folder, title = self.path, self.hub or f"{self.path}"
        if folder is None:
            assert self.hub, "a suite has a copy or the name of a data set"
            try:
                with self._hub() as hub:
                    info = hub.HfApi().dataset_info(self.hub, revision=self.revision)
                self.revision = info.sha
                return Files(title, [each.rfilename for each in info.siblings], self.snapshot)
            except StudyError:
                if (folder := cached(self.hub, self.revision)) is None:
                    raise
        return Files(title, names_in(folder), lambda patterns: folder)

    @contextmanager
    def _hub(self) -> Generator[Any]:
        """The Hub's client, whose errors become one line."""
        try:
            import huggingface_hub
            from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        except ModuleNotFoundError:
            raise MissingExtra(
                "downloading from the Hub needs huggingface_hub; install the extra: "
                "pip install 'transferscope[train]'; or give a local copy as path"
            ) from None
        try:
            yield huggingface_hub
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            at = f" at {self.revision}" if self.revision else ""
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(
                f"{self.hub}{at}: could not be downloaded from the Hub: {line}; or give a local "
                "copy as path"
            ) from None


def cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a snapshot downloaded before; None if it is missing. Contacts no server."""
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, local_files_only=True
            )
        )
    except (ModuleNotFoundError, OSError, ValueError):  # the Hub's errors are of these classes
        return None
