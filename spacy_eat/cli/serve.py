from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ._errors import plain_errors

if TYPE_CHECKING:
    from spacy.language import Language

PIPELINES_HELP = "Packages, paths, .cfg files or language codes"
HOST_HELP = "Address to listen on. One that others reach needs a token"
TOKEN_HELP = "What clients have to send, as `Authorization: Bearer TOKEN`"
ALLOW_HELP = "Name that clients may call the server by (default: local names, or any behind a token)"
CHARS_HELP = "Most characters of a request"
QUEUE_HELP = "Most requests of a pipeline that wait or are at work; others are told when to come back"
BATCH_HELP = "Sentences that go through a pipeline together"
TIMEOUT_HELP = "Seconds that a request waits for its next sentence"
CODE_HELP = "Python file to import first"


def serve_cli(
    pipelines: Annotated[list[str], Argument(metavar="PIPELINE...", help=PIPELINES_HELP)],
    host: Annotated[str, Option(help=HOST_HELP)] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on")] = 8000,
    token: Annotated[str | None, Option(envvar="SPACY_EAT_TOKEN", help=TOKEN_HELP)] = None,
    allow_host: Annotated[list[str] | None, Option(help=ALLOW_HELP)] = None,
    max_chars: Annotated[int, Option(min=1, help=CHARS_HELP)] = 100_000,
    queue: Annotated[int, Option(min=1, help=QUEUE_HELP)] = 64,
    batch_size: Annotated[int, Option(min=1, help=BATCH_HELP)] = 16,
    timeout: Annotated[float, Option(min=1.0, help=TIMEOUT_HELP)] = 120.0,
    code: Annotated[Path | None, Option("--code", "-c", exists=True, help=CODE_HELP)] = None,
) -> None:
    """
    Serve pipelines to programs and browsers, sentence by sentence.
    """
    from spacy.util import import_file

    from ..optional import require

    with plain_errors():
        purpose = "`python -m spacy eat serve`"
        uvicorn = require("uvicorn", extra="serve", purpose=purpose)
        require("fastapi", extra="serve", purpose=purpose)

        from ..server.app import Settings, create_app
        from ..server.gate import LOCAL_NAMES, is_local

        if not token and not is_local(host):
            raise ValueError(
                f"Others reach {host}: set SPACY_EAT_TOKEN or --token, which clients have to send"
            )
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise ValueError("The token may have ASCII letters, digits and signs only")
        hosts = [*LOCAL_NAMES, *map(str.lower, allow_host or ())] if allow_host or is_local(host) else []
        loaders = _loaders(pipelines)
        if code:
            import_file("python_code", code)
        settings = Settings(
            max_chars=max_chars,
            queue=queue,
            batch_size=batch_size,
            timeout=timeout,
            hosts=hosts,
            token=token or None,
        )
        app = create_app(loaders, settings)
    uvicorn.run(
        app,
        host=host,
        port=port,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )


def _loaders(pipelines: list[str]) -> dict[str, Callable[[], "Language"]]:
    """What loads each pipeline, by the name that clients know it by: of a path the last part alone."""
    from ..pipelines import load_pipeline

    loaders: dict[str, Callable[[], Language]] = {}
    for pipeline in pipelines:
        path = Path(pipeline)
        name = path.stem if path.suffix == ".cfg" else path.name or path.resolve().name
        if name in loaders:
            raise ValueError(f"Two pipelines are called {name!r}")
        loaders[name] = partial(load_pipeline, pipeline)
    return loaders
