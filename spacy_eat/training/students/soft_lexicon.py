"""The words of a lexicon that a token may be part of, as features of a tok2vec layer.

A copy of this file goes into the wheels of pipelines that use it: it needs nothing of spacy-eat's.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import cast

import numpy as np
from spacy.strings import get_string_id
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import LayerNorm, Linear, Maxout, Model, chain, concatenate, with_array
from thinc.types import Floats2d, Ints2d

Layer = Model[list[Doc], list[Floats2d]]

POSITIONS = 4  # begin, middle, end, single


@registry.architectures("spacy_eat.SoftLexicon.v1")
def make_soft_lexicon(width: int, embed: Layer, longest: int = 8) -> Layer:
    """`spacy_eat.SoftLexicon.v1` (architectures): an embedding layer that adds to another one the static
    vectors of the words that each token could begin, be in the middle of, end, or be: for languages without
    spaces, and tokenizers whose tokens are shorter than words. The words are all keys of `nlp.vocab.vectors`
    that the text contains, overlapping or not, by their norms; at each of the four places the longest counts.

    After Ma et al. (2020), "Simplify the Usage of Lexicon in Chinese NER"
    (https://arxiv.org/abs/1908.05969), who take a weighted mean in place of the longest.

    width (int): The output width.
    embed (Model[List[Doc], List[Floats2d]]): The other layer, such as spacy.MultiHashEmbed.v2 without static
        vectors.
    longest (int): Tokens of the longest word that is looked for.
    RETURNS (Model[List[Doc], List[Floats2d]]): The layer, of shape (tokens, width). When it is initialized
        without static vectors, it raises a ValueError.
    """
    # The norm makes words count as much as the other layer from the start.
    project: Model = chain(Linear(nO=width), LayerNorm(nI=width))
    words: Layer = chain(_word_vectors(longest), with_array(project))
    return chain(concatenate(embed, words), with_array(Maxout(nO=width, nP=3, normalize=True)))


def _word_vectors(longest: int) -> Layer:
    return Model("soft_lexicon", _forward, init=_init, dims={"nO": None}, attrs={"longest": longest})


def _init(model: Layer, X: list[Doc] | None = None, Y: list[Floats2d] | None = None) -> None:
    if X and model.has_dim("nO") is None:
        if not X[0].vocab.vectors_length:
            raise ValueError(
                "spacy_eat.SoftLexicon.v1 needs static vectors of words. Name a pipeline that has some in "
                "`[initialize] vectors`, or make them in `[initialize.before_init]` as configs/zh_student.cfg"
            )
        model.set_dim("nO", POSITIONS * X[0].vocab.vectors_length)


def _forward(
    model: Layer, docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    def backprop(d_output: list[Floats2d]) -> list[Doc]:
        return []  # the vectors are static

    output = []
    for doc in docs:
        rows = model.ops.asarray2i(find_words(doc, model.attrs["longest"]))
        vectors = doc.vocab.vectors.data[rows].astype("float32")
        vectors[rows < 0] = 0.0
        output.append(model.ops.reshape2f(vectors, len(doc), POSITIONS * vectors.shape[-1]))
    return output, backprop


def find_words(doc: Doc, longest: int) -> Ints2d:
    """The words of `doc.vocab.vectors` in a doc.

    doc (Doc): The doc.
    longest (int): Tokens of the longest word that is looked for.
    RETURNS (Ints2d): Shape (tokens, 4): the rows of the longest words that each token begins, is in the
        middle of, ends, and is; -1 where there is none.
    """
    row_of = doc.vocab.vectors.key2row
    norms = [token.norm_ for token in doc]
    text = "".join(norms)
    offsets = list(accumulate(map(len, norms), initial=0))
    found = np.full((len(doc), POSITIONS), -1, dtype="int32")
    for length in range(1, longest + 1):
        for start in range(len(doc) - length + 1):
            row = row_of.get(get_string_id(text[offsets[start] : offsets[start + length]]))
            if row is None:
                continue
            if length == 1:
                found[start, 3] = row
            else:
                found[start, 0] = found[start + length - 1, 2] = row
                found[start + 1 : start + length - 1, 1] = row
    return cast(Ints2d, found)
