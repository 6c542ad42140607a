"""`transferscope plan` tells what a study costs, and `run` what it took."""

import json
import os
import re
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import benchmark_factory
import engine_factory as factory
import numpy as np
import pytest
import torch
import yaml
from published_configs import QWEN25_7B, QWEN25_32B

from transferscope import store as results
from transferscope.engine import profiling
from transferscope.engine.base_model import Base, load_base
from transferscope.engine.families import FAMILIES, GLIMPSE
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.glimpse.shipped import folder
from transferscope.execution import local as execution
from transferscope.execution.shard_worker import Stopwatch
from transferscope.study import Budget
from transferscope.study.estimate import (
    CostEstimate,
    Device,
    ModelCost,
    Rates,
    least_seconds,
    sample,
    text_tokens,
)
from transferscope.study.file import parse_study
from transferscope.study.plan import Plan, plan_study
from transferscope.study.shapes import Shapes, parse_shapes, read_shapes

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
TEXT = """\
name: one
models: {s: MODEL}
suite: glimpse
sources: [Relative_Depth, Counting]
targets: [Relative_Depth, Jigsaw]
seeds: 2
recipe: {items: 8, batch_size: 4, epochs: 2}
evaluation: {items: 5}
controls: [shuffled]
"""
GPU = Device("a GPU", True, 80 << 30)


@pytest.fixture
def plan(run, monkeypatch, tmp_path):
    """The command on a study's text; returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(text, *arguments):
        (tmp_path / "study.yaml").write_text(text)
        return run("plan", "study.yaml", *arguments)

    return call


def local(where: Path, config: dict) -> Path:
    where.mkdir()
    (where / "config.json").write_text(json.dumps(config))
    return where


@pytest.fixture(scope="module")
def blink(tmp_path_factory):
    """A folder with BLINK's tasks, two pictures an item, and the paper's study on it."""
    from PIL import Image

    from transferscope.suites.blink import BLINK

    where = tmp_path_factory.mktemp("suites") / "blink"
    where.mkdir()
    heading = {"name": "blink", "tasks": [{"name": task.name} for task in BLINK]}
    (where / "suite.yaml").write_text(yaml.safe_dump(heading))
    image = Image.fromarray(np.zeros((448, 448, 3), np.uint8))
    for task in BLINK:
        (where / task.name).mkdir()
        image.save(where / task.name / "1.png")
        for split, count in (("train", 40), ("eval", 10)):
            lines = [
                {"id": f"{split}-{k}", "images": ["1.png", "1.png"], "question": "Which is closer?"}
                | {"choices": ["this", "that"], "answer": "A"}
                for k in range(count)
            ]
            text = "\n".join(map(json.dumps, lines))
            (where / task.name / f"{split}.jsonl").write_text(text)
    model = local(where.parent / "7b", QWEN25_7B)
    study = (ROOT / "studies" / "blink-qwen2.5-vl-7b.yaml").read_text()
    study = re.sub("(?m)^suite: .*", f"suite: {where}", study)
    return study.replace("Qwen/Qwen2.5-VL-7B-Instruct", str(model))


def planned(text: str, **budget: float) -> Plan:
    study = parse_study(text, "study.yaml")
    if budget:
        study = study.model_copy(update={"budget": Budget(**budget)})
    return plan_study(study)


sampled_once = cache(sample)
"""A plan's items, decoded once for all devices it is estimated on."""


def estimate(plan: Plan, shapes: Shapes, device: Device, rates: Rates | None = None) -> ModelCost:
    """The cost on the only model."""
    (model,) = plan.study.models
    return CostEstimate(plan, sampled_once(plan), model, shapes, device).cost(rates)


# What it says.


