"""`eat_token_classifier`: NER by a fine-tuned Hugging Face encoder, as an ordinary trainable component.

Why not spacy-transformers' `transformer` and `ner`: their weights are stored with `torch.save`, which is a
pickle, in fp32, and their parser is trained and run step by step. Here the classifier stands directly on the
encoder. What is saved is a Hugging Face model folder with fp16 safetensors, half the size, which
`transformers` reads as well. In the other direction, `encoder` may be a token classifier that is already
fine-tuned.

An encoder of many languages does not know words: one of its pieces may cover several tokens (Chinese
characters), or begin within one. It is trained on its pieces, whatever the tokenizer, and a token's tag is
told by all the pieces that it shares characters with (`pooling = "mean"`).

With `context = "english"` it reads the translation of a sentence, with its entities marked, before the
sentence, and tags the sentence alone: TransFusion (Chen, Jiang, Ritter, Xu 2023, arXiv 2305.13582), its form
for encoders.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import srsly
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import SimpleFrozenList, minibatch
from spacy.vocab import Vocab
from thinc.api import ArgsKwargs, Model, Shim, chain, get_torch_default_device, torch2xp, xp2torch
from thinc.compat import has_torch
from thinc.types import Floats2d

from ..encoders.encoder import cannot_load, encoder_folder, load_tokenizer, quiet, require_transformers
from ..encoders.pieces import Pieces, readable, split, tensors
from ..encoders.quantized import QuantizedClassifier
from ..encoders.trained import load_trained, read_base, take_tuned, write_trained
from ..records import marked_english, sentences_of
from ..tags import TagProbabilities, labels_of, set_tags, tags_of
from ..weights import SOURCE_TAGGER
from ..weights.devices import likes_bfloat16

EMBEDDED = "embedded"
EMBEDDED_TAGGER = "embedded_tagger"
PURPOSE = "'eat_token_classifier'"

Pooling = Literal["first", "mean"]
Runtime = Literal["torch", "ctranslate2"]
Context = Literal["english"]


@runtime_checkable
class Denoiser(Protocol):
    """Changes the targets of a batch in training, by what the model thinks of them.

    needs_vectors (bool): Whether it reads the encoder's vectors.
    """

    needs_vectors: bool

    def __call__(
        self, targets: np.ndarray, probabilities: np.ndarray, vectors: np.ndarray | None
    ) -> np.ndarray:
        """
        targets (ndarray): Probabilities of the tags, shape (pieces, tags). A row counts as far as it sums to
            1.0.
        probabilities (ndarray): Those that the model has now, same shape.
        vectors (Optional[ndarray]): Of the last layer, shape (pieces, width); None unless `needs_vectors`.
        RETURNS (ndarray): The new targets.
        """
        ...


_CASES = 4  # of a token: none upper, first upper, all upper, mixed


@dataclass
class Windows:
    """Docs as an encoder reads them.

    inputs (Dict[str, ndarray]): Arguments of the encoder, each of shape (windows, pieces).
    pieces (List[Pieces]): The pieces of each doc.
    """

    inputs: dict[str, np.ndarray]
    pieces: list[Pieces]


@dataclass
class Scores:
    """What the encoder says of docs.

    tags (Floats2d): A row for each piece of each doc, a column for each tag; before the softmax.
    pieces (List[Pieces]): The pieces of each doc.
    vectors (Optional[ndarray]): Of the last layer, shape (pieces, width), where they are asked for.
    """

    tags: Floats2d
    pieces: list[Pieces]
    vectors: np.ndarray | None = None


class Tagged(NamedTuple):
    """What `predict` found in a doc.

    entities (List[Found]): In order.
    certainty (float): How likely the tag of the least certain token is, 1.0 without tokens.
    within (List[int]): Characters at which a token starts within a piece of the encoder: no entity can be
        found to begin or end there.
    tags (Optional[TagProbabilities]): How likely each tag is of each piece of the encoder.
    """

    entities: "list[Found]"
    certainty: float = 1.0
    within: "list[int]" = []  # noqa: RUF012  (never changed)
    tags: TagProbabilities | None = None


class Found(NamedTuple):
    """An entity that `predict` found.

    start, end (int): Tokens, half open.
    label (str): Its label.
    score (float): How likely the least certain of its tokens is part of an entity of that label, and those
        beside it are not part of it.
    """

    start: int
    end: int
    label: str
    score: float


@Language.factory(
    "eat_token_classifier",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config={
        "encoder": "roberta-base",
        "casing": False,
        "train_embeddings": True,
        "frozen_layers": 0,
        "pooling": "first",
        "spans_key": None,
        "keep_tags": False,
        "mixed_precision": False,
        "max_length": 256,
        "context": None,
        "denoiser": None,
        "runtime": "torch",
        "min_score": 0.0,
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_token_classifier(
    nlp: Language,
    name: str,
    encoder: str,
    casing: bool,
    train_embeddings: bool,
    frozen_layers: int,
    pooling: Pooling,
    spans_key: str | None,
    keep_tags: bool,
    mixed_precision: bool,
    max_length: int,
    context: Context | None,
    denoiser: Denoiser | None,
    runtime: Runtime,
    min_score: float,
) -> "TokenClassifier":
    """Construct a token classifier. See `TokenClassifier` for the arguments."""
    return TokenClassifier(
        nlp.vocab,
        name,
        encoder=encoder,
        casing=casing,
        train_embeddings=train_embeddings,
        frozen_layers=frozen_layers,
        pooling=pooling,
        spans_key=spans_key,
        keep_tags=keep_tags,
        mixed_precision=mixed_precision,
        max_length=max_length,
        context=context,
        denoiser=denoiser,
        runtime=runtime,
        min_score=min_score,
    )


class TokenClassifier(TrainablePipe):
    """NER with BIO tags from a classification head on an encoder. The pieces of a token say what its tag is;
    the best sequence of tags in which no I- stands without its B- is decoded."""

    def __init__(
        self,
        vocab: Vocab,
        name: str = "eat_token_classifier",
        *,
        encoder: str = "roberta-base",
        casing: bool = False,
        train_embeddings: bool = True,
        frozen_layers: int = 0,
        pooling: Pooling = "first",
        spans_key: str | None = None,
        keep_tags: bool = False,
        mixed_precision: bool = False,
        max_length: int = 256,
        context: Context | None = None,
        denoiser: Denoiser | None = None,
        runtime: Runtime = "torch",
        min_score: float = 0.0,
    ) -> None:
        """
        vocab (Vocab): The shared vocabulary.
        name (str): The component's name in the pipeline.
        encoder (str): Name or path of a Hugging Face model with safetensors weights and a fast tokenizer,
            or "embedded" for multilingual-e5-small, which the extra `encoder` brings; used when training
            begins. Also a folder that this component has written, or "embedded_tagger" for the tagger on the
            source that comes with spacy-eat: training goes on from there. Also an encoder that `tune-aligner`
            tuned, with no more `frozen_layers` than that had. What is loaded from disk brings its own, but
            for what was not trained of the embedded encoder.
        casing (bool): Tell an uncased encoder how a token is capitalised, by token type embeddings. It must
            have such embeddings (BERT and its kin).
        train_embeddings (bool): Whether word embeddings are tuned too. Without, training is faster, and names
            that were not in the training data are treated like those that were.
        frozen_layers (int): How many of the encoder's layers, from below, are left as they are, with all
            embeddings. Training is faster, and what is shared across languages stays shared.
        pooling (str): "first": the first piece of a token tells its tag, as BERT does it. "mean": all of its
            pieces do, also those that are longer than the token; for languages without spaces.
        spans_key (Optional[str]): Span group in `doc.spans` that gets what was found, with its probabilities
            in `attrs["scores"]`; None for none. `attrs["certainty"]` is the probability of the least certain
            token's tag, `attrs["within"]` has the characters where no entity can be found to begin or end,
            as they are within a piece of the encoder.
        keep_tags (bool): Whether `doc.user_data["eat_tags"]` gets how likely each tag is of each piece
            (`spacy_eat.tags`), for students to learn from.
        mixed_precision (bool): Train and run in fp16 on a GPU, in bf16 on a CPU that has instructions for it.
        max_length (int): Word pieces per window. Longer docs are read in windows that overlap by a quarter.
        context (Optional[str]): What is read with each text: "english" for the English of each of its
            sentences, with its entities marked, as `eat_entity_aligner` finds them; at most half a window of
            it. Texts without English are read alone. None: every text is. What is loaded from disk brings its
            own.
        denoiser (Optional[Denoiser]): Changes the targets of each batch in training, such as
            `spacy_eat.EasyFirst.v1` or `spacy_eat.Prototypes.v1`; None to learn them as they are.
        runtime (str): What finds entities: "torch", or "ctranslate2", which reads with weights of 8 bits on
            the CPU, some three times as fast. It needs the extra `light`, neither torch nor transformers, and
            a BERT or RoBERTa; scores differ in the second digit, one tag in a thousand does. Training is
            torch's in any case.
        min_score (float): Entities that are less likely than this, 0.0 to 1.0, are not in `doc.ents`; the
            span group has them too.
        RAISES (ValueError): If `min_score` is out of its range.
        """
        check_min_score(name, min_score)
        self.vocab = vocab
        self.name = name
        self.encoder = encoder
        self.casing = casing
        self.train_embeddings = train_embeddings
        self.frozen_layers = frozen_layers
        self.spans_key = spans_key
        self.keep_tags = keep_tags
        self.mixed_precision = mixed_precision
        self.denoiser = denoiser
        self.runtime: Runtime = runtime
        self.min_score = min_score
        self._quantized: QuantizedClassifier | None = None  # of the weights as they are now
        # `base` is the encoder that what was not trained is taken from; "" where all is in the folder.
        # `temperature` makes probabilities of the scores of a model that is surer than it is right. It is
        # fitted after training, by `python -m benchmarks.tagger_calibration`.
        self.cfg: dict[str, Any] = {
            "labels": [],
            "casing": casing,
            "max_length": max_length,
            "context": context,
            "pooling": pooling,
            "base": "",
        }
        self.model: Model[list[Doc], Scores] = _build_model(
            self.cfg,
            light=runtime == "ctranslate2",
            fp16=mixed_precision and has_torch and get_torch_default_device().type == "cuda",
            vectors=denoiser is not None and denoiser.needs_vectors,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (List[str]): What `spacy init labels` stores, and `initialize` takes."""
        return list(self.labels)

    @property
    def tags(self) -> list[str]:
        """RETURNS (List[str]): The tags, in the order of the output."""
        return ["O", *(f"{prefix}-{label}" for label in self.labels for prefix in "BI")]

    def add_label(self, label: str) -> int:
        """Labels are fixed once the classification head has its size.

        label (str): The label.
        RETURNS (int): 1 if it was added, 0 if it was there.
        RAISES (ValueError): If the component is initialized already.
        """
        if label in self.labels:
            return 0
        if self._is_loaded:
            raise ValueError(Errors.E922.format(name=self.name, nO=len(self.tags)))
        self.cfg["labels"].append(label)
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Load the encoder, and put a new classification head on it unless it has one for these labels.

        get_examples (Callable[[], Iterable[Example]]): A sample of the training data, for the labels.
        nlp (Optional[Language]): The pipeline.
        labels (Optional[Sequence[str]]): The entity labels. None: those in the sample.
        RAISES (ValueError): If the encoder cannot be loaded, has no embeddings for the casing, or was tuned
            in layers that `frozen_layers` freezes.
        """
        if labels is None:
            labels = sorted({ent.label_ for example in get_examples() for ent in example.reference.ents})
        self.cfg["labels"] = list(labels)
        if not self.labels:
            raise ValueError(
                f"There is no entity in the training data of '{self.name}': check `[corpora.train]`."
            )
        written = Path(SOURCE_TAGGER if self.encoder == EMBEDDED_TAGGER else self.encoder, "cfg")
        tuned = read_base(self.encoder)
        if written.is_file():
            self.cfg["base"] = srsly.read_json(written).get("base", "")
            module = self._load(str(written.parent / "model"))
        else:
            encoder = self.encoder if tuned is None else tuned.base
            self.cfg["base"] = encoder if encoder == EMBEDDED else ""
            module = self._load(encoder)
        if self.casing:
            _add_cases(module, self.encoder)
        if not self.train_embeddings:
            module.get_input_embeddings().requires_grad_(False)
        _freeze(module, self.frozen_layers, self.encoder)
        if tuned is not None:
            take_tuned(module.base_model, Path(self.encoder))
        self._set_module(module)

    def predict(self, docs: Iterable[Doc]) -> list[Tagged]:
        """Find entities, without changing the docs.

        docs (Iterable[Doc]): The docs.
        RETURNS (List[Tagged]): For each doc its entities.
        """
        docs = list(docs)
        return self.find(docs, self.read(docs))

    def read(self, docs: Sequence[Doc]) -> list[tuple[Pieces, np.ndarray] | None]:
        """What the encoder says of docs, before it is decided what is found in them.

        docs (Sequence[Doc]): The docs.
        RETURNS (List[Optional[Tuple[Pieces, ndarray]]]): For each doc its pieces, and scores of the tags,
            shape (pieces, tags); None for docs without tokens.
        """
        if not self._is_loaded:
            raise ValueError(Errors.E109.format(name=self.name))
        # Docs of similar length share a batch, so that little of it is padding.
        order = sorted(range(len(docs)), key=lambda i: len(docs[i].text))
        found: list[tuple[Pieces, np.ndarray] | None] = [None] * len(docs)
        for _, group in groupby(enumerate(order), key=lambda item: item[0] // 32):
            indices = [i for _, i in group if len(docs[i])]
            if not indices:
                continue
            scores = self._scores([docs[i] for i in indices])
            ends = np.cumsum([len(pieces) for pieces in scores.pieces])
            rows = np.split(self.model.ops.to_numpy(scores.tags), ends[:-1])
            for i, pieces, tags in zip(indices, scores.pieces, rows, strict=True):
                found[i] = pieces, tags
        return found

    def find(self, docs: Sequence[Doc], read: Sequence[tuple[Pieces, np.ndarray] | None]) -> list[Tagged]:
        """Find entities in what `read` returned, at the temperature in `cfg`.

        docs (Sequence[Doc]): The docs.
        read (Sequence[Optional[Tuple[Pieces, ndarray]]]): What the encoder says of each.
        RETURNS (List[Tagged]): For each doc its entities.
        """
        temperature = self.cfg.get("temperature", 1.0)
        return [
            self._find(doc, one[0], _softmax(one[1] / temperature)) if one else Tagged([])
            for doc, one in zip(docs, read, strict=True)
        ]

    def _scores(self, docs: list[Doc]) -> Scores:
        """What the encoder says of docs, by whatever computes it."""
        if self.runtime == "torch":
            _prepare_worker()
            return cast(Scores, self.model.predict(docs))
        if self._quantized is None:
            _prepare_worker()
            held = TemporaryDirectory()
            self._save(Path(held.name))
            self._quantized = QuantizedClassifier(Path(held.name), self.cfg["base"], held)
        windows = make_windows(docs, self.tokenizer, **self.cfg)
        scores = self._quantized(windows.inputs)
        return Scores(self.model.ops.asarray2f(scores[_places(windows.pieces)]), windows.pieces)

    def vectors(
        self, docs: Sequence[Doc], layers: int = 3
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Where the encoder puts the pieces of docs.

        docs (Sequence[Doc]): The docs.
        layers (int): How many layers, from the last one, the mean is taken of.
        YIELDS (Tuple[ndarray, ndarray, ndarray]): For each doc the characters at which its pieces start and
            end, shape (pieces,), and their vectors, of length 1, shape (pieces, width).
        """
        import torch

        if not self._is_loaded:
            raise ValueError(Errors.E109.format(name=self.name))
        module, tokenizer = self._module.eval(), self.tokenizer
        for batch in minibatch(docs, 32):
            windows = make_windows(batch, tokenizer, **self.cfg)
            with torch.inference_mode():
                inputs = tensors(windows.inputs, module.device)
                states = module(**inputs, output_hidden_states=True).hidden_states
            mean = torch.stack(states[-layers:]).float().mean(dim=0)
            vectors = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
            for pieces in windows.pieces:
                yield pieces.starts, pieces.ends, vectors[pieces.rows, pieces.columns]

    def _find(self, doc: Doc, pieces: Pieces, probabilities: np.ndarray) -> Tagged:
        """The entities of a doc. probabilities (ndarray): Shape (pieces, tags)."""
        pool = _first if self.cfg.get("pooling", "first") == "first" else _mean
        has_piece, by_token = pool(doc, pieces, probabilities)
        best = iter(decode(np.log(by_token[has_piece] + 1e-12)) if has_piece.any() else [])
        tags = _fill(doc, [self.tags[next(best)] if has else None for has in has_piece])
        found = []
        for start, end, label in _runs(tags):
            begins = self.tags.index(f"B-{label}")
            of_label = by_token[:, begins : begins + 2].sum(axis=1)
            certain = float(of_label[start:end][has_piece[start:end]].min())
            # It may also be that the entity begins earlier, or goes on.
            if start and tags[start - 1] == "O":
                certain = min(certain, 1.0 - float(of_label[start - 1]))
            if end < len(tags):
                certain = min(certain, 1.0 - float(by_token[end, begins + 1]))
            found.append(Found(start, end, label, certain))
        kinds = labels_of(by_token)[has_piece]
        certainty = float(kinds.max(axis=1).min()) if len(kinds) else 1.0
        starts, _ = _edges(doc)
        piece = np.searchsorted(pieces.ends, starts, side="right")
        first = np.append(pieces.starts, len(doc.text))[
            piece
        ]  # of the piece that ends after the token's start
        by_piece = TagProbabilities(pieces.starts, pieces.ends, probabilities, self.tags)
        return Tagged(found, certainty, starts[first < starts].tolist(), by_piece)

    def set_annotations(self, docs: Iterable[Doc], found: Iterable[Tagged]) -> None:
        """Set `doc.ents`, and the span group if there is to be one. Entities that are there already stay.

        docs (Iterable[Doc]): The docs.
        found (Iterable[Tagged]): What `predict` returned.
        """
        for doc, doc_found in zip(docs, found, strict=True):
            spans = self.set_spans(doc, doc_found)
            taken = {token.i for ent in doc.ents for token in ent}
            free = [
                span
                for span, entity in zip(spans, doc_found.entities, strict=True)
                if entity.score >= self.min_score and taken.isdisjoint(range(span.start, span.end))
            ]
            doc.set_ents([*doc.ents, *free], default="outside")

    def set_spans(self, doc: Doc, found: Tagged) -> list[Span]:
        """Set the span group of a doc, and keep the probabilities of the tags, if it is to be done.

        doc (Doc): The doc.
        found (Tagged): What `predict` found in it.
        RETURNS (List[Span]): The entities as spans.
        """
        spans = [Span(doc, entity.start, entity.end, label=entity.label) for entity in found.entities]
        if self.spans_key is not None:
            scores = np.array([entity.score for entity in found.entities], dtype="float32")
            doc.spans[self.spans_key] = SpanGroup(
                doc,
                name=self.spans_key,
                spans=spans,
                attrs={"scores": scores, "certainty": found.certainty, "within": found.within},
            )
        if self.keep_tags and found.tags is not None:
            set_tags(doc, found.tags)
        return spans

    def update(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, float]:
        """Learn from a batch. Arguments and result as of spaCy's `TrainablePipe.update`."""
        _ = self._module  # torch learns on from what CTranslate2 has read
        return cast(dict[str, float], super().update(examples, **kwargs))

    def get_loss(self, examples: Iterable[Example], scores: Scores) -> tuple[float, Floats2d]:
        """Cross entropy. What has no known gold tag does not count, as of tokens that gold entities cut.
        Where an example's reference has probabilities of tags (`spacy_eat.tags`), these are the targets, and
        count as far as they sum to 1.0. A denoiser may change the targets.

        examples (Iterable[Example]): The batch.
        scores (Scores): Output of the model.
        RETURNS (Tuple[float, Floats2d]): The mean loss, and its gradient.
        """
        self._quantized = None  # the weights are about to change
        xp = self.model.ops.xp
        known = np.concatenate([self._targets(e, p) for e, p in zip(examples, scores.pieces, strict=True)])
        total = float((known.sum(axis=1) > 0).sum())
        if not total:
            return 0.0, xp.zeros_like(scores.tags)
        probabilities = self.model.ops.softmax(scores.tags)
        if self.denoiser is not None:
            known = self.denoiser(known, self.model.ops.to_numpy(probabilities), scores.vectors)
        targets = xp.asarray(known)
        weights = targets.sum(axis=1, keepdims=True)
        loss = -(targets * xp.log(probabilities + 1e-12)).sum() / total
        return float(loss), (weights * probabilities - targets) / total

    def _targets(self, example: Example, pieces: Pieces) -> np.ndarray:
        """How likely each tag is of every piece; zeros where it is not known. Shape (pieces, tags)."""
        soft = tags_of(example.reference)
        if soft is not None:
            self._check_texts(example)
            return soft._replace(rows=soft.ordered(self.tags)).over(pieces.starts, pieces.ends)[1]
        by_token = self.cfg.get("pooling", "first") == "first"
        gold = (self._gold_by_token if by_token else self._gold_by_piece)(example, pieces)
        return np.where((gold >= 0)[:, None], np.eye(len(self.tags), dtype="float32")[gold], 0.0)

    def _check_texts(self, example: Example) -> None:
        if example.reference.text != example.predicted.text:
            raise ValueError(
                f"An example of '{self.name}' has two different texts: {example.reference.text[:40]!r} and"
                f' {example.predicted.text[:40]!r}. Set `pooling = "first"`, or make the texts the same.'
            )

    def _gold_by_token(self, example: Example, pieces: Pieces) -> np.ndarray:
        """The gold tag of every piece that is the first of its token, -1 for the others."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        as_bio = {"U": "B", "L": "I"}
        gold = np.full(len(pieces), -1)
        has_piece, first = _first_pieces(example.predicted, pieces)
        for i, tag in enumerate(example.get_aligned_ner()):
            if tag and has_piece[i]:
                gold[first[i]] = index.get(as_bio.get(tag[0], tag[0]) + tag[1:], -1)
        return gold

    def _gold_by_piece(self, example: Example, pieces: Pieces) -> np.ndarray:
        """The gold tag of every piece, -1 where it is not known. A piece with characters of an entity is part
        of it."""
        self._check_texts(example)
        reference = example.reference
        index = {tag: i for i, tag in enumerate(self.tags)}
        gold = np.zeros(len(pieces), dtype=int)
        for token in reference:
            if not token.ent_iob:
                gold[(pieces.starts < token.idx + len(token)) & (pieces.ends > token.idx)] = -1
        for ent in reference.ents:
            inside = (pieces.starts < ent.end_char) & (pieces.ends > ent.start_char)
            gold[inside] = index.get(f"I-{ent.label_}", -1)
            gold[inside & (pieces.starts <= ent.start_char)] = index.get(f"B-{ent.label_}", -1)
        return gold

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): Strict precision, recall and F-score, as of spaCy's own NER."""
        return get_ner_prf(examples, **kwargs)

    @property
    def tokenizer(self) -> Any:
        """The encoder's tokenizer, a `PreTrainedTokenizerFast`, or a `LightTokenizer` of what CTranslate2 has
        read; None before there is a model."""
        return self.model.layers[0].attrs["tokenizer"]

    def cut_vocabulary(self, tokenizer: Any, kept: Sequence[int]) -> None:
        """Take a tokenizer with fewer pieces. What is written from then on needs no other encoder.

        tokenizer (PreTrainedTokenizerFast): The new one.
        kept (Sequence[int]): For each of its pieces which one of the old pieces it is.
        """
        import torch

        old = self._module.get_input_embeddings()
        new = torch.nn.Embedding(len(kept), old.embedding_dim, padding_idx=tokenizer.pad_token_id)
        new.weight.data = old.weight.data[torch.as_tensor(kept, device=old.weight.device)]
        self._module.set_input_embeddings(new)
        self._quantized = None
        self._module.config.vocab_size = len(kept)
        for name in ("pad", "bos", "eos"):
            setattr(self._module.config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
        self.model.layers[0].attrs["tokenizer"] = tokenizer
        self.cfg["base"] = ""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()) -> None:
        """Write the settings, and the Hugging Face model in the folder `model`.

        path (Union[str, Path]): The component's folder.
        exclude (Iterable[str]): Names of what to leave out.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        srsly.write_json(path / "cfg", self.cfg)
        if "model" in exclude:
            return
        if self._shim._model is not None:
            self._save(path / "model")
        elif self._quantized is not None:
            self._quantized.to_disk(path / "model")

    def from_disk(
        self, path: str | Path, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TokenClassifier":
        """Read what `to_disk` wrote.

        path (Union[str, Path]): The component's folder.
        exclude (Iterable[str]): Names of what to leave out.
        RETURNS (TokenClassifier): The component itself.
        """
        path = Path(path)
        self.cfg.update(srsly.read_json(path / "cfg"))
        if "model" not in exclude and (path / "model").is_dir():
            if self.runtime == "torch":
                self._set_module(self._load(str(path / "model")))
            else:
                self._shim._model = None
                self._quantized = self._read(path / "model")
                self.model.layers[0].attrs["tokenizer"] = self._quantized.tokenizer
        return self

    def to_bytes(self, *, exclude: Iterable[str] = SimpleFrozenList()) -> bytes:
        """RETURNS (bytes): The files of `to_disk`."""
        with TemporaryDirectory() as folder:
            self.to_disk(folder, exclude=exclude)
            files = {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for file in Path(folder).rglob("*")
                if file.is_file()
            }
        return srsly.msgpack_dumps(files)

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = SimpleFrozenList()
    ) -> "TokenClassifier":
        """Read what `to_bytes` gave."""
        held = TemporaryDirectory()
        for name, content in srsly.msgpack_loads(bytes_data).items():
            file = Path(held.name) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.from_disk(held.name, exclude=exclude)
        if self._quantized is not None and self._quantized.folder.is_relative_to(held.name):
            self._quantized.held = held
        else:
            held.cleanup()
        return self

    @property
    def _shim(self) -> Shim:
        return self.model.layers[1].shims[0]

    @property
    def _is_loaded(self) -> bool:
        return self._shim._model is not None or self._quantized is not None

    @property
    def _module(self) -> Any:
        """The torch module, None before there is a model. Of what CTranslate2 has read it is loaded when it
        is asked for."""
        quantized = self._quantized
        if self._shim._model is None and quantized is not None:
            self._set_module(self._load(str(quantized.folder)))
            self._quantized = quantized  # of the same weights
        return self._shim._model

    def _set_module(self, module: Any) -> None:
        import torch

        self._quantized = None
        device = get_torch_default_device()
        # The shim only knows of GPUs.
        if self.mixed_precision and device.type == "cpu" and likes_bfloat16("cpu"):
            module.forward = torch.autocast("cpu", torch.bfloat16)(module.forward)
        self._shim._model = module.to(device)

    def _read(self, folder: Path) -> QuantizedClassifier:
        """Read a token classifier for the labels by CTranslate2, with neither torch nor transformers."""
        try:
            quantized = QuantizedClassifier(folder, self.cfg.get("base", ""))
        except (OSError, ValueError) as error:
            raise cannot_load(str(folder), str(error), f"`encoder` of '{self.name}'") from error
        if quantized.tags != len(self.tags):
            raise ValueError(
                f"The weights in {folder} tell {quantized.tags} tags apart, but '{self.name}' has"
                f" {len(self.tags)}: its `cfg` is another one's."
            )
        return quantized

    def _load(self, name: str) -> Any:
        """Load a token classifier for the labels and its tokenizer, safetensors only, without remote code.
        With a `base`, the folder has only what was trained: the rest is the base's."""
        transformers = require_transformers(PURPOSE)
        _prepare_worker()
        base = self.cfg.get("base", "")
        tags = dict(enumerate(self.tags))
        try:
            with quiet():
                folder = encoder_folder(base or name)
                self.model.layers[0].attrs["tokenizer"] = load_tokenizer(folder)
                module = transformers.AutoModelForTokenClassification.from_pretrained(
                    folder,
                    id2label=tags,
                    label2id={tag: i for i, tag in tags.items()},
                    ignore_mismatched_sizes=True,  # a head for other labels is replaced
                    use_safetensors=True,
                    torch_dtype="float32",
                )
        except (OSError, ValueError) as error:
            raise cannot_load(name, str(error), f"`encoder` of '{self.name}'") from error
        if base and name != base:
            load_trained(module, Path(name))
        return module

    def _save(self, path: Path) -> None:
        import torch

        if self.cfg["base"]:
            write_trained(self._module, path)
            return
        weights = {
            name: tensor.half() if tensor.dtype == torch.float32 else tensor
            for name, tensor in self._module.state_dict().items()
        }
        self._module.save_pretrained(path, state_dict=weights, safe_serialization=True)
        self.tokenizer.save_pretrained(path)


