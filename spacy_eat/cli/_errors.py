"""Errors of a user's making, in a line and without a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_errors() -> Iterator[None]:
    """What is wrong with files, names, settings (ValueError) or packages ends the command with one message
    and exit code 1. Anything else is a mistake in the code, and keeps its traceback."""
    from wasabi import msg

    from ..annotate.records import InputError
    from ..pipelines import PipelineError
    from ..types import Failure

    try:
        yield
    except (ValueError, ImportError, InputError, PipelineError, Failure) as error:
        msg.fail(str(error), exits=1)
    except OSError as error:
        if error.filename is None:
            raise
        msg.fail(f"{error.filename}: {error.strerror}", _remedy(str(error.filename)), exits=1)


def _remedy(path: str) -> str:
    cache = os.environ.get("SPACY_EAT_CACHE")
    if cache and path.startswith(cache):
        return "Set SPACY_EAT_CACHE to a folder that can be written"
    return "Give a path that can be read or written, as it is needed"


def check_writable(path: Path) -> None:
    """Fail before the work is done, not after it.

    path (Path): A file to be written; its folder is made.
    RAISES (OSError): If it cannot be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    path.open("ab").close()
    if is_new:
        path.unlink()


def no_colours_in_files() -> None:
    """Colours are for terminals, and for those who have not set NO_COLOR (https://no-color.org)."""
    from wasabi import msg

    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        msg.show_color = False
