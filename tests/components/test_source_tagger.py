"""`eat_source_tagger`: a trained token classifier, found by its folder, in pipelines of any language."""

import pickle
import shutil

import numpy as np
import pytest
import spacy
import srsly

pytest.importorskip("torch")
pytest.importorskip("transformers")

from spacy_eat.components.source_tagger import SPANS_KEY
from spacy_eat.tags import tags_of


@pytest.mark.parametrize("lang", ["zh", "xx", "en"])
def test_finds_entities_with_scores_on_any_tokenizer(lang, weights):
    nlp = spacy.blank(lang)
    nlp.add_pipe("eat_source_tagger", config={"weights": weights})
    (doc,) = nlp.pipe(["a 京都 b"])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("京都", "LOC")]
    group = doc.spans[SPANS_KEY]
    assert [span.text for span in group] == ["京都"]
    assert group.attrs["scores"].shape == (1,)
    assert 0.5 < group.attrs["scores"][0] < 1
    assert nlp.get_pipe("eat_source_tagger").labels == ("LOC",)


@pytest.mark.parametrize("split, expected", [(True, ["京都"]), (False, ["京都b"])])
def test_tokens_are_split_where_affixes_are_written_together_with_names(split, expected, weights):
    tokenizer = {"nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}}
    nlp = spacy.blank("ko", config=tokenizer)
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "split_tokens": split})
    for doc in (nlp("a 京都b c"), *nlp.pipe(["a 京都b c"])):
        assert [ent.text for ent in doc.ents] == expected
        assert [span.text for span in doc.spans[SPANS_KEY]] == expected
        assert doc.text == "a 京都b c"
        assert len(doc) == (4 if split else 3)


@pytest.mark.parametrize("min_score", [0.0, 1.0])
def test_what_is_less_likely_is_in_the_group_alone(min_score, weights):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "min_score": min_score})
    for doc in (nlp("a 京都 b"), *nlp.pipe(["a 京都 b"])):
        assert [span.text for span in doc.spans[SPANS_KEY]] == ["京都"]
        assert len(doc.ents) == (min_score == 0.0)
    with pytest.raises(ValueError, match=r"`min_score` of 'other' is between 0\.0 and 1\.0, not 2"):
        nlp.add_pipe("eat_source_tagger", name="other", config={"weights": weights, "min_score": 2})


def test_a_document_keeps_scores_through_bytes(weights):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "spans_key": "mine"})
    doc = nlp("a 京都 b")
    copy = spacy.tokens.Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert np.allclose(copy.spans["mine"].attrs["scores"], doc.spans["mine"].attrs["scores"])


def test_keeps_the_probabilities_of_tags_for_students(weights):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "keep_tags": True})
    kept = tags_of(nlp("a 京都 b"))
    assert kept.tags == ["O", "B-LOC", "I-LOC"]
    assert [kept.tags[row.argmax()] for row in kept.rows] == ["O", "B-LOC", "I-LOC", "O"]


def test_in_bf16_it_finds_the_same(weights):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "mixed_precision": True})
    doc = nlp("a 京都 b")
    assert [ent.text for ent in doc.ents] == ["京都"]
    assert nlp.get_pipe("eat_source_tagger").classifier.mixed_precision


def test_in_8_bits_it_finds_the_same(weights, tmp_path):
    pytest.importorskip("ctranslate2")
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights, "runtime": "ctranslate2"})
    assert [ent.text for ent in nlp("a 京都 b").ents] == ["京都"]
    # A process that is forked from here has neither CTranslate2's threads nor torch's.
    assert [[e.text for e in doc.ents] for doc in nlp.pipe(["a 京都 b"] * 2, n_process=2, batch_size=1)] == [
        ["京都"],
        ["京都"],
    ]
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("eat_source_tagger").runtime == "ctranslate2"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "deberta-v2"}, "a 'deberta-v2': use `runtime = \"torch\"`"),
        ({"hidden_act": "silu"}, "the activation 'silu': use `runtime = \"torch\"`"),
        ({"num_hidden_layers": 2}, "layer.1.attention.self.query.weight' are missing"),
    ],
)
def test_only_encoders_of_a_kind_can_be_converted(weights, tmp_path, settings, message):
    pytest.importorskip("ctranslate2")
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model" / "config.json"
    srsly.write_json(path, {**srsly.read_json(path), **settings})
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": str(tmp_path), "runtime": "ctranslate2"})
    with pytest.raises(ValueError, match=message):
        nlp("京都")


def test_saved_by_name_and_loaded(weights, tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": weights})
    assert nlp("京都").ents
    nlp.to_disk(tmp_path)
    assert not list((tmp_path).rglob("*.safetensors"))
    for copy in (spacy.load(tmp_path), pickle.loads(pickle.dumps(nlp))):
        assert [ent.text for ent in copy("京都").ents] == ["京都"]


def test_errors_name_the_remedy(tmp_path):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_source_tagger", config={"weights": str(tmp_path)})
    with pytest.raises(ValueError, match=r"`weights` of 'eat_source_tagger'.*'embedded'.*train-tagger"):
        nlp("京都")
