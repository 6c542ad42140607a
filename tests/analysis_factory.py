"""Small analyses for the report's tests: the right shape, plausible numbers, no statistics.

`make` fills the whole record from random effects; its options switch off what an input may lack.
Intervals are the mean plus or minus two standard errors, so that some include 0 and some do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
from scipy.special import ndtr

from transferscope.analysis import (
    Analysis,
    Basis,
    Category,
    CategoryAxis,
    Cell,
    Claim,
    Clique,
    CliqueNull,
    Cliques,
    Decomposition,
    Edge,
    Estimate,
    Gaps,
    Graph,
    Input,
    Interval,
    ModelAnalysis,
    Persona,
    PersonaEvidence,
    Personas,
    Power,
    Scale,
    Settings,
    Sign,
    Signed,
    SignedIntervals,
    TaskEffect,
    TaskProfile,
    TaskRecord,
    Trend,
)
from transferscope.analysis.parts import Adjusted, BeyondPlacebo, Placebo, Training
from transferscope.analysis.verdict import Verdict
from transferscope.matrix.collapse import Answers, Behaviour
from transferscope.matrix.flips import Flips
from transferscope.suites.blink import BLINK
from transferscope.tasks import Granularity, Level

NAN = math.nan
NO: Interval = (NAN, NAN)
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quote'",
    "a.b[0]",
    "line\u2028break",
    "{{ 7*7 }}",
    "datum['x']",
    "back\\slash\x00\ud800",
]
SIGNS: tuple[Sign, Sign] = ("positive", "negative")


@dataclass(frozen=True)
class Shape:
    """What the analysis has and lacks."""

    models: tuple[str, ...] = ("3B", "32B")
    names: tuple[str, ...] | None = None
    """Task names; None for BLINK's 13."""
    count: int | None = None
    """Number of tasks with made-up names instead."""
    seeds: int = 4
    intervals: bool = True
    categories: bool = True
    cliques: bool = True
    nulls: bool = True
    floor: bool = True
    empty_row: bool = False
    conduct: bool = False
    """Whether answers, flips and controls are known."""
    log: bool = False
    """Whether it is known how the adapters learned; one failed beside them."""
    sources: tuple[int, int | None] = (0, None)
    targets: tuple[int, int | None] = (0, None)


def make(shape: Shape | None = None, values: dict[str, np.ndarray] | None = None) -> Analysis:
    """An analysis of `shape`; `values` are (seed, source, target) effects to use for each model."""
    shape = shape or Shape()
    tasks = _tasks(shape)
    random = np.random.default_rng(7)
    models = {
        name: _model(shape, tasks, values[name] if values else _effects(random, shape, tasks))
        for name in shape.models
    }
    return Analysis(
        version="0.1.0",
        settings=Settings(preset="default" if shape.intervals else "paper"),
        inputs=[Input(m, f"{m}.csv", "0f" * 32, "pgf table") for m in shape.models],
        tasks=tasks,
        models=models,
        personas=_personas(models, tasks),
        decomposition={m: _decomposition(shape) for m in shape.models},
        scale=_scale(models),
        claims=_claims(tasks),
        power=[
            Power(m, t.name, 130, shape.seeds, 0.55, (0.04 + 0.01 * n) / 0.45, 0.04 + 0.01 * n)
            for m in shape.models
            for n, t in enumerate(tasks)
            if t.target
        ],
        notes=["The published tables hold effects, not items: counts were recovered from them."],
        trainings=_trainings(models) if shape.log else [],
    )


def _trainings(models: dict[str, ModelAnalysis]) -> list[Training]:
    """Losses that halve every 10 steps, and one that doubles at each until it is no number."""
    steps, made = list(range(1, 102, 2)), []
    for name, model in models.items():
        for source in (*model.pgf, *(each for each in model.controls if each != "reordered")):
            losses = [(1 + 0.1 * len(made)) * 2 ** (-step / 10) for step in steps]
            norms = [3 * loss for loss in losses]
            made += [Training(name, source, seed, steps, losses, norms) for seed in model.seeds]
        bad = [2.0**n if n < 8 else NAN for n in range(len(steps))]
        last, why = list(model.pgf)[-1], "diverged: its loss is not finite at step 17 of 101"
        made.append(Training(name, last, "9", steps, bad, bad, why))
    return made


