"""Any causal language model of transformers, run in this process.

Texts are generated in padded batches by transformers itself; answers that must
be words of the source are chosen among them (`spacy_eat.models.decoding`), for
instruction-tuned models as the strings of a JSON object.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ..types import LLMError, Prompt, Response
from .base import Backend
from .cache import RequestCache
from .decoding import ATTENTION, Decoder, Question, TokenTree, possible_answers

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
MARGIN = 15.0  # nats below the best answer at which a hypothesis is given up
NAMES_AT_ONCE = 32

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Form = Literal["auto", "chat", "completion"]
MISSING = 'Hugging Face models need an extra: pip install "spacy-eat[huggingface]"'


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
    for setting, value, choices in (("dtype", dtype, get_args(Dtype)), ("form", form, get_args(Form))):
        if value not in choices:
            raise ValueError(f"{setting} = {value!r} is none of {', '.join(choices)}")
    least = {"max_tokens": max_tokens, "batch_tokens": batch_tokens, "beam_width": beam_width}
    for setting, number in least.items():
        if number < 1:
            raise ValueError(f"{setting} = {number} is too small")
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


class HuggingFace(Backend):
    """A model of transformers. Copies and pickles carry no weights."""

    def __init__(
        self,
        *,
        name: str,
        revision: str | None,
        adapter: str | None,
        form: Form,
        max_tokens: int,
        batch_tokens: int,
        beam_width: int,
        prior_weight: float,
        dtype: Dtype,
        device_map: str,
        template: dict[str, Any],
        cache: RequestCache | None,
    ) -> None:
        """See `make_huggingface`."""
        super().__init__(cache)
        self.name = name
        self.revision = revision
        self.adapter = adapter
        self.form: Form = form
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self.beam_width = beam_width
        self.prior_weight = prior_weight
        self.dtype: Dtype = dtype
        self.device_map = device_map
        self.template = template
        self._engine: Engine | None = None

    @cached_property
    def _weights(self) -> list[Any]:
        return [fingerprint(self.name), self.revision, self.adapter and fingerprint(self.adapter)]

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "backend": "spacy_eat.HuggingFace.v1",
            "weights": self._weights,
            "form": self.form,
            "max_tokens": self.max_tokens,
            "beam_width": self.beam_width,
            "prior_weight": self.prior_weight,
            "dtype": self.dtype,
            "template": self.template,
        }

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch of prompts. See `Backend.generate`.

        The response to a prompt with a source is of the form that `Completion`
        describes, except within a dialogue: that is free text.
        """
        engine = self.load()
        responses: dict[int, Response] = {}
        jobs: list[Job] = []
        for number, prompt in enumerate(prompts):
            try:
                jobs.append(engine.job(number, prompt))
            except LLMError as error:
                responses[number] = error
            except Exception as error:  # whatever the chat template does not like
                responses[number] = LLMError(f"{type(error).__name__}: {error}", retryable=False)
        responses.update(engine.generate([job for job in jobs if job.source is None]))
        responses.update(engine.choose([job for job in jobs if job.source is not None]))
        failed = sum(isinstance(response, LLMError) for response in responses.values())
        self.usage.failed += failed
        self.usage.requests += len(prompts) - failed
        return [responses[number] for number in range(len(prompts))]

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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}


class Job(NamedTuple):
    """A prompt as the engine takes it.

    number (int): Its place in the batch.
    text (str): What is to be continued, but for the names.
    tokens (List[int]): The tokens of the text.
    limit (int): Most tokens of an answer.
    source (Optional[str]): What the answers are chosen from, None to generate one.
    names, dummies (Sequence[str]): What follows the text, for each answer chosen.
    none (Optional[str]): The answer that there is none, if it may be chosen.
    """

    number: int
    text: str
    tokens: list[int]
    limit: int
    source: str | None = None
    names: Sequence[str] = ()
    dummies: Sequence[str] = ()
    none: str | None = None

    @property
    def width(self) -> int:
        return len(self.tokens) + self.limit


