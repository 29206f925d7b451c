"""LLMs that find names in the source itself: what their answers become."""

import json

import pytest
from spacy.util import load_config, load_model_from_config
from spacy_llm.registry import registry

from spacy_eat.llm.prompts import Answer, LLMError
from spacy_eat.llm.tasks.naming import WORDS, extraction_prompt, read_names, read_type, type_prompts
from spacy_eat.taggers.prompting import (
    TaskTagger,
    TokenTagger,
    TwoStepTagger,
    make_task_tagger,
    make_token_tagger,
    make_two_step_tagger,
)
from spacy_eat.types import Failure, Text

TEXT = Text("联想集团由柳传志在北京创立，北京欢迎你。", "zh")
OTHER_TEXT = Text("田中さんはNHKで働く。", "ja")


class Scripted:
    """Answers by a rule."""

    def __init__(self, answer):
        self.answer = answer
        self.prompts = []

    def __call__(self, prompts):
        return [[self._one(prompt) for prompt in group] for group in prompts]

    def _one(self, prompt):
        self.prompts.append(prompt)
        answer = self.answer(prompt)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps(answer)


def found(text, spans):
    return [(text[span], span.label_ if hasattr(span, "label_") else span.label) for span in spans]


# --- spacy-llm's task ---------------------------------------------------------


def ner():
    return registry.llm_tasks.get("spacy.NER.v3")(labels=["PER", "LOC", "ORG"])


def test_a_task_of_spacy_llm_reads_the_source():
    lines = (
        "1. 联想集团 | True | ORG | a firm\n2. 创立 | False | ==NONE== | no\n3. 北京 | True | LOC | a city"
    )
    model = Scripted(lambda prompt: lines if "联想" in prompt else "1. NHK | True | ORG | a broadcaster")
    tagger = make_task_tagger(ner(), model, score=0.5)
    first, second = tagger([TEXT, OTHER_TEXT])
    assert found(TEXT, first) == [("联想集团", "ORG"), ("北京", "LOC")]
    assert found(OTHER_TEXT, second) == [("NHK", "ORG")]
    assert {span.score for span in [*first, *second]} == {0.5}
    assert set(tagger.labels) == {"PER", "LOC", "ORG"}


def test_a_request_that_fails_costs_one_text():
    model = Scripted(lambda prompt: LLMError("refused") if "联想" in prompt else "1. NHK | True | ORG | x")
    failed, answered = TaskTagger(ner(), model)([TEXT, OTHER_TEXT])
    assert isinstance(failed, Failure) and "refused" in str(failed)
    assert found(OTHER_TEXT, answered) == [("NHK", "ORG")]


def test_an_answer_that_says_nothing_has_no_names():
    assert TaskTagger(ner(), Scripted(lambda prompt: "I cannot say."))([TEXT]) == [[]]


# --- Token by token -------------------------------------------------------------

PARTS = {
    **dict.fromkeys("联想集团", "organization"),
    **dict.fromkeys("柳传志", "person"),
    **dict.fromkeys("北京", "place"),
}


def by_token(prompt):
    form = prompt.completion
    token = form.question[form.question.index("[") + 1 : form.question.index("]")]
    word = PARTS.get(token, "organization" if token == "NHK" else "other")
    return [[word, -0.1], *([other, -5.0] for other in form.choices if other != word)]


def test_neighbours_with_one_answer_are_one_name():
    model = Scripted(by_token)
    first, second = TokenTagger(model)([TEXT, OTHER_TEXT])
    assert found(TEXT, first) == [("联想集团", "ORG"), ("柳传志", "PER"), ("北京", "LOC"), ("北京", "LOC")]
    assert found(OTHER_TEXT, second) == [("NHK", "ORG")]
    assert all(0.9 < span.score < 1.0 for span in first)
    questions = [prompt.completion.question for prompt in model.prompts]
    assert "[联]想集团由:" in questions and "中さんは[NHK]で働く。:" in questions
    assert len(questions) == len(TEXT.string) + len(OTHER_TEXT.string) - 2  # NHK is one token


def test_a_name_is_as_certain_as_its_least_certain_token():
    def answer(prompt):
        doubt = -0.9 if "[传]" in prompt.completion.question else -9.0
        word = by_token(prompt)[0][0]
        return [[word, -0.01], ["place" if word == "other" else "other", doubt]]

    [spans] = TokenTagger(Scripted(answer))([TEXT])
    scores = {TEXT[span]: span.score for span in spans}
    assert scores["柳传志"] == pytest.approx(1 / (1 + 2.718281828 ** (-0.9 + 0.01)))
    assert scores["联想集团"] > 0.99


