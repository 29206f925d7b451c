"""A headless Chromium, where there is one."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# `npm install axe-core` has it: node_modules/axe-core/axe.min.js
AXE = os.environ.get("SPACY_EAT_AXE")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skipped where there is none, or no Playwright to drive it."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the pages")
    if CHROMIUM is None:
        pytest.skip("no chromium in the PATH: apt-get install chromium drives the pages")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page. The test fails where its console has an error."""
    errors: list[str] = []
    contexts = []

    def opened(url: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def no_faults() -> Callable[[Any], None]:
    """Checks a page with axe-core (dequelabs/axe-core on GitHub), where SPACY_EAT_AXE says where it is."""

    def check(page: Any) -> None:
        if AXE is None:
            return
        page.evaluate(Path(AXE).read_text(encoding="utf-8"))  # past the page's policy, as a debugger is
        found = page.evaluate("axe.run()")["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in serious]

    return check
