import pytest

from spacy_eat.corpora.parallel import ParallelRecord
from spacy_eat.training.tuning.pairs import (
    learn_names,
    mine_pairs,
    plain_name,
    skeleton,
    sounds_like,
)

FOREIGN = frozenset("弗兰克加利西亚朱安阿桑奇梅根马尔")


@pytest.mark.parametrize(
    "lang, english, source, expected",
    [
        ("zh", "Zhang Guangjun", "会议决定任命张光军为副省长。", "张光军"),
        ("zh", "Guangjun Zhang", "会议决定任命张光军为副省长。", "张光军"),
        ("zh", "Frank Galicia", "确认为旧金山居民弗兰克·加利西亚。", "弗兰克·加利西亚"),
        ("zh", "Julian Assange", "维基解密创始人朱利安·阿桑奇被捕。", "朱利安·阿桑奇"),
        ("zh", "Meghan Markle", "王室给予了梅根·马克尔支持", "梅根·马克尔"),
        ("zh", "Frank Galicia", "会议决定任命张光军为副省长。", ""),
        ("ja", "Boris Johnson", "英国のボリス・ジョンソン首相は述べた。", "ボリス・ジョンソン"),
        ("ja", "California", "カリフォルニア州の消防当局", "カリフォルニア"),
        ("ja", "California", "ニューヨーク州の消防当局", ""),
        ("ko", "California", "캘리포니아", ""),
    ],
)
def test_sounds(lang, english, source, expected):
    assert sounds_like(lang, english, source, FOREIGN) == expected


def test_company_teaches_names():
    sources = [
        "特朗普抵达北京。",
        "周三，特朗普说不。",
        "但特朗普总统没有去。",
        "北京今天下雨。",
        "他没有说什么。",
        "总统没有去。",
    ]
    english = [["Trump", "Beijing"], ["Trump"], ["Trump"], ["Beijing"], [], []]
    records = [ParallelRecord("zh", source, "") for source in sources]
    # "Beijing" is too rare to tell.
    assert learn_names(records, english) == {"trump": "特朗普"}


def test_each_way_of_finding_is_counted():
    records = [
        ParallelRecord("ja", "TOKYO MXは東京のテレビ局。", ""),
        ParallelRecord("ja", "山田がカリフォルニアにいる。", ""),
    ]
    entities = [["TOKYO MX", "the Tokyo"], ["California's", "Yamada"]]
    mined, counts = mine_pairs(records, entities, {"tokyo": {"東京"}, "tokyo mx": {"無"}})
    assert mined[0].names == (("Tokyo Mx", "TOKYO MX"), ("Tokyo", "東京"))
    assert mined[1].names == (("California", "カリフォルニア"),)
    assert counts == {"verbatim": 1, "known": 1, "sound": 1, "none": 1}


def test_small_things():
    assert plain_name("the United Nations'") == "United Nations"
    assert skeleton("Philippine") == skeleton("firipin")
