"""Draws an avatar from a prompt: the same for the same prompt, another when one character changes."""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

SIDE = 256  # pixels; the units of a scene
_OVERSAMPLING = 4
_CELLS = 6
_MARGIN = 20
_CELL = (SIDE - 2 * _MARGIN) / _CELLS
_RINGS = 3

SVG_START = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
)

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Polygon:
    """A filled polygon."""

    points: tuple[Point, ...]
    colour: Colour


@dataclass(frozen=True)
class Disc:
    """A filled circle."""

    centre: Point
    radius: float
    colour: Colour


@dataclass(frozen=True)
class Scene:
    """A picture, from back to front."""

    background: Colour
    shapes: tuple[Polygon | Disc, ...]


class _Dice:
    """Numbers that all characters of a prompt decide together."""

    def __init__(self, prompt: str) -> None:
        self._bytes = iter(hashlib.shake_256(prompt.encode()).digest(1024))

    def below(self, limit: int) -> int:
        high, low = next(self._bytes), next(self._bytes)
        return (high * 256 + low) * limit // 65_536

    def fraction(self) -> float:
        return self.below(10_000) / 10_000


def scene(prompt: str) -> Scene:
    """Return what is drawn for a prompt."""
    dice = _Dice(prompt)
    hue = dice.fraction()
    spread = 0.08 + 0.25 * dice.fraction()
    palette = [
        _colour(hue + spread * step, 0.30 + 0.14 * step + 0.1 * dice.fraction(), 0.45 + 0.4 * dice.fraction())
        for step in range(4)
    ]
    shapes: list[Polygon | Disc] = list(_rings(dice, hue))
    for row in range(_CELLS):
        for column in range(_CELLS // 2):
            shapes += _cell(dice, row, column, palette)
    return Scene(_colour(hue + 0.5, 0.90, 0.35), tuple(shapes))


def _colour(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, min(lightness, 1.0), saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _rings(dice: _Dice, hue: float) -> Iterator[Disc]:
    """Yield soft discs, one inside the other, behind everything."""
    centre = (SIDE * (0.3 + 0.4 * dice.fraction()), SIDE * (0.3 + 0.4 * dice.fraction()))
    for ring in range(_RINGS):
        radius = SIDE * (0.55 - 0.14 * ring) * (0.8 + 0.2 * dice.fraction())
        yield Disc(centre, round(radius, 2), _colour(hue + 0.5 + 0.04 * ring, 0.86 - 0.05 * ring, 0.4))


def _cell(dice: _Dice, row: int, column: int, palette: list[Colour]) -> Iterator[Polygon | Disc]:
    """Yield the shape of one cell and its mirror image: faces are symmetrical, and so read as one."""
    kind, turns, colour = dice.below(7), dice.below(4), palette[dice.below(len(palette))]
    if kind == 0:
        return  # some air
    centre = (_MARGIN + (column + 0.5) * _CELL, _MARGIN + (row + 0.5) * _CELL)
    scale = _CELL / 2 * (0.86 + 0.24 * dice.fraction())
    if kind == 1:
        for at in (centre, _mirrored(centre)):
            yield Disc(_rounded(at), round(scale * 0.9, 2), colour)
        return
    corners = _CORNERS[kind]
    angle = turns * math.pi / 2
    turned = [
        (
            centre[0] + scale * (x * math.cos(angle) - y * math.sin(angle)),
            centre[1] + scale * (x * math.sin(angle) + y * math.cos(angle)),
        )
        for x, y in corners
    ]
    yield Polygon(tuple(_rounded(point) for point in turned), colour)
    yield Polygon(tuple(_rounded(_mirrored(point)) for point in turned), colour)


_CORNERS: dict[int, tuple[Point, ...]] = {
    2: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    3: ((-1, -1), (1, -1), (-1, 1)),
    4: ((0, -1), (1, 0), (0, 1), (-1, 0)),
    5: ((-1, -1), (1, 0), (-1, 1), (-0.4, 0)),
    6: ((-1, -0.4), (1, -1), (1, 0.4), (-1, 1)),
}


def _mirrored(point: Point) -> Point:
    return SIDE - point[0], point[1]


def _rounded(point: Point) -> Point:
    return round(point[0], 2), round(point[1], 2)


def png(drawn: Scene) -> bytes:
    """Return the scene as PNG, smooth at its edges."""
    from PIL import Image, ImageDraw  # noqa: PLC0415  only where an image is made

    large = Image.new("RGB", (SIDE * _OVERSAMPLING, SIDE * _OVERSAMPLING), drawn.background)
    draw = ImageDraw.Draw(large)
    for shape in drawn.shapes:
        if isinstance(shape, Disc):
            (x, y), radius = shape.centre, shape.radius
            box = [(x - radius), (y - radius), (x + radius), (y + radius)]
            draw.ellipse([value * _OVERSAMPLING for value in box], fill=shape.colour)
        else:
            points = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in shape.points]
            draw.polygon(points, fill=shape.colour)
    out = io.BytesIO()
    large.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out.getvalue()


def svg(drawn: Scene) -> str:
    """Return the scene as SVG. Nothing of the prompt's text is in it."""
    parts = [
        SVG_START,
        f'<rect width="{SIDE}" height="{SIDE}" fill="{_hex(drawn.background)}"/>',
    ]
    for shape in drawn.shapes:
        if isinstance(shape, Disc):
            (x, y), radius = shape.centre, shape.radius
            parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{_hex(shape.colour)}"/>')
        else:
            points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
            parts.append(f'<polygon points="{points}" fill="{_hex(shape.colour)}"/>')
    return "".join([*parts, "</svg>\n"])


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
