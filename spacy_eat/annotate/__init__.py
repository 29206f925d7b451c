"""Annotating files: streaming, in order, and to be continued after any interruption."""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from .annotator import (
    Annotator,
    Done,
    PipelineError,
    Settings,
    guess_language,
    load_pipeline,
    to_fields,
    usage_of,
)
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


@dataclass
class Summary:
    """What a run did.

    annotated, failed (int): Records of this run.
    before (int): Records that were done when it began.
    seconds (float): Wall time, loading the pipeline included.
    usage (Counter[str]): What the LLM was asked for, by the fields of `Usage`.
    side_file (Path): Where the failed records are, if there are any.
    """

    annotated: int
    failed: int
    before: int
    seconds: float
    side_file: Path
    usage: Counter[str] = field(default_factory=Counter)


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
    RAISES (InputError, PipelineError): If a file cannot be used, or if whole
        batches fail for one reason. What was finished stays.
    """
    began = time.monotonic()
    journal = journal_for(target)
    # Complain before anything is written, or removed.
    for path in input_files(source):
        if path.resolve() in {p.resolve() for p in (target, journal.path, journal.failed)}:
            raise InputError(f"{path} cannot be input and output")
    if source.is_dir() and source.resolve() == target.resolve().parent:
        raise InputError(f"{target} would be in the input folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "new" and (journal.begun or (target != journal.path and target.exists())):
        raise InputError(f"{target} has been begun: --resume goes on with it, --overwrite starts again")
    if mode == "overwrite":
        target.unlink(missing_ok=True)
        journal.remove()
    summary = Summary(0, 0, 0, 0.0, journal.failed)
    if target != journal.path and target.exists() and not journal.begun:
        return summary  # a .parquet or .spacy file without failures is complete

    def count(done: Done) -> list[Result]:
        failed = sum(result.output is None for result in done.results)
        summary.failed += failed
        summary.annotated += len(done.results) - failed
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
