"""The analysis as a whole: what is in it, and what must not change it."""

import dataclasses
import json
import math
import statistics

import numpy as np
import oracle
import polars as pl
import pytest
import scipy.stats
from messages import raises

import transferscope as ts
from transferscope.analysis import Quantity, claims
from transferscope.analysis.json_file import from_json, to_json
from transferscope.analysis.model_effects import ModelEffects, model_effects
from transferscope.analysis.settings import Settings
from transferscope.errors import DataError, StudyError
from transferscope.matrix import from_accuracy, from_pgf, from_predictions
from transferscope.matrix.measure import MEASURES, Measure
from transferscope.report.findings import overviews
from transferscope.stats import simulate
from transferscope.stats.draws import DRAWS

QUICK = Settings()


@pytest.fixture(scope="module")
def predictions() -> pl.DataFrame:
    frame = simulate.example_study(seeds=3, seed=0)[0]
    tasks = frame["target"].unique(maintain_order=True)[:5].to_list()
    keep = pl.col("target").is_in(tasks) & (
        pl.col("source").is_in(tasks) | pl.col("source").is_null()
    )
    return frame.filter(keep, pl.col("model") != "medium")


@pytest.fixture(scope="module")
def analysis(predictions) -> ts.Analysis:
    """Their analysis, for tests that read it alone."""
    return ts.analyze(from_predictions(predictions), QUICK)


def counts(predictions: pl.DataFrame) -> pl.DataFrame:
    cell = ["model", "seed", "source", "target"]
    return predictions.group_by(cell, maintain_order=True).agg(
        pl.col("correct").sum().cast(pl.Float64), pl.len().cast(pl.Float64).alias("total")
    )


@pytest.fixture(scope="module")
def of_counts(predictions) -> ts.Analysis:
    """The analysis of their counts, for tests that read it alone."""
    return ts.analyze(from_accuracy(counts(predictions)), QUICK)


def test_every_number_has_an_interval_around_it(analysis):
    for model in analysis.models.values():
        assert (model.basis, model.items) == ("seeds and items", "predictions")
        for row in model.pgf.values():
            for cell in row.values():
                assert cell.ci[0] <= cell.mean <= cell.ci[1]
                assert cell.mcnemar is not None
        for effects in (model.transferability, model.malleability):
            for effect in effects.values():
                assert effect.positive.ci[0] <= effect.positive.mean <= effect.positive.ci[1]
                assert effect.negative.ci[0] <= effect.negative.mean <= effect.negative.ci[1]
        for records in model.categories.values():
            for category in records.values():
                part = category.without_self.malleability
                if len(category.tasks) > 1:
                    assert part.ci.positive[0] <= part.positive <= part.ci.positive[1]
        for by, axis in model.category_axes.items():
            for giving, row in axis.effects.items():
                for taking, effect in row.items():
                    alone = len(model.categories[by][giving].tasks) == 1
                    if giving == taking and alone:  # self-transfer is left out
                        assert math.isnan(effect.positive)
                        continue
                    assert effect.ci.positive[0] <= effect.positive <= effect.ci.positive[1]
                    assert effect.ci.negative[0] <= effect.negative <= effect.ci.negative[1]
        assert {null.null for null in model.cliques.nulls} == {"no transfer", "column shift"}
        assert model.noise_floor is not None
        assert model.noise_floor.transferability.positive > 0
    for parts in analysis.decomposition.values():
        assert parts.ci["target"][0] <= parts.target <= parts.ci["target"][1]
        assert max(parts.target, parts.source) <= parts.both <= 1
    assert len(analysis.scale.transferability.steps["positive"]) == 1
    assert len(analysis.power) == 2 * 5


def test_an_analysis_survives_the_journey_through_json(of_counts):
    data = to_json(of_counts)
    assert to_json(from_json(data)) == data
    assert b"NaN" not in data
    assert json.loads(data)["schema"] == 1
    with raises(DataError):
        from_json(data.replace(b'"measure": "pgf"', b'"measure": "gain"'))


