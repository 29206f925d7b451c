"""A model converted for CTranslate2: a small engine for CPUs and GPUs, without torch, with 8-bit weights.

    ct2-transformers-converter --model Qwen/Qwen2.5-1.5B-Instruct --output_dir qwen \
        --quantization int8 --copy_files tokenizer.json tokenizer_config.json
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..optional import require
from ..weights.prepare import fingerprint
from .cache import RequestCache
from .decoding import MARGIN, Question, SpanSearch, TokenTree, within_memory
from .embedded import check_gone
from .local import Engine, EngineSettings, Generated, LocalBackend, PromptStyle, is_out_of_memory
from .placing import ForcedText, Pair, place_markers

logger = logging.getLogger(__name__)

EXTRA, TITLE = "ctranslate2", "A model of CTranslate2"


def make_ctranslate2(
    path: str,
    form: PromptStyle = "auto",
    tuned: bool = False,
    max_tokens: int = 512,
    batch_tokens: int = 8192,
    batch_invariant: bool = True,
    beam_width: int = 6,
    check_weight: float = 0.4,
    draft: bool = True,
    device: str = "auto",
    compute_type: str = "default",
    threads: int = 0,
    template: dict[str, Any] | None = None,
    cache: str | None = "auto",
    cache_size_mb: float = 1024,
    prior_weight: float | None = None,
) -> LocalBackend:
    """`spacy_eat.CTranslate2.v1`: a model of one's own in the format of CTranslate2. It is loaded at the
    first prompt that the cache does not know.

    path (str): Folder of the converted model, with its tokenizer.json (and tokenizer_config.json, for the
        chat template).
    form (str): "chat" puts prompts as messages in the model's chat template, "completion" as a text to
        continue. "auto": the former if there is one.
    tuned (bool): Whether the model was tuned on the completions of this package (`python -m spacy eat tune`):
        it is given no examples then.
    max_tokens (int): Longest answer of a chat, in tokens.
    batch_tokens (int): Most tokens in a batch, with padding, and so of a prompt with its answer.
    batch_invariant (bool): A text is answered the same whatever is answered beside it: texts are generated
        one by one. False: in padded batches, which is faster; words differ now and then.
    beam_width (int): Candidates for each name.
    check_weight, draft: As in `spacy_eat.Embedded.v1`, for a tuned model.
    device (str): "cpu", "cuda", "auto" for a GPU where there is one.
    compute_type (str): "int8", "int8_float16", "bfloat16", "float32" ..., or "default" for what the model was
        saved in, if the device can do it.
    threads (int): CPU threads, 0 for CTranslate2's default.
    template (Optional[Dict[str, Any]]): Variables for the chat template.
    cache (Optional[str]): File of the request cache, "auto" for one in the user's cache folder, None for no
        cache.
    cache_size_mb (float): Its size bound in megabytes.
    prior_weight (Optional[float]): No longer there; anything but None and 0.0 is an error that says so.
    RETURNS (LocalBackend): The backend.
    RAISES (ValueError): A setting is out of its range.
    """
    check_gone(prior_weight)
    return LocalBackend(
        CTranslate2Model(path, device, compute_type, threads, batch_invariant),
        form=form,
        tuned=tuned,
        draft=draft,
        check_weight=check_weight,
        beam_width=beam_width,
        max_tokens=max_tokens,
        longest=batch_tokens,
        batch_size=1,  # a prompt is computed once for its hypotheses, and for nothing else
        batch_tokens=batch_tokens,
        template=template,
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


@dataclass(frozen=True)
class CTranslate2Model:
    """A model of CTranslate2, as it is loaded. The arguments are those of `make_ctranslate2`."""

    path: str
    device: str
    compute_type: str
    threads: int
    batch_invariant: bool

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "backend": "spacy_eat.CTranslate2.v1",
            "weights": fingerprint(self.path),
            "compute_type": self.compute_type,
            "batch_invariant": self.batch_invariant,
        }

    def load(self, settings: EngineSettings) -> Engine:
        return CTranslate2Engine(self, settings)


class CTranslate2Engine:
    """A loaded model, its tokenizer, and the search for answers. See `spacy_eat.llm.local.Engine`."""

    longest = None

    def __init__(self, source: CTranslate2Model, settings: EngineSettings) -> None:
        ctranslate2 = require("ctranslate2", extra=EXTRA, purpose=TITLE)
        transformers = require("transformers", extra=EXTRA, purpose=TITLE)
        missing = [name for name in ("model.bin", "tokenizer.json") if not Path(source.path, name).is_file()]
        if missing:
            raise ValueError(
                f"{source.path} has no {' and no '.join(missing)}: convert a model with "
                "ct2-transformers-converter --copy_files tokenizer.json tokenizer_config.json"
            )
        self.source = source
        self.batch_tokens = settings.batch_tokens
        self.model = ctranslate2.Generator(
            source.path,
            device=source.device,
            compute_type=source.compute_type,
            intra_threads=source.threads,
        )
        self.tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(source.path)
        self.search = StaticSearch(
            self.model,
            self.tokenizer,
            beam_width=settings.beam_width,
            margin=MARGIN,
            batch_size=settings.batch_size,
            max_tokens=settings.batch_tokens,
        )

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end any answer."""
        config = json.loads(Path(self.source.path, "config.json").read_text(encoding="utf-8"))
        ends = [self.tokenizer.eos_token_id, self.tokenizer.convert_tokens_to_ids(config["eos_token"])]
        return [token for token in dict.fromkeys(ends) if token is not None]

    def at_work(self) -> AbstractContextManager[None]:
        """CTranslate2 has threads of its own."""
        return nullcontext()

    def read(self, tree: TokenTree) -> None:
        """What prompts begin with is kept as CTranslate2's static prompt."""
        tree.computed = len(tree)

    def generate(
        self, prompts: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> Iterator[tuple[int, Generated | None]]:
        """See `Engine.generate`."""
        waiting = dict(enumerate(prompts))
        stop = set(ends)
        while waiting:
            longest = max(waiting, key=lambda number: len(waiting[number][0]))
            size = len(waiting[longest][0])
            alone = {"max_batch_size": 1, "batch_type": "examples"}
            batches = {"max_batch_size": max(self.batch_tokens, size), "batch_type": "tokens"}
            try:
                results = self.model.generate_batch(
                    [self.tokenizer.convert_ids_to_tokens(tree.tokens) for tree, _ in waiting.values()],
                    **(alone if self.source.batch_invariant else batches),
                    max_length=max(limit for _, limit in waiting.values()),
                    min_length=least,
                    end_token=list(ends),
                    include_prompt_in_result=False,
                )
            except RuntimeError as error:
                self.make_room(error)
                if self.source.batch_invariant or self.batch_tokens <= size:
                    del waiting[longest]
                    yield longest, None
                self.batch_tokens = max(1, self.batch_tokens // 2)
                continue
            for (number, (_, limit)), result in zip(waiting.items(), results, strict=True):
                tokens = result.sequences_ids[0]
                length = next((i for i, token in enumerate(tokens) if token in stop), len(tokens))
                yield number, Generated(list(tokens[: min(length, limit)]), length < limit)
            return

    def choose(
        self, questions: Iterable[Question], check_weight: float
    ) -> Iterator[list[list[tuple[str, float]]] | None]:
        """See `Engine.choose`."""
        return within_memory(
            self.search, partial(self.search.choose, check_weight=check_weight), questions, self.make_room
        )

    def place(self, texts: Iterable[ForcedText]) -> Iterator[list[Pair] | None]:
        """See `Engine.place`."""
        return within_memory(self.search, partial(place_markers, self.search), texts, self.make_room)

    def make_room(self, error: RuntimeError) -> None:
        """Raise an error again that is not a lack of memory."""
        if not is_out_of_memory(error):
            raise error
        logger.warning("Out of memory: smaller batches from now on")


class StaticSearch(SpanSearch):
    """Computes what hypotheses have in common as CTranslate2's static prompt: the
    few-shot examples once for all prompts, else the prompt once in each step.
    (What CTranslate2 has kept it never lets go, so that it can't keep all prompts.)"""

    def __init__(self, model: Any, tokenizer: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.tokenizer = tokenizer

    def next_logprobs(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
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
        begun = (len(name) for name in question.names if rest[: len(name)] == list(name))
        return question.trunk.trunk + max(begun, default=1)
