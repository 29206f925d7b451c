"""A run of `tune-aligner` that is stopped, and goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confection import Config

from spacy_eat.training.aligner.loop import Loop
from spacy_eat.training.aligner.tune import tune_aligner


def check_resumed(
    config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, past: int = 0
) -> None:
    """Check that a run which is stopped half way ends as one that is not.

    config (Dict[str, Any]): Of the run.
    folder (Path): For the one that is stopped.
    past (int): Steps after the middle at which it is.
    """
    whole = tune_aligner(Config(config))
    config["output"]["path"] = str(folder)
    step = Loop._step

    def stops(self: Any, *args: Any) -> float:
        if self.state.step == len(whole.losses) // 2 + past:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Loop, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        tune_aligner(Config(config))
    monkeypatch.setattr(Loop, "_step", step)
    resumed = tune_aligner(Config(config))
    assert len(resumed.losses) == len(whole.losses)
    assert np.allclose(resumed.losses, whole.losses, atol=1e-3) and resumed.scores == whole.scores
