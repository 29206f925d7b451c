"""`spacy_eat.WordAligner.v1`: places of entities from an alignment of all words."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from ..encoders import Encoder, Vectors
from ..types import Failure, Options, Sentence, Span, Text
from .locate import as_it_stands, settle, verbatim

Extraction = Literal["argmax", "itermax", "softmax", "entmax"]

LAYER = 7  # of multilingual-e5-small (python -m benchmarks.word_alignment)
# Cosines times this are what a softmax is taken of: as sharp as the dot products of awesome-align's encoder.
SHARPNESS = 150.0
THRESHOLD = 0.001  # least share of a link in both directions, as in awesome-align
ITERATIONS, DISCOUNT = 2, 0.9  # of itermax, as in SimAlign
MISSED = 0.05  # probability that an entity with links has no words in the source


class Links(NamedTuple):
    """An alignment of the pieces of two texts.

    linked (ndarray): Whether two pieces stand for each other, shape (pieces here, pieces there), bool.
    shares (ndarray): How likely, the geometric mean of both directions, the same shape.
    """

    linked: np.ndarray
    shares: np.ndarray


def align(here: Vectors, there: Vectors, extraction: Extraction = "itermax") -> Links:
    """Align the pieces of two texts by the similarity of their vectors, centred in each text.

    here, there (Vectors): The texts.
    extraction (str): Which similarities become links. "argmax": those that are the best in both directions;
        "itermax": these, and then those that are the best of what is left (both Jalili Sabet et al. 2020,
        arXiv 2004.08728); "softmax" and "entmax": those with a share of at least 0.001 of the softmax, or
        above 0 of the 1.5-entmax (Peters et al. 2019), in both directions (Dou and Neubig 2021,
        arXiv 2101.08231).
    RETURNS (Links): The links.
    """
    same = here.directions() @ there.directions().T
    if not same.size:
        return Links(np.zeros(same.shape, dtype=bool), same)
    shares = np.sqrt(_softmax(same, axis=0) * _softmax(same, axis=1))
    return Links(EXTRACTIONS[extraction](same), shares)


def _softmax(same: np.ndarray, axis: int) -> np.ndarray:
    sharp = np.exp(SHARPNESS * (same - same.max(axis=axis, keepdims=True)))
    return np.asarray(sharp / sharp.sum(axis=axis, keepdims=True))


def _argmax(same: np.ndarray) -> np.ndarray:
    forward = np.equal.outer(same.argmax(axis=1), np.arange(same.shape[1]))
    backward = np.equal.outer(np.arange(same.shape[0]), same.argmax(axis=0))
    return np.logical_and(forward, backward)


def _itermax(same: np.ndarray) -> np.ndarray:
    linked, same = _argmax(same), same - same.min()
    for _ in range(ITERATIONS - 1):
        row, column = linked.any(axis=1, keepdims=True), linked.any(axis=0, keepdims=True)
        if row.all() or column.all():
            break
        left = same * np.where(row & column, 0.0, np.where(row | column, DISCOUNT, 1.0))
        more = _argmax(left) & ~(row & column)
        if not (more & ~linked).any():
            break
        linked = linked | more
    return linked


def _by_softmax(same: np.ndarray) -> np.ndarray:
    return (_softmax(same, axis=0) > THRESHOLD) & (_softmax(same, axis=1) > THRESHOLD)


def _by_entmax(same: np.ndarray) -> np.ndarray:
    return (_entmax(same.T).T > 0) & (_entmax(same) > 0)


def _entmax(same: np.ndarray) -> np.ndarray:
    """1.5-entmax of each row, exactly: by sorting (Peters, Niculae and Martins 2019, algorithm 2)."""
    scores = SHARPNESS * (same - same.max(axis=1, keepdims=True)) / 2
    ordered = -np.sort(-scores, axis=1)
    count = np.arange(1, scores.shape[1] + 1)
    mean = ordered.cumsum(axis=1) / count
    spread = count * ((ordered**2).cumsum(axis=1) / count - mean**2)
    least = mean - np.sqrt(np.maximum(0.0, (1 - spread) / count))
    support = (least <= ordered).sum(axis=1, keepdims=True)
    return np.asarray(np.maximum(0.0, scores - np.take_along_axis(least, support - 1, axis=1)) ** 2)


EXTRACTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "argmax": _argmax,
    "itermax": _itermax,
    "softmax": _by_softmax,
    "entmax": _by_entmax,
}


class WordAligner:
    """Projects entities over links between words (Yarowsky et al. 2001): an entity comes from what its pieces
    are linked to. Any encoder of many languages will do, untrained or tuned (`tune-aligner` with
    `configs/tune_words.cfg`)."""

    def __init__(self, encoder: Encoder, *, extraction: Extraction = "itermax", gap: int = 1) -> None:
        """See `make_word_aligner`."""
        self.encoder = encoder
        self.extraction = extraction
        self.gap = gap

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in
            their order.
        RAISES (ImportError): The extra `encoder` is not installed.
        RAISES (ValueError): The encoder cannot be loaded.
        """
        english = self.encoder([sentence.english for sentence in sentences])
        source = self.encoder([sentence.source for sentence in sentences])
        return [self._options(*sides) for sides in zip(sentences, english, source, strict=True)]

    def _options(self, sentence: Sentence, english: Vectors, source: Vectors) -> list[Options]:
        links = align(english, source, self.extraction)
        known = verbatim(sentence.source, sentence.names())
        options = []
        for name, entity in zip(sentence.names(), sentence.entities, strict=True):
            if name in known:
                options.append(as_it_stands(sentence.source, name))
                continue
            own = (english.ends > entity.start_char) & (english.starts < entity.end_char)
            options.append(self._places(sentence.source, name, links, own, source))
        return options

    def _places(self, text: Text, name: str, links: Links, own: np.ndarray, source: Vectors) -> Options:
        """Runs of linked pieces, by their part of the entity's links."""
        mine, others = links.shares[own].sum(axis=0), links.shares[~own].sum(axis=0)
        linked = links.linked[own].any(axis=0) & (mine >= others)
        # A piece between two of an entity belongs to it, unless it is linked to something else.
        free = ~links.linked[~own].any(axis=0)
        weights = np.where(linked, mine, 0.0)
        total = weights.sum()
        if not total:
            return Options(none=1.0)
        spans: dict[tuple[int, int], Span] = {}
        for first, last in _runs(linked, free, self.gap):
            place = Span(int(source.starts[first]), int(source.ends[first:last].max()), origin="exact")
            span = settle(text, name, place)
            if span.start_char < span.end_char:
                score = (1 - MISSED) * float(weights[first:last].sum() / total)
                score += spans[span.place].score if span.place in spans else 0.0
                spans[span.place] = replace(span, score=min(1.0, score))
        return Options(tuple(sorted(spans.values(), key=lambda span: -span.score)), MISSED)


