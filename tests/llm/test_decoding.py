import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_eat.llm.decoding import (
    ANSWER_CHARS,
    NEAR,
    NO_EDGE,
    Decoder,
    Question,
    TokenTree,
    Vocabulary,
    answers_pattern,
    find_loop,
    possible_answers,
    scripts,
)

torch = pytest.importorskip("torch", reason="needs the extra 'embedded'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'embedded'")

VOCABULARY = 40
END = 1


def tiny_model(seed=0, **settings):
    """A random Gemma 3 with both kinds of layers and grouped heads."""
    torch.manual_seed(seed)
    config = transformers.Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        **{"sliding_window": 12, **settings},
    )
    model = transformers.Gemma3ForCausalLM(config)
    with torch.no_grad():  # so that next tokens differ in probability as a trained model's do
        model.model.embed_tokens.weight.normal_(std=0.4)
    return model


@pytest.fixture(scope="module")
def reference():
    """The same model, as transformers runs it."""
    model = tiny_model().eval()

    def log_probs(tokens):
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0].log_softmax(-1)

    return log_probs


@pytest.fixture(scope="module")
def decoder():
    return Decoder(tiny_model())


def path(tree, parents, index):
    tokens = []
    while index >= 0:
        tokens.append(tree.tokens[index])
        index = parents[index]
    return tokens[::-1]


token = st.integers(2, VOCABULARY - 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    trunk=st.lists(token, min_size=1, max_size=20),
    branches=st.lists(
        st.tuples(st.integers(0, 100), st.lists(token, min_size=1, max_size=6), st.booleans()), max_size=6
    ),
)
def test_tree_computes_what_transformers_computes_for_each_path(decoder, reference, trunk, branches):
    """Whatever the shape of the tree, and in however many steps it was computed,
    also where paths are longer than the sliding window."""
    tree = TokenTree(trunk)
    parents = list(range(-1, len(trunk) - 1))
    states = []
    for choice, tokens, compute in branches:
        above = [len(trunk) - 1, *range(len(trunk), len(tree))][choice % (len(tree) - len(trunk) + 1)]
        start = len(tree)
        tree.branch(tokens, above)
        parents += [above, *range(start, len(tree) - 1)]
        if compute:
            states.append(decoder.compute([tree])[0])
    if tree.computed < len(tree):
        states.append(decoder.compute([tree])[0])
    ours = decoder._logits(torch.cat(states)).log_softmax(-1)
    for index in range(len(tree)):
        theirs = reference(path(tree, parents, index))[-1]
        torch.testing.assert_close(ours[index], theirs, atol=2e-5, rtol=1e-4)


def test_head_is_shared_without_being_changed(decoder, reference):
    head = TokenTree([2, 5, 7, 9])
    decoder.compute([head])
    trees = [TokenTree([2, 5, 7, 9, last], head) for last in (11, 12)]
    for tree in trees:
        (state,) = decoder.compute([tree])
        torch.testing.assert_close(
            decoder._logits(state)[-1].log_softmax(-1), reference(tree.tokens)[-1], atol=2e-5, rtol=1e-4
        )
    assert len(head) == head.computed == 4


def test_greedy_is_the_greedy_of_transformers():
    decoder, model = Decoder(tiny_model(3)), tiny_model(3).eval()
    prompt = [2, 8, 20, 31]
    expected = list(prompt)
    for _ in range(14):
        with torch.no_grad():
            logits = model(torch.tensor([expected])).logits[0, -1]
        if len(expected) == len(prompt):
            logits[END] = -torch.inf
        expected.append(int(logits.argmax()))
        if expected[-1] == END:
            break
    ((number, text),) = decoder.generate([(TokenTree(prompt), 14)], [END])
    # The stop token is no part of the text, and a loop is cut.
    assert number == 0
    assert text == [t for t in expected[len(prompt) :] if t != END][: len(text)]
    assert text


@settings(max_examples=10, deadline=None)
@given(prompts=st.lists(st.lists(token, min_size=1, max_size=30), min_size=1, max_size=20))
def test_greedy_is_the_same_in_any_batch(prompts):
    results = []
    for batch_size, max_tokens in ((1, 1), (16, 4096), (5, 20)):
        decoder = Decoder(tiny_model(1), batch_size=batch_size, max_tokens=max_tokens)
        trees = [(TokenTree([2, *prompt]), 12) for prompt in prompts]
        results.append(sorted(decoder.generate(trees, [END])))
    assert results[0] == results[1] == results[2]
    assert [number for number, _ in results[0]] == list(range(len(prompts)))
    assert all(1 <= len(text) <= 12 and END not in text for _, text in results[0])


def ask(answers, names=((3, 4), (5,)), dummies=((6, 7), (8,)), trunk=(2, 9, 10)):
    return Question(TokenTree(trunk), names, dummies, answers)


