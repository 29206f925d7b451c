"""Both components on the chat backend, over real HTTP."""

import json

import pytest
import spacy
from spacy.util import load_config

from spacy_eat.llm.chat_completions import ChatCompletions

from .llm.server import Server, error, reply

ZH = "联想集团由柳传志于1984年在北京创立。"
EN = "Lenovo Group was founded by Liu Chuanzhi in Beijing in 1984."
NAMES = {"Lenovo Group": "联想集团", "Liu Chuanzhi": "柳传志", "Beijing": "北京"}


def answer(request):
    text = request["messages"][-1]["content"]
    if "败" in text:
        return error(400, "this prompt is not welcome")
    if "\nNames: " in text:
        return reply(json.dumps(NAMES, ensure_ascii=False))
    return reply(EN if ZH in text else "It rains.", delay=0.1)


@pytest.fixture
def make(english, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")

    def make(url):
        nlp = spacy.blank("zh")
        model = {"@llm_models": "spacy_eat.ChatCompletions.v1", "name": "m", "base_url": url, "cache": None}
        nlp.add_pipe("eat_translator", config={"model": model})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        nlp.add_pipe(
            "eat_entity_aligner",
            config={"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
        )
        return nlp

    return make


def test_pipe_keeps_order_and_failures_apart(make):
    texts = [ZH, "失败。", "今天下雨。"] * 10
    with Server(answer) as server:
        docs = list(make(server.url).pipe(texts))
    assert [len(doc.ents) for doc in docs] == [3, 0, 0] * 10
    assert [doc._.eat["sentences"][0]["status"] for doc in docs] == ["aligned", "failed", "aligned"] * 10
    assert "this prompt is not welcome" in docs[1]._.eat["sentences"][0]["error"]
    assert server.most > 1


def test_several_processes(make):
    with Server(answer) as server:
        docs = list(make(server.url).pipe([ZH, "今天下雨。"] * 6, n_process=2, batch_size=2))
    assert [len(doc.ents) for doc in docs] == [3, 0] * 6
    assert docs[0].ents[0]._.eat_english == "Lenovo Group"
    assert docs[0]._.eat["sentences"][0]["requests"] == 2


def test_usage_is_told_for_each_doc(english, tmp_path):
    model = {
        "@llm_models": "spacy_eat.ChatCompletions.v1",
        "name": "m",
        "cache": str(tmp_path / "requests.sqlite"),
        "prompt_price": 2.0,
        "completion_price": 8.0,
    }
    with Server(answer) as server:  # 10 prompt and 5 completion tokens each
        nlp = spacy.blank("zh")
        nlp.add_pipe("eat_translator", config={"model": {**model, "base_url": server.url}})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        settings = {
            "aligner": {"model": {**model, "base_url": server.url}, "first": None},
            "tagger": side,
            "source_tagger": None,
        }
        nlp.add_pipe("eat_entity_aligner", config=settings)
        docs = list(nlp.pipe([ZH, "今天下雨。失败。", "今天下雨。"]))
        again = nlp(ZH)
    first, second, third = (doc._.eat["usage"] for doc in docs)
    assert (first["requests"], first["prompt_tokens"], first["completion_tokens"]) == (2, 20, 10)
    assert first["cost"] == pytest.approx(2 * (10 * 2.0 + 5 * 8.0) / 1e6)
    assert (second["requests"], second["failed"]) == (1, 1)
    assert third.get("requests", 0) == 0  # the same request as the second's: paid for once
    assert (again._.eat["usage"]["cached"], again._.eat["usage"]["requests"]) == (2, 0)
    assert json.loads(json.dumps(first)) == first
    models = [nlp.get_pipe("eat_translator").model, nlp.get_pipe("eat_entity_aligner").aligner.model]
    usages = [first, second, third, again._.eat["usage"]]
    for name in ("requests", "cached", "failed", "prompt_tokens", "cost"):
        assert sum(u.get(name, 0) for u in usages) == pytest.approx(
            sum(getattr(m.usage, name) for m in models)
        )


def test_storage_keeps_no_key(make, tmp_path):
    with Server(answer) as server:
        nlp = make(server.url)
        doc = nlp(ZH)
        nlp.to_disk(tmp_path / "nlp")
        assert len(spacy.load(tmp_path / "nlp")(ZH).ents) == 3
    stored = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"ChatCompletions" in stored
    assert b"sk-a-secret" not in stored + doc.to_bytes() + nlp.to_bytes()


@pytest.mark.parametrize("name", ["zh_chat", "ja_chat", "zh_embedded", "ja_embedded"])
def test_configs_load_as_they_are(name, request):
    nlp = spacy.util.load_model_from_config(
        load_config(request.config.rootpath / "configs" / f"{name}.cfg"), auto_fill=True
    )
    assert nlp.pipe_names == ["eat_translator", "eat_entity_aligner"]
    assert nlp.lang == name[:2]
    model = nlp.get_pipe("eat_translator").model
    assert isinstance(model, ChatCompletions) == name.endswith("chat")


def test_models_of_spacy_llm(english, monkeypatch):
    """Its OpenAI model, which raises for a whole batch, costs one sentence too."""
    from spacy_llm.models.rest.openai.model import OpenAI

    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.setattr(OpenAI, "_verify_auth", lambda self: None)  # it calls api.openai.com
    with Server(answer) as server:
        endpoint = f"{server.url}/chat/completions"
        model = {"@llm_models": "spacy.GPT-4.v3", "name": "gpt-4", "endpoint": endpoint}
        nlp = spacy.blank("zh")
        nlp.add_pipe("eat_translator", config={"model": model})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        nlp.add_pipe(
            "eat_entity_aligner",
            config={"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
        )
        doc = nlp("失败。" + ZH)
    assert [ent.text for ent in doc.ents] == list(NAMES.values())
    assert "not welcome" in doc._.eat["sentences"][0]["error"]
