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


def split(
    texts: Sequence[str], tokenizer: Any, max_length: int, contexts: Sequence[str] | None = None
) -> tuple[dict[str, Any], list[Pieces]]:
    """Split texts into word pieces, long ones into windows that overlap by a quarter.

    texts (Sequence[str]): The texts, as of `readable`.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    max_length (int): Most pieces of a window.
    contexts (Optional[Sequence[str]]): What is read before each text in all of its windows, at most half of
        one; "" for nothing. None: nothing is.
    RETURNS (Tuple[Dict[str, Tensor], List[Pieces]]): What the encoder takes, each tensor of shape
        (windows, pieces), padded; and each text's pieces, without those of its context. Of a piece in two
        windows, the place with more of the text round it counts.
    """
    stride = max_length // 4
    batch: dict[str, list[Any]] = {}  # by name what the tokenizer says of each window
    windows: list[int] = []  # the text of each window
    sequences: list[list[int | None]] = []  # which pieces are a text's, 1 for the second of a pair
    contexts = _shortened(contexts or [""] * len(texts), tokenizer, max_length // 2)
    for paired in (False, True):
        chosen = [i for i, context in enumerate(contexts) if bool(context) == paired]
        if not chosen:
            continue
        own = [texts[i] for i in chosen]
        given = ([contexts[i] for i in chosen], own) if paired else (own,)
        part = tokenizer(
            *given,
            truncation="only_second" if paired else True,
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        windows += [chosen[i] for i in part.pop("overflow_to_sample_mapping")]
        rows = range(len(part["input_ids"]))
        sequences += [[s if s is None else s - paired for s in part.sequence_ids(row)] for row in rows]
        for name, values in part.items():
            batch.setdefault(name, []).extend(values)
    offsets = batch.pop("offset_mapping")
    identifiers = batch["input_ids"]
    blank = tokenizer.convert_tokens_to_ids(_BLANK)
    # For each text, by the piece's number in it: context, start, end, row, column.
    found: list[dict[int, tuple[int, int, int, int, int]]] = [{} for _ in texts]
    following = [0] * len(texts)  # the number of the first piece of a text's next window
    for row, text in enumerate(windows):
        columns = [column for column, sequence in enumerate(sequences[row]) if sequence == 0]
        number = following[text]
        following[text] += len(columns) - stride
        for before, column in enumerate(columns):
            start, end = offsets[row][column]
            while start < end and texts[text][start].isspace():
                start += 1
            while start < end and texts[text][end - 1].isspace():
                end -= 1
            if start < end and (identifiers[row][column] != blank or texts[text][start] == _BLANK):
                context = min(before, len(columns) - 1 - before)
                if number not in found[text] or context > found[text][number][0]:
                    found[text][number] = (context, start, end, row, column)
            number += 1
    pieces = []
    for places in found:
        table = np.array([places[number] for number in sorted(places)], dtype=int).reshape(-1, 5)
        pieces.append(Pieces(*table[:, 1:].T))
    return {name: _padded(rows, _padding(tokenizer, name)) for name, rows in batch.items()}, pieces


def _padding(tokenizer: Any, name: str) -> int:
    """What stands behind the last piece of a shorter window, by the name of an encoder's argument."""
    return {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}.get(name, 0)


def _padded(rows: Sequence[Sequence[int]], value: int) -> Any:
    """RETURNS (Tensor): Rows of the length of the longest."""
    import torch

    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


def _shortened(contexts: Sequence[str], tokenizer: Any, length: int) -> list[str]:
    """Contexts of at most so many pieces, with those between them and their text."""
    pairing = tokenizer.num_special_tokens_to_add(pair=True)
    given = [i for i, context in enumerate(contexts) if context.strip() and length > pairing]
    shortened = [""] * len(contexts)
    if given:
        offsets = tokenizer(
            [contexts[i] for i in given],
            add_special_tokens=False,
            truncation=True,
            max_length=length - pairing,
            return_offsets_mapping=True,
        )["offset_mapping"]
        for i, places in zip(given, offsets, strict=True):
            shortened[i] = contexts[i][: places[-1][1]] if places else ""
    return shortened
