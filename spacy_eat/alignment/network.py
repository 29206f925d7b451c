"""The network of the entity aligner: which pieces of one text an entity of the other stands for.

Both texts are read apart by one encoder. What similarities of their pieces know, and what a piece's own
vector knows of where names begin and end, becomes a score of every span. Imported only when a network is
needed: it imports torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from ..encoders.encoder import EMBEDDED, load_layers, require_transformers
from ..encoders.pieces import Pieces, split, tensors
from ..encoders.trained import CONFIG, WEIGHTS, write_trained

PURPOSE = "The entity aligner"
IMPOSSIBLE = -1e4  # score of a span that is none
_FEATURES, _NEAR, _OWN, _HIDDEN = 6, 48, 64, 96  # sizes of the head


@dataclass(frozen=True)
class Settings:
    """What a network is, stored beside its weights.

    base (str): The encoder, as of `spacy_eat.Encoder.v1`; what was not trained is taken from it.
    layers (int): Layers of it that are used, from below.
    frozen_layers (int): How many of them, from below, were left as they are, with all embeddings.
    width (int): Pieces of the longest span.
    max_length (int): Pieces that are read together, see `spacy_eat.Encoder.v1`.
    temperature (float): Of the scores, above 1.0 where the network is surer than it is right.
    reverse (float): What the opposite question adds: how likely the entity is, of all spans of the English,
        what a span of the source stands for. Nats of worth for each of its log-probability.
    reverse_none (float): Log-probability (nats) of the opposite question for no span at all.
    """

    base: str = EMBEDDED
    layers: int = 9
    frozen_layers: int = 3
    width: int = 24
    max_length: int = 256
    temperature: float = 1.0
    reverse: float = 0.0
    reverse_none: float = 0.0


class Side(NamedTuple):
    """Texts of one language, as the encoder reads them.

    vectors (Tensor): Of the pieces, shape (texts, pieces, hidden), padded with zeros.
    directions (Tensor): The same less their mean in the text, of length 1.
    counts (Tensor): Pieces of each text, shape (texts,).
    """

    vectors: Tensor
    directions: Tensor
    counts: Tensor

    def part(self, texts: Sequence[int]) -> "Side":
        """RETURNS (Side): Some of the texts."""
        index = torch.as_tensor(texts, device=self.counts.device)
        return Side(self.vectors[index], self.directions[index], self.counts[index])


class Network(nn.Module):
    """Scores of spans. For a piece of the text in which an entity is looked for: its best similarity to the
    entity's pieces, the mean one, the best to the rest of the entity's text, and what share of the softmax in
    either direction falls on the entity (Dou and Neubig 2021). A small convolution over these, beside the
    piece's own vector and that vector times the entity's, says how well a span begins, goes on and ends
    there.
    """

    def __init__(self, encoder: Any, width: int) -> None:
        """
        encoder (PreTrainedModel): The encoder, cut to its layers.
        width (int): Pieces of the longest span.
        """
        super().__init__()
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.width = width
        self.near = nn.Sequential(
            nn.Conv1d(_FEATURES, _NEAR, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(_NEAR, _NEAR, 3, padding=1),
            nn.GELU(),
        )
        self.own = nn.Linear(hidden, _OWN)
        self.entity = nn.Linear(hidden, _OWN)
        self.ends = nn.Sequential(nn.Linear(_NEAR + 2 * _OWN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 3))
        self.none = nn.Linear(3, 1)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.direct = nn.Parameter(
            torch.tensor([0.5, 0.5, 0.1])
        )  # begins, ends, goes on: what similarity adds

    def read(self, inputs: Mapping[str, Tensor], pieces: Sequence[Pieces]) -> Side:
        """Read texts.

        inputs (Mapping[str, Tensor]), pieces (Sequence[Pieces]): As of `spacy_eat.encoders.split`.
        RETURNS (Side): The texts.
        """
        states = self.encoder(**inputs).last_hidden_state.float()
        own = [states[torch.from_numpy(p.rows), torch.from_numpy(p.columns)] for p in pieces]
        directions = [normalize(v - v.mean(dim=0, keepdim=True), dim=-1) if len(v) else v for v in own]
        counts = torch.tensor([len(p) for p in pieces], device=states.device)
        return Side(pad_sequence(own, batch_first=True), pad_sequence(directions, batch_first=True), counts)

    def forward(
        self, here: Side, there: Side, texts: Sequence[int], entities: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Look for entities of the texts here in the texts there.

        here, there (Side): The same sentences in two languages.
        texts (Sequence[int]): For each entity its text, in the order of the texts.
        entities (Sequence[Tuple[int, int]]): Its pieces, half open, at least one.
        RETURNS (Tensor): Scores, shape (entities, 1 + pieces × width): of no span, then of the span of `n`
            pieces from piece `i` on at 1 + i × width + n - 1.
        """
        most = there.directions.shape[1]
        features = torch.stack(
            [
                feature
                for text in sorted(set(texts))
                for feature in self._features(
                    here, there, text, [e for t, e in zip(texts, entities, strict=True) if t == text]
                )
            ]
        )
        index = torch.as_tensor(texts, device=features.device)
        names = torch.stack(
            [here.vectors[t, a:b].mean(dim=0) for t, (a, b) in zip(texts, entities, strict=True)]
        )
        there_are = torch.arange(most, device=features.device) < there.counts[index][:, None]
        near = features
        for layer in self.near:  # padding is nothing, whatever the bias
            near = layer(near) * there_are[:, None]
        own = self.own(there.vectors)[index]
        known = [near.transpose(1, 2), own, own * self.entity(names)[:, None]]
        points = (
            self.ends(torch.cat(known, dim=-1)) + self.direct * (features[:, 0] - features[:, 1])[..., None]
        )
        points = points * there_are[..., None]
        first = torch.arange(most, device=features.device)[:, None]
        last = first + torch.arange(self.width, device=features.device)
        inside = torch.cat([points.new_zeros(len(points), 1), points[..., 2].cumsum(dim=1)], dim=1)
        possible = last < there.counts[index][:, None, None]
        last = last.clamp(max=most - 1)
        spans = points[:, :, :1] + points[:, last, 1] + inside[:, last + 1] - inside[:, :most, None]
        spans = spans.masked_fill(~possible, IMPOSSIBLE).flatten(1)
        none = self.none(features[:, [0, 2, 4]].masked_fill(~there_are[:, None], IMPOSSIBLE).amax(dim=2))
        return torch.cat([none, spans], dim=1)

    def _features(
        self, here: Side, there: Side, text: int, entities: Sequence[tuple[int, int]]
    ) -> list[Tensor]:
        """Of each entity of a text, shape (features, pieces there)."""
        count, others = int(here.counts[text]), int(there.counts[text])
        same = here.directions[text, :count] @ there.directions[text, :others].T
        by_here = (same * 2 * self.sharpness).softmax(dim=0)
        by_there = (same * 2 * self.sharpness).softmax(dim=1)
        same = same * self.sharpness / 4
        found = []
        for start, end in entities:
            best = same[start:end].amax(dim=0)
            rest = torch.cat([same[:start], same[end:]])
            outside = rest.amax(dim=0) if len(rest) else torch.zeros_like(best)
            feature = [
                best,
                outside,
                best - outside,
                same[start:end].mean(dim=0),
                by_here[start:end].sum(dim=0),
                by_there[start:end].amax(dim=0),
            ]
            padding = (0, there.directions.shape[1] - others)
            found.append(nn.functional.pad(torch.stack(feature), padding))
        return found


