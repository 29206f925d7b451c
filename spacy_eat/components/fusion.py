"""`eat_fusion`: what several annotators found, made one: `doc.ents` of their span groups."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, SpanGroup
from spacy.training import Example
from spacy.util import SimpleFrozenList
from thinc.api import Config

from ..records import FUSED, install_extensions
from ..types import Combiner, Span, Text
from .placement import set_ents, whole_addresses

DEFAULT_CONFIG = """
[eat_fusion]
annotators = ["eat", "eat_source_tagger"]
spans_key = "eat_fusion"
overwrite_ents = false

[eat_fusion.combiner]
@misc = "spacy_eat.Vote.v1"
"""


@Language.factory(
    "eat_fusion",
    requires=["doc.spans"],
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config=Config().from_str(DEFAULT_CONFIG)["eat_fusion"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_fusion(
    nlp: Language,
    name: str,
    annotators: list[str],
    combiner: Combiner,
    spans_key: str,
    overwrite_ents: bool,
) -> "EatFusion":
    """Construct an `eat_fusion`. Put it after all annotators.

    nlp (Language): The pipeline.
    name (str): The component instance name.
    annotators (List[str]): Keys of the span groups that are combined: "eat" is the entity aligner's,
        "eat_source_tagger" the source tagger's. Scores are in a group's `attrs["scores"]`; spans without
        count as certain. A doc without one of the groups is combined from the others.
    combiner (Combiner): `spacy_eat.Vote.v1` or `spacy_eat.BayesianAggregation.v1`.
    spans_key (str): Key of the span group for what is set, with scores. It replaces a group of that name.
    overwrite_ents (bool): Whether entities replace overlapping ones in `doc.ents` that are of no annotator;
        else those are kept.
    RAISES (ValueError): If there are no annotators.
    """
    if not annotators:
        raise ValueError(f"`annotators` of '{name}' is empty: name the keys of the span groups to combine.")
    return EatFusion(
        name=name,
        annotators=annotators,
        combiner=combiner,
        spans_key=spans_key,
        overwrite_ents=overwrite_ents,
    )


class EatFusion(Pipe):
    """Combines the span groups of several annotators (annotation fusion)."""

    def __init__(
        self,
        *,
        name: str = "eat_fusion",
        annotators: Sequence[str],
        combiner: Combiner,
        spans_key: str = FUSED,
        overwrite_ents: bool = False,
    ) -> None:
        """See `make_fusion`."""
        install_extensions()
        self.name = name
        self.annotators = list(annotators)
        self.combiner = combiner
        self.spans_key = spans_key
        self.overwrite_ents = overwrite_ents

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of a doc.

        RAISES (ValueError): If scores of a span group do not fit its spans. In `nlp.pipe` the error handler
            decides what becomes of it.
        """
        fuse(
            doc,
            self.annotators,
            self.combiner,
            spans_key=self.spans_key,
            overwrite_ents=self.overwrite_ents,
        )
        return doc

    def initialize(self, get_examples: Any, *, nlp: Language | None = None) -> None:
        """Fit a combiner that learns how reliable its annotators are. The examples are run through the
        components before this one; their gold annotation is not looked at.

        get_examples (Callable[[], Iterable[Example]]): Unlabelled text, a few hundred docs.
        nlp (Optional[Language]): The pipeline.
        """
        fit = getattr(self.combiner, "fit", None)
        if fit is None or nlp is None:
            return
        docs: Iterable[Doc] = (nlp.make_doc(example.reference.text) for example in get_examples())
        for _, pipe in nlp.pipeline:
            if pipe is self:
                break
            docs = pipe.pipe(docs) if hasattr(pipe, "pipe") else map(pipe, docs)
        fit([annotations_of(doc, self.annotators) for doc in docs])

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Strict precision, recall and F-score, as of spaCy's own NER."""
        return get_ner_prf(examples, **kwargs)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Write what a combiner has learnt."""
        if hasattr(self.combiner, "to_json"):
            Path(path).mkdir(parents=True, exist_ok=True)
            srsly.write_json(Path(path) / "combiner.json", self.combiner.to_json())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> "EatFusion":
        """Read what `to_disk` wrote."""
        file = Path(path) / "combiner.json"
        if hasattr(self.combiner, "from_json") and file.is_file():
            self.combiner.from_json(srsly.read_json(file))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): What a combiner has learnt."""
        return srsly.msgpack_dumps(self.combiner.to_json() if hasattr(self.combiner, "to_json") else None)

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()) -> "EatFusion":
        """Read what `to_bytes` gave."""
        data = srsly.msgpack_loads(bytes_data)
        if data is not None and hasattr(self.combiner, "from_json"):
            self.combiner.from_json(data)
        return self


