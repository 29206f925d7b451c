"""The weights and the vocabulary in a GGUF file, made into what transformers loads.

transformers reads Gemma 3 weights from GGUF correctly, but builds a unigram
tokenizer from a BPE vocabulary: "Chinese" becomes Ch|ine|se. Here the merges
are recovered from the scores, as SentencePiece itself applies them.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch and transformers take seconds to import
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# Raise it when the same files would be converted to something else.
CONVERTER_VERSION = 1

# GGUF token types
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

LORA_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def convert_gguf(path: str | Path, output_dir: str | Path, adapter: str | Path | None = None) -> None:
    """Write the model in a GGUF file as a folder for `AutoModelForCausalLM.from_pretrained`
    and `PreTrainedTokenizerFast.from_pretrained`: bfloat16 safetensors, config
    and tokenizer. Takes most of a minute for 270M parameters.

    path (Union[str, Path]): The GGUF file.
    output_dir (Union[str, Path]): Where to write, created if needed.
    adapter (Optional[Union[str, Path]]): Folder of a LoRA adapter in peft's
        form, to be merged into the weights.
    RAISES (ValueError): If the adapter can't be merged into this model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    path, output_dir = Path(path), Path(output_dir)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, torch_dtype=torch.float32)
    if adapter is not None:
        merge_lora(model, adapter)
    model.to(torch.bfloat16).save_pretrained(output_dir)
    tokenizer: Any = read_tokenizer(path)
    tokenizer.save_pretrained(output_dir)


def read_tokenizer(path: str | Path) -> "PreTrainedTokenizerFast":
    """The tokenizer of a GGUF file with a SentencePiece BPE vocabulary (`tokenizer.ggml.model` "llama").

    Control tokens are never read from text: "<eos>" in a source sentence stays text.

    path (Union[str, Path]): The GGUF file.
    RETURNS (PreTrainedTokenizerFast): The tokenizer; it puts BOS first.
    RAISES (ValueError): If the vocabulary is of another kind.
    """
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(path).fields

    def read(name: str) -> Any:
        field = fields.get(f"tokenizer.ggml.{name}")
        if field is None:
            raise ValueError(f"{path} has no tokenizer.ggml.{name}")
        return field.contents()

    if read("model") != "llama":
        raise ValueError(f"{path} has a tokenizer of kind '{read('model')}', not a SentencePiece BPE one")
    tokens: list[str] = read("tokens")
    special = {
        f"{name}_token": tokens[read(f"{key}_token_id")]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    tokenizer = build_tokenizer(
        tokens, read("scores"), read("token_type"), unk=special["unk_token"], bos=special["bos_token"]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        padding_side="left",
        **special,
    )


def build_tokenizer(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int], *, unk: str, bos: str
) -> "Tokenizer":
    """A BPE tokenizer that merges as SentencePiece does: again and again the
    two neighbours whose concatenation has the highest score.

    tokens (Sequence[str]): The vocabulary, by id.
    scores (Sequence[float]): The score of each token.
    types (Sequence[int]): The GGUF token type of each.
    unk, bos (str): The unknown token, and the one that begins every text.
    RETURNS (Tokenizer): The tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    # Runs of spaces are stored as they are; everything else has "▁" for a space.
    vocab = {token.replace(" ", "▁"): number for number, token in enumerate(tokens)}
    normal = {t: s for t, s, kind in zip(tokens, scores, types, strict=True) if kind == NORMAL}
    by_score = sorted(normal, key=lambda token: -normal[token])
    merges = [pair for token in by_score if (pair := last_merge(token, normal)) is not None]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges,
            unk_token=unk,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab[bos])]
    )
    # User-defined tokens (runs of white space, HTML tags) are matched first, the longest first.
    tokenizer.add_tokens(
        [
            AddedToken(token.replace(" ", "▁"), normalized=True)
            for token, kind in zip(tokens, types, strict=True)
            if kind == USER_DEFINED
        ]
    )
    return tokenizer


def last_merge(token: str, scores: Mapping[str, float]) -> tuple[str, str] | None:
    """The two parts that a token is merged from in the end. Where it stands in
    a longer text its parts are the same: its characters are merged in the same
    order as if they stood alone, else not to this token. So one merge for each
    token is enough, of the several into which it can be cut.

    token (str): The token.
    scores (Mapping[str, float]): Scores of all tokens that merges can make.
    RETURNS (Optional[Tuple[str, str]]): None for a single character, and for a
        token that no merges lead to.
    """
    parts = list(token)
    while len(parts) > 1:
        score, place = max(
            (scores.get(parts[i] + parts[i + 1], -math.inf), -i) for i in range(len(parts) - 1)
        )
        if score == -math.inf:
            return None
        if len(parts) == 2:
            return parts[0], parts[1]
        parts[-place : 2 - place] = ["".join(parts[-place : 2 - place])]
    return None


def merge_lora(model: Any, adapter: str | Path) -> None:
    """Add a LoRA adapter's weights to a model's, in place: `W += scale * B @ A`
    (Hu et al., arXiv 2106.09685, section 4.1).

    model (PreTrainedModel): The model, in float32.
    adapter (Union[str, Path]): Folder with peft's adapter_config.json and
        adapter_model.safetensors.
    RAISES (ValueError): If the adapter is not a plain LoRA, lacks a file, or
        does not fit the model. That it was tuned from these very weights can't
        be told from its shapes.
    """
    from safetensors.torch import load_file

    adapter = Path(adapter)
    config_path, weights_path = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    for required in (config_path, weights_path):
        if not required.is_file():
            raise ValueError(f"The adapter {adapter} has no {required.name}")
    config = json.loads(config_path.read_text(encoding="utf-8"))
    unsupported = [
        name
        for name in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
        if config.get(name)
    ]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or unsupported:
        raise ValueError(
            f"The adapter {adapter} is no plain LoRA adapter "
            f"(peft_type {config.get('peft_type')}, bias {config.get('bias')}, {', '.join(unsupported)})"
        )
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(weights_path).items():
        match = LORA_KEY.fullmatch(key)
        if match is None:
            raise ValueError(f"The adapter {adapter} has a weight that is not LoRA's: {key}")
        pairs.setdefault(match["module"], {})[match["side"]] = tensor.float()
    parameters: Mapping[str, torch.nn.Parameter] = dict(model.named_parameters())
    for module, pair in pairs.items():
        weight = parameters.get(f"{module}.weight")
        if weight is None or pair.keys() != {"A", "B"}:
            raise ValueError(
                f"The adapter {adapter} belongs to another base model: there is no {module} here"
            )
        if (pair["B"].shape[0], pair["A"].shape[1]) != tuple(weight.shape):
            raise ValueError(
                f"The adapter {adapter} belongs to another base model: {module} is "
                f"{tuple(weight.shape)} here, {(pair['B'].shape[0], pair['A'].shape[1])} there"
            )
        weight.data += scale * (pair["B"] @ pair["A"])