def _prepare_worker() -> None:
    """Before torch does anything in a worker: one that was forked has none of torch's threads, and would wait
    for them. It computes with one."""
    if parent_process() is not None:
        import torch

        torch.set_num_threads(1)


def _freeze(module: Any, layers: int, encoder: str) -> None:
    """Leave an encoder's embeddings and lowest layers as they are. 0 layers: nothing is frozen."""
    import torch

    if not layers:
        return
    base = module.base_model
    stack = next((part for part in base.modules() if isinstance(part, torch.nn.ModuleList)), None)
    if stack is None or not layers < len(stack):
        raise ValueError(
            f"`frozen_layers` is {layers}, but the encoder '{encoder}' has {len(stack or ())} layers."
        )
    for part in (getattr(base, "embeddings", module.get_input_embeddings()), *stack[:layers]):
        part.requires_grad_(False)


def check_min_score(name: str, min_score: float) -> None:
    """RAISES (ValueError): If a component's least score is out of its range."""
    if not 0.0 <= min_score <= 1.0:
        raise ValueError(f"`min_score` of '{name}' is between 0.0 and 1.0, not {min_score}")


def decode(scores: np.ndarray) -> list[int]:
    """Viterbi decoding. Of all sequences of tags in which an I- follows only a B- or I- of its label, the one
    with the highest sum of scores.

    scores (ndarray): Shape (tokens, tags), tags in the order O, B-X, I-X, B-Y, I-Y, ...
    RETURNS (List[int]): A tag per token.
    """
    count = scores.shape[1]
    forbidden = np.zeros((count, count), dtype=scores.dtype)  # from, to
    forbidden[:, 2::2] = -np.inf
    for inside in range(2, count, 2):
        forbidden[[inside - 1, inside], inside] = 0
    best = scores[0] + forbidden[0]
    back = np.zeros(scores.shape, dtype=int)
    for i in range(1, len(scores)):
        paths = best[:, None] + forbidden
        back[i] = paths.argmax(axis=0)
        best = paths.max(axis=0) + scores[i]
    tags = [int(best.argmax())]
    for i in range(len(scores) - 1, 0, -1):
        tags.append(int(back[i, tags[-1]]))
    return tags[::-1]


