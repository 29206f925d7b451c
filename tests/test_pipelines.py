"""Pipelines by whatever name, in every language."""

import builtins
import warnings
from types import SimpleNamespace

import pytest
import spacy

from spacy_eat.pipelines import PipelineError, blank, load_pipeline, usage_of
from spacy_eat.types import Usage

# The languages whose own tokenizers need packages, and those packages.
NEEDED = {"ko": "natto", "th": "pythainlp", "vi": "pyvi", "ja": "sudachipy"}
TEXTS = {
    "ko": "서울에서 만난 김씨.",
    "th": "ประเทศไทย สวัสดี",
    "vi": "Hà Nội là thủ đô.",
    "ja": "東京で会った。",
}


@pytest.mark.parametrize("lang", NEEDED)
def test_a_language_whose_tokenizer_is_not_installed(tmp_path, monkeypatch, lang):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == NEEDED[lang]:
            raise ImportError(f"no {name}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError):
        spacy.blank(lang)
    with pytest.warns(UserWarning, match=f"tokenizer for '{lang}' is not installed") as caught:
        nlp = blank(lang)
    assert len(caught) == 1
    doc = nlp(TEXTS[lang])
    assert nlp.lang == lang and doc.text == TEXTS[lang] and len(doc) > 3
    nlp.to_disk(tmp_path)
    assert [token.text for token in spacy.load(tmp_path)(TEXTS[lang])] == [token.text for token in doc]


def test_a_language_that_needs_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert blank("zh").tokenizer.segmenter == "char" and blank("ar").lang == "ar"


def test_a_language_code_is_the_two_components(monkeypatch):
    made = []
    monkeypatch.setattr(
        spacy.language.Language, "add_pipe", lambda self, name: made.append((self.lang, name))
    )
    assert load_pipeline("ar").lang == "ar"
    assert made == [("ar", "eat_translator"), ("ar", "eat_entity_aligner")]


@pytest.mark.parametrize(("name", "words"), [("nope", "no pipeline 'nope'"), ("qq", "language qq")])
def test_names_of_nothing(name, words):
    with pytest.raises(PipelineError, match=words):
        load_pipeline(name)


def test_clusters_keep_their_marks():
    nlp = spacy.blank("xx", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_eat.ClusterTokenizer.v1"}}})
    for text in ("สวัสดี", "e\u0301t", " a  b ", "", "\u0301", "ก\nข"):
        doc = nlp(text)
        assert doc.text == text
    assert [token.text for token in nlp("วัด e\u0301")] == ["วั", "ด", "e\u0301"]


def test_what_all_models_of_a_pipeline_have_spent():
    def spent(requests):
        return SimpleNamespace(model=SimpleNamespace(usage=Usage(requests=requests)))

    shared = spent(1)
    nlp = spacy.blank("zh")
    cascade = SimpleNamespace(aligners=(spent(2), SimpleNamespace(), shared))
    tagger = SimpleNamespace(tagger=spent(4))
    nlp._components = [("a", shared), ("b", SimpleNamespace(aligner=cascade)), ("c", tagger), ("d", len)]
    assert usage_of(nlp)["requests"] == 1 + 2 + 4
