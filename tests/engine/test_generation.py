"""Replies are those of transformers' `generate`, one item at a time, in any batch."""

import copy
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import engine_factory as factory
import families_factory as families
import pytest
import torch
from test_fleet import job, random_adapter

from transferscope.engine import generation, score
from transferscope.engine.adapter import Adapter, save_adapter, stacked
from transferscope.engine.base_model import Base, load_base
from transferscope.engine.forward_paths import REFERENCE, forward_path
from transferscope.engine.generation import READ_EVERY, image_tokens, replies
from transferscope.engine.lora import attached
from transferscope.engine.processors import after_block
from transferscope.engine.score import score_fleet
from transferscope.tasks.open_answers import NumberAnswer

torch.set_num_threads(1)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # PEFT's
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # GLM-4V's processor
]

slow = pytest.mark.slow
EVERY = [*families.FAMILIES, *families.MIXTURES]
FAST = ["qwen2-vl", "qwen2.5-vl", "qwen3-vl"]


@pytest.fixture(autouse=True)
def number_words(monkeypatch):
    """SmolVLM2's processor wants num2words, to speak of a video's frames; no test here has any."""
    import transformers.models.smolvlm.processing_smolvlm as smolvlm

    monkeypatch.setattr(smolvlm, "num2words", str)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A family's base; each is loaded once."""
    root = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: load_base(families.checkpoint(family, root / family)))


@pytest.fixture(scope="module")
def small():
    return factory.small_base()


def never(_: str) -> bool:
    return False


def theirs(base: Base, items, adapter: Adapter | None = None, most: int = 16) -> list[str]:
    """Replies of PEFT and the model's own `generate`, one item at a time."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    model = base.model
    if adapter is not None:
        config = {key: adapter.config[key] for key in ("r", "lora_alpha", "target_modules")}
        model = get_peft_model(copy.deepcopy(model), LoraConfig(**config))
        set_peft_model_state_dict(model, adapter.tensors)
        model.eval()
    plain, made = factory.reference_path(base, items), []
    for item in items:
        inputs = plain.inputs(plain.encode([item]))
        banned = image_tokens(base)
        tokens = model.generate(
            **inputs, max_new_tokens=most, do_sample=False, suppress_tokens=banned
        )[0, inputs["input_ids"].shape[1] :]
        made.append(after_block(base.processor.tokenizer.decode(tokens, skip_special_tokens=True)))
    return made


def ours(base: Base, items, kind: str = "", adapters: Any = (), most: int = 16) -> list[str]:
    """Replies in one batch: of the base, or of each adapter in turn."""
    path = forward_path(base, items, kind)
    rows = path.encode(items)
    if not adapters:
        return replies(base, path, rows, never, most)
    with attached(base.model, stacked(base, adapters)):
        return replies(base, path, rows * len(adapters), never, most)


@contextmanager
def scripted(monkeypatch, base: Base, texts: list[str]):
    """Within this context, each row of a batch gets a reply by hand and then an end token."""
    tokenizer, steps = base.processor.tokenizer, []
    scripts = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]

    def head(states):
        made = torch.zeros(*states.shape[:-1], len(tokenizer))
        for row, script in enumerate(scripts):
            made[row, -1, script[min(len(steps), len(script) - 1)]] = 1
            made[row, -1, image_tokens(base)] = 2  # would be preferred
        steps.append(len(states))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(base.model.get_output_embeddings(), "forward", head)
        yield steps


@pytest.mark.parametrize(
    ("family", "images"),
    [
        *((family, None) for family in EVERY),
        *(pytest.param(family, 0, marks=() if family in FAST else slow) for family in EVERY),
    ],
)
def test_a_batchs_replies_are_those_of_generate_item_by_item(family, images, loaded):
    base, items = loaded(family), factory.items(3, images, seed=2, size=None)
    kinds = ["", REFERENCE] if family in FAST else [""]
    path = forward_path(base, items)
    assert len({row.length for row in path.encode(items)}) > 1
    expected = theirs(base, items)
    assert len(set(expected)) > (images is None)
    for kind in kinds:
        assert ours(base, items, kind) == expected


@pytest.mark.parametrize("images", [0, None])
def test_an_embedded_bases_replies_are_those_of_generate(images, small):
    items = factory.items(5, images, seed=3)
    assert type(forward_path(small, items)).__name__ == "GlimpsePath"
    assert ours(small, items) == ours(small, items, REFERENCE) == theirs(small, items)


def test_items_with_and_without_images_may_share_a_batch(loaded, small):
    items = [*factory.items(2, None), *factory.items(2, 0, seed=1)]
    for base in (loaded("qwen2.5-vl"), loaded("qwen3-vl"), small):
        assert ours(base, items) == theirs(base, items)


@pytest.mark.parametrize(
    "family",
    [
        *("small", "qwen2.5-vl", "smolvlm"),
        *(pytest.param(family, marks=slow) for family in ("qwen3-vl", "qwen3.5", "gemma3")),
    ],
)
def test_adapters_in_one_batch_reply_as_each_does_alone(family, small, loaded):
    base = small if family == "small" else loaded(family)
    items = factory.items(3, None, seed=4)
    adapters = [random_adapter(base, seed, rank) for seed, rank in enumerate((4, 2, 4))]
    expected = [theirs(base, items, adapter) for adapter in adapters]
    assert len({tuple(texts) for texts in expected}) == 3
    together = ours(base, items, adapters=adapters)
    assert [together[start : start + 3] for start in (0, 3, 6)] == expected


@pytest.mark.parametrize("family", EVERY)
def test_a_prompt_runs_once_and_then_one_token_a_step(family, loaded):
    base, items = loaded(family), factory.items(2, 1)
    layer, lengths = base.model.get_decoder().layers[0], []

    def note(_, given, named):
        lengths.append((given[0] if given else named["hidden_states"]).shape[1])

    hook = layer.register_forward_pre_hook(note, with_kwargs=True)
    ours(base, items, most=5)
    hook.remove()
    assert lengths[0] > 10
    assert lengths[1:] == [1] * (len(lengths) - 1)
    assert 1 < len(lengths) <= 5


def test_a_checkpoints_own_settings_of_generation_count(loaded):
    """As Qwen2.5-VL's, which penalizes repetitions."""
    base, items = loaded("qwen2.5-vl"), factory.items(3, None, size=None)
    plain, settings = theirs(base, items), base.model.generation_config
    settings.repetition_penalty = 1.3
    try:
        assert ours(base, items) == theirs(base, items) != plain
    finally:
        settings.repetition_penalty = 1.0


