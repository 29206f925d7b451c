"""`spacy_eat.NeighbourWeights.v1`: labels count as far as those of similar pieces are the same."""

from collections.abc import Sequence

import numpy as np
from spacy.tokens import Doc

from ...components.source_tagger import EMBEDDED, SourceTagger
from ...tags import TagProbabilities, labels_of, set_tags, tags_of
from .soft_labels import Denoiser

STEEPNESS = 6.0  # of the sigmoid, by the paper
_CHUNK = 512  # pieces whose neighbours are looked for at once: with the default sample that takes 0.7 GB


class NeighbourWeights:
    """Weighs the labels of a corpus by the neighbours of their pieces in a tagger's space.

    The vector of a piece is the mean of the encoder's last three layers, of length 1. Of its nearest pieces
    by cosine, exact copies left out, a share s has the same label, divided by the largest share of that label
    in the corpus. The weight is σ(6 (s − mean s of the label)), divided by the largest weight of the label.
    The targets of a piece are multiplied by it.

    Source: CoLaDa (Ma et al. 2023, ACL), label consistency, section 3.2; constants are the paper's. The
    pieces that neighbours are looked for among are a sample, which keeps the cost in bounds, and only pieces
    that may be part of a name are weighed: all others keep their weight.
    """

    def __init__(
        self,
        weights: str = EMBEDDED,
        *,
        neighbours: int = 500,
        sample: int = 100_000,
        least: float = 0.05,
        seed: int = 0,
    ) -> None:
        """See `make_neighbour_weights`."""
        if neighbours < 1 or sample <= neighbours:
            raise ValueError(
                "spacy_eat.NeighbourWeights.v1: `sample` is more than `neighbours`, which is at least 1; got"
                f" {sample} and {neighbours}"
            )
        self.weights = weights
        self.neighbours = neighbours
        self.sample = sample
        self.least = least
        self.seed = seed

    def __call__(self, docs: Sequence[Doc]) -> None:
        """Weigh the probabilities that are kept with docs (`spacy_eat.tags`).

        docs (Sequence[Doc]): The corpus.
        RAISES (ValueError): If the tagger cannot be loaded.
        """
        kept = [(doc, found) for doc in docs if (found := tags_of(doc)) is not None and len(found.rows)]
        if not kept:
            return
        tagger = SourceTagger(kept[0][0].vocab, weights=self.weights, mixed_precision=True).classifier
        vectors = np.concatenate(
            [
                _on_pieces(found, *read)
                for (_, found), read in zip(kept, tagger.vectors([doc for doc, _ in kept]), strict=True)
            ]
        )
        rows = np.concatenate([found.rows for _, found in kept])
        labels = label_numbers(rows)
        weights = neighbour_weights(
            vectors,
            labels,
            weighed=(labels >= 0) & (rows[:, 0] < (1 - self.least) * rows.sum(axis=1)),
            neighbours=self.neighbours,
            sample=self.sample,
            seed=self.seed,
        )
        start = 0
        for doc, found in kept:
            mine = weights[start : start + len(found.rows)]
            set_tags(doc, found._replace(rows=found.rows * mine[:, None]))
            start += len(found.rows)


def label_numbers(rows: np.ndarray) -> np.ndarray:
    """RETURNS (ndarray): For each piece the number of its most probable label, 0 for none, -1 where nothing
    is known. rows (ndarray): Shape (pieces, tags)."""
    return np.where(rows.sum(axis=1) > 0, labels_of(rows).argmax(axis=1), -1)


def neighbour_weights(
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    weighed: np.ndarray,
    neighbours: int,
    sample: int,
    seed: int = 0,
) -> np.ndarray:
    """How far the labels of pieces agree with those of their neighbours.

    vectors (ndarray): Of length 1, shape (pieces, width).
    labels (ndarray): Numbers, -1 where there is none; shape (pieces,).
    weighed (ndarray): Which pieces are weighed, shape (pieces,); the others have 1.0.
    neighbours (int): How many.
    sample (int): Most pieces among which they are looked for.
    seed (int): Of the sample.
    RETURNS (ndarray): Weights above 0.0, at most 1.0, shape (pieces,).
    """
    weights = np.ones(len(vectors), dtype="float32")
    bank = np.flatnonzero(labels >= 0)
    if len(bank) > sample:
        # All pieces of names are there, of the many others as many as fit.
        rng = np.random.default_rng(seed)
        names = rng.permutation(bank[labels[bank] > 0])[: sample // 2]
        others = rng.permutation(bank[labels[bank] == 0])[: sample - len(names)]
        bank = np.sort(np.concatenate([names, others]))
    asked = np.flatnonzero(weighed)
    if len(bank) <= 1 or not len(asked):
        return weights
    count = min(neighbours, len(bank) - 1)
    bank_vectors, bank_labels = vectors[bank].T, labels[bank]
    shares = np.zeros(len(asked), dtype="float32")
    for start in range(0, len(asked), _CHUNK):
        part = asked[start : start + _CHUNK]
        cosines = vectors[part] @ bank_vectors
        cosines[cosines > 0.9999] = -1.0  # the piece itself, and exact copies
        nearest = np.argpartition(cosines, -count, axis=1)[:, -count:]
        shares[start : start + _CHUNK] = (bank_labels[nearest] == labels[part][:, None]).mean(axis=1)
    for label in np.unique(labels[asked]):
        mine = labels[asked] == label
        share = shares[mine] / max(float(shares[mine].max()), 1e-9)
        weight = 1.0 / (1.0 + np.exp(-STEEPNESS * (share - share.mean())))
        weights[asked[mine]] = weight / weight.max()
    return weights


def _on_pieces(
    found: TagProbabilities, starts: np.ndarray, ends: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """Vectors of the pieces that probabilities are of, by the tagger's pieces: that of the first one that
    shares characters with each, zeros where none does."""
    first = np.searchsorted(ends, found.starts, side="right")
    there = first < np.searchsorted(starts, found.ends, side="left")
    taken = np.zeros((len(found.rows), vectors.shape[1]), dtype="float32")
    taken[there] = vectors[first[there]]
    return taken


def make_neighbour_weights(
    weights: str = EMBEDDED,
    neighbours: int = 500,
    sample: int = 100_000,
    least: float = 0.05,
    seed: int = 0,
) -> Denoiser:
    """`spacy_eat.NeighbourWeights.v1` (misc): for `denoisers` of `spacy_eat.SoftLabels.v1`; see
    `NeighbourWeights`.

    weights (str): "embedded", or the folder of a tagger, as of `eat_source_tagger`: whose space it is.
    neighbours (int): Neighbours of a piece that have a say.
    sample (int): Most pieces among which they are looked for.
    least (float): Pieces that are less likely than this part of a name are not weighed, 0.0 to 1.0.
    seed (int): Of the sample.
    RAISES (ValueError): If a number is out of its range.
    """
    return NeighbourWeights(weights, neighbours=neighbours, sample=sample, least=least, seed=seed)
