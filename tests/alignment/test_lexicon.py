"""`LexiconAligner`: places by names of a lexicon, and by their sound."""

import pytest

from spacy_eat.alignment.lexicon import make_lexicon_aligner
from spacy_eat.alignment.resolve import resolve
from spacy_eat.types import Sentence, Span, Text

pytest.importorskip("ahocorasick")
pytest.importorskip("anyascii")

NAMES = "東京\tTokyo\n佐藤\tSatou\tsurname\n花子\tHanako\tgiven\n花\tHana\n花\tFlower\n長江\tYangtze River\n"


@pytest.fixture
def lexicon(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACY_EAT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "names.tsv"
    path.write_text(NAMES, encoding="utf-8")
    return [str(path)]


def options(aligner, text, lang, *names):
    english, spans = ", ".join(names), []
    for name in names:
        start = english.index(name)
        spans.append(Span(start, start + len(name), "PER"))
    sentence = Sentence(Text(text, lang), Text(english, "en"), spans)
    (found,) = aligner([sentence])
    return sentence, found


def words(sentence, found):
    spans = resolve(sentence, found, min_score=0.2).spans
    return [span and sentence.source[span] for span in spans]


def test_names_of_the_lexicon_in_one_spelling_or_another(lexicon):
    aligner = make_lexicon_aligner(lexicon, sounds=False)
    assert words(*options(aligner, "他到东京和长江。", "zh", "Tokyo", "Yangtze River")) == ["东京", "长江"]
    assert words(*options(aligner, "佐藤が来た。", "ja", "Satō")) == ["佐藤"]


def test_a_name_of_two_parts(lexicon):
    sentence, found = options(
        make_lexicon_aligner(lexicon, sounds=False), "佐藤花子が来た。", "ja", "Hanako Sato"
    )
    assert words(sentence, found) == ["佐藤花子"]
    assert found[0].spans[0].score > 2 * max(span.score for span in found[0].spans[1:])


def test_an_ambiguous_name_is_that_of_the_entity_alone(lexicon):
    aligner = make_lexicon_aligner(lexicon, sounds=False)
    for english in ("Hana", "Flower"):
        sentence, (found,) = options(aligner, "花が来た。", "ja", english)
        assert [sentence.source[span] for span in found.spans] == ["花"]
        assert found.spans[0].score < found.none  # a character alone is rather a word
    _, (nothing,) = options(aligner, "花が来た。", "ja", "Tokyo")
    assert not nothing.spans and nothing.none == 1.0


def test_names_that_sound_alike(lexicon):
    aligner = make_lexicon_aligner(lexicon)
    assert words(*options(aligner, "昨日トヨタを見た。", "ja", "Toyota")) == ["トヨタ"]
    assert words(*options(aligner, "柳传志昨天来了。", "zh", "Liu Chuanzhi")) == ["柳传志"]


def test_a_name_that_stands_there_is_taken_from_there(lexicon):
    sentence, (found,) = options(make_lexicon_aligner(lexicon), "NHKの佐藤", "ja", "NHK")
    assert sentence.source[found.spans[0]] == "NHK" and found.spans[0].score == 1.0


def test_shares_add_up_to_less_than_one(lexicon):
    _, found = options(make_lexicon_aligner(lexicon), "佐藤花子と東京", "ja", "Hanako Sato", "Tokyo", "Nara")
    for one in found:
        shares = {span.place: span.score for span in one.spans}
        assert 0.9 < sum(shares.values()) + one.none <= 1.0 + 1e-6


def test_unknown_weights_are_named():
    with pytest.raises(ValueError, match=r"not .*'lenght'"):
        make_lexicon_aligner(weights={"lenght": 1.0})
