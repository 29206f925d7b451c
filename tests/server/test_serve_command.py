"""The command `python -m spacy eat serve`."""

from typing import Any

import pytest
from typer.testing import CliRunner

from spacy_eat.cli import app

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra 'serve'")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **settings: runs.append({"app": app, **settings}))
    monkeypatch.delenv("SPACY_EAT_TOKEN", raising=False)
    return runs


def test_it_listens_on_this_machine_alone(started: list[dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, ["serve", "zh", "folder/other.cfg"])
    assert result.exit_code == 0, result.output
    assert started[0]["host"] == "127.0.0.1"
    assert "localhost" in started[0]["app"].rules.hosts and started[0]["app"].rules.token is None


def test_others_need_a_token(started: list[dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, ["serve", "zh", "--host", "0.0.0.0"])
    assert result.exit_code == 1 and "SPACY_EAT_TOKEN" in result.output and not started
    result = CliRunner().invoke(app, ["serve", "zh", "--host", "0.0.0.0"], env={"SPACY_EAT_TOKEN": "abc"})
    assert result.exit_code == 0 and started[0]["app"].rules.token == "abc"


def test_names_must_differ(started: list[dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, ["serve", "a/zh", "b/zh"])
    assert result.exit_code == 1 and "Two pipelines are called 'zh'" in result.output


def test_what_to_install(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fastapi", None)
    result = CliRunner().invoke(app, ["serve", "zh"])
    assert result.exit_code == 1 and 'pip install "spacy-eat[serve]"' in " ".join(result.output.split())
