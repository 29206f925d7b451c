"""Combiners: one list of entities of what several annotators found in a text."""

from .bayes import BayesianAggregation
from .vote import Vote

__all__ = ["BayesianAggregation", "Vote"]
