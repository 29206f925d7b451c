"""Intervals and differences, against what is known of them."""

import random

import pytest

from spacy_eat.evaluation.bootstrap import difference, interval


def coins(n, share, seed):
    """Docs with one gold entity each, found with a given chance."""
    rng = random.Random(seed)
    return [(1, 0, 0) if rng.random() < share else (0, 0, 1) for _ in range(n)]


def test_interval_is_as_wide_as_the_binomial_distribution_says():
    """F1 of r found of n is 2r / (n + r): near r / n = 0.5 its slope is 8 / 9."""
    counts = coins(2000, 0.5, 1)
    found = interval(counts)
    wide = 2 * 1.96 * (0.25 / 2000) ** 0.5 * 8 / 9
    assert found["high"] - found["low"] == pytest.approx(wide, rel=0.1)
    right = sum(tp for tp, _, _ in counts)
    assert found["low"] < 2 * right / (2000 + right) < found["high"]


def test_interval_is_the_same_each_time_and_another_for_another_seed():
    counts = coins(50, 0.6, 2)
    assert interval(counts) == interval(counts) != interval(counts, seed=1)


def test_interval_without_chance():
    assert interval([(1, 0, 0)] * 9)["low"] == interval([(1, 0, 0)] * 9)["high"] == 1.0
    assert interval([(0, 0, 0)] * 9)["low"] is None
    assert interval([])["low"] is None


def test_pairs_tell_more_than_single_intervals():
    """Where one run is right wherever the other is, and now and then more, that is no chance."""
    worse = coins(300, 0.5, 3)
    better = [(1, 0, 0) if i % 20 == 0 else counts for i, counts in enumerate(worse)]
    assert interval(worse)["high"] > interval(better)["low"]
    found = difference(better, worse)
    assert found["low"] > 0 and found["better"] > 0.975 and found["low"] < found["difference"] < found["high"]
    assert difference(worse, better)["better"] < 0.025
    same = difference(worse, worse)
    assert (same["difference"], same["low"], same["high"], same["better"]) == (0, 0, 0, 0)
