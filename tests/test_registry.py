"""Every factory, registry function and command is an entry point that resolves."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import typer
from spacy.language import Language
from spacy.util import registry as spacy_registry
from spacy_llm.registry import registry as llm_registry

from spacy_eat.cli import app

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = list(distribution("spacy-eat").entry_points)
FIND = {
    "spacy_factories": Language.get_factory_meta,
    "thinc_llm_tasks": llm_registry.llm_tasks.get,
    "thinc_llm_models": llm_registry.llm_models.get,
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda e: f"{e.group}:{e.name}")
def test_entry_points_resolve_and_registries_find_them(entry_point):
    Language()  # spaCy reads the factories' entry points when the first pipeline is made
    assert callable(entry_point.load())
    if entry_point.group == "spacy_cli":
        return  # spaCy's own command line lists it: tests/cli
    own = getattr(spacy_registry, entry_point.group.removeprefix("spacy_"), None)
    assert FIND.get(entry_point.group, own and own.get)(entry_point.name)


def test_names_in_configs_and_pages_are_registered():
    registered = {entry_point.name for entry_point in ENTRY_POINTS}
    pages = [ROOT / "README.md", *ROOT.glob("configs/*.cfg"), *ROOT.glob("docs/**/*.md")]
    for page in [*pages, *ROOT.glob("spacy_eat/**/*.py")]:
        named = set(re.findall(r"\bspacy_eat\.[A-Z]\w+\.v\d+\b", page.read_text(encoding="utf-8")))
        assert named <= registered, page


def test_every_factory_of_the_package_is_an_entry_point():
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("spacy_eat/components/*.py"))
    factories = set(re.findall(r'@Language\.(?:factory|component)\(\s*"(\w+)"', code))
    assert factories == {e.name for e in ENTRY_POINTS if e.group == "spacy_factories"}


def test_every_command_has_help():
    commands = typer.main.get_command(app).commands
    assert {"annotate", "demo", "evaluate", "show", "tune", "visualize"} <= commands.keys()
    assert all(command.help for command in commands.values())


def test_import_loads_nothing_heavy():
    heavy = "print(*(m for m in ('torch', 'transformers', 'openai') if m in sys.modules))"
    ours = "import spacy_eat.components.translator, spacy_eat.components.entity_aligner\n"
    ours += "import spacy_eat.llm.embedded, spacy_eat.cli\n"
    ours += "from spacy.tokens import Doc\nassert Doc.has_extension('eat')\n"
    theirs = "import sys, spacy, spacy_llm\n"  # thinc imports torch itself where it is installed
    loaded = [
        set(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout.split()
        )
        for code in (theirs + heavy, theirs + ours + heavy)
    ]
    assert loaded[1] <= loaded[0]
