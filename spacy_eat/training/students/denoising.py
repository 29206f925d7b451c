"""Denoisers: what changes a student's targets while it learns, by what it thinks of them."""

import numpy as np

from ...components.token_classifier import Denoiser


class EasyFirst:
    """Targets count more the more the model believes them: the weight of a piece is the probability that the
    model gives its target, to a power. Labels that contradict all that it has learnt are mostly wrong, and
    count little. The opposite of focal loss.

    Source: Li, He, Xu 2021, Cross-Lingual Named Entity Recognition Using Parallel Corpus (arXiv 2101.11112),
    on weighting against noise.
    """

    needs_vectors = False

    def __init__(self, gamma: float = 0.5) -> None:
        """See `make_easy_first`."""
        if gamma < 0:
            raise ValueError(f"`gamma` of spacy_eat.EasyFirst.v1 is 0 or more, not {gamma}")
        self.gamma = gamma

    def __call__(
        self, targets: np.ndarray, probabilities: np.ndarray, vectors: np.ndarray | None
    ) -> np.ndarray:
        """See `Denoiser`."""
        weights = targets.sum(axis=1, keepdims=True)
        believed = (targets * probabilities).sum(axis=1, keepdims=True) / np.maximum(weights, 1e-9)
        return np.asarray(targets * believed**self.gamma, dtype="float32")


class Prototypes:
    """Targets move towards the tags whose prototypes are nearest. A prototype is the running mean of the
    vectors of the pieces that a tag was the target of: P ← norm(momentum · P + (1 − momentum) · q), and a
    target becomes share · target + (1 − share) · softmax(q Pᵀ / temperature). The share goes down from one
    number to another in a number of batches. Until every tag has a prototype nothing is changed.

    Source: prototypes for self-training from ProKD (Ge et al. 2023, AAAI); this form, with momentum and a
    share that goes down, is ContProto's (Zhou et al. 2023, ACL). Neither's contrastive loss is here.
    """

    needs_vectors = True

    def __init__(
        self,
        momentum: float = 0.99,
        share_start: float = 0.95,
        share_end: float = 0.8,
        batches: int = 400,
        temperature: float = 0.1,
    ) -> None:
        """See `make_prototypes`."""
        shares = {"momentum": momentum, "share_start": share_start, "share_end": share_end}
        wrong = {name: value for name, value in shares.items() if not 0.0 <= value <= 1.0}
        if wrong or batches < 1 or temperature <= 0:
            raise ValueError(
                "spacy_eat.Prototypes.v1: momentum and shares are between 0 and 1, `batches` is at least 1,"
                f" `temperature` above 0; got {shares}, {batches}, {temperature}"
            )
        self.momentum = momentum
        self.share_start = share_start
        self.share_end = share_end
        self.batches = batches
        self.temperature = temperature
        self.seen = 0
        self.prototypes: np.ndarray = np.zeros((0, 0), dtype="float32")  # (tags, width)

    def __call__(
        self, targets: np.ndarray, probabilities: np.ndarray, vectors: np.ndarray | None
    ) -> np.ndarray:
        """See `Denoiser`.

        RAISES (ValueError): If there are no vectors.
        """
        if vectors is None:
            raise ValueError("spacy_eat.Prototypes.v1 needs the encoder's vectors, which were not given")
        vectors = _norm(vectors)
        known = targets.sum(axis=1) > 0
        if self.prototypes.shape != (targets.shape[1], vectors.shape[1]):
            self.prototypes = np.zeros((targets.shape[1], vectors.shape[1]), dtype="float32")
        said = targets[known].argmax(axis=1)
        for tag in np.unique(said):
            mean = vectors[known][said == tag].mean(axis=0)
            old = self.prototypes[tag]
            self.prototypes[tag] = _norm(
                self.momentum * old + (1 - self.momentum) * mean if old.any() else mean
            )
        progress = min(1.0, self.seen / self.batches)
        self.seen += 1
        if not self.prototypes.any(axis=1).all():
            return targets
        share = self.share_start + (self.share_end - self.share_start) * progress
        near = np.exp((vectors @ self.prototypes.T - 1.0) / self.temperature)
        near *= targets.sum(axis=1, keepdims=True) / near.sum(axis=1, keepdims=True)
        return np.asarray(share * targets + (1 - share) * near, dtype="float32")


def _norm(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def make_easy_first(gamma: float = 0.5) -> Denoiser:
    """`spacy_eat.EasyFirst.v1` (misc): for `denoiser` of `eat_token_classifier`; see `EasyFirst`.

    gamma (float): The power. 0.0: all targets count alike.
    RAISES (ValueError): If it is negative.
    """
    return EasyFirst(gamma)


def make_prototypes(
    momentum: float = 0.99,
    share_start: float = 0.95,
    share_end: float = 0.8,
    batches: int = 400,
    temperature: float = 0.1,
) -> Denoiser:
    """`spacy_eat.Prototypes.v1` (misc): for `denoiser` of `eat_token_classifier`; see `Prototypes`.

    momentum (float): What a prototype keeps of itself at each batch.
    share_start, share_end (float): What a target keeps of itself, at first and after `batches`.
    batches (int): Batches in which the share goes down.
    temperature (float): Of the softmax over cosines; lower is sharper.
    RAISES (ValueError): If a number is out of its range.
    """
    return Prototypes(momentum, share_start, share_end, batches, temperature)
