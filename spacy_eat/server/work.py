"""Pipelines at work for many clients: a thread each, which takes the sentences of all requests in turn.

A request is a job. Its sentences are answered in order, as they finish; it has a place in a bounded queue,
from when it is handed in until its last answer, or until it is cancelled.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from spacy.language import Language

from .. import languages
from ..pipelines import PipelineError, pipe_each
from ..viewer.views import Sentence, view_of

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]

PACE = 0.5  # seconds a sentence, before one was measured
LONGEST_WAIT = 300  # seconds that a client is told to wait at most

# One at a time: libraries that are imported for it do not like to be imported twice at once.
_loading = threading.Lock()


class Full(Exception):
    """All places are taken.

    retry_after (int): Seconds after which there is likely one.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"All places are taken. Try again in {retry_after} seconds")
        self.retry_after = retry_after


class Unavailable(Exception):
    """The pipeline cannot be used. The message says why."""


class Stalled(Exception):
    """No sentence of a job was finished for too long."""


class Piece(NamedTuple):
    """A sentence of a request.

    document (int): Which of the request's texts it is from.
    start (int): The character where it begins there.
    text (str): Its own text.
    """

    document: int
    start: int
    text: str


class Answer(NamedTuple):
    """What became of a piece.

    piece (Piece): The piece.
    sentences (List[Sentence]): Its sentences, in characters of the piece: usually one.
    """

    piece: Piece
    sentences: list[Sentence]


class Job:
    """The sentences of a request on their way. Made by `Worker.submit`, in the event loop that waits."""

    def __init__(self, worker: "Worker", pieces: Sequence[Piece]) -> None:
        self._worker = worker
        self._pieces = pieces
        self._taken = 0
        self._answered = 0  # as the thread counts
        self._received = 0  # as the event loop does
        self._share = 1
        self._loop = asyncio.get_running_loop()
        self._answers: asyncio.Queue[Answer | Exception | None] = asyncio.Queue()

    @property
    def waiting(self) -> int:
        """RETURNS (int): Pieces that no batch has taken yet."""
        return self.size - self._taken

    @property
    def size(self) -> int:
        """RETURNS (int): All its pieces."""
        return len(self._pieces)

    @property
    def is_answered(self) -> bool:
        """RETURNS (bool): Whether all pieces are, on the side of the thread."""
        return self._answered == self.size

    @property
    def is_finished(self) -> bool:
        """RETURNS (bool): Whether `next` has given all answers."""
        return self._received == self.size

    def take(self, room: int) -> list[Piece]:
        """Take pieces for a batch: one at first, so that there is something to see, then more and more.

        room (int): The most that it may take.
        RETURNS (List[Piece]): At least one.
        """
        taken = self._pieces[self._taken : self._taken + min(self._share, room)]
        self._taken += len(taken)
        self._share = 2 * len(taken)
        return list(taken)

    def put(self, answers: Iterable[Answer | Exception | None]) -> None:
        """Hand answers to the event loop, from any thread. None is the end."""
        for answer in answers:
            self._answered += isinstance(answer, Answer)
            try:
                self._loop.call_soon_threadsafe(self._answers.put_nowait, answer)
            except RuntimeError:  # the loop is closed, and nobody waits any more
                return

    async def next(self, seconds: float) -> Answer | None:
        """Wait for an answer.

        seconds (float): How long at most.
        RETURNS (Optional[Answer]): The next one, in order; None if the job was cancelled.
        RAISES (TimeoutError): There was none in time.
        RAISES (Unavailable): The pipeline cannot be loaded.
        """
        if self.is_finished:
            return None
        answer = await asyncio.wait_for(self._answers.get(), seconds)
        if isinstance(answer, Exception):
            raise answer
        self._received += answer is not None
        return answer

    def cancel(self) -> None:
        """Give the place back. What is being computed is not waited for."""
        self._worker.drop(self)
        self.put([None])


