"""The schedule of a study on several workers: small cases by hand, and what holds for all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.engine.glimpse.shipped import folder
from transferscope.study.cost_record import Device, Speeds
from transferscope.study.file import parse_study, suite_of
from transferscope.study.items import Stock
from transferscope.study.plan import plan_study
from transferscope.study.sampling import sample
from transferscope.study.schedule import (
    START,
    Job,
    Opening,
    Rates,
    jobs_of,
    least,
    openings_of,
    simulate,
)
from transferscope.study.shapes import read_shapes
from transferscope.study.study_cost import Whole, estimate, priced

TEXT = """\
name: one
models: {s: glimpse-s}
suite: glimpse
sources: [Relative_Depth, Counting]
targets: [Relative_Depth, Jigsaw]
seeds: 3
recipe: {items: 900, batch_size: 4, epochs: 2}
evaluation: {items: 50}
controls: [shuffled, reordered]
budget: {fleet: 2}
"""
FREE = {"A": Opening(0.0), "B": Opening(0.0)}


def jobs(model: str, *seconds: float) -> list[Job]:
    return [Job(model, its) for its in seconds]


# By hand


def test_the_next_shard_goes_to_who_is_free_first():
    # 3 and 3, then 2 and 2, then 2 more: 7 seconds, where 6 were possible
    found = simulate(jobs("A", 3, 3, 2, 2, 2), FREE, 2)
    assert (found.makespan, found.busy) == (7, (7, 5))
    assert found.utilisation == 12 / 14
    assert (found.longest, found.openings) == (3, 2)


def test_a_base_is_loaded_once_by_each_worker_that_takes_it_up():
    openings = {"A": Opening(1.0, questions=0.5), "B": Opening(4.0)}
    # A 0 to 3.5 on both; the first then loads B and has it from 3.5 to 9.5, and then 2 more of it
    found = simulate([*jobs("A", 2, 2), *jobs("B", 2, 9, 2)], openings, 2)
    assert found.busy == (3.5 + 6 + 2, 3.5 + 13)
    assert (found.makespan, found.openings) == (16.5, 4)


def test_a_worker_looks_at_a_picture_once():
    opening = {"A": Opening(0.0, questions=1.0, pools={"T": 10.0, "U": 4.0})}
    work = [Job("A", 0.0, {"T": 0.5}), Job("A", 0.0, {"T": 0.5, "U": 1.0})]
    # half of T; then half of what is left of T, as draws by chance overlap, and U
    assert simulate(work, opening, 1).makespan == 1 + 5 + 2.5 + 4
    assert simulate(work, opening, 2).busy == (1 + 5, 1 + 5 + 4)
    again = {"A": opening["A"]._replace(keeps=False)}
    assert simulate(work, again, 1).makespan == (1 + 5) + (1 + 5 + 4)


def test_more_workers_than_shards_have_nothing_to_do():
    found = simulate(jobs("A", 2, 3), FREE, 5)
    assert (found.makespan, found.busy) == (3, (2, 3, 0, 0, 0))
    assert found.utilisation == pytest.approx(5 / 15)


def test_the_least_time_is_an_even_share_or_the_longest_shard():
    assert least(jobs("A", 9, 1, 2), 3) == 9
    assert least(jobs("A", 3, 4, 5), 2) == 6


# For all


@st.composite
def studies(draw):
    seconds = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=12)
    openings, work = {}, []
    for model in "AB"[: draw(st.integers(1, 2))]:
        load, questions, pool = (draw(st.floats(0, 9)) for _ in range(3))
        openings[model] = Opening(load, questions, {"T": pool}, draw(st.booleans()))
        work += [Job(model, its, {"T": draw(st.floats(0, 1))}) for its in draw(seconds)]
    return work, openings


@given(studies(), st.integers(1, 6))
def test_no_schedule_beats_the_bounds_and_none_is_worse_than_lists_can_be(study, workers):
    work, openings = study
    found = simulate(work, openings, workers)
    worst = [
        job.seconds + o.seconds + o.questions + job.looks["T"] * o.pools["T"]
        for job in work
        for o in [openings[job.model]]
    ]
    assert found.makespan >= least(work, workers) - 1e-9
    # Graham, 1966: a list's schedule is at most this long
    graham = sum(worst) / workers + (1 - 1 / workers) * max(worst)
    assert found.makespan <= graham + 1e-6
    assert max(found.busy) == pytest.approx(found.makespan)
    assert 0 <= found.utilisation <= 1 + 1e-9
    assert found.openings <= workers * len(openings)


@given(studies())
def test_one_worker_does_one_after_another(study):
    work, openings = study
    found = simulate(work, openings, 1)
    assert found.busy == (found.makespan,)
    assert found.openings == len(openings)
    if all(opening.keeps for opening in openings.values()):
        pictures = 0.0
        for model, opening in openings.items():
            unseen = 1.0
            for job in work:
                unseen *= 1 - job.looks["T"] if job.model == model else 1
            pictures += (1 - unseen) * opening.pools["T"] + opening.questions + opening.seconds
        assert found.makespan == pytest.approx(sum(job.seconds for job in work) + pictures)


# From a study


def planned(text: str) -> Whole:
    study = parse_study(text, "study.yaml")
    stock = Stock(suite_of(study))
    made = plan_study(study, stock)
    return Whole(study, made, stock, sample(made, stock))


ROOMS = (  # for all pictures; one run's and the questions'; the questions'; none
    "memory: 2",
    "memory: 0.02, disk: 0",
    "memory: 0.002, disk: 0",
    "memory: 0.00001, disk: 0",
)


@pytest.mark.parametrize("room", ROOMS)
def test_one_worker_takes_what_the_plan_says(room):
    """Two ways to the same sum: all runs of a model at once, and shard by shard."""
    its = planned(TEXT.replace("fleet: 2", f"fleet: 2, {room}"))
    shapes = read_shapes(folder("glimpse-s"))
    device, speeds = Device("a GPU", True, 8 << 30), Speeds(1, 2e10, 1, 3e10, 4e10, {}, 5.0)
    whole = estimate(its, "s", shapes, device, speeds)
    prices = {"s": priced(its, "s", shapes, device, speeds)}
    assert prices["s"].keeps == (room == "memory: 2")
    rates = {"s": Rates(2e10, 3e10, 4e10, 5.0)}
    work, openings = jobs_of(its.plan, prices, rates), openings_of(prices, rates)
    assert len(work) == 1 + 3 + 5  # the base, asked thrice in another order, 9 adapters by twos
    found = simulate(work, openings, 1)
    assert found.makespan == pytest.approx(whole.seconds + START + 5.0, rel=1e-3)


@pytest.mark.parametrize("gpu", [True, False])
def test_scoring_an_adapter_costs_more_than_its_base_but_within_a_cpus_weights(gpu):
    its = planned(TEXT.replace("epochs: 2", "epochs: 2, dropout: 0.1"))  # not folded in training
    device, speeds = Device("one", gpu, 8 << 30), Speeds(1, 2e10, 1, 3e10, 4e10, {}, 5.0)
    scoring = priced(its, "s", read_shapes(folder("glimpse-s")), device, speeds).scoring
    assert {run.kind for run in scoring if not run.trained} == {"base", "again"}
    (bare,) = {flops for run, flops in scoring.items() if not run.trained}
    (adapted,) = {flops for run, flops in scoring.items() if run.trained}
    assert (adapted > bare) == gpu
    assert adapted >= bare


def test_each_choice_is_asked_first_once_but_for_choices_that_stand_alike_in_every_question():
    text = TEXT.replace("targets: [Relative_Depth, Jigsaw]", "targets: [Relative_Depth, Counting]")
    made = []
    for order in ("given", "circular"):
        its = planned(text.replace("{items: 50}", f"{{items: 50, choice_order: {order}}}"))
        device = Device("a GPU", True, 8 << 30)
        made.append(estimate(its, "s", read_shapes(folder("glimpse-s")), device))
    offered = {
        name: {item.choices for item in its.stock.split(name, "eval")} for name in its.plan.targets
    }
    times = [1 if len(its) == 1 else 4 for its in offered.values()]
    assert sorted(times) == [1, 4]
    assert {len(choices) for choices in offered["Counting"]} == {4}
    runs = len(its.plan.runs)
    assert [one.score_items for one in made] == [runs * 2 * 50, runs * (1 + 4) * 50]


def test_the_largest_base_is_taken_first():
    its = planned(TEXT.replace("{s: glimpse-s}", "{s: glimpse-s, m: glimpse-m}"))
    device, speeds = Device("a GPU", True, 8 << 30), Speeds(1, 2e10, 1, 3e10, 4e10, {}, 5.0)
    prices = {
        name: priced(its, name, read_shapes(folder(f"glimpse-{name}")), device, speeds)
        for name in "sm"
    }
    work = jobs_of(its.plan, prices, dict.fromkeys("sm", Rates(2e10, 3e10, 4e10, 5.0)))
    assert [job.model for job in work] == ["m"] * 9 + ["s"] * 9


@pytest.fixture
def plan(run, monkeypatch, tmp_path):
    """The command on the study; returns its standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(TEXT)

    def call(*arguments):
        code, text, _ = run("plan", "study.yaml", *arguments)
        assert code == 0
        return text

    return call


def test_the_command_tells_how_long_workers_take(plan):
    given = ("--memory", "8", "--tflops", "0.02", "--workers")
    told = json.loads(plan(*given, "2", "--json"))["schedule"]
    alone = json.loads(plan(*given, "1", "--json"))["schedule"]
    assert (told["workers"], told["shards"], told["bases_loaded"]) == (2, 9, 2)
    assert alone["one_worker_seconds"] == alone["makespan_seconds"]
    assert (alone["utilisation"], alone["speedup"]) == (1, 1)
    assert told["least_seconds"] <= told["makespan_seconds"] < told["one_worker_seconds"]
    assert told["speedup"] == pytest.approx(told["one_worker_seconds"] / told["makespan_seconds"])
    shown = plan(*given, "20")
    assert "20 workers, a GPU each: " in shown
    assert "only 9 of them find work; a budget.fleet below 2 makes more, smaller shards" in shown


def test_without_times_there_is_no_schedule(plan):
    assert json.loads(plan("--memory", "8", "--workers", "2", "--json"))["schedule"] is None
    assert "2 workers: no schedule without times; --tflops" in plan(
        "--memory", "8", "--workers", "2"
    )
