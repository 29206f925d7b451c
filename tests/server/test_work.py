"""Who gets how much of a batch."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import spacy
from spacy.language import Language

from spacy_eat.server.work import Job, Piece, Worker

from .conftest import Held, until


def test_a_long_text_leaves_room_for_those_that_come_later() -> None:
    held = Held()
    finished: list[str] = []

    def load() -> Language:
        Language.component("held", func=held)
        nlp = spacy.blank("zh")
        nlp.add_pipe("held")
        return nlp

    async def wait_for(name: str, job: Job) -> None:
        while await job.next(120) is not None:
            pass
        finished.append(name)

    async def run() -> None:
        def submit(name: str, texts: list[str]) -> asyncio.Task[None]:
            pieces = [Piece(0, i, text) for i, text in enumerate(texts)]
            return asyncio.create_task(wait_for(name, worker.submit(pieces)))

        # A batch of one, of two, and of four, which waits; the next would have eight.
        waiting = [submit("甲", [f"甲{i}" for i in range(6)] + ["待"] + [f"甲{i}" for i in range(7, 20)])]
        await asyncio.to_thread(until, lambda: "待" in held.seen)
        waiting.append(submit("乙", [f"乙{i}" for i in range(20)]))
        waiting.append(submit("丙", [f"丙{i}" for i in range(3)]))
        held.go.set()
        await asyncio.gather(*waiting)

    worker = Worker("zh", load, places=8, batch_size=8, warm_up=False)
    worker.start()
    with ThreadPoolExecutor() as threads:  # a loop of its own, also where a browser's runs in this thread
        threads.submit(asyncio.run, run()).result()
    worker.close()
    expected = "甲7 甲8 乙0 丙0 甲9 甲10 乙1 乙2 丙1 丙2 甲11 甲12 甲13 甲14 乙3 乙4 乙5 乙6"
    assert " ".join(held.seen[7:]).startswith(expected)
    assert finished[0] == "丙" and len(held.seen) == 43
