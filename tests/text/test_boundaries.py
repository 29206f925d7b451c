import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_eat.alignment.locate import find, free_occurrences, stands_free
from spacy_eat.languages import Language
from spacy_eat.text.boundaries import Boundaries, Edge
from spacy_eat.types import Span, Text


def edge(lang, string, words):
    text = Text(string, lang)
    start = string.index(words)
    return text.boundaries.of(start, start + len(words))


@pytest.mark.parametrize(
    "lang, string, words",
    [
        ("ko", "한국은 크다", "한국"),
        ("ko", "서울에서는", "서울"),
        ("ko", "NATO는", "NATO"),
        ("ko", "2018년", "2018"),
        ("ar", "في مصر", "مصر"),
        ("ar", "وبمصر", "مصر"),
        ("ar", "للقاهرة", "قاهرة"),
        ("ka", "თბილისში", "თბილის"),
        ("ru", "Москва большая", "Москва"),
        ("ru", "в «Москве».", "Москве"),
        ("en", "Tom's", "Tom"),
        ("ja", "東京都へ", "東京都"),
        ("ja", "アメリカの", "アメリカ"),
        ("ja", "ソニー社", "ソニー"),
        ("zh", "在北京大学", "北京"),
        ("zh", "在IBM工作", "IBM"),
        ("th", "กรุงเทพมหานคร", "กรุงเทพ"),
    ],
)
def test_free(lang, string, words):
    assert edge(lang, string, words) == Edge.FREE


@pytest.mark.parametrize(
    "lang, string, words, expected",
    [
        ("ko", "대한국인은", "한국", Edge.INSIDE),
        ("", "한국은", "한국", Edge.INSIDE),
        ("ar", "والمصريون", "مصر", Edge.INSIDE),
        ("ja", "アメリカン", "アメリカ", Edge.INSIDE),
        ("ja", "東京都", "京都", Edge.JOINED),
        ("", "東京都", "京都", Edge.FREE),
        ("ru", "Москва", "скв", Edge.NEVER),
        ("el", "Αθήνα", "θήνα", Edge.NEVER),
        ("zh", "iPhone5", "iPhone", Edge.NEVER),
        ("ru", "Кабу́л", "Кабу", Edge.NEVER),
        ("hi", "दिल्ली", "दिल", Edge.NEVER),
        ("th", "กรุงเทพ", "กร", Edge.NEVER),
        ("ja", "佐々木", "佐", Edge.NEVER),
        ("", "👩‍👩‍👧", "👩", Edge.NEVER),
        ("zh", "杭州😀", "杭州😀", Edge.NEVER),
        ("zh", "杭州\0", "杭州\0", Edge.NEVER),
        ("zh", "，杭州", "，杭州", Edge.NEVER),
    ],
)
def test_not_free(lang, string, words, expected):
    assert edge(lang, string, words) == expected


@pytest.mark.parametrize("answer, found", [("杭州😀", "杭州"), ("杭州\0", "杭州"), ("😀杭州", "杭州")])
def test_no_span_ends_with_what_is_no_part_of_a_name(answer, found):
    text = Text(f"在{answer}很好", "zh")
    assert [text[span] for span in find(text, answer)] == [found]


def test_a_part_of_a_word_is_no_repeat():
    for lang, string, words, places in (
        ("ko", "한국은 대한국인의 한국", "한국", [0, 10]),
        ("ar", "مصر والمصريون", "مصر", [0]),
        ("ja", "東京都知事選挙、京都", "京都", [8]),
    ):
        assert [span.start_char for span in free_occurrences(Text(string, lang), words)] == places


@given(
    st.text(max_size=30) | st.text("京都アーab1한국은مصر\u0301😀\u200dกำ ，", max_size=30),
    st.sampled_from(["ko", "ja", "ar"]),
)
def test_every_text_has_boundaries(string, lang):
    text = Text(string, lang)
    assert len(text.boundaries.starts) == len(text.boundaries.ends) == len(string) + 1
    assert text.boundaries.starts[-1] == text.boundaries.ends[0] == Edge.NEVER
    for start in range(len(string)):
        for end in range(start + 1, len(string) + 1):
            if stands_free(text, Span(start, end)):
                assert string[start:end] == string[start:end].strip()


def test_affixes_are_the_languages():
    language = Language(suffixes=("is",), prefixes=("ba",))
    assert Boundaries("באבא", language).of(0, 2) == Edge.INSIDE
