import asyncio
import json
import logging
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from spacy_llm.registry import registry

from spacy_eat.llm import chat_completions
from spacy_eat.llm.chat_completions import ChatCompletions, make_chat_completions
from spacy_eat.llm.forms import AlignmentForm
from spacy_eat.llm.prompts import LLMError, Prompt

from .server import Reply, Server, echo, error, reply

KEY = "sk-this-is-the-secret-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {"Beijing": {"enum": ["北京", None]}},
    "required": ["Beijing"],
    "additionalProperties": False,
}


def make(server: Server, **settings: Any) -> ChatCompletions:
    return make_chat_completions("m", base_url=server.url, **{"cache": None, "timeout": 5, **settings})


def ask(model: ChatCompletions, prompts: list[Any]) -> list[Any]:
    [answers] = model([prompts])
    return list(answers)


def later(request: dict[str, Any]) -> Reply:
    """The later a prompt was sent, the sooner it is answered."""
    answer = echo(request)
    answer.delay = 0.1 - 0.002 * int(request["messages"][-1]["content"])
    return answer


def test_from_a_config() -> None:
    make_model = registry.llm_models.get("spacy_eat.ChatCompletions.v1")
    model = make_model("m", base_url="http://localhost:1/v1", cache=None)
    assert isinstance(model, ChatCompletions)


@pytest.mark.parametrize(
    "setting",
    [
        {"concurrency": 0},
        {"max_retries": -1},
        {"timeout": 0},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -5},
        {"max_tokens": 0},
        {"structured": "xml"},
        {"base_url": "localhost:8000/v1"},
    ],
)
def test_a_setting_out_of_range_is_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_chat_completions("m", **setting)


def test_shape_and_order_are_those_of_the_prompts() -> None:
    with Server(later) as server:
        model = make(server, concurrency=50)
        docs = [["0", "1"], [], [str(i) for i in range(2, 49)], ["49"]]
        assert model(docs) == [[f"re: {prompt}" for prompt in doc] for doc in docs]
        assert model([]) == [] and model([[], []]) == [[], []]
        assert len(server.requests) == 50


@pytest.mark.parametrize("concurrency", [1, 7])
def test_concurrency_is_used_and_never_exceeded(concurrency: int) -> None:
    with Server(lambda _: reply("x", delay=0.02)) as server:
        model = make(server, concurrency=concurrency)
        ask(model, [str(i) for i in range(40)])
        ask(model, [str(i) for i in range(40)])
        assert server.most == concurrency
        assert server.connections <= concurrency  # kept from one batch to the next


def test_concurrency_bounds_all_threads_together() -> None:
    with Server(lambda _: reply("x", delay=0.02)) as server:
        model = make(server, concurrency=5)
        threads = [
            threading.Thread(target=ask, args=(model, [f"{n} {i}" for i in range(20)])) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(server.requests), server.most) == (80, 5)
        assert model.usage.requests == 80


def test_requests_per_minute() -> None:
    with Server() as server:
        ask(make(server, requests_per_minute=1200), [str(i) for i in range(30)])
        arrivals = [request["at"] for request in server.requests]
        assert 1.4 < arrivals[-1] - arrivals[0] < 10  # 29 times 50 ms
        assert all(arrivals[i + 10] - arrivals[i] > 0.3 for i in range(20))  # evenly


def test_tokens_per_minute_are_learnt_from_the_server() -> None:
    with Server() as server:  # says that each request took 15 tokens
        model = make(server, tokens_per_minute=9000, concurrency=1)
        ask(model, [f"{i:02}" for i in range(30)])
        arrivals = [request["at"] for request in server.requests]
        assert 2.5 < arrivals[-1] - arrivals[0] < 20  # 29 times 100 ms


def test_what_is_sent() -> None:
    messages = [
        {"role": "system", "content": "You translate."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "lone \ud83d surrogate"},
    ]
    with Server() as server:
        model = make(server, max_tokens=7, extra_body={"seed": 1, "chat_template_kwargs": {"x": False}})
        assert ask(model, [Prompt("text", messages=messages)]) == ["re: lone ? surrogate"]
        [request] = server.requests
        del request["at"], request["headers"]
        assert request == {
            "model": "m",
            "messages": [*messages[:3], {"role": "user", "content": "lone ? surrogate"}],
            "temperature": 0.0,
            "max_tokens": 7,
            "seed": 1,
            "chat_template_kwargs": {"x": False},
        }
        ask(make(server, temperature=None), ["a"])
        assert "temperature" not in server.requests[-1] and "max_tokens" not in server.requests[-1]


def test_thoughts_are_not_part_of_the_answer() -> None:
    with Server(lambda _: reply("<think>Hm.\n\nBeijing?</think>\n\n北京 <think>")) as server:
        assert ask(make(server), ["a"]) == ["北京 <think>"]


