"""The forms to the byte: the adapter that comes with the package was tuned on these very strings."""

from spacy_eat.llm.forms import AlignmentForm, TranslationForm
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.llm.tasks.translation import make_translation_task
from spacy_eat.training.tuning.data import ask_name, ask_terms, ask_translation, text_prefix

TERMS = (("雨", "Rain"), ("下", "Down"))


def test_translation() -> None:
    form = TranslationForm("下\n雨。", "Chinese", examples=(("好。", "Good.\n"), ("早。", "Morning.")))
    assert form.prompt == "Chinese: 下 雨。\nEnglish:"
    assert form.head == "Chinese: 好。\nEnglish: Good.\n\nChinese: 早。\nEnglish: Morning.\n\n"
    assert form.draft == ("Chinese: 下 雨。\nTerms:", "\nEnglish:")
    assert form.max_tokens == 40
    assert TranslationForm("字" * 1000, "Chinese").max_tokens == 512


def test_translation_with_terms() -> None:
    form = TranslationForm("下雨。", "Chinese", TERMS)
    assert form.prompt == "Chinese: 下雨。\nTerms: 雨 = Rain; 下 = Down\nEnglish:"
    assert form.draft == ("Chinese: 下雨。\nTerms: 雨 = Rain; 下 = Down;", "\nEnglish:")


def test_alignment() -> None:
    names = ("Beijing", "Li\nHua")
    form = AlignmentForm("我在\n北京。", "Japanese", names, examples=(("在京都。", "Kyoto", "京都"),))
    assert form.prefix == "Japanese: 我在 北京。\n"
    assert form.questions == [
        "English name: Beijing\nJapanese name:",
        "English name: Li Hua\nJapanese name:",
    ]
    assert form.checks == [("Terms:", " = Beijing"), ("Terms:", " = Li Hua")]
    assert form.head == "Japanese: 在京都。\nEnglish name: Kyoto\nJapanese name: 京都\n\n"


def test_tasks_ask_in_these_forms() -> None:
    translation = make_translation_task(examples=[], glossary={"下": "Down", "雨": "Rain"})
    assert translation.prompt("下\n雨。", "zh").completion == TranslationForm(
        "下 雨。", "Chinese", (("下", "Down"), ("雨", "Rain"))
    )
    alignment = make_alignment_task(language="Cantonese", examples=[])
    prompt = alignment.prompt("我在北京（Beijing）。", "I am in Beijing.", ["Beijing"], "zh")
    assert prompt.completion == AlignmentForm("我在北京。", "Cantonese", ("Beijing",))


def test_tuning_continues_the_same_prompts() -> None:
    text, names = "下雨。", [("雨", "Rain"), ("下", "Down")]
    assert text_prefix(text, "zh") == "Chinese: 下雨。\n"
    translation = ask_translation("It rains.", TERMS)
    assert text_prefix(text, "zh") + translation.prompt == TranslationForm(text, "Chinese", TERMS).prompt
    name = ask_name("Rain", "zh", "雨")
    form = AlignmentForm(text, "Chinese", ("Rain",))
    assert text_prefix(text, "zh") + name.prompt == form.prefix + form.questions[0]
    terms = ask_terms(text, names)
    draft, rest = TranslationForm(text, "Chinese").draft
    assert text_prefix(text, "zh") + terms.prompt == draft
    assert terms.answer == "下 = Down; 雨 = Rain"  # in the order of the text
    listed = TranslationForm(text, "Chinese", (("下", "Down"), ("雨", "Rain"))).prompt
    assert f"{draft} {terms.answer}{rest}" == listed
    before, after = AlignmentForm(text, "Chinese", ("Down",)).checks[0]
    assert f"{draft} {terms.answer}".startswith(form.prefix + before + " 下" + after)
    assert ask_terms(text, []).answer == "none"
