"""What the experiment says, in sentences made from its numbers.

In:   trials, differences, and for which targets two ways can be compared.
Out:  sentences.
"""

from collections.abc import Mapping, Sequence

from transferscope.estimate import Estimate
from transferscope.noise import beyond_noise
from transferscope.predictions import shown
from transferscope.selection.words import listed, told
from transferscope.strategies import Strategy, Trial

RIVALS: dict[Strategy, str] = {
    "random": "random mixtures of the same size",
    "all": "all sources",
    "direct": "the target's own data",
    "base": "not training",
}
"""What the informed mixture is compared with, the paper's comparison first."""


def verdict(
    trials: Mapping[str, Trial],
    means: Mapping[Strategy, Estimate],
    compared: Mapping[Strategy, Sequence[str]],
    alpha: float,
) -> list[str]:
    """A sentence for each comparison, and one for each target without any."""
    said = [
        _against(name, compared[name], trials, means[name], alpha)
        for name in RIVALS
        if compared[name]
    ]
    empty = [
        shown(target) for target, trial in trials.items() if not trial.arms["informed"].mixtures
    ]
    if empty:
        said.append(
            f"For {listed(empty)} the matrix names nothing that helps surely enough: "
            "there is no informed mixture to judge."
        )
    return said


def _against(
    name: Strategy,
    targets: Sequence[str],
    trials: Mapping[str, Trial],
    mean: Estimate,
    alpha: float,
) -> str:
    """How often the informed mixture is better, worse or neither, and by how much over targets."""
    differences = {target: trials[target].differences[name] for target in targets}
    told_apart = {t: beyond_noise(its, alpha) for t, its in differences.items()}
    better = [shown(t) for t in targets if told_apart[t] and differences[t].mean > 0]
    worse = [shown(t) for t in targets if told_apart[t] and differences[t].mean < 0]
    unclear = len(targets) - len(better) - len(worse)
    rival, of = RIVALS[name], len(targets)
    parts = []
    if better:
        parts.append(f"better than {rival} on {_some(better, of)}")
    if worse:
        parts.append(f"worse{'' if better else f' than {rival}'} on {_some(worse, of)}")
    if unclear:
        whom = "" if parts else f" from {rival}"
        parts.append(f"not distinguishable{whom} on {unclear} of {of}")
    if of == 1:
        (target,) = targets
        how = (parts[0].split(" on ")[0], shown(target), told(mean.mean, mean.ci))
        return "The informed mixture is {} on {}: {}.".format(*how)
    sentence = f"The informed mixture is {listed(parts)} targets"
    noise = "" if beyond_noise(mean, alpha) else ", which may be noise"
    return f"{sentence}; over them by {told(mean.mean, mean.ci)}{noise}."


def _some(names: Sequence[str], of: int) -> str:
    return f"{len(names)} of {of} ({listed(names)})"
