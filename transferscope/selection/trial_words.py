"""What the experiment says, in sentences made from its numbers.

In:   trials, differences, and for which targets two ways can be compared.
Out:  sentences.
"""

from collections.abc import Mapping, Sequence

from transferscope.analysis.parts import Estimate, Strategy, Trial
from transferscope.analysis.verdict import beyond_noise
from transferscope.predictions import shown
from transferscope.selection.wording import listed, told

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
    unclear = [shown(t) for t in targets if shown(t) not in (*better, *worse)]
    rival, of = RIVALS[name], len(targets)
    kinds = (
        ("better", "than", better),
        ("worse", "than", worse),
        ("not distinguishable", "from", unclear),
    )
    found = [kind for kind in kinds if kind[2]]
    how, word, which = found[0]
    if of == 1:
        effect = told(mean.mean, mean.ci)
        return f"The informed mixture is {how} {word} {rival} on {listed(which)}: {effect}."
    parts = [f"{how} {word} {rival} on {len(which)} of {of} targets{_named(which, of)}"]
    parts += [f"{how} on {len(which)}{_named(which, of)}" for how, _, which in found[1:]]
    noise = "" if beyond_noise(mean, alpha) else ", which may be noise"
    over = f"over the {of} by {told(mean.mean, mean.ci)}{noise}"
    return f"The informed mixture is {listed(parts)}; {over}."


def _named(targets: Sequence[str], of: int) -> str:
    """Which they are, unless all."""
    return "" if len(targets) == of else f" ({listed(targets)})"