class Engine:
    """What is loaded: model, tokenizer and decoder.

    chat (bool): Whether prompts are put in a chat template.
    batch_tokens (int): Most tokens in a batch, as far as is known by now.
    """

    def __init__(self, backend: HuggingFace) -> None:
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ImportError(f"{MISSING} ({error})") from error
        self.settings = backend
        self.usage = backend.usage
        source = {"revision": backend.revision, "trust_remote_code": False}
        self.tokenizer = AutoTokenizer.from_pretrained(backend.name, **source)
        if not self.tokenizer.is_fast:
            raise ValueError(f"{backend.name} has no tokenizer of the `tokenizers` library (tokenizer.json)")
        self.chat = backend.form == "chat" or (
            backend.form == "auto" and bool(getattr(self.tokenizer, "chat_template", None))
        )
        self.model = AutoModelForCausalLM.from_pretrained(
            backend.name,
            torch_dtype=_dtype(backend.dtype, backend.device_map),
            device_map=backend.device_map,
            use_safetensors=True,
            **source,
        )
        if backend.adapter is not None:
            self.model = _merged(self.model, backend.adapter)
        self.model.eval()
        self.batch_tokens = backend.batch_tokens
        self.decoder = self._make_decoder()
        self._process = os.getpid()

    def _make_decoder(self) -> Decoder | None:
        """RETURNS (Optional[Decoder]): None for a model of another kind, or one
        on several devices: its answers are generated."""
        one_device = len({parameter.device for parameter in self.model.parameters()}) == 1
        if not (one_device and self.model._supports_attention_backend and hasattr(self.model, "lm_head")):
            return None
        before = self.model.config._attn_implementation
        decoder = Decoder(
            self.model,
            beam_width=self.settings.beam_width,
            margin=MARGIN,
            batch_size=NAMES_AT_ONCE,
            max_tokens=self.batch_tokens,
        )
        self.model.config._attn_implementation = before  # until there is something to choose
        return decoder

    def join_process(self) -> None:
        """Make the engine work in a process forked from the one that loaded it,
        where the threads of OpenMP are gone and would be waited for."""
        if self._process != os.getpid():
            import torch

            torch.set_num_threads(1)
            self._process = os.getpid()

    def encode(self, texts: Sequence[str], *, begin: bool) -> list[list[int]]:
        """RETURNS (List[List[int]]): Tokens, with BOS if they begin a prompt that
        does not have it from the chat template."""
        texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # no lone surrogates
        encoded = self.tokenizer(texts, add_special_tokens=begin and not self.chat)
        return [list(ids) for ids in encoded["input_ids"]]

    def job(self, number: int, prompt: Prompt) -> Job:
        """Put a prompt in the form that the model takes.

        number (int): Its place in the batch.
        prompt (Prompt): The prompt.
        RETURNS (Job): To be generated or chosen.
        RAISES (LLMError): It is too long.
        """
        form, settings = prompt.completion, self.settings
        source = None if form is None or prompt.turns or self.decoder is None else form.source
        names: Sequence[str] = ()
        dummies: Sequence[str] = ()
        limit = settings.max_tokens
        if self.chat:
            messages = list(prompt.messages)
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **settings.template
            )
            names = [f"{{{_json(name)}:" for name in (prompt.schema or {}).get("properties", ())]
            source = source if names else None
        elif form is None:
            text = str(prompt)
        else:
            text = ("" if settings.adapter else form.examples) + form.prefix
            names, dummies, limit = form.suffixes, form.priors, form.max_tokens
            if source is None:
                text += names[0]
        (tokens,) = self.encode([text], begin=True)
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and len(tokens) + limit > longest:
            raise LLMError(f"a prompt of {len(tokens)} tokens; the model takes {longest}", retryable=False)
        if source is None or form is None:
            return Job(number, text, tokens, limit)
        none = form.none if self.chat or settings.adapter else None
        return Job(number, text, tokens, form.max_tokens, source, names, dummies, none)

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
                    yield batch[0].number, _too_long(batch[0])
                    continue
                self.batch_tokens = len(batch) * width // 2
                logger.warning("Out of memory: batches of %d tokens from now on", self.batch_tokens)
                waiting += reversed(batch)

    def _generate(self, batch: Sequence[Job]) -> list[tuple[int, Response]]:
        import torch
        from transformers import GenerationConfig

        width = max(len(job.tokens) for job in batch)
        ends = self.ends if self.chat else [*self.ends, *self.line_breaks]
        pad = self.tokenizer.pad_token_id
        pad = ends[0] if pad is None else pad
        rows = [[pad] * (width - len(job.tokens)) + job.tokens for job in batch]
        mask = [[0] * (width - len(job.tokens)) + [1] * len(job.tokens) for job in batch]
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(job.limit for job in batch),
            min_new_tokens=None if self.chat else 1,
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
        answers: list[tuple[int, Response]] = []
        stop = set(ends)
        for job, tokens in zip(batch, output[:, width:].tolist(), strict=True):
            length = next((i for i, token in enumerate(tokens) if token in stop), len(tokens))
            self.usage.prompt_tokens += len(job.tokens)
            self.usage.completion_tokens += length
            answer = self.tokenizer.decode(tokens[: min(length, job.limit)], skip_special_tokens=True).strip()
            cut = self.chat and length >= job.limit
            answers.append((job.number, _cut_off() if cut else answer))
        return answers

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        known = self.model.generation_config.eos_token_id
        ends = [*(known if isinstance(known, list) else [known]), self.tokenizer.eos_token_id]
        return list(dict.fromkeys(token for token in ends if token is not None))

    @cached_property
    def line_breaks(self) -> list[int]:
        """The tokens that begin with a line break."""
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        return [token for token, text in enumerate(texts) if text.startswith("\n")]

    def choose(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """Choose answers among the words of each job's source.

        YIELDS (Tuple[int, Response]): A job's number and, as `Completion`
            describes, its answers with their scores.
        """
        if not jobs or self.decoder is None:
            return
        before, self.model.config._attn_implementation = self.model.config._attn_implementation, ATTENTION
        try:
            done = 0
            while done < len(jobs):
                try:
                    questions = map(self._question, jobs[done:])
                    for ranked in self.decoder.choose(questions, self.settings.prior_weight):
                        best = "".join(answers[0][0] for answers in ranked if answers)
                        self.usage.completion_tokens += len(self.encode([best], begin=False)[0])
                        yield jobs[done].number, json.dumps(ranked, ensure_ascii=False)
                        done += 1
                except RuntimeError as error:
                    self._free_memory(error)
                    if self.decoder.batch_size == 1:
                        yield jobs[done].number, _too_long(jobs[done])
                        done += 1
                    self.decoder.batch_size = max(1, self.decoder.batch_size // 2)
                    self.decoder.max_tokens = max(1, self.decoder.max_tokens // 2)
        finally:
            self.model.config._attn_implementation = before

    def _question(self, job: Job) -> Question:
        texts = {answer: f" {answer}\n" for answer in possible_answers(job.source or "")}
        if self.chat:
            texts = {answer: f" {_json(answer)}" for answer in texts}
        if job.none is not None:
            texts[job.none] = " null" if self.chat else f" {job.none}\n"
        # In the place where they stand, since some tokenizers begin a text in another way.
        colon, *encoded = self.encode([":", *(f":{text}" for text in texts.values())], begin=False)
        answers = {text: ids[len(colon) :] for text, ids in zip(texts, encoded, strict=True)}
        prompts = self.encode([job.text + name for name in (*job.names, *job.dummies)], begin=True)
        # Each prompt has a token of its own, even if all are the same.
        shortest = min(map(len, prompts)) - 1
        shared = next((i for i in range(shortest) if len({p[i] for p in prompts}) > 1), shortest)
        rests = [prompt[shared:] for prompt in prompts]
        self.usage.prompt_tokens += shared + sum(map(len, rests))
        return Question(
            trunk=TokenTree(prompts[0][:shared]),
            names=rests[: len(job.names)],
            dummies=rests[len(job.names) :],
            answers={text: ids for text, ids in answers.items() if len(ids) <= job.limit},
        )

    def _free_memory(self, error: RuntimeError) -> None:
        """Make room after an error, or raise it again if it is another one."""
        if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error).lower():
            raise error
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def fingerprint(name: str) -> str:
    """RETURNS (str): What tells a model or adapter from others: a name on the hub
    itself, for a folder a digest of its files' names, sizes and times."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir())]
    return hashlib.sha256(repr(stats).encode("utf-8")).hexdigest()


def _merged(model: Any, adapter: str) -> Any:
    """RETURNS (PreTrainedModel): The model with an adapter's weights in its own."""
    try:
        from huggingface_hub import snapshot_download
        from peft import PeftModel
    except ImportError as error:
        raise ImportError(f"{MISSING} ({error})") from error
    folder = Path(adapter)
    if not folder.is_dir():
        folder = Path(snapshot_download(adapter, allow_patterns=list(ADAPTER_FILES)))
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:  # peft would look for pickled weights
        raise ValueError(f"No adapter in {adapter}: it has no {' and no '.join(missing)}")
    return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()


def _dtype(name: Dtype, device_map: str) -> Any:
    import torch

    if name != "auto":
        return getattr(torch, name)
    if not torch.cuda.is_available() or device_map == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _too_long(job: Job) -> LLMError:
    return LLMError(f"a prompt of {len(job.tokens)} tokens is more than the memory holds", retryable=False)


def _cut_off() -> LLMError:
    return LLMError("the answer was cut off at the token limit; see `max_tokens`", retryable=False)
