"""What the entity aligner is trained on: annotated docs, records, sentences with an entity cut out."""

import json
from collections import Counter

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_eat.corpora import CorpusError
from spacy_eat.records import install_extensions
from spacy_eat.training.aligner.config import Annotated, Records
from spacy_eat.training.aligner.data import (
    Example,
    Pair,
    hold_out,
    read_annotated,
    read_examples,
    read_records,
    with_missing,
    write_examples,
)


def entity(english, place, score=0.9):
    start, end = place or (None, None)
    return {
        "text": "",
        "label": "PER",
        "english_start": english[0],
        "english_end": english[1],
        "english_score": 1.0,
        "answers": [],
        "logprobs": [],
        "start_char": start,
        "end_char": end,
        "status": "exact" if place else "unaligned",
        "score": score if place else 0.0,
    }


def test_annotated_docs(tmp_path):
    install_extensions()
    nlp = spacy.blank("zh")
    doc = nlp.make_doc("你好。安娜见鲍勃，安娜")
    doc._.eat_translation = ["Hello.", "Anna met Bob and Zoe."]
    sentence = doc._.eat["sentences"][1]
    assert sentence["start_char"] == 3
    sentence["entities"] = [
        entity((0, 4), (3, 5)),
        entity((9, 12), (6, 8), score=0.2),
        entity((17, 20), None),
        entity((0, 4), (9, 11)),  # the same name once more
    ]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    counts = Counter()
    (example,) = read_annotated(Annotated(path=tmp_path), counts)
    assert example.source == "安娜见鲍勃，安娜" and example.english == "Anna met Bob and Zoe."
    assert example.pairs == (Pair((0, 4), (0, 2), 0.9),) and example.lang == "zh"
    assert counts == {"without a place": 1, "low score": 1, "pairs": 1, "sentences": 1}
    (example,) = read_annotated(Annotated(path=tmp_path, min_score=0.1), Counter())
    assert [example.source[slice(*pair.source)] for pair in example.pairs] == ["安娜", "鲍勃"]


def test_records_and_names_that_are_not_there(tmp_path):
    names = [
        ("Paris", "巴黎"),
        ("Berlin", "柏林"),
        ("Rome", "罗马"),
        ("Madrid", "马德里"),
        ("Vienna", "维也纳"),
    ]
    rows = [{"eng_entity": e, "tgt_entity": n, "text": f"{n}是一个国家的首都。"} for e, n in names]
    path = tmp_path / "zh.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    known = dict(names)
    examples = read_records(Records(path=tmp_path, limits={"zh": 4}, none=0.0), 0, Counter())
    assert len(examples) == 4
    for example in examples:
        ((english, source),) = [
            (example.english[slice(*p.english)], example.source[slice(*p.source)]) for p in example.pairs
        ]
        assert known[english] == source
    missing = read_records(Records(path=tmp_path, limits={"zh": 5}, none=1.0), 0, Counter())
    assert missing
    for example in missing:
        (pair,) = example.pairs
        assert pair.source is None and known[example.english[slice(*pair.english)]] not in example.source
    assert not read_records(Records(path=tmp_path, limits={"zh": 5}, max_chars=5), 0, Counter())


def test_an_entity_is_cut_out_and_the_others_stay_where_they_are():
    pairs = tuple(Pair((i, i + 1), (2 * i, 2 * i + 2)) for i in range(3))
    example = Example("zh", "安娜鲍勃罗马", "abc", pairs, "projected")
    seen = set()
    for seed in range(20):
        (cut,) = with_missing([example], 1.0, seed)
        by_english = {pair.english: pair.source and cut.source[slice(*pair.source)] for pair in cut.pairs}
        (gone,) = [english for english, words in by_english.items() if words is None]
        seen.add(gone)
        expected = {p.english: example.source[slice(*p.source)] for p in pairs if p.english != gone}
        assert {k: v for k, v in by_english.items() if v} == expected and len(cut.source) == 4
    assert len(seen) == 3
    assert with_missing([example], 0.0, 0) == [example]


def test_what_stands_elsewhere_too_is_not_cut_out():
    twice = Example("zh", "安娜和安娜", "a", (Pair((0, 1), (0, 2)),), "projected")
    assert with_missing([twice], 1.0, 0) == [twice]


def test_held_out_are_the_same_in_every_order():
    examples = [Example("zh", "", f"sentence {i}", (), "projected") for i in range(400)]
    train, test = hold_out(examples, 40)
    assert 20 < len(test) < 60 and len(train) + len(test) == 400
    assert set(hold_out(examples[::-1], 40)[1]) == set(test)
    assert len(hold_out(examples[:5], 100)[1]) < 5


def test_files(tmp_path):
    path = tmp_path / "a.jsonl"
    examples = [
        Example("ja", "東京", "Tokyo \u2028", (Pair((0, 5), (0, 2), 0.5), Pair((1, 2), None)), "records")
    ]
    write_examples(examples, path)
    assert read_examples(path) == examples
    path.write_text('{"lang": "ja"}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.jsonl:1: no sentence with pairs.*--restart"):
        read_examples(path)
