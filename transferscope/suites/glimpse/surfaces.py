"""Worlds about surfaces and how they were made: reflectance, forensic detection, art style."""

import math
import random

import numpy as np

from transferscope.suites.glimpse.canvas import (
    SIZE,
    backdrop,
    blur,
    develop,
    ellipse,
    grain,
    mark,
    relight,
    sphere,
)
from transferscope.suites.glimpse.scene import (
    COLORS,
    ORDINALS,
    Thing,
    World,
    between,
    scatter,
    span,
)

ALBEDO = {"black": 0.3, "dark": 0.45, "gray": 0.62, "light": 0.85}
STYLES = ("dots", "mosaic", "poster", "hatch", "blur", "sketch")
FAKES = ("grid", "smooth", "seam", "light")


def reflectance(rng: random.Random, difficulty: float) -> World:
    """Which of two marked surfaces is darker in itself, under uneven light and a shadow."""
    answer = rng.randrange(3)
    columns, rows = rng.randint(3, 4), rng.randint(3, 4)
    xs, ys = _cuts(rng, columns), _cuts(rng, rows)
    surface = [[rng.choice(list(ALBEDO)) for _ in range(columns)] for _ in range(rows)]
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    a, b = rng.sample(cells, 2)
    while abs(a[0] - b[0]) + abs(a[1] - b[1]) < 2:
        a, b = rng.sample(cells, 2)
    names = list(ALBEDO)
    first, second = sorted(rng.sample(range(4), 2))
    pair = {0: (first, second), 1: (second, first), 2: (first, first)}[answer]
    for (row, column), index in zip((a, b), pair, strict=True):
        surface[row][column] = names[index]
    albedo = np.array([[ALBEDO[name] for name in row] for row in surface], np.float32)
    flat = np.repeat(np.repeat(albedo, np.diff(ys), 0), np.diff(xs), 1)
    light, lit, shaded = _lighting(rng, difficulty)
    tint = np.array([rng.uniform(0.8, 1) for _ in range(3)], np.float32)
    image = develop(rng, (flat * light * 235)[..., None] * tint, 3)
    points = {
        letter: ((xs[c] + xs[c + 1]) / 2, (ys[r] + ys[r + 1]) / 2)
        for letter, (r, c) in zip("AB", (a, b), strict=True)
    }
    mark(image, [(x, y, letter) for letter, (x, y) in points.items()])
    return World(
        images=[image],
        question="Two points are annotated on the image, labeled by A and B. Which point has "
        "darker surface color, or the colors is about the same?",
        choices=("A is darker", "B is darker", "About the same"),
        answer=answer,
        scene={"albedo": [ALBEDO[names[i]] for i in pair], "shadow": shaded},
        known={"surface": surface, "cuts": (ys, xs), "cells": (a, b), "points": points, "lit": lit},
    )


def _cuts(rng: random.Random, count: int) -> list[int]:
    inner = [int(SIZE * (i + rng.uniform(-0.18, 0.18)) / count) for i in range(1, count)]
    return [0, *inner, SIZE]