def _tasks(shape: Shape) -> list[TaskRecord]:
    known = [(t.name, t.abbreviation, t.level, t.granularity) for t in BLINK]
    if shape.names is not None:
        known = [(n, n, *k[2:]) for n, k in zip(shape.names, known * 4, strict=False)]
    elif shape.count is not None:
        known = [(f"Synthetic_Task_{n}", f"T{n}", *known[n % 13][2:]) for n in range(shape.count)]
    places = range(len(known))
    sources, targets = places[slice(*shape.sources)], places[slice(*shape.targets)]
    return [
        TaskRecord(
            name,
            short,
            cast(Level | None, level if shape.categories else None),
            cast(Granularity | None, granularity if shape.categories else None),
            n in sources,
            n in targets,
        )
        for n, (name, short, level, granularity) in enumerate(known)
    ]


def _effects(random: np.random.Generator, shape: Shape, tasks: list[TaskRecord]) -> np.ndarray:
    size = len(tasks)
    true = random.normal(0.02, 0.12, (size, size)) + random.normal(0, 0.1, size)
    true[np.diag_indices(size)] += 0.3
    true[:3, :3] = abs(true[:3, :3]) + 0.05
    true[3:6, 3:6] = -abs(true[3:6, 3:6]) - 0.05
    return true + random.normal(0, 0.05, (shape.seeds, size, size))


def _interval(values: np.ndarray, shape: Shape) -> Interval:
    if len(values) < 2 or not shape.intervals:
        return NO
    error = 2 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return (float(np.mean(values)) - error, float(np.mean(values)) + error)


def _bases(place: int, seeds: list[str]) -> np.ndarray:
    return np.array([0.4 + 0.02 * (place % 25) + 0.01 * (k % 2) for k in range(len(seeds))])


def _in_accuracy(values: np.ndarray, place: int, shape: Shape, seeds: list[str]) -> dict[str, Any]:
    """The change of accuracy of effects on the target at `place`, and what to expect of it."""
    gap = 1 - _bases(place, seeds)
    low, high = _interval(values, shape)
    change, error = float(np.mean(values * gap)), (high - low) / 4 * gap.mean()
    found = {"change": change, "change_ci": (low * gap.mean(), high * gap.mean())}
    if math.isnan(error):
        return found
    sure = {"helps": ndtr((0.8 * change - 0.01) / error), "harms": ndtr((-0.8 * change) / error)}
    return found | {"expected": 0.8 * change, **{k: float(v) for k, v in sure.items()}}


def _cell(values: np.ndarray, place: int, shape: Shape, seeds: list[str]) -> Cell:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else NAN
    low, high = _interval(values, shape)
    p = NAN if math.isnan(low) else 0.01 if low > 0 or high < 0 else 0.4
    by_seed = dict(zip(seeds, map(float, values), strict=True))
    more = _in_accuracy(values, place, shape, seeds)
    return Cell(float(np.mean(values)), spread, (low, high), p, p, by_seed, **more)


def verdict(
    source: str, row: dict[str, Cell], tolerance: float = 0.05, collapsed: tuple[str, ...] = ()
) -> Verdict:
    """A verdict of the right shape: every loss beyond noise harms."""
    known = {t: cell for t, cell in row.items() if math.isfinite(cell.p_value)}
    harmed = [t for t, cell in known.items() if cell.change < 0 and cell.p_value <= 0.05]
    harmed.sort(key=lambda target: row[target].change)
    losses = {t: max(0.0, -cell.change_ci[0]) for t, cell in known.items()}
    where = max(losses, key=lambda target: losses[target], default="")
    loss = losses.get(where, NAN)
    kind = "safe" if loss <= tolerance else "not settled" if where else "nothing to test"
    mean = float(np.mean([cell.change for t, cell in row.items() if t != source] or [NAN]))
    return Verdict(
        kind="harms" if harmed or collapsed else kind,
        harmed=harmed,
        collapsed=[*collapsed],
        loss=loss,
        where=where,
        needed=400 if loss > tolerance else None,
        mean=mean,
        mean_ci=(mean - 0.02, mean + 0.02),
        untested=[t for t in row if t not in known],
    )


