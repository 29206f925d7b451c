"""Examples of similar length in batches, in an order that only the seed decides."""

import random
from collections.abc import Sequence


def batch_order(lengths: Sequence[Sequence[int]], most: int, seed: int) -> list[list[int]]:
    """Cut examples into batches of similar length, in random order.

    lengths (Sequence[Sequence[int]]): Tokens or pieces of each example's sides: one of a text, two of a pair.
    most (int): Most of a batch, padding counted in; an example that has more is a batch of its own.
    seed (int): Of the order.
    RETURNS (List[List[int]]): Indices of the examples, each once.
    """
    rng = random.Random(seed)
    # A little noise: not the same company every time.
    order = sorted(range(len(lengths)), key=lambda i: sum(lengths[i]) + 8 * rng.random())
    batches: list[list[int]] = []
    width: Sequence[int] = ()
    for i in order:
        wider = [max(sides) for sides in zip(width, lengths[i], strict=True)] if batches else lengths[i]
        if batches and sum(wider) * (len(batches[-1]) + 1) <= most:
            batches[-1].append(i)
            width = wider
        else:
            batches.append([i])
            width = lengths[i]
    rng.shuffle(batches)
    return batches
