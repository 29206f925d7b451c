"""Training data for the tagger on the source: gold English, and what EAT has projected onto other text."""

import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from spacy.language import Language
from spacy.training import Example

from ..records import sentences_of

Reader = Callable[[Language], Iterable[Example]]


def make_mixed(
    corpora: dict[str, Any],
    limits: dict[str, int] | None = None,
    without_entities: float = 1.0,
    seed: int = 0,
) -> Reader:
    """`spacy_eat.Mixed.v1` (readers): several corpora as one, in random order.

    corpora (Dict[str, Reader]): The readers by name.
    limits (Optional[Dict[str, int]]): Most examples of a corpus, chosen at random; 0 for all, as for those
        that are not named.
    without_entities (float): Share of the texts without any entity that are kept. They are most of the time
        that training takes, and least of what it learns.
    seed (int): Of the random choices.
    RETURNS (Reader): The reader.
    RAISES (ValueError): If a limit names no corpus.
    """
    unknown = sorted(set(limits or ()) - set(corpora))
    if unknown:
        raise ValueError(f"`limits` names {', '.join(unknown)}, `corpora` has {', '.join(corpora)}.")

    def read(nlp: Language) -> Iterator[Example]:
        rng = random.Random(seed)
        mixed: list[Example] = []
        for name, reader in corpora.items():
            found = [
                example
                for example in reader(nlp)
                if example.reference.ents or without_entities >= 1 or rng.random() < without_entities
            ]
            if not found:
                warnings.warn(
                    f"The corpus '{name}' of spacy_eat.Mixed.v1 has no examples: check its path and what it"
                    " leaves out.",
                    stacklevel=2,
                )
            rng.shuffle(found)
            mixed += found[: (limits or {}).get(name) or None]
        rng.shuffle(mixed)
        yield from mixed

    return read


def make_byte_length() -> Callable[[Example], int]:
    """`spacy_eat.ByteLength.v1` (misc): the length of an example for a batcher, in bytes of UTF-8.

    Four bytes are about a word piece in any script; tokens may be letters in one language and sentences in
    another.
    """
    return byte_length


def byte_length(example: Example) -> int:
    """RETURNS (int): Bytes of the example's text, and of its English where it has some, in UTF-8."""
    english = (sentence["english"] or "" for sentence in sentences_of(example.predicted))
    return sum(len(text.encode("utf-8")) for text in (example.reference.text, *english))
