"""The attributes the components set on docs and spans.

`doc._.eat` (an `EatRecord`) is the one place where results are kept; all other
attributes read it. It is plain JSON in `doc.user_data`, so it goes wherever
the doc goes: `Doc.to_bytes`, `DocBin(store_user_data=True)`, `nlp.pipe` with
several processes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from spacy.tokens import Doc, Span

from .llm.prompts import Response
from .text.sentences import split_doc
from .types import EatRecord, EntityRecord, SentenceRecord


def install_extensions() -> None:
    """Register the attributes. The components do so when they are created; to
    read stored docs without a pipeline, call it yourself.

    doc._.eat (Optional[EatRecord]): All that is known, None before the translator ran.
    doc._.eat_translation (Optional[str]): The English of the doc, None unless
        every sentence has one. Set it to use a translation of your own: a
        string for the whole doc, or one string per sentence.
    span._.eat_english (Optional[str]): The English mention behind a span.
    span._.eat_score (Optional[float]): Confidence, 0.0 to 1.0.
    span._.eat_status (Optional[str]): "exact", "variant" or "fuzzy".
    """
    if not Doc.has_extension("eat"):
        Doc.set_extension("eat", getter=get_record, setter=set_record)
    if not Doc.has_extension("eat_translation"):
        Doc.set_extension("eat_translation", getter=get_translation, setter=set_translation)
    for attribute, field in (("eat_english", "text"), ("eat_score", "score"), ("eat_status", "status")):
        if not Span.has_extension(attribute):
            Span.set_extension(attribute, getter=_FromEntity(field))


_KEY = "eat"


def get_record(doc: Doc) -> EatRecord | None:
    """What `doc._.eat` reads."""
    record = doc.user_data.get(_KEY)
    if record is not None and not isinstance(record["sentences"], list):
        record = doc.user_data[_KEY] = _lists(record)  # msgpack made tuples of its lists
    return record


def set_record(doc: Doc, record: EatRecord | None) -> None:
    """What setting `doc._.eat` writes."""
    doc.user_data[_KEY] = record


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


class _FromEntity:
    """Getter of an entity's field. (A class, so that it can be pickled.)"""

    def __init__(self, field: str) -> None:
        self.field = field

    def __call__(self, span: Span) -> Any:
        entity = entity_of(span)
        return None if entity is None else entity[self.field]  # type: ignore[literal-required]


def entity_of(span: Span) -> EntityRecord | None:
    """The record behind a span that was set by the aligner.

    span (Span): Any span.
    RETURNS (Optional[EntityRecord]): The most confident record with this label
        whose characters are the span's, else whose characters the span holds
        (where it was expanded to token boundaries); None if there is none.
    """
    within = []
    for sentence in sentences_of(span.doc):
        for entity in sentence["entities"]:
            start, end = entity["start_char"], entity["end_char"]
            if start is None or end is None or entity["label"] != span.label_:
                continue
            if span.start_char <= start and end <= span.end_char:
                exact = (start, end) == (span.start_char, span.end_char)
                within.append((exact, entity["score"], entity))
    return max(within, key=lambda found: found[:2])[2] if within else None


def sentences_of(doc: Doc) -> list[SentenceRecord]:
    """The sentence records of a doc, an empty list if there are none yet."""
    record = get_record(doc)
    return record["sentences"] if record else []


def texts_of(doc: Doc, sentences: Sequence[SentenceRecord]) -> list[str]:
    """The source texts of sentences of a doc."""
    text = doc.text if sentences else ""  # made anew by each access
    return [text[sentence["start_char"] : sentence["end_char"]] for sentence in sentences]


def new_record(spans: Sequence[tuple[int, int]], english: Sequence[str] | None = None) -> EatRecord:
    """A record with a sentence for each pair of character offsets.

    english (Optional[Sequence[str]]): The user's own translations, one each.
    """
    sentences: list[SentenceRecord] = [
        {
            "start_char": start,
            "end_char": end,
            "english": None if english is None else english[i],
            "status": "pending" if english is None else "given",
            "error": None,
            "entities": [],
            "requests": 0,
        }
        for i, (start, end) in enumerate(spans)
    ]
    return {"sentences": sentences, "counts": {}, "usage": {}}


def count_usage(docs: Sequence[Doc], responses: Iterable[Iterable[Response]]) -> None:
    """Add up in `doc._.eat["usage"]` what the LLM has spent on each doc.

    docs (Sequence[Doc]): The docs.
    responses (Iterable[Iterable[Response]]): For each doc those to its prompts. One
        that several share counts for the first.
    """
    counted: set[int] = set()
    for doc, answers in zip(docs, responses, strict=True):
        record = get_record(doc)
        for answer in answers:
            if record is None or id(answer) in counted:
                continue
            counted.add(id(answer))
            usage = record.setdefault("usage", {})
            for name, amount in vars(answer.usage).items():
                usage[name] = usage.get(name, 0) + amount


def get_translation(doc: Doc) -> str | None:
    """The English of all sentences, None while one has none."""
    english = [sentence["english"] for sentence in sentences_of(doc)]
    if not english or any(text is None for text in english):
        return None
    return " ".join(text for text in english if text)


def set_translation(doc: Doc, english: str | Sequence[str]) -> None:
    """Take a translation of the user's own. What was aligned before is dropped.

    english: The English of the whole doc, or of each of its sentences.
    RAISES (ValueError): If the number of strings is not the number of sentences.
    """
    if isinstance(english, str):
        doc._.eat = new_record([(0, len(doc.text))], [english])
        return
    spans = split_doc(doc)
    if len(spans) != len(english):
        raise ValueError(
            f"doc._.eat_translation got {len(english)} strings for {len(spans)} sentences. Set one string "
            "for the whole doc, or one per sentence as `spacy_eat.text.sentences.split_doc(doc)` gives them "
            "(`doc.sents` where set)."
        )
    doc._.eat = new_record(spans, list(english))
