"""Turning a finished journal into the output file that was asked for."""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from .journal import Journal
from .records import InputError, input_files, pyarrow, suffix_of, unpack

SUFFIXES = (".jsonl", ".parquet", ".spacy")


def journal_for(target: Path) -> Journal:
    """A .jsonl output is its own journal; .parquet and .spacy, which cannot be
    appended to, are made from `OUT.partial.jsonl` at the end."""
    if suffix_of(target) not in SUFFIXES:
        raise InputError(f"{target}: unknown suffix; one of {', '.join(SUFFIXES)} is needed")
    path = target if target.suffix == ".jsonl" else target.with_name(target.name + ".partial.jsonl")
    return Journal(path, target.with_name(target.name + ".failed.jsonl"))


def finish(journal: Journal, target: Path, source: Path) -> None:
    """Write the output, all of it or not at all.

    journal (Journal): The finished journal. It is kept as long as records are
        in the side file, as a retry needs it.
    target (Path): The output.
    source (Path): The input; if it is .parquet, column types are taken from it.
    """
    if target == journal.path:
        return
    new = target.with_name(target.name + ".new")
    if target.suffix == ".parquet":
        _write_parquet(journal, new, source)
    else:
        _write_spacy(journal, new)
    os.replace(new, target)
    if not journal.failed.exists():
        journal.path.unlink()


def _write_spacy(journal: Journal, path: Path) -> None:
    """One `DocBin`; it is held in memory until it is written."""
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    docs = DocBin(store_user_data=True)
    vocab = Vocab()
    for output in journal.outputs():
        docs.add(unpack(output["doc"], vocab))
    docs.to_disk(path)


def _write_parquet(journal: Journal, path: Path, source: Path) -> None:
    """Row group by row group, after a first pass over the journal for the types."""
    pa, parquet = pyarrow()
    entity = {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string()}
    entity |= {"english": pa.string(), "score": pa.float64(), "status": pa.string()}
    types: dict[str, Any] = {}
    for file in input_files(source):
        if file.suffix == ".parquet":
            types |= {field.name: field.type for field in parquet.read_schema(file)}
    types |= {"entities": pa.list_(pa.struct(list(entity.items())))}
    found: dict[str, Any] = {}
    for columns in _columns(journal):
        for name, values in columns.items():
            kind = pa.null()
            if name not in types:
                try:
                    kind = pa.array(values).type
                    kind = pa.unify_schemas(
                        [pa.schema({name: found.get(name, kind)}), pa.schema({name: kind})],
                        promote_options="permissive",
                    ).types[0]
                except pa.ArrowException:  # values of several types: kept as text
                    kind = pa.string()
            found[name] = kind
    types = {name: types.get(name, kind) for name, kind in found.items()} or types

    def column(values: list[Any], kind: Any) -> Any:
        if pa.types.is_string(kind):
            values = [
                v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values
            ]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError):
            return pa.array(values).cast(kind)  # dates, which the journal has as text

    schema = pa.schema(types)
    with parquet.ParquetWriter(path, schema) as writer:
        for columns in _columns(journal):
            size = len(next(iter(columns.values())))
            arrays = [column(columns.get(name, [None] * size), kind) for name, kind in types.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _columns(journal: Journal, size: int = 4096) -> Iterator[dict[str, list[Any]]]:
    """The outputs, some thousand at a time, as columns."""
    outputs = journal.outputs()
    while rows := list(islice(outputs, size)):
        yield {
            name: [row.get(name) for row in rows] for name in dict.fromkeys(k for row in rows for k in row)
        }
