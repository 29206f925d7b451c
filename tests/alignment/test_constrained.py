"""Constrained decoding: what its places become, and what becomes of texts without any."""

import json

import pytest
import spacy
from spacy.util import load_config, load_model_from_config

from spacy_eat.alignment.constrained import ConstrainedAligner, make_constrained_aligner
from spacy_eat.alignment.resolve import resolve
from spacy_eat.llm.chat_completions import make_chat_completions
from spacy_eat.llm.prompts import Answer, LLMError
from spacy_eat.llm.tasks.markers import make_marker_placement_task
from spacy_eat.types import Failure, Sentence, Span, Text


def sentence(source, english, *names, lang="zh"):
    spans = [Span(english.index(name), english.index(name) + len(name), "X") for name in names]
    return Sentence(Text(source, lang), Text(english, "en"), spans)


class Scripted:
    """Answers by what is marked."""

    forced = True

    def __init__(self, **answers):
        self.answers = {name.replace("_", " "): answer for name, answer in answers.items()}
        self.forms = []

    def __call__(self, prompts):
        return [[self.answer(prompt.completion) for prompt in group] for group in prompts]

    def answer(self, form):
        self.forms.append(form)
        name = form.marked[form.marked.index("[") + 1 : form.marked.index("]")]
        answer = self.answers[name]
        if isinstance(answer, LLMError):
            return answer
        return Answer(answer if isinstance(answer, str) else json.dumps(answer))


def align(model, *sentences, **settings):
    return ConstrainedAligner(make_marker_placement_task(), model, **settings)(sentences)


FOUNDED = "联想集团由柳传志在北京创立。", "Lenovo Group was founded by Liu Chuanzhi in Beijing."
NONE = [None, None, -30.0]


def test_places_are_weighed_against_each_other_and_against_none():
    model = Scripted(
        Beijing=[[9, 11, -20.0], [8, 11, -23.0], NONE],
        Liu_Chuanzhi=[NONE, [5, 8, -35.0]],
    )
    asked = sentence(*FOUNDED, "Liu Chuanzhi", "Beijing")
    [[person, place]] = align(model, asked, temperature=1.0, missing=0.5)
    assert [(asked.source[span], round(span.score, 2)) for span in place.spans] == [
        ("北京", 0.95),
        ("在北京", 0.05),
    ]
    assert place.none < 0.01 and person.none > 0.9
    assert resolve(asked, [person, place]).spans == [None, Span(9, 11, "X")]
    assert asked.usage.requests == 2
    # Few names are missing; and log-probabilities can be softened.
    [[person, _]] = align(model, asked, temperature=1.0, missing=0.001)
    assert person.none < 0.2
    [[_, softer]] = align(model, asked, temperature=3.0, missing=0.5)
    assert softer.spans[0].score < 0.8


def test_each_entity_is_marked_alone_and_brackets_of_the_texts_are_none():
    model = Scripted(Tanaka=[[0, 2, -1.0]], Kyoto=[[5, 7, -1.0]])
    source = "田中[注]\nは京都へ"
    asked = sentence(source, "Tanaka [sic] went\nto Kyoto, NHK said.", "Tanaka", "Kyoto", lang="ja")
    [options] = align(model, asked)
    assert [form.marked for form in model.forms] == [
        "[Tanaka] (sic) went to Kyoto, NHK said.",
        "Tanaka (sic) went to [Kyoto], NHK said.",
    ]
    assert {form.text for form in model.forms} == {"田中(注) は京都へ"}
    assert [asked.source[one.spans[0]] for one in options] == ["田中", "京都"] or source[5] != "は"


def test_what_stands_in_the_source_is_not_asked_for():
    model = Scripted()
    asked = sentence("他在NHK工作。", "He works at NHK.", "NHK")
    [[option]] = align(model, asked)
    assert asked.source[option.spans[0]] == "NHK" and not model.forms and asked.usage.requests == 0


def test_an_entity_without_a_path_has_no_place_and_the_others_theirs():
    lost = LLMError("forced decoding finds no path", retryable=False)
    [[person, place]] = align(
        Scripted(Liu_Chuanzhi=lost, Beijing=[[9, 11, -2.0], NONE]),
        sentence(*FOUNDED, "Liu Chuanzhi", "Beijing"),
    )
    assert not person.spans and "no path" in person.answers[0][0]
    assert place.spans


def test_where_nothing_has_a_path_the_sentence_fails_and_the_batch_goes_on():
    lost = LLMError("forced decoding finds no path", retryable=False)
    model = Scripted(Liu_Chuanzhi=lost, Beijing=[[9, 11, -2.0], NONE])
    failed, found = align(model, sentence(*FOUNDED, "Liu Chuanzhi"), sentence(*FOUNDED, "Beijing"))
    assert isinstance(failed, Failure) and "no path" in str(failed) and not failed.retryable
    assert found[0].spans


def test_what_may_succeed_later_fails_the_sentence():
    busy = LLMError("the server is busy")
    model = Scripted(Liu_Chuanzhi=busy, Beijing=[[9, 11, -2.0]])
    [failed] = align(model, sentence(*FOUNDED, "Liu Chuanzhi", "Beijing"))
    assert isinstance(failed, Failure) and failed.retryable


@pytest.mark.parametrize(
    "answer", ["[联想集团]由柳传志创立。", "", "{}x", '[["北京", -0.25]]', "[[1, 2, null]]"]
)
def test_a_model_that_tells_no_places_is_told_apart(answer):
    [failed] = align(Scripted(Beijing=answer), sentence(*FOUNDED, "Beijing"))
    assert isinstance(failed, Failure) and "spacy_eat.LLMAligner.v1" in str(failed)


def test_a_server_is_refused_when_the_pipeline_is_made():
    with pytest.raises(ValueError, match=r"ChatCompletions.*spacy_eat\.Embedded\.v1"):
        make_constrained_aligner(make_marker_placement_task(), make_chat_completions("m"))


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="temperature = 0"):
        make_constrained_aligner(make_marker_placement_task(), Scripted(), temperature=0)
    with pytest.raises(ValueError, match="missing = 1"):
        make_constrained_aligner(make_marker_placement_task(), Scripted(), missing=1)


def test_the_task_runs_in_spacy_llms_component():
    doc = spacy.blank("zh")(FOUNDED[0])
    doc._.eat_translation = FOUNDED[1]
    doc._.eat["sentences"][0]["entities"] = [
        {
            "text": "Beijing",
            "label": "LOC",
            "english_start": 44,
            "english_end": 51,
            "answers": [],
            "logprobs": [],
        }
    ]
    task = make_marker_placement_task()
    [(prompts, shards)] = task.generate_prompts([doc])
    assert [prompt.completion.marked for prompt in prompts] == [FOUNDED[1].replace("Beijing", "[Beijing]")]
    [doc] = task.parse_responses([shards], [[json.dumps([[9, 11, -2.0], NONE])]])
    [entity] = doc._.eat["sentences"][0]["entities"]
    assert (entity["answers"], entity["logprobs"]) == (["北京", ""], [-2.0, -30.0])


@pytest.mark.parametrize("lang", ["zh", "ja"])
@pytest.mark.parametrize(
    ("name", "aligner"), [("constrained", "ConstrainedAligner"), ("markers", "MarkerAligner")]
)
def test_configs_load_as_they_are(lang, name, aligner, request):
    path = request.config.rootpath / "configs" / "strategies" / f"{lang}_{name}.cfg"
    nlp = load_model_from_config(load_config(path), auto_fill=True)
    assert type(nlp.get_pipe("eat_entity_aligner").aligner).__name__ == aligner
