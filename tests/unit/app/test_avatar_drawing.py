"""Prompts, and what is drawn from them."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from app.avatars import prompts
from app.avatars.drawing import png, scene, svg


def drawn(prompt: str) -> Image.Image:
    return Image.open(io.BytesIO(png(scene(prompt)))).convert("RGB")


def test_the_same_prompt_gives_the_same_pixels() -> None:
    assert drawn("a lighthouse").tobytes() == drawn("a lighthouse").tobytes()


@pytest.mark.parametrize(
    "other", ["a lighthousf", "A lighthouse", "a lighthouse.", "b lighthouse", "a  lighthouse"]
)
def test_every_character_counts(other: str) -> None:
    difference = ImageChops.difference(drawn("a lighthouse"), drawn(other)).convert("L")
    changed = sum(1 for value in difference.tobytes() if value > 8)
    assert changed > 0.2 * 256 * 256


def test_a_thousand_prompts_are_a_thousand_pictures() -> None:
    assert len({scene(f"prompt {number}") for number in range(1000)}) == 1000


def test_it_is_a_picture_and_no_flat_colour() -> None:
    image = drawn("a lighthouse")
    colours = image.getcolors(maxcolors=65_536)
    assert colours is not None
    assert len(colours) > 20
    assert max(count for count, _ in colours) < 0.8 * 256 * 256


def test_the_svg_shows_the_same_shapes_and_no_text() -> None:
    picture = scene("<script>alert(1)</script>")
    root = ET.fromstring(svg(picture))  # noqa: S314  we made it
    kinds = [element.tag.rpartition("}")[2] for element in root]
    assert kinds[0] == "rect"
    assert len(kinds) == 1 + len(picture.shapes)
    assert set(kinds) <= {"rect", "circle", "polygon"}
    assert "script" not in svg(picture)


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("   ", "seen"),
        ("\u200b\u200d\ufeff", "seen"),
        ("\u3164", "seen"),
        ("a\0b", "U+0000"),
        ("a\x1bb", "U+001B"),
        ("a\x85b", "U+0085"),
        ("a\ud800b", "surrogate"),
    ],
)
def test_what_is_no_prompt_says_why(prompt: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        prompts.checked(prompt)


@pytest.mark.parametrize(
    ("prompt", "kept"),
    [
        ("  a\tlight\nhouse ", "a light house"),
        ("cafe\u0301", "caf\u00e9"),
        ("\U0001f4a1", "\U0001f4a1"),
        ("\u0627\u0644\u0645\u0646\u0627\u0631\u0629", "\u0627\u0644\u0645\u0646\u0627\u0631\u0629"),
        (".", "."),
    ],
)
def test_spaces_and_ways_of_typing_make_no_difference(prompt: str, kept: str) -> None:
    assert prompts.checked(prompt) == kept


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_the_published_pattern_is_the_check(prompt: str) -> None:
    fits = re.fullmatch(prompts.PATTERN, prompt) is not None and not prompt.endswith("\n")
    try:
        prompts.checked(prompt)
        good = True
    except ValueError:
        good = False
    assert fits == good or prompt.endswith("\n")
