"""The plan: runs, fleets, what each run learns from, and the keys of its cells."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from transferscope.study import Recipe
from transferscope.study.file import parse_study, suite_of
from transferscope.study.items import Stock, stock_of
from transferscope.study.plan import Run, _shuffled, derived_seed, lesson, plan_study, run_keys

TEXT = """\
name: one
models: {s: glimpse-s, m: glimpse-m}
suite: glimpse
sources: [Counting, Spatial_Relation, Relative_Reflectance]
targets: [Counting, Relative_Depth]
seeds: 3
recipe: {items: 10, epochs: 2, batch_size: 4}
evaluation: {items: 5}
controls: [format-only, shuffled]
budget: {fleet: 6}
"""


def made(text: str = TEXT):
    study = parse_study(text, "study.yaml")
    stock = stock_of(study)
    return study, stock, plan_study(study, stock)


@pytest.fixture(scope="module")
def one():
    return made()


def test_every_model_seed_and_source_is_one_run(one):
    study, _, plan = one
    assert len(set(plan.runs)) == len(plan.runs) == 2 + 2 * 3 * (3 + 2)
    assert plan.cells == 32 * 2
    assert plan.steps == 30 * 2 * 3  # 10 items are 3 batches of at most 4, twice
    assert plan.questions == 10
    assert {run.model for run in plan.bases} == set(study.models)


def test_shards_are_even_and_of_one_model(one):
    _, _, plan = one
    assert [len(shard.runs) for shard in plan.shards] == [5, 5, 5, 5, 5, 5]
    assert all({run.model for run in shard.runs} == {shard.model} for shard in plan.shards)


def test_a_budget_of_one_is_one_adapter_at_a_time():
    assert all(
        len(shard.runs) == 1 for shard in made(TEXT.replace("fleet: 6", "fleet: 1"))[2].shards
    )


def test_a_source_with_fewer_items_gives_all_it_has():
    _, _, plan = made(TEXT.replace("items: 10", "items: 5000"))
    assert plan.lessons["Counting"] == 4096
    assert plan.lessons["shuffled"] == 5000


def test_derived_seeds_differ_by_purpose_source_and_seed():
    seeds = [
        derived_seed(seed, purpose, source)
        for seed in (0, 1, 10)
        for purpose in ("init", "items", "order", "dropout")
        for source in ("Counting", "Jigsaw")
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_the_same_seed_chooses_the_same_items_and_another_seed_others(one):
    study, stock, _ = one
    first = lesson(study, stock, Run("s", "source", "Counting", 0))
    again = lesson(study, Stock(suite_of(study)), Run("m", "source", "Counting", 0))
    other = lesson(study, stock, Run("s", "source", "Counting", 1))
    assert first.digest == again.digest != other.digest
    assert [item.id for item in first.items] == [item.id for item in again.items]
    assert len({item.id for item in first.items}) == 10
    assert first.answers is None


def test_a_placebo_is_a_mixture_of_all_sources(one):
    study, stock, _ = one
    for name in study.controls:
        items = lesson(study, stock, Run("s", "control", name, 0)).items
        counts = Counter(item.task for item in items)
        assert counts == {"Counting": 4, "Spatial_Relation": 3, "Relative_Reflectance": 3}


def test_shuffled_answers_keep_each_tasks_letters(one):
    study, stock, _ = one
    study = study.model_copy(update={"recipe": Recipe(items=60)})
    learned = lesson(study, stock, Run("s", "control", "shuffled", 0))
    own = Counter((item.task, item.answer) for item in learned.items)
    given = zip(learned.items, learned.answers, strict=True)
    assert Counter((item.task, answer) for item, answer in given) == own
    assert list(learned.answers) != [item.answer for item in learned.items]


def test_answers_are_shuffled_among_items_of_one_task_with_as_many_choices(one):
    _, stock, _ = one
    some = stock.split("Counting", "train")
    items = [
        replace(some[k], task="ab"[k % 2], choices=("x",) * count, answer=k % count)
        for k in range(120)
        for count in [2 + k // 2 % 3]
    ]
    answers = _shuffled(items, np.random.default_rng(0))
    kinds = [(item.task, len(item.choices)) for item in items]
    own = Counter(zip(kinds, (item.answer for item in items), strict=True))
    assert Counter(zip(kinds, answers, strict=True)) == own
    assert answers != [item.answer for item in items]


def test_random_letters_are_those_of_the_item_and_say_nothing_about_the_answer(one):
    study, stock, _ = one
    study = study.model_copy(update={"recipe": Recipe(items=300)})
    learned = lesson(study, stock, Run("s", "control", "format-only", 0))
    pairs = list(zip(learned.items, learned.answers, strict=True))
    given = {(len(item.choices), answer) for item, answer in pairs}
    assert given == {(count, k) for count, _ in given for k in range(count)}
    right = sum(item.answer == answer for item, answer in pairs)
    expected = sum(1 / len(item.choices) for item, _ in pairs)
    assert abs(right - expected) < 4 * expected**0.5  # four standard deviations, at most


def keys(text: str = TEXT, *, base: str = "b", adapter: str = "", run: Run | None = None):
    study, stock, plan = made(text)
    run = run or Run("s", "source", "Counting", 0)
    return run_keys(study, stock, plan, run, (base, adapter))


OTHER = {
    "rank": 8,
    "alpha": 16,
    "dropout": 0.1,
    "targets": ("q_proj",),
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup": 0.2,
    "epochs": 3,
    "steps": 9,
    "batch_size": 5,
    "weight_decay": 0.1,
    "clip": 2.0,
    "items": 11,
    "max_pixels": 1000,
    "precision": "bfloat16",
}


@pytest.mark.parametrize("name", Recipe.model_fields)
def test_every_field_of_the_recipe_is_part_of_the_key(one, name):
    study, stock, plan = one
    run = Run("s", "source", "Counting", 0)
    changed = study.recipe.model_copy(update={name: OTHER[name]})
    assert changed != study.recipe
    other = study.model_copy(update={"recipe": changed})
    before = run_keys(study, stock, plan, run, ("b", ""))
    after = run_keys(other, stock, plan, run, ("b", ""))
    assert before[0] != after[0]
    assert not set(before[1].values()) & set(after[1].values())


def test_what_changes_a_base_changes_its_key_and_nothing_else_does():
    run = Run("s", "base")
    before = keys(run=run)
    assert keys(base="c", run=run)[1] != before[1]
    assert keys(TEXT.replace("items: 10", "items: 10, max_pixels: 9"), run=run)[1] != before[1]
    assert keys(TEXT.replace("epochs: 2", "epochs: 9"), run=run)[1] == before[1]


def test_keys_are_the_same_whatever_digests_are_known_from_earlier_studies():
    mixed = TEXT + "mixtures: {most: {Counting: 0.8, Spatial_Relation: 0.2}}\n"
    changes = {
        "0.8, Spatial_Relation: 0.2": "0.2, Spatial_Relation: 0.8",
        "items: 10": "items: 11",
        "items: 5}": "items: 5, prompt: direct}",
        "sources: [Counting, Spatial_Relation, ": "sources: [Counting, ",
    }
    known: dict[str, str] = {}
    for old, new in {"": "", **changes}.items():
        study, stock, plan = made(mixed.replace(old, new) if old else mixed)
        earlier = stock_of(study)
        earlier.digests = known
        for run in (run for run in plan.runs if run.model == "s" and not run.seed):
            fresh = run_keys(study, stock, plan, run, ("b", ""))
            assert run_keys(study, earlier, plan, run, ("b", ""))[:2] == fresh[:2]


def test_how_a_base_is_stored_changes_every_key():
    stored = TEXT.replace("s: glimpse-s,", "s: {where: glimpse-s, quantization: nf4},")
    for run in (Run("s", "base"), Run("s", "source", "Counting", 0)):
        before, after = keys(run=run), keys(stored, run=run)
        assert before[0] != after[0]
        assert not set(after[1].values()) & set(before[1].values())


def test_names_and_budgets_are_no_part_of_the_key():
    text = TEXT.replace("name: one", "name: two").replace("fleet: 6", "fleet: 2")
    assert keys(text)[:2] == keys()[:2]
    assert keys(run=Run("m", "source", "Counting", 0))[:2] == keys()[:2]


def test_scoring_and_questions_change_the_cells_alone():
    before = keys()
    for old, new in (("items: 5", "items: 6"), ("items: 5", "items: 5, scoring: generate")):
        after = keys(TEXT.replace(f"{{{old}}}", f"{{{new}}}"))
        assert after[0] == before[0]
        assert not set(after[1].values()) & set(before[1].values())
    circular = keys(TEXT.replace("items: 5}", "items: 5, choice_order: circular}"))
    assert circular[0] == before[0]
    assert not set(circular[1].values()) & set(before[1].values())
    fewer = keys(TEXT.replace("[Counting, Relative_Depth]", "[Counting]"))
    assert fewer[1]["Counting"] == before[1]["Counting"]


def test_the_style_of_the_prompt_changes_adapters_and_cells():
    before, after = keys(), keys(TEXT.replace("items: 5}", "items: 5, prompt: direct}"))
    assert before[0] != after[0]
    assert not set(after[1].values()) & set(before[1].values())


def test_a_base_asked_again_has_keys_of_its_own_for_each_seed():
    runs = [Run("s", "base"), *(Run("s", "again", "reordered", seed) for seed in (0, 1))]
    assert len({key for run in runs for key in keys(run=run)[1].values()}) == 3 * 2


def test_a_base_asked_again_trains_nothing():
    _, _, plan = made(TEXT.replace("format-only, shuffled", "reordered"))
    again = [shard.runs for shard in plan.shards if shard.runs[0].kind == "again"]
    assert [len(runs) for runs in again] == [1] * 6
    assert plan.summary()["bases asked again"] == 6
    assert plan.summary()["adapters to train"] == 2 * 3 * 3


def test_an_adapter_from_elsewhere_is_known_by_its_files():
    run = Run("s", "brought", "Counting", 0)
    assert keys(adapter="x", run=run)[0] != keys(adapter="y", run=run)[0]
