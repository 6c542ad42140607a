"""The benchmark's wording for its 13 tasks, word for word, line breaks included.

One function a task: what differs from item to item comes in, the whole text put to a model comes
out. The lengths of the texts are known from the benchmark's published statistics, and the tests
hold the texts to them.
"""

from collections.abc import Sequence

from transferscope.tasks import with_choices

CHOICES = "Select from the following choices."
OPTIONS = "Select from the following options."

_ORDER = ("the first image", "the second image", "the third image", "the fourth image")
POINTS = ("Point A", "Point B", "Point C", "Point D")
LATTER = _ORDER[1:3]
"""The choices where the first image is the reference."""


def art_style() -> str:
    """The prompt of Art_Style."""
    return (
        with_choices(
            "Some most common art painting styles include Realism, Impressionism, Expressionism, "
            "Pop Art, and Cubism. Given the following images of art paintings, use the first image "
            "as the reference image, and determine which one of the second or the third image "
            "shares the same style as the reference image?",
            LATTER,
        )
        + "\n"
    )


def counting(question: str, choices: Sequence[str]) -> str:
    """The prompt of Counting; the choices are numbers."""
    return with_choices(question, choices)


def forensic_detection() -> str:
    """The prompt of Forensic_Detection."""
    return (
        with_choices(
            "You are a judge in a photography competition, and now you are given the four images. "
            "Please examine the details and tell which one of them is most likely to be a real "
            "photograph.",
            _ORDER,
        )
        + "\n"
    )


def functional_correspondence(action: str) -> str:
    """The prompt of Functional_Correspondence for an action, e.g. `Mix`."""
    return (
        with_choices(
            "Humans can find corresponding points for the same action between different objects. "
            'For instance, if a person uses a pot versus a hammer to "Mash Pound", then the handle '
            "of the pot will be the corresponding point to the handle of the hammer because they "
            "serve the same function for the action -- to hold; and the bottom of the pot will be "
            "the corresponding point to the face of the hammer because they both mash the other "
            "object.\nGiven the following two images, a reference point is annotated on the first "
            "image, labeled with REF. You are given multiple red-circled points on the right "
            'image, choices of "A, B, C, D" are drawn beside each circle. Select from the choices '
            "on the second image and find the corresponding point for the reference point, if we "
            f'use both items for the action: "{action}". Which point is corresponding to the '
            "reference point?",
            POINTS,
        )
        + "\n"
    )


def jigsaw() -> str:
    """The prompt of Jigsaw, which has an empty line before its choices and one after."""
    return (
        with_choices(
            "Given the first image with the lower right corner missing, can you tell which one of "
            "the second image or the third image is the missing part? Imagine which image would be "
            "more appropriate to place in the missing spot. You can also carefully observe and "
            "compare the edges of the images.",
            LATTER,
            lead=f"{CHOICES}\n",
        )
        + "\n"
    )


def multi_view_reasoning() -> str:
    """The prompt of Multi-view_Reasoning."""
    return _run_on(
        "The images are frames from a video. The video is shooting a static scene. The camera is "
        "either moving clockwise (left) or counter-clockwise (right) around the object. The first "
        "image is from the beginning of the video and the second image is from the end. Is the "
        "camera moving left or right when shooting the video?",
        OPTIONS,
        ("left", "right"),
    )


def object_localization(thing: str) -> str:
    """The prompt of Object_Localization for an object's spoken name, e.g. `flower arrangement`."""
    return _run_on(
        "A bounding box is an annotated rectangle surrounding an object. The edges of bounding "
        "boxes should touch the outermost pixels of the object that is being labeled. Given the "
        "two bounding boxes on the image, labeled by A and B, which bounding box more accurately "
        f"localizes and encloses the {thing}?",
        OPTIONS,
        ("Box A", "Box B"),
    )


def relative_depth() -> str:
    """The prompt of Relative_Depth."""
    return with_choices(
        "Two points are circled on the image, labeled by A and B beside each circle. Which point "
        "is closer to the camera?",
        ("A is closer", "B is closer"),
    )


def relative_reflectance() -> str:
    """The prompt of Relative_Reflectance; its grammar is the benchmark's."""
    return _run_on(
        "Two points are annotated on the image, labeled by A and B. Consider the surface color of "
        "the points (the albedo of the surface, without the effect of shading). Which point has "
        "darker surface color, or the colors is about the same?",
        CHOICES,
        ("A is darker", "B is darker", "About the same"),
    )


def semantic_correspondence() -> str:
    """The prompt of Semantic_Correspondence."""
    return (
        with_choices(
            "Humans can find corresponding points for different objects in the same category. For "
            "instance, if there are images of two different cats, then the left ear tip of one cat "
            "corresponds to the left ear tip of the other cat, and the right front paw of one cat "
            "corresponds to the right front paw of the other cat.\nGiven the following two images, "
            "a reference point is annotated on the first image, labeled with REF. You are given "
            'multiple red-circled points on the second image, choices of "A, B, C, D" are drawn '
            "beside each circle. Select between the choices on the second image and find the "
            "corresponding point for the reference point. Which point is corresponding to the "
            "reference point?",
            POINTS,
        )
        + "\n"
    )


def spatial_relation(question: str) -> str:
    """The prompt of Spatial_Relation for `Is the ... the ...?`."""
    return with_choices(question, ("yes", "no"))


def visual_correspondence() -> str:
    """The prompt of Visual_Correspondence."""
    return _run_on(
        "A point is circled on the first image, labeled with REF. We change the camera position or "
        "lighting and shoot the second image. You are given multiple red-circled points on the "
        'second image, choices of "A, B, C, D" are drawn beside each circle. Which point on the '
        "second image corresponds to the point in the first image?",
        OPTIONS,
        POINTS,
    )


def visual_similarity() -> str:
    """The prompt of Visual_Similarity."""
    return with_choices(
        "Given three similar but different images, take the first image as reference. Can you tell "
        "which one of the latter two images is most similar to the first one?",
        LATTER,
    )


def _run_on(question: str, lead: str, choices: Sequence[str]) -> str:
    """A question whose lead stands on the same line."""
    first, _, rest = with_choices(question, choices, lead=lead).partition("\n")
    return f"{first} {rest}"
