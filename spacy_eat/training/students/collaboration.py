"""`spacy_eat.ModelCollaboration.v1`: labels of one kind of data, mixed with what a tagger that was trained on
another kind thinks."""

from collections.abc import Iterable, Sequence
from typing import cast

from spacy.tokens import Doc

from ...components.source_tagger import SourceTagger
from ...tags import TagProbabilities, set_tags, tags_of
from .soft_labels import Denoiser

NAME = "spacy_eat.ModelCollaboration.v1"


class ModelCollaboration:
    """Mixes the labels of a corpus with what another tagger thinks of its texts: a target becomes
    share · target + (1 − share) · p. Labels that translations bring and labels that a tagger has set on raw
    text have mistakes of different kinds, so a tagger that was trained on the one kind corrects the other.
    What is not known stays so.

    A denoiser may weigh p before. With `spacy_eat.NeighbourWeights.v1` in the other tagger's space a target
    becomes share · target + (1 − share) · w · p, where w tells how far what the tagger thinks agrees with
    what it thinks of similar pieces.

    Source: CoLaDa (Ma et al. 2023, ACL), model collaboration. The paper does this to the labels of
    translations, with a share of 0.5 in the first iteration and 0.1 in later ones; raw text is labelled anew,
    which is a share of 0.0.
    """

    def __init__(self, weights: str, *, share: float = 0.5, denoiser: Denoiser | None = None) -> None:
        """See `make_model_collaboration`."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"`share` of {NAME} is between 0.0 and 1.0, not {share}")
        if denoiser is not None and not callable(denoiser):
            raise ValueError(f"`denoiser` of {NAME} is a block with an @misc, not {denoiser!r}")
        self.weights = weights
        self.share = share
        self.denoiser = denoiser

    def __call__(self, docs: Sequence[Doc]) -> None:
        """Mix the probabilities that are kept with docs (`spacy_eat.tags`) with those of the other tagger.

        docs (Sequence[Doc]): The corpus.
        RAISES (ValueError): If the tagger cannot be loaded, or has other labels than the corpus.
        """
        kept = [(doc, found) for doc in docs if len(doc) and (found := tags_of(doc)) is not None]
        if not kept:
            return
        docs = [doc for doc, _ in kept]
        tagger = SourceTagger(docs[0].vocab, NAME, weights=self.weights, mixed_precision=True).classifier
        tags = tagger.tags
        self._check_tags((found for _, found in kept), tags)
        told = []  # which pieces the other tagger has told something of
        for (doc, found), tagged in zip(kept, tagger.predict(docs), strict=True):
            has_piece, rows = cast(TagProbabilities, tagged.tags).over(found.starts, found.ends)
            told.append(has_piece & found.rows.any(axis=1))
            set_tags(doc, found._replace(rows=rows, tags=tags))
        if self.denoiser is not None:
            self.denoiser(docs)
        for (doc, found), mixed in zip(kept, told, strict=True):
            rows = found.ordered(tags)
            other = cast(TagProbabilities, tags_of(doc)).rows
            rows[mixed] = self.share * rows[mixed] + (1 - self.share) * other[mixed]
            set_tags(doc, found._replace(rows=rows, tags=tags))

    def _check_tags(self, found: Iterable[TagProbabilities], tags: Sequence[str]) -> None:
        """RAISES (ValueError): If the tags of a tagger are not those of a corpus."""
        own = {tag for one in found for tag in one.tags}
        if own != set(tags):
            raise ValueError(
                f"`weights` of {NAME} is {self.weights!r}, a tagger for {_labels(tags)}, but the labels of"
                f" the corpus are {_labels(own)}. Name a tagger that was trained with these labels."
            )


def _labels(tags: Iterable[str]) -> str:
    return ", ".join(sorted({tag[2:] for tag in tags if tag != "O"})) or "none"


def make_model_collaboration(weights: str, share: float = 0.5, denoiser: Denoiser | None = None) -> Denoiser:
    """`spacy_eat.ModelCollaboration.v1` (misc): for `denoisers` of `spacy_eat.SoftLabels.v1`; see
    `ModelCollaboration`.

    weights (str): Folder of a tagger that was trained on other data, as of `eat_source_tagger`. "embedded"
        for the one that comes with spacy-eat.
    share (float): What a target keeps of itself, 0.0 to 1.0.
    denoiser (Optional[Denoiser]): What weighs the probabilities of the other tagger before, such as
        `spacy_eat.NeighbourWeights.v1` with the same `weights`; None for nothing.
    RAISES (ValueError): If `share` is out of its range, or `denoiser` is no block.
    """
    return ModelCollaboration(weights, share=share, denoiser=denoiser)
