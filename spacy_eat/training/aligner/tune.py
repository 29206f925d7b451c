"""Training the entity aligner from a config: sentences, network, loop, calibration."""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from confection import Config
from torch import Tensor
from tqdm import tqdm
from wasabi import msg

from ...alignment import network as networks
from ...alignment.network import Found, Network, Settings, Side, look, pieces_of
from ...encoders import readable
from ...encoders.pieces import Pieces
from ...weights.devices import likes_bfloat16
from ..batches import batch_order
from ..tuning.config import goes_on, read_config
from .config import AlignerConfig, Training
from .data import Example, build, hold_out, read_examples, with_missing, write_examples

# What is tried for calibration, on held-out pairs.
TEMPERATURES = (0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0)
REVERSES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
REVERSE_NONES = (-0.5, -1.0, -2.0, -3.0, -4.0, -6.0)
LEAST = math.log(1e-4)  # log-probability of a partner that is not among the options


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


class Asked(NamedTuple):
    """The pairs of a batch that both have pieces.

    texts (List[int]): The sentence of each.
    english, source (List[Tuple[int, int]], List[Optional[Tuple[int, int]]]): Their pieces.
    weights (List[float]): What they count.
    """

    texts: list[int]
    english: list[tuple[int, int]]
    source: list[tuple[int, int] | None]
    weights: list[float]


def tune_aligner(config: Config, *, restart: bool = False, build_only: bool = False) -> State | None:
    """Collect sentences, train an entity aligner on them, calibrate it, write it to `output.path`/aligner.

    config (Config): See `configs/tune_aligner.cfg`.
    restart (bool): Remove what the output folder holds of an earlier run.
    build_only (bool): Stop when the sentences are collected.
    RETURNS (Optional[State]): The end of the run; None with `build_only`.
    RAISES (ValueError): If the config is wrong, there is nothing to train on, or the output folder holds the
        run of another one.
    """
    settings = read_config(config, AlignerConfig)
    folder = settings.output.path
    folder.mkdir(parents=True, exist_ok=True)
    if restart:
        for name in ("config.json", "checkpoint.safetensors", "state.json"):
            (folder / name).unlink(missing_ok=True)
    train, test = _examples(settings, folder)
    pairs = sum(len(example.pairs) for example in train)
    msg.info(f"{len(train)} sentences with {pairs} pairs; held out: {len(test)}")
    if build_only:
        return None
    if not train or not test:
        raise ValueError("There are no sentences to train on and to choose by: see [corpora] of the config")
    torch.manual_seed(settings.training.seed)
    shape = Settings(**settings.model.model_dump(exclude={"initial"}))
    tokenizer, network = networks.build(shape)
    if settings.model.initial is not None:
        begin_from(network, settings.model.initial)
    trainer = Trainer(network, tokenizer, shape, settings.training, folder)
    state = trainer.run(train, test)
    msg.good(f"Entity aligner in {folder / 'aligner'}: {state.scores[-1]}")
    return state


def begin_from(network: Network, folder: Path) -> None:
    """Take the weights of an `eat_token_classifier` for what is to be trained of the encoder.

    network (Network): The network.
    folder (Path): The classifier's folder, or that of its weights.
    RAISES (ValueError): There are none, or of another encoder.
    """
    from safetensors.torch import load_file

    path = next((p for p in (folder / "model", folder) if (p / networks.WEIGHTS).is_file()), None)
    own = {name: weight for name, weight in network.encoder.named_parameters() if weight.requires_grad}
    trained = {} if path is None else load_file(path / networks.WEIGHTS)
    found = {name.split(".", 1)[1]: weight.float() for name, weight in trained.items() if "." in name}
    found = {name: weight for name, weight in found.items() if name in own}
    if not found or any(own[name].shape != weight.shape for name, weight in found.items()):
        raise ValueError(f"`initial` is {folder}, where there are no weights for this encoder")
    network.encoder.load_state_dict(found, strict=False)


