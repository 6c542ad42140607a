"""What trains and scores, imported when a study is run.

Upon it: `bases` (loaded, and checked against what is brought from elsewhere), `ceiling`, `meter`
and `calibration` (how fast the machine can be, and was), `ledger` (the accounts of a run) and
`bench` (where a shard is worked on).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from transferscope.errors import MissingExtra


class Lab(NamedTuple):
    """What trains and scores."""

    load_base: Callable[..., Any]
    Budget: Callable[..., Any]
    Job: Callable[..., Any]
    check_training: Callable[..., str]
    train_fleet: Callable[..., list[Any]]
    save_adapter: Callable[..., Any]
    load_adapter: Callable[..., Any]
    check_tuned: Callable[..., Any]
    load_tuned: Callable[..., Any]
    score_fleet: Callable[..., list[list[Any]]]


def load_lab() -> Lab:
    """The lab's functions.

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
    """
    try:
        import torch  # noqa: F401 - before transformers, which warns where it is missing
        from transformers.utils import logging

        from transferscope.engine.adapter import load_adapter, save_adapter
        from transferscope.engine.external_adapter import check_tuned, load_tuned
        from transferscope.engine.score import score_fleet
        from transferscope.engine.train import Job, check_training, train_fleet
        from transferscope.engine.vision import Budget
        from transferscope.engine.vlm import load_base
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("transferscope"):
            raise
        raise MissingExtra(
            f"training needs {error.name}; install the extra: pip install 'transferscope[train]'"
        ) from None
    logging.set_verbosity_error()  # its bars and remarks would tear ours apart
    logging.disable_progress_bar()
    return Lab(
        load_base,
        Budget,
        Job,
        check_training,
        train_fleet,
        save_adapter,
        load_adapter,
        check_tuned,
        load_tuned,
        score_fleet,
    )
