from benchmarks import chains


def test_stored_answers_give_the_stored_entities(data):
    """If they differ on purpose: `python -m benchmarks.chains replay --update`."""
    known = chains.texts(data)
    stored = chains.load()
    replayed = [chain.replayed(known[chain.checksum]) for chain in stored]
    assert len(stored) > 1000
    assert [new.entities for old, new in zip(stored, replayed, strict=True) if new.differs(old)] == []


def test_a_difference_is_seen():
    chain = next(chain for chain in chains.load() if chain.entities)
    first, *rest = chain.entities
    start, end, label, score = first
    others = (start, end + 1, label, score), (start, end, "X", score), (start, end, label, score - 0.01)
    for other in others:
        assert chain.differs(chain._replace(entities=[other, *rest]))
    assert chain.differs(chain._replace(entities=rest))
    assert not chain.differs(chain._replace(entities=[(start, end, label, score + 1e-4), *rest]))
