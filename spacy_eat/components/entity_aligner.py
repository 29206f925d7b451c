"""The `eat_entity_aligner` component: entities of the English become `doc.ents`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Config

from ..alignment.resolve import Mentions, resolve
from ..evaluation.scores import score_entities
from ..pipelines import blank
from ..records import (
    FUSED,
    count_usage,
    install_extensions,
    needs_alignment,
    sentences_of,
    set_entities,
    set_failure,
    texts_of,
)
from ..taggers.pipeline import EMBEDDED
from ..types import Aligner, Combiner, Failure, Options, Sentence, SentenceRecord, Span, Tagger, Text
from .failures import OnError, tell, warn_once
from .fusion import annotations_of, fuse
from .placement import OffBoundary, place, set_group
from .roles import fault, in_batch, misplaced
from .source_tagger import SPANS_KEY, SourceTagger

DEFAULT_CONFIG = """
[eat_entity_aligner]
mentions = "all"
min_score = 0.5
off_boundary = "split"
overwrite_ents = false
spans_key = "eat"
batch_size = 64
on_error = "record"
source_tagger = "embedded"

[eat_entity_aligner.combiner]
@misc = "spacy_eat.Vote.v1"

[eat_entity_aligner.tagger]
@misc = "spacy_eat.EnglishPipeline.v1"
name = "embedded"
label_map = null
gpu_id = -1

[eat_entity_aligner.aligner]
@misc = "spacy_eat.LLMAligner.v1"
min_similarity = 0.8

[eat_entity_aligner.aligner.first]
@misc = "spacy_eat.EncoderAligner.v1"

[eat_entity_aligner.aligner.task]
@llm_tasks = "spacy_eat.EntityAlignment.v1"

