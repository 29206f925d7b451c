"""Pseudo labels: what is certain is learnt, what is not is missing, and nothing else decides."""

from collections import Counter

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from spacy_eat.corpora import CorpusError, read_docs, to_examples
from spacy_eat.records import install_extensions
from spacy_eat.training.students.labels import make_pseudo_labels, pseudo_labels


def annotated(text, *sentences, lang="zh"):
    """A doc as `annotate` writes it. A sentence: its text, its status, and its entities, each a name (None
    if unaligned), a label and a score."""
    install_extensions()
    doc = spacy.blank(lang).make_doc(text)
    records = []
    for sentence, status, entities in sentences:
        begin = text.index(sentence)
        found = []
        for name, label, score in entities:
            start = None if name is None else text.index(name, begin)
            found.append(
                {
                    "text": "x",
                    "label": label,
                    "english_start": 0,
                    "english_end": 1,
                    "english_score": 1.0,
                    "answers": [],
                    "logprobs": [],
                    "start_char": start,
                    "end_char": None if start is None else start + len(name),
                    "status": "unaligned" if name is None else "exact",
                    "score": score,
                }
            )
        records.append(
            {
                "start_char": begin,
                "end_char": begin + len(sentence),
                "english": "x",
                "status": status,
                "error": None if status == "aligned" else "no answer",
                "entities": found,
                "requests": 1,
            }
        )
    doc._.eat = {"sentences": records, "counts": {}}
    doc.ents = [
        doc.char_span(e["start_char"], e["end_char"], e["label"])
        for r in records
        for e in r["entities"]
        if e["start_char"] is not None
    ]
    return doc


SURE = ("张三", "PER", 0.9)


def tags(doc, **settings):
    """What the student is told of each character; "-": nothing."""
    (example,) = read([doc], **settings)
    return " ".join("-" if tag is None else tag for tag in example.get_aligned_ner())


def read(docs, **settings):
    return list(to_examples(pseudo_labels(docs, **settings), spacy.blank("zh")))


def test_what_is_certain_is_learnt():
    doc = annotated("张三在北京", ("张三在北京", "aligned", [SURE, ("北京", "LOC", 0.5)]))
    assert tags(doc) == "B-PER L-PER O B-LOC L-LOC"


def test_a_label_of_little_weight_is_missing():
    doc = annotated("张三在北京", ("张三在北京", "aligned", [SURE, ("北京", "LOC", 0.49)]))
    assert tags(doc) == "B-PER L-PER O - -"
    assert tags(doc, min_weight=0.4) == "B-PER L-PER O B-LOC L-LOC"
    assert tags(doc, weight=lambda ent: ent.label_ == "LOC") == "- - O B-LOC L-LOC"


def test_an_unaligned_name_may_be_anywhere():
    doc = annotated(
        "张三在北京。他走", ("张三在北京。", "aligned", [SURE, (None, "LOC", 0.0)]), ("他走", "aligned", [])
    )
    assert tags(doc) == "B-PER L-PER - - - - O O"
    assert tags(doc, max_unaligned=0.5) == "B-PER L-PER O O O O O O"


def test_failed_sentences_say_nothing():
    doc = annotated("张三走。他走", ("张三走。", "failed", []), ("他走", "aligned", []))
    assert tags(doc) == "- - - - O O"


def test_texts_that_say_nothing_are_left_out():
    counts = Counter()
    docs = [
        annotated("张三走", ("张三走", "failed", [])),
        annotated("他走了", ("他走了", "aligned", [(None, "PER", 0.0)])),
        annotated("天晴", ("天晴", "aligned", [])),
    ]
    assert [example.text for example in read(docs, counts=counts)] == ["天晴"]
    assert counts == {"texts": 3, "failed": 1, "unaligned": 1, "kept": 0, "uncertain": 0}


def test_missing_labels_cost_a_student_nothing():
    """spaCy's parser has no loss, and the token classifier no gradient, where annotation is missing."""
    (known,) = read([annotated("张三在北京", ("张三在北京", "aligned", [SURE, ("北京", "LOC", 0.9)]))])
    (unknown,) = read(
        [annotated("李四在东京", ("李四在东京", "aligned", [("李四", "PER", 0.1), ("东京", "LOC", 0.1)]))]
    )
    unknown.reference.set_ents([], missing=[unknown.reference[:]])
    nlp = spacy.blank("zh")
    nlp.add_pipe("ner")
    optimizer = nlp.initialize(lambda: [known])
    assert nlp.update([unknown], sgd=optimizer)["ner"] == 0.0
    assert nlp.update([known], sgd=optimizer)["ner"] > 0.0


@pytest.mark.slow
def test_reader_splits_by_text(tmp_path):
    docs = [annotated(f"张三在{i}号", (f"张三在{i}号", "aligned", [SURE])) for i in range(200)]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "a.spacy")
    nlp = spacy.blank("zh")

    def texts(**settings):
        return [example.text for example in make_pseudo_labels(tmp_path, **settings)(nlp)]

    train, dev = texts(part="train", dev_share=0.2), texts(part="dev", dev_share=0.2)
    assert sorted([*train, *dev]) == sorted(texts()) and 20 < len(dev) < 60
    DocBin(docs=docs[::-1], store_user_data=True).to_disk(tmp_path / "a.spacy")
    assert set(texts(part="dev", dev_share=0.2)) == set(dev)
    assert len(texts(limit=7)) == 7
    (first, *_) = make_pseudo_labels(tmp_path / "a.spacy")(nlp)
    assert [(ent.text, ent.label_) for ent in first.reference.ents] == [("张三", "PER")]


def test_reader_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="Corpus path can't be None"):
        make_pseudo_labels(None)
    with pytest.raises(CorpusError, match=r"no \.spacy file.*eat annotate"):
        list(read_docs(tmp_path, spacy.blank("zh").vocab))
    (tmp_path / "a.spacy").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match=r"a\.spacy: not a DocBin"):
        list(read_docs(tmp_path, spacy.blank("zh").vocab))


def test_a_config_may_leave_out_the_weight():
    reader = Config({"train": {"@readers": "spacy_eat.PseudoLabels.v1", "path": "pseudo.spacy"}})
    filled = spacy.registry.fill(reader)
    assert Config().from_str(filled.to_str())["train"]["weight"] is None
