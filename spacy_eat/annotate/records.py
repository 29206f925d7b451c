"""Reading records: one after the other, whatever the file, the broken ones too."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..corpora import read_docs, read_jsonl
from ..corpora.files import read_lines

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".parquet", ".spacy")


class InputError(Exception):
    """A file cannot be read, or not to its end. The message names it."""


class Record(NamedTuple):
    """One document to annotate.

    number (int): Which one of the input it is, from 0.
    where (str): The same for people: file and line, row or doc.
    text (str): What to annotate.
    fields (Dict[str, Any]): What else the output keeps, as JSON.
    doc (Optional[str]): A tokenised doc (`Doc.to_bytes` in base64), from .spacy files.
    error (Optional[str]): Why the record cannot be read; `fields["input"]` is
        then what stands there.
    """

    number: int
    where: str
    text: str
    fields: dict[str, Any]
    doc: str | None = None
    error: str | None = None


class Source(NamedTuple):
    """Which records to annotate: small enough to be sent to another machine.

    path (Path): See `read_records`.
    text_field (str): See `read_records`.
    start (int): The first record.
    only (Optional[Tuple[int, ...]]): Only these records.
    """

    path: Path
    text_field: str = "text"
    start: int = 0
    only: tuple[int, ...] | None = None

    def batches(self, size: int) -> Iterator[list[Record]]:
        """The records, some at a time."""
        only = None if self.only is None else frozenset(self.only)
        records = islice(read_records(self.path, self.text_field), self.start, None)
        chosen = (record for record in records if only is None or record.number in only)
        while batch := list(islice(chosen, size)):
            yield batch


def read_records(source: Path, text_field: str = "text") -> Iterator[Record]:
    """Read a file, or all files of a folder in the order of their names.

    In .txt every line is a record. In .jsonl empty lines are no records. A
    record that cannot be read has an `error`; the others are not affected.

    source (Path): A file with one of the `SUFFIXES`, or a folder of them.
    text_field (str): The field of .jsonl and the column of .parquet with the text.
    YIELDS (Record): Records, in order; memory does not grow with the file
        (a .spacy file is one block, and is held whole).
    RAISES (InputError): If there is no such file, the suffix is unknown, or the
        file as a whole is broken, which may show only on the way.
    """
    number = 0
    for path in input_files(source):
        read: Callable[[Path, str], Iterator[Record]] = {
            ".txt": _read_txt,
            ".jsonl": _read_jsonl,
            ".jsonl.gz": _read_jsonl,
            ".parquet": _read_parquet,
            ".spacy": _read_spacy,
        }[suffix_of(path)]
        try:
            for record in read(path, text_field):
                yield record._replace(number=number)
                number += 1
        except InputError:
            raise
        except Exception as error:  # what gzip, pyarrow and DocBin raise has no common name
            raise InputError(f"{path} is broken after record {number}: {error}") from error


def count_records(source: Path) -> int | None:
    """How many records a file or folder has, if that is quickly found out.

    RETURNS (Optional[int]): None where only reading it all would tell.
    """
    total = 0
    for path in input_files(source):
        suffix = suffix_of(path)
        if suffix in (".txt", ".jsonl"):
            with path.open("rb") as file:
                total += sum(1 for line in file if suffix == ".txt" or line.strip())
        elif suffix == ".parquet":
            try:
                total += pyarrow()[1].read_metadata(path).num_rows
            except (OSError, ValueError):
                return None  # reading it will tell why
        else:
            return None
    return total


def input_files(source: Path) -> list[Path]:
    """The file, or the readable files of the folder in the order of their names."""
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.is_file() and suffix_of(path) in SUFFIXES)
        if not files:
            raise InputError(f"{source} has no files with one of the suffixes {', '.join(SUFFIXES)}")
        return files
    if not source.exists():
        raise InputError(f"{source} does not exist")
    if suffix_of(source) not in SUFFIXES:
        raise InputError(f"{source}: unknown suffix; one of {', '.join(SUFFIXES)} is needed")
    return [source]


def suffix_of(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _read_txt(path: Path, text_field: str) -> Iterator[Record]:
    for number, text, error in read_lines(path):
        where = f"{path.name}, line {number}"
        yield _broken(where, text, error) if error else Record(0, where, text, {text_field: text})


def _read_jsonl(path: Path, text_field: str) -> Iterator[Record]:
    for line, fields, error in read_jsonl(path):
        where = f"{path.name}, line {line.number}"
        if not error and not isinstance(fields.get(text_field), str):
            has = "is not a string" if text_field in fields else "is missing"
            error = f"field {text_field!r} {has} (there are: {', '.join(fields) or 'none'})"
        yield _broken(where, line.text, error) if error else Record(0, where, fields[text_field], fields)


def _read_parquet(path: Path, text_field: str) -> Iterator[Record]:
    file = pyarrow()[1].ParquetFile(path)
    if text_field not in file.schema_arrow.names:
        raise InputError(f"{path}: no column {text_field!r}, only {', '.join(file.schema_arrow.names)}")
    rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
    for n, row in enumerate(rows, 1):
        where = f"{path.name}, row {n}"
        fields = json.loads(json.dumps(row, default=str))  # dates and the like become strings
        if isinstance(fields[text_field], str):
            yield Record(0, where, fields[text_field], fields)
        else:
            yield _broken(where, fields, f"column {text_field!r} is not a string")


def _read_spacy(path: Path, text_field: str) -> Iterator[Record]:
    from spacy.vocab import Vocab

    for n, doc in enumerate(read_docs(path, Vocab()), 1):
        yield Record(0, f"{path.name}, doc {n}", doc.text, {text_field: doc.text}, pack(doc))


def pack(doc: "Doc") -> str:
    """A doc as text, for JSON."""
    return b64encode(doc.to_bytes()).decode("ascii")


def unpack(doc: str, vocab: "Vocab") -> "Doc":
    from spacy.tokens import Doc

    return Doc(vocab).from_bytes(b64decode(doc))


def _broken(where: str, content: Any, error: str) -> Record:
    return Record(0, where, "", {"input": content}, error=f"{where}: {error}")


def pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet, which only .parquet files need."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError('Parquet files need pyarrow: pip install "spacy-eat[parquet]"') from error
    return pyarrow, parquet
