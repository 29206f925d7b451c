"""CTranslate2 against the same models in torch."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm import ctranslate2 as backend
from spacy_eat.llm.ctranslate2 import CTranslate2, make_ctranslate2
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.prompts import LLMError, Prompt
from spacy_eat.weights.gemma import base_files, model_dir

from .test_huggingface import NAMES, TEXTS, alignments, ask, parse_names, save_model, translations
from .test_huggingface import make as make_huggingface

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra 'ctranslate2'")
torch = pytest.importorskip("torch", reason="converting needs torch")
transformers = pytest.importorskip("transformers", reason="needs the extra 'ctranslate2'")


def convert(source: Path, target: Path) -> Path:
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        def load_model(self, model_class: Any, name: str, dtype: Any = None, **settings: Any) -> Any:
            return model_class.from_pretrained(name, torch_dtype=dtype, **settings)  # `dtype` is newer

    Converter(str(source), copy_files=["tokenizer.json", "tokenizer_config.json"]).convert(str(target))
    template = source / "chat_template.jinja"
    if template.is_file():
        (target / template.name).write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    return target


@pytest.fixture(scope="module", params=["chat", "base"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random model, as it is and converted."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = {"template": None} if request.param == "base" else {}
    source = save_model(folder / "torch", **settings)
    return source, convert(source, folder / "converted")


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, converted."""
    try:
        base_files()
    except ImportError as error:
        pytest.skip(str(error))
    return convert(model_dir(), tmp_path_factory.mktemp("tuned") / "converted")


def make(folder: Path, **settings: Any) -> CTranslate2:
    defaults = {"cache": None, "device": "cpu", "compute_type": "float32", "threads": 1, "max_tokens": 12}
    return make_ctranslate2(str(folder), **{**defaults, **settings})


def assert_alike(ours: str, theirs: str) -> None:
    assert parse_names(ours) == parse_names(theirs)
    for a, b in zip(json.loads(ours), json.loads(theirs), strict=True):
        assert [score for _, score in a] == pytest.approx([score for _, score in b], abs=0.01)


def test_answers_are_those_of_torch(tiny: tuple[Path, Path]) -> None:
    source, converted = tiny
    chats = [Prompt(text) for text in ("Beijing", "京都", "!", "a", "Liu Chuanzhi", "x y z")]
    prompts = [*translations(), *chats, *alignments()]
    ours, theirs = ask(make(converted), prompts), ask(make_huggingface(source), prompts)
    for a, b, prompt in zip(ours, theirs, prompts, strict=True):
        assert type(a) is type(b)
        if prompt.completion is None or prompt.completion.source is None:
            assert str(a) == str(b)
        else:
            assert_alike(a, b)
    assert [(a.usage.prompt_tokens, a.usage.completion_tokens) for a in ours] == [
        (b.usage.prompt_tokens, b.usage.completion_tokens) for b in theirs
    ]


def test_out_of_memory_means_smaller_batches(
    tiny: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = translations()
    expected = ask(make(tiny[1]), prompts)
    model = make(tiny[1])
    engine, sizes = model.load(), []
    longest = max(len(engine.forms.job(0, prompt).tokens) for prompt in prompts)

    class SmallMemory:
        def __init__(self, generator: Any) -> None:
            self.generator = generator

        def generate_batch(self, rows: Any, **settings: Any) -> Any:
            sizes.append(settings["max_batch_size"])
            if sizes[-1] > 2 * longest or any(len(row) == longest for row in rows):
                raise RuntimeError("CUDA failed with error out of memory")
            return self.generator.generate_batch(rows, **settings)

    engine.model = SmallMemory(engine.model)
    answers = ask(model, prompts)
    [failed] = [i for i, answer in enumerate(answers) if "memory" in str(answer)]
    assert isinstance(answers[failed], LLMError) and not answers[failed].retryable
    del answers[failed], expected[failed]
    assert list(map(str, answers)) == list(map(str, expected))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] <= 2 * longest


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no model\.bin and no tokenizer\.json: convert"):
        ask(make(tmp_path), ["a"])
    for setting in ({"form": "poem"}, {"max_tokens": 0}, {"beam_width": 0}, {"batch_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            make(tmp_path, **setting)


def test_pickles_and_identity(
    tiny: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "requests.sqlite")
    model = make(tiny[1], cache=cache)
    prompts = alignments()[:2]  # always answered; a text that is cut off is not kept
    answers = ask(model, prompts)
    again = pickle.loads(pickle.dumps(model))
    monkeypatch.setattr(backend, "Engine", None)  # a cached run loads no model
    assert ask(again, prompts) == answers
    assert json.dumps(again.identity) == json.dumps(model.identity)
    assert make(tiny[1], tuned=True).identity != make(tiny[1]).identity


def test_the_real_model_answers_as_in_torch(tuned: Path) -> None:
    prompts = [translations()[1], alignments()[0]]
    english, ours = ask(make(tuned, tuned=True), prompts)
    expected, theirs = ask(make_embedded(dtype="float32", draft=False), prompts)
    assert english == expected
    best = [[ranked[0] for ranked in parse_names(answer)] for answer in (ours, theirs)]
    assert best[0] == best[1]
    assert len(best[0]) == len(NAMES) and all(answer in TEXTS[0] for answer in best[0])
