"""A server on a free port, whose pipelines are scripted."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest
import spacy
from spacy.language import Language

from spacy_eat.pipelines import PipelineError

from ..scripted import make_scripted

httpx = pytest.importorskip("httpx", reason="needs the extra 'dev'")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("fastapi", reason="needs the extra 'serve'")

assert make_scripted  # it is registered by its import


class Held:
    """Tells a pipeline when to go on: a text with "待" waits for it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.seen: list[str] = []

    def __call__(self, doc: Any) -> Any:
        self.seen.append(doc.text)
        if "待" in doc.text:
            self.go.wait(120)
        return doc


class Site(NamedTuple):
    client: Any
    held: Held
    app: Any

    def requests(self) -> int:
        return int(self.client.get("/health").json()["requests"])


def broken() -> Language:
    raise PipelineError("There is no pipeline 'broken'")


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Starts a server with the pipelines "zh", which is scripted, and "broken", which does not load."""
    from spacy_eat.server.app import Settings, create_app

    running = []

    def start(**settings: Any) -> Site:
        held = Held()

        def load() -> Language:
            Language.component("held", func=held)
            nlp = spacy.blank("zh")
            nlp.add_pipe("held")
            nlp.add_pipe("scripted")
            return nlp

        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        app = create_app({"zh": load, "broken": broken}, Settings(warm_up=False, **settings))
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        token = settings.get("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
        running.append((server, thread, client, held))
        until(lambda: server.started)
        until(lambda: client.get("/health").json()["status"] == "ok")
        return Site(client, held, app)

    yield start
    for server, thread, client, held in running:
        held.go.set()
        client.close()
        server.should_exit = True
        thread.join(20)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for what will be true soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.02)
