import random

from spacy_eat.training.batches import batch_order


def test_batches_of_texts_hold_every_example_once():
    lengths = [((7 * i) % 90 + 1,) for i in range(200)] + [(500,)]
    batches = batch_order(lengths, 300, seed=1)
    assert sorted(i for batch in batches for i in batch) == list(range(201))
    for batch in batches:
        width = max(lengths[i][0] for i in batch)
        assert width * len(batch) <= 300 or len(batch) == 1
        assert width - min(lengths[i][0] for i in batch) < 30
    assert batches == batch_order(lengths, 300, seed=1) != batch_order(lengths, 300, seed=2)
    assert [len(batch) for batch in batches] != sorted(len(batch) for batch in batches)
    assert batch_order([], 300, seed=1) == []


def test_batches_of_pairs_are_padded_on_both_sides():
    rng = random.Random(0)
    lengths = [(rng.randint(1, 60), rng.randint(1, 60)) for _ in range(200)] + [(900, 900)]
    found = batch_order(lengths, 400, seed=0)
    assert sorted(i for batch in found for i in batch) == list(range(201))
    for batch in found:
        size = sum(max(lengths[i][k] for i in batch) for k in (0, 1)) * len(batch)
        assert size <= 400 or len(batch) == 1
