"""The commands, driven as a user does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spacy_eat.cli import spacy_app as app
from spacy_eat.evaluation.tables import table, width

from .. import scripted

CODE = ["--code", scripted.__file__]


def invoke(*arguments) -> str:
    result = CliRunner().invoke(app, ["eat", *map(str, arguments)])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def fail(*arguments) -> str:
    result = CliRunner().invoke(app, ["eat", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


@pytest.fixture
def config(tmp_path):
    return scripted.write_config(tmp_path)


def write_gold(path: Path, sentences) -> Path:
    rows = []
    for i, (text, entities) in enumerate(sentences):
        spans = [
            {"span": [text.index(name), text.index(name) + len(name)], "type": label}
            for name, label in entities
        ]
        rows.append(json.dumps({"id": str(i), "text": text, "entities": spans}, ensure_ascii=False))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


GOLD = [
    ("张三在東京。", [("张三", "人名"), ("東京", "地名")]),
    ("李四走了。", [("李四", "人名")]),
    ("東京都", [("東京都", "地名")]),
    ("败", []),
]


def test_spacy_lists_the_commands():
    """As a process of its own: spaCy finds them by the entry point, and none is slow to import."""
    command = [sys.executable, "-X", "importtime", "-m", "spacy", "eat", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    for name in ("demo", "annotate", "evaluate", "tune", "visualize"):
        assert name in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines() if line.count("|") == 2}
    assert "spacy_eat.cli.evaluate" in imported
    heavy = {
        "transformers",
        "openai",
        "pyarrow",
        "pandas",
        "ray",
        "spacy_eat.annotate",
        "spacy_eat.evaluation.scores",
    }
    assert not heavy & imported


def test_evaluate_prints_and_saves_all_scores(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    output = invoke("evaluate", config, gold, *CODE, "--output", tmp_path / "scores.json", "--n", 1)
    for words in ("strict entities", "paper's character F1", "coverage", "LLM requests per sentence"):
        assert words in output
    assert "not_translated: 李四 (PER)" in output and "wrong_boundary: 東京都 (LOC) | 東京 (LOC)" in output
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert (scores["strict"]["tp"], scores["strict"]["fp"], scores["strict"]["fn"]) == (2, 1, 2)
    assert scores["coverage"]["share"] == 0.75 and scores["speed"]["requests_per_sentence"] == 2.0
    assert scores["lost"]["not_translated"] == scores["lost"]["wrong_boundary"] == 1
    assert sum(scores["lost"].values()) == scores["strict"]["fn"]
    assert sum(scores["spurious"].values()) == scores["strict"]["fp"]
    # 8 of 9 gold characters have their label: 張三 東京 and two of 東京都
    assert scores["paper_characters"]["scored"] == 3 and scores["paper_characters"]["skipped"] == 1
    limited = invoke("evaluate", config, gold, *CODE, "--limit", 1)
    assert "1.000   1.000   1.000" in limited


def test_visualize_draws_what_evaluate_saved(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    for name in ("a", "b"):
        invoke("evaluate", config, gold, *CODE, "--output", tmp_path / f"{name}.json")
    output = invoke("visualize", tmp_path / "a.json", tmp_path / "b.json", tmp_path / "new" / "scores.svg")
    assert "1 runs" in output  # of the same pipeline on the same set
    drawn = (tmp_path / "new" / "scores.svg").read_text(encoding="utf-8")
    for words in ("scripted.cfg, gold (4)", "PER", "not translated", "wrong boundary", "label ignored"):
        assert f"<!-- {words} -->" in drawn
    (tmp_path / "empty").mkdir()
    assert "No scores to draw" in fail("visualize", tmp_path / "empty", tmp_path / "x.png")
    (tmp_path / "empty" / "x.json").write_text('{"pipeline": "x"}', encoding="utf-8")
    assert "has no scores" in fail("visualize", tmp_path / "empty", tmp_path / "x.png")


def test_evaluate_maps_labels(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", [("张三在東京。", [("张三", "HERO"), ("東京", "地名")])])
    assert "HERO" in invoke("evaluate", config, gold, *CODE)
    labels = tmp_path / "labels.json"
    labels.write_text('{"HERO": "PER"}', encoding="utf-8")
    assert "HERO" not in (output := invoke("evaluate", config, gold, *CODE, "--labels", labels))
    assert "all                  1.000" in output
    labels.write_text('{"*": null}', encoding="utf-8")
    assert "HERO" not in invoke("evaluate", config, gold, *CODE, "--labels", labels)
    assert "地名" in invoke("evaluate", config, gold, *CODE, "--labels", "none")


def test_evaluate_refuses_what_does_not_fit(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    (tmp_path / "short.jsonl").write_text('{"id": "0", "english": "One."}\n', encoding="utf-8")
    assert "1 texts for 4 docs" in fail(
        "evaluate", config, gold, *CODE, "--english", tmp_path / "short.jsonl"
    )
    lines = [json.dumps({"id": str(i), "english": "One."}) for i in (1, 0, 2, 3)]
    (tmp_path / "swapped.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "text 1 is 1, but doc 1 is 0" in fail(
        "evaluate", config, gold, *CODE, "--english", tmp_path / "swapped.jsonl"
    )
    (tmp_path / "no.jsonl").write_text('{"source": "One."}\n', encoding="utf-8")
    assert "no field english" in fail("evaluate", config, gold, *CODE, "--english", tmp_path / "no.jsonl")
    assert "--english" in fail("evaluate", config, gold, *CODE, "--gold-entities")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert "no records" in fail("evaluate", config, tmp_path / "empty.txt", *CODE)


def test_evaluate_wants_gold(tmp_path, config):
    """Plain sentences are no gold data in which nothing is an entity."""
    (tmp_path / "plain.txt").write_text("张三在東京。\n", encoding="utf-8")
    (tmp_path / "plain.jsonl").write_text('{"text": "张三在東京。"}\n', encoding="utf-8")
    for name in ("plain.txt", "plain.jsonl"):
        assert "plain text, without annotation" in fail("evaluate", config, tmp_path / name, *CODE)
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    english = tmp_path / "en.jsonl"
    english.write_text("\n".join(json.dumps({"english": "One."}) for _ in GOLD), encoding="utf-8")
    command = ("evaluate", config, gold, *CODE, "--english", english, "--gold-entities")
    assert "no entities for --gold-entities" in fail(*command)


def test_evaluate_knows_klue(tmp_path, config):
    (tmp_path / "x.tsv").write_text("## 주석\n東\tB-LC\n京\tI-LC\n3\tB-DT\n", encoding="utf-8")
    for labels in ([], ["--labels", "klue"]):
        output = invoke("evaluate", config, tmp_path / "x.tsv", *CODE, *labels)
        assert "LOC                  1.000" in output and "all                  1.000" in output


def test_evaluate_tells_how_much_is_chance(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    output = invoke("evaluate", config, gold, *CODE, "--output", tmp_path / "new" / "a.json")
    assert "strict F1, 95% interval" in output
    a = json.loads((tmp_path / "new" / "a.json").read_text(encoding="utf-8"))
    assert a["per_doc"]["tp"] == [2, 0, 0, 0] and a["per_doc"]["fn"] == [0, 1, 1, 0]
    assert a["interval"]["low"] <= a["strict"]["f"] <= a["interval"]["high"]
    command = ("evaluate", config, gold, *CODE, "--compare")
    output = invoke(*command, tmp_path / "new" / "a.json", "--output", tmp_path / "b.json")
    assert "strict F1, against" in output and "+0.000 to +0.000" in output
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["compared"]["difference"] == 0.0
    output = invoke(*command, tmp_path / "new" / "a.json", "--html", tmp_path / "new" / "report.html")
    report = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert "report.html" in output and "other F1" in report and "3 mistakes, drawn at random" in report
    (tmp_path / "c.json").write_text('{"docs": 4}', encoding="utf-8")
    assert "no counts of docs" in fail(*command, tmp_path / "c.json")
    invoke("evaluate", config, gold, *CODE, "--limit", 2, "--output", tmp_path / "short.json")
    assert "scored 2 docs" in fail(*command, tmp_path / "short.json")


def test_annotate(tmp_path, config):
    source = tmp_path / "in.txt"
    source.write_text("张三\n败\n東京\n", encoding="utf-8")
    target = tmp_path / "out.jsonl"
    output = invoke("annotate", source, target, "--pipeline", config, *CODE)
    assert "2 docs annotated" in output and "1 docs failed. The first: TimeoutError: no answer" in output
    assert "6 LLM requests" in output and "cost 0.75" in " ".join(output.split())
    assert [json.loads(line)["text"] for line in target.read_text(encoding="utf-8").splitlines()] == [
        "张三",
        "東京",
    ]
    assert "--overwrite" in fail("annotate", source, target, "--pipeline", config, *CODE)
    assert "one of --resume" in fail("annotate", source, target, "--resume", "--retry")
    assert "unknown suffix" in fail("annotate", source, tmp_path / "out.csv", "--pipeline", config, *CODE)
    english = tmp_path / "en.txt"
    english.write_text("Only English.\n", encoding="utf-8")
    assert "--pipeline" in fail("annotate", english, tmp_path / "en.jsonl")


def test_annotate_fails_where_all_docs_failed(tmp_path, config, monkeypatch):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("败\n" * 12, encoding="utf-8")
    command = ("annotate", source, target, "--pipeline", config, *CODE)
    output = fail(*command)
    assert "All 12 docs failed. The first: TimeoutError: no answer" in output
    assert "out.jsonl.failed.jsonl" in output.replace(" ", "") and "--retry" in output
    assert "All 12 docs failed" in fail(*command, "--retry")
    monkeypatch.setenv("SCRIPTED_SERVER_IS_BACK", "1")
    assert "12 docs annotated" in invoke(*command, "--retry")
    assert "nothing to retry" in invoke(*command, "--retry")


def test_annotate_retries_only_what_was_begun(tmp_path, config):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("张三\n", encoding="utf-8")
    assert "has not been begun" in fail("annotate", source, target, "--pipeline", config, *CODE, "--retry")
    assert not target.exists()


@pytest.mark.parametrize("pipeline", [[], ["--pipeline", "scripted.cfg"]])
def test_annotate_names_the_fields_there_are(tmp_path, config, monkeypatch, pipeline):
    monkeypatch.chdir(tmp_path)
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": 1, "body": "张三"}\n' * 3, encoding="utf-8")
    output = fail("annotate", source, target, *pipeline, *CODE)
    assert "field 'text' is missing (there are: id, body)" in output
    assert not target.exists() and not (tmp_path / "out.jsonl.failed.jsonl").exists()
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    if not pipeline:
        assert "empty.txt has no records" in fail("annotate", tmp_path / "empty.txt", target)


def test_demo_shows_entities_and_errors(config, monkeypatch):
    from spacy.util import import_file

    import_file("scripted", scripted.__file__)
    output = invoke("demo", "张三在東京。", "败", "--pipeline", config)
    assert "张三     PER     Zhang San   0.500   exact" in output
    assert "TimeoutError: no answer" in output
    assert "--pipeline" in fail("demo", "No Chinese here.")


def test_demo_without_entities(config):
    from spacy.util import import_file

    import_file("scripted", scripted.__file__)
    output = invoke("demo", "什么也没有", "--pipeline", config)
    assert "no entities" in output and "score" not in output


@pytest.mark.parametrize("command", ["demo 张三", "annotate in.txt out.jsonl", "evaluate gold.jsonl"])
@pytest.mark.parametrize("name", ["nope", "nope.cfg", "qq", "wrong.cfg"])
def test_a_pipeline_that_is_not_there(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("张三\n", encoding="utf-8")
    (tmp_path / "wrong.cfg").write_text('[nlp]\nlang = "zh"\npipeline = ["x"]\n', encoding="utf-8")
    write_gold(tmp_path / "gold.jsonl", GOLD)
    command, *arguments = command.split()
    arguments = [name, *arguments] if command == "evaluate" else [*arguments, "-p", name]
    assert f"pipeline {name!r}" in fail(command, *arguments)


@pytest.mark.slow
def test_workers_tell_why_they_cannot_begin(tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("张三\n", encoding="utf-8")
    command = ("annotate", tmp_path / "in.txt", tmp_path / "out.jsonl", "-p", "nope", "-w", "2")
    assert "no pipeline 'nope'" in fail(*command)


def test_outputs_that_cannot_be_written(tmp_path, config):
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "in.txt").write_text("张三\n", encoding="utf-8")
    (tmp_path / "folder.jsonl").mkdir()
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    for target in (tmp_path / "file" / "out.jsonl", tmp_path / "folder.jsonl"):
        where = str(target if target.is_dir() else target.parent).replace(" ", "")
        output = fail("annotate", tmp_path / "in.txt", target, "-p", config, *CODE)
        assert where in output.replace(" ", "")
        output = fail("evaluate", config, gold, *CODE, "--output", target)
        assert where in output.replace(" ", "") and "strict" not in output  # before the work


def test_a_setting_that_shows_at_the_first_text_only(config, monkeypatch):
    """Such as a cache folder that cannot be written: models are loaded when they are needed."""
    from spacy.util import import_file

    made = import_file("scripted", scripted.__file__)

    def fails(self, doc):
        raise ValueError("Can't write to /x. Set the environment variable SPACY_EAT_CACHE")

    monkeypatch.setattr(made.Scripted, "__call__", fails)
    assert "Set the environment variable SPACY_EAT_CACHE" in fail("demo", "张三", "-p", config)


def test_labels_that_are_no_table(tmp_path, config):
    gold = write_gold(tmp_path / "gold.jsonl", GOLD)
    assert "no table of labels" in fail("evaluate", config, gold, *CODE, "--labels", "nope.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    assert "no table of labels" in fail("evaluate", config, gold, *CODE, "--labels", tmp_path / "broken.json")


def test_no_colours_where_nobody_sees_them(tmp_path, config):
    (tmp_path / "in.txt").write_text("张三\n败\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "spacy",
        "eat",
        "annotate",
        "in.txt",
        "out.jsonl",
        "-p",
        str(config),
        *CODE,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "1 docs annotated" in done.stdout.decode("utf-8")
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("is_terminal", "no_color", "colours"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_colours(monkeypatch, is_terminal, no_color, colours):
    from wasabi import msg

    from spacy_eat.cli._errors import no_colours_in_files

    monkeypatch.setattr(msg, "show_color", True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    no_colours_in_files()
    assert msg.show_color is colours


def test_tables_are_straight_with_wide_characters():
    lines = table([("大谷翔平", 1.0), ("NHK", None)], ("entity", "score"), right=["score"]).split("\n")[1:-1]
    assert len({width(line) for line in lines}) == 1
    assert width("ｱｯﾌﾟﾙ") == 5 and width("株式会社") == 8 and width("e\u0301") == 1
