"""What goes over the wire. All offsets are characters (code points) of the whole text, half open, but for
those of the English, which are characters of their sentence's English."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..records import FUSED
from ..viewer import views

ALIGNED = "eat"  # the annotator that the English speaks for
STATUSES = ("exact", "variant", "fuzzy", "unaligned")  # how it found what it found

LONGEST_LABEL = 64  # characters
MOST_TEXTS = 1000  # of a request
FARTHEST = 2**31  # more than any text has characters


def _encodable(text: str) -> str:
    """RAISES (ValueError): If the text has half a surrogate pair, which no file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Label = Annotated[Text, Field(max_length=LONGEST_LABEL)]
Place = Annotated[int, Field(ge=0, lt=FARTHEST, strict=True)]
Score = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class Strict(BaseModel):
    """A model whose fields are all that it takes."""

    model_config = ConfigDict(extra="forbid")


class Entity(Strict):
    """An entity: its place in the text, its place in the English, or both."""

    start: Place | None = Field(None, description="Where it begins; null if it is unaligned.")
    end: Place | None = Field(None, description="Where it ends.")
    label: Label
    text: Text = Field("", description="Its words. What you send is not looked at.")
    score: Score | None = Field(None, description="Probability that it is right; null if set by a person.")
    status: Text = Field(
        "",
        max_length=LONGEST_LABEL,
        description='How it was found: "exact", "variant", "fuzzy", "unaligned", "manual", or the annotator.',
    )
    origin: list[Label] = Field([], description='Who found it: keys of span groups, or "manual".')
    english: Text | None = Field(None, description="Its English. What you send is not looked at.")
    english_start: Place | None = None
    english_end: Place | None = None
    answers: list[Text] = Field([], description="What the LLM answered, best first.")
    chosen: Switch = Field(True, description="Whether it is one of the entities (`doc.ents`).")


class Opinion(Strict):
    """What one annotator of several said."""

    annotator: Label
    start: Place
    end: Place
    label: Label
    score: Score | None = None


class Sentence(Strict):
    """A sentence, its English and its entities."""

    start: Place
    end: Place
    text: Text
    english: Text | None = None
    status: Text = Field("", max_length=LONGEST_LABEL, description='"aligned", "failed" ..., "" without EAT.')
    error: Text | None = Field(None, description="Why it failed.")
    entities: list[Entity] = []
    opinions: list[Opinion] = []
    annotators: list[Label] = []


class GivenSentence(Sentence):
    """A sentence as a client sends it: corrected, perhaps."""

    @model_validator(mode="after")
    def _check(self) -> "GivenSentence":
        if self.end - self.start != len(self.text):
            raise ValueError(f"the text has {len(self.text)} characters, from {self.start} to {self.end}")
        for entity in self.entities:
            _check_place("an entity", entity.start, entity.end)
            _check_place("the English of an entity", entity.english_start, entity.english_end)
            if entity.start is None and entity.english_start is None:
                raise ValueError("an entity has no place, neither in the text nor in the English")
            if entity.start is not None and not self.start <= entity.start < self.end:
                raise ValueError(f"an entity begins at {entity.start}, outside of the sentence")
            if entity.english_end is not None and entity.english_end > len(self.english or ""):
                raise ValueError("the English of an entity is outside of the English")
        for opinion in self.opinions:
            _check_place("an opinion", opinion.start, opinion.end)
        return self


def _check_place(what: str, start: int | None, end: int | None) -> None:
    if (start is None) != (end is None):
        raise ValueError(f"{what} has a start or an end, but not both")
    if start is not None and end is not None and start >= end:
        raise ValueError(f"{what} begins at {start} and ends at {end}")


class Document(Strict):
    """A text and its sentences."""

    text: Text
    lang: str
    sentences: list[Sentence]


class GivenDocument(Strict):
    """A text as a client sends it, with its sentences."""

    text: Text
    lang: str = Field(pattern="^[a-z]{2,3}$", description="Language code of the text.")
    sentences: list[GivenSentence]

    @model_validator(mode="after")
    def _check(self) -> "GivenDocument":
        position = 0
        for sentence in self.sentences:
            if sentence.start < position:
                raise ValueError(f"the sentence at {sentence.start} is not in the order of the text")
            if self.text[sentence.start : sentence.end] != sentence.text:
                raise ValueError(f"the sentence at {sentence.start} is not what the text has there")
            position = sentence.end
            places: list[Entity | Opinion] = [*sentence.entities, *sentence.opinions]
            if any((place.end or 0) > len(self.text) for place in places):
                raise ValueError("an entity ends outside of the text")
        return self


# --- Requests ----------------------------------------------------------------


