import copy
import json
import math
import multiprocessing
import pickle
import subprocess
import sys

import pytest

from spacy_eat.llm import embedded
from spacy_eat.llm.embedded import Embedded, make_embedded
from spacy_eat.llm.prompts import Completion, LLMError, Prompt
from spacy_eat.weights.gemma import base_files

from ..weights.test_adapters import write_adapter

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
        base_files()
    except ImportError as error:
        pytest.skip(str(error))
    return Embedded(dtype="float32")


# The tokenizer


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
