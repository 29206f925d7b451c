"""Annotated and raw text: readers of the formats there are, and dictionaries of names."""

from .files import CorpusError, read_docs, read_jsonl
from .labels import Schema, label_table, schemas
from .readers import Record, detect_format, read, to_docs, to_examples, uner_names

__all__ = [
    "CorpusError",
    "Record",
    "Schema",
    "detect_format",
    "label_table",
    "read",
    "read_docs",
    "read_jsonl",
    "schemas",
    "to_docs",
    "to_examples",
    "uner_names",
]
