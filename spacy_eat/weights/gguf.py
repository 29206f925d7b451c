"""The weights and the vocabulary in a GGUF file, made into what transformers loads.

transformers reads Gemma 3 weights from GGUF correctly, but builds a unigram
tokenizer from a BPE vocabulary: "Chinese" becomes Ch|ine|se. Here the merges
are recovered from the scores, as SentencePiece itself applies them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .adapters import merge_lora

if TYPE_CHECKING:  # torch and transformers take seconds to import
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

# Raise it when the same files would be converted to something else.
CONVERTER_VERSION = 1

# GGUF token types
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def convert_gguf(path: str | Path, output_dir: str | Path, adapter: str | Path | None = None) -> None:
    """Write the model in a GGUF file as a folder for `AutoModelForCausalLM.from_pretrained`
    and `PreTrainedTokenizerFast.from_pretrained`: bfloat16 safetensors, config
    and tokenizer. Takes most of a minute for 270M parameters.

    path (Union[str, Path]): The GGUF file.
    output_dir (Union[str, Path]): Where to write, created if needed.
    adapter (Optional[Union[str, Path]]): Folder of a LoRA adapter in peft's
        form, to be merged into the weights.
    RAISES (ImportError): If gguf or accelerate is not installed.
    RAISES (ValueError): If the adapter can't be merged into this model.
    """
    import accelerate  # noqa: F401  (transformers reads GGUF files with it, and raises another error without)
    import torch
    from transformers import AutoModelForCausalLM

    path, output_dir = Path(path), Path(output_dir)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, torch_dtype=torch.float32)
    if adapter is not None:
        merge_lora(model, adapter)
    _plain(model.to(torch.bfloat16)).save_pretrained(output_dir)
    tokenizer: Any = read_tokenizer(path)
    tokenizer.save_pretrained(output_dir)


def _plain(model: Any) -> Any:
    """RETURNS (PreTrainedModel): A model with the same weights, that transformers does not take for a
    quantised one (of which transformers 5 saves none)."""
    import torch

    config = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    with torch.device("meta"):  # nothing is allocated
        plain = type(model)(type(model.config).from_dict(config))
    plain.load_state_dict(model.state_dict(), assign=True)
    return plain


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