def test_the_papers_study_is_planned_for_a_gpu_from_its_shapes_alone(plan, blink):
    code, shown, _ = plan(blink, "--memory", "80", "--tflops", "400", "--json")
    assert code == 0
    record = json.loads(shown)
    its = record["models"]["7B"]
    assert its["parameters"] == pytest.approx(8_292_166_656, rel=2e-4)
    assert its["weights_bytes"] == 2 * its["parameters"]
    # 52 adapters of 40 items, 3 epochs; a base and 52 adapters asked 13 x 10 questions
    assert (its["train_items"], its["score_items"]) == (52 * 40 * 3, 53 * 130)
    # two pictures of 448 x 448 are 2 x 256 tokens, of 28 x 28 pixels each
    length = its["train_tokens"] / its["train_items"]
    assert length == 2 * 256 + 19 + 2 * 2 + text_tokens(_PROMPT)
    # 7.07e9 weights in linear layers: two forwards and the adapters' own
    per_token = its["train_flops"] / its["train_tokens"]
    assert 4 * 6.5e9 < per_token < 4.4 * 7.1e9
    assert its["adapters_at_once"] == 1
    assert its["fits"] is True
    assert its["seconds"] == pytest.approx(its["flops"] / 4e14 + its["reading_seconds"])
    assert record["total"]["flops"] == its["flops"]
    assert record["device"]["free_memory_bytes"] == 80 << 30
    assert (record["adapters to train"], record["cells"]) == (52, 53 * 13)


_PROMPT = "Which is closer?\nSelect from the following choices.\n(A) this\n(B) that"


def test_a_smaller_gpu_takes_fewer_adapters_then_parts_then_checkpointing(blink):
    its, found = planned(blink.replace("batch_size: 16", "batch_size: 4")), []
    for memory in (600, 200, 40, 20, 12):
        device = Device("a GPU", True, memory << 30)
        made = estimate(its, parse_shapes(QWEN25_7B, "x"), device)
        found.append((made.adapters_at_once, made.microbatches, made.checkpointing, made.fits))
    # A token takes (20 x 3584 + 8 x 18944) x 28 bytes, a batch of 8 of 557 tokens 28 GB.
    assert found == [
        (8, 1, False, True),
        (4, 1, False, True),
        (1, 2, False, True),
        (1, 8, True, True),
        (1, 8, True, False),
    ]
    # Computed twice, a row keeps one layer's activations and what each of 28 layers begins with.
    token = 20 * 3584 + 8 * 18944 + 28 * 3584 * 2
    assert made.training_bytes % token == 0
    assert 550 <= made.training_bytes / token <= 560


def test_a_plan_that_does_not_fit_says_what_it_needs(plan, blink):
    shown = plan(blink, "--memory", "18")[1]
    assert "1 of 8 adapters at a time, batches of 8 in 8 microbatches" in shown
    assert "activations recomputed (checkpointing)" in shown
    # 15.4 GiB of weights, 2 of features, and 16 x 556 tokens of 223 kB in scoring
    assert re.search(r"does NOT fit: needs 19\.[23] GiB; set quantization: nf4 or gpus: 2", shown)


def test_an_embedded_base_is_measured_and_told_in_a_table(plan):
    code, shown, error = plan(TEXT.replace("MODEL", "glimpse-s"))
    assert (code, error) == (0, "")
    assert "27 cells" not in shown
    assert re.search(r"1\.4[89] M", shown)
    assert "1 of 6 adapters at a time, whole batches, activations kept; fits" in shown
    assert "total time" in shown


def test_a_local_model_is_measured_in_tokens_of_its_own(plan, tmp_path, monkeypatch):
    base = factory.family_base("qwen2_5_vl")
    where = tmp_path / "tiny"
    base.model.save_pretrained(where)
    base.processor.save_pretrained(where)
    rates = {"float32": 2e11, "bfloat16": 5e11}
    monkeypatch.setattr(profiling, "product_rate", rates.get)
    fast = json.loads(plan(TEXT.replace("MODEL", str(where)), "--json", "--no-calibration")[1])
    rates["bfloat16"] = 1e11
    record = json.loads(plan(TEXT.replace("MODEL", str(where)), "--json")[1])
    its, total = record["models"]["s"], record["total"]
    path, layers, slow = record["notes"]
    assert path == "s: qwen2_5_vl has its own path: images are encoded once and kept"
    assert slow.startswith("s: a matrix product in bfloat16 takes 2.0 times as long here as in")
    assert fast["notes"][1:] == [path, layers]
    assert layers.startswith("s: adapted: 21 linear layers (down_proj, gate_proj, k_proj, o_proj, ")
    assert "; not adapted: vision tower and projector stay frozen (model.visual); head" in layers
    for key in ("train", "score"):
        assert its[f"{key}_seconds"] == pytest.approx(
            its[f"{key}_flops"] / its[f"{key}_flops_per_second"]
        )
    assert total["seconds"] == its["seconds"] == its["seconds_left"] == total["seconds_left"] > 0
    params = sum(weight.numel() for weight in base.model.parameters())
    assert its["parameters"] == pytest.approx(params, rel=0.05)  # few weights beside the biases


