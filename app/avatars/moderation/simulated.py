"""Moderates in the process itself: by words for a prompt, by measurable features for an image.

For development and tests. It is no constant, and no substitute for people or a trained model either.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from app.avatars.moderation import Content, Scores
from app.avatars.moderation.calls import moderation_call
from app.avatars.moderation.lexicon import score_text

Pixel = tuple[int, int, int]

MODEL = "simulated-1"
SIDE = 64  # pixels that are looked at, each way
_FLAGGED_FROM = 0.9
_PAPER = 0.5  # less white than this is no page


class SimulatedModerator:
    """Scores by rules. The same content always has the same scores."""

    name = MODEL

    def moderate(self, content: Content, *, key: str) -> Scores:
        """Score the content."""
        with moderation_call("in-process"):
            scores = score_image(content.png) if content.png is not None else score_text(content.text or "")
        return Scores(scores, max(scores.values()) >= _FLAGGED_FROM, MODEL, key)


def score_image(png: bytes) -> dict[str, float]:
    """Return a score from 0 to 1 for each category, from colours and contrasts.

    Much skin is taken for nudity, dark red for blood, black and white and hard edges for a scanned
    document, red with black and white for a certain flag, and almost nothing but black for gloom.
    """
    from PIL import Image  # noqa: PLC0415  only where an image is looked at

    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        flat = Image.new("RGB", image.size, "white")
        rgba = image.convert("RGBA")
        flat.paste(rgba, mask=rgba.getchannel("A"))
    small = flat.resize((SIDE, SIDE))
    data = small.tobytes()
    pixels = [(data[at], data[at + 1], data[at + 2]) for at in range(0, len(data), 3)]
    skin = _share(pixels, _is_skin)
    blood = _share(pixels, _is_blood)
    red = _share(pixels, _is_red)
    black = _share(pixels, _is_black)
    white = _share(pixels, _is_white)
    document = (black + white) * _edges(pixels) if white > _PAPER else 0.0
    return {
        "hate": _ramp(min(red, 8 * black, 4 * white), 0.25, 0.55),
        "violence": _ramp(blood, 0.10, 0.60),
        "sexual": _ramp(skin, 0.40, 0.85),
        "self_harm": _ramp(black, 0.85, 1.40),
        "personal_data": _ramp(document, 0.04, 0.18),
    }


def _share(pixels: list[Pixel], wanted: Callable[[Pixel], bool]) -> float:
    return sum(1 for pixel in pixels if wanted(pixel)) / len(pixels)


def _is_skin(pixel: Pixel) -> bool:
    # The usual box in YCbCr, which holds for light and dark skin alike.
    red, green, blue = pixel
    cb = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    return 77 <= cb <= 127 and 137 <= cr <= 173  # noqa: PLR2004


def _is_blood(pixel: Pixel) -> bool:
    red, green, blue = pixel
    return 60 < red < 200 and max(green, blue) < red * 0.3  # noqa: PLR2004


def _is_red(pixel: Pixel) -> bool:
    red, green, blue = pixel
    return red > 180 and max(green, blue) < 60  # noqa: PLR2004


def _is_black(pixel: Pixel) -> bool:
    return max(pixel) < 50  # noqa: PLR2004


def _is_white(pixel: Pixel) -> bool:
    return min(pixel) > 210  # noqa: PLR2004


def _edges(pixels: list[Pixel]) -> float:
    """Return the share of neighbours of very different brightness."""
    grey = [sum(pixel) / 3 for pixel in pixels]
    hard = sum(
        abs(grey[at] - grey[at + 1]) > 60  # noqa: PLR2004
        for at in range(len(grey) - 1)
        if (at + 1) % SIDE
    )
    return hard / (SIDE * (SIDE - 1))


def _ramp(value: float, low: float, high: float) -> float:
    return round(min(1.0, max(0.0, (value - low) / (high - low))), 3)
