"""The page of a run in a real browser: nothing complains, nothing overflows, pictures have data and say what they show."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_pages import IDS, make_report_home, type_words

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SIZES = {"phone": (360, 800), "desktop": (1280, 900)}
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path; install it with `apt-get install chromium`")


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_report_home(tmp_path_factory.mktemp("report"))
    assert type_words(home, "report", "shop").exit_code == 0
    return home / "runs" / "shop" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright; install it with `pip install -e '.[browser]'`")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")], ids="-".join)
def sheet(request: pytest.FixtureRequest, browser: Any, page_path: Path) -> Iterator[Any]:
    """The page, opened; what the console said is in `said`, what was asked of a network in `asked`."""
    size, scheme = request.param
    width, height = SIZES[size]
    sheet = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    sheet.said, sheet.asked, sheet.scheme, sheet.size = [], [], scheme, size
    sheet.on("console", lambda message: sheet.said.append(message.text))
    sheet.on("pageerror", lambda error: sheet.said.append(str(error)))
    sheet.on("dialog", lambda dialog: sheet.said.append(dialog.message))
    sheet.on("request", lambda request: sheet.asked.append(request.url))
    sheet.goto(page_path.as_uri())
    yield sheet
    sheet.close()


def test_nothing_complains_and_nothing_is_fetched(sheet: Any, page_path: Path) -> None:
    assert sheet.said == []
    assert [url for url in sheet.asked if not url.startswith("data:")] == [page_path.as_uri()]


def test_nothing_is_wider_than_the_screen(sheet: Any) -> None:
    for values in sheet.query_selector_all("details"):
        values.evaluate("details => details.open = true")
    assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth")
    outside = """[...document.querySelectorAll("figure, dl, p, h1, h2, h3, .tiles li, nav")]
        .filter(part => part.getBoundingClientRect().right > innerWidth + 0.5).map(part => part.outerHTML.slice(0, 80))"""
    assert sheet.evaluate(outside) == []


def test_the_pictures_that_are_seen_have_data_in_them(sheet: Any) -> None:
    seen = """[...document.querySelectorAll("svg.chart")].filter(svg => svg.getBoundingClientRect().width > 0).map(svg => ({
        label: svg.getAttribute("aria-label"), width: svg.getBoundingClientRect().width,
        marks: [...svg.querySelectorAll("path, use, image")].filter(mark => !mark.closest(".tip, defs")).length,
        words: [...svg.querySelectorAll("text")].map(text => text.textContent).filter(Boolean).length,
        tips: svg.querySelectorAll(".tip[data-text]").length,
        smallest: Math.min(...[...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect().height))}))"""
    pictures = sheet.evaluate(seen)
    assert len(pictures) == sheet.locator("figure").count() >= 9
    for picture in pictures:
        assert picture["width"] >= 250
        assert min(picture["marks"], picture["words"]) >= 4, picture
        assert picture["tips"] >= 1, picture
        assert picture["smallest"] >= 9, picture  # pixels of a line of text, letters are a little smaller


def test_pointing_at_a_picture_tells_its_values(sheet: Any) -> None:
    part = sheet.locator("#errors svg.chart .tip path").nth(1)
    part.scroll_into_view_if_needed()
    part.hover()
    tip = sheet.locator("#tip")
    assert tip.is_visible()
    told = tip.inner_text().splitlines()
    assert told[0] == "lead 2"
    assert any(line.startswith("gru ") and float(line.split()[1]) > 0 for line in told)
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= SIZES[sheet.size][0]


def test_colours_follow_the_scheme_and_words_stand_out_from_the_page(sheet: Any) -> None:
    colours = """(() => { const of = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        return ["--page", "--card", "--ink", "--muted", "--ours", "--rival"].map(of) })()"""
    page, card, *words = (_luminance(colour) for colour in sheet.evaluate(colours))
    assert (page < 0.1) is (sheet.scheme == "dark")
    for background in (page, card):
        for word in words:
            high, low = max(background, word) + 0.05, min(background, word) + 0.05
            assert high / low >= 4.5  # WCAG 2.1, 1.4.3
    line = sheet.locator("#errors svg.chart [style*='--ours']").first.evaluate("mark => getComputedStyle(mark).stroke")
    ours = sheet.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ours').trim()")
    assert [int(part) for part in line.strip("rgb()").split(",")] == _channels(ours)


def test_names_are_shown_as_they_were_written(sheet: Any) -> None:
    for unique_id in IDS:
        assert sheet.get_by_text(unique_id, exact=True).count() > 0, unique_id
    assert sheet.title() == "shop · shop"


def test_a_printed_page_is_light_and_whole(sheet: Any) -> None:
    sheet.emulate_media(media="print")
    page = sheet.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--page').trim()")
    assert _luminance(page) > 0.9
    assert len(sheet.pdf()) > 20_000


def _channels(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


def _luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.1."""
    parts = [part / 255 for part in _channels(colour)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
