"""A key goes from the environment into the header of a request, and into
nothing that a pipeline writes, stores or logs."""

import json
import logging
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.package import package
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_eat.cli import app

from .server import Reply, Server, error, reply

KEY = "sk-this-is-the-secret-0123456789"


def tell_tale(request: dict[str, Any]) -> Reply:
    """Repeats the key in its errors, as servers do."""
    prompt = request["messages"][-1]["content"]
    if "坏" in prompt:
        return error(400, f"Incorrect request with key {KEY}.")
    if "\nNames: " in prompt:
        return reply(json.dumps({"Beijing": "北京"}, ensure_ascii=False))
    return reply("Liu Chuanzhi lives in Beijing.")


def test_no_file_and_no_log_has_the_key(
    tmp_path: Path, english: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EAT_TEST_KEY", KEY)
    with Server(tell_tale) as server, caplog.at_level(logging.DEBUG):
        model = {
            "@llm_models": "spacy_eat.ChatCompletions.v1",
            "name": "m",
            "base_url": server.url,
            "api_key_env": "EAT_TEST_KEY",
            "cache": str(tmp_path / "requests.sqlite"),
        }
        nlp = spacy.blank("zh")
        nlp.add_pipe("eat_translator", config={"model": model})
        side = {"@misc": "spacy_eat.EnglishPipeline.v1", "name": str(english)}
        nlp.add_pipe(
            "eat_entity_aligner",
            config={"aligner": {"model": model, "first": None}, "tagger": side, "source_tagger": None},
        )
        docs = list(nlp.pipe(["柳传志住在北京。", "这是坏的。"]))
        assert [ent.text for ent in docs[0].ents] == ["北京"]
        assert "Incorrect request" in docs[1]._.eat["sentences"][0]["error"]

        nlp.to_disk(tmp_path / "pipeline")
        (tmp_path / "package").mkdir()
        package(tmp_path / "pipeline", tmp_path / "package", create_sdist=False)
        [setup] = (tmp_path / "package").glob("*/setup.py")
        build = [sys.executable, setup.name, "-q", "bdist_wheel"]
        subprocess.run(build, cwd=setup.parent, check=True, capture_output=True)
        nlp.config.to_disk(tmp_path / "config.cfg")
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "docs.spacy")
        texts = tmp_path / "texts.txt"
        texts.write_text("柳传志住在北京。\n这也是坏的。\n", encoding="utf-8")
        command = ["annotate", str(texts), str(tmp_path / "out.jsonl"), "-p", str(tmp_path / "pipeline")]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "Incorrect request" in (tmp_path / "out.jsonl.failed.jsonl").read_text(encoding="utf-8")
        assert all(r["headers"]["authorization"] == f"Bearer {KEY}" for r in server.requests)

    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert len(written) > 10
    [wheel] = (tmp_path / "package").rglob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        unpacked = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith("config.cfg") for name in unpacked)
    packed = zlib.decompress(written[tmp_path / "docs.spacy"])
    assert "Incorrect request" in packed.decode("utf-8", "ignore")  # it is what is looked for
    everything = [*written.values(), *unpacked.values(), packed, nlp.to_bytes()]
    everything += [doc.to_bytes() for doc in docs]
    assert not any(KEY.encode() in data for data in everything)
    assert KEY not in caplog.text and KEY not in result.output
