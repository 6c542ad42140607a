"""The experiment of Figure 8: what is chosen, what competes, how it is judged."""

import json
import math
import shutil
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest
from fake_engine import FakeEngine, digest
from messages import raises
from scipy import stats
from typer.testing import CliRunner

from transferscope import store as results
from transferscope.analysis.analyze import analyze
from transferscope.analysis.json_file import from_json, to_json
from transferscope.analysis.parts import STRATEGIES, Strategy
from transferscope.analysis.settings import Settings
from transferscope.cli.app import app
from transferscope.engine.records import Prediction
from transferscope.errors import StudyError
from transferscope.execution import runner
from transferscope.matrix import from_predictions
from transferscope.predictions import check_predictions
from transferscope.readers import read_results
from transferscope.selection import Mixture, experiment
from transferscope.selection.trials import contenders, experiment_of, judge, judging_study
from transferscope.store.progress import judging_progress
from transferscope.study.file import parse_study, resolved
from transferscope.study.plan import plan_study

TEXT = """\
name: one
models: {s: BASE}
suite: glimpse
sources: [Counting, Jigsaw, Relative_Reflectance, Spatial_Relation]
targets: [Counting, Jigsaw, Relative_Reflectance, Spatial_Relation]
seeds: 2
recipe: {items: 8}
evaluation: {items: 30}
budget: {fleet: 5}
selection: {targets: [Counting, Jigsaw], rule: paper, seeds: 3, items: 40, draws: 2}
"""
QUICK = Settings()
HELPS = {("Spatial_Relation", "Counting"): 0.4, ("Counting", "Counting"): 0.5}
"""What learning from a source alone adds to the share of a target's items that are right."""


@dataclass
class TeachingLab(FakeEngine):
    """Adapters do what they learned from is known to do, in proportion; 40 % is known before."""

    teaches: dict = field(default_factory=dict)
    luck: dict = field(default_factory=dict)
    """{seed: what every adapter of it gets right or wrong besides}"""
    left: int = 10**9
    """Steps until the user stops it."""

    def __post_init__(self):
        super().__init__()

    def step(self):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def train_fleet(self, base, jobs, recipe, *, rows, progress, snapshots):
        list(super().train_fleet(base, jobs, recipe, rows=rows, progress=progress, snapshots=()))
        for index, job in enumerate(jobs):
            tasks = [item.task for item in job.items]
            shares = {task: tasks.count(task) / len(tasks) for task in dict.fromkeys(tasks)}
            about = {"shares": shares, "seed": job.seed, "source": job.source}
            yield {index: self.made(json.dumps(about), job)}

    def score_fleet(self, base, adapters, items, *, scoring, reply_tokens, batch_size, progress):
        self.step()
        return [[self.answer(adapter, item) for item in items] for adapter in adapters]

    def answer(self, adapter, item):
        right = 0.4
        if adapter is not None:
            its = json.loads(adapter)
            right -= 0.1 - self.luck.get(its["seed"], 0)
            right += sum(
                share * self.teaches.get((task, item.task), 0)
                for task, share in its["shares"].items()
            )
        hard = int(digest(item.id)[:8], 16) / 16**8
        own = int(digest(adapter, item.id)[:8], 16) / 16**8
        choice = item.answer if 0.8 * hard + 0.2 * own < right else (item.answer + 1) % 2
        return Prediction(choice, tuple(-float(k != choice) for k in range(len(item.choices))), 1.0)


def carry_out(folder, text=TEXT, fail=(), on_event=lambda event: None, **lab):
    """Carry out the experiment in a folder; returns the lab and what was found."""
    fake, out = TeachingLab(**lab), folder / "out"
    fake.fail = set(fail)
    (folder / "base").mkdir(parents=True, exist_ok=True)
    (folder / "base" / "weights").write_text("s")
    study = parse_study(text.replace("BASE", str(folder / "base")), "study.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_engine", fake.load)
        runner.run_study(study, out)
        analysis = analyze(read_results(out), QUICK)
        done = experiment.carry_out(study, analysis, out, on_event=on_event)
    assert bool(done.outcome.failed) == bool(fail) == (done.outcome.cells < done.outcome.of)
    assert done.experiment is not None
    return fake, done.experiment


@pytest.fixture(scope="module")
def events():
    """What was told while `won` was judged."""
    return []


@pytest.fixture(scope="module")
def won(tmp_path_factory, events):
    """A case where the informed mixture must win: its folder, the lab, what was found."""
    folder = tmp_path_factory.mktemp("won")
    return folder, *carry_out(folder, teaches=HELPS, on_event=events.append)


