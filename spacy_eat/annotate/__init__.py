"""Annotating files: streaming, in order, and to be continued after any interruption."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from ..languages import guess_language
from ..pipelines import PipelineError, load_pipeline, usage_of
from .annotator import Annotator, Done, Settings, to_fields
from .engines import Engine, here, processes
from .journal import Journal, Result, locked
from .outputs import finish, journal_for
from .ray_engine import ray_cluster
from .records import InputError, Source, count_records, input_files, read_records

__all__ = [
    "Annotator",
    "Done",
    "InputError",
    "Mode",
    "PipelineError",
    "Settings",
    "Source",
    "Summary",
    "annotate",
    "guess_language",
    "here",
    "load_pipeline",
    "processes",
    "ray_cluster",
    "read_records",
    "to_fields",
    "usage_of",
]

Mode = Literal["new", "overwrite", "resume", "retry"]

# Docs in a row that may fail for one reason before a run stops: what is wrong is then not with them.
PATIENCE = 16
FIRST = 100  # records that are looked at before a run begins


@dataclass
class Summary:
    """What a run did.

    annotated, failed (int): Records of this run.
    before (int): Records that were done when it began.
    seconds (float): Wall time, loading the pipeline included.
    side_file (Path): Where the failed records are, if there are any.
    usage (Counter[str]): What the LLM was asked for, by the fields of `Usage`.
    error (Optional[str]): Of the first record that failed.
    """

    annotated: int
    failed: int
    before: int
    seconds: float
    side_file: Path
    usage: Counter[str] = field(default_factory=Counter)
    error: str | None = None


def annotate(
    source: Path,
    target: Path,
    settings: Settings,
    engine: Engine,
    *,
    mode: Mode = "new",
    progress: bool = True,
) -> Summary:
    """Annotate a file, or all files of a folder, into one file.

    source (Path): .txt, .jsonl, .jsonl.gz, .parquet, .spacy, or a folder of them.
    target (Path): .jsonl, .parquet or .spacy. Records that fail go to
        `OUT.failed.jsonl` beside it, with their number, place and error.
    settings (Settings): As the engine has them.
    engine (Engine): Where the work is done.
    mode (str): "new" refuses to touch an existing output; "overwrite" starts
        again; "resume" goes on after the last finished record; "retry" tries
        only the failed records and puts them into their places.
    progress (bool): Show a progress bar.
    RETURNS (Summary): What was done.
    RAISES (InputError, PipelineError): If a file cannot be used, or if 16 docs or
        more in a row, whole batches of them, fail for one reason. What was
        finished stays.
    """
    began = time.monotonic()
    journal = journal_for(target)
    # Complain before anything is written, or removed.
    for path in input_files(source):
        if path.resolve() in {p.resolve() for p in (target, journal.path, journal.failed)}:
            raise InputError(f"{path} cannot be input and output")
    if source.is_dir() and source.resolve() == target.resolve().parent:
        raise InputError(f"{target} would be in the input folder")
    _check_first(Source(source, settings.text_field))
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "retry" and not journal.begun and not target.exists():
        raise InputError(f"{target} has not been begun: there is nothing to retry")
    if mode == "new" and (journal.begun or (target != journal.path and target.exists())):
        raise InputError(f"{target} has been begun: --resume goes on with it, --overwrite starts again")
    if mode == "overwrite":
        target.unlink(missing_ok=True)
        journal.remove()
    summary = Summary(0, 0, 0, 0.0, journal.failed)
    if target != journal.path and target.exists() and not journal.begun:
        return summary  # a .parquet or .spacy file without failures is complete

    streak: Counter[str] = Counter()

    def count(done: Done) -> list[Result]:
        _check_whether_to_go_on(done.results, streak)
        failed = [result for result in done.results if result.output is None]
        if failed and summary.error is None:
            summary.error = failed[0].error
        summary.failed += len(failed)
        summary.annotated += len(done.results) - len(failed)
        summary.usage.update(done.usage)
        cost = {"cost": f"{summary.usage['cost']:.2f}"} if summary.usage["cost"] else {}
        bar.set_postfix(failed=summary.failed, **cost, refresh=False)
        bar.update(len(done.results))
        return done.results

    with locked(journal.path):
        summary.before = journal.recover()
        chosen = Source(source, settings.text_field)
        _check_input(journal, chosen, summary.before)
        if mode == "retry":
            chosen = chosen._replace(only=tuple(journal.failed_numbers()))
        else:
            chosen = chosen._replace(start=summary.before)
        total = count_records(source) if chosen.only is None else len(chosen.only)
        with tqdm(total=total, initial=chosen.start, unit="doc", disable=None if progress else True) as bar:
            if mode == "retry":
                journal.replace(chain.from_iterable(map(count, engine(chosen))))
            else:
                for done in engine(chosen):
                    journal.append(count(done))
        finish(journal, target, source)
    summary.seconds = time.monotonic() - began
    return summary


def _check_whether_to_go_on(results: Sequence[Result], streak: Counter[str]) -> None:
    """Stop where batch after batch fails for one reason. `streak` counts how often it did."""
    texts = [result for result in results if result.record.error is None and result.record.text.strip()]
    reasons = {result.error for result in texts}
    reason = reasons.pop() if len(reasons) == 1 else None
    for other in [other for other in streak if texts and other != reason]:
        del streak[other]
    if reason is not None:
        streak[reason] += len(texts)
        if streak[reason] >= PATIENCE:
            raise PipelineError(f"{streak[reason]} docs in a row failed for the same reason: {reason}")


def _check_first(source: Source) -> None:
    """Refuse an input whose first records cannot be read, such as with a wrong field for the text."""
    records = list(islice(read_records(source.path, source.text_field), FIRST))
    if records and all(record.error for record in records):
        raise InputError(f"None of the first {len(records)} records can be read. {records[0].error}")


def _check_input(journal: Journal, source: Source, finished: int) -> None:
    """Refuse to go on if the finished records were not made from this input."""
    output = journal.last_output()
    if output is None:
        return
    failed = set(journal.failed_numbers())
    last = next(number for number in reversed(range(finished)) if number not in failed)
    record = next(chain.from_iterable(source._replace(start=last).batches(1)), None)
    if record is None or record.text != output.get(source.text_field):
        raise InputError(f"{journal.path} was made from another input, or with another --text-field")
