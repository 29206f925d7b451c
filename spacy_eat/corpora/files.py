"""Lines, JSON objects and docs of files: the one place that reads them.

What cannot be read is either put aside by its reader (a line knows its error), or stops it with a
`CorpusError`.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab


class CorpusError(ValueError):
    """A corpus that cannot be read. The message names file, line and remedy."""

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        where = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {problem}. {remedy}")


class Line(NamedTuple):
    """A line of a UTF-8 file.

    number (int): From 1.
    text (str): Without its line break. Bytes that are not UTF-8 are written as escapes.
    error (Optional[str]): What is wrong with it.
    """

    number: int
    text: str
    error: str | None = None


class Row(NamedTuple):
    """A line of a JSONL file.

    line (Line): As it stands there.
    value (Dict[str, Any]): The object, empty if there is an error.
    error (Optional[str]): Why the line is not a JSON object.
    """

    line: Line
    value: dict[str, Any]
    error: str | None = None


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, which may be compressed (.gz). Only "\\n" and "\\r\\n" end one.

    path (Path): The file. A byte order mark is left out.
    YIELDS (Line): All lines, those that are not UTF-8 with an error.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with cast(IO[bytes], opened(path, "rb")) as file:
        for number, raw in enumerate(file, 1):
            raw = raw.rstrip(b"\r\n")
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield Line(number, raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                problem = f"byte {raw[error.start]:#04x} is not UTF-8"
                yield Line(number, raw.decode("utf-8", errors="backslashreplace"), problem)


def read_jsonl(path: Path) -> Iterator[Row]:
    """The objects of a JSONL file, which may be compressed (.gz). Empty lines are none.

    path (Path): The file.
    YIELDS (Row): One for each line that is not empty, those that are no JSON object with an error.
    """
    for line in read_lines(path):
        if not line.text.strip():
            continue
        value: Any = None
        error = line.error
        if error is None:
            try:
                value = json.loads(line.text)
                error = None if isinstance(value, dict) else "not a JSON object"
            except (ValueError, RecursionError) as problem:
                error = f"not JSON ({problem})"
        yield Row(line, {} if error else value, error)


def read_fields(path: Path, fields: Sequence[str], dropped: Counter[str]) -> Iterator[dict[str, str]]:
    """The objects of a JSONL file that have all fields as text that is not empty.

    path (Path): The file.
    fields (Sequence[str]): The fields.
    dropped (Counter[str]): Counts what is left out, by reason.
    YIELDS (Dict[str, str]): The fields, stripped.
    """
    for _, value, error in read_jsonl(path):
        if error and error != "not a JSON object":
            dropped["broken line"] += 1
        elif any(not isinstance(value.get(field), str) for field in fields):
            dropped["missing field"] += 1
        elif all(stripped := {field: value[field].strip() for field in fields}.values()):
            yield dict(zip(fields, stripped, strict=True))
        else:
            dropped["empty field"] += 1


def read_docs(path: Path, vocab: "Vocab") -> Iterator["Doc"]:
    """The docs of a .spacy file, or of all those in a folder.

    path (Path): The file or folder.
    vocab (Vocab): The vocabulary.
    YIELDS (Doc): The docs; a file is held in memory as a whole.
    RAISES (CorpusError): If there are none, or a file is not one.
    """
    from spacy.tokens import DocBin

    files = sorted(path.glob("*.spacy")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        remedy = "Write one with `DocBin.to_disk`, `spacy convert` or `spacy eat annotate`"
        raise CorpusError(path, None, "no .spacy file", remedy)
    for file in files:
        try:
            docs = DocBin().from_disk(file)
        except Exception as error:  # zlib, msgpack or key errors: whatever the bytes are
            raise CorpusError(
                file, None, "not a DocBin", "Write it with `DocBin.to_disk`, or annotate the texts again"
            ) from error
        yield from docs.get_docs(vocab)
