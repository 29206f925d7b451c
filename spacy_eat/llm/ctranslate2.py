"""A model converted for CTranslate2: a small engine for CPUs and GPUs, without
torch, with 8-bit weights.

    ct2-transformers-converter --model Qwen/Qwen2.5-1.5B-Instruct --output_dir qwen \
        --quantization int8 --copy_files tokenizer.json tokenizer_config.json
"""

import json
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..optional import require
from ..weights.prepare import fingerprint
from .cache import RequestCache
from .decoding import MARGIN, Question, SpanSearch
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

EXTRA, TITLE = "ctranslate2", "A model of CTranslate2"


def make_ctranslate2(
    path: str,
    form: Form = "auto",
    tuned: bool = False,
    max_tokens: int = 512,
    batch_tokens: int = 8192,
    beam_width: int = 6,
    prior_weight: float = 0.5,
    device: str = "auto",
    compute_type: str = "default",
    threads: int = 0,
    template: dict[str, Any] | None = None,
    cache: str | None = "auto",
    cache_size_mb: float = 1024,
) -> "CTranslate2":
    """`spacy_eat.CTranslate2.v1`: a model of one's own in the format of
    CTranslate2. It is loaded at the first prompt that the cache does not know.

    path (str): Folder of the converted model, with its tokenizer.json (and
        tokenizer_config.json, for the chat template).
    form (str): "chat" puts prompts as messages in the model's chat template,
        "completion" as a text to continue. "auto": the former if there is one.
    tuned (bool): Whether the model was tuned on the completions of this package
        (`python -m spacy eat tune`): it is given no examples then.
    max_tokens (int): Longest answer of a chat, in tokens.
    batch_tokens (int): Most tokens in a batch, with padding.
    beam_width (int): Candidates for each name.
    prior_weight (float): How much of a candidate's log-probability under dummy
        names is subtracted from its score, in completions.
    device (str): "cpu", "cuda", "auto" for a GPU where there is one.
    compute_type (str): "int8", "int8_float16", "bfloat16", "float32" ..., or
        "default" for what the model was saved in, if the device can do it.
    threads (int): CPU threads, 0 for CTranslate2's default.
    template (Optional[Dict[str, Any]]): Variables for the chat template.
    cache (Optional[str]): File of the request cache, "auto" for one in the
        user's cache folder, None for no cache.
    cache_size_mb (float): Its size bound in megabytes.
    RETURNS (CTranslate2): The backend.
    RAISES (ValueError): A setting is out of its range.
    """
    check_settings(form, max_tokens=max_tokens, batch_tokens=batch_tokens, beam_width=beam_width)
    return CTranslate2(
        path=path,
        form=form,
        tuned=tuned,
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
        beam_width=beam_width,
        prior_weight=prior_weight,
        device=device,
        compute_type=compute_type,
        threads=threads,
        template=template or {},
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


class CTranslate2(LocalBackend):
    """A model of CTranslate2."""

    def __init__(
        self,
        *,
        path: str,
        tuned: bool,
        device: str,
        compute_type: str,
        threads: int,
        **shared: Any,
    ) -> None:
        """See `make_ctranslate2`."""
        super().__init__(**shared)
        self.path = path
        self.tuned = tuned
        self.device = device
        self.compute_type = compute_type
        self.threads = threads
        self._engine: Engine | None = None

    @cached_property
    def _weights(self) -> str:
        return fingerprint(self.path)

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "backend": "spacy_eat.CTranslate2.v1",
            "weights": self._weights,
            **self._identity(),
            "tuned": self.tuned,
            "compute_type": self.compute_type,
        }

    def load(self) -> "Engine":
        """Load the model, if it isn't.

        RETURNS (Engine): The model and its tokenizer.
        RAISES (ImportError): A library is missing.
        RAISES (ValueError): The folder has no such model.
        """
        if self._engine is None:
            self._engine = Engine(self)
        return self._engine


