"""`eat_source_tagger`: a trained token classifier, found by its folder, in pipelines of any language."""

import pickle
import shutil

import numpy as np
import pytest
import spacy

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.components.source_tagger import SPANS_KEY  # noqa: E402

from ..bert import SPECIAL, tiny_bert  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz."


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tagger of letters and Han characters, with weights set by hand: 京 begins a LOC, 都 is inside."""
    folder = tmp_path_factory.mktemp("tagger")
    pieces = [*LETTERS, *"京都府"]
    config = tiny_bert(folder, pieces, layers=1, num_labels=3)
    model = transformers.BertForTokenClassification(config)
    for weight in model.parameters():
        weight.data.zero_()
    for name, weight in model.named_parameters():
        if "LayerNorm.weight" in name:
            weight.data.fill_(1.0)
    for tag, piece in enumerate(("府", "京", "都")):
        for other, row in enumerate(model.bert.embeddings.word_embeddings.weight.data):
            row[tag] = float(other == len(SPECIAL) + pieces.index(piece))
    for tag in range(3):
        model.classifier.weight.data[tag, tag] = 1.0
    model.classifier.bias.data[0] = 0.5
    model.save_pretrained(folder)
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_token_classifier", name="tagger", config={"encoder": str(folder), "pooling": "mean"})
    nlp.get_pipe("tagger").initialize(lambda: [], labels=["LOC"])
    nlp.to_disk(folder / "pipeline")
    shutil.rmtree(folder / "pipeline" / "vocab")
    return str(folder / "pipeline" / "tagger")


@pytest.mark.parametrize("lang", ["zh", "xx", "en"])
def test_finds_entities_with_scores_on_any_tokenizer(lang, weights):
    nlp = spacy.blank(lang)
    nlp.add_pipe("eat_source_tagger", config={"weights": weights})
    (doc,) = nlp.pipe(["a 京都 b"])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("京都", "LOC")]
    group = doc.spans[SPANS_KEY]
    assert [span.text for span in group] == ["京都"]
    assert group.attrs["scores"].shape == (1,)
    assert 0.5 < group.attrs["scores"][0] < 1
    assert nlp.get_pipe("eat_source_tagger").labels == ("LOC",)


def test_a_document_keeps_scores_through_bytes(weights):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "spans_key": "mine"})
    doc = nlp("a 京都 b")
    copy = spacy.tokens.Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert np.allclose(copy.spans["mine"].attrs["scores"], doc.spans["mine"].attrs["scores"])


def test_saved_by_name_and_loaded(weights, tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights})
    assert nlp("京都").ents
    nlp.to_disk(tmp_path)
    assert not list((tmp_path).rglob("*.safetensors"))
    for copy in (spacy.load(tmp_path), pickle.loads(pickle.dumps(nlp))):
        assert [ent.text for ent in copy("京都").ents] == ["京都"]


def test_errors_name_the_remedy(tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": str(tmp_path)})
    with pytest.raises(ValueError, match=r"`weights` of 'eat_source_tagger'.*'embedded'.*train-tagger"):
        nlp("京都")
