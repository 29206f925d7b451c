"""Make the teacher, the EAT pipeline that annotates raw text, in training/{lang}_llm.

It is configs/{lang}_embedded.cfg with an English NER and an adapter. "auto" is what this project has
trained, and what comes with spacy-eat if it has trained none.

    python scripts/teacher.py zh ja [--english NAME] [--adapter NAME]
"""

import argparse
from pathlib import Path

from spacy.util import load_config, load_model_from_config
from wasabi import msg

ENGLISH = Path("training/en_ner/model-best")
ADAPTER = Path("training/adapter/adapter")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--english", default="auto", help="auto, embedded, or any English pipeline")
    parser.add_argument("--adapter", default="auto", help="auto, default, or a folder")
    args = parser.parse_args()
    english, adapter = args.english, args.adapter
    if english == "auto":
        english = str(ENGLISH) if ENGLISH.is_dir() else "embedded"
    if adapter == "auto":
        adapter = str(ADAPTER) if ADAPTER.is_dir() else "default"
    for lang in args.langs:
        overrides = {
            "components.eat_translator.model.adapter": adapter,
            "components.eat_entity_aligner.aligner.model.adapter": adapter,
            "components.eat_entity_aligner.tagger.name": english,
        }
        config = load_config(f"configs/{lang}_embedded.cfg", overrides=overrides)
        nlp = load_model_from_config(config, auto_fill=True)
        nlp.initialize()
        nlp.to_disk(f"training/{lang}_llm")
        msg.good(f"training/{lang}_llm: English NER {english}, adapter {adapter}")


if __name__ == "__main__":
    main()