def test_a_plan_is_for_as_many_processes_as_run_would_use(plan, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(profiling, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    records = []
    for processes in (1, 3):
        monkeypatch.setattr(execution, "default_workers", lambda plan, n=processes: n)
        records.append(json.loads(plan(TEXT.replace("MODEL", "glimpse-s"), "--json")[1]))
    one, three = records
    assert [record["device"]["processes"] for record in records] == [1, 3]
    for key in ("train", "score", "vision"):
        assert three["total"][f"{key}_seconds"] == pytest.approx(one["total"][f"{key}_seconds"] / 3)
    assert three["total"]["peak_memory_bytes"] == 3 * one["total"]["peak_memory_bytes"]
    shown = plan(TEXT.replace("MODEL", "glimpse-s"), "--no-calibration")[1]
    assert " free, on 3 processes:\n" in shown
    shown = plan(TEXT.replace("MODEL", "glimpse-s"), "--no-calibration", "--workers", "2")[1]
    assert "processes" not in shown


def test_a_plan_does_not_time_what_is_loaded_once(plan, monkeypatch):
    """For replies, an embedded base needs transformers' model."""
    clock, load = [0.0], Base.complete.func

    def ticked() -> float:
        clock[0] += 1
        return clock[0]

    def loaded(base: Base) -> Base:
        clock[0] += 1e6
        return load(base)

    complete = cached_property(loaded)
    complete.__set_name__(Base, "complete")
    monkeypatch.setattr(Base, "complete", complete)
    monkeypatch.setattr(profiling, "time", SimpleNamespace(perf_counter=ticked))
    text = re.sub(r"\[Relative_Depth, \w+\]", "[Counting_open]", TEXT.replace("MODEL", "glimpse-s"))
    assert json.loads(plan(text, "--json")[1])["total"]["score_seconds"] < 1e3


def test_a_forward_holds_the_items_there_are_with_their_rotated_options(plan):
    text = TEXT.replace("MODEL", "glimpse-s").replace("[Relative_Depth, Jigsaw]", "[Counting]")
    found = []
    for how in ("items: 5", "items: 10", "items: 5, choice_order: circular", "items: 300"):
        words = (text.replace("items: 5", how), "--no-calibration", "--json")
        found.append(json.loads(plan(*words)[1])["models"]["s"]["scoring_bytes"])
    one = found[0] // 5
    assert found == [5 * one, 10 * one, 4 * 5 * one, 64 * one]  # at most a batch of 64


def test_without_a_calibration_there_are_no_times(plan, monkeypatch):
    monkeypatch.setattr(profiling, "calibrate", None)  # would fail if called
    record = json.loads(plan(TEXT.replace("MODEL", "glimpse-s"), "--no-calibration", "--json")[1])
    its = record["models"]["s"]
    assert its["flops"] == its["train_flops"] + its["score_flops"] + its["vision_flops"] > 0
    assert (its["seconds"], record["total"]["seconds"]) == (None, None)


def test_a_model_too_slow_for_a_calibration_has_no_times_and_a_note(plan, monkeypatch):
    monkeypatch.setattr(profiling, "PATIENCE", 0.0)
    record = json.loads(plan(TEXT.replace("MODEL", "glimpse-s"), "--json")[1])
    (note,) = record["notes"]
    assert note.startswith("s: no times: training on a single item would take about")


def test_the_first_product_of_a_process_adds_up_in_a_fixed_order(monkeypatch):
    monkeypatch.delenv("MKL_CBWR", raising=False)
    profiling.product_rate("float32")
    assert os.environ["MKL_CBWR"] == "AUTO,STRICT"


def test_an_unreachable_hub_leaves_the_counts_and_one_note(plan, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host\nand more")

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    code, shown, _ = plan(TEXT.replace("MODEL", "Qwen/Qwen2.5-VL-7B-Instruct"), "--json")
    record = json.loads(shown)
    assert (code, record["models"], record["cells"]) == (0, {}, 14)
    (note,) = record["notes"]
    assert note.endswith("config.json could not be downloaded from the Hub: no route to host")


def test_a_hub_models_configuration_is_all_that_is_fetched(plan, monkeypatch, tmp_path):
    import huggingface_hub

    asked = []

    def download(hub_id, name, **_):
        asked.append((hub_id, name))
        return str(local(tmp_path / "hub", QWEN25_7B) / name)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    record = json.loads(plan(TEXT.replace("MODEL", "Qwen/Qwen2.5-VL-7B-Instruct"), "--json")[1])
    assert asked == [("Qwen/Qwen2.5-VL-7B-Instruct", "config.json")]
    assert record["models"]["s"]["parameters"] == pytest.approx(8_292_166_656, rel=2e-4)
    assert record["notes"] == [
        "s: no times: the weights are not on this machine",
        "s: qwen2_5_vl has its own path: images are encoded once and kept",
    ]


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        ("glimpse-x", [], "unknown base 'glimpse-x'; did you mean"),
        ("./nowhere", [], "models: s: ./nowhere: must be a folder"),
        ("glimpse-s", ["--memory", "0"], "--memory"),
        ("glimpse-s", ["--tflops", "fast"], "--tflops"),
    ],
)
def test_bad_input_is_refused_with_code_2(plan, model, arguments, said):
    code, _, error = plan(TEXT.replace("MODEL", model), *arguments)
    assert code == 2
    assert said in error


def test_a_damaged_configuration_leaves_the_counts_and_one_note(plan, tmp_path):
    where = local(tmp_path / "odd", {"model_type": "bert", "hidden_size": 8})
    record = json.loads(plan(TEXT.replace("MODEL", str(where)), "--json")[1])
    assert record["models"] == {}
    assert record["notes"][0].startswith("s: only counts, no FLOPs and no memory: ")
    assert "no vision_config" in record["notes"][0]


def test_sizes_that_a_configuration_leaves_to_its_family_are_the_familys(plan, tmp_path):
    """Gemma 3's names neither heads nor vocabulary; its card says 4.30 billion parameters."""
    tower = {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "patch_size": 14}
    tower |= {"model_type": "siglip_vision_model", "num_attention_heads": 16}
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    config = {
        "model_type": "gemma3",
        "mm_tokens_per_image": 256,
        "text_config": text | {"model_type": "gemma3_text", "sliding_window": 1024},
        "vision_config": tower | {"num_hidden_layers": 27, "vision_use_head": False},
    }
    where = local(tmp_path / "gemma", config)
    code, shown, _ = plan(TEXT.replace("MODEL", str(where)), "--memory", "80", "--json")
    record = json.loads(shown)
    assert code == 0
    assert record["models"]["s"]["parameters"] == pytest.approx(4.30e9, rel=2e-3)
    assert any(note.startswith("s: the costs of gemma3 are rough") for note in record["notes"])
    path = "s: gemma3 takes the reference path: images are encoded in every forward"
    assert path in record["notes"]
    gemma = record["models"]["s"]
    answers = gemma["score_items"] // 2  # of each target; an item of Jigsaw has three images
    assert gemma["images_encoded"] == gemma["train_items"] + answers + 3 * answers
    assert (gemma["features_wanted_bytes"], gemma["features_bytes"]) == (0, 0)
    for name in FAMILIES.keys() - {GLIMPSE}:  # whose model_type is Qwen2.5-VL's
        assert Shapes.model_construct(family=name).exact == FAMILIES[name].own_path


# The estimate.


def test_every_count_of_an_estimate_follows_from_the_plan():
    its = planned(TEXT.replace("MODEL", "glimpse-s"))
    made = estimate(its, read_shapes(folder("glimpse-s")), Device("CPU", False, 1 << 40))
    # 2 sources and a placebo x 2 seeds x 8 items x 2 epochs; base and 6 adapters x 2 x 5 questions
    assert (made.train_items, made.score_items) == (96, 70)
    assert made.images_encoded == made.images
    assert made.seconds is None


def test_time_is_work_over_speed():
    its, device = planned(TEXT.replace("MODEL", "glimpse-s")), Device("CPU", False, None)
    rates = Rates(vision=4e9, train=1e9, score=2e9)
    made = estimate(its, read_shapes(folder("glimpse-s")), device, rates)
    assert made.train_seconds == made.train_flops / 1e9
    assert made.score_seconds == made.score_flops / 2e9
    assert made.vision_seconds == made.vision_flops / 4e9
    assert made.fits is None
    steps: list[Any] = [made.train_seconds, made.score_seconds, made.vision_seconds]
    assert made.seconds == pytest.approx(sum(steps) + made.reading_seconds)


def test_images_whose_features_exceed_the_budget_are_encoded_again(blink):

    def within(memory, disk):
        return estimate(planned(blink, fleet=8, memory=memory, disk=disk), shapes, GPU)

    shapes = parse_shapes(QWEN25_7B, "x")
    roomy = within(1000, 0)
    # every training item is learned by each seed: 13 x 40 and 13 x 10 items of two pictures
    assert roomy.images_encoded == roomy.images == 13 * 50 * 2
    assert roomy.features_bytes == 13 * 50 * 2 * 256 * 3584 * 2
    on_disk = within(1e-6, 1000)
    assert on_disk.images_encoded == roomy.images
    assert on_disk.features_bytes < 1100
    tight = within(1e-6, 0)
    # three epochs of 52 training sets; the evaluation items for the base and each of 7 fleets
    assert tight.images_encoded == 2 * (3 * 52 * 40 + 8 * 130)
    # What is in memory may be on disk too, so 2.2 GiB of features do not fit in 1.5 and 1.5.
    assert within(1.5, 1.5).images_encoded == tight.images_encoded
    assert tight.vision_flops / roomy.vision_flops == tight.images_encoded / roomy.images


def test_each_rotation_of_the_options_is_scored_unless_they_are_always_the_same():
    text = TEXT.replace("MODEL", "glimpse-s").replace("Jigsaw]", "Counting]")
    made = []
    for order in ("given", "circular"):
        plan = planned(text.replace("{items: 5}", f"{{items: 5, choice_order: {order}}}"))
        made.append(estimate(plan, read_shapes(folder("glimpse-s")), GPU))
    offered = {name: {i.choices for i in plan.items.split(name, "eval")} for name in plan.targets}
    assert sorted(1 if len(its) == 1 else 4 for its in offered.values()) == [1, 4]
    assert [one.score_items for one in made] == [7 * 2 * 5, 7 * (1 + 4) * 5]


def test_the_makespan_is_at_least_an_even_share_and_the_longest_shard():
    text = TEXT.replace("MODEL", "glimpse-s") + "budget: {fleet: 2}\n"
    rates = Rates(vision=4e9, train=1e9, score=2e9)
    made = estimate(planned(text), read_shapes(folder("glimpse-s")), GPU, rates)
    assert least_seconds([made], 1) == made.seconds
    assert least_seconds([made], 2) == pytest.approx(made.seconds / 2)
    assert least_seconds([made, made], 1000) == made.longest_shard_seconds < made.seconds / 3
    assert least_seconds([replace(made, seconds=None)], 2) is None


def test_text_is_counted_by_words_digits_and_marks():
    assert text_tokens("Which is closer?\n(A) box 12") == 3 + 1 + 1 + 3 + 1 + 2


def test_estimated_lengths_are_near_an_embedded_bases_own():
    its, base = planned(TEXT.replace("MODEL", "glimpse-s")), load_base("glimpse-s")
    shapes, sampled = read_shapes(folder("glimpse-s")), sample(its)
    work = CostEstimate(its, sampled, "s", shapes, Device("CPU", False, None)).work
    for key, items in sampled.items.items():
        rows = forward_path(base, items).encode(items)
        assert work[key].tokens == pytest.approx(np.mean([row.length for row in rows]), rel=0.3)


# What it took.


def test_the_log_tells_what_training_and_scoring_took(plan, tmp_path):
    from transferscope.execution.runner import run_study

    text = TEXT.replace("MODEL", "glimpse-s").replace("controls: [shuffled]\n", "")
    run_study(parse_study(text, "study.yaml"), tmp_path / "out")
    made = estimate(planned(text), read_shapes(folder("glimpse-s")), Device("CPU", False, None))
    lines = [json.loads(line) for line in (tmp_path / "out" / results.LOG).read_text().splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    score = [line for line in lines if line["event"] == "score"]
    assert sum(line["items"] for line in train) == made.train_items == 64
    assert sum(line["items"] for line in score) == made.score_items == 50
    for line in (*train, *score):
        rate = line["items"] / line["seconds"]
        assert line["items_per_second"] == pytest.approx(rate, rel=0.02)
        assert line["peak_memory_bytes"] > 1 << 20
    told = json.loads(plan(text, "--out", "out", "--no-calibration", "--json")[1])
    spent = told["measured"]["s"]
    assert spent["train_seconds"] == pytest.approx(sum(line["seconds"] for line in train))
    assert (spent["train_items"], told["cells finished"]) == (64, 10)
    assert "So far: s: training 64 items" in plan(text, "--out", "out", "--no-calibration")[1]


def test_a_simulated_base_is_measured_in_seconds_and_items():
    assert set(Stopwatch(SimpleNamespace(name="x")).fields(6)) == {
        *("items", "seconds", "items_per_second")
    }


def test_a_large_base_fits_in_nf4_or_on_two_gpus(plan, tmp_path):
    text = TEXT.replace("MODEL", str(local(tmp_path / "32b", QWEN25_32B)))
    text = text.replace("recipe: {", "recipe: {precision: bfloat16, ")

    def planned_for(how, memory="48"):
        model = text.replace("{s: ", f"{{s: {{{how}, where: ").replace("}\nsuite", "}}\nsuite")
        shown = plan(model if how else text, "--json", "--memory", memory, "--tflops", "1")[1]
        return json.loads(shown)["models"]["s"]

    whole, small, two = (planned_for(how) for how in ("", "quantization: nf4", "gpus: 2"))
    assert [its["fits"] for its in (whole, small, two)] == [False, True, True]
    assert whole["weights_bytes"] / 1e9 == pytest.approx(66.9, abs=0.05)
    linears = 64 * (2 * 5120 * 5120 + 2 * 5120 * 1024 + 3 * 5120 * 27648)
    saved = linears * (16 - 4.127) / 8  # QLoRA, section 3: 4.127 bits a weight
    assert whole["weights_bytes"] - small["weights_bytes"] == pytest.approx(saved, rel=1e-4)
    # Two GPUs count as one with their memory.
    assert two["flops"] == planned_for("", memory="96")["flops"] < whole["flops"]


def test_a_plan_needs_no_training_items_and_says_what_it_assumed(plan, tmp_path):
    """The paper's study before `training` exists; the benchmark is a local copy."""
    tasks = list(benchmark_factory.TASKS)
    model = local(tmp_path / "7b", QWEN25_7B)
    text = (ROOT / "studies" / "blink-qwen2.5-vl-7b.yaml").read_text()
    text = text.replace(
        "training:", f"path: {benchmark_factory.blink(tmp_path / 'copy')}, training:"
    )
    text = text.replace("Qwen/Qwen2.5-VL-7B-Instruct", str(model)).replace(
        "items: 1000", "items: 4"
    )
    text += f"targets: {tasks}\nsources: {tasks}\n"
    code, shown, error = plan(text, "--memory", "80", "--json")
    assert code == 0, error
    assumed = json.loads(shown)
    assert assumed["assumed_training_items"] == sorted(tasks)
    assert assumed["notes"][-1].endswith(
        "no training items yet; assumed 4 items each, of the size of the evaluation items"
    )
    benchmark_factory.training(tmp_path / "blink-training")
    built = json.loads(plan(text, "--memory", "80", "--json")[1])
    assert built["assumed_training_items"] == []
    for key in ("train_items", "score_flops", "weights_bytes"):
        assert built["models"]["7B"][key] == assumed["models"]["7B"][key]


def test_the_makespan_is_printed(plan):
    text = TEXT.replace("MODEL", "glimpse-s")
    given = ("--memory", "8", "--tflops", "0.02", "--workers")
    assert json.loads(plan(text, *given, "2", "--json")[1])["least_seconds"] > 0
    assert "a lower budget.fleet makes smaller shards" in plan(text, *given, "20")[1]
    unknown = plan(text, "--memory", "8", "--workers", "2")[1]
    assert "2 workers: makespan unknown without times; give --tflops" in unknown


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ("learning_rate: 2.5e-3", "the learning rate is 0.0025; 0.0001 is usual for LoRA on this "),
        ("learning_rate: 5.0e-6", "the learning rate is 5e-06; 0.0001 is usual for LoRA on this "),
        ("precision: float32", "the precision is float32; bfloat16 is usual for 8.3 billion "),
    ],
)
def test_the_plan_names_what_is_unusual_in_a_recipe(said, note, plan, tmp_path):
    text = TEXT.replace("MODEL", str(local(tmp_path / "7b", QWEN25_7B)))
    for flags in (["--memory", "80"], ["--no-calibration"]):
        shown = plan(text.replace("recipe: {", f"recipe: {{{said}, "), *flags)[1]
        assert f"Note: s: {note}" in shown


