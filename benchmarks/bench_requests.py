"""What concurrency, few requests and the cache are worth, over real HTTP.

The same parallel sentences go three ways through the two components, to a
server in another process that answers every request after a fixed time:

  sequential   spacy-llm's own OpenAI model: one request at a time
  paper        the paper's dialogues: three requests for the sentence and three
               for every entity, one at a time
  ours         the default tasks on `spacy_eat.ChatCompletions.v1`, and once
               more from its cache

The English NER takes the same time whatever the LLM: the ratios of seconds per
sentence are given with and without. Its entities are in the cache too.

    python -m benchmarks.bench_requests --concurrency 32 128
"""

import argparse
import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy_llm.models.rest.openai.model import OpenAI
from spacy_llm.registry import registry

from spacy_eat.llm.backend import Backend
from spacy_eat.llm.chat_completions import make_chat_completions
from spacy_eat.llm.prompts import Prompt
from spacy_eat.taggers.pipeline import EnglishPipeline
from spacy_eat.types import Span, Text
from tests.conftest import DATA
from tests.llm.server import Reply, Server, reply

SOURCE = re.compile(r"^(?:Chinese|Text): (.*)$", re.MULTILINE)
NAMES = re.compile(r"^Names: (.*)$", re.MULTILINE)


class Timed(EnglishPipeline):
    """The English pipeline that comes with the package, on a stop watch."""

    seconds = 0.0

    def __call__(self, texts: Sequence[Text]) -> list[list[Span]]:
        started = time.perf_counter()
        found = super().__call__(texts)
        self.seconds += time.perf_counter() - started
        return found


class Row(NamedTuple):
    """A way to annotate: sentences, requests, tokens, seconds, and those of the
    English NER among them."""

    name: str
    sentences: int
    requests: int
    tokens: int
    seconds: float
    tagging: float

    def times(self, other: "Row") -> str:
        """How many times as fast as another: altogether, and without the NER."""
        with_ner = other.seconds / other.sentences / (self.seconds / self.sentences)
        without = other.seconds - other.tagging, self.seconds - self.tagging
        return f"{with_ner:7.1f} {without[0] / other.sentences / (without[1] / self.sentences):8.1f}"


def read_texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.removeprefix("# text = ").strip() for line in file if line.startswith("# text = ")]


class Parrot:
    """Answers with the translation it was given, and with the beginning of the
    source as the source words of every name. Counts, at three bytes a token."""

    def __init__(self, pairs: dict[str, str], latency: float, counts: Any) -> None:
        self.pairs, self.latency, self.counts = pairs, latency, counts

    def __call__(self, request: dict[str, Any]) -> Reply:
        messages = [message["content"] for message in request["messages"]]
        source = SOURCE.findall(messages[0])[-1]
        names = NAMES.findall(messages[-1])
        if names:
            answer = json.dumps(dict.fromkeys(json.loads(names[-1]), source[:2]), ensure_ascii=False)
        else:
            known = self.pairs.get(source, "It is a name.")  # asked of names, a text may lack its glosses
            answer = source[:2] if "exactly these words" in messages[-1] else known
        tokens = len("".join(messages).encode()) // 3, len(answer.encode()) // 3
        for i, more in enumerate((1, *tokens)):
            self.counts[i] += more
        return reply(answer, tokens=tokens, delay=self.latency)


def _serve(pairs: dict[str, str], latency: float, counts: Any, url: Any) -> None:
    with Server(Parrot(pairs, latency, counts)) as server:
        url.send(server.url)
        server.thread.join()


@contextmanager
def serving(pairs: dict[str, str], latency: float) -> Iterator[tuple[str, Any]]:
    """YIELDS (Tuple[str, Array]): The server's URL, and its counts of requests,
    prompt tokens and completion tokens."""
    context = multiprocessing.get_context("spawn")
    counts = context.Array("q", 3)
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(pairs, latency, counts, there), daemon=True)
    process.start()
    try:
        yield here.recv(), counts
    finally:
        process.terminate()
        process.join()


class Sequential(OpenAI):
    """spacy-llm's model for OpenAI, pointed at our server."""

    def _verify_auth(self) -> None:  # it would contact api.openai.com
        pass


def sequential(url: str) -> Sequential:
    return Sequential(
        name="m",
        endpoint=f"{url}/chat/completions",
        config={"temperature": 0.0},
        strict=True,
        max_tries=5,
        interval=1.0,
        max_request_time=30,
        context_length=None,
    )


def make_nlp(model: Any, english: EnglishPipeline, batch_size: int, *, dialogue: bool = False) -> Language:
    """Both components on one model. The dialogues are the paper's tasks."""
    registry.llm_models.register("bench.Model", func=lambda: model)
    registry.misc.register("bench.English", func=lambda: english)
    kind = "Dialogue.v1" if dialogue else ".v1"
    shared: dict[str, Any] = {"model": {"@llm_models": "bench.Model"}, "batch_size": batch_size}
    nlp = spacy.blank("zh")
    nlp.add_pipe(
        "eat_translator", config={**shared, "task": {"@llm_tasks": f"spacy_eat.EntityTranslation{kind}"}}
    )
    nlp.add_pipe(
        "eat_entity_aligner",
        config={
            "batch_size": batch_size,
            "aligner": {
                "task": {"@llm_tasks": f"spacy_eat.EntityAlignment{kind}"},
                "model": {"@llm_models": "bench.Model"},
                "first": None,
            },
            "tagger": {"@misc": "bench.English"},
            "source_tagger": None,
        },
    )
    return nlp


