import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_eat.llm.tasks.alignment import make_alignment_task, parse_alignment
from spacy_eat.text.glosses import without_glosses

PHRASES = ["Lenovo Group", "Beijing"]


def texts(found):
    return {phrase: [c.text for c in candidates] for phrase, candidates in (found or {}).items()}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ('{"Lenovo Group": "联想集团", "Beijing": null}', {"Lenovo Group": ["联想集团"]}),
        ('{"Lenovo Group": "none", "Beijing": "N/A"}', {}),
        ('{"Beijing": ["北京", "京"]}', {"Beijing": ["北京", "京"]}),
        ('["联想集团", null]', {"Lenovo Group": ["联想集团"]}),
        ('{"2": "北京"}', {"Beijing": ["北京"]}),
        ('Names: {"Beijing": "北京"} as you asked {for}', {"Beijing": ["北京"]}),
        ('{"Lenovo Group": "联想集团", "Beijing": "北', {"Lenovo Group": ["联想集团"]}),
        ("Lenovo Group = 联想集团\nBeijing = 北京", {"Lenovo Group": ["联想集团"], "Beijing": ["北京"]}),
        ("**Beijing**: 北京", {"Beijing": ["北京"]}),
        (
            '[[["联想集团", -0.1], ["联想", -3]], [["none", -0.2]]]',
            {"Lenovo Group": ["联想集团", "联想"], "Beijing": [""]},
        ),
    ],
)
def test_parse_alignment(response, expected):
    assert texts(parse_alignment(response, PHRASES)) == expected


@pytest.mark.parametrize("response", ["", "  ", "Sorry.", "{", '{"Shanghai": "上海"}', "[1]", "42"])
def test_what_cannot_be_understood(response):
    assert parse_alignment(response, PHRASES) is None


def test_bare_words_for_a_single_name():
    assert texts(parse_alignment("“北京”", ["Beijing"])) == {"Beijing": ["北京"]}


def test_scores_are_kept():
    found = parse_alignment('[[["北京", -0.25], ["京", -4.5]]]', ["Beijing"])
    assert [(c.text, c.logprob) for c in found["Beijing"]] == [("北京", -0.25), ("京", -4.5)]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(PHRASES),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*PHRASES, "1", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    json_values.map(lambda v: json.dumps(v, ensure_ascii=False)) | st.text(max_size=80), st.integers(0, 40)
)
def test_whatever_is_answered_only_asked_names_come_back(response, cut):
    found = parse_alignment(response[: len(response) - cut] if cut < 8 else response, PHRASES)
    for phrase, candidates in (found or {}).items():
        assert phrase in PHRASES
        assert candidates and all(isinstance(c.text, str) for c in candidates)


def test_any_language():
    prompt = make_alignment_task().prompt("Я в Пекине.", "I am in Beijing.", ["Beijing"], "ru")
    assert prompt.completion.prefix == "Russian: Я в Пекине.\n" and prompt.completion.examples == ()
    assert (
        make_alignment_task(language="Cantonese").prompt("a", "b", ["c"], "zh").completion.prefix
        == "Cantonese: a\n"
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("那是安迪（Andy）對打", "那是安迪對打"),
        ("國王薩勒曼 (King Salman, 1935) 說", "國王薩勒曼 說"),
        ("（Andy）安迪", "（Andy）安迪"),
        ("安迪（網球選手）和 Andy", "安迪（網球選手）和 Andy"),
    ],
)
def test_what_is_asked_for_is_not_the_gloss(text, expected):
    assert without_glosses(text, ["Andy", "King Salman"]) == expected
