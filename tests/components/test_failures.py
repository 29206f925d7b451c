import logging

import pytest

from spacy_eat.components.failures import forget, tell
from spacy_eat.types import Failure


@pytest.fixture(autouse=True)
def fresh():
    forget()
    yield
    forget()


def test_each_cause_is_told_once_in_a_process(caplog):
    with caplog.at_level(logging.WARNING, "spacy_eat"):
        tell("eat_translator", ["translation: m at http://h:1/v1: HTTP 401: no key"] * 3)
        tell("eat_translator", ["translation: m at http://h:1/v1: HTTP 401: no key"])
        tell("eat_entity_aligner", ["alignment: m at http://h:1/v1: HTTP 401: no key"])
        tell("eat_translator", [])
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(
        "eat_translator: 3 sentences failed: translation: m at http://h:1/v1: HTTP 401: no key."
    )
    assert 'on_error = "raise"' in message


def test_what_differs_by_sentence_is_no_cause_of_its_own(caplog):
    with caplog.at_level(logging.WARNING, "spacy_eat"):
        tell("t", ["the answer is not English: '北京'", 'the answer is not English: "it\'s"', "HTTP 500: no"])
        tell("t", ["HTTP 502: no", "an answer of 12 characters", "an answer of 1 characters"])
    messages = [record.getMessage() for record in caplog.records]
    assert [m.split("failed: ")[1].split(". The")[0] for m in messages] == [
        "the answer is not English: '北京'",
        "HTTP 500: no",
        "HTTP 502: no",
        "an answer of 12 characters",
    ]
    assert messages[0].startswith("t: 2 sentences failed") and messages[1].startswith("t: 1 sentence failed")


def test_raise_raises_the_first_and_tells_nothing(caplog):
    with caplog.at_level(logging.WARNING, "spacy_eat"):
        for _ in range(2):
            with pytest.raises(Failure, match=r"t: HTTP 401: no key \(and 1 more\)"):
                tell("t", ["HTTP 401: no key", "HTTP 500: no"], "raise")
        tell("t", [], "raise")
    assert not caplog.records
