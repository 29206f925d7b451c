"""What a student that reads Chinese characters knows of them before it is trained.

Both are stored with the pipeline: it needs neither spacy-eat, nor an LLM, nor OpenCC where it runs.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from spacy.language import Language
from spacy.lookups import Lookups
from spacy.vectors import Vectors

from ..models.embedded import MISSING
from .tune import base_model, load_tokenizer

HAN = (range(0x4E00, 0xA000), range(0x3400, 0x4DC0), range(0xF900, 0xFB00))
# What stands between them: ASCII, dashes and quotation marks, punctuation of their own, full-width forms.
OTHERS = (range(0x21, 0x7F), range(0x2010, 0x2028), range(0x3001, 0x3020), range(0xFF01, 0xFF60))


def make_simplified_norms() -> Lookups:
    """`spacy_eat.SimplifiedNorms.v1` (misc): a traditional Chinese character has the norm of its simplified
    form, so that a pipeline that reads NORM treats both scripts alike. For `[initialize.lookups]`."""
    lookups = Lookups()
    lookups.add_table("lexeme_norm", dict(_simplified()))
    return lookups


def make_character_vectors(dims: int = 200, model: str | None = None) -> Callable[[Language], Language]:
    """`spacy_eat.CharacterVectors.v1` (callbacks): static vectors of Chinese characters, the principal
    components of an LLM's input embeddings. For `[initialize.before_init]`. Traditional characters share the
    vectors of their simplified forms.

    dims (int): Width of the vectors.
    model (Optional[str]): Folder or name of a causal LLM of transformers, None for the embedded one.
    RETURNS (Callable[[Language], Language]): Sets `nlp.vocab.vectors`.
    """

    def set_vectors(nlp: Language) -> Language:
        simplified = _simplified()
        characters = [chr(code) for block in (*HAN, *OTHERS) for code in block]
        found, embeddings = embed([char for char in characters if char not in simplified], model)
        vectors = Vectors(strings=nlp.vocab.strings, data=principal_components(embeddings, dims), keys=found)
        rows = {char: row for row, char in enumerate(found)}
        for char, simple in simplified.items():
            if simple in rows:
                vectors.add(nlp.vocab.strings.add(char), row=rows[simple])
        nlp.vocab.vectors = vectors
        return nlp

    return set_vectors


def embed(words: Sequence[str], model: str | None = None) -> tuple[list[str], np.ndarray]:
    """The input embeddings of an LLM for words that are one token each.

    words (Sequence[str]): The words.
    model (Optional[str]): See `make_character_vectors`.
    RETURNS (Tuple[List[str], ndarray]): The words that are one token, and their embeddings, one per row.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ImportError(MISSING) from error

    name, _ = base_model(model)
    ids = load_tokenizer(name)(list(words), add_special_tokens=False)["input_ids"]
    known = {word: tokens[0] for word, tokens in zip(words, ids, strict=True) if len(tokens) == 1}
    weights = AutoModelForCausalLM.from_pretrained(name, torch_dtype="auto").get_input_embeddings().weight
    return list(known), weights[list(known.values())].detach().float().numpy()


def principal_components(data: np.ndarray, dims: int) -> np.ndarray:
    """The directions of rows in the space of their largest variance.

    data (ndarray): Shape (rows, columns).
    dims (int): Most columns to keep.
    RETURNS (ndarray): Shape (rows, dims or less), float32, with the mean length 1.
    """
    data = data / np.linalg.norm(data, axis=1, keepdims=True)
    data = data - data.mean(axis=0)
    _, _, axes = np.linalg.svd(data, full_matrices=False)
    reduced = data @ axes[:dims].T
    return np.asarray(reduced / np.linalg.norm(reduced, axis=1).mean(), dtype="float32")


@cache
def _simplified() -> dict[str, str]:
    """Traditional characters with their simplified forms."""
    from opencc import OpenCC

    simplify = OpenCC("t2s").convert
    pairs = ((char, simplify(char)) for char in (chr(code) for block in HAN for code in block))
    return {char: simple for char, simple in pairs if simple != char and len(simple) == 1}
