"""Annotating files: streaming, in order, and to be continued after any interruption."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from .annotator import Annotator, PipelineError, Settings, guess_language, load_pipeline, to_fields, usage_of
from .engines import Engine, here, processes
from .journal import Journal, Result, locked
from .outputs import finish, journal_for
from .records import InputError, Record, batched, count_records, input_files, read_records

__all__ = [
    "Annotator",
    "InputError",
    "Mode",
    "PipelineError",
    "Settings",
    "Summary",
    "annotate",
    "guess_language",
    "here",
    "load_pipeline",
    "processes",
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
    side_file (Path): Where the failed records are, if there are any.
    """

    annotated: int
    failed: int
    before: int
    seconds: float
    side_file: Path


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
    input_files(source)  # complains before anything is written
    journal = journal_for(target)
    if mode == "new" and (journal.begun or (target != journal.path and target.exists())):
        raise InputError(f"{target} has been begun: --resume goes on with it, --overwrite starts again")
    if mode == "overwrite":
        target.unlink(missing_ok=True)
        journal.remove()
    summary = Summary(0, 0, 0, 0.0, journal.failed)
    if target != journal.path and target.exists() and not journal.begun:
        return summary  # a .parquet or .spacy file without failures is complete

    def count(results: list[Result]) -> list[Result]:
        failed = sum(result.output is None for result in results)
        summary.failed += failed
        summary.annotated += len(results) - failed
        bar.set_postfix(failed=summary.failed, refresh=False)
        bar.update(len(results))
        return results

    with locked(journal.path):
        summary.before = journal.recover()
        records = read_records(source, settings.text_field)
        if mode == "retry":
            wanted = set(journal.failed_numbers())
            total: int | None = len(wanted)
            records = (record for record in records if record.number in wanted)
        else:
            total = count_records(source)
            records = _skip_finished(records, journal, summary.before, settings.text_field)
        from tqdm import tqdm

        done_before = 0 if mode == "retry" else summary.before
        with tqdm(total=total, initial=done_before, unit="doc", disable=None if progress else True) as bar:
            batches = engine(batched(records, settings.batch_size))
            if mode == "retry":
                journal.replace(chain.from_iterable(map(count, batches)))
            else:
                for results in batches:
                    journal.append(count(results))
        finish(journal, target, source)
    summary.seconds = time.monotonic() - began
    return summary


def _skip_finished(
    records: Iterator[Record], journal: Journal, finished: int, text_field: str
) -> Iterator[Record]:
    """The records that are not finished, if those that are come from this input."""
    failed = set(journal.failed_numbers())
    last = None
    for record in islice(records, finished):
        if record.number not in failed:
            last = record
    output = journal.last_output()
    if output and (last is None or output.get(text_field) != last.text):
        raise InputError(f"{journal.path} was made from another input, or with another --text-field")
    return records