class Worker:
    """A pipeline, the thread that it works in, and those who wait for it."""

    def __init__(
        self, name: str, load: Callable[[], Language], *, places: int, batch_size: int, warm_up: bool = True
    ) -> None:
        """
        name (str): How clients know it.
        load (Callable[[], Language]): Loads it. It is called in the thread.
        places (int): Requests that may wait or be at work.
        batch_size (int): Sentences that go through the pipeline together, at most.
        warm_up (bool): Whether an example of its language is annotated first: models are loaded at the first
            text, and nobody has to wait for that.
        """
        self.name = name
        self.state: State = "loading"
        self.reason = ""
        self.lang = ""
        self.labels: list[str] = []
        self.components: list[str] = []
        self._load = load
        self._places = places
        self._batch_size = batch_size
        self._warm_up = warm_up
        self._changed = threading.Condition()
        self._open: set[Job] = set()
        self._turns: deque[Job] = deque()
        self._pace = PACE
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to load, or try it again where it has failed."""
        with self._changed:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self.state, self.reason = "loading", ""
            self._thread = threading.Thread(target=self._run, name=f"pipeline {self.name}", daemon=True)
            self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """End the thread after the batch that it is at, and all that wait.

        seconds (float): How long to wait for it.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._abandon(Unavailable("The server is shutting down"))
        if self._thread is not None:
            self._thread.join(seconds)

    # --- In the event loop ---------------------------------------------------

    def submit(self, pieces: Sequence[Piece]) -> Job:
        """Hand in the sentences of a request.

        pieces (Sequence[Piece]): The sentences.
        RETURNS (Job): Where their answers arrive.
        RAISES (Full): There is no place.
        RAISES (Unavailable): The pipeline cannot be used.
        """
        with self._changed:
            if self._closed:
                raise Unavailable("The server is shutting down")
            if self.state == "failed":
                raise Unavailable(self.reason)
            if len(self._open) >= self._places:
                raise Full(self._wait())
            job = Job(self, pieces)
            if pieces:
                self._open.add(job)
                self._turns.append(job)
                self._changed.notify_all()
            return job

    def drop(self, job: Job) -> None:
        """A job gives its place back."""
        with self._changed:
            self._open.discard(job)
            if job in self._turns:
                self._turns.remove(job)

    @property
    def requests(self) -> int:
        """RETURNS (int): Requests that wait or are at work."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """RETURNS (int): Sentences that no batch has taken yet."""
        with self._changed:
            return sum(job.waiting for job in self._turns)

    def _wait(self) -> int:
        """RETURNS (int): Seconds until a place is likely free: those of the waiting sentences of a job."""
        sentences = sum(job.waiting for job in self._turns) / max(1, len(self._turns))
        return max(1, min(LONGEST_WAIT, math.ceil(self._pace * (sentences + self._batch_size))))

    # --- In the thread -------------------------------------------------------

    def _run(self) -> None:
        try:
            with _loading:
                nlp = self._loaded()
        except Exception as error:
            if not isinstance(error, PipelineError):
                logger.exception("The pipeline %s cannot be loaded", self.name)
            reason = str(error) if isinstance(error, PipelineError) else describe(error)
            with self._changed:
                self.state, self.reason = "failed", reason
            self._abandon(Unavailable(reason))
            return
        with self._changed:
            self.state = "ready"
        while batch := self._take():
            began = time.monotonic()
            answers = self._annotate(nlp, [piece for _, piece in batch])
            self._pace += 0.2 * ((time.monotonic() - began) / len(batch) - self._pace)
            for (job, piece), sentences in zip(batch, answers, strict=True):
                job.put([Answer(piece, sentences)])
                if job.is_answered:
                    self.drop(job)

    def _loaded(self) -> Language:
        nlp = self._load()
        self.lang, self.labels, self.components = nlp.meta["lang"], labels_of(nlp), list(nlp.pipe_names)
        examples = languages.load(self.lang).examples if self._warm_up else ()
        for answer in self._annotate(nlp, [Piece(0, 0, text) for text in examples[:1]]):
            for sentence in answer:
                if sentence.error:
                    logger.warning("The pipeline %s fails on an example: %s", self.name, sentence.error)
        return nlp

    def _take(self) -> list[tuple[Job, Piece]]:
        """RETURNS (List[Tuple[Job, Piece]]): The next batch: as much of each job at most, in turn; empty at
        the end."""
        batch: list[tuple[Job, Piece]] = []
        with self._changed:
            while not self._turns and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            jobs = min(len(self._turns), self._batch_size)
            for _ in range(jobs):
                job = self._turns.popleft()
                batch += ((job, piece) for piece in job.take(self._batch_size // jobs))
                if job.waiting:
                    self._turns.append(job)
        return batch

    def _annotate(self, nlp: Language, pieces: Sequence[Piece]) -> list[list[Sentence]]:
        """RETURNS (List[List[Sentence]]): The sentences of each piece. It fails for none."""
        texts = [piece.text for piece in pieces]
        try:
            with nlp.memory_zone():  # else the vocab grows with every new word
                docs = pipe_each(nlp, texts, batch_size=self._batch_size)
                return [
                    [_failed(text, doc)] if isinstance(doc, Exception) else view_of(doc).sentences
                    for text, doc in zip(texts, docs, strict=True)
                ]
        except Exception as error:
            logger.exception("The pipeline %s failed", self.name)
            return [[_failed(text, error)] for text in texts]

    def _abandon(self, reason: Exception) -> None:
        """Tell all who wait that there will be nothing."""
        with self._changed:
            jobs = list(self._open)
            self._open.clear()
            self._turns.clear()
        for job in jobs:
            job.put([reason])


def describe(error: Exception) -> str:
    """RETURNS (str): An error in a line, without where it was raised."""
    return f"{type(error).__name__}: {error}"


def labels_of(nlp: Language) -> list[str]:
    """RETURNS (List[str]): The labels of entities that a pipeline may set, as far as its components tell."""
    found: set[str] = set()
    for name, pipe in nlp.pipeline:
        if "doc.ents" in nlp.get_pipe_meta(name).assigns:
            found.update(getattr(pipe, "labels", ()))
    return sorted(found)


def _failed(text: str, error: Exception) -> Sentence:
    return Sentence(0, text, status="failed", error=describe(error))