def brute_force(reference, prompt, answers):
    """Every answer's log-probability, one at a time."""
    scores = {}
    for answer, tokens in answers.items():
        table = reference([*prompt, *tokens])
        scores[answer] = sum(float(table[len(prompt) - 1 + i, t]) for i, t in enumerate(tokens))
    return scores


answer_sets = st.lists(
    st.lists(st.integers(10, 14), min_size=1, max_size=4).map(tuple), min_size=1, max_size=25, unique=True
).map(lambda rows: {"".join(chr(87 + t) for t in row): (*row, END) for row in rows})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=answer_sets, weight=st.sampled_from([0.0, 0.5, 1.0]))
def test_a_wide_beam_finds_what_brute_force_finds(reference, answers, weight):
    question = ask(answers)
    priors = [brute_force(reference, [*question.trunk.tokens, *d], answers) for d in question.dummies]
    (found,) = Decoder(tiny_model(), beam_width=1000).choose([question], weight)
    for name, ranked in zip(question.names, found, strict=True):
        scores = brute_force(reference, [2, 9, 10, *name], answers)
        expected = {a: s - weight * np.mean([p[a] for p in priors]) for a, s in scores.items()}
        assert dict(ranked) == pytest.approx(expected, abs=1e-3)
        assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)


@settings(max_examples=15, deadline=None)
@given(sets=st.lists(answer_sets, min_size=2, max_size=6), width=st.integers(1, 6))
def test_choices_are_the_same_in_any_batch(sets, width):
    def run(batch_size):
        decoder = Decoder(tiny_model(), beam_width=width, batch_size=batch_size)
        return list(decoder.choose([ask(answers) for answers in sets], 0.5))

    single, many = run(1), run(16)
    for one, other, answers in zip(single, many, sets, strict=True):
        for ranked, again in zip(one, other, strict=True):
            assert [a for a, _ in ranked] == [a for a, _ in again]
            assert [s for _, s in ranked] == pytest.approx([s for _, s in again], abs=1e-4)
            assert 1 <= len(ranked) <= width
            assert {a for a, _ in ranked} <= set(answers)


def test_part_of_the_vocabulary_is_as_if_there_were_no_other_words():
    answers = {"ab": (10, 11, END), "b": (11, END), "c": (12, 10, END)}
    ids = [END, 10, 11, 12, 30]
    decoder, model = Decoder(tiny_model(), beam_width=10), tiny_model().eval()

    def restricted(tokens):
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0]
        hidden = torch.full_like(logits, -torch.inf)
        hidden[:, ids] = logits[:, ids]
        return hidden.log_softmax(-1)

    question, whole = ask(answers), ask(answers)
    question.vocabulary = Vocabulary(ids, decoder.model.lm_head)
    found, other = decoder.choose([question, whole])  # two vocabularies in one batch
    for name, ranked, more in zip(question.names, found, other, strict=True):
        expected = brute_force(restricted, [2, 9, 10, *name], answers)
        assert dict(ranked) == pytest.approx(expected, abs=1e-3)
        assert all(score > dict(more)[answer] for answer, score in ranked)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("12 、。😀𠀀", {"CJK"}),
        ("東京タワーのｱ", {"CJK"}),
        ("Größe и ΑΒ", {"LATIN", "CYRILLIC", "GREEK"}),
        ("▁the", {"LATIN"}),
    ],
)
def test_scripts(text, expected):
    assert scripts(text) == expected


def test_a_narrow_beam_keeps_what_a_greedy_walk_finds(reference):
    """With one hypothesis the first complete answer or better is returned, and
    its score is the true one."""
    answers = {"ab": (10, 11, END), "b": (11, END), "ba": (11, 10, END), "c": (12, END)}
    (found,) = Decoder(tiny_model(), beam_width=1).choose([ask(answers)])
    for name, ranked in zip(((3, 4), (5,)), found, strict=True):
        ((answer, score),) = ranked
        assert score == pytest.approx(brute_force(reference, [2, 9, 10, *name], answers)[answer], abs=1e-3)


def test_margin_only_drops_what_is_far_below_the_best(reference):
    answers = {
        "".join(map(str, row)): (*row, END)
        for length in (1, 2, 3)
        for row in itertools.product((10, 11, 12), repeat=length)
    }
    (everything,) = Decoder(tiny_model(), beam_width=1000).choose([ask(answers)])
    (close,) = Decoder(tiny_model(), beam_width=1000, margin=2.0).choose([ask(answers)])
    for ranked, kept in zip(everything, close, strict=True):
        near = {answer for answer, score in ranked if score > ranked[0][1] - 2.0}
        assert near <= {answer for answer, _ in kept}


