"""Results of other evaluation harnesses: one module for each, listed in `HARNESSES`.

To add a harness, write a module with `NAME`, `recognize` and `read` (see `Harness`), list it in
`HARNESSES`, and test it on a real file. What the modules share:

    foreign_files  opens a file
    raw            single values out of it
    terms          names of tasks and options, made alike
    samples        the records that `read` returns
    metrics        decides which of a harness's numbers is a score
    runs, merging  all files of one run together
    judging        a logged reply -> choice, right or wrong, who read it
    mapping        the YAML file that names the runs
    evaluations    the runs of a mapping -> rows of the predictions table
"""

from typing import Protocol

from transferscope.readers.harness import (
    blink_files,
    evalscope,
    every_eval_ever,
    helm,
    inspect_ai,
    lm_eval,
    lmms_eval,
    opencompass,
    vlmevalkit,
)
from transferscope.readers.harness.foreign_files import ForeignFile
from transferscope.readers.harness.samples import HarnessLog, Options


class Harness(Protocol):
    """A module that reads the files of one harness."""

    @property
    def NAME(self) -> str:
        """As messages and the record of inputs name it."""
        ...

    def recognize(self, file: ForeignFile, /) -> bool:
        """Whether this harness wrote the file, by its content alone."""
        ...

    def read(self, file: ForeignFile, options: Options, /) -> HarnessLog:
        """The file's samples, or its averages; `ForeignFile.refuse` names what must be there."""
        ...


HARNESSES: dict[str, Harness] = {
    lm_eval.NAME: lm_eval,
    lmms_eval.NAME: lmms_eval,
    vlmevalkit.NAME: vlmevalkit,
    inspect_ai.NAME: inspect_ai,
    evalscope.NAME: evalscope,
    helm.NAME: helm,
    every_eval_ever.NAME: every_eval_ever,
    opencompass.NAME: opencompass,
    blink_files.NAME: blink_files,
}
"""The known harnesses; the first that recognizes a file reads it."""


def harness_of(file: ForeignFile | None) -> Harness | None:
    """The harness that wrote a file; None if it is unknown."""
    return next((each for each in HARNESSES.values() if file and each.recognize(file)), None)
