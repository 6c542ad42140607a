"""The benchmark's wording for its 13 tasks, word for word, line breaks included.

A constant for each task; a function where something differs from item to item. The lengths of the
texts are known from the benchmark's published statistics, and the tests hold the texts to them.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from transferscope.tasks import with_choices

CHOICES = "Select from the following choices."
OPTIONS = "Select from the following options."

_ORDER = ("the first image", "the second image", "the third image", "the fourth image")
_POINTS = ("Point A", "Point B", "Point C", "Point D")


class Wording(NamedTuple):
    """The texts of an item."""

    question: str
    """The short question, as the benchmark's `question` column has it."""
    prompt: str
    """The whole text put to a model."""
    choices: tuple[str, ...]
    """Texts without letters."""


def _wording(
    question: str,
    text: str,
    choices: Sequence[str],
    lead: str = CHOICES,
    *,
    end: str = "",
    run_on: bool = False,
) -> Wording:
    """Wording whose lead is on a separate line, or on the line of the text."""
    prompt = with_choices(text, choices, lead=lead)
    if run_on:
        prompt = prompt.replace("\n", " ", 1)
    return Wording(question, prompt + end, tuple(choices))


_run_on = partial(_wording, run_on=True)
_with_line_end = partial(_wording, end="\n")

ART_STYLE = _with_line_end(
    "Which image shares the same style as the reference image?",
    "Some most common art painting styles include Realism, Impressionism, Expressionism, Pop Art, "
    "and Cubism. Given the following images of art paintings, use the first image as the reference "
    "image, and determine which one of the second or the third image shares the same style as the "
    "reference image?",
    _ORDER[1:3],
)

FORENSIC_DETECTION = _with_line_end(
    "Which image is most likely to be a real photograph?",
    "You are a judge in a photography competition, and now you are given the four images. Please "
    "examine the details and tell which one of them is most likely to be a real photograph.",
    _ORDER,
)

JIGSAW = _with_line_end(
    "Which image is the missing part in the first image?",
    "Given the first image with the lower right corner missing, can you tell which one of the "
    "second image or the third image is the missing part? Imagine which image would be more "
    "appropriate to place in the missing spot. You can also carefully observe and compare the "
    "edges of the images.",
    _ORDER[1:3],
    lead=f"{CHOICES}\n",
)

MULTI_VIEW_REASONING = _run_on(
    "The first image is from the beginning of the video and the second image is from the end. Is "
    "the camera moving left or right when shooting the video?",
    "The images are frames from a video. The video is shooting a static scene. The camera is "
    "either moving clockwise (left) or counter-clockwise (right) around the object. The first "
    "image is from the beginning of the video and the second image is from the end. Is the camera "
    "moving left or right when shooting the video?",
    ("left", "right"),
    OPTIONS,
)

RELATIVE_DEPTH = _wording(
    "Which point is closer to the camera?",
    "Two points are circled on the image, labeled by A and B beside each circle. Which point is "
    "closer to the camera?",
    ("A is closer", "B is closer"),
)

# Its grammar is the benchmark's.
RELATIVE_REFLECTANCE = _run_on(
    "Which point has darker surface color, or the colors is about the same?",
    "Two points are annotated on the image, labeled by A and B. Consider the surface color of the "
    "points (the albedo of the surface, without the effect of shading). Which point has darker "
    "surface color, or the colors is about the same?",
    ("A is darker", "B is darker", "About the same"),
)

SEMANTIC_CORRESPONDENCE = _with_line_end(
    "Which point is corresponding to the reference point?",
    "Humans can find corresponding points for different objects in the same category. For "
    "instance, if there are images of two different cats, then the left ear tip of one cat "
    "corresponds to the left ear tip of the other cat, and the right front paw of one cat "
    "corresponds to the right front paw of the other cat.\nGiven the following two images, a "
    "reference point is annotated on the first image, labeled with REF. You are given multiple "
    'red-circled points on the second image, choices of "A, B, C, D" are drawn beside each circle. '
    "Select between the choices on the second image and find the corresponding point for the "
    "reference point. Which point is corresponding to the reference point?",
    _POINTS,
)

VISUAL_CORRESPONDENCE = _run_on(
    "Which point on the second image corresponds to the point in the first image?",
    "A point is circled on the first image, labeled with REF. We change the camera position or "
    "lighting and shoot the second image. You are given multiple red-circled points on the second "
    'image, choices of "A, B, C, D" are drawn beside each circle. Which point on the second image '
    "corresponds to the point in the first image?",
    _POINTS,
    OPTIONS,
)

VISUAL_SIMILARITY = _wording(
    "Which image is most similar to the reference image?",
    "Given three similar but different images, take the first image as reference. Can you tell "
    "which one of the latter two images is most similar to the first one?",
    _ORDER[1:3],
)


def counting(question: str, choices: Sequence[str]) -> Wording:
    """Counting; the choices are numbers."""
    return _wording(question, question, choices)


def functional_correspondence(action: str) -> Wording:
    """Functional_Correspondence for an action, e.g. `Mix`."""
    return _with_line_end(
        "Which point is corresponding to the reference point?",
        "Humans can find corresponding points for the same action between different objects. For "
        'instance, if a person uses a pot versus a hammer to "Mash Pound", then the handle of the '
        "pot will be the corresponding point to the handle of the hammer because they serve the "
        "same function for the action -- to hold; and the bottom of the pot will be the "
        "corresponding point to the face of the hammer because they both mash the other "
        "object.\nGiven the following two images, a reference point is annotated on the first "
        "image, labeled with REF. You are given multiple red-circled points on the right image, "
        'choices of "A, B, C, D" are drawn beside each circle. Select from the choices on the '
        "second image and find the corresponding point for the reference point, if we use both "
        f'items for the action: "{action}". Which point is corresponding to the reference point?',
        _POINTS,
    )


def object_localization(thing: str) -> Wording:
    """Object_Localization for an object's spoken name, e.g. `flower arrangement`."""
    return _run_on(
        f"Which bounding box more accurately localizes and encloses the {thing}?",
        "A bounding box is an annotated rectangle surrounding an object. The edges of bounding "
        "boxes should touch the outermost pixels of the object that is being labeled. Given the "
        "two bounding boxes on the image, labeled by A and B, which bounding box more accurately "
        f"localizes and encloses the {thing}?",
        ("Box A", "Box B"),
        OPTIONS,
    )


def spatial_relation(question: str) -> Wording:
    """Spatial_Relation for `Is the ... the ...?`."""
    return _wording(question, question, ("yes", "no"))
