"""The loop in which aligners are trained: steps, epochs, checkpoints."""

import json
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...weights.devices import likes_bfloat16
from ..batches import batch_order
from .config import Training
from .data import Bilingual, readable_sides

MEASURE = "log loss"  # the score of an epoch that chooses it, the lower the better


_Pair = TypeVar("_Pair", bound=Bilingual)


@dataclass
class State:
    """Where a run stands.

    step (int): Optimizer steps done.
    seconds (float): Time spent on them.
    losses (List[float]): Of each step.
    scores (List[Dict[str, float]]): Of each epoch, on what is held out.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)


class Loop(ABC, Generic[_Pair]):
    """One run: module, optimizer, and place in the data. What is trained says what an example costs, how good
    an epoch is, and how it is written."""

    def __init__(
        self, module: nn.Module, tokenizer: Any, max_length: int, training: Training, folder: Path
    ) -> None:
        """
        module (Module): What is trained: what of it needs gradients, its `encoder` at a rate of its own.
        tokenizer (PreTrainedTokenizerFast): Its encoder's.
        max_length (int): Most pieces that it reads together.
        training (Training): The settings of the loop.
        folder (Path): For checkpoint, scores and weights.
        """
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = module.to(self.device)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.training = training
        self.folder = folder
        self.state = State()
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self.parameters = dict(named)
        groups = [
            {"params": [p for n, p in named if n.startswith("encoder.")], "rate": training.learning_rate},
            {
                "params": [p for n, p in named if not n.startswith("encoder.")],
                "rate": training.head_learning_rate,
            },
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, weight_decay=0.01)

    @abstractmethod
    def loss(self, examples: Sequence[_Pair]) -> Tensor | None:
        """RETURNS (Optional[Tensor]): What examples cost; None if nothing is to be learnt of them."""

    @abstractmethod
    def measure(self, test: Sequence[_Pair]) -> dict[str, float]:
        """RETURNS (Dict[str, float]): Scores on what is held out, with "log loss"."""

    @abstractmethod
    def write(self) -> None:
        """Write what was trained, as it was when last measured."""

    def run(self, train: Sequence[_Pair], test: Sequence[_Pair]) -> State:
        """Train, and write the weights of the epoch that is best on what is held out.

        train, test (Sequence[_Pair]): What to train on, and what is held out.
        RETURNS (State): The end.
        """
        training, lengths = self.training, self.lengths(train)
        epochs = [
            batch_order(lengths, training.batch_pieces, training.seed + epoch)
            for epoch in range(training.epochs)
        ]
        steps = sum(map(len, epochs))
        self._load_checkpoint()
        state, saved, step = self.state, time.monotonic(), 0
        bar = tqdm(total=steps, initial=state.step, unit="step", disable=None)
        for epoch, groups in enumerate(epochs, 1):
            for group in groups:
                step += 1
                if step <= state.step:
                    continue
                begun = time.monotonic()
                loss = self._step([train[i] for i in group], _rate(step, steps, training.warmup))
                if not math.isfinite(loss):
                    raise ValueError(f"The loss is {loss} at step {step}: lower training.learning_rate")
                state.step = step
                state.seconds += time.monotonic() - begun
                state.losses.append(round(loss, 4))
                bar.set_postfix(loss=f"{np.mean(state.losses[-20:]):.3f}", refresh=False)
                bar.update()
                if time.monotonic() - saved > 60 * training.checkpoint_minutes:
                    self._save_checkpoint()
                    saved = time.monotonic()
            if len(state.scores) < epoch:
                self._finish_epoch(test)
                bar.write(json.dumps(state.scores[-1]))
        bar.close()
        return state

    def _step(self, examples: Sequence[_Pair], rate: float) -> float:
        """One optimizer step. RETURNS (float): The loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rate
        self.module.train()
        loss = self.loss(examples)
        if loss is None:
            return 0.0
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _finish_epoch(self, test: Sequence[_Pair]) -> None:
        """Score an epoch, and write its weights if none before it was better."""
        scores = self.measure(test)
        best = min((score[MEASURE] for score in self.state.scores), default=math.inf)
        self.state.scores.append(scores)
        if scores[MEASURE] <= best:
            self.write()
        self._save_checkpoint()

    def autocast(self) -> torch.autocast:
        """RETURNS (autocast): With bfloat16 where the device is fast with it."""
        likes = likes_bfloat16(self.device.type)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=likes)

    def lengths(self, examples: Sequence[_Pair]) -> list[tuple[int, int]]:
        """Pieces of each example's two sides, at most those of a window."""
        source, english = (
            self.tokenizer(texts)["input_ids"] if texts else [] for texts in readable_sides(examples)
        )
        longest = self.max_length
        return [
            (min(len(here), longest), min(len(there), longest))
            for here, there in zip(english, source, strict=True)
        ]

    def _save_checkpoint(self) -> None:
        from safetensors.torch import save_file

        tensors = {f"parameter.{name}": p.detach() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            for key, value in self.optimizer.state[p].items():
                tensors[f"optimizer.{name}:{key}"] = torch.as_tensor(value)
        tensors["rng"] = torch.get_rng_state()
        partial = self.folder / "checkpoint.partial"
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, partial)
        text = json.dumps(asdict(self.state))
        (self.folder / "state.json").write_text(text + "\n", encoding="utf-8")
        shutil.move(partial, self.folder / "checkpoint.safetensors")

    def _load_checkpoint(self) -> None:
        """Go on from the checkpoint, if there is one."""
        from safetensors.torch import load_file

        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            return
        tensors = load_file(path)
        self.state = State(**json.loads((self.folder / "state.json").read_text(encoding="utf-8")))
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[f"parameter.{name}"])
            prefix = f"optimizer.{name}:"
            self.optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device if value.ndim else "cpu")
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
        torch.set_rng_state(tensors["rng"])


def _rate(step: int, steps: int, warmup: float) -> float:
    """The share of the highest learning rate at a step, from 1 on."""
    rising = step / max(1.0, warmup * steps)
    return min(1.0, rising, max(0.02, (steps - step) / max(1.0, (1 - warmup) * steps)))
