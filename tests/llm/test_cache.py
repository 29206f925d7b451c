import logging
import multiprocessing
import pickle
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm import cache as cache_module
from spacy_eat.llm.backend import Backend
from spacy_eat.llm.cache import OVERHEAD, RequestCache, digest
from spacy_eat.llm.forms import AlignmentForm
from spacy_eat.llm.prompts import Answer, LLMError, Prompt, Response
from spacy_eat.weights.prepare import cache_folder


class Shouting(Backend):
    """Answers in capitals, and fails where the prompt says so."""

    def __init__(self, cache: RequestCache | None, name: str = "m") -> None:
        super().__init__(cache)
        self.name = name
        self.asked: list[str] = []

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        self.asked += prompts
        return [LLMError("no") if "fail" in prompt else Answer(prompt.upper()) for prompt in prompts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "requests.sqlite"


def test_answers_survive_the_process(path: Path) -> None:
    answers = {digest("a"): "北京", digest("b"): "", digest("c"): "lone \ud83d surrogate"}
    RequestCache(path).put(answers)
    assert RequestCache(path).get([*answers, digest("d")]) == answers


def test_more_digests_than_sqlite_takes_variables(path: Path) -> None:
    cache = RequestCache(path)
    answers = {digest(i): str(i) for i in range(3000)}
    cache.put(answers)
    assert cache.get(list(answers)) == answers


def test_only_new_prompts_reach_the_model(path: Path) -> None:
    first = Shouting(RequestCache(path))
    assert first([["a", "b"], [], ["a"]]) == [["A", "B"], [], ["A"]]
    assert first.asked == ["a", "b"]
    second = Shouting(RequestCache(path))
    assert second([["b", "c"], ["a"]]) == [["B", "C"], ["A"]]
    assert second.asked == ["c"]
    assert second.usage.cached == 2


def test_without_a_cache_every_batch_is_asked() -> None:
    model = Shouting(None)
    assert model([["a", "a"]]) == model([["a", "a"]]) == [["A", "A"]]
    assert model.asked == ["a", "a"]
    assert model.usage.cached == 0


def test_failures_are_not_kept(path: Path) -> None:
    model = Shouting(RequestCache(path))
    for _ in range(2):
        [[failed, answer]] = model([["fail", "a"]])
        assert isinstance(failed, LLMError) and answer == "A"
    assert model.asked == ["fail", "a", "fail"]


class Interrupted(Shouting):
    def generate(self, prompts: Sequence[Prompt]) -> Any:
        yield from super().generate(prompts[:2])
        raise KeyboardInterrupt


def test_an_interrupted_batch_keeps_what_was_answered(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Interrupted(RequestCache(path))([["a", "b", "c"]])
    model = Shouting(RequestCache(path))
    assert model([["a", "b", "c"]]) == [["A", "B", "C"]]
    assert model.asked == ["c"]


def test_whatever_decides_the_answer_is_in_the_key(path: Path) -> None:
    def completion(text: str) -> AlignmentForm:
        return AlignmentForm(text, "Chinese", ("Zhang San",))

    prompts = [
        Prompt("张三打李四"),
        Prompt("李四打张三"),
        Prompt("张三打李四", messages=[{"role": "system", "content": "张三打李四"}]),
        Prompt("张三打李四", schema={"type": "object"}),
        Prompt("张三打李四", completion=completion("张三")),
        Prompt("张三打李四", completion=completion("李四")),
    ]
    model = Shouting(RequestCache(path))
    model([prompts])
    assert len(model.asked) == len(prompts)
    other = Shouting(RequestCache(path), name="another")
    other([prompts])
    assert len(other.asked) == len(prompts)


def test_size_is_bounded_and_the_least_used_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(cache_module.time, "time", lambda: clock[0])
    cache = RequestCache(path, size_mb=0.1)
    entry = "x" * (1000 - OVERHEAD)  # 100 of them fit
    cache.put({digest(i): entry for i in range(50)})
    clock[0] += cache_module.TOUCH_EVERY
    cache.put({digest(i): entry for i in range(50, 90)})
    cache.get([digest(i) for i in range(10)])  # used again
    cache.put({digest(i): entry for i in range(90, 110)})
    kept = {i for i in range(110) if cache.get([digest(i)])}
    assert kept == {*range(10), *range(30, 110)}  # 90 % of the bound, 10 to 29 were the oldest


def test_file_does_not_outgrow_the_bound(path: Path) -> None:
    cache = RequestCache(path, size_mb=1)
    for i in range(60):
        cache.put({digest(i, j): "x" * 300 for j in range(250)})
    size = sum(file.stat().st_size for file in path.parent.glob("requests.sqlite"))
    assert 0.5e6 < size < 2e6


def _fill(path: Path, worker: int, start: Any) -> None:
    start.wait()
    cache = RequestCache(path)
    for i in range(100):
        cache.put({digest(i): str(i), digest(worker, i): f"{worker} {i}"})
        assert cache.get([digest(worker, i)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_many_processes_share_one_file(path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    start = context.Event()
    workers = [context.Process(target=_fill, args=(path, n, start)) for n in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    keys = [digest(i) for i in range(100)] + [digest(n, i) for n in range(4) for i in range(100)]
    assert len(RequestCache(path).get(keys)) == 500
    with sqlite3.connect(path) as db:  # what is counted is what is there
        assert (
            db.execute("SELECT bytes FROM total").fetchone()
            == db.execute(f"SELECT sum(length(answer) + {OVERHEAD}) FROM answers").fetchone()
        )


def test_an_open_cache_survives_fork_and_pickle(path: Path) -> None:
    cache = RequestCache(path, size_mb=7)
    cache.put({digest("a"): "A"})
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(cache.get, ([digest("a")],)) == {digest("a"): "A"}
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get([digest("a")]) == {digest("a"): "A"}
    assert copy.size_mb == 7


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_an_unusable_file_is_named(path: Path, content: bytes | None) -> None:
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"requests\.sqlite.*cache = null"):
        Shouting(RequestCache(path))([["a"]])


def test_trouble_with_an_open_cache_costs_entries_not_answers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Shouting(RequestCache(path))
    model([["a"]])
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE answers")
    with caplog.at_level(logging.WARNING):
        assert model([["a", "b"]]) == [["A", "B"]]
    assert "requests.sqlite failed: no such table" in caplog.text


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path))
    auto = RequestCache.from_config("auto", 10)
    assert (
        auto is not None and auto.path == cache_folder() / "requests.sqlite" == tmp_path / "requests.sqlite"
    )
    assert RequestCache.from_config(None, 10) is None
    for cache, size in (("", 10), ("auto", 0)):
        with pytest.raises(ValueError):
            RequestCache.from_config(cache, size)
    assert not list(tmp_path.iterdir())  # nothing is made before it is used
