"""Every format into the same records; what is broken is repaired and counted, or named with its line."""

import json
from collections import Counter
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_eat.corpora import (
    CorpusError,
    Record,
    detect_format,
    label_table,
    read,
    read_docs,
    read_jsonl,
    to_docs,
    to_examples,
    uner_names,
)
from spacy_eat.types import Span

IOB2 = """\
# newdoc id = a
# sent_id = a-1
# text = Al-Zaman left the U.S.  today
1\tAl\tB-ORG\t-\tx
2\t-\tI-ORG\t-\tx
3\tZaman\tI-ORG\t-\tx
4\tleft\tO
5\tthe\tO
6\tU.S.\tB-LOC\t-\tx
7\ttoday\tO
"""
BIO = "我\tO\n在\tO\n北\tB-LOC\n京\tI-LOC\n\nI\tO\n'm\tO\n(\tO\nAnn\tB-person\n)\tO\n.\tO\n"
STOCKMARK = {
    "curid": "7",
    "text": "環境省の山田。",
    "entities": [
        {"name": "環境省", "span": [0, 3], "type": "政治的組織名"},
        {"name": "山田", "span": [4, 6], "type": "人名"},
    ],
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def entities(record: Record) -> list[tuple[str, str]]:
    assert record.spans is not None
    return [(record.text[span.start_char : span.end_char], span.label) for span in record.spans]


def test_iob2_keeps_the_original_text(tmp_path):
    (record,) = read(write(tmp_path / "x.iob2", IOB2))
    assert record.text == "Al-Zaman left the U.S.  today"
    assert entities(record) == [("Al-Zaman", "ORG"), ("U.S.", "LOC")]
    assert record.id == "a-1"


def test_iob2_is_told_by_its_rows(tmp_path):
    assert detect_format(write(tmp_path / "x.conll", IOB2)) == "iob2"
    assert detect_format(write(tmp_path / "y.conll", BIO)) == "bio"


def test_bio_is_joined_as_its_script_is_written(tmp_path):
    chinese, english = read(write(tmp_path / "x.bio", BIO))
    assert (chinese.text, entities(chinese)) == ("我在北京", [("北京", "LOC")])
    assert (english.text, entities(english)) == ("I'm (Ann).", [("Ann", "PER")])


def test_bio_language_decides(tmp_path):
    path = write(tmp_path / "x.bio", "N\tB-ORG\nB\tI-ORG\nA\tI-ORG\n")
    assert entities(next(read(path, lang="zh"))) == [("NBA", "ORG")]
    assert entities(next(read(path))) == [("N B A", "ORG")]


def test_wikiann_prefixes(tmp_path):
    (record,) = read(write(tmp_path / "x.bio", "ja:京\tB-LOC\nja:都\tI-LOC\nja::\tO\n"))
    assert (record.text, entities(record)) == ("京都:", [("京都", "LOC")])


def test_multiconer(tmp_path):
    text = (
        "# id 5239d808\tdomain=zh\n它 _ _ O\n在 _ _ O\n东 _ _ B-HumanSettlement\n京 _ _ I-HumanSettlement\n\n"
    )
    text += "# id 77ab\tdomain=zh\n# _ _ O\n1 _ _ O\n安 _ _ B-OtherPER\n药 _ _ B-Medication/Vaccine\n"
    first, second = read(write(tmp_path / "x.conll", text), lang="zh")
    assert (first.text, first.id, entities(first)) == ("它在东京", "5239d808", [("东京", "LOC")])
    assert (second.text, second.id, entities(second)) == ("#1安药", "77ab", [("安", "PER")])


def test_bioes(tmp_path):
    path = write(tmp_path / "x.bio", "a\tS-PER\nb\tB-PER\nc\tE-PER\nd\tO\n")
    counts = Counter()
    assert entities(next(read(path, counts=counts))) == [("a", "PER"), ("b c", "PER")]
    assert counts["repaired"] == 0


def test_jsonl(tmp_path):
    lines = [
        STOCKMARK,
        {"text": "Ann left", "spans": [{"start": 0, "end": 3, "label": "PERSON"}]},
        {"text": "nobody looked"},
    ]
    path = write(tmp_path / "x.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    stockmark, spans, plain = read(path)
    assert (stockmark.id, entities(stockmark)) == ("7", [("環境省", "ORG"), ("山田", "PER")])
    assert entities(spans) == [("Ann", "PER")]
    assert plain == Record("nobody looked")


def test_txt_and_line_separators_within_a_text(tmp_path):
    counts = Counter()
    records = list(read(write(tmp_path / "x.txt", "one\u2028still one\r\n\n  \ntwo"), counts=counts))
    assert records == [Record("one\u2028still one"), Record("two")]
    assert counts == {"records": 2, "empty": 2}


def save(path: Path, *corpora: Path) -> Path:
    docs = [doc for corpus in corpora for doc in to_docs(read(corpus), spacy.blank("en"))]
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def test_spacy_round_trip(tmp_path):
    source = write(tmp_path / "x.iob2", IOB2)
    assert list(read(save(tmp_path / "x.spacy", source, source))) == [*read(source), *read(source)]


def test_docs_without_annotation_stay_without(tmp_path):
    path = save(tmp_path / "x.spacy", write(tmp_path / "x.txt", "Ann\n"))
    (doc,) = read_docs(path, spacy.blank("en").vocab)
    assert not doc.has_annotation("ENT_IOB")
    assert next(read(path)).spans is None


KLUE = """\
## 주석 : ##
## klue-ner-v1_dev_00000-wikitree\t<박:PS>씨 <신한 은행:OG>
박\tB-PS
씨\tO
 \tO
신\tB-OG
한\tI-OG
 \tI-OG
은\tI-OG
행\tI-OG

## klue-ner-v1_dev_00001-wikitree\t<3일:DT>
3\tB-DT
일\tI-DT
"""


def test_klue(tmp_path):
    """A character is a row, spaces too, within names and without."""
    path = write(tmp_path / "x.tsv", KLUE)
    assert detect_format(path) == "klue"
    first, second = read(path)
    assert (first.text, entities(first)) == ("박씨 신한 은행", [("박", "PER"), ("신한 은행", "ORG")])
    assert (second.text, entities(second)) == ("3일", [])
    assert first.id == "klue-ner-v1_dev_00000-wikitree"
    with pytest.raises(CorpusError, match=r"x\.tsv:4: the columns are \['씨'\]"):
        list(read(write(tmp_path / "x.tsv", KLUE.replace("씨\tO", "씨"))))


def test_one_reader_of_jsonl_puts_what_is_broken_aside(tmp_path):
    path = write(tmp_path / "x.jsonl", b'\xef\xbb\xbf{"a": "\xe2\x80\xa8"}\r\n\n[1]\n{"a"\n"\xff"\n')
    rows = list(read_jsonl(path))
    assert [(row.line.number, row.value) for row in rows] == [(1, {"a": "\u2028"}), (3, {}), (4, {}), (5, {})]
    assert rows[0].error is None and rows[1].error == "not a JSON object"
    assert "not JSON" in rows[2].error and rows[3].error == "byte 0xff is not UTF-8"


def test_docs_are_cut_at_entities_off_token_boundaries():
    record = Record(
        "東京都庁で Washington-based", (Span(0, 2, "LOC"), Span(6, 16, "LOC"), Span(17, 21, "ORG"))
    )
    nlp = spacy.blank("xx")
    (example,) = to_examples([record], nlp)
    gold = [(ent.start_char, ent.end_char, ent.label_) for ent in example.reference.ents]
    assert [Span(*ent) for ent in gold] == list(record.spans or ())
    assert example.reference.text == example.predicted.text == record.text
    assert len(example.predicted) == len(nlp.make_doc(record.text)) < len(example.reference)


def test_labels_as_the_user_wants_them(tmp_path):
    path = write(tmp_path / "x.bio", "a\tB-nationality\nb\tB-event\n")
    assert [entities(record) for record in read(path, labels=None)] == [
        [("a", "nationality"), ("b", "event")]
    ]
    assert entities(next(read(path, labels={**label_table("auto"), "nationality": "NORP"}))) == [
        ("a", "NORP")
    ]
    path = write(tmp_path / "x.bio", "a\tB-PS\n")
    assert entities(next(read(path, labels="klue"))) == entities(next(read(path))) == [("a", "PER")]
    with pytest.raises(CorpusError, match="no mapping for the label 'PS'"):
        next(read(path, labels="uner"))
    with pytest.raises(ValueError, match=r"no schema of labels 'kleu', only btc, .*klue"):
        next(read(path, labels="kleu"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("the European Union", "European Union"),
        ("Mr. Smith", "Smith"),
        ("The Prime Minister Blair", "Blair"),
        ("The Hague", "Hague"),  # a price of the rule
        ("Theodore", "Theodore"),
        ("Drake", "Drake"),
        ("President", "President"),  # never cut to nothing
    ],
)
def test_names_after_uner_guidelines(name, expected):
    record = Record(f"So {name}.", (Span(3, 3 + len(name), "PER"),))
    assert entities(uner_names(record)) == [(expected, "PER")]


def test_repairs_are_counted(tmp_path):
    counts = Counter()
    bio = "a\tI-PER\nb\tI-LOC\nc\tB-LOC\nd\tI-LOC\n \tO\n\n# sent_id = nothing\n\n\ne\tO\n"
    first, second = read(write(tmp_path / "x.bio", bio), counts=counts)
    assert entities(first) == [("a", "PER"), ("b", "LOC"), ("c d", "LOC")]
    assert entities(second) == []
    assert counts == {"records": 2, "entities": 3, "repaired": 2, "empty": 2, "overlapping": 0}


def test_overlaps_longest_first(tmp_path):
    spans = [{"start": s, "end": e, "label": "LOC"} for s, e in ((0, 2), (1, 4), (4, 6), (3, 5))]
    counts = Counter()
    (record,) = read(
        write(tmp_path / "x.jsonl", json.dumps({"text": "abcdef", "spans": spans})), counts=counts
    )
    assert [span.place for span in record.spans or ()] == [(1, 4), (4, 6)]
    assert counts["overlapping"] == 2


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("x.bio", "a\tO\nb\n", 2, "columns"),
        ("x.bio", "a\tO\n\tB-PER\n", 2, "columns"),
        ("x.bio", "a\tO\n\nb\tB_PER\n", 3, "tag is 'B_PER'"),
        ("x.bio", "a\tB-alien\n", None, "no mapping for the label 'alien'"),
        ("x.iob2", IOB2 + "8\n", 11, "columns"),
        ("x.iob2", IOB2 + "x\ty\tO\n", 11, "columns"),
        ("x.iob2", IOB2.replace("4\tleft", "4\tright"), 7, "token 'right'"),
        ("x.bio", b"a\tO\n" + "北\tO\n".encode("gb18030"), 2, "not UTF-8"),
        ("x.txt", b"ok\n" + b"\xff\n", 2, "not UTF-8"),
        ("x.jsonl", '{"text": "a"}\n{"text": "b"', 2, "not a record"),
        ("x.jsonl", '{"sentence": "a"}', 1, "not a record"),
        ("x.jsonl", '["a"]', 1, "not a record"),
        ("x.jsonl", '{"text": 7}', 1, "the text is a int"),
        ("x.jsonl", '{"text": "a", "entities": [[0, 1]]}', 1, "not a record"),
        ("x.jsonl", '{"text": "a", "entities": [[0, "1", "LOC"]]}', 1, "not a record"),
        ("x.jsonl", '{"text": "a", "entities": [[0, 2, "LOC"]]}', 1, "not within the text"),
        (
            "x.jsonl",
            '{"text": "ab", "entities": [{"name": "a", "span": [1, 2], "type": "人名"}]}',
            1,
            "is not 'a'",
        ),
        ("x.spacy", b"no DocBin", None, "not a DocBin"),
        ("x.pdf", b"", None, "unknown format"),
    ],
)
def test_errors_name_file_line_and_remedy(tmp_path, name, content, line, problem):
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError) as caught:
        list(read(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}")
    assert problem in message
    assert message.split(problem, 1)[1].count(". ") >= 1  # a remedy follows


def test_no_such_file(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        next(read(tmp_path / "x.txt"))


@pytest.mark.parametrize(
    ("path", "records", "count"),
    [
        ("gold/en_pud_half.iob2", 500, 525),
        ("gold/zh_pud_half.iob2", 500, 562),
        ("gold/zh_gsdsimp_dev.iob2", 500, 753),
        ("gold/ja_stockmark_dev.jsonl", 1000, 2007),
        ("gold/ja_gsd_dev.bio", 507, 417),
        ("gold/ko_klue_dev.tsv", 1000, 1656),
        ("gold/de_pud_half.iob2", 500, 508),
        ("gold/ru_pud_half.iob2", 500, 485),
    ],
)
def test_gold_data(data, path, records, count):
    counts = Counter()
    gold = list(read(data / path, counts=counts))
    assert (counts["records"], counts["entities"]) == (records, count)
    assert counts["repaired"] == counts["overlapping"] == counts["empty"] == 0
    for record, doc in zip(gold, to_docs(gold, spacy.blank("xx")), strict=True):
        assert doc.text == record.text
        assert tuple(Span(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents) == record.spans
