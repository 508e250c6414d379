"""The page at ``/docs`` as a browser gets it from the service, policies included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser

from tests.support.browser import HEIGHT_PIXELS, Visit
from tests.support.ports import free_port
from tests.support.service import ServiceProcess

# What stands outside of the page.
_OUTSIDE = """() => [...document.querySelectorAll('body *')].filter(each => {
    const box = each.getBoundingClientRect()
    return box.width > 0 && !each.closest('pre') && (box.left < 0 || box.right > innerWidth + 1)
}).map(each => each.tagName + ' ' + each.textContent.slice(0, 80))"""
# Words that a line break goes through: a word is of letters and has no place to break.
_BROKEN = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const found = []
    while (walker.nextNode()) {
        const text = walker.currentNode
        if (text.parentElement.closest('.any, pre, style')) continue
        for (const word of text.data.matchAll(/[A-Za-z]{3,20}/g)) {
            const range = document.createRange()
            range.setStart(text, word.index)
            range.setEnd(text, word.index + word[0].length)
            const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)))
            if (tops.size > 1) found.push(word[0])
        }
    }
    return found
}"""
_OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true })"


@pytest.fixture(scope="module")
def docs() -> Iterator[str]:
    """Where an API serves it. It needs neither database nor Redis for that."""
    nowhere = str(free_port())
    settings = {"DCS_DATABASE_PORT": nowhere, "DCS_REDIS_URL": f"redis://127.0.0.1:{nowhere}/0"}
    with closing(ServiceProcess("app.main", settings)) as api:
        api.wait_until_live()
        yield f"{api.url}/docs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_is_quiet_and_loads_nothing(
    browser: Browser, docs: str, width: int, scheme: str
) -> None:
    viewport = {"width": width, "height": HEIGHT_PIXELS}
    with Visit(browser, docs, viewport=viewport, color_scheme=scheme) as visit:
        for _ in range(2):
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            assert visit.page.evaluate(_OUTSIDE) == []
            visit.page.evaluate(_OPEN_ALL)
        assert visit.complaints == []
        assert [url for url in visit.requests if url != docs] == []


def test_words_are_whole_where_there_is_room(browser: Browser, docs: str) -> None:
    with Visit(browser, docs, viewport={"width": 1280, "height": HEIGHT_PIXELS}) as visit:
        assert visit.page.evaluate(_BROKEN) == []


@pytest.mark.parametrize("width", [375, 1280])
def test_one_gets_from_the_contents_to_an_operation_and_from_there_to_its_body(
    browser: Browser, docs: str, width: int
) -> None:
    with Visit(browser, docs, viewport={"width": width, "height": HEIGHT_PIXELS}) as visit:
        page = visit.page
        page.locator("nav a", has_text="POST /api/v1/populate").first.click()
        heading = page.locator("#ingest_populate")
        assert heading.is_visible()
        assert -1 < (heading.bounding_box() or {"y": -2})["y"] < HEIGHT_PIXELS
        page.locator("#ingest_populate ~ p a", has_text="PopulateRequest").first.click()
        body = page.locator("#schema-PopulateRequest")
        assert -1 < (body.bounding_box() or {"y": -2})["y"] < HEIGHT_PIXELS


def test_the_styles_are_those_that_the_policy_allows(browser: Browser, docs: str) -> None:
    with Visit(browser, docs) as visit:
        border = visit.page.locator(".method").first.evaluate("each => getComputedStyle(each).borderTopWidth")
        assert border == "1px"
