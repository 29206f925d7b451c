"""The embedded LLM: the real model, prepared in the user's cache folder at the first run (a minute)."""

import json
import math
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.local import LocalBackend
from spacy_eat.llm.prompts import LLMError, Prompt, Response
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.llm.tasks.markers import make_marker_placement_task
from spacy_eat.llm.tasks.naming import WORDS, read_type, type_prompts
from spacy_eat.llm.tasks.translation import make_translation_task
from spacy_eat.types import Span
from spacy_eat.weights.gemma import base_files

from ..weights.test_adapters import write_adapter
from .tiny import parse_names

pytest.importorskip("torch", reason="needs the extra 'embedded'")
pytest.importorskip("transformers", reason="needs the extra 'embedded'")

SOURCE = "联想集团由柳传志于1984年在北京创立。"


def alignment(text: str, *names: str, lang: str = "zh") -> Prompt:
    return make_alignment_task().prompt(text, "", names, lang)


def translation(text: str, lang: str = "zh") -> Prompt:
    return make_translation_task().prompt(text, lang)


@pytest.fixture(scope="module")
def model() -> LocalBackend:
    try:
        base_files()
    except ImportError as error:
        pytest.skip(str(error))
    return make_embedded(dtype="float32")


@pytest.mark.model
def test_tokenizer_is_the_model_s_own(model: LocalBackend) -> None:
    """A wrong tokenizer costs nats: 3.3 for each character of English. With the right one the base model has
    0.5, and 0.6 after tuning."""
    loaded = model.load()
    text = (
        "The Great Wall of China is a series of fortifications that were built across the historical "
        "northern borders of ancient Chinese states and Imperial China as protection against various "
        "nomadic groups from the Eurasian Steppe. Several walls were built from as early as the 7th "
        "century BC, with selective stretches later joined together by Qin Shi Huang, the first emperor "
        "of China."
    )
    assert loaded.tokens.encode("Chinese").tokens == ["<bos>", "Chinese"]
    search: Any = loaded.engine.search  # type: ignore[attr-defined]
    tree = loaded.job(0, Prompt(text)).tree  # type: ignore[union-attr]
    (states,) = search.compute([tree])
    table = search.logits(states).log_softmax(-1)
    nats = -sum(float(table[i, token]) for i, token in enumerate(tree.tokens[1:]))
    assert nats / len(text) < 1.0


@pytest.mark.model
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
def test_texts_come_back_from_their_tokens(model: LocalBackend, text: str) -> None:
    tokenizer = model.load().tokens
    encoding = tokenizer.encode(text)
    assert encoding.tokens[0] == "<bos>"
    assert tokenizer.decode(encoding.ids[1:], skip_special_tokens=False) == text
    assert not {0, 1, 2, 3} & set(encoding.ids[1:])  # nothing in a text is a control token


@pytest.mark.model
def test_answers_are_words_of_the_source_and_the_best_is_right(model: LocalBackend) -> None:
    source = "𠮷野家的龘靐在东京。"
    asked = [alignment(SOURCE, "Lenovo Group", "Liu Chuanzhi", "Beijing"), alignment(source, "Tokyo")]
    first, second = ([dict(row) for row in json.loads(answer)] for answer in model.generate(asked))
    assert all(1 < len(row) <= 6 for row in first + second)
    assert next(iter(first[2])) == "北京"
    assert next(iter(second[0])) == "东京"
    for row, text in ((row, text) for rows, text in ((first, SOURCE), (second, source)) for row in rows):
        assert all(answer in text or answer == "none" for answer in row)
        assert list(row.values()) == sorted(row.values(), reverse=True)


@pytest.mark.model
def test_markers_are_placed_by_a_model_that_was_not_tuned_for_it(model: LocalBackend) -> None:
    """Few-shot, and the best place of each name is right."""
    english = "Lenovo Group was founded by Liu Chuanzhi in Beijing in 1984."
    names = {"Lenovo Group": "联想集团", "Liu Chuanzhi": "柳传志", "Beijing": "北京"}
    spans = [Span(english.index(name), english.index(name) + len(name)) for name in names]
    base = make_embedded(adapter=None, dtype="float32")
    for answer in base.generate(make_marker_placement_task().prompts(SOURCE, english, spans, "zh")):
        pairs = json.loads(str(answer))
        assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)
        start, end, _ = next(pair for pair in pairs if pair[0] is not None)
        assert SOURCE[start:end] == names.pop(next(iter(names)))


