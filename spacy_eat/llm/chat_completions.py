"""Any OpenAI-compatible server, through the official client: OpenAI, vLLM,
Ollama, llama.cpp, DashScope, a LiteLLM proxy.

All prompts of a minibatch are in flight at once, up to a bound. The client's
event loop runs in a thread of its own, so the backend works the same in a
script, in a notebook and in a web server, and its connections stay open from
one batch to the next.
"""

import asyncio
import email.utils
import itertools
import json
import logging
import math
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from .answers import answers_pattern
from .backend import Backend
from .cache import RequestCache
from .forms import AlignmentForm
from .prompts import Answer, LLMError, Prompt, Response, UnusableAnswer, Usage

logger = logging.getLogger(__name__)
_connecting = threading.Lock()

OPENAI = "https://api.openai.com/v1"
RETRY_STATUS = {408, 409, 425, 429}  # and 5xx
# A wrong key, model name or URL: no other prompt would fare better.
CONFIGURATION_STATUS = {401, 404}
# So many refusals (other 4xx), and never an answer, say the same.
MAX_REFUSALS = 10
# So many prompts in a row given up on for the server's sake: the rest of the batch is not sent.
MAX_IN_A_ROW = 10
MAX_TIMEOUTS = 2  # of one prompt
PATIENCE = 3.0  # seconds, from the first one on, in which a server that is not known to work is asked again
CONNECT_TIMEOUT = 4.0  # seconds to make a connection
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between attempts, doubled each time
LONG_WAIT = 2.0  # seconds from which on it is told what a prompt waits for
TELL_EVERY = 30.0  # seconds
LONGEST_RETRY_AFTER = 300.0  # seconds; told to wait longer, a request is given up
THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)

# How a JSON schema is sent, by the name of the request's field.
Structured = Literal["json_schema", "structured_outputs", "guided_json", "off"]
# What it says: the allowed words, or only the form of the answer.
Detail = Literal["words", "form"]


