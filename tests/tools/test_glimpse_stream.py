"""The stream of scenes on which the embedded bases were pretrained."""

import hashlib
import re
from functools import cache

import numpy as np

from tools.glimpse_bases.stream import HELD_OUT, LABELS, Example, example
from transferscope.suites.glimpse import Glimpse
from transferscope.suites.glimpse.generators import GENERATORS


@cache
def stream() -> list[Example]:
    return [example(index, 0, dose=0.9) for index in range(400)]


def test_the_stream_and_the_splits_share_no_image() -> None:
    seen = {
        hashlib.sha256(image.pixels().tobytes()).hexdigest()
        for task in GENERATORS
        for split in ("train", "eval")
        for item in Glimpse().items(task, split)[:25]
        for image in item.images
    }
    drawn = [hashlib.sha256(i.tobytes()).hexdigest() for one in stream() for i in one.images]
    assert len({*drawn}) == len(drawn)
    assert not seen & {*drawn}


def test_the_stream_never_asks_what_is_held_out() -> None:
    starts = ("Find the corresponding point", "Given the two bounding", "Given three similar")
    for drawn in stream():
        if drawn.world in HELD_OUT:
            assert not any(q.startswith(starts) for q, _ in drawn.turns)
    worlds = {d.world for d in stream() if any("Select from" in q for q, _ in d.turns)}
    assert worlds & {"Counting", "Multi-view_Reasoning"}


def test_a_stream_example_is_reproducible_and_consistent() -> None:
    again = example(5, 0, dose=0.9)
    assert again.turns == stream()[5].turns
    assert np.array_equal(again.images, stream()[5].images)
    assert example(5, 1, dose=0.9).turns != again.turns
    for drawn in stream()[:100]:
        n = len(drawn.images)
        assert drawn.labels.shape == (n, 16, len(LABELS))
        rows = drawn.labels[..., LABELS.index("r0")].reshape(n, 4, 4)
        assert (rows[:, 0] == 1).all()
        assert (rows[:, 1:] == 0).all()
        assert all(question and answer for question, answer in drawn.turns)


def test_every_option_offered_holds_the_answer() -> None:
    for drawn in stream():
        for question, answer in drawn.turns:
            if "Select from" in question:
                offered = re.findall(r"^(\([A-D]\)) ", question, re.MULTILINE)
                assert answer in offered
