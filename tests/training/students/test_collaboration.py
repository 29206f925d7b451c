"""Model collaboration: labels move towards what a tagger that was trained on other data thinks."""

import json
import shutil

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from spacy_eat.components.source_tagger import SourceTagger  # noqa: E402
from spacy_eat.tags import TagProbabilities, set_tags, tags_of  # noqa: E402
from spacy_eat.training.students.collaboration import make_model_collaboration  # noqa: E402
from spacy_eat.training.students.neighbours import make_neighbour_weights  # noqa: E402

from ...bert import han_tagger  # noqa: E402

TAGS = ["O", "B-LOC", "I-LOC"]
SURE = {tag: row for tag, row in zip(TAGS, np.eye(3).tolist(), strict=True)}
OPEN = [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tagger that is sure that 京 begins a place and 都 goes on with it."""
    return han_tagger(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def apart(weights, tmp_path_factory):
    """The same, with no two pieces at one place, so that each has neighbours of its own."""
    folder = tmp_path_factory.mktemp("apart") / "tagger"
    shutil.copytree(weights, folder)
    kept = safetensors.load_file(folder / "model" / "model.safetensors")
    positions = kept["bert.embeddings.position_embeddings.weight"]
    positions.copy_(torch.randn(positions.shape, generator=torch.Generator().manual_seed(0)) / 4)
    safetensors.save_file(kept, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def labelled(text, rows, tags=TAGS, edges=None):
    """A doc with probabilities, of each character if no edges of pieces are told."""
    doc = spacy.blank("zh").make_doc(text)
    edges = np.array(edges or [(i, i + 1) for i in range(len(text))])
    set_tags(doc, TagProbabilities(edges[:, 0], edges[:, 1], np.array(rows), tags))
    return doc


def rows_of(doc):
    return tags_of(doc).rows


@pytest.mark.parametrize("share", [0.5, 0.1, 0.0, 1.0])
def test_targets_are_mixed_with_what_the_other_tagger_thinks(weights, share):
    doc = labelled("京都京", [SURE["O"], SURE["I-LOC"], OPEN])
    make_model_collaboration(weights, share=share)([doc])
    assert rows_of(doc) == pytest.approx(np.array([[share, 1 - share, 0], [0, 0, 1], OPEN]), abs=2e-3)


def test_the_share_is_a_half_if_none_is_told(weights):
    doc = labelled("京", [SURE["O"]])
    make_model_collaboration(weights)([doc])
    assert rows_of(doc) == pytest.approx(np.array([[0.5, 0.5, 0]]), abs=2e-3)


def test_pieces_of_the_corpus_stay(weights):
    """Longer than the other tagger's, and one of white space, of which it says nothing."""
    doc = labelled("京都 京", [SURE["O"], SURE["O"], SURE["O"]], edges=[(0, 2), (2, 3), (3, 4)])
    make_model_collaboration(weights, share=0.3)([doc])
    found = tags_of(doc)
    assert found.starts.tolist() == [0, 2, 3] and found.ends.tolist() == [2, 3, 4]
    assert found.rows == pytest.approx(np.array([[0.3, 0.7, 0], SURE["O"], [0.3, 0.7, 0]]), abs=2e-3)


def test_a_denoiser_weighs_the_other_tagger_alone(weights):
    seen = []

    def fifth(docs):
        for doc in docs:
            found = tags_of(doc)
            seen.append(found.rows.argmax(axis=1).tolist())
            set_tags(doc, found._replace(rows=found.rows / 5))

    doc = labelled("京都", [SURE["O"], SURE["I-LOC"]])
    make_model_collaboration(weights, denoiser=fifth)([doc])
    assert seen == [[1, 2]]  # what it weighs is what the tagger thinks
    assert rows_of(doc) == pytest.approx(np.array([[0.5, 0.1, 0], [0, 0, 0.6]]), abs=2e-3)


COLLABORATION = """
[reader]
@readers = "spacy_eat.SoftLabels.v1"
path = {path}

[reader.denoisers]

[reader.denoisers.other]
@misc = "spacy_eat.ModelCollaboration.v1"
weights = {weights}

[reader.denoisers.other.denoiser]
@misc = "spacy_eat.NeighbourWeights.v1"
weights = {weights}
neighbours = 3
"""


def test_with_weights_of_neighbours_from_a_config(apart, tmp_path):
    texts = ["京都", "a京都", "京a", "a京都b京", "京府a", "都b"]
    docs = [labelled(text, [SURE["O"]] * len(text)) for text in texts]
    DocBin(store_user_data=True, docs=docs).to_disk(tmp_path / "corpus.spacy")
    settings = {"path": str(tmp_path / "corpus.spacy"), "weights": apart}
    text = COLLABORATION.format(**{name: json.dumps(value) for name, value in settings.items()})
    filled = spacy.registry.fill(Config().from_str(text))  # what `spacy train` does first
    assert filled["reader"]["denoisers"]["other"]["share"] == 0.5
    read = [example.reference for example in spacy.registry.resolve(filled)["reader"](spacy.blank("zh"))]

    tagger = SourceTagger(docs[0].vocab, weights=apart, keep_tags=True, mixed_precision=True)
    plain = [rows_of(doc) for doc in tagger.pipe(docs)]
    make_neighbour_weights(apart, neighbours=3)(docs)
    weighed = [rows_of(doc) for doc in docs]
    assert min(w.sum(axis=1).min() for w in weighed) < 0.9 < min(p.sum(axis=1).min() for p in plain)
    assert [doc.text for doc in read] == texts
    for doc, other in zip(read, weighed, strict=True):
        assert rows_of(doc) == pytest.approx(0.5 * np.array(SURE["O"]) + 0.5 * other, abs=2e-3)


def test_docs_without_probabilities_and_without_text_stay(weights):
    plain, empty = spacy.blank("zh").make_doc("京都"), spacy.blank("zh").make_doc("")
    set_tags(empty, TagProbabilities(np.zeros(0), np.zeros(0), np.zeros((0, 3)), TAGS))
    collaborate = make_model_collaboration(weights)
    collaborate([plain, empty])
    doc = labelled("京", [SURE["O"]])
    collaborate([plain, empty, doc])
    assert tags_of(plain) is None and not len(rows_of(empty))
    assert rows_of(doc)[0, 1] == pytest.approx(0.5, abs=2e-3)


def test_tags_in_another_order(weights):
    doc = labelled("京", [[0.0, 0.0, 1.0]], tags=["B-LOC", "I-LOC", "O"])
    make_model_collaboration(weights)([doc])
    assert tags_of(doc).tags == TAGS
    assert rows_of(doc) == pytest.approx(np.array([[0.5, 0.5, 0]]), abs=2e-3)


@pytest.mark.parametrize(
    "tags, labels",
    [
        (["O", "B-PER", "I-PER"], "PER"),
        ([*TAGS, "B-PER", "I-PER"], "LOC, PER"),
        (["O"], "none"),
    ],
)
def test_labels_of_another_set(weights, tags, labels):
    doc = labelled("京", [np.eye(len(tags))[0]], tags=tags)
    before = rows_of(doc)
    with pytest.raises(ValueError, match=f"a tagger for LOC, but the labels of the corpus are {labels}\\."):
        make_model_collaboration(weights)([doc])
    assert (rows_of(doc) == before).all() and tags_of(doc).tags == tags


def test_a_folder_without_a_tagger(tmp_path):
    with pytest.raises(ValueError, match=r"`weights` of 'spacy_eat\.ModelCollaboration\.v1' is .*no tagger"):
        make_model_collaboration(str(tmp_path))([labelled("京", [SURE["O"]])])


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match=r"`share` of spacy_eat\.ModelCollaboration\.v1 is between"):
        make_model_collaboration("other", share=share)


def test_a_denoiser_that_is_no_block():
    with pytest.raises(ValueError, match=r"`denoiser` of spacy_eat\.ModelCollaboration\.v1 is a block"):
        make_model_collaboration("other", denoiser="NeighbourWeights")
