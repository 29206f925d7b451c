"""The web app: its routes, and what becomes of a request."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any, NoReturn

import anyio
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from spacy.language import Language

from .. import languages
from ..text.sentences import split_text
from ..viewer import markup
from .exports import EXPORTS
from .gate import REFUSALS, ASGIApp, Gate, Rules
from .reference import reference
from .schemas import (
    EVENTS,
    AnnotateAnswer,
    AnnotateRequest,
    Document,
    Done,
    Event,
    ExportRequest,
    Finished,
    Health,
    Pipeline,
    Pipelines,
    Problem,
    RenderAnswer,
    RenderRequest,
    Started,
    StreamRequest,
    Waiting,
    from_view,
    to_view,
)
from .work import Answer, Full, Job, Piece, Stalled, Unavailable, Worker

logger = logging.getLogger(__name__)

BEAT = 5.0  # seconds after which a client that waits is told so, and a connection seen to be alive
# Bytes of a request a character of its text: one with many entities has about 60, as JSON.
BYTES_PER_CHAR, BYTES_MORE = 100, 65536
BODIES_TOGETHER = 8  # of the largest requests
Responses = dict[int | str, dict[str, Any]]  # what FastAPI says of answers in the schema
EVENT_STREAM = "text/event-stream"
PUBLIC = ("/", "/docs", "/health", "/openapi.json")
GONE = 499  # what a request ends with whose client does not wait for it: for the log
STATIC = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "view.css": "text/css; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
}
DESCRIPTION = """Named entities without labelled data: texts in, entities with their English out.

