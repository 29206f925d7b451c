"""Docs as the pipeline leaves them, written by hand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import spacy
from spacy.tokens import Doc, SpanGroup

import spacy_eat  # noqa: F401  (registers doc._.eat)


class Name(NamedTuple):
    """An entity of a sentence: its English, its source (None if it is unaligned), its label."""

    english: str
    source: str | None
    label: str
    score: float = 0.95
    status: str = "exact"


class Line(NamedTuple):
    """A sentence: source, English, entities, error."""

    source: str
    english: str | None
    names: Sequence[Name] = ()
    error: str | None = None


ZH = (
    Line(
        "柳传志于1984年在北京创立了联想集团。",
        "Liu Chuanzhi founded Lenovo Group in Beijing in 1984.",
        (
            Name("Liu Chuanzhi", "柳传志", "PER"),
            Name("Lenovo Group", "联想集团", "ORG", 0.97),
            Name("Beijing", "北京", "LOC", 0.91),
        ),
    ),
    Line(
        "马云离开阿里巴巴后，在东京大学担任客座教授。",
        "Jack Ma became a professor at the University of Tokyo after leaving Alibaba in Hangzhou.",
        (
            Name("Jack Ma", "马云", "PER", 0.62, "fuzzy"),
            Name("University of Tokyo", "东京大学", "ORG", 0.88, "variant"),
            Name("Alibaba", "阿里巴巴", "ORG", 0.94),
            Name("Hangzhou", None, "LOC"),
        ),
    ),
    Line("这句话没有成功。", None, (), "translation: TimeoutError: no answer <b>after</b> 60 s"),
)
AR = (
    Line(
        "ولد محمد صلاح في مصر ويلعب في نادي ليفربول.",
        "Mohamed Salah was born in Egypt and plays for Liverpool.",
        (
            Name("Mohamed Salah", "محمد صلاح", "PER"),
            Name("Egypt", "مصر", "LOC", 0.97),
            Name("Liverpool", "ليفربول", "ORG", 0.7),
        ),
    ),
)


def entity(name: Name, line: Line, offset: int) -> dict[str, Any]:
    """The record of an entity."""
    english_start = (line.english or "").index(name.english)
    start = None if name.source is None else offset + line.source.index(name.source)
    return {
        "text": name.english,
        "label": name.label,
        "english_start": english_start,
        "english_end": english_start + len(name.english),
        "english_score": 1.0,
        "answers": [name.source or "nowhere"],
        "logprobs": [-0.1],
        "start_char": start,
        "end_char": None if start is None else start + len(name.source or ""),
        "status": "unaligned" if start is None else name.status,
        "score": 0.0 if start is None else name.score,
    }


def make_doc(lang: str, lines: Sequence[Line], title: str = "") -> Doc:
    """A doc with its record, its entities, and the aligner's span group."""
    doc = spacy.blank(lang)("".join(line.source for line in lines))
    sentences, offset = [], 0
    for line in lines:
        sentences.append(
            {
                "start_char": offset,
                "end_char": offset + len(line.source),
                "english": line.english,
                "status": "failed" if line.error else "aligned",
                "error": line.error,
                "entities": [entity(name, line, offset) for name in line.names],
                "requests": 2,
            }
        )
        offset += len(line.source)
    doc._.eat = {"sentences": sentences, "counts": {}, "usage": {}}
    placed = [e for s in sentences for e in s["entities"] if e["start_char"] is not None]
    spans = [doc.char_span(e["start_char"], e["end_char"], e["label"]) for e in placed]
    add_group(doc, "eat", [(span, e["score"]) for span, e in zip(spans, placed, strict=True)])
    doc.ents = spans
    if title:
        doc.user_data["title"] = title
    return doc


def add_group(doc: Doc, key: str, scored: Sequence[tuple[Any, float]]) -> None:
    """A span group with scores, as an annotator leaves it."""
    spans, scores = [span for span, _ in scored], [score for _, score in scored]
    doc.spans[key] = SpanGroup(doc, name=key, attrs={"scores": scores}, spans=spans)
