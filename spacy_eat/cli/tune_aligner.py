"""`python -m spacy eat tune-aligner`: training of the entity aligner, or of an encoder that aligns words."""

from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt, parse_config_overrides
from spacy.util import load_config

from ._errors import plain_errors


def tune_aligner_cli(
    ctx: typer.Context,
    config_path: Path = Arg(..., help="Path to config file", exists=True, allow_dash=False),
    output: Path | None = Opt(None, "--output", "-o", help="Output folder, in the place of output.path"),
    build_only: bool = Opt(False, "--build-only", help="Collect the sentences, show their counts, and stop"),
    restart: bool = Opt(False, "--restart", help="Start anew, even if the output folder has a checkpoint"),
) -> None:
    """Train an entity aligner: which words of the source an entity of the English
    comes from. From sentences that the LLM's aligner has annotated, alignment
    records, and parallel text that a tagger reads alike on both sides. Or, with
    the section [words], an encoder for word alignment, from parallel text alone.
    Settings can be overridden on the command line, e.g. --paths.data ./data
    --training.epochs 3. If the output folder has a checkpoint, training goes on
    from there.

    DOCS: configs/tune_aligner.cfg, configs/tune_words.cfg
    """
    with plain_errors():
        from ..training.aligner.tune import tune_aligner

        overrides = parse_config_overrides(ctx.args)
        if output is not None:
            overrides["output.path"] = str(output)
        tune_aligner(
            load_config(config_path, overrides=overrides, interpolate=True),
            restart=restart,
            build_only=build_only,
        )