# When a reply ends, and what is kept of it.


def test_a_reply_ends_as_model_or_tokenizer_say_and_holds_no_picture():
    tokens = SimpleNamespace(image_token_id=3, video_token_id=4)
    for ends, expected in (([5, 6], {5, 6, 7}), (5, {5, 7}), (None, {7})):
        model = SimpleNamespace(config=tokens, generation_config=SimpleNamespace(eos_token_id=ends))
        processor = SimpleNamespace(tokenizer=SimpleNamespace(eos_token_id=7))
        base: Any = SimpleNamespace(model=model, processor=processor)
        assert generation.end_tokens(base) == expected
        assert image_tokens(base) == [3, 4]


@pytest.mark.parametrize("family", ["smolvlm", "qwen2.5-vl"])
def test_a_reply_never_says_a_picture_and_goes_on_to_its_end(family, loaded, monkeypatch):
    base, items = loaded(family), factory.items(2, 1)
    texts = ["It is the second. Select (B) the second.", "(B)"]
    path = forward_path(base, items)
    with scripted(monkeypatch, base, texts) as steps:
        assert replies(base, path, path.encode(items), never, 60) == texts
    assert len(steps) == len(base.processor.tokenizer(texts[0])["input_ids"]) + 1


def test_a_long_reply_is_read_now_and_then(loaded, monkeypatch):
    base, items = loaded("qwen2.5-vl"), factory.items(1, 1)
    text = "the " * 3 * READ_EVERY
    path, texts = forward_path(base, items), []
    with scripted(monkeypatch, base, [text]) as steps:
        (reply,) = replies(base, path, path.encode(items), lambda it: texts.append(it), 1000)
    assert reply == text
    assert len(texts) == READ_EVERY + len(steps) // READ_EVERY - 1


def test_generate_reads_replies_and_counts_what_it_cannot_read(small):
    items = factory.items(6, seed=5)
    (adapter,) = factory.train_fleet(
        small, [job(0, items, answers=[1] * 6)], factory.recipe(epochs=8)
    )
    base, tuned = score_fleet(small, [None, adapter], items, scoring="generate")
    assert {answer.choice for answer in tuned} == {1}
    assert {answer.reply for answer in tuned} == {"(B)"}
    assert None in {answer.choice for answer in base}
    assert [answer.reply for answer in base] == ours(small, items)
    by_letter = score_fleet(small, [None, adapter], items)
    assert [answer.logprobs for answer in base] == [answer.logprobs for answer in by_letter[0]]
    assert {answer.reply for answer in by_letter[0]} == {""}


def test_numbers_are_generated_read_and_marked_whatever_the_scoring(small, monkeypatch):
    """Three items of one task, whose replies are written by hand, token by token."""
    scripts = {"made-0": "3 closer", "made-1": "the box", "made-2": "5 closer"}
    items = [
        type(item)(**(vars(item) | {"choices": (), "answer": -1, "truth": NumberAnswer(4.0)}))
        for item in factory.items(3)
    ]
    lengths = {row.item.id: row.length for row in forward_path(small, items).encode(items)}
    texts = [scripts[name] for name in sorted(scripts, key=lambda name: lengths[name])]
    for scoring in ("letters", "generate"):
        with scripted(monkeypatch, small, texts) as steps:
            (answers,) = score_fleet(small, [None], items, scoring=scoring)
        # 3 and 5 are a quarter of 4 away: thetas .50 to .75, six of ten.
        assert [answer.score for answer in answers] == [
            pytest.approx(0.6),
            None,
            pytest.approx(0.6),
        ]
        assert [answer.reply for answer in answers] == list(scripts.values())
        assert {answer.choice for answer in answers} == {None}
        assert len(steps) < 15  # ended where the replies end
    assert score.LONGEST_REPLY == 16


@pytest.mark.parametrize(("loss", "stops"), [("reply", True), ("letter", False)])
def test_an_adapter_that_was_trained_on_whole_replies_answers_and_stops(loss, stops, tmp_path):
    """Served by PEFT and transformers alone: a reply of an option and nothing more."""
    from peft import PeftModel

    base, items = factory.small_base(), factory.items(8, seed=5)
    recipe = factory.recipe(epochs=12, loss=loss)
    (adapter,) = factory.train_fleet(base, [job(0, items, answers=[1] * 8)], recipe)
    folder = save_adapter(adapter, tmp_path / "a")
    model = PeftModel.from_pretrained(copy.deepcopy(base.model), folder)
    plain = factory.reference_path(base, items)
    for item in items:
        inputs = plain.inputs(plain.encode([item]))
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        ids = made[0, inputs["input_ids"].shape[1] :]
        reply = base.processor.tokenizer.decode(ids, skip_special_tokens=True)
        assert reply.startswith("(B)")
        assert (reply == "(B)" and len(ids) == 2) is stops
