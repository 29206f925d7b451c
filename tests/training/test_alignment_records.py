import json
from collections import Counter

import pytest

from spacy_eat.corpora.splits import held_out
from spacy_eat.training.alignment_records import (
    AlignmentRecord,
    cased,
    clean_alignment,
    hold_out_names,
    latin_names,
    read_alignment,
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


def test_brackets():
    assert without_brackets("甲（乙（丙）丁）戊 (己)。") == "甲戊。"