def build(settings: Settings) -> tuple[Any, Network]:
    """A network on a pretrained encoder, with a new head.

    RETURNS (Tuple[PreTrainedTokenizerFast, Network]): The encoder's tokenizer, and the network.
    RAISES (ImportError): The extra `encoder` is not installed.
    RAISES (ValueError): The encoder cannot be loaded, or has too few layers.
    """
    require_transformers(PURPOSE)
    tokenizer, encoder = load_layers(
        settings.base, settings.layers, settings.frozen_layers, "`base` of the entity aligner"
    )
    return tokenizer, Network(encoder, settings.width)


def save(network: Network, settings: Settings, folder: Path) -> None:
    """Write what was trained of a network, in half precision, and its settings."""
    write_trained(network, folder)
    text = json.dumps(asdict(settings), indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[Any, Network, Settings]:
    """Read what `save` wrote.

    folder (Path): The folder.
    RETURNS (Tuple[PreTrainedTokenizerFast, Network, Settings]): The encoder's tokenizer, the network, and its
        settings.
    RAISES (ImportError): The extra `encoder` is not installed.
    RAISES (ValueError): There is no network in the folder, or it does not fit its encoder.
    """
    from safetensors.torch import load_file

    try:
        settings = Settings(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"There is no entity aligner in {folder} ({error}). Give `weights` the folder of one, such as"
            " `python -m spacy eat tune-aligner` makes, or null for the one that comes with this package."
        ) from error
    tokenizer, network = build(settings)
    shapes = {name: weight.shape for name, weight in network.named_parameters() if weight.requires_grad}
    wrong = sorted(shapes.keys() ^ weights.keys()) or [n for n in shapes if shapes[n] != weights[n].shape]
    if wrong:
        raise ValueError(
            f"The weights in {folder} do not fit the encoder '{settings.base}': {', '.join(wrong[:3])}. They"
            " were trained on another one: train them anew."
        )
    network.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=False)
    return tokenizer, network.eval(), settings


