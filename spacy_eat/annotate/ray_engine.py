"""The engine for many machines: a Ray Data pool of actors."""

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..pipelines import PipelineError
from .annotator import Annotator, Done, Settings
from .engines import Engine
from .journal import Result
from .records import InputError, Record, Source

# Bytes that the reader collects before it hands them on.
BLOCK = 2**17
# Bytes of batches on their way, for each worker and the reader.
READ_AHEAD = 2**22
# What travels between machines: a table whose rows are batches, as JSON.
Table = dict[str, list[str]]


def ray_cluster(settings: Settings, workers: int, address: str | None = None) -> Engine:
    """Annotate on a Ray cluster, each worker with its own pipeline. All machines
    need the input, the pipeline and the code under the same paths.

    settings (Settings): What to load.
    workers (int): Number of actors; each takes a CPU, and the reader another one.
    address (Optional[str]): An existing cluster; None starts one on this machine.
    RETURNS (Engine): The engine.
    RAISES (PipelineError): If Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise PipelineError('The engine "ray" needs Ray: pip install "spacy-eat[ray]"') from error

    if Path(settings.pipeline).exists():
        settings = settings._replace(pipeline=str(Path(settings.pipeline).resolve()))
    if settings.code:
        settings = settings._replace(code=settings.code.resolve())

    def run(source: Source) -> Iterator[Done]:
        if address is None:
            ray.init("local", num_cpus=workers + 1, log_to_driver=False, logging_level=logging.WARNING)
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
        cpus = ray.cluster_resources().get("CPU", 0)
        if cpus < workers + 1:
            warning = (
                f"The Ray cluster has {cpus:.0f} CPUs: {workers} workers and a reader wait for more of them"
            )
            warnings.warn(warning, stacklevel=2)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        # By itself the reader, which is faster than the workers, goes on reading as far as memory goes.
        context.target_min_block_size = context.target_max_block_size = BLOCK
        ahead = READ_AHEAD * (workers + 1)
        context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=ahead)
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        try:
            item = json.dumps([str(source.path.resolve()), *source[1:]])
            items: Any = ray.data.from_items([{"source": item}])
            batches = items.map_batches(_read, fn_args=[settings.batch_size], batch_size=None)
            # One batch a block: the unit that goes to a worker.
            annotated = batches.repartition(target_num_rows_per_block=1).map_batches(
                _Worker,
                fn_constructor_args=[settings],
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=workers),
            )
            for row in annotated.iter_rows():
                yield _unpack_done(row["done"])
        finally:
            ray.shutdown()

    return run


def _read(rows: Table, size: int) -> Iterator[Table]:
    """The reading stage: one source in, batches out as they are read."""
    path, *rest = json.loads(rows["source"][0])
    try:
        for batch in Source(Path(path), *rest).batches(size):
            yield {"batch": [json.dumps(batch)]}
    except InputError as error:
        yield {"batch": [json.dumps({"input_error": str(error)})]}


class _Worker:
    """The annotating stage."""

    def __init__(self, settings: Settings) -> None:
        self.annotator: Annotator | PipelineError
        try:
            self.annotator = Annotator(settings)
        except PipelineError as error:
            self.annotator = error

    def __call__(self, rows: Table) -> Table:
        return {"done": [self.annotate(json.loads(batch)) for batch in rows["batch"]]}

    def annotate(self, batch: Any) -> str:
        if isinstance(batch, dict):
            return json.dumps(batch)
        if isinstance(self.annotator, PipelineError):
            return json.dumps({"pipeline_error": str(self.annotator)})
        return json.dumps(self.annotator([Record(*record) for record in batch]))


def _unpack_done(row: str) -> Done:
    done = json.loads(row)
    if isinstance(done, list):
        results, usage = done
        return Done([Result(Record(*record), output, error) for record, output, error in results], usage)
    if "input_error" in done:
        raise InputError(done["input_error"])
    raise PipelineError(done["pipeline_error"])
