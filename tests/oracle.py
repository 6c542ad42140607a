"""Every analysis number a second time, written plainly from the definitions.

Loops over nested dictionaries and `math`, nothing else: slow, and short enough to check against the
paper by eye. It imports nothing of `transferscope`, so that agreement of the two means something.

A *cube* holds one model's effects, `cube[seed][source][target]`, a float that may be NaN (not
measured, or undefined). A *square* is one seed's or the seed mean's `square[source][target]`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

Square = dict[str, dict[str, float]]
Cube = dict[str, Square]
Signs = tuple[float, float]


def finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def mean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN where there is none."""
    known = finite(values)
    return math.fsum(known) / len(known) if known else math.nan


# The measures of one cell (eq. 3).


def pgf(base: float, tuned: float, ceiling: float = 1.0, epsilon: float = 0.0) -> float:
    if base >= ceiling:
        return math.nan
    return (tuned - base) / (ceiling - base + epsilon)


def relative_gain(base: float, tuned: float) -> float:
    return math.nan if base == 0 else (tuned - base) / base


def raw_gain(base: float, tuned: float) -> float:
    return tuned - base


# Which items an effect is computed on, and which effects have a part in averages.


class Paired(NamedTuple):
    items: int
    base: float
    tuned: float


def paired(base: Mapping[str, float], tuned: Mapping[str, float]) -> Paired:
    """Both accuracies on the items that base and run answered, {item: mark} of each."""
    shared = sorted(set(base) & set(tuned))
    return Paired(
        len(shared), mean(base[item] for item in shared), mean(tuned[item] for item in shared)
    )


def counts_in_averages(shared: int, runs: Iterable[int]) -> bool:
    """Whether the shared items are half of those of the target's largest run, base included."""
    return 2 * shared >= max(runs)


# Transferability and malleability (definitions 1 and 2).


class Effect(NamedTuple):
    positive: float
    negative: float
    breadth_positive: float
    breadth_negative: float


def effect(values: Iterable[float], considered: int | None = None) -> Effect:
    """Equation 1 (or 2) on one row (or column), with N the number of values considered."""
    known = finite(values)
    if not known:
        return Effect(math.nan, math.nan, math.nan, math.nan)
    n_considered = len(known) if considered is None else considered
    up = [value for value in known if value > 0]
    down = [value for value in known if value < 0]

    def side(chosen: list[float]) -> float:
        if not chosen:
            return 0.0
        count = len(chosen)
        return (1 - math.exp(-count / n_considered)) / count * math.fsum(chosen)

    return Effect(side(up), side(down), len(up) / n_considered, len(down) / n_considered)


def transferability(
    square: Square, source: str, *, include_self: bool = False, considered: int | None = None
) -> Effect:
    row = square[source]
    return effect((row[j] for j in row if include_self or j != source), considered)


def malleability(
    square: Square, target: str, *, include_self: bool = False, considered: int | None = None
) -> Effect:
    column = {i: square[i][target] for i in square}
    return effect((column[i] for i in column if include_self or i != target), considered)


# Categories.


def category_trend(
    square: Square, members: set[str], *, include_self: bool = True
) -> tuple[Signs, Signs]:
    """Mean transferability and mean malleability, (positive, negative) each, of some tasks."""
    given = [transferability(square, i, include_self=include_self) for i in square if i in members]
    targets = next(iter(square.values()))
    taken = [malleability(square, j, include_self=include_self) for j in targets if j in members]
    return (
        (mean(one.positive for one in given), mean(one.negative for one in given)),
        (mean(one.positive for one in taken), mean(one.negative for one in taken)),
    )


def category_effect(
    square: Square, sources: set[str], targets: set[str], *, include_self: bool = False
) -> Signs:
    """Mean positive and mean negative effect over all ordered task pairs."""
    pairs = finite(
        square[i][j]
        for i in square
        for j in square[i]
        if i in sources and j in targets and (include_self or i != j)
    )
    return mean(max(value, 0.0) for value in pairs), mean(min(value, 0.0) for value in pairs)


# The seed mean and what is built on it.


def seed_mean(cube: Cube) -> Square:
    """Mean over the known seeds.

    Rounded to 12 decimals: effects that cancel exactly leave a rounding error with a sign, and
    equal effects differ in their last digit.
    """
    seeds = list(cube)
    first = cube[seeds[0]]
    return {i: {j: round(mean(cube[s][i][j] for s in seeds), 12) for j in first[i]} for i in first}