def _estimate(values: np.ndarray, shape: Shape, seeds: list[str]) -> Estimate:
    return Estimate(
        float(np.mean(values)),
        _interval(values, shape),
        dict(zip(seeds, map(float, values), strict=True)),
    )


def _beyond(values: np.ndarray, place: int, shape: Shape, seeds: list[str]) -> BeyondPlacebo:
    plain = vars(_estimate(values, shape, seeds))
    return BeyondPlacebo(**plain, **_in_accuracy(values, place, shape, seeds))


def _effect(values: np.ndarray, shape: Shape, seeds: list[str]) -> TaskEffect:
    """Eq. 1 of `values` (seed, other task)."""
    positive, negative = values > 0, values < 0

    def part(mask: np.ndarray) -> np.ndarray:
        count, size = mask.sum(1), values.shape[1]
        total = np.where(mask, values, 0).sum(1)
        known = ~np.isnan(values).all(1)
        return np.where(known, (1 - np.exp(-count / size)) / np.maximum(count, 1) * total, np.nan)

    return TaskEffect(
        _estimate(part(positive), shape, seeds),
        _estimate(part(negative), shape, seeds),
        float(positive.mean()),
        float(negative.mean()),
    )


def _signed(effects: Sequence[TaskEffect], shape: Shape) -> Signed:
    means, intervals = [], []
    for sign in SIGNS:
        rows = [list(getattr(e, sign).seeds.values()) for e in effects]
        values = np.mean(rows, axis=0) if rows else np.array([NAN])
        means.append(float(np.mean(values)))
        intervals.append(_interval(values, shape))
    return Signed(means[0], means[1], SignedIntervals(*intervals))


def _profile(t: Sequence[TaskEffect], m: Sequence[TaskEffect], shape: Shape) -> TaskProfile:
    return TaskProfile(_signed(t, shape), _signed(m, shape))


def _model(shape: Shape, tasks: list[TaskRecord], values: np.ndarray) -> ModelAnalysis:
    values = values.copy()
    if shape.empty_row:
        values[:, 0, :] = NAN
    seeds = ["initial", *map(str, range(1, shape.seeds))]
    places = {t.name: n for n, t in enumerate(tasks)}
    sources = [t.name for t in tasks if t.source]
    targets = [t.name for t in tasks if t.target]

    def others(task: str, names: list[str]) -> list[int]:
        return [places[n] for n in names if n != task]

    transferability = {
        s: _effect(values[:, places[s], others(s, targets)], shape, seeds) for s in sources
    }
    malleability = {
        t: _effect(values[:, others(t, sources), places[t]], shape, seeds) for t in targets
    }
    basis: Basis = "seeds and items" if shape.intervals and shape.seeds > 1 else "none"
    average = _profile(list(transferability.values()), list(malleability.values()), shape)
    floor = Signed(0.03, -0.03, SignedIntervals((0.025, 0.036), (-0.036, -0.025)))
    mean = values.mean(0)
    pgf = {
        s: {
            t: _cell(values[:, places[s], places[t]], n, shape, seeds)
            for n, t in enumerate(targets)
        }
        for s in sources
    }
    return ModelAnalysis(
        seeds=seeds,
        basis=basis,
        items="counts" if basis != "none" else "none",
        gaps=Gaps(values.size, int(np.isnan(values).sum()), 0),
        base_accuracy={t: 0.4 + 0.02 * (n % 25) for n, t in enumerate(targets)},
        base_seeds={
            t: dict(zip(seeds, _bases(n, seeds).tolist(), strict=True))
            for n, t in enumerate(targets)
        },
        base_errors={t: dict.fromkeys(seeds, 50) for t in targets},
        pgf=pgf,
        transferability=transferability,
        malleability=malleability,
        average=average,
        noise_floor=TaskProfile(floor, floor) if shape.floor else None,
        categories=_categories(tasks, transferability, malleability, shape),
        category_axes=_axes(tasks, shape, average.transferability),
        graph=_graph(mean, [t.name for t in tasks], set(sources), set(targets)),
        cliques=_cliques(mean, [t.name for t in tasks], shape),
        verdicts={s: verdict(s, row) for s, row in pgf.items()} if basis != "none" else {},
        seed_share={t: 0.7 if n == 1 else 0.2 for n, t in enumerate(targets)},
        **(_conduct(values, (sources, targets, seeds), shape) if shape.conduct else {}),
    )