def make_docs(nlp: Language, texts: list[str]) -> list[Doc]:
    """One sentence per doc, whatever its punctuation."""
    docs = [nlp.make_doc(text) for text in texts]
    for doc in docs:
        for token in doc:
            token.is_sent_start = token.i == 0
    return docs


def run(nlp: Language, texts: list[str], batch_size: int) -> float:
    """RETURNS (float): Seconds for all texts."""
    docs = make_docs(nlp, texts)
    started = time.perf_counter()
    for doc in nlp.pipe(docs, batch_size=batch_size):
        (sentence,) = doc._.eat["sentences"]
        assert sentence["status"] == "aligned", sentence["error"]
    return time.perf_counter() - started


def client_overhead(url: str, latency: float, text: str, n: int = 200) -> tuple[float, float]:
    """RETURNS (Tuple[float, float]): Per request, beyond the latency: seconds
    where one follows the other (HTTP and the server included), and seconds of
    this process's CPU where 32 are in flight."""

    def prompts(run: str) -> list[list[Prompt]]:
        return [[Prompt(f"{run} {i}\nChinese: {text}") for i in range(n)]]

    single = make_chat_completions("m", base_url=url, concurrency=1, cache=None)
    single([prompts("warm")[0][:1]])
    started = time.perf_counter()
    single(prompts("one"))
    alone = (time.perf_counter() - started) / n - latency
    many = make_chat_completions("m", base_url=url, cache=None)
    many([prompts("warm")[0][:1]])
    cpu = time.process_time()
    many(prompts("many"))
    return alone, (time.process_time() - cpu) / n


def cache_rate(model: Backend, texts: list[str]) -> float:
    """RETURNS (float): Requests per second that the cache answers, once it has."""
    prompts = [[Prompt(f"Chinese: {text}") for text in texts]]
    model(prompts)
    before = model.usage.cached
    started = time.perf_counter()
    model(prompts)
    assert model.usage.cached - before == len(texts)
    return len(texts) / (time.perf_counter() - started)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument(
        "--paper-sentences", type=int, default=50, help="the first of them, for the paper's way"
    )
    parser.add_argument("--latency", type=float, default=0.2, help="seconds before every answer")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[32])
    parser.add_argument("--batch-size", type=int, default=512, help="docs per batch, for all")
    args = parser.parse_args(arguments)

    gold = DATA / "gold"
    texts = read_texts(gold / "zh_pud_half.iob2")[: args.sentences]
    pairs = dict(zip(texts, read_texts(gold / "en_pud_half.iob2"), strict=False))
    english = Timed()
    english([Text(text, "en") for text in list(pairs.values())[:16]])  # loaded and warm

    rows: list[Row] = []
    with serving(pairs, args.latency) as (url, counts), tempfile.TemporaryDirectory() as folder:

        def measure(name: str, make: Callable[[], Language], n: int) -> None:
            nlp = make()
            english = nlp.get_pipe("eat_entity_aligner").tagger
            before, english.seconds = list(counts), 0.0
            seconds = run(nlp, texts[:n], args.batch_size)
            requests, *tokens = (now - then for now, then in zip(counts, before, strict=True))
            rows.append(Row(name, n, requests, sum(tokens), seconds, english.seconds))

        def ours(concurrency: int) -> Language:
            cache = str(Path(folder) / f"{concurrency}.sqlite")
            model = make_chat_completions("m", base_url=url, concurrency=concurrency, cache=cache)
            tagger = Timed(cache=cache)
            tagger._nlp = english.nlp  # loaded already
            return make_nlp(model, tagger, args.batch_size)

        alone, cpu = client_overhead(url, args.latency, texts[0])
        for concurrency in args.concurrency:
            measure(f"ours, {concurrency} in flight", lambda c=concurrency: ours(c), len(texts))  # type: ignore[misc]
            measure("ours again, from its cache", lambda c=concurrency: ours(c), len(texts))  # type: ignore[misc]
        fresh = make_chat_completions("m", base_url=url, cache=str(Path(folder) / "rate.sqlite"))
        rate = cache_rate(fresh, texts)
        measure(
            "(b) paper's dialogues",
            lambda: make_nlp(sequential(url), english, args.batch_size, dialogue=True),
            min(args.paper_sentences, len(texts)),
        )
        measure(
            "(a) spacy-llm, sequential",
            lambda: make_nlp(sequential(url), english, args.batch_size),
            len(texts),
        )

    *_, paper, plain = rows
    print(f"{len(texts)} sentences, {args.latency * 1000:g} ms a request")
    print(f"{'':28} sentences requests   tokens seconds     NER   x (a) less NER   x (b) less NER")
    for row in reversed(rows):
        numbers = f"{row.sentences:9} {row.requests:8} {row.tokens:8} {row.seconds:7.1f} {row.tagging:7.1f}"
        print(f"{row.name:28} {numbers} {row.times(plain)} {row.times(paper)}")
    print(f"(b) ran on the first {paper.sentences} sentences; its ratio is by sentence.")
    print(
        f"A request costs the client {alone * 1000:.1f} ms, one by one, {cpu * 1000:.1f} ms of CPU among 32."
    )
    print(f"The cache alone: {rate:.0f} answers a second")


if __name__ == "__main__":
    main()
