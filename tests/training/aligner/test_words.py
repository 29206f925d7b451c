"""Tuning an encoder for word alignment: a tiny BERT learns which words of a made-up language are which."""

import json
import random

import numpy as np
import pytest
from confection import Config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.alignment.words import WordAligner, align  # noqa: E402
from spacy_eat.corpora import CorpusError  # noqa: E402
from spacy_eat.encoders import Encoder  # noqa: E402
from spacy_eat.training.aligner.lexical import Lexicons  # noqa: E402
from spacy_eat.training.aligner.tune import tune_aligner  # noqa: E402
from spacy_eat.types import Sentence, Span, Text  # noqa: E402

from ...bert import tiny_bert  # noqa: E402
from .resuming import check_resumed  # noqa: E402

ENGLISH = ["anna", "bob", "rome", "oslo", "zoe", "kiev", "met", "saw", "in", "and", "red", "sea"]
WORDS = dict(zip(ENGLISH, "甲乙丙丁戊己见看在和红海", strict=True))


def sentences(count, seed=0):
    """Some of the words, in another order on the other side: their Chinese and their English."""
    rng = random.Random(seed)
    for _ in range(count):
        words = rng.sample(ENGLISH, rng.randint(4, 7))
        turned = rng.sample(words, len(words))
        yield [WORDS[word] for word in turned], words


def right_share(folder, layer=None):
    """The mean share of the right links, of sentences that nothing was trained on."""
    encoder, shares = Encoder(str(folder), layer=layer), []
    for source, english in sentences(40, seed=99):
        (here,) = encoder([Text("".join(source), "zh")])
        (there,) = encoder([Text(" ".join(english), "en")])
        found = align(here, there).shares
        shares += [found[i, english.index(word)] for word in english for i in [source.index(WORDS[word])]]
    return np.mean(shares)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    config = tiny_bert(path, [*ENGLISH, *WORDS.values()], layers=3)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    return str(path)


@pytest.fixture
def config(base, tmp_path):
    parallel = tmp_path / "parallel"
    parallel.mkdir()
    lines = ({"source": "".join(zh), "english": " ".join(en)} for zh, en in sentences(400))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (parallel / "zh_news1.jsonl").write_text(text, encoding="utf-8")
    return {
        "corpora": {"held_out": 40},
        "words": {"path": str(parallel), "files": {"zh": ["news*"]}, "limit": 300, "lexical": 0.1},
        "model": {"base": base, "layers": 2, "frozen_layers": 0, "max_length": 32},
        "training": {"epochs": 3, "batch_pieces": 200, "learning_rate": 3e-3, "checkpoint_minutes": 0},
        "output": {"path": str(tmp_path / "run")},
    }


def test_statistics_find_which_word_is_which():
    lexicons = Lexicons(list(sentences(300)))
    right = [
        WORDS[english[j]] == word
        for source, english in sentences(20, seed=99)
        for word, j in zip(source, lexicons.shares(source, english).argmax(axis=1), strict=True)
    ]
    assert np.mean(right) > 0.95  # places count too, and here they say nothing
    # A word on both sides is the same; unknown ones have only their places; nothing stands for nothing.
    assert lexicons.shares(["甲", "X", "乙"], ["X", "bob", "anna"])[1].argmax() == 0
    assert (lexicons.shares(["?", "!"], ["a", "b"]).argmax(axis=1) == [0, 1]).all()
    assert lexicons.shares([], ["a"]).shape == (0, 1)


def test_links_become_likelier(config, base, tmp_path):
    config["training"]["epochs"] = 8
    state = tune_aligner(Config(config))
    assert state.scores[-1]["agreement"] > 0.9
    assert state.scores[-1]["log loss"] < state.scores[0]["log loss"]
    before, after = right_share(base, layer=2), right_share(tmp_path / "run" / "encoder")
    assert after > 0.8 and after > 2 * before


def test_the_encoder_is_used_by_its_folder(config, base, tmp_path):
    config["training"]["epochs"] = 2
    config["model"]["frozen_layers"] = 1
    tune_aligner(Config(config))
    folder = tmp_path / "run" / "encoder"
    names = transformers.BertModel.from_pretrained(base).state_dict()
    from safetensors.torch import load_file

    trained = load_file(folder / "model.safetensors")
    assert {name for name in trained} == {name for name in names if ".layer.1." in name}
    assert all(weight.dtype == torch.float16 for weight in trained.values())
    encoder = Encoder(str(folder), layer=2)
    assert np.array_equal(encoder([Text("甲")])[0].vectors, Encoder(str(folder))([Text("甲")])[0].vectors)
    sentence = Sentence(Text("甲看乙", "zh"), Text("anna saw bob", "en"), [Span(0, 4), Span(9, 12)])
    (options,) = WordAligner(encoder)([sentence])
    assert [one.spans[0].place for one in options] == [(0, 1), (2, 3)]
    with pytest.raises(ValueError, match="tuned for its layer 2, not 3"):
        Encoder(str(folder), layer=3)([Text("甲")])
    # Weights of one encoder are not put in another.
    trained["encoder.layer.9.output.dense.weight"] = trained.popitem()[1]
    from safetensors.torch import save_file

    save_file(trained, folder / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit the encoder"):
        Encoder(str(folder))([Text("甲")])


def test_it_goes_on_where_it_stopped(config, tmp_path, monkeypatch):
    config["training"]["epochs"] = 1
    check_resumed(config, tmp_path / "stopped", monkeypatch)


def test_what_is_wrong_is_said(config, tmp_path):
    assert tune_aligner(Config(config), build_only=True) is None
    config["words"]["lexical"] = 0.0
    with pytest.raises(ValueError, match="run with other settings"):
        tune_aligner(Config(config), build_only=True)
    config["output"]["path"] = str(tmp_path / "other")
    config["words"]["files"] = {"zh": ["talks"]}
    with pytest.raises(CorpusError, match=r"zh_talks\.jsonl"):
        tune_aligner(Config(config))
    config["words"]["files"] = {}
    with pytest.raises(ValueError, match=r"no sentences.*\[words\]"):
        tune_aligner(Config(config), restart=True)
