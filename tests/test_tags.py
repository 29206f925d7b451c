"""Probabilities of tags: kept with a doc, read by other pieces and other tag sets."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_eat.tags import KEY, TagProbabilities, set_tags, tags_of

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.fixture
def doc():
    return spacy.blank("zh").make_doc("东京都 a")


@pytest.fixture
def found():
    """东京 begins a place and 都 goes on with it; "a" is in none."""
    rows = [[0.1, 0.8, 0.0, 0.1, 0.0], [0.2, 0.1, 0.7, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]]
    return TagProbabilities(np.array([0, 2, 4]), np.array([2, 3, 5]), np.array(rows), TAGS)


def test_kept_with_a_doc_through_bytes(doc, found):
    assert tags_of(doc) is None
    set_tags(doc, found)
    bin = DocBin(store_user_data=True, docs=[doc])
    for copy in (Doc(doc.vocab).from_bytes(doc.to_bytes()), *bin.get_docs(doc.vocab)):
        kept = tags_of(copy)
        assert kept.tags == TAGS
        assert kept.starts.tolist() == [0, 2, 4] and kept.ends.tolist() == [2, 3, 5]
        assert np.allclose(kept.rows, found.rows, atol=1e-3)


@pytest.mark.parametrize("wrong", [{"ends": np.array([2, 3, 9])}, {"starts": np.array([0])}, {"tags": ["O"]}])
def test_those_of_another_text_are_refused(doc, found, wrong):
    set_tags(doc, found._replace(**{n: v for n, v in wrong.items() if n != "tags"}))
    if "tags" in wrong:
        doc.user_data[KEY]["tags"] = wrong["tags"]
    with pytest.raises(ValueError, match="Annotate the text again"):
        tags_of(doc)


def test_other_pieces_take_the_mean_and_begin_where_the_first_begins(found):
    has, rows = found.over(np.array([0, 3, 4]), np.array([3, 4, 5]))
    assert has.tolist() == [True, False, True]
    assert not rows[1].any()
    # Of 东京都, the place has the mean of 0.8 and 0.8; all of it begins, as its first piece does.
    assert rows[0].sum() == pytest.approx(1.0)
    assert rows[0, 1] + rows[0, 2] == pytest.approx(0.8)
    assert rows[0, 2] == pytest.approx(0.0, abs=1e-6)
    assert rows[2].tolist() == [1.0, 0, 0, 0, 0]


def test_what_starts_within_a_piece_goes_on_with_it(found):
    _, rows = found.over(np.array([0, 1]), np.array([1, 2]))
    assert rows[0, 1] == pytest.approx(0.8)
    assert rows[1, 2] > 0.75 and rows[1, 1] < 0.05


def test_in_the_order_of_other_tags(found):
    rows = found.ordered(["O", "B-PER", "I-PER", "B-ORG", "I-ORG"])
    assert rows[0] == pytest.approx([0.1, 0.1, 0.0, 0.0, 0.0])
    assert rows[2] == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0])
