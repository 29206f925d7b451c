"""Texts as an encoder reads them: word pieces, in windows of bounded length."""

import re
from collections.abc import Mapping, Sequence
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
) -> tuple[dict[str, np.ndarray], list[Pieces]]:
    """Split texts into word pieces, long ones into windows that overlap by a quarter.

    texts (Sequence[str]): The texts, as of `readable`.
    tokenizer (Union[PreTrainedTokenizerFast, LightTokenizer]): The encoder's tokenizer.
    max_length (int): Most pieces of a window.
    contexts (Optional[Sequence[str]]): What is read before each text in all of its windows, at most half of
        one; "" for nothing. None: nothing is.
    RETURNS (Tuple[Dict[str, ndarray], List[Pieces]]): What the encoder takes, each array of shape
        (windows, pieces), padded; and each text's pieces, without those of its context. Of a piece in two
        windows, the place with more of the text round it counts.
    """
    stride = max_length // 4
    backend = tokenizer.backend_tokenizer
    blank = tokenizer.convert_tokens_to_ids(_BLANK)
    windows: list[Any] = []
    pieces = []
    for text, own in zip(texts, _encoded(texts, backend, max_length, stride, contexts), strict=True):
        # By the piece's number in the text: context, start, end, row, column.
        places: dict[int, tuple[int, int, int, int, int]] = {}
        number = 0
        for row, window in enumerate(own, start=len(windows)):
            identifiers, offsets, last = window.ids, window.offsets, window.n_sequences - 1
            columns = [column for column, part in enumerate(window.sequence_ids) if part == last]
            for before, column in enumerate(columns):
                start, end = offsets[column]
                while start < end and text[start].isspace():
                    start += 1
                while start < end and text[end - 1].isspace():
                    end -= 1
                if start < end and (identifiers[column] != blank or text[start] == _BLANK):
                    context = min(before, len(columns) - 1 - before)
                    if number not in places or context > places[number][0]:
                        places[number] = (context, start, end, row, column)
                number += 1
            number -= stride  # where the next window begins
        windows += own
        table = np.array([places[number] for number in sorted(places)], dtype=int).reshape(-1, 5)
        pieces.append(Pieces(*table[:, 1:].T))
    inputs = {
        "input_ids": _padded([window.ids for window in windows], tokenizer.pad_token_id),
        "token_type_ids": _padded([window.type_ids for window in windows], 0),
        "attention_mask": _padded([window.attention_mask for window in windows], 0),
    }
    return {name: rows for name, rows in inputs.items() if name in tokenizer.model_input_names}, pieces


def tensors(inputs: Mapping[str, np.ndarray], device: Any) -> dict[str, Any]:
    """RETURNS (Dict[str, Tensor]): What `split` gave for an encoder, on a device of torch's."""
    import torch

    return {name: torch.from_numpy(rows).to(device) for name, rows in inputs.items()}


def _encoded(
    texts: Sequence[str], backend: Any, max_length: int, stride: int, contexts: Sequence[str] | None
) -> list[list[Any]]:
    """RETURNS (List[List[Encoding]]): For each text its windows."""
    contexts = _shortened(contexts or [""] * len(texts), backend, max_length // 2)
    found: list[list[Any]] = [[] for _ in texts]
    backend.no_padding()
    for paired in (False, True):
        chosen = [i for i, context in enumerate(contexts) if bool(context) == paired]
        if chosen:
            strategy = "only_second" if paired else "longest_first"
            backend.enable_truncation(max_length, stride=stride, strategy=strategy)
            given = [(contexts[i], texts[i]) if paired else texts[i] for i in chosen]
            for i, first in zip(chosen, backend.encode_batch(given), strict=True):
                found[i] = [first, *first.overflowing]
    return found


def _padded(rows: Sequence[Sequence[int]], value: int) -> np.ndarray:
    """RETURNS (ndarray): Rows of the length of the longest."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), value, dtype="int64")
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _shortened(contexts: Sequence[str], backend: Any, length: int) -> list[str]:
    """Contexts of at most so many pieces, with those between them and their text."""
    left = length - backend.num_special_tokens_to_add(True)
    given = [i for i, context in enumerate(contexts) if context.strip() and left > 0]
    shortened = [""] * len(contexts)
    if given:
        backend.no_padding()
        backend.enable_truncation(left)
        read = backend.encode_batch([contexts[i] for i in given], add_special_tokens=False)
        for i, encoding in zip(given, read, strict=True):
            shortened[i] = contexts[i][: encoding.offsets[-1][1]] if encoding.offsets else ""
    return shortened
