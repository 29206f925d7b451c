"""`spacy_eat.EnglishPipeline.v1`: entities of English text, by any spaCy pipeline that sets `doc.ents`."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import get_package_path, is_package, load_config
from thinc.api import set_active_gpu, use_ops
from thinc.util import has_gpu

from ..llm.cache import RequestCache, digest
from ..optional import missing
from ..types import Span, Text
from ..weights import EN_NER
from ..weights.prepare import fingerprint

EMBEDDED = "embedded"
_Entity = tuple[str, int, int, float]  # label, start, end, score


class EnglishPipeline:
    """An English spaCy pipeline, loaded when it is first needed."""

    def __init__(
        self,
        name: str | None = EMBEDDED,
        *,
        label_map: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
        gpu_id: int = -1,
        batch_size: int = 256,
        cache: str | None = None,
        cache_size_mb: float = 1024,
    ) -> None:
        """
        name (Optional[str]): Package, path, or "embedded" for the model that
            comes with this package.
        label_map (Optional[Mapping[str, str]]): English labels with the label to
            set on the source doc. Entities with other labels are left out.
            None keeps all labels as they are.
        exclude (Sequence[str]): Components not to load: what NER does not need.
        gpu_id (int): The GPU to run on, -1 for the CPU.
        batch_size (int): Sentences per batch.
        cache (Optional[str]): File of the request cache, where the entities of a
            text are kept too, found by the pipeline's files. "auto" for the one
            in the user's cache folder, None for no cache.
        cache_size_mb (float): Its size bound in megabytes.
        RAISES (ImportError): If the model that comes with this package is asked for, and what it needs is not
            installed: this is told before a request is paid for.
        """
        self.name = name or EMBEDDED
        absent = [package for package in ("torch", "transformers") if find_spec(package) is None]
        if self.name == EMBEDDED and absent:
            reason = f"there is no {absent[0]}; or set `tagger.name` to another English pipeline"
            raise missing(reason, extra="english", purpose="The English NER")
        self.label_map = None if label_map is None else dict(label_map)
        self.exclude = list(exclude)
        self.gpu_id = gpu_id
        self.batch_size = batch_size
        self.cache = RequestCache.from_config(cache, cache_size_mb)
        self._nlp: Language | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights do not travel: another process loads its own.
        return {**self.__dict__, "_nlp": None}

    def __call__(self, texts: Sequence[Text]) -> list[list[Span]]:
        """Find the entities of English texts.

        texts (Sequence[Text]): The texts.
        RETURNS (List[List[Span]]): For each text its entities, in order. Their scores are those of a span
            group of the pipeline's that has `attrs["scores"]`, 1.0 where there is none.
        RAISES (ValueError): If the pipeline cannot be loaded or does not fit the
            label map.
        """
        found = self._found([text.string for text in texts]) if texts else []
        return [
            [
                Span(start, end, mapped, score, self.name)
                for label, start, end, score in spans
                if (mapped := self._label(label)) is not None
            ]
            for spans in found
        ]

    def _found(self, texts: Sequence[str]) -> list[list[_Entity]]:
        """The entities of each text, from the cache where it has them."""
        if self.cache is None:
            return self._tag(texts)
        keys = {text: digest("english", "scored", self._identity, text) for text in texts}
        known = {key: json.loads(spans) for key, spans in self.cache.get(list(keys.values())).items()}
        missing = [text for text, key in keys.items() if key not in known]
        if missing:
            fresh = {keys[text]: spans for text, spans in zip(missing, self._tag(missing), strict=True)}
            self.cache.put({key: json.dumps(spans) for key, spans in fresh.items()})
            known.update(fresh)
        return [known[keys[text]] for text in texts]

    def _tag(self, texts: Sequence[str]) -> list[list[_Entity]]:
        """The entities of each text."""
        with on_device(self.gpu_id):
            return [_entities(doc) for doc in self.nlp.pipe(texts, batch_size=self.batch_size)]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that it may set, the label map applied, as the files of the
        pipeline tell: nothing is loaded for it. Empty if they do not tell."""
        return tuple(dict.fromkeys(filter(None, map(self._label, self._own_labels()))))

    def _own_labels(self) -> list[str]:
        """RETURNS (List[str]): The labels of the components that set entities.
        RAISES (ValueError): If there is no such pipeline."""
        source = self._source()
        path = get_package_path(source) if isinstance(source, str) else source
        # A package has its pipeline in a folder within.
        folders = [path, *sorted(path.glob("*/"))]
        files = [(folder / "meta.json", folder / "config.cfg") for folder in folders]
        there = next(((meta, config) for meta, config in files if meta.is_file() and config.is_file()), None)
        if there is None:
            return []
        components = load_config(there[1]).get("components", {})
        labels = srsly.read_json(there[0]).get("labels", {})
        return sorted(
            {
                label
                for name, component in components.items()
                if _sets_ents(component.get("factory", name)) and isinstance(labels.get(name), list)
                for label in labels[name]
            }
        )

    @property
    def nlp(self) -> Language:
        """The pipeline. The first access loads it."""
        if self._nlp is None:
            with on_device(self.gpu_id):
                self._nlp = self._load()
        return self._nlp

    @cached_property
    def _identity(self) -> list[Any]:
        """What decides the entities of a text. The pipeline need not be loaded for it."""
        source = self._source()
        path = get_package_path(source) if isinstance(source, str) else source
        return [fingerprint(path), sorted(self.exclude)]

    def _source(self) -> str | Path:
        """What `spacy.load` takes: the name of a package, or a path.

        RAISES (ValueError): If there is no such pipeline."""
        if self.name == EMBEDDED:
            return EN_NER
        if is_package(self.name):
            return self.name
        if Path(self.name).exists():
            return Path(self.name)
        raise ValueError(
            f"The English pipeline '{self.name}' is neither an installed package nor a path. Install "
            f"it (for spaCy's own models: python -m spacy download {self.name}), or set "
            '`tagger.name` of "eat_entity_aligner" to the name or path of another pipeline.'
        )

    def _label(self, label: str) -> str | None:
        return label if self.label_map is None else self.label_map.get(label)

    def _load(self) -> Language:
        nlp = spacy.load(self._source(), exclude=self.exclude)
        taggers = [name for name in nlp.pipe_names if _sets_ents(nlp.get_pipe_meta(name).factory)]
        if not taggers:
            raise ValueError(
                f"The English pipeline '{self.name}' has no component that sets doc.ents "
                f"(it has: {', '.join(nlp.pipe_names) or 'none'}). Set `tagger.name` to one with an NER."
            )
        self._check_label_map({label for name in taggers for label in nlp.pipe_labels.get(name, ())})
        return nlp

    def _check_label_map(self, labels: Collection[str]) -> None:
        """RAISES (ValueError): If the label map names labels that the pipeline does not have."""
        unknown = sorted(set(self.label_map or ()) - set(labels))
        if labels and unknown:
            raise ValueError(
                f"`tagger.label_map` has labels that the English pipeline '{self.name}' does not set: "
                f"{', '.join(unknown)}. It sets: {', '.join(sorted(labels))}."
            )


