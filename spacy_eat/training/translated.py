"""Labelled text of another language from labelled English, translated with markers round its entities."""

from collections import Counter
from collections.abc import Iterable, Iterator

from spacy.util import minibatch

from ..corpora import Record
from ..languages import load
from ..llm.dispatch import Model, ask
from ..llm.prompts import LLMError, Prompt, Response
from ..llm.tasks.markers import MarkedTranslationTask
from ..types import Span

MIN_SHARE = 0.25  # of a translation's letters that are of its language
MAX_CHARS = 400  # of English: what is longer loses its markers


def translate_train(
    records: Iterable[Record],
    lang: str,
    task: MarkedTranslationTask,
    model: Model,
    *,
    batch_size: int = 64,
    counts: Counter[str] | None = None,
) -> Iterator[Record]:
    """Translate labelled English such that its labels go along.

    A translation is taken if each entity has its pair of markers, and if it is in the language. One that lost
    a marker, has one within another or twice, or is no translation, is left out and counted: a text whose
    entities are not all known would teach that the others are none.

    EasyProject (Chen, Jiang, Ritter and Xu, Findings of ACL 2023, arXiv 2211.15613).

    records (Iterable[Record]): English with its entities.
    lang (str): Code of the language.
    task (MarkedTranslationTask): "spacy_eat.MarkedTranslation.v1".
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    batch_size (int): Sentences that are put to the model together.
    counts (Optional[Counter]): Where what was "taken", and why others were left out, is added up.
    YIELDS (Record): Translations with their entities, in the order of the records.
    """
    counts = Counter() if counts is None else counts
    for batch in minibatch(records, batch_size):
        usable = [record for record in batch if not (fault := _unusable(record)) or counts.update([fault])]
        prompts: list[list[Prompt]] = [
            task.prompts("", record.text, list(record.spans or ()), lang) for record in usable
        ]
        for record, (response,) in zip(usable, ask(model, prompts), strict=True):
            translated = _translated(record, lang, task, response)
            if isinstance(translated, Record):
                counts["taken"] += 1
                yield translated
            else:
                counts[translated] += 1


def _unusable(record: Record) -> str:
    """RETURNS (str): Why a record cannot be translated, "" if it can."""
    if record.spans is None or record.unknown:
        return "not labelled"
    return "too long" if len(record.text) > MAX_CHARS else ""


def _translated(record: Record, lang: str, task: MarkedTranslationTask, response: Response) -> Record | str:
    """RETURNS (Union[Record, str]): The translation, or why it is left out."""
    spans = record.spans or ()
    try:
        marked = task.read(len(spans), response)
    except LLMError as error:
        return "markers lost" if "markers were lost" in str(error) else "no answer"
    if marked.faults:
        return f"markers {marked.faults[min(marked.faults)]}"
    if marked.stray:
        return "markers doubled"
    language = load(lang)
    if language.scripts and language.share(marked.text) < MIN_SHARE:
        return "other script"
    labelled = [Span(*marked.spans[i].place, span.label) for i, span in enumerate(spans, 1)]
    return Record(marked.text, tuple(sorted(labelled)), record.id)
