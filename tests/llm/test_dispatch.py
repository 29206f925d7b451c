import pickle

from spacy_eat.llm.backend import Backend
from spacy_eat.llm.cache import RequestCache
from spacy_eat.llm.dispatch import ask
from spacy_eat.llm.prompts import Answer, Fault, LLMError, Prompt, UnusableAnswer


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


def short(answer):
    """Useless below three characters, poor below six."""
    return None if len(answer) > 5 else Fault("too short", fatal=len(answer) < 3)


def checked(text, again):
    return Prompt(text, check=short, again=Prompt(again, check=short))


def test_a_faulty_answer_is_asked_for_once_more_in_another_form():
    model = Echo()
    prompts = [checked("long enough", "-"), checked("x", "x, at length"), checked("poor", "better")]
    ((first, second, third),) = ask(model, [prompts])
    assert (first, second, third) == ("LONG ENOUGH", "X, AT LENGTH", "BETTER")
    assert [a.usage.requests for a in (first, second, third)] == [1, 2, 2]
    assert model.batches == [3, 2]


def test_the_better_answer_is_taken_and_a_useless_one_is_none():
    prompts = [checked("poor", "bad"), checked("poor", "y"), checked("x", "poor"), checked("z", "y")]
    ((failed_second, worse_second, better_second, useless),) = ask(Echo(), [prompts])
    assert (failed_second, worse_second, better_second) == ("POOR", "POOR", "POOR")
    assert isinstance(useless, UnusableAnswer) and str(useless) == "too short" and not useless.retryable
    assert useless.usage.requests == 2


def test_a_refusal_is_asked_again_and_a_dead_server_is_not():
    class Refusing(Echo):
        def generate(self, prompts):
            errors = {"no": UnusableAnswer("refused"), "bad": LLMError("away")}
            return [errors.get(str(p)) or a for p, a in zip(prompts, super().generate(prompts), strict=True)]

    model = Refusing()
    ((first, second),) = ask(model, [[checked("no", "in other words"), checked("bad", "in other words.")]])
    assert first == "IN OTHER WORDS" and str(second) == "away"
    assert model.batches == [2, 1]


def test_only_the_last_turn_is_checked():
    model = Echo()
    (answers,) = ask(model, [[Prompt("a", turns=["b", "in the end"], check=short)]])
    assert answers == ["IN THE END"]
    (answers,) = ask(model, [[Prompt("in the beginning", turns=["b", "c"], check=short)]])
    assert isinstance(answers[0], UnusableAnswer)


def test_identical_prompts_are_asked_once_and_share_an_answer():
    asked = []

    def model(prompts):
        asked.extend(prompts)
        return [[str(p) for p in group] for group in prompts]

    groups = ask(model, [[checked("x", "y")], [checked("x", "y")]])
    assert len(asked) == 2 and groups[0][0] is groups[1][0]


def test_useless_answers_are_not_cached(tmp_path):
    model = Echo()
    model.cache = RequestCache(tmp_path / "requests.sqlite")
    model([[Prompt("x")]])  # kept by whoever did not check
    for _ in range(2):
        model([[Prompt("x", check=short), Prompt("poor", check=short), Prompt("long enough", check=short)]])
    assert model.batches == [1, 3, 1]
    assert model.usage.cached == 2


def test_checks_travel_and_are_no_part_of_the_request():
    prompt = checked("x", "y")
    copy = pickle.loads(pickle.dumps(prompt))
    assert copy.check is short and copy.again == "y" and copy.again.check is short
    assert hash(copy) == hash(prompt) == hash(Prompt("x"))
