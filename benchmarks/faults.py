"""What it costs when a server fails, and how often good translations are found faulty.

    python -m benchmarks.faults                               seconds to failure, by fault of the server
    python -m benchmarks.faults --translations FILE.jsonl     faults found in {"source", "english"} pairs

The servers are fakes on this machine. Each fault is met twice: by one text, and by a batch of texts.
"""

import argparse
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import spacy

from spacy_eat.components import failures
from spacy_eat.llm.tasks.checks import translation_fault
from tests.llm.server import Reply, Server, error

PAGE = Reply(b"<html><body><h1>It works!</h1></body></html>", 200, {"content-type": "text/html"})
SERVERS: dict[str, Reply] = {
    "404": error(404, "The model `m` does not exist."),
    "401": error(401, "Incorrect API key provided."),
    "HTTP 500": error(500, "CUDA error: out of memory"),
    "a page of HTML": PAGE,
    "slow": Reply(b"", hang=True),
}


@contextmanager
def faulty(fault: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """YIELDS (Tuple[str, Callable[[], int]]): A URL, and the requests received there so far."""
    if fault == "no such host":
        yield "http://no-such-host.invalid/v1", lambda: 0
    elif fault == "connection refused":
        with Server() as server:
            pass  # the port is free again
        yield server.url, lambda: 0
    else:
        with Server(lambda _: SERVERS[fault]) as server:
            yield server.url, lambda: len(server.requests)


def time_to_failure(fault: str, texts: list[str], timeout: float) -> tuple[float, int, str]:
    """RETURNS (Tuple[float, int, str]): Seconds until all texts have failed, the requests that the server
    received, and what is told of it."""
    with faulty(fault) as (url, requests):
        model = {
            "@llm_models": "spacy_eat.ChatCompletions.v1",
            "name": "m",
            "base_url": url,
            "timeout": timeout,
            "cache": None,
        }
        nlp = spacy.blank("zh")
        nlp.add_pipe("eat_translator", config={"model": model})
        list(nlp.pipe([" "]))  # what is imported at the first text
        started = time.perf_counter()
        docs = list(nlp.pipe(texts))
        seconds = time.perf_counter() - started
        errors = [sentence["error"] for doc in docs for sentence in doc._.eat["sentences"]]
        assert all(errors), "a fault was no fault"
        return seconds, requests(), str(errors[0]).replace(url, "URL")


def print_times(number: int, timeout: float) -> None:
    logging.getLogger("spacy_eat").setLevel(logging.ERROR)  # the warnings are in the table
    import openai  # noqa: F401  (half a second that is not the server's)

    print(f"timeout = {timeout:g} s, else the defaults; 1 text, then {number} texts")
    print(f"{'':20}{'1: s':>8}{'requests':>9}{f'{number}: s':>8}{'requests':>9}  told")
    for fault in ("connection refused", "no such host", *SERVERS):
        failures.forget()
        one, few, told = time_to_failure(fault, ["今天下雨。"], timeout)
        all_, many, _ = time_to_failure(fault, [f"第{i}天下雨。" for i in range(number)], timeout)
        print(f"{fault:20}{one:8.1f}{few:9}{all_:8.1f}{many:9}  {told}", flush=True)


def print_faults(paths: list[Path], examples: int) -> None:
    for path in paths:
        with path.open(encoding="utf-8") as file:
            pairs: list[dict[str, Any]] = [json.loads(line) for line in file]
        found = [
            (pair, fault) for pair in pairs if (fault := translation_fault(pair["source"], pair["english"]))
        ]
        kinds = Counter((fault.reason.split(":")[0].split(" '")[0], fault.fatal) for _, fault in found)
        counts = [f"{count} x {kind}{' (fatal)' * fatal}" for (kind, fatal), count in kinds.most_common()]
        print(f"{path.name}: {len(pairs)} pairs, {'; '.join(counts) or 'no fault'}")
        for pair, fault in found[:examples]:
            print(f"    {fault.reason}\n        {pair['source']}\n        {pair['english']}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=200, help="in the batch")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds")
    parser.add_argument("--translations", type=Path, nargs="+", help="JSONL files of source and english")
    parser.add_argument("--examples", type=int, default=0, help="faults shown of each file")
    args = parser.parse_args(arguments)
    if args.translations:
        print_faults(args.translations, args.examples)
    else:
        print_times(args.texts, args.timeout)


if __name__ == "__main__":
    main()
