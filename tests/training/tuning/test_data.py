import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from spacy_eat.training.tuning.config import Mix
from spacy_eat.training.tuning.data import (
    AlignmentRecord,
    ParallelRecord,
    build_alignment_examples,
    build_name_examples,
    build_parallel_examples,
    build_tests,
    cased,
    clean_alignment,
    detokenize,
    first_chunk,
    full_width,
    held_out,
    hold_out_names,
    hold_out_pairs,
    latin_names,
    names_in,
    read_alignment,
    read_parallel,
    without_brackets,
)

CITIES = [
    ("Paris", "巴黎", "巴黎是法国的首都（法語：Paris），位于塞纳河畔。"),
    ("Berlin", "柏林", "柏林是德国的首都，人口三百五十万。"),
    ("Rome", "罗马", "罗马是意大利的首都，历史悠久的城市。"),
    ("Madrid", "马德里", "马德里是西班牙的首都（人口很多）和最大城市。"),
    ("Vienna", "维也纳", "维也纳是奥地利的首都，位于多瑙河畔。"),
    ("Danube", "多瑙河", "多瑙河是欧洲第二长河，流经维也纳等地。"),
]


@pytest.fixture
def records():
    return [clean_alignment("zh", text, english, name) for english, name, text in CITIES]


def write(path, *lines):
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines),
        encoding="utf-8",
    )
    return path


def test_leaks_are_stripped():
    record = clean_alignment(
        "zh", "欧洲联盟（英語：European Union），简称欧盟，是国家组织。", "European Union", "欧洲联盟"
    )
    assert record.text == "欧洲联盟，简称欧盟，是国家组织。"
    assert (
        clean_alignment("zh", "欧洲联盟即European Union是国家组织。", "European Union", "欧洲联盟") == "leak"
    )


def test_lead_is_cut_to_the_sentence_with_the_name():
    text = (
        "標語：統一と正義\n\n国歌もある。ドイツ連邦共和国、通称ドイツは、欧州の国家である。首都はベルリン。"
    )
    record = clean_alignment("ja", text, "Germany", "ドイツ")
    assert record.text == "ドイツ連邦共和国、通称ドイツは、欧州の国家である。"
    assert record.name == "ドイツ"


def test_name_is_taken_as_the_text_spells_it():
    record = clean_alignment("zh", "歐洲聯盟是一個國家組織。", "European Union", "欧洲联盟")
    assert record.name == "歐洲聯盟"
    assert record.name in record.text


@pytest.mark.parametrize(
    "name, expected",
    [("BRUSSELS", "Brussels"), ("NEW YORK", "New York"), ("NATO", "NATO"), ("MacBook", "MacBook")],
)
def test_capitals(name, expected):
    assert cased(name) == expected


def test_every_dropped_record_is_counted(tmp_path):
    good = {"eng_entity": "Berlin", "tgt_entity": "柏林", "text": "柏林是德国的首都，人口三百五十万。"}
    path = write(
        tmp_path / "zh.jsonl",
        good,
        good,
        "{broken",
        "[]",
        {"eng_entity": "Berlin", "text": "柏林"},
        {**good, "text": "  "},
        {**good, "tgt_entity": "巴黎"},
        {**good, "tgt_entity": None},
    )
    dropped = Counter()
    assert [record.english for record in read_alignment(path, "zh", dropped)] == ["Berlin"]
    assert dropped == {
        "duplicate": 1,
        "broken line": 1,
        "missing field": 3,
        "empty field": 1,
        "name not in the text": 1,
    }


