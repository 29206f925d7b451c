"""Training the entity aligner: a tiny BERT learns a made-up language, and goes on after a stop."""

import json
import random

import numpy as np
import pytest
import typer
from confection import Config
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.alignment.encoder import EncoderAligner  # noqa: E402
from spacy_eat.alignment.network import Found, Settings  # noqa: E402
from spacy_eat.cli.tune_aligner import tune_aligner_cli  # noqa: E402
from spacy_eat.encoders.encoder import load_layers  # noqa: E402
from spacy_eat.encoders.trained import Base, write_base, write_trained  # noqa: E402
from spacy_eat.training.aligner import tune as tuning  # noqa: E402
from spacy_eat.training.aligner.data import Example, Pair  # noqa: E402
from spacy_eat.training.aligner.tune import calibrate, tune_aligner  # noqa: E402
from spacy_eat.types import Sentence, Span, Text  # noqa: E402

from ...bert import tiny_bert  # noqa: E402
from .resuming import check_resumed  # noqa: E402

NAMES = dict(zip(["anna", "bob", "rome", "oslo", "zoe", "kiev"], "甲乙丙丁戊己", strict=True))
WORDS = dict(zip(["met", "saw", "in", "and"], "见看在和", strict=True))


def examples(count, seed=0):
    """Sentences of two to five words, in another order in the source; the names are entities."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        words = rng.sample([*NAMES], rng.randint(1, 3)) + rng.sample([*WORDS], 2)
        rng.shuffle(words)
        turned = rng.sample(words, len(words))
        english = " ".join(words)
        source = "".join(NAMES.get(word) or WORDS[word] for word in turned)
        pairs = [
            Pair(
                (english.index(w), english.index(w) + len(w)),
                (source.index(NAMES[w]), source.index(NAMES[w]) + 1),
            )
            for w in words
            if w in NAMES
        ]
        found.append(Example("zh", source, english, tuple(pairs), "projected"))
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base")
    config = tiny_bert(path, [*NAMES, *WORDS, *NAMES.values(), *WORDS.values()], layers=3)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    return str(path)


@pytest.fixture
def config(base, tmp_path, monkeypatch):
    """A config whose corpora are made up."""
    monkeypatch.setattr(tuning, "build", lambda settings, counts: iter(examples(400)))
    return {
        "corpora": {"missing": 0.1, "held_out": 60},
        "model": {"base": base, "layers": 2, "frozen_layers": 0, "width": 3, "max_length": 32},
        "training": {
            "epochs": 3,
            "batch_pieces": 400,
            "learning_rate": 3e-3,
            "head_learning_rate": 5e-3,
            "checkpoint_minutes": 0,
        },
        "output": {"path": str(tmp_path / "run")},
    }


def test_it_learns_which_word_is_which(config, tmp_path):
    state = tune_aligner(Config(config))
    assert state.losses[0] > 2.0 and len(state.scores) == 3
    assert state.scores[-1]["right"] > 0.95
    assert state.scores[-1]["log loss"] < state.scores[0]["log loss"]
    asked = examples(1, seed=99)[0]
    sentence = Sentence(
        Text(asked.source, "zh"), Text(asked.english, "en"), [Span(*pair.english) for pair in asked.pairs]
    )
    (options,) = EncoderAligner(str(tmp_path / "run" / "aligner"))([sentence])
    assert [one.spans[0].place for one in options] == [pair.source for pair in asked.pairs]


def test_it_goes_on_where_it_stopped(config, tmp_path, monkeypatch):
    config["training"]["epochs"] = 2
    check_resumed(config, tmp_path / "stopped", monkeypatch, past=1)


def test_other_settings_need_another_folder(config, tmp_path):
    assert tune_aligner(Config(config), build_only=True) is None
    config["training"]["seed"] = 1
    with pytest.raises(ValueError, match=r"run with other settings.*--output.*--restart"):
        tune_aligner(Config(config), build_only=True)
    assert tune_aligner(Config(config), build_only=True, restart=True) is None


def test_it_begins_from_a_token_classifier(config, base, tmp_path):
    network = tuning.networks.build(Settings(**config["model"]))[1]
    classifier = transformers.BertForTokenClassification.from_pretrained(base)
    with torch.no_grad():
        classifier.bert.encoder.layer[1].output.dense.weight.fill_(0.25)
    classifier.save_pretrained(tmp_path / "tagger" / "model")
    tuning.begin_from(network, tmp_path / "tagger", base)
    assert (network.encoder.encoder.layer[1].output.dense.weight == 0.25).all()
    with pytest.raises(ValueError, match="`initial` is"):
        tuning.begin_from(network, tmp_path, base)


def test_it_begins_from_a_tuned_encoder(config, base, tmp_path):
    _, encoder = load_layers(base, 2, 1, "base")
    encoder.encoder.layer[1].output.dense.weight.data.fill_(0.25)
    write_trained(encoder, tmp_path)
    write_base(Base(base, 2), tmp_path)
    config["training"].update(epochs=1, learning_rate=1e-9)  # it ends with what it began from
    config["model"].update(initial=str(tmp_path), frozen_layers=1)
    tune_aligner(Config(config))
    _, network, settings = tuning.networks.load(tmp_path / "run" / "aligner")
    assert settings.base == base  # the tuned encoder is needed no more
    assert (network.encoder.encoder.layer[1].output.dense.weight == 0.25).all()

    write_trained(encoder.requires_grad_(True), tmp_path)
    with pytest.raises(ValueError, match="`frozen_layers` is too high"):
        tuning.begin_from(network, tmp_path, base)
    with pytest.raises(ValueError, match=r"was tuned from .*: `base` is 'embedded'"):
        tuning.begin_from(network, tmp_path, "embedded")


def test_calibration_takes_what_is_likeliest():
    spans = np.array([[0, 1], [1, 2]])
    # Too sure: nine in ten said, six in ten right. The opposite question knows better.
    answered = []
    for i in range(100):
        right = i % 10 < 6
        reverse = np.log([0.8, 0.1]) if right else np.log([0.1, 0.8])
        answered.append(
            (Found(np.log(0.01), spans, np.log([0.9, 0.09]), reverse), (0, 1) if right else (1, 2))
        )
    settings, scores = calibrate(Settings(), answered)
    assert settings.reverse > 0.5 and settings.temperature > 1.0
    assert scores["right"] == 1.0 and scores["right forward"] == 0.6
    lost = [(Found(np.log(0.5), spans, np.log([0.3, 0.2]), np.zeros(2)), (7, 8))]
    assert calibrate(Settings(), lost)[1]["right"] == 0.0


def test_command(config, tmp_path):
    path = tmp_path / "config.cfg"
    Config(config).to_disk(path)
    app = typer.Typer()
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tune_aligner_cli)
    output = tmp_path / "other"
    result = CliRunner().invoke(app, [str(path), "--output", str(output), "--training.epochs", "1"])
    assert result.exit_code == 0, result.output
    assert (output / "aligner" / "model.safetensors").is_file()
    assert json.loads((output / "aligner" / "config.json").read_text(encoding="utf-8"))["width"] == 3
    for setting, value, message in (
        ("--training.epoch", "1", "epoch"),
        ("--model.layers", "9", "has 3 layers"),
        ("--model.base", "/no/such", "/no/such"),
    ):
        result = CliRunner().invoke(
            app, [str(path), "--output", str(tmp_path / message[-3:]), setting, value]
        )
        assert result.exit_code == 1 and message in " ".join(result.output.split())