@pytest.mark.parametrize("text", ['{"schema": 2}', "not json", "{}"])
def test_a_foreign_analysis_file_is_refused_in_one_line(text):
    with raises(DataError) as caught:
        from_json(text.encode(), "study")
    assert "\n" not in str(caught.value)


def test_the_json_has_the_keys_that_scripts_rely_on(analysis):
    data = json.loads(to_json(analysis))
    model = data["models"]["small"]
    source, target = data["tasks"][0]["name"], data["tasks"][1]["name"]
    assert set(model["pgf"][source][target]) >= {"mean", "std", "ci", "seeds"}
    assert set(model["transferability"][source]) == {
        "positive",
        "negative",
        "breadth_positive",
        "breadth_negative",
    }
    assert set(model["transferability"][source]["positive"]) >= {"mean", "seeds"}
    assert isinstance(model["average"]["malleability"]["negative"], float)
    level = next(iter(model["categories"]["level"].values()))
    assert isinstance(level["without_self"]["transferability"]["positive"], float)
    assert set(model["graph"]["edges"][0]) >= {"source", "target", "pgf"}
    assert set(data["personas"]) == {"donor", "pirate", "sponge", "sieve"}
    assert set(data["decomposition"]["small"]) >= {"target", "source", "both"}
    assert data["scale"]["models"] == ["small", "large"]
    assert isinstance(data["scale"]["transferability"]["positive"][0], float)
    assert set(data["claims"][0]) >= {"id", "statement", "holds", "evidence", "sensitive_to"}
    assert set(data["settings"]) >= {
        "ceiling",
        "include_self",
        "alpha",
        "graph_keep",
        "tolerance",
        "seed",
    }


def test_the_order_of_rows_changes_no_number(predictions, of_counts):
    one = of_counts
    shuffled = counts(predictions).sample(fraction=1.0, shuffle=True, seed=3)
    two = ts.analyze(from_accuracy(shuffled), QUICK)
    for name, model in one.models.items():
        other = two.models[name]
        for source, row in model.pgf.items():
            for target, cell in row.items():
                assert cell.mean == pytest.approx(other.pgf[source][target].mean, abs=1e-12)
        for task, effect in model.transferability.items():
            assert effect.positive.mean == pytest.approx(
                other.transferability[task].positive.mean, abs=1e-12
            )
        assert [sorted(c.tasks) for c in model.cliques.positive] == [
            sorted(c.tasks) for c in other.cliques.positive
        ]
        assert model.average.transferability.positive == pytest.approx(
            other.average.transferability.positive, abs=1e-12
        )
    assert {p.task for p in one.personas.donor} == {p.task for p in two.personas.donor}


def test_the_same_study_gives_the_same_bytes(predictions, of_counts):
    matrix = from_accuracy(counts(predictions))
    assert to_json(ts.analyze(matrix, QUICK)) == to_json(of_counts)
    other = dataclasses.replace(QUICK, seed=1)
    assert to_json(ts.analyze(matrix, other)) != to_json(of_counts)


def test_preset_paper_leaves_only_the_papers_tests(predictions):
    settings = dataclasses.replace(QUICK, preset="paper")
    analysis = ts.analyze(from_accuracy(counts(predictions)), settings)
    for model in analysis.models.values():
        assert model.noise_floor is None
        assert model.cliques.nulls == []
        assert all(math.isnan(c.ci[0]) for row in model.pgf.values() for c in row.values())
        for clique in model.cliques.positive:
            assert 0 < clique.p_value < 1
    for persona in analysis.personas.donor:
        assert all(0 < e.p_value < 1 for e in persona.models.values())


def test_one_seed_leaves_tests_out_and_says_so(predictions):
    single = predictions.filter(pl.col("seed") == "seed_0")
    analysis = ts.analyze(from_predictions(single), QUICK)
    model = analysis.models["small"]
    assert model.basis == "items"
    cell = next(iter(next(iter(model.pgf.values())).values()))
    assert math.isnan(cell.std)
    assert cell.ci[0] < cell.ci[1]
    assert any("one seed" in note for note in analysis.notes)
    bare = ts.analyze(
        from_accuracy(
            counts(single).select(
                "model",
                "seed",
                "source",
                "target",
                accuracy=pl.col("correct") / pl.col("total"),
            )
        ),
        QUICK,
    )
    assert bare.models["small"].basis == "none"
    cell = next(iter(next(iter(bare.models["small"].pgf.values())).values()))
    assert math.isnan(cell.ci[0])


