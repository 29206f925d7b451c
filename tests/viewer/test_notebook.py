"""The view in a real notebook, run by Jupyter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import srsly

from .docs import ZH, make_doc

pytestmark = pytest.mark.slow
for package in ("nbconvert", "nbformat", "ipykernel"):
    pytest.importorskip(package, reason="pip install nbconvert ipykernel runs notebooks")

CELLS = [
    "from spacy.tokens import DocBin\n"
    "from spacy.vocab import Vocab\n"
    "import spacy_eat\n"
    "(doc,) = DocBin().from_disk('docs.spacy').get_docs(Vocab())",
    "from spacy_eat.viewer import render\nrender(doc)",
    "render([doc, doc], page=True)",
    "render(doc, jupyter=False)[:4]",
    "render('no doc')",
]


def execute(folder: Path, source: str, *options: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "JUPYTER_DATA_DIR": str(folder),
    }
    command = [sys.executable, "-m", "nbconvert", *options, "--allow-errors", source]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """RETURNS (Path): A folder with out.ipynb, as Jupyter leaves it."""
    from nbformat import v4, write
    from spacy.tokens import DocBin

    folder = tmp_path_factory.mktemp("notebook")
    doc = make_doc("zh", ZH, "Costs $5 <b>and</b> $6")
    DocBin(store_user_data=True, docs=[doc]).to_disk(folder / "docs.spacy")
    write(v4.new_notebook(cells=[v4.new_code_cell(code) for code in CELLS]), folder / "in.ipynb")
    execute(folder, "in.ipynb", "--to", "notebook", "--execute", "--output", "out.ipynb")
    return folder


def outputs(notebook):
    """RETURNS (List[List[dict]]): What each cell shows."""
    return [cell["outputs"] for cell in srsly.read_json(notebook / "out.ipynb")["cells"]]


def test_it_is_displayed_and_nothing_else_is(notebook):
    prepared, shown, twice, text, wrong = outputs(notebook)
    assert prepared == []
    for found, docs in ((shown, 1), (twice, 2)):
        (output,) = found  # no "None", no markup as text
        assert output["output_type"] == "display_data"
        html = "".join(output["data"]["text/html"])
        assert html.count('class="eat-source"') == docs * len(ZH)
        assert html.startswith('<span class="tex2jax_ignore">') and "<html" not in html
    assert "".join(text[0]["data"]["text/plain"]).startswith("'<")
    assert wrong[0]["ename"] == "ValueError"


def test_a_browser_shows_it(notebook, open_page):
    execute(notebook, "out.ipynb", "--to", "html", "--template", "basic")
    page = open_page((notebook / "out.html").as_uri())
    first = page.locator(".eat-doc").first
    assert "联想集团" in first.inner_text() and "Lenovo Group" in first.inner_text()
    mark = page.locator('.eat-source [data-n="2"]').first
    mark.hover()
    assert page.locator(".eat-lines path").count() == 1
