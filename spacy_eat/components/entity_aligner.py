"""The `eat_entity_aligner` component: entities of the English become `doc.ents`."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Config

from ..alignment import grounding, locate
from ..evaluation.scores import score_entities
from ..llm.dispatch import Model, ask
from ..llm.tasks.alignment import EntityAlignmentTask, set_answers, without_glosses
from ..records import count_usage, install_extensions, sentences_of, texts_of
from ..taggers.pipeline import EnglishPipeline
from ..types import Alignment, Candidate, EnglishEntity, EntityRecord, SentenceRecord, Text
from .placement import OffBoundary, place

DEFAULT_CONFIG = """
[eat_entity_aligner]
mentions = "all"
min_similarity = 0.8
min_score = 0.0
off_boundary = "split"
overwrite_ents = false
spans_key = "eat"
batch_size = 64

[eat_entity_aligner.task]
@llm_tasks = "spacy_eat.EntityAlignment.v1"

[eat_entity_aligner.model]
@llm_models = "spacy_eat.Embedded.v1"

[eat_entity_aligner.english]
@misc = "spacy_eat.EnglishPipeline.v1"
name = "embedded"
label_map = null
gpu_id = -1
"""


@Language.factory(
    "eat_entity_aligner",
    requires=["doc._.eat"],
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans", "doc._.eat"],
    default_config=Config().from_str(DEFAULT_CONFIG)["eat_entity_aligner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_aligner(
    nlp: Language,
    name: str,
    task: EntityAlignmentTask,
    model: Model,
    english: EnglishPipeline,
    mentions: Literal["all", "aligned"],
    min_similarity: float,
    min_score: float,
    off_boundary: OffBoundary,
    overwrite_ents: bool,
    spans_key: str,
    batch_size: int,
) -> "EatEntityAligner":
    """Construct an `eat_entity_aligner`.

    nlp (Language): The pipeline. Its language is the source language, unless
        the task names one.
    name (str): The component instance name.
    task (EntityAlignmentTask): "spacy_eat.EntityAlignment.v1", or
        "spacy_eat.EntityAlignmentDialogue.v1", or one with the same methods.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of
        spacy-llm's registry.
    english (EnglishPipeline): The English NER pipeline, see `spacy_eat.EnglishPipeline.v1`.
    mentions (str): What becomes of occurrences of an aligned name that no
        English mention was assigned to: "all" tags them too, where they are
        not part of a longer name; "aligned" does not.
    min_similarity (float): Least similarity (0.0 to 1.0) of a fuzzy match.
    min_score (float): Least score (0.0 to 1.0); what is below is unaligned.
    off_boundary (str): What to do with an entity that starts or ends within a
        token. "split" splits the token; "expand" takes in the whole tokens;
        "group" does so in `doc.spans` only; "drop" sets no span. How often is
        counted in `doc._.eat["counts"]`.
    overwrite_ents (bool): Whether entities replace overlapping ones that are in
        `doc.ents` already; else those are kept.
    spans_key (str): Key of the span group for all alignments.
    batch_size (int): Most docs whose sentences are put to the models together.
    """
    return EatEntityAligner(
        name=name,
        task=task,
        model=model,
        english=english,
        mentions=mentions,
        min_similarity=min_similarity,
        min_score=min_score,
        off_boundary=off_boundary,
        overwrite_ents=overwrite_ents,
        spans_key=spans_key,
        batch_size=batch_size,
    )


class EatEntityAligner(Pipe):
    """Finds the entities of the English, and the source words of each.

    Steps 2 and 3 of Entity-Aligned Translation (arXiv 2509.01147, section 3):
    an English NER pipeline tags the translations of the whole batch, one LLM
    request per sentence asks for the source words of all its entities, and
    these are found and assigned in the text (`spacy_eat.alignment.grounding`). Every span
    is a verbatim slice of the text.
    """

    def __init__(
        self,
        *,
        name: str = "eat_entity_aligner",
        task: EntityAlignmentTask,
        model: Model,
        english: EnglishPipeline,
        mentions: Literal["all", "aligned"] = "all",
        min_similarity: float = 0.8,
        min_score: float = 0.0,
        off_boundary: OffBoundary = "split",
        overwrite_ents: bool = False,
        spans_key: str = "eat",
        batch_size: int = 64,
    ) -> None:
        """See `make_aligner`."""
        install_extensions()
        self.name = name
        self.task = task
        self.model = model
        self.english = english
        self.mentions: Literal["all", "aligned"] = mentions
        self.min_similarity = min_similarity
        self.min_score = min_score
        self.off_boundary: OffBoundary = off_boundary
        self.overwrite_ents = overwrite_ents
        self.spans_key = spans_key
        self.batch_size = batch_size

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of one doc.

        doc (Doc): A doc with `doc._.eat` (from `eat_translator`) or
            `doc._.eat_translation` (the user's own). Failures are recorded in
            `doc._.eat`, not raised.
        RETURNS (Doc): The same doc.
        """
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Set the entities of a stream of docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs per batch; never more than the component's own.
        YIELDS (Doc): The same docs, in order.
        """
        for docs in minibatch(stream, min(batch_size, self.batch_size)):
            try:
                self._align(docs)
            except Exception as error:
                self.get_error_handler()(self.name, self, docs, error)
            yield from docs

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Strict scores of `doc.ents`, by characters. See `spacy_eat.evaluation.scores.score_entities`."""
        return score_entities(examples, **kwargs)

    def _align(self, docs: list[Doc]) -> None:
        self._find_english([s for doc in docs for s in sentences_of(doc) if _is_open(s)])
        ready = [_ready(doc) for doc in docs]
        for sentences in ready:
            for text, sentence in sentences:
                _answer_verbatim(text, sentence)
        prompts = [list(prompts) for prompts, _ in self.task.generate_prompts(docs)]
        responses = ask(self.model, prompts)
        count_usage(docs, responses)
        for _ in self.task.parse_responses([[doc] for doc in docs], responses):
            pass
        for doc, sentences in zip(docs, ready, strict=True):
            for text, sentence in sentences:
                if _is_ready(sentence):
                    self._ground(text, sentence)
            place(
                doc,
                [entity for sentence in sentences_of(doc) for entity in sentence["entities"]],
                spans_key=self.spans_key,
                off_boundary=self.off_boundary,
                overwrite_ents=self.overwrite_ents,
            )

    def _find_english(self, sentences: list[SentenceRecord]) -> None:
        found = self.english([sentence["english"] or "" for sentence in sentences])
        for sentence, entities in zip(sentences, found, strict=True):
            if sentence["status"] == "failed":
                sentence["status"], sentence["error"] = "translated", None
            sentence["entities"] = [_new_entity(entity) for entity in entities]

    def _ground(self, text: str, sentence: SentenceRecord) -> None:
        """Turn the answers for a sentence into spans of its text."""
        offset = sentence["start_char"]
        records = sentence["entities"]
        alignments = grounding.align(
            Text(text),
            [EnglishEntity(e["text"], e["label"], e["english_start"], e["english_end"]) for e in records],
            [
                [Candidate(text, logprob) for text, logprob in zip(e["answers"], e["logprobs"], strict=True)]
                for e in records
            ],
            mentions=self.mentions,
            min_similarity=self.min_similarity,
            min_score=self.min_score,
        )
        repeats: list[EntityRecord] = []
        for alignment in alignments:
            record = records[alignment.entity]
            if alignment.mentioned:
                _set_span(record, alignment, offset)
            else:
                repeats.append(_set_span({**record}, alignment, offset))
        sentence["entities"] += repeats
        sentence["status"] = "aligned"

    # The config holds all there is to know; these keep `nlp.to_disk` complete.
    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        return b""

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "EatEntityAligner":
        return self

    def to_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> None:
        return None

    def from_disk(self, path: Any, *, exclude: Iterable[str] = ()) -> "EatEntityAligner":
        return self


