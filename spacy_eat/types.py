"""The few types everything passes on.

What is stored on a `Doc` is plain JSON (`TypedDict`s), so that it survives
`Doc.to_bytes`, `DocBin(store_user_data=True)` and `json.dumps` unchanged.
What only travels between modules is a dataclass.
"""

from dataclasses import dataclass, field
from typing import Literal, TypedDict

# How an entity's span was found in the source text:
#   exact      the answer stands in the source, character for character
#   variant    it stands there after normalisation (width, traditional or
#              simplified script, spacing, middle dots, brackets, glosses)
#   fuzzy      a slice of the source is similar to it, above the threshold
#   unaligned  no slice of the source was accepted; the entity has no span
AlignmentStatus = Literal["exact", "variant", "fuzzy", "unaligned"]

# What happened to a sentence:
#   pending     not translated yet
#   translated  English is there (from the LLM), entities are not aligned yet
#   given       English is there, set by the user
#   aligned     entities were looked for and assigned
#   failed      `error` says why; running the component again retries it
SentenceStatus = Literal["pending", "translated", "given", "aligned", "failed"]


class EntityRecord(TypedDict):
    """One English entity and the place it came from.

    text (str): The English mention.
    label (str): The label on the source doc, after the label map.
    english_start, english_end (int): Characters of the sentence's English.
    answers (List[str]): What the LLM answered, best first, as it stood.
    logprobs (List[Optional[float]]): For each answer its summed
        log-probability (nats), None where the backend does not tell.
    start_char, end_char (Optional[int]): Characters of `doc.text`, half open;
        None if the entity is unaligned.
    status (AlignmentStatus): How the span was found.
    score (float): Confidence, 0.0 to 1.0; 0.0 if unaligned.
    """

    text: str
    label: str
    english_start: int
    english_end: int
    answers: list[str]
    logprobs: list[float | None]
    start_char: int | None
    end_char: int | None
    status: AlignmentStatus
    score: float


class SentenceRecord(TypedDict):
    """One sentence of a doc, on its way through the pipeline.

    start_char, end_char (int): Characters of `doc.text`, half open.
    english (Optional[str]): The translation, None until there is one.
    status (SentenceStatus): Where the sentence stands.
    error (Optional[str]): Why it failed, None if it did not.
    entities (List[EntityRecord]): One per English mention, and one more per
        repeated source mention where `mentions = "all"`.
    requests (int): LLM requests spent on the sentence so far.
    """

    start_char: int
    end_char: int
    english: str | None
    status: SentenceStatus
    error: str | None
    entities: list[EntityRecord]
    requests: int


class EatRecord(TypedDict):
    """What `doc._.eat` holds.

    sentences (List[SentenceRecord]): In the order of the text.
    counts (Dict[str, int]): What the token boundary policy changed
        ("split", "expanded", "dropped", ...), summed over the doc.
    usage (Dict[str, float]): What the LLM has spent on the doc, by the fields of `Usage`.
    """

    sentences: list[SentenceRecord]
    counts: dict[str, int]
    usage: dict[str, float]


@dataclass(frozen=True)
class EnglishEntity:
    """An entity of an English sentence: text, (mapped) label and character
    offsets in the English text, half open."""

    text: str
    label: str
    start_char: int
    end_char: int


@dataclass(frozen=True)
class Candidate:
    """One answer to "which source words are this English entity?".

    text (str): The answer as the LLM gave it.
    logprob (Optional[float]): Summed log-probability (nats) of the answer,
        None where the backend does not tell.
    """

    text: str
    logprob: float | None = None


@dataclass(frozen=True)
class Alignment:
    """An English entity with its place in the source, as grounding decided.

    start, end (int): Characters of the source sentence, half open.
    status (AlignmentStatus): "exact", "variant" or "fuzzy".
    score (float): 0.0 to 1.0.
    entity (int): Index of the English entity.
    mentioned (bool): False for a further occurrence that no English mention
        was assigned to (`mentions = "all"`).
    """

    start: int
    end: int
    status: AlignmentStatus
    score: float
    entity: int
    mentioned: bool = field(default=True)
