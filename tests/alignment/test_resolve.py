import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_eat import corpora
from spacy_eat.alignment.llm import NONE_LOGPROB, TEMPERATURE, to_options
from spacy_eat.alignment.locate import find
from spacy_eat.alignment.resolve import resolve
from spacy_eat.llm.prompts import Candidate
from spacy_eat.types import Options, Sentence, Span, Text


class Placed(NamedTuple):
    """A span of the source and the number of its entity."""

    span: Span
    entity: int
    mentioned: bool


def align(source, names, answers, *, order=None, **settings):
    """From answers to spans, in the order of the source.

    names (List[str]): English names. order (List[int]): Which of them comes first in the English."""
    starts, english = {}, ""
    for i in order or range(len(names)):
        starts[i] = len(english)
        english += names[i] + "|"
    entities = [Span(starts[i], starts[i] + len(name), "X") for i, name in enumerate(names)]
    lang = "ja" if re.search("[ぁ-ヶ]", source) else "zh"
    sentence = Sentence(Text(source, lang), Text(english, "en"), entities)
    options = [
        to_options(sentence.source, name, found, limit=min(len(names) + 4, 32))
        for name, found in zip(names, answers, strict=True)
    ]
    resolved = resolve(sentence, options, **settings)
    placed = [Placed(span, i, True) for i, span in enumerate(resolved.spans) if span]
    return sorted(placed + [Placed(span, i, False) for i, span in resolved.repeats])


def aligned(source, *pairs, **settings):
    """Align (English, answer or candidates) pairs; returns (English, start, text) in order."""
    answers = [[Candidate(a)] if isinstance(a, str) else [Candidate(*c) for c in a] for _, a in pairs]
    names = [english for english, _ in pairs]
    found = align(source, names, answers, **settings)
    return [(names[a.entity], a.span.start_char, source[slice(*a.span.place)]) for a in found]


# --- align -----------------------------------------------------------------


def test_nothing_inside_a_longer_name():
    source = "東京都と京都"
    assert aligned(source, ("Tokyo", "東京都"), ("Kyoto", "京都")) == [
        ("Tokyo", 0, "東京都"),
        ("Kyoto", 4, "京都"),
    ]
    assert aligned("東京都へ行く", ("Tokyo", "東京都"), ("Kyoto", "京都")) == [("Tokyo", 0, "東京都")]


def test_nothing_inside_another_occurrence_of_a_longer_name():
    source = "港铁公司营运，香港的港铁公司与港铁"
    pairs = ("MTR Corporation", "港铁公司"), ("MTR", "港铁")
    assert aligned(source, *pairs) == [
        ("MTR Corporation", 0, "港铁公司"),
        ("MTR Corporation", 10, "港铁公司"),
        ("MTR", 15, "港铁"),
    ]
    assert aligned(source[:-3], *pairs, mentions="aligned") == [("MTR Corporation", 0, "港铁公司")]


def test_a_free_occurrence_before_a_part_of_a_word():
    assert aligned("東京都から京都へ", ("Kyoto", "京都")) == [("Kyoto", 5, "京都")]


def test_repeated_mentions_in_order():
    source = "京都から東京、東京から京都"
    answers = [[Candidate("京都")], [Candidate("東京")], [Candidate("京都")]]
    found = align(source, ["Kyoto", "Tokyo", "Kyoto"], answers, order=[2, 1, 0], mentions="aligned")
    assert [(a.entity, a.span.start_char) for a in found] == [(2, 0), (1, 4), (0, 11)]


def test_a_mention_too_many_takes_no_other_name():
    obama = [("奥巴马", -0.5), ("米歇尔", -3.0), ("总统", -4.0)]
    pairs = ("Obama", obama), ("Obama", obama), ("Michelle", [("米歇尔", -0.4), ("奥巴马", -5.0)])
    assert aligned("总统奥巴马和米歇尔来了", *pairs) == [("Obama", 2, "奥巴马"), ("Michelle", 6, "米歇尔")]


def test_another_spelling_of_a_name_takes_no_other_name():
    candidates = [("伯諾瓦", -0.1), ("蒙特卡羅", -5.0)]
    assert aligned("在蒙特卡羅與伯諾瓦", ("Benoît", candidates), ("Benoit", candidates)) == [
        ("Benoît", 6, "伯諾瓦")
    ]


def test_names_are_chosen_together():
    candidates = ("Paris", [("巴黎", -1.0), ("伦敦", -1.2)]), ("London", [("巴黎", -0.9), ("伦敦", -5.0)])
    assert aligned("巴黎和伦敦", *candidates, mentions="aligned") == [
        ("London", 0, "巴黎"),
        ("Paris", 3, "伦敦"),
    ]


