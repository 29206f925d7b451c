"""The whole chain on a few records: a copy of the project in smoke/, with tiny settings. Nothing outside of
that folder is touched, and nothing in it is of any use.

    python scripts/smoke.py [--mirror FOLDER]
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "limit": 24,
    "parallel": 24,
    "score": 2,
    "ner_options": "--training.max_steps 20 --training.eval_frequency 10"
    " --components.tok2vec.model.encode.depth 1",
    "tune_options": "--training.steps 2 --training.decay 1 --training.warmup 1 --training.evaluate_steps 0"
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
    shutil.copy("project.yml", folder)
    for name in ("configs", "scripts"):
        shutil.copytree(name, folder / name)
    settings = {**SETTINGS, "mirror": Path(mirror).resolve() if mirror else ""}
    settings["tune_options"] += "".join(f" --mix.alignment.{lang} 0" for lang in OTHER_LANGUAGES)
    overrides = [f"--vars.{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "spacy", "project", "run", "all", str(folder), *overrides]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
