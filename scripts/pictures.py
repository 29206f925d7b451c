"""The pictures of the README and of docs/: pages of the viewer, as a browser shows them.

    python scripts/pictures.py

needs the extras `embedded` and `ja`, Playwright (extra `dev`) and Chromium in the PATH. The pipelines are the
default ones, and what they find is shown as it is.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from spacy_eat.corpora import Record
from spacy_eat.evaluation.run import judge, run
from spacy_eat.pipelines import load_pipeline
from spacy_eat.types import Span
from spacy_eat.viewer import render
from spacy_eat.viewer.report import report_page, sample_cases

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH = 980  # pixels of the page
MARGIN = 24  # pixels below the last doc
SENTENCES = {
    "ja": ["村上春樹は早稲田大学を卒業し、ボストンに住んだ。"],
    "zh": ["任正非在深圳创办了华为，后来访问了伦敦。"],
}
# A few sentences as gold data: the report's picture says nothing about quality.
GOLD = [
    ("张一鸣毕业于南开大学。", [("张一鸣", "PER"), ("南开大学", "ORG")]),
    ("莫言出生于山东省高密市。", [("莫言", "PER"), ("山东省高密市", "LOC")]),
    ("他在斯德哥尔摩领奖。", [("斯德哥尔摩", "LOC")]),
    ("诺贝尔在巴黎立下遗嘱。", [("诺贝尔", "PER"), ("巴黎", "LOC")]),
]


def main() -> None:
    docs = [doc for lang, texts in SENTENCES.items() for doc in load_pipeline(lang).pipe(texts)]
    with browser() as chromium:
        page = render(docs, page=True, jupyter=False) or ""
        take(chromium, page, "view.png")
        take(chromium, page, "view-dark.png", scheme="dark")
        take(chromium, report(), "report.png", height=1100)


def report() -> str:
    """RETURNS (str): The page of an evaluation."""
    nlp = load_pipeline("zh")
    records = [
        Record(
            text,
            tuple(Span(text.index(name), text.index(name) + len(name), label) for name, label in names),
        )
        for text, names in GOLD
    ]
    annotated = run(nlp, records)
    result = {"pipeline": "zh", "gold": "a few sentences", **judge(annotated)}
    return report_page(result, sample_cases(result, annotated.examples))


@contextmanager
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


def take(chromium: Any, page: str, name: str, *, scheme: str = "light", height: int | None = None) -> None:
    """Write a picture of a page: all of its docs, or its first `height` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.html")
        path.write_text(page, encoding="utf-8")
        tab = chromium.new_page(
            viewport={"width": WIDTH, "height": height or 100}, color_scheme=scheme, device_scale_factor=1.5
        )
        tab.goto(path.as_uri())
        PICTURES.mkdir(parents=True, exist_ok=True)
        if height is None:
            last = tab.locator(".eat-doc").last.bounding_box()
            height = round(last["y"] + last["height"] + MARGIN)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
        tab.screenshot(path=PICTURES / name, full_page=True, clip=clip)
    print(PICTURES / name)


if __name__ == "__main__":
    main()
