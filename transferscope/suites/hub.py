"""Data sets from the Hugging Face hub, as folders on this machine."""

from collections.abc import Sequence
from pathlib import Path

from transferscope.errors import MissingExtra, StudyError


def snapshot(repository: str, patterns: Sequence[str], revision: str | None) -> Path:
    """The folder of a data set's snapshot, in which the files of these patterns are.

    Args:
        revision: a branch, tag or commit; None is the newest. The folder's name is the commit.

    Raises:
        StudyError: the hub cannot be reached, or does not have it.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise MissingExtra(
            "fetching from the hub needs huggingface_hub, which the extra brings: "
            "pip install 'transferscope[train]'; or give a local copy as path"
        ) from None
    try:
        found = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StudyError(
            f"{repository}{f' at {revision}' if revision else ''}: not to be had from the hub: "
            f"{line}; or give a local copy as path"
        ) from None
    return Path(found)


def cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a snapshot that was fetched before; None where there is none. Asks no hub."""
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        return None
    try:
        found = snapshot_download(
            repository, repo_type="dataset", revision=revision, local_files_only=True
        )
    except (OSError, ValueError):  # what the hub's own errors are
        return None
    return Path(found)
