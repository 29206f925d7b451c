import copy
import hashlib
import json
import math
import multiprocessing
import pickle
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError

import pytest

from spacy_eat.llm import embedded
from spacy_eat.llm.embedded import BASE, Embedded, find_adapter, make_embedded, model_dir, model_key
from spacy_eat.llm.prompts import Completion, LLMError, Prompt
from spacy_eat.weights.gguf import (
    BYTE,
    CONTROL,
    NORMAL,
    USER_DEFINED,
    build_tokenizer,
    last_merge,
    merge_lora,
)

torch = pytest.importorskip("torch", reason="needs the extra 'embedded'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'embedded'")

SOURCE = "联想集团由柳传志于1984年在北京创立。"
EXAMPLES = "Chinese: 这座桥横跨湄公河，由丰田汽车公司捐建。\nEnglish name: Mekong\nChinese name: 湄公河\n\n"


def alignment(source=SOURCE, names=("Lenovo Group", "Liu Chuanzhi", "Beijing"), **settings):
    form = "English name: {}\nChinese name:"
    return Completion(
        prefix=f"Chinese: {source}\n",
        suffixes=tuple(form.format(name) for name in names),
        source=source,
        priors=tuple(form.format(name) for name in ("name", "He said")),
        examples=EXAMPLES,
        max_tokens=48,
        **settings,
    )


def translation(source=SOURCE, **settings):
    return Completion(
        prefix=f"Chinese: {source}\nEnglish:",
        suffixes=("",),
        examples="Chinese: 你好。\nEnglish: Hello.\n\n",
        **settings,
    )


@pytest.fixture(scope="module")
def model():
    """The real model: prepared in the user's cache folder at the first run, about a minute."""
    try:
        next(embedded._base_chunks())
    except ImportError as error:
        pytest.skip(str(error))
    return Embedded(dtype="float32")


# The tokenizer

TOKENS = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "\n",
    "\n\n",
    "  ",
    "a",
    "b",
    "c",
    "▁",
    "ab",
    "bc",
    "abc",
    "▁a",
    "▁ab",
]
SCORES = [-1000.0] * 7 + [-30.0 - i for i in range(4)] + [-2.0, -1.0, -3.0, -4.0, -5.0]
KINDS = [CONTROL] * 4 + [USER_DEFINED] * 3 + [NORMAL] * 9


@pytest.fixture(scope="module")
def tiny_tokenizer():
    tokens = TOKENS + [f"<0x{n:02X}>" for n in range(256)]
    return build_tokenizer(tokens, SCORES + [0.0] * 256, KINDS + [BYTE] * 256, unk="<unk>", bos="<bos>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", ["ab"]),
        ("abc", ["abc"]),
        ("abca", ["abc", "a"]),
        ("aab", ["a", "ab"]),
        ("cab", ["c", "ab"]),
        (" ab", ["▁ab"]),
        ("a  b", ["a", "▁▁", "b"]),
        ("a\n\n\nb", ["a", "\n\n", "\n", "b"]),
        ("a京", ["a", "<0xE4>", "<0xBA>", "<0xAC>"]),
    ],
)
def test_merges_follow_the_scores(tiny_tokenizer, text, expected):
    encoding = tiny_tokenizer.encode(text)
    assert encoding.tokens == ["<bos>", *expected]
    assert tiny_tokenizer.decode(encoding.ids[1:]) == text


def test_last_merge():
    scores = dict(zip(TOKENS, SCORES, strict=True))
    assert last_merge("▁ab", scores) == ("▁", "ab")
    assert last_merge("ab", scores) == ("a", "b")
    assert last_merge("abc", {**scores, "ab": -0.5}) == ("ab", "c")
    assert last_merge("abc", {**scores, "bc": -0.5}) == ("a", "bc")
    assert last_merge("a", scores) is None
    assert last_merge("cc", {"c": -1.0, "cc": -2.0}) == ("c", "c")
    assert last_merge("ccb", {"ccb": -2.0}) is None


