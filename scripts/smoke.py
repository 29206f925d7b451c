"""The whole chain on a few records: a copy of the project in smoke/, with tiny settings. Nothing outside of
that folder is touched, and nothing in it is of any use.

    python scripts/smoke.py [--mirror FOLDER]
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import srsly

from spacy_eat.weights.gemma import DEFAULT_ADAPTER

SETTINGS: dict[str, Any] = {
    "limit": 24,
    "parallel": 24,
    "score": 2,
    "ner": "sm",
    "ner_options": "--training.max_steps 20 --training.eval_frequency 10"
    " --components.tok2vec.model.encode.depth 1",
    # The tagger that was trained here knows 24 sentences: nothing would be found.
    "english": "embedded",
    "tune_options": f"--lora.initial {DEFAULT_ADAPTER} --training.learning_rate 0.00001"
    " --training.steps 2 --training.decay 1 --training.warmup 1 --training.evaluate_steps 0"
    " --training.batch_tokens 256 --corpora.tag 30 --corpora.held_out_pairs 2 --corpora.held_out_questions 2"
    " --mix.alignment.zh 4 --mix.alignment.ja 4 --mix.parallel.zh 4 --mix.parallel.ja 4"
    " --mix.short.zh 1 --mix.short.ja 1 --corpora.english embedded",
    "student_options": "--training.max_steps 20 --training.eval_frequency 10 --vars.dev_share 0.3"
    " --components.tok2vec.model.encode.depth 1",
}
OTHER_LANGUAGES = ("ar", "de", "es", "fr", "ka", "ko", "nl", "ru")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mirror", default="", help="Folder that stands in for the network")
    mirror = parser.parse_args().mirror
    folder = Path("smoke")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("configs", "scripts"):
        shutil.copytree(name, folder / name)
    tune_options = SETTINGS["tune_options"] + "".join(f" --mix.alignment.{x} 0" for x in OTHER_LANGUAGES)
    project = srsly.read_yaml("project.yml")
    project["vars"].update(SETTINGS, tune_options=tune_options, mirror=mirror and str(Path(mirror).resolve()))
    srsly.write_yaml(folder / "project.yml", project)
    command = [sys.executable, "-m", "spacy", "project", "run", "all", str(folder)]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