def make_chat_completions(
    name: str,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 32,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    timeout: float = 120.0,
    max_retries: int = 8,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
    extra_body: dict[str, Any] | None = None,
    structured: Structured = "json_schema",
    prompt_price: float = 0.0,
    completion_price: float = 0.0,
    cache: str | None = "auto",
    cache_size_mb: float = 1024,
) -> "ChatCompletions":
    """Make a backend for an OpenAI-compatible chat completions server. Nothing
    is contacted, and no key is needed, before the first request.

    name (str): The model, as the server calls it.
    base_url (Optional[str]): Where the server is, such as
        "http://localhost:8000/v1". None: OpenAI.
    api_key_env (str): Environment variable with the key, read at the first
        request. A server of one's own (`base_url`) may do without.
    concurrency (int): Most requests in flight at once.
    requests_per_minute, tokens_per_minute (Optional[float]): The account's
        limits, None for none. Requests are spaced evenly to stay below them.
    timeout (float): Seconds one attempt may take from start to end. After
        two that took longer, a prompt is given up.
    max_retries (int): Further attempts after 408, 409, 429, 5xx, a lost
        connection or an answer that can't be read. With 8, a server may be
        away for a minute and a half; each one more adds up to a minute. Only a
        server that has answered before is waited for: one that was never heard
        of gets 3 seconds, one that was given up a single attempt.
    temperature (Optional[float]): 0.0 for the likeliest answer; None does not
        send it, for models that refuse it.
    max_tokens (Optional[int]): Longest answer in tokens, None for the server's
        default. Newer OpenAI models want `max_completion_tokens` in
        `extra_body` instead.
    extra_body (Optional[Dict[str, Any]]): Further fields of the request, such
        as {"seed": 1} or {"chat_template_kwargs": {"enable_thinking": false}}.
    structured (str): How a prompt's JSON schema is sent: as `response_format`
        of type "json_schema" (most servers), as vLLM's "structured_outputs" or
        its older "guided_json", or "off". Where an answer must be words of the
        source, the schema has a regular expression for them. A server that
        refuses that gets the plain schema, else none, and from then on.
    prompt_price, completion_price (float): Per million tokens, for `usage.cost`.
    cache (Optional[str]): File of the request cache, "auto" for one in the
        user's cache folder, None for no cache.
    cache_size_mb (float): Its size bound in megabytes.
    RETURNS (ChatCompletions): The backend.
    RAISES (ValueError): A setting is out of its range.
    """
    for setting, value, low in (
        ("concurrency", concurrency, 1),
        ("max_retries", max_retries, 0),
        ("timeout", timeout, 1e-3),
        ("requests_per_minute", requests_per_minute, 1e-3),
        ("tokens_per_minute", tokens_per_minute, 1e-3),
        ("max_tokens", max_tokens, 1),
    ):
        if value is not None and value < low:
            raise ValueError(f"{setting} = {value} is too small")
    if base_url is not None and urlsplit(base_url).scheme not in ("http", "https"):
        raise ValueError(f"base_url = {base_url!r} is no URL, such as http://localhost:8000/v1")
    if structured not in get_args(Structured):
        raise ValueError(f"structured = {structured!r} is none of {', '.join(get_args(Structured))}")
    parameters: dict[str, Any] = {
        "temperature": temperature,
        "max_tokens": max_tokens,
        "extra_body": extra_body,
    }
    return ChatCompletions(
        name=name,
        base_url=base_url,
        api_key_env=api_key_env,
        parameters={key: value for key, value in parameters.items() if value is not None},
        structured=structured,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        timeout=timeout,
        max_retries=max_retries,
        prices=(prompt_price, completion_price),
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


# What a user can do about it, as a format with the URL and the variable of the key.
NO_SERVER = "is the server running at {url}? Check base_url."
WRONG_KEY = "is the key in the environment variable {key} the right one?"
WRONG_NAME = "does the server have this model? Check name and base_url (many end in /v1)."
SLOW = "if the server is only slow, raise timeout."


@dataclass(eq=False)
class Failed(Exception):
    """An attempt without an answer.

    reason (str): What the server said, or what happened on the way.
    retry (bool): Whether the same request may do better.
    after (Optional[float]): Seconds the server asked to wait before.
    status (Optional[int]): The HTTP status of a refusal.
    stop (bool): It is not about this prompt: the rest of the batch would fail alike.
    slow (bool): The time was up.
    busy (bool): The server works, and says that it has no time.
    unusable (bool): The model answered, but not to the point.
    remedy (str): What the user can do, "" for nothing.
    """

    reason: str
    retry: bool
    after: float | None = None
    status: int | None = None
    stop: bool = False
    slow: bool = False
    busy: bool = False
    unusable: bool = False
    remedy: str = ""


@dataclass
class Batch:
    """The prompts of one call.

    deadline (float): When a server that is not known to work is given up, by the clock of the event loop.
    timeouts (int): That a prompt may have.
    refusals (int): Prompts the server would not take.
    in_a_row (int): Prompts given up on for the server's sake since the last answer.
    stop (Optional[LLMError]): Why there is no use in sending the rest.
    """

    deadline: float
    timeouts: int
    refusals: int = 0
    in_a_row: int = 0
    stop: LLMError | None = None


class Pace:
    """Spaces things out evenly over the minute.

    per_minute (Optional[float]): How many there may be, None for any number.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.seconds = 60 / per_minute if per_minute else 0.0
        self.free = 0.0

    def reserve(self, amount: float, now: float) -> float:
        """RETURNS (float): Seconds to wait for one's turn."""
        turn = max(self.free, now)
        self.free = turn + amount * self.seconds
        return turn - now

    def settle(self, difference: float) -> None:
        """Correct a reservation, once it is known what it should have been."""
        self.free += difference * self.seconds


class Session:
    """What is alive while requests are made: the client with its connections,
    the event loop in its thread, the turns. Belongs to one process."""

    def __init__(self, client: Any, concurrency: int, rpm: float | None, tpm: float | None) -> None:
        self.client = client
        self.slots = asyncio.Semaphore(concurrency)
        self.requests, self.tokens = Pace(rpm), Pace(tpm)
        self.paused_until = 0.0  # the server asked everybody to wait
        self.heard = 0.0  # when the server last said anything
        self.complained = -math.inf  # when the user was last told of a long wait
        self.answered = False  # the server has answered a prompt, and was not given up since
        self.stopped = False  # the last batch was
        self.takes: dict[Detail, bool] = {}  # what schemas the server takes, as far as is known
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="spacy-eat-requests", daemon=True).start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    async def turn(self, tokens: float) -> None:
        """Wait until the limits, and the server, allow the next request."""
        now = self.loop.time()
        await asyncio.sleep(max(self.requests.reserve(1, now), self.tokens.reserve(tokens, now)))
        while (pause := self.paused_until - self.loop.time()) > 0:
            await asyncio.sleep(pause + random.uniform(0, FIRST_WAIT))

    def close(self) -> None:
        """Close the connections and end the thread, without waiting for it
        (the garbage collector may call this from any thread)."""

        async def close() -> None:
            await self.client.close()
            self.loop.stop()

        if self.pid == os.getpid() and self.loop.is_running():
            asyncio.run_coroutine_threadsafe(close(), self.loop)


