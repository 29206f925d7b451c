"""A token classifier in 8 bits, by CTranslate2: some three times as fast on a CPU, without PyTorch and
transformers, and only for reading."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from os import getpid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from ..optional import require
from .encoder import encoder_folder
from .trained import CONFIG, WEIGHTS, of_another_encoder

TOKENIZER = "tokenizer.json"
# What Hugging Face calls the encoders that can be converted, and how the names of their weights begin.
PREFIXES = {"bert": "bert.", "roberta": "roberta.", "xlm-roberta": "roberta."}
HEAD = "classifier."

_require = partial(require, extra="light", purpose="An encoder in 8 bits")
# Encoders of a process that this one was forked from, and their folders. An encoder's threads are not here:
# to let go of it is to wait for them, for ever.
_LEFT: list[Any] = []


@dataclass(frozen=True)
class LightTokenizer:
    """What `spacy_eat.encoders.split` asks of a tokenizer, without transformers.

    backend_tokenizer (Tokenizer): The tokenizer, as the package `tokenizers` has it.
    """

    backend_tokenizer: Any
    pad_token_id: ClassVar[int] = 0  # any: CTranslate2 is given windows without padding
    model_input_names: ClassVar[Sequence[str]] = ("input_ids", "token_type_ids", "attention_mask")

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """RETURNS (Optional[int]): A piece's number, or that of the unknown one; None if there is none."""
        number: int | None = self.backend_tokenizer.token_to_id(token)
        unknown = getattr(self.backend_tokenizer.model, "unk_token", None)
        return self.backend_tokenizer.token_to_id(unknown) if number is None and unknown else number