def test_the_plan_is_silent_about_what_is_usual_in_a_recipe(plan, tmp_path):
    text = TEXT.replace("MODEL", str(local(tmp_path / "7b", QWEN25_7B)))
    usual = plan(text, "--memory", "80")[1]
    assert "usual" not in usual
    assert "Note: s: adapted: 196 linear layers" in usual  # 28 layers of seven
    assert "Note: s: qwen2_5_vl has its own path: images are encoded once and kept\n" in usual
    peft = plan(text.replace("recipe: {", "recipe: {peft: {use_dora: true}, "), "--memory", "80")[1]
    assert ("on the reference path" in peft, "has its own path" in peft) == (True, False)


def test_large_images_without_a_limit_are_said(plan, tmp_path):
    """A side is a multiple of 28 pixels: 71 x 54 tokens of 28 x 28."""
    from PIL import Image

    model, folder = local(tmp_path / "7b", QWEN25_7B), tmp_path / "photos"
    (folder / "T").mkdir(parents=True)
    (folder / "suite.yaml").write_text("name: photos\ntasks: [{name: T}]\n")
    for split, side in (("train", 2000), ("eval", 1990)):
        Image.new("RGB", (side, 1500)).save(folder / "T" / f"{split}.png")
        row = {"id": "1", "images": [f"{split}.png"], "question": "?", "choices": ["a", "b"]}
        (folder / "T" / f"{split}.jsonl").write_text(json.dumps(row | {"answer": "A"}))
    text = f"name: one\nmodels: {{s: {model}}}\nsuite: {folder}\nrecipe: {{LIMIT}}\n"
    note = "Note: s: recipe.max_pixels is null, and an image takes up to 3,834 tokens; a limit "
    assert note in plan(text.replace("LIMIT", ""), "--memory", "80")[1]
    limited = plan(text.replace("LIMIT", "max_pixels: 262144"), "--memory", "80")
    assert (limited[0], "max_pixels" in limited[1]) == (0, False)


