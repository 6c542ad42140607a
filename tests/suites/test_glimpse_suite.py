"""The embedded suite: its format, its determinism, and that nothing but looking answers it."""

import hashlib
import random
import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from messages import raises

from tools.glimpse_bases.labels import LABELERS, Labels
from transferscope.errors import StudyError
from transferscope.suites import open_suite
from transferscope.suites.glimpse import DIFFICULTY, GLIMPSE, Glimpse
from transferscope.suites.glimpse.canvas import frame
from transferscope.suites.glimpse.generators import GENERATORS
from transferscope.suites.glimpse.scene import World
from transferscope.tasks import LETTERS, Item

FORMAT = {  # images and choices, from the table of BLINK's configurations
    "Art_Style": (3, 2),
    "Counting": (1, 4),
    "Forensic_Detection": (4, 4),
    "Functional_Correspondence": (2, 4),
    "Jigsaw": (3, 2),
    "Multi-view_Reasoning": (2, 2),
    "Object_Localization": (1, 2),
    "Relative_Depth": (1, 2),
    "Relative_Reflectance": (1, 3),
    "Semantic_Correspondence": (2, 4),
    "Spatial_Relation": (1, 2),
    "Visual_Correspondence": (2, 4),
    "Visual_Similarity": (3, 2),
}
DIGESTS = {  # of the first 50 evaluation items, as drawn on x86-64; other machines must agree
    "Art_Style": "d531971ad117bdda",
    "Counting": "dfbc8bb882d8ec39",
    "Forensic_Detection": "e5f5e40ced17017f",
    "Functional_Correspondence": "391b454823301061",
    "Jigsaw": "0e9696416705c517",
    "Multi-view_Reasoning": "7800268aa31c9c86",
    "Object_Localization": "1a9c9ccb73765232",
    "Relative_Depth": "84bfb116ada44511",
    "Relative_Reflectance": "b5d0660e02c3a073",
    "Semantic_Correspondence": "9d1857d0376ff45a",
    "Spatial_Relation": "e3d95627bcab09e9",
    "Visual_Correspondence": "38afc6e1918c542c",
    "Visual_Similarity": "4c34656ce7b837e0",
}
WORLDS = 240


@cache
def worlds(task: str) -> list[World]:
    """Scenes that are in no split, as hard as the suite's."""
    level = DIFFICULTY.get(task, 0)
    return [GENERATORS[task](random.Random(f"test/{task}/{k}"), level) for k in range(WORLDS)]


@cache
def labeled(task: str) -> list[tuple[World, Labels]]:
    """The same scenes with the words that are true at places of their images."""
    return [(world, LABELERS[task](world)) for world in worlds(task)]


@cache
def items(task: str) -> list[Item]:
    return Glimpse().items(task, "eval")[:50]


@pytest.mark.parametrize("task", GENERATORS)
def test_images_and_choices_are_as_many_as_in_blink(task: str) -> None:
    for item in items(task):
        assert (len(item.images), len(item.choices)) == FORMAT[task]
        assert all(p.pixels().shape == (112, 112, 3) for p in item.images)
        assert all(p.pixels().dtype == np.uint8 for p in item.images)
        assert len(set(item.choices)) == len(item.choices)
        assert 0 <= item.answer < len(item.choices)
        lines = [f"({x}) {c}" for x, c in zip(LETTERS, item.choices, strict=False)]
        assert item.prompt.endswith("\n".join(lines))
        assert item.prompt.startswith(item.question)
        assert item.origin["version"] == Glimpse().version


@pytest.mark.parametrize("task", GENERATORS)
def test_items_are_the_same_bytes_on_every_machine(task: str) -> None:
    digest = hashlib.sha256("".join(item.digest() for item in items(task)).encode())
    assert digest.hexdigest()[:16] == DIGESTS[task]


def test_an_item_depends_on_nothing_but_its_place() -> None:
    random.seed(1)
    first = Glimpse().items("Jigsaw", "train")[7].digest()
    random.seed(2)
    Glimpse().items("Jigsaw", "train")[3]
    assert Glimpse().items("Jigsaw", "train")[7].digest() == first
    assert Glimpse().items("Jigsaw", "eval")[7].digest() != first
    assert Glimpse(0.5).items("Jigsaw", "train")[7].digest() != first