@contextmanager
def on_device(gpu_id: int) -> Iterator[None]:
    """Run on a GPU, and leave all other pipelines where they are.

    gpu_id (int): Its number, -1 for the CPU.
    RAISES (ValueError): If there is none.
    """
    if gpu_id < 0:
        yield
        return
    if not has_gpu:
        raise ValueError(
            f"`tagger.gpu_id` is {gpu_id}, but no GPU can be used. Install spaCy with its GPU "
            'extra (`pip install "spacy[cuda12x]"`), or set it to -1 for the CPU.'
        )
    with use_ops("cupy"):
        set_active_gpu(gpu_id)
        yield


def _entities(doc: Doc) -> list[_Entity]:
    """The entities of a doc, with their scores where a span group has them in its `attrs["scores"]`."""
    scores = {
        (span.start_char, span.end_char, span.label_): float(score)
        for group in doc.spans.values()
        for span, score in zip(group, group.attrs.get("scores", ()), strict=False)
    }
    places = [(ent.label_, ent.start_char, ent.end_char) for ent in doc.ents if ent.text.strip()]
    return [
        (label, start, end, round(scores.get((start, end, label), 1.0), 4)) for label, start, end in places
    ]


def _sets_ents(factory: str) -> bool:
    """Whether components of a factory set entities."""
    if not Language.has_factory(factory):
        return False
    assigns = Language.get_factory_meta(factory).assigns
    return any(attribute.startswith(("doc.ents", "token.ent_")) for attribute in assigns)


def make_english_pipeline(
    name: str | None = EMBEDDED,
    label_map: dict[str, str] | None = None,
    exclude: list[str] | None = None,
    gpu_id: int = -1,
    batch_size: int = 256,
    cache: str | None = None,
    cache_size_mb: float = 1024,
) -> EnglishPipeline:
    """`spacy_eat.EnglishPipeline.v1` (misc): see `EnglishPipeline`. It is loaded at the first text; what can
    be told before that it does not fit is.

    RAISES (ValueError): If there is no such pipeline, or the label map does not fit it.
    """
    pipeline = EnglishPipeline(
        name,
        label_map=label_map,
        exclude=exclude or (),
        gpu_id=gpu_id,
        batch_size=batch_size,
        cache=cache,
        cache_size_mb=cache_size_mb,
    )
    pipeline._check_label_map(pipeline._own_labels())
    return pipeline
