"""One loaded pipeline that turns records into results, a batch at a time.

Every engine (this process, several, a Ray cluster) runs the same `Annotator`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spacy.tokens import Doc
from spacy.util import import_file

from ..pipelines import load_pipeline, pipe_each, usage_of
from ..records import install_extensions, sentences_of, set_translation
from .journal import Result
from .records import Record, pack, unpack


class Settings(NamedTuple):
    """What an `Annotator` is made from, wherever it runs.

    pipeline (str): See `spacy_eat.pipelines.load_pipeline`.
    code (Optional[Path]): A Python file with registered functions to import first.
    batch_size (int): Docs that go through the pipeline together.
    text_field (str): The field that holds the text.
    english_field (Optional[str]): The field that holds its English, a string or a list with one for each
        sentence. A record that has none is translated.
    keep_docs (bool): Whether an output is a whole doc, or JSON.
    """

    pipeline: str
    code: Path | None = None
    batch_size: int = 128
    text_field: str = "text"
    english_field: str | None = None
    keep_docs: bool = False


class Done(NamedTuple):
    """An annotated batch.

    results (List[Result]): One for each record, in order.
    usage (Dict[str, float]): What it has cost, by the fields of `Usage`.
    """

    results: list[Result]
    usage: dict[str, float]


class Annotator:
    """settings (Settings): What to load. A PipelineError is raised if it cannot be."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.code:
            import_file("python_code", settings.code)
        self.nlp = load_pipeline(settings.pipeline)
        install_extensions()

    def __call__(self, records: Sequence[Record]) -> Done:
        """Annotate a batch.

        records (Sequence[Record]): Readable or not.
        RETURNS (Done): A result for each, in order. A record fails if it cannot
            be read, if a component raises for it, or if EAT recorded an error on
            one of its sentences. It never takes another one along.
        """
        before = usage_of(self.nlp)
        with self.nlp.memory_zone():  # else the vocab grows with every new word
            results = self._annotate(records)
        return Done(results, {name: amount - before[name] for name, amount in usage_of(self.nlp).items()})

    def _annotate(self, records: Sequence[Record]) -> list[Result]:
        docs: dict[int, Doc] = {}
        errors: dict[int, str] = {r.number: r.error for r in records if r.error is not None}
        for record in records:
            if record.error is None:
                try:
                    docs[record.number] = self._make_doc(record)
                except Exception as error:  # whatever the tokenizer does not like
                    errors[record.number] = _describe(error)
        annotated = pipe_each(self.nlp, list(docs.values()), batch_size=self.settings.batch_size)
        for number, doc in zip(list(docs), annotated, strict=True):
            if isinstance(doc, Exception):
                errors[number] = _describe(doc)
                continue
            docs[number] = doc
            failed = [s["error"] or s["status"] for s in sentences_of(doc) if s["status"] == "failed"]
            if failed:
                errors.setdefault(number, "; ".join(dict.fromkeys(failed)))
        return [
            Result(r, None, errors[r.number])
            if r.number in errors
            else Result(r, self._output(r, docs[r.number]))
            for r in records
        ]

    def _make_doc(self, record: Record) -> Doc:
        if record.doc is not None:
            return unpack(record.doc, self.nlp.vocab)
        doc = self.nlp.make_doc(record.text)
        if self.settings.english_field:
            english = record.fields.get(self.settings.english_field)
            if not isinstance(english, str | list | None):
                raise TypeError(f"field {self.settings.english_field!r} is neither a string nor a list")
            if english and (isinstance(english, list) or english.strip()):
                set_translation(doc, english)
        return doc

    def _output(self, record: Record, doc: Doc) -> dict[str, Any]:
        if self.settings.keep_docs:
            return {self.settings.text_field: record.text, "doc": pack(doc)}
        return {**record.fields, **to_fields(doc)}


def to_fields(doc: Doc) -> dict[str, Any]:
    """What is known of a doc, as JSON.

    doc (Doc): An annotated doc.
    RETURNS (Dict[str, Any]): "entities", each with "start", "end" (characters),
        "label" and "text"; if the pipeline is EAT, also with "english", "score"
        and "status", and beside them "english", the translation.
    """
    entities: list[dict[str, Any]] = [
        {"start": ent.start_char, "end": ent.end_char, "label": ent.label_, "text": ent.text}
        for ent in doc.ents
    ]
    sentences = sentences_of(doc)
    if not sentences:
        return {"entities": entities}
    for entity, ent in zip(entities, doc.ents, strict=True):
        entity.update(english=ent._.eat_english, score=ent._.eat_score, status=ent._.eat_status)
    return {"entities": entities, "english": " ".join(s["english"] or "" for s in sentences)}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
