import random
from collections import Counter
from dataclasses import replace

import pytest

from spacy_eat.corpora.parallel import ParallelRecord
from spacy_eat.training.alignment_records import clean_alignment
from spacy_eat.training.tuning.config import Mix
from spacy_eat.training.tuning.data import (
    build_alignment_examples,
    build_name_examples,
    build_parallel_examples,
    build_tests,
    names_in,
)

from ..test_alignment_records import CITIES


@pytest.fixture
def records():
    return [clean_alignment("zh", text, english, name) for english, name, text in CITIES]


def test_tests_have_the_name_inside(records):
    tests = build_tests(records, 10, seed=1)
    assert len(tests) == len(records)
    for text, english, name in tests:
        assert text.count("。") == 3
        assert text.index(name) > text.index("。")
        assert "（" not in text
        assert (english, name) in [(e, n) for e, n, _ in CITIES]


def test_longer_names_hide_shorter_ones_within_them():
    names = {"京都": "Kyoto", "東京都": "Tokyo", "京": "Capital"}
    assert names_in("東京都に住む。", names) == [("Tokyo", "東京都")]
    assert names_in("東京都と京都に住む。", names) == [("Tokyo", "東京都"), ("Kyoto", "京都")]


@pytest.mark.parametrize("share", ["composite", "several", "raw"])
def test_shares_decide_what_is_built(records, share):
    mix = Mix(composite=share == "composite", several=share == "several", none=0.0, traditional=0.0)
    examples = build_alignment_examples(records, 30, mix, seed=3)
    assert len(examples) == 30
    sentences = {example.prefix.count("。") for example in examples}
    assert sentences == ({2, 3} if share == "composite" else {1})
    if share == "several":
        assert all(len(example.questions) > 1 for example in examples)
        assert any(q.prompt.startswith("English name: Vienna\n") for e in examples for q in e.questions)
    if share == "composite":
        starts = [e.prefix.index(q.answer) <= len("Chinese: ") for e in examples for q in e.questions]
        assert sum(starts) < 0.6 * len(starts)


def test_answers_stand_in_the_text_and_none_does_not(records):
    mix = Mix(none=1.0, traditional=0.5)
    examples = build_alignment_examples(records, 60, mix, seed=3)
    answers = Counter()
    english = {e: n for e, n, _ in CITIES}
    for example in examples:
        assert example.prefix.startswith("Chinese: ") and example.prefix.endswith("\n")
        names = [question.prompt for question in example.questions]
        assert len(set(names)) == len(names)
        for question in example.questions:
            name = question.prompt.split("\n")[0].removeprefix("English name: ")
            assert question.prompt == f"English name: {name}\nChinese name:"
            if question.answer == "none":
                assert english[name] not in example.prefix
            else:
                assert question.answer in example.prefix
            answers[question.answer == "none"] += 1
    assert answers[True] > 10 and answers[False] > 60
    assert any("羅馬" in example.prefix for example in examples)


def test_seed_decides(records):
    mix = Mix()
    assert build_alignment_examples(records, 20, mix, 1) == build_alignment_examples(records, 20, mix, 1)
    assert build_alignment_examples(records, 20, mix, 1) != build_alignment_examples(records, 20, mix, 2)


def test_one_record_is_enough_and_none_are_no_error(records):
    mix = Mix(none=1.0)
    for example in build_alignment_examples(records[:1], 5, mix, 0):
        assert [q.answer for q in example.questions] == ["巴黎"]
    assert build_alignment_examples([], 5, mix, 0) == []
    assert build_parallel_examples([], 5, 5, {}, {}, mix, 0) == []


def test_parallel_sentences_ask_for_translation_and_names():
    records = [
        ParallelRecord("ja", f"トランプ氏は{i}日に東京を訪れた。", f"Trump visited Tokyo on day {i}.", names)
        for i, names in enumerate([(("Trump", "トランプ"), ("Tokyo", "東京"))] * 3 + [()] * 3)
    ]
    mix = Mix(none=0.0, glossary=1.0)
    examples = build_parallel_examples(records, 4, 1, {}, {}, mix, 0)
    assert [len(example.questions) for example in examples] == [3, 3, 3, 1]
    translation, *names = examples[0].questions
    assert translation.kind == "translation" and translation.answer.startswith("Trump visited")
    assert translation.prompt.startswith("Terms: ") and translation.prompt.endswith("\nEnglish:")
    assert {q.answer for q in names} == {"トランプ", "東京"}
    assert examples[3].questions[0].prompt == "English:"


def test_names_come_first_where_all_are_known():
    record = ParallelRecord(
        "zh", "罗马欢迎习近平。", "Rome welcomes Xi.", (("Xi", "习近平"), ("Rome", "罗马")), complete=True
    )
    mix = Mix(none=0.0, traditional=0.0, glossary=0.0)
    (example,) = build_parallel_examples([record], 1, 0, {}, {}, mix, 0)
    translation, terms, *_ = example.questions
    assert translation.prompt == "English:"
    assert (terms.kind, terms.prompt, terms.answer) == ("terms", "Terms:", "罗马 = Rome; 习近平 = Xi")
    plain = replace(record, source="下雨了。", english="It rains.", names=())
    (example,) = build_parallel_examples([plain], 1, 1, {}, {}, mix, 0)
    assert example.questions[1].answer == "none"
    (example,) = build_parallel_examples([replace(record, complete=False)], 1, 0, {}, {}, mix, 0)
    assert "terms" not in {question.kind for question in example.questions}


def test_a_dictionary_gives_what_it_would_in_use():
    record = ParallelRecord("zh", "罗马欢迎习近平。", "Rome welcomes Xi.", (("Rome", "罗马"),))
    mix = Mix(none=0.0, traditional=0.0, glossary=0.0, dictionary=1.0)
    (example,) = build_parallel_examples([record], 1, 0, {}, {"欢迎": "Huanying"}, mix, 0)
    assert example.questions[0].prompt == "Terms: 欢迎 = Huanying\nEnglish:"


def test_lists_of_names(records):
    names = {record.name: record.english for record in records}
    examples = build_name_examples("zh", names, {"东京": "Tokyo"}, 20, Mix(traditional=0.0), 0)
    assert examples
    known = {**names, "东京": "Tokyo"}
    for example in examples:
        translation, *asked = example.questions
        listed = example.prefix.removeprefix("Chinese: ").strip().split("、")
        assert translation.answer == ", ".join(known[name] for name in listed)
        assert all(question.kind == "alignment" and question.answer in listed for question in asked)
    assert build_name_examples("zh", {}, {}, 20, Mix(), 0) == []


def test_traditional_names_follow_their_text():
    record = ParallelRecord("zh", "习近平访问罗马。", "Xi Jinping visits Rome.", (("Rome", "罗马"),))
    (example,) = build_parallel_examples([record], 1, 0, {}, {}, Mix(traditional=1.0), 0)
    assert example.prefix == "Chinese: 習近平訪問羅馬。\n"
    assert example.questions[1].answer == "羅馬"


def test_mix_does_not_depend_on_the_global_generator(records):
    random.seed(1)
    first = build_alignment_examples(records, 10, Mix(), 5)
    random.seed(2)
    assert build_alignment_examples(records, 10, Mix(), 5) == first
