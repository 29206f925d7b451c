"""How far scores are chance: docs are drawn anew, with replacement, and scored again.

Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; for the difference of two systems on the same
docs, Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

SAMPLES = 1000
LEVEL = 0.95  # share of the samples that an interval holds

Counts = Sequence[tuple[int, int, int]]  # of each doc: true positives, false positives, false negatives


def interval(counts: Counts, *, samples: int = SAMPLES, seed: int = 0) -> dict[str, Any]:
    """The interval of F1.

    counts (Sequence[Tuple[int, int, int]]): Of each doc.
    samples (int): How often the docs are drawn.
    seed (int): Decides how.
    RETURNS (Dict[str, Any]): "low" and "high" (None without entities), "level", "samples".
    """
    drawn = _resampled(counts, samples=samples, seed=seed)
    low, high = _bounds(drawn) if sum(map(sum, counts)) else (None, None)
    return {"low": low, "high": high, "level": LEVEL, "samples": samples}


def difference(counts: Counts, others: Counts, *, samples: int = SAMPLES, seed: int = 0) -> dict[str, Any]:
    """How much better F1 is than that of another run over the same docs.

    counts, others (Sequence[Tuple[int, int, int]]): Of each doc, in the same order.
    samples (int): How often the docs are drawn, the same ones for both.
    seed (int): Decides how.
    RETURNS (Dict[str, Any]): "difference", its "low" and "high", and "better", the share of samples in which
        it is above zero.
    """
    drawn = _resampled(counts, samples=samples, seed=seed) - _resampled(others, samples=samples, seed=seed)
    low, high = _bounds(drawn)
    return {
        "difference": float(_f1(np.sum(counts, axis=0)) - _f1(np.sum(others, axis=0))),
        "low": low,
        "high": high,
        "better": float(np.mean(drawn > 0)),
    }


def _resampled(counts: Counts, *, samples: int, seed: int) -> np.ndarray:
    """F1 of each sample, shape (samples,)."""
    table = np.array(counts, dtype=np.int64).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(table), size=len(table)) for _ in range(samples))
    return np.array([_f1(table[draw].sum(axis=0)) for draw in draws])


def _f1(counts: np.ndarray) -> float:
    tp, fp, fn = counts
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def _bounds(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
