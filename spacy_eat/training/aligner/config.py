"""The config of `tune-aligner`: its sections, what they mean, and their checks."""

from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from ...alignment.words import Extraction
from ..tuning.config import Section


class Annotated(Section):
    """Sentences that an aligner has annotated.

    path (Optional[Path]): What `spacy eat annotate --english-field` wrote: a .spacy file, or a folder of
        them.
    min_score (float): Least score of a pair; a sentence with one below it is trained on without that pair.
    """

    path: Path | None = None
    min_score: float = Field(default=0.3, ge=0.0, le=1.0)


class Records(Section):
    """Alignment records: one name in a sentence.

    path (Optional[Path]): Folder of {lang}.jsonl files with the fields eng_entity, tgt_entity and text.
    limits (Dict[str, int]): Records of each language.
    max_chars (int): Longest text; longer ones are left out.
    none (float): Share of them that ask for a name which is not there.
    """

    path: Path | None = None
    limits: dict[str, NonNegativeInt] = Field(default_factory=dict)
    max_chars: PositiveInt = 120
    none: float = Field(default=0.15, ge=0.0, le=1.0)


class Parallel(Section):
    """Parallel text.

    path (Optional[Path]): Folder of {lang}_{name}.jsonl files with the fields source and english.
    files (Dict[str, List[str]]): For each language the names of its files, without {lang}_ and ending; a name
        may end in *.
    max_chars (int): Longest source text; longer ones are left out.
    limit (int): Most sentences of a language that are used, 0 for all.
    """

    path: Path | None = None
    files: dict[str, list[str]] = Field(default_factory=dict)
    max_chars: PositiveInt = 200
    limit: NonNegativeInt = 0


class Projected(Parallel):
    """Self-training: sentences whose two sides a tagger reads alike.

    tagger (Optional[Path]): Weights of an `eat_source_tagger` for all languages, English among them; None for
        those that come with spacy-eat.
    layer (int): Layer of the encoder whose similarities say which entity belongs to which.
    agreement (float): Least agreement of the two entities of a pair: the mean, over both, of the share of
        their pieces that are likest to a piece of the other.
    """

    tagger: Path | None = None
    layer: PositiveInt = 7
    agreement: float = Field(default=0.4, ge=0.0, le=1.0)


class Words(Parallel):
    """Word alignment by itself. The statistical alignment learns from all sentences, the encoder from `limit`
    of them.

    extraction (str): Which links become labels, as of `spacy_eat.WordAligner.v1`.
    lexical (float): What the logarithm of a link's share in the statistical alignment adds to its cosine when
        labels are chosen; 0 to go by the encoder alone.
    sharpness (float): Cosines times this are what the loss takes the softmax of.
    """

    extraction: Extraction = "argmax"
    lexical: NonNegativeFloat = 0.03
    sharpness: float = Field(default=20.0, gt=0.0)


class Corpora(Section):
    """Where pairs come from.

    missing (float): Share of the sentences from whose source one entity is cut out, so that it has no place.
    held_out (int): Sentences of parallel text that choose the epoch and the temperature.
    """

    annotated: Annotated = Annotated()
    records: Records = Records()
    projected: Projected = Projected()
    missing: float = Field(default=0.06, ge=0.0, le=1.0)
    held_out: NonNegativeInt = 300


class Model(Section):
    """The network, see `spacy_eat.alignment.network.Settings`.

    base (str): The encoder: "embedded", or any of Hugging Face's.
    initial (Optional[Path]): Weights to begin from: of an `eat_token_classifier` on the same encoder, or what
        `tune-aligner` has made of it for word alignment.
    layers, frozen_layers, width, max_length (int): See there.
    """

    base: str = "embedded"
    initial: Path | None = None
    layers: PositiveInt = 9
    frozen_layers: NonNegativeInt = 3
    width: PositiveInt = 24
    max_length: PositiveInt = 256


class Training(Section):
    """The loop.

    seed (int): Decides order and initial weights.
    epochs (int): How often each sentence is read.
    batch_pieces (int): Most pieces in a batch, of both languages, padding counted in.
    learning_rate, head_learning_rate (float): The highest, of the encoder and of what is new; reached after
        the share `warmup` of the steps, then taken down to 0.0 linearly.
    max_grad_norm (float): Longest gradient, longer ones are scaled down.
    reverse (float): What the opposite question counts: which English span a source entity stands for.
    trust (float): Exponent by which pairs that are likely already count more, (1 + p) ** trust, against noise
        (Li, He and Xu 2021, arXiv 2101.11112: a focal loss in the opposite direction); 0 for none.
    checkpoint_minutes (float): Time between checkpoints.
    """

    seed: int = 0
    epochs: PositiveInt = 2
    batch_pieces: PositiveInt = 2048
    learning_rate: float = Field(default=1e-4, gt=0.0)
    head_learning_rate: float = Field(default=2e-3, gt=0.0)
    warmup: float = Field(default=0.06, ge=0.0, lt=1.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    reverse: NonNegativeFloat = 0.5
    trust: NonNegativeFloat = 0.0
    checkpoint_minutes: NonNegativeFloat = 3.0


class Output(Section):
    """Where the results go.

    path (Path): A folder: sentences, checkpoint, scores, and the weights in `aligner`, or `encoder` with
        `words`. If it has a checkpoint of the same config, training goes on from there.
    """

    path: Path


class AlignerConfig(Section):
    """A whole config. `paths` only holds variables for the others.

    words (Optional[Words]): If it is there, an encoder is tuned for `spacy_eat.WordAligner.v1`, and no entity
        aligner. It heeds `corpora.held_out`, `model` but for `initial` and `width`, and `training` but for
        `head_learning_rate`, `reverse` and `trust`.
    """

    paths: dict[str, Any] = Field(default_factory=dict)
    corpora: Corpora = Corpora()
    words: Words | None = None
    model: Model = Model()
    training: Training = Training()
    output: Output
