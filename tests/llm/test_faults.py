"""Everything that goes wrong between here and a model, on a real connection."""

import json
import logging
import random
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import Any

import pytest

from spacy_eat.llm import chat_completions
from spacy_eat.llm.chat_completions import ChatCompletions, make_chat_completions
from spacy_eat.llm.prompts import LLMError, UnusableAnswer

from .server import Reply, Server, echo, error, reply

HTML = {"content-type": "text/html"}
PAGE = b"<html><head><style>p {}</style></head><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"
GOOD = reply("fine").body

# Worth another attempt.
PASSING = {
    "408": error(408, "Request timeout"),
    "409": error(409, "Conflict"),
    "429": error(429, "Slow down"),
    "429, to be repeated at once": error(429, "Slow down", headers={"retry-after": "0"}),
    "429, to be repeated at a nonsense time": error(429, "Slow down", headers={"retry-after": "soon"}),
    "500": error(500, "CUDA error"),
    "500 without a body": Reply(b"", 500),
    "502 as a page": Reply(PAGE, 502, HTML),
    "503": error(503, "Overloaded"),
    "503 with JSON that is none": Reply(b"{overloaded", 503),
    "hung": Reply(b"", hang=True),
    "reset at once": Reply(GOOD, cut=0),
    "reset mid-body": Reply(GOOD, cut=len(GOOD) // 2),
    "truncated JSON": Reply(GOOD[: len(GOOD) // 2]),
    "no JSON": Reply(b"upstream connect error"),
    "not UTF-8": Reply(b'{"choices": "\xff\xfe"}'),
    "empty body": Reply(b""),
    "a page instead": Reply(PAGE, 200, HTML),
    "no choices": Reply(b'{"choices": []}'),
    "null": Reply(b"null"),
    "a list": Reply(b"[1, 2]"),
    "choices of another kind": Reply(b'{"choices": [null]}'),
    "an error in disguise": Reply(b'{"error": {"message": "provider is down"}}'),
    "no content": reply(None),
}
# The same request would end the same way.
LASTING = {
    "length": (reply("It beg", finish_reason="length"), "max_tokens"),
    "content filter": (reply("", finish_reason="content_filter"), "content filter"),
    "content filter at the door": (error(400, "flagged by our policy"), "HTTP 400: flagged by our policy"),
    "refusal": (reply(None, refusal="I can't help with that."), "I can't help with that"),
    "empty answer": (reply(" \n"), "empty answer"),
    "too long": (error(413, "too large"), "HTTP 413: too large"),
    "told not to retry": (error(500, "gone", headers={"x-should-retry": "false"}), "gone"),
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_completions, "FIRST_WAIT", 0.02)


def make(server: Server, **settings: Any) -> ChatCompletions:
    return make_chat_completions(
        "m", base_url=server.url, **{"cache": None, "timeout": 30, "max_retries": 3, **settings}
    )


def ask(model: ChatCompletions, prompts: list[str]) -> list[Any]:
    [answers] = model([prompts])
    return list(answers)


def failing(fault: Reply, times: float = 1, only: str = "") -> Any:
    """A handler that fails each prompt (containing `only`) so many times."""
    attempts: Counter[str] = Counter()

    def handle(request: dict[str, Any]) -> Reply:
        prompt = request["messages"][-1]["content"]
        attempts[prompt] += 1
        return fault if only in prompt and attempts[prompt] <= times else echo(request)

    return handle


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_retried(fault: str) -> None:
    with Server(failing(PASSING[fault])) as server:
        model = make(server, timeout=1 if fault == "hung" else 30)
        assert ask(model, ["a", "b", "c"]) == ["re: a", "re: b", "re: c"]
        assert len(server.requests) == 6
        assert (model.usage.requests, model.usage.retried, model.usage.failed) == (3, 3, 0)


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_costs_one_answer(fault: str) -> None:
    with Server(failing(PASSING[fault], times=99, only="b")) as server:
        model = make(server, max_retries=2, timeout=1 if fault == "hung" else 30, concurrency=3)
        first, bad, *rest = ask(model, ["a", "b", *"cdefghijklmnop"])
        assert isinstance(bad, LLMError) and bad.retryable
        assert [first, *rest] == [f"re: {x}" for x in "acdefghijklmnop"]
        assert [r["messages"][0]["content"] for r in server.requests].count("b") == (
            2 if fault == "hung" else 3
        )
        assert (model.usage.failed, model.usage.retried) == (1, 1 if fault == "hung" else 2)


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_not_retried(fault: str) -> None:
    answer, words = LASTING[fault]
    with Server(failing(answer, times=99, only="b")) as server:
        model = make(server)
        first, bad, last = ask(model, ["a", "b", "c"])
        assert isinstance(bad, LLMError) and not bad.retryable
        assert words in str(bad)
        unusable = fault in ("length", "content filter", "refusal", "empty answer")
        assert isinstance(bad, UnusableAnswer) == unusable  # another form of the request may do better
        assert (first, last) == ("re: a", "re: c")
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        (lambda: {"retry-after": "1"}, 1.0),
        (lambda: {"retry-after": "0.7"}, 0.7),
        (lambda: {"retry-after-ms": "700", "retry-after": "9"}, 0.7),
        (lambda: {"retry-after": formatdate(time.time() + 3, usegmt=True)}, 1.0),  # whole seconds
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_for_everybody(status: int, headers: Any, least: float) -> None:
    limited = error(status, "Rate limit reached", headers=headers())
    with Server(failing(limited, only="first")) as server:
        model = make(server, concurrency=1)  # one after the other, so that the rest is still to be sent
        assert ask(model, ["first", "a", "b"]) == ["re: first", "re: a", "re: b"]
        refused, *rest = [request["at"] for request in server.requests]
        assert least <= min(rest) - refused < 5


def test_retry_after_beyond_patience_is_given_up_at_once() -> None:
    limited = error(429, "Come back tomorrow", headers={"retry-after": "80000"})
    with Server(lambda _: limited) as server:
        started = time.monotonic()
        answers = ask(make(server, concurrency=4), [str(i) for i in range(100)])
        assert time.monotonic() - started < 20
        assert all(isinstance(a, LLMError) and a.retryable for a in answers)
        assert "Come back tomorrow" in str(answers[99])
        assert len(server.requests) <= 4


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            error(404, "The model `m` does not exist.", code="model_not_found"),
            "The model `m` does not exist.",
        ),
        (Reply(b'{"object": "error", "message": "No model `m`."}', 404), "HTTP 404: No model `m`."),
        (Reply(b'{"error": "model \'m\' not found"}', 404), "HTTP 404: model 'm' not found"),
        (Reply(b'{"detail": "Not Found"}', 404), "HTTP 404: Not Found"),
        (Reply(b"404 page not found", 404, {"content-type": "text/plain"}), "404 page not found"),
        (error(401, "Incorrect API key provided."), "Incorrect API key"),
        (error(429, "You exceeded your quota.", code="insufficient_quota"), "You exceeded your quota."),
    ],
)
def test_a_wrong_setting_fails_at_once_in_the_servers_words(refusal: Reply, words: str) -> None:
    with Server(lambda _: refusal) as server:
        model = make(server, concurrency=4)
        started = time.monotonic()
        answers = ask(model, [str(i) for i in range(200)])
        assert time.monotonic() - started < 20
        assert len(server.requests) <= 4
        assert all(isinstance(answer, LLMError) and not answer.retryable for answer in answers)
        assert all(words in str(answer) for answer in answers)
        assert model.usage.failed == 200

        before = len(server.requests)
        assert all(isinstance(answer, LLMError) for answer in ask(model, [str(i) for i in range(200)]))
        assert len(server.requests) == before + 1  # one prompt goes ahead

        server.handler = echo  # the model was installed, the key was mended
        assert ask(model, ["a", "b", "c"]) == ["re: a", "re: b", "re: c"]


