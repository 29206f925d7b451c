"""`eat_entity_aligner` with taggers and aligners of a test's own."""

import logging
import re
import subprocess
import sys
import warnings

import pytest
import spacy
from spacy.tokens import Doc

from spacy_eat.types import Failure, Options, Span

ZH = "李雪在北京。"
EN = "Li Xue is in Beijing."
TAGGED = [Span(0, 6, "PER"), Span(13, 20, "LOC")]
PLACES = [
    Options((Span(0, 2, score=0.9, origin="exact"),)),
    Options((Span(3, 5, score=0.6, origin="exact"),)),
]


class Tagger:
    labels = ("LOC", "PER")

    def __init__(self, *found):
        self.found = found

    def __call__(self, texts):
        return [*self.found, *[TAGGED] * len(texts)][: len(texts)]


class Aligner:
    def __init__(self, *found):
        self.found = found

    def __call__(self, sentences):
        return [*self.found, *[PLACES] * len(sentences)][: len(sentences)]


@pytest.fixture
def make(make_nlp):
    """A pipeline with a tagger and an aligner, and docs that have their English."""

    def make(tagger=None, aligner=None, sentences=2, **settings):
        nlp = make_nlp(aligner=settings)
        nlp.remove_pipe("eat_translator")
        component = nlp.get_pipe("eat_entity_aligner")
        component.tagger, component.aligner = tagger or Tagger(), aligner or Aligner()
        doc = nlp.make_doc(ZH * sentences)
        doc._.eat_translation = [EN] * sentences
        return nlp, doc

    return make


def found(doc):
    return [(ent.text, ent.label_, ent._.eat_english, ent._.eat_score) for ent in doc.ents]


def test_any_tagger_and_aligner_do(make):
    nlp, doc = make(sentences=1)
    doc = nlp(doc)
    assert found(doc) == [("李雪", "PER", "Li Xue", 0.9), ("北京", "LOC", "Beijing", 0.6)]
    assert doc.spans["eat"].attrs["scores"] == [0.9, 0.6]
    assert nlp.pipe_labels["eat_entity_aligner"] == ["LOC", "PER"]
    nlp, doc = make(sentences=1, min_score=0.7)
    assert [text for text, *_ in found(nlp(doc))] == ["李雪"]


def test_the_score_is_that_of_the_english_entity_and_of_its_alignment(make):
    nlp, doc = make(
        sentences=1, tagger=Tagger([Span(0, 6, "PER", score=0.5), Span(13, 20, "LOC", score=0.8)])
    )
    found = nlp(doc)
    assert [(e["english_score"], e["score"]) for e in found._.eat["sentences"][0]["entities"]] == [
        (0.5, 0.45),
        (0.8, 0.48),
    ]
    assert found.spans["eat"].attrs["scores"] == [0.45, 0.48]


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([Span(0, 99, "PER")], r"gave \(0, 99\) in a text of 21 characters"),
        ([Span(3, 3, "PER")], r"gave \(3, 3\)"),
        ([Span(-1, 3, "PER")], r"gave \(-1, 3\)"),
        ([Span(13, 20, "LOC"), Span(0, 6, "PER")], "not in the order of the text"),
        ([Span(0, 6, "PER", score=float("nan"))], "gave the score nan"),
        ([Span(0, 6, "PER", score=1.5)], "gave the score 1.5"),
        (Failure("the server is away"), "tagging: the server is away"),
    ],
)
def test_a_tagger_at_fault_costs_its_sentence(make, spans, problem):
    nlp, doc = make(tagger=Tagger(spans))
    failed, aligned = nlp(doc)._.eat["sentences"]
    assert failed["status"] == "failed" and aligned["status"] == "aligned"
    assert re.search(problem, failed["error"]), failed["error"]
    assert failed["error"].startswith("tagging: ")
    assert [ent.start_char for ent in doc.ents] == [6, 9]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([Options((Span(0, 7),)), Options()], r"test_entity_aligner.Aligner gave \(0, 7\) in a text of 6"),
        ([Options((Span(0, 2, score=float("nan")),)), Options()], "gave the score nan"),
        ([Options()], "gave 1 for 2 entities"),
        (Failure("the server is away"), "alignment: the server is away"),
    ],
)
def test_an_aligner_at_fault_costs_its_sentence(make, options, problem):
    nlp, doc = make(aligner=Aligner(options))
    failed, aligned = nlp(doc)._.eat["sentences"]
    assert failed["status"] == "failed" and aligned["status"] == "aligned"
    assert re.search(problem, failed["error"]), failed["error"]
    nlp.get_pipe("eat_entity_aligner").aligner = Aligner()  # and it is retried
    assert len(nlp(doc).ents) == 4


def test_a_role_that_fails_as_a_whole_fails_each_sentence(make):
    def broken(items):
        raise RuntimeError("no such weights")

    nlp, doc = make(tagger=broken)
    errors = [sentence["error"] for sentence in nlp(doc)._.eat["sentences"]]
    assert errors == ["tagging: RuntimeError: no such weights"] * 2
    nlp, doc = make(aligner=lambda sentences: [])
    assert "gave 0 results for 2 sentences" in nlp(doc)._.eat["sentences"][0]["error"]


