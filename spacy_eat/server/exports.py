"""Annotated and corrected documents as files."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, DocBin, SpanGroup
from spacy.tokens import Span as DocSpan
from spacy.util import filter_spans

from ..components.placement import split_tokens
from ..pipelines import blank
from ..records import FUSED, install_extensions
from ..text.tokenizers import tokenize
from ..types import EntityRecord, SentenceRecord
from .schemas import Entity, GivenDocument, Sentence

MANUAL = "manual"  # the annotator that a person is
CERTAIN = 1.0  # the score of what a person has set
# Characters that are tokenized together. spaCy's tokenizer takes time that grows with the square of what has
# no space, and Sudachi refuses texts of more than 49,149 bytes.
PIECE = 1000


class Export(NamedTuple):
    """A format.

    name (str): Of the file.
    media_type (str): Of its content.
    write (Callable[[Sequence[GivenDocument]], bytes]): Makes it.
    """

    name: str
    media_type: str
    write: Callable[[Sequence[GivenDocument]], bytes]


def to_jsonl(documents: Sequence[GivenDocument]) -> bytes:
    """RETURNS (bytes): A line for each document, as of `python -m spacy eat annotate`."""
    lines = (json.dumps(_fields(document), ensure_ascii=False) + "\n" for document in documents)
    return "".join(lines).encode("utf-8")


def _fields(document: GivenDocument) -> dict[str, object]:
    fields: dict[str, object] = {
        "text": document.text,
        "lang": document.lang,
        "entities": [
            {
                "start": start,
                "end": end,
                "label": entity.label,
                "text": document.text[start:end],
                "english": _english(sentence, entity),
                "score": entity.score,
                "status": entity.status,
            }
            for sentence in document.sentences
            for start, end, entity in _chosen(sentence)
        ],
    }
    if any(sentence.english for sentence in document.sentences):
        fields["english"] = " ".join(sentence.english or "" for sentence in document.sentences)
    return fields


def _chosen(sentence: Sentence) -> list[tuple[int, int, Entity]]:
    """RETURNS (List[Tuple[int, int, Entity]]): The entities that count, in the order of the text."""
    found = [(e.start, e.end, e) for e in sentence.entities if e.chosen and e.start is not None and e.end]
    return sorted(found, key=lambda item: item[:2])


def _english(sentence: Sentence, entity: Entity) -> str | None:
    if entity.english_start is None:
        return None
    return (sentence.english or "")[entity.english_start : entity.english_end]


def to_spacy(documents: Sequence[GivenDocument]) -> bytes:
    """RETURNS (bytes): A `DocBin` of docs as the pipeline leaves them: `doc.ents`, `doc._.eat`, and a span
    group for each annotator, of which a person is one."""
    docs = DocBin(store_user_data=True)
    for _, doc in _docs(documents):
        docs.add(doc)
    return docs.to_bytes()


def to_conll(documents: Sequence[GivenDocument]) -> bytes:
    """RETURNS (bytes): Rows "token, tag" (BIO), an empty line after each sentence."""
    lines: list[str] = []
    for number, (document, doc) in enumerate(_docs(documents), 1):
        for i, sentence in enumerate(document.sentences, 1):
            lines.append(f"# sent_id = {number}-{i}")
            tokens = doc.char_span(sentence.start, sentence.end, alignment_mode="expand") or ()
            lines += (
                f"{token.text}\t{_tag(token.ent_iob_, token.ent_type_)}"
                for token in tokens
                if not token.is_space
            )
            lines.append("")
    return "\n".join(lines).encode("utf-8")


def _tag(iob: str, label: str) -> str:
    return f"{iob}-{'_'.join(label.split()) or 'MISC'}" if iob in ("B", "I") else "O"


def _docs(documents: Sequence[GivenDocument]) -> list[tuple[GivenDocument, Doc]]:
    """RETURNS (List[Tuple[GivenDocument, Doc]]): Docs on tokenizers of their languages."""
    install_extensions()
    pipelines: dict[str, Language] = {}
    made = []
    for document in documents:
        if document.lang not in pipelines:
            pipelines[document.lang] = blank(document.lang)
        made.append((document, to_doc(document, pipelines[document.lang])))
    return made


def to_doc(document: GivenDocument, nlp: Language) -> Doc:
    """A doc as a pipeline leaves it.

    document (GivenDocument): The document.
    nlp (Language): Whose tokenizer to use. Tokens that an entity begins or ends in are split.
    RETURNS (Doc): The doc. Of entities that overlap, the longest are in `doc.ents`.
    """
    doc = tokenize(nlp.make_doc, document.text, PIECE)
    entities = [item for sentence in document.sentences for item in _chosen(sentence)]
    split_tokens(doc, {edge for start, end, _ in entities for edge in (start, end)})
    if any(sentence.status for sentence in document.sentences):
        doc._.eat = {
            "sentences": [_record(sentence) for sentence in document.sentences],
            "counts": {},
            "usage": {},
        }
    said: dict[str, list[tuple[float, int, int, str]]] = {
        name: [] for sentence in document.sentences for name in sentence.annotators
    }
    for sentence in document.sentences:
        for o in sentence.opinions:
            said.setdefault(o.annotator, []).append((_score(o.score), o.start, o.end, o.label))
    for start, end, entity in entities:
        if entity.status == MANUAL:
            said.setdefault(MANUAL, []).append((CERTAIN, start, end, entity.label))
    for name, spans in said.items():
        _set_group(doc, name, [found for span in spans if (found := _span(doc, *span))])
    chosen = [(_score(entity.score), start, end, entity.label) for start, end, entity in entities]
    placed = [found for span in chosen if (found := _span(doc, *span))]
    scores = {span: score for score, span in placed}
    kept = filter_spans(scores)
    doc.set_ents(kept, default="outside")
    _set_group(doc, FUSED, [(scores[span], span) for span in kept])
    return doc


def _record(sentence: Sentence) -> SentenceRecord:
    return {
        "start_char": sentence.start,
        "end_char": sentence.end,
        "english": sentence.english,
        "status": sentence.status or "pending",  # type: ignore[typeddict-item]
        "error": sentence.error,
        "entities": [
            _entity_record(sentence, entity, entity.english_start, entity.english_end)
            for entity in sentence.entities
            if entity.english_start is not None and entity.english_end is not None
        ],
        "requests": 0,
    }


def _entity_record(sentence: Sentence, entity: Entity, start: int, end: int) -> EntityRecord:
    return {
        "text": (sentence.english or "")[start:end],
        "label": entity.label,
        "english_start": start,
        "english_end": end,
        "answers": entity.answers,
        "logprobs": [None] * len(entity.answers),
        "start_char": entity.start,
        "end_char": entity.end,
        "status": entity.status,  # type: ignore[typeddict-item]
        "score": 0.0 if entity.start is None else _score(entity.score),
    }


def _score(score: float | None) -> float:
    return CERTAIN if score is None else score


def _span(doc: Doc, score: float, start: int, end: int, label: str) -> tuple[float, DocSpan] | None:
    span = doc.char_span(start, end, label=label, alignment_mode="expand")
    return None if span is None or not len(span) else (score, span)


def _set_group(doc: Doc, name: str, scored: Sequence[tuple[float, DocSpan]]) -> None:
    spans, scores = [span for _, span in scored], [score for score, _ in scored]
    doc.spans[name] = SpanGroup(doc, name=name, attrs={"scores": scores}, spans=spans)


EXPORTS = {
    "jsonl": Export("annotated.jsonl", "application/x-ndjson", to_jsonl),
    "spacy": Export("annotated.spacy", "application/octet-stream", to_spacy),
    "conll": Export("annotated.conll", "text/plain; charset=utf-8", to_conll),
}
