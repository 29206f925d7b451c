"""Where batches are annotated: an engine is a map over batches that keeps their order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing import connection, get_context, parent_process

from .annotator import Annotator, Settings
from .journal import Result
from .records import Record

Batch = list[Record]
Engine = Callable[[Iterable[Batch]], Iterator[list[Result]]]


def here(settings: Settings) -> Engine:
    """Annotate in this process. The pipeline is loaded when there is a batch."""

    def run(batches: Iterable[Batch]) -> Iterator[list[Result]]:
        annotator: Annotator | None = None
        for batch in batches:
            annotator = annotator or Annotator(settings)
            yield annotator(batch)

    return run


def processes(settings: Settings, workers: int) -> Engine:
    """Annotate in several processes, each with its own pipeline."""
    from concurrent.futures import Future, ProcessPoolExecutor

    def run(batches: Iterable[Batch]) -> Iterator[list[Result]]:
        waiting: deque[Future[list[Result]]] = deque()
        rest = iter(batches)
        context = get_context("spawn")  # a forked process cannot use torch or a GPU
        with ProcessPoolExecutor(workers, context, _load_in_process, (settings,)) as pool:
            # Twice as many batches as workers are on their way: memory stays
            # flat, and nobody waits while the first one is written.
            waiting.extend(pool.submit(_annotate_in_process, batch) for batch in islice(rest, 2 * workers))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(_annotate_in_process, batch) for batch in islice(rest, 1))

    return run


_annotator: Annotator


def _load_in_process(settings: Settings) -> None:
    parent = parent_process()
    if parent is not None:
        # A killed parent cannot end its workers; they would wait for ever.
        def follow() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    global _annotator
    _annotator = Annotator(settings)


def _annotate_in_process(batch: Batch) -> list[Result]:
    return _annotator(batch)