[eat_entity_aligner.aligner.model]
@llm_models = "spacy_eat.Embedded.v1"
"""

ENGLISH = "english"  # span group of the English NER, on docs of the English

# Settings of version 0.1, and where they are now.
MOVED = {
    "task": "aligner.task",
    "model": "aligner.model",
    "english": "tagger",
    "min_similarity": "aligner.min_similarity",
}


@Language.factory(
    "eat_entity_aligner",
    requires=["doc._.eat"],
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans", "doc._.eat"],
    retokenizes=True,
    default_config=Config().from_str(DEFAULT_CONFIG)["eat_entity_aligner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_aligner(
    nlp: Language,
    name: str,
    tagger: Tagger,
    aligner: Aligner,
    mentions: Mentions,
    min_score: float,
    off_boundary: OffBoundary,
    overwrite_ents: bool,
    spans_key: str,
    batch_size: int,
    on_error: OnError,
    source_tagger: str | None,
    combiner: Combiner,
    task: Any = None,
    model: Any = None,
    english: Any = None,
    min_similarity: Any = None,
) -> "EatEntityAligner":
    """Construct an `eat_entity_aligner`. When in doubt, take the defaults.

    nlp (Language): The pipeline. Its language is the source language, unless
        the aligner's task names one.
    name (str): The component instance name.
    tagger (Tagger): Finds the entities of the English: a spaCy pipeline, see `spacy_eat.EnglishPipeline.v1`.
    aligner (Aligner): Finds the source words of each, see `spacy_eat.LLMAligner.v1`. By default an encoder
        does, and the LLM is asked only for names that the encoder is not certain of; `aligner.first = null`
        asks the LLM for all.
    mentions (str): What becomes of occurrences of an aligned name that no
        English mention was assigned to: "all" tags them too, where they are
        not part of a longer name; "aligned" does not.
    min_score (float): Least score (0.0 to 1.0); what is below is unaligned. The default is where, on held-out
        names, answers become more often right than wrong (`python -m benchmarks.calibration`).
    off_boundary (str): What to do with an entity that starts or ends within a
        token. "split" splits the token; "expand" takes in the whole tokens;
        "group" does so in `doc.spans` only; "drop" sets no span. How often is
        counted in `doc._.eat["counts"]`.
    overwrite_ents (bool): Whether entities replace overlapping ones that are in
        `doc.ents` already; else those are kept.
    spans_key (str): Key of the span group for all alignments. Their scores are in its `attrs["scores"]`.
    batch_size (int): Most docs whose sentences are put to the models together.
    on_error (str): What becomes of a sentence that fails: "record" records it in `doc._.eat` and warns,
        once for each cause; "raise" raises an error after the batch.
    source_tagger (Optional[str]): A tagger that reads the source itself, whose entities are combined with
        the aligned ones: "embedded", or a folder, as of `eat_source_tagger`. It is left out where it does
        not know all labels of the English tagger. It reads the English too where `tagger.name` is "embedded".
        None: the aligned entities alone.
    combiner (Combiner): Makes one list of the two: `spacy_eat.Vote.v1` or another combiner. Not used
        without a tagger on the source.
    task, model, english, min_similarity (Any): Settings of version 0.1, which have moved.
    RAISES (ValueError): If a setting is out of its range, or has moved.
    """
    old = {"task": task, "model": model, "english": english, "min_similarity": min_similarity}
    moved = [f"`{setting}` is now `{MOVED[setting]}`" for setting, value in old.items() if value is not None]
    if moved:
        raise ValueError(
            f"Settings of '{name}' have moved: {', '.join(moved)}. In a config file that is a section "
            f"[components.{name}.aligner.model], in Python config={{'aligner': {{'model': ...}}}}."
        )
    return EatEntityAligner(
        name=name,
        tagger=tagger,
        aligner=aligner,
        mentions=mentions,
        min_score=min_score,
        off_boundary=off_boundary,
        overwrite_ents=overwrite_ents,
        spans_key=spans_key,
        batch_size=batch_size,
        on_error=on_error,
        source_tagger=None
        if source_tagger is None
        else SourceTagger(nlp.vocab, name, weights=source_tagger, split_tokens=off_boundary == "split"),
        combiner=combiner,
    )


@cache
def _english() -> Language:
    """Makes docs of English texts."""
    return blank("en")


class _Job(NamedTuple):
    """A sentence on its way."""

    doc: Doc
    record: SentenceRecord
    source: Text
    english: Text


class EatEntityAligner(Pipe):
    """Finds the entities of the English, and the source words of each.

    Steps 2 and 3 of Entity-Aligned Translation (arXiv 2509.01147, section 3):
    a tagger finds the entities of the translations, an aligner the places in the
    source that each may come from, and `spacy_eat.alignment.resolve` chooses
    among them for all entities of a sentence together. Every span is a verbatim
    slice of the text.
    """

    def __init__(
        self,
        *,
        name: str = "eat_entity_aligner",
        tagger: Tagger,
        aligner: Aligner,
        mentions: Mentions = "all",
        min_score: float = 0.5,
        off_boundary: OffBoundary = "split",
        overwrite_ents: bool = False,
        spans_key: str = "eat",
        batch_size: int = 64,
        on_error: OnError = "record",
        source_tagger: SourceTagger | None = None,
        combiner: Combiner | None = None,
    ) -> None:
        """See `make_aligner`."""
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(f"min_score = {min_score} of '{name}' is not between 0 and 1")
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size} of '{name}' is too small")
        install_extensions()
        self.name = name
        self.tagger = tagger
        self.aligner = aligner
        self.mentions: Mentions = mentions
        self.min_score = min_score
        self.off_boundary: OffBoundary = off_boundary
        self.overwrite_ents = overwrite_ents
        self.spans_key = spans_key
        self.batch_size = batch_size
        self.on_error: OnError = on_error
        self.source_tagger = source_tagger
        self.combiner = combiner

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that the tagger may set; empty if it does not tell."""
        return tuple(getattr(self.tagger, "labels", ()))

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of one doc.

        doc (Doc): A doc with `doc._.eat` (from `eat_translator`) or
            `doc._.eat_translation` (the user's own). Failures are recorded in
            `doc._.eat`, not raised.
        RETURNS (Doc): The same doc.
        RAISES (ValueError): If the doc has neither.
        """
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Set the entities of a stream of docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs per batch; never more than the component's own.
        YIELDS (Doc): The same docs, in order.
        """
        handle = self.get_error_handler()
        for docs in minibatch(stream, min(batch_size, self.batch_size)):
            for doc in docs:
                if doc._.eat is None:
                    handle(self.name, self, [doc], ValueError(self._missing()))
            try:
                self._align([doc for doc in docs if doc._.eat is not None])
            except Exception as error:
                handle(self.name, self, docs, error)
            yield from docs

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Strict scores of `doc.ents`, by characters. See `spacy_eat.evaluation.scores.score_entities`."""
        return score_entities(examples, **kwargs)

    def _missing(self) -> str:
        return (
            f"'{self.name}' got a doc without a translation. Add the component that translates before it, "
            f'`nlp.add_pipe("eat_translator", before="{self.name}")`, and do not disable it; or set '
            "`doc._.eat_translation` to a translation of your own."
        )

    def _tag_source(self, docs: Sequence[Doc]) -> bool:
        """Set the span group of the tagger on the source.

        RETURNS (bool): Whether there is one whose labels are those of the English tagger.
        """
        tagger = self.source_tagger
        if tagger is None or self.combiner is None or not self.labels:
            return False
        try:
            if not set(self.labels) <= set(tagger.labels):
                return False
            tagger.annotate(docs, self.labels)
        except (ImportError, OSError, ValueError) as error:
            if self.on_error == "raise":
                raise
            warn_once(
                self.name,
                f"the tagger on the source cannot be used, so entities are found in the English alone:"
                f" {error}. `source_tagger = null` leaves it out without this warning.",
            )
            return False
        return True

    def _align(self, docs: Sequence[Doc]) -> None:
        fusing = self._tag_source(docs)
        jobs = [job for doc in docs for job in self._jobs(doc)]
        tagged = self._tag(jobs, fusing)
        found = self._find_options(tagged)
        approximate: Counter[int] = Counter()
        for (job, sentence), options in zip(tagged, found, strict=True):
            count_usage(job.doc, sentence.usage)
            job.record["requests"] += sentence.usage.asked
            if isinstance(options, Failure):
                set_failure(job.record, "alignment", options)
                continue
            resolved = resolve(sentence, options, mentions=self.mentions, min_score=self.min_score)
            approximate[id(job.doc)] += resolved.approximate
            set_entities(job.record, sentence.entities, options, resolved.spans, resolved.repeats)
        for doc in docs:
            place(
                doc,
                [entity for sentence in sentences_of(doc) for entity in sentence["entities"]],
                spans_key=self.spans_key,
                off_boundary=self.off_boundary,
                overwrite_ents=self.overwrite_ents,
                ents=not fusing,
            )
            if fusing and self.combiner is not None:
                keys = [self.spans_key, SPANS_KEY]
                fuse(doc, keys, self.combiner, overwrite_ents=self.overwrite_ents)
            if approximate[id(doc)]:
                doc._.eat["counts"]["approximate"] = approximate[id(doc)]
        failed = (job.record["error"] for job in jobs if job.record["status"] == "failed")
        tell(self.name, [error for error in failed if error], self.on_error)

    def _jobs(self, doc: Doc) -> Iterator[_Job]:
        """The sentences of a doc that have English whose entities are not placed."""
        records = [record for record in sentences_of(doc) if needs_alignment(record)]
        for record, text in zip(records, texts_of(doc, records), strict=True):
            yield _Job(doc, record, Text(text, doc.lang_), Text(record["english"] or "", "en"))

    def _tag(self, jobs: Sequence[_Job], fusing: bool) -> list[tuple[_Job, Sentence]]:
        """The sentences with the entities of their English, less those where that failed."""
        tagged = []
        found = self._tag_english([job.english for job in jobs], fusing)
        for job, entities in zip(jobs, found, strict=True):
            if not isinstance(entities, Failure):
                entities = self._check_entities(job.english, entities)
            if isinstance(entities, Failure):
                set_failure(job.record, "tagging", entities)
            else:
                tagged.append((job, Sentence(job.source, job.english, entities)))
        return tagged

    def _tag_english(self, texts: Sequence[Text], fusing: bool) -> Sequence[Sequence[Span] | Failure]:
        """What is found in English texts. The tagger on the source reads any language: what it finds is
        combined with what the English NER of this package does, which is the weaker one of the two."""
        found = in_batch(self.tagger, texts)
        source_tagger, combiner = self.source_tagger, self.combiner
        own = getattr(self.tagger, "name", None) == EMBEDDED
        if not (texts and fusing and own) or source_tagger is None or combiner is None:
            return found
        docs = [_english().make_doc(text.string) for text in texts]
        source_tagger.annotate(docs, self.labels)
        for doc, spans in zip(docs, found, strict=True):
            if not isinstance(spans, Failure):
                set_group(doc, spans, ENGLISH)
                fuse(doc, [ENGLISH, SPANS_KEY], combiner)
        return [
            spans if isinstance(spans, Failure) else annotations_of(doc, [FUSED])[FUSED]
            for doc, spans in zip(docs, found, strict=True)
        ]

    def _check_entities(self, english: Text, entities: Sequence[Span]) -> Sequence[Span] | Failure:
        """What the tagger gave for a text, or what is wrong with it."""
        if wrong := misplaced(entities, len(english.string), self.tagger):
            return wrong
        if any(after.start_char < before.start_char for before, after in pairwise(entities)):
            return fault(self.tagger, "gave spans that are not in the order of the text")
        return entities

    def _find_options(self, tagged: Sequence[tuple[_Job, Sentence]]) -> list[Sequence[Options] | Failure]:
        """For each sentence the options of its entities. Sentences without any are not asked for."""
        asked = [sentence for _, sentence in tagged if sentence.entities]
        answers = iter(in_batch(self.aligner, asked))
        return [
            self._check_options(sentence, next(answers)) if sentence.entities else []
            for _, sentence in tagged
        ]

    def _check_options(
        self, sentence: Sentence, options: Sequence[Options] | Failure
    ) -> Sequence[Options] | Failure:
        """What the aligner gave for a sentence, or what is wrong with it."""
        if isinstance(options, Failure):
            return options
        if len(options) != len(sentence.entities):
            return fault(self.aligner, f"gave {len(options)} for {len(sentence.entities)} entities")
        places = [span for one in options for span in one.spans]
        return misplaced(places, len(sentence.source.string), self.aligner) or options
