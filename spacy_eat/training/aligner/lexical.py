"""Statistical word alignment: which words of two languages stand in the same sentences, at like places."""

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma

# As in fast_align (Dyer, Chahuneau and Smith 2013): how much places count, the probability that a word stands
# for none, the concentration of the Dirichlet prior, and rounds of EM.
TENSION, NONE, CONCENTRATION, ROUNDS = 4.0, 0.08, 0.01, 5
UNSEEN = 1e-7  # probability of a pair of words that never stood together
SAME = 0.5  # least probability of a word that stands on both sides

Words = Sequence[str]


class Lexicon:
    """IBM Model 1 with a prior for the diagonal, in one direction: each word there comes from one here, or
    from none."""

    def __init__(self, sentences: Sequence[tuple[Words, Words]]) -> None:
        """
        sentences (Sequence[Tuple[Sequence[str], Sequence[str]]]): What it is learnt from, the words here
            and there.
        """
        self._here = {word: i for i, word in enumerate(sorted({w for s, _ in sentences for w in s}), 1)}
        self._there = {word: i for i, word in enumerate(sorted({w for _, t in sentences for w in t}))}
        sentences = [(here, there) for here, there in sentences if here and there]
        codes = np.concatenate([self._codes(*pair).ravel() for pair in sentences])
        prior = np.concatenate([_prior(len(h), len(t)).ravel() for h, t in sentences])
        widths = np.concatenate([np.full(len(there), len(here) + 1) for here, there in sentences])
        words = np.repeat(np.arange(len(widths), dtype=np.int32), widths)  # the word there of each pair
        self._pairs, place = np.unique(codes, return_inverse=True)
        del codes
        place = place.astype(np.int32)
        here_of = self._pairs // len(self._there)
        self._chances = np.full(len(self._pairs), 1 / len(self._there))
        for _ in range(ROUNDS):
            weights = prior * self._chances[place]
            weights /= np.bincount(words, weights)[words]
            counts = np.bincount(place, weights, minlength=len(self._pairs)) + CONCENTRATION
            unseen = len(self._there) - np.bincount(here_of)
            totals = np.bincount(here_of, counts) + CONCENTRATION * unseen
            self._chances = np.exp(digamma(counts) - digamma(totals)[here_of])

    def _codes(self, here: Words, there: Words) -> np.ndarray:
        """Of all pairs, none first, shape (words there, 1 + words here); -1 for unknown words."""
        rows = np.array([self._there.get(word, -1) for word in there], dtype=np.int64)[:, None]
        columns = np.array([0, *(self._here.get(word, -1) for word in here)], dtype=np.int64)
        return np.where((rows < 0) | (columns < 0), -1, columns * len(self._there) + rows)

    def shares(self, here: Words, there: Words) -> np.ndarray:
        """RETURNS (ndarray): How likely each word there comes from each one here, shape (words here, words
        there)."""
        codes = self._codes(here, there)
        places = np.searchsorted(self._pairs, codes).clip(max=len(self._pairs) - 1)
        chances = np.where(self._pairs[places] == codes, self._chances[places], UNSEEN)
        same = np.array([[False, *(word == other for other in here)] for word in there])
        chances = np.where(same, np.maximum(chances, SAME), chances) * _prior(len(here), len(there))
        return np.asarray((chances / chances.sum(axis=1, keepdims=True))[:, 1:].T)


def _prior(here: int, there: int) -> np.ndarray:
    """How likely places are partners, none first, shape (there, 1 + here)."""
    rows, columns = (np.arange(there) + 0.5) / there, (np.arange(here) + 0.5) / here
    near = np.exp(-TENSION * np.abs(rows[:, None] - columns))
    near *= (1 - NONE) / near.sum(axis=1, keepdims=True)
    return np.concatenate([np.full((there, 1), NONE), near], axis=1)


class Lexicons:
    """A lexicon in each direction, which have to agree."""

    def __init__(self, sentences: Sequence[tuple[Words, Words]]) -> None:
        """See `Lexicon`."""
        self._forward = Lexicon(sentences)
        self._backward = Lexicon([(there, here) for here, there in sentences])

    def shares(self, here: Words, there: Words) -> np.ndarray:
        """RETURNS (ndarray): How likely two words are partners, the geometric mean of both directions,
        shape (words here, words there)."""
        if not here or not there:
            return np.zeros((len(here), len(there)))
        return np.asarray(np.sqrt(self._forward.shares(here, there) * self._backward.shares(there, here).T))