class Engine:
    """What is loaded: the model, its tokenizer, the search for answers."""

    def __init__(self, backend: CTranslate2) -> None:
        ctranslate2 = require("ctranslate2", extra=EXTRA, purpose=TITLE)
        transformers = require("transformers", extra=EXTRA, purpose=TITLE)
        missing = [name for name in ("model.bin", "tokenizer.json") if not Path(backend.path, name).is_file()]
        if missing:
            raise ValueError(
                f"{backend.path} has no {' and no '.join(missing)}: convert a model with "
                "ct2-transformers-converter --copy_files tokenizer.json tokenizer_config.json"
            )
        self.settings = backend
        self.batch_tokens = backend.batch_tokens
        self.model = ctranslate2.Generator(
            backend.path,
            device=backend.device,
            compute_type=backend.compute_type,
            intra_threads=backend.threads,
        )
        self.tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(backend.path)
        self.forms = PromptForms(
            self.tokenizer, backend.form, backend.tuned, backend.max_tokens, backend.template
        )
        self.search = StaticSearch(
            self.model,
            self.tokenizer,
            beam_width=backend.beam_width,
            margin=MARGIN,
            batch_size=1,  # a prompt is computed once for its hypotheses, and for nothing else
            max_tokens=backend.batch_tokens,
        )

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        config = json.loads(Path(self.settings.path, "config.json").read_text(encoding="utf-8"))
        ends = [self.tokenizer.eos_token_id, self.tokenizer.convert_tokens_to_ids(config["eos_token"])]
        known = [token for token in dict.fromkeys(ends) if token is not None]
        return known if self.forms.chat else known + self.forms.line_breaks

    def generate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """Generate answers, in batches of prompts of like length.

        YIELDS (Tuple[int, Response]): A job's number and its answer.
        """
        waiting = list(jobs)
        stop = set(self.ends) if jobs else set()
        while waiting:
            try:
                results = self.model.generate_batch(
                    [self.tokenizer.convert_ids_to_tokens(job.tokens) for job in waiting],
                    max_batch_size=max(self.batch_tokens, *(len(job.tokens) for job in waiting)),
                    batch_type="tokens",
                    max_length=max(job.limit for job in waiting),
                    min_length=0 if self.forms.chat else 1,
                    end_token=self.ends,
                    include_prompt_in_result=False,
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                longest = max(waiting, key=lambda job: len(job.tokens))
                if self.batch_tokens <= len(longest.tokens):
                    waiting.remove(longest)
                    yield longest.number, too_long(longest)
                self.batch_tokens //= 2
                logger.warning("Out of memory: batches of %d tokens from now on", self.batch_tokens)
                continue
            for job, result in zip(waiting, results, strict=True):
                yield job.number, self.forms.answer(job, result.sequences_ids[0], stop)
            waiting = []

    def choose(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """Choose answers among the words of each job's source.

        YIELDS (Tuple[int, Response]): A job's number and, as `Completion`
            describes, its answers with their scores.
        """
        for job in jobs:
            question = self.forms.question(job)
            question.trunk.computed = job.examples
            try:
                (ranked,) = self.search.choose([question], self.settings.prior_weight)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                yield job.number, too_long(job)
            else:
                yield job.number, chosen_answer(question, ranked)


class StaticSearch(SpanSearch):
    """Computes what hypotheses have in common as CTranslate2's static prompt: the
    few-shot examples once for all prompts, else the prompt once in each step.
    (What CTranslate2 has kept it never lets go, so that it can't keep all prompts.)"""

    def __init__(self, model: Any, tokenizer: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.tokenizer = tokenizer

    def _next(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        # Only rows of one length are computed in one go, and rightly.
        groups: dict[tuple[tuple[int, ...], int], list[tuple[int, list[int]]]] = {}
        for number, (question, place, _) in enumerate(wanted):
            path = question.trunk.path(place)
            static = question.trunk.computed or self._prompt_length(question, path) - 1
            groups.setdefault((tuple(path[:static]), len(path)), []).append((number, path[static:]))
        result: list[list[float]] = [[] for _ in wanted]
        for (static_prompt, length), rows in groups.items():
            predictions = self.model.generate_batch(
                [self._tokens(row) for _, row in rows],
                static_prompt=self._tokens(static_prompt),
                cache_static_prompt=wanted[rows[0][0]][0].trunk.computed > 0,
                max_batch_size=max(1, self.max_tokens // length),
                max_length=1,
                include_prompt_in_result=False,
                return_logits_vocab=True,
            )
            for (number, _), prediction in zip(rows, predictions, strict=True):
                logits = np.asarray(prediction.logits[0][0]).reshape(-1)
                top = logits.max()
                normalizer = top + np.log(np.exp(logits - top).sum())
                result[number] = (logits[wanted[number][2]] - normalizer).tolist()
        return result

    def _tokens(self, ids: Sequence[int]) -> list[str]:
        tokens: list[str] = self.tokenizer.convert_ids_to_tokens(list(ids))
        return tokens

    def _prompt_length(self, question: Question, path: list[int]) -> int:
        """RETURNS (int): How much of a path is the prompt for a name, before any answer."""
        rest = path[question.trunk.trunk :]
        names = (*question.names, *question.dummies)
        return question.trunk.trunk + max(len(name) for name in names if rest[: len(name)] == list(name))
