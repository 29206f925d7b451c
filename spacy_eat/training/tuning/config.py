"""The tuning config: its sections, what they mean, and their checks."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from confection import Config, ConfigValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Corpora(Section):
    """Where the data are, and what is kept out of training.

    alignment (Optional[Path]): Folder of {lang}.jsonl files with the fields
        eng_entity, tgt_entity and text.
    parallel (Optional[Path]): Folder of {lang}_{name}.jsonl files with the
        fields source and english.
    exclude (List[str]): Names of parallel files, without {lang}_, to leave out.
    plain (List[str]): Names of parallel files of everyday sentences, of which
        `mix.short` says how many are taken.
    dev (str): Name of the parallel files part of which is held out.
    names (Dict[str, str]): For each language the dictionary (see
        `spacy_eat.corpora.dictionaries`) that `mix.names` and `mix.dictionary` draw on.
    english (str): English pipeline that finds the names in translations:
        a package, a path, or "embedded".
    tag (int): Most sentences of a language that it reads.
    held_out_names (float): Share of English names held out.
    held_out_questions (int): Most held-out questions per language.
    held_out_pairs (int): Sentences of `dev` held out.
    """

    alignment: Path | None = None
    parallel: Path | None = None
    exclude: list[str] = []
    plain: list[str] = []
    names: dict[str, str] = {}
    dev: str = "flores_dev"
    english: str = "embedded"
    tag: PositiveInt = 20000
    held_out_names: float = Field(default=0.1, ge=0.0, lt=1.0)
    held_out_questions: NonNegativeInt = 150
    held_out_pairs: NonNegativeInt = 200


class Mix(Section):
    """What the examples are made of. Shares are 0.0 to 1.0.

    alignment (Dict[str, int]): Alignment examples per language.
    parallel (Dict[str, int]): Parallel sentences per language, those with many
        names first. Each asks for its translation and its names.
    short (Dict[str, int]): How many of them, per language, have no names.
    composite (float): Share of alignment examples that are two or three
        shuffled sentences without brackets. Records put the name first, so
        without composites a model learns to answer with the first words.
    several (float): Share made of sentences in which several names are known.
        The rest are single sentences as they stand.
    none (float): Share of names asked for that are not in the text.
    traditional (float): Share of Chinese texts in traditional characters.
    names (Dict[str, int]): Lists of names per language, from alignment records
        and dictionaries: to translate, and to find names in by their sound.
    glossary (float): Share of translations that are given some of the names.
    dictionary (float): Share of translations that are given what the dictionary
        finds in the text, as it would be in use, mistakes included.
    max_questions (int): Most names asked for in one example.
    max_chars (int): Longest source text; longer ones are left out.
    """

    alignment: dict[str, NonNegativeInt] = {}
    parallel: dict[str, NonNegativeInt] = {}
    short: dict[str, NonNegativeInt] = {}
    names: dict[str, NonNegativeInt] = {}
    composite: float = Field(default=0.4, ge=0.0, le=1.0)
    several: float = Field(default=0.3, ge=0.0, le=1.0)
    none: float = Field(default=0.07, ge=0.0, le=1.0)
    traditional: float = Field(default=0.4, ge=0.0, le=1.0)
    glossary: float = Field(default=0.1, ge=0.0, le=1.0)
    dictionary: float = Field(default=0.0, ge=0.0, le=1.0)
    max_questions: PositiveInt = 6
    max_chars: PositiveInt = 220


class Model(Section):
    """The base model.

    name (Optional[str]): Folder or name of any causal LLM of transformers;
        None for the one that comes with this package.
    """

    name: str | None = None


class Lora(Section):
    """The adapter (Hu et al., arXiv 2106.09685).

    rank, alpha (int): Rank of the update, and its scale times the rank.
    dropout (float): Of the adapter's inputs.
    modules (Union[str, List[str]]): Names of the linear layers to adapt;
        "all-linear" for all but the vocabulary head.
    initial (Optional[Path]): An adapter to go on from, of the same base.
    """

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    modules: str | list[str] = "all-linear"
    initial: Path | None = None


class Training(Section):
    """The loop.

    seed (int): Decides examples, order and initial weights.
    steps (int): Optimizer steps.
    batch_tokens (int): Most tokens in a batch, padding counted in.
    accumulate (int): Batches per step and process.
    learning_rate (float): The highest; reached after `warmup` steps, held, and
        taken down to 0.0 linearly over the last `decay` steps.
    max_grad_norm (float): Longest gradient, longer ones are scaled down.
    weights (Dict[str, float]): What a token of each kind of answer counts:
        "alignment", "translation", "terms"; 1.0 where it is not said.
    vocabulary (str): What the answers' tokens are told from: "full", or
        "corpus" for the tokens that occur in the examples, which is faster
        where the vocabulary head is a large part of the model.
    precision (str): "bf16" (autocast) or "no".
    checkpoint_minutes (float): Time between checkpoints.
    evaluate_steps (int): Steps between evaluations on what is held out, 0 for none
        but the last.
    """

    seed: int = 0
    steps: PositiveInt = 500
    batch_tokens: PositiveInt = 1024
    accumulate: PositiveInt = 2
    learning_rate: float = Field(default=5e-4, gt=0.0)
    warmup: NonNegativeInt = 20
    decay: NonNegativeInt = 200
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    weights: dict[Literal["alignment", "translation", "terms"], NonNegativeFloat] = {
        "alignment": 1.0,
        "translation": 0.5,
        "terms": 0.5,
    }
    vocabulary: Literal["full", "corpus"] = "full"
    precision: Literal["bf16", "no"] = "bf16"
    checkpoint_minutes: NonNegativeFloat = 5.0
    evaluate_steps: NonNegativeInt = 0


class Output(Section):
    """Where the results go.

    path (Path): A folder: examples, checkpoints, loss curve and the adapter. If it has
        checkpoints of the same config, training goes on from the last.
    """

    path: Path


class TuneConfig(Section):
    """A whole config. `paths` only holds variables for the others."""

    paths: dict[str, Any] = {}
    corpora: Corpora
    mix: Mix
    model: Model = Model()
    lora: Lora = Lora()
    training: Training = Training()
    output: Output


_Typed = TypeVar("_Typed", bound=Section)


def read_config(config: Config, schema: type[_Typed]) -> _Typed:
    """Check a config.

    config (Config): With variables interpolated.
    schema (Type[Section]): What it must be: `TuneConfig`, or another one.
    RETURNS (Section): The same, typed, defaults filled in.
    RAISES (ConfigValidationError): Says which setting is wrong.
    """
    try:
        return schema.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigValidationError(
            config=config,
            errors=[{"loc": e["loc"], "msg": e["msg"]} for e in error.errors()],
            title="Tuning config",
        ) from None


def goes_on(stored: Path, decisive: dict[str, Any]) -> bool:
    """Whether an output folder holds a run that can go on.

    stored (Path): Where a run stores its settings, in its output folder.
    decisive (Dict[str, Any]): The settings that must be the same.
    RETURNS (bool): Whether there is one.
    RAISES (ValueError): If there is one with other settings.
    """
    if not stored.is_file():
        return False
    if json.loads(stored.read_text(encoding="utf-8")) != decisive:
        raise ValueError(
            f"{stored.parent} holds a run with other settings. Take another folder with --output, or remove"
            " that run with --restart."
        )
    return True
