"""Pages as a browser shows them."""

from itertools import combinations

import pytest

from spacy_eat.viewer import render
from spacy_eat.viewer.charts import Line, chart
from spacy_eat.viewer.markup import static, whole_page

from .docs import AR, ZH, add_group, make_doc

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path):
    zh, ar = make_doc("zh", ZH, "Two companies"), make_doc("ar", AR)
    add_group(zh, "eat_source_tagger", [(zh.char_span(10, 12, "GPE"), 0.55)])
    path = tmp_path / "page.html"
    path.write_text(render([zh, ar], page=True), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 380])
def test_it_reads_well(open_page, no_faults, url, scheme, width):
    page = open_page(url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing to the side
    text = page.locator(".eat-source").first
    colour = text.evaluate("e => getComputedStyle(e).color")
    assert colour.startswith("rgb(240") == (scheme == "dark")
    right, left = (
        page.locator('[dir="rtl"] mark').nth(0).bounding_box(),
        page.locator('[dir="rtl"] mark').nth(1).bounding_box(),
    )
    assert right["x"] > left["x"] or right["y"] < left["y"]
    no_faults(page)


def test_a_line_ties_the_pair(open_page, url):
    page = open_page(url)
    mark = page.locator('.eat-source [data-n="2"]').first
    mark.hover()
    assert page.locator(".eat-lines path").count() == 1
    assert (
        page.locator(".eat-on").all_inner_texts()
        == page.locator('.eat-sentence >> nth=0 >> [data-n="2"]').all_inner_texts()
    )
    start, end = page.locator(".eat-lines circle").all()
    for dot, side in ((start, mark), (end, page.locator('.eat-english [data-n="2"]').first)):
        at, box = dot.bounding_box(), side.bounding_box()
        assert box["x"] <= at["x"] <= box["x"] + box["width"]
    page.mouse.move(1, 1)
    assert page.locator(".eat-lines, .eat-on").count() == 0
    page.keyboard.press("Tab")  # the number of the first entity
    assert page.evaluate("document.activeElement.className") == "eat-n"
    assert page.locator(".eat-lines path").count() == 1


def test_pairs_are_shown_without_a_script(open_page, url):
    page = open_page(url, java_script_enabled=False)
    english = page.locator('.eat-english [data-n="1"]').first
    page.locator('.eat-source [data-n="1"]').first.hover()
    assert english.evaluate("e => getComputedStyle(e).outlineColor") != "rgba(0, 0, 0, 0)"
    page.locator(".eat-source a.eat-n").nth(1).click()
    assert page.locator(":target").inner_text().startswith("Beijing")


def test_print_shows_all(open_page, url):
    page = open_page(url, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "light"
    assert page.locator("summary").first.is_hidden()


def test_the_words_of_a_chart_stand_apart(open_page, tmp_path):
    figure = chart([Line([(0, 0), (1, 1)], "this run", "this")], "Title", "mean score", "share of the words")
    path = tmp_path / "chart.html"
    path.write_text(whole_page(figure, "Chart", css=static("report.css")), encoding="utf-8")
    texts = open_page(path.as_uri()).locator(".chart > svg text")
    assert texts.count() == 12
    boxes = [text.bounding_box() for text in texts.all()]
    for a, b in combinations(boxes, 2):
        apart = (a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]) or (
            a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
        )
        assert apart, (a, b)
