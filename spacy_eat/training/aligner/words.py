"""Tuning an encoder for word alignment, on parallel text without any alignment.

The links that two judges find likeliest, the encoder's own similarities and a statistical alignment of the
same text, become its labels: their share in the softmax of either direction is raised (the self-training
objective of Dou and Neubig 2021, arXiv 2101.08231, section 2.2).
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from wasabi import msg

from ...alignment.words import EXTRACTIONS
from ...corpora.parallel import ParallelRecord
from ...encoders.encoder import load_layers
from ...encoders.pieces import Pieces, split, tensors
from ...encoders.trained import Base, write_base, write_trained
from ..batches import batch_order
from ..tuning.config import goes_on
from .config import AlignerConfig, Training, Words
from .data import hold_out, readable_sides
from .lexical import Lexicons
from .loop import MEASURE, Loop, State
from .projection import read_records

LEAST = 1e-4  # share of a link that the statistical alignment does not know
SURE = 0.1  # share from which a statistical link counts for the score of an epoch
BATCH = 512  # texts that are split into pieces at once


class Linked(NamedTuple):
    """A sentence with what the statistical alignment says of it.

    lang, source, english (str): The sentence and its English.
    lexical (ndarray): Shares of the links of pieces, shape (pieces of the source, pieces of the English).
    """

    lang: str
    source: str
    english: str
    lexical: np.ndarray


def tune_words(settings: AlignerConfig, *, build_only: bool = False) -> State | None:
    """Tune an encoder for `spacy_eat.WordAligner.v1`, and write it to `output.path`/encoder.

    settings (AlignerConfig): With `words`.
    build_only (bool): Stop when the sentences are read, and aligned statistically.
    RETURNS (Optional[State]): The end of the run; None with `build_only`.
    RAISES (ValueError): There is nothing to train on, or the output folder holds the run of another config.
    """
    words, model, folder = settings.words, settings.model, settings.output.path
    assert words is not None
    decisive = settings.model_dump(mode="json", include={"corpora", "words", "model", "training"})
    if not goes_on(folder / "config.json", decisive):
        (folder / "config.json").write_text(json.dumps(decisive, indent=2) + "\n", encoding="utf-8")
    torch.manual_seed(settings.training.seed)
    setting = "`base` of the word aligner"
    tokenizer, encoder = load_layers(model.base, model.layers, model.frozen_layers, setting)
    train, test = _examples(settings, tokenizer)
    msg.info(f"{len(train)} sentences; held out: {len(test)}")
    if build_only:
        return None
    if not train or not test:
        raise ValueError("There are no sentences to train on and to choose by: see [words] of the config")
    base = Base(model.base, model.layers)
    trainer = WordTrainer(encoder, tokenizer, base, words, model.max_length, settings.training, folder)
    state = trainer.run(train, test)
    msg.good(f"Encoder in {folder / 'encoder'}: {min(state.scores, key=lambda scores: scores[MEASURE])}")
    return state


def _examples(settings: AlignerConfig, tokenizer: Any) -> tuple[list[Linked], list[Linked]]:
    """The sentences to train on, and those held out, of which the statistical alignment has not learnt."""
    words, longest, seed = settings.words, settings.model.max_length, settings.training.seed
    assert words is not None
    train: list[Linked] = []
    test: list[Linked] = []
    for lang in words.files:
        counts: Counter[str] = Counter()
        records = read_records(words, lang, seed, counts)
        kept, others = hold_out(records, settings.corpora.held_out / len(words.files))
        msg.text(f"{lang}: {len(records)} sentences" + "".join(f", {n} {key}" for key, n in counts.items()))
        if kept:
            lexicons = Lexicons(_spelled(kept, tokenizer, longest))
            train += _linked(kept[: words.limit or None], lexicons, tokenizer, longest)
            test += _linked(others, lexicons, tokenizer, longest)
    return train, test


def _spelled(
    records: Sequence[ParallelRecord], tokenizer: Any, longest: int
) -> list[tuple[list[str], list[str]]]:
    """RETURNS (List[Tuple[List[str], List[str]]]): The pieces of the source and of the English, as they are
    written in lower case."""
    sides = []
    for texts in readable_sides(records):
        side: list[list[str]] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            for text, pieces in zip(batch, split(batch, tokenizer, longest)[1], strict=True):
                places = zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
                side.append([text[first:last].lower() for first, last in places])
        sides.append(side)
    return list(zip(*sides, strict=True))


def _linked(
    records: Sequence[ParallelRecord], lexicons: Lexicons, tokenizer: Any, longest: int
) -> list[Linked]:
    """RETURNS (List[Linked]): Sentences that have more than one piece on either side."""
    spelled = zip(records, _spelled(records, tokenizer, longest), strict=True)
    return [
        Linked(record.lang, record.source, record.english, lexicons.shares(*sides).astype(np.float32))
        for record, sides in spelled
        if min(map(len, sides)) > 1
    ]


class WordTrainer(Loop[Linked]):
    """A run of an encoder for word alignment."""

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        base: Base,
        words: Words,
        max_length: int,
        training: Training,
        folder: Path,
    ) -> None:
        """
        encoder (PreTrainedModel): What is trained, cut to its layers.
        base (Base): What it was made of.
        words (Words): How links become labels.
        tokenizer, max_length, training, folder: As of `Loop`.
        """
        super().__init__(nn.ModuleDict({"encoder": encoder}), tokenizer, max_length, training, folder)
        self.encoder = encoder
        self.base = base
        self.words = words

    def similarities(self, examples: Sequence[Linked]) -> list[Tensor]:
        """RETURNS (List[Tensor]): Cosines of the pieces of each sentence's sides, centred in each side, shape
        (pieces of the source, pieces of the English)."""
        sides = []
        for texts in readable_sides(examples):
            inputs, pieces = split(texts, self.tokenizer, self.max_length)
            with self.autocast():
                states = self.encoder(**tensors(inputs, self.device)).last_hidden_state.float()
            sides.append([_directions(states, own) for own in pieces])
        return [source @ english.T for source, english in zip(*sides, strict=True)]

    def loss(self, examples: Sequence[Linked]) -> Tensor | None:
        self.module.eval()  # labels are those of the same pass: without dropout
        losses = []
        for same, example in zip(self.similarities(examples), examples, strict=True):
            judged = same.detach().cpu().numpy()
            if self.words.lexical:
                judged = judged + self.words.lexical * np.log(example.lexical + LEAST)
            losses.append(self._raise(same, EXTRACTIONS[self.words.extraction](judged)))
        return torch.cat(losses).mean()

    def _raise(self, same: Tensor, links: np.ndarray) -> Tensor:
        """RETURNS (Tensor): Negative logarithms (nats) of the shares of links, by piece with a link: of the
        source among the English ones, then the other way round. The links of a piece count alike."""
        wanted = torch.from_numpy(links).to(same)
        losses = []
        for dim in (1, 0):
            counts = wanted.sum(dim=dim)
            shares = (same * self.words.sharpness).log_softmax(dim=dim)
            losses.append(-(wanted * shares).sum(dim=dim)[counts > 0] / counts[counts > 0])
        return torch.cat(losses)

    def measure(self, test: Sequence[Linked]) -> dict[str, float]:
        """RETURNS (Dict[str, float]): "log loss" of what the statistical alignment is sure of, in both
        directions, and "agreement", the share of it that the encoder's best links have."""
        self.module.eval()
        losses, common, sure = [], 0, 0
        with torch.inference_mode():
            for group in batch_order(self.lengths(test), self.training.batch_pieces, seed=0):
                batch = [test[i] for i in group]
                for same, example in zip(self.similarities(batch), batch, strict=True):
                    links = EXTRACTIONS["argmax"](example.lexical) & (example.lexical > SURE)
                    losses += self._raise(same, links).tolist()
                    common += int((links & EXTRACTIONS["argmax"](same.cpu().numpy())).sum())
                    sure += int(links.sum())
        loss, agreement = sum(losses) / max(1, len(losses)), common / max(1, sure)
        return {MEASURE: round(loss, 4), "agreement": round(agreement, 4)}

    def write(self) -> None:
        write_trained(self.encoder, self.folder / "encoder")
        write_base(self.base, self.folder / "encoder")


def _directions(states: Tensor, pieces: Pieces) -> Tensor:
    """The vectors of a text's pieces, as of `Vectors.directions`."""
    own = states[torch.from_numpy(pieces.rows), torch.from_numpy(pieces.columns)]
    return normalize(own - own.mean(dim=0, keepdim=True), dim=-1)
