"""The API, over a socket, with a scripted pipeline."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import spacy
from spacy.tokens import DocBin

from .conftest import Site, httpx, until

Serve = Callable[..., Site]


def events(response: Any) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in response.read().decode("utf-8").split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_text_and_a_batch(serve: Serve) -> None:
    client = serve().client
    answer = client.post("/annotate", json={"text": "你好。张三来了。", "pipeline": "zh"})
    assert answer.status_code == 200
    (document,) = answer.json()["documents"]
    assert [s["text"] for s in document["sentences"]] == ["你好。", "张三来了。"]
    (entity,) = document["sentences"][1]["entities"]
    assert (entity["start"], entity["end"], entity["label"], entity["text"]) == (3, 5, "PER", "张三")
    assert entity["english"] is not None and document["lang"] == "zh"

    batch = client.post("/annotate", json={"text": ["😀张三。", "", "東京"], "lang": "zh"}).json()
    assert [len(d["sentences"]) for d in batch["documents"]] == [1, 0, 1]
    assert batch["documents"][0]["sentences"][0]["entities"][0]["start"] == 1  # code points, not UTF-16


def test_sentences_arrive_as_they_finish(serve: Serve) -> None:
    site = serve()
    given = {"text": "张三来了。待。", "pipeline": "zh", "html": True}
    with site.client.stream("POST", "/annotate/stream", json=given) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        first = ""
        for line in lines:
            if line.startswith("data: ") and '"sentence":' in line:
                first = line
                break
        assert json.loads(first.removeprefix("data: "))["sentence"]["text"] == "张三来了。"
        assert not site.held.go.is_set()  # the second is not finished
        assert "eat-source" in json.loads(first.removeprefix("data: "))["html"]
        site.held.go.set()
        rest = "\n".join(lines)
    assert "event: done" in rest and "待。" in rest
    assert site.requests() == 0


def test_a_client_that_goes_away_frees_its_place(serve: Serve) -> None:
    site = serve(queue=1, batch_size=1)
    given = {"text": "待。" + "张三。" * 50, "pipeline": "zh"}
    with site.client.stream("POST", "/annotate/stream", json=given):
        until(lambda: site.requests() == 1)
        refused = site.client.post("/annotate", json={"text": "张三", "pipeline": "zh"})
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    until(lambda: site.requests() == 0)

    with pytest.raises(httpx.ReadTimeout):  # the same where the answer comes at once
        site.client.post("/annotate", json=given, timeout=0.3)
    until(lambda: site.requests() == 0)
    site.held.go.set()
    assert site.client.post("/annotate", json={"text": "张三", "pipeline": "zh"}).status_code == 200
    assert len(site.held.seen) < 10  # what nobody waits for is not done


def test_a_sentence_that_takes_too_long(serve: Serve) -> None:
    site = serve(timeout=0.2)
    answer = site.client.post("/annotate", json={"text": "待。", "pipeline": "zh"})
    assert answer.status_code == 504 and "0.2 seconds" in answer.json()["detail"]
    streamed = site.client.post("/annotate/stream", json={"text": "待。", "pipeline": "zh"})
    assert events(streamed)[-1][0] == "error"
    assert site.requests() == 0


def test_a_sentence_that_fails_does_not_stop_the_others(serve: Serve) -> None:
    answer = serve().client.post("/annotate", json={"text": "毒。败。张三。", "pipeline": "zh"})
    poisoned, failed, good = answer.json()["documents"][0]["sentences"]
    assert poisoned["error"] == "RuntimeError: the component cannot stand this doc"
    assert failed["status"] == "failed" and len(good["entities"]) == 1
    assert "Traceback" not in answer.text


def test_a_pipeline_that_does_not_load_says_why(serve: Serve) -> None:
    client = serve().client
    answer = client.post("/annotate", json={"text": "张三", "pipeline": "broken"})
    assert answer.status_code == 503 and "There is no pipeline 'broken'" in answer.json()["detail"]
    states = {p["name"]: (p["state"], p["reason"]) for p in client.get("/pipelines").json()["pipelines"]}
    assert states == {"zh": ("ready", ""), "broken": ("failed", "There is no pipeline 'broken'")}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 422, "JSON"),
        (b"\xff\xfe", 422, ""),
        (b'{"text": "\xff"}', 400, "parsing the body"),
        (b'{"text": "a", "html": 0}', 422, "html"),
        (b"{}", 422, "text: Field required"),
        (b'{"text": []}', 422, "at least 1 item"),
        (b'{"text": "a", "more": 1}', 422, "more"),
        (b'{"text": "\\ud800", "pipeline": "zh"}', 422, "surrogate"),
        (b'{"text": "a", "pipeline": "none"}', 422, "no pipeline 'none'"),
        (b'{"text": "a", "lang": "de"}', 422, "'de'"),
        (json.dumps({"text": "张" * 101, "pipeline": "zh"}).encode(), 413, "101 characters"),
        (b" " * 80_000, 413, "bytes"),
    ],
)
def test_wrong_requests_are_told_why(serve: Serve, body: bytes, status: int, reason: str) -> None:
    site = serve(max_chars=100)
    for path in ("/annotate", "/annotate/stream"):
        headers = {"Content-Type": "application/json"}
        answer = site.client.post(path, content=body, headers=headers)
        assert answer.status_code == status and reason in answer.json()["detail"]
        schema = site.client.get("/openapi.json").json()
        assert str(status) in schema["paths"][path]["post"]["responses"]
    assert site.requests() == 0


def test_results_that_are_too_long(serve: Serve) -> None:
    client = serve(max_chars=10).client
    for chars, status in ((10, 200), (11, 413)):
        text = "张" * chars
        sentence = {"start": 0, "end": chars, "text": text}
        documents = [{"text": text[:6], "lang": "zh", "sentences": []}]
        documents.append({"text": text[6:], "lang": "zh", "sentences": []})
        for path, given in (
            ("/render", {"sentence": sentence}),
            ("/export", {"format": "jsonl", "documents": documents}),
        ):
            answer = client.post(path, json=given)
            assert answer.status_code == status, path
            assert status == 200 or "11 characters; 10 is the most" in answer.json()["detail"]


def test_what_every_answer_has(serve: Serve) -> None:
    client = serve(hosts=("127.0.0.1",)).client
    for answer in (client.get("/health"), client.get("/nothing"), client.post("/annotate", content=b"{")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/health", headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_fault_of_the_server_shows_no_trace(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_eat.server import app

    def fail(*args: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(app.markup, "sentence_card", fail)
    given = {"sentence": {"start": 0, "end": 1, "text": "张"}}
    answer = serve().client.post("/render", json=given)
    assert answer.status_code == 500 and answer.json() == {"detail": "The server failed. Its log says why"}


def test_a_token(serve: Serve) -> None:
    client = serve(token="geheim").client
    given = {"text": "张三", "pipeline": "zh"}
    assert client.post("/annotate", json=given).status_code == 200
    for wrong in ("Bearer falsch", "geheim", ""):
        refused = client.post("/annotate", json=given, headers={"Authorization": wrong})
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert "POST /annotate/stream" in httpx.get(f"{client.base_url}/docs").text  # as the schema
    operation = client.get("/openapi.json").json()["paths"]["/annotate"]["post"]
    assert operation["security"] == [{"token": []}]


def test_many_clients(serve: Serve) -> None:
    site = serve()
    answers: list[Any] = []

    def ask(number: int) -> None:
        text = f"张三{number}。" * 5
        answers.append(
            (number, httpx.post(f"{site.client.base_url}/annotate", json={"text": text}, timeout=30))
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(number for number, _ in answers) == list(range(50))
    for number, answer in answers:
        sentences = answer.json()["documents"][0]["sentences"]
        assert [s["text"] for s in sentences] == [f"张三{number}。"] * 5


def test_corrected_documents_as_files(serve: Serve) -> None:
    client = serve().client
    text = "张三在東京见李四。"
    (document,) = client.post("/annotate", json={"text": text, "pipeline": "zh"}).json()["documents"]
    sentence = document["sentences"][0]
    sentence["entities"] = [e for e in sentence["entities"] if e["text"] != "東京"]
    sentence["entities"].append({"start": 6, "end": 8, "label": "PER", "status": "manual"})

    shown = client.post("/render", json={"sentence": sentence, "lang": "zh"}).json()["html"]
    assert "manual" in shown

    given = {"documents": [document]}
    lines = client.post("/export", json={**given, "format": "jsonl"}).text.splitlines()
    assert [e["text"] for e in json.loads(lines[0])["entities"]] == ["张三", "李四"]

    content = client.post("/export", json={**given, "format": "spacy"}).content
    (doc,) = DocBin().from_bytes(content).get_docs(spacy.blank("zh").vocab)
    assert [(e.text, e.label_) for e in doc.ents] == [("张三", "PER"), ("李四", "PER")]
    assert [e.text for e in doc.spans["manual"]] == ["李四"]

    answer = client.post("/export", json={**given, "format": "conll"})
    rows = [line.split("\t") for line in answer.text.splitlines() if "\t" in line]
    assert "".join(token for token, _ in rows) == text
    assert [token for token, tag in rows if tag == "B-PER"] == ["张", "李"]
    assert answer.headers["content-disposition"] == 'attachment; filename="annotated.conll"'

    sentence["entities"].append({"start": 8, "end": 99, "label": "PER"})
    assert client.post("/export", json={**given, "format": "jsonl"}).status_code == 422


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("ja", "張三は東京で李四に会った。" * 7692 + "終"),
        ("en", "(" * 25_000 + ")" * 25_000),
        ("en", "One  two\n\n three. " * 500 + "張三" + "(" * 5000 + " 東京\t"),
        ("zh", "张三😀。\r\n" * 5000),
    ],
    ids=["Sudachi", "brackets", "spaces", "characters"],
)
def test_long_documents_as_files(serve: Serve, lang: str, text: str) -> None:
    if lang == "ja":
        pytest.importorskip("sudachipy", reason="needs the extra 'ja'")
    # A mark at the very end is in the right place only if all before it is.
    end = len(text) - 1
    entity = {"start": end - 1, "end": end, "label": "X"}
    sentence = {"start": 0, "end": len(text), "text": text, "entities": [entity]}
    document = {"text": text, "lang": lang, "sentences": [sentence]}
    given = {"format": "spacy", "documents": [document]}
    answer = serve().client.post("/export", json=given, timeout=600)
    assert answer.status_code == 200
    (doc,) = DocBin().from_bytes(answer.content).get_docs(spacy.blank(lang).vocab)
    assert doc.text == text
    assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == [(end - 1, end, "X")]