def test_overlap_costs_the_less_likely_one():
    pairs = ("Kyoto University", [("京都大学", -0.1)]), ("Great", [("大学で学", -4.0)])
    assert aligned("京都大学で学ぶ", *pairs) == [("Kyoto University", 0, "京都大学")]
    pairs = ("Kyoto", [("京都", -0.1)]), ("He", [("京都帝大で", -8.0), ("学ぶ", -9.0)])
    assert aligned("京都帝大で学ぶ", *pairs) == [("Kyoto", 0, "京都"), ("He", 5, "学ぶ")]


def test_none():
    source = "北京是首都"
    assert aligned(source, ("Beijing", [("北京", -11.0)])) == []
    assert aligned(source, ("Beijing", [("", -0.1), ("北京", -3.0)])) == []
    assert aligned(source, ("Beijing", [("北京", -0.1), ("", -3.0)])) != []


def test_unmentioned_repeats():
    source = "北京很大，我爱北京。"
    first, second = align(source, ["Beijing"], [[Candidate("北京")]])
    assert (first.span.start_char, first.mentioned, first.span.score) == (0, True, 1.0)
    assert (second.span.start_char, second.mentioned, second.entity) == (7, False, 0)
    assert 0 < second.span.score < first.span.score
    assert aligned(source, ("Beijing", "北京"), mentions="aligned") == [("Beijing", 0, "北京")]


@pytest.mark.parametrize(
    "source, answer",
    [
        ("京都から東京都へ", "京都"),
        ("アジアはノヴァ・アジアと", "アジア"),
        ("アメリカはアメリカンと", "アメリカ"),
        ("USはBUSと", "US"),
        ("李和李子", "李"),
    ],
)
def test_no_repeat_inside_a_longer_word(source, answer):
    assert len(aligned(source, ("Name", answer))) == 1


def test_a_gloss_is_a_further_mention_of_the_name_before_it():
    source = "那是安迪（Andy）對打時"
    candidates = [("安迪", -4.0), ("對打", -3.0)]
    assert aligned(source, ("Andy", candidates)) == [("Andy", 2, "安迪"), ("Andy", 5, "Andy")]
    assert aligned(source, ("Andy", candidates), mentions="aligned") == [("Andy", 2, "安迪")]
    assert aligned(source, ("Andy", [])) == [("Andy", 5, "Andy")]


def test_a_name_in_brackets_is_a_mention_whatever_the_english_is():
    source = "霍普利（Hopley）女士和本田（MF）、東京（江戶）、大阪（Osaka，日本）"
    names = [("Powell", "霍普利"), ("Honda", "本田"), ("Tokyo", "東京"), ("Osaka", "大阪")]
    assert [text for _, _, text in aligned(source, *names)] == [
        "霍普利",
        "Hopley",
        "本田",
        "東京",
        "大阪",
        "Osaka",
    ]
    assert "Hopley" not in [text for _, _, text in aligned(source, *names, mentions="aligned")]


@pytest.mark.parametrize(
    "source, answer, expected",
    [
        ("在魁北克省的記者", "魁北克", "魁北克省"),
        ("横浜市民は", "横浜", "横浜"),
        ("南種子町長を", "南種子", "南種子"),
        ("神戸市中央区で", "神戸市", "神戸市"),
        ("株式会社イズミの店", "イズミ", "株式会社イズミ"),
        ("興亜工業株式会社は", "興亜工業", "興亜工業株式会社"),
        ("李省的", "李", "李"),
        ("在中国大陆的", "中国", "中国大陆"),
        ("南投市区的", "南投", "南投"),
        ("利奥波德一世与", "利奥波德", "利奥波德一世"),
        ("罗马一世纪的", "罗马", "罗马"),
        ("芬兰共和国的", "芬兰", "芬兰"),
        ("北京大学", "北京大学", "北京大学"),
    ],
)
def test_names_are_completed(source, answer, expected):
    assert aligned(source, ("Name", answer)) == [("Name", source.index(expected), expected)]


@pytest.mark.parametrize(
    "source, answer, expected",
    [
        ("第2の神直道少佐は", "神直道少佐", "神直道"),
        ("ウィリス・A・リー中将が", "ウィリス・A・リー中将", "ウィリス・A・リー"),
        ("山田氏は", "山田氏", "山田"),
        ("勃艮第伯爵说", "勃艮第伯爵", "勃艮第"),
        ("源氏は", "源氏", "源氏"),
        ("明星大学教授の", "明星大学教授", "明星大学"),
        ("尉氏县的", "尉氏县", "尉氏县"),
    ],
)
def test_a_rank_is_no_part_of_a_name(source, answer, expected):
    assert aligned(source, ("Name", answer)) == [("Name", source.index(expected), expected)]
    ranked = aligned(source, ("Professor Name", answer))
    assert ranked == [("Professor Name", source.index(answer), answer)]