def study_of(text=TEXT):
    return parse_study(text.replace("BASE", "glimpse-s"), "study.yaml")


# The study file


def test_seeds_that_judge_are_counted_from_the_studys_own():
    assert experiment_of(study_of()).seeds == (2, 3, 4)
    others = study_of(TEXT.replace("seeds: 2", "seeds: [5, 1]", 1))
    assert experiment_of(others).seeds == (6, 7, 8)
    assert experiment_of(study_of(TEXT.replace("seeds: 3, ", ""))).seeds == (2, 3, 4, 5)
    assert parse_study(resolved(study_of()).decode(), "again") == study_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds: 3", "seeds: [1, 7]"),
        ("seeds: 3", "seeds: [7, 7]"),
        ("seeds: 3", "seeds: 0"),
        ("targets: [Counting, Jigsaw],", "targets: [Countin],"),
        ("targets: [Counting, Jigsaw], r", "targets: [], r"),
        ("rule: paper", "rul: paper"),
        ("evaluation: {items: 30}", ""),
        (
            "sources: [Counting, Jigsaw, Relative_Reflectance, Spatial_Relation]",
            "sources: [Counting]",
        ),
        (
            "sources: [Counting, Jigsaw, Relative_Reflectance, Spatial_Relation]",
            "sources: [Counting, Counting_open]",
        ),
    ],
)
def test_what_is_no_experiment_is_refused_in_one_line(old, new):
    with raises(StudyError):
        study_of(TEXT.replace(old, new))


# What competes


def test_random_mixtures_have_the_informed_ones_size_and_shares_and_never_its_sources():
    study = study_of()
    chosen = {"Jigsaw": 0.75, "Spatial_Relation": 0.25}
    found = contenders(study, "Counting", chosen)["random"]
    assert len(found.mixtures) == 2 * 3
    for name, shares in found.mixtures.items():
        assert sorted(shares.values()) == [0.25, 0.75]
        assert set(shares) != set(chosen)
        assert "Counting" not in shares
        assert len(found.seeds[name]) == 1
    for seed in (2, 3, 4):
        its = [set(found.mixtures[n]) for n, seeds in found.seeds.items() if seeds == (seed,)]
        assert len(its) == 2
        assert its[0] != its[1]
    assert found == contenders(study, "Counting", chosen)["random"]


def test_the_open_form_of_a_target_is_no_other_source():
    study = study_of()
    study = study.model_copy(update={"sources": (*(study.sources or ()), "Counting_open")})
    for target in ("Counting", "Counting_open"):
        (shares,) = contenders(study, target, {"Jigsaw": 1.0})["all"].mixtures.values()
        assert list(shares) == ["Jigsaw", "Relative_Reflectance", "Spatial_Relation"]


def test_ways_that_coincide_or_do_not_exist_are_said_so():
    study = study_of()
    third = 1 / 3
    rest = ["Jigsaw", "Relative_Reflectance", "Spatial_Relation"]
    whole = contenders(study, "Counting", dict.fromkeys(rest, third))
    assert whole["all"].mixtures == whole["informed"].mixtures
    assert whole["all"].why == "the same as the informed mixture"
    assert whole["random"].mixtures == {}
    assert "takes all 3 sources" in whole["random"].why
    nothing = contenders(study, "Counting", {}, has_training_data=False)
    assert [name for name, way in nothing.items() if way.mixtures] == ["all"]
    assert all(nothing[name].why for name in ("direct", "informed", "random"))


def test_all_that_competes_learns_from_equally_many_items():
    study = study_of()
    its = contenders(study, "Counting", {"Jigsaw": 0.5, "Spatial_Relation": 0.5})
    second = judging_study(study, "s", "Counting", its)
    assert (second.seeds, second.sources) == ((2, 3, 4), ("Counting",))
    assert (second.evaluation.after, second.evaluation.items) == (30, 40)
    plan = plan_study(second)
    assert set(plan.training_counts.values()) == {8}
    assert plan.summary()["adapters to train"] == 3 * (1 + 1 + 1 + 2)
    first = plan_study(study).items.eval_items("Counting")
    assert not {item.id for item in first} & {i.id for i in plan.items.eval_items("Counting")}


# How it comes out


