"""From character offsets to the tokens of a doc: `doc.spans` and `doc.ents`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from spacy.tokens import Doc, Span, SpanGroup

from ..languages import load
from ..types import EntityRecord
from ..types import Span as Place

OffBoundary = Literal["split", "expand", "group", "drop"]


def place(
    doc: Doc,
    entities: Sequence[EntityRecord],
    *,
    spans_key: str = "eat",
    off_boundary: OffBoundary = "split",
    overwrite_ents: bool = False,
    ents: bool = True,
) -> None:
    """Set the spans of entities on a doc.

    All go to `doc.spans[spans_key]`; those to `doc.ents` that do not overlap,
    the most confident first, a place joined to the larger one right before it.
    The scores of the group are in its `attrs["scores"]`, as of spaCy's spancat.
    What the policy for spans off token boundaries did is counted in
    `doc._.eat["counts"]`: "split" (tokens), "expanded", "grouped", "dropped"
    (entities); and "overlapping": entities that did not get into `doc.ents`.

    doc (Doc): The doc.
    entities (Sequence[EntityRecord]): Entities; the unaligned ones are passed over.
    spans_key (str): Key of the span group. A group of that name is replaced.
    off_boundary (str): "split" splits tokens (their annotation is kept on the
        first part, and tags on all), "expand" takes in whole tokens, "group" does
        so in the span group only, "drop" sets no span.
    overwrite_ents (bool): Whether they replace overlapping `doc.ents`.
    ents (bool): Whether `doc.ents` is set at all.
    """
    aligned = [
        Place(*_offsets(entity), entity["label"], entity["score"])
        for entity in entities
        if entity["start_char"] is not None
    ]
    candidates, counts = set_group(doc, aligned, spans_key, off_boundary)
    if ents:
        _, counts["overlapping"] = set_ents(doc, candidates, overwrite_ents)
    doc._.eat["counts"] = {name: count for name, count in counts.items() if count}


def set_group(
    doc: Doc, places: Sequence[Place], spans_key: str, off_boundary: OffBoundary = "split"
) -> tuple[list[tuple[float, Span]], Counter[str]]:
    """Set a span group with its scores, in place of one of that name.

    doc (Doc): The doc.
    places (Sequence[types.Span]): Places of its text.
    spans_key, off_boundary: See `place`.
    RETURNS (Tuple[List[Tuple[float, Span]], Counter[str]]): Scores and spans that may become entities; and
        how many tokens were "split", and spans "expanded", "grouped" or "dropped".
    """
    counts: Counter[str] = Counter()
    if off_boundary == "split":
        counts["split"] = split_tokens(doc, {offset for found in places for offset in found.place})
    group: list[tuple[Span, float]] = []
    candidates: list[tuple[float, Span]] = []
    for found in places:
        span = doc.char_span(*found.place, label=found.label)
        if span is not None:
            candidates.append((found.score, span))
        elif off_boundary == "drop":
            counts["dropped"] += 1
            continue
        else:
            span = doc.char_span(*found.place, label=found.label, alignment_mode="expand")
            if span is None:  # off the text: cannot be, but a record may come from anywhere
                counts["dropped"] += 1
                continue
            counts["grouped" if off_boundary == "group" else "expanded"] += 1
            if off_boundary != "group":
                candidates.append((found.score, span))
        group.append((span, found.score))
    doc.spans[spans_key] = SpanGroup(
        doc,
        name=spans_key,
        attrs={"scores": [score for _, score in group]},
        spans=[span for span, _ in group],
    )
    return candidates, counts


def _offsets(entity: EntityRecord) -> tuple[int, int]:
    start, end = entity["start_char"], entity["end_char"]
    assert start is not None and end is not None
    return start, end


def set_ents(
    doc: Doc, candidates: Iterable[tuple[float, Span]], overwrite: bool
) -> tuple[list[tuple[float, Span]], int]:
    """Put spans into `doc.ents`, the most confident first, a place joined to the larger one right before it.

    doc (Doc): The doc.
    candidates (Iterable[Tuple[float, Span]]): Scores and spans; they may overlap.
    overwrite (bool): Whether they replace overlapping `doc.ents`.
    RETURNS (Tuple[List[Tuple[float, Span]], int]): What was set, with its scores, in the order of the text;
        and how many spans found their place taken.
    """
    kept = list(doc.ents)
    chosen: list[Span] = []
    free = [True] * len(doc)
    if not overwrite:
        for ent in kept:
            free[ent.start : ent.end] = [False] * len(ent)
    lost = 0
    ranked = sorted(candidates, key=lambda item: (-item[0], -len(item[1]), item[1].start))
    spans, score_of = [span for _, span in ranked], {_key(span): score for score, span in reversed(ranked)}
    # What an earlier run has set, whole or as a part of an address.
    present = set() if overwrite else {_key(ent) for ent in kept}
    present |= {_key(part) for parts in _addresses(spans) if _key(_whole(parts)) in present for part in parts}
    for span in spans:
        if _key(span) in present:
            continue
        if all(free[span.start : span.end]):
            free[span.start : span.end] = [False] * len(span)
            chosen.append(span)
        else:
            lost += 1
    if overwrite:
        kept = [ent for ent in kept if all(free[ent.start : ent.end])]
    placed = [(min(score_of[_key(s)] for s in parts), _whole(parts)) for parts in _addresses(chosen)]
    doc.set_ents([*kept, *(span for _, span in placed)], default="outside")
    return placed, lost


def _key(span: Span) -> tuple[int, int, int]:
    return span.start, span.end, span.label


def _addresses(spans: Iterable[Span]) -> list[list[Span]]:
    """Put a place together with the larger one it is in, where nothing is
    between them, as its language writes addresses: 福岡県 + 久留米市. Any other
    span is by itself.
    """
    groups: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: span.start):
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.end == span.start
            and last.label == span.label
            and last[-1].text[-1] in load(span.doc.lang_).divisions
            and not last[-1].whitespace_
        ):
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def whole_addresses(spans: Iterable[Span]) -> list[Span]:
    """RETURNS (List[Span]): The places that some of the spans are parts of: 福岡県久留米市."""
    return [_whole(parts) for parts in _addresses(spans) if len(parts) > 1]


def _whole(parts: Sequence[Span]) -> Span:
    """RETURNS (Span): From the first of an address's parts to the last."""
    first, last = parts[0], parts[-1]
    return Span(first.doc, first.start, last.end, label=first.label)


