from spacy_eat.taggers.gold import GoldTagger
from spacy_eat.types import Failure, Span, Tagger, Text


def test_gold_spans_in_the_order_of_the_text():
    tagger = GoldTagger({"Ann met Bob.": [Span(8, 11, "PER"), Span(0, 3, "PER")], "Rain.": []})
    assert isinstance(tagger, Tagger)
    found, none, unknown = tagger([Text("Ann met Bob."), Text("Rain.", "en"), Text("Ann met Bob")])
    assert found == [Span(0, 3, "PER"), Span(8, 11, "PER")] and none == []
    assert isinstance(unknown, Failure) and not unknown.retryable
