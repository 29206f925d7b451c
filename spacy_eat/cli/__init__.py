"""`python -m spacy eat`. spaCy imports this for every command: nothing heavy here."""

import typer
from spacy.cli._util import app as spacy_app

from ._errors import no_colours_in_files
from .annotate import annotate_cli
from .demo import demo_cli
from .evaluate import evaluate_cli
from .serve import serve_cli
from .show import show_cli
from .translate_train import translate_train_cli
from .tune import tune_cli
from .tune_aligner import tune_aligner_cli
from .visualize import visualize_cli

HELP = """Named entities without labelled data: Entity-Aligned Translation (EAT)."""

app = typer.Typer(
    name="eat", help=HELP, no_args_is_help=True, rich_markup_mode=None, callback=no_colours_in_files
)
app.command("demo")(demo_cli)
app.command("show")(show_cli)
app.command("serve")(serve_cli)
app.command("annotate")(annotate_cli)
app.command("evaluate")(evaluate_cli)
# as in spaCy's own commands: --section.name overrides a setting of the config
app.command("tune", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tune_cli)
app.command("tune-aligner", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    tune_aligner_cli
)
app.command("translate-train")(translate_train_cli)
app.command("visualize")(visualize_cli)
spacy_app.add_typer(app)