def _conduct(
    values: np.ndarray, names: tuple[list[str], list[str], list[str]], shape: Shape
) -> dict[str, Any]:
    """Answers with one collapsed cell, flips, a placebo, and the effects beyond it."""
    sources, targets, seeds = names
    options = 3
    fine = Answers([0.4, 0.3, 0.3], 0.05, {}, len(seeds))
    fallen = Answers([1.0, 0.0, 0.0], 0.2, {seeds[0]: 0}, len(seeds))
    answers = {i: dict.fromkeys(targets, fine) for i in sources}
    answers[sources[0]][targets[-1]] = fallen
    placebo = np.full((len(seeds), len(targets)), 0.02)
    placebo += 0.01 * np.arange(len(targets)) + 0.003 * np.arange(len(seeds))[:, None]
    apart = values[:, : len(sources), : len(targets)] - placebo[:, None]
    control = Placebo(
        {j: _estimate(placebo[:, k], shape, seeds) for k, j in enumerate(targets)},
        _estimate(placebo.mean(1), shape, seeds),
    )
    flips = Flips(6.5, 3.0, 130, len(seeds), 7, 1, {f"{targets[0]}/1": len(seeds)}, {"<b>": 3})
    return {
        "behaviour": Behaviour(
            {j: [1 / options] * options for j in targets},
            dict.fromkeys(targets, fine),
            answers,
            {"format-only": dict.fromkeys(targets, fine)},
        ),
        "flips": {i: dict.fromkeys(targets, flips) for i in sources},
        "controls": {"format-only": control, "reordered": control},
        "adjusted": Adjusted(
            "format-only",
            {
                i: {j: _beyond(apart[:, a, b], b, shape, seeds) for b, j in enumerate(targets)}
                for a, i in enumerate(sources)
            },
            _estimate(apart.mean((1, 2)), shape, seeds),
            _decomposition(shape),
            0.4,
        ),
    }