@pytest.mark.parametrize("task", GENERATORS)
def test_answers_are_balanced(task: str) -> None:
    counts = Counter(world.answer for world in worlds(task))
    share = 1 / FORMAT[task][1]
    for answer in range(FORMAT[task][1]):  # within four standard errors
        spread = (WORLDS * share * (1 - share)) ** 0.5
        assert abs(counts[answer] - WORLDS * share) < 4 * spread


def test_choices_that_are_words_come_in_every_order() -> None:
    assert {w.choices for w in worlds("Spatial_Relation")} == {("yes", "no"), ("no", "yes")}
    orders = {w.choices for w in worlds("Multi-view_Reasoning")}
    assert orders == {("left", "right"), ("right", "left")}
    assert len({w.choices for w in worlds("Counting")}) > 60


def marks(labels: Labels) -> dict[str, tuple[float, float]]:
    """Where the markers are."""
    found = (label for image in labels for label in image)
    return {word[1:]: place for place, word in found if word.startswith("@") and place}


def words(labels: Labels, image: int, letter: str) -> set[str]:
    """What is true at a marker."""
    there = marks(labels)[letter]
    return {word for place, word in labels[image] if place == there and word[0] != "@"}


@pytest.mark.parametrize("task", ["Visual_Correspondence", "Semantic_Correspondence"])
def test_the_right_point_is_what_the_reference_is(task: str) -> None:
    for world, labels in labeled(task):
        assert words(labels, 0, "R") == words(labels, 1, LETTERS[world.answer])


def test_the_right_tool_part_serves_the_action() -> None:
    for world, labels in labeled("Functional_Correspondence"):
        assert words(labels, 0, "R") == words(labels, 1, LETTERS[world.answer])
        assert f"action: {world.scene['action']}." in world.question


def test_only_the_answer_is_real() -> None:
    for world, labels in labeled("Forensic_Detection"):
        real = [k for k, image in enumerate(labels) if (None, "f_none") in image]
        assert real == [world.answer]


def test_the_box_that_fits_is_the_answer() -> None:
    for world, labels in labeled("Object_Localization"):
        fits = [w for _, w in labels[0] if w.endswith("_fits")]
        assert fits == [f"{LETTERS[world.answer]}_fits"]


def test_the_number_of_things_is_the_answer() -> None:
    for world, labels in labeled("Counting"):
        color, kind = world.question.split()[2:4]
        at: dict[object, set[str]] = {}
        for place, word in labels[0]:
            at.setdefault(place, set()).add(word)
        assert str(sum({color, kind} == w for w in at.values())) == world.choices[world.answer]


def test_the_picture_in_the_same_style_is_the_answer() -> None:
    for world, labels in labeled("Art_Style"):
        styles = [image[-1].word for image in labels]
        assert styles[0] == styles[1 + world.answer] != styles[2 - world.answer]


def test_the_darker_surface_is_the_answer() -> None:
    for world in worlds("Relative_Reflectance"):
        scene: dict[str, Any] = world.scene
        a, b = scene["albedo"]
        assert world.answer == (0 if a < b else 1 if b < a else 2)


def test_the_closer_thing_is_the_answer() -> None:
    for world in worlds("Relative_Depth"):
        scene: dict[str, Any] = world.scene
        a, b = scene["distances"]
        assert world.answer == (0 if a < b else 1)


def test_the_relation_asked_for_is_true_exactly_where_the_answer_is_yes() -> None:
    for world, labels in labeled("Spatial_Relation"):
        at: dict[Any, list[str]] = {}
        for place, word in labels[0]:
            at.setdefault(place, []).append(word)
        where = {" ".join(names): place for place, names in at.items()}
        found = re.fullmatch(r"Is the (\w+ \w+) (.+) the (\w+ \w+)\?", world.question)
        assert found is not None
        (ax, ay), (bx, by) = where[found[1]], where[found[3]]
        true = {"left of": ax < bx, "right of": ax > bx, "above": ay < by, "below": ay > by}
        main = ("left of", "right of") if abs(ax - bx) > abs(ay - by) else ("above", "below")
        assert (true[found[2]] and found[2] in main) == (world.choices[world.answer] == "yes")


# What must not answer the questions: text, mean colors, places of markers.


def text_features(world: World, labels: Labels) -> list[float]:
    said = [*re.findall(r"\w+", world.question)]
    said += [f"{k}={choice}" for k, choice in enumerate(world.choices)]
    return list(
        np.bincount([int(hashlib.md5(w.encode()).hexdigest(), 16) % 97 for w in said], minlength=97)
    )


