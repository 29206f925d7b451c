"""Any model of transformers, against transformers itself."""

import gc
import json
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm.huggingface import make_huggingface
from spacy_eat.llm.local import LocalBackend
from spacy_eat.llm.prompts import LLMError, Prompt
from spacy_eat.llm.tasks.alignment import parse_alignment
from spacy_eat.llm.torch_engine import Decoder, PlainSearch

from .tiny import (
    NAMES,
    TEMPLATE,
    TEXTS,
    alignments,
    ask,
    parse_names,
    placements,
    save_model,
    translations,
)

torch = pytest.importorskip("torch", reason="needs the extra 'huggingface'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'huggingface'")
pytest.importorskip("accelerate", reason="needs the extra 'huggingface'")


@pytest.fixture(scope="module")
def chat_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), template=None)


def make(folder: Path, **settings: Any) -> LocalBackend:
    # Random models have near ties, which bfloat16 decides otherwise: "auto" would be that on some processors.
    defaults = {"cache": None, "device_map": "cpu", "dtype": "float32", "max_tokens": 12}
    return make_huggingface(str(folder), **{**defaults, **settings})


def by_hand(folder: Path, text: str, count: int, *, line: bool = False) -> str | None:
    """What transformers generates for one text without any of our batching: up
    to a line break, or None if there is no end."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=line)["input_ids"]
    start = len(ids)
    while len(ids) - start < count:
        with torch.no_grad():
            ranked = model(torch.tensor([ids])).logits[0, -1].argsort(descending=True).tolist()
        ends = [token == 1 or (line and tokenizer.decode([token]).startswith("\n")) for token in ranked]
        first = ends.index(False) if line and len(ids) == start else 0  # none begins with its end
        if ends[first]:
            return str(tokenizer.decode(ids[start:], skip_special_tokens=True)).strip()
        ids.append(ranked[first])
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True)).strip() if line else None


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_a_forced_text_has_the_log_probability_that_transformers_gives_it(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """All of it, markers and end too. The random model reads bytes, so that there is one way to spell it."""
    folder = request.getfixturevalue(f"{kind}_dir")
    backend = make(folder, dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for prompt in placements():
        form: Any = prompt.completion
        if kind == "chat":
            lead, end = "", "</s>"
            before = tokenizer.apply_chat_template(
                list(prompt.messages), tokenize=False, add_generation_prompt=True
            )
        else:
            lead, end = " ", "\n"
            before = f"<s>{form.head}English: {form.marked}\nChinese:"
        own = tokenizer(before, add_special_tokens=False)["input_ids"]
        pairs = json.loads(ask(backend, [prompt])[0])
        assert len(pairs) > 1
        for start, stop, logprob in pairs:
            text = form.text
            if start is not None:
                text = f"{text[:start]}[{text[start:stop]}]{text[stop:]}"
            rest = tokenizer(lead + text + end, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                table = model(torch.tensor([own + rest])).logits[0].log_softmax(-1)
            total = sum(float(table[len(own) - 1 + i, token]) for i, token in enumerate(rest))
            assert logprob == pytest.approx(total, abs=0.01)


def test_settings_out_of_range() -> None:
    for setting in (
        {"dtype": "int3"},
        {"form": "poem"},
        {"max_tokens": 0},
        {"beam_width": 0},
        {"batch_tokens": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(setting))):
            make_huggingface("m", **setting)  # type: ignore[arg-type]


def test_completions_are_those_of_transformers(base_dir: Path) -> None:
    prompts = translations()
    expected = []
    for prompt in prompts:
        form = prompt.completion
        assert form is not None
        limit = min(form.max_tokens, 2 * len(f"<{form.prompt}".encode()) + 16)  # its tokens are bytes
        expected.append(by_hand(base_dir, form.head + form.prompt, limit, line=True))
    for settings in ({}, {"batch_invariant": False}):
        assert [str(answer) for answer in ask(make(base_dir, **settings), prompts)] == expected


def test_chats_are_those_of_transformers(chat_dir: Path) -> None:
    messages = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hello"}]
    texts = ["Beijing", "京都", "!", "a", "Liu Chuanzhi", "x y z", "北京"]
    prompts = [Prompt(text, messages=[*messages, {"role": "user", "content": text}]) for text in texts]
    before = "<s><user>你好</s><assistant>Hello</s>"
    expected = [by_hand(chat_dir, f"{before}<user>{text}</s><assistant>", 12) for text in texts]
    answers = ask(make(chat_dir), prompts)
    assert [None if isinstance(answer, LLMError) else answer for answer in answers] == expected
    assert None in expected and any(expected)  # both happen
    assert all("max_tokens" in str(answer) for answer in answers if isinstance(answer, LLMError))


@pytest.mark.parametrize("budget", [1, 900, 100_000])
def test_batches_keep_to_the_budget(base_dir: Path, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(base_dir, batch_tokens=budget, batch_invariant=False)
    torch_model = model.load().engine.model
    generate, sizes = torch_model.generate, []

    def watched(ids: Any, **kwargs: Any) -> Any:
        sizes.append(
            (ids.shape[0], ids.shape[0] * (ids.shape[1] + kwargs["generation_config"].max_new_tokens))
        )
        return generate(ids, **kwargs)

    monkeypatch.setattr(torch_model, "generate", watched)
    prompts = translations()
    answers = ask(model, prompts)
    assert answers == ask(make(base_dir), prompts)
    assert all(rows == 1 or tokens <= budget for rows, tokens in sizes)
    assert sum(rows for rows, _ in sizes) == len(prompts)


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_out_of_memory_means_smaller_batches(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, batch_invariant: bool
) -> None:
    prompts = [*translations(), *alignments()[1:3]]
    expected = ask(make(base_dir), prompts)
    model = make(base_dir, batch_invariant=batch_invariant)
    engine = model.load().engine
    generate, compute = engine.model.generate, engine.search.compute
    sizes = []

    def small_memory(ids: Any, **kwargs: Any) -> Any:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return generate(ids, **kwargs)

    def small_memory_too(trees: Any) -> Any:
        if batch_invariant:
            sizes.append(len(trees))
        if len(trees) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return compute(trees)

    monkeypatch.setattr(engine.model, "generate", small_memory)
    monkeypatch.setattr(engine.search, "compute", small_memory_too)
    with caplog.at_level(logging.WARNING):
        answers = ask(model, prompts)
    assert "Out of memory" in caplog.text
    assert answers[:4] == expected[:4]
    assert answers[4:] == expected[4:]
    assert max(sizes) > 2 and max(sizes[-2:]) <= 2
    sizes.clear()
    ask(model, [Prompt(f"{prompt}!", completion=prompt.completion) for prompt in prompts[:4]])
    assert max(sizes) <= 2  # it is remembered


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_a_prompt_that_never_fits_is_alone_in_failing(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch, batch_invariant: bool
) -> None:
    model = make(base_dir, batch_invariant=batch_invariant)
    engine = model.load().engine
    generate, compute = engine.model.generate, engine.search.compute

    def small_memory(ids: Any, **kwargs: Any) -> Any:
        if ids.shape[1] > 100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return generate(ids, **kwargs)

    def small_memory_too(trees: Any) -> Any:
        if sum(map(len, trees)) > 100:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return compute(trees)

    monkeypatch.setattr(engine.model, "generate", small_memory)
    monkeypatch.setattr(engine.search, "compute", small_memory_too)
    first, long, last, longer = ask(model, [Prompt("a"), Prompt("b" * 200), Prompt("c"), Prompt("d" * 9000)])
    assert isinstance(first, str) and isinstance(last, str)
    assert isinstance(long, LLMError) and "memory" in str(long) and not long.retryable
    assert isinstance(longer, LLMError) and "the model takes 4096" in str(longer)
    assert (model.usage.requests, model.usage.failed) == (2, 2)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(base_dir)

    def broken(trees: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(model.load().engine.search, "compute", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        ask(model, [Prompt("a")])


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_chosen_answers_are_words_of_the_source(kind: str, request: pytest.FixtureRequest) -> None:
    model = make(request.getfixturevalue(f"{kind}_dir"))
    for text, answer in zip(TEXTS, ask(model, alignments()), strict=True):
        ranked = parse_names(answer)
        assert len(ranked) == len(NAMES)
        assert all(
            candidate in text or (candidate == "none" and kind == "chat") for r in ranked for candidate in r
        )
        parsed = parse_alignment(answer, NAMES)
        assert parsed is not None and set(parsed) <= set(NAMES)


def test_chosen_answers_have_the_probability_of_their_json(chat_dir: Path) -> None:
    """The log-probability of what the model would have written, by transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(chat_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(chat_dir)
    prompt = alignments()[1]
    [answer] = ask(make(chat_dir, beam_width=3), [prompt])
    before = f"<s><user>{prompt}</s><assistant>"
    for name, ranked in zip(NAMES, json.loads(answer), strict=True):
        assert ranked == sorted(ranked, key=lambda pair: -pair[1])
        for text, logprob in ranked:
            head = tokenizer(f'{before}{{"{name}":', add_special_tokens=False)["input_ids"]
            value = "null" if text == "none" else json.dumps(text, ensure_ascii=False)
            tail = tokenizer(f" {value}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logprobs = model(torch.tensor([head + tail])).logits[0].log_softmax(-1)
            rows = logprobs[len(head) - 1 : -1]
            expected = sum(float(rows[i, token]) for i, token in enumerate(tail))
            assert logprob == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_models_without_trees_choose_alike(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On several GPUs, say, or with an architecture of another kind."""
    folder = request.getfixturevalue(f"{kind}_dir")
    prompts = [*alignments()[:2], *translations()[:2]]
    expected = ask(make(folder), prompts)
    assert isinstance(make(folder).load().engine.search, Decoder)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "_supports_attention_backend", False)
    model = make(folder, batch_tokens=2000)
    assert isinstance(model.load().engine.search, PlainSearch)
    answers = ask(model, prompts)
    assert list(map(str, answers[2:])) == list(map(str, expected[2:]))
    for a, b in zip(answers[:2], expected[:2], strict=True):
        assert parse_names(a) == parse_names(b)
        scores = zip(chain(*json.loads(a)), chain(*json.loads(b)), strict=True)
        assert all(x == pytest.approx(y, abs=1e-3) for (_, x), (_, y) in scores)


def test_a_model_that_is_loaded_is_shared(tmp_path: Path) -> None:
    """By translator and aligner, say; not by other threads or settings, nor once its files changed."""
    folder = save_model(tmp_path / "model")
    first = make(folder)
    engine = first.load().engine
    assert make(folder, max_tokens=9).load().engine is engine
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: make(folder).load().engine).result() is not engine
    others = [{"dtype": "bfloat16"}, {"batch_tokens": 50}, {"beam_width": 2}, {"form": "completion"}]
    assert all(make(folder, **settings).load().engine is not engine for settings in others)
    save_model(folder, seed=1)
    changed = make(folder)
    assert changed.load().engine is not engine
    assert ask(changed, translations()) != ask(first, translations())
    kept = weakref.ref(engine)
    del engine, first
    gc.collect()
    assert kept() is None


def test_form_and_template_variables(chat_dir: Path) -> None:
    prompt = translations()[0]

    def text(**settings: Any) -> str:
        loaded = make(chat_dir, **settings).load()
        tokens = loaded.job(0, prompt).tree.tokens
        assert tokens.count(0) == 1
        return str(loaded.tokens.decode(tokens, skip_special_tokens=False))

    assert text() == f"<s><user>{prompt}</s><assistant>"
    assert text(template={"think": False}).endswith("[False]")
    assert text(form="completion").endswith("English:")


def test_what_the_template_refuses_is_alone_in_failing(tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    )
    model = make(save_model(tmp_path, template=template), form="auto")
    system = Prompt("a", messages=[{"role": "system", "content": "b"}, {"role": "user", "content": "c"}])
    refused, good = ask(model, [system, alignments()[0]])
    assert isinstance(refused, LLMError) and "no system role" in str(refused)
    assert parse_names(good)


def test_adapter_is_merged(base_dir: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="needs the extra 'huggingface'")
    model = transformers.AutoModelForCausalLM.from_pretrained(base_dir)
    tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    torch.manual_seed(1)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.5)
    tuned.save_pretrained(tmp_path / "adapter")
    with_adapter = make(base_dir, adapter=str(tmp_path / "adapter"))
    prompts = [Prompt(text) for text in ("one", "two", "three", "four")]
    assert ask(with_adapter, prompts) != ask(make(base_dir), prompts)
    merged = tuned.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    transformers.AutoTokenizer.from_pretrained(base_dir).save_pretrained(tmp_path / "merged")
    assert ask(with_adapter, prompts) == ask(make(tmp_path / "merged"), prompts)
    assert with_adapter.identity != make(base_dir).identity

    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"no adapter_model\.safetensors"):
        ask(make(base_dir, adapter=str(tmp_path / "adapter")), prompts)


def test_nothing_is_unpickled_and_no_foreign_code_runs(base_dir: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "pickled", template=None)
    weights = tmp_path / "pickled" / "model.safetensors"
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        ask(make(tmp_path / "pickled"), ["a"])

    foreign = save_model(tmp_path / "foreign", template=None)
    config = json.loads((foreign / "config.json").read_text(encoding="utf-8"))
    config.update(model_type="foreign", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
    (foreign / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (foreign / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trust_remote_code|foreign"):
        ask(make(foreign), ["a"])
    assert not (tmp_path / "ran").exists()


def test_identity_tells_weights_apart(base_dir: Path) -> None:
    before = make(base_dir).identity
    assert make(base_dir, max_tokens=13).identity != before
    (base_dir / "note.txt").write_text("other weights", encoding="utf-8")
    assert make(base_dir).identity != before


def test_what_is_gone_is_said() -> None:
    with pytest.raises(ValueError, match=r"prior_weight.*gone"):
        make_huggingface("m", prior_weight=0.5)
