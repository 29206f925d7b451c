"""`spacy_eat.Encoder.v1`: a multilingual encoder, for what compares vectors of words across languages."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..optional import require
from ..types import Text
from ..weights.e5 import EXTRA, ONLINE, encoder_dir
from .pieces import readable, split, tensors
from .trained import load_trained, read_base

EMBEDDED = "embedded"
PURPOSE = "An encoder"


@dataclass
class Vectors:
    """A text's word pieces and their vectors.

    starts, ends (ndarray): Characters of the text, half open, shape (pieces,).
    vectors (ndarray): Shape (pieces, hidden), float32.
    """

    starts: np.ndarray
    ends: np.ndarray
    vectors: np.ndarray

    def directions(self) -> np.ndarray:
        """RETURNS (ndarray): The vectors less their mean in the text, of length 1, shape (pieces, hidden)."""
        centred = (
            self.vectors - self.vectors.mean(axis=0, keepdims=True) if len(self.vectors) else self.vectors
        )
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


class Encoder:
    """A pretrained encoder. Its weights are loaded when the first text is read."""

    def __init__(
        self,
        name: str = EMBEDDED,
        *,
        layer: int | None = None,
        max_length: int = 256,
        batch_size: int = 32,
        cache_size: int = 1024,
    ) -> None:
        """
        name (str): "embedded" for multilingual-e5-small as the extra `encoder` brings it, the name or folder
            of an encoder of Hugging Face's, with safetensors weights and a fast tokenizer, or the folder of
            one that `tune-aligner` tuned.
        layer (Optional[int]): The layer whose output is taken: 0 for the embeddings, None for the last, or
            for that which was tuned. Those above it are not loaded.
        max_length (int): Word pieces that are read together. Longer texts are read in windows that overlap
            by a quarter.
        batch_size (int): Windows that are read at once.
        cache_size (int): Texts whose vectors are kept, for the next who asks.
        """
        self.name = name
        self.layer = layer
        self.max_length = max_length
        self.batch_size = batch_size
        self.cache_size = cache_size
        self._known: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._loaded: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights and vectors do not travel: another process makes its own.
        return {**self.__dict__, "_loaded": None, "_known": OrderedDict()}

    def __call__(self, texts: Sequence[Text]) -> list[Vectors]:
        """Read texts.

        texts (Sequence[Text]): The texts. Chinese ones are read in simplified characters.
        RETURNS (List[Vectors]): For each text its pieces.
        RAISES (ImportError): The extra `encoder` is not installed.
        RAISES (ValueError): The encoder cannot be loaded.
        """
        keys = [(text.string, text.lang) for text in texts]
        found = {key: self._known[key] for key in keys if key in self._known}
        unknown = sorted(set(keys) - set(found), key=lambda key: (len(key[0]), key))
        for start in range(0, len(unknown), self.batch_size):
            batch = unknown[start : start + self.batch_size]
            found.update(zip(batch, self._read([readable(*key) for key in batch]), strict=True))
        for key in keys:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        while len(self._known) > self.cache_size:
            self._known.popitem(last=False)
        return [found[key] for key in keys]

    def _read(self, texts: Sequence[str]) -> list[Vectors]:
        import torch

        if self._loaded is None:
            self._loaded = self._load()
        tokenizer, module = self._loaded
        inputs, pieces = split(texts, tokenizer, self.max_length)
        windows = []
        with torch.inference_mode():
            for start in range(0, len(inputs["input_ids"]), self.batch_size):
                part = {name: rows[start : start + self.batch_size] for name, rows in inputs.items()}
                windows.append(module(**tensors(part, module.device)).last_hidden_state)
        vectors = torch.cat(windows).float().cpu().numpy()
        return [Vectors(p.starts, p.ends, vectors[p.rows, p.columns]) for p in pieces]

    def _load(self) -> tuple[Any, Any]:
        """The tokenizer, and the torch module up to the layer."""
        tokenizer, module = load_encoder(self.name, self.layer, "`name` of the encoder")
        return tokenizer, module.eval()


def load_encoder(name: str, layer: int | None, setting: str) -> tuple[Any, Any]:
    """Load an encoder, safetensors only, without remote code.

    name (str), layer (Optional[int]): As of `Encoder`.
    setting (str): What to change where it can't be loaded.
    RETURNS (Tuple[PreTrainedTokenizerFast, PreTrainedModel]): The tokenizer, and the module up to the layer.
    RAISES (ImportError): The extra `encoder` is not installed.
    RAISES (ValueError): It cannot be loaded, or has no such layer.
    """
    transformers = require_transformers(PURPOSE)
    try:
        base = read_base(name)
        if base is not None:
            if layer not in (None, base.layers):
                raise ValueError(f"it was tuned for its layer {base.layers}, not {layer}")
            tokenizer, module = load_encoder(base.base, base.layers, setting)
            load_trained(module, Path(name))
            return tokenizer, module
        folder = encoder_folder(name)
        config = transformers.AutoConfig.from_pretrained(folder)
        if layer is not None:
            if not 0 <= layer <= config.num_hidden_layers:
                raise ValueError(
                    f"it has {config.num_hidden_layers} layers, and `layers` or `layer` is {layer}"
                )
            config.num_hidden_layers = layer
        tokenizer = load_tokenizer(folder)
        with quiet():
            module = transformers.AutoModel.from_pretrained(
                folder, config=config, use_safetensors=True, torch_dtype="float32"
            )
    except (OSError, ValueError) as error:
        raise cannot_load(name, str(error), setting) from error
    return tokenizer, module


def load_layers(name: str, layers: int, frozen: int, setting: str) -> tuple[Any, Any]:
    """Load an encoder whose upper layers are to be trained.

    name, layers, setting: As of `load_encoder`.
    frozen (int): How many of the layers, from below, stay as they are, with all embeddings.
    RETURNS (Tuple[PreTrainedTokenizerFast, PreTrainedModel]): The tokenizer and the module.
    RAISES (ImportError): The extra `encoder` is not installed.
    RAISES (ValueError): It cannot be loaded, or has no such layers.
    """
    from torch.nn import ModuleList

    if not 0 <= frozen < layers:
        raise ValueError(f"`frozen_layers` is {frozen}, and of the encoder '{name}' {layers} layers are used")
    tokenizer, module = load_encoder(name, layers, setting)
    module.requires_grad_(False)
    stack = next(part for part in module.modules() if isinstance(part, ModuleList))
    for layer in stack[frozen:]:
        layer.requires_grad_(True)
    return tokenizer, module


def require_transformers(purpose: str) -> Any:
    """RETURNS (ModuleType): transformers, once torch is there too.
    RAISES (ImportError): The extra `encoder` is not installed."""
    require("torch", extra=EXTRA, purpose=purpose)
    return require("transformers", extra=EXTRA, purpose=purpose)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings of weights that a file lacks, where that is as it should be: a pooler
    that nobody asks, a head that is yet to be trained."""
    logging = require_transformers(PURPOSE).logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def encoder_folder(name: str) -> str:
    """RETURNS (str): What `from_pretrained` takes for an encoder's name: the same, or a folder for
    "embedded"."""
    return str(encoder_dir()) if name == EMBEDDED else name


