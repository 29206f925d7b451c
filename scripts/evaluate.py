"""Score what was trained on the gold sets of its language: tables, and metrics/{model}.{set}.json.

    python scripts/evaluate.py zh ja [--limit N]

The models are the English NER (en_ner), students ({lang}_student) and teachers ({lang}_llm). All see the same
sentences: those that a set begins with.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import spacy
from wasabi import msg

from spacy_eat.corpora import read
from spacy_eat.evaluation.report import report
from spacy_eat.evaluation.run import evaluate

TRAINING, GOLD, METRICS = Path("training"), Path("corpus/gold"), Path("metrics")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--limit", type=int, default=0, help="Sentences of each set; 0 for all")
    args = parser.parse_args()
    METRICS.mkdir(exist_ok=True)
    models = {"en_ner": ("en", TRAINING / "en_ner" / "model-best")}
    for lang in args.langs:
        models[f"{lang}_student"] = (lang, TRAINING / f"{lang}_student" / "model-best")
        models[f"{lang}_llm"] = (lang, TRAINING / f"{lang}_llm")
    for model, (lang, path) in models.items():
        if not path.is_dir():
            msg.warn(f"No {path}: not scored")
            continue
        nlp = spacy.load(path)
        for gold in sorted(GOLD.glob(f"{lang}_*.spacy")):
            msg.divider(f"{model} on {gold.stem}")
            records = list(islice(read(gold, lang=lang), args.limit or None))
            result = {"pipeline": model, "gold": gold.stem, **evaluate(nlp, records)}
            print(report(result))
            output = METRICS / f"{model}.{gold.stem}.json"
            output.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
