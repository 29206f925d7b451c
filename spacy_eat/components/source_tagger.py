"""`eat_source_tagger`: entities found in the text itself by a multilingual tagger. No LLM, no translation.

The tagger is an `eat_token_classifier` on the multilingual encoder, trained on English and on what EAT has
projected onto parallel text: direct transfer (Wu and Dredze 2019, arXiv 1904.09077). It writes what it finds
with its probabilities, so that others can weigh it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from spacy.vocab import Vocab

from .. import languages
from ..records import get_record, set_record
from ..text.tokenizers import ClusterTokenizer
from ..weights import SOURCE_TAGGER
from .placement import split_tokens
from .token_classifier import Runtime, Tagged, TokenClassifier, check_min_score

SPANS_KEY = "eat_source_tagger"
EMBEDDED = "embedded"


@Language.factory(
    "eat_source_tagger",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    retokenizes=True,
    default_config={
        "weights": EMBEDDED,
        "spans_key": SPANS_KEY,
        "split_tokens": True,
        "min_score": 0.5,
        "keep_tags": False,
        "mixed_precision": False,
        "runtime": "torch",
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_source_tagger(
    nlp: Language,
    name: str,
    weights: str,
    spans_key: str | None,
    split_tokens: bool,
    min_score: float,
    keep_tags: bool,
    mixed_precision: bool,
    runtime: Runtime,
) -> "SourceTagger":
    """Construct a source tagger. See `SourceTagger` for the arguments."""
    return SourceTagger(
        nlp.vocab,
        name,
        weights=weights,
        spans_key=spans_key,
        split_tokens=split_tokens,
        min_score=min_score,
        keep_tags=keep_tags,
        mixed_precision=mixed_precision,
        runtime=runtime,
    )


class SourceTagger(Pipe):
    """Runs a trained `eat_token_classifier` in a pipeline of any language, on any tokenizer. The weights are
    loaded at the first doc, and are not written to disk with the pipeline: they are named in its config."""

    def __init__(
        self,
        vocab: Vocab,
        name: str = "eat_source_tagger",
        *,
        weights: str = EMBEDDED,
        spans_key: str | None = SPANS_KEY,
        split_tokens: bool = True,
        min_score: float = 0.5,
        keep_tags: bool = False,
        mixed_precision: bool = False,
        runtime: Runtime = "torch",
    ) -> None:
        """
        vocab (Vocab): The shared vocabulary.
        name (str): The component's name in the pipeline.
        weights (str): "embedded" for the tagger that comes with spacy-eat (PER, LOC, ORG), or the folder of
            an `eat_token_classifier` in a pipeline on disk, such as `spacy project run train-tagger` makes.
        spans_key (Optional[str]): Span group in `doc.spans` that gets what was found, with its probabilities
            in `attrs["scores"]`; None for none.
        split_tokens (bool): Whether a token is split where a name begins or ends in it, in languages with
            spaces that write affixes together with names: 서울에서, "in Seoul" (`suffixes` and `prefixes` in
            `spacy_eat/languages`). In others, and without it, names are made of whole tokens.
        min_score (float): Entities that are less likely than this, 0.0 to 1.0, are in the span group, for
            others to combine, and not in `doc.ents`. 0.5: rather right than wrong.
        keep_tags (bool): Whether `doc.user_data["eat_tags"]` gets how likely each tag is of each piece of the
            encoder (`spacy_eat.tags`), for students to learn from.
        mixed_precision (bool): Run in fp16 on a GPU, in bf16 on a CPU that has instructions for it: nearly
            twice as fast there. Scores may then differ in the third digit between batches.
        runtime (str): "torch", or "ctranslate2" for weights of 8 bits, which the extra `light` reads some
            three times as fast on a CPU, without torch and transformers. See `eat_token_classifier`.
        """
        self.vocab = vocab
        self.name = name
        self.weights = weights
        self.spans_key = spans_key
        check_min_score(name, min_score)
        self.split_tokens = split_tokens
        self.min_score = min_score
        self.keep_tags = keep_tags
        self.mixed_precision = mixed_precision
        self.runtime: Runtime = runtime
        self._classifier: TokenClassifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights do not travel: another process loads its own.
        return {**self.__dict__, "_classifier": None}

    @property
    def classifier(self) -> TokenClassifier:
        """The tagger. The first access loads it.

        RAISES (ValueError): There is none in the folder, or the encoder cannot be loaded.
        """
        if self._classifier is None:
            classifier = TokenClassifier(
                self.vocab,
                self.name,
                spans_key=self.spans_key,
                keep_tags=self.keep_tags,
                mixed_precision=self.mixed_precision,
                runtime=self.runtime,
                min_score=self.min_score,
            )
            self._classifier = classifier.from_disk(self._folder)
        return self._classifier

    @property
    def _folder(self) -> Path:
        folder = SOURCE_TAGGER if self.weights == EMBEDDED else Path(self.weights)
        if not Path(folder, "cfg").is_file():
            raise ValueError(
                f"`weights` of '{self.name}' is {self.weights!r}, where there is no tagger. Set it to"
                f" '{EMBEDDED}', or to the folder of an 'eat_token_classifier', such as"
                " training/tagger/model-last/tagger, which `python -m spacy project run train-tagger` makes."
            )
        return folder

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The entity labels. They are known before the weights are loaded."""
        return tuple(srsly.read_json(self._folder / "cfg")["labels"])

    def annotate(self, docs: Sequence[Doc], labels: Collection[str] | None = None) -> None:
        """Set the span group of docs, and not their entities.

        docs (Sequence[Doc]): The docs.
        labels (Optional[Collection[str]]): Those of the entities to set, None for all.
        """
        for doc, found in zip(docs, self._predict(docs), strict=True):
            wanted = [entity for entity in found.entities if labels is None or entity.label in labels]
            self.classifier.set_spans(doc, found._replace(entities=wanted))

    def _predict(self, docs: Sequence[Doc]) -> list[Tagged]:
        """What is found in docs, by their tokens, some of which are split for it."""
        read = [self._as_read(doc) for doc in docs]
        found = self.classifier.predict(read)
        return [
            tagged if other is doc else _on_tokens(doc, other, tagged)
            for doc, other, tagged in zip(docs, read, found, strict=True)
        ]

    def _as_read(self, doc: Doc) -> Doc:
        """The doc, or one with a token for each character where names end within words."""
        language = languages.load(doc.lang_)
        within_words = language.spaces and (language.prefixes or language.suffixes)
        if not (self.split_tokens and within_words):
            return doc
        read = ClusterTokenizer(doc.vocab)(doc.text)
        set_record(read, get_record(doc))  # for those that read the English too
        return read

    def __call__(self, doc: Doc) -> Doc:
        """Set the entities of a doc, and the span group. Entities that are there already stay."""
        self.classifier.set_annotations([doc], self._predict([doc]))
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Set the entities of many docs.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs that are read together.
        YIELDS (Doc): The docs, in order.
        """
        handle = self.get_error_handler()
        for docs in minibatch(stream, batch_size):
            try:
                self.classifier.set_annotations(docs, self._predict(docs))
            except Exception as error:
                handle(self.name, self, docs, error)
            else:
                yield from docs

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Strict precision, recall and F-score, as of spaCy's own NER."""
        return get_ner_prf(examples, **kwargs)


def _on_tokens(doc: Doc, read: Doc, tagged: Tagged) -> Tagged:
    """What was found in a doc of another tokenization, by the tokens of this one, which are split for it."""
    places = [
        (read[entity.start].idx, read[entity.end - 1].idx + len(read[entity.end - 1]))
        for entity in tagged.entities
    ]
    split_tokens(doc, {edge for place in places for edge in place})
    found = []
    for (start, end), entity in zip(places, tagged.entities, strict=True):
        span = doc.char_span(start, end)
        if span is not None:
            found.append(entity._replace(start=span.start, end=span.end))
    return tagged._replace(entities=found)