def _lighting(rng: random.Random, difficulty: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Light at each pixel, where it is out of the shadow, and whether there is a shadow."""
    grid = np.linspace(-1, 1, SIZE)

    def slope(turn: float) -> np.ndarray:
        return grid[None] * math.cos(turn) + grid[:, None] * math.sin(turn)

    strength = rng.uniform(*span(difficulty, (0.1, 0.4), (0.4, 0.7)))
    light = 1 + strength * slope(rng.uniform(0, 2 * math.pi))
    edge = slope(rng.uniform(0, 2 * math.pi)) + rng.uniform(-0.5, 0.5)
    sharp, shaded = rng.uniform(4, 12), rng.random() < between(difficulty, 0.7, 1)
    dim = rng.uniform(*span(difficulty, (0.45, 0.75), (0.3, 0.5))) if shaded else 1.0
    across = np.clip(0.5 + edge * sharp / 2, 0, 1)
    soft = across * across * (3 - 2 * across)  # a smooth step, without exponentials
    # Rounded, so that the last bit of a cosine cannot reach a pixel.
    return np.round(light * (dim + (1 - dim) * soft), 4).astype(np.float32), edge > 0, shaded


def art_style(rng: random.Random, difficulty: float) -> World:
    """Which of two images was made in the style of the reference; what they show differs.

    Brightness and contrast are evened out: the style is in the strokes.
    """
    ours, other = rng.sample(STYLES, 2)
    answer = rng.randrange(2)
    styles = [ours, *([ours, other] if answer == 0 else [other, ours])]
    images, shown = [], []
    for style in styles:
        things = scatter(rng, rng.randint(3, 5), (12, 22), gap=-6)
        canvas = backdrop(rng, 60, 200, 40)
        for thing in things:
            thing.draw(canvas)
        share = rng.uniform(*span(difficulty, (0.55, 0.95), (0.15, 0.4)))
        styled = _styled(rng, canvas, style)
        mixed = canvas + (styled - canvas) * np.float32(round(share, 3))
        images.append(relight(rng, develop(rng, mixed, rng.uniform(3, 8))))
        shown.append(things)
    return World(
        images=images,
        question="Use the first image as the reference image. Which one of the second or the third "
        "image shares the same style as the reference image?",
        choices=("the second image", "the third image"),
        answer=answer,
        scene={"styles": styles},
        known={"things": shown, "styles": styles},
    )


def _styled(rng: random.Random, canvas: np.ndarray, style: str) -> np.ndarray:
    """The image in one of `STYLES`, at full strength; (112, 112, 3) float32."""
    gray = (canvas[..., :1] + canvas[..., 1:2] + canvas[..., 2:]) * np.float32(1 / 3)
    if style == "dots":
        return _dotted(rng, canvas)
    if style == "mosaic":
        size = rng.choice((7, 8))
        tiles = canvas[size // 2 :: size, size // 2 :: size]
        tiles = tiles.repeat(size, 0).repeat(size, 1)
        spare = [(0, max(0, SIZE - n)) for n in tiles.shape[:2]]
        tiles = np.pad(tiles, [*spare, (0, 0)], mode="edge")[:SIZE, :SIZE].copy()
        tiles[::size] *= np.float32(0.6)
        tiles[:, ::size] *= np.float32(0.6)
        return tiles
    if style == "poster":
        vivid = np.clip(gray + (canvas - gray) * np.float32(2.2), 0, 255)
        return np.round(vivid * np.float32(0.01)) * 100
    if style == "hatch":
        step, slant = rng.choice((4, 5)), rng.choice((1, -1))
        column, row = np.arange(SIZE)[None], np.arange(SIZE)[:, None]
        phase = ((column + slant * row) % step).astype(np.float32)[..., None]
        ink = phase < step * (1 - gray * np.float32(1 / 255)) * np.float32(0.9)
        return np.where(ink, canvas * np.float32(0.35), canvas * np.float32(0.5) + 120)
    if style == "blur":
        soft = blur(canvas, 9)
        middle = (soft[..., :1] + soft[..., 1:2] + soft[..., 2:]) * np.float32(1 / 3)
        return middle + (soft - middle) * np.float32(0.6) + 20
    edge = np.zeros_like(gray)
    edge[1:, 1:] = np.abs(gray[1:, 1:] - gray[:-1, 1:]) + np.abs(gray[1:, 1:] - gray[1:, :-1])
    return np.repeat(235 - np.clip(edge * 4, 0, 215), 3, 2)


def _dotted(rng: random.Random, canvas: np.ndarray) -> np.ndarray:
    """Round dots over one another, each in the color under its center."""
    count = 420
    xs, ys, sizes = np.frombuffer(rng.randbytes(6 * count), np.uint16).reshape(3, count).astype(int)
    xs, ys, large = xs % SIZE, ys % SIZE, sizes % 2 == 0
    top = np.zeros((SIZE, SIZE), np.int64)  # 1 + index of the uppermost dot; 0 is paper
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            reach = dx * dx + dy * dy
            if reach > 10:
                continue
            y, x = ys + dy, xs + dx
            kept = (large | (reach <= 5)) & (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
            np.maximum.at(top, (y[kept], x[kept]), np.nonzero(kept)[0] + 1)
    colors = np.vstack([np.array([[225, 215, 195]], np.float32), canvas[ys, xs]])
    return colors[top]


def forensic(rng: random.Random, difficulty: float) -> World:
    """Which of four photographs is real; the others have a grid, lost detail, a seam or two suns.

    Each has another amount of grain and another mean, so that neither is a cue.
    """
    answer = rng.randrange(4)
    kinds = [rng.choice(FAKES) for _ in range(4)]
    kinds[answer] = "none"
    images, shown = [], []
    for kind in kinds:
        image, balls = _photograph(rng, kind, difficulty)
        images.append(relight(rng, image))
        shown.append(balls)
    return World(
        images=images,
        question="You are given the four images. Which one of them is most likely to be a real "
        "photograph?",
        choices=tuple(f"the {name} image" for name in ORDINALS),
        answer=answer,
        scene={"flaws": kinds},
        known={"things": shown, "flaws": kinds},
    )


def _photograph(rng: random.Random, flaw: str, difficulty: float) -> tuple[np.ndarray, list[Thing]]:
    """Lit balls with shadows on a ground, with at most one flaw."""
    weak = between(difficulty, 1, 0.4)
    canvas = backdrop(rng, 90, 190, 20)
    balls: list[Thing] = []
    while len(balls) < 2:
        balls = scatter(rng, rng.randint(2, 4), (11, 19), gap=4)
    light = rng.randrange(8)
    lights = [light] * len(balls)
    if flaw == "light":
        lights = [(light + 4 * (k % 2) + rng.choice((0, 0, 1))) % 8 for k in range(len(balls))]
    for ball, angle in zip(balls, (k * math.pi / 4 for k in lights), strict=True):
        x, y = (
            v - f(angle) * ball.radius * 0.7 for v, f in ((ball.x, math.cos), (ball.y, math.sin))
        )
        ellipse(canvas, (x, y), (ball.radius * 0.9, ball.radius * 0.9), (45, 45, 50))
    for ball, toward in zip(balls, lights, strict=True):
        sphere(canvas, (ball.x, ball.y), ball.radius, toward, COLORS[ball.color])
    if flaw == "smooth":
        canvas = blur(canvas, 5 if difficulty < 0.5 else 3)
    elif flaw == "grid":
        step = rng.choice((4, 5))
        lines = np.zeros((SIZE, SIZE, 1), np.float32)
        lines[::step] = lines[:, ::step] = 1
        canvas = canvas + lines * np.float32(rng.choice((1, -1)) * rng.randint(14, 26) * weak)
    elif flaw == "seam":
        wide, high = rng.randint(30, 55), rng.randint(30, 55)
        x, y = rng.randint(5, SIZE - wide - 5), rng.randint(5, SIZE - high - 5)
        patch = canvas[y : y + high, x : x + wide][::-1].copy()
        shift = np.float32(rng.choice((-1, 1)) * rng.randint(14, 24) * weak)
        canvas[y : y + high, x : x + wide] = patch * np.float32(0.85) + 18 + shift
    canvas = canvas + grain(rng) * np.float32(rng.uniform(5, 12))
    return np.clip(canvas, 0, 255).astype(np.uint8), balls
