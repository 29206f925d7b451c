"""What a student that reads Chinese characters knows of them, and of words, before it is trained.

Norms and vectors are stored with the pipeline: where it runs it needs neither an LLM, nor OpenCC, nor a
dictionary.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.lookups import Lookups
from spacy.vectors import Vectors

from ...corpora.dictionaries import cedict_entries
from ...text.folding import simplified

HAN = (range(0x4E00, 0xA000), range(0x3400, 0x4DC0), range(0xF900, 0xFB00))
# What stands between them: ASCII, dashes and quotation marks, punctuation of their own, full-width forms.
OTHERS = (range(0x21, 0x7F), range(0x2010, 0x2028), range(0x3001, 0x3020), range(0xFF01, 0xFF60))
LENGTHS = (2, 8)  # characters of words
_NOT_ENGLISH = re.compile(r"\[[^\]]*\]|[|\u3000-\u9fff]+")  # the words that an explanation refers to


def make_simplified_norms() -> Lookups:
    """`spacy_eat.SimplifiedNorms.v1` (misc): a traditional Chinese character has the norm of its simplified
    form, so that a pipeline that reads NORM treats both scripts alike. For `[initialize.lookups]`."""
    lookups = Lookups()
    lookups.add_table("lexeme_norm", dict(_simplified()))
    return lookups


def make_lexicon_vectors(dims: int = 64, model: str | None = None) -> Callable[[Language], Language]:
    """`spacy_eat.LexiconVectors.v1` (callbacks): static vectors of Chinese characters and words, for
    `[initialize.before_init]` and `spacy_eat.SoftLexicon.v1`. Those of characters are the principal
    components of an LLM's input embeddings for them; those of the words of CC-CEDICT, of the means of its
    embeddings for their English explanations, with what the dictionary tells to be a name. Characters and
    words are simplified, as are the norms of traditional ones.

    dims (int): Width of the vectors, which are stored in float16.
    model (Optional[str]): Folder or name of a causal LLM of transformers, None for the embedded one.
    RETURNS (Callable[[Language], Language]): Sets `nlp.vocab.vectors`.
    RAISES (ImportError): The dictionary or transformers are not installed.
    """

    def set_vectors(nlp: Language) -> Language:
        tokenizer, embeddings = _input_embeddings(model)
        simplified = _simplified()
        characters = [chr(code) for block in (*HAN, *OTHERS) for code in block]
        characters = [char for char in characters if char not in simplified]
        tokens = tokenizer(characters, add_special_tokens=False)["input_ids"]
        known = {char: row[0] for char, row in zip(characters, tokens, strict=True) if len(row) == 1}
        of_characters = principal_components(embeddings[list(known.values())], dims)

        words = _explanations()
        flags = np.array([(1.0, any(names), all(names)) for names, _ in words.values()])
        tokens = tokenizer([english for _, english in words.values()], add_special_tokens=False)["input_ids"]
        means = np.stack([embeddings[row or [0]].mean(axis=0) for row in tokens]) - embeddings.mean(axis=0)
        of_words = np.hstack([principal_components(means, dims - flags.shape[1]), flags])

        nlp.vocab.vectors = Vectors(
            strings=nlp.vocab.strings,
            data=np.concatenate([of_characters, of_words]).astype("float16"),
            keys=[*known, *words],
        )
        return nlp

    return set_vectors


def _explanations() -> dict[str, tuple[list[bool], str]]:
    """The words of CC-CEDICT: which of their entries are names, and their explanations, names' first."""
    entries: dict[str, list[tuple[bool, str]]] = {}
    for _, word, is_name, senses in cedict_entries():
        if LENGTHS[0] <= len(word) <= LENGTHS[1]:
            kept = (sense for sense in senses[:4] if not sense.startswith("CL:"))
            english = " ".join(_NOT_ENGLISH.sub("", sense) for sense in kept)
            entries.setdefault(word, []).append((is_name, english))
    explained = {}
    for word, found in sorted(entries.items()):
        found.sort(key=lambda entry: (not entry[0], entry[1]))
        explained[word] = ([is_name for is_name, _ in found], " ".join(english for _, english in found)[:200])
    return explained


def _input_embeddings(model: str | None) -> tuple[Any, np.ndarray]:
    """The tokenizer of an LLM, and its input embeddings, each of length 1."""
    from ..tuning.tune import base_model, load_tokenizer

    name, _ = base_model(model)
    tokenizer = load_tokenizer(name)
    from transformers import AutoModelForCausalLM

    weights = AutoModelForCausalLM.from_pretrained(name, torch_dtype="auto").get_input_embeddings().weight
    embeddings = weights.detach().float().numpy()
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return tokenizer, embeddings


def principal_components(data: np.ndarray, dims: int) -> np.ndarray:
    """The directions of rows in the space of their largest variance.

    data (ndarray): Shape (rows, columns).
    dims (int): Most columns to keep.
    RETURNS (ndarray): Shape (rows, dims or less), float32, with the mean length 1.
    """
    data = data / np.linalg.norm(data, axis=1, keepdims=True)
    data = data - data.mean(axis=0)
    _, axes = np.linalg.eigh(data.T @ data)  # from the smallest variance to the largest
    reduced = data @ axes[:, ::-1][:, :dims]
    return np.asarray(reduced / np.linalg.norm(reduced, axis=1).mean(), dtype="float32")


@cache
def _simplified() -> dict[str, str]:
    """Traditional characters with their simplified forms, in the blocks that a student reads."""
    table = simplified()
    return {char: table[char] for block in HAN for char in map(chr, block) if char in table}
