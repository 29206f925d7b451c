from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ._errors import plain_errors

IN_HELP = ".txt (a line is a doc), .jsonl, .jsonl.gz, .parquet, .spacy, or a folder of them"
PIPELINE_HELP = "Package, path, .cfg or language code (default: by the script of the text)"
ENGLISH_HELP = "Field or column with the English of a text, where you have it: it is not translated again"
BATCH_HELP = "Docs that go through the pipeline together, and are saved together"


class EngineName(str, Enum):
    local = "local"
    ray = "ray"


def annotate_cli(
    source: Annotated[Path, Argument(metavar="IN", help=IN_HELP)],
    target: Annotated[Path, Argument(metavar="OUT", help=".jsonl, .parquet or .spacy")],
    pipeline: Annotated[str | None, Option("--pipeline", "-p", help=PIPELINE_HELP)] = None,
    resume: Annotated[bool, Option("--resume", help="Go on after the last finished doc")] = False,
    retry: Annotated[bool, Option("--retry", help="Try the failed docs again, and only them")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an existing output")] = False,
    text_field: Annotated[str, Option(help="Field or column with the text")] = "text",
    english_field: Annotated[str | None, Option(help=ENGLISH_HELP)] = None,
    batch_size: Annotated[int, Option(min=1, help=BATCH_HELP)] = 128,
    workers: Annotated[
        int, Option("--workers", "-w", min=1, help="Processes, each with its own pipeline")
    ] = 1,
    engine: Annotated[EngineName, Option(help="Where the workers run")] = (EngineName.local),
    ray_address: Annotated[str | None, Option(help="An existing Ray cluster (default: a local one)")] = None,
    code: Annotated[
        Path | None, Option("--code", "-c", exists=True, help="Python file to import first")
    ] = None,
) -> None:
    """
    Annotate a file. Every doc of IN becomes one in OUT, in the same order, or,
    if it failed, a line with its error in OUT.failed.jsonl.
    """
    from wasabi import msg

    from ..annotate import Mode, Settings, annotate, here, processes, ray_cluster

    modes: dict[Mode, bool] = {"resume": resume, "retry": retry, "overwrite": overwrite}
    chosen: list[Mode] = [mode for mode, wanted in modes.items() if wanted]
    if len(chosen) > 1:
        msg.fail("Use one of --resume, --retry and --overwrite", exits=1)
    with plain_errors(), _can_be_continued():
        settings = Settings(
            pipeline or _guess(source, text_field),
            code,
            batch_size,
            text_field,
            english_field,
            keep_docs=target.suffix == ".spacy",
        )
        if engine is EngineName.ray:
            run = ray_cluster(settings, workers, ray_address)
        else:
            run = processes(settings, workers) if workers > 1 else here(settings)
        summary = annotate(source, target, settings, run, mode=chosen[0] if chosen else "new")
    if retry and not (summary.annotated or summary.failed):
        msg.good(f"No doc of {target} has failed: there is nothing to retry")
        return
    remedy = f"They are in {summary.side_file}. Mend what is wrong, and try them again with --retry"
    if summary.failed and not summary.annotated:
        msg.fail(f"All {summary.failed} docs failed. The first: {summary.error}", remedy, exits=1)
    rate = summary.annotated / summary.seconds if summary.seconds else 0.0
    msg.good(f"{summary.annotated} docs annotated in {summary.seconds:.1f} s ({rate:.1f} a second): {target}")
    usage = summary.usage
    if any(usage.values()):
        requests = f"{usage['requests']} LLM requests, {usage['retried']} attempts repeated, "
        requests += f"{usage['failed']} failed, {usage['cached']} answers from the cache"
        tokens = f"{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out"
        msg.info(f"{requests}; {tokens}; cost {usage['cost']:.2f}")
    if summary.before:
        msg.info(f"{summary.before} docs were finished before")
    if summary.failed:
        msg.warn(f"{summary.failed} docs failed. The first: {summary.error}", remedy)


@contextmanager
def _can_be_continued() -> Iterator[None]:
    """Say how to go on with a run that stopped on the way."""
    from concurrent.futures.process import BrokenProcessPool

    from wasabi import msg

    from ..annotate import InputError, PipelineError

    try:
        yield
    except InputError as error:
        msg.fail(str(error), exits=1)
    except PipelineError as error:
        msg.fail(str(error), "Mend it, and go on with --resume; --retry tries again what has failed", exits=1)
    except BrokenProcessPool:
        remedy = "Its error is above, or it ran out of memory. Go on with --resume"
        msg.fail("A worker process died", remedy, exits=1)
    except KeyboardInterrupt:
        msg.warn("Interrupted. What is finished is saved: go on with --resume", exits=130)


def _guess(source: Path, text_field: str) -> str:
    """The language of the first texts."""
    from ..annotate import InputError, guess_language, read_records

    records = list(islice(read_records(source, text_field), 100))
    texts = [record.text for record in records if record.error is None]
    if not records:
        raise InputError(f"{source} has no records")
    if not texts:
        raise InputError(f"None of the first {len(records)} records can be read. {records[0].error}")
    lang = guess_language(texts)
    if lang is None:
        raise InputError(
            f"The script of the first {len(texts)} docs does not tell their language: use --pipeline"
        )
    return lang
