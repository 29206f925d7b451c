"""Markers in a text, as they are written and as LLMs give them back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_eat.llm.markers import read_markers, with_markers, without_brackets
from spacy_eat.types import Span

ENGLISH = "Liu founded Lenovo in Beijing [China]."
SPANS = [Span(0, 3), Span(12, 18), Span(22, 29)]


def test_markers_are_written_and_read():
    marked = with_markers(ENGLISH, SPANS)
    assert marked == "[1 Liu] founded [2 Lenovo] in [3 Beijing] (China)."
    assert with_markers(ENGLISH, SPANS[:1], numbered=False) == "[Liu] founded Lenovo in Beijing (China)."
    read = read_markers(marked, 3)
    assert read.text == "Liu founded Lenovo in Beijing (China)." and not read.faults and not read.stray
    assert read.spans == dict(enumerate(SPANS, 1))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("[1 柳传志]在[3 北京]创立[2 联想]。", {1: "柳传志", 2: "联想", 3: "北京"}),
        ("［1　柳传志］在【3：北京】创立[2.联想 ]。", {1: "柳传志", 2: "联想", 3: "北京"}),
        ("[1 柳传志]在[3 北京]创立联想。", {1: "柳传志", 3: "北京"}),
        ("[1 柳传志]在[3 ]创立[2 联想。", {1: "柳传志"}),
        ("[1 柳传志]在[3 北京[2 联想]]创立。", {1: "柳传志"}),
        ("[1 柳传志]在[3 北京]创立[2 联想]，[3 上海]", {1: "柳传志", 2: "联想"}),
        ("[1 柳传志]在[3 北京]创立[2 联想]，[3 北京]", {1: "柳传志", 2: "联想", 3: "北京"}),
        ("[1 柳传志]在[4 北京]创立[联想]。", {1: "柳传志"}),
        ("[1 3M公司]在[2 2024年]，[1984年]", {1: "3M公司", 2: "2024年"}),
        ("一柳传志在三北京创立二联想。", {}),
        ("]]][[[", {}),
        ("", {}),
    ],
)
def test_what_llms_make_of_markers(answer, words):
    read = read_markers(answer, 3)
    assert {number: read.text[s.start_char : s.end_char] for number, s in read.spans.items()} == words
    assert read.spans.keys() | read.faults.keys() == {1, 2, 3} and not read.spans.keys() & read.faults.keys()
    assert not set("[]［］【】") & set(read.text)


def test_faults_have_names_and_words_are_kept():
    read = read_markers("[1 甲]、[1 乙]、[2 丙[3 丁]]、[4 ]、[9 戊]", 5)
    assert read.faults == {1: "doubled", 2: "nested", 3: "nested", 4: "empty", 5: "lost"}
    assert read.words[1] == ["甲", "乙"] and read.stray == 1


def test_a_single_marker_needs_no_number():
    assert read_markers("在[北京]创立", 1).spans == {1: Span(1, 3)}
    assert not read_markers("在[北京]创立[联想]", 1).spans


@given(st.text(alphabet="[]［】1 2甲a\n", max_size=20), st.integers(0, 3))
def test_any_answer_is_read(answer, count):
    read = read_markers(answer, count)
    for number, span in read.spans.items():
        assert 1 <= number <= count and read.text[span.start_char : span.end_char]


@given(st.text(max_size=30))
def test_brackets_of_a_text_are_no_markers(text):
    assert len(without_brackets(text)) == len(text)
    assert not set("[]\n\r\u2028") & set(without_brackets(text))
