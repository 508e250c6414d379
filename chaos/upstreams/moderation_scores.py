"""How the simulated moderation API scores content: by what is in it, a score for each category."""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Mapping

CATEGORIES = ("hate", "violence", "sexual", "self_harm", "personal_data", "illegal_goods")

# Weights are log-odds: a text without any of these has the odds of _BIAS.
_BIAS = -3.5
_STEMS: Mapping[str, Mapping[str, float]] = {
    "hate": {
        "nazi": 5, "swastik": 5, "hitler": 4.5, "genocid": 4, "subhuman": 5, "supremac": 4, "racis": 3.4,
    },
    "violence": {
        "kill": 3.6, "murder": 4.5, "massacr": 5, "behead": 5.5, "tortur": 4.6, "stab": 3.8, "shoot": 2.6,
        "bomb": 3.5, "gore": 4.2, "corpse": 3.5, "blood": 2, "gun": 2, "explo": 2, "attack": 1.5,
    },
    "sexual": {
        "porn": 5.5, "nude": 4.3, "naked": 4, "erotic": 4.5, "nsfw": 4.6, "hentai": 5, "sex": 3.6,
    },
    "self_harm": {
        "suicid": 5, "selfharm": 5, "kill myself": 6, "cut myself": 5.5, "hang myself": 6, "overdos": 3.8,
    },
    "personal_data": {"passport": 2.5, "password": 3.5, "social security": 3.5, "my name is": 1.5},
    "illegal_goods": {"cocain": 4.5, "heroin": 4.5, "meth": 3.5, "counterfeit": 4, "stolen": 3},
}  # fmt: skip
_PATTERNS = (
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.\w"), 5.0),
    (re.compile(r"(?<!\d)(?:\d[ -]?){13,19}(?!\d)"), 5.5),
    (re.compile(r"(?:\+|\b00)\d(?:[ ()-]{0,2}\d){7,13}"), 4.5),
)
_DISGUISES = str.maketrans("013457@$", "oieastas")
_SIDE = 48


def score_text(text: str) -> dict[str, float]:
    """Return a score for each category."""
    read = _read(text)
    together = re.sub(r"\b(\w)[\s._*-]+(?=\w\b)", r"\1", read)
    scores = {}
    for category, stems in _STEMS.items():
        evidence = sum(weight for stem, weight in stems.items() if _starts_a_word(stem, read, together))
        if category == "personal_data":
            evidence += sum(weight for pattern, weight in _PATTERNS if pattern.search(text))
        scores[category] = _odds(evidence, text)
    return scores


def score_image(image: bytes) -> dict[str, float] | None:
    """Return a score for each category, from colours; None for what is no image."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  most questions are text

    try:
        with Image.open(io.BytesIO(image), formats=("PNG", "JPEG", "WEBP")) as opened:
            small = opened.convert("HSV").resize((_SIDE, _SIDE))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    hue, saturation, value = (channel.tobytes() for channel in small.split())
    pixels = list(zip(hue, saturation, value, strict=True))
    total = len(pixels)
    skin = sum(1 for h, s, v in pixels if h < 36 and 40 < s < 175 and v > 75) / total  # noqa: PLR2004
    blood = sum(1 for h, s, v in pixels if (h < 10 or h > 246) and s > 180 and 50 < v < 190) / total  # noqa: PLR2004
    paper = sum(1 for h, s, v in pixels if s < 25 and (v > 215 or v < 60)) / total  # noqa: PLR2004
    dark = sum(1 for h, s, v in pixels if v < 40) / total  # noqa: PLR2004
    evidence = {
        "sexual": 8 * skin,
        "violence": 9 * blood,
        "personal_data": 4 * max(0.0, paper - 0.6),
        "self_harm": 2.5 * dark,
    }
    return {category: _odds(evidence.get(category, 0.0), str(total)) for category in CATEGORIES}


def _read(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_DISGUISES)
    return "".join(char for char in folded if unicodedata.category(char) not in ("Mn", "Cf"))


def _starts_a_word(stem: str, *readings: str) -> bool:
    return any(re.search(rf"\b{stem}", reading) for reading in readings)


def _odds(evidence: float, text: str) -> float:
    # Long texts are a little less certain to be harmless, as with any real model.
    bias = _BIAS + min(0.8, len(text) / 1000)
    return round(1 / (1 + math.exp(-(bias + evidence))), 4)
