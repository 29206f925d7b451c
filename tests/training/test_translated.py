"""Labelled English becomes labelled text of another language: by a scripted LLM, and by the command."""

from collections import Counter

import pytest
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_eat.corpora import Record
from spacy_eat.llm.prompts import LLMError
from spacy_eat.llm.tasks.markers import make_marked_translation_task
from spacy_eat.training.translated import translate_train
from spacy_eat.types import Span

from ..cli.test_cli import fail, invoke

ENGLISH = "Liu Chuanzhi founded Lenovo."
SPANS = (Span(0, 12, "PER"), Span(21, 27, "ORG"))


def translated(llm, *records):
    counts = Counter()
    task = make_marked_translation_task()
    return list(translate_train(records, "zh", task, llm, batch_size=2, counts=counts)), counts


def test_labels_go_along(llm):
    llm.raw = lambda prompt: "[2 联想]由[1 柳传志]创立。"
    [record], counts = translated(llm, Record(ENGLISH, SPANS, "a"))
    assert record == Record("联想由柳传志创立。", (Span(0, 2, "ORG"), Span(3, 6, "PER")), "a")
    assert "[1 Liu Chuanzhi] founded [2 Lenovo]." in llm.prompts[0] and counts == {"taken": 1}


def test_a_text_without_entities_is_one_too(llm):
    llm.raw = lambda prompt: "他走了。"
    [record], _ = translated(llm, Record("He left.", ()))
    assert record.text == "他走了。" and record.spans == ()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("联想由柳传志创立。", "markers lost"),
        ("联想由[1 柳传志]创立。", "markers lost"),
        ("[2 联想由[1 柳传志]创立]。", "markers nested"),
        ("[2 联想]由[1 柳传志]创立[1 他]。", "markers doubled"),
        ("[2 联想]由[1 柳传志]创立[3 他]。", "markers doubled"),
        ("[2 联想]由[1 ]创立。", "markers empty"),
        ("[1 Liu Chuanzhi] founded [2 Lenovo].", "other script"),
        ("", "no answer"),
    ],
)
def test_what_lost_its_markers_is_left_out_and_counted_and_the_rest_goes_on(llm, answer, reason):
    llm.raw = lambda prompt: answer if "Lenovo" in prompt else "他走了。"
    records, counts = translated(llm, Record(ENGLISH, SPANS), Record("He left.", ()))
    assert [record.text for record in records] == ["他走了。"] and counts == {"taken": 1, reason: 1}


def test_what_cannot_be_translated_is_not_asked_for(llm):
    records = [Record(ENGLISH), Record(ENGLISH, SPANS[:1], unknown=((21, 27),)), Record("He left. " * 60, ())]
    assert translated(llm, *records) == ([], {"not labelled": 2, "too long": 1})
    assert not llm.prompts


def test_a_request_that_fails_costs_one_sentence(llm):
    def answer(prompt):
        if "Lenovo" in prompt:
            raise LLMError("the server is down")
        return "他走了。"

    llm.raw = answer
    records, counts = translated(llm, Record(ENGLISH, SPANS), Record("He left.", ()))
    assert len(records) == 1 and counts["no answer"] == 1


CONFIG = """
[task]
@llm_tasks = "spacy_eat.MarkedTranslation.v1"

[model]
@llm_models = "test.Scripted"
"""
GOLD = "Liu B-PER\nChuanzhi I-PER\nfounded O\nLenovo B-ORG\n. O\n\nHe O\nleft O\n. O\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "english.conll").write_text(GOLD, encoding="utf-8")
    (tmp_path / "llm.cfg").write_text(CONFIG, encoding="utf-8")
    return tmp_path / "english.conll", tmp_path / "out" / "zh.spacy", tmp_path / "llm.cfg"


def test_the_command_writes_what_spacy_trains_on(llm, files):
    source, output, config = files
    llm.raw = lambda prompt: "[2 联想]由[1 柳传志]创立。" if "Lenovo" in prompt else "He left."
    told = invoke("translate-train", source, output, "--lang", "zh", "--config", config)
    assert "1 of 2 sentences with 2 entities" in told and "1 other script" in told
    [doc] = DocBin().from_disk(output).get_docs(Vocab())
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("联想", "ORG"), ("柳传志", "PER")]


def test_what_is_wrong_is_told_before_anything_is_asked(llm, files):
    source, output, config = files
    plain = source.with_name("plain.txt")
    plain.write_text("He left.\n", encoding="utf-8")
    config.write_text(CONFIG.split("[model]")[0], encoding="utf-8")
    for arguments, problem in (
        ((source, output.with_suffix(".jsonl")), ".spacy"),
        ((plain, output), "no entities"),
        ((source, output, "--config", config), "no section [model]"),
    ):
        assert problem in fail("translate-train", *arguments, "--lang", "zh")
    assert not llm.prompts


def test_a_model_that_loses_all_markers_is_told(llm, files):
    source, output, config = files
    llm.raw = lambda prompt: "Lenovo"
    assert "A larger LLM" in fail("translate-train", source, output, "--lang", "zh", "--config", config)


def test_the_config_can_be_taken_as_it_is(request):
    from spacy.util import load_config
    from spacy_llm.registry import registry

    config = load_config(request.config.rootpath / "configs" / "translate_train.cfg").interpolate()
    assert registry.resolve(config).keys() == {"task", "model"}
