"""A tiny tagger on the source."""

import shutil

import pytest
import spacy

from ..bert import SPECIAL, tiny_bert

LETTERS = "abcdefghijklmnopqrstuvwxyz."


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A tagger of letters and Han characters, with weights set by hand: 京 begins a LOC, 都 is inside."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tagger")
    pieces = [*LETTERS, *"京都府"]
    config = tiny_bert(folder, pieces, layers=1, num_labels=3)
    model = transformers.BertForTokenClassification(config)
    for weight in model.parameters():
        weight.data.zero_()
    # CTranslate2 makes one of weights that are the same, which no real ones are; the norm takes this away.
    model.bert.embeddings.position_embeddings.weight.data.fill_(0.125)
    for name, weight in model.named_parameters():
        if "LayerNorm.weight" in name:
            weight.data.fill_(1.0)
    for tag, piece in enumerate(("府", "京", "都")):
        for other, row in enumerate(model.bert.embeddings.word_embeddings.weight.data):
            row[tag] = float(other == len(SPECIAL) + pieces.index(piece))
    for tag in range(3):
        model.classifier.weight.data[tag, tag] = 3.0
    model.classifier.bias.data[0] = 1.5
    model.save_pretrained(folder)
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_token_classifier", name="tagger", config={"encoder": str(folder), "pooling": "mean"})
    nlp.get_pipe("tagger").initialize(lambda: [], labels=["LOC"])
    nlp.to_disk(folder / "pipeline")
    shutil.rmtree(folder / "pipeline" / "vocab")
    return str(folder / "pipeline" / "tagger")
