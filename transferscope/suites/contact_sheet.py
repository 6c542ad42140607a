"""A contact sheet: items of a suite as one picture, with their questions and answers."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferscope.tasks import LETTERS, Item

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE = 224
"""Longest side of an image on the sheet, in pixels."""
MOST = 4
"""Images of an item on the sheet: of a video, the first frames."""
MARGIN = 16
LINE = 20
INK, QUIET, GROUND, RIGHT = "#1b1b1b", "#6a6a6a", "#ffffff", "#0a7d33"


def contact_sheet(items: Sequence[Item], columns: int = 2) -> bytes:
    """The items side by side, the right choice in green; a PNG.

    Args:
        items: what to show, at least one.
        columns: items in a row.
    """
    from PIL import Image

    cards = [_card(item) for item in items]
    width, height = max(c.width for c in cards), max(c.height for c in cards)
    columns = min(columns, len(cards))
    rows = -(-len(cards) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), GROUND)
    for index, card in enumerate(cards):
        sheet.paste(card, (index % columns * width, index // columns * height))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return png.getvalue()


def _card(item: Item) -> "Image":
    """One item: its images, the question, the choices."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(14)
    pictures = []
    for picture in item.images[:MOST]:
        image = Image.fromarray(picture.pixels())
        scale = PICTURE / max(image.size)
        smooth = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
        size = [max(1, round(side * scale)) for side in image.size]
        pictures.append(image.resize((size[0], size[1]), smooth))
    width = 2 * MARGIN + max(480, sum(p.width + 8 for p in pictures))
    lines = [(line, INK) for line in textwrap.wrap(item.question, width // 8)]
    for index, choice in enumerate(item.choices):
        right = index == item.answer
        text = f"({LETTERS[index]}) {choice}" + ("  (right)" if right else "")
        lines.append((text, RIGHT if right else INK))
    if item.truth is not None:
        lines.append((f"= {item.truth:g}  (right)", RIGHT))
    hidden = ["answer hidden"] if item.hidden else []
    more = [f"and {len(item.images) - MOST} images more"] if item.images[MOST:] else []
    lines.append(("  ".join([item.task, item.id, *more, *hidden]), QUIET))
    height = PICTURE + LINE * len(lines) + 3 * MARGIN
    card = Image.new("RGB", (width, height), GROUND)
    x = MARGIN
    for picture in pictures:
        card.paste(picture, (x, MARGIN))
        x += picture.width + 8
    draw = ImageDraw.Draw(card)
    for number, (text, color) in enumerate(lines):
        draw.text((MARGIN, PICTURE + 1.5 * MARGIN + number * LINE), text, fill=color, font=font)
    return card
