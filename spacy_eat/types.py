"""The values and roles that everything shares.

Two values travel everywhere: a `Text` (a string and its language, with its folded
form and boundaries computed once) and a `Span` (a labelled, scored place in it). All
code serves one of four roles: `Translator`, `Tagger`, `Aligner`, `Combiner`. Each takes
a batch, and has a `Failure` in the place of a text's result where it has none.

What is stored on a `Doc` is plain JSON (`TypedDict`s), so that it survives
`Doc.to_bytes`, `DocBin(store_user_data=True)` and `json.dumps` unchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, TypedDict, runtime_checkable

from .languages import Language, load
from .text.boundaries import Boundaries
from .text.folding import Folded, fold


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """A labelled place in a text. Two spans are equal if place and label are, however they were found.

    start_char, end_char (int): Characters of the text, half open.
    label (str): "" where it has none (yet).
    score (float): Calibrated probability that the span is right, 0.0 to 1.0.
    origin (str): How or by whom it was found.
    """

    start_char: int
    end_char: int
    label: str = ""
    score: float = field(default=1.0, compare=False)
    origin: str = field(default="", compare=False)

    @property
    def place(self) -> tuple[int, int]:
        """RETURNS (Tuple[int, int]): Start and end."""
        return self.start_char, self.end_char

    def overlaps(self, other: "Span") -> bool:
        """RETURNS (bool): Whether the spans share a character."""
        return self.start_char < other.end_char and other.start_char < self.end_char

    def moved(self, offset: int) -> "Span":
        """RETURNS (Span): The span `offset` characters later."""
        return replace(self, start_char=self.start_char + offset, end_char=self.end_char + offset)


@dataclass(frozen=True)
class Text:
    """A text and its language. What is derived from it is computed once and kept with it.

    string (str): The characters.
    lang (str): Language code, such as "zh"; "" if not known.
    """

    string: str
    lang: str = ""

    @cached_property
    def folded(self) -> Folded:
        """RETURNS (Folded): The text folded for comparison, with the offsets of its characters."""
        return fold(self.string)

    @cached_property
    def language(self) -> Language:
        """RETURNS (Language): What is known of the language."""
        return load(self.lang)

    @cached_property
    def boundaries(self) -> Boundaries:
        """RETURNS (Boundaries): Where a name may begin or end."""
        return Boundaries(self.string, self.language)

    def __getitem__(self, span: Span) -> str:
        """RETURNS (str): The characters of a span."""
        return self.string[span.start_char : span.end_char]


@dataclass
class Usage:
    """What an LLM or server has spent. Costs are in the currency of the rates given.

    requests (int): Requests answered by the model (retries not counted).
    cached (int): Requests answered from the cache.
    retried (int): Attempts that had to be repeated.
    failed (int): Requests given up on.
    prompt_tokens, completion_tokens (int): As counted by the server or engine.
    cost (float): 0.0 unless rates are configured.
    """

    requests: int = 0
    cached: int = 0
    retried: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    @property
    def asked(self) -> int:
        """RETURNS (int): All requests, wherever the answer came from, and whether there was one."""
        return self.requests + self.cached + self.failed

    def add(self, other: "Usage") -> None:
        """Add what another one has spent."""
        for name, amount in vars(other).items():
            setattr(self, name, getattr(self, name) + amount)


class Failure(Exception):
    """Why a text has no result. It stands in the place of the result; the rest of the batch goes on.

    retryable (bool): Whether the same may succeed later (a busy server), or never will (a wrong setting).
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class Options(NamedTuple):
    """Where an English entity may come from.

    spans (Tuple[Span, ...]): Places in the source, best first, each with its calibrated probability.
    none (float): Probability that the source has no words for the entity. A place less likely than this is
        not taken.
    answers (Tuple[Tuple[str, Optional[float]], ...]): What was answered, as it stood, best first, with its
        log-probability (nats) where it is known. For the record.
    """

    spans: tuple[Span, ...] = ()
    none: float = 0.0
    answers: tuple[tuple[str, float | None], ...] = ()


@dataclass
class Sentence:
    """What an aligner is given.

    source (Text): The source sentence.
    english (Text): Its English.
    entities (Sequence[Span]): Entities of the English, in the order of the text.
    usage (Usage): Where an aligner adds what it spends on the sentence.
    """

    source: Text
    english: Text
    entities: Sequence[Span]
    usage: Usage = field(default_factory=Usage)

    def names(self) -> list[str]:
        """RETURNS (List[str]): The words of the entities."""
        return [self.english[entity] for entity in self.entities]


@runtime_checkable
class Tagger(Protocol):
    """Finds labelled, scored spans: an English pipeline, a classifier on the source, gold annotation."""

    def __call__(self, texts: Sequence[Text]) -> Sequence[Sequence[Span] | Failure]:
        """RETURNS (Sequence[Union[Sequence[Span], Failure]]): For each text its spans, in order."""
        ...


@runtime_checkable
class Aligner(Protocol):
    """Finds the places in the source that English entities came from."""

    def __call__(self, sentences: Sequence[Sentence]) -> Sequence[Sequence[Options] | Failure]:
        """RETURNS (Sequence[Union[Sequence[Options], Failure]]): For each sentence the options of each of its
        entities, in their order."""
        ...


@runtime_checkable
class Combiner(Protocol):
    """Makes one list of spans of the lists that several annotators have for a text."""

    def __call__(self, text: Text, annotations: Mapping[str, Sequence[Span]]) -> Sequence[Span]:
        """RETURNS (Sequence[Span]): The spans, in the order of the text, none overlapping another."""
        ...


# How an entity's span was found in the source text:
#   exact      the answer stands in the source, character for character
#   variant    it stands there after normalisation (width, traditional or
#              simplified script, spacing, middle dots, brackets, glosses)
#   fuzzy      a slice of the source is similar to it, above the threshold
#   unaligned  no slice of the source was accepted; the entity has no span
#   manual     a person has set it
AlignmentStatus = Literal["exact", "variant", "fuzzy", "unaligned", "manual"]

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
    english_score (float): How certain the English tagger is of it, 0.0 to 1.0; 1.0 if it does not tell.
    answers (List[str]): What the LLM answered, best first, as it stood.
    logprobs (List[Optional[float]]): For each answer its summed
        log-probability (nats), None where the backend does not tell.
    start_char, end_char (Optional[int]): Characters of `doc.text`, half open;
        None if the entity is unaligned.
    status (AlignmentStatus): How the span was found.
    score (float): Confidence, 0.0 to 1.0: that of the alignment times `english_score`; 0.0 if unaligned.
    """

    text: str
    label: str
    english_start: int
    english_end: int
    english_score: float
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