@pytest.mark.model
def test_types_are_chosen_together_as_alone(model: LocalBackend) -> None:
    asked = [(name, name) for name in ("联想集团", "柳传志", "北京")]
    prompts = type_prompts(SOURCE, asked, "zh", WORDS, tokens=False)
    together = [read_type(answer, WORDS) for answer in model.generate(prompts)]
    alone = [read_type(model.generate([prompt])[0], WORDS) for prompt in prompts]
    assert [label for label, _ in together] == [label for label, _ in alone]
    assert [score for _, score in together] == pytest.approx([score for _, score in alone], abs=1e-4)
    assert "ORG" in {label for label, _ in together}


@pytest.mark.model
def test_names_are_found_before_the_translation(model: LocalBackend) -> None:
    text = "马云离开阿里巴巴后，在东京大学担任客座教授。"
    made: list[str] = []
    loaded = model.load()
    generate = loaded.engine.generate

    def remembering(*args: Any) -> Any:
        for number, generated in generate(*args):
            made.append(loaded.tokens.decode(generated.tokens))
            yield number, generated

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded.engine, "generate", remembering)
        (answer,) = model.generate([translation(text)])
        (plain,) = make_with(model, draft=False).generate([translation(text)])
    draft, english, undrafted = made
    assert " = " in draft and draft.split(" = ")[0].strip() in text
    assert answer == english.strip() and "=" not in answer and "\n" not in answer
    assert plain == undrafted.strip()


def make_with(model: LocalBackend, **settings: Any) -> LocalBackend:
    """RETURNS (LocalBackend): Another backend on the model that is loaded already."""
    from spacy_eat.llm.local import Loaded

    other = make_embedded(dtype="float32", **settings)
    other._loaded = Loaded(model.load().engine, other)
    return other


SENTENCES = {
    "zh": [
        "东京位于日本。",
        "他说。",
        "IBM在纽约。",
        "马云创办了阿里巴巴。",
        "鲁迅生于绍兴，后去日本留学。",
        "巴黎圣母院发生火灾。",
        "京沪高铁连接北京和上海。",
        "梅西转会巴黎圣日耳曼。",
        "长江流经武汉、南京。",
        "李安执导了《卧虎藏龙》。",
        "世界卫生组织的总部在日内瓦。",
        "今天下雨，大家都没带伞。",
    ],
    "ja": [
        "任天堂は京都の会社だ。",
        "今日は雨だ。",
        "夏目漱石は東京で生まれた。",
        "大谷翔平はドジャースの選手だ。",
        "富士山は静岡県と山梨県にある。",
        "トヨタは愛知県に本社を置く。",
        "NHKの本社は渋谷にある。",
        "織田信長は安土城を築いた。",
        "札幌でG7の会合が開かれた。",
        "川端康成がノーベル賞を受けた。",
        "琵琶湖は日本で一番大きい湖だ。",
        "彼女はパリへ行った。",
    ],
}
NAMES = ("Tokyo", "Alibaba", "Nintendo")  # of most sentences none is asked for rightly: near ties abound


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("lang", SENTENCES)
def test_a_sentence_is_answered_the_same_whatever_stands_beside_it(model: LocalBackend, lang: str) -> None:
    asked = [
        prompt
        for text in SENTENCES[lang]
        for prompt in (translation(text, lang), alignment(text, *NAMES, lang=lang))
    ]

    def answers(size: int) -> list[Response]:
        backend = make_with(model)
        return [
            answer for i in range(0, len(asked), size) for answer in backend.generate(asked[i : i + size])
        ]

    alone = answers(1)
    assert all(isinstance(answer, str) for answer in alone)
    for size in (3, 16):
        assert answers(size) == alone  # texts, and scores to the last digit


