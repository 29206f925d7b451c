"""Texts as an encoder reads them: word pieces, in windows of bounded length."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..languages import load
from ..text.folding import simplified

_BLANK = "\u2581"  # stands for a space at the start of a SentencePiece piece
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Pieces:
    """The word pieces of a text, in its order. All arrays have the shape (pieces,).

    starts, ends (ndarray): Characters of the text, half open, without white space at either end. One piece
        may cover several words, as in Chinese, and several may share their characters (㈱ is read as "(株)").
    rows, columns (ndarray): The piece's window, and its place in it.
    """

    starts: np.ndarray
    ends: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)


def readable(text: str, lang: str = "") -> str:
    """A text as an encoder is given it. Its length stays the same, so offsets do.

    text (str): Any text. Lone surrogates, which no tokenizer takes, become U+FFFD.
    lang (str): Language code, "" if not known. Where a language has traditional characters, they become
        simplified ones, of which encoders have seen far more.
    RETURNS (str): The text.
    """
    text = _SURROGATE.sub("\ufffd", text)
    return text.translate(_simplified()) if load(lang).traditional else text


@cache
def _simplified() -> dict[int, str]:
    return str.maketrans(simplified())


def split(texts: Sequence[str], tokenizer: Any, max_length: int) -> tuple[dict[str, Any], list[Pieces]]:
    """Split texts into word pieces, long ones into windows that overlap by a quarter.

    texts (Sequence[str]): The texts, as of `readable`.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    max_length (int): Most pieces of a window.
    RETURNS (Tuple[Dict[str, Tensor], List[Pieces]]): What the encoder takes, each tensor of shape
        (windows, pieces), padded; and each text's pieces. Of a piece in two windows, the place with more
        context counts.
    """
    stride = max_length // 4
    batch = tokenizer(
        list(texts),
        truncation=True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        padding=True,
        return_tensors="pt",
    )
    windows = batch.pop("overflow_to_sample_mapping").tolist()
    offsets = batch.pop("offset_mapping").tolist()
    special = batch.pop("special_tokens_mask").tolist()
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    identifiers = batch["input_ids"].tolist()
    blank = tokenizer.convert_tokens_to_ids(_BLANK)
    step = max_length - tokenizer.num_special_tokens_to_add() - stride  # from a window to the next
    # For each text, by the piece's number in it: context, start, end, row, column.
    found: list[dict[int, tuple[int, int, int, int, int]]] = [{} for _ in texts]
    seen = [0] * len(texts)
    for row, text in enumerate(windows):
        number = seen[text] * step
        seen[text] += 1
        for column, (start, end) in enumerate(offsets[row]):
            if special[row][column]:
                continue
            while start < end and texts[text][start].isspace():
                start += 1
            while start < end and texts[text][end - 1].isspace():
                end -= 1
            if start < end and (identifiers[row][column] != blank or texts[text][start] == _BLANK):
                context = min(column, lengths[row] - 1 - column)
                if number not in found[text] or context > found[text][number][0]:
                    found[text][number] = (context, start, end, row, column)
            number += 1
    pieces = []
    for places in found:
        table = np.array([places[number] for number in sorted(places)], dtype=int).reshape(-1, 5)
        pieces.append(Pieces(*table[:, 1:].T))
    return dict(batch), pieces