def test_articles_on_something_else_are_left_out(tmp_path):
    records = [
        ("Anatoly Shkirko", "第一次车臣战争", "第一次车臣战争是一场发生在高加索的战争。"),
        ("Robert Redford", "罗伯特·雷德福", "罗伯特·雷德福是一位美国电影演员。"),
        ("Germany", "德国", "德国是一个位于中欧的国家。"),
    ]
    path = write(
        tmp_path / "zh.jsonl", *({"eng_entity": e, "tgt_entity": n, "text": t} for e, n, t in records)
    )
    write(
        tmp_path / "es.jsonl",
        {"eng_entity": "ANATOLY SHKIRKO", "tgt_entity": "Primera guerra chechena"},
        {"eng_entity": "Robert Redford", "tgt_entity": "Robert Redford"},
        {"eng_entity": "Germany", "tgt_entity": "Alemania"},
    )
    dropped = Counter()
    kept = read_alignment(path, "zh", dropped, latin_names(tmp_path))
    assert [record.english for record in kept] == ["Robert Redford", "Germany"]
    assert dropped == {"name of something else": 1}


def test_parallel_records_are_cleaned(tmp_path):
    path = write(
        tmp_path / "zh_news.jsonl",
        {"source": "他说,这是好事。", "english": "He said this is a good thing."},
        {"source": "他说,这是好事。", "english": "He said this was good."},
        {"source": "Only English here", "english": "Only English here"},
        {"source": "他说这是好事。", "english": "他说这是好事。他说这是好事。"},
        {
            "source": "好。",
            "english": "This translation is far longer than the sentence it was made from, so long.",
        },
        b"\xff".decode("latin-1"),
    )
    dropped = Counter()
    (record,) = read_parallel(path, "zh", dropped)
    assert (record.source, record.origin) == ("他说，这是好事。", "zh_news")
    assert dropped == {
        "duplicate": 1,
        "other script": 1,
        "not English": 1,
        "lengths differ": 1,
        "broken line": 1,
    }


def test_spelling_repairs():
    assert full_width("约翰,玛丽说:好! 1,000 a,b") == "约翰，玛丽说：好！1,000 a,b"
    assert detokenize("i 'm in the tennis club .") == "I'm in the tennis club."
    assert detokenize("he does n't know me .") == "He doesn't know me."
    assert detokenize('The U.S. said: "No" .5') == 'The U.S. said: "No" .5'
    assert without_brackets("甲（乙（丙）丁）戊 (己)。") == "甲戊。"


def test_holding_out_is_by_english_name_and_stable(records):
    share = 0.5
    train, test = hold_out_names(records, share)
    assert train and test
    assert {r.english for r in train}.isdisjoint({r.english for r in test})
    assert {r.name for r in train}.isdisjoint({r.name for r in test})
    assert all(held_out(r.english.upper(), share) for r in test)
    # Another name of the same words is no training record either.
    twin = AlignmentRecord("zh", "另一句话里也有" + test[0].name + "。", "Zzz", test[0].name)
    assert twin not in hold_out_names([*records, twin], share)[0] or held_out("Zzz", share)


def test_pairs_held_out_are_the_same_in_all_languages():
    zh = [ParallelRecord("zh", f"第{i}句", f"Sentence {i}") for i in range(50)]
    ja = [ParallelRecord("ja", f"文{i}", f"Sentence {i}") for i in range(50)]
    train, test = hold_out_pairs(zh, 10)
    assert 4 <= len(test) <= 16 and len(train) == 50 - len(test)
    assert [r.english for r in hold_out_pairs(ja, 10)[1]] == [r.english for r in test]
    assert hold_out_pairs(zh, 0) == (zh, [])
    assert hold_out_pairs(zh[:3], 10) == (zh[:3], [])


def test_tests_have_the_name_inside(records):
    tests = build_tests(records, 10, seed=1)
    assert len(tests) == len(records)
    for text, english, name in tests:
        assert text.count("。") == 3
        assert text.index(name) > text.index("。")
        assert first_chunk(text) != name
        assert "（" not in text
        assert (english, name) in [(e, n) for e, n, _ in CITIES]


def test_first_chunk():
    assert first_chunk("柏林是德国的首都。") == "柏林"
    assert first_chunk("ドイツ連邦共和国、通称ドイツは") == "ドイツ連邦共和国"


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
