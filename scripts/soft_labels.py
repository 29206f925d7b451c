"""Label raw texts with how likely each tag is, without an LLM: corpus/soft/{lang}_*.spacy.

Texts that have their English are read by the tagger on the source and, through the encoder's alignment, by
what finds names in the English; the others by the tagger alone. A run that was killed goes on where it was.

    python scripts/soft_labels.py zh ja [--tagger FOLDER]

With --tagger, the tagger that a round before has trained labels the next one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import spacy
import srsly
from spacy.language import Language
from wasabi import msg

from spacy_eat.weights import EN_NER

RAW, SOFT, TRAINING = Path("corpus/raw"), Path("corpus/soft"), Path("training")
ENGLISH = TRAINING / "en_fused"
CHARACTERS = {"@tokenizers": "spacy_eat.ClusterTokenizer.v1"}


def english(tagger: str) -> Language:
    """What finds names in English: the English NER and the tagger, combined."""
    nlp = spacy.blank("en")
    own = spacy.load(EN_NER)
    nlp.add_pipe("ner", source=own)
    nlp.add_pipe("eat_source_tagger", config={"weights": tagger, "mixed_precision": True})
    nlp.add_pipe("eat_fusion", config={"annotators": ["ner", "eat_source_tagger"]})
    return nlp


def source(lang: str, tagger: str, *, aligned: bool) -> Language:
    """What finds names in the text. aligned (bool): Whether the English has a say."""
    nlp = spacy.blank(lang, config={"nlp": {"tokenizer": CHARACTERS}})
    if aligned:
        nlp.add_pipe("eat_translator")  # all texts bring their English
    config = {"weights": tagger, "keep_tags": True, "mixed_precision": True, "min_score": 0.0}
    nlp.add_pipe("eat_source_tagger", config=config)
    if aligned:
        aligner = {
            "source_tagger": None,
            "tagger": {"name": str(ENGLISH.resolve())},
            "aligner": {"@misc": "spacy_eat.EncoderAligner.v1"},
        }
        nlp.add_pipe("eat_entity_aligner", config=aligner)
        nlp.add_pipe("eat_fusion")
    return nlp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--tagger", default="embedded", help="embedded, or a folder")
    args = parser.parse_args()
    TRAINING.mkdir(exist_ok=True)
    english(args.tagger).to_disk(ENGLISH)
    for lang in args.langs:
        rows = list(srsly.read_jsonl(RAW / f"{lang}.jsonl"))
        for name, aligned in (("aligned", True), ("tagged", False)):
            texts = [row for row in rows if bool(row.get("english")) == aligned]
            if not texts:
                continue
            pipeline, raw = TRAINING / f"{lang}_{name}", SOFT / f"{lang}_{name}.jsonl"
            source(lang, args.tagger, aligned=aligned).to_disk(pipeline)
            raw.parent.mkdir(parents=True, exist_ok=True)
            srsly.write_jsonl(raw, texts)
            command = [sys.executable, "-m", "spacy", "eat", "annotate", raw, raw.with_suffix(".spacy")]
            given = ["--english-field", "english"] if aligned else []
            subprocess.run([*command, "--pipeline", pipeline, "--resume", *given], check=True)
            msg.good(f"{raw.with_suffix('.spacy')}: {len(texts)} texts")


if __name__ == "__main__":
    main()
