import pytest

from spacy_eat.llm.tasks.checks import has_letters, missing_numbers, translation_fault, with_stop

ZH = "李彦宏在北京创办了百度"


@pytest.mark.parametrize(
    ("text", "english", "reason"),
    [
        (ZH, "", "empty"),
        (ZH, "...", "empty"),
        (ZH, "李彦宏在北京创办了百度。", "not English"),
        (ZH, "I'm sorry, but I can't assist with that.", "refused"),
        (ZH, "I’m sorry, I cannot help with this request.", "refused"),
        (ZH, "I cannot provide a translation of this content.", "refused"),
        (ZH, "As an AI language model, I don't have opinions.", "refused"),
        (ZH, "Li Hu", "too short"),
        (
            "وصل رئيس الجمهورية عبد الفتاح السيسي إلى القاهرة",
            "The President of the Republic,",
            "mid-sentence",
        ),
        (ZH, "Li Yanhong " * 60, "characters long"),
        ("Angela Merkel wurde in Hamburg geboren.", "Angela Merkel wurde in Hamburg geboren.", "text itself"),
    ],
)
def test_what_is_no_translation_is_seen(text, english, reason):
    fault = translation_fault(text, english)
    assert fault is not None and fault.fatal and reason in fault.reason


@pytest.mark.parametrize(
    ("text", "english", "reason"),
    [
        (ZH + "。", "Li Yanhong founded Baidu in Beijing and", "mid-sentence"),
        (
            "联想集团由柳传志于1984年在北京创立。",
            "Lenovo Group was founded by Liu Chuanzhi in Beijing.",
            "'1984'",
        ),
        ("他们在北京和上海都有很多朋友。", "They have friends.", "too short"),
    ],
)
def test_what_is_doubtful_is_not_fatal(text, english, reason):
    fault = translation_fault(text, english)
    assert fault is not None and not fault.fatal and reason in fault.reason


@pytest.mark.parametrize(
    ("text", "english"),
    [
        (ZH, "Robin Li founded Baidu in Beijing."),
        ("对不起，我帮不了你。", "I'm sorry, I can't help you."),
        (
            "很抱歉您遇到此问题，我会尽力为您提供帮助。",
            "I am sorry you have this issue, I will do my best to assist.",
        ),
        ("首先，", "First of all,"),
        ("東京", "Tokyo"),
        ("12345", "12345"),
        ("NHK 2020", "NHK 2020"),
        ("An English line of the text, as it was.", "An English line of the text, as it was."),
        ("IBM, Intel, AMD, Nvidia, Apple e Google", "IBM, Intel, AMD, Nvidia, Apple and Google"),
    ],
)
def test_good_translations_have_no_fault(text, english):
    assert translation_fault(text, english) is None


@pytest.mark.parametrize(
    ("text", "english", "missing"),
    [
        ("２０１８年に", "in 2018", []),
        ("２０１８年に", "that year", ["2018"]),
        ("人口为1,234,567人", "a population of 1 234 567", []),
        ("3000万美元", "$30 million", []),
        ("3000多万张", "more than 30 million", []),
        ("7600億円", "760 billion yen", []),
        ("2万3000円", "23,000 yen", []),
        ("1986年至1988年", "1986-88", []),
        ("88岁", "an old man", []),
    ],
)
def test_numbers(text, english, missing):
    assert missing_numbers(text, english) == missing


def test_what_has_letters():
    assert all(map(has_letters, ["a", "京", "㈱", "한", "Ⅳ", "😀 ok"]))
    assert not any(map(has_letters, ["", "123", "😀👍🏽", "…!?", "①②", "\x00", "１２", "🇯🇵"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ZH, ZH + "。"),
        (ZH + "。", ZH + "。"),
        ("彼は「はい」", "彼は「はい」。"),
        ("東京タワー", "東京タワー。"),
        ("삼성전자는 1969", "삼성전자는 1969."),
        ("Москва", "Москва."),
        ("गांधी", "गांधी।"),
        ("首先，", "首先，"),
        ("ประเทศไทย", "ประเทศไทย"),
        ("", ""),
    ],
)
def test_sentence_ends_are_supplied(text, expected):
    assert with_stop(text) == expected