def test_sources_and_targets_may_be_different_tasks(predictions):
    targets = predictions["target"].unique(maintain_order=True).to_list()
    part = counts(predictions).filter(
        pl.col("target").is_in(targets[:3]),
        pl.col("source").is_null() | pl.col("source").is_in(targets[2:]),
    )
    analysis = ts.analyze(from_accuracy(part), QUICK)
    model = analysis.models["small"]
    assert list(model.transferability) == targets[2:]
    assert list(model.malleability) == targets[:3]
    assert model.cliques.positive == []
    assert {t.name for t in analysis.tasks if t.source and t.target} == {targets[2]}


def test_what_was_not_measured_is_counted_and_never_zero(predictions):
    table = counts(predictions)
    source, target = table["source"].drop_nulls()[0], table["target"][-1]
    gone = (pl.col("source") == source) & (pl.col("model") == "small")
    partial = table.filter(~(gone & (pl.col("target") != target)).fill_null(False))
    analysis = ts.analyze(from_accuracy(partial), QUICK)
    model = analysis.models["small"]
    assert model.gaps.missing == 3 * 4
    known = {name for name, cell in model.pgf[source].items() if not math.isnan(cell.mean)}
    assert known == {target}
    # eq. 1 with one effect considered: the effect itself, times 1 - 1 / e
    cell, effect = model.pgf[source][target], model.transferability[source]
    expected = [max(v, 0) * (1 - math.exp(-1)) for v in cell.seeds.values()]
    assert list(effect.positive.seeds.values()) == pytest.approx(expected)
    assert all(source not in clique.tasks for clique in model.cliques.positive)
    assert any("not measured" in note or "missing" in note for note in analysis.notes)
    assert to_json(from_json(to_json(analysis))) == to_json(analysis)


def test_a_pgf_table_without_counts_says_what_its_intervals_leave_out():
    rng = np.random.default_rng(0)
    rows = [
        {"model": "m", "seed": f"s{s}", "source": a, "target": b, "pgf": float(v)}
        for s in range(3)
        for a in "xyz"
        for b in "xyz"
        for v in [rng.normal()]
    ]
    frame = pl.DataFrame(rows).with_columns(pl.col("pgf").clip(-0.9, 0.9))
    analysis = ts.analyze(from_pgf(frame), QUICK)
    assert analysis.models["m"].basis == "seeds"
    assert any("account for seeds alone" in note for note in analysis.notes)
    with raises(StudyError):
        ts.analyze(from_pgf(frame), dataclasses.replace(QUICK, measure="raw_gain"))


def test_of_a_cell_every_p_value_and_the_spread_agree_with_a_second_computation(
    predictions, analysis
):
    right = {}
    for row in predictions.select("model", "seed", "source", "target", "item", "correct").rows():
        right.setdefault(row[:4], {})[row[4]] = row[5]
    for name, model in analysis.models.items():
        cells = [(s, t, cell) for s, row in model.pgf.items() for t, cell in row.items()]
        for source, target, cell in cells:
            assert cell.std == pytest.approx(statistics.stdev(cell.seeds.values()))
            for seed, p_value in cell.mcnemar.items():
                base, tuned = (right[name, seed, its, target] for its in (None, source))
                fixed = sum(tuned[item] > base[item] for item in base)
                changed = sum(tuned[item] != base[item] for item in base)
                assert p_value == pytest.approx(scipy.stats.binomtest(fixed, changed or 1).pvalue
                                                if changed else 1)  # fmt: skip
        others = [cell for source, target, cell in cells if source != target]
        expected = oracle.benjamini_hochberg([cell.p_value for cell in others])
        assert [cell.q_value for cell in others] == pytest.approx(expected)
        assert all(math.isnan(cell.q_value) for s, t, cell in cells if s == t)