def test_a_mixture_that_must_win_wins(won):
    found = won[2]
    trial = found.models["s"].targets["Counting"]
    assert trial.arms["informed"].mixtures == {"informed for Counting": {"Spatial_Relation": 1.0}}
    for rival in ("random", "all", "base"):
        assert trial.differences[rival].ci[0] > 0
    verdict = found.models["s"].verdict
    assert verdict[0].startswith(
        "The informed mixture is better than random mixtures of the same size on Counting: +"
    )
    assert any("For Jigsaw the matrix names nothing" in line for line in verdict)
    assert found.other_items
    assert found.questions == {"Counting": 40, "Jigsaw": 40}


def test_the_numbers_are_those_of_a_second_computation(won):
    folder, _, found = won
    tables = (folder / "out" / "judging" / "s" / "Counting").rglob("*.parquet")
    rows = pl.concat(pl.read_parquet(path) for path in tables)
    right = rows.filter(pl.col("target") == "Counting").group_by("seed", "source")
    cells = right.agg(pl.col("correct").cast(pl.Float64).mean())
    share = {(seed, source): value for seed, source, value in cells.rows()}
    base = share[None, None]
    trial = found.models["s"].targets["Counting"]
    effects = {}
    for name, arm in trial.arms.items():
        for seed in ("2", "3", "4"):
            values = [share[seed, adapter] for adapter in arm.mixtures if (seed, adapter) in share]
            assert len(values) == {"base": 0, "random": 2}.get(name, 1)
            mean = sum(values) / len(values) if values else base
            assert arm.accuracy.seeds[seed] == pytest.approx(mean)
            effects[name, seed] = mean - base
            assert arm.effect.seeds[seed] == pytest.approx(effects[name, seed])
    for name, difference in trial.differences.items():
        apart = [effects["informed", s] - effects[name, s] for s in ("2", "3", "4")]
        assert difference.mean == pytest.approx(sum(apart) / 3)
        assert difference.ci[0] <= difference.mean <= difference.ci[1]


def judged_on(right):
    """100 items of two targets; `right`: {(seed, adapter): how many of the first it gets right}."""
    contests = {
        target: contenders(study_of(), target, {"Relative_Reflectance": 1.0})
        for target in ("Counting", "Jigsaw")
    }
    rows = [
        ("m", seed, source, target, str(item), item < right.get((seed, source), 0))
        for target, its in contests.items()
        for seed in ("2", "3", "4")
        for source in (None, *(name for way in its.values() for name in way.mixtures))
        if not (source or "").startswith("random") or f" {seed}." in (source or "")
        for item in range(100)
    ]
    columns = ["model", "seed", "source", "target", "item", "correct"]
    table = check_predictions(
        pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None), "made"
    )
    nothing = Mixture("m", "", "paper", 0.0, [], [], math.nan, "made", [], None, [])
    return judge(
        from_predictions(table), "m", contests, dict.fromkeys(contests, nothing), Settings()
    )


def test_intervals_of_differences_are_those_of_items_and_of_students_t_over_seeds():
    """The informed mixture gets all of Counting right with two seeds of three, random ones nothing,
    but one of the two of seed 3 half: chance is in the seeds alone, and in those 50 items."""
    right = dict.fromkeys([("2", "informed for Counting"), ("4", "informed for Counting")], 100)
    right["3", "random 3.1 for Counting"] = 50
    right["2", "informed for Jigsaw"] = 60
    trial = judged_on(right).targets["Counting"]
    among_items = np.repeat([0.25, -0.25], 50) / 3  # mean over seeds, around each seed's mean
    expected: dict[Strategy, tuple[list[float], np.ndarray]] = {
        "base": ([1, 0, 1], np.zeros(100)),
        "random": ([1, -0.25, 1], among_items),
    }
    for rival, (values, moved) in expected.items():
        difference = trial.differences[rival]
        mean = sum(values) / 3
        halves = (1 + mean**2) / 100**2  # two half items that change by 1 and by -1
        items = stats.t.ppf(0.975, 99) ** 2 * (moved.var(ddof=1) / 100 + halves)
        reach = math.sqrt(items + stats.t.ppf(0.975, 2) ** 2 * np.var(values, ddof=1) / 3)
        assert difference.mean == pytest.approx(mean)
        assert list(difference.seeds.values()) == pytest.approx(values)
        ends = max(mean - reach, -1), min(mean + reach, 1)
        assert difference.ci == pytest.approx(ends)
    # of accuracies 1, 0 and 1 the interval is cut off at what can be
    assert trial.arms["informed"].accuracy.ci == (0, 1)
    assert trial.arms["base"].effect.ci == (0, 0)


