"""An answer is scored, trained and read where thinking has ended, never inside a thinking block."""

from functools import cache

import engine_factory as factory
import families_factory as families
import pytest
import torch
from engine_factory import train_fleet
from messages import raises
from PIL import Image
from test_generation import scripted

from transferscope.engine.base_model import hash_folder, load_base
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.generation import replies
from transferscope.engine.processors import (
    after_block,
    load_processor,
    open_block,
    prompt_end,
    set_thinking,
)
from transferscope.engine.records import TrainingJob
from transferscope.engine.score import score_fleet
from transferscope.errors import StudyError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: families.checkpoint(family, root / family))


ALWAYS = families.QWEN_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
"""Ends as Qwen3-VL-Thinking's does."""


@pytest.mark.parametrize(
    ("end", "tag"),
    [
        ("<|im_end|>\n<|im_start|>assistant\n<think>\n", "<think>"),  # Qwen3.5
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),  # the same, told not to think
        ("<|im_start|>assistant\n", ""),
        ("<|turn>model\n<|channel>thought\n", "<|channel>thought"),  # Gemma 4
        ("<|turn>model\n<|channel>thought\n<channel|>", ""),
        ("<|im_end|>[THINK]", "[THINK]"),  # Magistral
        ("[/INST][THINK]so[/THINK]", ""),
        ("assistant<|channel|>analysis<|message|>", "<|channel|>analysis"),  # gpt-oss
        ("assistant<|channel|>analysis<|message|>so<|end|><|channel|>final<|message|>", ""),
        ("<|im_assistant|>assistant<|im_middle|>◁think▷", "◁think▷"),  # Kimi-VL-Thinking
        ("<seed:think>", "<seed:think>"),  # Seed-OSS
        ("<|START_THINKING|>", "<|START_THINKING|>"),  # Command A
        ("<|START_THINKING|><|END_THINKING|>", ""),
        ("<think>one</think>\n<think>\n", "<think>"),
    ],
)
def test_an_open_thinking_block_is_known_by_its_tag(end, tag):
    assert open_block(end) == tag


def test_a_model_that_knows_the_switch_is_told_not_to_think(folder):
    """What is encoded is what the family's processor makes when it is told so in its own way."""
    (item,) = factory.items(1, 1)
    base, bare = load_base(folder("qwen3.5")), load_processor(folder("qwen3.5"))
    (row,) = forward_path(base, [item]).encode([item])
    text = [{"type": "image"}, {"type": "text", "text": item.prompt}]
    asked = bare.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, enable_thinking=False
    )
    assert asked.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    picture = Image.fromarray(item.images[0].pixels())
    theirs = bare(text=[asked], images=[[picture]], return_tensors="pt")
    assert row.ids == tuple(theirs["input_ids"][0].tolist())
    assert prompt_end(bare).endswith("assistant\n<think>\n")  # as it comes


def test_letters_and_training_inside_an_open_block_are_refused(folder):
    base, items = load_base(folder("qwen3.5"), name="Q", thinking=True), factory.items(2, 1)
    job = TrainingJob("a", 0, items, 1, 2, 3)
    with raises(StudyError):
        score_fleet(base, [None], items)
    with raises(StudyError):
        score_fleet(base, [None], items, scoring="generate")
    with raises(StudyError):
        train_fleet(base, [job], factory.recipe())
    told = load_base(folder("qwen3.5"))
    assert len(score_fleet(told, [None], items)[0]) == 2


def test_a_template_that_always_opens_a_block_is_refused_whatever_the_study_says(folder, tmp_path):
    path = families.checkpoint("qwen3-vl", tmp_path / "made")
    (path / "chat_template.jinja").write_text(ALWAYS, encoding="utf-8")
    with raises(StudyError):
        score_fleet(load_base(path), [None], factory.items(2, 1))


@pytest.mark.parametrize("thinking", [True, False])
def test_what_is_thought_is_no_part_of_a_reply(thinking, folder, monkeypatch):
    base, items = load_base(folder("qwen3.5"), thinking=thinking), factory.items(2, 1)
    says = "Perhaps (A)? No.</think>\n\n(B)" if thinking else "(B)"
    path = forward_path(base, items)
    rows = path.encode(items)
    with scripted(monkeypatch, base, [says, says]):
        assert [its.strip() for its in replies(base, path, rows, most=40)] == ["(B)", "(B)"]
    if thinking:  # which goes on too long
        with scripted(monkeypatch, base, [says, says]):
            assert replies(base, path, rows, most=6) == ["", ""]


def test_a_long_reply_of_a_model_that_thinks_is_generated_and_read(folder):
    base, items = load_base(folder("qwen3.5"), thinking=True), factory.items(2, 1)
    (answers,) = score_fleet(base, [None], items, scoring="generate", reply_tokens=20)
    assert all(torch.tensor(answer.logprobs).isnan().all() for answer in answers)


def test_what_a_template_is_told_is_part_of_a_bases_hash_where_it_knows_the_switch(folder):
    path = folder("qwen3.5")
    told, thinks = load_base(path), load_base(path, thinking=True)
    assert len({told.weights_hash, thinks.weights_hash, hash_folder(path)}) == 3
    path = folder("qwen2.5-vl")
    assert load_base(path, thinking=True).weights_hash == hash_folder(path)


def test_templates_under_several_names_are_all_told():
    class Processor:
        """Has two."""

        chat_template = {  # noqa: RUF012
            "default": "{{ 'a' if enable_thinking else 'b' }}",
            "tools": "{{ message.thinking }}{{ x['thinking'] }}",
        }

    made = Processor()
    assert set_thinking(made, False) == "{%- set enable_thinking = false %}"
    assert all(its.startswith("{%- set enable") for its in made.chat_template.values())
    assert after_block("a</think>b") == "b"
