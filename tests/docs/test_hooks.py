"""What the site's hooks make of docstrings, entry points, commands and cards."""

import sys

import pytest

from .pages import PROJECT, ROOT

griffe = pytest.importorskip("griffe", reason="needs the extra 'docs'")
sys.path.insert(0, str(ROOT / "docs" / "hooks"))
docstrings = pytest.importorskip("docstrings")
generated = pytest.importorskip("generated")
sys.path.pop(0)


@pytest.fixture(scope="module")
def package():
    extensions = griffe.load_extensions(docstrings.SpacyDocstrings)
    return griffe.load("spacy_eat", search_paths=[str(ROOT)], extensions=extensions, resolve_aliases=False)


def tables(obj):
    """RETURNS (Dict[str, List[Tuple[str, str, str]]]): Name, type and default of each entry, by section."""
    return {
        section.kind.value: [
            (getattr(entry, "name", ""), str(entry.annotation), getattr(entry, "value", None))
            for entry in section.value
        ]
        for section in obj.docstring.parsed
        if section.kind.value != "text"
    }


def test_a_docstring_has_its_tables(package):
    assert tables(package["optional.require"]) == {
        "parameters": [("module", "str", None), ("extra", "str", None), ("purpose", "str", None)],
        "returns": [("", "ModuleType", None)],
        "raises": [("", "ImportError", None)],
    }


def test_lines_that_go_on_and_types_with_brackets():
    docstring = (
        "Say it.\n\nf (Callable[[str], (int)]): What it is,\n    and more.\nRETURNS (int): Two\n    lines."
    )
    assert list(docstrings.entries(docstring)) == [
        (None, "", "Say it."),
        ("f", "Callable[[str], (int)]", "What it is,\nand more."),
        ("RETURNS", "int", "Two\nlines."),
    ]


def test_prose_with_brackets_stays_prose():
    text = "names (of people) are found: all of them."
    assert list(docstrings.entries(text)) == [(None, "", text)]


def test_defaults_of_a_factory_are_those_of_its_config(package):
    made = package["components.translator.make_translator"]
    rows = {name: value for name, _, value in tables(made)["parameters"]}
    assert rows["task"] == '"spacy_eat.EntityTranslation.v1"'
    assert rows["max_length"] == "256"
    assert rows["nlp"] is None


def test_every_function_that_is_registered_is_in_the_reference(package):
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    for group, points in PROJECT["entry-points"].items():
        if group != "spacy_cli":
            assert f"<!-- registered: {group} -->" in pages
            made = generated.registered(group)
            for name, place in points.items():
                assert f"## {name}\n\n::: {place.replace(':', '.')}\n" in made
                assert package[place.replace(":", ".").removeprefix("spacy_eat.")].docstring, place


def test_every_command_and_card_is_shown():
    from spacy_eat.cli import app

    commands = generated.commands()
    for command in app.registered_commands:
        assert f"## {command.name or command.callback.__name__.replace('_', '-')}\n" in commands
    cards = generated.cards()
    for path in (ROOT / "spacy_eat" / "weights").glob("*/README.md"):
        assert f"| folder | `spacy_eat/weights/{path.parent.name}` |" in cards
    assert "\n# " not in cards and not cards.startswith("# ")