def _groups(tasks: list[TaskRecord], axis: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for task in tasks:
        if (category := getattr(task, axis)) is not None:
            groups.setdefault(category, []).append(task.name)
    return groups


def _categories(
    tasks: list[TaskRecord], t: dict[str, TaskEffect], m: dict[str, TaskEffect], shape: Shape
) -> dict[str, dict[str, Category]]:
    answer: dict[str, dict[str, Category]] = {}
    for axis in ("level", "granularity"):
        for category, names in _groups(tasks, axis).items():
            profile = _profile(
                [t[n] for n in names if n in t], [m[n] for n in names if n in m], shape
            )
            trend = Category(names, profile.transferability, profile.malleability, profile)
            answer.setdefault(axis, {})[category] = trend
    return answer


def _axes(tasks: list[TaskRecord], shape: Shape, effect: Signed) -> dict[str, CategoryAxis]:
    return {
        axis: CategoryAxis(
            ["transferability.positive"], {a: dict.fromkeys(groups, effect) for a in groups}
        )
        for axis in ("level", "granularity")
        if (groups := _groups(tasks, axis))
    }


def _graph(mean: np.ndarray, names: list[str], sources: set[str], targets: set[str]) -> Graph:
    edges = [
        Edge(a, b, float(mean[i, j]), 0.02)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i != j and a in sources and b in targets and not math.isnan(mean[i, j])
    ]
    kept = []
    for sign in (1, -1):
        group = sorted((e for e in edges if sign * e.pgf > 0), key=lambda e: -abs(e.pgf))
        kept += group[: math.ceil(len(group) / 5)]
    return Graph(kept)


def _cliques(mean: np.ndarray, names: list[str], shape: Shape) -> Cliques:
    found: dict[Sign, list[Clique]] = {"positive": [], "negative": []}
    for sign, factor in zip(SIGNS, (1, -1), strict=True):
        good = factor * mean > 0
        for size in range(min(len(names), 9), 2, -1) if shape.cliques else ():
            for members in combinations(range(len(names)), size) if len(names) < 14 else ():
                if all(good[i, j] and good[j, i] for i, j in combinations(members, 2)):
                    tasks = [names[i] for i in members]
                    found[sign].append(Clique(tasks, size, factor * 0.1, NO, 0.01, 0.03, False))
            if found[sign]:
                break
    nulls = [
        CliqueNull(
            null, sign, 6, 3.9, 5, 0.03, {"0": 0.02, "3": 0.3, "4": 0.45, "5": 0.2, "6": 0.03}
        )
        for null in ("no transfer", "column shift")
        for sign in SIGNS
    ]
    return Cliques(found["positive"], found["negative"], True, nulls if shape.nulls else [])


def _personas(models: dict[str, ModelAnalysis], tasks: list[TaskRecord]) -> Personas:
    def role(quantity: str, sign: Sign) -> list[Persona]:
        factor = 1 if sign == "positive" else -1
        found = []
        for task in tasks:
            evidence = {}
            for name, model in models.items():
                effects = getattr(model, quantity)
                if task.name not in effects:
                    continue
                value = getattr(effects[task.name], sign).mean
                average = getattr(getattr(model.average, quantity), sign)
                if factor * (value - average) > 0:
                    evidence[name] = PersonaEvidence(value, average, 0.01, NO)
            if len(evidence) == len(models):
                found.append(Persona(task.name, evidence, 0.97))
        return found[:3]

    return Personas(
        role("transferability", "positive"),
        role("transferability", "negative"),
        role("malleability", "positive"),
        role("malleability", "negative"),
    )


def _decomposition(shape: Shape) -> Decomposition:
    known = shape.intervals and shape.seeds > 1
    return Decomposition(
        0.45,
        0.08,
        0.53,
        {
            "target": (0.35, 0.55) if known else NO,
            "source": (0.03, 0.14) if known else NO,
            "both": (0.44, 0.62) if known else NO,
        },
    )


def _scale(models: dict[str, ModelAnalysis]) -> Scale:
    def trend(quantity: str) -> Trend:
        signed = [getattr(m.average, quantity) for m in models.values()]
        steps: dict[Sign, list[Interval]] = {
            "positive": [(0.01, 0.05)] * (len(signed) - 1),
            "negative": [(-0.02, 0.01)] * (len(signed) - 1),
        }
        return Trend(
            [s.positive for s in signed],
            [s.negative for s in signed],
            {
                "positive": [s.ci.positive for s in signed],
                "negative": [s.ci.negative for s in signed],
            },
            steps,
        )

    return Scale(list(models), trend("transferability"), trend("malleability"))


def _claims(tasks: list[TaskRecord]) -> list[Claim]:
    name = tasks[0].name
    return [
        Claim("scale", f"Scale helps {name}", "Sec. 4.2", True, "0.12 to 0.23", 0.99, [], 24, 24),
        Claim(
            "donor", f"{name} is a donor", "Sec. 5.2", False, "below at 3B", 0.1, ["tail"], 3, 24
        ),
        Claim("7B", "Cliques at 7B", "Sec. 5.1", None, "needs a 7B model", NAN, [], 0, 0),
    ]