def pairs_of(square: Square) -> list[tuple[str, str]]:
    return [(i, j) for i in square for j in square[i] if i != j]


class Shares(NamedTuple):
    target: float
    source: float
    both: float


def decompose(cube: Cube) -> Shares:
    """Share of the off-diagonal variance of the seed mean explained by additive parts."""
    square = seed_mean(cube)
    cells = [(i, j, square[i][j]) for i, j in pairs_of(square) if not math.isnan(square[i][j])]
    if not cells:
        return Shares(math.nan, math.nan, math.nan)
    sources = sorted({i for i, _, _ in cells})
    targets = sorted({j for _, j, _ in cells})
    y = [value for _, _, value in cells]
    center = mean(y)
    total = math.fsum((value - center) ** 2 for value in y)

    def share(columns: list[tuple[int, str]]) -> float:
        dummies = [
            [1.0] + [1.0 if cell[axis] == name else 0.0 for axis, name in columns] for cell in cells
        ]
        left = residual(dummies, y)
        return 1 - left / total if total > 0 else math.nan

    by_source = [(0, name) for name in sources]
    by_target = [(1, name) for name in targets]
    return Shares(share(by_target), share(by_source), share(by_source + by_target))


def residual(columns: list[list[float]], y: list[float]) -> float:
    """Sum of squares left by least squares: normal equations, Gaussian elimination.

    Dummy columns are linearly dependent; a column without a pivot is left out.
    """
    width = len(columns[0])
    matrix = [
        [math.fsum(row[a] * row[b] for row in columns) for b in range(width)]
        + [math.fsum(row[a] * value for row, value in zip(columns, y, strict=True))]
        for a in range(width)
    ]
    weights = [0.0] * width
    pivots: list[tuple[int, int]] = []
    top = 0
    for column in range(width):
        best = max(range(top, width), key=lambda r: abs(matrix[r][column]), default=None)
        if best is None or abs(matrix[best][column]) < 1e-9:
            continue
        matrix[top], matrix[best] = matrix[best], matrix[top]
        for row in range(width):
            if row != top:
                factor = matrix[row][column] / matrix[top][column]
                for k in range(column, width + 1):
                    matrix[row][k] -= factor * matrix[top][k]
        pivots.append((top, column))
        top += 1
    for row, column in pivots:
        weights[column] = matrix[row][width] / matrix[row][column]
    return math.fsum(
        (value - math.fsum(w * x for w, x in zip(weights, row, strict=True))) ** 2
        for row, value in zip(columns, y, strict=True)
    )


def transfer_graph(cube: Cube, keep: str = "0.2") -> dict[tuple[str, str], float]:
    """The strongest `keep` of the edges of each sign; ties at the threshold all stay."""
    square = seed_mean(cube)
    kept: dict[tuple[str, str], float] = {}
    for sign in (1, -1):
        edges = {(i, j): square[i][j] for i, j in pairs_of(square) if sign * square[i][j] > 0}
        room = math.ceil(Fraction(keep) * len(edges))
        if room:
            weakest = sorted((abs(value) for value in edges.values()), reverse=True)[room - 1]
            kept |= {pair: value for pair, value in edges.items() if abs(value) >= weakest}
    return kept


# Cliques (definition 3).


class Clique(NamedTuple):
    tasks: frozenset[str]
    mean: float
    p_value: float
    q_value: float
    every_seed: bool


def is_clique(square: Square, tasks: Iterable[str], sign: int) -> bool:
    members = list(tasks)
    return all(
        sign * square.get(i, {}).get(j, math.nan) > 0 for i in members for j in members if i != j
    )


def agrees(square: Square, tasks: Iterable[str], sign: int) -> bool:
    """Whether no value that one seed has for these tasks speaks against the sign."""
    members = list(tasks)
    return all(
        sign * v > 0 for i in members for j in members if i != j for v in finite([square[i][j]])
    )