def test_tokenizer_is_the_model_s_own(model):
    """A wrong tokenizer costs nats: 3.3 for each character of English. With the
    right one the base model has 0.5, and 0.6 after tuning."""
    engine = model.load()
    text = (
        "The Great Wall of China is a series of fortifications that were built across the historical "
        "northern borders of ancient Chinese states and Imperial China as protection against various "
        "nomadic groups from the Eurasian Steppe. Several walls were built from as early as the 7th "
        "century BC, with selective stretches later joined together by Qin Shi Huang, the first emperor "
        "of China."
    )
    assert engine.tokenizer.encode("Chinese").tokens == ["<bos>", "Chinese"]
    tree = engine.trunk(text)
    (states,) = engine.decoder.compute([tree])
    table = engine.decoder._logits(states).log_softmax(-1)
    nats = -sum(float(table[i, token]) for i, token in enumerate(tree.tokens[1:]))
    assert nats / len(text) < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello  world,\n\n\tthis is   it.",
        "𠮷野家の龘と靐齉😀👩‍👩‍👧",
        "<bos> <eos> <unused7> <start_of_turn>",
        "联想集团由柳传志于1984年在北京创立。",
        "서울특별시 Ελλάδα Москва القاهرة",
    ],
)
def test_texts_come_back_from_their_tokens(model, text):
    tokenizer = model.load().tokenizer
    encoding = tokenizer.encode(text)
    assert encoding.tokens[0] == "<bos>"
    assert tokenizer.decode(encoding.ids[1:], skip_special_tokens=False) == text
    assert not {0, 1, 2, 3} & set(encoding.ids[1:])  # nothing in a text is a control token


# The answers


def test_answers_are_substrings_and_the_best_is_right(model):
    source = "𠮷野家的龘靐在东京。"
    asked = [Prompt("1", completion=alignment()), Prompt("2", completion=alignment(source, ("Tokyo",)))]
    first, second = ([dict(row) for row in json.loads(answer)] for answer in model.generate(asked))
    assert all(1 < len(row) <= model.beam_width for row in first + second)
    assert next(iter(first[2])) == "北京"
    assert next(iter(second[0])) == "东京"
    for row, text in ((row, text) for rows, text in ((first, SOURCE), (second, source)) for row in rows):
        assert all(answer in text for answer in row)
        assert list(row.values()) == sorted(row.values(), reverse=True)


def test_translation_is_one_line(model):
    (answer,) = model.generate([Prompt("1", completion=translation(max_tokens=24))])
    assert "Beijing" in answer and "\n" not in answer and answer == answer.strip()


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_batches_do_not_change_answers(model, dtype):
    sources = [
        "东京位于日本。",
        SOURCE,
        "周一，斯坦福大学医学院的科学家宣布发明了新型诊断工具。",
        "他说。",
        "IBM在纽约。",
    ]
    asked = [Prompt(s, completion=translation(s, max_tokens=16)) for s in sources]
    asked += [Prompt(f"{s}?", completion=alignment(s, ("Tokyo", "Beijing"))) for s in sources]
    one_by_one = Embedded(dtype=dtype, batch_size=1)
    expected = [one_by_one.generate([prompt])[0] for prompt in asked]
    together = Embedded(dtype=dtype).generate(asked)
    assert together[: len(sources)] == expected[: len(sources)]
    for rows, again in zip(together[len(sources) :], expected[len(sources) :], strict=True):
        for row, other in zip(json.loads(rows), json.loads(again), strict=True):
            assert row[0][0] == other[0][0]
            assert dict(row) == pytest.approx(dict(other), abs=0.02)


def test_failures_stay_with_their_prompt(model):
    failed = model.usage.failed
    prompts = [
        Prompt("long", completion=translation("长" * 20_000)),
        Prompt("odd", completion=alignment("在\ud800北京", ("Beijing",))),
        Prompt("empty", completion=alignment("\n", ("Beijing",))),
        Prompt("good", completion=alignment(SOURCE, ("Beijing",))),
    ]
    [[long, odd, empty, good]] = model([prompts])
    assert isinstance(long, LLMError) and not long.retryable and "4096" in str(long)
    assert model.usage.failed == failed + 1
    assert all(answer in "在\ud800北京" for answer, _ in json.loads(odd)[0])
    assert json.loads(empty) == [[]]
    assert json.loads(good)[0][0][0] == "北京"