def test_a_name_is_preferred_to_a_phrase():
    source = "国際連合の輸送機は稀勢の里と"
    assert aligned(source, ("UN Transport", [("国際連合の輸送機", -0.2), ("国際連合", -2.0)])) == [
        ("UN Transport", 0, "国際連合")
    ]
    assert aligned(source, ("Kisenosato", [("稀勢の里", -0.2), ("稀勢", -6.0)])) == [
        ("Kisenosato", 9, "稀勢の里")
    ]


def test_names_are_not_cut_at_a_middle_dot():
    source = "唐納德·特朗普說"
    assert aligned(source, ("Donald Trump", [("唐納德", -1.0), ("唐納德·特朗普", -2.0)])) == [
        ("Donald Trump", 0, "唐納德·特朗普")
    ]


def test_scores():
    def score(source, *candidates):
        return align(source, ["Name"], [[Candidate(*c) for c in candidates]])[0].span.score

    assert score("北京", ("北京", None)) == 1.0
    assert score("臺北", ("台北", None)) == 0.95
    einstein = score("アルバート・アインシュタイン", ("アルベルト・アインシュタイン", None))
    assert einstein == pytest.approx(0.9 * 11 / 13)
    assert score("北京", ("东京", None), ("北京", None)) == 0.5
    # A softmax over the answers and none, softened by the temperature.
    softmax = 1 / (1 + math.exp(-5.2 / TEMPERATURE) + math.exp((NONE_LOGPROB - 0.2) / TEMPERATURE))
    assert score("北京话", ("北京", 0.2), ("北京话", -5.0)) == pytest.approx(softmax)
    assert score("北京话", ("北京", -1.0), ("北京话", -1.0)) == pytest.approx(0.5, abs=0.01)
    # Two answers for one span.
    assert score("北京市", ("北京", -1.0), ("北京市", -1.0)) == pytest.approx(0.97, abs=0.03)
    assert score("北京", ("北京", -1.0)) > score("北京", ("北京", -4.0)) > score("北京", ("北京", -9.0))


def test_min_score():
    candidates = [("巴黎", -1.0), ("伦敦", -1.1)]
    assert aligned("巴黎和伦敦", ("Paris", candidates), min_score=0.5) == [("Paris", 0, "巴黎")]
    assert aligned("巴黎和伦敦", ("Paris", candidates), min_score=0.6) == []


def test_options_must_match_entities():
    with pytest.raises(ValueError, match="1 entities, but options for 0"):
        resolve(Sentence(Text("北京"), Text("Beijing"), [Span(0, 7)]), [])


# --- whatever an LLM answers ----------------------------------------------

TEXT = st.text(
    st.one_of(
        st.sampled_from('京都東京大学のアメリーｱﾌﾟabUS12 ・=（）()「」"，。臺台湾灣㈱ﬁ'),
        st.characters(),  # surrogates and controls among them
    ),
    max_size=40,
)
LOGPROB = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(-12, 1)


@st.composite
def requests(draw):
    """A source, entities, and answers that are often parts of the source."""
    source = draw(TEXT)
    part = st.builds(lambda i, n: source[i : i + n], st.integers(0, len(source)), st.integers(0, 8))
    name = st.sampled_from(["Kyoto", "kyoto", "Tokyo", "US"]) | st.text(min_size=1, max_size=5)
    names = draw(st.lists(name, max_size=6))
    candidates = st.lists(st.builds(Candidate, part | TEXT, LOGPROB), max_size=5)
    answers = draw(st.lists(candidates, min_size=len(names), max_size=len(names)))
    return source, names, answers, draw(st.permutations(range(len(names))))


@settings(max_examples=300, deadline=None)
@given(requests(), st.sampled_from(["all", "aligned"]), st.floats(0, 1))
def test_alignments_are_valid(request, mentions, min_score):
    source, names, answers, order = request
    found = align(source, names, answers, order=order, mentions=mentions, min_score=min_score)
    given = {candidate.text.strip() for candidates in answers for candidate in candidates}
    given |= {name.strip() for name in names}
    for span, number, mentioned in found:
        assert 0 <= span.start_char < span.end_char <= len(source)
        assert 0 <= number < len(names)
        assert min_score <= span.score <= 1.0
        assert mentioned or mentions == "all"
        assert span.origin in ("exact", "variant", "fuzzy")
        assert not mentioned or span.origin != "exact" or source[slice(*span.place)] in given
        assert span.label == "X"
    assert all(a.span.end_char <= b.span.start_char for a, b in pairwise(found))
    mentioned = [a.entity for a in found if a.mentioned]
    assert len(mentioned) == len(set(mentioned))
    assert {a.entity for a in found} == set(mentioned)
    assert found == align(source, names, answers, order=order, mentions=mentions, min_score=min_score)


