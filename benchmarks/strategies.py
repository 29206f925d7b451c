"""Whole pipelines side by side, from the text to its entities: each is a config that can be taken as it is.

    python -m benchmarks.strategies GOLD --lang zh [--limit 100] [--only cascade --only jieba]

The configs of `configs/strategies/` of the language, the default pipeline (`configs/zh_embedded.cfg`) and the
tagger on the source alone (`configs/zh_light.cfg`). Strict F1 with its bootstrap interval. Requests are those
that docs record; times are of this machine, all else included. Aligners alone, on gold English:
`python -m benchmarks.aligners --llm`.
"""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from spacy_eat.corpora import Record, label_table, read
from spacy_eat.evaluation.run import judge, run
from spacy_eat.pipelines import PipelineError, load_pipeline

CONFIGS = Path(__file__).parents[1] / "configs"


def configs(lang: str) -> list[Path]:
    """RETURNS (List[Path]): The pipelines of a language, the default one first."""
    general = [CONFIGS / f"{lang}_{name}.cfg" for name in ("embedded", "light")]
    return [*filter(Path.is_file, general), *sorted(CONFIGS.glob(f"strategies/{lang}_*.cfg"))]


def score(config: Path, records: list[Record]) -> list[object]:
    """RETURNS (List[object]): A row of the table."""
    labels = label_table("auto").get
    done = run(load_pipeline(str(config)), records)
    result = judge(done, label_map=labels)
    strict, chance = result["strict"], result["interval"]
    eat = [example.predicted._.eat for example in done.examples]
    asked = sum(sentence["requests"] for record in eat if record for sentence in record["sentences"])
    # Taggers that ask an LLM keep no record: what they spend is not known here.
    counted = any(eat) or "llm_models" not in config.read_text(encoding="utf-8")
    return [
        f"{strict['p']:.3f}",
        f"{strict['r']:.3f}",
        f"{strict['f']:.3f}",
        f"{chance['low']:.3f} to {chance['high']:.3f}",
        f"{asked / len(records):.2f}" if counted else "-",
        f"{done.seconds / len(records):.3f}",
    ]


def main(
    gold: Path,
    lang: str = "zh",
    limit: int = 0,
    only: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Print a table, a row for each pipeline.

    gold: Annotated sentences.
    lang: Their language: "zh" or "ja".
    limit: Only so many sentences; 0 for all.
    only: Only configs with this in their name.
    """
    records = list(read(gold, labels=None))[: limit or None]
    rows = []
    for config in configs(lang):
        if only and not any(part in config.stem for part in only):
            continue
        try:
            rows.append((config.stem, *score(config, records)))
        except PipelineError as error:
            msg.warn(f"{config.stem} is left out", str(error))
    msg.info(f"{gold.stem}: {len(records)} sentences")
    header = ("config", "P", "R", "F1", "95 %", "requests/sentence", "s/sentence")
    msg.table(rows, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))


if __name__ == "__main__":
    typer.run(main)
