"""How likely each BIO tag is at each piece of a text: what a tagger thinks, beyond the entities that it sets.

Soft labels for students are made of it. The pieces are those of whoever wrote it; a reader with other tokens
takes the mean of the pieces that share characters with each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.tokens import Doc

# In `doc.user_data`, so it goes wherever the doc goes.
KEY = "eat_tags"
# How likely a token begins an entity whose first piece has begun before the token: it nearly always goes on.
_CUT_PIECE_BEGINS = 0.02


class TagProbabilities(NamedTuple):
    """Probabilities of tags. Rows sum to 1.0, to less where that much is not known.

    starts, ends (ndarray): Characters of the pieces, half open, in the order of the text; shape (pieces,).
    rows (ndarray): Shape (pieces, tags).
    tags (Sequence[str]): O, B-X, I-X, B-Y, I-Y, ...
    """

    starts: np.ndarray
    ends: np.ndarray
    rows: np.ndarray
    tags: Sequence[str]

    def over(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for other pieces of the text. All pieces that share characters with one tell, in the mean,
        what it is part of; whether it begins there is told by the first of them.

        starts, ends (ndarray): Characters of the other pieces, shape (others,).
        RETURNS (Tuple[ndarray, ndarray]): For each whether a piece shares characters with it, shape
            (others,); its probabilities, zeros where none does, shape (others, tags).
        """
        first = np.searchsorted(self.ends, starts, side="right")
        last = np.searchsorted(self.starts, ends, side="left")
        has_piece = first < last
        first, last, starts = first[has_piece], last[has_piece], starts[has_piece]
        sums = np.concatenate([np.zeros((1, self.rows.shape[1])), self.rows.cumsum(axis=0, dtype="float64")])
        mean = (sums[last] - sums[first]) / (last - first)[:, None]
        begins, inside = self.rows[first, 1::2], self.rows[first, 2::2]
        share = begins / (begins + inside + 1e-9)
        share[self.starts[first] < starts] = _CUT_PIECE_BEGINS
        label = mean[:, 1::2] + mean[:, 2::2]
        mean[:, 1::2], mean[:, 2::2] = label * share, label * (1 - share)
        found = np.zeros((len(has_piece), self.rows.shape[1]), dtype="float32")
        found[has_piece] = mean
        return has_piece, found

    def ordered(self, tags: Sequence[str]) -> np.ndarray:
        """RETURNS (ndarray): The rows with their columns in the order of `tags`; zeros for tags that are not
        known here. What other tags have is left out, and so not known.
        """
        columns = {tag: i for i, tag in enumerate(self.tags)}
        found = np.zeros((len(self.rows), len(tags)), dtype="float32")
        for i, tag in enumerate(tags):
            if tag in columns:
                found[:, i] = self.rows[:, columns[tag]]
        return found


def labels_of(rows: np.ndarray) -> np.ndarray:
    """Probabilities of labels, whatever begins or goes on.

    rows (ndarray): Probabilities of tags O, B-X, I-X, B-Y, I-Y, ...; shape (pieces, tags).
    RETURNS (ndarray): First that of no label, then of X, Y, ...; shape (pieces, labels + 1).
    """
    return np.concatenate([rows[:, :1], rows[:, 1::2] + rows[:, 2::2]], axis=1)


def set_tags(doc: Doc, found: TagProbabilities) -> None:
    """Keep probabilities with a doc: `doc.user_data["eat_tags"]`, in fp16.

    doc (Doc): The doc.
    found (TagProbabilities): Its probabilities.
    """
    doc.user_data[KEY] = {
        "starts": found.starts.astype("int32"),
        "ends": found.ends.astype("int32"),
        "rows": found.rows.astype("float16"),
        "tags": list(found.tags),
    }


def tags_of(doc: Doc) -> TagProbabilities | None:
    """The probabilities that are kept with a doc.

    doc (Doc): The doc.
    RETURNS (Optional[TagProbabilities]): None if there are none.
    RAISES (ValueError): If they are not those of the doc's text.
    """
    kept = doc.user_data.get(KEY)
    if kept is None:
        return None
    starts, ends, rows = (np.asarray(kept[name]) for name in ("starts", "ends", "rows"))
    tags = list(kept["tags"])
    fits = len(starts) == len(ends) == len(rows) and rows.shape[1:] == (len(tags),)
    if not fits or (len(ends) and int(ends.max()) > len(doc.text)):
        raise ValueError(
            f"The probabilities in doc.user_data[{KEY!r}] are not those of the text {doc.text[:40]!r}: they"
            f" have {len(rows)} rows for {len(starts)} pieces, up to character {int(ends.max(initial=0))} of"
            f" {len(doc.text)}. Annotate the text again."
        )
    return TagProbabilities(starts.astype(int), ends.astype(int), rows.astype("float32"), tags)
