import json
import re
import unicodedata
from functools import cache
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opencc import OpenCC

from spacy_eat import corpora
from spacy_eat.alignment import locate
from spacy_eat.types import Text


def find(source, answer, **settings):
    lang = "ja" if re.search("[ぁ-ヶ]", source) else "zh"
    return locate.find(Text(source, lang), answer, **settings)


def slices(source, answer, **settings):
    return [(source[slice(*m.place)], m.origin) for m in find(source, answer, **settings)]


# --- find ------------------------------------------------------------------


def test_all_occurrences_in_order():
    assert [m.place for m in find("北京到北京", "北京")] == [(0, 2), (3, 5)]


@pytest.mark.parametrize(
    "source, answer, expected",
    [
        ("私はｱｯﾌﾟﾙの社員", "アップル", "ｱｯﾌﾟﾙ"),
        ("㈱日立に勤める", "(株)日立", "㈱日立"),
        ("ＮＡＴＯ加盟国", "NATO", "ＮＡＴＯ"),
        ("臺灣大學的校長", "台湾大学", "臺灣大學"),
        ("东京塔很高", "東京塔", "东京塔"),
        ("東京藝術大学を出た", "东京艺术大学", "東京藝術大学"),
        ("ジョン・スミスが来た", "ジョン スミス", "ジョン・スミス"),
        ("Marshall „Jimi“ Hendrix spielte", "Jimi Hendrix", "„Jimi“ Hendrix"),
        ("فَرَنسَا", "فرنسا", "فَرَنسَا"),
        ("ジャン＝リュック・ゴダール監督", "ジャン゠リュック・ゴダール", "ジャン＝リュック・ゴダール"),
        ("彼は『罪と罰』を読んだ", "「罪と罰」", "罪と罰"),
        ("映画「ゴジラ」の監督", "「ゴジラ」", "ゴジラ"),
        ("欧州連合（EU）の本部", "欧州連合EU", "欧州連合（EU）"),
        ("ジョン（John）スミスは", "ジョンスミス", "ジョン（John）スミス"),
        ("欧州連合の本部", "欧州連合（EU）", "欧州連合"),
        ("欧州連合の本部", "EU（欧州連合）", "欧州連合"),
        ("印度共产党（马克思主义）成立", "印度共产党（马克思主义）（CPI）", "印度共产党（马克思主义）"),
        ("田中が来た", "田中さん", "田中"),
        ("奥巴马发表讲话", "奥巴马总统", "奥巴马"),
        ("奥巴马发表讲话", "总统奥巴马", "奥巴马"),
        ("ソニーの株価", "ソニー株式会社", "ソニー"),
        ("首都は東京。", "東京。", "東京"),
        ("由柳传志，杨元庆创立", "柳传志，", "柳传志"),
    ],
)
def test_variants(source, answer, expected):
    assert slices(source, answer) == [(expected, "variant")]


@pytest.mark.parametrize(
    "source, answer, expected",
    [
        ("作者萨巴蒂尼女士", "萨巴帝尼女士", "萨巴蒂尼女士"),
        (
            "アルバート・アインシュタインの論文",
            "アルベルト・アインシュタイン",
            "アルバート・アインシュタイン",
        ),
        ("在中华人民共和国成立前", "中華人民共和囯", "中华人民共和国"),
    ],
)
def test_fuzzy(source, answer, expected):
    assert slices(source, answer) == [(expected, "fuzzy")]
    assert slices(source, answer, min_similarity=1.1) == []


@pytest.mark.parametrize(
    "source, answer",
    [
        ("BUSに乗る", "US"),
        ("iPhone5を買う", "iPhone"),
        ("2017年に", "17"),
        ("佐々木さん", "佐"),
        ("カール大帝", "カ"),
        ("5㌔㍍走る", "ロメ"),  # would start inside ㌔
        ("東京は大きい", "京都"),
        ("第一次世界大战爆发", "第二次世界大战"),
        ("Windows 95を使う", "Windows 98"),
        ("東ローマ帝国の滅亡", "西ローマ帝国"),
        ("王が来た", "王さん"),  # one character is too little to go by
        ("これは本だ。", "。"),
        ("これは本だ。", ""),
        ("", "本"),
        ("これは本だ。", "   "),
        ("これは本だ。", "本" * 1000),
    ],
)
def test_abstains(source, answer):
    assert find(source, answer) == []


def test_exact_before_other_spellings():
    assert slices("台灣與台湾", "台湾") == [("台湾", "exact")]


def test_a_whole_katakana_word_before_a_part_of_one():
    source = "アメリカンとアメリカ"
    assert [m.place for m in find(source, "アメリカ")] == [(6, 10)]
    assert slices("ソフトバンクモバイル", "ソフトバンク") == [("ソフトバンク", "exact")]
    assert slices("ソフトバンクモバイル", "ソフト・バンク") == []


def test_full_stop_that_belongs_to_the_name():
    assert slices("モーニング娘。の曲", "モーニング娘。") == [("モーニング娘。", "exact")]