def test_an_embedded_base_keeps_its_own_defaults_without_a_word(plan):
    text = TEXT.replace("MODEL", "glimpse-s")
    usual = plan(text, "--no-calibration")[1]
    assert ("usual" in usual, " path" in usual) == (False, False)
    text = text.replace("recipe: {", "recipe: {learning_rate: 0.1, ")
    assert "Note: s: the learning rate is 0.1; 0.0015 is usual" in plan(text, "--no-calibration")[1]


def test_the_plan_refuses_experts_before_anything_is_loaded(plan, tmp_path):
    config = {"model_type": "qwen3_vl_moe"}
    code, _, error = plan(TEXT.replace("MODEL", str(local(tmp_path / "moe", config))))
    assert code == 2
    assert "s: recipe.targets: all: this model has experts, which cannot be adapted: " in error
    assert "set recipe.targets: [attention]" in error


def test_the_plan_lists_what_there_is_and_counts_as_people_do(plan):
    code, text, _ = plan(TEXT.replace("MODEL", "glimpse-s"), "--no-calibration")
    lines = [line.strip() for line in text.splitlines()]
    assert code == 0
    assert lines[:2] == ["1 base", "6 adapters to train"]
    assert "0 " not in {line[:2] for line in lines}


def test_more_training_items_than_there_are_is_said(plan):
    text = TEXT.replace("MODEL", "glimpse-s").replace("items: 8", "items: 5000")
    shown = plan(text, "--no-calibration")[1]
    assert "Note: recipe.items is 5,000, but there are 4,096 for Counting, Relative_Depth" in shown
    assert "recipe.items" not in plan(TEXT.replace("MODEL", "glimpse-s"), "--no-calibration")[1]
