"""What may be answered where the answer must be words of a text."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_eat.llm.answers import ANSWER_CHARS, NO_EDGE, answers_pattern, possible_answers, scripts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("12 、。😀𠀀", {"CJK"}),
        ("東京タワーのｱ", {"CJK"}),
        ("Größe и ΑΒ", {"LATIN", "CYRILLIC", "GREEK"}),
        ("▁the", {"LATIN"}),
    ],
)
def test_scripts(text, expected):
    assert scripts(text) == expected


@settings(max_examples=300)
@given(source=st.text(max_size=40) | st.text(alphabet="ab 京都東𠮷😀\u3000，\n\ud800é1", max_size=40))
def test_possible_answers_are_substrings(source):
    answers = possible_answers(source)
    assert len(set(answers)) == len(answers)
    for answer in answers:
        assert answer in source
        assert 0 < len(answer) <= ANSWER_CHARS
        assert answer == answer.strip() and "\n" not in answer
        answer.encode("utf-8")


@settings(max_examples=200)
@given(source=st.text(alphabet="京都東𠮷😀、", max_size=12))
def test_no_possible_answer_is_missed(source):
    every = {source[i:j] for i in range(len(source)) for j in range(i + 1, len(source) + 1)}
    outside = NO_EDGE | {"😀"}
    assert set(possible_answers(source)) == {a for a in every if a[0] not in outside and a[-1] not in outside}


@settings(max_examples=300)
@given(source=st.text(alphabet="京都AB1.+(\\ 、\n", max_size=14))
def test_pattern_matches_the_possible_answers_and_nothing_else(source):
    pattern = answers_pattern(source)
    answers = {answer for answer in possible_answers(source) if "\\" not in answer}
    candidates = {source[i:j] for i in range(len(source)) for j in range(i + 1, len(source) + 1)}
    candidates |= {"", "京B", "都京", "A京京"}
    assert {c for c in candidates if pattern and re.fullmatch(pattern, c)} == answers


def test_pattern_of_a_long_source_is_bounded():
    pattern = answers_pattern("".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
    assert len(pattern) < 8 * 5 * 5000


def test_possible_answers_keep_words_whole():
    answers = possible_answers("在IBM Japan工作2年")
    assert {"IBM", "IBM Japan", "Japan", "在IBM", "工作", "2", "2年"} <= set(answers)
    assert not {"IB", "BM", "M Japan", "IBM J", "apan工作"} & set(answers)
    assert possible_answers("Москва большая") == ["Москва", "Москва большая", "большая"]
    assert set(possible_answers("สวัสดี")) == {"ส", "สวั", "สวัส", "สวัสดี", "วั", "วัส", "วัสดี", "สดี", "ดี"}


def test_possible_answers_of_a_long_source_are_bounded():
    answers = possible_answers("".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
    assert len(answers) <= 8 * 5000