class ChatCompletions(Backend):
    """A model behind an OpenAI-compatible chat completions API. See
    `make_chat_completions` for the settings.

    parameters (Dict[str, Any]): What goes into every request beside the model
        and the messages.
    prices (Tuple[float, float]): Per million prompt and completion tokens.
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str | None,
        api_key_env: str,
        parameters: Mapping[str, Any],
        structured: Structured,
        concurrency: int,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        timeout: float,
        max_retries: int,
        prices: tuple[float, float],
        cache: RequestCache | None,
    ) -> None:
        super().__init__(cache)
        self.name = name
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.parameters = dict(parameters)
        self.structured: Structured = structured
        self.concurrency = concurrency
        self.limits = (requests_per_minute, tokens_per_minute)
        self.timeout = timeout
        self.max_retries = max_retries
        self.prices = prices
        self._session: Session | None = None

    @property
    def identity(self) -> dict[str, Any]:
        url = urlsplit(self.base_url or OPENAI)  # without a user name and password
        return {
            "backend": "spacy_eat.ChatCompletions.v1",
            "server": f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}",
            "model": self.name,
            "parameters": self.parameters,
            "structured": self.structured,
        }

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        if not _is_sendable(self._key) or (not self._key and self.base_url is None):
            reason = f"no usable key: set the environment variable {self.api_key_env}"
            if self.base_url is None:
                reason += " (or, for a server of your own, base_url)"
            yield from [LLMError(reason, retryable=False) for _ in prompts]
            return
        session = self._connect()
        batch = Batch(session.loop.time() + PATIENCE, MAX_TIMEOUTS)
        ahead = len(prompts)
        if session.stopped:  # the last batch was: one prompt goes ahead of the others, without patience
            batch, ahead = Batch(0.0, 1), 1
        futures: list[Future[Response]] = []
        try:
            for part in (prompts[:ahead], prompts[ahead:]):
                tasks = (self._answer(session, batch, prompt) for prompt in part)
                futures = [asyncio.run_coroutine_threadsafe(task, session.loop) for task in tasks]
                for future in futures:
                    yield future.result()
        finally:  # also when interrupted
            session.stopped = batch.stop is not None
            for future in futures:
                future.cancel()

    @property
    def _key(self) -> str:
        return os.environ.get(self.api_key_env, "").strip()

    def _connect(self) -> Session:
        from openai import AsyncOpenAI, Timeout

        key = self._key or "none"  # the client wants one
        with _connecting:
            if self._session is None or self._session.pid != os.getpid():  # a thread does not survive a fork
                timeout = Timeout(self.timeout, connect=min(self.timeout, CONNECT_TIMEOUT))
                client = AsyncOpenAI(
                    api_key=key, base_url=self.base_url or OPENAI, timeout=timeout, max_retries=0
                )
                self._session = Session(client, self.concurrency, *self.limits)
                weakref.finalize(self, self._session.close)
            self._session.client.api_key = key
            return self._session

    async def _answer(self, session: Session, batch: Batch, prompt: Prompt) -> Response:
        """Attempt a prompt until there is an answer, or no hope of one. It keeps
        its slot while it waits: a server in trouble gets fewer requests."""
        usage = Usage()
        async with session.slots:
            started, timeouts = session.loop.time(), 0
            for attempt in itertools.count():
                if batch.stop is not None:
                    return self._give_up(str(batch.stop), batch.stop.retryable, usage)
                try:
                    answer = await self._attempt(session, prompt, usage)
                    batch.in_a_row = 0
                    return Answer(answer, usage)
                except Failed as err:
                    failure = err
                except Exception as err:  # nothing that one prompt does may take the others along
                    failure = Failed(f"{type(err).__name__}: {err}", retry=False)
                timeouts += failure.slow
                wait = self._wait(attempt, failure)
                begins = session.loop.time() + wait
                known = failure.busy or session.answered or begins < batch.deadline
                more = timeouts < batch.timeouts if failure.slow else known and attempt < self.max_retries
                if not failure.retry or failure.stop or not more:
                    break
                usage.retried += 1
                self._log(session, attempt, failure, wait, begins - started)
                await asyncio.sleep(wait)
            reason = f"{self.name} at {self.identity['server']}: {self._words(failure)}"
            error = self._give_up(reason, failure.retry, usage, unusable=failure.unusable)
            if failure.retry:
                batch.in_a_row += 1
            elif failure.status is not None:
                batch.refusals += 1
            refused = batch.refusals >= MAX_REFUSALS and not session.answered
            # Not a word since the first attempt, or only such words.
            gone = failure.retry and (session.heard < started or batch.in_a_row >= MAX_IN_A_ROW)
            if batch.stop is None and (failure.stop or refused or gone):
                batch.stop = error
            if gone:
                session.answered = False
            return error

    async def _attempt(self, session: Session, prompt: Prompt, usage: Usage) -> str:
        """Send the request, with as much of its JSON schema as the server takes."""
        messages = [{**message, "content": _encodable(message["content"])} for message in prompt.messages]
        request = {"model": self.name, "messages": messages, **self.parameters}
        schemas = {} if self.structured == "off" else _schemas(prompt)
        refused: list[Detail] = []
        for detail, schema in schemas.items():
            if session.takes.get(detail) is False:
                continue
            fields = _schema_fields(self.structured, schema)
            try:
                extra_body = {**request.get("extra_body", {}), **fields}
                answer = await self._send(session, {**request, "extra_body": extra_body}, usage)
                session.takes[detail] = True
                break
            except Failed as failure:
                if failure.status not in (400, 422):
                    raise
                usage.retried += 1
                refused.append(detail)
        else:
            answer = await self._send(session, request, usage)
        for detail in refused:  # where it has taken another one, it was about this one
            session.takes.setdefault(detail, False)
        return answer

    async def _send(self, session: Session, request: dict[str, Any], usage: Usage) -> str:
        """Make one HTTP request.

        usage (Usage): To which is added what it takes.
        RETURNS (str): The answer.
        RAISES (Failed): There is none.
        """
        import httpx
        import openai

        tokens = sum(len(message["content"].encode()) for message in request["messages"]) / 3  # about
        await session.turn(tokens)
        failure = None
        try:
            create = session.client.chat.completions.create(**request)
            result = await asyncio.wait_for(create, self.timeout)
        except (openai.APITimeoutError, asyncio.TimeoutError) as err:
            if isinstance(err.__cause__, httpx.ConnectTimeout):
                raise Failed("no connection", retry=True, remedy=NO_SERVER) from None
            raise Failed(f"no answer within {self.timeout:g} s", retry=True, slow=True, remedy=SLOW) from None
        except openai.APIConnectionError as err:
            cause = err.__cause__ or err
            reason = f"{type(cause).__name__} {cause}".strip()
            raise Failed(reason, retry=True, remedy=NO_SERVER) from None
        except openai.APIStatusError as err:
            failure = _refusal(err)
        except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError) as err:
            failure = Failed(f"the response is not valid JSON: {err}", retry=True, remedy=NO_SERVER)
        session.heard = session.loop.time()
        if failure is None:
            taken = self._taken(result)
            usage.add(taken)
            if taken.prompt_tokens:
                session.tokens.settle(taken.prompt_tokens + taken.completion_tokens - tokens)
            answer = _content(result)
            session.answered = True
            usage.requests += 1
            return answer
        if failure.after is not None and not failure.stop:  # the server is busy for everybody
            session.paused_until = max(session.paused_until, session.heard + failure.after)
        raise failure

    def _taken(self, result: Any) -> Usage:
        """RETURNS (Usage): The tokens that the server says a response took."""
        told = getattr(result, "usage", None)
        prompt = getattr(told, "prompt_tokens", None) or 0
        completion = getattr(told, "completion_tokens", None) or 0
        cost = (prompt * self.prices[0] + completion * self.prices[1]) / 1e6
        return Usage(prompt_tokens=prompt, completion_tokens=completion, cost=cost)

    def _wait(self, attempt: int, failure: Failed) -> float:
        """RETURNS (float): Seconds before another attempt."""
        if failure.slow:  # that was wait enough
            return 0.0
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1)
        return max(backoff, failure.after or 0.0)

    def _log(self, session: Session, attempt: int, failure: Failed, wait: float, waited: float) -> None:
        level = logging.DEBUG
        if waited >= LONG_WAIT and session.loop.time() - session.complained >= TELL_EVERY:
            level, session.complained = logging.WARNING, session.loop.time()
        reason = self._redact(failure.reason)
        place = f"{self.name} at {self.identity['server']}"
        logger.log(level, "%s, attempt %d: %s; again in %.1f s", place, attempt + 1, reason, wait)

    def _words(self, failure: Failed) -> str:
        """RETURNS (str): What happened, and what can be done about it."""
        if not failure.remedy:
            return failure.reason
        remedy = failure.remedy.format(url=self.identity["server"], key=self.api_key_env)
        return f"{failure.reason}; {remedy}"

    def _give_up(self, reason: str, retryable: bool, usage: Usage, *, unusable: bool = False) -> LLMError:
        usage.failed += 1
        kind = UnusableAnswer if unusable else LLMError
        return kind(self._redact(reason), retryable=retryable, usage=usage)

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}


def _schemas(prompt: Prompt) -> dict[Detail, dict[str, Any]]:
    """RETURNS (Dict[Detail, Dict[str, Any]]): JSON schemas for an answer, the strictest first."""
    schema = prompt.schema
    if schema is None:
        return {}
    schemas: dict[Detail, dict[str, Any]] = {"form": schema}
    source = prompt.completion.text if isinstance(prompt.completion, AlignmentForm) else None
    pattern = answers_pattern(source) if source and "properties" in schema else None
    if pattern is not None:
        properties = {name: {"$ref": "#/$defs/words"} for name in schema["properties"]}
        words = {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "null"}]}
        schemas = {"words": {**schema, "properties": properties, "$defs": {"words": words}}, **schemas}
    return schemas


def _schema_fields(structured: Structured, schema: dict[str, Any]) -> dict[str, Any]:
    if structured == "guided_json":
        return {"guided_json": schema}
    if structured == "structured_outputs":
        return {"structured_outputs": {"json": schema}}
    json_schema = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def _is_sendable(key: str) -> bool:
    """Anything else would stand, quoted, in the message of an error."""
    return key.isascii() and (key.isprintable() or not key)


def _encodable(text: str) -> str:
    """Lone surrogates can't be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _content(result: Any) -> str:
    """RETURNS (str): What the model says in a response.
    RAISES (Failed): It says nothing usable."""
    choices = getattr(result, "choices", None)
    if not isinstance(choices, list) or not choices:
        remedy = NO_SERVER if isinstance(result, str) else ""  # a page
        raise Failed(f"a response without choices: {_excerpt(result)}", retry=True, remedy=remedy)
    message = getattr(choices[0], "message", None)
    reason = getattr(choices[0], "finish_reason", None)
    content = getattr(message, "content", None)
    if reason == "length":
        raise Failed(
            "the answer was cut off at the token limit; see `max_tokens`", retry=False, unusable=True
        )
    if reason == "content_filter":
        raise Failed("the answer was stopped by the server's content filter", retry=False, unusable=True)
    if refusal := getattr(message, "refusal", None):
        raise Failed(f"the model refused: {_excerpt(refusal)}", retry=False, unusable=True)
    if not isinstance(content, str):
        raise Failed(f"a response without content: {_excerpt(result)}", retry=True)
    answer = THOUGHTS.sub("", _encodable(content))
    if not answer.strip():
        raise Failed("an empty answer", retry=False, unusable=True)
    return answer