def test_a_tables_noise_floor_is_that_of_its_own_axis(predictions):
    """Eq. 1 is concave in how many effects are positive, so one source's many targets give more
    than as many targets with one source each."""
    one = predictions.filter(pl.col("model") == "small")
    names = one["target"].unique(maintain_order=True).to_list()
    part = one.filter(
        pl.col("source").is_null() | (pl.col("source") == names[0]), pl.col("target") != names[0]
    )
    floor = ts.analyze(from_predictions(part), QUICK).models["small"].noise_floor
    assert floor.transferability.positive > floor.malleability.positive > 0
    assert floor.transferability.negative < floor.malleability.negative < 0


def effects_of(usual: dict[str, float], spread: dict[str, float]) -> pl.DataFrame:
    """PGF by source, the same on every target but for each model's spread over seeds and cells."""
    rng = np.random.default_rng(1)
    rows = [
        {"model": model, "seed": f"s{seed}", "source": source, "target": target}
        | {"pgf": mean + (own * rng.normal() if own else 0.01 * ord(target[-1]) / 100)}
        for model, own in spread.items()
        for seed in range(3)
        for source, mean in usual.items()
        for target in usual
    ]
    return pl.DataFrame(rows)


def test_a_step_and_a_role_are_as_sure_as_the_seeds_that_differ():
    usual = {"a": 0.4, "b": 0.3, "harms": -0.5, "c": 0.35}
    made = ts.analyze(from_pgf(effects_of(usual, {"equal": 0.0, "varied": 0.02})), QUICK)
    for trend in (made.scale.transferability, made.scale.malleability):
        for sign in ("positive", "negative"):
            first, own = getattr(trend, sign)[0], trend.ci[sign][1]
            assert trend.steps[sign] == [pytest.approx((own[0] - first, own[1] - first), abs=1e-6)]
    (pirate,) = made.personas.pirate
    assert (pirate.task, pirate.support) == ("harms", 1)
    assert "a" in {donor.task for donor in made.personas.donor if donor.support == 1}
    for its in pirate.models.values():
        assert its.ci[0] - 1e-6 <= its.value - its.average <= its.ci[1] + 1e-6


def test_power_is_that_of_the_studys_own_intervals(analysis):
    for power in analysis.power:
        model = analysis.models[power.model]
        cells = [row[power.target] for source, row in model.pgf.items() if source != power.target]
        reach = statistics.median((c.change_ci[1] - c.change_ci[0]) / 2 for c in cells)
        # Beyond the reach by what a mean of so many items varies, which is less than the reach.
        assert reach < power.smallest < 1.6 * reach
        gap = 1 - model.base_accuracy[power.target]
        assert power.smallest_pgf == pytest.approx(power.smallest / gap)
        assert power.items == cells[0].n


