"""Self-training: which entities of two sides are partners."""

import json
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

from spacy_eat.corpora import CorpusError
from spacy_eat.encoders import Vectors
from spacy_eat.training.aligner import projection
from spacy_eat.training.aligner.config import Projected
from spacy_eat.training.aligner.projection import pair, project
from spacy_eat.types import Span


def side(meanings):
    """One piece a character: what it means is a number."""
    vectors = np.eye(8, dtype="float32")[list(meanings)]
    places = np.arange(len(meanings))
    return Vectors(places, places + 1, vectors)


def test_partners_by_similarity_within_a_label():
    english = [Span(0, 1, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC")]
    source = [Span(0, 1, "LOC"), Span(1, 2, "PER"), Span(3, 4, "PER")]
    here, there = side([1, 0, 2, 0, 3]), side([3, 2, 0, 1])
    assert pair(english, source, here, there, 0.4) == [
        (english[0], source[2]),
        (english[1], source[1]),
        (english[2], source[0]),
    ]


def test_what_disagrees_drops_the_sentence():
    here, there = side([1, 0, 2]), side([4, 0, 1])
    assert pair([Span(0, 1, "PER")], [Span(0, 1, "PER")], here, there, 0.4) == []
    assert pair([Span(0, 1, "PER")], [Span(2, 3, "PER")], here, there, 0.4) != []
    assert pair([Span(0, 1, "PER")], [Span(2, 3, "LOC")], here, there, 0.0) == []
    assert pair([Span(0, 1, "PER")], [Span(0, 1, "PER")], here, side([]), 0.0) == []


@pytest.fixture
def parallel(tmp_path):
    rows = [
        ("安娜见到了鲍勃，真好。", "Anna has met Bob now."),
        ("今天天气真的很不错。", "The weather is fine today."),
        ("安娜来到了这个地方。", "Anna came here with Bob."),
        ("鲍勃来到了这个地方。", "Bob came to this place."),
    ]
    lines = [json.dumps({"source": s, "english": e}, ensure_ascii=False) for s, e in rows]
    (tmp_path / "zh_news1.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


class Names:
    """A tagger and an encoder: Anna and Bob."""

    words = ("Anna", "安娜", "Bob", "鲍勃")

    def __init__(self, *args, **kwargs):
        pass

    def find(self, text):
        return sorted((text.find(word), word) for word in self.words if word in text)

    def tag(self, settings, lang):
        def tag(texts):
            for text in texts:
                yield [Span(at, at + len(word), "PER", 0.8) for at, word in self.find(text)]

        return tag

    def __call__(self, texts):
        found = [self.find(text.string) for text in texts]
        return [
            Vectors(
                np.array([at for at, _ in row], dtype=int),
                np.array([at + len(word) for at, word in row], dtype=int),
                np.array([[1.0, 0] if word in ("Anna", "安娜") else [0, 1.0] for _, word in row]).reshape(
                    -1, 2
                ),
            )
            for row in found
        ]


def test_kept_are_sentences_of_which_nothing_is_left_over(parallel, monkeypatch):
    monkeypatch.setattr(projection, "_tagger", Names().tag)
    monkeypatch.setattr(projection, "Encoder", Names)
    counts = Counter()
    settings = Projected(path=parallel, files={"zh": ["news*"]}, agreement=0.0)
    examples = list(project(settings, "embedded", {"鲍勃来到了这个地方。"}, 0, counts))
    (example,) = examples
    words = [(example.english[slice(*p.english)], example.source[slice(*p.source)]) for p in example.pairs]
    assert words == [("Anna", "安娜"), ("Bob", "鲍勃")] and example.origin == "projected"
    assert all(p.weight == 0.8 for p in example.pairs)
    assert counts == {"sentences read": 3, "no entities": 1, "labels differ": 1, "kept": 1}


def test_mistakes_are_named(parallel):
    with pytest.raises(CorpusError, match=r"zh_old\*\.jsonl: no such file.*`files`"):
        list(project(Projected(path=parallel, files={"zh": ["old*"]}), "embedded", set(), 0, Counter()))
    with pytest.raises(ValueError, match="`weights` of 'eat_source_tagger'"):
        settings = Projected(path=parallel, files={"zh": ["news*"]}, tagger=parallel)
        list(project(settings, "embedded", set(), 0, Counter()))
