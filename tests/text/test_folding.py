import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_eat.text.folding import fold

TRICKY = st.text(
    st.one_of(
        st.characters(),  # surrogates and controls among them
        st.sampled_from(
            "ｶｯﾌﾟ゙゚がパ\u3099㈱㍿ﬁßİ·・゠（）「」ー臺灣国國髙〜 \u3000\0\ud800\U000e0100é\u0301각ᄀ"
        ),
    ),
    max_size=60,
)


@pytest.mark.parametrize(
    "one, other",
    [
        ("ｱｯﾌﾟﾙ", "アップル"),
        ("㈱日立", "(株)日立"),
        ("か\u3099", "が"),
        ("ＮＡＴＯ", "nato"),
        ("Beyoncé", "BEYONCE"),
        ("臺灣", "台湾"),
        ("衛生部", "卫生部"),
        ("東京藝術大學", "東京芸術大学"),
        ("戶田", "戸田"),
        ("関ヶ原", "関ケ原"),
        ("ジャン゠リュック・ゴダール", "ジャン＝リュック ゴダール"),
        ("奥巴马", "奥\u200b巴 马"),
        ("葛\U000e0100城", "葛城"),
    ],
)
def test_spellings_of_one_name_fold_alike(one, other):
    assert fold(one).text == fold(other).text


@pytest.mark.parametrize(
    "one, other", [("ビル", "ビール"), ("カ", "ガ"), ("ハ", "パ"), ("王", "玉"), ("東京", "京都")]
)
def test_different_names_stay_different(one, other):
    assert fold(one).text != fold(other).text


def test_offsets_across_changed_lengths():
    folded = fold("㈱ｱｯﾌﾟﾙ社")
    assert folded.text == "株アップル社"
    start = folded.text.index("アップル")
    assert folded.span(start, start + 4) == (1, 6)
    assert fold("ﬁn").text == "fin"
    assert fold("ﬁn").span(1, 3) is None  # would start inside ﬁ
    assert fold("ﬁn").span(0, 3) == (0, 2)


@settings(deadline=None)
@given(TRICKY)
def test_map_is_monotone_and_inside_the_text(text):
    folded = fold(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert list(folded.starts) == sorted(folded.starts)
    assert list(folded.ends) == sorted(folded.ends)
    assert all(0 <= start < end <= len(text) for start, end in zip(folded.starts, folded.ends, strict=True))


@settings(deadline=None)
@given(TRICKY, st.data())
def test_a_slice_folds_to_its_part_of_the_folded_text(text, data):
    folded = fold(text)
    i = data.draw(st.integers(0, len(folded.text)))
    j = data.draw(st.integers(i, len(folded.text)))
    span = folded.span(i, j)
    if span is None:
        assert i == j or folded.splits(i) or folded.splits(j)
    else:
        assert fold(text[slice(*span)]).text == folded.text[i:j]