def test_targets_near_their_ceiling_and_constant_answers_are_noted():
    tasks = {"nine": 9, "ten": 10, "none": 0}
    rows = [
        {"model": "m", "seed": seed, "source": source, "target": target, "total": 100.0}
        | {"correct": 100.0 - errors + (source is not None) * (errors > 9)}
        for seed in ("0", "1", "2", "3")
        for source in (None, *tasks)
        for target, errors in tasks.items()
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    notes = ts.analyze(from_accuracy(frame), QUICK).notes
    (near,) = [note for note in notes if "the base errs on fewer than" in note]
    assert "items of nine (9). " in near
    # all 8 adapters of other tasks gain one answer on `ten`; on the others nothing changes
    (same,) = [note for note in notes if "constant answer" in note]
    assert same.startswith("m: 8 of 8 adapters change ten by exactly +0.100")
    half = (pl.col("target") == "ten") & pl.col("seed").is_in(["0", "1"])
    halved = frame.with_columns(correct=pl.col("correct") - half.cast(pl.Float64))
    notes = ts.analyze(from_accuracy(halved), QUICK).notes
    assert not any("constant answer" in note for note in notes)


@pytest.mark.parametrize("measure", ["relative_gain", "raw_gain"])
def test_any_measure_can_take_the_place_of_pgf(predictions, measure):
    matrix = from_predictions(predictions)
    analysis = ts.analyze(matrix, dataclasses.replace(QUICK, measure=measure))
    name, source, target = "small", *matrix["target"].values[:2].tolist()
    base = matrix["base_accuracy"].sel(model=name, target=target).values
    tuned = matrix["accuracy"].sel(model=name, source=source, target=target).values
    expected = tuned - base if measure == "raw_gain" else (tuned - base) / base
    cell = analysis.models[name].pgf[source][target]
    assert cell.mean == pytest.approx(expected.mean(), abs=1e-12)
    assert cell.ci[0] <= cell.mean <= cell.ci[1]


def test_a_new_measure_needs_one_record(predictions, monkeypatch):
    points = Measure("points", lambda base, _: base * 0 + 0.01, slope=0.0)
    monkeypatch.setitem(MEASURES, "points", points)
    matrix = from_predictions(predictions)
    known, new = (
        ts.analyze(matrix, dataclasses.replace(QUICK, measure=name)).models["small"]
        for name in ("raw_gain", "points")
    )
    source, target = matrix["source"].values[0].item(), matrix["target"].values[1].item()
    one, other = known.pgf[source][target], new.pgf[source][target]
    assert other.mean == pytest.approx(100 * one.mean)
    assert other.ci == pytest.approx([100 * end for end in one.ci])
    assert new.noise_floor.malleability.positive == pytest.approx(
        100 * known.noise_floor.malleability.positive, rel=1e-4
    )


@pytest.mark.parametrize("ceiling", [0.95, "self"])
def test_intervals_follow_the_ceiling(predictions, ceiling):
    matrix = ts.apply_ceiling(from_predictions(predictions), ceiling)
    analysis = ts.analyze(matrix, QUICK)
    assert analysis.settings.ceiling == ceiling
    model = analysis.models["small"]
    for row in model.pgf.values():
        for cell in row.values():
            if not math.isnan(cell.ci[0]):
                assert cell.ci[0] <= cell.mean <= cell.ci[1]


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 1.5},
        {"graph_keep": 0.0},
        {"tolerance": 0.0},
        {"item_correlation": 1.0},
        {"seed": -1},
        {"measure": "gain"},
    ],
)
def test_settings_out_of_range_are_refused(predictions, change):
    with raises(StudyError):
        ts.analyze(from_predictions(predictions), dataclasses.replace(QUICK, **change))


def test_published_numbers_come_out(published_analysis):
    small, large = published_analysis.models.values()
    # reference/datasets.md 5.3: the formula on these files, self-transfer left out
    assert small.average.transferability.positive == pytest.approx(0.0440, abs=5e-5)
    assert large.average.transferability.positive == pytest.approx(0.1284, abs=5e-5)
    assert small.average.transferability.negative == pytest.approx(-0.0350, abs=5e-5)
    assert large.average.transferability.negative == pytest.approx(-0.0269, abs=5e-5)
    assert large.cliques.positive[0].size == 9
    assert large.cliques.negative[0].size == 4
    assert set(small.base_errors["Visual_Similarity"].values()) == {56}
    assert set(small.base_errors["Counting"].values()) == {39}
    # section 5.2: the published personas are among those that these two models support
    named = {
        role: {p.task for p in getattr(published_analysis.personas, role)}
        for role in ("donor", "pirate", "sponge", "sieve")
    }
    assert "Semantic_Correspondence" in named["donor"]
    assert "Functional_Correspondence" in named["pirate"]
    assert named["sponge"] >= {"Visual_Similarity", "Relative_Depth", "Relative_Reflectance"}
    assert "Forensic_Detection" in named["sieve"]
    # datasets.md 5.3: most 3B adapters answer 59 of 133 Multi-view items, as always "(A)" does
    assert any(
        "Multi-view_Reasoning by exactly +0.075" in note for note in published_analysis.notes
    )