@pytest.mark.model
def test_failures_stay_with_their_prompt(model: LocalBackend) -> None:
    prompts = [
        translation("长" * 20_000),
        alignment("在\ud800北京", "Beijing"),
        alignment("\n", "Beijing"),
        alignment(SOURCE, "Beijing"),
    ]
    long, odd, empty, good = model.generate(prompts)
    assert isinstance(long, LLMError) and not long.retryable and "4096" in str(long)
    assert all(answer in "在\ud800北京" or answer == "none" for answer in parse_names(str(odd))[0])
    assert parse_names(str(empty)) == [["none"]]
    assert parse_names(str(good))[0][0] == "北京"


@pytest.mark.model
def test_any_prompt_is_continued(model: LocalBackend) -> None:
    """Also those of tasks that know nothing of completions."""
    (answer,) = model.generate([Prompt("The capital of France is Paris. The capital of Japan is")])
    assert answer.startswith("Tokyo")  # type: ignore[union-attr]
    assert answer.usage.requests == 1 and answer.usage.prompt_tokens > 5 < answer.usage.completion_tokens


@pytest.mark.model
def test_a_forked_process_answers(model: LocalBackend) -> None:
    """What `nlp.pipe(n_process=2)` does on Linux, with the model loaded before."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork")
    asked = [alignment(SOURCE, "Beijing")]
    (expected,) = model.generate(asked)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(str(model.generate(asked)[0])))
    process.start()
    answer = queue.get(timeout=300)
    process.join()
    assert parse_names(answer) == parse_names(str(expected))


@pytest.mark.model
def test_threads_of_torch_are_left_as_they_were(model: LocalBackend) -> None:
    import torch

    seen = []
    search: Any = model.load().engine.search  # type: ignore[attr-defined]
    compute = search.compute
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                search, "compute", lambda trees: seen.append(torch.get_num_threads()) or compute(trees)
            )
            model.generate([alignment(SOURCE, "Beijing")])
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.model
def test_score_is_the_log_probability(model: LocalBackend) -> None:
    """Recomputed from the model's own table, over the words of a Chinese text."""
    from spacy_eat.llm.decoding import TokenTree

    plain = make_with(model, check_weight=0.0)
    loaded = plain.load()
    search: Any = loaded.engine.search  # type: ignore[attr-defined]
    asked = alignment(SOURCE, "Beijing")
    ((ranked,),) = (json.loads(str(answer)) for answer in plain.generate([asked]))
    (prompt,) = loaded.encode([f"Chinese: {SOURCE}\nEnglish name: Beijing\nChinese name:"], begin=True)
    for text, score in ranked[:2]:
        (ids,) = loaded.encode([f" {text}\n"], begin=False)
        table = search.logits(search.compute([TokenTree([*prompt, *ids])])[0]).log_softmax(-1)
        total = sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(ids))
        assert math.isfinite(score)
        # Words of other scripts are left out: a little probability more for each token.
        assert total - 0.01 < score < total + 0.5


def test_identity_tells_models_apart(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    adapter = str(tmp_path)
    identities = [
        make_embedded(None).identity,
        make_embedded(adapter).identity,
        make_embedded(adapter, check_weight=0.0).identity,
        make_embedded(adapter, draft=False).identity,
        make_embedded(None, beam_width=3).identity,
        make_embedded(None, dtype="float32").identity,
    ]
    assert len({json.dumps(identity) for identity in identities}) == len(identities)
    assert make_embedded(None).identity == identities[0]


@pytest.mark.parametrize(
    "setting",
    [
        {"beam_width": 0},
        {"batch_size": 0},
        {"max_batch_tokens": 0},
        {"threads": 0},
        {"prior_weight": 0.5},
        {"check_weight": -1.0},
        {"dtype": "int4"},
    ],
)
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_embedded(**setting)


def test_nothing_heavy_is_imported_before_the_first_prompt() -> None:
    code = (
        "import sys; from spacy_eat.llm.embedded import make_embedded; make_embedded()\n"
        "print([m for m in ('transformers', 'tokenizers', 'safetensors', 'gguf') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout.strip() == "[]"