def mean_features(world: World, labels: Labels) -> list[float]:
    means = np.array([frame(image).mean((0, 1)) for image in world.images])
    away = np.abs(means - means[0])[1:].sum(1)
    return [*means.ravel(), *away, *np.diff(away)]


def place_features(world: World, labels: Labels) -> list[float]:
    places = [marks(labels)[letter] for letter in sorted(marks(labels))]
    last = np.array(places[-1])
    away = [float(np.hypot(*(np.array(p) - last))) for p in places[:-1]]
    middle = [float(np.hypot(x - 56, y - 56)) for x, y in places]
    return [*np.ravel(places), *away, *middle, *np.abs(np.array(middle[:-1]) - middle[-1])]


def guesses(features: list[list[float]], answers: list[int], k: int) -> float:
    """Accuracy on the last third of the better of ridge regression and nearest neighbours."""
    x, y = np.array(features, float), np.array(answers)
    n = 2 * len(x) // 3
    x = (x - x[:n].mean(0)) / (x[:n].std(0) + 1e-9)
    one = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.solve(
        one[:n].T @ one[:n] + 20 * np.eye(one.shape[1]), one[:n].T @ np.eye(k)[y[:n]]
    )
    linear = (one[n:] @ weights).argmax(1)
    near = ((x[n:, None] - x[None, :n]) ** 2).sum(-1).argsort(1)[:, :21]
    voted = np.eye(k)[y[:n][near]].sum(1).argmax(1)
    return float(max((linear == y[n:]).mean(), (voted == y[n:]).mean()))


def limit(k: int, tested: int) -> float:
    """Four standard errors above chance: two guessers, thirteen tasks, three kinds of features."""
    return 1 / k + 4 * (1 / k * (1 - 1 / k) / tested) ** 0.5


@pytest.mark.parametrize("features", [text_features, mean_features, place_features])
@pytest.mark.parametrize("task", GENERATORS)
def test_nothing_but_looking_answers(task: str, features) -> None:
    drawn = labeled(task)
    if features is place_features and not marks(drawn[0][1]):
        pytest.skip("no markers")
    k = FORMAT[task][1]
    found = guesses([features(*one) for one in drawn], [w.answer for w, _ in drawn], k)
    assert found < limit(k, WORLDS // 3)


def test_the_guessers_find_what_is_there_to_find() -> None:
    drawn = labeled("Visual_Similarity")
    planted = [
        [*mean_features(w, found), float(w.answer) + random.Random(k).gauss(0, 0.7)]
        for k, (w, found) in enumerate(drawn)
    ]
    assert guesses(planted, [w.answer for w, _ in drawn], 2) > limit(2, WORLDS // 3)


def test_splits_share_no_item() -> None:
    seen: dict[str, str] = {}
    for task in GENERATORS:
        for split in ("train", "eval"):
            drawn = items(task) if split == "eval" else Glimpse().items(task, split)[:25]
            for item in drawn[:25]:
                for picture in item.images:
                    digest = hashlib.sha256(picture.pixels().tobytes()).hexdigest()
                    assert seen.setdefault(digest, item.id) == item.id


def test_ids_are_unique() -> None:
    ids = [i.id for t in GENERATORS for s in ("train", "eval") for i in Glimpse().items(t, s)[:3]]
    assert len(set(ids)) == len(ids)


def test_more_difficult_scenes_hold_more() -> None:
    def things(difficulty: float) -> float:
        drawn = [GENERATORS["Spatial_Relation"](random.Random(k), difficulty) for k in range(40)]
        return float(np.mean([len(w.known["things"][0]) for w in drawn]))

    assert things(1) > things(0) + 1


@pytest.mark.parametrize("task", GENERATORS)
def test_the_hardest_level_can_be_drawn(task: str) -> None:
    assert len(Glimpse(1).items(task, "train")[:5]) == 5


def test_tasks_are_those_of_blink() -> None:
    assert [task.name for task in GLIMPSE] == list(GENERATORS)
    assert {task.items for task in GLIMPSE} == {1000}
    assert len(Glimpse().items("Jigsaw", "eval")) == 1000


def test_what_does_not_exist_is_refused() -> None:
    with raises(StudyError):
        Glimpse().items("Jigsaws", "eval")
    with raises(StudyError):
        Glimpse().items("Jigsaw", "test")  # pyright: ignore
    with raises(StudyError):
        open_suite("glimpse", difficulty=2)
    with pytest.raises(IndexError, match="Jigsaw has 1000 eval items"):
        Glimpse().items("Jigsaw", "eval")[1000]
