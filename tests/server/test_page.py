"""The page, in a headless Chromium."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.slow

TEXT = "😀张三在東京见李四。<img src=x onerror=alert(1)>"


def select(page: Any, words: str) -> None:
    """Select words of the first sentence, as with a mouse."""
    page.evaluate(
        """words => {
            const source = document.querySelector(".eat-source");
            const walker = document.createTreeWalker(source, NodeFilter.SHOW_TEXT);
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                const at = node.data.indexOf(words);
                if (at < 0) continue;
                getSelection().setBaseAndExtent(node, at, node, at + words.length);
                source.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
                return;
            }
        }""",
        words,
    )


def saved(page: Any) -> list[tuple[int, str, str, str]]:
    """The entities of the file that the page makes."""
    with page.expect_download() as download:
        page.click('[data-format="jsonl"]')
    document = json.loads(download.value.path().read_text(encoding="utf-8"))
    return [(e["start"], e["text"], e["label"], e["status"]) for e in document["entities"]]


def test_annotate_correct_and_save(
    serve: Callable[..., Site], open_page: Callable[..., Any], no_faults: Callable[[Any], None]
) -> None:
    page = open_page(f"{serve().client.base_url}/", viewport={"width": 800, "height": 700})
    page.get_by_text("broken: There is no pipeline 'broken'").wait_for()
    page.fill("#text", TEXT)
    page.click("#go")
    page.locator("#save").wait_for()
    marks = page.locator(".eat-source .eat-mark")
    assert marks.count() == 2 and page.locator("#view img").count() == 0
    no_faults(page)

    select(page, "李四")  # add
    assert page.inner_text("#words") == "李四"
    page.fill("#label", "PER")
    page.keyboard.press("Enter")
    page.locator(".eat-source .eat-mark", has_text="李四").wait_for()

    page.locator(".eat-source .eat-mark", has_text="東京").focus()  # another label, with the keyboard
    page.keyboard.press("Enter")
    page.fill("#label", "GPE")
    page.keyboard.press("Enter")
    page.locator(".eat-source .eat-mark", has_text="GPE").wait_for()

    marks.first.click(position={"x": 8, "y": 8})
    page.click("#delete")
    page.locator(".eat-source .eat-mark", has_text="张三").wait_for(state="detached")

    assert saved(page) == [(4, "東京", "GPE", "manual"), (7, "李四", "PER", "manual")]


def test_a_finished_sentence_is_corrected_while_others_arrive(
    serve: Callable[..., Site], open_page: Callable[..., Any]
) -> None:
    site = serve()
    page = open_page(f"{site.client.base_url}/")
    page.fill("#text", "张三来了。待。")
    page.click("#go")
    page.locator(".eat-source .eat-mark", has_text="张三").wait_for()
    select(page, "来了")
    page.fill("#label", "X")
    page.keyboard.press("Enter")
    page.locator(".eat-source .eat-mark", has_text="来了").wait_for()
    assert page.locator(".eat-sentence").count() == 1 and not page.locator("#save").is_visible()

    select(page, "张三")  # what is being corrected stays open
    page.fill("#label", "Y")
    site.held.go.set()
    page.locator("#save").wait_for()
    page.keyboard.press("Enter")
    page.locator(".eat-source .eat-mark", has_text="Y").wait_for()
    assert saved(page) == [(0, "张三", "Y", "manual"), (2, "来了", "X", "manual")]


def test_a_text_from_right_to_left(serve: Callable[..., Site], open_page: Callable[..., Any]) -> None:
    page = open_page(f"{serve().client.base_url}/", viewport={"width": 800, "height": 700})
    page.fill("#text", "التقى أوباما ميركل في برلين.")
    page.click("#go")
    page.locator("#save").wait_for()
    select(page, "ميركل")
    for place in ("#text", ".eat-source", "#words"):
        assert page.locator(place).evaluate("e => getComputedStyle(e).direction") == "rtl", place
    assert page.inner_text("#words") == "ميركل"
    page.fill("#label", "PER")
    page.keyboard.press("Enter")
    page.locator(".eat-source .eat-mark", has_text="ميركل").wait_for()
    select(page, "برلين")
    page.fill("#label", "LOC")
    page.keyboard.press("Enter")
    first, second = page.locator(".eat-source .eat-mark").nth(0), page.locator(".eat-source .eat-mark").nth(1)
    second.wait_for()
    assert first.bounding_box()["x"] > second.bounding_box()["x"]
    assert saved(page) == [(13, "ميركل", "PER", "manual"), (22, "برلين", "LOC", "manual")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1000, 360])
def test_the_pages_read_well(
    serve: Callable[..., Site],
    open_page: Callable[..., Any],
    no_faults: Callable[[Any], None],
    scheme: str,
    width: int,
) -> None:
    screen = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = open_page(f"{serve(token='geheim').client.base_url}/docs", **screen)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing to the side
    for link in page.locator("a[href^='#']").all():
        assert page.locator(f"[id='{link.get_attribute('href')[1:]}']").count() == 1
    assert page.get_by_text("event: sentence").count() == 1
    no_faults(page)

    page = open_page(
        f"{serve().client.base_url}/", viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page.fill("#text", TEXT)
    page.click("#go")
    page.locator("#save").wait_for()
    select(page, "李四")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    no_faults(page)
