"""The entity aligner on an encoder: spans and their probabilities, windows, failures. A tiny BERT with random
weights, except where the tests say so."""

import pickle

import numpy as np
import pytest
import spacy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.alignment import network as networks  # noqa: E402
from spacy_eat.alignment.encoder import FOLDER, EncoderAligner, make_encoder_aligner  # noqa: E402
from spacy_eat.alignment.network import Found, Settings, build, load, look, pieces_of, read, save  # noqa: E402
from spacy_eat.alignment.resolve import resolve  # noqa: E402
from spacy_eat.types import Failure, Options, Sentence, Span, Text  # noqa: E402

from ..bert import tiny_bert  # noqa: E402

WORDS = ["anna", "bob", "rome", "met", "in", ".", "ab", "##c", "nhk", *"abcdefgh", *"安娜鲍勃罗马见在。，"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An encoder of three layers."""
    path = tmp_path_factory.mktemp("base")
    config = tiny_bert(path, WORDS, layers=3)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def settings(base):
    return Settings(
        base=base, layers=2, frozen_layers=1, width=4, max_length=16, reverse=0.5, reverse_none=-2.0
    )


@pytest.fixture(scope="module")
def weights(settings, tmp_path_factory):
    """The folder of a network that was never trained."""
    torch.manual_seed(0)
    _, network = build(settings)
    folder = tmp_path_factory.mktemp("weights")
    save(network, settings, folder)
    return str(folder)


def sentence(source, english, *names, lang="zh"):
    spans = [Span(english.index(name), english.index(name) + len(name), "X") for name in names]
    return Sentence(Text(source, lang), Text(english, "en"), spans)


MET = "在罗马安娜见鲍勃。", "anna met bob in rome."


def check(asked, options):
    """Options are what the protocol says."""
    assert len(options) == len(asked.entities)
    for one in options:
        places = [span.place for span in one.spans]
        assert len(set(places)) == len(places)
        assert all(0 <= start < end <= len(asked.source.string) for start, end in places)
        scores = [span.score for span in one.spans]
        assert scores == sorted(scores, reverse=True) and all(
            0 <= score <= 1 for score in [*scores, one.none]
        )


def test_scores_are_of_all_spans_and_none(settings):
    torch.manual_seed(0)
    tokenizer, network = build(settings)
    here, _ = read(network, tokenizer, ["anna met bob", "rome"], 16)
    there, _ = read(network, tokenizer, ["鲍勃见安娜", "罗马"], 16)
    scores = network(here, there, [0, 0, 1], [(0, 1), (2, 3), (0, 1)])
    assert scores.shape == (3, 1 + 5 * 4)
    possible = (scores > networks.IMPOSSIBLE / 2)[:, 1:].reshape(3, 5, 4)
    for row, pieces in zip(possible.tolist(), (5, 5, 2), strict=True):
        assert all(row[i][n - 1] == (i + n <= pieces) for i in range(5) for n in range(1, 5))
    # What stands beside a text in a batch changes nothing.
    alone = network(here.part([1]), there.part([1]), [0], [(0, 1)])
    assert torch.allclose(scores[2, :9], alone[0, :9], atol=1e-4)


def test_both_questions(settings):
    torch.manual_seed(0)
    tokenizer, network = build(settings)
    network.eval()
    here, _ = read(network, tokenizer, ["anna met bob"], 16)
    there, _ = read(network, tokenizer, ["鲍勃见安娜"], 16)
    with torch.inference_mode():
        (found,) = look(network, here, there, [0], [(2, 3)], most=5)
        forward = network(here, there, [0], [(2, 3)]).log_softmax(dim=1)[0]
        assert np.isclose(found.none, float(forward[0]))
        for (start, end), logprob, reverse in zip(
            found.spans.tolist(), found.logprobs, found.reverse, strict=True
        ):
            assert np.isclose(logprob, float(forward[1 + start * 4 + end - start - 1]))
            back = network(there, here, [0], [(start, end)]).log_softmax(dim=1)[0]
            assert np.isclose(reverse, float(back[1 + 2 * 4]), atol=1e-5)
    shares = found.shares(settings)
    assert np.isclose(np.exp(shares).sum(), 1)
    assert np.isclose(shares[1] - shares[0], found.logprobs[0] - found.none + 0.5 * (found.reverse[0] + 2.0))


def test_temperature_softens():
    found = Found(-3.0, np.array([[0, 1], [1, 2]]), np.array([-0.1, -4.0]), np.zeros(2))
    sharp, soft = (np.exp(found.shares(Settings(temperature=t))) for t in (1.0, 2.0))
    assert sharp[1] > soft[1] > 0.5 and soft[0] > sharp[0]


def test_options_for_every_entity(weights):
    asked = [
        sentence(*MET, "anna", "bob", "rome"),
        sentence("鲍勃。", "bob.", "bob"),
        sentence("安娜", "met"),
    ]
    together = EncoderAligner(weights)(asked)
    for one, options in zip(asked, together, strict=True):
        check(one, options)
        alone = EncoderAligner(weights, batch_size=1)([one])[0]
        for a, b in zip(options, alone, strict=True):
            assert [span.place for span in a.spans] == [span.place for span in b.spans]
            assert np.allclose([span.score for span in a.spans], [span.score for span in b.spans], atol=1e-4)
        resolve(one, options)
    assert together[2] == []


def scripted(aligner, monkeypatch, answers):
    """Have the network say of each entity, in order, what a test says: {place in the source: probability}."""

    def said(network, here, there, texts, entities, **_):
        found = []
        for _ in entities:
            given = next(answers)
            spans = np.array(list(given), dtype=int).reshape(-1, 2)
            none = 1 - sum(given.values())
            found.append(Found(np.log(none), spans, np.log(list(given.values())), np.zeros(len(spans))))
        return found

    answers = iter(answers)
    monkeypatch.setattr(networks, "look", said)
    return aligner


def test_the_same_words_share_their_probability(weights, monkeypatch):
    aligner = scripted(
        EncoderAligner(weights, reverse=False), monkeypatch, [{(0, 2): 0.5, (3, 5): 0.3, (5, 6): 0.1}]
    )
    asked = sentence("安娜见安娜在", "anna met anna in", "anna")
    ((options,),) = aligner([asked])
    assert [(span.place, round(span.score, 4)) for span in options.spans] == [
        ((0, 2), 0.8),
        ((3, 5), 0.8),
        ((5, 6), 0.1),
    ]
    assert options.none == pytest.approx(0.1)
    assert options.answers[0] == ("安娜", pytest.approx(np.log(0.8)))


def test_rules_of_all_aligners(weights, monkeypatch):
    # Commas are no part of a name, a word of letters is not cut, and what stands in the source is exact.
    source, english = "，安娜 abc。NHK", "anna bob NHK"
    answers = [{(0, 3): 0.6}, {(3, 5): 0.7}, {(0, 1): 0.9}]
    asked = sentence(source, english, "anna", "bob", "NHK")
    (options,) = scripted(EncoderAligner(weights, reverse=False), monkeypatch, answers)([asked])
    assert [[asked.source[span] for span in one.spans] for one in options] == [["安娜"], ["abc"], ["NHK"]]
    assert options[2].spans[0].score == 1.0
    bare = scripted(EncoderAligner(weights, reverse=False, rules=False), monkeypatch, answers)
    assert asked.source[bare([asked])[0][0].spans[0]] == "，安娜"


def test_long_texts_are_read_in_windows(weights):
    source, english = "在罗马安娜见鲍勃。" * 20, "anna met bob in rome. " * 20
    asked = Sentence(
        Text(source, "zh"), Text(english, "en"), [Span(0, 4), Span(len(english) - 6, len(english) - 2)]
    )
    (options,) = EncoderAligner(weights)([asked])
    check(asked, options)
    assert all(one.spans for one in options)


def test_the_other_side_is_read_in_its_language(weights):
    def options(other):
        asked = Sentence(Text("anna met bob", "en"), Text(other, "zh"), [Span(0, 2), Span(3, 5)])
        return [one.spans for one in EncoderAligner(weights)([asked])[0]]

    assert options("安娜見鮑勃") == options("安娜见鲍勃")


@pytest.mark.parametrize(
    "source, english, name",
    [
        ("", "anna met bob", "bob"),
        ("安娜", "\ud800", "\ud800"),
        ("\ud800安娜", "anna", "anna"),
        ("🙂", "anna", "anna"),
        ("安娜", "安娜见鲍勃", "鲍勃"),  # "English" in the wrong language
        ("  ", "anna", "anna"),
    ],
)
def test_bad_texts_fail_nobody(weights, source, english, name):
    asked = [sentence(source, english, name), sentence(*MET, "bob")]
    both = EncoderAligner(weights)(asked)
    for one, options in zip(asked, both, strict=True):
        check(one, options)
    assert both[1][0].spans


def test_a_failure_is_of_its_sentence(weights, monkeypatch):
    ask = networks.look

    def fails(network, here, there, texts, entities, **more):
        if here.counts.max() > 10:
            raise RuntimeError("out of memory")
        return ask(network, here, there, texts, entities, **more)

    monkeypatch.setattr(networks, "look", fails)
    asked = [sentence(*MET, "bob"), sentence(MET[0], MET[1] * 4, "bob"), sentence("鲍勃", "bob", "bob")]
    first, second, third = EncoderAligner(weights)(asked)
    assert isinstance(second, Failure) and str(second) == "RuntimeError: out of memory"
    check(asked[0], first)
    check(asked[2], third)


def test_weights_are_what_was_trained_and_in_half_precision(weights, settings):
    from safetensors.torch import load_file

    stored = load_file(f"{weights}/model.safetensors")
    layers = {int(name.split(".")[3]) for name in stored if name.startswith("encoder.")}
    assert layers == {1} and all(weight.dtype == torch.float16 for weight in stored.values())
    assert not any("embeddings" in name for name in stored)
    _, network, read_settings = load(networks.Path(weights))
    assert read_settings == settings
    assert torch.allclose(network.none.weight, stored["none.weight"].float())


def test_pieces_of_places():
    pieces = networks.Pieces(*(np.array(column) for column in ([0, 2, 5], [2, 4, 6], [0] * 3, [1, 2, 3])))
    assert pieces_of(pieces, 0, 2) == (0, 1) and pieces_of(pieces, 1, 6) == (0, 3)
    assert pieces_of(pieces, 4, 5) is None and pieces_of(pieces, 3, 4) == (1, 2)


def test_nothing_is_loaded_before_it_is_needed(weights):
    aligner = make_encoder_aligner("/no/such/folder")
    assert aligner([Sentence(Text("安娜"), Text("anna"), [])]) == [[]]
    with pytest.raises(
        ValueError, match=r"(?s)no entity aligner in /no/such/folder.*`weights`.*tune-aligner"
    ):
        aligner([sentence(*MET, "bob")])
    loaded = EncoderAligner(weights)
    loaded([sentence(*MET, "bob")])
    assert pickle.loads(pickle.dumps(loaded))._loaded is None


def test_weights_of_another_encoder_and_no_fast_tokenizer(weights, base, tmp_path):
    import json
    import shutil

    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["frozen_layers"] = 0
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="do not fit the encoder"):
        load(folder)
    config["layers"] = 9
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"has 3 layers.*`layers`"):
        load(folder)
    config["base"] = "/no/such/encoder"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)/no/such/encoder.*`base` of the entity aligner"):
        load(folder)


def test_registry_and_settings(weights):
    make = spacy.registry.misc.get("spacy_eat.EncoderAligner.v1")
    assert make().weights == FOLDER and make(weights=weights).batch_size == 32
    with pytest.raises(ValueError, match="batch_size = 0"):
        make(batch_size=0)


def test_in_a_pipeline(weights, english):
    nlp = spacy.blank("zh")
    config = {
        "aligner": {"@misc": "spacy_eat.EncoderAligner.v1", "weights": weights},
        "tagger": {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)},
        "min_score": 0.0,
    }
    nlp.add_pipe("eat_entity_aligner", config=config)
    doc = nlp.make_doc("NHK在京都。")
    doc._.eat_translation = "NHK is in Kyoto."
    doc = nlp(doc)
    assert ("NHK", "ORG") in [(ent.text, ent.label_) for ent in doc.ents]
    assert doc._.eat["sentences"][0]["status"] == "aligned" and not doc._.eat["sentences"][0]["requests"]


@pytest.mark.model
def test_the_weights_that_ship():
    asked = sentence(
        "聯想集團由柳傳志於1984年創立，總部位於北京。",
        "Lenovo Group was founded by Liu Chuanzhi in 1984, with headquarters in Beijing.",
        "Lenovo Group",
        "Beijing",
        "Liu Chuanzhi",
    )
    (options,) = EncoderAligner()([asked])
    assert [asked.source[one.spans[0]] for one in options] == ["聯想集團", "北京", "柳傳志"]
    assert all(isinstance(one, Options) and one.spans[0].score > 0.5 for one in options)