def split_tokens(doc: Doc, cuts: Iterable[int]) -> int:
    """Split the tokens that have one of some character offsets within.

    Entities and span groups of the doc are put back by their characters. The
    parts of a token get its tags; the first part keeps its place in the
    dependency tree, and the others hang on it.

    RETURNS (int): How many tokens were split.
    """
    starts = {token.idx for token in doc}
    within: dict[int, list[int]] = {}
    inside = sorted(set(cuts) - starts)
    if inside:
        position = 0
        for token in doc:
            while position < len(inside) and inside[position] < token.idx + len(token):
                if inside[position] > token.idx:
                    within.setdefault(token.i, []).append(inside[position] - token.idx)
                position += 1
    if not within:
        return 0
    groups = {
        key: [(s.start_char, s.end_char, s.label_, s.kb_id_, s.id_) for s in group]
        for key, group in doc.spans.items()
    }
    attributes = {key: dict(group.attrs) for key, group in doc.spans.items()}
    ents = [(e.start_char, e.end_char, e.label_, e.kb_id_, e.id_) for e in doc.ents]
    _split_user_data(doc, within)
    with doc.retokenize() as retokenizer:
        for i, offsets in within.items():
            token = doc[i]
            bounds = [0, *offsets, len(token)]
            parts = [token.text[a:b] for a, b in pairwise(bounds)]
            head = (token, 0) if token.head.i == i else token.head
            attrs: dict[str | int, list[str]] = {
                "TAG": [token.tag_] * len(parts),
                "POS": [token.pos_] * len(parts),
            }
            if doc.has_annotation("DEP"):
                attrs["DEP"] = [token.dep_, *["dep"] * (len(parts) - 1)]
            retokenizer.split(token, parts, heads=[head, *[(token, 0)] * (len(parts) - 1)], attrs=attrs)
    for key, spans in groups.items():
        doc.spans[key] = SpanGroup(doc, name=key, attrs=attributes[key], spans=_char_spans(doc, spans))
    if ents:
        doc.set_ents(_char_spans(doc, ents), default="outside")
    return len(within)


def _char_spans(doc: Doc, spans: Iterable[tuple[int, int, str, str, str]]) -> list[Span]:
    made = [
        doc.char_span(start, end, label=label, kb_id=kb_id, span_id=span_id)
        for start, end, label, kb_id, span_id in spans
    ]
    return [span for span in made if span is not None]


def _split_user_data(doc: Doc, within: dict[int, list[int]]) -> None:
    """Keep spaCy's list of Sudachi sub-tokens in step with the tokens."""
    sub_tokens = doc.user_data.get("sub_tokens")
    if isinstance(sub_tokens, list) and len(sub_tokens) == len(doc):
        doc.user_data["sub_tokens"] = [
            entry for i, entry in enumerate(sub_tokens) for entry in [entry] + [None] * len(within.get(i, ()))
        ]
