import pytest

from benchmarks import languages as benchmark
from benchmarks import rules
from spacy_eat import languages
from spacy_eat.alignment import llm, locate, resolve
from spacy_eat.components import placement

LANGUAGES = ["ar", "de", "es", "fr", "ja", "ka", "ko", "nl", "ru", "zh"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_names_are_found_where_they_stand(data, lang):
    records = [r for r in benchmark.records(data / "alignment" / f"{lang}.jsonl", 300) if r.stands]
    right = sum(benchmark.chosen(record) == record.name for record in records)
    assert len(records) > 50
    assert right / len(records) >= 0.98


@pytest.mark.parametrize(
    "text, name, expected",
    [
        ("Die Demokratie", "Demokrat", False),
        ("Der Demokrat, die Demokratie", "Demokrat", True),
        ("Кабу́л", "Кабу", False),
        ("대한국인", "한국", True),
        ("东京都", "京都", True),
        ("東京", "大阪", False),
    ],
)
def test_what_stands(text, name, expected):
    assert benchmark.stands(text, name) == expected


def test_a_rule_that_was_off_is_on_again():
    def state():
        modules = locate, llm, resolve, placement
        known = [languages.load(path.stem) for path in sorted(languages.FOLDER.glob("*.yaml"))]
        return [dict(vars(module)) for module in modules], known

    before = state()
    for rule in rules.rules():
        with rule.off():
            assert state() != before, rule.name
    assert state() == before


def test_what_is_lost_without_a_rule():
    on = rules.numpy.array([[1.0, 1, 1], [1, 1, 1]])
    off = rules.numpy.array([[1.0, 1, 1], [0, 1, 1]])
    assert rules.f1(on) == 100 and rules.f1(off) == 50
    lost, low, high = rules.loss(on, off)
    assert (lost, low, high) == (50, 0, 100)