class AnnotateRequest(Strict):
    """Texts to annotate."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "柳传志于1984年在北京创立了联想集团。", "lang": "zh"}]}
    )

    text: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)] = Field(
        description="A text, or several."
    )
    pipeline: str | None = Field(None, description="Name of a pipeline, see `GET /pipelines`.")
    lang: str | None = Field(
        None,
        description="Language code: the first pipeline of this language. Without it and `pipeline`, the"
        " script of the text tells.",
    )

    @property
    def texts(self) -> list[str]:
        """RETURNS (List[str]): The texts."""
        return [self.text] if isinstance(self.text, str) else self.text


class StreamRequest(AnnotateRequest):
    """Texts to annotate, with an event for each sentence."""

    html: Switch = Field(False, description="Whether events have the view of their sentence, as HTML.")


class RenderRequest(Strict):
    """A sentence to show."""

    sentence: GivenSentence
    lang: str = Field("", pattern="^([a-z]{2,3})?$")
    key: str = Field("0", pattern="^[0-9]{1,9}$", description="What tells it from the others on a page.")


class ExportRequest(Strict):
    """Documents to write to a file."""

    format: Literal["jsonl", "spacy", "conll"]
    documents: list[GivenDocument] = Field(max_length=MOST_TEXTS)


# --- Answers -----------------------------------------------------------------


class Problem(BaseModel):
    """Why a request has no result."""

    detail: str


class AnnotateAnswer(BaseModel):
    """Annotated texts."""

    pipeline: str
    documents: list[Document]


class Started(BaseModel):
    """The event `start`: a request has its place."""

    pipeline: str
    lang: str = Field(description="Language code of the pipeline; empty while it is being loaded.")
    sentences: int = Field(description="How many there will be events for, or more where a pipeline splits.")


class Waiting(BaseModel):
    """The event `waiting`: nothing was finished for some seconds."""

    before: int = Field(description="Sentences of all requests that no batch has taken yet.")


class Finished(BaseModel):
    """The event `sentence`: one is finished."""

    document: int = Field(description="Which of the texts it is from, counted from 0.")
    sentence: Sentence
    html: str | None = Field(None, description="The view of it; null if it was not asked for.")


class Done(BaseModel):
    """The event `done`, the last one: all sentences are finished."""

    lang: str
    seconds: float


class RenderAnswer(BaseModel):
    """The view of a sentence."""

    html: str


class Pipeline(BaseModel):
    """A pipeline of the server."""

    name: str
    lang: str = Field(description="Language code; empty until it is loaded.")
    language: str = Field(description="Name of the language.")
    state: Literal["loading", "ready", "failed"]
    reason: str = Field(description="Why it cannot be used.")
    labels: list[str]
    components: list[str]
    requests: int = Field(description="Requests that wait or are at work.")


class Pipelines(BaseModel):
    """The pipelines of the server, and its limits."""

    pipelines: list[Pipeline]
    max_chars: int
    version: str


class Health(BaseModel):
    """Whether the server can work."""

    status: Literal["ok", "loading", "failed"]
    requests: int


# What `POST /annotate/stream` sends, and the names of the events. The last is `done`, or `error`.
Event = Started | Waiting | Finished | Done | Problem
EVENTS: dict[type[BaseModel], str] = {
    Started: "start",
    Waiting: "waiting",
    Finished: "sentence",
    Done: "done",
    Problem: "error",
}


# --- From views and back -----------------------------------------------------


def from_view(sentence: views.Sentence, offset: int) -> Sentence:
    """A sentence as clients get it.

    sentence (views.Sentence): As a pipeline gave it.
    offset (int): Where in the whole text its own text begins.
    RETURNS (Sentence): The same.
    """
    opinions = [
        Opinion(
            annotator=o.annotator, start=offset + o.start, end=offset + o.end, label=o.label, score=o.score
        )
        for o in sentence.opinions
    ]
    return Sentence(
        start=offset + sentence.start,
        end=offset + sentence.end,
        text=sentence.text,
        english=sentence.english,
        status=sentence.status,
        error=sentence.error,
        entities=[_from_mention(mention, sentence, offset) for mention in sentence.mentions],
        opinions=opinions,
        annotators=sentence.annotators,
    )


def _from_mention(mention: views.Mention, sentence: views.Sentence, offset: int) -> Entity:
    start, end = mention.start, mention.end
    english_start, english_end = mention.english_start, mention.english_end
    english = sentence.english or ""
    return Entity(
        start=None if start is None else offset + start,
        end=None if end is None else offset + end,
        label=mention.label,
        text="" if start is None else sentence.text[start - sentence.start : (end or 0) - sentence.start],
        score=mention.score,
        status=mention.status,
        origin=_origin(mention, sentence),
        english=None if english_start is None else english[english_start:english_end],
        english_start=english_start,
        english_end=english_end,
        answers=mention.answers,
        chosen=mention.chosen,
    )


def _origin(mention: views.Mention, sentence: views.Sentence) -> list[str]:
    """RETURNS (List[str]): The annotators that found an entity."""
    place = (mention.start, mention.end, mention.label)
    said = [o.annotator for o in sentence.opinions if (o.start, o.end, o.label) == place]
    found = [name for name in said if name != FUSED]
    if not found and mention.status:
        found = [ALIGNED if mention.status in STATUSES else mention.status]
    return found


def to_view(sentence: Sentence) -> views.Sentence:
    """RETURNS (views.Sentence): A sentence for the viewer."""
    derived = {"text", "english", "origin"}
    return views.Sentence(
        sentence.start,
        sentence.text,
        sentence.english,
        sentence.status,
        sentence.error,
        [views.Mention(**entity.model_dump(exclude=derived)) for entity in sentence.entities],
        [views.Opinion(**opinion.model_dump()) for opinion in sentence.opinions],
        list(sentence.annotators),
    )