@settings(deadline=None)
@given(
    st.permutations("京都文字像東西南北").map("".join),
    st.lists(
        st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.floats(-9, 0)), max_size=3), max_size=4
    ),
)
def test_no_other_choice_is_worth_more(source, choices):
    answers = [
        {source[i : i + n]: logprob for i, n, logprob in options if source[i : i + n]} for options in choices
    ]
    candidates = [[Candidate(*item) for item in options.items()] for options in answers]
    names = [str(i) for i in range(len(answers))]
    found = align(source, names, candidates, mentions="aligned")

    def best(rest, taken):  # by trying everything
        if not rest:
            return 0.0
        totals = [best(rest[1:], taken)]
        for text, logprob in rest[0].items():
            for match in find(Text(source), text):
                span = match.place
                if all(span[1] <= start or end <= span[0] for start, end in taken):
                    totals.append(logprob + 10 + best(rest[1:], [*taken, span]))
        return max(totals)

    total = sum(answers[a.entity][source[slice(*a.span.place)]] + 10 for a in found)
    assert total == pytest.approx(best(answers, []), abs=0.01)


def test_where_the_program_has_no_answer_the_best_options_go_first(monkeypatch):
    monkeypatch.setattr("spacy_eat.alignment.resolve.MAX_SECONDS", 0.0)
    source, english = Text("巴黎和伦敦"), Text("Paris London")
    paris, london = Span(0, 2, score=0.9), Span(3, 5, score=0.8)
    options = [Options((paris, london)), Options((replace(paris, score=0.95), london))]
    resolved = resolve(Sentence(source, english, [Span(0, 5, "LOC"), Span(6, 12, "LOC")]), options)
    assert resolved.approximate
    assert [span.place for span in resolved.spans] == [(3, 5), (0, 2)]


def test_every_aligner_is_resolved_alike():
    sentence = Sentence(Text("東京都知事"), Text("Tokyo Kyoto"), [Span(0, 5, "LOC"), Span(6, 11, "LOC")])
    options = [Options((Span(0, 3, score=0.7),), none=0.2), Options((Span(1, 3, score=0.3),), none=0.4)]
    tokyo, kyoto = resolve(sentence, options).spans
    assert tokyo == Span(0, 3, "LOC") and tokyo.score == 0.7
    assert kyoto is None  # within a longer name, and less likely than none


# --- size ------------------------------------------------------------------


@pytest.mark.slow
def test_long_source():
    source = ("東京都と京都、アメリカのＮＡＴＯ（北大西洋条約機構）を訪れた。" * 4000)[:100_000]
    answers = ["東京都", "京 都", "アメリカ合衆国", "nato", "北大西洋条約同盟", "ザクセン選帝侯国", "Ukraine"]
    names = [f"{answer} {i}" for i in range(50) for answer in answers[i % 7 : i % 7 + 1]]
    found = align(source, names, [[Candidate(n.rsplit(" ", 1)[0])] for n in names])
    assert found and all(a.span.end_char <= b.span.start_char for a, b in pairwise(found))


@pytest.mark.parametrize(
    "source", ["a" * 100_000, "東" * 100_000, "あ（" * 50_000, "か\u0301" + "\u3099" * 99_999, "\0" * 99_999]
)
@pytest.mark.slow
def test_monotonous_source(source):
    answers = [[Candidate(source[:n], -1.0), Candidate(source[:n] + "b", -2.0)] for n in range(1, 30)]
    found = align(source, [str(i) for i in range(len(answers))], answers)
    assert all(a.span.end_char <= b.span.start_char for a, b in pairwise(found))


# --- gold data -------------------------------------------------------------

GOLD = ["zh_pud_half.iob2", "zh_gsdsimp_dev.iob2", "ja_stockmark_dev.jsonl", "ja_gsd_dev.bio"]


@pytest.mark.parametrize("mentions", ["all", "aligned"])
@pytest.mark.parametrize("corpus", GOLD)
@pytest.mark.slow
def test_gold_answers_align_to_gold_spans(data, corpus, mentions):
    right = predicted = gold = 0
    for record in corpora.read(data / "gold" / corpus, labels=None):
        spans = [(span.start_char, span.end_char) for span in record.spans or ()]
        texts = [record.text[start:end] for start, end in spans]
        names = [f"Name of {text}" for text in texts]
        found = align(record.text, names, [[Candidate(text)] for text in texts], mentions=mentions)
        right += len({a.span.place for a in found} & set(spans))
        predicted, gold = predicted + len(found), gold + len(spans)
    assert right / predicted > 0.99
    assert right / gold > 0.99
