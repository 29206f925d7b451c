import pytest
import typer
from confection import Config
from typer.testing import CliRunner

from spacy_eat.cli.tune import tune_cli

pytest.importorskip("torch")
pytest.importorskip("peft")


@pytest.fixture
def run(config, tmp_path):
    path = tmp_path / "config.cfg"
    Config({"paths": {"data": None}, **config}).to_disk(path)
    app = typer.Typer()
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tune_cli)

    def run(*args):
        return CliRunner().invoke(app, [str(path), *args])

    return run


def test_settings_can_be_overridden(run, tmp_path):
    result = run("--output", str(tmp_path / "other"), "--mix.alignment.zh", "4", "--build-only")
    assert result.exit_code == 0, result.output
    assert "zh names in parallel sentences" in result.output
    assert (tmp_path / "other" / "examples.jsonl").is_file()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "setting, value, message",
    [
        ("--training.stepz", "3", "stepz"),
        ("--training.steps", "0", "steps"),
        ("--corpora.alignment", "nowhere", "nowhere"),
        ("--corpora.english", "en_nothing", "en_nothing"),
    ],
)
def test_mistakes_are_named(run, setting, value, message):
    result = run(setting, value)
    assert result.exit_code == 1
    assert message in result.output
