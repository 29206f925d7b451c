"""The table of speeds: what is timed, and what is the same."""

import pytest
import spacy

from benchmarks import bench_tagger
from tests.bert import han_tagger


def test_students_on_an_encoder_are_read_in_8_bits_too(tmp_path):
    pytest.importorskip("ctranslate2")
    weights = han_tagger(tmp_path)
    nlp = spacy.blank("zh", meta={"name": "small"})
    nlp.add_pipe("eat_token_classifier", name="ner").from_disk(weights)
    nlp.to_disk(tmp_path / "student")
    found = bench_tagger.students(str(tmp_path / "student"))
    assert {name: [ent.text for ent in one("a 京都 b").ents] for name, one in found.items()} == {
        "zh_small, torch": ["京都"],
        "zh_small, ctranslate2": ["京都"],
    }


def test_a_table_of_speeds(tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    nlp = spacy.blank("zh", meta={"name": "ruler"})
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "LOC", "pattern": "京都"}])
    nlp.to_disk(tmp_path / "student")
    texts = tmp_path / "texts.txt"
    texts.write_text("a 京都 b\nb a\n", encoding="utf-8")
    (tmp_path / "tagger").mkdir()
    weights = han_tagger(tmp_path / "tagger")
    bench_tagger.main(texts, weights=weights, rounds=1, student=[str(tmp_path / "student")])
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines() if line.strip()]
    shares = {row[0].strip(): row[-1].strip() for row in rows}
    assert shares["ctranslate2"] == shares["zh_ruler"] == "100.0%"
