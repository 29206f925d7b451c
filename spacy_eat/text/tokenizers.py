"""Tokenizers: a Japanese one for texts of any length, and one that needs no knowledge of the language."""

import unicodedata
from collections.abc import Callable

import numpy as np
from spacy.lang.ja import JapaneseTokenizer
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import DummyTokenizer, get_words_and_spaces
from spacy.vocab import Vocab

from .sentences import split_text

# Sudachi refuses texts of more than 49,149 bytes; a character has up to four.
MAX_CHARACTERS = 12_000


class ChunkedJapaneseTokenizer(JapaneseTokenizer):
    """spaCy's Japanese tokenizer, a piece of the text at a time.

    Sudachi refuses texts of more than 49,149 bytes. Here a long text is cut
    between sentences, so its tokens are those that its sentences would have.
    """

    def __reduce__(self) -> tuple[type, tuple[Vocab, str | None]]:
        return ChunkedJapaneseTokenizer, (self.vocab, self.split_mode)

    def __call__(self, text: str) -> Doc:
        """Tokenize a text.

        text (str): Any text. Lone surrogates, which UTF-8 cannot have, become "?".
        RETURNS (Doc): The doc.
        """
        text = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
        return tokenize(super().__call__, text, MAX_CHARACTERS)


def tokenize(tokenizer: Callable[[str], Doc], text: str, most: int) -> Doc:
    """Tokenize a text piece by piece, for tokenizers that are slow on long texts, or refuse them.

    tokenizer (Callable[[str], Doc]): Any tokenizer.
    text (str): Any text. It is cut between sentences, so its tokens are those that its sentences would have.
    most (int): Characters of a piece at most: a sentence that is longer is cut within.
    RETURNS (Doc): The doc.
    """
    if len(text) <= most:
        return tokenizer(text)
    docs = [tokenizer(piece) for piece in _pieces(text, most)]
    sub_tokens = [entry for doc in docs for entry in doc.user_data.pop("sub_tokens", [])]
    doc = Doc.from_docs(docs, ensure_whitespace=False)
    # Where a piece starts is not where a sentence was found to start. Token by token it would take time that
    # grows with the square of the length.
    doc.from_array("SENT_START", np.zeros(len(doc), dtype="uint64"))  # type: ignore[arg-type]
    if sub_tokens:
        doc.user_data["sub_tokens"] = sub_tokens
    return doc


def _pieces(text: str, most: int) -> list[str]:
    """The text cut at the starts of sentences, into pieces of bounded length."""
    pieces: list[str] = []
    begin = last = 0
    for start, _ in [*split_text(text, max_length=most // 2), (len(text), len(text))]:
        while start - begin > most:
            cut = last if last > begin else begin + most
            pieces.append(text[begin:cut])
            begin = cut
        last = start
    pieces.append(text[begin:])
    return [piece for piece in pieces if piece]


def create_japanese_tokenizer(split_mode: str | None = None) -> Callable[[Language], JapaneseTokenizer]:
    """`spacy_eat.JapaneseTokenizer.v1`: spaCy's, for texts of any length.

    split_mode (Optional[str]): Sudachi's mode "A" (short units), "B" or "C"
        (named entities). None for "A".
    """

    def make(nlp: Language) -> JapaneseTokenizer:
        return ChunkedJapaneseTokenizer(nlp.vocab, split_mode=split_mode)

    return make


class ClusterTokenizer(DummyTokenizer):
    """A token for each character with the marks that belong to it, for languages that set no words apart."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __reduce__(self) -> tuple[type, tuple[Vocab]]:
        return ClusterTokenizer, (self.vocab,)

    def __call__(self, text: str) -> Doc:
        """Tokenize a text.

        text (str): Any text.
        RETURNS (Doc): The doc.
        """
        clusters: list[str] = []
        for char in text:
            if clusters and unicodedata.category(char).startswith("M"):
                clusters[-1] += char
            else:
                clusters.append(char)
        words, spaces = get_words_and_spaces(clusters, text)
        return Doc(self.vocab, words=words, spaces=spaces)


def create_cluster_tokenizer() -> Callable[[Language], ClusterTokenizer]:
    """`spacy_eat.ClusterTokenizer.v1`: see `ClusterTokenizer`."""

    def make(nlp: Language) -> ClusterTokenizer:
        return ClusterTokenizer(nlp.vocab)

    return make
