"""Lexicons of names, found in a text in one pass; and how alike names of two languages sound."""

from .lexicon import Lexicon, Match
from .sounds import likeness, romanized

__all__ = ["Lexicon", "Match", "likeness", "romanized"]
