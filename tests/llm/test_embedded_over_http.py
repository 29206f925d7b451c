"""The embedded model behind a real OpenAI-compatible server, and the same pipeline on both."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy_llm.registry import registry

from spacy_eat.languages import load
from spacy_eat.llm.backend import Backend
from spacy_eat.llm.chat_completions import make_chat_completions
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.prompts import Prompt, Response
from spacy_eat.weights.gemma import base_files

pytest.importorskip("torch", reason="needs the extra 'embedded'")
pytest.importorskip("transformers", reason="needs the extra 'embedded'")
fastapi = pytest.importorskip("fastapi", reason="needs the extra 'dev'")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra 'dev'")


class Remembered(Backend):
    """The embedded model. Remembers the prompts: a server that is sent their
    messages only has no other way to the form a base model continues."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_embedded(dtype="float32")
        self.prompts: dict[str, Prompt] = {}

    @property
    def identity(self) -> dict[str, Any]:
        return self.model.identity

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        self.prompts.update({str(prompt): prompt for prompt in prompts})
        return self.model.generate(prompts)


class Api:
    """Answers as a chat model does: for names, with the best candidate of each as JSON."""

    def __init__(self, model: Remembered) -> None:
        self.model = model
        self.requests = 0
        self.lock = threading.Lock()  # FastAPI calls from many threads

    def complete(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.requests += 1
            prompt = self.model.prompts[request["messages"][-1]["content"]]
            [answer] = self.model.model.generate([prompt])
        content = str(answer)
        if prompt.schema is not None:
            names = zip(prompt.schema["properties"], json.loads(content), strict=True)
            best = {name: found[0][0] if found else None for name, found in names}
            content = json.dumps(best, ensure_ascii=False)
        usage = answer.usage
        return {
            "id": f"chatcmpl-{self.requests}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
        }


@contextmanager
def serving(api: Api) -> Iterator[str]:
    """YIELDS (str): The URL of a running server."""
    app = fastapi.FastAPI()
    app.post("/v1/chat/completions")(api.complete)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()


def make_nlp(lang: str, model: Backend, english: Path) -> Language:
    registry.llm_models.register("test.Embedded", func=lambda: model)
    nlp = spacy.blank(lang)
    nlp.add_pipe("eat_translator", config={"model": {"@llm_models": "test.Embedded"}})
    side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
    aligner = {"model": {"@llm_models": "test.Embedded"}, "first": None}
    nlp.add_pipe("eat_entity_aligner", config={"aligner": aligner, "tagger": side, "source_tagger": None})
    return nlp


@pytest.mark.model
def test_the_same_entities_over_http_as_in_process(english: Path) -> None:
    try:
        base_files()
    except ImportError as error:
        pytest.skip(str(error))
    texts = load("zh").examples
    model = Remembered()
    here = list(make_nlp("zh", model, english).pipe(texts))
    api = Api(model)
    with serving(api) as url:
        client = make_chat_completions("embedded", base_url=url, cache=None)
        there = list(make_nlp("zh", client, english).pipe(texts))
    assert api.requests == client.usage.requests > len(texts)
    assert client.usage.failed == 0
    assert vars(client.usage) == vars(model.usage)
    for a, b in zip(here, there, strict=True):
        assert [s["english"] for s in a._.eat["sentences"]] == [s["english"] for s in b._.eat["sentences"]]
        assert [(e.text, e.label_) for e in a.ents] == [(e.text, e.label_) for e in b.ents]
        assert a._.eat["usage"] == b._.eat["usage"]
    assert any(doc.ents for doc in here)
