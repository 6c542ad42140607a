"""A training that went astray fails its own run: nothing of it is kept, and others go on."""

import json
import sys
from pathlib import Path

import engine_factory as factory
import numpy as np
import pytest
import torch
from engine_factory import train_fleet
from fake_engine import FakeEngine, Made, digest
from messages import raises

import transferscope as ts
from transferscope import cli
from transferscope import store as results
from transferscope.engine import train
from transferscope.engine.adapter import save_adapter
from transferscope.engine.loss_curve import LossCurve, LossLog, checked_curve
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.errors import DataError
from transferscope.execution import runner
from transferscope.execution.run_state import RunState
from transferscope.execution.runner import run_study
from transferscope.store.progress import progress_of
from transferscope.study.file import parse_study

torch.set_num_threads(1)

REAL = """\
name: astray
models: {good: glimpse-s, bad: {where: glimpse-s, learning_rate: RATE}}
suite: glimpse
sources: [Counting, Spatial_Relation]
targets: [Counting]
seeds: 1
recipe: {items: 8, epochs: 3, batch_size: 4, rank: 4}
evaluation: {items: 4}
"""


def jobs(count):
    return [
        TrainingJob(f"t{n}", n, factory.items(4, seed=n), 10 + n, 20 + n, 30 + n)
        for n in range(count)
    ]


@pytest.mark.parametrize("folded", [True, False])
def test_an_adapter_that_diverges_leaves_its_neighbours_unharmed(folded, monkeypatch):
    base = factory.small_base()
    monkeypatch.setattr(train, "memory_plan", lambda *its: MemoryPlan(3, 1, False))
    monkeypatch.setattr(train, "folding_pays", lambda *its: folded)
    alone = train_fleet(base, jobs(3), factory.recipe())
    initialize = train.Stack.initialize

    def astray(stack, seeds):
        initialize(stack, seeds)
        stack.values[0][1] = 1e30

    monkeypatch.setattr(train.Stack, "initialize", astray)
    together = train_fleet(base, jobs(3), factory.recipe())
    (bad,) = (one for one in together if one.curve.failed)
    assert bad.curve.failed.startswith("diverged: its loss is not finite at step 1 of 2")
    for one, other in zip(alone, together, strict=True):
        if other is not bad:
            assert one.curve == other.curve
            assert all(torch.equal(its, other.tensors[key]) for key, its in one.tensors.items())


def test_losses_are_the_mean_cross_entropy_of_each_steps_batch(monkeypatch):
    """Against the answers' log-probabilities as scoring gives them, before the first step."""
    base = factory.small_base()
    recipe = factory.recipe(epochs=1, batch_size=2, loss="letter")
    (one,) = train_fleet(base, jobs(1), recipe)
    items = jobs(1)[0].items[:2]
    (answers,) = score_fleet(base, [None], items)
    expected = -np.mean([a.logprobs[i.answer] for a, i in zip(answers, items, strict=True)])
    assert len(one.curve.losses) == len(one.curve.norms) == 2
    assert one.curve.losses[0] == pytest.approx(expected, abs=1e-5)
    (parts,) = train_fleet(base, jobs(1), recipe, rows=1)
    assert parts.curve.losses == pytest.approx(one.curve.losses, abs=1e-5)


def test_an_adapter_of_a_learning_rate_of_a_million_is_never_written(tmp_path):
    (made,) = train_fleet(factory.small_base(), jobs(1), factory.recipe(learning_rate=1e6))
    assert made.curve.failed.startswith("diverged: its ")
    assert made.curve.failed.endswith("; lower the learning rate, which is 1e+06")
    with raises(DataError):
        save_adapter(made, tmp_path / "a")
    assert not any(tmp_path.iterdir())


def test_an_adapter_that_changes_no_answer_fails():
    (made,) = train_fleet(factory.small_base(), jobs(1), factory.recipe(learning_rate=0.0))
    assert made.curve.failed.startswith("learned nothing: in every layer lora_A or lora_B is zero")
    (made,) = train_fleet(factory.small_base(), jobs(1), factory.recipe())
    assert not made.curve.failed


def test_a_fleet_in_which_nothing_is_finite_stops_early():
    log = LossLog([100, 3])
    going = [log.add(torch.tensor([1.0 if step < 20 else torch.nan, torch.nan]), torch.ones(2))
             for step in range(32)]  # fmt: skip
    assert going == [True] * 31 + [False]
    first, second = log.curves()
    assert first.failed == "diverged: its loss is not finite at step 21 of 100"
    assert second.failed == "diverged: its loss is not finite at step 1 of 3"
    assert checked_curve(
        LossCurve(), {"x.lora_B.weight": torch.tensor(torch.inf)}, 1.0
    ).failed.startswith("diverged: its weights are not finite")


