"""The pages as scripts: their code blocks, run one after the other in a folder of their own.

A page is a script: its Python blocks share their names, a block with a title (`title="texts.jsonl"`) is a
file of the folder, and a `text` block right after one that was run is what that one printed, in which
numbers with a point may differ. A comment before a block says what is special about it:

    <!-- needs: model -->     the embedded models; the page has the marker `model`
    <!-- not run: a GPU -->   and why. Python is compiled then, and commands must have the options they name
"""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import srsly
from typer.main import get_command
from typer.testing import CliRunner

from spacy_eat.cli import spacy_app

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FENCE = re.compile(
    r"(?:^ *<!-- (?P<mark>[\w ]+): (?P<reason>[^>]*) -->\n)?"
    r"^(?P<indent> *)```(?P<lang>\w*)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# The servers that examples have: vLLM's and Ollama's.
URLS = re.compile(r"http://localhost:(?:8000|11434)/v1")
NUMBER = re.compile(r"\d+\.\d+")


@dataclass
class Block:
    """A code block: `line` is where its code begins, `mark` and `reason` are of the comment before it."""

    path: Path
    line: int
    lang: str
    title: str | None
    code: str
    mark: str
    reason: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', match["info"])
        yield Block(
            path,
            text.count("\n", 0, match.start("code")) + 1,
            match["lang"],
            title and title[1],
            textwrap.dedent(match["code"]),
            match["mark"] or "",
            match["reason"] or "",
        )


def run(path: Path, folder: Path, server: str) -> list[str]:
    """Run a page.

    folder (Path): The current one. It gets the configs of the repository, and what the page writes.
    server (str): URL of an LLM that stands in for those of the examples.
    RETURNS (List[str]): What each block has printed.
    """
    (folder / "configs").mkdir()
    for config in (ROOT / "configs").glob("*.cfg"):
        text = URLS.sub(server, config.read_text(encoding="utf-8"))
        (folder / "configs" / config.name).write_text(text, encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "__main__"}
    printed: list[str] = []
    for block in blocks(path):
        code = URLS.sub(server, block.code)
        if block.title:
            Path(folder, block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, block.title).write_text(code, encoding="utf-8")
        if block.mark == "not run":
            check(block)
        elif block.lang == "python":
            compiled = compile("\n" * (block.line - 1) + code, str(block.path), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compiled, scope)
            printed.append(output.getvalue())
        elif block.lang == "bash":
            printed.append("".join(_run(words, block) for words in commands(code)))
        elif block.lang == "text" and printed:
            _compare(block, printed[-1])
        elif block.lang == "ini":
            check_registered(block)
    return printed


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command of a shell block."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def _run(words: list[str], block: Block) -> str:
    """Run a command in this process, where it is one of spaCy's: models that were loaded stay so."""
    if words[:2] == ["pip", "install"]:
        check_command(words, block)
        return ""
    if words[:3] == ["python", "-m", "spacy"]:
        result = CliRunner().invoke(spacy_app, words[3:])
        failed = f"{block.place}: {shlex.join(words)}\n{result.output}{result.exception or ''}"
        assert result.exit_code == 0, failed
        return result.output
    assert words[0] == "python", f"{block.place}: {words[0]} is not run here"
    done = subprocess.run(
        [sys.executable, *words[1:]], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{block.place}: {done.stderr}"
    return done.stdout


def _compare(block: Block, printed: str) -> None:
    """Each line of the block stands in what was printed, in order, but for numbers with a point."""
    lines = iter([NUMBER.sub("#", line.rstrip()) for line in printed.splitlines()])
    for line in filter(str.strip, block.code.splitlines()):
        assert NUMBER.sub("#", line.rstrip()) in lines, f"{block.place}: {line!r} is not in {printed!r}"


# --- What is not run ---------------------------------------------------------


def check(block: Block) -> None:
    """Check a block without running it."""
    if block.lang == "python":
        compile(block.code, block.place, "exec")
    elif block.lang == "bash":
        for words in commands(block.code):
            check_command(words, block)


def check_command(words: list[str], block: Block) -> None:
    """A command has the options that are named, and its names are there."""
    place = f"{block.place}: {shlex.join(words)}"
    if words[:2] == ["pip", "install"]:
        for extra in ",".join(re.findall(r"\[([\w,]+)\]", " ".join(words))).split(","):
            assert not extra or extra in PROJECT["optional-dependencies"], f"{place}: no extra {extra}"
    elif words[:4] == ["python", "-m", "spacy", "project"]:
        project = srsly.read_yaml(ROOT / "project.yml")
        names = {*project["workflows"], *(command["name"] for command in project["commands"])}
        assert words[4] in ("run", "assets", "document") and {*words[5:6]} <= names, place
    elif words[:3] == ["python", "-m", "spacy"]:
        command, rest = get_command(spacy_app), words[3:]
        while hasattr(command, "commands"):  # a group; Click's own, or the one that Typer brings
            command = command.commands[rest.pop(0)]
        known = {name for option in command.params for name in option.opts}
        for word in rest:
            overrides = command.context_settings.get("ignore_unknown_options") and "." in word
            assert not re.match(r"--?[a-z]", word) or overrides or word in known, f"{place}: no {word}"
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        spec = find_spec(words[2])
        assert spec is not None and spec.origin, place
        source = Path(spec.origin).read_text(encoding="utf-8")
        for word in words[3:]:
            assert not word.startswith("--") or f'"{word}"' in source, f"{place}: no {word}"


def check_registered(block: Block) -> None:
    """The registered names of a config are entry points of this package, or of others."""
    ours = {name for group in PROJECT["entry-points"].values() for name in group}
    for name in re.findall(r'"(spacy_eat\.\w+\.v\d+)"', block.code):
        assert name in ours, f"{block.place}: {name}"
