"""CTranslate2 against the same models in torch."""

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_eat.llm.ctranslate2 import make_ctranslate2
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.forms import AlignmentForm
from spacy_eat.llm.local import LocalBackend
from spacy_eat.llm.prompts import LLMError, Prompt
from spacy_eat.weights.gemma import base_files, model_dir

from .test_huggingface import make as make_huggingface
from .tiny import (
    NAMES,
    TEXTS,
    alignments,
    ask,
    convert,
    parse_names,
    placements,
    save_model,
    translations,
)

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra 'ctranslate2'")
torch = pytest.importorskip("torch", reason="converting needs torch")
transformers = pytest.importorskip("transformers", reason="needs the extra 'ctranslate2'")


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


def make(folder: Path, **settings: Any) -> LocalBackend:
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
        if not isinstance(prompt.completion, AlignmentForm):
            assert str(a) == str(b)
        else:
            assert_alike(a, b)
    assert [(a.usage.prompt_tokens, a.usage.completion_tokens) for a in ours] == [
        (b.usage.prompt_tokens, b.usage.completion_tokens) for b in theirs
    ]


def test_places_of_markers_are_those_of_torch(tiny: tuple[Path, Path]) -> None:
    source, converted = tiny
    ours = ask(make(converted), placements())
    theirs = ask(make_huggingface(source), placements())
    for a, b in zip(ours, theirs, strict=True):
        found, expected = json.loads(a), json.loads(b)
        assert [pair[:2] for pair in found] == [pair[:2] for pair in expected]
        assert [pair[2] for pair in found] == pytest.approx([pair[2] for pair in expected], abs=0.01)


def test_out_of_memory_means_smaller_batches(
    tiny: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = translations()
    expected = ask(make(tiny[1]), prompts)
    model = make(tiny[1], batch_invariant=False)
    engine, sizes = model.load().engine, []
    longest = max(len(model.load().job(0, prompt).tree) for prompt in prompts)

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


@pytest.mark.model
def test_the_real_model_answers_as_in_torch(tuned: Path) -> None:
    prompts = [translations()[1], alignments()[0]]
    english, ours = ask(make(tuned, tuned=True), prompts)
    expected, theirs = ask(make_embedded(dtype="float32"), prompts)
    assert english == expected
    best = [[ranked[0] for ranked in parse_names(answer)] for answer in (ours, theirs)]
    assert best[0] == best[1]
    assert len(best[0]) == len(NAMES) and all(answer in TEXTS[0] for answer in best[0])