def test_a_mean_over_targets_has_the_spread_of_the_seeds_means():
    right = {("2", "informed for Counting"): 40, ("3", "informed for Counting"): 30}
    right |= {("2", "informed for Jigsaw"): 20, ("4", "informed for Jigsaw"): 20}
    found = judged_on(right)
    assert found.compared["base"] == ["Counting", "Jigsaw"]
    mean = found.differences["base"]
    values = [0.3, 0.15, 0.1]  # of both targets, seed by seed
    assert list(mean.seeds.values()) == pytest.approx(values)
    variances = []
    for rights in ((40, 30, 0), (20, 0, 20)):
        marks = np.array([np.arange(100) < number for number in rights], float)
        over_seeds = (marks - marks.mean(axis=1, keepdims=True)).mean(axis=0)
        halves = (1 + marks.mean() ** 2) / 100**2
        variances.append(over_seeds.var(ddof=1) / 100 + halves)
    df = 99 * sum(variances) ** 2 / sum(v**2 for v in variances)  # Welch and Satterthwaite
    items = stats.t.ppf(0.975, df) ** 2 * sum(variances) / 4
    reach = math.sqrt(items + stats.t.ppf(0.975, 2) ** 2 * np.var(values, ddof=1) / 3)
    assert mean.mean == pytest.approx(np.mean(values))
    assert mean.ci == pytest.approx((mean.mean - reach, mean.mean + reach))
    points = f"+18.3 points (−{100 * (reach - mean.mean):.1f} to +{100 * (mean.mean + reach):.1f})"
    assert found.verdict[2].endswith(f"over the 2 by {points}, which may be noise.")


def test_where_nothing_helps_nothing_is_chosen_and_the_rest_is_judged(tmp_path):
    fake, found = carry_out(tmp_path, teaches={("Counting", "Counting"): 0.5})
    one = found.models["s"]
    for target in ("Counting", "Jigsaw"):
        arms = one.targets[target].arms
        assert arms["informed"].mixtures == arms["random"].mixtures == {}
        assert arms["direct"].accuracy.mean > 0
        assert arms["all"].accuracy.mean > 0
    assert one.verdict == [
        "For Counting and Jigsaw the matrix names nothing that helps surely enough: "
        "there is no informed mixture to judge."
    ]
    assert not [source for source, _ in fake.trained if "informed" in source]


def test_what_judges_has_no_part_in_the_choice(won, tmp_path):
    folder, _, found = won
    _, other = carry_out(tmp_path, teaches=HELPS, luck={2: -0.2, 3: 0.3, 4: -0.1})
    chosen, again = (
        results.read_json(place / "out" / results.SELECTION)["models"]
        for place in (folder, tmp_path)
    )
    assert again == chosen
    assert other.models["s"].targets["Counting"] != found.models["s"].targets["Counting"]
    assert not set(found.informed_by) & set(found.judged_by)


def test_no_mixture_has_the_targets_own_data(won):
    learned = {job.source: {item.task for item in job.items} for job in won[1].jobs}
    for target in ("Counting", "Jigsaw"):
        competing = [name for name in learned if name.endswith(f" for {target}")]
        assert competing
        assert all(target not in learned[name] for name in competing)


@pytest.mark.usefixtures("won")
def test_the_bar_tells_how_far_all_targets_together_are(events):
    assert sum(bool(event.note) for event in events) >= 2  # one for each target
    assert len({event.of for event in events}) == 1
    for values in ([e.cells for e in events], [e.work for e in events]):
        assert values == sorted(values)
    assert events[0].total == pytest.approx(events[-1].work)  # it was known from the start
    assert events[-1].cells == events[-1].of


# Killed and changed


@pytest.mark.parametrize("steps", [16, 50])
def test_an_experiment_that_was_stopped_goes_on_and_ends_the_same(won, tmp_path, steps):
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path, teaches=HELPS, left=steps)
    again, found = carry_out(tmp_path, teaches=HELPS)
    assert 0 < len(again.trained) < len(won[1].trained)
    assert str(found) == str(won[2])


def test_what_fails_is_missing_and_the_rest_is_judged(tmp_path):
    text = TEXT.replace("fleet: 5", "fleet: 100")
    _, found = carry_out(tmp_path, text, fail=["all for Jigsaw"], teaches=HELPS)
    assert list(found.models["s"].targets) == ["Counting"]
    assert found.notes == ["s: nothing was judged for Jigsaw: its training failed."]
    whole, again = carry_out(tmp_path, text, teaches=HELPS)
    assert {name for name, _ in whole.trained} == {"Jigsaw", "all for Jigsaw"}
    assert list(again.models["s"].targets) == ["Counting", "Jigsaw"]


