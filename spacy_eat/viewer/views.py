"""What is shown of a doc, as plain values: the page, the report and the web API share them.

All offsets are characters of the whole text, half open, but for those of the English, which are characters of
their sentence's English.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from spacy.tokens import Doc
from spacy.tokens import Span as DocSpan

from ..records import FUSED, sentences_of
from ..text.sentences import split_doc
from ..types import SentenceRecord


@dataclass
class Mention:
    """An entity: its place in the source, its place in the English, or both.

    start, end (Optional[int]): Characters of the text; None if it is unaligned.
    label (str): Its label.
    score (Optional[float]): 0.0 to 1.0; None where it has none, as what a person has set.
    status (str): How or by whom it was found: "exact", "variant", "fuzzy", "unaligned", the key of an
        annotator's span group, "manual"; "" where nothing is known.
    english_start, english_end (Optional[int]): Characters of the sentence's English; None if it has none.
    answers (List[str]): What the LLM answered, best first.
    chosen (bool): Whether it is one of `doc.ents`.
    """

    start: int | None
    end: int | None
    label: str
    score: float | None = None
    status: str = ""
    english_start: int | None = None
    english_end: int | None = None
    answers: list[str] = field(default_factory=list)
    chosen: bool = True


@dataclass
class Opinion:
    """What one annotator said: a span of its group in `doc.spans`.

    annotator (str): Key of the group.
    start, end (int): Characters of the text.
    label (str): Its label.
    score (Optional[float]): From the group's `attrs["scores"]`, None where it has none.
    """

    annotator: str
    start: int
    end: int
    label: str
    score: float | None = None


@dataclass
class Sentence:
    """A sentence, its English and its entities.

    start (int): Where in the text it begins.
    text (str): The source.
    english (Optional[str]): None where there is none.
    status (str): As in `doc._.eat`; "" for text that is in none of its sentences.
    error (Optional[str]): Why it failed.
    mentions (List[Mention]): In the order of the source, the unaligned last.
    opinions (List[Opinion]): What annotators said, in the order of the text.
    annotators (List[str]): Those who were asked, whether they said anything or not.
    """

    start: int
    text: str
    english: str | None = None
    status: str = ""
    error: str | None = None
    mentions: list[Mention] = field(default_factory=list)
    opinions: list[Opinion] = field(default_factory=list)
    annotators: list[str] = field(default_factory=list)

    @property
    def end(self) -> int:
        """RETURNS (int): Where it ends."""
        return self.start + len(self.text)


@dataclass
class View:
    """A doc.

    text (str): Its text.
    lang (str): Language code.
    sentences (List[Sentence]): In order. Whatever is in none of them is white space.
    title (str): `doc.user_data["title"]`, as of displaCy.
    """

    text: str
    lang: str = ""
    sentences: list[Sentence] = field(default_factory=list)
    title: str = ""

    def entities(self) -> list[Mention]:
        """RETURNS (List[Mention]): What is in `doc.ents`, in the order of the text."""
        chosen = (m for s in self.sentences for m in s.mentions if m.chosen and m.start is not None)
        return sorted(chosen, key=lambda mention: (mention.start, mention.end))


_Key = tuple[int | None, int | None, str]


def view_of(doc: Doc, groups: Sequence[str] | None = None) -> View:
    """What is shown of a doc.

    doc (Doc): Any doc. One without `doc._.eat` has its entities alone.
    groups (Optional[Sequence[str]]): Keys of the span groups to show as annotators. By default those with
        scores, if there are others than the aligner's own, whose spans are the entities anyway.
    RETURNS (View): Its values. They do not keep the doc alive.
    """
    text = doc.text
    records = sentences_of(doc)
    sentences = list(_sentences(doc, text, records))
    title = doc.user_data.get("title")
    view = View(text, doc.lang_, sentences, title if isinstance(title, str) else "")
    if not sentences:
        return view
    starts = [sentence.start for sentence in sentences]

    def home(start: int) -> Sentence:
        return sentences[max(0, bisect_right(starts, start) - 1)]

    annotators = _annotators(doc) if groups is None else [key for key in groups if key in doc.spans]
    for opinion in _opinions(doc, annotators):
        home(opinion.start).opinions.append(opinion)
    last_word: dict[_Key, Opinion] = {
        (o.start, o.end, o.label): o for o in _opinions(doc, (key for key in doc.spans if key != FUSED))
    }
    ents: dict[_Key, DocSpan] = {(ent.start_char, ent.end_char, ent.label_): ent for ent in doc.ents}
    for sentence in sentences:
        for mention in sentence.mentions:
            mention.chosen = ents.pop((mention.start, mention.end, mention.label), None) is not None
    placed = sorted(
        (m for sentence in sentences for m in sentence.mentions if m.start is not None),
        key=lambda mention: mention.start or 0,
    )
    for place, ent in ents.items():
        home(ent.start_char).mentions.append(_of_ent(ent, placed, last_word.get(place)))
    # Where annotators were combined, an entity is as certain as the combination says.
    combined = {
        (o.start, o.end, o.label): o.score for o in _opinions(doc, [FUSED] if FUSED in doc.spans else [])
    }
    for mention in view.entities():
        mention.score = combined.get((mention.start or 0, mention.end or 0, mention.label), mention.score)
    for sentence in sentences:
        sentence.annotators = annotators
        sentence.mentions.sort(key=lambda m: (m.start is None, m.start or 0, -(m.end or 0)))
        sentence.opinions.sort(key=lambda o: (o.start, -o.end, o.label))
    return view


def _sentences(doc: Doc, text: str, records: Sequence[SentenceRecord]) -> Iterator[Sentence]:
    """The sentences of the record, and the text between them, if there is any."""
    position = 0
    for start, end, record in _in_order(doc, records, len(text)):
        if record is None:
            yield Sentence(start, text[start:end])
            continue
        if gap := text[position:start].strip():
            yield Sentence(text.index(gap, position), gap)
        position = max(position, end)
        english = record["english"]
        yield Sentence(
            start,
            text[start:end],
            english,
            record["status"],
            record["error"],
            [_of_record(entity, len(text), len(english or "")) for entity in record["entities"]],
        )
    if records and (gap := text[position:].strip()):
        yield Sentence(text.index(gap, position), gap)


def _in_order(
    doc: Doc, records: Sequence[SentenceRecord], length: int
) -> list[tuple[int, int, SentenceRecord | None]]:
    if not records:
        return [(start, end, None) for start, end in split_doc(doc)]
    placed = [(_place(r["start_char"], r["end_char"], length) or (0, 0), r) for r in records]
    return sorted(((*place, record) for place, record in placed), key=lambda item: item[:2])


def _of_record(entity: Mapping[str, Any], length: int, english_length: int) -> Mention:
    start, end = _place(entity["start_char"], entity["end_char"], length) or (None, None)
    english = _place(entity["english_start"], entity["english_end"], english_length)
    english_start, english_end = english or (None, None)
    status = "unaligned" if start is None else entity["status"]
    score = entity["score"] if start is not None else None
    answers = [str(answer) for answer in entity["answers"]]
    return Mention(start, end, entity["label"], score, status, english_start, english_end, answers)


def _of_ent(ent: DocSpan, placed: Sequence[Mention], opinion: Opinion | None) -> Mention:
    """An entity whose very place no record has: joined from several or taken to whole tokens, or from another
    component. It has the score of the best record in it, else that of the last group that has its place."""
    first = bisect_left(placed, ent.start_char, key=lambda mention: mention.start or 0)
    rest = (placed[i] for i in range(first, len(placed)))
    within = takewhile(lambda mention: (mention.start or 0) < ent.end_char, rest)
    parts = [m for m in within if m.label == ent.label_ and (m.end or 0) <= ent.end_char]
    if parts:
        best = max(parts, key=lambda mention: mention.score or 0.0)
        score, status = best.score, best.status
    else:
        score, status = (opinion.score, opinion.annotator) if opinion else (None, "")
    return Mention(ent.start_char, ent.end_char, ent.label_, score, status)


def _annotators(doc: Doc) -> list[str]:
    keys = [key for key, group in doc.spans.items() if _scores(group.attrs, len(group)) is not None]
    return [] if keys == ["eat"] else keys


def _opinions(doc: Doc, annotators: Iterable[str]) -> Iterator[Opinion]:
    for key in annotators:
        group = doc.spans[key]
        scores = _scores(group.attrs, len(group)) or [None] * len(group)
        for span, score in zip(group, scores, strict=True):
            yield Opinion(key, span.start_char, span.end_char, span.label_, score)


def _scores(attrs: Mapping[str, Any], count: int) -> Sequence[float | None] | None:
    """The scores of a span group, None where it has none for each of its spans."""
    found = attrs.get("scores")
    if found is None or len(found) != count:
        return None
    return [float(score) for score in found]


def _place(start: Any, end: Any, length: int) -> tuple[int, int] | None:
    """A place within the text, whatever a record from elsewhere says."""
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    start = min(max(start, 0), length)
    return start, min(max(end, start), length)
