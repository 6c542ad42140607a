"""The plan: runs, fleets, what each run learns from, and the keys of its cells."""

import json
import pickle
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from messages import raises
from PIL import Image

from transferscope.errors import StudyError
from transferscope.store.cells import adapter_folder
from transferscope.study import Recipe
from transferscope.study.controls import CONTROLS, Control, shuffled_labels
from transferscope.study.file import parse_study
from transferscope.study.items import StudyItems
from transferscope.study.plan import Plan, Run, derived_seed, plan_study

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


def made(text: str = TEXT) -> Plan:
    return plan_study(parse_study(text, "study.yaml"))


def with_recipe(plan: Plan, **changes) -> Plan:
    """The plan of the same study with another recipe."""
    changed = {"recipe": replace(plan.study.recipe, **changes)}
    return plan_study(plan.study.model_copy(update=changed))


@pytest.fixture(scope="module")
def plan():
    return made()


def test_every_model_seed_and_source_is_one_run(plan):
    assert len(set(plan.runs)) == len(plan.runs) == 2 + 2 * 3 * (3 + 2)
    assert plan.cells == 32 * 2
    assert plan.summary()["training steps"] == 30 * 2 * 3  # 10 items: 3 batches of 4, twice
    assert plan.eval_count == 10
    assert {run.model for run in plan.bases} == set(plan.study.models)


def test_shards_are_even_and_of_one_model(plan):
    assert [len(shard.runs) for shard in plan.shards] == [5, 5, 5, 5, 5, 5]
    assert all({run.model for run in shard.runs} == {shard.model} for shard in plan.shards)


def test_a_budget_of_one_is_one_adapter_at_a_time():
    alone = made(TEXT.replace("fleet: 6", "fleet: 1"))
    assert all(len(shard.runs) == 1 for shard in alone.shards)


def test_a_source_with_fewer_items_gives_all_it_has():
    plan = made(TEXT.replace("items: 10", "items: 5000"))
    assert plan.training_counts["Counting"] == 4096
    assert plan.training_counts["shuffled"] == 5000