def _examples(settings: AlignerConfig, folder: Path) -> tuple[list[Example], list[Example]]:
    """The sentences of a run that goes on, or new ones: to train on, and held out.

    RAISES (ValueError): If the folder holds the run of another config.
    """
    files = folder / "train.jsonl", folder / "held_out.jsonl"
    decisive = settings.model_dump(mode="json", include={"corpora", "model", "training"})
    stored = folder / "config.json"
    if goes_on(stored, decisive):
        return read_examples(files[0]), read_examples(files[1])
    counts: dict[str, Counter[str]] = {}
    examples = list(tqdm(build(settings, counts), unit="sentence", disable=None))
    for kind, count in counts.items():
        if count:
            msg.text(f"{kind}: {', '.join(f'{value} {key}' for key, value in count.items())}")
    parallel = [example for example in examples if example.origin != "records"]
    train, test = hold_out(parallel, settings.corpora.held_out)
    train += [example for example in examples if example.origin == "records"]
    share, seed = settings.corpora.missing, settings.training.seed
    train, test = with_missing(train, share, seed), with_missing(test, share, seed)
    for part, path in zip((train, test), files, strict=True):
        write_examples(part, path)
    stored.write_text(json.dumps(decisive, indent=2) + "\n", encoding="utf-8")
    return train, test


