from itertools import pairwise

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_eat.text.sentences import split_doc, split_text


def test_abbreviations_are_the_languages():
    text = "Он жил на ул. Ленина. Потом уехал."
    assert [text[s:e] for s, e in split_text(text, lang="ru")] == ["Он жил на ул. Ленина.", "Потом уехал."]
    assert len(split_text(text)) == 3
    assert len(split_doc(spacy.blank("de").make_doc("Die Nr. 5 lebt. Sie geht."))) == 2


def pieces(text, **kwargs):
    return [text[start:end] for start, end in split_text(text, **kwargs)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天下雨。明天晴。", ["今天下雨。", "明天晴。"]),
        ("他说：“你好。世界！”然后走了。", ["他说：“你好。世界！”然后走了。"]),
        ("他说：“走吧。”我走了。", ["他说：“走吧。”我走了。"]),
        ("「行くぞ。」と田中は言った。次の日。", ["「行くぞ。」と田中は言った。", "次の日。"]),
        ("京都（きょうと。古都）に行く。", ["京都（きょうと。古都）に行く。"]),
        ("本当に？！はい。", ["本当に？！", "はい。"]),
        ("今天……我不知道。好", ["今天……我不知道。", "好"]),
        ("Mr. Smith came. It cost 3.14 yuan.", ["Mr. Smith came.", "It cost 3.14 yuan."]),
        ("第一行\n第二行\r\n\n第三行", ["第一行", "第二行", "第三行"]),
        ("", []),
        (" \n\t　", []),
        ("。", ["。"]),
    ],
)
def test_split_text(text, expected):
    assert pieces(text) == expected


def test_long_sentences_are_split_at_clauses():
    text = "甲" * 20 + "，" + "乙" * 20 + "，" + "丙" * 20 + "。"
    assert pieces(text, max_length=30) == ["甲" * 20 + "，", "乙" * 20 + "，", "丙" * 20 + "。"]


def test_an_unclosed_bracket_does_not_hold_a_text_together():
    assert pieces("「あああ。" + "いいい。" * 10, max_length=20)[0].endswith("。")
    assert max(map(len, pieces("（" * 500 + "あ。" * 500, max_length=50))) <= 50


def test_latin_words_and_numbers_are_not_cut():
    text = "word " * 20 + "1234567890" * 2
    assert all(
        word in ("word", "1234567890" * 2) for piece in pieces(text, max_length=48) for word in piece.split()
    )


@given(st.text(), st.integers(1, 40))
def test_every_character_is_in_one_sentence(text, max_length):
    spans = split_text(text, max_length=max_length)
    assert all(0 <= start < end <= len(text) and end - start <= max_length for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert all(text[start:end].strip() == text[start:end] for start, end in spans)
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(text[i].isspace() for i in set(range(len(text))) - covered)


def test_sentences_of_the_pipeline_come_first():
    nlp = spacy.blank("zh")
    doc = nlp("今天下雨。明天晴。")
    doc[0].is_sent_start = True
    for token in doc[1:]:
        token.is_sent_start = False
    assert split_doc(doc) == [(0, 9)]
    assert [doc.text[a:b] for a, b in split_doc(doc, max_length=6)] == ["今天下雨。", "明天晴。"]
