"""`python -m spacy eat`. spaCy imports this for every command: nothing heavy here."""

import typer
from spacy.cli._util import app as spacy_app

from .annotate import annotate_cli
from .demo import demo_cli
from .evaluate import evaluate_cli

HELP = """Named entities without labelled data: Entity-Aligned Translation (EAT)."""

app = typer.Typer(name="eat", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.command("demo")(demo_cli)
app.command("annotate")(annotate_cli)
app.command("evaluate")(evaluate_cli)
spacy_app.add_typer(app)
