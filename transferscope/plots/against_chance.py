"""Which of the paper's personas and cliques are shown: those that chance does not explain.

The others are one line. Where the study is not of the kind that a finding needs, there is nothing.
"""

import math
from typing import Literal

from transferscope.analysis import Analysis, ModelAnalysis, Persona, Sign
from transferscope.plots.numbers import percent

SUPPORT = 0.95
"""Least share of the random draws of all effects' noise in which a finding must hold."""
FEWEST = 3
"""Tasks that a clique needs, each source and target."""
Role = Literal["donor", "pirate", "sponge", "sieve"]
ROLES: tuple[Role, ...] = ("donor", "pirate", "sponge", "sieve")


def personas(analysis: Analysis) -> dict[Role, list[Persona]]:
    """The personas that are named; of several models alone.

    None where the paper's rule would name as many without any transfer. Preset `paper` has no
    draws: there the rule alone decides.
    """
    found: dict[Role, list[Persona]] = {r: getattr(analysis.personas, r) for r in ROLES}
    if analysis.settings.preset == "paper" and len(analysis.models) > 1:
        return found
    chance = sum(analysis.personas_by_chance.values())
    if len(analysis.models) < 2 or sum(map(len, found.values())) <= chance:
        return {role: [] for role in ROLES}
    return {r: [p for p in known if p.support >= SUPPORT] for r, known in found.items()}


def about_personas(analysis: Analysis) -> str:
    """How many the paper's rule names, and how many chance does; empty for a single model."""
    if len(analysis.models) < 2:
        return ""
    found = [each for role in ROLES for each in getattr(analysis.personas, role)]
    if not found:
        return "No task has the same persona in every model of the study."
    text = f"By the paper’s rule {len(found)} personas would be named"
    chance = sum(analysis.personas_by_chance.values())
    if chance and math.isfinite(chance):
        text += f"; without any transfer about {chance:.1f} would be"
    if all(math.isnan(each.support) for each in found):
        return f"{text}; how many hold in random draws is unknown."
    held = sum(each.support >= SUPPORT for each in found)
    return f"{text}; {held or 'none'} hold{'s' * (held < 2)} in {percent(SUPPORT)} of random draws."


def has_cliques(analysis: Analysis) -> bool:
    """Whether the study is large enough for cliques."""
    return sum(task.source and task.target for task in analysis.tasks) >= FEWEST


def clique_by_chance(model: ModelAnalysis, sign: Sign) -> str:
    """One line where both null models explain the largest clique; else empty."""
    nulls = [null for null in model.cliques.nulls if null.sign == sign]
    if not nulls or any(null.observed > null.upper for null in nulls):
        return ""
    size, usual = nulls[0].observed, min(null.upper for null in nulls)
    largest = f"{size} tasks" if size else "none"
    return f"{largest}, within the chance range (up to {usual})"
