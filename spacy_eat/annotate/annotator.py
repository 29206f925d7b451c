"""One loaded pipeline that turns records into results, a batch at a time.

Every engine (this process, several, a Ray cluster) runs the same `Annotator`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import import_file

from ..llm.prompts import Usage
from ..records import install_extensions, sentences_of, set_translation
from .journal import Result
from .records import Record, pack, unpack


class Settings(NamedTuple):
    """What an `Annotator` is made from, wherever it runs.

    pipeline (str): See `load_pipeline`.
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


class PipelineError(Exception):
    """The fault is not with the docs: a wrong setting, a server that is down."""


class Done(NamedTuple):
    """An annotated batch.

    results (List[Result]): One for each record, in order.
    usage (Dict[str, float]): What it has cost, by the fields of `Usage`.
    """

    results: list[Result]
    usage: dict[str, float]


class Annotator:
    """settings (Settings): What to load."""

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
        RAISES (PipelineError): If a whole batch (of 16 or more) fails for one reason.
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
        try:
            docs = dict(
                zip(docs, self.nlp.pipe(docs.values(), batch_size=self.settings.batch_size), strict=True)
            )
        except Exception:  # a component that lets one doc break its batch: try them one by one
            for number, doc in list(docs.items()):
                try:
                    docs[number] = self.nlp(doc)
                except Exception as error:
                    errors[number] = _describe(error)
        for number, doc in docs.items():
            failed = [s["error"] or s["status"] for s in sentences_of(doc) if s["status"] == "failed"]
            if failed:
                errors.setdefault(number, "; ".join(dict.fromkeys(failed)))
        self._check_whether_to_go_on([r for r in records if r.error is None], errors)
        return [
            Result(r, None, errors[r.number])
            if r.number in errors
            else Result(r, self._output(r, docs[r.number]))
            for r in records
        ]

    def _check_whether_to_go_on(self, records: Sequence[Record], errors: dict[int, str]) -> None:
        reasons = {errors.get(record.number) for record in records}
        if len(records) >= 16 and len(reasons) == 1 and (reason := reasons.pop()) is not None:
            raise PipelineError(f"All {len(records)} docs of a batch failed for the same reason: {reason}")

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


def load_pipeline(name: str) -> Language:
    """Load a pipeline by whatever name people have for it.

    name (str): A package or path as for `spacy.load`; a config file (.cfg), which
        is assembled as by `spacy assemble`; or a language code such as "zh", for a
        blank pipeline with the two EAT components as they come.
    RETURNS (Language): The pipeline.
    """
    import spacy
    from spacy import util
    from spacy.training.initialize import get_sourced_components

    path = Path(name)
    if path.suffix == ".cfg":
        config = util.load_config(path, interpolate=False)
        nlp = util.load_model_from_config(config, auto_fill=True)
        sourced = get_sourced_components(config.interpolate())
        nlp._link_components()
        with nlp.select_pipes(disable=[*sourced]):
            nlp.initialize()
        return nlp
    if name.isalpha() and len(name) in (2, 3) and not path.exists():
        nlp = spacy.blank(name)
        nlp.add_pipe("eat_translator")
        nlp.add_pipe("eat_entity_aligner")
        return nlp
    return spacy.load(name)


def usage_of(nlp: Language) -> dict[str, float]:
    """What the LLMs of a pipeline have spent so far, by the fields of `Usage`.

    nlp (Language): Any pipeline.
    RETURNS (Dict[str, float]): Sums over its models; zeros for models that do not tell.
    """
    found = {id(usage): usage for _, pipe in nlp.pipeline if (usage := _usage_of_component(pipe))}
    return {f.name: sum(getattr(usage, f.name) for usage in found.values()) for f in fields(Usage)}


def _usage_of_component(pipe: Any) -> Usage | None:
    """What the LLM of a component has spent, or that of its aligner."""
    models = [getattr(owner, "model", None) for owner in (pipe, getattr(pipe, "aligner", None))]
    usages = [usage for model in models if isinstance(usage := getattr(model, "usage", None), Usage)]
    return usages[0] if usages else None


def guess_language(texts: Iterable[str]) -> str | None:
    """Chinese, Japanese or Korean, by their scripts.

    texts (Iterable[str]): Some texts of one language.
    RETURNS (Optional[str]): "ja" if there is kana, "ko" if there is Hangul, "zh" if
        there are only Han characters, None if there are none of them.
    """
    characters = {char for text in texts for char in text}
    if any("\u3041" <= char <= "\u30ff" and char != "・" for char in characters):
        return "ja"
    if any("\uac00" <= char <= "\ud7a3" for char in characters):
        return "ko"
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in characters) else None


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
