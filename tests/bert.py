"""Tiny BERTs for tests: a tokenizer of given pieces, and the settings of a model for it; a tagger."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import spacy

LETTERS = "abcdefghijklmnopqrstuvwxyz."
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_bert(folder: Path, pieces: Iterable[str], *, layers: int, **settings: Any) -> Any:
    """Write a tokenizer.

    folder (Path): Where to.
    pieces (Iterable[str]): Its pieces, after the special ones.
    layers (int): Of the model.
    RETURNS (BertConfig): Of a model for these pieces.
    """
    import transformers

    vocabulary = [*SPECIAL, *pieces]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        **settings,
    )


def learn_by_heart(nlp: Any, examples: list[Any], updates: int) -> None:
    """Train a pipeline of one component until it makes no mistake.

    nlp (Language): The pipeline, which is initialized here.
    examples (List[Example]): What it learns.
    updates (int): How often it sees all of them.
    """
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(updates):
        losses = nlp.update(examples, sgd=optimizer)
    (name,) = nlp.pipe_names
    assert losses[name] < 0.05


def han_tagger(folder: Path) -> str:
    """Write a tagger of letters and Han characters, with weights set by hand: 京 begins a LOC, 都 is inside.

    folder (Path): Where to.
    RETURNS (str): The folder of its `eat_token_classifier`.
    """
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
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