def test_any_prompt_is_continued(model):
    """Also those of tasks that know nothing of completions."""
    before = copy.copy(model.usage)
    ((answer,),) = model([["The capital of France is Paris. The capital of Japan is"]])
    assert answer.startswith("Tokyo")
    assert model.usage.requests == before.requests + 1
    assert model.usage.prompt_tokens > before.prompt_tokens
    assert model.usage.completion_tokens > before.completion_tokens


def test_copies_carry_no_weights(model):
    model.load()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other._engine is None
        assert other.identity == model.identity
    assert len(pickle.dumps(model)) < 10_000


def test_a_forked_process_answers(model):
    """What `nlp.pipe(n_process=2)` does on Linux, with the model loaded before."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    asked = [Prompt("1", completion=alignment(SOURCE, ("Beijing",)))]
    (expected,) = model.generate(asked)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(model.generate(asked)))
    process.start()
    (answer,) = queue.get(timeout=300)
    process.join()
    ranked, again = json.loads(expected)[0], json.loads(answer)[0]
    assert [text for text, _ in ranked] == [text for text, _ in again]


def test_identity_tells_models_apart(tmp_path):
    write_adapter(tmp_path)
    identities = [
        Embedded(None).identity,
        Embedded(tmp_path).identity,
        Embedded(tmp_path, check_weight=0.0).identity,
        Embedded(None, beam_width=3).identity,
        Embedded(None, prior_weight=0.5).identity,
        Embedded(None, dtype="float32").identity,
    ]
    assert len({json.dumps(identity) for identity in identities}) == len(identities)
    assert Embedded(None).identity == identities[0]


@pytest.mark.parametrize(
    "setting",
    [
        {"beam_width": 0},
        {"batch_size": 0},
        {"threads": 0},
        {"prior_weight": -1.0},
        {"check_weight": -1.0},
        {"dtype": "int4"},
    ],
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_embedded(**setting)


# The adapter


def tiny_llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config)


def write_adapter(
    folder, modules=("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"), **config
):
    from safetensors.torch import save_file

    shapes = {"q_proj": (8, 8), "down_proj": (8, 12)}
    weights = {}
    torch.manual_seed(1)
    for module in modules:
        rows, columns = shapes[module.rsplit(".", 1)[1]]
        weights[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, columns)
        weights[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "down_proj"],
        "base_model_name_or_path": BASE,
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


@pytest.mark.parametrize("scaling", [{"use_rslora": False}, {"use_rslora": True}])
def test_merged_as_peft_merges(tmp_path, scaling):
    peft = pytest.importorskip("peft", reason="the reference is peft")
    modules = [f"model.layers.{n}.{m}" for n in (0, 1) for m in ("self_attn.q_proj", "mlp.down_proj")]
    write_adapter(tmp_path, modules, **scaling)
    ours, theirs = tiny_llama(), tiny_llama()
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    merge_lora(ours, tmp_path)
    expected = peft.PeftModel.from_pretrained(theirs, tmp_path).merge_and_unload()
    for (name, mine), (_, other) in zip(ours.named_parameters(), expected.named_parameters(), strict=True):
        torch.testing.assert_close(mine, other)
        assert torch.equal(mine, before[name]) == ("q_proj" not in name and "down_proj" not in name)


def test_adapter_that_does_not_fit(tmp_path):
    write_adapter(tmp_path, ["model.layers.7.self_attn.q_proj"])
    with pytest.raises(ValueError, match=r"another base model.*layers\.7"):
        merge_lora(tiny_llama(), tmp_path)
    write_adapter(tmp_path, peft_type="IA3")
    with pytest.raises(ValueError, match="no plain LoRA"):
        merge_lora(tiny_llama(), tmp_path)
    write_adapter(tmp_path, use_dora=True)
    with pytest.raises(ValueError, match="use_dora"):
        merge_lora(tiny_llama(), tmp_path)


def test_adapter_is_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        make_embedded(adapter=str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="Qwen/Qwen2.5-0.5B")
    with pytest.raises(ValueError, match=r"Qwen2\.5-0\.5B"):
        make_embedded(adapter=str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="google/gemma-3-270m-it")
    with pytest.raises(ValueError, match="270m-it"):
        make_embedded(adapter=str(tmp_path))
    write_adapter(tmp_path, base_model_name_or_path="google/gemma-3-270m")
    assert find_adapter(str(tmp_path)) == tmp_path
    assert find_adapter(None) is None


def test_another_adapter_is_another_model(tmp_path):
    write_adapter(tmp_path)
    key = model_key(tmp_path)
    assert key == model_key(tmp_path) != model_key(None)
    write_adapter(tmp_path, lora_alpha=7)
    assert model_key(tmp_path) != key


# The cache folder

BYTES = b"not really weights"


@pytest.fixture
def fake_base(monkeypatch, tmp_path):
    """Small weights, and a conversion that takes a while and notes that it ran."""
    log = tmp_path / "log"

    def convert(path, output_dir, adapter):
        assert path.read_bytes() == BYTES
        with log.open("a", encoding="utf-8") as file:
            file.write("converted\n")
        output_dir.mkdir()
        time.sleep(0.3)
        (output_dir / "model.safetensors").write_bytes(BYTES)

    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "_base_chunks", lambda: iter([BYTES[:5], BYTES[5:]]))
    monkeypatch.setattr(embedded, "BASE_SHA256", hashlib.sha256(BYTES).hexdigest())
    monkeypatch.setattr(embedded, "convert_gguf", convert)
    return log


def test_prepared_once_by_many_processes(fake_base, capfd):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=model_dir, args=(None,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    folder = model_dir(None)
    assert (folder / "model.safetensors").read_bytes() == BYTES
    assert fake_base.read_text(encoding="utf-8") == "converted\n"
    assert [p for p in folder.parent.iterdir() if ".tmp" in p.name] == []
    assert capfd.readouterr().err.count("Preparing the embedded LLM") == 1


def test_interrupted_preparation_leaves_nothing(fake_base, monkeypatch):
    def interrupted(path, output_dir, adapter):
        output_dir.mkdir()
        (output_dir / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    convert = embedded.convert_gguf
    monkeypatch.setattr(embedded, "convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model_dir(None)
    cache = embedded.cache_folder()
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    # As after a kill, when nothing can be cleaned up:
    stale = cache / f"{BASE}-{model_key(None)}.tmp123"
    (stale / "model").mkdir(parents=True)
    monkeypatch.setattr(embedded, "convert_gguf", convert)
    assert (model_dir(None) / "model.safetensors").read_bytes() == BYTES
    assert not stale.exists()


def test_damaged_weights(fake_base, monkeypatch):
    monkeypatch.setattr(embedded, "BASE_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"damaged.*--force-reinstall"):
        model_dir(None)
    assert not fake_base.exists()


def test_missing_extra(monkeypatch, tmp_path):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded, "distribution", missing)
    with pytest.raises(ImportError, match=r'pip install "spacy-eat\[embedded\]"'):
        Embedded(None).generate([Prompt("Hello")])


def test_nothing_heavy_is_imported_before_the_first_prompt():
    code = (
        "import sys; from spacy_eat.llm.embedded import make_embedded; make_embedded()\n"
        "print([m for m in ('transformers', 'tokenizers', 'safetensors', 'gguf') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout.strip() == "[]"


def test_score_is_the_log_probability_without_priors(model):
    """Recomputed from the model's own table, over the words of a Chinese text."""
    plain = Embedded(dtype="float32", prior_weight=0.0, check_weight=0.0)
    plain._engine = engine = model.load()
    form = alignment(SOURCE, ("Beijing",))
    ((ranked,),) = (json.loads(answer) for answer in plain.generate([Prompt("1", completion=form)]))
    examples = "" if model.adapter else form.examples
    prompt = engine.tokenizer.encode(examples + form.prefix + form.suffixes[0]).ids
    for text, score in ranked[:2]:
        ids = engine.tokenizer.encode(f" {text}\n", add_special_tokens=False).ids
        tree = embedded.TokenTree([*prompt, *ids])
        table = engine.decoder._logits(engine.decoder.compute([tree])[0]).log_softmax(-1)
        total = sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(ids))
        assert math.isfinite(score)
        # Words of other scripts are left out: a little probability more for each token.
        assert total - 0.01 < score < total + 0.5
