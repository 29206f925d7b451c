from spacy_eat.llm.backend import Backend
from spacy_eat.llm.dispatch import ask
from spacy_eat.llm.prompts import Answer, LLMError, Prompt


class Echo(Backend):
    """Answers with the last user message, and fails on "bad"."""

    def __init__(self):
        super().__init__()
        self.batches = []

    @property
    def identity(self):
        return {"name": "echo"}

    def generate(self, prompts):
        self.batches.append(len(prompts))
        return [LLMError("bad") if "bad" in p else Answer(p.messages[-1]["content"].upper()) for p in prompts]


def test_a_backend_gets_all_prompts_at_once():
    model = Echo()
    groups = ask(model, [[Prompt("a"), Prompt("b")], [], [Prompt("bad")]])
    assert groups[:2] == [["A", "B"], []]
    assert isinstance(groups[2][0], LLMError)
    assert model.batches == [3]


def test_another_model_is_asked_prompt_by_prompt():
    calls = []

    def model(prompts):
        groups = [list(group) for group in prompts]
        calls.append(groups)
        if groups == [["bad"]]:
            raise RuntimeError("no")
        return [[p.upper() for p in group] for group in groups]

    (answers,) = ask(model, [[Prompt("a"), Prompt("bad"), Prompt("b")]])
    assert answers[0] == "A" and answers[2] == "B"
    assert str(answers[1]) == "RuntimeError: no"
    assert calls == [[["a"]], [["bad"]], [["b"]]]


def test_an_answer_that_is_not_text_is_an_error():
    (answers,) = ask(lambda prompts: [[None] for _ in prompts], [[Prompt("a")]])
    assert isinstance(answers[0], LLMError)


def test_dialogue_turns_go_on_from_the_answers():
    model = Echo()
    (answers,) = ask(model, [[Prompt("a", turns=["b", "c"]), Prompt("x"), Prompt("bad", turns=["y"])]])
    assert answers[:2] == ["C", "X"]
    assert isinstance(answers[2], LLMError)
    assert model.batches == [3, 1, 1]


def test_an_answer_carries_the_usage_of_its_turns():
    model = Echo()
    (answers,) = ask(model, [[Prompt("a", turns=["b", "c"]), Prompt("x"), Prompt("x", turns=["bad"])]])
    assert [(a.usage.requests, a.usage.failed) for a in answers] == [(3, 0), (1, 0), (1, 1)]
    assert (model.usage.requests, model.usage.failed) == (5, 1)
    (answers,) = ask(lambda prompts: [["text"] for _ in prompts], [[Prompt("a")]])
    assert answers[0].usage.requests == 1