def _runs(linked: np.ndarray, free: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """Runs of linked pieces, with at most `gap` free ones between two."""
    runs: list[tuple[int, int]] = []
    for piece in np.flatnonzero(linked).tolist():
        between = slice(runs[-1][1], piece) if runs else slice(0)
        if runs and piece - runs[-1][1] <= gap and free[between].all():
            runs[-1] = runs[-1][0], piece + 1
        else:
            runs.append((piece, piece + 1))
    return runs


def make_word_aligner(
    encoder: Encoder | None = None, extraction: Extraction = "itermax", gap: int = 1
) -> WordAligner:
    """`spacy_eat.WordAligner.v1` (misc): places of entities from links between words.

    encoder (Optional[Encoder]): "spacy_eat.Encoder.v1", or anything that gives `Vectors`; None for the
        embedded one at its layer 7.
    extraction (str): "argmax", "itermax", "softmax" or "entmax", see `align`.
    gap (int): Most pieces without a link that a place may have between two with one.
    RETURNS (WordAligner): The aligner.
    RAISES (ValueError): A setting is out of its range.
    """
    if extraction not in get_args(Extraction):
        raise ValueError(f"extraction = {extraction!r} is none of {', '.join(get_args(Extraction))}")
    if gap < 0:
        raise ValueError(f"gap = {gap} of the word aligner is below 0")
    return WordAligner(encoder or Encoder(layer=LAYER), extraction=extraction, gap=gap)
