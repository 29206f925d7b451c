"""The LLM that comes with the package: Gemma 3 270M (base), with this package's adapter, run by torch."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from ..optional import require
from ..weights.gemma import BASE, EXTRA, TITLE, find_adapter, model_dir, model_key
from .cache import RequestCache
from .local import Engine, EngineSettings, LocalBackend

CONTEXT = 4096  # most tokens of a prompt; a model of this size makes little of longer ones
LONGEST_ANSWER = 256  # tokens; to prompts that have no form for completions

Dtype = Literal["auto", "bfloat16", "float32"]


def make_embedded(
    adapter: str | None = "default",
    beam_width: int = 6,
    check_weight: float = 0.4,
    draft: bool = True,
    batch_size: int = 32,
    max_batch_tokens: int = 4096,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: int | None = 1,
    cache: str | None = None,
    cache_size_mb: float = 1024,
    prior_weight: float | None = None,
) -> LocalBackend:
    """`spacy_eat.Embedded.v1`: the LLM that comes with the extra `embedded`.
    It is prepared and loaded at the first prompt.

    adapter (Optional[str]): LoRA adapter that is merged into the weights: "default" for the one of this
        package, None for none, a folder in peft's form, or an installed package that has one.
    beam_width (int): Answers found for each name.
    check_weight (float): Answers that are about as likely are asked the other way round, what their English
        is; how much of that log-probability is added to their scores. 0.0 for none. Without an adapter there
        is none.
    draft (bool): Whether the names of a text are found first, and it is translated with them in mind. Without
        an adapter they are not.
    batch_size (int): Texts translated, or names looked for, at once.
    max_batch_tokens (int): About the most tokens computed in one step.
    device (str): A device of torch's, such as "cpu" or "cuda:1". "auto": a CUDA GPU where there is one, else
        the CPU.
    dtype (str): "bfloat16", "float32", or "auto" for what the device is made for.
    threads (Optional[int]): CPU threads while this model computes; None for those of torch. Threads wait for
        each other actively: where other processes want the same cores, two were 5 times as slow as one. On a
        machine with idle cores more are faster, and `nlp.pipe(n_process=...)` is another way to use them.
    cache (Optional[str]): File of the request cache, "auto" for one in the user's cache folder, None for no
        cache.
    cache_size_mb (float): Its size bound in megabytes.
    prior_weight (Optional[float]): No longer there; anything but None and 0.0 is an error that says so.
    RETURNS (LocalBackend): The backend.
    RAISES (ValueError): A setting is out of its range, or there is no such adapter.
    """
    check_gone(prior_weight)
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype = {dtype!r} is none of {', '.join(get_args(Dtype))}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads = {threads} is too small")
    if max_batch_tokens < 1:
        raise ValueError(f"max_batch_tokens = {max_batch_tokens} is too small")
    folder = find_adapter(adapter)
    return LocalBackend(
        EmbeddedModel(folder, device, dtype, threads),
        tuned=folder is not None,
        draft=draft,
        check_weight=check_weight,
        beam_width=beam_width,
        max_tokens=LONGEST_ANSWER,
        longest=CONTEXT,
        batch_size=batch_size,
        batch_tokens=max_batch_tokens,
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


def check_gone(prior_weight: float | None) -> None:
    """RAISES (ValueError): A config of spacy-eat 0.1 wants what is no longer there."""
    if prior_weight:
        raise ValueError(
            f"prior_weight = {prior_weight}: this setting is gone since spacy-eat 0.2, take it out"
        )


@dataclass(frozen=True)
class EmbeddedModel:
    """The embedded LLM, as it is loaded. The arguments are those of `make_embedded`."""

    adapter: Path | None
    device: str
    dtype: str
    threads: int | None

    @property
    def identity(self) -> dict[str, Any]:
        return {"model": f"{BASE}-{model_key(self.adapter)}", "dtype": self.dtype}

    def load(self, settings: EngineSettings) -> Engine:
        transformers = require("transformers", extra=EXTRA, purpose=TITLE)
        require("torch", extra=EXTRA, purpose=TITLE)
        from .torch_engine import TorchEngine

        folder = model_dir(self.adapter)
        return TorchEngine(
            folder,
            settings,
            tokenizer=partial(transformers.PreTrainedTokenizerFast.from_pretrained, folder),
            dtype=self.dtype,
            device=self.device,
            threads=self.threads,
        )
