"""`eat_token_classifier` on a tiny encoder: it learns, is saved without pickles, reads long docs."""

import itertools
import json
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from spacy_eat.components import token_classifier  # noqa: E402
from spacy_eat.components.token_classifier import (  # noqa: E402
    TokenClassifier,
    _fill,
    _first_pieces,
    decode,
    make_windows,
)
from spacy_eat.encoders import quantized  # noqa: E402
from spacy_eat.encoders.trained import Base, write_base, write_trained  # noqa: E402
from spacy_eat.tags import TagProbabilities, set_tags, tags_of  # noqa: E402

from ..bert import learn_by_heart, tiny_bert  # noqa: E402

TEXTS = [
    ("Ann met Bob in Rome.", [(0, 3, "PER"), (8, 11, "PER"), (15, 19, "LOC")]),
    ("In Rome Ann sings.", [(3, 7, "LOC"), (8, 11, "PER")]),
    ("Bob sings in Oslo.", [(0, 3, "PER"), (13, 17, "LOC")]),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT with random weights and a tokenizer of letters, as a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz.?"
    config = tiny_bert(folder, [*letters, *(f"##{letter}" for letter in letters)], layers=2)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def nlp(encoder):
    """A pipeline that has learnt the texts by heart."""
    nlp = spacy.blank("en")
    config = {"encoder": encoder, "casing": True, "max_length": 48}
    nlp.add_pipe("eat_token_classifier", name="ner", config=config)
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": entities}) for text, entities in TEXTS]
    learn_by_heart(nlp, examples, 60)
    return nlp


def found(doc):
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def test_learns(nlp):
    assert nlp.get_pipe("ner").labels == ("LOC", "PER")
    assert [found(doc) for doc in nlp.pipe(text for text, _ in TEXTS)] == [entities for _, entities in TEXTS]
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": entities}) for text, entities in TEXTS]
    scores = nlp.evaluate(examples)
    assert scores["ents_f"] == 1.0
    assert set(scores["ents_per_type"]) == {"LOC", "PER"}


def test_saved_without_pickles_and_loaded(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    files = {
        file.relative_to(tmp_path / "ner").as_posix()
        for file in (tmp_path / "ner").rglob("*")
        if file.is_file()
    }
    assert {"cfg", "model/config.json", "model/model.safetensors", "model/tokenizer.json"} <= files
    header = (tmp_path / "ner/model/model.safetensors").read_bytes()
    tensors = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert {tensor["dtype"] for name, tensor in tensors.items() if name != "__metadata__"} == {"F16"}
    for file in tmp_path.rglob("*"):
        assert not (file.is_file() and file.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04", b"PK"))
    copy = spacy.load(tmp_path)
    assert [found(copy(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]


def test_what_is_less_likely_is_in_the_group_alone(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    text = "Ann Bob Rome Oslo sings."
    settings = {"components.ner.spans_key": "all"}
    all_of_it = spacy.load(tmp_path, config=settings)(text)
    scores = all_of_it.spans["all"].attrs["scores"]
    assert len(scores) == len(all_of_it.ents) > 1
    middle = float(np.sort(scores)[-2:].mean())
    doc = spacy.load(tmp_path, config={**settings, "components.ner.min_score": middle})(text)
    assert [ent.start for ent in doc.ents] == [all_of_it.spans["all"][int(scores.argmax())].start]
    assert len(doc.spans["all"]) == len(scores)
    with pytest.raises(ValueError, match=r"between 0\.0 and 1\.0, not 2"):
        TokenClassifier(nlp.vocab, min_score=2)


def test_bytes(nlp, encoder):
    copy = TokenClassifier(nlp.vocab, encoder="not needed").from_bytes(nlp.get_pipe("ner").to_bytes())
    for text, entities in TEXTS:
        assert found(copy(nlp.make_doc(text))) == entities


def test_batches_change_nothing(nlp):
    texts = [" ".join(text for text, _ in TEXTS[: n % 3 + 1]) for n in range(50)]
    assert list(map(found, nlp.pipe(texts, batch_size=50))) == [found(nlp(text)) for text in texts]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "😀", "Ann \n  ", "\u200b", "ａ" * 500])
def test_any_text(nlp, text):
    doc = nlp(text)
    assert doc.text == text
    assert all(ent.text.strip() for ent in doc.ents)


def test_in_8_bits_it_finds_the_same(nlp, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path)
    quick = spacy.load(tmp_path, config={"components.ner.runtime": "ctranslate2"})
    texts = [*(text for text, _ in TEXTS), " ".join(text for text, _ in TEXTS * 3), "", "😀"]
    assert [found(doc) for doc in quick.pipe(texts)] == [found(doc) for doc in nlp.pipe(texts)]
    assert [found(quick(text)) for text in texts] == [found(nlp(text)) for text in texts]
    for copy in (pickle.loads(pickle.dumps(quick)), from_bytes(quick)):
        assert [found(doc) for doc in copy.pipe(texts)] == [found(doc) for doc in nlp.pipe(texts)]
    one, other = (pipe.get_pipe("ner").predict([pipe.make_doc(texts[0])])[0] for pipe in (quick, nlp))
    assert not np.array_equal(one.tags.rows, other.tags.rows)  # it is computed in another way
    np.testing.assert_allclose(one.tags.rows, other.tags.rows, atol=0.05)


def from_bytes(nlp):
    return type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())


def test_in_8_bits_it_is_written_as_it_was_read(nlp, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path / "one")
    quick = spacy.load(tmp_path / "one", config={"components.ner.runtime": "ctranslate2"})
    quick.to_disk(tmp_path / "one")  # over itself
    quick.to_disk(tmp_path / "two")
    from_bytes(quick).to_disk(tmp_path / "three")
    files = [file for file in (tmp_path / "one" / "ner").rglob("*") if file.is_file()]
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= {file.name for file in files}
    for file in files:
        for other in ("two", "three"):
            copy = tmp_path / other / file.relative_to(tmp_path / "one")
            assert copy.read_bytes() == file.read_bytes()


IN_8_BITS = """
import pickle, sys
torch = sys.argv[1] == "with torch"
if not torch:
    for name in ("torch", "transformers"):
        sys.modules[name] = None  # as if it were not installed
import spacy
if __name__ == "__main__":
    nlp = spacy.load(sys.argv[2])
    texts = sys.argv[3:]
    found = lambda docs: [[(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents] for doc in docs]
    one = found(nlp.pipe(texts))
    # Workers that are forked from here have none of CTranslate2's threads.
    assert found(nlp.pipe(texts, n_process=2, batch_size=1)) == one
    assert found(pickle.loads(pickle.dumps(nlp)).pipe(texts)) == one
    example = spacy.training.Example.from_dict(nlp.make_doc("a"), {"entities": []})
    try:
        nlp.update([example])
    except ImportError as error:
        assert not torch and 'pip install "spacy-eat[' in str(error)
    else:
        assert torch
    print(one)
"""


@pytest.mark.parametrize("torch", ["with torch", "without"])
def test_in_8_bits_it_needs_neither_torch_nor_transformers(nlp, tmp_path, torch):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    config["components"]["ner"]["runtime"] = "ctranslate2"
    config.to_disk(tmp_path / "config.cfg")
    command = [sys.executable, "-c", IN_8_BITS, torch, str(tmp_path), *(text for text, _ in TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([entities for _, entities in TEXTS])


def test_in_8_bits_weights_of_other_labels_are_told(nlp, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path)
    cfg = srsly.read_json(tmp_path / "ner" / "cfg")
    srsly.write_json(tmp_path / "ner" / "cfg", {**cfg, "labels": [*cfg["labels"], "MORE"]})
    with pytest.raises(ValueError, match="tags apart, but 'ner' has"):
        spacy.load(tmp_path, config={"components.ner.runtime": "ctranslate2"})
    (tmp_path / "ner" / "model" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"there is no .*tokenizer\.json"):
        spacy.load(tmp_path, config={"components.ner.runtime": "ctranslate2"})


def test_in_8_bits_it_finds_what_it_has_learnt_since(nlp, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp.to_disk(tmp_path)
    quick = spacy.load(tmp_path, config={"components.ner.runtime": "ctranslate2"})
    text, _ = TEXTS[0]
    assert found(quick(text))
    optimizer = quick.resume_training()
    optimizer.learn_rate = 0.01
    nothing = [Example.from_dict(quick.make_doc(text), {"entities": []})]
    for _ in range(30):
        quick.update(nothing, sgd=optimizer)
    assert not found(quick(text))
    quick.to_disk(tmp_path / "again")
    assert not found(spacy.load(tmp_path / "again")(text))


def test_long_docs_are_read_in_windows(nlp):
    tokenizer = nlp.get_pipe("ner").model.layers[0].attrs["tokenizer"]
    doc = nlp.make_doc(" ".join("abcdefghij"[i % 10] * 3 for i in range(100)))
    windows = make_windows([doc], tokenizer, casing=False, max_length=48)
    count, length = windows.inputs["input_ids"].shape
    assert length == 48 and count > 6
    (pieces,) = windows.pieces
    has_piece, first = _first_pieces(doc, pieces)
    assert has_piece.all()
    firsts = windows.inputs["input_ids"][pieces.rows[first], pieces.columns[first]].tolist()
    assert tokenizer.convert_ids_to_tokens(firsts) == [token.text[0] for token in doc]
    # Away from the ends of the doc, no token is read at the edge of a window.
    assert all(5 < column < 42 for column in pieces.columns[first][15:-15])


def test_cases_are_told(nlp):
    tokenizer = nlp.get_pipe("ner").model.layers[0].attrs["tokenizer"]
    windows = make_windows([nlp.make_doc("ann Ann ANN aNn . A")], tokenizer, casing=True, max_length=48)
    (pieces,) = windows.pieces
    types = windows.inputs["token_type_ids"][pieces.rows, pieces.columns]
    words = ["ann", "Ann", "ANN", "aNn", ".", "A"]
    assert types.tolist() == [
        kind for word, kind in zip(words, (0, 1, 2, 3, 0, 1), strict=True) for _ in word
    ]


def test_tokens_without_known_gold_do_not_count(nlp):
    ner = nlp.get_pipe("ner")
    predicted = Doc(nlp.vocab, words=["AnnBob", "sings"])
    reference = Doc(
        nlp.vocab, words=["Ann", "Bob", "sings"], spaces=[False, True, False], ents=["B-PER", "O", "O"]
    )
    example = Example(predicted, reference)
    _, gradient = ner.get_loss([example], ner.model.predict([predicted]))
    assert not gradient[:6].any()  # the letters of AnnBob
    assert gradient[6].any()
    assert not gradient[7:].any()  # only the first piece of a token counts


def test_entities_that_are_there_stay(nlp):
    doc = nlp.make_doc(TEXTS[0][0])
    doc.ents = [doc.char_span(8, 19, label="EVENT")]
    assert found(nlp.get_pipe("ner")(doc)) == [(0, 3, "PER"), (8, 19, "EVENT")]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer whose pieces are words, also Chinese ones."""
    folder = tmp_path_factory.mktemp("words")
    vocab = {piece: i for i, piece in enumerate(["[UNK]", "ann", "met", "在", "北京", "大", "学", "bob"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram([(p, -1.0) for p in vocab], unk_id=0))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), unk_token="[UNK]", pad_token="[UNK]"
    )


def test_tokens_within_a_word_piece_go_with_it(nlp, words):
    """Where pieces are words and tokens are characters, only the first character of a word has a piece."""
    doc = Doc(nlp.vocab, words=list("annmet"), spaces=[False, False, True, False, False, False])
    (pieces,) = make_windows([doc], words, casing=False, max_length=48).pieces
    has_piece, first = _first_pieces(doc, pieces)
    assert has_piece.tolist() == [True, False, False, True, False, False]
    assert first[has_piece].tolist() == [0, 1]
    assert _fill(doc, ["B-PER", None, None, "O", None, None]) == ["B-PER", "I-PER", "I-PER", "O", "O", "O"]
    assert _fill(doc, [None, "B-PER", None, "I-PER", None, "B-LOC"])[:1] == ["O"]


@pytest.fixture
def by_mean(nlp):
    """A component with the tags O, B-LOC, I-LOC, B-ORG, I-ORG."""
    component = TokenClassifier(nlp.vocab, pooling="mean")
    component.cfg["labels"] = ["LOC", "ORG"]
    return component


def mean_of(by_mean, words, doc, rows):
    """What is found where the pieces have these probabilities: {tag: probability, the rest is O}."""
    (pieces,) = make_windows([doc], words, casing=False, max_length=48).pieces
    probabilities = np.zeros((len(rows), 5), dtype="float32")
    for line, row in zip(probabilities, rows, strict=True):
        for tag, value in row.items():
            line[by_mean.tags.index(tag)] = value
        line[0] = 1 - line.sum()
    return by_mean._find(doc, pieces, probabilities).entities


def test_the_score_knows_of_the_edges(nlp, words, by_mean):
    doc = Doc(nlp.vocab, words=list("在北京大学"), spaces=[False] * 5)
    inside = [{"B-ORG": 0.9}, {"I-ORG": 0.8}, {"I-ORG": 0.7}]
    (found,) = mean_of(by_mean, words, doc, [{"B-ORG": 0.4}, *inside])  # it may begin with 在
    assert found[:3] == (1, 5, "ORG")
    assert found.score == pytest.approx(0.6, abs=1e-5)
    (found,) = mean_of(by_mean, words, doc, [{}, *inside[:2], {"I-ORG": 0.45}])  # it may go on to 学
    assert found[:3] == (1, 4, "ORG")
    assert found.score == pytest.approx(0.55, abs=1e-5)


def test_tells_where_a_token_starts_within_a_piece(nlp, words, by_mean):
    doc = Doc(nlp.vocab, words=list("在北京大学"), spaces=[False] * 5)
    (pieces,) = make_windows([doc], words, casing=False, max_length=48).pieces
    assert by_mean._find(doc, pieces, np.full((4, 5), 0.2)).within == [2]  # 北京 is one piece


def test_characters_take_the_tag_of_the_piece_that_covers_them(nlp, words, by_mean):
    doc = Doc(nlp.vocab, words=list("在北京大学"), spaces=[False] * 5)
    rows = [{}, {"B-ORG": 0.9}, {"I-ORG": 0.8}, {"I-ORG": 0.7, "I-LOC": 0.2}]
    (found,) = mean_of(by_mean, words, doc, rows)
    assert found[:3] == (1, 5, "ORG")
    assert found.score == pytest.approx(0.7, abs=1e-5)  # that of its least certain token


def test_tokens_take_the_mean_of_their_pieces(nlp, words, by_mean):
    doc = Doc(nlp.vocab, words=["在", "北京大学", "met"], spaces=[False, True, False])
    # The second piece alone would be O, and cut the name.
    rows = [{}, {"B-ORG": 0.9}, {"I-ORG": 0.4}, {"I-ORG": 0.8}, {}]
    (found,) = mean_of(by_mean, words, doc, rows)
    assert found[:3] == (1, 2, "ORG")
    assert found.score == pytest.approx(0.7, abs=1e-5)
    # Two tokens that both begin an entity are two.
    doc = Doc(nlp.vocab, words=["ann", "met", "bob"])
    found = mean_of(by_mean, words, doc, [{"B-LOC": 0.9}, {"B-LOC": 0.8, "I-LOC": 0.1}, {"I-LOC": 0.6}])
    assert [entity[:3] for entity in found] == [(0, 1, "LOC"), (1, 3, "LOC")]


def test_gold_by_pieces_whatever_the_tokens(nlp, words, by_mean):
    text = "在北京大学 met"
    reference = Doc(nlp.vocab, words=["在", "北京", "大学", "met"], spaces=[False, False, True, False])
    reference.set_ents([reference.char_span(1, 5, label="ORG")], missing=[reference[3:4]])
    example = Example(Doc(nlp.vocab, words=["在北京大学", "met"], spaces=[True, False]), reference)
    assert example.predicted.text == reference.text == text
    (pieces,) = make_windows([reference], words, casing=False, max_length=48).pieces
    tags = [by_mean.tags[i] if i >= 0 else None for i in by_mean._gold_by_piece(example, pieces)]
    assert tags == ["O", "B-ORG", "I-ORG", "I-ORG", None]
    other = Example(Doc(nlp.vocab, words=["met"]), reference)
    other.reference = reference
    with pytest.raises(ValueError, match="two different texts"):
        by_mean._gold_by_piece(other, pieces)


def test_learns_from_characters_and_saves_what_was_trained(nlp, encoder, tmp_path, monkeypatch):
    """On an encoder that stands for the embedded one: only what was trained is saved, and all comes back."""
    base = {"embedded": encoder}
    for module in (token_classifier, quantized):
        monkeypatch.setattr(module, "encoder_folder", base.__getitem__)
    pipeline = spacy.blank("zh")
    config = {
        "encoder": "embedded",
        "frozen_layers": 1,
        "pooling": "mean",
        "spans_key": "tagger",
        "max_length": 48,
    }
    pipeline.add_pipe("eat_token_classifier", name="ner", config=config)
    examples = [Example.from_dict(pipeline.make_doc(text), {"entities": ents}) for text, ents in TEXTS]
    optimizer = pipeline.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(80):
        pipeline.update(examples, sgd=optimizer)
    assert [found(pipeline(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]
    doc = pipeline(TEXTS[0][0])
    assert [span.text for span in doc.spans["tagger"]] == ["Ann", "Bob", "Rome"]
    scores = doc.spans["tagger"].attrs["scores"]
    assert scores.shape == (3,) and all(0.5 < score <= 1 for score in scores)

    pipeline.to_disk(tmp_path / "all")
    assert [file.name for file in (tmp_path / "all/ner/model").iterdir()] == ["model.safetensors"]
    header = (tmp_path / "all/ner/model/model.safetensors").read_bytes()
    tensors = set(json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")]))
    layers = {name.split("layer.")[1][0] for name in tensors if "layer." in name}
    assert layers == {"1"} and "classifier.weight" in tensors
    assert not any("embeddings" in name for name in tensors)
    copy = spacy.load(tmp_path / "all")
    assert [found(copy(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]
    # What goes on from there begins with what was learnt, and saves the same.
    more = spacy.blank("zh")
    more.add_pipe("eat_token_classifier", name="ner", config={**config, "encoder": str(tmp_path / "all/ner")})
    more.initialize(lambda: examples)
    assert [found(more(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]
    more.to_disk(tmp_path / "more")
    assert [file.name for file in (tmp_path / "more/ner/model").iterdir()] == ["model.safetensors"]
    if find_spec("ctranslate2"):
        settings = {"components.ner.runtime": "ctranslate2"}
        quick = spacy.load(tmp_path / "all", config=settings)
        for own in (quick, pickle.loads(pickle.dumps(quick))):
            assert [found(own(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]
        base["embedded"] = str(tmp_path / "smaller")
        (tmp_path / "smaller").mkdir()
        config = tiny_bert(tmp_path / "smaller", [], layers=1)
        transformers.BertModel(config).save_pretrained(tmp_path / "smaller")
        with pytest.raises(ValueError, match=r"do not fit the encoder: encoder\.layer\.1"):
            spacy.load(tmp_path / "all", config=settings)


@pytest.fixture
def soft_example(nlp):
    """Ann is probably a person, Rome may be a place or one; "met" is not known."""
    ner = nlp.get_pipe("ner")
    text, _ = TEXTS[0]
    example = Example.from_dict(nlp.make_doc(text), {"entities": []})
    rows = np.zeros((3, len(ner.tags)), dtype="float32")
    rows[0, [0, ner.tags.index("B-PER")]] = 0.2, 0.8
    rows[2, [ner.tags.index("B-PER"), ner.tags.index("B-LOC")]] = 0.5, 0.25
    found = TagProbabilities(np.array([0, 4, 15]), np.array([3, 7, 19]), rows, ner.tags)
    set_tags(example.reference, found)
    return example


def test_learns_probabilities_of_tags(nlp, soft_example):
    """The gradient is zero where the model thinks what it is to think, and where nothing is known."""
    ner = nlp.get_pipe("ner")
    scores = ner.model.predict([soft_example.predicted])
    probabilities = ner.model.ops.softmax(scores.tags)
    pieces = [
        soft_example.predicted.text[s:e]
        for s, e in zip(scores.pieces[0].starts, scores.pieces[0].ends, strict=True)
    ]
    rome = pieces.index("R")
    wanted = np.zeros_like(probabilities)
    wanted[0] = ner.tags.index("O") == np.arange(len(ner.tags))
    wanted[0, [0, ner.tags.index("B-PER")]] = 0.2, 0.8
    scores.tags[0] = np.log(wanted[0] + 1e-6)
    _, gradient = ner.get_loss([soft_example], scores)
    assert np.allclose(gradient[0], 0.0, atol=1e-4)
    assert not gradient[3:7].any()  # "met"
    # Three quarters of Rome are known, so three quarters of its gradient count.
    loc, per = ner.tags.index("B-LOC"), ner.tags.index("B-PER")
    known = 3 + 4  # letters of Ann and of Rome
    assert gradient[rome, per] == pytest.approx((0.75 * probabilities[rome, per] - 0.5) / known, abs=1e-4)
    assert gradient[rome, loc] == pytest.approx((0.75 * probabilities[rome, loc] - 0.25) / known, abs=1e-4)


class Recorder:
    """A denoiser that keeps what it is given, and lets only the first piece count."""

    needs_vectors = True

    def __call__(self, targets, probabilities, vectors):
        self.given = targets.shape, probabilities.shape, vectors.shape
        return np.where(np.arange(len(targets))[:, None] == 0, targets, 0.0)


def test_a_denoiser_changes_the_targets(nlp, encoder):
    pipeline = spacy.blank("en")
    recorder = Recorder()
    ner = TokenClassifier(pipeline.vocab, "ner", encoder=encoder, max_length=48, denoiser=recorder)
    examples = [Example.from_dict(pipeline.make_doc(text), {"entities": ents}) for text, ents in TEXTS]
    ner.initialize(lambda: examples)
    scores, backprop = ner.model.begin_update([example.predicted for example in examples])
    _, gradient = ner.get_loss(examples, scores)
    letters = len(scores.tags)
    assert recorder.given == ((letters, 5), (letters, 5), (letters, 32))
    assert gradient[0].any() and not gradient[1:].any()
    backprop(gradient)


def test_denoisers_from_a_config(encoder):
    nlp = spacy.blank("en")
    config = {"encoder": encoder, "denoiser": {"@misc": "spacy_eat.Prototypes.v1", "momentum": 0.9}}
    ner = nlp.add_pipe("eat_token_classifier", name="ner", config=config)
    assert ner.denoiser.momentum == 0.9
    examples = [Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in TEXTS]
    optimizer = nlp.initialize(lambda: examples)
    assert nlp.update(examples, sgd=optimizer)["ner"] > 0
    assert ner.denoiser.prototypes.shape == (5, 32)


def test_keeps_the_probabilities_of_tags(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    keeping = spacy.load(tmp_path, config={"components.ner.keep_tags": True})
    text, _ = TEXTS[0]
    assert tags_of(nlp(text)) is None
    (doc,) = keeping.pipe([text])
    kept = tags_of(doc)
    assert kept.tags == keeping.get_pipe("ner").tags
    assert kept.rows.sum(axis=1) == pytest.approx(np.ones(len(kept.rows)), abs=0.01)
    assert kept.rows[0].argmax() == kept.tags.index("B-PER")


def test_vectors_of_pieces(nlp):
    ner = nlp.get_pipe("ner")
    docs = [nlp.make_doc(text) for text, _ in TEXTS]
    for doc, (starts, ends, vectors) in zip(docs, ner.vectors(docs), strict=True):
        assert "".join(doc.text[s:e] for s, e in zip(starts, ends, strict=True)) == doc.text.replace(" ", "")
        assert vectors.shape == (len(starts), 32)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(starts)))


def test_goes_on_from_the_tagger_that_comes_with_the_package(nlp, tmp_path, monkeypatch):
    nlp.to_disk(tmp_path)
    monkeypatch.setattr(token_classifier, "SOURCE_TAGGER", tmp_path / "ner")
    more = spacy.blank("en")
    config = {"encoder": "embedded_tagger", "casing": True, "max_length": 48}
    more.add_pipe("eat_token_classifier", name="ner", config=config)
    more.initialize(lambda: [Example.from_dict(more.make_doc(t), {"entities": e}) for t, e in TEXTS])
    assert [found(more(text)) for text, _ in TEXTS] == [entities for _, entities in TEXTS]


def test_begins_from_a_tuned_encoder(encoder, tmp_path):
    tuned = transformers.BertModel.from_pretrained(encoder)
    tuned.requires_grad_(False)
    tuned.encoder.layer[1].requires_grad_(True)
    tuned.encoder.layer[1].output.dense.weight.data.fill_(0.25)
    write_trained(tuned, tmp_path / "tuned")
    write_base(Base(encoder, 2), tmp_path / "tuned")

    def initialized(frozen):
        nlp = spacy.blank("en")
        config = {"encoder": str(tmp_path / "tuned"), "frozen_layers": frozen, "max_length": 48}
        nlp.add_pipe("eat_token_classifier", name="ner", config=config)
        nlp.initialize(lambda: [Example.from_dict(nlp.make_doc(t), {"entities": e}) for t, e in TEXTS])
        return nlp

    nlp = initialized(1)
    module = nlp.get_pipe("ner")._module
    assert (module.bert.encoder.layer[1].output.dense.weight == 0.25).all()
    lower = "encoder.layer.0.output.dense.weight"
    assert module.bert.get_parameter(lower).equal(tuned.get_parameter(lower))
    assert not module.bert.get_parameter(lower).requires_grad
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "tuned")  # the pipeline does not need it
    copy = spacy.load(tmp_path / "pipeline").get_pipe("ner")._module
    assert (copy.bert.encoder.layer[1].output.dense.weight == 0.25).all()

    tuned.encoder.layer[0].requires_grad_(True)
    write_trained(tuned, tmp_path / "tuned")
    write_base(Base(encoder, 2), tmp_path / "tuned")
    with pytest.raises(ValueError, match="`frozen_layers` is too high"):
        initialized(1)


def test_frozen_layers_are_fewer_than_the_encoder_has(encoder):
    nlp = spacy.blank("en")
    nlp.add_pipe("eat_token_classifier", config={"encoder": encoder, "frozen_layers": 2})
    example = Example.from_dict(nlp.make_doc("Ann"), {"entities": [(0, 3, "PER")]})
    with pytest.raises(ValueError, match=r"`frozen_layers` is 2.*has 2 layers"):
        nlp.initialize(lambda: [example])


def test_white_space_is_no_end_of_an_entity(nlp):
    doc = nlp.make_doc("New  York  .")
    assert [token.text for token in doc] == ["New", " ", "York", " ", "."]
    tags = _fill(doc, ["B-LOC", None, "I-LOC", None, "O"])
    assert tags == ["B-LOC", "I-LOC", "I-LOC", "O", "O"]


def test_viterbi_finds_the_best_valid_sequence():
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores = generator.normal(size=(4, 5))  # O, B-X, I-X, B-Y, I-Y
        valid = [
            tags
            for tags in itertools.product(range(5), repeat=4)
            if all(
                tag in (0, 1, 3) or before in (tag - 1, tag)
                for before, tag in zip((0, *tags), tags, strict=False)
            )
        ]
        best = max(valid, key=lambda tags: sum(scores[i, tag] for i, tag in enumerate(tags)))
        assert decode(scores) == list(best)


def test_errors_name_the_remedy(encoder):
    examples = [Example.from_dict(spacy.blank("en").make_doc("Ann"), {"entities": [(0, 3, "PER")]})]
    nlp = spacy.blank("en")
    nlp.add_pipe("eat_token_classifier", config={"encoder": "/no/such/folder"})
    with pytest.raises(ValueError, match="the path of a folder"):
        nlp.initialize(lambda: examples)
    with pytest.raises(ValueError, match="initialize"):
        nlp("Ann")
    nlp = spacy.blank("en")
    nlp.add_pipe("eat_token_classifier", config={"encoder": encoder})
    empty = [Example.from_dict(nlp.make_doc("no one"), {"entities": []})]
    with pytest.raises(ValueError, match="no entity in the training data"):
        nlp.initialize(lambda: empty)


@pytest.mark.parametrize("name", ["en_ner_trf", "en_ner_sm", "zh_student_trf", "ja_student_trf"])
def test_configs(name, request):
    config = Config().from_disk(request.config.rootpath / "configs" / f"{name}.cfg")
    nlp = load_model_from_config(config, auto_fill=True)
    assert "ner" in nlp.pipe_names
