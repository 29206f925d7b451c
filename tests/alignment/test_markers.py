"""Markers that are translated back: what their words become, and what becomes of those that are lost."""

import pytest

from spacy_eat.alignment.markers import MarkerAligner, make_marker_aligner
from spacy_eat.alignment.resolve import resolve
from spacy_eat.llm.prompts import LLMError
from spacy_eat.llm.tasks.markers import make_marked_translation_task
from spacy_eat.types import Failure, Sentence, Span, Text

SOURCE = "联想集团由柳传志在北京创立，他在NHK工作。"
ENGLISH = "Lenovo Group was founded by Liu Chuanzhi in Beijing. He works at NHK."
NAMES = ["Lenovo Group", "Liu Chuanzhi", "Beijing", "NHK"]


def sentence(*names, source=SOURCE, english=ENGLISH):
    spans = [Span(english.index(name), english.index(name) + len(name), "X") for name in names or NAMES]
    return Sentence(Text(source, "zh"), Text(english, "en"), spans)


class Scripted:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.prompts = []

    def __call__(self, prompts):
        return [[self.answer(prompt) for prompt in group] for group in prompts]

    def answer(self, prompt):
        self.prompts.append(prompt)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def align(model, *sentences, **task):
    return MarkerAligner(make_marked_translation_task(**task), model)(sentences)


def words(asked, options):
    return [asked.source[one.spans[0]] if one.spans else None for one in options]


def test_what_stands_in_the_brackets_is_found():
    model = Scripted("[1 聯想集團]是由[2 柳传志]在[3 北京]创立的。他在NHK工作。")
    asked = sentence()
    [options] = align(model, asked)
    assert words(asked, options) == ["联想集团", "柳传志", "北京", "NHK"]
    assert [span and span.place for span in resolve(asked, options).spans] == [
        (0, 4),
        (5, 8),
        (9, 11),
        (16, 19),
    ]
    assert (
        "[1 Lenovo Group] was founded by [2 Liu Chuanzhi] in [3 Beijing]. He works at NHK."
        in model.prompts[0]
    )
    assert SOURCE not in model.prompts[0] and asked.usage.requests == 1


def test_the_source_can_be_shown():
    model = Scripted("[1 北京]")
    align(model, sentence("Beijing"), source_given=True)
    assert SOURCE in model.prompts[0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("联想集团由[2 柳传志]在[3 北京]创立。", [None, "柳传志", "北京"]),  # lost
        ("[1 联想集团]由[2 柳传志在[3 北京]]创立。", ["联想集团", None, None]),  # nested
        ("[1 联想集团]由[2 柳传志]在[3 北京]创立，[3 上海]。", ["联想集团", "柳传志", None]),  # doubled
        ("[1 联想集团]由[2 ]在[3 东京]创立。", ["联想集团", None, None]),  # empty; not in the source
    ],
)
def test_an_entity_whose_brackets_are_at_fault_has_no_place(answer, expected):
    asked = sentence(*NAMES[:3])
    [options] = align(Scripted(answer), asked)
    assert words(asked, options) == expected


def test_what_stood_in_faulty_brackets_is_in_the_record():
    [[option]] = align(Scripted("[1 北京]和[1 上海]"), sentence("Beijing"))
    assert not option.spans and option.answers == (("北京", None), ("上海", None))


@pytest.mark.parametrize("answer", ["一联想集团由二柳传志创立。", "", LLMError("no answer")])
def test_without_any_marker_the_sentence_fails_and_the_batch_goes_on(answer):
    failed, found = align(Scripted(answer, "[1 北京]"), sentence("Liu Chuanzhi"), sentence("Beijing"))
    assert isinstance(failed, Failure) and found[0].spans
    if isinstance(answer, str) and answer:
        assert "markers were lost" in str(failed) and "spacy_eat.ConstrainedAligner.v1" in str(failed)


def test_what_stands_in_the_source_is_not_marked():
    model = Scripted()
    asked = sentence("NHK")
    [[option]] = align(model, asked)
    assert asked.source[option.spans[0]] == "NHK" and not model.prompts


def test_entities_within_others_are_left_out():
    asked = sentence("Lenovo Group", "Beijing")
    asked.entities = [asked.entities[0], Span(0, 6, "X"), asked.entities[1]]
    model = Scripted("[1 联想集团]在[2 北京]")
    [options] = align(model, asked)
    assert words(asked, options) == ["联想集团", None, "北京"]


def test_the_form_for_base_models_has_solved_examples():
    [prompt] = make_marked_translation_task().prompts(SOURCE, ENGLISH, sentence().entities[:1], "zh")
    form = prompt.completion
    assert form.prompt.startswith("English: [1 Lenovo Group] was") and form.prompt.endswith("Chinese:")
    for line in ("English: [1 Zhang Yimou] was born in [2 Xi'an]", "Chinese: [1 张艺谋]1950年出生于[2 西安]"):
        assert line in form.head
    assert "Zhang Yimou" not in prompt
    [prompt] = make_marked_translation_task().prompts("", "He left.", [], "zh")
    assert "Zhang Yimou was born" in prompt.completion.head and "[" not in prompt.completion.head


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="min_similarity = 2"):
        make_marker_aligner(make_marked_translation_task(), Scripted(), min_similarity=2)
