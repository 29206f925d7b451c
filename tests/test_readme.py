"""What the README shows runs, and what it names is there."""

import re
from importlib.util import find_spec

import pytest

from .docs.pages import ROOT, blocks
from .docs.test_pages import run_page

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


@pytest.mark.model
def test_the_first_example(tmp_path, monkeypatch):
    lines = run_page(README, tmp_path, monkeypatch)[-1].splitlines()
    (code,) = (block.code for block in blocks(README) if block.lang == "python")
    text = re.search(r'nlp\("(.*)"\)', code)[1]
    assert lines and all(line.split()[0] in text for line in lines)
    assert any(line.startswith(("任正非 PER", "深圳 LOC", "华为 ORG", "伦敦 LOC")) for line in lines)


def test_configs_and_files_that_are_named_exist():
    for name in re.findall(r"\b(?:configs|scripts|spacy_eat|benchmarks|assets)/[\w./]*\w", TEXT):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (ROOT / name.split("#")[0]).exists(), name
    for module in re.findall(r"python -m (benchmarks\.\w+)", TEXT):
        assert find_spec(module) is not None, module


def test_it_is_one_page_and_the_test_command_stays():
    assert len(TEXT.split()) < 900
    command = next(block.code for block in blocks(README) if "pytest" in block.code)
    extras = re.search(r'"\.\[.*?\]"', command)[0]
    assert extras in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
