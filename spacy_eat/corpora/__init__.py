"""Annotated and raw text: readers of the formats there are, and dictionaries of names."""

from .readers import (
    LABELS,
    CorpusError,
    Record,
    Span,
    convert,
    detect_format,
    read,
    to_docs,
    to_examples,
    uner_names,
)

__all__ = [
    "LABELS",
    "CorpusError",
    "Record",
    "Span",
    "convert",
    "detect_format",
    "read",
    "to_docs",
    "to_examples",
    "uner_names",
]