def _refusal(err: Any) -> Failed:
    """RETURNS (Failed): What an HTTP error status means, in the server's words."""
    body, headers, status = err.body, err.response.headers, err.status_code
    while isinstance(body, dict):
        body = body.get("error") or body.get("message") or body.get("detail") or str(body)
    after = _retry_after(headers)
    used_up = err.code == "insufficient_quota"  # OpenAI's 429 for an empty account
    too_long = after is not None and after > LONGEST_RETRY_AFTER
    retry = (status in RETRY_STATUS or status >= 500) and headers.get("x-should-retry") != "false"
    busy = status in RETRY_STATUS or after is not None
    remedies = {401: WRONG_KEY, 403: WRONG_KEY, 404: WRONG_NAME}
    return Failed(
        f"HTTP {status}: {_excerpt(body or err.response.text or err.response.reason_phrase)}",
        retry=retry and not used_up,
        after=after,
        status=status,
        stop=status in CONFIGURATION_STATUS or used_up or too_long,
        busy=busy,
        remedy=remedies.get(status, ""),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RETURNS (Optional[float]): Seconds, from milliseconds, seconds or a date."""
    try:
        if "retry-after-ms" in headers:
            after = float(headers["retry-after-ms"]) / 1000
        elif re.fullmatch(r"[\d.]+", headers["retry-after"].strip()):
            after = float(headers["retry-after"])
        else:
            after = email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, after)


def _excerpt(text: Any) -> str:
    """RETURNS (str): The beginning of what a server said, without HTML."""
    plain = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", str(text), flags=re.DOTALL | re.IGNORECASE)
    return " ".join(plain.split())[:300] or "(nothing)"