def test_a_curve_is_written_with_its_ends_and_null_for_what_is_no_number():
    losses = tuple(float(n) for n in range(120))
    record = LossCurve(losses, losses).record()
    assert record["step"][0] == 1
    assert record["step"][-1] == record["steps"] == 120
    assert len(record["step"]) <= 51
    assert record["loss"] == [step - 1 for step in record["step"]]
    assert (record["first"], record["last"]) == (0, 119)
    assert record["mean_of_last_tenth"] == np.mean(range(108, 120))
    bad = LossCurve((1.0, float("nan")), (2.0, float("inf"))).record()
    assert (bad["loss"], bad["gradient_norm"]) == ([1.0, None], [2.0, None])
    json.dumps(bad, allow_nan=False)


def test_a_study_says_which_runs_diverged_and_tries_them_again(tmp_path, monkeypatch, capsys):
    """For real: one model's learning rate is a million; then it is lowered."""
    file, out = tmp_path / "study.yaml", tmp_path / "out"
    words = ["transferscope", "run", str(file), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    for rate in ("1000000", "1000000", "4.0e-3"):
        file.write_text(REAL.replace("RATE", rate), encoding="utf-8")
        with pytest.raises(SystemExit) as stopped:
            sys.exit(cli.main())
        now, said = progress_of(out), capsys.readouterr().err
        kept = {path.parts[-4] for path in out.glob("adapters/*/*/*/adapter_model.safetensors")}
        if rate == "4.0e-3":
            break
        assert stopped.value.code == 1
        assert (now.state, now.cells, now.total_cells) == ("failed in part", 4, 6)
        assert [one["runs"] for one in now.failed] == [
            ["bad, Counting, seed 0"],
            ["bad, Spatial_Relation, seed 0"],
        ]
        for one in now.failed:
            assert one["error"].startswith("diverged: its ")
            assert one["error"] in said
        assert kept == {"good"}
    assert stopped.value.code in (0, None)
    assert (now.state, now.cells, now.failed) == ("done", 6, [])
    assert kept == {"good", "bad"}
    curves = [line for line in results.logged(out) if line["event"] == "curve"]
    assert [line["runs"][0] for line in curves] == [
        *("good, Counting, seed 0", "good, Spatial_Relation, seed 0"),
        *(["bad, Counting, seed 0", "bad, Spatial_Relation, seed 0"] * 3),
    ]
    assert curves[0]["steps"] == 6
    assert curves[0]["last"] < curves[0]["first"]


def made_study(tmp_path: Path) -> str:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_text("s")
    text = REAL.replace("glimpse-s, bad: {where: glimpse-s, learning_rate: RATE}", "BASE")
    return text.replace("BASE", str(tmp_path / "base"))


def test_the_others_of_a_fleet_are_kept_and_scored(tmp_path, monkeypatch):
    study, fake = parse_study(made_study(tmp_path), "study.yaml"), FakeEngine()
    monkeypatch.setattr(runner, "load_engine", fake.load)
    fake.diverge = {"Counting"}
    outcome = run_study(study, tmp_path / "out")
    assert [str(one) for one in outcome.failed] == ["good, Counting, seed 0: diverged: made up"]
    assert (outcome.cells, outcome.of, outcome.adapters) == (2, 3, 1)
    fake.diverge, fake.trained = set(), []
    outcome = run_study(study, tmp_path / "out")
    assert (outcome.cells, outcome.failed) == (3, ())
    assert fake.trained == [("Counting", 0)]


def test_a_curve_is_that_of_the_adapter_whose_answers_are_shown(tmp_path, monkeypatch):
    study, out, fake = made_study(tmp_path), tmp_path / "out", FakeEngine()
    monkeypatch.setattr(runner, "load_engine", fake.load)

    def losses(rank, first):
        """The first losses after a run with this rank, whose trainings begin with `first`."""
        monkeypatch.setattr(Made, "curve", LossCurve((first, 0.5), (first, 1.0)))
        run_study(parse_study(study.replace("rank: 4", f"rank: {rank}"), "study.yaml"), out)
        found = ts.analyze(out).losses().filter(step=1)
        assert found["loss"].equals(found["gradient_norm"].alias("loss"))
        return dict(found.select("source", "loss").rows())

    both = ("Counting", "Spatial_Relation")
    assert losses(4, 1.0) == dict.fromkeys(both, 1.0)
    assert losses(8, 2.0) == dict.fromkeys(both, 2.0)
    assert losses(4, 3.0) == dict.fromkeys(both, 1.0)  # nothing was trained: the answers are known
    fake.diverge = {"Counting"}
    assert losses(16, 4.0)["Spatial_Relation"] == 4.0
    (failed,) = (one for one in ts.analyze(out).trainings if one.failed)
    assert (failed.source, failed.failed, failed.step) == ("Counting", "diverged: made up", [1, 2])
    title = ts.analyze(out).plot.losses().to_dict()["title"]
    assert "Failed and not kept (×): Counting (seed 0, diverged)" in title["subtitle"]
    fake.diverge = set()
    assert losses(16, 5.0) == {"Counting": 5.0, "Spatial_Relation": 4.0}
    assert not any(one.failed for one in ts.analyze(out).trainings)


def test_a_line_of_an_earlier_version_counts_where_it_is_the_only_one(tmp_path, monkeypatch):
    study, out = parse_study(made_study(tmp_path), "study.yaml"), tmp_path / "out"
    monkeypatch.setattr(runner, "load_engine", FakeEngine().load)
    run_study(study, out)
    log, found = out / results.LOG, ts.analyze(out).losses()
    lines = results.logged(out)
    old = [json.dumps({k: v for k, v in line.items() if k != "key"}) for line in lines]
    log.write_text("\n".join(old))
    assert ts.analyze(out).losses().equals(found)
    (again,) = (line for line in old if '"curve"' in line and "Counting" in line)
    damaged = json.dumps({"event": "curve", "model": "good", "runs": [3], "step": "?"})
    log.write_text("\n".join([*old, again, damaged, damaged.replace("3", '"good, a, seed 0"')]))
    assert ts.analyze(out).losses().equals(found.filter(source="Spatial_Relation"))
    log.unlink()
    assert ts.analyze(out).losses().is_empty()


UNMOVED = "changes no answer: all log-probabilities and replies equal the base's, within 1e-05"


@pytest.mark.parametrize("base_last", [False, True])
def test_an_adapter_that_answers_as_the_base_fails_with_its_states(
    tmp_path, monkeypatch, base_last
):
    """A worker that scores the base may be slower than the others."""
    text = made_study(tmp_path).replace("{items: 4}", "{items: 4, at: [0.5], strengths: [0.5]}")
    study, out = parse_study(text, "study.yaml"), tmp_path / "out"
    attempts = RunState.attempts
    order = -1 if base_last else 1
    monkeypatch.setattr(RunState, "attempts", lambda its, name: attempts(its, name)[::order])
    for trained in (2, 0):  # its adapter and its scores are kept, so a second run is quick
        fake, events = FakeEngine(), []
        fake.idle = {"Counting"}
        monkeypatch.setattr(runner, "load_engine", fake.load)
        outcome = run_study(study, out, on_event=events.append)
        (failure,) = outcome.failed
        assert failure.error.startswith(UNMOVED)
        assert failure.runs == tuple(
            f"good, {source}, seed 0" for source in ("Counting", "Counting @ 3", "Counting x 0.5")
        )
        assert (outcome.cells, outcome.of, outcome.adapters) == (4, 7, 1)
        assert (len(fake.trained), len(fake.scored)) == (trained, 7 * 4 if trained else 0)
        assert (events[-1].cells, events[-1].work) == (4, events[-1].total)
        now = progress_of(out)
        assert (now.state, now.cells, len(now.failed)) == ("failed in part", 4, 1)
        assert {one["run"]["source"] for one in results.run_records(out)} == {
            *(None, "Spatial_Relation", "Spatial_Relation @ 3", "Spatial_Relation x 0.5"),
        }


def test_a_brought_adapter_that_answers_as_the_base_fails(tmp_path, monkeypatch):
    (tmp_path / "idle").mkdir()
    (tmp_path / "idle" / "adapter_config.json").write_text("{}")
    (tmp_path / "idle" / "adapter_model.safetensors").write_text(digest("s"))
    text = made_study(tmp_path) + f"adapters: {{Counting: {{0: {tmp_path / 'idle'}}}}}\n"
    monkeypatch.setattr(runner, "load_engine", FakeEngine().load)
    outcome = run_study(parse_study(text, "study.yaml"), tmp_path / "out")
    assert [one.runs for one in outcome.failed] == [("good, Counting, seed 0",)]
    assert outcome.cells == 2


def test_an_adapter_of_pefts_that_hardly_learned_fails(tmp_path):
    """PiSSA's lora_B is not zero at the start, so only the scores show it."""
    text = REAL.replace(", bad: {where: glimpse-s, learning_rate: RATE}", "")
    peft = (
        "rank: 4, learning_rate: RATE, peft: {target_modules: [q_proj], init_lora_weights: pissa}"
    )
    text = text.replace("[Counting, Spatial_Relation]", "[Counting]").replace("rank: 4", peft)
    for rate, cells in (("1.0e-12", 1), ("1.0e-3", 2)):
        study = parse_study(text.replace("RATE", rate), "study.yaml")
        outcome = run_study(study, tmp_path / "out")
        assert (outcome.cells, len(outcome.failed)) == (cells, 2 - cells)
        assert all(one.error.startswith(UNMOVED) for one in outcome.failed)
