"""An encoder in 8 bits, by CTranslate2: some three times as fast on a CPU, and only for reading."""

from collections.abc import Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..optional import require

TYPES = ("bert", "roberta", "xlm-roberta")  # what Hugging Face calls the encoders that can be converted


class QuantizedEncoder:
    """The layers of a BERT or RoBERTa, with weights of 8 bits. On the CPU; as many threads as
    OMP_NUM_THREADS says, at most four without it."""

    def __init__(self, base: Any) -> None:
        """
        base (PreTrainedModel): The encoder, without a head. It can go afterwards.
        RAISES (ValueError): It is of another kind.
        RAISES (ImportError): CTranslate2 is not installed.
        """
        load = partial(require, extra="ctranslate2", purpose="An encoder in 8 bits")
        ctranslate2 = load("ctranslate2")
        kind = base.config.model_type
        if kind not in TYPES:
            raise ValueError(
                f"CTranslate2 reads encoders of the types {', '.join(TYPES)}, and this one is a {kind!r}: use"
                ' `runtime = "torch"`.'
            )
        spec = _spec(load("ctranslate2.specs"), base)
        spec.register_vocabulary([str(i) for i in range(base.config.vocab_size)])  # it is given numbers alone
        spec.config.layer_norm_epsilon = base.config.layer_norm_eps
        spec.config.unk_token = "0"
        spec.validate()
        spec.optimize(quantization="int8")
        with TemporaryDirectory() as folder:
            spec.save(folder)
            self._encoder = ctranslate2.Encoder(folder, device="cpu", compute_type="int8")

    def __call__(
        self, identifiers: Sequence[list[int]], types: Sequence[list[int]] | None = None
    ) -> np.ndarray:
        """Read windows of pieces.

        identifiers (Sequence[List[int]]): The pieces of each window, without padding.
        types (Optional[Sequence[List[int]]]): Their token types, zeros if there are none.
        RETURNS (ndarray): The vectors of the last layer, shape (windows, most pieces, width).
        """
        types = types or [[0] * len(own) for own in identifiers]
        read = self._encoder.forward_batch(identifiers, token_type_ids=types)
        return np.array(read.last_hidden_state)


def _spec(specs: Any, base: Any) -> Any:
    """RETURNS (TransformerEncoderModelSpec): An encoder, as CTranslate2 describes it."""
    config, embeddings = base.config, base.embeddings
    activations = {"gelu": specs.Activation.GELU, "relu": specs.Activation.RELU}
    if config.hidden_act not in activations:
        raise ValueError(
            f'CTranslate2 does not know the activation {config.hidden_act!r}: `runtime = "torch"`.'
        )
    encoder = specs.TransformerEncoderSpec(
        config.num_hidden_layers,
        config.num_attention_heads,
        pre_norm=False,
        activation=activations[config.hidden_act],
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=specs.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = _array(embeddings.word_embeddings.weight)
    encoder.embeddings[1].weight = _array(embeddings.token_type_embeddings.weight)
    # RoBERTa's positions begin after that of padding.
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    encoder.position_encodings.encodings = _array(embeddings.position_embeddings.weight)[first:]
    _norm(encoder.layernorm_embedding, embeddings.LayerNorm)
    for target, layer in zip(encoder.layer, base.encoder.layer, strict=True):
        attention, own = target.self_attention, layer.attention.self
        parts = (own.query, own.key, own.value)
        attention.linear[0].weight = np.concatenate([_array(part.weight) for part in parts])
        attention.linear[0].bias = np.concatenate([_array(part.bias) for part in parts])
        _linear(attention.linear[1], layer.attention.output.dense)
        _norm(attention.layer_norm, layer.attention.output.LayerNorm)
        _linear(target.ffn.linear_0, layer.intermediate.dense)
        _linear(target.ffn.linear_1, layer.output.dense)
        _norm(target.ffn.layer_norm, layer.output.LayerNorm)
    return specs.TransformerEncoderModelSpec(encoder)


def _linear(target: Any, layer: Any) -> None:
    target.weight, target.bias = _array(layer.weight), _array(layer.bias)


def _norm(target: Any, layer: Any) -> None:
    target.gamma, target.beta = _array(layer.weight), _array(layer.bias)


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().float().cpu())  # a copy: what is quantized is changed in place
