"""Every factory, registry function and command is an entry point that resolves."""

import subprocess
import sys
from importlib.metadata import distribution, entry_points

import pytest
from spacy.language import Language
from spacy.util import registry as spacy_registry
from spacy_llm.registry import registry as llm_registry

ENTRY_POINTS = [e for e in distribution("spacy-eat").entry_points]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda e: f"{e.group}:{e.name}")
def test_entry_point_resolves(entry_point):
    assert callable(entry_point.load())


@pytest.mark.parametrize(
    ("group", "find"),
    [
        ("spacy_factories", lambda name: Language.get_factory_meta(name)),
        ("thinc_llm_tasks", lambda name: llm_registry.llm_tasks.get(name)),
        ("thinc_llm_models", lambda name: llm_registry.llm_models.get(name)),
        ("spacy_misc", lambda name: spacy_registry.misc.get(name)),
    ],
)
def test_registries_find_what_is_registered(group, find):
    Language()  # spaCy reads the factories' entry points when the first pipeline is made
    names = [e.name for e in entry_points(group=group) if e.value.startswith("spacy_eat.")]
    assert names
    for name in names:
        assert find(name)


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
