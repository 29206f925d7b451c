import copy
import pickle

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import SpanGroup

from spacy_eat.taggers import pipeline
from spacy_eat.taggers.pipeline import EnglishPipeline, make_english_pipeline
from spacy_eat.types import Text

TEXT = Text("Liu Chuanzhi founded Lenovo Group in Beijing.", "en")
NOTHING = Text("Nothing.", "en")


def test_entities_with_offsets(english):
    found = EnglishPipeline(str(english))([TEXT, Text(""), NOTHING])
    assert [(TEXT[e], e.label) for e in found[0]] == [
        ("Liu Chuanzhi", "PER"),
        ("Lenovo Group", "ORG"),
        ("Beijing", "LOC"),
    ]
    assert found[1:] == [[], []]


@Language.component("unsure_of_liu")
def unsure_of_liu(doc):
    """A component that tells how sure it is of entities."""
    group = SpanGroup(doc, spans=[e for e in doc.ents if e.label_ == "PER"], attrs={"scores": [0.6]})
    doc.spans["ner"] = group
    return doc


def test_scores_of_a_span_group(english, tmp_path):
    nlp = spacy.load(english)
    nlp.add_pipe("unsure_of_liu")
    nlp.to_disk(tmp_path)
    cache = str(tmp_path / "cache.sqlite")
    for _ in range(2):  # tagged, then from the cache
        (found,) = EnglishPipeline(str(tmp_path), cache=cache)([TEXT])
        assert [(TEXT[e], e.score) for e in found] == [
            ("Liu Chuanzhi", 0.6),
            ("Lenovo Group", 1.0),
            ("Beijing", 1.0),
        ]


def test_label_map_renames_and_leaves_out(english):
    found = EnglishPipeline(str(english), label_map={"PER": "人名", "LOC": "地名"})([TEXT])
    assert [e.label for e in found[0]] == ["人名", "地名"]


def test_label_map_with_an_unknown_label(english):
    with pytest.raises(ValueError, match=r"PERSON.*It sets: LOC, ORG, PER"):
        EnglishPipeline(str(english), label_map={"PERSON": "PER"})([TEXT])


def test_what_does_not_fit_is_told_before_anything_is_loaded(english):
    with pytest.raises(ValueError, match=r"PERSON.*It sets: LOC, ORG, PER"):
        make_english_pipeline(str(english), label_map={"PERSON": "PER"})
    with pytest.raises(ValueError, match="spacy download en_core_web_none"):
        make_english_pipeline("en_core_web_none")
    with pytest.raises(ValueError, match=r"PERSON.*It sets: LOC, ORG, PER"):
        make_english_pipeline("embedded", label_map={"PERSON": "PER"})


def test_labels_are_known_before_anything_is_loaded(english):
    for name in (str(english), "embedded"):
        pipeline = make_english_pipeline(name, label_map={"PER": "人名", "LOC": "地名", "ORG": "地名"})
        assert sorted(pipeline.labels) == ["人名", "地名"]
        assert sorted(make_english_pipeline(name).labels) == ["LOC", "ORG", "PER"]
        assert pipeline._nlp is None


def test_unknown_pipeline():
    with pytest.raises(ValueError, match="spacy download en_core_web_none"):
        EnglishPipeline("en_core_web_none")([TEXT])


def test_pipeline_without_entities(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"no component that sets doc.ents .it has: sentencizer"):
        EnglishPipeline(str(tmp_path))([TEXT])


def test_no_gpu(english):
    import thinc.util

    if thinc.util.has_gpu:
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"gpu_id.* is 0, but no GPU"):
        EnglishPipeline(str(english), gpu_id=0)([TEXT])


def test_weights_do_not_travel(english):
    pipeline = EnglishPipeline(str(english))
    pipeline([TEXT])
    for other in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        assert other._nlp is None
        assert other([TEXT]) == pipeline([TEXT])


def test_cached_entities_need_no_pipeline(english, tmp_path):
    cache = str(tmp_path / "cache.sqlite")
    first = EnglishPipeline(str(english), cache=cache)
    found = first([TEXT, NOTHING, TEXT])
    again = EnglishPipeline(str(english), label_map={"PER": "人名"}, cache=cache)
    # What is kept has the pipeline's own labels.
    assert [TEXT[e] for e in again([TEXT])[0]] == ["Liu Chuanzhi"]
    assert again([TEXT])[0][0].label == "人名"
    assert again._nlp is None
    assert first([TEXT, NOTHING, TEXT]) == found


def test_another_pipeline_has_other_entries(english, tmp_path):
    cache = str(tmp_path / "cache.sqlite")
    assert EnglishPipeline(str(english), cache=cache)([TEXT])[0]
    nlp = spacy.load(english)
    nlp.get_pipe("entity_ruler").clear()
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "Beijing"}])
    nlp.to_disk(tmp_path / "other")
    other = EnglishPipeline(str(tmp_path / "other"), cache=cache)
    assert [TEXT[e] for e in other([TEXT])[0]] == ["Beijing"]


def test_embedded_model_finds_entities():
    pytest.importorskip("transformers")
    text = Text("Liu Chuanzhi founded Microsoft in Beijing.", "en")
    (found,) = EnglishPipeline()([text])
    assert {("Liu Chuanzhi", "PER"), ("Beijing", "LOC")} <= {(text[e], e.label) for e in found}


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_embedded_model_without_its_packages_is_an_error_at_load(package, llm, monkeypatch):
    find_spec = pipeline.find_spec
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None if name == package else find_spec(name))
    nlp = spacy.blank("zh")
    with pytest.raises(ImportError, match=rf"spacy-eat\[english\].*no {package}.*tagger.name"):
        nlp.add_pipe("eat_entity_aligner", config={"aligner": {"model": {"@llm_models": "test.Scripted"}}})
    assert not llm.prompts