Offsets are characters (Unicode code points) of the text, half open. Every answer that is not a result has a
`detail` that says why. When all places are taken (429), `Retry-After` says when to come back."""


@dataclass(frozen=True)
class Settings:
    """How much is let in.

    max_chars (int): Characters of a request's texts.
    queue (int): Requests of a pipeline that may wait or be at work.
    batch_size (int): Sentences that go through a pipeline together.
    timeout (float): Seconds that a request waits for its next sentence.
    warm_up (bool): Whether each pipeline annotates an example first.
    hosts (Sequence[str]): Names that the server may be called by; empty for any.
    token (Optional[str]): What clients must have, None for nothing.
    """

    max_chars: int = 100_000
    queue: int = 64
    batch_size: int = 16
    timeout: float = 120.0
    warm_up: bool = True
    hosts: Sequence[str] = ()
    token: str | None = None


def create_app(pipelines: Mapping[str, Callable[[], Language]], settings: Settings) -> ASGIApp:
    """The server's app.

    pipelines (Mapping[str, Callable[[], Language]]): What loads each pipeline, by the name that clients know
        it by. They are loaded one after the other when the app starts, and it answers meanwhile.
    settings (Settings): How much is let in.
    RETURNS (ASGIApp): For uvicorn.
    """
    workers = {
        name: Worker(
            name,
            load,
            places=settings.queue,
            batch_size=settings.batch_size,
            warm_up=settings.warm_up,
        )
        for name, load in pipelines.items()
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for worker in workers.values():
            worker.start()
        yield
        await asyncio.gather(*(asyncio.to_thread(worker.close) for worker in workers.values()))

    app = FastAPI(
        title="spacy-eat",
        version=version("spacy-eat"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=_refusals(settings.token is not None),
    )
    Routes(workers, settings).add_to(app)
    _complete_openapi(app, settings.token is not None)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(Exception, _failed)
    most = settings.max_chars * BYTES_PER_CHAR + BYTES_MORE
    public = (*PUBLIC, *(f"/static/{name}" for name in STATIC))
    rules = Rules(settings.hosts, settings.token, public, most, most * BODIES_TOGETHER)
    return Gate(app, rules)


class Routes:
    """What is done for each path."""

    def __init__(self, workers: Mapping[str, Worker], settings: Settings) -> None:
        self.workers = workers
        self.settings = settings
        self.options = markup.Options()
        # A thread each for what takes its time with a long text: the event loop has others to answer.
        self.preparing, self.rendering, self.exporting = (anyio.CapacityLimiter(1) for _ in range(3))

    def add_to(self, app: FastAPI) -> None:
        """Add them to an app."""
        no_place: Responses = {
            429: {"model": Problem, "description": "All places are taken"},
            503: {"model": Problem, "description": "The pipeline cannot be used, or the server is busy"},
        }
        timed_out: Responses = {504: {"model": Problem, "description": "No sentence was finished in time"}}
        # `_complete_openapi` says that they are events
        stream: Responses = {200: {"model": Event, "description": "Server-sent events"}}
        file: dict[str, Any] = {export.media_type.split(";")[0]: {} for export in EXPORTS.values()}
        unknown: Responses = {404: {"model": Problem, "description": "No such pipeline"}}

        app.get("/", include_in_schema=False)(self.page)
        app.get("/docs", include_in_schema=False)(self.docs)
        app.get("/static/{name}", include_in_schema=False)(self.static)
        app.get("/health", tags=["server"])(self.health)
        app.get("/pipelines", tags=["server"])(self.pipelines)
        app.post("/pipelines/{name}/load", tags=["server"], status_code=202, responses=unknown)(self.load)
        app.post("/annotate", tags=["texts"], responses={**no_place, **timed_out})(self.annotate)
        app.post(
            "/annotate/stream",
            tags=["texts"],
            response_class=StreamingResponse,
            responses={**stream, **no_place},
        )(self.stream)
        app.post("/render", tags=["results"])(self.render)
        app.post(
            "/export",
            tags=["results"],
            response_class=Response,
            responses={200: {"content": file, "description": "The file"}},
        )(self.export)

    # --- The page ------------------------------------------------------------

    async def page(self) -> HTMLResponse:
        """The page on which texts are annotated and corrected."""
        return HTMLResponse(_file("index.html"))

    async def docs(self, request: Request) -> HTMLResponse:
        """The schema, for people."""
        return HTMLResponse(_file("reference.html").replace("{body}", reference(request.app.openapi())))

    async def static(self, name: str) -> Response:
        """What the page is made of."""
        if name not in STATIC:
            raise HTTPException(404, f"There is no {name!r}")
        content = {"view.css": markup.stylesheet, "view.js": markup.script}.get(name, lambda: _file(name))()
        return Response(content, media_type=STATIC[name])

    # --- The server ----------------------------------------------------------

    async def health(self) -> Health:
        """Whether the server can work: "ok" if any pipeline is ready."""
        states = {worker.state for worker in self.workers.values()}
        status = "ok" if "ready" in states else "loading" if "loading" in states else "failed"
        return Health(
            status=status,  # type: ignore[arg-type]
            requests=sum(worker.requests for worker in self.workers.values()),
        )

    async def pipelines(self) -> Pipelines:
        """The pipelines of the server, whether they are loaded, and if not, why."""
        return Pipelines(
            pipelines=[
                Pipeline(
                    name=name,
                    lang=worker.lang,
                    language=languages.load(worker.lang).name if worker.lang else "",
                    state=worker.state,
                    reason=worker.reason,
                    labels=worker.labels,
                    components=worker.components,
                    requests=worker.requests,
                )
                for name, worker in self.workers.items()
            ],
            max_chars=self.settings.max_chars,
            version=version("spacy-eat"),
        )

    async def load(self, name: str) -> Pipelines:
        """Try again to load a pipeline that has failed."""
        worker = self.workers.get(name)
        if worker is None:
            raise HTTPException(404, f"There is no pipeline {name!r}: {', '.join(self.workers)}")
        if worker.state == "failed":
            worker.start()
        return await self.pipelines()

    # --- Texts ---------------------------------------------------------------

    async def annotate(self, given: AnnotateRequest, request: Request) -> AnnotateAnswer:
        """Annotate texts. The answer comes when all is done."""
        worker, job = await self._submitted(given)
        documents = [Document(text=text, lang=worker.lang, sentences=[]) for text in given.texts]
        with _Watched(job, request):
            try:
                async for answer in _answers(job, self.settings.timeout):
                    if answer is None:
                        continue
                    piece = answer.piece
                    documents[piece.document].sentences += (
                        from_view(sentence, piece.start) for sentence in answer.sentences
                    )
            except Stalled as error:
                raise HTTPException(504, str(error)) from error
            except Unavailable as error:
                raise HTTPException(503, str(error)) from error
            if not job.is_finished:
                raise HTTPException(GONE, "The client is gone")
        for document in documents:
            document.lang = worker.lang
        return AnnotateAnswer(pipeline=worker.name, documents=documents)

    async def stream(self, given: StreamRequest, request: Request) -> StreamingResponse:
        """Annotate texts, with an event for each sentence as it is finished.

        First comes `start`, then a `sentence` each, `waiting` where there is none for a while, and at the end
        `done` or `error`. The data of each is JSON.
        """
        worker, job = await self._submitted(given)
        watched = _Watched(job, request)
        return StreamingResponse(
            self._events(watched, worker, given),
            media_type=EVENT_STREAM,
            headers={"X-Accel-Buffering": "no"},
        )

    async def _events(self, watched: "_Watched", worker: Worker, given: StreamRequest) -> AsyncIterator[str]:
        began, number = time.monotonic(), 0
        with watched as job:
            yield _event(Started(pipeline=worker.name, lang=worker.lang, sentences=job.size))
            try:
                async for answer in _answers(job, self.settings.timeout):
                    if answer is None:
                        yield _event(Waiting(before=worker.waiting))
                        continue
                    for view in answer.sentences:
                        sentence = from_view(view, answer.piece.start)
                        html = None
                        if given.html:
                            card = to_view(sentence)
                            html = markup.sentence_card(card, self.options, str(number), worker.lang)
                        number += 1
                        yield _event(Finished(document=answer.piece.document, sentence=sentence, html=html))
                yield _event(Done(lang=worker.lang, seconds=round(time.monotonic() - began, 3)))
            except (Stalled, Unavailable) as error:
                yield _event(Problem(detail=str(error)))
            except Exception:
                logger.exception("A request failed")
                yield _event(Problem(detail=INTERNAL))

    async def _submitted(self, given: AnnotateRequest) -> tuple[Worker, Job]:
        """Hand a request in at the pipeline that it asks for.

        RAISES (HTTPException): If there is no such pipeline, no place, or the pipeline cannot be used.
        """
        self._check_length(given.texts)
        worker, pieces = await anyio.to_thread.run_sync(self._prepare, given, limiter=self.preparing)
        try:
            return worker, worker.submit(pieces)
        except Full as error:
            raise HTTPException(429, str(error), {"Retry-After": str(error.retry_after)}) from error
        except Unavailable as error:
            raise HTTPException(503, f"The pipeline {worker.name!r} cannot be used: {error}") from error

    def _prepare(self, given: AnnotateRequest) -> tuple[Worker, list[Piece]]:
        worker = self._worker(given)
        pieces = [
            Piece(number, start, text[start:end])
            for number, text in enumerate(given.texts)
            for start, end in split_text(text, lang=worker.lang)
        ]
        return worker, pieces

    def _worker(self, given: AnnotateRequest) -> Worker:
        """RETURNS (Worker): The pipeline that a request asks for.
        RAISES (HTTPException): If there is none."""
        if given.pipeline is not None:
            worker = self.workers.get(given.pipeline)
            if worker is None:
                raise HTTPException(
                    422, f"There is no pipeline {given.pipeline!r}: {', '.join(self.workers)}"
                )
            return worker
        if given.lang is None and len(self.workers) == 1:
            return next(iter(self.workers.values()))
        lang = given.lang or languages.guess_language(given.texts)
        fitting = [worker for worker in self.workers.values() if worker.lang == lang]
        usable = [worker for worker in fitting if worker.state != "failed"]
        if usable or fitting:
            return (usable or fitting)[0]
        _refuse_language(lang, self.workers)

    def _check_length(self, texts: Sequence[str]) -> None:
        """RAISES (HTTPException): If a request's texts are too long."""
        chars, most = sum(map(len, texts)), self.settings.max_chars
        if chars > most:
            raise HTTPException(413, f"The text has {chars:,} characters; {most:,} is the most")

    # --- Results -------------------------------------------------------------

    async def render(self, given: RenderRequest) -> RenderAnswer:
        """The view of a sentence, as HTML, corrected or not."""
        self._check_length([given.sentence.text])
        card = await anyio.to_thread.run_sync(
            lambda: markup.sentence_card(to_view(given.sentence), self.options, given.key, given.lang),
            limiter=self.rendering,
        )
        return RenderAnswer(html=card)

    async def export(self, given: ExportRequest) -> Response:
        """Documents as a file: "jsonl" as of `python -m spacy eat annotate`, "spacy" for training and
        `python -m spacy eat show`, "conll" with a token and its tag a row."""
        self._check_length([document.text for document in given.documents])
        export = EXPORTS[given.format]
        try:
            content = await anyio.to_thread.run_sync(export.write, given.documents, limiter=self.exporting)
        except ImportError as error:  # spaCy does not know the language
            raise HTTPException(422, str(error)) from error
        headers = {"Content-Disposition": f'attachment; filename="{export.name}"'}
        return Response(content, media_type=export.media_type, headers=headers)