# --- whatever an LLM answers ---

TEXT = st.text(
    st.one_of(
        st.sampled_from('京都東京大学のアメリーｱﾌﾟabUS12 ・=（）()「」"，。臺台湾灣㈱ﬁ'),
        st.characters(),  # surrogates and controls among them
    ),
    max_size=40,
)


@settings(deadline=None)
@given(TEXT, TEXT, st.floats(0, 1.2))
def test_matches_are_slices(source, answer, min_similarity):
    matches = find(source, answer, min_similarity=min_similarity)
    for match in matches:
        text = source[slice(*match.place)]
        assert 0 <= match.start_char < match.end_char <= len(source)
        assert text == text.strip()
        assert 0.0 <= match.score <= 1.0
        assert match.origin != "exact" or text == answer.strip()
        assert match.origin != "fuzzy" or match.score >= min_similarity - 1e-6
    assert all(a.end_char <= b.start_char for a, b in pairwise(matches))
    assert matches == find(source, answer, min_similarity=min_similarity)


@settings(deadline=None)
@given(TEXT, st.text("京都大学アメリカのabUS12", min_size=1, max_size=8), TEXT)
def test_a_word_by_itself_is_found_where_it_stands(before, word, after):
    start = len(before) + 1
    matches = [(*m.place, m.origin) for m in find(f"{before}，{word}，{after}", word)]
    assert (start, start + len(word), "exact") in matches


# --- gold data ---

GOLD = ["zh_pud_half.iob2", "zh_gsdsimp_dev.iob2", "ja_stockmark_dev.jsonl", "ja_gsd_dev.bio"]


@cache
def gold_names(path):
    """(text, start, end) of the names of a corpus, where they stand verbatim."""
    if path.parent.name == "gold":
        records = list(corpora.read(path, labels=None))
        return [(r.text, span.start_char, span.end_char) for r in records for span in r.spans or ()]
    names = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        text, name = record["text"], record["tgt_entity"].strip()
        if name and name in text:
            names.append((text, text.index(name), text.index(name) + len(name)))
    return names


@pytest.fixture(params=[*(f"gold/{name}" for name in GOLD), "alignment/zh.jsonl", "alignment/ja.jsonl"])
def names(request, data):
    return gold_names(data / request.param)


def recovered(names, change=lambda name: name):
    hits = [
        (start, end) in [m.place for m in find(text, change(text[start:end]))] for text, start, end in names
    ]
    return sum(hits) / len(hits)


@pytest.mark.parametrize(
    "change",
    [
        lambda name: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name),
        " ".join,
        lambda name: name[: len(name) // 2] + "・" + name[len(name) // 2 :],
        lambda name: name + "（よみ）",
        lambda name: name + " (English Name)",
        lambda name: f"「{name}」",
        lambda name: f'"{name}"。',
        lambda name: name + "先生" if len(name) > 1 else name,
    ],
    ids=["wide", "spaces", "middle dot", "gloss", "latin gloss", "brackets", "quotes", "title"],
)
@pytest.mark.slow
def test_gold_names_in_other_spellings_come_back(names, change):
    assert len(names) > 500
    assert recovered(names, change) > 0.985


# --- names of encyclopedia articles, which their texts spell in another way ---

TO_SIMPLIFIED = OpenCC("t2s")
IN_BRACKETS = re.compile(r"\s*[(（][^()（）]*[)）]$")


@cache
def simplified(char):
    return str(TO_SIMPLIFIED.convert(char))


def read_aloud(name):
    """The letters and digits of a name, without case, width, accents and traditional forms."""
    letters = unicodedata.normalize("NFKD", "".join(map(simplified, name)).casefold())
    return "".join(char for char in letters if char.isalnum())


def stands(name, text, lang):
    """Whether some words in a row, or characters where words are not set apart, read as a name."""
    units = [read_aloud(unit) for unit in (text if lang in ("ja", "zh") else text.split())]
    starts = (i for i, unit in enumerate(units) if unit and name.startswith(unit))
    return any(name in accumulate(units[i : i + len(name)]) for i in starts)


@pytest.mark.parametrize("lang", ["ar", "de", "es", "fr", "ja", "ka", "ko", "nl", "ru", "zh"])
def test_articles_are_found_by_their_titles(data, lang):
    """A title has another case, width or script than its text, accents, dots or spaces more or less, or
    says in brackets what it is: Paris (Mythologie)."""
    tried, right = 0, 0
    for line in (data / "alignment" / f"{lang}.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        text, title = record["text"], record["tgt_entity"].strip()
        name = read_aloud(IN_BRACKETS.sub("", title))
        if tried < 100 and title not in text and len(name) > 1 and stands(name, text, lang):
            tried += 1
            spans = locate.find(Text(text, lang), title)
            right += bool(spans) and all(read_aloud(text[slice(*span.place)]) == name for span in spans)
    assert tried > 10
    assert right / tried > 0.9
