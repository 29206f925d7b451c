"""Word alignment by the similarities of an encoder: alignment error rate (AER) by layer and extraction.

    python -m benchmarks.word_alignment [--layers 5 6 7 8] [--encoder NAME]

The first halves of the gold alignments that come with awesome-align: Chinese (225 sentences, TsinghuaAligner)
and Japanese (291, KFTT), tokenised. Two words are linked if two of their pieces are. To set the numbers
beside, on all of these sentences: fast_align 38.1 and 51.1, SimAlign 21.6 and 46.6, awesome-align fine-tuned
13.4 and 37.4.
"""

import re
import time
from pathlib import Path
from typing import Annotated, NamedTuple, get_args

import numpy
import typer
from wasabi import msg

from spacy_eat.alignment.words import Extraction, align
from spacy_eat.encoders import Encoder, Vectors
from spacy_eat.encoders.encoder import EMBEDDED
from spacy_eat.types import Text
from tests.conftest import DATA


class Pair(NamedTuple):
    """A sentence in two languages: its words, and the sure and possible links between them (from 0 on)."""

    source: list[str]
    english: list[str]
    sure: set[tuple[int, int]]
    possible: set[tuple[int, int]]


def read_pairs(folder: Path, name: str) -> list[Pair]:
    """RETURNS (List[Pair]): The sentences of a set: {name}.src-tgt, {name}.gold."""
    texts = (folder / f"{name}.src-tgt").read_text(encoding="utf-8").splitlines()
    gold = (folder / f"{name}.gold").read_text(encoding="utf-8").splitlines()
    pairs = []
    for text, line in zip(texts, gold, strict=True):
        source, english = text.split(" ||| ")
        links = [(kind, int(i) - 1, int(j) - 1) for i, kind, j in re.findall(r"(\d+)([-p])(\d+)", line)]
        sure = {(i, j) for kind, i, j in links if kind == "-"}
        pairs.append(Pair(source.split(), english.split(), sure, {(i, j) for _, i, j in links}))
    return pairs


def word_of(vectors: Vectors, words: list[str]) -> numpy.ndarray:
    """RETURNS (ndarray): The word of each piece of words joined by spaces, shape (pieces,)."""
    ends = numpy.cumsum([len(word) + 1 for word in words])
    return numpy.searchsorted(ends, vectors.starts, side="right")


def error_rate(found: list[set[tuple[int, int]]], pairs: list[Pair]) -> float:
    """RETURNS (float): AER (Och and Ney 2003), in percent."""
    right = sum(
        len(links & pair.sure) + len(links & pair.possible) for links, pair in zip(found, pairs, strict=True)
    )
    return 100 - 100 * right / (sum(map(len, found)) + sum(len(pair.sure) for pair in pairs))


def main(
    data: Path = DATA,
    layers: Annotated[list[int], typer.Option()] = [5, 6, 7, 8, 9],  # noqa: B006
    encoder: str = EMBEDDED,
    limit: int = 0,
) -> None:
    """Print a table for each set, a row for each layer.

    data: The development data.
    layers: Of the encoder.
    encoder: As of `spacy_eat.Encoder.v1`.
    limit: Only so many sentences; 0 for all.
    """
    extractions = get_args(Extraction)
    for name, lang in (("zhen", "zh"), ("jaen", "ja")):
        pairs = read_pairs(data / "word_alignment", name)[: limit or None]
        table = []
        for layer in layers:
            reader, began = Encoder(encoder, layer=layer), time.perf_counter()
            english = reader([Text(" ".join(pair.english), "en") for pair in pairs])
            source = reader([Text(" ".join(pair.source), lang) for pair in pairs])
            seconds = (time.perf_counter() - began) / len(pairs)
            row: list[object] = [layer]
            for extraction in extractions:
                found = []
                for pair, here, there in zip(pairs, source, english, strict=True):
                    links = numpy.argwhere(align(here, there, extraction).linked)
                    words = word_of(here, pair.source), word_of(there, pair.english)
                    found.append({(int(words[0][i]), int(words[1][j])) for i, j in links})
                row.append(f"{error_rate(found, pairs):.1f}")
            table.append([*row, f"{seconds:.3f}"])
        print(f"\n{name}: {len(pairs)} sentences, AER")
        msg.table(table, header=("layer", *extractions, "s/sentence"), divider=True)


if __name__ == "__main__":
    typer.run(main)