class QuantizedClassifier:
    """A classification head on the layers of a BERT or RoBERTa, which have weights of 8 bits. On the CPU; as
    many threads as OMP_NUM_THREADS says, at most four without it, and one in the workers of `nlp.pipe`.

    folder (Path): What it was read from. It is read again in processes that are forked from this one.
    held (Optional[TemporaryDirectory]): The folder, where it goes with the classifier.
    tokenizer (LightTokenizer): The tokenizer.
    """

    def __init__(self, folder: Path, base: str = "", held: TemporaryDirectory[str] | None = None) -> None:
        """
        folder (Path): A token classifier of Hugging Face's: config.json, model.safetensors and
            tokenizer.json; with a base only the weights, which may be those that differ from it.
        base (str): The encoder that all the rest is taken from, as of `encoder_folder`; "" for none.
        held (Optional[TemporaryDirectory]): The folder, if it is to go with the classifier.
        RAISES (OSError): A file is missing.
        RAISES (ValueError): It is of another kind, or weights are missing.
        RAISES (ImportError): The extra `light` is not installed.
        """
        self.folder = folder
        self.held = held
        self._base = base
        self._encoder: Any = None
        self._process = getpid()
        self._load()

    def __reduce__(self) -> Any:
        files = {file.name: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}
        return _from_files, (files, self._base)

    def __del__(self) -> None:
        if self._is_of_parent:
            self._leave()
        elif self.held is not None:
            self.held.cleanup()

    @property
    def tags(self) -> int:
        """RETURNS (int): How many it tells apart."""
        return len(self._bias)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Read windows of pieces.

        inputs (Mapping[str, ndarray]): As of `spacy_eat.encoders.split`.
        RETURNS (ndarray): Scores of the tags before the softmax, shape (windows, most pieces, tags).
        """
        if self._is_of_parent:
            self._leave()
            self._load()
        identifiers = inputs["input_ids"]
        lengths = inputs["attention_mask"].sum(axis=1)
        rows, types = (
            [row[:length].tolist() for row, length in zip(values, lengths, strict=True)]
            for values in (identifiers, inputs.get("token_type_ids", np.zeros_like(identifiers)))
        )
        read = self._encoder.forward_batch(rows, token_type_ids=types)
        return np.asarray(np.array(read.last_hidden_state) @ self._weight.T + self._bias)

    def to_disk(self, path: Path) -> None:
        """Write the files that it was read from."""
        if not (path.exists() and path.samefile(self.folder)):
            shutil.copytree(self.folder, path, dirs_exist_ok=True)

    def _load(self) -> None:
        ctranslate2, specs = _require("ctranslate2"), _require("ctranslate2.specs")
        folder = Path(encoder_folder(self._base)) if self._base else self.folder
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self.tokenizer = LightTokenizer(_tokenizer(folder / TOKENIZER))
        kind = config.get("model_type")
        if kind not in PREFIXES:
            raise ValueError(
                f"CTranslate2 reads encoders of the types {', '.join(PREFIXES)}, and this one is a {kind!r}:"
                ' use `runtime = "torch"`.'
            )
        weights = _weights(folder / WEIGHTS, PREFIXES[kind])
        if self._base:
            trained = _weights(self.folder / WEIGHTS, PREFIXES[kind])
            shapes = {name: weight.shape for name, weight in weights.items()}
            wrong = [n for n, w in trained.items() if not n.startswith(HEAD) and shapes.get(n) != w.shape]
            if wrong:
                raise of_another_encoder(self.folder, wrong)
            weights.update(trained)
        try:
            self._weight, self._bias = (weights[HEAD + part] for part in ("weight", "bias"))
            spec = _spec(specs, config, weights)
        except KeyError as error:
            raise ValueError(f"the weights {error} are missing") from error
        vocabulary = len(weights["embeddings.word_embeddings.weight"])
        del weights  # so that each goes once it is quantized
        spec.register_vocabulary([str(i) for i in range(vocabulary)])  # it is given numbers alone
        spec.config.layer_norm_epsilon = config.get("layer_norm_eps", 1e-12)
        spec.config.unk_token = "0"
        spec.validate()
        spec.optimize(quantization="int8")
        threads = 1 if parent_process() else 0  # a worker that was forked has none of its parent's
        with TemporaryDirectory() as converted:
            spec.save(converted)
            self._encoder = ctranslate2.Encoder(
                converted, device="cpu", compute_type="int8", intra_threads=threads
            )
        self._process = getpid()

    @property
    def _is_of_parent(self) -> bool:
        return self._process != getpid()

    def _leave(self) -> None:
        """Let the parent keep what is its own."""
        _LEFT.append((self._encoder, self.held))
        self.held = None


def _from_files(files: Mapping[str, bytes], base: str) -> QuantizedClassifier:
    """RETURNS (QuantizedClassifier): What was pickled."""
    held = TemporaryDirectory()
    for name, content in files.items():
        Path(held.name, name).write_bytes(content)
    return QuantizedClassifier(Path(held.name), base, held)


def _tokenizer(file: Path) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}")
    return _require("tokenizers").Tokenizer.from_file(str(file))


def _weights(file: Path, prefix: str) -> dict[str, np.ndarray]:
    """RETURNS (Dict[str, ndarray]): The weights of an encoder under its own names, and those of its head, in
    fp32."""
    # One by one, which takes half the memory of all at once.
    with _require("safetensors").safe_open(file, framework="np") as read:
        return {
            name.removeprefix(prefix): read.get_tensor(name).astype("float32", copy=False)
            for name in read.keys()  # noqa: SIM118
        }


def _spec(specs: Any, config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Any:
    """RETURNS (TransformerEncoderModelSpec): An encoder, as CTranslate2 describes it.
    RAISES (KeyError): A weight is missing."""
    activation = config.get("hidden_act", "gelu")
    activations = {"gelu": specs.Activation.GELU, "relu": specs.Activation.RELU}
    if activation not in activations:
        raise ValueError(f'CTranslate2 does not know the activation {activation!r}: use `runtime = "torch"`.')

    def linear(target: Any, *names: str) -> None:  # of several, one
        for kind in ("weight", "bias"):
            setattr(target, kind, np.concatenate([weights[f"{name}.{kind}"] for name in names]))

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = (weights[f"{name}.{kind}"] for kind in ("weight", "bias"))

    encoder = specs.TransformerEncoderSpec(
        config["num_hidden_layers"],
        config["num_attention_heads"],
        pre_norm=False,
        activation=activations[activation],
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=specs.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights["embeddings.word_embeddings.weight"]
    encoder.embeddings[1].weight = weights["embeddings.token_type_embeddings.weight"]
    # RoBERTa's positions begin after that of padding.
    first = 0 if config["model_type"] == "bert" else config.get("pad_token_id", 1) + 1
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"][first:]
    norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for i, layer in enumerate(encoder.layer):
        attention, own = layer.self_attention, f"encoder.layer.{i}"
        linear(attention.linear[0], *(f"{own}.attention.self.{part}" for part in ("query", "key", "value")))
        linear(attention.linear[1], f"{own}.attention.output.dense")
        norm(attention.layer_norm, f"{own}.attention.output.LayerNorm")
        linear(layer.ffn.linear_0, f"{own}.intermediate.dense")
        linear(layer.ffn.linear_1, f"{own}.output.dense")
        norm(layer.ffn.layer_norm, f"{own}.output.LayerNorm")
    return specs.TransformerEncoderModelSpec(encoder)
