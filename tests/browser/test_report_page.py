from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from chaos.engine.report import write_reports
from tests.support import report_samples as samples
from tests.support.browser import HEIGHT_PIXELS, Visit

SAMPLES = {
    "passing": samples.passing(),
    "mixed": samples.mixed(),
    "hostile": samples.hostile(),
    "empty": samples.drill(),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of the pages, each drawn once."""
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_reports(result, folder / name)["html"].as_uri() for name, result in SAMPLES.items()}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_is_quiet_and_loads_nothing(
    browser: Browser, pages: dict[str, str], tmp_path: Path, *, width: int, scheme: str, name: str
) -> None:
    viewport = {"width": width, "height": HEIGHT_PIXELS}
    with Visit(browser, pages[name], viewport=viewport, color_scheme=scheme) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        shot = tmp_path / f"{name}-{width}-{scheme}.png"
        visit.page.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 10_000
        visit.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.complaints == []
        # The address itself; the empty icon is kept in the page.
        assert [url for url in visit.requests if url not in {visit.address, "data:,"}] == []


@pytest.mark.parametrize("width", [375, 1280])
def test_every_variant_is_there_with_its_drawings(
    browser: Browser, pages: dict[str, str], width: int
) -> None:
    viewport = {"width": width, "height": HEIGHT_PIXELS}
    with Visit(browser, pages["passing"], viewport=viewport) as visit:
        for name in samples.IDS:
            section = visit.page.locator(f"section[data-variant={name}]")
            assert section.is_visible()
            for drawing in (".timeline svg.drawing", ".legs svg.drawing"):
                found = section.locator(drawing)
                assert found.is_visible()
                box = found.bounding_box()
                assert box is not None
                assert box["width"] > width / 4
                assert box["height"] > 100
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("width", [375, 1280])
def test_no_text_of_a_timeline_leaves_the_page_or_covers_another(
    browser: Browser, pages: dict[str, str], width: int
) -> None:
    script = """() => [...document.querySelectorAll('.drawing')].map(drawing =>
        [...drawing.querySelectorAll('text')].filter(each => getComputedStyle(each).display !== 'none')
            .map(each => [each.textContent, each.getBoundingClientRect()])
            .map(([word, box]) => [word, box.left, box.top, box.right, box.bottom]))"""
    with Visit(browser, pages["passing"], viewport={"width": width, "height": HEIGHT_PIXELS}) as visit:
        drawings = visit.page.evaluate(script)
    assert len(drawings) == 3 * len(samples.IDS)
    for texts in drawings:
        for number, (word, left, top, right, bottom) in enumerate(texts):
            assert left >= 0, word
            assert right <= width, word
            for other, left2, top2, right2, bottom2 in texts[number + 1 :]:
                # A line box is taller than its letters: 3 pixels of it are air.
                apart = right <= left2 or right2 <= left or bottom <= top2 + 3 or bottom2 <= top + 3
                assert apart, f"{word!r} covers {other!r}"


def test_the_scheme_changes_the_ground_and_the_ink(browser: Browser, pages: dict[str, str]) -> None:
    found = []
    for scheme in ("light", "dark"):
        with Visit(browser, pages["passing"], color_scheme=scheme) as visit:
            found.append(
                visit.page.evaluate(
                    "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
                )
            )
    light, dark = found
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_a_variant_is_reached_by_keyboard_and_its_details_open(
    browser: Browser, pages: dict[str, str]
) -> None:
    with Visit(browser, pages["passing"]) as visit:
        visit.page.get_by_role("link", name="packets-swallowed").press("Enter")
        assert visit.page.evaluate("location.hash") == "#v7"
        log = visit.page.locator("#v7 details.log")
        assert not log.locator("table").is_visible()
        log.locator("summary").press("Enter")
        assert log.locator("table").is_visible()


def test_a_screen_reader_gets_the_drawings_in_words(browser: Browser, pages: dict[str, str]) -> None:
    with Visit(browser, pages["passing"]) as visit:
        image = visit.page.get_by_role("img", name="Timeline of proxy-down")
        assert image.count() == 1
        assert "PostgresUnreachable fired at +" in (image.locator("desc").text_content() or "")


def test_print_shows_what_is_folded_and_is_light(
    browser: Browser, pages: dict[str, str], tmp_path: Path
) -> None:
    with Visit(browser, pages["passing"], color_scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        card = visit.page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
        assert card == "rgb(255, 255, 255)"
        assert visit.page.locator("#v1 details.log table").is_visible()
        assert visit.page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
