"""What a component tells of the sentences that failed: nothing is lost in silence, or said twice."""

import logging
import re
from collections.abc import Iterable
from typing import Literal

from ..types import Failure

logger = logging.getLogger(__name__)

# What becomes of a sentence that failed, beside its record in `doc._.eat`:
#   record  the first one of each cause is told as a warning of the logger "spacy_eat", the rest goes on
#   raise   the component raises a `Failure` (through spaCy's error handler), once the batch is recorded
OnError = Literal["record", "raise"]

_told: set[str] = set()


def tell(component: str, failures: Iterable[str | Exception], on_error: OnError = "record") -> None:
    """Tell the user of failed sentences: one warning for each cause, once in a process.

    component (str): Name of the component.
    failures (Iterable[Union[str, Exception]]): Why each of the sentences failed.
    on_error (str): "record" to warn, "raise" to raise the first one.
    RAISES (Failure): The first of the failures, where `on_error` is "raise".
    """
    reasons = [str(failure) for failure in failures]
    if reasons and on_error == "raise":
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise Failure(f"{component}: {reasons[0]}{others}")
    causes: dict[str, list[str]] = {}
    for reason in reasons:
        causes.setdefault(_cause(reason), []).append(reason)
    for cause, alike in causes.items():
        if cause not in _told:
            _told.add(cause)
            logger.warning(
                "%s: %d sentence%s failed: %s. The reason is in doc._.eat of each; run the pipeline again to "
                'retry. This is told once; on_error = "raise" stops instead.',
                component,
                len(alike),
                "s" * (len(alike) > 1),
                alike[0].rstrip("."),
            )


def warn_once(component: str, message: str) -> None:
    """Tell the user of what is missing, once in a process.

    component (str): Name of the component.
    message (str): What is missing, and what to do.
    """
    if message not in _told:
        _told.add(message)
        logger.warning("%s: %s", component, message)


def forget() -> None:
    """Tell everything anew."""
    _told.clear()


def _cause(reason: str) -> str:
    """RETURNS (str): A reason without what differs from one sentence to the next: the step, quotes and
    numbers (but for the status of HTTP)."""
    reason = reason.removeprefix("translation: ").removeprefix("alignment: ")
    unquoted = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "''", reason)
    return re.sub(r"(?<!HTTP )(?<![\w.])\d[\d.]*", "0", unquoted)