def test_a_base_without_errors_ran_its_seeds_and_leaves_no_gap(predictions: pl.DataFrame):
    perfect = (pl.col("model") == "small") & pl.col("source").is_null()
    right = predictions.with_columns(
        choice=pl.when(perfect).then("answer").otherwise("choice"),
        correct=perfect | pl.col("correct"),
        unreadable=~perfect & pl.col("unreadable"),
    )
    analysis = ts.analyze(from_predictions(right), QUICK)
    seeds = predictions["seed"].unique().sort().to_list()
    assert analysis.models["small"].seeds == analysis.models["large"].seeds == seeds
    gaps = analysis.models["small"].gaps
    assert (gaps.cells, gaps.missing, gaps.undefined) == (75, 0, 75)
    assert analysis.models["small"].basis == "seeds and items"  # of changes of accuracy
    assert all(verdict.kind == "harms" for verdict in analysis.models["small"].verdicts.values())
    assert set(analysis.models["small"].base_accuracy.values()) == {1.0}
    tiles = {each.model: each.tiles for each in overviews(analysis)}
    assert (tiles["small"][0].number, tiles["small"][0].text) == (0, "learned their own task")
    alone = ts.analyze(from_predictions(predictions.filter(pl.col("model") == "large")), QUICK)
    assert repr(analysis.models["large"].pgf) == repr(alone.models["large"].pgf)  # NaN is not NaN


def test_a_cell_of_one_seed_among_several_borrows_how_far_seeds_differ(predictions):
    one = predictions.filter(pl.col("model") == "small")
    source, target = one["source"].drop_nulls()[0], one["target"][-1]
    gone = (pl.col("source") == source) & (pl.col("target") == target)
    part = one.filter(~(gone & (pl.col("seed") != "seed_0")).fill_null(False))
    known = ts.analyze(from_predictions(one), QUICK).models["small"].pgf[source][target]
    cell = ts.analyze(from_predictions(part), QUICK).models["small"].pgf[source][target]
    assert math.isnan(cell.std)
    assert np.diff(cell.change_ci) > np.diff(known.change_ci)
    assert cell.change == pytest.approx(known.seeds["seed_0"] * (1 - base_of(one, target)))


def base_of(frame: pl.DataFrame, target: str) -> float:
    """The base's accuracy on a target."""
    rows = frame.filter(pl.col("source").is_null(), pl.col("target") == target)
    return float(rows["correct"].cast(pl.Float64).to_numpy().mean())


@pytest.mark.parametrize(
    ("measure", "ceiling", "capped"),
    [("pgf", 1.0, True), ("pgf", 0.7, False), ("relative_gain", 1.0, False)],
)
def test_only_a_pgf_at_a_ceiling_of_1_is_at_most_1(measure, ceiling, capped):
    world = simulate.SimulatedModel(
        ("a", "b"), np.full(2, 0.3), np.array([[0.9, 0.97], [0.97, 0.9]]), np.full(2, 40)
    )
    made, _ = simulate.predictions_of("m", world, 2, 0)
    matrix = ts.apply_ceiling(from_predictions(made), ceiling)
    cell = ts.analyze(matrix, dataclasses.replace(QUICK, measure=measure)).models["m"].pgf["a"]["b"]
    assert (cell.ci[1] == 1) == capped
    assert (cell.mean > 1) != capped


def test_intervals_of_averages_are_those_of_the_draws(predictions):
    used = predictions.filter(pl.col("model") == "small")
    matrix = from_predictions(used)
    model = ts.analyze(matrix, QUICK).models["small"]
    one, tasks = model_effects(matrix, matrix["pgf"], "small", QUICK), matrix["target"].values
    tasks = tasks.tolist()
    for sign, bounds in (("positive", (0.0, math.inf)), ("negative", (-math.inf, 0.0))):
        drawn = one.of_tasks("transferability", sign, include_self=False)
        for i, task in enumerate(tasks):
            its = getattr(model.transferability[task], sign)
            assert its.ci == pytest.approx(one.ends(drawn[i], its.mean, *bounds))
        average = model.average.transferability
        mean = getattr(average, sign)
        expected = one.ends(drawn.mean(axis=0), mean, *bounds)
        assert getattr(average.ci, sign) == pytest.approx(expected)
        # The draws of a quantity lie around it, though noise makes sums of positive parts larger.
        assert drawn.mean() == pytest.approx(mean, abs=1e-4)
    for clique in [*model.cliques.positive, *model.cliques.negative]:
        members = [tasks.index(name) for name in clique.tasks]
        block = one.drawn[np.ix_(members, members)][~np.eye(len(members), dtype=bool)]
        assert clique.ci == pytest.approx(one.ends(block.mean(axis=0), clique.mean))