def test_an_answer_that_is_no_label_fails_the_text():
    failed, answered = TokenTagger(Scripted(lambda p: "?" if "联" in p else "other"))([TEXT, OTHER_TEXT])
    assert isinstance(failed, Failure) and "none of" in str(failed) and answered == []


# --- Two steps --------------------------------------------------------------------


def in_two_steps(names, types):
    def answer(prompt):
        form = prompt.completion
        if form.__class__.__name__ == "LineForm":
            return names
        return types[form.question.removesuffix(":")]

    return Scripted(answer)


def test_names_are_listed_then_typed_at_all_their_places():
    model = in_two_steps(
        '["联想集团", "联想", "柳传志", "北京", "上海", "你"]',
        {
            "联想集团": "organization",
            "联想": "organization",
            "柳传志": "It is a person.",
            "北京": [["place", -0.1]],
            "你": "other",
        },
    )
    [spans] = TwoStepTagger(model)([TEXT])
    assert found(TEXT, spans) == [("联想集团", "ORG"), ("柳传志", "PER"), ("北京", "LOC"), ("北京", "LOC")]
    assert len(model.prompts) == 1 + 5  # 上海 does not stand in the text


def test_each_step_may_fail():
    first = in_two_steps("", {})
    second = in_two_steps("北京", {"北京": "a river"})
    for model in (first, second):
        [failed] = TwoStepTagger(model)([TEXT])
        assert isinstance(failed, Failure)
    assert TwoStepTagger(in_two_steps("none", {}))([TEXT]) == [[]]


def test_names_within_words_are_not_found():
    text = Text("The Romans of Rome", "en")
    [spans] = TwoStepTagger(in_two_steps('["Rome", "Roman"]', {"Rome": "place"}))([text])
    assert found(text, spans) == [("Rome", "LOC")]


# --- What both ask -----------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        '["甲", "乙"]',
        'Names: ["甲", "乙", "甲"]',
        "甲; 乙",
        "甲、乙",
        "甲\n乙\n",
        '```json\n["甲", "乙"]\n```',
    ],
)
def test_lists_of_names(answer):
    names = read_names(Answer(answer))
    assert [name.removeprefix("Names: ") for name in names] == ["甲", "乙"]


def test_types():
    assert read_type(Answer("Person"), WORDS) == ("PER", 1.0)
    assert read_type(Answer("It is a place, not a person."), WORDS) == ("LOC", 1.0)
    label, score = read_type(Answer('[["other", -0.5], ["person", -0.5]]'), WORDS)
    assert label == "" and score == pytest.approx(0.5)
    with pytest.raises(LLMError, match="none of"):
        read_type(Answer("personal"), WORDS)


@pytest.mark.parametrize("lang", ["zh", "ja", "ko"])
def test_the_forms_for_base_models_have_solved_examples_where_there_are_some(lang):
    text = "東京へ"
    extraction = extraction_prompt(text, lang, WORDS).completion
    [token] = type_prompts(text, [("東", "[東]京へ")], lang, WORDS, tokens=True)
    [name] = type_prompts(text, [("東京", "東京")], lang, WORDS, tokens=False)
    assert token.completion.choices == name.completion.choices == ("person", "place", "organization", "other")
    for head in (extraction.head, token.completion.head, name.completion.head):
        assert bool(head) == (lang != "ko")
    if lang == "ja":
        assert "Names: 宮崎駿; 東京; 学習院大学\n" in extraction.head
        assert "[宮]崎駿は1: person\n" in token.completion.head and "宮崎駿: person\n" in name.completion.head
        assert ": other\n" in token.completion.head


def test_other_labels():
    tagger = make_two_step_tagger(in_two_steps("北京", {"北京": "river"}), labels={"RIV": "river"})
    [spans] = tagger([TEXT])
    assert {span.label for span in spans} == {"RIV"} == set(tagger.labels)
    assert make_token_tagger(Scripted(by_token), labels={"RIV": "river"}).labels == ("RIV",)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="score = 2"):
        make_task_tagger(ner(), Scripted(by_token), score=2)


@pytest.mark.parametrize("lang", ["zh", "ja"])
@pytest.mark.parametrize(
    ("name", "tagger"),
    [("llm_task", TaskTagger), ("llm_tokens", TokenTagger), ("llm_two_steps", TwoStepTagger)],
)
def test_configs_load_as_they_are(lang, name, tagger, request):
    path = request.config.rootpath / "configs" / "strategies" / f"{lang}_{name}.cfg"
    nlp = load_model_from_config(load_config(path), auto_fill=True)
    assert isinstance(nlp.get_pipe(name).tagger, tagger) and set(nlp.get_pipe(name).labels) == set(WORDS)
