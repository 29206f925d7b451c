"""Where records are annotated: an engine annotates a source batch by batch, in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import connection, get_context, parent_process

from ..pipelines import PipelineError
from .annotator import Annotator, Done, Settings
from .records import Record, Source

Engine = Callable[[Source], Iterator[Done]]


def here(settings: Settings) -> Engine:
    """Annotate in this process. The pipeline is loaded when there is a batch."""

    def run(source: Source) -> Iterator[Done]:
        annotator: Annotator | None = None
        for batch in source.batches(settings.batch_size):
            annotator = annotator or Annotator(settings)
            yield annotator(batch)

    return run


def processes(settings: Settings, workers: int) -> Engine:
    """Annotate in several processes, each with its own pipeline."""
    from concurrent.futures import Future, ProcessPoolExecutor

    def run(source: Source) -> Iterator[Done]:
        batches = source.batches(settings.batch_size)
        waiting: deque[Future[Done]] = deque()
        context = get_context("spawn")  # a forked process cannot use torch or a GPU
        pool = ProcessPoolExecutor(workers, context, _load_in_process, (settings,))
        try:
            # Twice as many batches as workers are on their way: memory stays
            # flat, and nobody waits while the first one is written.
            waiting.extend(pool.submit(_annotate_in_process, batch) for batch in islice(batches, 2 * workers))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(_annotate_in_process, batch) for batch in islice(batches, 1))
        finally:
            pool.shutdown(cancel_futures=True)

    return run


_annotator: Annotator | PipelineError


def _load_in_process(settings: Settings) -> None:
    parent = parent_process()
    if parent is not None:
        # A killed parent cannot end its workers; they would wait for ever.
        def follow() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    global _annotator
    try:
        _annotator = Annotator(settings)
    except PipelineError as error:  # raised here, it would break the pool without a word
        _annotator = error


def _annotate_in_process(batch: list[Record]) -> Done:
    if isinstance(_annotator, PipelineError):
        raise _annotator
    return _annotator(batch)
