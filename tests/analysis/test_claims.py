"""The audit of the paper's findings: decided as the paper does, and under every other choice."""

from itertools import product
from typing import Any

import numpy as np
import oracle
import pytest
import scipy.stats
import xarray as xr

from transferscope.analysis import Claim, claims
from transferscope.analysis.paper_findings import FINDINGS, Finding, named
from transferscope.matrix import task_effects
from transferscope.suites import KNOWN_TASKS
from transferscope.suites.blink import BLINK

TASKS = [task.name for task in BLINK]


def a_matrix(models: dict[str, np.ndarray]) -> xr.DataArray:
    """Effects of made-up models, (seed, source, target) each, on BLINK's tasks."""
    labels = {
        field: [getattr(KNOWN_TASKS[name], field) for name in TASKS]
        for field in ("level", "granularity")
    }
    seeds = [f"seed {s}" for s in range(len(next(iter(models.values()))))]
    coordinates = {"model": list(models), "seed": seeds, "source": TASKS, "target": TASKS}
    coordinates |= {field: ("target", values) for field, values in labels.items()}
    coordinates |= {f"source_{field}": ("source", values) for field, values in labels.items()}
    return xr.DataArray(
        np.stack(list(models.values())),
        dims=("model", "seed", "source", "target"),
        coords=coordinates,
    )


def noise(seed: int) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).standard_normal((4, 13, 13))


class Audited(dict[str, Claim]):
    """Claims by their ids, each decided when it is asked for."""

    def __init__(self, mu: xr.DataArray) -> None:
        self.mu = mu

    def __missing__(self, name: str) -> Claim:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(claims, "FINDINGS", [each for each in FINDINGS if each.id == name])
            (self[name],) = claims.decide_claims(self.mu, {})
        return self[name]


def audited(models: dict[str, np.ndarray]) -> Audited:
    return Audited(a_matrix(models))


def test_average_transferability_that_rises_with_size_holds_and_reversed_does_not():
    small, large = noise(0) + 0.05, noise(1) + 0.2
    assert audited({"3B": small, "32B": large})["scale-positive-transferability"].holds is True
    assert audited({"3B": large, "32B": small})["scale-positive-transferability"].holds is False


def test_no_trend_of_the_negative_needs_three_models_that_go_up_and_down():
    a, b, c = noise(0) - 0.1, noise(1) - 0.3, noise(2) - 0.2
    assert audited({"a": a, "b": b, "c": c})["scale-negative-transferability"].holds is True
    assert audited({"a": a, "c": c, "b": b})["scale-negative-transferability"].holds is False
    two = audited({"a": a, "b": b})["scale-negative-transferability"]
    assert two.holds is None
    assert two.tried == 0
    assert "needs at least 3 models, and 2 given" in two.evidence


@pytest.mark.parametrize(
    ("claim", "task", "axis", "amount"),
    [
        ("donor-semantic-correspondence", "Semantic_Correspondence", 1, 0.3),
        ("pirate-functional-correspondence", "Functional_Correspondence", 1, -0.3),
        ("sponge-relative-depth", "Relative_Depth", 2, 0.3),
        ("sieve-forensic-detection", "Forensic_Detection", 2, -0.3),
    ],
)
def test_a_role_holds_where_it_was_put_in_and_only_in_every_model(claim, task, axis, amount):
    with_role, without = noise(0), noise(1)
    place: list[Any] = [slice(None)] * 3
    place[axis] = TASKS.index(task)
    with_role[tuple(place)] += amount
    without[tuple(place)] -= amount
    found = audited({"3B": with_role, "32B": with_role + 0.001})
    assert found[claim].holds is True
    assert found[claim].held == found[claim].tried == 8
    assert audited({"3B": with_role, "32B": without})[claim].holds is False


def test_a_trend_that_rests_on_self_transfer_is_said_to():
    effects = noise(0) + 0.05
    low = [TASKS.index(name) for name in TASKS if KNOWN_TASKS[name].level == "low"]
    effects[:, low] -= 0.02
    effects[:, low, low] = 0.9
    found = audited({"any": effects})["low-level-transferable"]
    assert found.holds is True
    assert found.sensitive_to == ["self-transfer left out"]
    assert found.held == 4


def test_findings_about_models_that_were_not_given_say_so():
    found = audited({"my-model": noise(0)})
    assert found["clique-32b"].holds is None
    assert "needs a model named 32B" in found["clique-32b"].evidence
    assert found["pirate-functional-correspondence-significant"].holds is None


