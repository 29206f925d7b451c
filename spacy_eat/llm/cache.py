"""The request cache: what an LLM has answered once is not asked again.

An entry is found by its content (a digest of the backend's identity and the
whole request), so changing the model, a parameter, the labels or a word of the
text asks anew, and nothing ever has to be invalidated. Only the digest and the
answer are stored: no prompt, no key, no pickle.
"""

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..weights.prepare import cache_folder

logger = logging.getLogger(__name__)

# Reads mark an entry as used at most this often (seconds), so that a run from
# a warm cache is a run without writes.
TOUCH_EVERY = 3600
# What an entry costs beside its answer: digest, index, row (bytes).
OVERHEAD = 120

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    digest BLOB PRIMARY KEY, answer BLOB NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_used ON answers (used);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
"""


def digest(*parts: Any) -> bytes:
    """RETURNS (bytes): SHA-256 of the parts, which must be JSON-serialisable."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).digest()


class RequestCache:
    """Answers by digest in one SQLite file, shared by any number of threads
    and processes on one machine (not over a network file system).

    path (Path): The file. Made, with its folder, at the first use.
    size_mb (float): Bound on the stored answers. Beyond it, the least recently
        used entries go (recency is kept to the hour).
    """

    def __init__(self, path: Path, size_mb: float = 1024) -> None:
        self.path = Path(path).expanduser()
        self.size_mb = size_mb
        self._db: sqlite3.Connection | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, cache: str | None, size_mb: float) -> "RequestCache | None":
        """Make the cache that a backend's settings name.

        cache (Optional[str]): Path of the file, "auto" for requests.sqlite in
            the user's cache folder, None for no cache.
        size_mb (float): Its size bound in megabytes.
        RETURNS (Optional[RequestCache]): The cache, not opened yet.
        """
        if cache is None:
            return None
        if not cache or size_mb <= 0:
            raise ValueError('cache must be a path, "auto" or null, and cache_size_mb above 0')
        return cls(cache_folder() / "requests.sqlite" if cache == "auto" else Path(cache), size_mb)

    def get(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        """RETURNS (Dict[bytes, str]): The answers that are stored, by digest."""
        found: dict[bytes, str] = {}
        stale: list[tuple[int, bytes]] = []
        now = int(time.time())
        with self._connection() as db:
            for start in range(0, len(digests), 500):  # SQLite bounds the variables of a statement
                chunk = digests[start : start + 500]
                marks = ",".join("?" * len(chunk))
                rows = db.execute(
                    f"SELECT digest, answer, used FROM answers WHERE digest IN ({marks})", chunk
                )
                for key, answer, used in rows:
                    found[key] = answer.decode("utf-8", "surrogatepass")
                    if now - used >= TOUCH_EVERY:
                        stale.append((now, key))
            if stale:
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    db.executemany("UPDATE answers SET used = ? WHERE digest = ?", stale)
        return found

    def put(self, answers: Mapping[bytes, str]) -> None:
        """Store answers.

        answers (Mapping[bytes, str]): By digest. Those already there stay.
        """
        now = int(time.time())
        rows = [(key, text.encode("utf-8", "surrogatepass"), now) for key, text in answers.items()]
        with self._connection() as db, db:
            db.execute("BEGIN IMMEDIATE")
            added = 0
            for row in rows:
                if db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row).rowcount:
                    added += len(row[1]) + OVERHEAD
            db.execute("UPDATE total SET bytes = bytes + ?", (added,))
            self._evict(db)

    def drop(self, digests: Sequence[bytes]) -> None:
        """Forget answers.

        digests (Sequence[bytes]): Those of no use.
        """
        if not digests:
            return
        with self._connection() as db, db:
            db.execute("BEGIN IMMEDIATE")
            freed = 0
            for key in digests:
                for (size,) in db.execute("SELECT length(answer) FROM answers WHERE digest = ?", (key,)):
                    freed += size + OVERHEAD
                db.execute("DELETE FROM answers WHERE digest = ?", (key,))
            db.execute("UPDATE total SET bytes = bytes - ?", (freed,))

    def _evict(self, db: sqlite3.Connection) -> None:
        limit = int(self.size_mb * 1_000_000)
        (total,) = db.execute("SELECT bytes FROM total").fetchone()
        if total <= limit:
            return
        freed, gone = 0, []
        for rowid, size in db.execute("SELECT rowid, length(answer) FROM answers ORDER BY used, rowid"):
            if total - freed <= limit * 0.9:
                break
            gone.append((rowid,))
            freed += size + OVERHEAD
        db.executemany("DELETE FROM answers WHERE rowid = ?", gone)
        db.execute("UPDATE total SET bytes = bytes - ?", (freed,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process. What goes wrong with it later (a full
        disk, a file locked for minutes) costs entries, with a warning, and not
        the run."""
        with self._lock:
            if self._db is None or self._pid != os.getpid():  # a connection does not survive a fork
                self._db, self._pid = self._open(), os.getpid()
            try:
                yield self._db
            except sqlite3.Error as err:
                logger.warning("The request cache %s failed: %s", self.path, err)

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript("BEGIN IMMEDIATE;" + SCHEMA + "COMMIT;")
            return db
        except (OSError, sqlite3.Error) as err:
            raise ValueError(
                f"Can't use {self.path} as the request cache: {err}. Delete the file, name another "
                "one as `cache`, or turn the cache off with `cache = null`."
            ) from err

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "size_mb": self.size_mb}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _patiently(act: Callable[[], Any], seconds: float = 60.0) -> None:
    """Do what SQLite refuses at once, whatever its timeout, while another
    process does the same: to change the journal of a new file."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
