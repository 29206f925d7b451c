"""What every LLM backend of this package promises."""

import copy
import json
import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm.backend import Backend
from spacy_eat.llm.chat_completions import make_chat_completions
from spacy_eat.llm.ctranslate2 import make_ctranslate2
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.huggingface import make_huggingface
from spacy_eat.llm.prompts import LLMError, Prompt
from spacy_eat.weights.gemma import base_files

from .server import Reply, Server, echo, error, reply
from .tiny import alignments, convert, save_model, translations

KEY = "sk-this-is-the-secret-0123456789"
TOO_LONG = "坏" * 30_000  # refused by every backend below

Make = Callable[..., Backend]


def handle(request: dict[str, Any]) -> Reply:
    prompt = request["messages"][-1]["content"]
    if "坏坏坏" in prompt:
        return error(400, "too long")
    if "\nNames: " in prompt:
        return reply(json.dumps({"Beijing": "北京"}))
    if "English" in prompt:  # a translation that its check lets pass, another for each text
        return reply("It was found in Beijing, " + "and again " * (len(prompt) % 7) + "in English.")
    return echo(request)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="needs the extra 'huggingface'")
    pytest.importorskip("transformers", reason="needs the extra 'huggingface'")
    return save_model(tmp_path_factory.mktemp("tiny") / "torch", template=None)


@pytest.fixture(
    scope="module",
    params=["chat", "huggingface", "ctranslate2", pytest.param("embedded", marks=pytest.mark.model)],
)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a backend; takes `cache`."""
    if request.param == "chat":
        with Server(handle) as server, pytest.MonkeyPatch.context() as patch:
            patch.setenv("EAT_TEST_KEY", KEY)
            yield partial(
                make_chat_completions, "m", base_url=server.url, api_key_env="EAT_TEST_KEY", max_retries=0
            )
    elif request.param == "embedded":
        try:
            base_files()
        except ImportError as missing:
            pytest.skip(str(missing))
        model = make_embedded(dtype="float32", threads=1)

        def made(cache: str | None = None) -> Backend:
            backend = make_embedded(dtype="float32", threads=1, cache=cache)
            backend._loaded = model.load()  # once for all tests
            return backend

        yield made
    else:
        folder = request.getfixturevalue("tiny_dir")
        if request.param == "huggingface":
            yield partial(make_huggingface, str(folder), device_map="cpu", dtype="float32", max_tokens=12)
        else:
            pytest.importorskip("ctranslate2", reason="needs the extra 'ctranslate2'")
            converted = folder.with_name("converted")
            yield partial(
                make_ctranslate2, str(convert(folder, converted)), device="cpu", threads=1, max_tokens=12
            )


@pytest.fixture(scope="module")
def asked() -> list[Prompt]:
    return [*translations()[:2], *alignments()[:2], Prompt("The capital of Japan is")]


def ask(model: Backend, prompts: list[Any]) -> list[Any]:
    [answers] = model([prompts])
    return list(answers)


def rounded(answer: str) -> str:
    """An answer with its scores to two decimals."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", answer)


def test_nothing_is_asked(make: Make) -> None:
    model = make(cache=None)
    assert list(model([])) == [] and [list(group) for group in model([[], []])] == [[], []]
    assert model.usage.requests == 0


def test_order_and_grouping_do_not_matter(make: Make, asked: list[Prompt]) -> None:
    """Answers stand where they were asked, and are those of prompts that are asked alone. Some processors
    round by the size of a batch, in the last digits of a score."""
    alone = [ask(make(cache=None), [prompt])[0] for prompt in asked]
    assert all(isinstance(answer, str) for answer in alone)
    model = make(cache=None)
    groups = [asked[3:], [], asked[:3], [asked[1]]]
    found = [[rounded(answer) for answer in group] for group in model(groups)]
    alone = [rounded(answer) for answer in alone]
    assert found == [alone[3:], [], alone[:3], [alone[1]]]
    assert model.usage.requests == len(asked)


def test_one_failure_costs_one_answer(make: Make, asked: list[Prompt], tmp_path: Path) -> None:
    cache = str(tmp_path / "requests.sqlite")
    for _ in range(2):  # it is not kept: the second time it fails anew
        model = make(cache=cache)
        first, bad, last = ask(model, [asked[0], Prompt(TOO_LONG), asked[2]])
        assert isinstance(first, str) and isinstance(last, str)
        assert isinstance(bad, LLMError) and not bad.retryable
        assert model.usage.failed == 1


def test_what_was_answered_is_not_asked_again(make: Make, asked: list[Prompt], tmp_path: Path) -> None:
    cache = str(tmp_path / "requests.sqlite")
    model = make(cache=cache)
    answers = ask(model, asked)
    again = pickle.loads(pickle.dumps(make(cache=cache)))
    assert ask(again, asked) == answers
    assert (again.usage.requests, again.usage.cached) == (0, len(asked))


def test_copies_carry_no_weights(make: Make, asked: list[Prompt]) -> None:
    model = make(cache=None)
    ask(model, asked[:1])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(pickle.dumps(other)) < 10_000
        assert other.identity == model.identity


def test_identity_is_plain_and_has_no_key(make: Make) -> None:
    identity = json.dumps(make(cache=None).identity)
    assert KEY not in identity and identity == json.dumps(make(cache=None).identity)


def test_lone_surrogates(make: Make) -> None:
    text = "在\ud800北京。"
    answers = ask(make(cache=None), [Prompt(text), *translations(text), *alignments(text)])
    assert all(isinstance(answer, str) for answer in answers)
