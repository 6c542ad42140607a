"""Whether a finetune harms: in points, corrected for its targets, not fooled by counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

import transferscope as ts
from transferscope.analysis import Cell
from transferscope.analysis.cell_effects import cells
from transferscope.analysis.model_effects import model_effects
from transferscope.analysis.parts import Estimate
from transferscope.analysis.settings import Settings
from transferscope.analysis.verdict import beyond_noise
from transferscope.analysis.verdicts import verdicts
from transferscope.matrix import from_accuracy, from_predictions
from transferscope.readers.checks import check_rows
from transferscope.report.page_data import cell_data
from transferscope.stats import simulate

TARGETS = tuple(f"t{k}" for k in range(4))
Marks = Callable[[str | None, str, int], np.ndarray]


def table(marks: Marks, *, seeds: int = 1, targets=TARGETS, groups: int = 0) -> pl.DataFrame:
    """Predictions where base (None) and one source answer as `marks(source, target, seed)` says."""
    frames = []
    for seed in range(seeds):
        for source in (None, "s"):
            for target in targets:
                right = marks(source, target, seed) > 0.5
                columns = {
                    "item": [f"{target}/{k}" for k in range(len(right))],
                    "correct": right,
                }
                if groups:
                    columns["group"] = [f"image {k // groups}" for k in range(len(right))]
                keys = {"model": "m", "seed": str(seed), "source": source, "target": target}
                columns |= {
                    name: pl.repeat(value, len(right), dtype=pl.String, eager=True)
                    for name, value in keys.items()
                }
                frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def share(of: float, items: int) -> np.ndarray:
    return (np.arange(items) < of * items).astype(float)


def the_model(frame: pl.DataFrame, settings: Settings | None = None):
    return ts.analyze(from_predictions(frame), settings).models["m"]


def test_a_target_that_the_base_solves_and_the_finetune_destroys_is_harmed():
    def marks(source, target, seed):
        return share(0.5 if source and target == "t0" else 1.0, 100)

    model = the_model(table(marks))
    cell = model.pgf["s"]["t0"]
    assert np.isnan(cell.mean)  # without a gap there is no PGF
    assert cell.change == -0.5
    assert cell.p_value < 1e-10
    assert model.verdicts["s"].kind == "harms"
    assert model.verdicts["s"].harmed[0] == "t0"


def test_a_loss_spread_over_all_targets_is_a_harm_and_not_safe():
    names = tuple(f"t{k}" for k in range(13))
    rng = np.random.default_rng(0)

    def marks(source, target, seed):
        right = rng.permutation(25) < 15
        return np.where(rng.permutation(25) < 4, 0, right) if source else right

    before = {name: marks(None, name, 0) for name in names}

    def paired(source, target, seed):  # 4 of 25 are lost everywhere: 16 points
        right = before[target].copy()
        if source:
            right[np.flatnonzero(right)[:4]] = 0
        return right

    verdict = the_model(table(paired, targets=names)).verdicts["s"]
    assert verdict.mean == pytest.approx(-0.16)
    # Four of four changed items for the worse have p = 1/8: no single target is a harm.
    assert binom.cdf(0, 4, 0.5) * 2 == 1 / 8
    assert verdict.kind == "harms"
    assert verdict.harmed == ["mean"]


def test_safe_means_that_a_loss_beyond_the_tolerance_is_ruled_out_on_every_target():
    def marks(source, target, seed):
        return share(0.5, 2_000)

    safe = the_model(table(marks)).verdicts["s"]
    assert (safe.kind, safe.harmed, safe.needed) == ("safe", [], None)
    assert 0 < safe.loss < 0.01  # two half items of 2,000

    def few(source, target, seed):
        right = share(0.5, 60)
        if source:  # six items change, three for the better
            right[:3], right[-3:] = 0, 1
        return right

    unsettled = the_model(table(few)).verdicts["s"]
    assert unsettled.kind == "not settled"
    assert unsettled.loss > 0.05
    # With so many more items the one-sided bound lies within the tolerance in 80 % of studies.
    variance = 6 / 60**2 + 1 / 60**2
    assert unsettled.needed == pytest.approx(
        60 * variance / (0.05 / (1.645 + 0.842)) ** 2, rel=0.03
    )
    wide = the_model(table(few), Settings(tolerance=0.2)).verdicts["s"]
    assert wide.kind == "safe"


def test_a_target_that_was_not_measured_is_never_safe():
    frame = table(lambda *_: share(0.5, 2_000))
    gone = pl.col("source").eq_missing(pl.lit("s")) & (pl.col("target") == "t1")
    verdict = the_model(frame.filter(~gone)).verdicts["s"]
    assert (verdict.kind, verdict.untested) == ("not settled", ["t1"])


def test_one_answer_to_everything_is_a_harm_whatever_it_scores():
    frame = table(lambda *_: share(0.5, 400), targets=TARGETS[:2])
    answer = np.arange(400) % 2
    frames = []
    for (source, target), rows in frame.group_by("source", "target", maintain_order=True):
        right = rows["correct"].to_numpy()
        choice = np.where(right, answer, 1 - answer)
        if source == "s" and target == "t0":
            choice = np.zeros(400, int)  # half of the answers are (A): as good as the base
        frames.append(rows.with_columns(choice=choice, answer=answer, correct=choice == answer))
    verdict = the_model(pl.concat(frames)).verdicts["s"]
    assert verdict.collapsed == ["t0"]
    assert verdict.kind == "harms"


def test_items_of_one_image_and_copied_seeds_are_not_counted_again():
    rng = np.random.default_rng(3)
    base, tuned = rng.random(80) < 0.5, rng.random(80) < 0.6

    def plain(source, target, seed):
        return tuned if source else base

    def fourfold(source, target, seed):
        return np.repeat(tuned if source else base, 4)

    one = the_model(table(plain)).pgf["s"]["t0"]
    grouped = the_model(table(fourfold, groups=4)).pgf["s"]["t0"]
    alone = the_model(table(fourfold)).pgf["s"]["t0"]
    width, of_groups, without = (np.diff(c.change_ci)[0] for c in (one, grouped, alone))
    assert of_groups == pytest.approx(width, rel=0.02)  # a little: the half items
    assert without < 0.55 * width
    frame = table(plain, seeds=3)
    matrix = from_predictions(frame).assign_attrs(checks=check_rows(frame))
    copied = ts.analyze(matrix)
    assert [check.copied for check in copied.checks] == ["1", "2"]
    cell = copied.models["m"].pgf["s"]["t0"]
    assert cell.change_ci == pytest.approx(one.change_ci)
    assert [np.isfinite(v) for v in cell.seeds.values()] == [True]


def test_of_void_runs_no_more_is_said_than_that_no_effect_is_known():
    frame = table(lambda source, target, seed: np.arange(30) % 2)
    checks = check_rows(frame)
    assert [check.severity for check in checks] == ["void"]
    notes = ts.analyze(from_predictions(frame).assign_attrs(checks=checks)).notes
    assert "m: no effect is known, as each is void or was not measured." in notes
    assert not [note for note in notes if "only counts" in note or "one seed" in note]


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("seeds", "options"),
    [(2, {"training": np.full((8, 8), 0.3)}), (4, {"base": 0.95})],
)
def test_without_effects_no_more_is_found_than_is_promised(seeds, options):
    """Two seeds whose runs move as a whole; one base that meets several seeds near the ceiling."""
    tasks, base = tuple(f"task {k}" for k in range(8)), options.pop("base", 0.5)
    world = simulate.SimulatedModel(
        tasks, np.full(8, base), np.zeros((8, 8)), np.full(8, 100), **options
    )
    holds, harmful, beyond = [], [], []
    # The studies are models of one matrix, which is made once.
    names = [f"m{study}" for study in range(25)]
    frames = [simulate.predictions_of(m, world, seeds, 300 + k)[0] for k, m in enumerate(names)]
    matrix = from_predictions(pl.concat(frames).drop("choice", "answer", "unreadable"))
    for model in names:
        one = model_effects(matrix, matrix["pgf"], model, Settings())
        found = cells(one)
        others = [c for s, row in found.items() for t, c in row.items() if s != t]
        holds.append(any(cell.q_value <= 0.05 for cell in others))
        beyond += [cell.p_value <= 0.05 for cell in others]
        harmful += [verdict.kind == "harms" for verdict in verdicts(one, found, None).values()]
    assert np.mean(beyond) <= 0.06
    assert np.mean(harmful) <= 0.07
    assert np.mean(holds) <= 0.12


def test_what_is_expected_of_a_clear_effect_lies_in_its_own_interval():
    predictions, _ = simulate.example_study()
    model = the_model(predictions.filter(model="large").with_columns(model=pl.lit("m")))
    clear = 0
    for source, row in model.pgf.items():
        for target, cell in row.items():
            if source != target and cell.q_value <= 0.05:
                clear += 1
                low, high = cell.change_ci
                spare = 0.1 * (high - low)  # what all effects say may lie a little outside
                assert low - spare <= cell.expected <= high + spare
    assert clear > 15


CELL = Cell(0.2, 0.1, (0.1, 0.3), 0.01, 0.02, {"0": 0.2})


@pytest.mark.parametrize(("p", "beyond"), [(0.05, True), (0.06, False), (float("nan"), None)])
def test_an_effect_is_beyond_noise_where_its_p_value_says_so(p, beyond):
    assert beyond_noise(replace(CELL, p_value=p), 0.05) is beyond


def test_an_estimate_is_judged_by_its_interval():
    assert beyond_noise(Estimate(0.2, (0.1, 0.3), {}), 0.05) is True
    assert beyond_noise(Estimate(0.2, (-0.1, 0.3), {}), 0.05) is False


def test_how_much_seeds_tell_is_known_from_widths_alone():
    rng = np.random.default_rng(0)
    table_of = [
        ("m", str(seed), source, "t", right, 10_000.0)
        for seed in range(3)
        for source, right in (
            (None, 5000.0),
            *((f"s{k}", 5000 + 400 * rng.standard_normal()) for k in range(5)),
        )
    ]
    schema = ["model", "seed", "source", "target", "correct", "total"]
    rows = pl.DataFrame(table_of, schema=schema, orient="row").with_columns(
        pl.col("correct").round()
    )
    model = ts.analyze(from_accuracy(rows)).models["m"]
    assert model.seed_share["t"] > 0.9  # runs move by 4 points, 10,000 items by half a point
    turned = rows.with_columns(
        correct=pl.when(pl.col("source").is_null())
        .then("correct")
        .otherwise(10_000 - pl.col("correct"))
    )
    again = ts.analyze(from_accuracy(turned)).models["m"]
    assert again.seed_share["t"] == pytest.approx(model.seed_share["t"], rel=1e-6)


def test_confidence_stands_beside_accuracy_and_never_counts():
    rng = np.random.default_rng(0)
    rows, shares = [], {}
    for source in (None, "s"):
        of_right = []
        for k in range(60):
            sharp = 20 if source else 2  # the finetune is surer of the same options
            chances = rng.dirichlet(np.array([3.0, 1, 1]) * sharp)
            choice = int(chances.argmax())
            rows.append(("m", "0", source, "t", str(k), choice, 0, choice == 0, np.log(chances)))
            of_right.append(chances[0])
        shares[source] = np.array(of_right)
    schema = {"model": pl.String, "seed": pl.String, "source": pl.String, "target": pl.String}
    schema |= {"item": pl.String, "choice": pl.Int64, "answer": pl.Int64, "correct": pl.Boolean}
    schema |= {"logprobs": pl.List(pl.Float64)}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    model = the_model(frame)
    cell = model.pgf["s"]["t"]
    assert cell.confidence == pytest.approx((shares["s"] - shares[None]).mean(), abs=1e-6)
    assert cell.confidence_ci is not None
    low, high = cell.confidence_ci
    assert low < shares["s"].mean() - shares[None].mean() < high
    page = cell_data(ts.analyze(from_predictions(frame)))
    (row,) = page["models"][0]["cells"]
    assert row["confidence"] == pytest.approx(cell.confidence, rel=1e-3)
    plain = the_model(frame.drop("logprobs"))
    assert plain.pgf["s"]["t"].confidence is None
    assert plain.verdicts == model.verdicts


def test_sources_that_each_have_a_seed_of_their_own_show_nothing_of_seeds():
    rng = np.random.default_rng(0)
    frame = table(lambda source, target, seed: rng.random(80), seeds=2, targets=TARGETS[:2])
    own = pl.when(pl.col("seed") == "0").then(pl.lit("s")).otherwise(pl.lit("r"))
    frame = frame.with_columns(source=pl.when(pl.col("source").is_not_null()).then(own))
    analysis = ts.analyze(from_predictions(frame))
    model = analysis.models["m"]
    assert model.basis == "items"
    assert all(np.isnan(share) for share in model.seed_share.values())
    assert any("one seed of each source. Intervals account for items" in n for n in analysis.notes)
