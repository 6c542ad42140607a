"""Whole studies on checkpoints of every family, through the public command.

What the command leaves is compared with PEFT and the family's own processor and forward, asked one
question at a time in plain words.
"""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import engine_factory as factory
import fake_engine
import families_factory as families
import polars as pl
import pytest
import torch
import transformers as hf
import yaml
from engine_factory import train_fleet
from messages import raises
from PIL import Image
from safetensors.torch import load_file
from test_fleet import job, peft_run

from transferscope.engine import processors, score, train
from transferscope.engine.adapter import load_adapter, save_adapter, stacked
from transferscope.engine.base_model import Base, load_base
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.linears import language_linears, not_adapted, target_linears
from transferscope.engine.lora import attached
from transferscope.engine.memory import MemoryPlan
from transferscope.engine.qwen_path import QwenPath
from transferscope.engine.records import TrainingJob
from transferscope.engine.reply_tokens import option_tokens, reply_tokens
from transferscope.engine.score import score_fleet
from transferscope.errors import DataError, MissingExtra, StudyError
from transferscope.execution.runner import run_study
from transferscope.store import logged, prediction_files
from transferscope.study import Study
from transferscope.study.file import read_study
from transferscope.suites import open_suite

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # PEFT's
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # GLM-4V's processor
]

slow = pytest.mark.slow
EVERY = list(families.FAMILIES)
QWEN = ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"]
CUT = ["smolvlm", "smolvlm2", "llava-onevision", "internvl"]
"""Families that cut pictures into tiles."""

ATTENTION = [f"self_attn.{name}_proj" for name in "qkvo"]
MLP = [f"mlp.{name}_proj" for name in ("gate", "up", "down")]

BLANK = {"smolvlm": " ", "smolvlm2": " "}
"""What stands between the place where a reply begins and the reply."""


@pytest.fixture(autouse=True)
def number_words(monkeypatch):
    """SmolVLM2's processor wants num2words, to speak of a video's frames; no test here has any."""
    import transformers.models.smolvlm.processing_smolvlm as smolvlm

    monkeypatch.setattr(smolvlm, "num2words", str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A family's checkpoint; each is written once."""
    root = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: families.checkpoint(family, root / family))


@pytest.fixture(scope="module")
def loaded(folder):
    """A family's base; each is loaded once."""
    return cache(lambda family: load_base(folder(family)))


class Left(NamedTuple):
    """What a study leaves."""

    out: Path
    suite: Path
    rows: pl.DataFrame