def test_of_effects_that_are_not_known_nothing_is_decided():
    low = [task.level == "low" for task in BLINK]
    effects = noise(0)
    effects[:, :, low] = np.nan  # as where the base is perfect on these targets
    found = audited({"a": noise(0), "b": effects})
    for claim in (found["sponge-relative-depth"], found["low-level-malleable"]):
        assert (claim.holds, claim.tried) == (None, 0)
    assert found["sponge-relative-depth"].evidence == ("needs known effects on Relative Depth in b")
    assert found["low-level-malleable"].evidence == "needs known effects of low-level tasks in b"
    assert found["donor-semantic-correspondence"].holds is not None
    blank = audited({"a": noise(0), "b": np.full((4, 13, 13), np.nan)})
    assert blank["scale-positive-transferability"].holds is None


def test_the_evidence_of_a_clique_speaks_of_significant_ones():
    effects = noise(0) - 0.5
    effects[:, :4, :4] = 0.3  # 12 pairs times 4 seeds above 0
    text = audited({"32B": effects})["clique-32b"].evidence
    assert text == "the largest significant positive one has 4 tasks"
    effects[:, 6:10, 6:10] = 0.3
    text = audited({"32B": effects})["clique-32b"].evidence
    assert text == "the largest significant positive one has 4 tasks (2 of that size)"
    assert audited({"32B": noise(0) - 0.5})["clique-32b"].evidence == (
        "no positive one is significant"
    )


@pytest.mark.parametrize(
    ("names", "size", "found"),
    [
        (["qwen2.5-vl-3b", "qwen2.5-vl-32b"], "3B", "qwen2.5-vl-3b"),
        (["qwen2.5-vl-3b", "qwen2.5-vl-32b"], "32B", "qwen2.5-vl-32b"),
        (["Qwen2.5-VL-32B-Instruct"], "32B", "Qwen2.5-VL-32B-Instruct"),
        (["132B", "2.3B"], "3B", None),
        (["32BIT"], "32B", None),
    ],
)
def test_a_models_size_is_a_word_of_its_name(names, size, found):
    assert named(names, size) == found


def test_the_size_of_a_clique_is_compared_with_the_published_one():
    effects = noise(0) - 0.5
    effects[:, :9, :9] = 0.3 + noise(1)[:, :9, :9]
    found = audited({"32B": effects})
    assert found["clique-32b"].holds is True
    assert found["clique-32b-negative"].holds is False
    assert audited({"32B": effects[:, ::-1, ::-1] * -1})["clique-32b"].holds is False


def test_the_published_findings_hold_on_the_published_values(published_matrix):
    found = {claim.id: claim for claim in claims.decide_claims(published_matrix.pgf, {})}
    for name in (  # sections 4.1 to 5.2 of the paper, as far as two models can tell
        "scale-positive-transferability",
        "scale-positive-malleability",
        "low-level-transferable",
        "low-level-malleable",
        "crop-level-least-malleable",
        "donor-semantic-correspondence-significant",
        "pirate-functional-correspondence",
        "sponge-visual-similarity-significant",
        "sponge-relative-depth-significant",
        "sponge-relative-reflectance",
        "sieve-forensic-detection-significant",
        "clique-3b",
        "clique-32b",
        "clique-32b-negative",
    ):
        assert found[name].holds is True, name
    for name in ("scale-negative-transferability", "clique-7b"):
        assert found[name].holds is None, name


@pytest.mark.parametrize("model", ["3B", "32B"])
def test_choices_are_what_they_say_on_the_published_values(published_matrix, model):
    """Each combination of self-transfer, N and seed mean, against plain loops."""
    matrix = published_matrix.sel(model=[model])
    values = matrix.pgf.isel(model=0)
    by_seed = {
        seed: {
            source: {
                target: float(values.sel(seed=seed, source=source, target=target))
                for target in TASKS
            }
            for source in TASKS
        }
        for seed in values["seed"].values
    }
    mean = {
        source: {t: oracle.mean(by_seed[s][source][t] for s in by_seed) for t in TASKS}
        for source in TASKS
    }
    donor = next(f for f in FINDINGS if f.id == "donor-semantic-correspondence")
    study = claims._Study(matrix.pgf, {})
    for include_self, all_tasks, mean_first in product([False, True], repeat=3):
        choice = claims.Variant(include_self, all_tasks, mean_first)
        cubes = [mean] if mean_first else list(by_seed.values())
        for index, source in enumerate(study.panel(donor, choice).tasks):
            expected = oracle.mean(
                oracle.effect(
                    [cube[source][t] for t in TASKS if include_self or t != source],
                    13 if all_tasks else None,
                ).positive
                for cube in cubes
            )
            found = study.panel(donor, choice).values[0][index, 0]
            assert found == pytest.approx(expected, abs=1e-12)