# --- A request's way ---------------------------------------------------------


class _Watched:
    """A job that is cancelled when its client goes away, and whose place is free in any case at the end."""

    def __init__(self, job: Job, request: Request) -> None:
        self.job = job
        # from now on: the answer may never begin
        self.watcher = asyncio.create_task(_cancel_when_gone(job, request))

    def __enter__(self) -> Job:
        return self.job

    def __exit__(self, *error: object) -> None:
        self.watcher.cancel()
        self.job.cancel()


async def _cancel_when_gone(job: Job, request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


async def _answers(job: Job, timeout: float) -> AsyncIterator[Answer | None]:
    """The answers of a job, and None for each while without one.

    RAISES (Stalled): There was none for too long.
    """
    last = time.monotonic()
    while True:
        try:
            answer = await job.next(min(BEAT, timeout))
        except asyncio.TimeoutError:
            if time.monotonic() - last >= timeout:
                raise Stalled(f"No sentence was finished within {timeout:g} seconds") from None
            yield None
            continue
        if answer is None:
            return
        last = time.monotonic()
        yield answer


def _event(data: Event) -> str:
    """RETURNS (str): A server-sent event."""
    return f"event: {EVENTS[type(data)]}\ndata: {data.model_dump_json()}\n\n"


def _refuse_language(lang: str | None, workers: Mapping[str, Worker]) -> NoReturn:
    if any(worker.state == "loading" and not worker.lang for worker in workers.values()):
        raise HTTPException(503, "The pipelines are being loaded", {"Retry-After": "5"})
    problem = "The script of the text does not tell its language"
    if lang is not None:
        problem = f"There is no pipeline for the language {lang!r}"
    raise HTTPException(422, f"{problem}: name one of the pipelines {', '.join(workers)}")


def _file(name: str) -> str:
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


# --- Problems ----------------------------------------------------------------

INTERNAL = "The server failed. Its log says why"


async def _not_valid(request: Request, error: Exception) -> Response:
    """What is wrong with the fields of a request, without what was in them."""
    assert isinstance(error, RequestValidationError)
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'][1:]) or problem['loc'][0]}: {problem['msg']}"
        for problem in error.errors()[:10]
    ]
    return JSONResponse({"detail": "; ".join(problems)}, status_code=422)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": INTERNAL}, status_code=500)


# --- The schema --------------------------------------------------------------


def _refusals(has_token: bool) -> Responses:
    """What may be answered to any request."""
    found = {status: why for status, why in REFUSALS.items() if has_token or status != 401}
    found[422] = "The request is no JSON, or not what it should be"
    return {status: {"model": Problem, "description": found[status]} for status in sorted(found)}


def _complete_openapi(app: FastAPI, has_token: bool) -> None:
    """Say in the schema what FastAPI cannot know: that a token is needed, which the gate looks at, and that
    an answer is a stream of events."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        schema = plain()
        if has_token:
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    if path not in PUBLIC:
                        operation["security"] = [{"token": []}]
        answer = schema["paths"]["/annotate/stream"]["post"]["responses"]["200"]
        models = answer["content"]["application/json"]["schema"]["anyOf"]
        # `itemSchema` is OpenAPI 3.2's word for what FastAPI's own streams have, too
        events = [_event_schema(name, model) for name, model in zip(EVENTS.values(), models, strict=True)]
        answer["content"] = {EVENT_STREAM: {"itemSchema": {"oneOf": events}}}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _event_schema(name: str, model: dict[str, Any]) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": model}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": {"const": name}, "data": data},
    }
