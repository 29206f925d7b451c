import json

import pytest

from spacy_eat.llm.tasks.rendering import builtin_examples, load_examples
from spacy_eat.llm.tasks.translation import clean_translation, make_translation_task


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
        ("English tea: a history", "English tea: a history"),
    ],
)
def test_clean_translation(response, expected):
    assert clean_translation(response) == expected


@pytest.mark.parametrize("lang", ["zh", "ja"])
def test_builtin_examples_are_sound(lang):
    examples = builtin_examples(lang)
    assert len(examples) >= 3
    assert load_examples(examples) == examples
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
