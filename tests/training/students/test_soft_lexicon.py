"""The layer that reads words of a lexicon: which it finds, what it makes of them, and that it learns."""

import numpy as np
import pytest
import spacy
from spacy.ml.models.tok2vec import MultiHashEmbed
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vectors import Vectors

from spacy_eat.training.students.soft_lexicon import find_words, make_soft_lexicon

WORDS = ["北", "京", "北京", "北京大学", "大学", "京大", "京大学生会"]


@pytest.fixture
def nlp():
    nlp = spacy.blank("zh")
    data = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype("float16")
    nlp.vocab.vectors = Vectors(data=data, keys=WORDS)
    return nlp


def words(doc: Doc, longest: int = 8) -> list[list[str]]:
    return [[WORDS[row] if row >= 0 else "" for row in rows] for rows in find_words(doc, longest)]


def test_the_longest_word_at_each_place(nlp):
    assert words(nlp("在北京大学")) == [
        ["", "", "", ""],
        ["北京大学", "", "", "北"],
        ["京大", "北京大学", "北京", "京"],
        ["大学", "北京大学", "京大", ""],
        ["", "", "北京大学", ""],
    ]
    assert words(nlp("北京大学"), longest=2)[1] == ["京大", "", "北京", "京"]


def test_tokens_that_are_words(nlp):
    doc = Doc(nlp.vocab, ["北京", "大学"], spaces=[False, False])
    assert words(doc) == [["北京大学", "", "", "北京"], ["", "", "北京大学", "大学"]]


def test_words_are_found_by_norm(nlp):
    doc = nlp("臺京")
    doc[0].norm_ = "北"
    assert words(doc)[0] == ["北京", "", "", "北"]


def layer():
    return make_soft_lexicon(6, MultiHashEmbed(6, ["NORM"], [50], include_static_vectors=False))


def test_what_is_known_of_words_reaches_the_output(nlp):
    docs = [nlp("在北京大学"), nlp(""), nlp("京")]
    model = layer()
    model.initialize(X=docs)
    before = model.predict(docs)
    assert [y.shape for y in before] == [(5, 6), (0, 6), (1, 6)]
    for doc, expected in zip(docs, before, strict=True):
        assert np.allclose(model.predict([doc])[0], expected, atol=1e-6)
        assert np.allclose(layer().from_bytes(model.to_bytes()).predict([doc])[0], expected, atol=1e-6)
    nlp.vocab.vectors.data[WORDS.index("北京大学")] += 1.0
    changed = np.abs(model.predict(docs)[0] - before[0]).max(axis=1)
    assert changed[0] == 0.0 and (changed[1:] > 0.0).all()


def test_vectors_are_needed():
    with pytest.raises(ValueError, match="needs static vectors"):
        layer().initialize(X=[spacy.blank("zh")("北京")])


def test_a_tagger_tells_names_it_has_never_seen_by_their_vectors(tmp_path):
    """Half of the words have one vector and are names; the tagger sees some of either kind."""
    characters = [chr(code) for code in range(0x4E00, 0x4E80)]
    names = ["".join(pair) for pair in zip(characters[:32], characters[32:64], strict=True)]
    others = ["".join(pair) for pair in zip(characters[64:96], characters[96:], strict=True)]
    config = {
        "@architectures": "spacy_eat.SoftLexicon.v1",
        "width": 16,
        "embed": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 16,
            "attrs": ["SHAPE"],
            "rows": [10],
            "include_static_vectors": False,
        },
    }
    nlp = spacy.blank("zh")
    nlp.vocab.vectors = Vectors(data=np.array([[1.0, 0.0], [0.0, 1.0]], dtype="f"))
    for row, known in enumerate((names, others)):
        for word in known:
            nlp.vocab.vectors.add(word, row=row)
    encode = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 16,
        "depth": 1,
        "window_size": 1,
        "maxout_pieces": 2,
    }
    tok2vec = {"@architectures": "spacy.Tok2Vec.v2", "embed": config, "encode": encode}
    nlp.add_pipe("ner", config={"model": {"tok2vec": tok2vec}})

    def example(name: str, other: str) -> Example:
        text = f"在{name}见{other}"
        return Example.from_dict(nlp.make_doc(text), {"entities": [(1, 3, "LOC")]})

    seen = [example(*pair) for pair in zip(names[:16], others[:16], strict=True)]
    optimizer = nlp.initialize(lambda: seen)
    optimizer.learn_rate = 0.01
    for _ in range(40):
        nlp.update(seen, sgd=optimizer)
    unseen = [example(*pair) for pair in zip(names[16:], others[16:], strict=True)]
    assert nlp.evaluate(unseen)["ents_f"] == 1.0
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).evaluate(unseen)["ents_f"] == 1.0
