"""Pipelines by whatever name people have for them, and what they have spent."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import spacy
from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training.initialize import get_sourced_components

from . import languages
from .types import Usage


class PipelineError(Exception):
    """The fault is not with the docs: no such pipeline, a wrong setting, a server that is down."""


def load_pipeline(name: str) -> Language:
    """Load a pipeline by whatever name people have for it.

    name (str): A package or path as for `spacy.load`; a config file (.cfg), which
        is assembled as by `spacy assemble`; or a language code such as "zh", for a
        blank pipeline with the two EAT components as they come.
    RETURNS (Language): The pipeline.
    RAISES (PipelineError): If there is none of that name, or it cannot be loaded.
    """
    is_code = name.isalpha() and len(name) in (2, 3) and not Path(name).exists()
    if not (is_code or Path(name).exists() or util.is_package(name)):
        raise PipelineError(
            f"There is no pipeline {name!r}: no package, no path, and no language code. Install the package,"
            " or check the path"
        )
    try:
        if Path(name).suffix == ".cfg":
            return _assemble(Path(name))
        if not is_code:
            return spacy.load(name)
        nlp = blank(name)
        nlp.add_pipe("eat_translator")
        nlp.add_pipe("eat_entity_aligner")
        return nlp
    except (ImportError, OSError, ValueError) as error:  # wrong settings are ValueErrors
        raise PipelineError(f"The pipeline {name!r} cannot be loaded: {error}") from error


def _assemble(path: Path) -> Language:
    config = util.load_config(path, interpolate=False)
    nlp = util.load_model_from_config(config, auto_fill=True)
    sourced = get_sourced_components(config.interpolate())
    nlp._link_components()
    with nlp.select_pipes(disable=[*sourced]):
        nlp.initialize()
    return nlp


def blank(lang: str) -> Language:
    """A blank pipeline, for every language that spaCy knows. Where the language's own tokenizer needs a
    package that is not installed (Korean, Thai, Vietnamese ...), it has another one, and a warning says so:
    EAT splits the tokens that an entity begins or ends in.

    lang (str): Language code.
    RETURNS (Language): The pipeline.
    RAISES (ImportError): If spaCy does not know the language.
    """
    util.get_lang_class(lang)
    try:
        return spacy.blank(lang)
    except ImportError as error:
        missing = " ".join(str(error).split())
    # Where words are not set apart, a rule-based tokenizer would take a phrase for one.
    tokenizer = "spacy.Tokenizer.v1" if languages.load(lang).spaces else "spacy_eat.ClusterTokenizer.v1"
    warnings.warn(
        f"spaCy's tokenizer for {lang!r} is not installed; {tokenizer} takes its place ({missing})",
        stacklevel=2,
    )
    return spacy.blank(lang, config={"nlp": {"tokenizer": {"@tokenizers": tokenizer}}})


def pipe_each(nlp: Language, texts: Sequence[str | Doc], *, batch_size: int) -> list[Doc | Exception]:
    """Annotate texts together; where that fails, because a component cannot stand one of them, one by one.

    nlp (Language): Any pipeline.
    texts (Sequence[Union[str, Doc]]): Texts or docs.
    batch_size (int): Docs that go through a component together.
    RETURNS (List[Union[Doc, Exception]]): For each text its doc, or why it has none.
    """
    try:
        docs: list[Doc | Exception] = list(nlp.pipe(texts, batch_size=batch_size))
        if len(docs) == len(texts):  # an error handler may leave some out
            return docs
    except Exception:
        pass
    return [_doc_or_error(nlp, text) for text in texts]


def _doc_or_error(nlp: Language, text: str | Doc) -> Doc | Exception:
    try:
        return nlp(text)
    except Exception as error:
        return error


def usage_of(nlp: Language) -> dict[str, float]:
    """What the LLMs of a pipeline have spent so far, by the fields of `Usage`.

    nlp (Language): Any pipeline.
    RETURNS (Dict[str, float]): Sums over its models; zeros for models that do not tell.
    """
    models = (model for _, pipe in nlp.pipeline for model in _models_of(pipe))
    usages = (getattr(model, "usage", None) for model in models)
    found = {id(usage): usage for usage in usages if isinstance(usage, Usage)}
    return {f.name: sum(getattr(usage, f.name) for usage in found.values()) for f in fields(Usage)}


def _models_of(owner: Any) -> Iterator[Any]:
    """YIELDS (Any): The model of a component, and those of the aligners and taggers that it asks."""
    yield getattr(owner, "model", None)
    for part in (getattr(owner, "aligner", None), getattr(owner, "tagger", None)):
        if part is not None:
            yield from _models_of(part)
    for part in getattr(owner, "aligners", ()):
        yield from _models_of(part)
