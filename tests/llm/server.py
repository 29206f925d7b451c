"""A real HTTP server on localhost that speaks the chat completions protocol,
and misbehaves as told.

    with Server(lambda request: reply("Hello.")) as server:
        model = make_chat_completions("m", base_url=server.url)
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any


@dataclass
class Reply:
    """What goes over the wire.

    delay (float): Seconds before anything is sent.
    cut (Optional[int]): Bytes of the body after which the connection is reset.
    hang (bool): Nothing is ever sent.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    hang: bool = False


def reply(
    content: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    tokens: tuple[int, int] = (10, 5),
    **wire: Any,
) -> Reply:
    """A well-formed answer, that took so many prompt and completion tokens."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }
    return Reply(json.dumps(body).encode(), **wire)


def error(status: int, message: str, *, code: str | None = None, **wire: Any) -> Reply:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Reply(json.dumps(body).encode(), status, **wire)


def echo(request: dict[str, Any]) -> Reply:
    return reply("re: " + request["messages"][-1]["content"])


class Server:
    """The server, running in a thread while the `with` block is.

    handler (Callable): From the JSON of a request to the reply.
    port (int): 0 for any free one.
    requests (List[dict]): What was received, in order, with the "headers" and
        the time ("at", in seconds of `time.monotonic`).
    most (int): The most requests that were in flight at once.
    connections (int): Connections made so far.
    """

    def __init__(self, handler: Callable[[dict[str, Any]], Reply] = echo, port: int = 0) -> None:
        self.handler = handler
        self.port = port
        self.requests: list[dict[str, Any]] = []
        self.most = self.flying = self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Server":
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result()
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        """Dies as a killed process does: with its connections."""
        self.server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = {
                    k.lower(): v for k, v in re.findall(r"^([^:\r\n]+): *([^\r\n]*)\r$", head, re.MULTILINE)
                }
                request = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
                self.requests.append({**request, "headers": headers, "at": time.monotonic()})
                self.flying += 1
                self.most = max(self.most, self.flying)
                try:
                    answer = self.handler(request)
                    await asyncio.sleep(3600 if answer.hang else answer.delay)
                finally:
                    self.flying -= 1
                await self._send(writer, answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, answer: Reply) -> None:
        headers = {
            "content-type": "application/json",
            "content-length": str(len(answer.body)),
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body[: answer.cut])
        await writer.drain()
        if answer.cut is not None:
            raise ConnectionResetError
