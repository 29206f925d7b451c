"""Many clients of `python -m spacy eat serve` at once: does each have its answer, how soon, and what memory?

    python -m benchmarks.bench_serve TEXTS [--pipeline zh] [--clients 50] [--sentences 3]

The server is a process of its own. All clients come at the same moment, each with sentences of its own, and
read them as they are finished. The last ones to have their first sentence are told beside the mean.
"""

import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import typer
from wasabi import msg

from spacy_eat.corpora import read


class Served(NamedTuple):
    """What a client saw: seconds to its first and to its last sentence, and sentences; or what went wrong."""

    first: float
    last: float
    sentences: int
    error: str = ""


@contextmanager
def server(pipeline: str) -> Iterator[tuple[str, int]]:
    """A server that is ready. YIELDS (Tuple[str, int]): Its address, and its process."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "spacy", "eat", "serve", pipeline, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                if httpx.get(f"{address}/health").json()["status"] == "ok":
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


async def ask(client: httpx.AsyncClient, text: str, timeout: float) -> Served:
    """One client."""
    began, first, sentences, error = time.perf_counter(), 0.0, 0, "no end"
    try:
        async with client.stream("POST", "/annotate/stream", json={"text": text}, timeout=timeout) as answer:
            if answer.status_code != 200:
                await answer.aread()
                return Served(0, 0, 0, f"{answer.status_code} {answer.json()['detail']}")
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and event == "sentence":
                    sentences += 1
                    first = first or time.perf_counter() - began
                elif line.startswith("data: ") and event == "error":
                    error = json.loads(line.removeprefix("data: "))["detail"]
                elif line.startswith("data: ") and event == "done":
                    error = ""
    except httpx.HTTPError as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Served(first, time.perf_counter() - began, sentences, error)


async def ask_all(address: str, texts: list[str], timeout: float) -> list[Served]:
    """All clients at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, limits=limits) as client:
        return await asyncio.gather(*(ask(client, text, timeout) for text in texts))


def main(
    texts: Path,
    lang: str = "zh",
    pipeline: str = "zh",
    clients: int = 50,
    sentences: int = 3,
    timeout: float = 600.0,
) -> None:
    """Print a table.

    texts: A file of sentences.
    lang: Their language.
    pipeline: Package, path, .cfg file or language code.
    clients: How many.
    sentences: Of each client's text.
    timeout: Seconds that a client waits for what comes next.
    """
    given = [record.text for record in read(texts, lang=lang)][: clients * sentences]
    own = ["\n".join(given[i::clients]) for i in range(clients)]
    with server(pipeline) as (address, process):
        before = psutil.Process(process).memory_info().rss
        served = asyncio.run(ask_all(address, own, timeout))
        after = psutil.Process(process).memory_info().rss
        left = httpx.get(f"{address}/health").json()["requests"]
    for error in sorted({one.error for one in served if one.error}):
        msg.fail(f"{sum(one.error == error for one in served)} clients: {error}")
    done = [one for one in served if not one.error]
    if not done:
        raise SystemExit(1)
    firsts = [one.first for one in done]
    mean = statistics.mean(firsts)
    rows = [
        ("clients with all their sentences", f"{len(done)} of {clients}"),
        ("sentences", sum(one.sentences for one in done)),
        ("seconds to the first sentence, mean", f"{mean:.1f}"),
        ("the last client's, in means", f"{max(firsts) / mean:.2f}"),
        ("seconds to the last sentence, mean", f"{statistics.mean(one.last for one in done):.1f}"),
        ("requests that still have a place", left),
        ("the server's memory before and after, MB", f"{before / 1e6:.0f}, {after / 1e6:.0f}"),
    ]
    msg.table(rows, aligns=("l", "r"))


if __name__ == "__main__":
    typer.run(main)