def test_only_refusals_and_never_an_answer_stop_the_batch() -> None:
    with Server(lambda _: error(400, "Unsupported parameter: temperature")) as server:
        answers = ask(make(server, concurrency=4), [str(i) for i in range(200)])
        assert all("Unsupported parameter: temperature" in str(answer) for answer in answers)
        assert len(server.requests) <= chat_completions.MAX_REFUSALS + 4


def test_many_refusals_between_answers_do_not() -> None:
    with Server(failing(error(400, "context length exceeded"), times=99, only="long")) as server:
        model = make(server, concurrency=4)
        prompts = ["ok", *(f"long {i}" for i in range(50)), *(f"short {i}" for i in range(50))]
        assert ask(model, ["ok"]) == ["re: ok"]
        answers = ask(model, prompts)
        assert [a for a in answers if isinstance(a, str)] == [
            "re: ok",
            *(f"re: short {i}" for i in range(50)),
        ]


def test_a_server_that_is_not_there_is_not_waited_for_by_every_prompt() -> None:
    with Server() as server:
        pass  # the port is free again
    model = make(server, concurrency=4, max_retries=3)
    started = time.monotonic()
    answers = ask(model, [str(i) for i in range(500)])
    assert time.monotonic() - started < 20
    assert all(isinstance(answer, LLMError) and answer.retryable for answer in answers)
    assert model.usage.retried <= 4 * 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits, and no patience."""
    monkeypatch.setattr(chat_completions, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(chat_completions, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(chat_completions, "PATIENCE", 0.0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Reply(PAGE, 200, HTML), "502 Bad Gateway nginx; is the server running at {url}? Check base_url."),
        (Reply(b"hello"), "not valid JSON"),
        (error(500, "CUDA error"), "HTTP 500: CUDA error"),
        (Reply(GOOD, cut=0), "is the server running at {url}? Check base_url."),
    ],
)
def test_a_server_that_never_answered_is_not_waited_for(fault: Reply, words: str, clock: None) -> None:
    with Server(lambda _: fault) as server:
        answers = ask(make(server, max_retries=50, concurrency=4), [str(i) for i in range(100)])
        assert all(isinstance(answer, LLMError) and answer.retryable for answer in answers)
        assert all(words.format(url=server.url) in str(answer) for answer in answers)
        assert len(server.requests) <= chat_completions.MAX_IN_A_ROW + 4


def test_a_dead_server_is_named(clock: None) -> None:
    with Server() as server:
        pass
    for url in (server.url, "http://no-such-host.invalid/v1"):
        (answer,) = ask(make_chat_completions("m", base_url=url, cache=None), ["a"])
        assert isinstance(answer, LLMError) and answer.retryable
        assert f"m at {url}: ConnectError" in str(answer)
        assert f"is the server running at {url}? Check base_url." in str(answer)


def test_a_server_that_has_answered_is_waited_for_until_it_is_given_up(clock: None) -> None:
    away = error(503, "restarting")
    with Server() as server:
        model = make(server, max_retries=20, concurrency=1)
        assert ask(model, ["a"]) == ["re: a"]
        server.handler = failing(away, times=15)
        assert ask(model, ["b"]) == ["re: b"]
        before = len(server.requests)
        server.handler = lambda _: away
        answers = ask(model, [str(i) for i in range(50)])
        assert all("restarting" in str(answer) and answer.retryable for answer in answers)
        assert len(server.requests) - before == chat_completions.MAX_IN_A_ROW * 21
        before = len(server.requests)
        assert isinstance(ask(model, ["c"])[0], LLMError)
        assert len(server.requests) == before + 1  # not known to work any more
        server.handler = echo
        assert ask(model, ["c"]) == ["re: c"]


def test_a_busy_server_is_waited_for_from_the_first(clock: None) -> None:
    busy = error(429, "Slow down")
    with Server(failing(busy, times=5)) as server:
        assert ask(make(server, max_retries=5), ["a"]) == ["re: a"]


def test_a_slow_server_costs_two_timeouts() -> None:
    with Server(lambda _: Reply(b"", hang=True)) as server:
        model = make(server, timeout=0.3, max_retries=8, concurrency=4)
        answers = ask(model, [str(i) for i in range(50)])
        assert len(server.requests) == 8
        ask(model, [str(i) for i in range(50)])
        assert len(server.requests) == 9  # it was given up: one prompt goes ahead, once
    assert all(
        "no answer within 0.3 s; if the server is only slow, raise timeout." in str(a) for a in answers
    )


def test_what_is_waited_for_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: None
) -> None:
    monkeypatch.setattr(chat_completions, "LONG_WAIT", 0.001)
    with Server() as server, caplog.at_level(logging.WARNING):
        model = make(server, max_retries=8)
        ask(model, ["a"])
        server.handler = failing(error(503, "Loading model"), times=6)
        assert ask(model, ["b"]) == ["re: b"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"m at {server.url}, attempt ") and "Loading model; again in" in message


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "is the key in the environment variable OPENAI_API_KEY the right one?"),
        (404, "Check name and base_url"),
    ],
)
def test_the_remedy_is_told(status: int, remedy: str) -> None:
    with Server(lambda _: error(status, "no")) as server:
        (answer,) = ask(make(server), ["a"])
        assert f"HTTP {status}: no; " in str(answer) and remedy in str(answer)
        assert len(server.requests) == 1


def test_server_restart_mid_run() -> None:
    def slow(request: dict[str, Any]) -> Reply:
        answer = echo(request)
        answer.delay = 0.05
        return answer

    first = Server(slow)
    first.__enter__()
    second = Server(slow, port=first.port)

    def restart() -> None:
        while len(first.requests) < 50:
            time.sleep(0.01)
        first.__exit__()
        time.sleep(0.5)
        second.__enter__()

    restarting = threading.Thread(target=restart)
    restarting.start()
    prompts = [str(i) for i in range(200)]
    try:
        model = make(first, concurrency=8, max_retries=8)
        assert ask(model, prompts) == [f"re: {i}" for i in prompts]
    finally:
        restarting.join()
        second.__exit__()
    assert 50 <= len(first.requests) < 200
    assert model.usage.retried > 0


def test_a_bad_day() -> None:
    """20 % of the requests fail once, 2 % for ever: 98 % are answered."""
    rng = random.Random(7)
    prompts = [f"{i}" for i in range(1000)]
    for_ever = set(rng.sample(prompts, 20))
    once = {
        p: rng.choice([r for name, r in PASSING.items() if name != "hung"]) for p in rng.sample(prompts, 200)
    }

    def handle(request: dict[str, Any]) -> Reply:
        prompt = request["messages"][-1]["content"]
        return error(500, "no") if prompt in for_ever else once.pop(prompt, None) or echo(request)

    expected = [None if p in for_ever else f"re: {p}" for p in prompts]
    with Server(handle) as server:
        model = make(server, max_retries=5)
        answers = ask(model, prompts)
        assert [None if isinstance(a, LLMError) else a for a in answers] == expected
        assert (model.usage.requests, model.usage.failed) == (980, 20)
        assert len(server.requests) == 980 + model.usage.retried + 20


def test_an_error_carries_no_request() -> None:
    """The exceptions of the client hold the request with its headers."""
    with Server(lambda _: error(500, "no")) as server:
        [bad] = ask(make(server, max_retries=0), ["a"])
    assert bad.__cause__ is None and bad.__context__ is None
    assert json.dumps(bad.args)
