"""`python -m spacy eat show`."""

import pytest
from spacy.tokens import DocBin

from spacy_eat.cli import show

from ..viewer.docs import ZH, make_doc
from .test_cli import CODE, config, fail, invoke  # noqa: F401  (a fixture)


def test_texts_and_files(tmp_path, config):  # noqa: F811
    (tmp_path / "in.txt").write_text("张三在東京。\n没有\n張三\n", encoding="utf-8")
    (tmp_path / "in.jsonl").write_text('{"body": "東京"}\n', encoding="utf-8")
    page = tmp_path / "new" / "page.html"
    for source, more, docs in (
        ("张三在東京。", [], 1),
        (tmp_path / "in.txt", [], 3),
        (tmp_path / "in.txt", ["--limit", 2], 2),
        (tmp_path / "in.jsonl", ["--text-field", "body"], 1),
    ):
        assert f"{docs} doc" in invoke("show", source, "-p", config, *CODE, "-o", page, *more)
        html = page.read_text(encoding="utf-8")
        assert html.count("<article") == docs and "Tokyo" not in html.split("<main>")[0]
        assert "東京" in html and 'class="eat-mark' in html


def test_annotated_docs_need_no_pipeline(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(show.webbrowser, "open", opened.append)
    DocBin(docs=[make_doc("zh", ZH)], store_user_data=True).to_disk(tmp_path / "in.spacy")
    output = invoke("show", tmp_path / "in.spacy")
    assert "1 doc" in output and opened[0].startswith("file://")
    assert "Liu Chuanzhi" in invoke("show", tmp_path / "in.spacy", "-o", "-")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("no/such.jsonl", "does not exist"),
        ("Only English.", "use --pipeline"),
        ("empty.txt", "nothing to show"),
        ("broken.jsonl", "field 'text' is missing"),
        ("broken.spacy", "not a DocBin"),
        ("x" * 5000, "use --pipeline"),
    ],
)
def test_what_cannot_be_shown(tmp_path, monkeypatch, source, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "broken.jsonl").write_text('{"body": "张三"}\n', encoding="utf-8")
    (tmp_path / "broken.spacy").write_bytes(b"no")
    assert problem in fail("show", source, "-o", "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_pipeline_that_cannot_be_loaded(tmp_path, config):  # noqa: F811
    assert "no pipeline 'nope'" in fail("show", "张三", "-p", "nope", "-o", tmp_path / "page.html")
