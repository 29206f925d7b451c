"""Branch and bound over the places of markers, against all places one by one, on models made up by a test."""

import itertools
import math

import numpy as np
import pytest

from spacy_eat.llm import placing
from spacy_eat.llm.decoding import SpanSearch, within_memory
from spacy_eat.llm.placing import ForcedText, place_markers

OPEN, CLOSE, END, FIRST = 0, 1, 2, 3  # tokens; characters of a text are those from FIRST on
VOCABULARY = 16


class MadeUp(SpanSearch):
    """Knows of each path how likely each next token is. `wanted` makes some likelier: from a path to nats by
    token."""

    def __init__(self, wanted=None, batch_size=4, max_tokens=1000):
        super().__init__(beam_width=1, margin=1.0, batch_size=batch_size, max_tokens=max_tokens)
        self.wanted = wanted or (lambda path: {})
        self.asked = []

    def after(self, path):
        logits = np.random.default_rng(path).normal(size=VOCABULARY)
        for token, nats in self.wanted(path).items():
            logits[token] += nats
        return logits - np.logaddexp.reduce(logits)

    def next_logprobs(self, wanted):
        self.asked.append(len(wanted))
        return [
            [float(self.after(question.trunk.path(place))[token]) for token in tokens]
            for question, place, tokens in wanted
        ]


def forced(length, seed=1):
    tokens = [FIRST + (i * seed) % 9 for i in range(length)]
    return ForcedText(
        marked=[14, seed, 15],
        plain=[14, seed, 13],
        head=None,
        whole=[*tokens, END],
        ends=[*range(1, length + 1), length + 1],
        before={start: tokens[:start] for start in range(length)},
        opening={start: [OPEN] for start in range(length)},
        names=lambda start: {end: tokens[start:end] for end in range(start + 1, length + 1)},
        closing=[CLOSE],
        after={end: [*tokens[end:], END] for end in range(1, length + 1)},
    )


def one_by_one(search, text):
    """The log-probability of the text with markers at each pair of places, and without."""
    tokens = list(text.whole)
    places = {
        (start, end): [*tokens[:start], OPEN, *tokens[start:end], CLOSE, *tokens[end:]]
        for start, end in itertools.combinations(range(len(tokens)), 2)
    }
    places[None, None] = tokens

    def logprob(rest):
        path, total = list(text.marked), 0.0
        for token in rest:
            total += search.after(path)[token]
            path.append(token)
        return total

    return {place: logprob(rest) for place, rest in places.items()}


def found(search, *texts):
    return [{pair[:2]: pair.logprob for pair in pairs} for pairs in place_markers(search, texts)]


@pytest.mark.parametrize("seed", range(1, 6))
def test_without_bounds_all_places_have_their_log_probability(seed, monkeypatch):
    for bound in ("OPENINGS", "COMPLETED", "LEAD"):
        monkeypatch.setattr(placing, bound, 1000)
    search = MadeUp()
    [pairs] = found(search, forced(6, seed))
    assert pairs == pytest.approx(one_by_one(search, forced(6, seed)))


def test_the_best_place_is_found_among_many_and_most_are_not_read():
    """The markers belong round the tokens 4 to 6: after the marked prompt alone the first one is wanted
    there."""
    text = forced(12)
    before, name = list(text.whole[:4]), list(text.whole[4:7])

    def wanted(path):
        rest = path[3:]
        if path[:3] == text.marked and rest == before:
            return {OPEN: 9.0}
        if rest == [*before, OPEN, *name]:
            return {CLOSE: 9.0}
        return {text.whole[len([t for t in rest if t > CLOSE])]: 6.0} if rest[-1:] != [END] else {}

    search = MadeUp(wanted)
    [pairs] = found(search, text)
    every = one_by_one(search, text)
    assert next(iter(pairs)) == (4, 7) == max(every, key=every.get)
    assert pairs == pytest.approx({place: every[place] for place in pairs})
    assert len(pairs) <= placing.COMPLETED + 1 < len(every)


def test_results_are_the_same_in_any_batch():
    texts = [(length, seed) for length, seed in zip((3, 9, 1, 5, 7), range(1, 6), strict=True)]
    together = found(MadeUp(batch_size=2), *(forced(*text) for text in texts))
    small = found(MadeUp(max_tokens=1), *(forced(*text) for text in texts))
    alone = [found(MadeUp(), forced(*text))[0] for text in texts]
    assert together == small == alone


def test_a_text_in_which_the_model_holds_no_marker_possible_has_no_place():
    def never(path):
        return {OPEN: -math.inf}

    impossible, possible = found(MadeUp(never), forced(4))[0], found(MadeUp(), forced(4))[0]
    assert list(impossible) == [(None, None)] and len(possible) > 1


def test_what_the_memory_does_not_hold_is_asked_again_in_smaller_batches():
    search = MadeUp(batch_size=4)
    ask = search.next_logprobs

    def limited(wanted):
        if len(wanted) > 40:
            raise RuntimeError("out of memory")
        return ask(wanted)

    search.next_logprobs = limited
    texts = [forced(4), forced(5, 2), forced(40, 3), forced(3, 4)]
    results = list(within_memory(search, lambda own: place_markers(search, own), texts, lambda error: None))
    assert search.batch_size == 1 and results[2] is None
    for i in (0, 1, 3):
        [expected] = place_markers(MadeUp(), [(forced(4), forced(5, 2), None, forced(3, 4))[i]])
        assert results[i] == expected
