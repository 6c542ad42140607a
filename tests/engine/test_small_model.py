"""An embedded base without transformers: the same modules, adapters and answers."""

import subprocess
import sys

import engine_factory as factory
import pytest
import torch
from engine_factory import train_fleet

from transferscope.engine.adapter import Adapter
from transferscope.engine.base_model import load_base
from transferscope.engine.glimpse.shipped import NAMES
from transferscope.engine.linears import language_linears
from transferscope.engine.peft_training import train_adapters
from transferscope.engine.records import TrainingJob
from transferscope.engine.reply_tokens import option_tokens, reply_tokens
from transferscope.engine.score import score_fleet
from transferscope.suites.glimpse import Glimpse

torch.set_num_threads(1)

BASE = load_base("glimpse-s")
ITEMS = Glimpse().items("Counting", "train")[:6]
JOB = TrainingJob("Counting", 0, ITEMS, 1, 2, 3)

ALONE = """
import sys
from transferscope.engine import load_engine
from transferscope.engine.records import TrainingJob
from transferscope.study import EMBEDDED, FullRecipe
from transferscope.suites.glimpse import Glimpse
engine, items = load_engine(), Glimpse().items("Jigsaw", "train")[:4]
base, recipe = engine.load_base("glimpse-s"), FullRecipe(**EMBEDDED, epochs=1, items=4)
(made,) = engine.train_fleet(base, [TrainingJob("Jigsaw", 0, items, 1, 2, 3)], recipe)
engine.score_fleet(base, [None, made[0]], items)
print(*(name for name in ("transformers", "torch._dynamo", "peft") if name in sys.modules))
"""


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_weights_are_those_of_transformers_in_their_order(name):
    base = load_base(name)
    ours, theirs = (dict(one.model.named_parameters()) for one in (base, base.complete))
    assert [*ours] == [*theirs]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [*language_linears(base.model)] == [*language_linears(base.complete.model)]
    for part, theirs in base.complete.model.named_modules():
        if hasattr(theirs, "variance_epsilon"):
            assert base.model.get_submodule(part).variance_epsilon == theirs.variance_epsilon


def test_texts_have_the_tokens_of_transformers():
    ours, theirs = BASE.processor, BASE.complete.processor
    texts = ["(A)", "(J)", "3", "the box . unheard"]
    assert reply_tokens(ours, texts, end=True) == reply_tokens(theirs, texts, end=True)
    assert option_tokens(ours) == option_tokens(theirs)
    prompts = [item.prompt for item in ITEMS]
    asked = theirs.tokenizer(prompts, add_special_tokens=False)["input_ids"]
    assert ours.tokenizer(prompts, add_special_tokens=False)["input_ids"] == asked


def test_adapters_and_answers_are_equal_to_the_last_bit():
    recipe = factory.recipe()
    made = [train_fleet(base, [JOB], recipe)[0] for base in (BASE, BASE.complete)]
    ours, theirs = (one.tensors for one in made)
    assert [*ours] == [*theirs]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert made[0].config == made[1].config
    adapters = [None, made[0]]
    assert score_fleet(BASE, adapters, ITEMS) == score_fleet(BASE.complete, adapters, ITEMS)


def test_what_needs_transformers_gets_it():
    recipe, other = factory.recipe(epochs=1), factory.items(3, 1, size=None)
    written = score_fleet(BASE, [None], ITEMS, scoring="generate")
    assert written == score_fleet(BASE.complete, [None], ITEMS, scoring="generate")
    assert score_fleet(BASE, [None], other) == score_fleet(BASE.complete, [None], other)
    (made,) = train_fleet(BASE, [TrainingJob("a", 0, other, 1, 2, 3)], recipe)
    assert made.curve.losses
    (trained,) = train_adapters(BASE, [JOB], factory.recipe(epochs=1, peft={"use_dora": True}))
    adapter: Adapter = trained[0]
    (found,) = score_fleet(BASE, [adapter], ITEMS)
    assert len(found) == len(ITEMS)


def test_training_and_scoring_letters_import_neither_transformers_nor_the_compiler():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