def test_derived_seeds_differ_by_purpose_source_and_seed():
    seeds = [
        derived_seed(seed, purpose, source)
        for seed in (0, 1, 10)
        for purpose in ("init", "items", "order", "dropout")
        for source in ("Counting", "Jigsaw")
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_the_same_seed_chooses_the_same_items_and_another_seed_others(plan):
    first = plan.training_set(Run("s", "source", "Counting", 0))
    again = made().training_set(Run("m", "source", "Counting", 0))
    other = plan.training_set(Run("s", "source", "Counting", 1))
    assert first.digest == again.digest != other.digest
    assert [item.id for item in first.items] == [item.id for item in again.items]
    assert len({item.id for item in first.items}) == 10
    assert first.answers is None


def test_a_pickled_plan_makes_the_same_training_sets(plan):
    run = Run("s", "control", "shuffled", 1)
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.training_set(run)[1:] == plan.training_set(run)[1:]


def test_a_placebo_is_a_mixture_of_all_sources(plan):
    for name in plan.study.controls:
        items = plan.training_set(Run("s", "control", name, 0)).items
        counts = Counter(item.task for item in items)
        assert counts == {"Counting": 4, "Spatial_Relation": 3, "Relative_Reflectance": 3}


def test_shuffled_answers_keep_each_tasks_options(plan):
    made = with_recipe(plan, items=60).training_set(Run("s", "control", "shuffled", 0))
    right = Counter((item.task, item.answer) for item in made.items)
    given = zip(made.items, made.answers, strict=True)
    assert Counter((item.task, answer) for item, answer in given) == right
    assert list(made.answers) != [item.answer for item in made.items]


def test_answers_are_shuffled_among_items_of_one_task_with_as_many_choices(plan):
    some = plan.items.split("Counting", "train")
    items = [
        replace(some[k], task="ab"[k % 2], choices=("x",) * count, answer=k % count)
        for k in range(120)
        for count in [2 + k // 2 % 3]
    ]
    answers = shuffled_labels(items, np.random.default_rng(0))
    kinds = [(item.task, len(item.choices)) for item in items]
    right = Counter(zip(kinds, (item.answer for item in items), strict=True))
    assert Counter(zip(kinds, answers, strict=True)) == right
    assert answers != [item.answer for item in items]


def test_random_answers_are_options_of_the_item_and_independent_of_the_right_one(plan):
    made = with_recipe(plan, items=300).training_set(Run("s", "control", "format-only", 0))
    assert made.answers is not None
    pairs = list(zip(made.items, made.answers, strict=True))
    given = {(len(item.choices), answer) for item, answer in pairs}
    assert given == {(count, k) for count, _ in given for k in range(count)}
    right = sum(item.answer == answer for item, answer in pairs)
    expected = sum(1 / len(item.choices) for item, _ in pairs)
    assert abs(right - expected) < 4 * expected**0.5  # four standard deviations, at most


def test_random_answers_prefer_no_option_of_a_task(plan):
    made = with_recipe(plan, items=100).training_set(Run("s", "control", "format-only", 0))
    given = Counter((i.task, a) for i, a in zip(made.items, made.answers, strict=True))
    tasks = {item.task: len(item.choices) for item in made.items}
    for task, options in tasks.items():
        counts = [given[task, option] for option in range(options)]
        assert max(counts) - min(counts) <= 1, task


def test_format_only_sees_gray_images_and_shuffled_the_items_own(plan):
    for name, gray in (("format-only", True), ("shuffled", False)):
        run = Run("s", "control", name, 0)
        for seen, own in zip(plan.training_set(run).items, plan.training_items(run), strict=True):
            assert (seen.id, seen.prompt) == (own.id, own.prompt)
            for image, other in zip(seen.images, own.images, strict=True):
                assert image.pixels().shape == other.pixels().shape
                assert (image.pixels() == (128 if gray else other.pixels())).all()


def test_a_folder_of_an_earlier_placebo_is_not_taken_for_the_new_one(monkeypatch):
    run, plan = Run("s", "control", "format-only", 0), made(TEXT)
    now = plan.keys(run, "b").training
    earlier = CONTROLS["format-only"]._replace(blank=False, version=1)
    monkeypatch.setitem(CONTROLS, "format-only", earlier)
    before = made(TEXT)
    assert before.keys(run, "b").training != now
    monkeypatch.undo()
    after = made(TEXT)
    after.items.digests |= before.items.digests  # as the folder keeps them
    assert after.keys(run, "b").training == now


def test_a_new_placebo_needs_only_a_record(monkeypatch):
    """As CONTRIBUTING says: how its labels are drawn, and a place in `CONTROLS`."""
    last = Control(placebo=True, labels=lambda items, rng: [len(i.choices) - 1 for i in items])
    monkeypatch.setitem(CONTROLS, "last-option", last)
    plan = made(TEXT.replace("[format-only, shuffled]", "[last-option]"))
    runs = [run for run in plan.runs if run.source == "last-option"]
    assert len(runs) == 2 * 3
    assert all(run.trained and run.auxiliary for run in runs)
    made_of = plan.training_set(runs[0])
    assert made_of.answers == [len(item.choices) - 1 for item in made_of.items]
    assert plan.keys(runs[0], "b").training != plan.keys(runs[1], "b").training


def keys(text: str = TEXT, *, base: str = "b", adapter: str = "", run: Run | None = None):
    return made(text).keys(run or Run("s", "source", "Counting", 0), base, adapter)[:2]


OTHER = {
    "method": "full",
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
    "loss": "letter",
    "weight_decay": 0.1,
    "max_grad_norm": 2.0,
    "peft": {"use_dora": True},
    "items": 11,
    "max_pixels": 1000,
    "precision": "bfloat16",
}


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_field_of_the_recipe_is_part_of_the_key(plan, name):
    run = Run("s", "source", "Counting", 0)
    changes = {name: OTHER[name]} | ({"epochs": None} if name == "steps" else {})
    before, after = plan.keys(run, "b"), with_recipe(plan, **changes).keys(run, "b")
    assert before.training != after.training
    assert not set(before.cells.values()) & set(after.cells.values())


def test_snapshots_and_strengths_follow_their_source_and_have_keys_of_their_own():
    """20 steps: 10 items in batches of 1, twice. 0.33 of them are 6.6."""
    how = "items: 5, at: [0.33, 0.001], strengths: [0.5, 1]}"
    text = TEXT.replace("batch_size: 4", "batch_size: 1")
    plain, plan = made(text), made(text.replace("items: 5}", how))
    names = ["Counting", "Counting @ 1", "Counting @ 7", "Counting x 0.5"]
    found = [run for run in plan.runs if run.finished == Run("s", "source", "Counting", 0)]
    assert [run.source for run in found] == names
    assert [run.adapter.source for run in found] == [*names[:3], "Counting"]
    assert [run.auxiliary for run in found] == [False, True, True, True]
    assert (found[2].step, found[3].strength) == (7, 0.5)
    apart = [run for run in plan.runs if run.kind in ("snapshot", "strength")]
    assert [run for run in plan.runs if run not in apart] == list(plain.runs)  # sources alone
    assert {run.finished.kind for run in apart} == {"source"}
    keys = [plan.keys(run, "b") for run in found]
    assert keys[0][:2] == plain.keys(found[0], "b")[:2]
    assert len({one.training for one in keys}) == 3  # a strength has the finished adapter
    assert keys[3].training == keys[0].training
    assert len({key for one in keys for key in one.cells.values()}) == 4 * len(plan.targets)
    assert plan.summary()["snapshots"] == 2 * plan.summary()["adapters at other strengths"]
    assert plan.summary()["adapters to train"] == plain.summary()["adapters to train"]
    adapters = {adapter_folder(run) for run in plan.runs if run.kind != "base"}
    assert len(adapters) == len({run.adapter for run in plan.runs if run.kind != "base"})


@pytest.mark.parametrize("how", ["at: [0]", "at: [33]", "strengths: [0]", "strengths: 0.5"])
def test_shares_and_strengths_out_of_range_are_refused(how):
    with raises(StudyError):
        made(TEXT.replace("items: 5}", f"items: 5, {how}}}"))


@pytest.mark.parametrize(
    "peft",
    [
        "{use_dora: true}",
        "{init_lora_weights: pissa}",
        "{init_lora_weights: PiSSA_niter_4}",
        "{modules_to_save: [merger]}",
        "{bias: lora_only}",
    ],
)
def test_strengths_of_adapters_that_alpha_does_not_scale_are_refused(peft):
    text = TEXT.replace("batch_size: 4}", f"batch_size: 4, peft: {peft}}}")
    assert made(text.replace("items: 5}", "items: 5, at: [0.5]}"))
    with raises(StudyError):
        made(text.replace("items: 5}", "items: 5, strengths: [0.5]}"))


def test_strengths_of_other_options_of_peft_are_allowed():
    peft = "{use_rslora: true, bias: none, init_lora_weights: gaussian}"
    text = TEXT.replace("batch_size: 4}", f"batch_size: 4, peft: {peft}}}")
    assert made(text.replace("items: 5}", "items: 5, strengths: [0.5]}"))


def test_a_mixture_is_not_named_like_an_adapter_at_a_strength():
    with raises(StudyError):
        made(TEXT + "mixtures: {Counting x 0.5: {Counting: 1}}")
    assert made(TEXT + "mixtures: {mix x 0.5: {Counting: 1}}").study.mixtures


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
        fresh = made(mixed.replace(old, new) if old else mixed)
        earlier = StudyItems(fresh.study)
        earlier.digests = known
        later = plan_study(fresh.study, earlier)
        for run in (run for run in fresh.runs if run.model == "s" and not run.seed):
            assert later.keys(run, "b")[:2] == fresh.keys(run, "b")[:2]


def test_how_a_base_is_stored_changes_every_key():
    stored = TEXT.replace("s: glimpse-s,", "s: {where: glimpse-s, quantization: nf4},")
    for run in (Run("s", "base"), Run("s", "source", "Counting", 0)):
        before, after = keys(run=run), keys(stored, run=run)
        assert before[0] != after[0]
        assert not set(after[1].values()) & set(before[1].values())


def test_names_and_budgets_are_no_part_of_the_key():
    text = TEXT.replace("name: one", "name: two").replace("fleet: 6", "fleet: 2")
    assert keys(text) == keys()
    assert keys(run=Run("m", "source", "Counting", 0)) == keys()


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


@pytest.mark.parametrize("change", [{"group": "one scene"}, {"choices": ["no", "yes"]}])
def test_groups_and_choices_that_the_prompt_does_not_show_change_the_cells(tmp_path, change):
    (tmp_path / "suite.yaml").write_text("name: mine\ntasks: [{name: T}]\n")
    (folder := tmp_path / "T").mkdir()
    Image.new("RGB", (56, 56)).save(folder / "a.png")
    item = {"id": "1", "images": ["a.png"], "question": "Q?", "choices": ["yes", "no"]}
    item |= {"prompt": "Q?", "answer": "A"}
    text = f"name: one\nmodels: {{s: glimpse-s}}\nsuite: {tmp_path}\nseeds: 1"
    (folder / "train.jsonl").write_text(json.dumps(item | {"question": "Other?"}))

    def found(item):
        (folder / "eval.jsonl").write_text(json.dumps(item))
        return made(text).keys(Run("s", "source", "T", 0), "weights")

    before, after = found(item), found(item | change)
    assert after.training == before.training
    assert after.cells != before.cells
    assert found(item).cells == before.cells


def test_the_style_of_the_prompt_changes_adapters_and_cells():
    before, after = keys(), keys(TEXT.replace("items: 5}", "items: 5, prompt: direct}"))
    assert before[0] != after[0]
    assert not set(after[1].values()) & set(before[1].values())


def test_a_base_with_reordered_options_has_other_keys_for_each_seed():
    runs = [Run("s", "base"), *(Run("s", "rerun", "reordered", seed) for seed in (0, 1))]
    assert len({key for run in runs for key in keys(run=run)[1].values()}) == 3 * 2


def test_a_base_with_reordered_options_trains_nothing():
    plan = made(TEXT.replace("format-only, shuffled", "reordered"))
    reruns = [shard.runs for shard in plan.shards if shard.runs[0].kind == "rerun"]
    assert [len(runs) for runs in reruns] == [1] * 6
    assert plan.summary()["bases with reordered options"] == 6
    assert plan.summary()["adapters to train"] == 2 * 3 * 3


def test_an_external_adapter_is_identified_by_its_files():
    run = Run("s", "external", "Counting", 0)
    assert keys(adapter="x", run=run)[0] != keys(adapter="y", run=run)[0]