def clique_sets(square: Square, sign: int) -> list[frozenset[str]]:
    """Maximal sets of at least three tasks, by trying every subset, largest first."""
    tasks = sorted(set(square) & set(next(iter(square.values()))))
    agrees = {
        (a, b): sign * square[a][b] > 0 and sign * square[b][a] > 0
        for a, b in combinations(tasks, 2)
    }
    found: list[frozenset[str]] = []
    for size in range(len(tasks), 2, -1):
        for members in combinations(tasks, size):
            if all(agrees[pair] for pair in combinations(members, 2)) and not any(
                larger.issuperset(members) for larger in found
            ):
                found.append(frozenset(members))
    return found


def cliques(cube: Cube, sign: int) -> list[Clique]:
    square = seed_mean(cube)
    found = clique_sets(square, sign)
    drafts = []
    for tasks in found:
        pairs = [(i, j) for i in sorted(tasks) for j in sorted(tasks) if i != j]
        pooled = finite(cube[s][i][j] for s in cube for i, j in pairs)
        p = wilcoxon([sign * value for value in pooled])
        drafts.append((tasks, mean(square[i][j] for i, j in pairs), p))
    q_values = benjamini_hochberg([p for _, _, p in drafts])
    return [
        Clique(tasks, average, p, q, all(agrees(cube[s], tasks, sign) for s in cube))
        for (tasks, average, p), q in zip(drafts, q_values, strict=True)
    ]


# Personas (section 5.2).


class Evidence(NamedTuple):
    value: float
    average: float
    p_value: float


ROLES: dict[str, tuple[Callable[..., Effect], str]] = {
    "donor": (transferability, "positive"),
    "pirate": (transferability, "negative"),
    "sponge": (malleability, "positive"),
    "sieve": (malleability, "negative"),
}


def personas(
    cubes: dict[str, Cube], *, include_self: bool = False
) -> dict[str, dict[str, dict[str, Evidence]]]:
    """{role: {task: {model: evidence}}} of the tasks that play the role in every model."""
    answer = {}
    for role, (quantity, sign) in ROLES.items():
        outward = quantity is transferability
        direction = 1 if sign == "positive" else -1
        evidence: dict[str, dict[str, Evidence]] = {}
        for model, cube in cubes.items():
            any_square = next(iter(cube.values()))
            tasks = list(any_square) if outward else list(next(iter(any_square.values())))
            values = {
                task: [
                    getattr(quantity(square, task, include_self=include_self), sign)
                    for square in cube.values()
                ]
                for task in tasks
            }
            averages = [mean(values[task][s] for task in tasks) for s in range(len(cube))]
            for task in tasks:
                value, average = mean(values[task]), mean(averages)
                if direction * (value - average) > 0:
                    up = [direction * one for one in values[task]]
                    rest = [direction * one for one in averages]
                    evidence.setdefault(task, {})[model] = Evidence(
                        value, average, pooled_t_test(up, rest)
                    )
        answer[role] = {task: found for task, found in evidence.items() if len(found) == len(cubes)}
    return answer


# What adapters do besides transferring.


def letter_shares(choices: list[int | None], options: int) -> list[float]:
    """Share of each option among the letters given."""
    given = [choice for choice in choices if choice is not None]
    return [given.count(option) / len(given) for option in range(options)] if given else []


def collapsed(choices: list[int | None], answers: list[int]) -> int | None:
    """The letter of a collapsed run: 95 % of at least 10 letters, and more than chance explains.

    Chance: each letter drawn alone, this one as often as it is right among the items answered with
    a letter, counted right once more and wrong once more than it was.
    """
    pairs = [(c, a) for c, a in zip(choices, answers, strict=True) if c is not None]
    if len(pairs) < 10:
        return None
    for letter in sorted({choice for choice, _ in pairs}):
        count = sum(choice == letter for choice, _ in pairs)
        rate = Fraction(sum(a == letter for _, a in pairs) + 1, len(pairs) + 2)
        n = len(pairs)
        tail = sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(count, n + 1))
        if 100 * count >= 95 * n and tail < Fraction(1, 1000):
            return letter
    return None


class Flips(NamedTuple):
    fixed: float
    broken: float
    often_fixed: dict[str, int]
    often_broken: dict[str, int]