def annotations_of(doc: Doc, annotators: Sequence[str]) -> dict[str, list[Span]]:
    """What annotators found in a doc.

    doc (Doc): The doc.
    annotators (Sequence[str]): Keys of span groups.
    RETURNS (Dict[str, List[Span]]): By annotator; without those that the doc has no group of. Where one
        can't find an entity to begin or end (`attrs["within"]`), its span takes the edges of another's that
        has the same label: 柳传 becomes 柳传志 for an encoder that reads 志于 as one piece.
    RAISES (ValueError): If the scores of a group do not fit its spans.
    """
    found = {key: list(_iter_spans(doc.spans[key], key)) for key in annotators if key in doc.spans}
    for key in found:
        within = set(doc.spans[key].attrs.get("within", ()))
        others = [span for other, spans in found.items() if other != key for span in spans]
        if within:
            found[key] = [_widened(span, others, within) for span in found[key]]
    return found


def _widened(span: Span, others: Sequence[Span], within: set[int]) -> Span:
    """A span with the edges of another one, if those where they differ could not be found."""
    for other in others:
        if other.label == span.label and other.overlaps(span) and other.place != span.place:
            differing = set(other.place) - set(span.place)
            if differing <= within:
                return replace(span, start_char=other.start_char, end_char=other.end_char)
    return span


def _iter_spans(group: SpanGroup, key: str) -> Iterator[Span]:
    scores = group.attrs.get("scores")
    if scores is None:
        scores = [1.0] * len(group)
    if len(scores) != len(group):
        raise ValueError(
            f'doc.spans["{key}"] has {len(group)} spans, but {len(scores)} scores in attrs["scores"]: another'
            " component has changed it. Put that one after the fusion, or let it keep the scores."
        )
    for span, score in zip(group, scores, strict=True):
        yield Span(span.start_char, span.end_char, span.label_, float(score), key)


def fuse(
    doc: Doc,
    annotators: Sequence[str],
    combiner: Combiner,
    *,
    spans_key: str = FUSED,
    overwrite_ents: bool = False,
) -> None:
    """Combine span groups of a doc into its entities, in place of those that the annotators had set.

    doc (Doc): The doc.
    annotators, combiner, spans_key, overwrite_ents: See `make_fusion`.
    RAISES (ValueError): If the scores of a group do not fit its spans.
    """
    found = combiner(Text(doc.text, doc.lang_), annotations_of(doc, annotators))
    groups = [list(doc.spans[key]) for key in (*annotators, spans_key) if key in doc.spans]
    theirs = {
        (span.start, span.end, span.label) for group in groups for span in (*group, *whole_addresses(group))
    }
    kept = [ent for ent in doc.ents if (ent.start, ent.end, ent.label) not in theirs]
    doc.set_ents(kept, default="outside")
    placed = [(span.score, doc.char_span(*span.place, label=span.label)) for span in found]
    candidates = [(score, span) for score, span in placed if span is not None]
    fused, _ = set_ents(doc, candidates, overwrite_ents)
    doc.spans[spans_key] = SpanGroup(
        doc,
        name=spans_key,
        spans=[span for _, span in fused],
        attrs={"scores": [round(score, 4) for score, _ in fused]},
    )
