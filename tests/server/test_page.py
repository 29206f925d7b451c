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

    with page.expect_download() as download:
        page.click('[data-format="jsonl"]')
    saved = json.loads(download.value.path().read_text(encoding="utf-8"))
    found = [(e["start"], e["text"], e["label"], e["status"]) for e in saved["entities"]]
    assert found == [(4, "東京", "GPE", "manual"), (7, "李四", "PER", "manual")]