def load_tokenizer(folder: str) -> Any:
    """RETURNS (PreTrainedTokenizerFast): The tokenizer in a folder or on the hub.
    RAISES (ValueError): It is not a fast one, and so can't say where its pieces are in the text."""
    transformers = require_transformers(PURPOSE)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True)
    if not tokenizer.is_fast:
        raise ValueError("it has no fast tokenizer (a tokenizer.json), which tells where its pieces stand")
    return tokenizer


def cannot_load(name: str, reason: str, setting: str) -> ValueError:
    """RETURNS (ValueError): Says that an encoder can't be loaded, why, and what to set instead."""
    return ValueError(
        f"The encoder '{name}' cannot be loaded: {reason}\nGive {setting} the name of a model on the Hugging"
        f" Face Hub, such as '{ONLINE}', or, without a network, '{EMBEDDED}', or the path of a folder with"
        " config.json, model.safetensors and tokenizer.json."
    )


def make_encoder(
    name: str = EMBEDDED,
    layer: int | None = None,
    max_length: int = 256,
    batch_size: int = 32,
    cache_size: int = 1024,
) -> Encoder:
    """`spacy_eat.Encoder.v1` (misc): a multilingual encoder. Arguments as of `Encoder`."""
    return Encoder(name, layer=layer, max_length=max_length, batch_size=batch_size, cache_size=cache_size)