@pytest.mark.parametrize(
    ("structured", "field", "value"),
    [
        (
            "json_schema",
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
        ),
        ("structured_outputs", "structured_outputs", {"json": SCHEMA}),
        ("guided_json", "guided_json", SCHEMA),
    ],
)
def test_structured_answers(structured: Any, field: str, value: Any) -> None:
    with Server() as server:
        model = make(server, structured=structured, extra_body={"seed": 1})
        ask(model, [Prompt("a", schema=SCHEMA), Prompt("b")])
        with_schema, without = sorted(server.requests, key=lambda r: r["messages"][0]["content"])
        assert with_schema[field] == value and with_schema["seed"] == 1
        assert field not in without
        ask(make(server, structured="off"), [Prompt("a", schema=SCHEMA)])
        assert field not in server.requests[-1]


def test_a_server_without_structured_answers_is_asked_without() -> None:
    def handle(request: dict[str, Any]) -> Reply:
        return error(400, "unknown field") if "response_format" in request else echo(request)

    with Server(handle) as server:
        model = make(server, concurrency=1)
        prompts = [Prompt(str(i), schema=SCHEMA) for i in range(10)]
        assert ask(model, prompts) == [f"re: {i}" for i in range(10)]
        assert len(server.requests) == 11  # refused once, and remembered
        assert model.usage.failed == 0


def names_in(source: str) -> Prompt:
    return Prompt("a", schema=SCHEMA, completion=AlignmentForm(source, "Chinese", ("Beijing",)))


def schema_of(request: dict[str, Any]) -> Any:
    return request.get("response_format", {}).get("json_schema", {}).get("schema")


def test_the_words_of_the_source_are_the_only_answers() -> None:
    with Server() as server:
        ask(make(server), [names_in("在北京。")])
        [schema] = map(schema_of, server.requests)
    words = schema.pop("$defs")["words"]["anyOf"]
    assert words == [{"type": "string", "pattern": "^(在(北(京)?)?|北(京)?|京)$"}, {"type": "null"}]
    assert schema == {**SCHEMA, "properties": {"Beijing": {"$ref": "#/$defs/words"}}}


@pytest.mark.parametrize(("taken", "requests"), [("form", 11), ("nothing", 12)])
def test_a_server_gets_as_much_of_a_schema_as_it_takes(taken: str, requests: int) -> None:
    def handle(request: dict[str, Any]) -> Reply:
        schema = schema_of(request)
        refused = schema is not None and (taken == "nothing" or "$defs" in schema)
        return error(400, "unsupported schema") if refused else echo(request)

    with Server(handle) as server:
        model = make(server, concurrency=1)
        prompts = [Prompt(f"{i}", schema=SCHEMA, completion=names_in("在北京").completion) for i in range(10)]
        assert ask(model, prompts) == [f"re: {i}" for i in range(10)]
        assert len(server.requests) == requests  # refused once, and remembered
        assert [schema_of(r) for r in server.requests[-9:]] == [SCHEMA if taken == "form" else None] * 9
        assert (model.usage.failed, model.usage.retried) == (0, requests - 10)


def test_one_refused_schema_does_not_turn_the_others_off() -> None:
    def handle(request: dict[str, Any]) -> Reply:
        return error(400, "enum too large") if "big" in json.dumps(request) else echo(request)

    with Server(handle) as server:
        model = make(server, concurrency=1)
        prompts = [Prompt(str(i), schema={"enum": ["big" if i == 2 else "small"]}) for i in range(5)]
        assert ask(model, prompts) == [f"re: {i}" for i in range(5)]
        assert sum("response_format" in request for request in server.requests) == 5
        assert len(server.requests) == 6


def test_usage_and_cost() -> None:
    with Server() as server:  # 10 prompt and 5 completion tokens each
        model = make(server, prompt_price=2.0, completion_price=8.0)
        ask(model, ["a", "b"])
        assert vars(model.usage) == {
            "requests": 2,
            "cached": 0,
            "retried": 0,
            "failed": 0,
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "cost": pytest.approx(2 * (10 * 2.0 + 5 * 8.0) / 1e6),
        }


def test_inside_a_running_event_loop() -> None:
    async def notebook(model: ChatCompletions) -> list[Any]:
        return ask(model, ["a", "b"])

    with Server() as server:
        model = make(server)
        assert asyncio.run(notebook(model)) == ["re: a", "re: b"]
        assert asyncio.run(notebook(model)) == ["re: a", "re: b"]  # another loop, the same connections
        assert server.connections <= 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_in_other_processes(method: str) -> None:
    with Server() as server:
        model = make(server)
        assert ask(model, ["a"]) == ["re: a"]  # its thread is running when the others start
        with multiprocessing.get_context(method).Pool(1) as pool:
            answers = pool.starmap(ask, [(model, [str(i)]) for i in range(6)], chunksize=1)
        assert answers == [[f"re: {i}"] for i in range(6)]
        assert ask(model, ["b"]) == ["re: b"]


def test_connections_close_with_the_model() -> None:
    with Server() as server:
        before = set(threading.enumerate())
        model = make(server)
        ask(model, ["a"])
        assert set(threading.enumerate()) - before
        del model
        for _ in range(500):
            left = set(threading.enumerate()) - before
            if not left:
                break
            time.sleep(0.02)
        assert not left


