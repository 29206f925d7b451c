"""`eat_annotator`: any `Tagger` on the source text, whose spans can then be combined with those of others."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Config

from ..text.sentences import split_doc
from ..types import Failure, Span, Tagger, Text
from .failures import OnError, tell
from .placement import OffBoundary, set_ents, set_group
from .roles import in_batch, misplaced

DEFAULT_CONFIG = """
[eat_annotator]
spans_key = null
ents = true
max_length = 256
off_boundary = "split"
overwrite_ents = false
batch_size = 64
on_error = "record"
"""


@Language.factory(
    "eat_annotator",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    retokenizes=True,
    default_config=Config().from_str(DEFAULT_CONFIG)["eat_annotator"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_annotator(
    nlp: Language,
    name: str,
    tagger: Tagger,
    spans_key: str | None,
    ents: bool,
    max_length: int,
    off_boundary: OffBoundary,
    overwrite_ents: bool,
    batch_size: int,
    on_error: OnError,
) -> "EatAnnotator":
    """Construct an `eat_annotator`. Name it after its tagger, `nlp.add_pipe("eat_annotator", name="ginza")`,
    and an `eat_fusion` finds it under that name.

    nlp (Language): The pipeline.
    name (str): The component instance name.
    tagger (Tagger): Finds labelled, scored spans in the text: `spacy_eat.SpacyTagger.v1`, or another.
    spans_key (Optional[str]): Key of the span group for what was found; None for the component's name.
        Scores are in its `attrs["scores"]`, and sentences that failed in its `attrs["failed"]`: for each its
        first and last character (half open) and the reason.
    ents (bool): Whether the spans become `doc.ents` too.
    max_length (int): Characters above which a sentence is split; 0 to give the tagger whole docs.
    off_boundary, overwrite_ents (str, bool): See `eat_entity_aligner`.
    batch_size (int): Docs whose sentences are put to the tagger together.
    on_error (str): What becomes of a sentence that fails: "record" records it and warns, once for each cause;
        "raise" raises an error after the batch.
    RAISES (ValueError): A setting is out of its range.
    """
    if batch_size < 1 or max_length < 0:
        raise ValueError(f"batch_size = {batch_size} or max_length = {max_length} of '{name}' is too small")
    return EatAnnotator(
        tagger,
        name,
        spans_key=spans_key,
        ents=ents,
        max_length=max_length,
        off_boundary=off_boundary,
        overwrite_ents=overwrite_ents,
        batch_size=batch_size,
        on_error=on_error,
    )


class EatAnnotator(Pipe):
    """Writes what a tagger finds in the sentences of a doc. A sentence that fails has no spans; the others
    of its batch have theirs."""

    def __init__(
        self,
        tagger: Tagger,
        name: str = "eat_annotator",
        *,
        spans_key: str | None = None,
        ents: bool = True,
        max_length: int = 256,
        off_boundary: OffBoundary = "split",
        overwrite_ents: bool = False,
        batch_size: int = 64,
        on_error: OnError = "record",
    ) -> None:
        """See `make_annotator`."""
        self.tagger = tagger
        self.name = name
        self.spans_key = spans_key or name
        self.ents = ents
        self.max_length = max_length
        self.off_boundary: OffBoundary = off_boundary
        self.overwrite_ents = overwrite_ents
        self.batch_size = batch_size
        self.on_error: OnError = on_error

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that the tagger may set; empty if it does not tell."""
        return tuple(getattr(self.tagger, "labels", ()))

    def __call__(self, doc: Doc) -> Doc:
        """RETURNS (Doc): The same doc, annotated."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Annotate a stream of docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs per batch; never more than the component's own.
        YIELDS (Doc): The same docs, in order.
        """
        for docs in minibatch(stream, min(batch_size, self.batch_size)):
            try:
                self._annotate(docs)
            except Exception as error:
                self.get_error_handler()(self.name, self, docs, error)
            yield from docs

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Strict precision, recall and F-score, as of spaCy's own NER."""
        return get_ner_prf(examples, **kwargs)

    def _annotate(self, docs: Sequence[Doc]) -> None:
        places = [self._sentences(doc) for doc in docs]
        texts = [
            Text(text[start:end], doc.lang_)
            for doc, found in zip(docs, places, strict=True)
            for text in [doc.text]
            for start, end in found
        ]
        answers = iter(in_batch(self.tagger, texts))
        failures: list[str] = []
        for doc, found in zip(docs, places, strict=True):
            spans: list[Span] = []
            failed: list[list[Any]] = []
            for start, end in found:
                answer = next(answers)
                if not isinstance(answer, Failure):
                    answer = misplaced(answer, end - start, self.tagger) or answer
                if isinstance(answer, Failure):
                    failed.append([start, end, str(answer)])
                else:
                    spans += [span.moved(start) for span in answer]
            candidates, _ = set_group(doc, sorted(spans), self.spans_key, self.off_boundary)
            if failed:
                doc.spans[self.spans_key].attrs["failed"] = failed
                failures += [reason for *_, reason in failed]
            if self.ents:
                set_ents(doc, candidates, self.overwrite_ents)
        tell(self.name, failures, self.on_error)

    def _sentences(self, doc: Doc) -> list[tuple[int, int]]:
        if self.max_length:
            return split_doc(doc, max_length=self.max_length)
        return [(0, len(doc.text))] if doc.text.strip() else []
