"""Multilingual encoders: a text's word pieces, with their places in the text and their vectors."""

from .encoder import Encoder, Vectors, make_encoder
from .pieces import Pieces, readable, split

__all__ = ["Encoder", "Pieces", "Vectors", "make_encoder", "readable", "split"]
