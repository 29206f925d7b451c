import sys
import webbrowser
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ._errors import check_writable, plain_errors

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..annotate.records import Record

INPUT_HELP = "A text, or a file: .txt (a line is a doc), .jsonl, .parquet, or .spacy, annotated or not"
PIPELINE_HELP = (
    "Package, path, .cfg or language code (default: by the script; annotated .spacy files need none)"
)
OUTPUT_HELP = "The page; - for the standard output (default: a temporary file, and the browser opens it)"
CODE_HELP = "Python file to import first"


def show_cli(
    source: Annotated[str, Argument(metavar="INPUT", help=INPUT_HELP)],
    pipeline: Annotated[str | None, Option("--pipeline", "-p", help=PIPELINE_HELP)] = None,
    output: Annotated[Path | None, Option("--output", "-o", help=OUTPUT_HELP)] = None,
    limit: Annotated[int, Option("--limit", "-l", min=0, help="Only the first docs; 0: all")] = 100,
    text_field: Annotated[str, Option(help="Field or column with the text")] = "text",
    code: Annotated[Path | None, Option("--code", "-c", exists=True, help=CODE_HELP)] = None,
) -> None:
    """
    Show texts with their English and their entities, as a page of HTML.
    """
    from spacy.util import import_file
    from wasabi import msg

    from ..viewer import render

    if code:
        import_file("python_code", code)
    to_stdout = output is not None and str(output) == "-"
    with plain_errors():
        if output and not to_stdout:
            check_writable(output)
        docs = list(islice(_docs(source, pipeline, text_field), limit or None))
        if not docs:
            raise ValueError(f"There is nothing to show in {source!r}")
        page = render(docs, page=True, jupyter=False) or ""
        if to_stdout:
            sys.stdout.buffer.write(page.encode("utf-8"))
            return
        path = output or Path(mkdtemp(prefix="spacy-eat-")) / "show.html"
        path.write_text(page, encoding="utf-8")
    msg.good(f"{len(docs)} doc{'s' * (len(docs) != 1)}: {path}")
    if output is None:
        webbrowser.open(path.as_uri())


def _docs(source: str, pipeline: str | None, text_field: str) -> Iterator["Doc"]:
    """The docs of the input, annotated."""
    from spacy.vocab import Vocab

    from ..annotate import read_records
    from ..corpora import read_docs
    from ..languages import guess_language
    from ..pipelines import load_pipeline

    path = Path(source) if _is_path(source) else None
    if path and path.suffix == ".spacy" and pipeline is None:
        yield from read_docs(path, Vocab())
        return
    texts = map(_text, read_records(path, text_field)) if path else iter([source])
    first = next(texts, None)
    if first is None:
        return
    name = pipeline or guess_language([first])
    if name is None:
        raise ValueError("The script of the text does not tell its language: use --pipeline")
    yield from load_pipeline(name).pipe(chain([first], texts))


def _is_path(source: str) -> bool:
    from ..annotate.records import SUFFIXES

    if source.endswith(SUFFIXES) and not any(map(str.isspace, source)):
        return True
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a text that is too long for a path, or has characters that none has
        return False


def _text(record: "Record") -> str:
    """RAISES (ValueError): If the record cannot be read."""
    if record.error:
        raise ValueError(record.error)
    return record.text
