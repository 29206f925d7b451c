"""Denoisers: what they make of targets that contradict what the model, or its space, says."""

import numpy as np
import pytest

from spacy_eat.training.students.denoising import make_easy_first, make_prototypes
from spacy_eat.training.students.neighbours import label_numbers, make_neighbour_weights, neighbour_weights

TARGETS = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]], dtype="float32")
BELIEVED = np.array([[0.81, 0.1, 0.09], [0.75, 0.25, 0], [0.2, 0.2, 0.6]], dtype="float32")


def test_easy_first_weighs_by_what_is_believed():
    assert make_easy_first(0.5)(TARGETS, BELIEVED, None) == pytest.approx(
        np.array([[0.9, 0, 0], [0, 0.5, 0], [0, 0, 0]])
    )
    assert make_easy_first(0.0)(TARGETS, BELIEVED, None) == pytest.approx(TARGETS)


def test_easy_first_of_soft_targets():
    targets = np.array([[0.5, 0.5, 0.0]], dtype="float32")
    believed = np.array([[0.64, 0.64, 0.0]], dtype="float32")
    assert make_easy_first(0.5)(targets, believed, None) == pytest.approx(targets * 0.8)


def test_prototypes_move_a_target_to_the_tag_that_is_near():
    vectors = np.eye(3, dtype="float32")[[0, 0, 1, 2]]
    said = np.eye(3, dtype="float32")[[0, 0, 1, 2]]
    denoise = make_prototypes(share_start=0.8, share_end=0.8, temperature=0.1)
    assert denoise(said, said, vectors) == pytest.approx(said, abs=1e-3)
    wrong = np.eye(3, dtype="float32")[[1]]  # says 1, is where 0 is
    (moved,) = denoise(wrong, wrong, vectors[:1])
    assert moved == pytest.approx([0.2, 0.8, 0.0], abs=1e-3)


def test_prototypes_wait_until_every_tag_has_one():
    denoise = make_prototypes()
    said = np.eye(3, dtype="float32")[[0, 1]]
    vectors = np.eye(4, dtype="float32")[[1, 0]]
    assert denoise(said, said, vectors) is said


def test_prototypes_leave_open_what_is_open():
    denoise = make_prototypes(share_start=0.5, share_end=0.5)
    vectors = np.eye(3, dtype="float32")
    denoise(np.eye(3, dtype="float32"), TARGETS, vectors)
    half = np.array([[0.5, 0, 0], [0, 0, 0], [0, 0, 1]], dtype="float32")
    assert denoise(half, half, vectors).sum(axis=1) == pytest.approx([0.5, 0, 1])


def test_prototypes_share_goes_down():
    denoise = make_prototypes(share_start=1.0, share_end=0.0, batches=2)
    vectors = np.eye(3, dtype="float32")
    denoise(np.eye(3, dtype="float32"), TARGETS, vectors)
    wrong = np.eye(3, dtype="float32")[[1, 1, 2]]
    half = denoise(wrong, wrong, vectors)
    gone = denoise(wrong, wrong, vectors)
    assert half[0, 1] == pytest.approx(0.5, abs=0.01)
    assert gone[0, 1] < half[0, 1]


def test_neighbours_outvote_a_label():
    rng = np.random.default_rng(0)
    places = np.repeat(np.eye(4, dtype="float32")[:2], 20, axis=0)
    vectors = places + rng.normal(0, 0.05, places.shape).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([1, 2], 20)
    labels[0] = 2  # among the neighbours of label 1
    weighed = np.ones(40, dtype=bool)
    weighed[39] = False
    weights = neighbour_weights(vectors, labels, weighed=weighed, neighbours=10, sample=1000)
    assert weights[0] < 0.1
    assert weights[1:20].min() > 0.8 and weights[20:39].min() > 0.8
    assert weights[39] == 1.0


def test_neighbours_are_looked_for_in_a_sample_that_has_names():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 8)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array([0] * 390 + [1] * 10)
    weights = neighbour_weights(vectors, labels, weighed=labels == 1, neighbours=3, sample=20)
    assert (weights[labels == 0] == 1.0).all()
    assert (weights > 0).all() and (weights <= 1).all()


def test_label_numbers():
    rows = np.array([[0.6, 0.2, 0.2], [0.4, 0.3, 0.3], [0.0, 0.0, 0.0]])
    assert label_numbers(rows).tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "make, settings",
    [
        (make_easy_first, {"gamma": -1}),
        (make_prototypes, {"momentum": 2}),
        (make_prototypes, {"batches": 0}),
        (make_neighbour_weights, {"neighbours": 0}),
        (make_neighbour_weights, {"neighbours": 500, "sample": 500}),
    ],
)
def test_settings_out_of_range(make, settings):
    with pytest.raises(ValueError, match=r"spacy_eat\.(EasyFirst|Prototypes|NeighbourWeights)\.v1"):
        make(**settings)


def test_prototypes_need_vectors():
    with pytest.raises(ValueError, match="needs the encoder's vectors"):
        make_prototypes()(TARGETS, BELIEVED, None)