def test_a_trend_whose_order_self_transfer_makes_is_named():
    low = ("Relative_Depth", "Relative_Reflectance", "Visual_Correspondence")
    tasks = {**dict.fromkeys(low, (0.1, 0.9)), "Jigsaw": (0.2, 0.2), "Counting": (0.2, 0.2)}
    rows = [
        {"model": "m", "seed": str(seed), "source": source, "target": target}
        | {"pgf": tasks[source][source == target] + 0.001 * seed}
        for seed in range(2)
        for source in tasks
        for target in tasks
    ]
    model = ts.analyze(from_pgf(pl.DataFrame(rows)), QUICK).models["m"]
    assert model.category_axes["level"].rests_on_self == ["transferability.positive"]
    rows = [row | {"source": row["target"], "target": row["source"]} for row in rows]
    model = ts.analyze(from_pgf(pl.DataFrame(rows)), QUICK).models["m"]
    assert model.category_axes["level"].rests_on_self == ["malleability.positive"]


def test_support_is_the_share_of_draws_in_which_a_finding_holds(monkeypatch):
    asked = [f for f in claims.FINDINGS if f.id.startswith(("scale-positive", "low-level"))]
    monkeypatch.setattr(claims, "FINDINGS", asked)
    frame = simulate.example_study(seeds=2, seed=0)[0]
    tasks = frame["target"].unique(maintain_order=True)[::-1][:7].to_list()
    keep = pl.col("target").is_in(tasks) & pl.col("source").fill_null(tasks[0]).is_in(tasks)
    matrix = from_predictions(frame.filter(keep, pl.col("model") != "medium"))
    levels = matrix["level"].values.tolist()
    assert set(levels) == {"low", "mid", "high"}
    evidence = {m: model_effects(matrix, matrix["pgf"], m, QUICK) for m in ("small", "large")}

    def share(claim: str, known: dict[str, ModelEffects]) -> float:
        found = {its.id: its for its in claims.decide_claims(matrix["pgf"], known)}
        return found[claim].support

    quantities: tuple[Quantity, ...] = ("transferability", "malleability")
    for quantity in quantities:
        drawn = [
            its.of_tasks(quantity, "positive", include_self=False) for its in evidence.values()
        ]
        rises = drawn[1].mean(axis=0) > drawn[0].mean(axis=0)
        assert share(f"scale-positive-{quantity}", evidence) == rises.mean()
        first = np.ones(DRAWS, dtype=bool)
        for its in evidence.values():
            tasks = its.of_tasks(quantity, "positive", include_self=True)
            of = {n: tasks[[level == n for level in levels]].mean(axis=0) for n in set(levels)}
            first &= (of["low"] > of["mid"]) & (of["low"] > of["high"])
        name = "low-level-" + {"transferability": "transferable"}.get(quantity, "malleable")
        assert share(name, evidence) == first.mean()
    without = evidence | {"large": dataclasses.replace(evidence["large"], basis="none")}
    assert math.isnan(share("scale-positive-malleability", without))


def test_an_analysis_written_before_there_were_points_is_still_read(analysis):
    data = json.loads(to_json(analysis))
    del data["settings"]["tolerance"]
    data["settings"]["bootstrap"] = 10_000  # a setting that is gone
    for power in data["power"]:
        del power["smallest"]
    for model in data["models"].values():
        del model["verdicts"], model["seed_share"]
        for cell in [cell for row in model["pgf"].values() for cell in row.values()]:
            for name in ("change", "change_ci", "expected", "helps", "harms"):
                del cell[name]
    older = from_json(json.dumps(data).encode())
    assert older.models["small"].verdicts == {}
    assert overviews(older)[0].tiles
