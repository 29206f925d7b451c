"""What the components know of a doc: `doc._.eat`, and the attributes that read it.

`doc._.eat` (an `EatRecord`) is the one place where results are kept, and this module the
one that changes it. It is plain JSON in `doc.user_data`, so it goes wherever the doc
goes: `Doc.to_bytes`, `DocBin(store_user_data=True)`, `Doc.from_docs`, `Span.as_doc`,
`nlp.pipe` with several processes. `import spacy_eat` is enough to read it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spacy.tokens import Doc
from spacy.tokens import Span as DocSpan

from .text.sentences import split_doc
from .types import EatRecord, EntityRecord, Options, SentenceRecord, Span, Usage

# spaCy moves user data of this form along when docs are joined or cut: the third part is the
# character where what it is about begins.
_NAME = "eat"
_KEY = ("._.", _NAME, 0, None)
# The span group that says how certain the entities of a doc are, where several annotators were combined.
FUSED = "eat_fusion"


def install_extensions() -> None:
    """Register the attributes, unless they are there. `import spacy_eat` does it.

    doc._.eat (Optional[EatRecord]): All that is known, None before the translator ran.
    doc._.eat_translation (Optional[str]): The English of the doc, None unless
        every sentence has one. Set it to use a translation of your own: a
        string for the whole doc, or one string per sentence.
    span._.eat_english (Optional[str]): The English mention behind a span.
    span._.eat_score (Optional[float]): Confidence, 0.0 to 1.0: of the combination (`doc.spans["eat_fusion"]`)
        for an entity that is in it, else of the alignment.
    span._.eat_status (Optional[str]): "exact", "variant" or "fuzzy".
    """
    if not Doc.has_extension(_NAME):
        Doc.set_extension(_NAME, getter=get_record, setter=set_record)
    if not Doc.has_extension("eat_translation"):
        Doc.set_extension("eat_translation", getter=get_translation, setter=set_translation)
    if not DocSpan.has_extension("eat_score"):
        DocSpan.set_extension("eat_score", getter=score_of)
    for attribute, field in (("eat_english", "text"), ("eat_status", "status")):
        if not DocSpan.has_extension(attribute):
            DocSpan.set_extension(attribute, getter=_FromEntity(field))


# --- The record of a doc -----------------------------------------------------


def get_record(doc: Doc) -> EatRecord | None:
    """What `doc._.eat` reads."""
    data = _data(doc)
    if _NAME in data:  # of a doc that was stored by version 0.1
        data[_KEY] = data.pop(_NAME)
    found = [key for key in data if isinstance(key, tuple) and key[:2] == _KEY[:2] and len(key) == 4]
    if not found:
        return None
    if found != [_KEY] or not isinstance(data[_KEY]["sentences"], list):
        parts = {key[2]: _lists(data.pop(key)) for key in found}
        data[_KEY] = parts[0] if [*parts] == [0] else _joined(parts, len(doc.text))
    return data[_KEY]


def set_record(doc: Doc, record: EatRecord | None) -> None:
    """What setting `doc._.eat` writes."""
    get_record(doc)  # else an older one may lie beside it
    data = _data(doc)
    if record is None:
        data.pop(_KEY, None)
    else:
        data[_KEY] = record


def _data(doc: Doc) -> dict[Any, Any]:
    """RETURNS (Dict[Any, Any]): The doc's user data, by keys of any type."""
    data: dict[Any, Any] = doc.user_data
    return data


