"""Self-training: pairs from parallel text whose two sides one tagger reads alike.

A tagger of many languages finds the entities of both sides; the encoder's similarities say which belong
together. Kept are sentences of which nothing is left over: from them the aligner learns where names begin and
end.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...components.fusion import annotations_of
from ...components.source_tagger import EMBEDDED, SPANS_KEY
from ...corpora import CorpusError
from ...corpora.parallel import ParallelRecord, read_parallel
from ...encoders import Encoder, Vectors
from ...pipelines import blank
from ...types import Span, Text
from .config import Parallel, Projected
from .data import Example, Pair

Tag = Callable[[Sequence[str]], Iterator[list[Span]]]
BATCH = 256  # sentences that are tagged and read together


def project(
    settings: Projected, encoder: str, known: set[str], seed: int, counts: Counter[str]
) -> Iterator[Example]:
    """Find pairs in parallel text.

    settings (Projected): See there.
    encoder (str): As of `spacy_eat.Encoder.v1`.
    known (Set[str]): Sources to leave out.
    seed (int): Decides which sentences are read.
    counts (Counter[str]): Counts what is read and left out.
    YIELDS (Example): Sentences with pairs.
    """
    reader = Encoder(encoder, layer=settings.layer, cache_size=2 * BATCH)
    tag_english = _tagger(settings, "en")
    for lang in settings.files:
        records = read_records(settings, lang, seed, counts, known)[: settings.limit or None]
        tag_source = _tagger(settings, lang)
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            counts["sentences read"] += len(batch)
            tagged = zip(batch, tag_source([record.source for record in batch]), strict=True)
            named = [(record, source) for record, source in tagged if source]  # half of the time saved
            sides = [
                (record, english, source)
                for (record, source), english in zip(
                    named, tag_english([record.english for record, _ in named]), strict=True
                )
                if _alike(english, source)
            ]
            counts["no entities"] += len(batch) - len(named)
            counts["labels differ"] += len(named) - len(sides)
            english_vectors = reader([Text(record.english, "en") for record, _, _ in sides])
            source_vectors = reader([Text(record.source, lang) for record, _, _ in sides])
            vectors = zip(english_vectors, source_vectors, strict=True)
            for (record, english, source), (here, there) in zip(sides, vectors, strict=True):
                pairs = pair(english, source, here, there, settings.agreement)
                counts["kept" if pairs else "similarity disagrees"] += 1
                if pairs:
                    yield _example(record, pairs)


def read_records(
    settings: Parallel, lang: str, seed: int, counts: Counter[str], known: Collection[str] = ()
) -> list[ParallelRecord]:
    """Read the parallel text of a language.

    settings (Parallel): See there. `limit` is left to the caller.
    lang (str): Language code.
    seed (int): Decides the order.
    counts (Counter[str]): Counts what is left out.
    known (Collection[str]): Sources to leave out.
    RETURNS (List[ParallelRecord]): Sentences, in random order.
    RAISES (CorpusError): A name stands for no file.
    """
    records = [
        record
        for path in _files(settings, lang)
        for record in read_parallel(path, lang, counts)
        if record.source not in known and len(record.source) <= settings.max_chars
    ]
    random.Random(seed).shuffle(records)
    return records


def _files(settings: Parallel, lang: str) -> list[Path]:
    """RAISES (CorpusError): A name stands for no file."""
    folder, paths = settings.path or Path(), set[Path]()
    for name in settings.files[lang]:
        found = set(folder.glob(f"{lang}_{name}.jsonl"))
        if not found:
            remedy = "Check `path` and `files` of the config's parallel text"
            raise CorpusError(folder / f"{lang}_{name}.jsonl", None, "no such file", remedy)
        paths |= found
    return sorted(paths)


def _tagger(settings: Projected, lang: str) -> Tag:
    """Finds the entities of texts in a language."""
    nlp = blank(lang)
    weights = EMBEDDED if settings.tagger is None else str(settings.tagger)
    nlp.add_pipe("eat_source_tagger", config={"weights": weights})

    def tag(texts: Sequence[str]) -> Iterator[list[Span]]:
        for doc in nlp.pipe(texts):
            yield annotations_of(doc, [SPANS_KEY])[SPANS_KEY]

    return tag


def _alike(english: Sequence[Span], source: Sequence[Span]) -> bool:
    """Whether both sides have as many entities of each label."""
    return Counter(span.label for span in english) == Counter(span.label for span in source)


def pair(
    english: Sequence[Span], source: Sequence[Span], here: Vectors, there: Vectors, agreement: float
) -> list[tuple[Span, Span]]:
    """Pair the entities of two sides, as many of each label.

    english, source (Sequence[Span]): The entities.
    here, there (Vectors): The English and the source, as an encoder reads them.
    agreement (float): Least agreement of a pair, see `Projected`.
    RETURNS (List[Tuple[Span, Span]]): Partners with the same label; empty unless every entity has one.
    """
    same = here.directions() @ there.directions().T
    if not same.size:
        return []
    likest_there, likest_here = same.argmax(axis=1), same.argmax(axis=0)
    inside = [(here.ends > span.start_char) & (here.starts < span.end_char) for span in english]
    outside = [(there.ends > span.start_char) & (there.starts < span.end_char) for span in source]
    agree = np.zeros((len(english), len(source)))
    for i, own in enumerate(inside):
        for j, other in enumerate(outside):
            if english[i].label == source[j].label and own.any() and other.any():
                agree[i, j] = (other[likest_there[own]].mean() + own[likest_here[other]].mean()) / 2
    rows, columns = linear_sum_assignment(-agree)
    if len(english) != len(source) or agree[rows, columns].min() < max(agreement, 1e-9):
        return []
    return [(english[i], source[j]) for i, j in zip(rows, columns, strict=True)]


def _example(record: ParallelRecord, pairs: Sequence[tuple[Span, Span]]) -> Example:
    found = (Pair(e.place, s.place, round(min(e.score, s.score), 4)) for e, s in pairs)
    return Example(record.lang, record.source, record.english, tuple(found), "projected")
