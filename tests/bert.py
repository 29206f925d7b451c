"""Tiny BERTs for tests: a tokenizer of given pieces, and the settings of a model for it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