def _lists(value: Any) -> Any:
    """A copy, with lists for the tuples that msgpack makes of them."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _joined(parts: dict[int, EatRecord], length: int) -> EatRecord:
    """One record for a doc that was joined or cut from others.

    parts (Dict[int, EatRecord]): By the character where their docs begin. It is negative where a doc was
        cut: what was before or after it is left out.
    length (int): Characters of the doc.
    """
    joined: EatRecord = {"sentences": [], "counts": {}, "usage": {}}
    counts, usage = Counter[str](), Counter[str]()
    for offset, part in sorted(parts.items()):
        counts.update(part.get("counts", {}))
        usage.update(part.get("usage", {}))
        for sentence in part["sentences"]:
            start, end = sentence["start_char"] + offset, sentence["end_char"] + offset
            if start < 0 or end > length:
                continue
            sentence["start_char"], sentence["end_char"] = start, end
            for entity in sentence["entities"]:
                if entity["start_char"] is not None and entity["end_char"] is not None:
                    entity["start_char"] += offset
                    entity["end_char"] += offset
            joined["sentences"].append(sentence)
    joined["counts"], joined["usage"] = dict(counts), dict(usage)
    return joined


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


def count_usage(doc: Doc, usage: Usage) -> None:
    """Add up in `doc._.eat["usage"]` what was spent on a doc."""
    record = get_record(doc)
    if record is not None:
        total = record.setdefault("usage", {})
        for name, amount in vars(usage).items():
            total[name] = total.get(name, 0) + amount


def marked_english(sentence: SentenceRecord) -> str:
    """The English of a sentence with its entities marked: "<PER> Ann </PER> sings in <LOC> Rome </LOC>."

    sentence (SentenceRecord): The sentence.
    RETURNS (str): The English, on one line; "" if there is none. Of entities that overlap, the one that
        begins first is marked, then the longest.
    """
    english, parts, at = sentence["english"] or "", [], 0
    entities = sorted(
        sentence["entities"], key=lambda entity: (entity["english_start"], -entity["english_end"])
    )
    for entity in entities:
        start, end, label = entity["english_start"], entity["english_end"], entity["label"]
        if start >= at:
            parts += [english[at:start], f"<{label}> {english[start:end]} </{label}>"]
            at = end
    return " ".join("".join([*parts, english[at:]]).split())


# --- The way of a sentence ---------------------------------------------------


def needs_english(sentence: SentenceRecord) -> bool:
    """Whether a sentence has no English, or failed to get one."""
    return sentence["english"] is None


def needs_alignment(sentence: SentenceRecord) -> bool:
    """Whether a sentence has English whose entities were not placed, or failed to be."""
    return sentence["english"] is not None and sentence["status"] != "aligned"


def set_english(sentence: SentenceRecord, english: str) -> None:
    """A sentence was translated."""
    sentence["english"], sentence["status"], sentence["error"] = english, "translated", None


def set_nothing(sentence: SentenceRecord) -> None:
    """A sentence has nothing in it that could be a name: there is nothing to do for it."""
    sentence["english"], sentence["status"], sentence["error"], sentence["entities"] = "", "aligned", None, []


def set_failure(sentence: SentenceRecord, step: str, reason: object) -> None:
    """A sentence failed; running the component again retries it.

    step (str): Where: "translation", "tagging" or "alignment".
    reason (object): Why.
    """
    sentence["status"], sentence["error"] = "failed", f"{step}: {reason}"


def set_answers(sentence: SentenceRecord, found: Mapping[str, Sequence[tuple[str, float | None]]]) -> None:
    """Write what an LLM said to the entities of a sentence that have no answers.

    found (Mapping[str, Sequence[Tuple[str, Optional[float]]]]): By English name, best first.
    """
    for entity in sentence["entities"]:
        if not entity["answers"]:
            answers = found.get(entity["text"], ())
            entity["answers"] = [text for text, _ in answers]
            entity["logprobs"] = [logprob for _, logprob in answers]


def set_entities(
    sentence: SentenceRecord,
    entities: Sequence[Span],
    options: Sequence[Options],
    spans: Sequence[Span | None],
    repeats: Sequence[tuple[int, Span]],
) -> None:
    """The entities of a sentence were found in its English and placed in its source.

    entities (Sequence[Span]): Entities of the English.
    options (Sequence[Options]): What the aligner said of each.
    spans (Sequence[Optional[Span]]): Its place, in characters of the sentence; None if it has none.
    repeats (Sequence[Tuple[int, Span]]): Further places, each with the number of its entity.
    """
    offset, english = sentence["start_char"], sentence["english"] or ""
    records: list[EntityRecord] = []
    placed = [*enumerate(spans), *repeats]
    for number, span in placed:
        entity, asked = entities[number], options[number]
        answers = [] if len(records) >= len(spans) else asked.answers
        records.append(
            {
                "text": english[entity.start_char : entity.end_char],
                "label": entity.label,
                "english_start": entity.start_char,
                "english_end": entity.end_char,
                "english_score": round(entity.score, 4),
                "answers": [answer for answer, _ in answers],
                "logprobs": [None if logprob is None else round(logprob, 4) for _, logprob in answers],
                "start_char": None if span is None else offset + span.start_char,
                "end_char": None if span is None else offset + span.end_char,
                "status": "unaligned" if span is None else span.origin,  # type: ignore[typeddict-item]
                "score": 0.0 if span is None else round(entity.score * span.score, 4),
            }
        )
    sentence["entities"], sentence["status"], sentence["error"] = records, "aligned", None


# --- Translations ------------------------------------------------------------


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
        set_record(doc, new_record([(0, len(doc.text))], [english]))
        return
    spans = split_doc(doc)
    if len(spans) != len(english):
        raise ValueError(
            f"doc._.eat_translation got {len(english)} strings for {len(spans)} sentences. Set one string "
            "for the whole doc, or one per sentence as `spacy_eat.text.sentences.split_doc(doc)` gives them "
            "(`doc.sents` where set)."
        )
    set_record(doc, new_record(spans, list(english)))


# --- Entities ----------------------------------------------------------------


class _FromEntity:
    """Getter of an entity's field. (A class, so that it can be pickled.)"""

    def __init__(self, field: str) -> None:
        self.field = field

    def __call__(self, span: DocSpan) -> Any:
        entity = entity_of(span)
        return None if entity is None else entity[self.field]  # type: ignore[literal-required]


def score_of(span: DocSpan) -> float | None:
    """How certain an entity is.

    span (Span): Any span.
    RETURNS (Optional[float]): The score of the combination, if the span is in it, else that of its
        alignment; None if it is in neither.
    """
    doc = span.doc
    if FUSED in doc.spans:
        group = doc.spans[FUSED]
        scores = group.attrs.get("scores", ())
        i = bisect_left(range(len(group)), span.start, key=lambda i: group[i].start)
        if i < len(scores) and (group[i].start, group[i].end, group[i].label) == (
            span.start,
            span.end,
            span.label,
        ):
            return float(scores[i])
    entity = entity_of(span)
    return None if entity is None else entity["score"]


def entity_of(span: DocSpan) -> EntityRecord | None:
    """The record behind a span that was set by the aligner.

    span (Span): Any span.
    RETURNS (Optional[EntityRecord]): The most confident record with this label
        whose characters are the span's, else whose characters the span holds
        (where it was expanded to token boundaries); None if there is none.
    """
    sentences = sentences_of(span.doc)
    first = bisect_right(sentences, span.start_char, key=lambda sentence: sentence["start_char"]) - 1
    within = []
    for sentence in sentences[max(0, first) :]:
        if sentence["start_char"] >= span.end_char:
            break
        for entity in sentence["entities"]:
            start, end = entity["start_char"], entity["end_char"]
            if start is None or end is None or entity["label"] != span.label_:
                continue
            if span.start_char <= start and end <= span.end_char:
                exact = (start, end) == (span.start_char, span.end_char)
                within.append((exact, entity["score"], entity))
    return max(within, key=lambda found: found[:2])[2] if within else None
