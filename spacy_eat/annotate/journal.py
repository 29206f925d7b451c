"""The output of a run, which is also the record of how far it came.

Every record ends as one line: in the output if it was annotated, in the side
file if it failed. Both are only appended to, batch by batch, the side file
first, and its lines carry the number of their record. So the number of lines
says which record is next, after a kill at any point, and there is no third
file to disagree with the other two.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .records import InputError, Record


class Result(NamedTuple):
    """What became of a record: either an output or an error.

    output (Optional[Dict[str, Any]]): The line to write.
    error (Optional[str]): Why there is none.
    """

    record: Record
    output: dict[str, Any] | None
    error: str | None = None


class Journal:
    """An append-only pair of JSONL files.

    path (Path): Where annotated records go.
    failed (Path): Where failed records go.
    """

    def __init__(self, path: Path, failed: Path) -> None:
        self.path = path
        self.failed = failed
        self.new = self.path.with_name(self.path.name + ".new")
        self.new_failed = self.failed.with_name(self.failed.name + ".new")

    @property
    def begun(self) -> bool:
        return any(path.exists() and path.stat().st_size for path in (self.path, self.failed))

    def remove(self) -> None:
        for path in (self.path, self.failed, self.new, self.new_failed):
            path.unlink(missing_ok=True)

    def recover(self) -> int:
        """Finish or undo what a kill interrupted.

        RETURNS (int): The number of the next record to annotate.
        """
        # `replace` renames the side file last: if only that is left to do, do it.
        if self.new_failed.exists() and not self.new.exists():
            self.new_failed.replace(self.failed)
        self.new.unlink(missing_ok=True)
        self.new_failed.unlink(missing_ok=True)
        following = _cut_torn_line(self.path)
        _cut_torn_line(self.failed)
        end = 0
        if self.failed.exists():
            with self.failed.open("rb") as file:
                for line in file:
                    if json.loads(line)["number"] > following:
                        break
                    following += 1
                    end += len(line)
            os.truncate(self.failed, end)
            self._drop_empty_side_file()
        return following

    def _drop_empty_side_file(self) -> None:
        if self.failed.stat().st_size == 0:
            self.failed.unlink()

    def append(self, results: Iterable[Result]) -> None:
        """Write the results of the next records; they are on the disk when it returns."""
        results = list(results)
        _append(self.failed, (line for line in map(_failed_line, results) if line))
        _append(self.path, (line for line in map(_line, results) if line))

    def failed_numbers(self) -> list[int]:
        if not self.failed.exists():
            return []
        with self.failed.open("rb") as file:
            return [json.loads(line)["number"] for line in file]

    def outputs(self) -> Iterator[dict[str, Any]]:
        """The annotated records, in order."""
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    yield json.loads(line)

    def last_output(self) -> dict[str, Any] | None:
        line = b""
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:  # noqa: B007
                    pass
        return json.loads(line) if line else None

    def replace(self, results: Iterable[Result]) -> None:
        """Put new results in the places of the failed records.

        results (Iterable[Result]): One for each of `failed_numbers`, in order.
        RAISES (InputError): If there is not one for each. Nothing is changed then.
        """
        expected, seen = self.failed_numbers(), []
        with self.new.open("wb") as new, self.new_failed.open("wb") as new_failed:
            number = 0
            with self.path.open("rb") if self.path.exists() else open(os.devnull, "rb") as old:
                for result in results:
                    for _ in range(result.record.number - number):
                        new.write(old.readline())
                    number = result.record.number + 1
                    seen.append(result.record.number)
                    new.write(_line(result))
                    new_failed.write(_failed_line(result))
                if seen != expected:
                    raise InputError(f"{self.failed} lists records that the input does not have")
                for line in old:
                    new.write(line)
            for file in (new, new_failed):
                file.flush()
                os.fsync(file.fileno())
        self.new.replace(self.path)
        self.new_failed.replace(self.failed)
        self._drop_empty_side_file()


def _line(result: Result) -> bytes:
    return b"" if result.output is None else to_json(result.output)


def _failed_line(result: Result) -> bytes:
    if result.output is not None:
        return b""
    number, where, _, fields, *_ = result.record
    return to_json({"number": number, "where": where, "error": result.error, "input": fields})


def to_json(value: dict[str, Any]) -> bytes:
    """One line of JSON. Lone surrogates, which UTF-8 has no bytes for, are escaped."""
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode("utf-8") + b"\n"


def _append(path: Path, lines: Iterable[bytes]) -> None:
    content = b"".join(lines)
    if content:
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> int:
    """Cut what follows the last line break. RETURNS (int): The number of lines."""
    lines = end = 0
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    lines += 1
                    end += len(line)
        os.truncate(path, end)
    return lines


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second run off the same output. The lock goes with the process,
    however that ends. Not on Windows."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{path} is being written by another run") from error
        yield
