"""`python -m spacy eat tune`: LoRA tuning of the LLM."""

from pathlib import Path

import typer
from spacy.cli._util import Arg, Opt, parse_config_overrides
from spacy.util import load_config
from wasabi import msg


def tune_cli(
    ctx: typer.Context,
    config_path: Path = Arg(..., help="Path to config file", exists=True, allow_dash=False),
    output: Path | None = Opt(None, "--output", "-o", help="Output folder, in the place of output.path"),
    build_only: bool = Opt(False, "--build-only", help="Build the examples, show their counts, and stop"),
    restart: bool = Opt(False, "--restart", help="Start anew, even if the output folder has checkpoints"),
) -> None:
    """Tune an LLM for entity-aligned translation: LoRA on alignment records and
    parallel sentences. Settings can be overridden on the command line, e.g.
    --paths.data ./data --training.steps 200. If the output folder has
    checkpoints, training goes on from the last one. Several GPUs: accelerate
    launch -m spacy eat tune ...

    DOCS: configs/tune_embedded.cfg
    """
    from ..training.tuning.tune import tune

    overrides = parse_config_overrides(ctx.args)
    if output is not None:
        overrides["output.path"] = str(output)
    config = load_config(config_path, overrides=overrides, interpolate=True)
    try:
        tune(config, restart=restart, build_only=build_only)
    except (ValueError, FileNotFoundError, ImportError) as error:
        msg.fail("Tuning failed", str(error), exits=1)