def _softmax(scores: np.ndarray) -> np.ndarray:
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _edges(doc: Doc) -> tuple[np.ndarray, np.ndarray]:
    """Characters at which the tokens of a doc start and end."""
    starts = np.array([token.idx for token in doc], dtype=int)
    return starts, starts + np.array([len(token) for token in doc], dtype=int)


def _first_pieces(doc: Doc, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """For every token whether a piece begins in it, and the number of the first that does."""
    starts, ends = _edges(doc)
    first = np.searchsorted(pieces.starts, starts, side="left")
    return first < np.searchsorted(pieces.starts, ends, side="left"), first


def _first(doc: Doc, pieces: Pieces, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first piece of a token tells its tag.

    RETURNS (Tuple[ndarray, ndarray]): For every token whether it has a piece of its own, and its
        probabilities, shape (tokens, tags).
    """
    has_piece, first = _first_pieces(doc, pieces)
    by_token = np.zeros((len(doc), probabilities.shape[1]), dtype="float32")
    by_token[has_piece] = probabilities[first[has_piece]]
    return has_piece, by_token


def _mean(doc: Doc, pieces: Pieces, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pieces that share characters with a token tell its tag, see `TagProbabilities.over`.

    RETURNS (Tuple[ndarray, ndarray]): As of `_first`.
    """
    has_piece, by_token = TagProbabilities(pieces.starts, pieces.ends, probabilities, ()).over(*_edges(doc))
    spaces = np.array([token.is_space for token in doc], dtype=bool)
    by_token[spaces] = 0.0
    return has_piece & ~spaces, by_token


def _build_model(cfg: dict[str, Any], *, light: bool, fp16: bool, vectors: bool) -> Model[list[Doc], Scores]:
    """docs -> windows of word pieces -> scores of the tags of each piece. light (bool): Whether torch may be
    missing; the scores are CTranslate2's then."""
    windows: Model[list[Doc], Windows] = Model(
        "windows", _windows_forward, attrs={"tokenizer": None, "cfg": cfg}
    )
    if light and not has_torch:
        return chain(windows, Model("classifier", cast(Any, None), shims=[Shim(None)]))
    if not light:
        require_transformers(PURPOSE)
    from thinc.api import PyTorchGradScaler, PyTorchWrapper_v3

    classifier = PyTorchWrapper_v3(
        cast(Any, None),
        convert_inputs=_convert_inputs,
        convert_outputs=_convert_outputs,
        mixed_precision=fp16,
        grad_scaler=PyTorchGradScaler(fp16),
    )
    classifier.attrs["vectors"] = vectors
    return chain(windows, classifier)


def _windows_forward(
    model: Model[list[Doc], Windows], docs: list[Doc], is_train: bool
) -> tuple[Windows, Callable[[Any], list[Doc]]]:
    return make_windows(docs, model.attrs["tokenizer"], **model.attrs["cfg"]), lambda _: []


def make_windows(
    docs: Sequence[Doc],
    tokenizer: Any,
    *,
    casing: bool,
    max_length: int,
    context: Context | None = None,
    **_: Any,
) -> Windows:
    """Split docs into word pieces.

    docs (Sequence[Doc]): The docs.
    tokenizer (Union[PreTrainedTokenizerFast, LightTokenizer]): The encoder's tokenizer.
    casing (bool): Whether the token types say how a token is capitalised.
    max_length (int): Word pieces per window.
    context (Optional[str]): What is read with a text, see `TokenClassifier`.
    RETURNS (Windows): The windows.
    """
    texts = [readable(doc.text, doc.lang_) for doc in docs]
    if context is None:
        inputs, pieces = split(texts, tokenizer, max_length)
    else:
        parts = [_with_english(doc) for doc in docs]
        inputs, found = split(
            [text[start:end] for text, own in zip(texts, parts, strict=True) for start, end, _ in own],
            tokenizer,
            max_length,
            [english for own in parts for *_, english in own],
        )
        rest = iter(found)
        pieces = [_joined([(start, next(rest)) for start, *_ in own]) for own in parts]
    if casing:
        inputs["token_type_ids"] = np.zeros_like(inputs["input_ids"])
        for doc, places in zip(docs, pieces, strict=True):
            cases = np.array([_case(token.text) for token in doc], dtype=int)
            tokens = np.searchsorted(_edges(doc)[0], places.starts, side="right") - 1
            inputs["token_type_ids"][places.rows, places.columns] = cases[tokens]
    return Windows(inputs, pieces)


def _with_english(doc: Doc) -> list[tuple[int, int, str]]:
    """The parts of a doc that are read one by one: start, end and English of each. A doc without English is
    one part; else each of its sentences is, with what follows until the next one begins."""
    sentences = sentences_of(doc)
    english = [marked_english(sentence) for sentence in sentences]
    if not any(english):
        return [(0, len(doc.text), "")]
    starts = [0, *(sentence["start_char"] for sentence in sentences[1:])]
    return list(zip(starts, [*starts[1:], len(doc.text)], english, strict=True))


def _joined(parts: Sequence[tuple[int, Pieces]]) -> Pieces:
    """The pieces of a text. parts (Sequence[Tuple[int, Pieces]]): Where each of its parts begins, and the
    part's pieces."""
    return Pieces(
        np.concatenate([start + pieces.starts for start, pieces in parts]),
        np.concatenate([start + pieces.ends for start, pieces in parts]),
        np.concatenate([pieces.rows for _, pieces in parts]),
        np.concatenate([pieces.columns for _, pieces in parts]),
    )


def _case(text: str) -> int:
    """none upper 0, first upper 1, all upper 2, mixed 3"""
    upper = [character.isupper() for character in text if character.isalpha()]
    if not any(upper):
        return 0
    if upper[0] and not any(upper[1:]):
        return 1
    return 2 if all(upper) else 3


def _places(pieces: Sequence[Pieces]) -> tuple[np.ndarray, np.ndarray]:
    """RETURNS (Tuple[ndarray, ndarray]): Windows and columns of all pieces, each of shape (pieces,)."""
    return np.concatenate([p.rows for p in pieces]), np.concatenate([p.columns for p in pieces])


def _convert_inputs(
    model: Model[Any, Any], windows: Windows, is_train: bool
) -> tuple[ArgsKwargs, Callable[[Any], list[Any]]]:
    inputs = tensors(windows.inputs, cast(Any, model.shims[0]).device)
    if is_train and model.attrs["vectors"]:
        inputs["output_hidden_states"] = True
    return ArgsKwargs(args=(), kwargs=inputs), lambda _: []


def _convert_outputs(
    model: Model[Any, Any], inputs_outputs: tuple[Windows, Any], is_train: bool
) -> tuple[Scores, Callable[[Floats2d], ArgsKwargs]]:
    windows, outputs = inputs_outputs
    places = _places(windows.pieces)
    tags = outputs.logits[places].float()

    def backprop(gradient: Floats2d) -> ArgsKwargs:
        return ArgsKwargs(args=((tags,),), kwargs={"grad_tensors": xp2torch(gradient)})

    vectors = None
    if is_train and model.attrs["vectors"]:
        vectors = outputs.hidden_states[-1][places].detach().float().cpu().numpy()
    return Scores(cast(Floats2d, torch2xp(tags.detach())), windows.pieces, vectors), backprop


def _fill(doc: Doc, tags: Sequence[str | None]) -> list[str]:
    """Tag the tokens that have no word piece of their own. One that lies within the piece of the token before
    it (Chinese characters, where pieces are words) goes with that one; white space is part of an entity only
    if the entity goes on after it."""
    filled: list[str] = []
    for i, tag in enumerate(tags):
        if tag is None:
            after = next((known for known in tags[i + 1 :] if known is not None), "O")
            before = filled[-1] if filled else "O"
            goes_on = before != "O" and (after.startswith("I-") or not doc[i].is_space)
            tag = f"I-{before[2:]}" if goes_on else "O"
        filled.append(tag)
    return filled


def _runs(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Start, end and label of every entity in valid BIO tags."""
    start = 0
    for i, tag in enumerate([*tags, "O"]):
        if not tag.startswith("I-"):
            if i and tags[start] != "O":
                yield start, i, tags[start][2:]
            start = i


def _add_cases(module: Any, encoder: str) -> None:
    """Give an encoder one token type per kind of casing. All begin as its type 0: nothing changes yet."""
    embeddings = getattr(getattr(module.base_model, "embeddings", None), "token_type_embeddings", None)
    if embeddings is None:
        raise ValueError(f"The encoder '{encoder}' has no token type embeddings: set `casing = false`.")
    if embeddings.num_embeddings != _CASES:
        weights = embeddings.weight.data[:1].repeat(_CASES, 1)
        module.base_model.embeddings.token_type_embeddings = type(embeddings).from_pretrained(
            weights, freeze=False
        )
        module.config.type_vocab_size = _CASES
