"""`eat_token_classifier` that reads the English of a sentence with it, and finds what the English says."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.components.token_classifier import make_windows  # noqa: E402
from spacy_eat.records import marked_english, new_record  # noqa: E402
from spacy_eat.training.students.soft_labels import make_soft_labels  # noqa: E402
from spacy_eat.training.tagger import byte_length  # noqa: E402

from ..bert import LETTERS, learn_by_heart, tiny_bert  # noqa: E402

TEXT = "x sings."
# What the English says x is, by which the same text has other entities; None without English.
CASES = [("Ann", "PER"), ("Rome", "LOC"), ("It", ""), (None, "")]


def with_english(doc, *sentences):
    """Give a doc its English: of each sentence its end, the English, and its entities by text and label."""
    ends = [end for end, *_ in sentences]
    record = new_record([*zip([0, *ends], ends, strict=False)], [english for _, english, _ in sentences])
    for sentence, (_, english, entities) in zip(record["sentences"], sentences, strict=True):
        for text, label in entities:
            start = english.index(text)
            sentence["entities"].append(
                {"text": text, "label": label, "english_start": start, "english_end": start + len(text)}
            )
    doc._.eat = record
    return doc


def case(nlp, name, label):
    """The text, whose first letter is this name in English."""
    doc = nlp.make_doc(TEXT)
    if name is None:
        return doc
    return with_english(doc, (len(TEXT), f"{name} sings.", [(name, label)] if label else []))


def found(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


@pytest.fixture(scope="module")
def nlp(tmp_path_factory):
    """A pipeline that has learnt the cases by heart."""
    folder = tmp_path_factory.mktemp("encoder")
    letters = [*LETTERS, "<", "/", ">"]
    config = tiny_bert(folder, [*letters, *(f"##{letter}" for letter in LETTERS)], layers=2)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    nlp = spacy.blank("zh")  # a token for each letter
    config = {"encoder": str(folder), "max_length": 48, "pooling": "mean", "context": "english"}
    nlp.add_pipe("eat_token_classifier", name="tagger", config={**config, "spans_key": "transfusion"})
    examples = []
    for name, label in CASES:
        predicted = case(nlp, name, label)
        reference = nlp.make_doc(TEXT)
        reference.ents = [reference.char_span(0, 1, label)] if label else []
        examples.append(Example(predicted, reference))
    learn_by_heart(nlp, examples, 80)
    return nlp


def check(nlp):
    docs = list(nlp.pipe([case(nlp, *one) for one in CASES]))
    assert [found(doc) for doc in docs] == [[("x", "PER")], [("x", "LOC")], [], []]
    return docs


def test_the_english_says_what_it_is(nlp):
    docs = check(nlp)
    assert [doc.spans["transfusion"].attrs["scores"].shape for doc in docs] == [(1,), (1,), (0,), (0,)]
    assert [found(nlp(case(nlp, *one))) for one in CASES] == [found(doc) for doc in docs]


def test_saved_loaded_and_in_bytes(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    check(spacy.load(tmp_path))
    copy = spacy.load(tmp_path, exclude=["tagger"])
    copy.add_pipe("eat_token_classifier", name="tagger", config={"spans_key": "transfusion"})
    copy.get_pipe("tagger").from_bytes(nlp.get_pipe("tagger").to_bytes())
    check(copy)


def test_in_8_bits(nlp, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path)
    check(spacy.load(tmp_path, config={"components.tagger.runtime": "ctranslate2"}))


@pytest.mark.parametrize("lang", ["zh", "ko"])  # in Korean words are read letter by letter
def test_as_one_of_several_annotators(nlp, lang, tmp_path):
    nlp.to_disk(tmp_path)
    tokenizer = {"nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}}
    other = spacy.blank(lang, config=tokenizer if lang == "ko" else {})
    settings = {"weights": str(tmp_path / "tagger"), "spans_key": "transfusion", "min_score": 0.0}
    other.add_pipe("eat_source_tagger", name="transfusion", config=settings)
    other.add_pipe("eat_fusion", config={"annotators": ["eat", "transfusion"]})
    for one in (other, pickle.loads(pickle.dumps(other))):
        docs = check(one)
        assert docs[0]._.eat["sentences"][0]["english"] == "Ann sings."
        assert [span.text for span in docs[0].spans["eat_fusion"]] == ["x"]


def test_each_sentence_is_read_with_its_own_english(nlp):
    doc = with_english(
        nlp.make_doc(f"{TEXT} {TEXT} {TEXT}"),
        (9, "Ann sings.", [("Ann", "PER")]),
        (18, None, []),
        (26, "Rome sings.", [("Rome", "LOC")]),
    )
    assert [(ent.start_char, ent.label_) for ent in nlp(doc).ents] == [(0, "PER"), (18, "LOC")]
    tagger = nlp.get_pipe("tagger")
    windows = make_windows([doc, nlp.make_doc("ann")], tagger.tokenizer, **tagger.cfg)
    (pieces, last) = windows.pieces
    letters = [i for i, letter in enumerate(doc.text) if letter != " "]
    assert pieces.starts.tolist() == letters and pieces.ends.tolist() == [i + 1 for i in letters]
    lines = tagger.tokenizer.batch_decode(windows.inputs["input_ids"], skip_special_tokens=False)
    lines = [line.replace(" ", "").replace("[PAD]", "") for line in lines]
    assert {lines[row] for row in pieces.rows[:7]} == {"[CLS]<per>ann</per>sings.[SEP]xsings.[SEP]"}
    assert {lines[row] for row in pieces.rows[7:14]} == {"[CLS]xsings.[SEP]"}
    assert {lines[row] for row in pieces.rows[14:]} == {"[CLS]<loc>rome</loc>sings.[SEP]xsings.[SEP]"}
    assert {lines[row] for row in last.rows} == {"[CLS]ann[SEP]"}


def test_a_long_sentence_has_its_english_in_each_window(nlp):
    tagger = nlp.get_pipe("tagger")
    text = "abcdefghij " * 20
    doc = with_english(nlp.make_doc(text), (220, "Ann.", [("Ann", "PER")]))
    windows = make_windows([doc], tagger.tokenizer, **tagger.cfg)
    (pieces,) = windows.pieces
    assert pieces.starts.tolist() == [i for i, letter in enumerate(text) if letter != " "]
    assert len(windows.inputs["input_ids"]) > 5
    starts = windows.inputs["input_ids"][:, :12].tolist()
    assert all(start == starts[0] for start in starts)
    assert nlp(doc).text == text


@pytest.mark.parametrize("text", ["", " ", "\n\n", "😀"])
@pytest.mark.parametrize("english", ["", " ", "\n", "😀", "Ann " * 100])
def test_any_text(nlp, text, english):
    doc = nlp(with_english(nlp.make_doc(text), (len(text), english, [])))
    assert doc.text == text


def test_entities_are_marked(nlp):
    doc = with_english(
        nlp.make_doc("x"),
        (
            1,
            "The University of Rome\n met Ann.",
            [("Rome", "LOC"), ("University of Rome", "ORG"), ("Ann", "PER")],
        ),
    )
    (sentence,) = doc._.eat["sentences"]
    marked = "The <ORG> University of Rome </ORG> met <PER> Ann </PER>."
    assert marked_english(sentence) == marked
    sentence["entities"] *= 2  # as of a name that the source has twice
    assert marked_english(sentence) == marked
    sentence["english"] = None
    assert marked_english({**sentence, "entities": []}) == ""


def test_training_data_keeps_its_english(nlp, tmp_path):
    docs = [case(nlp, *one) for one in CASES]
    DocBin(store_user_data=True, docs=docs).to_disk(tmp_path / "a.spacy")
    examples = list(make_soft_labels(tmp_path, keep_english=True)(nlp))
    assert [marked_english(e.predicted._.eat["sentences"][0]) for e in examples[:3]] == [
        "<PER> Ann </PER> sings.",
        "<LOC> Rome </LOC> sings.",
        "It sings.",
    ]
    assert examples[3].predicted._.eat is None
    assert [byte_length(example) for example in examples] == [18, 19, 17, 8]
    assert all(example.predicted._.eat is None for example in make_soft_labels(tmp_path)(nlp))


def test_other_english_other_scores(nlp):
    """What was read is not kept from one English to the next."""
    tagger = nlp.get_pipe("tagger")
    one, other = (tagger.predict([case(nlp, *pair)])[0].tags.rows for pair in CASES[:2])
    again = tagger.predict([case(nlp, *CASES[0])])[0].tags.rows
    assert np.array_equal(one, again) and not np.allclose(one, other)
