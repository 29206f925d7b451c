import json

import pytest

from spacy_eat.llm.tasks.rendering import builtin_examples, load_examples, load_template
from spacy_eat.llm.tasks.translation import (
    EntityTranslationTask,
    clean_translation,
    make_translation_dialogue_task,
    make_translation_task,
)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("  It rains.\n", "It rains."),
        ("English: It rains.", "It rains."),
        ("**Translation:** It rains.", "It rains."),
        ("Final English translation: It rains.", "It rains."),
        ('"It rains."', "It rains."),
        ('"Go," he said. "Now."', '"Go," he said. "Now."'),
        ("<think>\nWhat is it?\n</think>\n\nIt rains.", "It rains."),
        ("```text\nIt rains.\nIt pours.\n```", "It rains. It pours."),
        ("Sure! Here is the English translation of the text:\n\nIt rains.", "It rains."),
        ("English tea: a history", "English tea: a history"),
    ],
)
def test_clean_translation(response, expected):
    assert clean_translation(response) == expected


@pytest.mark.parametrize("lang", ["zh", "ja"])
def test_builtin_examples_are_sound(lang):
    examples = builtin_examples(lang)
    assert len(examples) >= 3
    labels = [example["labels"] for example in examples]
    assert [
        {**own, "labels": of} for own, of in zip(load_examples(examples), labels, strict=True)
    ] == examples
    assert all(
        own.keys() == example["entities"].keys() for own, example in zip(labels, examples, strict=True)
    )
    completion = make_translation_task().prompt("x", lang).completion
    assert completion.head.count("English:") == len(examples)


def test_no_examples_for_other_languages():
    assert builtin_examples("ko") == [] and builtin_examples("../zh") == []


def test_examples_from_files(tmp_path):
    example = {"text": "我在北京。", "english": "I am in Beijing.", "entities": {"Beijing": "北京"}}
    (tmp_path / "a.jsonl").write_text(json.dumps(example) + "\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps([example]), encoding="utf-8")
    (tmp_path / "a.yml").write_text(json.dumps([example]), encoding="utf-8")
    for name in ("a.jsonl", "a.json", "a.yml"):
        assert load_examples(str(tmp_path / name)) == [example]
    with pytest.raises(ValueError, match="needs the fields"):
        load_examples([{"text": "x"}])


def test_a_template_of_ones_own():
    task = make_translation_task(template="{{ language }}>{{ text }}")
    assert task.prompt("下雨。", "zh") == "Chinese>下雨。"


def test_a_text_without_an_end_gets_one_for_base_models_only():
    prompt = make_translation_task().prompt("李彦宏在北京创办了百度", "zh")
    assert prompt.completion.text == "李彦宏在北京创办了百度。"
    assert prompt.endswith("Chinese: 李彦宏在北京创办了百度\nEnglish:")


def test_the_other_form_is_plain_and_has_the_terms_in_the_text():
    prompt = make_translation_task(glossary={"马云": "Jack Ma", "北京": "Peking"}).prompt(
        "马云在杭州。", "zh"
    )
    assert prompt.again.endswith("\n\nJack Ma在杭州。") and len(prompt.again) < len(prompt) / 2
    assert prompt.again.completion.prompt == "Chinese: Jack Ma在杭州。\nEnglish:"
    assert prompt.completion.drafted and not prompt.again.completion.drafted
    assert "Jack Ma" in prompt.fault("Ma Yun is in Hangzhou.").reason
    assert prompt.fault("Jack Ma is in Hangzhou.") is None


def test_a_dictionary_does_not_bind():
    task = EntityTranslationTask(load_template("entity_translation"), glossary={"马云": "Jack Ma"})
    assert task.prompt("马云在杭州。", "zh").fault("Ma Yun is in Hangzhou.") is None


def test_any_language_is_not_called_multi_language():
    for task in (make_translation_task(), make_translation_dialogue_task()):
        prompt = task.prompt("下雨。", "xx")
        assert "Multi" not in prompt and "Multi" not in prompt.again
    assert make_translation_task().prompt("下雨。", "xx").completion.language == "Source"
    assert make_translation_task(language="zh").prompt("下雨。", "xx").completion.language == "Chinese"