class Trainer:
    """One run: network, optimizer, and place in the data."""

    def __init__(
        self, network: Network, tokenizer: Any, shape: Settings, training: Training, folder: Path
    ) -> None:
        """
        network (Network): What is trained.
        tokenizer (PreTrainedTokenizerFast): Its encoder's.
        shape (Settings): Its settings.
        training (Training): The settings of the loop.
        folder (Path): For checkpoint, scores and weights.
        """
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        self.tokenizer = tokenizer
        self.shape = shape
        self.training = training
        self.folder = folder
        self.state = State()
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.parameters = dict(named)
        groups = [
            {"params": [p for n, p in named if n.startswith("encoder.")], "rate": training.learning_rate},
            {
                "params": [p for n, p in named if not n.startswith("encoder.")],
                "rate": training.head_learning_rate,
            },
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, weight_decay=0.01)

    def run(self, train: Sequence[Example], test: Sequence[Example]) -> State:
        """Train, and write the best epoch's weights, calibrated on what is held out.

        train, test (Sequence[Example]): What to train on, and what is held out.
        RETURNS (State): The end.
        """
        training, lengths = self.training, self._lengths(train)
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

    def _finish_epoch(self, test: Sequence[Example]) -> None:
        """Score an epoch, and write its weights if none before it was better."""
        settings, scores = calibrate(self.shape, self.answers(test))
        best = min((score["log loss"] for score in self.state.scores), default=math.inf)
        self.state.scores.append(scores)
        if scores["log loss"] <= best:
            networks.save(self.network, settings, self.folder / "aligner")
        self._save_checkpoint()

    def _lengths(self, examples: Sequence[Example]) -> list[tuple[int, int]]:
        """Pieces of each example's two sides, at most those of a window."""
        sides = [
            self.tokenizer([readable(t, lang) for t, lang in texts])["input_ids"] if texts else []
            for texts in (
                [(example.english, "en") for example in examples],
                [(example.source, example.lang) for example in examples],
            )
        ]
        longest = self.shape.max_length
        return [
            (min(len(english), longest), min(len(source), longest))
            for english, source in zip(*sides, strict=True)
        ]

    def _read(self, examples: Sequence[Example]) -> tuple[Side, Side, Asked]:
        """Both sides of sentences, and their pairs."""

        def side(texts: list[str]) -> tuple[Side, list[Pieces]]:
            return networks.read(self.network, self.tokenizer, texts, self.shape.max_length)

        here, english = side([readable(example.english, "en") for example in examples])
        there, source = side([readable(example.source, example.lang) for example in examples])
        asked = Asked([], [], [], [])
        for text, example in enumerate(examples):
            for pair in example.pairs:
                own = pieces_of(english[text], *pair.english)
                other = pair.source and pieces_of(source[text], *pair.source)
                if own is None or (pair.source and other is None):
                    continue
                if other is None or other[1] - other[0] <= self.shape.width:
                    asked.texts.append(text)
                    asked.english.append(own)
                    asked.source.append(other)
                    asked.weights.append(pair.weight)
        return here, there, asked

    def _step(self, examples: Sequence[Example], rate: float) -> float:
        """One optimizer step. RETURNS (float): The loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rate
        self.network.train()
        likes = likes_bfloat16(self.device.type)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=likes):
            here, there, asked = self._read(examples)
        if not asked.texts:
            return 0.0
        loss = self._loss(here, there, asked.texts, asked.english, asked.source, asked.weights)
        known = [i for i, span in enumerate(asked.source) if span]
        if self.training.reverse and known:
            back = self._loss(
                there,
                here,
                [asked.texts[i] for i in known],
                [span for span in asked.source if span],
                [asked.english[i] for i in known],
                [asked.weights[i] for i in known],
            )
            loss = loss + self.training.reverse * back
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.training.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _loss(
        self,
        here: Side,
        there: Side,
        texts: Sequence[int],
        entities: Sequence[tuple[int, int]],
        partners: Sequence[tuple[int, int] | None],
        weights: Sequence[float],
    ) -> Tensor:
        """Mean negative log-probability of the partners."""
        scores = self.network(here, there, texts, entities).log_softmax(dim=1)
        width = self.shape.width
        columns = [0 if p is None else 1 + p[0] * width + min(p[1] - p[0], width) - 1 for p in partners]
        losses = -scores.gather(1, torch.as_tensor(columns, device=self.device)[:, None])[:, 0]
        counted = torch.as_tensor(weights, device=self.device)
        if self.training.trust:
            counted = counted * (1 + (-losses.detach()).exp()) ** self.training.trust
        return (losses * counted).sum() / counted.sum()

    def answers(self, examples: Sequence[Example]) -> list[tuple[Found, tuple[int, int] | None]]:
        """What the network says of the pairs of sentences, beside their partners, in pieces."""
        self.network.eval()
        answered: list[tuple[Found, tuple[int, int] | None]] = []
        with torch.inference_mode():
            for group in batch_order(self._lengths(examples), self.training.batch_pieces, seed=0):
                here, there, asked = self._read([examples[i] for i in group])
                found = look(self.network, here, there, asked.texts, asked.english)
                answered += zip(found, asked.source, strict=True)
        return answered

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


def calibrate(
    shape: Settings, answered: Sequence[tuple[Found, tuple[int, int] | None]]
) -> tuple[Settings, dict[str, float]]:
    """Choose temperature and weight of the opposite question by the log loss of held-out partners.

    shape (Settings): The network's settings.
    answered (Sequence[Tuple[Found, Optional[Tuple[int, int]]]]): What it says of entities, and their
        partners.
    RETURNS (Tuple[Settings, Dict[str, float]]): The settings so completed; and "log loss", "right" (share
        of entities whose best answer is their partner) and "right forward" (without the opposite question).
    """
    places = [
        0
        if partner is None
        else next((k for k, s in enumerate(found.spans.tolist(), 1) if tuple(s) == partner), -1)
        for found, partner in answered
    ]

    def measure(settings: Settings) -> tuple[float, float]:
        losses, right = 0.0, 0
        for (found, _), place in zip(answered, places, strict=True):
            shares = found.shares(settings)
            losses -= max(LEAST, shares[place]) if place >= 0 else LEAST
            right += place == int(shares.argmax())
        return float(losses) / max(1, len(answered)), right / max(1, len(answered))

    tried = {
        (t, r, n): replace(shape, temperature=t, reverse=r, reverse_none=n)
        for t, r, n in product(TEMPERATURES, REVERSES, REVERSE_NONES)
        if r or n == REVERSE_NONES[0]
    }
    settings = min(tried.values(), key=lambda s: measure(s)[0])
    loss, right = measure(settings)
    forward = measure(replace(shape, temperature=1.0, reverse=0.0))[1]
    scores = {"log loss": round(loss, 4), "right": round(right, 4), "right forward": round(forward, 4)}
    return settings, scores