def test_near_answers_are_checked_the_other_way_round(reference):
    rows = itertools.product((10, 11, 12, 13, 14), repeat=2)
    answers = {"".join(map(str, row)): (*row, END) for row in rows}
    weight, name = 3.0, (20, 21, 22)

    def check(number, answer):
        return None if answer == "1010" else ((15, *answers[answer][:-1]), name[number:])

    (plain,) = Decoder(tiny_model(), beam_width=30).choose([ask(answers)])
    question = ask(answers)
    question.check = check
    (checked,) = Decoder(tiny_model(), beam_width=30).choose([question], check_weight=weight)
    changed = []
    for number, (before, after) in enumerate(zip(plain, checked, strict=True)):
        close = [a for a, s in before if s > before[0][1] - NEAR and check(number, a)]
        reverse = {}
        for answer in close:
            lead, counted = check(number, answer)
            reverse[answer] = brute_force(reference, [2, 9, 10, *lead], {"": counted})[""]
        gains = {a: weight * (r - reverse[close[0]]) for a, r in reverse.items()}
        expected = {a: s + gains.get(a, 0.0) for a, s in before}
        assert dict(after) == pytest.approx(expected, abs=1e-2)
        assert [s for _, s in after] == sorted((s for _, s in after), reverse=True)
        changed.append([a for a, _ in before] != [a for a, _ in after])
    assert any(changed)


def test_nothing_to_choose_from():
    decoder = Decoder(tiny_model())
    assert list(decoder.choose([], 0.5)) == []
    nothing, something = decoder.choose([ask({}), ask({"a": (10, END)})], 0.5)
    assert nothing == [[], []]
    assert [[answer for answer, _ in ranked] for ranked in something] == [["a"], ["a"]]


@settings(max_examples=300)
@given(source=st.text(max_size=40) | st.text(alphabet="ab 京都東𠮷😀\u3000，\n\ud800é1", max_size=40))
def test_possible_answers_are_substrings(source):
    answers = possible_answers(source)
    assert len(set(answers)) == len(answers)
    for answer in answers:
        assert answer in source
        assert 0 < len(answer) <= ANSWER_CHARS
        assert answer == answer.strip() and "\n" not in answer
        answer.encode("utf-8")


@settings(max_examples=200)
@given(source=st.text(alphabet="京都東𠮷😀、", max_size=12))
def test_no_possible_answer_is_missed(source):
    every = {source[i:j] for i in range(len(source)) for j in range(i + 1, len(source) + 1)}
    outside = NO_EDGE | {"😀"}
    assert set(possible_answers(source)) == {a for a in every if a[0] not in outside and a[-1] not in outside}


@settings(max_examples=300)
@given(source=st.text(alphabet="京都AB1.+(\\ 、\n", max_size=14))
def test_pattern_matches_the_possible_answers_and_nothing_else(source):
    pattern = answers_pattern(source)
    answers = {answer for answer in possible_answers(source) if "\\" not in answer}
    candidates = {source[i:j] for i in range(len(source)) for j in range(i + 1, len(source) + 1)}
    candidates |= {"", "京B", "都京", "A京京"}
    assert {c for c in candidates if pattern and re.fullmatch(pattern, c)} == answers


def test_pattern_of_a_long_source_is_bounded():
    pattern = answers_pattern("".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
    assert len(pattern) < 8 * 5 * 5000


def test_possible_answers_keep_words_whole():
    answers = possible_answers("在IBM Japan工作2年")
    assert {"IBM", "IBM Japan", "Japan", "在IBM", "工作", "2", "2年"} <= set(answers)
    assert not {"IB", "BM", "M Japan", "IBM J", "apan工作"} & set(answers)
    assert possible_answers("Москва большая") == ["Москва", "Москва большая", "большая"]
    assert set(possible_answers("สวัสดี")) == {"ส", "สวั", "สวัส", "สวัสดี", "วั", "วัส", "วัสดี", "สดี", "ดี"}


def test_possible_answers_of_a_long_source_are_bounded():
    answers = possible_answers("".join(map(chr, range(0x4E00, 0x4E00 + 5000))))
    assert len(answers) <= 8 * 5000


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        ([], 0),
        ([1] * 15, 0),
        ([1] * 16, 1),
        ([5, 1, 2] + [3, 4] * 8, 2),
        ([5, 1, 2] + [3, 4] * 7, 0),
        (list(range(10)) * 3, 10),
        (list(range(10)) * 2, 0),
        (list(range(100)), 0),
    ],
)
def test_find_loop(tokens, length):
    assert find_loop(tokens) == length


def test_endless_repetition_is_cut():
    """A model that only ever says one thing."""
    model = tiny_model()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY, 32))
    ((_, text),) = Decoder(model).generate([(TokenTree([2, 7]), 500)], [END])
    assert text == [7]


def test_answers_are_json():
    (found,) = Decoder(tiny_model()).choose([ask({"京": (10, END)})], 0.5)
    assert json.loads(json.dumps(found)) == [[["京", pytest.approx(score)] for _, score in r] for r in found]
