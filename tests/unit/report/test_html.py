from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from chaos.domain.run import DrillResult
from chaos.engine.report import to_html
from tests.support import report_samples as samples

VOID = {"meta", "link", "br", "hr", "img", "input"}
SAMPLES = {
    "passing": samples.passing(),
    "mixed": samples.mixed(),
    "hostile": samples.hostile(),
    "empty": samples.drill(),
}


class Page(HTMLParser):
    """Collects elements and ids, and fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def parsed(result: DrillResult) -> Page:
    page = Page()
    page.feed(to_html(result))
    page.close()
    assert page.open == []
    return page


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_nests_and_loads_nothing(name: str) -> None:
    page = parsed(SAMPLES[name])
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "form"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], tag
        link = attributes.get("href", "")
        assert "src" not in attributes
        assert not link or link.startswith("#") or (tag, link) == ("link", "data:,") or tag == "a"
    assert "@import" not in to_html(SAMPLES[name])
    assert set(re.findall(r"url\((.*?)\)", to_html(SAMPLES[name]))) <= {"#hatch"}


@pytest.mark.parametrize("name", SAMPLES)
def test_ids_are_unique_and_every_reference_finds_one(name: str) -> None:
    page = parsed(SAMPLES[name])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [word for _, a in page.elements for word in a.get("aria-labelledby", "").split()]
    wanted += [a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")]
    assert set(wanted) <= set(ids)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_drawing_and_table_is_named(name: str) -> None:
    page = parsed(SAMPLES[name])
    drawings = [a for tag, a in page.elements if tag == "svg" and a.get("class") == "drawing"]
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert attributes["aria-labelledby"]
    assert all("scope" in a for tag, a in page.elements if tag == "th")
    if name == "passing":
        assert len(drawings) == 3 * 7


def test_every_variant_has_its_section_and_its_figures() -> None:
    result = samples.passing()
    page = parsed(result)
    assert [a["data-variant"] for _, a in page.elements if "data-variant" in a] == list(samples.IDS)
    for variant in result.variants:
        assert f"{variant.detections[0].total_seconds:.1f} s" in page.text
    for words in ("Notifications received (2)", "Event log (12)", "group_wait", "What was judged", "✓ true"):
        assert words in page.text
    assert "✕" not in page.text


def test_hostile_text_stays_text() -> None:
    page = to_html(samples.hostile())
    assert "<script" not in page
    assert "javascript:alert" in page  # shown as received
    assert 'href="javascript' not in page
    assert "\x00" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "{{ 7*7 }}" in page
    assert "49 " not in parsed(samples.hostile()).text


def test_what_is_wrong_is_said_in_words_and_shapes() -> None:
    text = parsed(samples.mixed()).text
    for words in (
        "! ERROR",
        "✕ FAIL",
        "✕ late",
        "✕ 2 wrong.",
        "No alert reached a receiver.",
        "The fault was never live.",
        "Loki does not answer",
        "ApiDown is firing",
    ):
        assert words in text


def test_no_evidence_is_said_not_drawn() -> None:
    assert "No evidence was judged" in parsed(samples.drill(samples.unjudged())).text
    assert "No evidence was judged" not in parsed(samples.passing()).text


def _variables(css: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z0-9-]+):\s*(#[0-9a-f]{3,6})", css))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(char * 2 for char in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXT_PAIRS = [
    *[(ink, ground) for ink in ("ink", "soft") for ground in ("page", "card", "lane", "lane-2")],
    *[(name, f"{name}-bg") for name in ("pass", "fail", "error")],
    *[("ink", f"{name}-bg") for name in ("pass", "fail", "error")],
    *[("on-leg", f"leg-{number}") for number in range(1, 9)],
    ("link", "card"),
    ("fail", "card"),
    ("on-dark", "fault"),
    ("on-dark", "active"),
    ("on-light", "firing"),
    ("on-light", "pending"),
    ("on-light", "waiting"),
    ("on-mark", "mark"),
    ("on-mark", "pass"),
    ("on-mark", "fail"),
    ("on-mark", "active"),
]
SHAPE_PAIRS = [
    (name, ground)
    for name in ("fault", "pending", "firing", "waiting", "active", "mark", "pass", "fail", "bracket-end")
    for ground in ("lane", "lane-2", "card")
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_in_both_schemes(scheme: str) -> None:
    light_css, dark_css = to_html(samples.drill()).split("@media screen and (prefers-color-scheme:dark)", 1)
    colours = _variables(light_css)
    if scheme == "dark":
        colours |= _variables(dark_css)
    ratios = {(a, b, need): contrast(colours[f"--{a}"], colours[f"--{b}"]) for a, b, need in _needs()}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < pair[2]} == {}


def _needs() -> list[tuple[str, str, float]]:
    return [(*pair, 4.5) for pair in TEXT_PAIRS] + [(*pair, 3.0) for pair in SHAPE_PAIRS]
