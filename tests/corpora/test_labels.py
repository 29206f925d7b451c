"""Schemas of labels: data, and the same for all who look."""

import re

import pytest

from spacy_eat.corpora import label_table, schemas
from spacy_eat.corpora.labels import read_schema


def test_schemas_say_what_they_are_of():
    assert {"uner", "ontonotes", "ja_gsd", "stockmark", "wnut17", "crossner", "klue"} <= set(schemas())
    assert {"msra", "conll2002", "conll2003", "wikiann", "multiconer", "openner"} <= set(schemas())
    for schema in schemas().values():
        assert schema.name and schema.licence and re.match("https?://", schema.source)
        assert set(schema.labels.values()) <= {"PER", "LOC", "ORG", None}


def test_a_label_tells_its_schema():
    """No label means one thing in a corpus and another in the next."""
    merged = label_table("auto")
    for schema in schemas().values():
        assert {label: merged[label] for label in schema.labels} == schema.labels
    assert merged["GPE"] == "LOC" and merged["OG"] == "ORG" and merged["NORP"] is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("name: x\nsource: y\nlabels: {}\n", "the keys are name, source, labels. They must be"),
        ("name: x\nsource: y\nlicence: z\nlabels: {PER: [a], LOC: [a]}\n", "the label 'a' is listed twice"),
        ("name: x\nsource: y\nlicence: z\nlabels: {PER: [1]}\n", "the label 1 is not a string"),
        ("- x\n", "They must be name, source, licence, labels"),
    ],
)
def test_a_wrong_schema_is_named(tmp_path, content, problem):
    (tmp_path / "x.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.yaml: ") as caught:
        read_schema(tmp_path / "x.yaml")
    assert problem in str(caught.value)


def test_labels_that_schemas_disagree_about_are_nobodys(monkeypatch):
    from spacy_eat.corpora import labels

    klue = schemas()["klue"]
    other = klue._replace(labels={"PS": "LOC", "X": "ORG"})
    monkeypatch.setattr(labels, "schemas", lambda: {"klue": klue, "other": other})
    merged = labels.all_labels.__wrapped__()
    assert "PS" not in merged and merged["X"] == "ORG" and merged["LC"] == "LOC"
