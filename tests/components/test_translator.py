"""What the translator does with answers and with their absence."""

import logging

import pytest
import spacy

from spacy_eat.components import failures
from spacy_eat.types import Failure

from ..llm.server import Server, error, reply

ZH = "联想集团由柳传志于1984年在北京创立。"
EN = "Lenovo Group was founded by Liu Chuanzhi in Beijing in 1984."
SORRY = "I'm sorry, but I can't assist with that."


@pytest.fixture(autouse=True)
def fresh():
    failures.forget()
    yield
    failures.forget()


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")

    def make(url=None, lang="zh", **settings):
        model = {
            "@llm_models": "spacy_eat.ChatCompletions.v1",
            "name": "m",
            "base_url": url,
            "cache": str(tmp_path / "requests.sqlite"),
        }
        nlp = spacy.blank(lang)
        nlp.add_pipe("eat_translator", config={"model": model, **settings})
        return nlp

    return make


def sentence(doc):
    (only,) = doc._.eat["sentences"]
    return only


def test_a_failure_is_told_once_with_the_remedy(make, caplog, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    nlp = make()
    with caplog.at_level(logging.WARNING, "spacy_eat"):
        docs = list(nlp.pipe([ZH, "下雨。"]))
        nlp(ZH)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("eat_translator: 2 sentences failed: translation: no usable key: set the ")
    assert "OPENAI_API_KEY" in message and "base_url" in message
    assert all(sentence(doc)["status"] == "failed" for doc in docs)


def test_a_failure_is_raised_where_that_is_wanted(make, caplog):
    with Server(lambda _: error(401, "Incorrect API key provided.")) as server:
        nlp = make(server.url, on_error="raise")
        with pytest.raises(Failure, match="Incorrect API key provided"):
            nlp(ZH)
        with pytest.raises(Failure, match=r"eat_translator: translation: m at .*HTTP 401"):
            list(nlp.pipe([ZH, "下雨。"]))
    assert not caplog.records
    with pytest.raises(ValueError, match="on_error"):
        make(on_error="ignore")


def test_a_refusal_is_asked_for_once_more_and_is_no_translation(make):
    asked = []

    def refuse(request):
        asked.append(request["messages"][-1]["content"])
        return reply(SORRY)

    with Server(refuse) as server:
        nlp = make(server.url)
        failed = sentence(nlp(ZH))
        assert (failed["status"], failed["english"], failed["requests"]) == ("failed", None, 2)
        assert "the model refused" in failed["error"]
        assert len(asked) == 2 and asked[0] != asked[1] and asked[1].endswith(ZH)
        server.handler = lambda _: reply(EN)  # what failed was not cached
        assert sentence(nlp(ZH))["english"] == EN
        server.handler = refuse  # what succeeded was
        assert sentence(nlp(ZH))["english"] == EN


def test_the_other_form_may_do_better(make):
    def answer(request):
        return reply(EN if request["messages"][-1]["content"].startswith("Translate this") else "Lenovo")

    with Server(answer) as server:
        good = sentence(make(server.url)(ZH))
    assert (good["status"], good["english"], good["requests"]) == ("translated", EN, 2)


@pytest.mark.parametrize("answer", [reply("It beg", finish_reason="length"), reply("Lenovo Group,")])
def test_a_cut_off_answer_is_a_failure(make, answer):
    with Server(lambda _: answer) as server:
        assert sentence(make(server.url)(ZH))["status"] == "failed"


def test_a_doubtful_answer_is_better_than_none(make):
    with Server(lambda _: reply(EN.replace("1984", "1985"))) as server:
        kept = sentence(make(server.url)(ZH))
        assert kept["status"] == "translated" and len(server.requests) == 2


def test_a_glossary_of_ones_own_is_obeyed(make):
    def answer(request):
        text = request["messages"][-1]["content"]
        return reply("Jack Ma is in Hangzhou." if "Jack Ma在杭州" in text else "Ma Yun is in Hangzhou.")

    glossary = {"@llm_tasks": "spacy_eat.EntityTranslation.v1", "glossary": {"马云": "Jack Ma"}}
    with Server(answer) as server:
        assert (
            sentence(make(server.url, task=glossary)("马云在杭州。"))["english"] == "Jack Ma is in Hangzhou."
        )


@pytest.mark.parametrize("text", ["😀👍🏽", "12345", "…！？", " 3.14 "])
def test_what_has_no_letters_is_not_sent(make, text):
    with Server() as server:
        doc = make(server.url)(text)
        assert not server.requests
    done = sentence(doc)
    assert (done["status"], done["requests"], done["entities"]) == ("aligned", 0, [])
    assert doc._.eat["usage"]["requests"] == 0


@pytest.mark.parametrize("text", ["", " ", " \n\t　"])
def test_usage_is_there_where_nothing_was_spent(make, text):
    usage = make()(text)._.eat["usage"]
    assert usage["requests"] == usage["cost"] == 0
