"""The table of strategies: what it keeps, and what it makes of it."""

import pytest

from benchmarks import strategies
from spacy_eat.types import Span, Text
from tests.scripted import write_config

TEXTS = ["张三在東京。", "李四来了。"]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.txt"


@pytest.fixture
def config(tmp_path, log):
    return write_config(tmp_path, log)


def test_what_was_found_is_kept_and_not_asked_again(tmp_path, config, log):
    path = tmp_path / "kept" / "scripted.jsonl"
    first = strategies.found_by(config, TEXTS, {}, path)
    assert [(span.place, span.label) for span in first[0].spans] == [((0, 2), "PER"), ((3, 5), "LOC")]
    assert first[0].requests == 2 and not first[1].spans

    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(lines[0] + "\n" + lines[1][:20], encoding="utf-8")  # as of a run that was killed
    log.unlink()
    again = strategies.found_by(config, TEXTS, {}, path)
    assert set(log.read_text(encoding="utf-8").split()) == {TEXTS[1]}
    assert [one.spans for one in again] == [one.spans for one in first]
    assert path.read_text(encoding="utf-8").splitlines()[0] == lines[0]

    log.unlink()
    strategies.found_by(config, TEXTS, {}, path)
    assert not log.exists()


def test_a_row_has_scores_requests_and_seconds():
    gold = [[Span(0, 2, "PER"), Span(3, 5, "LOC")], [Span(0, 2, "PER")]]
    found = [
        strategies.Found([Span(0, 2, "PER"), Span(3, 5, "ORG")], 1.0, 0.5),
        strategies.Found([], 0.0, 1.5),
    ]
    name, precision, recall, f1, _, requests, seconds = strategies.row("one", gold, found)
    assert (name, precision, recall, f1, requests, seconds) == (
        "one",
        "0.500",
        "0.333",
        "0.400",
        "0.50",
        "1.000",
    )


def test_strategies_together():
    sure = [strategies.Found([Span(0, 2, "PER", 0.9)], 0, 0)]
    other = [strategies.Found([Span(0, 3, "PER", 0.6), Span(4, 6, "LOC", 0.7)], 0, 0)]
    [spans] = strategies.fused([Text("张三在東京。的", "zh")], {"sure": sure, "other": other})
    assert [(span.place, span.label) for span in spans] == [((0, 2), "PER"), ((4, 6), "LOC")]


def test_each_config_is_a_strategy():
    for lang in ("zh", "ja"):
        names = [path.stem for path in strategies.configs(lang)]
        assert names[:2] == [f"{lang}_embedded", f"{lang}_light"] and f"{lang}_llm_aligner" in names
