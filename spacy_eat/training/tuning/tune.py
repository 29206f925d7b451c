"""Tuning from a config: corpora, examples, model, loop."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from confection import Config
from wasabi import msg

from .batches import Encoded, encode
from .config import TuneConfig, goes_on, read_config
from .corpora import Built, build, read_built, write_built
from .data import Example
from .lora import MISSING, State, Tuner, checkpoints, load_model

EMBEDDED_NAME = "gemma-3-270m"


def tune(config: Config, *, restart: bool = False, build_only: bool = False) -> State | None:
    """Build the examples, train the adapter, write it to `output.path`/adapter.

    If the output folder holds a run of the same config, it goes on from its
    last checkpoint with the examples it began with.

    config (Config): See `configs/tune_embedded.cfg`.
    restart (bool): Remove what the output folder holds of an earlier run.
    build_only (bool): Stop when the examples are built.
    RETURNS (Optional[State]): The end of the run; None with `build_only`.
    RAISES (ValueError): If the config is wrong, or the output folder holds the
        run of another one.
    """
    settings = read_config(config, TuneConfig)
    folder = settings.output.path
    if restart:
        for path in [folder / "config.json", *checkpoints(folder)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    name, base_name = base_model(settings.model.name)
    built = _examples(settings, folder)
    for step, counts in built.counts.items():
        msg.text(f"{step}: {', '.join(f'{value} {key}' for key, value in counts.items())}")
    msg.info(
        f"{len(built.train)} examples, {sum(len(e.questions) for e in built.train)} questions; held out: "
        + ", ".join(f"{len(examples)} {name}" for name, examples in built.tests.items())
    )
    if build_only:
        return None
    tokenizer = load_tokenizer(name)
    model = load_model(name, settings.lora, settings.training.seed)

    def encoded(examples: list[Example]) -> list[Encoded]:
        return [encode(example, tokenizer) for example in examples]

    tests = {key: encoded(examples) for key, examples in built.tests.items()}
    tuner = Tuner(model, encoded(built.train), tests, settings.training, folder, base_name)
    state = tuner.run()
    speed = f"{state.tokens / max(state.seconds, 1e-9):.0f} tokens a second"
    msg.good(f"Adapter in {folder / 'adapter'}: {state.step} steps, {speed}, {peak_memory()} at most")
    return state


def peak_memory() -> str:
    """The most memory that this process has had: the GPU's if it used one, else
    its own."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the GPU"
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return "unknown memory"
    peak = getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"{peak / 1e9:.1f} GB of memory"


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model.

    name (str): Folder or name of a causal LLM of transformers.
    """
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError as error:
        raise ImportError(MISSING) from error

    if (Path(name) / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(name)
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def base_model(name: str | None) -> tuple[str, str]:
    """What to load, and what an adapter's config says it belongs to.

    name (Optional[str]): Folder or name of a causal LLM of transformers, None for the embedded one.
    """
    if name is not None:
        return name, name
    from ...weights.gemma import BASE, model_dir

    return str(model_dir(None)), BASE


def _examples(settings: TuneConfig, folder: Path) -> Built:
    """The examples of a run that goes on, or new ones.

    RAISES (ValueError): If the folder holds the run of another config.
    """
    decisive = settings.model_dump(mode="json", include={"corpora", "mix", "model", "lora", "training"})
    for free in ("steps", "decay", "checkpoint_minutes", "evaluate_steps"):  # may change on the way
        del decisive["training"][free]
    stored = folder / "config.json"
    if goes_on(stored, decisive):
        return read_built(folder)
    built = build(settings.corpora, settings.mix, settings.training.seed)
    write_built(built, folder)
    stored.write_text(json.dumps(decisive, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return built
