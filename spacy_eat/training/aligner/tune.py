"""Training the entity aligner from a config: sentences, network, loop, calibration."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from confection import Config
from torch import Tensor
from tqdm import tqdm
from wasabi import msg

from ...alignment import network as networks
from ...alignment.network import Found, Network, Settings, Side, look, pieces_of
from ...encoders.pieces import Pieces
from ...encoders.trained import read_base, take_tuned
from ..batches import batch_order
from ..tuning.config import goes_on, read_config
from .config import AlignerConfig, Training
from .data import Example, build, hold_out, read_examples, readable_sides, with_missing, write_examples
from .loop import Loop, State

# What is tried for calibration, on held-out pairs.
TEMPERATURES = (0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0)
REVERSES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
REVERSE_NONES = (-0.5, -1.0, -2.0, -3.0, -4.0, -6.0)
LEAST = math.log(1e-4)  # log-probability of a partner that is not among the options


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
    With `words`, tune an encoder for word alignment instead, see `tune_words`.

    config (Config): See `configs/tune_aligner.cfg` and `configs/tune_words.cfg`.
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
    if settings.words is not None:
        from .words import tune_words

        return tune_words(settings, build_only=build_only)
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
        begin_from(network, settings.model.initial, settings.model.base)
    trainer = Trainer(network, tokenizer, shape, settings.training, folder)
    state = trainer.run(train, test)
    msg.good(f"Entity aligner in {folder / 'aligner'}: {state.scores[-1]}")
    return state


def begin_from(network: Network, folder: Path, base: str) -> None:
    """Take the weights of an `eat_token_classifier`, or of a tuned encoder, for what is to be trained of the
    encoder.

    network (Network): The network.
    folder (Path): The classifier's folder, or that of its weights, or of the encoder.
    base (str): The network's encoder, which a tuned one must have been.
    RAISES (ValueError): There are none, or of another encoder, or of layers that are frozen.
    """
    from safetensors.torch import load_file

    tuned = read_base(str(folder))
    if tuned is not None:
        if tuned.base != base:
            raise ValueError(
                f"`initial` is {folder}, which was tuned from '{tuned.base}': `base` is '{base}'"
            )
        take_tuned(network.encoder, folder)
        return
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


class Trainer(Loop[Example]):
    """A run of the entity aligner."""

    def __init__(
        self, network: Network, tokenizer: Any, shape: Settings, training: Training, folder: Path
    ) -> None:
        """
        network (Network): What is trained.
        shape (Settings): Its settings.
        tokenizer, training, folder: As of `Loop`.
        """
        super().__init__(network, tokenizer, shape.max_length, training, folder)
        self.network = network
        self.shape = self.calibrated = shape

    def measure(self, test: Sequence[Example]) -> dict[str, float]:
        """Calibrate the network. RETURNS (Dict[str, float]): As of `calibrate`."""
        self.calibrated, scores = calibrate(self.shape, self.answers(test))
        return scores

    def write(self) -> None:
        networks.save(self.network, self.calibrated, self.folder / "aligner")

    def _read(self, examples: Sequence[Example]) -> tuple[Side, Side, Asked]:
        """Both sides of sentences, and their pairs."""

        def side(texts: list[str]) -> tuple[Side, list[Pieces]]:
            return networks.read(self.network, self.tokenizer, texts, self.shape.max_length)

        source_texts, english_texts = readable_sides(examples)
        here, english = side(english_texts)
        there, source = side(source_texts)
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

    def loss(self, examples: Sequence[Example]) -> Tensor | None:
        with self.autocast():
            here, there, asked = self._read(examples)
        if not asked.texts:
            return None
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
        return loss

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
            for group in batch_order(self.lengths(examples), self.training.batch_pieces, seed=0):
                here, there, asked = self._read([examples[i] for i in group])
                found = look(self.network, here, there, asked.texts, asked.english)
                answered += zip(found, asked.source, strict=True)
        return answered


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
