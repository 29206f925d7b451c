"""Pseudo labels: what `annotate` found in raw text, as training data for a student.

A student is an ordinary spaCy pipeline that is trained on the entities that EAT set, and needs no LLM. What
is not certain it should not learn, neither as an entity nor as none: such tokens are given to it as missing
annotation, and cost it nothing whatever it predicts there.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from spacy.errors import Errors
from spacy.language import Language
from spacy.tokens import Doc
from spacy.tokens import Span as SpacySpan
from spacy.training import Example

from ...corpora import Record, read_docs, to_examples
from ...corpora.splits import held_out
from ...records import install_extensions, sentences_of
from ...types import SentenceRecord, Span

# How far a label can be trusted, 0.0 to 1.0: the one place where methods of denoising go.
Weight = Callable[[SpacySpan], float]


def make_score_weight() -> Weight:
    """`spacy_eat.ScoreWeight.v1` (misc): a pseudo label is trusted as far as its alignment, by its score."""
    return score_weight


def score_weight(entity: SpacySpan) -> float:
    """The score of the alignment; 1.0 for an entity that EAT did not set."""
    score = entity._.eat_score
    return 1.0 if score is None else float(score)


def make_pseudo_labels(
    path: str | Path | Sequence[str | Path] | None,
    part: Literal["train", "dev", "all"] = "all",
    dev_share: float = 0.1,
    min_weight: float = 0.5,
    max_unaligned: float = 0.0,
    weight: Weight | None = None,
    limit: int = 0,
) -> Callable[[Language], Iterator[Example]]:
    """`spacy_eat.PseudoLabels.v1` (readers): the output of `python -m spacy eat annotate`.

    path (Optional[Union[str, Path, Sequence[Union[str, Path]]]]): A .spacy file or a folder of them, or a
        list of such.
    part (str): "train" or "dev" for the one or the other side of a fixed split, by the text. A student's
        checkpoint is chosen on "dev": no gold label is needed.
    dev_share (float): Share of the texts that are in "dev".
    min_weight (float): Labels of at least this weight are learnt; the tokens of the others are missing.
    max_unaligned (float): In a sentence of whose English names a larger share has no place in the source,
        all tokens without a label are missing: the names are somewhere among them.
    weight (Optional[Callable[[Span], float]]): How far a label is trusted; None for `score_weight`.
    limit (int): Most texts; 0 for all.
    RETURNS (Callable[[Language], Iterator[Example]]): The reader.
    RAISES (ValueError): If there is no path.
    """
    if not path:
        raise ValueError(Errors.E913)  # a required path is missing: --paths.train
    paths = [path] if isinstance(path, str | Path) else path

    def read(nlp: Language) -> Iterator[Example]:
        records = pseudo_labels(
            chain.from_iterable(read_docs(Path(path), nlp.vocab) for path in paths),
            min_weight=min_weight,
            max_unaligned=max_unaligned,
            weight=weight or score_weight,
        )
        chosen = (r for r in records if part == "all" or (part == "dev") == held_out(r.text, dev_share))
        for n, example in enumerate(to_examples(chosen, nlp), 1):
            yield example
            if n == limit:
                break

    return read


def pseudo_labels(
    docs: Iterable[Doc],
    *,
    min_weight: float = 0.5,
    max_unaligned: float = 0.0,
    weight: Weight = score_weight,
    counts: Counter[str] | None = None,
) -> Iterator[Record]:
    """What can be learnt from annotated docs.

    docs (Iterable[Doc]): Docs with `doc._.eat`. Docs without are taken as they are.
    min_weight, max_unaligned, weight: See `make_pseudo_labels`.
    counts (Optional[Counter]): Where texts, labels ("kept", "uncertain") and sentences ("unaligned",
        "failed") are counted.
    YIELDS (Record): Texts with something to learn in them: certain entities, and in `unknown` the
        characters that are not certain.
    """
    install_extensions()
    counts = Counter() if counts is None else counts
    for doc in docs:
        counts["texts"] += 1
        kept: list[Span] = []
        unknown: list[tuple[int, int]] = []
        for ent in doc.ents:
            if weight(ent) >= min_weight:
                kept.append(Span(ent.start_char, ent.end_char, ent.label_))
            else:
                unknown.append((ent.start_char, ent.end_char))
        counts.update(kept=len(kept), uncertain=len(unknown))
        nothing = True
        sentences = sentences_of(doc)
        for sentence in sentences:
            reason = _why_unknown(sentence, max_unaligned)
            if reason:
                counts[reason] += 1
                unknown.append((sentence["start_char"], sentence["end_char"]))
            nothing = nothing and reason is not None
        if sentences and nothing and not kept:
            continue
        gaps = _without(unknown, [span.place for span in kept])
        identifier = doc.user_data.get("id")
        yield Record(doc.text, tuple(kept), identifier, tuple(gaps))


def _why_unknown(sentence: SentenceRecord, max_unaligned: float) -> str | None:
    """Why a sentence has nothing to say of the tokens that have no label; None if it has."""
    if sentence["status"] != "aligned":
        return "failed"
    names = sentence["entities"]
    lost = sum(entity["start_char"] is None for entity in names)
    return "unaligned" if lost > max_unaligned * len(names) else None


def _without(spans: Iterable[tuple[int, int]], kept: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of some stretches, joined where they overlap, is not within others."""
    rest: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if rest and start <= rest[-1][1]:
            rest[-1] = (rest[-1][0], max(end, rest[-1][1]))
        else:
            rest.append((start, end))
    for start, end in kept:
        rest = [
            piece
            for a, b in rest
            for piece in (((a, min(b, start)), (max(a, end), b)) if a < end and start < b else ((a, b),))
            if piece[0] < piece[1]
        ]
    return rest