def test_another_choice_redoes_what_depends_on_it_and_nothing_else(won, tmp_path):
    folder = shutil.copytree(won[0], tmp_path / "copy")
    again, found = carry_out(folder, teaches=HELPS)
    assert again.trained == []
    assert str(found) == str(won[2])
    text = TEXT.replace("rule: paper", "rule: paper, threshold: -1")
    other, found = carry_out(folder, text, teaches=HELPS)
    assert {name.split()[0] for name, _ in other.trained} == {"informed"}
    assert found.models["s"].targets["Counting"].arms["random"].mixtures == {}


def test_the_record_is_part_of_the_analysis(won):
    folder, _, found = won
    analysis = replace(analyze(read_results(folder / "out"), QUICK), experiment=found)
    assert to_json(from_json(to_json(analysis))) == to_json(analysis)
    assert list(found.models["s"].targets["Counting"].arms) == list(STRATEGIES)


def test_analyze_shows_the_experiment_of_a_folder_and_trains_nothing(won, tmp_path):
    folder = shutil.copytree(won[0] / "out", tmp_path / "out")
    analysis = analyze(read_results(folder), QUICK)
    assert str(experiment.judged(folder, analysis)) == str(won[2])
    assert experiment.judged(folder / "judging" / "s" / "Counting", analysis) is None
    done = CliRunner().invoke(app, ["analyze", str(folder), "--json"])
    assert json.loads(done.stdout)["experiment"]["models"]["s"]["verdict"]
    (folder / "judging" / "s" / "Counting" / "run.jsonl").unlink()
    found = experiment.judged(folder, analysis)
    assert found is not None
    assert list(found.models["s"].targets) == ["Jigsaw"]
    assert "nothing was judged for Counting: its judging is not finished" in found.notes[0]


def test_an_experiment_is_not_shown_beside_a_matrix_that_chooses_otherwise(won, tmp_path):
    folder = shutil.copytree(won[0] / "out", tmp_path / "out")
    analysis = analyze(read_results(folder), QUICK)
    for effects in analysis.models["s"].pgf.values():
        effects["Counting"] = replace(effects["Counting"], mean=-1.0)
    (other := folder / "selection.json").write_text(
        other.read_text().replace('"from": "', '"from": "0')
    )
    assert experiment.judged(folder, analysis) is None
    shutil.copy(won[0] / "out" / "selection.json", other)
    found = experiment.judged(folder, analysis)
    assert found is not None
    assert list(found.models["s"].targets) == ["Jigsaw"]
    assert "chooses another mixture than the one that was tried" in found.notes[0]


# The plan, and how far it is


def test_status_tells_of_both_stages(won):
    folder = won[0] / "out"
    stages = judging_progress(folder)
    assert {name: one.state for name, one in stages.items()} == {
        "s, Counting": "done",
        "s, Jigsaw": "done",
    }
    done = CliRunner().invoke(app, ["status", str(folder)])
    assert "one: done, 36 of 36 cells (100%)" in done.stdout
    assert "judging s, Jigsaw: done, 7 of 7 cells (100%)" in done.stdout


def plan_of(folder, text=TEXT):
    """What `plan --json` says."""
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / "weights").write_text("s")
    (folder / "study.yaml").write_text(text.replace("BASE", str(folder / "base")))
    arguments = [folder / "study.yaml", "--out", folder / "out", "--no-calibration", "--json"]
    done = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_plan_counts_both_stages_before_and_after_the_choice(won, tmp_path):
    before = plan_of(tmp_path)
    assert (before["cells"], before["adapters to train"]) == (9 * 4, 2 * 4)
    most = before["judging"]
    assert most["chosen"] is False
    assert most["summary"]["adapters to train"] == 2 * 3 * (1 + 1 + 1 + 2)
    assert most["summary"]["cells"] == 2 * (1 + 15)
    assert most["summary"]["cells finished"] == 0
    folder, _, _ = won
    after = plan_of(folder)["judging"]
    assert after["chosen"] is True
    # Counting has an informed mixture, Jigsaw has none, hence no random ones.
    assert after["summary"]["adapters to train"] == 3 * (1 + 1 + 1 + 2) + 3 * (1 + 1)
    assert after["summary"]["cells finished"] == after["summary"]["cells"] == 1 + 15 + 1 + 6
    changed = plan_of(folder, TEXT.replace("rule: paper", "rule: paper, threshold: 0.2"))
    assert changed["judging"]["chosen"] is False