def test_failures_are_told_or_raised(make, caplog):
    nlp, doc = make(tagger=Tagger(Failure("only this once")))
    with caplog.at_level(logging.WARNING):
        nlp(doc)
    assert "only this once" in caplog.text
    nlp, doc = make(tagger=Tagger(Failure("away"), Failure("away")), on_error="raise")
    with pytest.raises(Failure, match="away"):
        nlp(doc)


@pytest.mark.parametrize("how", ["alone", "first", "disabled"])
def test_without_a_translation_the_error_says_what_to_add(make_nlp, how):
    nlp = make_nlp()
    if how == "disabled":
        nlp.disable_pipe("eat_translator")
    else:
        nlp.remove_pipe("eat_translator")
    if how == "first":
        nlp.add_pipe("eat_translator", config={"model": {"@llm_models": "test.Scripted"}})
    with pytest.raises(ValueError, match=r'nlp.add_pipe\("eat_translator", before="eat_entity_aligner"\)'):
        nlp(ZH)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_score": 2.0}, "min_score = 2.0"),
        ({"min_score": -0.1}, "min_score = -0.1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"english": {"@misc": "spacy_eat.EnglishPipeline.v1"}}, "`english` is now `tagger`"),
        ({"model": {"@llm_models": "spacy_eat.Embedded.v1"}}, "`model` is now `aligner.model`"),
        ({"task": {"@llm_tasks": "spacy_eat.EntityAlignment.v1"}}, "`task` is now `aligner.task`"),
        ({"min_similarity": 0.5}, "`min_similarity` is now `aligner.min_similarity`"),
        ({"aligner": {"min_similarity": 1.5}}, "min_similarity = 1.5"),
        ({"aligner": {"temperature": 0.0}}, "temperature = 0.0"),
        ({"tagger": {"label_map": {"PERSON": "PER"}}}, "PERSON.*It sets: LOC, ORG, PER"),
    ],
)
def test_settings_that_cannot_be_are_told_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        spacy.blank("zh").add_pipe("eat_entity_aligner", config=settings)


def test_the_component_says_that_it_retokenizes():
    meta = spacy.blank("zh").get_factory_meta("eat_entity_aligner")
    assert meta.retokenizes


# --- What is stored ----------------------------------------------------------


def test_joined_docs_keep_their_records(make):
    nlp, first = make(sentences=1)
    second = nlp.make_doc(ZH * 2)
    second._.eat_translation = [EN] * 2
    docs = [nlp(first), nlp.make_doc("今天下雨。"), nlp(second)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = Doc.from_docs(docs, ensure_whitespace=False)
    assert [joined.text[s["start_char"] : s["end_char"]] for s in joined._.eat["sentences"]] == [ZH] * 3
    assert found(joined) == found(docs[0]) + found(docs[2])
    assert found(docs[0])[0][0] == "李雪"  # those they were made of are as they were
    assert docs[2]._.eat["sentences"][0]["start_char"] == 0


def test_a_part_of_a_doc_keeps_its_records(make):
    nlp, doc = make(sentences=3)
    doc = nlp(doc)
    part = doc[len(ZH) : 2 * len(ZH)].as_doc(copy_user_data=True)
    assert part.text == ZH and found(part) == found(doc)[2:4]
    assert len(part._.eat["sentences"]) == 1 and len(doc._.eat["sentences"]) == 3


def test_records_of_version_01_are_read(make):
    nlp, doc = make(sentences=1)
    doc = nlp(doc)
    (key,) = [key for key in doc.user_data if "eat" in key]
    doc.user_data["eat"] = doc.user_data.pop(key)
    stored = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert found(stored) == [("李雪", "PER", "Li Xue", 0.9), ("北京", "LOC", "Beijing", 0.6)]


def test_stored_docs_are_read_in_a_fresh_process(make, tmp_path):
    nlp, doc = make(sentences=1)
    (tmp_path / "doc").write_bytes(nlp(doc).to_bytes())
    code = (
        "import sys, pathlib, spacy, spacy_eat; from spacy.tokens import Doc\n"
        "doc = Doc(spacy.blank('zh').vocab).from_bytes(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "assert doc._.eat['sentences'][0]['status'] == 'aligned' and doc.ents[0]._.eat_english == 'Li Xue'"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "doc")], check=True)


def test_a_record_keeps_the_answers_that_count(make_nlp, llm):
    llm.translations[ZH] = EN.replace("Li Xue", "Obama")
    likely = [["李雪", -0.1], ["李", -2.0], ["雪在", -9.0], ["在北", -9.5], ["北", -11.0]]
    llm.raw = lambda prompt: (
        f"[{str(likely).replace(chr(39), chr(34))}, []]" if "\nNames: " in prompt else None
    )
    doc = make_nlp()(ZH)
    (obama, _) = doc._.eat["sentences"][0]["entities"]
    assert obama["answers"] == ["李雪", "李"] and obama["logprobs"] == [-0.1, -2.0]
