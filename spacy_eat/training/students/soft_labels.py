"""`spacy_eat.SoftLabels.v1`: what annotators think of raw text, piece by piece, to train a student on.

Where `spacy_eat.PseudoLabels.v1` takes the entities of a doc as they are, this reader takes the probabilities
of the tags (`eat_source_tagger` with `keep_tags = true`), with what the translation adds to them: an entity
that the annotators together are sure of is learnt as far as they are sure of it, one that they are not sure
of is left open.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from spacy.errors import Errors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...corpora import Record, read_docs, to_examples
from ...records import FUSED, get_record, install_extensions, set_record
from ...tags import TagProbabilities, labels_of, set_tags, tags_of
from ...types import Span

# Changes the probabilities that are kept with docs, all docs of a corpus at once.
Denoiser = Callable[[Sequence[Doc]], None]


def make_soft_labels(
    path: str | Path | Sequence[str | Path] | None,
    min_certainty: float = 0.0,
    denoisers: dict[str, Any] | None = None,  # of `Denoiser`: spaCy checks configs before blocks are made
    limit: int = 0,
    keep_english: bool = False,
) -> Callable[[Language], Iterator[Example]]:
    """`spacy_eat.SoftLabels.v1` (readers): the output of `python -m spacy eat annotate`, with the
    probabilities of the tags.

    path (Optional[Union[str, Path, Sequence[Union[str, Path]]]]): A .spacy file or a folder of them, or a
        list of such. Docs without probabilities are taken by their entities.
    min_certainty (float): Texts are left out in which a piece is less certain of what it is part of, 0.0 to
        1.0. After self-training with a threshold on the least certain token.
    denoisers (Optional[Dict[str, Denoiser]]): What changes the probabilities, in this order, such as
        `spacy_eat.NeighbourWeights.v1`.
    limit (int): Most texts; 0 for all.
    keep_english (bool): Whether the texts keep their English and its entities (`doc._.eat`), for a student
        that reads it (`context = "english"` of `eat_token_classifier`).
    RETURNS (Callable[[Language], Iterator[Example]]): The reader. Its references have the probabilities
        (`spacy_eat.tags`), which `eat_token_classifier` learns, and the most probable entities, for others.
    RAISES (ValueError): If there is no path.
    """
    if not path:
        raise ValueError(Errors.E913)  # a required path is missing: --paths.train
    if wrong := [name for name, denoiser in (denoisers or {}).items() if not callable(denoiser)]:
        raise ValueError(
            f"A denoiser of spacy_eat.SoftLabels.v1 is a block with an @misc: [….denoisers.{wrong[0]}]"
        )
    paths = [path] if isinstance(path, str | Path) else path

    def read(nlp: Language) -> Iterator[Example]:
        install_extensions()
        docs = []
        for doc in chain.from_iterable(read_docs(Path(path), nlp.vocab) for path in paths):
            found = soft_labels(doc)
            if certainty(found) >= min_certainty:
                set_tags(doc, found)
                docs.append(doc)
            if limit and len(docs) == limit:
                break
        for denoise in (denoisers or {}).values():
            denoise(docs)
        records = (Record(doc.text, tuple(_entities(doc))) for doc in docs)
        for doc, example in zip(docs, to_examples(records, nlp), strict=True):
            kept = tags_of(doc)
            if kept is not None:
                set_tags(example.reference, kept)
            if keep_english:
                set_record(example.predicted, get_record(doc))
            yield example

    return read


def soft_labels(doc: Doc) -> TagProbabilities:
    """How likely each tag is, by all annotators of a doc.

    doc (Doc): A doc with entities, with probabilities of tags if it has some, and with the span groups of its
        annotators (those that have `attrs["scores"]`).
    RETURNS (TagProbabilities): An entity of a score s counts s, what the tagger thinks there 1 - s. Where an
        annotator has found something that is in no entity, nothing is known: zeros.
    """
    groups = {key: group for key, group in doc.spans.items() if "scores" in group.attrs}
    scores: dict[Span, float] = {}
    for key in sorted(groups, key=lambda key: key == FUSED):  # the last word comes last
        for span, score in zip(groups[key], groups[key].attrs["scores"], strict=True):
            scores[Span(span.start_char, span.end_char, span.label_)] = float(score)
    entities = _entities(doc)
    found = tags_of(doc) or _by_token(doc)
    rows = found.rows.copy()
    columns = {tag: i for i, tag in enumerate(found.tags)}
    for span in scores:
        if not any(map(span.overlaps, entities)):
            rows[(found.starts < span.end_char) & (found.ends > span.start_char)] = 0.0
    for span in entities:
        inside = np.flatnonzero((found.starts < span.end_char) & (found.ends > span.start_char))
        score = scores.get(span, 1.0)
        if f"B-{span.label}" not in columns or not len(inside):
            rows[inside] = 0.0
            continue
        rows[inside] *= 1.0 - score
        rows[inside[1:], columns[f"I-{span.label}"]] += score
        rows[inside[0], columns[f"B-{span.label}"]] += score
    return found._replace(rows=rows)


def certainty(found: TagProbabilities) -> float:
    """RETURNS (float): How likely the least certain piece is part of what it most likely is part of; pieces
    that nothing is known of do not count. 1.0 without any."""
    labels = labels_of(found.rows)
    known = found.rows.sum(axis=1) > 0
    return float(labels[known].max(axis=1).min()) if known.any() else 1.0


def _entities(doc: Doc) -> list[Span]:
    return [Span(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def _by_token(doc: Doc) -> TagProbabilities:
    """What the entities of a doc say, as if it were certain."""
    tags = ["O", *(f"{prefix}-{label}" for label in sorted({e.label_ for e in doc.ents}) for prefix in "BI")]
    starts = np.array([token.idx for token in doc], dtype=int)
    rows = np.zeros((len(doc), len(tags)), dtype="float32")
    for i, token in enumerate(doc):
        tag = f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else token.ent_iob_
        if tag in tags:
            rows[i, tags.index(tag)] = 1.0
    return TagProbabilities(starts, starts + np.array([len(token) for token in doc], dtype=int), rows, tags)
