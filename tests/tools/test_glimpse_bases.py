"""The embedded bases: their words, their arithmetic, their growth, their files, their training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import raises

from tools.glimpse_bases import forward, tokenizer
from tools.glimpse_bases.__main__ import COMMANDS, arguments, main
from tools.glimpse_bases.architecture import SIZES, build, parameters
from tools.glimpse_bases.export import save_base
from tools.glimpse_bases.growth import grow
from tools.glimpse_bases.measure import Recipe, Table, finetune, measure, summary
from tools.glimpse_bases.pretrain import IGNORED, Plan, Steps, pretrain, rate_share
from tools.glimpse_bases.processor import processor
from tools.glimpse_bases.rows import pack, padded, prompt
from tools.glimpse_bases.stream import example
from tools.glimpse_bases.weights import (
    EMBEDDING,
    embedding,
    load_weights,
    mix,
    read_weights,
    save_weights,
    weights_of,
)
from tools.glimpse_bases.zero_shot import encode_items, features, right, score
from transferscope.engine.glimpse import prompt_layout as layout
from transferscope.engine.glimpse import shipped
from transferscope.engine.glimpse.arithmetic import vision_features
from transferscope.errors import DataError, StudyError
from transferscope.suites.glimpse import Glimpse
from transferscope.tasks import ArrayImage, Item, Task, with_choices

QUESTION = (
    "Which point is closer to the camera?\n"
    "Select from the following choices.\n(A) A is closer\n(B) B is closer"
)


@pytest.fixture(scope="module")
def small():
    return build("s", seed=1).eval()


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    return save_base(small, processor(), tmp_path_factory.mktemp("bases") / "glimpse-s")


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 112, 112, 3), dtype=np.uint8)


def say_nothing(line: str) -> None:
    pass


# Words.


def test_a_question_becomes_its_words():
    words = [tokenizer.vocabulary()[index] for index in tokenizer.encode(QUESTION)]
    assert " ".join(words) == (
        "Which point is closer to the camera ? Select from the following choices . "
        "(A) A is closer (B) B is closer"
    )


def test_the_special_tokens_stand_where_the_code_says():
    words = tokenizer.vocabulary()
    assert words[: len(layout.SPECIAL)] == layout.SPECIAL
    assert words[layout.USER] == "user"
    assert words[layout.ASSISTANT] == "assistant"
    assert [words[index] for index in tokenizer.letters()] == [f"({c})" for c in "ABCDEFGHIJ"]
    assert len(set(words)) == len(words)
    assert tokenizer.rows(len(words)) % 64 == 0


def test_an_unknown_word_is_one_unknown_token():
    unknown = tokenizer.vocabulary().index(tokenizer.UNKNOWN)
    assert tokenizer.encode("quaternion point") == [unknown, *tokenizer.encode("point")]


def test_the_suite_uses_known_words_only():
    suite = Glimpse()
    texts = [
        suite.items(task.name, "eval")[index].prompt for task in suite.tasks for index in (0, 1)
    ]
    for index in range(60):
        for turn in example(index, 7, dose=0.5).turns:
            texts += turn
    assert tokenizer.missing(texts) == []


def test_new_words_are_appended(monkeypatch, tmp_path):
    known = tokenizer.vocabulary()
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(known))
    monkeypatch.setattr(tokenizer, "VOCABULARY", path)
    try:
        assert tokenizer.extend(["Zebra, point", "apple?"]) == ["Zebra", "apple"]
        assert tokenizer.vocabulary() == (*known, "Zebra", "apple")
    finally:
        monkeypatch.undo()
        for kept in (tokenizer.vocabulary, tokenizer.letters, tokenizer.tokenizer):
            kept.cache_clear()


def test_a_turn_that_does_not_fit_is_left_out_and_answers_are_marked():
    turns = [("Which point?", "A"), ("is " * 50, "B"), ("Which box?", "B")]
    packed = pack(1, turns, longest=50)
    answer_ids = [index for index, own in zip(packed.ids, packed.answered, strict=True) if own]
    end = layout.TURN_END
    assert answer_ids == [*tokenizer.encode("A"), end, *tokenizer.encode("B"), end]
    assert len(packed.ids) <= 50


# Arithmetic.


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_the_fast_forward_equals_processor_and_stock_forward(saved, images):
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(saved, dtype=torch.float32).eval()
    its = AutoProcessor.from_pretrained(saved)
    seen, texts = pixels(2, images), [QUESTION, QUESTION.removesuffix("closer")]
    chats = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": Image.fromarray(one)} for one in own),
                    {"type": "text", "text": text},
                ],
            }
        ]
        for own, text in zip(seen, texts, strict=True)
    ]
    inputs = its.apply_chat_template(
        chats,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt", "padding": True},
    )
    rows = [prompt(images, text) for text in texts]
    assert [
        ids[-len(row) :] for ids, row in zip(inputs.input_ids.tolist(), rows, strict=True)
    ] == rows
    last = torch.tensor([len(row) - 1 for row in rows])
    with torch.no_grad():
        stock = model(**inputs).logits[:, -1]
        features = vision_features(model, torch.from_numpy(seen).flatten(0, 1))
        fast = forward.answer_logits(model, torch.from_numpy(padded(rows)), features, images, last)
    assert stock.abs().max() > 0.1
    torch.testing.assert_close(fast, stock, rtol=0, atol=1e-4)


def test_a_picture_of_another_size_becomes_16_tokens(saved):
    from PIL import Image
    from transformers import AutoProcessor

    its = AutoProcessor.from_pretrained(saved)
    inputs = its(
        text=["<|vision_start|><|image_pad|><|vision_end|>"],
        images=[Image.new("RGB", (300, 300))],
        return_tensors="pt",
    )
    assert inputs.image_grid_thw.tolist() == [[1, 8, 8]]
    assert (inputs.input_ids == layout.IMAGE_PAD).sum() == 16


@pytest.mark.parametrize(("size", "millions"), [("s", 1.48), ("m", 4.05), ("l", 12.08)])
def test_sizes_are_as_described(size, millions):
    assert parameters(build(size)) / 1e6 == pytest.approx(millions, abs=0.03)


def test_the_same_seed_gives_the_same_weights_whatever_the_global_state():
    torch.manual_seed(1)
    first = build("s", seed=3)
    torch.manual_seed(2)
    second, other = build("s", seed=3), build("s", seed=4)
    name = EMBEDDING
    assert torch.equal(first.get_parameter(name), second.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_an_unknown_size_is_refused():
    with raises(StudyError):
        build("M")


# Growth and mixtures.


def test_a_grown_base_answers_as_the_smaller_one():
    small, large = build("m", seed=1).eval(), build("l").eval()
    with torch.no_grad():  # fresh norms and biases would hide a mistake in them
        for index, weight in enumerate(small.parameters()):
            if weight.ndim == 1:
                generator = torch.Generator().manual_seed(index)
                weight += 0.3 * torch.randn(weight.shape, generator=generator)
    load_weights(large, grow(weights_of(small), "l"))
    seen = torch.from_numpy(pixels(4))
    ids = torch.from_numpy(padded([prompt(2, QUESTION)] * 2))
    last = torch.full((2,), ids.shape[1] - 1)
    with torch.no_grad():
        before, after = (
            forward.answer_logits(its, ids, vision_features(its, seen), 2, last)
            for its in (small, large)
        )
    assert before.abs().max() > 0.1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_new_parts_of_a_grown_base_get_different_gradients():
    small = build("m", seed=1)
    grown = grow(weights_of(small), "l")
    gate = grown["model.language_model.layers.0.mlp.gate_proj.weight"]
    assert not torch.allclose(gate[544], gate[545])


def test_a_base_does_not_grow_smaller():
    with raises(DataError):
        grow(weights_of(build("m")), "s")


def test_a_vision_layer_that_weights_lack_is_the_identity(small):
    lacking = {n: w for n, w in weights_of(small).items() if ".visual.blocks.3." not in n}
    filled = build("s", seed=9).eval()
    load_weights(filled, lacking)
    seen = torch.from_numpy(pixels(2))
    with torch.no_grad():
        whole = vision_features(filled, seen)
        filled.model.visual.blocks = filled.model.visual.blocks[:3]
        assert torch.equal(vision_features(filled, seen), whole)


def test_a_new_word_starts_as_its_lower_case():
    words = tokenizer.vocabulary()
    old = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    new = embedding(old, 228)
    assert torch.equal(new[:228], old[:228])
    assert torch.equal(new[words.index("Which")], old[words.index("which")])
    assert len(new) == tokenizer.rows(len(words))


def test_a_mixture_lies_between(small):
    early, late = weights_of(build("s", seed=2)), weights_of(small)
    mixed = mix(early, late, 0.25)
    name = EMBEDDING
    torch.testing.assert_close(mixed[name], 0.75 * early[name] + 0.25 * late[name])
    assert torch.equal(mix(early, late, 1.0)[name], late[name])
    with raises(DataError):
        mix(early, weights_of(build("m")), 0.5)


def test_weights_survive_their_file(small, tmp_path):
    path = save_weights(tmp_path / "s.safetensors", weights_of(small))
    back = read_weights(path)
    words = len(tokenizer.vocabulary())
    for name, weight in weights_of(small).items():
        rows = words if name == EMBEDDING else None
        assert torch.equal(back[name][:rows], weight[:rows]), name
    path.write_bytes(b"broken")
    with raises(DataError):
        read_weights(path)


# Files.


def test_a_base_is_found_whole(saved):
    assert shipped.folder("glimpse-s", saved.parent) == saved


def test_a_base_names_no_place_of_this_machine(saved):
    text = "".join(path.read_text() for path in saved.glob("*.json"))
    assert str(saved.parent) not in text
    assert str(Path(__file__).parents[2]) not in text


def test_a_base_lies_in_half_precision(saved):
    from safetensors import safe_open

    with safe_open(saved / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_a_damaged_base_is_refused_with_the_remedy(saved, tmp_path):
    import shutil

    shutil.copytree(saved.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "glimpse-s" / "config.json").write_text("{}")
    with raises(DataError):
        shipped.folder("glimpse-s", tmp_path)
    (tmp_path / "glimpse-s" / "config.json").unlink()
    with raises(DataError):
        shipped.folder("glimpse-s", tmp_path)


def test_an_unknown_base_is_refused_with_the_nearest_name():
    with raises(StudyError):
        shipped.folder("glimps-m")


# Answers.


def item(answer: int, choices: int = 2) -> Item:
    texts = ["A is closer", "B is closer", "about the same"][:choices]
    text = with_choices("Which point is closer to the camera?", texts)
    image = ArrayImage(pixels())
    return Item(f"i{answer}", "RD", (image,), "", tuple(texts), answer, text)


def test_an_option_that_is_not_offered_is_never_chosen(small):
    questions = encode_items([item(2, choices=3), item(0, choices=2)])
    raised = build("s", seed=1).eval()
    with torch.no_grad():  # a model that would always say (C)
        table = raised.model.language_model.embed_tokens.weight
        state = forward.hidden(
            raised,
            questions.ids[:1],
            vision_features(raised, torch.from_numpy(questions.pixels[0])),
            1,
        )[0, int(questions.last[0])]
        table[tokenizer.letters()[2]] = 10 * state
    found = right(raised, questions, features(raised, questions.pixels))
    assert found[0]
    its = score("RD", found, questions)
    assert its.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert its.items == 2


# Training.


def test_a_step_has_the_answers_of_its_examples():
    targets = [
        row[row != IGNORED].tolist() for one in Steps(Plan("s", 2))[1] for row in one.targets
    ]
    answer_ids = [
        [word for _, text in one.turns for word in [*tokenizer.encode(text), layout.TURN_END]]
        for one in (example(index, 0) for index in range(32, 64))
    ]
    assert len(targets) == 32
    assert (
        sum(answers in targets for answers in answer_ids) > 24
    )  # of the others some turns do not fit


def test_the_learning_rate_rises_and_falls():
    shares = [rate_share(step, 1000) for step in range(1000)]
    assert shares[0] < 0.04
    assert max(shares) == pytest.approx(1, abs=0.01)
    assert shares.index(max(shares)) == pytest.approx(29, abs=2)
    assert shares[499] == pytest.approx(0.5, abs=0.02)
    assert shares[-1] == pytest.approx(0.03)


def test_a_training_that_was_stopped_ends_with_the_same_bytes(tmp_path):
    plan = Plan("s", steps=4, dense=0.5, keep=(0.5,))
    pretrain(plan, tmp_path / "whole", say_nothing)
    pretrain(plan, tmp_path / "parts", say_nothing, until=1)
    pretrain(plan, tmp_path / "parts", say_nothing, until=3)
    pretrain(plan, tmp_path / "parts", say_nothing, workers=1)
    for name in ("s.safetensors", "s-50.safetensors", "training.safetensors"):
        whole, parts = (tmp_path / kind / name for kind in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), name
    lines = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert lines[0]["answers"] == 0 < lines[-1]["answers"]  # at first only labels are learned
    with raises(DataError):
        pretrain(replace(plan, seed=1), tmp_path / "parts", say_nothing)


def test_a_vision_tower_left_alone_stays_and_the_rest_learns(small, tmp_path):
    start = save_weights(tmp_path / "start.safetensors", weights_of(small))
    plan = Plan("s", steps=1, init=str(start), still=True, choices=1.0)
    learned = dict(pretrain(plan, tmp_path / "out", say_nothing).model.named_parameters())
    before = weights_of(small)
    same = {name: torch.equal(before[name], learned[name].detach()) for name in learned}
    assert all(same[name] == name.startswith("model.visual.") for name in same)


class Tiny:
    """Two tasks of eight items; the second task's answers are all the same."""

    name, version = "tiny", "1"
    tasks = (Task("one", "ON"), Task("two", "TW"))
    defaults = ("one", "two")

    def items(self, task: str, split: str) -> list[Item]:
        return [item(index % 2 if task == "one" else 1) for index in range(8)]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_measuring_leaves_the_base_alone_and_does_nothing_twice(small, tmp_path):
    before = {name: weight.clone() for name, weight in weights_of(small).items()}
    recipe = Recipe(train_items=8, epochs=2, eval_items=4, batch=4)
    table = Table(tmp_path / "t.jsonl", "tiny", recipe)
    measure(small, Tiny(), [("two", 0)], recipe, table, say_nothing)
    assert set(table.rows) == {(None, None), ("two", 0)}
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(small).items())
    again = Table(tmp_path / "t.jsonl", "tiny", recipe)
    measure(small, Tiny(), [("two", 0)], recipe, again, say_nothing)
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 2
    assert "| two |" in summary(again, Tiny.tasks)
    assert not Table(tmp_path / "t.jsonl", "tiny", Recipe(epochs=1)).rows


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_table_has_the_tasks_with_choices(saved, tmp_path, capsys):
    few = [
        "--seeds",
        "0",
        "--sources",
        "CN",
        "--train-items",
        "32",
        "--epochs",
        "1",
        "--eval-items",
        "2",
    ]
    assert main(["measure", "--base", str(saved), "--out", str(tmp_path / "t.jsonl"), *few]) == 0
    printed = capsys.readouterr().out
    assert "of 12 beyond 8 points" in printed
    assert "open" not in printed


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_finetuning_learns_an_answer_and_repeats_itself(small):
    items = encode_items([item(1)] * 16)
    recipe = Recipe(train_items=16, epochs=4, batch=4, rate=4e-3)
    tuned, again = finetune(small, items, 0, recipe), finetune(small, items, 0, recipe)
    assert right(tuned, items, features(small, items.pixels)).all()
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.equal(tuned.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(tuned.get_parameter(name), small.get_parameter(name))


# The commands.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command, capsys):
    with pytest.raises(SystemExit):
        arguments().parse_args([command, "--help"])
    assert f"tools.glimpse_bases {command}" in capsys.readouterr().out.split("example:")[1]


def test_a_mistake_is_one_line_without_a_traceback(capsys, tmp_path):
    code = main(["convert", "--prototype", str(tmp_path / "no"), "--size", "m", "--out", "x"])
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_size_has_its_base():
    assert [f"glimpse-{size}" for size in SIZES] == list(shipped.NAMES)


def loaded(name: str):
    """A shipped base as a user loads it."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(shipped.folder(name), dtype=torch.float32)


@pytest.mark.parametrize(
    ("name", "millions"), [("glimpse-s", 1.5), ("glimpse-m", 4.1), ("glimpse-l", 12.1)]
)
def test_a_shipped_base_loads_as_users_load_it(name, millions):
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    model = loaded(name)
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    assert parameters(model) / 1e6 == pytest.approx(millions, abs=0.1)
    processor = AutoProcessor.from_pretrained(shipped.folder(name))
    assert len(processor.tokenizer) == 264


def test_the_shipped_bases_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in shipped.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(sizes) < 40e6


LARGER = [pytest.param(name, marks=pytest.mark.slow) for name in shipped.NAMES[1:]]


@pytest.mark.parametrize("name", [shipped.NAMES[0], *LARGER])
def test_a_shipped_base_sees(name):
    """Two easy tasks, 100 items each: guessing reaches 65 % of either once in 300 tries."""
    model = loaded(name).eval()
    for task in ("Jigsaw", "Spatial_Relation"):
        questions = encode_items(Glimpse().items(task, "eval")[:100])
        assert right(model, questions, features(model, questions.pixels)).mean() > 0.65
