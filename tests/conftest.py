"""Fixtures: a scripted LLM, a scripted English pipeline, and the development data."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Iterable  # noqa: UP035  (spacy-llm looks for typing's own Iterable)

import pytest
import spacy
from spacy.language import Language
from spacy_llm.registry import registry

from .browser import chromium, no_faults, open_page

__all__ = ["chromium", "no_faults", "open_page"]  # fixtures

TESTS = Path(__file__).parent
# What whole folders and files are, see `markers` in pyproject.toml. Single tests have decorators.
MARKS = {
    "annotate/test_annotate_faults.py": "slow",
    "components/test_token_classifier.py": "slow",
    "encoders": "model",
    "llm/test_ctranslate2.py": "slow",
    "llm/test_embedded.py": "model",
    "llm/test_embedded_over_http.py": "model",
    "llm/test_faults.py": "slow",
    "llm/test_huggingface.py": "slow",
    "llm/test_torch_engine.py": "slow",
    "project": "project",
    "test_embedded_pipeline.py": "model",
    "training/students/test_lexicon.py": "model",
    "training/aligner/test_tune.py": "slow",
    "training/aligner/test_words.py": "slow",
    "training/tuning": "slow",
    "weights/test_e5.py": "model",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the folder or file they are in."""
    for item in items:
        place = item.path.relative_to(TESTS)
        for folder in (place, *place.parents):
            if (mark := MARKS.get(folder.as_posix())) is not None:
                item.add_marker(mark)


DATA = Path(os.environ.get("SPACY_EAT_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def data() -> Path:
    """The development data. Where CI is set, tests that need it are skipped only if SPACY_EAT_DATA is "none",
    or the folder that it should be in is not there at all."""
    if not (DATA / "gold").is_dir():
        expected = Path("none") != DATA and ("SPACY_EAT_DATA" in os.environ or DATA.parent.is_dir())
        tell = pytest.fail if os.environ.get("CI") and expected else pytest.skip
        tell(f"no development data in {DATA} (set SPACY_EAT_DATA)")
    return DATA


class ScriptedLLM:
    """Answers by rules a test gives, and remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.translations: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.raw: Callable[[str], str | None] = lambda prompt: None

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        return [[self.answer(prompt) for prompt in group] for group in prompts]

    def answer(self, prompt: str) -> str:
        self.prompts.append(prompt)
        raw = self.raw(prompt)
        if raw is not None:
            return raw
        if "\nNames: " in prompt:
            names = json.loads(prompt.rsplit("\nNames: ", 1)[1].split("\n")[0])
            return json.dumps({name: self.names.get(name) for name in names}, ensure_ascii=False)
        text = prompt.rsplit("\nEnglish:", 1)[0].rsplit(": ", 1)[1]
        return self.translations.get(text, f"Nothing is known of {len(text)} characters.")


@pytest.fixture
def llm() -> ScriptedLLM:
    """The model behind `{"@llm_models": "test.Scripted"}`."""
    model = ScriptedLLM()
    registry.llm_models.register("test.Scripted", func=lambda: model)
    return model


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English pipeline on disk that tags a few names. Its language is "xx", which is loaded ten times as
    fast as "en": its tokenizer has no exceptions."""
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    names = {
        "PER": ["Liu Chuanzhi", "Tanaka", "Obama"],
        "LOC": ["Beijing", "Kyoto", "Tokyo", "Tokyo Metropolis"],
        "ORG": ["Lenovo Group", "NHK", "Kyoto University"],
    }
    ruler.add_patterns([{"label": label, "pattern": name} for label in names for name in names[label]])
    path = tmp_path_factory.mktemp("pipeline") / "english"
    nlp.to_disk(path)
    return path


def merged(settings: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with others over them."""
    both = {**settings, **more}
    shared = (key for key in settings.keys() & more.keys() if isinstance(settings[key], dict))
    return both | {key: merged(settings[key], more[key]) for key in shared}


@pytest.fixture
def make_nlp(llm: ScriptedLLM, english: Path) -> Callable[..., Language]:
    """A pipeline with both components on the scripted LLM and English pipeline; no tagger on the source.

    lang (str): Language. aligner (dict), translator (dict): further settings.
    """

    def make(
        lang: str = "zh", translator: Any = (), aligner: Any = (), nlp: Language | None = None
    ) -> Language:
        nlp = nlp or spacy.blank(lang)
        model = {"@llm_models": "test.Scripted"}
        nlp.add_pipe("eat_translator", config={"model": model, **dict(translator)})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        nlp.add_pipe(
            "eat_entity_aligner",
            config=merged(
                {"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
                dict(aligner),
            ),
        )
        return nlp

    return make