def flips(base: list[dict[str, bool]], tuned: list[dict[str, bool]]) -> Flips:
    """Items that changed, from a dictionary of answers for each seed."""

    def changed(before: bool) -> tuple[float, dict[str, int]]:
        times: dict[str, int] = {}
        for one, two in zip(base, tuned, strict=True):
            for item in one:
                if item in two and one[item] == before and two[item] != before:
                    times[item] = times.get(item, 0) + 1
        often = {item: n for item, n in times.items() if 2 * n > len(base)}
        return sum(times.values()) / len(base), often

    fixed, often_fixed = changed(False)
    broken, often_broken = changed(True)
    return Flips(fixed, broken, often_fixed, often_broken)


def adjusted(cube: Cube, placebo: dict[str, dict[str, float]]) -> Cube:
    """Each effect minus the placebo's of that seed and target, `placebo[seed][target]`."""
    return {
        s: {i: {j: cube[s][i][j] - placebo[s][j] for j in cube[s][i]} for i in cube[s]}
        for s in cube
    }


# Tests and corrections.


def pooled_t_test(first: Iterable[float], second: Iterable[float]) -> float:
    """One-sided p-value that the mean of `first` is larger: Student's t with pooled variance."""
    a, b = finite(first), finite(second)
    freedom = len(a) + len(b) - 2
    if not a or not b or freedom < 1:
        return math.nan
    spread = math.fsum((x - mean(a)) ** 2 for x in a) + math.fsum((x - mean(b)) ** 2 for x in b)
    error = math.sqrt(spread / freedom * (1 / len(a) + 1 / len(b)))
    difference = mean(a) - mean(b)
    if error == 0:
        return math.nan if difference == 0 else (0.0 if difference > 0 else 1.0)
    inside = student_inside(abs(difference) / error, freedom)
    return (1 - inside) / 2 if difference > 0 else (1 + inside) / 2


def student_inside(t: float, freedom: int) -> float:
    """P(-t < T < t), in closed form (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    theta = math.atan(t / math.sqrt(freedom))
    squared = math.cos(theta) ** 2
    if freedom % 2:
        term, total = math.cos(theta), 0.0
        for k in range(1, freedom - 1, 2):
            total += term
            term *= squared * (k + 1) / (k + 2)
        return 2 / math.pi * (theta + math.sin(theta) * total)
    term, total = 1.0, 0.0
    for k in range(0, freedom - 1, 2):
        total += term
        term *= squared * (k + 1) / (k + 2)
    return math.sin(theta) * total


def wilcoxon(values: list[float]) -> float:
    """One-sided Wilcoxon signed-rank p-value that the median is above 0.

    Zeros are dropped and ties share their mean rank. The null distribution is exact for up to 50
    values without zeros or ties; otherwise normal, corrected for ties but not for continuity.
    """
    nonzero = sorted((value for value in values if value != 0), key=abs)
    sizes = [abs(value) for value in nonzero]
    counts = {size: sizes.count(size) for size in sizes}
    doubled_rank = {size: 2 * sizes.index(size) + counts[size] + 1 for size in counts}
    plus = sum(doubled_rank[abs(value)] for value in nonzero if value > 0)
    untidy = len(nonzero) < len(values) or len(counts) < len(nonzero)
    n = len(nonzero)
    if n == 0:
        return math.nan
    if len(values) <= 50 and not untidy:
        ways = {0: 1}
        for size in sizes:
            step: dict[int, int] = {}
            for total, count in ways.items():
                for new in (total, total + doubled_rank[size]):
                    step[new] = step.get(new, 0) + count
            ways = step
        return sum(count for total, count in ways.items() if total >= plus) / 2**n
    variance = n * (n + 1) * (2 * n + 1) / 24 - sum(c**3 - c for c in counts.values()) / 48
    z = (plus / 2 - n * (n + 1) / 4) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2)) / 2


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """q of each: the smallest p(k) * m / k over all ranks k at or above its own; NaN stays NaN."""
    known = sorted(finite(p_values))
    m = len(known)

    def q(p: float) -> float:
        if math.isnan(p):
            return math.nan
        return min([1.0, *(known[k - 1] * m / k for k in range(1, m + 1) if known[k - 1] >= p)])

    return [q(p) for p in p_values]


def mcnemar(base_correct: list[bool], tuned_correct: list[bool]) -> float:
    """Exact two-sided McNemar: are wins and losses as even as a fair coin's?"""
    wins = sum(t and not b for b, t in zip(base_correct, tuned_correct, strict=True))
    losses = sum(b and not t for b, t in zip(base_correct, tuned_correct, strict=True))
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))