def test_an_interrupt_stops_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda _: reply("x", delay=0.2)) as server:
        model = make(server, concurrency=4)
        answers = iter(model.generate([Prompt(str(i)) for i in range(100)]))
        next(answers)
        answers.close()  # what a KeyboardInterrupt does to it
        time.sleep(0.5)
        assert len(server.requests) <= 8
        assert ask(model, ["a"]) == ["x"]


def test_a_cached_run_makes_no_request_and_needs_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "requests.sqlite")
    monkeypatch.setattr(chat_completions, "OPENAI", "http://127.0.0.1:1/v1")
    with Server() as server:
        monkeypatch.setattr(chat_completions, "OPENAI", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        first = make_chat_completions("m", cache=cache)
        answers = first([["a", "b"], ["c"]])
    monkeypatch.delenv("OPENAI_API_KEY")
    again = make_chat_completions("m", cache=cache)
    assert again([["a", "b"], ["c"]]) == answers
    assert (again.usage.requests, again.usage.cached) == (0, 3)
    [[new, old]] = again([["d", "a"]])
    assert isinstance(new, LLMError) and "OPENAI_API_KEY" in str(new) and not new.retryable
    assert old == "re: a"


def test_parameters_and_servers_do_not_share_answers(tmp_path: Path) -> None:
    cache = str(tmp_path / "requests.sqlite")
    with Server() as server, Server() as other:
        for settings in ({}, {"temperature": 1.0}, {"max_tokens": 5}, {"extra_body": {"seed": 2}}):
            ask(make(server, cache=cache, **settings), ["a"])
        ask(make(other, cache=cache), ["a"])
        ask(make(server, cache=cache, concurrency=3, timeout=9), ["a"])  # nothing the answer depends on
        assert (len(server.requests), len(other.requests)) == (4, 1)


def test_nothing_is_contacted_or_imported_at_load() -> None:
    code = (
        "import sys, threading\n"
        "from spacy_eat.llm.chat_completions import make_chat_completions\n"
        "model = make_chat_completions('m', base_url='http://192.0.2.1/v1')\n"
        "assert 'openai' not in sys.modules and threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_key_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the header of the request, and nowhere else."""
    monkeypatch.setenv("MY_KEY", KEY)

    def leak(request: dict[str, Any]) -> Reply:  # a server that repeats what it was sent
        prompt = request["messages"][-1]["content"]
        words = f"Incorrect API key provided: {KEY}."
        replies = {"401": error(401, words), "400": error(400, words), "500": error(500, words)}
        return replies.get(prompt, echo(request))

    with caplog.at_level(logging.DEBUG), Server(leak) as server:
        monkeypatch.setattr(chat_completions, "FIRST_WAIT", 0.01)
        model = make(server, api_key_env="MY_KEY", max_retries=1, cache=str(tmp_path / "requests.sqlite"))
        answers = ask(model, ["a", "b", "400", "500"]) + ask(model, ["401"])
        assert all(r["headers"]["authorization"] == f"Bearer {KEY}" for r in server.requests)
        assert answers[:2] == ["re: a", "re: b"]
        errors = answers[2:]
        assert all(isinstance(e, LLMError) and "Incorrect API key" in str(e) for e in errors)
        assert "again in" in caplog.text  # the log has the retry
        seen = [
            repr(model),
            repr(answers),
            repr(errors[0].__dict__),
            json.dumps(model.identity),
            repr(model.usage),
            caplog.text,
            repr([record.__dict__ for record in caplog.records]),
        ]
        files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        dumps = [pickle.dumps(model), pickle.dumps(errors), pickle.dumps(model.cache)]
    assert files
    assert not any(KEY in text for text in seen)
    assert not any(KEY.encode() in data for data in files + dumps)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\n{KEY}", f"{KEY}\x00", f"{KEY}钥"])
def test_a_key_with_strange_characters_is_not_quoted(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": key})
    with Server() as server:
        [answer] = ask(make(server), ["a"])
        if key.strip() == KEY:
            assert answer == "re: a"
            assert server.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"
        else:
            assert "OPENAI_API_KEY" in str(answer) and KEY not in str(answer)


def test_a_message_that_can_not_be_sent_costs_one_answer() -> None:
    bad = Prompt("b", messages=[{"role": "user"}])
    with Server() as server:
        first, failed, last = ask(make(server), ["a", bad, "c"])
        assert (first, last) == ("re: a", "re: c")
        assert isinstance(failed, LLMError) and "content" in str(failed)


def test_a_long_wait_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(chat_completions, "LONG_WAIT", 0.5)
    limited = error(429, "Slow down", headers={"retry-after": "1"})
    server = Server(lambda _: limited if len(server.requests) <= 8 else reply("x"))
    with server, caplog.at_level(logging.WARNING):
        assert ask(make(server, concurrency=8), [str(i) for i in range(8)]) == ["x"] * 8
    (record,) = caplog.records
    assert "Slow down; again in 1.0 s" in record.getMessage()


def test_user_and_password_of_a_url_are_not_identity() -> None:
    model = make_chat_completions("m", base_url="https://me:word@host:8000/v1/")
    assert model.identity["server"] == "https://host:8000/v1"
