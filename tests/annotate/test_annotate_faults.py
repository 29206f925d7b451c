"""Hundreds of docs, on a server that has a bad day."""

import json
import random

import pytest
import spacy

from spacy_eat.annotate import Settings, annotate, here
from spacy_eat.llm import chat_completions

from ..llm.server import Server, error, reply

COUNT = 300
EN = "Liu Chuanzhi lives in Beijing."


def answer(request):
    if "\nNames: " in request["messages"][-1]["content"]:
        return reply(json.dumps({"Liu Chuanzhi": "柳传志", "Beijing": "北京"}, ensure_ascii=False))
    return reply(EN)


class BadDay:
    """Fails every fifth request once, and some for ever.

    lost (Set[str]): Words of the prompts that are never answered.
    """

    def __init__(self, lost=()):
        self.random = random.Random(11)
        self.lost = set(lost)
        self.seen = set()

    def __call__(self, request):
        prompt = request["messages"][-1]["content"]
        if any(words in prompt for words in self.lost):
            return error(500, "CUDA error")
        if prompt not in self.seen:
            self.seen.add(prompt)
            if self.random.random() < 0.2:
                faults = [error(429, "Slow down"), error(503, "Overloaded"), reply(None)]
                return self.random.choice([*faults, reply(EN, cut=40)])
        return answer(request)


@pytest.mark.parametrize("lost", [0, 20])
def test_every_doc_is_annotated_or_put_aside(tmp_path, english, monkeypatch, lost):
    monkeypatch.setattr(chat_completions, "FIRST_WAIT", 0.01)
    texts = [f"第{i}号人物柳传志住在北京。" for i in range(COUNT)]
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    chosen = sorted(random.Random(3).sample(range(COUNT), lost))
    with Server(BadDay(f"第{i}号" for i in chosen)) as server:
        model = {
            "@llm_models": "spacy_eat.ChatCompletions.v1",
            "name": "m",
            "base_url": server.url,
            "max_retries": 3,
            "cache": None,
        }
        nlp = spacy.blank("zh")
        nlp.add_pipe("eat_translator", config={"model": model})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        nlp.add_pipe(
            "eat_entity_aligner",
            config={"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
        )
        nlp.to_disk(tmp_path / "nlp")
        settings = Settings(str(tmp_path / "nlp"))
        engine, target = here(settings), tmp_path / "out.jsonl"
        summary = annotate(tmp_path / "in.txt", target, settings, engine, progress=False)
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert (summary.annotated, summary.failed) == (len(rows), lost) == (COUNT - lost, lost)
        assert [row["text"] for row in rows] == [t for i, t in enumerate(texts) if i not in chosen]
        assert all([e["text"] for e in row["entities"]] == ["柳传志", "北京"] for row in rows)
        assert summary.usage["requests"] == 2 * len(rows)
        assert summary.usage["retried"] > 0.15 * summary.usage["requests"]
        if not lost:
            return
        failed = [json.loads(line) for line in summary.side_file.read_text(encoding="utf-8").splitlines()]
        assert [row["number"] for row in failed] == chosen
        assert all("HTTP 500: CUDA error" in row["error"] for row in failed)

        server.handler = answer
        before = len(server.requests)
        summary = annotate(tmp_path / "in.txt", target, settings, engine, mode="retry", progress=False)
        assert (summary.annotated, summary.failed) == (lost, 0)
        assert len(server.requests) - before == 2 * lost
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert [row["text"] for row in rows] == texts and not summary.side_file.exists()