def test_without_any_difference_between_seeds_there_is_no_p_value():
    said = audited({"3B": np.zeros((4, 13, 13))})["sponge-relative-depth-significant"].evidence
    assert "no p-value, as no seed differs (3B)" in said


def test_the_numbers_that_are_told_are_those_of_the_papers_choices():
    mu = a_matrix({"3B": 20 * noise(3), "32B": 20 * noise(4)})
    found = Audited(mu)
    for quantity in ("transferability", "malleability"):
        means = task_effects.averages(mu, include_self=False)[f"{quantity}_positive"].mean("seed")
        small, large = means.values.tolist()
        assert found[f"scale-positive-{quantity}"].evidence == (
            f"average positive {quantity}: {small:.3f} (3B), {large:.3f} (32B)"
        )


def test_of_one_seed_nothing_is_significant_or_not():
    found = audited({"3B": noise(0)[:1]})
    significant = found["sponge-relative-depth-significant"]
    assert (significant.holds, significant.evidence) == (None, "needs more than one seed")
    assert found["sponge-relative-depth"].holds is not None


def test_levels_and_models_of_significance_are_the_papers():
    """Section 5.2."""
    assert {finding.test for finding in SIGNIFICANT} == {
        ("Semantic_Correspondence", 0.01, ()),
        ("Functional_Correspondence", 0.05, ("3B", "7B")),
        ("Visual_Similarity", 0.001, ()),
        ("Relative_Depth", 0.001, ()),
        ("Forensic_Detection", 0.005, ("3B", "32B")),
    }


@pytest.mark.parametrize(("lost", "significant"), [(5, True), (6, False)])
def test_a_clique_that_few_values_carry_rests_on_the_test_and_on_the_sign_of_the_mean(
    lost, significant
):
    effects = np.full((2, 13, 13), -0.5)
    ranks = np.arange(12, 0, -1.0) * np.where(np.arange(12) < 12 - lost, 1, -1)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    for k, pair in enumerate(pairs):  # of the twelve values the least are below 0
        effects[:, *pair] = ranks[k], ranks[-1 - k]
    test: Any = scipy.stats.wilcoxon(ranks, alternative="greater")
    assert (0.025 < test.pvalue < 0.05) == significant
    found = audited({"3B": effects})["clique-3b"]
    assert (found.holds, found.tried, found.held) == (significant, 4, int(significant))
    if significant:
        assert found.sensitive_to == ["two-sided test", "sign of every seed"]
        assert found.evidence == "the largest significant positive one has 3 tasks"


SIGNIFICANT = [finding for finding in FINDINGS if isinstance(finding, Finding) and finding.test]


def p_values_of(finding: Finding, mu: xr.DataArray, choice: claims.Variant) -> list[float]:
    """Of the tested task in each model, from the seeds' values."""
    effect = getattr(task_effects, finding.quantity)(
        mu, include_self=choice.include_self, considered=13 if choice.all_tasks else None
    )[finding.sign]
    dim = "source" if finding.quantity == "transferability" else "target"
    effect = effect.transpose("model", "seed", dim)
    alternative = "greater" if finding.sign == "positive" else "less"
    found: Any = scipy.stats.ttest_ind(
        effect.sel({dim: finding.test[0]}).values,
        effect.mean(dim).values,
        axis=1,
        equal_var=not choice.welch,
        alternative="two-sided" if choice.two_sided else alternative,
    )
    return found.pvalue.tolist()


@pytest.mark.parametrize("finding", SIGNIFICANT, ids=lambda finding: finding.id)
def test_p_values_are_those_of_the_choice(finding):
    mu = a_matrix({"m": 20 * noise(3), "n": 20 * noise(4)})
    study, names = claims._Study(mu, {}), ("include_self", "all_tasks", "welch", "two_sided")
    for chosen in product([False, True], repeat=4):
        choice = claims.Variant(**dict(zip(names, chosen, strict=True)))
        expected = p_values_of(finding, mu, choice)
        assert list(study.p_values(finding, choice).values()) == pytest.approx(expected)