def _is_open(sentence: SentenceRecord) -> bool:
    """Whether a sentence has English that was not aligned, or failed to be."""
    return sentence["english"] is not None and sentence["status"] != "aligned"


def _is_ready(sentence: SentenceRecord) -> bool:
    """Whether a sentence has English that did not fail and is not aligned."""
    return sentence["status"] in ("translated", "given")


def _ready(doc: Doc) -> list[tuple[str, SentenceRecord]]:
    """The sentences that are ready, with their source."""
    ready = [sentence for sentence in sentences_of(doc) if _is_ready(sentence)]
    return list(zip(texts_of(doc, ready), ready, strict=True))


def _new_entity(entity: EnglishEntity) -> EntityRecord:
    return {
        "text": entity.text,
        "label": entity.label,
        "english_start": entity.start_char,
        "english_end": entity.end_char,
        "answers": [],
        "logprobs": [],
        "start_char": None,
        "end_char": None,
        "status": "unaligned",
        "score": 0.0,
    }


def _answer_verbatim(text: str, sentence: SentenceRecord) -> None:
    """Names that stand in the source as they are (NHK, iPhone) need no LLM,
    unless that is a gloss of another name: 安迪（Andy）."""
    for entity in sentence["entities"]:
        rest = Text(without_glosses(text, [entity["text"]]))
        if any(span.origin == "exact" for span in locate.find(rest, entity["text"], min_similarity=1.1)):
            set_answers(entity, [Candidate(entity["text"])])


def _set_span(record: EntityRecord, alignment: Alignment, offset: int) -> EntityRecord:
    record["start_char"] = offset + alignment.start
    record["end_char"] = offset + alignment.end
    record["status"] = alignment.status
    record["score"] = round(alignment.score, 4)
    return record