@pytest.fixture
def study(tmp_path):
    """Carry out a study of two tasks on a checkpoint, twice; returns what it leaves."""

    def carry_out(checkpoint: Path, scoring: str, **recipe: Any) -> Left:
        suite = families.suite(tmp_path / "made")
        written = {
            "name": "families",
            "models": {"tiny": str(checkpoint)},
            "suite": str(suite),
            "seeds": 1,
            "recipe": {"rank": 4, "alpha": 8, "epochs": 1, "batch_size": 3}
            | {"precision": "float32"}
            | recipe,
            "evaluation": {"scoring": scoring, "batch_size": 3},
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
        out = tmp_path / "out"
        for _ in range(2):
            assert run_study(read_study(tmp_path / "study.yaml"), out).failed == ()
        tables = prediction_files(out)
        return Left(out, suite, pl.concat(map(pl.read_parquet, tables)))

    return carry_out


def events(left: Left) -> list[str]:
    return [line["event"] for line in logged(left.out)]


def option_scores(model: Any, processor: Any, item: Any, blank: str) -> list[float]:
    """Log-probability of each option's letter, written out behind the question as text."""
    parts = [{"type": "image"}] * len(item.images) + [{"type": "text", "text": item.prompt}]
    asked = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    special = not asked.startswith(processor.tokenizer.bos_token or "\0")
    pictures = [Image.fromarray(picture.pixels()) for picture in item.images]
    said, scores = [], []
    for letter in "ABCDEFGHIJ"[: len(item.choices)]:
        whole = processor(
            text=[f"{asked}{blank}({letter}"],
            images=[pictures],
            return_tensors="pt",
            add_special_tokens=special,
        )
        ids = whole["input_ids"][0]
        with torch.no_grad():
            logits = model(**whole).logits[0].log_softmax(-1)
        scores.append(logits[:-1].gather(1, ids[1:, None])[:, 0])
        said.append(ids.tolist())
    shared = 0
    while len({tuple(ids[: shared + 1]) for ids in said}) == 1:
        shared += 1
    return [float(its[shared - 1 :].sum()) for its in scores]


def check(left: Left, checkpoint: Path, blank: str, bare: Base) -> None:
    """The study's answers and adapters are those of PEFT and of the family's own forward."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    sources = ["Brighter", "Closer"]
    assert left.rows.height == 3 * 2 * 4
    assert set(left.rows["source"].to_list()) == {None, *sources}
    assert events(left).count("train") == 1
    assert events(left).count("score") == 2
    assert events(left).count("end") == 2
    items = {
        item.id: item
        for task in sources
        for item in open_suite(str(left.suite)).items(task, "eval")
    }
    moved = []
    for source in (None, "Closer"):
        model: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
        if source is not None:
            (adapter,) = (left.out / "adapters").glob(f"*/{source}/*")
            model = PeftModel.from_pretrained(model, str(adapter))
        model.eval()
        wanted = left.rows.filter(pl.col("source").eq_missing(source))
        for row in wanted.iter_rows(named=True):
            theirs = option_scores(model, bare.processor, items[row["item"]], blank)
            assert row["logprobs"] == pytest.approx(theirs, abs=2e-4)
            moved += theirs
    half = len(moved) // 2
    assert max(abs(a - b) for a, b in zip(moved[:half], moved[half:], strict=True)) > 1e-3


@pytest.mark.parametrize(
    ("family", "scoring"),
    [
        ("qwen2.5-vl", "letters"),
        ("smolvlm", "generate"),
        pytest.param("qwen2.5-vl", "generate", marks=slow),
        pytest.param("smolvlm", "letters", marks=slow),
        *(pytest.param(family, "letters", marks=slow)
          for family in EVERY if family not in ("qwen2.5-vl", "smolvlm")),
    ],
)  # fmt: skip
def test_a_study_runs_on_a_checkpoint_as_the_family_has_it(family, scoring, study, folder, loaded):
    left = study(folder(family), scoring, learning_rate=0.02)
    check(left, folder(family), BLANK.get(family, ""), loaded(family))


@pytest.mark.parametrize(
    "family",
    ["qwen2.5-vl", *(pytest.param(one, marks=slow)
                     for one in EVERY if one not in ("qwen2.5-vl", *BLANK))],
)  # fmt: skip
def test_a_study_that_was_killed_ends_like_one_that_was_not(family, study, folder, tmp_path):
    whole, out = study(folder(family), "letters", learning_rate=0.02).out, tmp_path / "killed"
    kept = []
    for steps in (8, 6):  # between the two adapters, and among the tables
        command = [fake_engine.__file__, str(tmp_path / "study.yaml"), str(out), str(steps), "real"]
        done = subprocess.run([sys.executable, *command], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        kept.append([*out.glob("adapters/*/*/0")])
    assert list(map(len, kept)) == [1, 2]
    assert run_study(read_study(tmp_path / "study.yaml"), out).failed == ()
    files = {path.relative_to(whole) for end in ("*.safetensors", "*.parquet")
             for path in whole.rglob(end)}  # fmt: skip
    assert len(files) == 2 + 6
    for file in files:
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


@pytest.mark.parametrize(
    ("family", "targets", "layers"),
    [
        ("qwen3.5-moe", ["attention", "shared_experts"], "in_proj_qkv.*shared_expert.gate_proj"),
        pytest.param("qwen3-vl-moe", "attention", "o_proj", marks=slow),
        pytest.param("internvl-llama4", ["attention", "mlp", "shared_experts"],
                     "feed_forward.shared_expert.up_proj", marks=slow),
    ],
)  # fmt: skip
def test_a_study_adapts_all_but_the_experts_of_a_mixture(
    family, targets, layers, study, folder, loaded
):
    left = study(folder(family), "letters", learning_rate=0.02, targets=targets)
    check(left, folder(family), "", loaded(family))
    (path,) = (left.out / "adapters").glob("*/Closer/*")
    keys = "\n".join(load_file(path / "adapter_model.safetensors"))
    assert re.search(layers, keys, re.DOTALL)
    assert not re.search(r"\bexperts|router|\.gate\.|expert_gate", keys)
    (line, *_) = (its for its in logged(left.out) if its["event"] == "train")
    assert "experts cannot be adapted (experts)" in line["layers"]


@pytest.mark.parametrize(
    "family",
    ["gemma3", *(pytest.param(one, marks=slow) for one in EVERY if one not in ("gemma3", *QWEN))],
)
def test_an_adapter_equals_one_that_pefts_own_loop_trains(family, folder):
    base = load_base(folder(family))
    base.model.double()
    recipe = factory.recipe(targets=("attention",), learning_rate=0.01)
    its = job(0, factory.items(6, 1, size=(56, 56)))
    (ours,) = train_fleet(base, [its], recipe)
    (start,) = train_fleet(base, [its], replace(recipe, learning_rate=0.0))
    letters = ["ABCDEFGHIJ"[item.answer] for item in its.items]
    replies = reply_tokens(base.processor, [f"({letter})" for letter in letters], end=True)
    *_, theirs = peft_run(base, its, recipe, start, list(map(list, replies)))
    assert ours.tensors.keys() == theirs.keys()
    for key, tensor in ours.tensors.items():
        torch.testing.assert_close(tensor, theirs[key].to(tensor.dtype), atol=1e-5, rtol=0)
    assert max((ours.tensors[key] - start.tensors[key]).abs().max() for key in theirs) > 1e-3


# Processors.


def test_a_processor_without_its_videos_makes_pictures_and_saves_itself(folder, tmp_path):
    made = processors._without_videos(folder("qwen3-vl"))
    assert type(made).__name__ == "Qwen3VLProcessor"
    assert made.chat_template == families.QWEN_TEMPLATE
    made.save_pretrained(tmp_path)
    again = processors._without_videos(families.checkpoint("qwen3-vl", tmp_path / "other"))
    assert again.image_processor.to_dict() == made.image_processor.to_dict()
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == "Qwen3VLProcessor"
    assert saved["image_processor"]["patch_size"] == 16


def test_a_processor_that_needs_another_library_names_it(folder, monkeypatch):
    import transformers.models.smolvlm.processing_smolvlm as smolvlm

    monkeypatch.setattr(smolvlm, "num2words", None)
    with raises(MissingExtra):
        load_base(folder("smolvlm2"))


def test_a_reply_begins_where_the_chat_template_says(loaded):
    base = loaded("smolvlm")
    (stem,) = option_tokens(base.processor).prefix
    assert base.processor.tokenizer.decode([stem]) == " ("
    (stem,) = option_tokens(loaded("internvl").processor).prefix
    assert base.processor.tokenizer.decode([stem]) == "("


PIXELS = [
    ("qwen2-vl", 56 * 112, (1, 4, 8)),
    ("qwen3-vl", 64 * 64, (1, 2, 4)),
    ("smolvlm", 64 * 64, 1),
    ("smolvlm2", 130 * 130, 3),
    ("llava-onevision", 56 * 112, 3),
    ("llava-onevision", 56 * 56, 2),
    ("internvl", 56 * 112, 3),
    ("internvl", 56 * 56, 1),
    ("gemma3", 56 * 56, 1),
]
"""A limit, and the grid of patches or the number of tiles of a picture of 60 x 120."""


@pytest.mark.parametrize(("family", "most", "expected"), PIXELS)
def test_max_pixels_is_kept_by_the_familys_own_setting(family, most, expected, folder):
    base = load_base(folder(family), max_pixels=most)
    (item,) = factory.items(1, 1, size=(60, 120))
    plain = factory.reference_path(base, [item])
    inputs = plain.inputs(plain.encode([item]))
    if family in QWEN:
        assert tuple(inputs["image_grid_thw"][0].tolist()) == expected
        assert (
            int(inputs["image_grid_thw"].prod()) * base.model.config.vision_config.patch_size**2
            <= most
        )
        return
    tiles = inputs["pixel_values"].flatten(0, -4)
    assert len(tiles) == expected
    with torch.no_grad():
        assert plain.logits(plain.encode([item])).isfinite().all()


@pytest.mark.parametrize("family", ["smolvlm", "llava-onevision", "internvl", "gemma3"])
def test_max_pixels_below_what_a_family_can_is_refused(family, folder):
    with raises(StudyError):
        load_base(folder(family), max_pixels=1000)


def test_a_model_without_torchs_attention_is_refused_with_this_reason(tmp_path, monkeypatch):
    text = {"model_type": "gpt_oss", "head_dim": 12}
    text |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    monkeypatch.setitem(families.FAMILIES, "gpt-oss", lambda: families._intern(text))
    with raises(DataError):
        load_base(families.checkpoint("gpt-oss", tmp_path / "gpt-oss"))


# The language model and its adapters.


LAYERS = {
    "qwen3.5": [
        *(["linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_b",
           "linear_attn.in_proj_a", "linear_attn.out_proj", *MLP],) * 3,
        [*ATTENTION, *MLP],
    ],
    **dict.fromkeys(
        ("glm4v", "glm4.6v"), [[*ATTENTION, "mlp.gate_up_proj", "mlp.down_proj"]] * 2
    ),
    "internvl-phi3": [
        ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"]
    ] * 2,
    "internvl-lfm2": [
        ["conv.in_proj", "conv.out_proj", *(f"feed_forward.w{n}" for n in (1, 2, 3))],
        [*ATTENTION[:3], "self_attn.out_proj", *(f"feed_forward.w{n}" for n in (1, 2, 3))],
    ],
    "gemma4": [  # keys and values of the last two layers are those of the first two
        *([*ATTENTION, *MLP, "per_layer_input_gate", "per_layer_projection"],) * 2,
        *([ATTENTION[0], ATTENTION[3], *MLP, "per_layer_input_gate", "per_layer_projection"],) * 2,
    ],
}  # fmt: skip
"""Linear layers of each decoder layer, where they are others than Llama's."""


@pytest.mark.parametrize("family", EVERY)
def test_adapters_sit_in_every_linear_layer_of_the_decoder_and_nowhere_else(family, loaded):
    base = loaded(family)
    layers = "text_model" if family.startswith("smol") else "language_model"
    wanted = [
        f"model.{layers}.layers.{place}.{name}"
        for place, names in enumerate(LAYERS.get(family, [[*ATTENTION, *MLP]] * 2))
        for name in names
    ]
    assert sorted(language_linears(base.model)) == sorted(wanted)
    assert target_linears(base.model, ("all",)).keys() == language_linears(base.model).keys()
    both = target_linears(base.model, ("attention", "mlp"))
    assert both.keys() == language_linears(base.model).keys()


@pytest.mark.parametrize(
    ("family", "wrong", "right"),
    [
        ("qwen3-vl-moe", "all", "attention"),
        ("qwen3-vl-moe", "down_proj", "attention"),
        ("qwen3.5-moe", "all", "attention, shared_experts"),
        ("internvl-llama4", "experts", "attention, mlp, shared_experts"),
        ("gemma4-moe", "all", "attention, mlp"),
    ],
)
def test_experts_are_refused_by_name_with_what_to_ask_for(family, wrong, right, loaded):
    with raises(StudyError):
        target_linears(loaded(family).model, (wrong,))


@pytest.mark.parametrize(
    ("kind", "count", "left"),
    [
        ("idefics", 32 * 14, "model.vision_model"),
        ("git", 6 * 6, "git.image_encoder, git.visual_projection"),
        ("pi0", 18 * 7, "model.dit, .*model.vlm.vision_tower"),
        ("mllama", 40 * 7, "model.multi_modal_projector, model.vision_model"),
    ],
)
def test_towers_and_heads_of_a_familys_default_shape_stay_frozen(kind, count, left):
    """Layers counted in transformers' own default configurations; no weight is made."""
    with torch.device("meta"):
        model = hf.AutoModelForImageTextToText.from_config(hf.AutoConfig.for_model(kind))
    assert len(target_linears(model, ("all",))) == count
    assert re.search(left, not_adapted(model, ("all",)))


def test_llama_4s_head_router_and_experts_are_not_adapted():
    config = hf.Llama4Config()
    with torch.device("meta"):
        model = hf.Llama4ForConditionalGeneration(config)
    found = target_linears(model, ("attention", "shared_experts"))
    assert len(found) == 48 * (4 + 3)
    assert {name.rpartition(".")[2] for name in found} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    note = not_adapted(model, ("attention", "shared_experts"))
    assert "experts cannot be adapted (experts); routers stay frozen (router)" in note
    assert "head and embedding stay frozen" in note


@pytest.mark.parametrize("family", ["llava-onevision", "internvl", "gemma3", "qwen2.5-vl"])
def test_adapters_by_the_names_of_older_transformers_are_read(family, loaded, tmp_path):
    base = loaded(family)
    (adapter,) = trained(base, 1)
    start = "model.layers." if family == "qwen2.5-vl" else "language_model.model.layers."
    older = {
        key.replace("model.language_model.layers.", start): its
        for key, its in adapter.tensors.items()
    }
    assert older.keys() != adapter.tensors.keys()
    folder = save_adapter(replace(adapter, tensors=older), tmp_path / "old" / "0")
    read = load_adapter(base, folder)
    assert factory.same(read, adapter)


def trained(base: Base, count: int, **recipe: Any) -> list[Any]:
    """Adapters of `count` sources with pictures of several sizes."""
    jobs = [
        TrainingJob(
            f"task{n}", n, factory.items(4, None, seed=n, size=None), 10 + n, 20 + n, 30 + n
        )
        for n in range(count)
    ]
    return train_fleet(base, jobs, factory.recipe(learning_rate=0.02, epochs=1, **recipe))


# The plain path.


@pytest.mark.parametrize("family", ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"])
def test_a_picture_is_seen_alike_whatever_is_seen_with_it(family, loaded):
    """To the last bit: a run that goes on after a kill asks for others of the pictures."""
    items, base = factory.items(24, None, size=None), loaded(family)
    pictures = [picture for item in items for picture in item.images]
    together = QwenPath(base).vision_cache.features(pictures)
    apart = [its for one in pictures for its in QwenPath(base).vision_cache.features([one])]
    assert all(torch.equal(one, its) for one, its in zip(together, apart, strict=True))


@pytest.mark.parametrize("family", EVERY)
def test_rows_do_not_change_one_another(family, loaded):
    base, items = loaded(family), factory.items(4, None, size=None)
    plain = factory.reference_path(base, items)
    said = [(), (9,), (9, 10), (11,)]
    rows = [
        row._replace(answer_ids=its) for row, its in zip(plain.encode(items), said, strict=True)
    ]
    with torch.no_grad():
        together, alone = plain.logits(rows), torch.cat([plain.logits([row]) for row in rows])
    assert alone.std() > 0.1
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert [row.length for row in rows] == [
        plain.inputs([row])["input_ids"].shape[1] for row in rows
    ]


@pytest.mark.parametrize("family", QWEN)
def test_the_fast_path_gives_the_option_scores_of_the_plain_one(family, loaded, monkeypatch):
    base, items = loaded(family), factory.items(5, 2, size=None)
    (adapter,) = trained(base, 1)
    found = []
    for kind in ("", "reference"):
        monkeypatch.setattr(score, "forward_path", partial(forward_path, kind=kind))
        found.append(score_fleet(base, [None, adapter], items, batch_size=2))
    for fast, plain in zip(*found, strict=True):
        for one, other in zip(fast, plain, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    "family",
    [
        *("smolvlm", "gemma3"),  # one that cuts pictures, one that does not
        *(pytest.param(family, marks=slow) for family in ("llava-onevision", "internvl")),
    ],
)
def test_a_fleet_on_the_plain_path_equals_its_adapters_alone(family, loaded, monkeypatch):
    base, items = loaded(family), factory.items(5, None, seed=9, size=None)
    alone = trained(base, 3)
    monkeypatch.setattr(train, "memory_plan", lambda *its: MemoryPlan(3, 1, False))
    monkeypatch.setattr(train, "folding_pays", lambda *its: False)
    monkeypatch.setattr(train, "SIMILAR", 0.0)
    together = trained(base, 3)
    for one, other in zip(alone, together, strict=True):
        for key, tensor in one.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[key], atol=2e-4, rtol=1e-3)
    apart = score_fleet(base, together, items, batch_size=2)
    monkeypatch.setattr(
        score,
        "_adapter_groups",
        lambda *its: [
            score._AdapterGroup(
                [0, 1, 2], base, lambda: attached(base.model, stacked(base, together))
            )
        ],
    )
    for ours, theirs in zip(score_fleet(base, together, items, batch_size=2), apart, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", [*CUT, "gemma3"])
def test_no_gradient_is_kept_in_the_vision_tower(family, loaded):
    base, kept = loaded(family), []
    vision = [
        module
        for name, module in base.model.named_modules()
        if "vision" in name and not list(module.children())
    ]
    assert len(vision) > 10
    hooks = [
        module.register_forward_hook(
            lambda module, given, out: kept.append(
                isinstance(out, torch.Tensor) and out.requires_grad
            )
        )
        for module in vision
    ]
    before = {name: its.clone() for name, its in base.model.state_dict().items()}
    trained(base, 1)
    for hook in hooks:
        hook.remove()
    assert kept
    assert not any(kept)
    assert all(weight.grad is None for weight in base.model.parameters())
    assert all(torch.equal(its, before[name]) for name, its in base.model.state_dict().items())


@pytest.mark.parametrize("family", EVERY)
def test_pictures_follow_the_bases_precision(family, folder):
    base = load_base(folder(family), precision="bfloat16")
    items = factory.items(2, None, size=None)
    path = factory.reference_path(base, items)
    assert path.inputs(path.encode(items))["pixel_values"].dtype == torch.bfloat16
    (answers,) = score_fleet(base, [None], items)
    assert torch.tensor([answer.logprobs[0] for answer in answers]).isfinite().all()


@pytest.mark.parametrize(
    ("family", "token"),
    [
        ("smolvlm", "<image>"),
        ("llava-onevision", "<image>"),
        ("internvl", "<IMG_CONTEXT>"),
        ("gemma3", "<image_soft_token>"),
        ("gemma3", "<start_of_image>"),
    ],
)
def test_text_that_holds_a_picture_token_is_refused(family, token, loaded):
    (item,) = factory.items(1)
    bad = replace(item, prompt=f"see {token}")
    with raises(DataError):
        score_fleet(loaded(family), [None], [bad])


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "reference"])
def test_a_picture_that_the_processor_refuses_is_named_by_its_item(kind, loaded):
    (item,) = factory.items(1, 1, size=(2, 500))
    with raises(DataError):
        forward_path(loaded("qwen2.5-vl"), [item], kind).encode([item])


# The paper's studies.

STUDIES = Path(__file__).resolve().parents[2] / "studies"
SIZES = ["3B", "7B", "32B"]


@pytest.mark.parametrize("size", SIZES)
def test_the_papers_studies_have_its_recipe_and_say_where_every_value_is_from(size):
    text = (STUDIES / f"blink-qwen2.5-vl-{size.lower()}.yaml").read_text(encoding="utf-8")
    study = Study.model_validate(yaml.safe_load(text) | {"suite": "blink"})
    assert study.models[size].where == f"Qwen/Qwen2.5-VL-{size}-Instruct"
    assert study.seeds == (0, 1, 2, 3)
    recipe = study.recipe
    assert (recipe.rank, recipe.alpha, recipe.schedule) == (8, 16, "cosine")
    assert (recipe.items, recipe.max_pixels, recipe.precision) == (1000, 512 * 512, "bfloat16")
    origin = re.compile(r"# (the paper|digest|LF|ours)")
    for line in text[text.index("seeds:") :].splitlines():
        assert line.endswith(":") or origin.search(line), line
