"""A contact sheet: items of a suite on one image, with their questions and answers."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferscope.tasks import LETTERS, Item

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 224
"""Longest side of an item's image on the sheet, in pixels."""
MAX_IMAGES = 4
"""Images of an item on the sheet: of a video, the first frames."""
MARGIN, LINE = 16, 20
INK, QUIET, GROUND, RIGHT = "#1b1b1b", "#6a6a6a", "#ffffff", "#0a7d33"


def contact_sheet(items: Sequence[Item], columns: int = 2) -> bytes:
    """One or more items in rows of `columns`, the right choice in green; a PNG."""
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

    shown: list[Image.Image] = []
    for stored in item.images[:MAX_IMAGES]:
        image = Image.fromarray(stored.pixels())
        scale = SIDE / max(image.size)
        smooth = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
        width, height = (max(1, round(side * scale)) for side in image.size)
        shown.append(image.resize((width, height), smooth))
    width = 2 * MARGIN + max(480, sum(image.width + 8 for image in shown))
    lines = [(line, INK) for line in textwrap.wrap(item.question, width // 8)]
    for index, choice in enumerate(item.choices):
        right = index == item.answer
        text = f"({LETTERS[index]}) {choice}" + ("  (right)" if right else "")
        lines.append((text, RIGHT if right else INK))
    if item.truth is not None:
        lines.append((f"= {item.truth}  (right)", RIGHT))
    hidden = ["answer hidden"] if item.hidden else []
    more = len(item.images) - MAX_IMAGES
    rest = [f"and {more} more images"] if more > 0 else []
    lines.append(("  ".join([item.task, item.id, *rest, *hidden]), QUIET))
    card = Image.new("RGB", (width, SIDE + LINE * len(lines) + 3 * MARGIN), GROUND)
    x = MARGIN
    for image in shown:
        card.paste(image, (x, MARGIN))
        x += image.width + 8
    draw, font = ImageDraw.Draw(card), ImageFont.load_default(14)
    for number, (text, color) in enumerate(lines):
        draw.text((MARGIN, SIDE + 1.5 * MARGIN + number * LINE), text, fill=color, font=font)
    return card
