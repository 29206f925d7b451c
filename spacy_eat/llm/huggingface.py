"""Any causal language model of transformers, run in this process.

Texts are generated in padded batches by transformers itself; answers that must
be words of the source are chosen among them (`spacy_eat.llm.decoding`), for
instruction-tuned models as the strings of a JSON object.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import tee
from pathlib import Path
from typing import Any, Literal, get_args

from ..optional import require
from ..weights.adapters import ADAPTER_FILES, merge_lora
from ..weights.prepare import fingerprint
from .cache import RequestCache
from .decoding import ATTENTION, MARGIN, Decoder, Question, SpanSearch
from .local import (
    Form,
    Job,
    LocalBackend,
    PromptForms,
    check_settings,
    chosen_answer,
    is_out_of_memory,
    too_long,
)
from .prompts import Response

logger = logging.getLogger(__name__)

NAMES_AT_ONCE = 32

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
EXTRA, TITLE = "huggingface", "A model of transformers"


def make_huggingface(
    name: str,
    revision: str | None = None,
    adapter: str | None = None,
    form: Form = "auto",
    max_tokens: int = 512,
    batch_tokens: int = 16384,
    beam_width: int = 6,
    prior_weight: float = 0.5,
    dtype: Dtype = "auto",
    device_map: str = "auto",
    template: dict[str, Any] | None = None,
    cache: str | None = "auto",
    cache_size_mb: float = 1024,
) -> "HuggingFace":
    """`spacy_eat.HuggingFace.v1`: a model from the Hugging Face Hub or a folder,
    with safetensors weights and without code of its own. It is loaded (and
    downloaded, if need be) at the first prompt that the cache does not know.

    name (str): Name on the hub, or folder.
    revision (Optional[str]): Commit, tag or branch on the hub. None: the newest,
        which the cache can't tell from older ones.
    adapter (Optional[str]): peft adapter to merge: a name on the hub, or folder.
    form (str): "chat" puts prompts as messages in the model's chat template,
        "completion" as a text to continue. "auto": the former if there is one.
    max_tokens (int): Longest answer of a chat, in tokens.
    batch_tokens (int): Most tokens in a batch, with padding and answers. Halved
        whenever the memory does not suffice.
    beam_width (int): Candidates for each name.
    prior_weight (float): How much of a candidate's log-probability under dummy
        names is subtracted from its score, in completions.
    dtype (str): "bfloat16", "float16", "float32", or "auto" for what the device
        is made for.
    device_map (str): As in transformers: "auto" for all GPUs there are, else the
        CPU; "cuda:1", "cpu" ...
    template (Optional[Dict[str, Any]]): Variables for the chat template, such
        as {"enable_thinking": false}.
    cache (Optional[str]): File of the request cache, "auto" for one in the
        user's cache folder, None for no cache.
    cache_size_mb (float): Its size bound in megabytes.
    RETURNS (HuggingFace): The backend.
    RAISES (ValueError): A setting is out of its range.
    """
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype = {dtype!r} is none of {', '.join(get_args(Dtype))}")
    check_settings(form, max_tokens=max_tokens, batch_tokens=batch_tokens, beam_width=beam_width)
    return HuggingFace(
        name=name,
        revision=revision,
        adapter=adapter,
        form=form,
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
        beam_width=beam_width,
        prior_weight=prior_weight,
        dtype=dtype,
        device_map=device_map,
        template=template or {},
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


class HuggingFace(LocalBackend):
    """A model of transformers."""

    def __init__(
        self,
        *,
        name: str,
        revision: str | None,
        adapter: str | None,
        dtype: Dtype,
        device_map: str,
        **shared: Any,
    ) -> None:
        """See `make_huggingface`."""
        super().__init__(**shared)
        self.name = name
        self.revision = revision
        self.adapter = adapter
        self.dtype: Dtype = dtype
        self.device_map = device_map
        self._engine: Engine | None = None

    @cached_property
    def _weights(self) -> list[Any]:
        return [fingerprint(self.name), self.revision, self.adapter and fingerprint(self.adapter)]

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "backend": "spacy_eat.HuggingFace.v1",
            "weights": self._weights,
            **self._identity(),
            "dtype": self.dtype,
        }

    def load(self) -> "Engine":
        """Load the model, if it isn't.

        RETURNS (Engine): The model and its tokenizer.
        RAISES (ImportError): A library is missing.
        RAISES (ValueError, OSError): The model can't be loaded.
        """
        if self._engine is None:
            self._engine = Engine(self)
        self._engine.join_process()
        return self._engine


class Engine:
    """What is loaded: model, tokenizer and decoder.

    chat (bool): Whether prompts are put in a chat template.
    batch_tokens (int): Most tokens in a batch, as far as is known by now.
    """

    def __init__(self, backend: HuggingFace) -> None:
        require("transformers", extra=EXTRA, purpose=TITLE)
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.settings = backend
        source = {"revision": backend.revision, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(backend.name, **source)
        if not self.tokenizer.is_fast:
            raise ValueError(f"{backend.name} has no tokenizer of the `tokenizers` library (tokenizer.json)")
        self.model = AutoModelForCausalLM.from_pretrained(
            backend.name,
            torch_dtype=_dtype(backend.dtype, backend.device_map),
            device_map=backend.device_map,
            use_safetensors=True,
            **source,
        )
        if backend.adapter is not None:
            merge_lora(self.model, _adapter_dir(backend.adapter))
        self.model.eval()
        self.forms = PromptForms(
            self.tokenizer,
            backend.form,
            backend.adapter is not None,
            backend.max_tokens,
            backend.template,
            getattr(self.model.config.get_text_config(), "max_position_embeddings", None),
        )
        self.batch_tokens = backend.batch_tokens
        self.search = self._make_search()
        self._process = os.getpid()

    def _make_search(self) -> SpanSearch:
        """RETURNS (SpanSearch): On trees of tokens, or for a model of another kind
        and one on several devices without any such means."""
        one_device = len({parameter.device for parameter in self.model.parameters()}) == 1
        trees = one_device and self.model._supports_attention_backend and hasattr(self.model, "lm_head")
        before = self.model.config._attn_implementation
        search = (Decoder if trees else PlainSearch)(
            self.model,
            beam_width=self.settings.beam_width,
            margin=MARGIN,
            batch_size=NAMES_AT_ONCE,
            max_tokens=self.batch_tokens,
        )
        self.model.config._attn_implementation = before  # until there is something to choose
        return search

    def join_process(self) -> None:
        """Make the engine work in a process forked from the one that loaded it,
        where the threads of OpenMP are gone and would be waited for."""
        if self._process != os.getpid():
            import torch

            torch.set_num_threads(1)
            self._process = os.getpid()

    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """Generate answers, the longest first, in batches that the memory holds.

        YIELDS (Tuple[int, Response]): A job's number and its answer.
        """
        waiting = sorted(jobs, key=lambda job: job.width)
        while waiting:
            batch = [waiting.pop()]
            width = batch[0].width  # the longest decides for all
            while waiting and (len(batch) + 1) * width <= self.batch_tokens:
                batch.append(waiting.pop())
            try:
                yield from self._generate(batch)
            except RuntimeError as error:
                self._free_memory(error)
                if len(batch) == 1:
                    yield batch[0].number, too_long(batch[0])
                    continue
                self.batch_tokens = len(batch) * width // 2
                logger.warning("Out of memory: batches of %d tokens from now on", self.batch_tokens)
                waiting += reversed(batch)

    def _generate(self, batch: Sequence[Job]) -> list[tuple[int, Response]]:
        import torch
        from transformers import GenerationConfig

        width = max(len(job.tokens) for job in batch)
        ends = self.ends if self.forms.chat else [*self.ends, *self.forms.line_breaks]
        pad = self.tokenizer.pad_token_id
        pad = ends[0] if pad is None else pad
        rows = [[pad] * (width - len(job.tokens)) + job.tokens for job in batch]
        mask = [[0] * (width - len(job.tokens)) + [1] * len(job.tokens) for job in batch]
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(job.limit for job in batch),
            min_new_tokens=None if self.forms.chat else 1,
            eos_token_id=ends,
            pad_token_id=pad,
        )
        with torch.inference_mode():
            output = self.model.generate(
                torch.tensor(rows, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                generation_config=config,
                use_model_defaults=False,  # they may be for sampling
            )
        stop = set(ends)
        rows = output[:, width:].tolist()
        return [(job.number, self.forms.answer(job, row, stop)) for job, row in zip(batch, rows, strict=True)]

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        known = self.model.generation_config.eos_token_id
        ends = [*(known if isinstance(known, list) else [known]), self.tokenizer.eos_token_id]
        return list(dict.fromkeys(token for token in ends if token is not None))

    def choose(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """Choose answers among the words of each job's source.

        YIELDS (Tuple[int, Response]): A job's number and, as `Completion`
            describes, its answers with their scores.
        """
        before = self.model.config._attn_implementation
        if isinstance(self.search, Decoder):
            self.model.config._attn_implementation = ATTENTION
        done = 0
        try:
            while done < len(jobs):
                questions, asked = tee(map(self.forms.question, jobs[done:]))
                found = self.search.choose(asked, self.settings.prior_weight)
                try:
                    for question, ranked in zip(questions, found, strict=True):
                        yield jobs[done].number, chosen_answer(question, ranked)
                        done += 1
                except RuntimeError as error:
                    self._free_memory(error)
                    if self.search.batch_size == 1:
                        yield jobs[done].number, too_long(jobs[done])
                        done += 1
                    self.search.batch_size = max(1, self.search.batch_size // 2)
                    self.search.max_tokens = max(1, self.search.max_tokens // 2)
        finally:
            self.model.config._attn_implementation = before

    def _free_memory(self, error: RuntimeError) -> None:
        """Make room after an error, or raise it again if it is another one."""
        if not is_out_of_memory(error):
            raise error
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class PlainSearch(SpanSearch):
    """With nothing but what every model of transformers can do: each hypothesis
    is computed from its beginning."""

    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model

    def _next(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        import torch

        paths = [question.trunk.path(place) for question, place, _ in wanted]
        result: list[list[float]] = [[] for _ in wanted]
        order = sorted(range(len(paths)), key=lambda row: len(paths[row]))
        while order:
            length = len(paths[order[0]])  # rows of one length need no padding
            most = max(1, self.max_tokens // length)
            rows = [row for row in order[:most] if len(paths[row]) == length]
            order = order[len(rows) :]
            tokens = torch.tensor([paths[row] for row in rows], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(tokens, use_cache=False).logits[:, -1].float()
            for row, logprobs in zip(rows, logits.log_softmax(-1), strict=True):
                result[row] = logprobs[wanted[row][2]].tolist()
        return result


def _adapter_dir(adapter: str) -> Path:
    """RETURNS (Path): The folder of an adapter, downloaded if it is a name on the hub."""
    if Path(adapter).is_dir():
        return Path(adapter)
    hub = require("huggingface_hub", extra=EXTRA, purpose=TITLE)
    return Path(hub.snapshot_download(adapter, allow_patterns=list(ADAPTER_FILES)))


def _dtype(name: Dtype, device_map: str) -> Any:
    import torch

    if name != "auto":
        return getattr(torch, name)
    if not torch.cuda.is_available() or device_map == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
