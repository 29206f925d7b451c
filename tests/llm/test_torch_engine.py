import itertools
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_eat.llm.decoding import NEAR, Question, TokenTree, find_loop
from spacy_eat.llm.torch_engine import Decoder, compute_in_blocks, steady_rows

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
    ours = decoder.logits(torch.cat(states)).log_softmax(-1)
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
            decoder.logits(state)[-1].log_softmax(-1), reference(tree.tokens)[-1], atol=2e-5, rtol=1e-4
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
    ((number, (text, _)),) = decoder.generate([(TokenTree(prompt), 14)], [END])
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
    assert all(1 <= len(text) <= 12 and END not in text for _, (text, _) in results[0])


def ask(answers, names=((3, 4), (5,)), trunk=(2, 9, 10)):
    return Question(TokenTree(trunk), names, answers)


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
@given(answers=answer_sets)
def test_a_wide_beam_finds_what_brute_force_finds(reference, answers):
    question = ask(answers)
    (found,) = Decoder(tiny_model(), beam_width=1000).choose([question])
    for name, ranked in zip(question.names, found, strict=True):
        expected = brute_force(reference, [2, 9, 10, *name], answers)
        assert dict(ranked) == pytest.approx(expected, abs=1e-3)
        assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)


@settings(max_examples=15, deadline=None)
@given(sets=st.lists(answer_sets, min_size=2, max_size=6), width=st.integers(1, 6))
def test_choices_are_the_same_in_any_batch(sets, width):
    def run(batch_size):
        decoder = Decoder(tiny_model(), beam_width=width, batch_size=batch_size)
        return list(decoder.choose([ask(answers) for answers in sets]))

    single, many = run(1), run(16)
    for one, other, answers in zip(single, many, sets, strict=True):
        for ranked, again in zip(one, other, strict=True):
            assert [a for a, _ in ranked] == [a for a, _ in again]
            # Some processors round by the size of a batch.
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
    question.vocabulary = np.array(ids)
    found, other = decoder.choose([question, whole])  # two vocabularies in one batch
    for name, ranked, more in zip(question.names, found, other, strict=True):
        expected = brute_force(restricted, [2, 9, 10, *name], answers)
        assert dict(ranked) == pytest.approx(expected, abs=1e-3)
        assert all(score > dict(more)[answer] for answer, score in ranked)


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
    assert list(decoder.choose([])) == []
    nothing, something = decoder.choose([ask({}), ask({"a": (10, END)})])
    assert nothing == [[], []]
    assert [[answer for answer, _ in ranked] for ranked in something] == [["a"], ["a"]]


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
    ((_, made),) = Decoder(model).generate([(TokenTree([2, 7]), 500)], [END])
    assert made == ([7], False)


def test_answers_are_json():
    (found,) = Decoder(tiny_model()).choose([ask({"京": (10, END)})])
    assert json.loads(json.dumps(found)) == [[["京", pytest.approx(score)] for _, score in r] for r in found]


def test_from_how_many_rows_on_results_are_the_same():
    """Of a layer that adds up one way for five rows or more, and another way for fewer."""
    model = tiny_model()

    class Picky(torch.nn.Linear):
        steady = 5

        def forward(self, rows):
            result = super().forward(rows)
            return result if len(rows.reshape(-1, rows.shape[-1])) >= self.steady else result * (1 + 1e-6)

    picky = Picky(32, 32)
    model.model.layers[-1].self_attn.o_proj = picky  # the last one of its shape is tried
    assert steady_rows(model) == 8
    Picky.steady = 64
    assert steady_rows(model) is None


def test_products_in_blocks_are_the_same_products():
    model, other = tiny_model().eval(), tiny_model().eval()
    shapes = []
    linear = torch.nn.functional.linear
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", lambda x, *w: shapes.append(len(x)) or linear(x, *w))
        compute_in_blocks(other)
    tokens = torch.arange(2, 39)[None]
    with torch.no_grad():
        torch.testing.assert_close(other(tokens).logits, model(tokens).logits, atol=1e-5, rtol=1e-4)
    assert shapes and set(shapes) == {32}
    layer = other.model.layers[0].mlp.up_proj
    rows = torch.randn(70, 32)
    result = layer(rows)
    assert result.shape == (70, 48)
    assert torch.equal(layer(rows[33:34]), result[33:34])


def test_a_tree_starts_again():
    tree = TokenTree([2, 3])
    tree.branch([4, 5], 1)
    tree.restart()
    assert tree.tokens == [2, 3] and tree.depths == [0, 1] and tree.computed == 0
    tree.extend([6])
    tree.settle()
    tree.extend([7])
    tree.restart()
    assert tree.tokens == [2, 3, 6]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_near_ties_are_decided_without_rounding(dtype):
    """The likeliest token is that of exact arithmetic, however many texts are computed at once."""
    torch.manual_seed(0)
    model = tiny_model().to(getattr(torch, dtype))
    decoder = Decoder(model)
    rows = torch.randn(64, 32).to(model.dtype)
    with torch.no_grad():  # all tokens differ by less than products are rounded to
        words = torch.randn(32) + 1e-6 * torch.randn(VOCABULARY, 32)
        model.lm_head.weight = torch.nn.Parameter(words.to(model.dtype))
        if dtype == "bfloat16":
            model.lm_head.weight[:, 0] += torch.linspace(0, 1, VOCABULARY).to(model.dtype)
    exact = rows.double() @ model.lm_head.weight.double().T
    exact[:, END] = -torch.inf
    expected = exact.argmax(dim=-1).tolist()
    assert decoder.likeliest(rows, [[END]] * 64) == expected
    assert [decoder.likeliest(row[None], [[END]])[0] for row in rows] == expected
    plain = torch.nn.functional.linear(rows, model.lm_head.weight).float()
    plain[:, END] = -torch.inf
    assert plain.argmax(dim=-1).tolist() != expected  # rounding would have decided otherwise


def test_a_model_that_overflows_says_something():
    """Logits that are no numbers, as half precision makes them of a model that was not made for it."""
    model = tiny_model()
    decoder = Decoder(model)
    rows = torch.full((2, 32), torch.nan)
    assert all(0 <= token < VOCABULARY for token in decoder.likeliest(rows, [[END]] * 2))
