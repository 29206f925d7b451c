import pytest
import spacy
from spacy.tokens import Doc

from spacy_eat.components.placement import place
from spacy_eat.corpora import read
from spacy_eat.records import install_extensions, new_record

install_extensions()
TEXT = "東京都の京都大学で山中伸弥が講演した。"


def entity(name, label="LOC", score=1.0):
    start = TEXT.index(name)
    return {
        "text": name,
        "label": label,
        "start_char": start,
        "end_char": start + len(name),
        "score": score,
        "status": "exact",
    }


@pytest.fixture
def doc():
    words = ["東京都", "の", "京都大学", "で", "山中", "伸弥", "が", "講演", "し", "た", "。"]
    doc = Doc(spacy.blank("ja").vocab, words=words, spaces=[False] * len(words), tags=["N"] * len(words))
    doc.user_data["sub_tokens"] = [None] * len(words)
    doc._.eat = new_record([(0, len(TEXT))])
    return doc


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def test_split_gives_the_exact_span_and_keeps_the_rest(doc):
    doc.set_ents([doc.char_span(0, 3, "Province")])
    doc.spans["mine"] = [doc[2:4], doc[4:6]]
    place(doc, [entity("大学"), entity("山中", "PER")], off_boundary="split")
    assert doc.text == TEXT
    assert ents(doc) == [("東京都", "Province"), ("大学", "LOC"), ("山中", "PER")]
    assert [span.text for span in doc.spans["mine"]] == ["京都大学で", "山中伸弥"]
    assert {token.tag_ for token in doc} == {"N"}
    assert len(doc.user_data["sub_tokens"]) == len(doc)


@pytest.mark.parametrize(
    ("policy", "expected", "group", "counts"),
    [
        ("split", [("大学", "ORG"), ("山中", "PER")], ["大学", "山中"], {"split": 1}),
        ("expand", [("京都大学", "ORG"), ("山中", "PER")], ["京都大学", "山中"], {"expanded": 1}),
        ("group", [("山中", "PER")], ["京都大学", "山中"], {"grouped": 1}),
        ("drop", [("山中", "PER")], ["山中"], {"dropped": 1}),
    ],
)
def test_policies(doc, policy, expected, group, counts):
    place(doc, [entity("大学", "ORG"), entity("山中", "PER")], off_boundary=policy)
    assert ents(doc) == expected
    assert [span.text for span in doc.spans["eat"]] == group
    assert doc._.eat["counts"] == counts


def test_overwrite_ents(doc):
    doc.set_ents([doc.char_span(4, 8, "School"), doc.char_span(0, 3, "Province")])
    place(doc, [entity("京都大学", "ORG")])
    assert ents(doc) == [("東京都", "Province"), ("京都大学", "School")]
    assert doc._.eat["counts"] == {"overlapping": 1}
    place(doc, [entity("京都大学", "ORG")], overwrite_ents=True)
    assert ents(doc) == [("東京都", "Province"), ("京都大学", "ORG")]


def test_existing_entities_are_replaced_whole_after_a_split(doc):
    doc.set_ents([doc.char_span(4, 8, "School")])
    place(doc, [entity("大学", "ORG")], overwrite_ents=True)
    assert ents(doc) == [("大学", "ORG")]


def test_running_twice_changes_nothing(doc):
    for _ in range(2):
        place(doc, [entity("京都大学", "ORG"), entity("山中", "PER")])
    assert ents(doc) == [("京都大学", "ORG"), ("山中", "PER")]
    assert doc._.eat["counts"] == {}


def test_the_more_confident_of_two_overlapping_entities_wins(doc):
    place(doc, [entity("京都大学", "ORG", 0.5), entity("大学", "LOC", 0.9)])
    assert ents(doc) == [("大学", "LOC")]
    assert [span.text for span in doc.spans["eat"]] == ["京都大学", "大学"]
    assert doc._.eat["counts"] == {"split": 1, "overlapping": 1}


def test_annotated_without_entities(doc):
    place(doc, [])
    assert doc.has_annotation("ENT_IOB") and not doc.ents


def test_split_is_the_policy_that_keeps_gold_entities(data):
    """What chose the default: strict recall of gold spans under each policy."""
    import jieba

    nlp = spacy.blank("zh")
    recall = {}
    records = list(read(data / "gold" / "zh_gsdsimp_dev.iob2"))[:100]
    for policy in ("split", "expand", "group", "drop"):
        gold = kept = 0
        for record in records:
            words = list(jieba.cut(record.text))
            doc = Doc(nlp.vocab, words=words, spaces=[False] * len(words))
            doc._.eat = new_record([(0, len(doc.text))])
            place(
                doc,
                [
                    {
                        "text": "x",
                        "label": s.label,
                        "start_char": s.start_char,
                        "end_char": s.end_char,
                        "score": 1.0,
                        "status": "exact",
                    }
                    for s in record.spans
                ],
                off_boundary=policy,
            )
            found = {(e.start_char, e.end_char, e.label_) for e in doc.ents}
            gold += len(record.spans)
            kept += sum((s.start_char, s.end_char, s.label) in found for s in record.spans)
        recall[policy] = kept / gold
    assert recall["split"] == 1.0
    assert recall["split"] > max(recall["expand"], recall["group"], recall["drop"])


def placed(text, *names):
    """A doc in which names with their labels and scores were aligned."""
    doc = Doc(spacy.blank("ja").vocab, words=[*text], spaces=[False] * len(text))
    doc._.eat = new_record([(0, len(doc.text))])
    records = doc._.eat["sentences"][0]["entities"]
    for name, label, *score in names:
        start = doc.text.index(name)
        span = {"start_char": start, "end_char": start + len(name)}
        records.append({"text": name, "label": label, "score": (*score, 1.0)[0], "status": "exact", **span})
    place(doc, records)
    return doc


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("福岡県久留米市の", [("福岡県", "LOC"), ("久留米市", "LOC")], [("福岡県久留米市", "LOC")]),
        (
            "四川省资阳市雁江区",
            [("雁江区", "LOC"), ("四川省", "LOC"), ("资阳市", "LOC")],
            [("四川省资阳市雁江区", "LOC")],
        ),
        ("福岡県と大分県", [("福岡県", "LOC"), ("大分県", "LOC")], [("福岡県", "LOC"), ("大分県", "LOC")]),
        ("福岡県議会", [("福岡県", "LOC"), ("議会", "ORG")], [("福岡県", "LOC"), ("議会", "ORG")]),
        ("欧米", [("欧", "LOC"), ("米", "LOC")], [("欧", "LOC"), ("米", "LOC")]),
        ("東区 北区", [("東区", "LOC"), ("北区", "LOC")], [("東区", "LOC"), ("北区", "LOC")]),
    ],
)
def test_a_place_is_joined_to_the_larger_one_right_before_it(text, names, expected):
    doc = placed(text, *names)
    assert ents(doc) == expected
    assert [span.text for span in doc.spans["eat"]] == [name for name, _ in names]


def test_what_was_joined_tells_of_the_most_certain_part():
    doc = placed("福岡県久留米市", ("福岡県", "LOC", 0.6), ("久留米市", "LOC", 0.9))
    (ent,) = doc.ents
    assert (ent.text, ent._.eat_english, ent._.eat_score) == ("福岡県久留米市", "久留米市", 0.9)
    place(doc, doc._.eat["sentences"][0]["entities"])  # again, as an interrupted run would
    assert [ent.text for ent in doc.ents] == ["福岡県久留米市"]
    assert doc._.eat["counts"] == {}
