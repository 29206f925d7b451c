"""Any causal language model of transformers, run in this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..optional import require
from ..weights.adapters import ADAPTER_FILES, adapter_config
from ..weights.prepare import fingerprint
from .cache import RequestCache
from .embedded import check_gone
from .local import Engine, EngineSettings, LocalBackend, PromptStyle

NAMES_AT_ONCE = 32
EXTRA, TITLE = "huggingface", "A model of transformers"

Dtype = Literal["auto", "bfloat16", "float16", "float32"]


def make_huggingface(
    name: str,
    revision: str | None = None,
    adapter: str | None = None,
    form: PromptStyle = "auto",
    max_tokens: int = 512,
    batch_tokens: int = 16384,
    batch_invariant: bool = True,
    beam_width: int = 6,
    check_weight: float = 0.4,
    draft: bool = True,
    dtype: Dtype = "auto",
    device_map: str = "auto",
    template: dict[str, Any] | None = None,
    cache: str | None = "auto",
    cache_size_mb: float = 1024,
    prior_weight: float | None = None,
) -> LocalBackend:
    """`spacy_eat.HuggingFace.v1`: a model from the Hugging Face Hub or a folder, with safetensors weights and
    without code of its own. It is loaded (and downloaded, if need be) at the first prompt that the cache does
    not know.

    name (str): Name on the hub, or folder.
    revision (Optional[str]): Commit, tag or branch on the hub. None: the newest, which the cache can't tell
        from older ones.
    adapter (Optional[str]): LoRA adapter that `python -m spacy eat tune` made for this model, merged into its
        weights: a name on the hub, or folder.
    form (str): "chat" puts prompts as messages in the model's chat template, "completion" as a text to
        continue. "auto": the former if there is one.
    max_tokens (int): Longest answer of a chat, in tokens.
    batch_tokens (int): Most tokens in a batch. Halved whenever the memory does not suffice.
    batch_invariant (bool): A text is answered the same whatever is answered beside it. False: texts are
        generated in padded batches by transformers, several times as fast on a GPU; words differ now and
        then.
    beam_width (int): Candidates for each name.
    check_weight, draft: As in `spacy_eat.Embedded.v1`, with an adapter.
    dtype (str): "bfloat16", "float16", "float32", or "auto" for what the device is made for.
    device_map (str): "auto" for all GPUs there are, else the CPU; or one device: "cuda:1", "cpu" ...
    template (Optional[Dict[str, Any]]): Variables for the chat template, such as {"enable_thinking": false}.
    cache (Optional[str]): File of the request cache, "auto" for one in the user's cache folder, None for no
        cache.
    cache_size_mb (float): Its size bound in megabytes.
    prior_weight (Optional[float]): No longer there; anything but None and 0.0 is an error that says so.
    RETURNS (LocalBackend): The backend.
    RAISES (ValueError): A setting is out of its range.
    """
    check_gone(prior_weight)
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype = {dtype!r} is none of {', '.join(get_args(Dtype))}")
    return LocalBackend(
        HuggingFaceModel(name, revision, adapter, dtype, device_map, batch_invariant),
        form=form,
        tuned=adapter is not None,
        draft=draft,
        check_weight=check_weight,
        beam_width=beam_width,
        max_tokens=max_tokens,
        batch_size=NAMES_AT_ONCE,
        batch_tokens=batch_tokens,
        template=template,
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


@dataclass(frozen=True)
class HuggingFaceModel:
    """A model of transformers, as it is loaded. The arguments are those of `make_huggingface`."""

    name: str
    revision: str | None
    adapter: str | None
    dtype: str
    device_map: str
    batch_invariant: bool

    @property
    def identity(self) -> dict[str, Any]:
        weights = [fingerprint(self.name), self.revision, self.adapter and fingerprint(self.adapter)]
        return {
            "backend": "spacy_eat.HuggingFace.v1",
            "weights": weights,
            "dtype": self.dtype,
            "batch_invariant": self.batch_invariant,
        }

    def load(self, settings: EngineSettings) -> Engine:
        require("torch", extra=EXTRA, purpose=TITLE)
        require("transformers", extra=EXTRA, purpose=TITLE)
        from .torch_engine import TorchEngine

        return TorchEngine(
            self.name,
            settings,
            tokenizer=self._tokenizer,
            dtype=self.dtype,
            device=self.device_map,
            adapter=self._adapter(),
            revision=self.revision,
            batch_invariant=self.batch_invariant,
        )

    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            self.name, revision=self.revision or "main", trust_remote_code=False
        )
        if not tokenizer.is_fast:
            raise ValueError(f"{self.name} has no tokenizer of the `tokenizers` library (tokenizer.json)")
        return tokenizer

    def _adapter(self) -> Path | None:
        """RETURNS (Optional[Path]): The folder of the adapter, downloaded if it is a name on the hub."""
        if self.adapter is None:
            return None
        folder = Path(self.adapter)
        if not folder.is_dir():
            hub = require("huggingface_hub", extra=EXTRA, purpose=TITLE)
            folder = Path(hub.snapshot_download(self.adapter, allow_patterns=list(ADAPTER_FILES)))
        adapter_config(folder)
        return folder
