"""What the labels of corpora become: a file in `schemas` for each corpus."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import srsly

Labels = Mapping[str, str | None]

SCHEMAS = Path(__file__).with_name("schemas")
LEFT_OUT = "left_out"


class Schema(NamedTuple):
    """The labels of a corpus.

    name, source, licence (str): Of the corpus.
    labels (Dict[str, Optional[str]]): What each of its labels becomes; None: not an entity.
    """

    name: str
    source: str
    licence: str
    labels: dict[str, str | None]


def read_schema(path: Path) -> Schema:
    """A schema from a YAML file: name, source, licence, and under labels for each label its corpus's labels.

    path (Path): The file.
    RETURNS (Schema): What it says.
    RAISES (ValueError): If a key is missing or wrong.
    """
    data: Any = srsly.read_yaml(path)
    if not isinstance(data, dict) or set(data) != set(Schema._fields):
        found = ", ".join(map(str, data)) if isinstance(data, dict) else data
        raise ValueError(f"{path}: the keys are {found}. They must be {', '.join(Schema._fields)}")
    labels: dict[str, str | None] = {}
    for ours, theirs in data["labels"].items():
        for label in theirs if isinstance(theirs, list) else [theirs]:
            if not isinstance(label, str) or label in labels:
                problem = "is listed twice" if label in labels else "is not a string"
                raise ValueError(
                    f"{path}: the label {label!r} {problem}. List each once, below what it becomes"
                )
            labels[label] = None if ours == LEFT_OUT else ours
    return Schema(data["name"], data["source"], data["licence"], labels)


@cache
def schemas() -> dict[str, Schema]:
    """RETURNS (Dict[str, Schema]): All schemas, by the names of their files."""
    return {path.stem: read_schema(path) for path in sorted(SCHEMAS.glob("*.yaml"))}


@cache
def all_labels() -> Labels:
    """The labels of all schemas together, which tell the schema of most corpora. A label that means
    different things in two of them is left out: such a corpus needs its schema named.

    RETURNS (Mapping[str, Optional[str]]): What each label becomes.
    """
    merged: dict[str, str | None] = {}
    disputed = set()
    for schema in schemas().values():
        for label, ours in schema.labels.items():
            if merged.setdefault(label, ours) != ours:
                disputed.add(label)
    return {label: ours for label, ours in merged.items() if label not in disputed}


def label_table(labels: str | Labels) -> Labels:
    """What labels become.

    labels (Union[str, Mapping[str, Optional[str]]]): "auto" for the labels of all schemas, the name of a
        schema, or a table.
    RETURNS (Mapping[str, Optional[str]]): The table.
    RAISES (ValueError): If there is no such schema.
    """
    if not isinstance(labels, str):
        return labels
    if labels == "auto":
        return all_labels()
    if labels not in schemas():
        raise ValueError(f"There is no schema of labels {labels!r}, only {', '.join(schemas())}, and auto")
    return schemas()[labels].labels
