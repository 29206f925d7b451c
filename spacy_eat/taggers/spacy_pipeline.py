"""`spacy_eat.SpacyTagger.v1`: what any spaCy pipeline finds in the text itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, SpanGroup
from spacy.tokens import Span as DocSpan

from ..corpora import label_table
from ..pipelines import load_pipeline
from ..types import Failure, Span, Text
from .pipeline import on_device

SCORE = 0.75  # of a span whose pipeline tells none, where the user does not: see `make_spacy_tagger`


class SpacyTagger:
    """A spaCy pipeline for the language of the texts: GiNZA's, spaCy's own, one with gliner-spacy, a student
    of yours. It is loaded at the first text."""

    def __init__(
        self,
        name: str,
        *,
        label_map: str | Mapping[str, str | None] | None = None,
        spans_key: str | None = None,
        score: float = SCORE,
        gpu_id: int = -1,
        batch_size: int = 64,
    ) -> None:
        """See `make_spacy_tagger`."""
        self.name = name
        self.label_map = None if label_map is None else dict(label_table(label_map))
        self.spans_key = spans_key
        self.score = score
        self.gpu_id = gpu_id
        self.batch_size = batch_size
        self._nlp: Language | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights do not travel: another process loads its own.
        return {**self.__dict__, "_nlp": None}

    @property
    def nlp(self) -> Language:
        """The pipeline. The first access loads it.

        RAISES (PipelineError): There is none of that name, or it cannot be loaded.
        """
        if self._nlp is None:
            with on_device(self.gpu_id):
                self._nlp = load_pipeline(self.name)
        return self._nlp

    def __call__(self, texts: Sequence[Text]) -> list[list[Span] | Failure]:
        """Find the entities of texts.

        texts (Sequence[Text]): The texts, in the pipeline's language.
        RETURNS (List[Union[List[Span], Failure]]): For each text its entities in order, or why it has none.
        RAISES (PipelineError): The pipeline cannot be loaded.
        """
        with on_device(self.gpu_id):
            return self._tag([text.string for text in texts], self.nlp)

    def _tag(self, texts: Sequence[str], nlp: Language) -> list[list[Span] | Failure]:
        """What is found in texts. Where they fail together, each has a try alone."""
        try:
            return [list(self._spans(doc)) for doc in nlp.pipe(texts, batch_size=self.batch_size)]
        except Exception as error:
            if len(texts) == 1:
                return [Failure(f"the pipeline {self.name!r}: {type(error).__name__}: {error}")]
            return [self._tag([text], nlp)[0] for text in texts]

    def _spans(self, doc: Doc) -> Iterator[Span]:
        group: Any = doc.ents if self.spans_key is None else doc.spans.get(self.spans_key, ())
        scores = group.attrs.get("scores") if isinstance(group, SpanGroup) else None
        found = [
            (span, self._score(span) if scores is None else float(scores[number]))
            for number, span in enumerate(group)
        ]
        for span, score in sorted(found, key=lambda pair: (pair[0].start_char, pair[0].end_char)):
            label = span.label_ if self.label_map is None else self.label_map.get(span.label_)
            if label is not None and span.text.strip():
                yield Span(span.start_char, span.end_char, label, min(1.0, max(0.0, score)), self.name)

    def _score(self, span: DocSpan) -> float:
        """What the pipeline says of a span: gliner-spacy, in `span._.score`."""
        told = span._.get("score") if span.has_extension("score") else None
        return float(told) if told else self.score


def make_spacy_tagger(
    name: str,
    label_map: str | dict[str, str | None] | None = None,
    spans_key: str | None = None,
    score: float = SCORE,
    gpu_id: int = -1,
    batch_size: int = 64,
) -> SpacyTagger:
    """`spacy_eat.SpacyTagger.v1` (misc): any spaCy pipeline as a tagger of the source. Put it into an
    `eat_annotator`, and its spans can be combined with those of others.

    name (str): The pipeline: package, folder, or config file (.cfg), such as one with a `gliner_spacy`.
    label_map (Optional[Union[str, Dict[str, Optional[str]]]]): What becomes of its labels: a table, from
        which what is missing or null is left out; or the name of a schema of `spacy_eat.corpora`, such as
        "ginza" or "ontonotes", which makes them PER, LOC and ORG. None keeps all as they are.
    spans_key (Optional[str]): Span group where its entities are, with their scores in `attrs["scores"]`, as
        of spancat; None for `doc.ents`.
    score (float): The score of all that the pipeline gives no score for (neither there nor in `span._.score`,
        as gliner-spacy does): the precision that you have seen it have on texts like yours, 0.0 to 1.0.
    gpu_id (int): The GPU to run on, -1 for the CPU.
    batch_size (int): Texts per batch.
    RETURNS (SpacyTagger): The tagger.
    RAISES (ValueError): A setting is out of its range, or there is no such schema.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score = {score} of spacy_eat.SpacyTagger.v1 is not between 0 and 1")
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size} of spacy_eat.SpacyTagger.v1 is too small")
    return SpacyTagger(
        name, label_map=label_map, spans_key=spans_key, score=score, gpu_id=gpu_id, batch_size=batch_size
    )