@pytest.mark.parametrize("finding", SIGNIFICANT, ids=lambda finding: finding.id)
def test_a_role_is_significant_at_the_papers_level_one_sided_in_the_models_it_names(finding):
    task, level, sizes = finding.test
    place: list[Any] = [slice(None)] * 3
    place[1 if finding.quantity == "transferability" else 2] = TASKS.index(task)
    tried = []
    for amount in np.linspace(-0.1, 0.2, 101):
        effects = 10 * noise(3)
        effects[tuple(place)] += amount if finding.sign == "positive" else -amount
        tried.append(effects)
    mu = a_matrix({str(k): effects for k, effects in enumerate(tried)})
    by_p_value = dict(zip(p_values_of(finding, mu, claims.Variant()), tried, strict=True))
    barely = max(p for p in by_p_value if p < level)
    close = min(p for p in by_p_value if p > level)
    certain, without = by_p_value[min(by_p_value)], by_p_value[max(by_p_value)]
    assert barely < level < 2 * barely
    asked = sizes or ("3B", "32B")
    first = dict.fromkeys(asked, certain)
    last = asked[-1]
    found = audited(first | {last: by_p_value[barely]})[finding.id]
    assert found.holds is True
    assert "two-sided test" in found.sensitive_to
    assert f"p = {barely:.2g} ({last})" in found.evidence
    assert found.tried == 32
    assert audited(first | {last: by_p_value[close]})[finding.id].holds is False
    if sizes:  # other models are not asked
        assert audited(first | {"9B": without})[finding.id].holds is True
    turned = audited({size: -its for size, its in first.items()})[finding.id]
    assert (turned.holds, turned.held) == (False, 0)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("include_self", "self-transfer counted"),
        ("welch", "Welch's t-test"),
        ("two_sided", "two-sided test"),
    ],
)
def test_the_choice_that_a_roles_significance_hangs_on_is_named(choice, words):
    finding = next(f for f in SIGNIFICANT if f.id == "donor-semantic-correspondence-significant")
    place = TASKS.index("Semantic_Correspondence")
    tried = [10 * noise(3) for _ in range(201)]
    for effects, amount in zip(tried, np.linspace(-0.03, 0.02, 201), strict=True):
        effects[:, place] += amount
    mu = a_matrix({str(k): effects for k, effects in enumerate(tried)})
    paper, other = (
        np.array(p_values_of(finding, mu, chosen)) < finding.test[1]
        for chosen in (claims.Variant(), claims.Variant(**{choice: True}))
    )
    hangs = np.flatnonzero(paper != other)
    free = np.flatnonzero(paper & other)
    found = [audited({"m": tried[k]})[finding.id] for k in (hangs[0], free[-1])]
    assert [words in claim.sensitive_to for claim in found] == [True, False]


def test_a_trend_that_rests_on_seeds_that_differ_in_sign_is_said_to():
    small, large = np.zeros((4, 13, 13)), np.full((4, 13, 13), 0.05)
    small[:2], small[2:] = 0.3, -0.3
    found = audited({"3B": small, "32B": large})["scale-positive-transferability"]
    assert found.holds is False
    assert found.sensitive_to == ["seeds averaged first"]


def test_a_trend_that_rests_on_n_is_said_to():
    small, large = np.zeros((2, 4, 13, 13))
    places = np.arange(13)
    small[:, places, (places + 1) % 13] = 0.4  # one positive effect of each source
    large[:, ~np.eye(13, dtype=bool)] = 0.05  # twelve
    # eq. 1: 0.4 (1 - exp(-1 / N)) is above 0.05 (1 - exp(-12 / N)) for N = 12, below for 13
    found = audited({"3B": small, "32B": large})["scale-positive-transferability"]
    assert found.holds is False
    assert found.sensitive_to == ["self-transfer counted", "N = all tasks"]


def test_targets_that_are_no_sources_have_their_place():
    effects = noise(0)
    effects[:, :, TASKS.index("Relative_Depth")] += 0.3
    sources = [name for name in TASKS if name not in ("Relative_Depth", "Semantic_Correspondence")]
    mu = a_matrix({"3B": effects}).sel(source=sources)
    found = Audited(mu)
    assert found["sponge-relative-depth"].holds is True
    donor = found["donor-semantic-correspondence"]
    assert (donor.holds, donor.evidence) == (None, "needs the task Semantic_Correspondence")
    study, sponge = claims._Study(mu, {}), SIGNIFICANT[3]
    for all_tasks, considered in ((False, None), (True, 11)):  # of sources, which act on it
        expected = task_effects.malleability(mu, considered=considered)["positive"].mean("seed")
        (values,) = study.panel(sponge, claims.Variant(all_tasks=all_tasks)).values
        assert values[:, 0] == pytest.approx(expected.values[0])


def test_cliques_of_few_tasks_decide_nothing_about_the_papers():
    few = {"source": TASKS[:2], "target": TASKS[:2]}
    effects = a_matrix({"3B": np.full((2, len(TASKS), len(TASKS)), 0.3)}).sel(few)
    (claim,) = [one for one in claims.decide_claims(effects, {}) if one.id == "clique-3b"]
    assert (claim.holds, claim.evidence) == (None, "needs 13 tasks, and 2 given")