def read(
    network: Network, tokenizer: Any, texts: Sequence[str], max_length: int
) -> tuple[Side, list[Pieces]]:
    """RETURNS (Tuple[Side, List[Pieces]]): Texts, as of `readable`, as the network reads them."""
    inputs, pieces = split(texts, tokenizer, max_length)
    return network.read(tensors(inputs, network.sharpness.device), pieces), pieces


def pieces_of(pieces: Pieces, start: int, end: int) -> tuple[int, int] | None:
    """The pieces that share characters with a place.

    RETURNS (Optional[Tuple[int, int]]): First and last + 1; None if there are none.
    """
    first = int(np.searchsorted(pieces.ends, start, side="right"))
    last = int(np.searchsorted(pieces.starts, end, side="left"))
    return (first, last) if first < last else None


class Found(NamedTuple):
    """What a network says of one entity.

    none (float): Log-probability (nats) of no span.
    spans (ndarray): The likeliest spans, best first, in pieces, half open, shape (spans, 2).
    logprobs (ndarray): Their log-probabilities, shape (spans,).
    reverse (ndarray): The log-probability of the entity, where what the span stands for is looked for, shape
        (spans,).
    """

    none: float
    spans: np.ndarray
    logprobs: np.ndarray
    reverse: np.ndarray

    def shares(self, settings: Settings) -> np.ndarray:
        """RETURNS (ndarray): Log-probabilities of no span and of each span, both questions together, shape
        (1 + spans,)."""
        asked = np.append(self.none, self.logprobs) / settings.temperature
        asked += settings.reverse * np.append(settings.reverse_none, self.reverse)
        return np.asarray(asked - np.logaddexp.reduce(asked))


def look(
    network: Network,
    here: Side,
    there: Side,
    texts: Sequence[int],
    entities: Sequence[tuple[int, int]],
    *,
    most: int = 12,
    reverse: bool = True,
) -> list[Found]:
    """Look for entities in both directions.

    here, there, texts, entities: As of `Network.forward`.
    most (int): Spans that are kept of each.
    reverse (bool): Whether the opposite question is asked; else its answers are 0.0.
    RETURNS (List[Found]): One for each entity.
    """
    if not entities:
        return []
    logprobs = network(here, there, texts, entities).log_softmax(dim=1)
    best = logprobs[:, 1:].topk(min(most, logprobs.shape[1] - 1), dim=1)
    starts, lengths = best.indices // network.width, best.indices % network.width + 1
    spans = torch.stack([starts, starts + lengths], dim=2).cpu().numpy()
    values = best.values.cpu().numpy()
    possible = values > IMPOSSIBLE / 2
    asked = [  # each span of a text is asked for once
        (text, tuple(span))
        for text, row, real in zip(texts, spans.tolist(), possible, strict=True)
        for span in np.asarray(row)[real].tolist()
    ]
    rows = {question: row for row, question in enumerate(sorted(set(asked)))}
    if reverse and rows:
        back = network(there, here, [text for text, _ in rows], [(a, b) for _, (a, b) in rows])
        answers = back.log_softmax(dim=1).cpu().numpy()
    found = []
    for text, (a, b), none, row, real, value in zip(
        texts, entities, logprobs[:, 0].tolist(), spans, possible, values, strict=True
    ):
        row, opposite = row[real], np.zeros(real.sum())
        if reverse:
            length = min(b - a, network.width)
            column = 1 + a * network.width + length - 1
            opposite = np.array([answers[rows[text, tuple(span)], column] for span in row.tolist()])
        found.append(Found(none, row, value[real], opposite))
    return found
