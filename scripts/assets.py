"""Fetch the assets of project.yml, check every one of them, and lay them out in assets/data:

    alignment/{lang}.jsonl          names and the Wikipedia sentences they stand in
    parallel/{lang}_{name}.jsonl    sentences with their English
    unlabeled/{lang}_{name}.txt     raw sentences
    gold/{lang}_{name}.*            annotated sentences, for scoring only
    en_ner/*                        annotated English

    python scripts/assets.py [--mirror FOLDER]

A mirror stands in for the network. It holds the original files, named as project.yml names them below
assets/original, or folders that are laid out already.
"""

import argparse
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import srsly
from wasabi import msg

from spacy_eat.corpora import read

ORIGINAL = Path("assets/original")
DATA = Path("assets/data")
FOLDERS = ("alignment", "parallel", "unlabeled", "gold", "en_ner")
# Files that stay as they are.
COPIES = {
    "gold/zh_pud.iob2": "uner/zh_pud-ud-test.iob2",
    "gold/en_pud.iob2": "uner/en_pud-ud-test.iob2",
    "gold/zh_gsdsimp_dev.iob2": "uner/zh_gsdsimp-ud-dev.iob2",
    "gold/ja_gsd_dev.bio": "ja_gsd/dev.bio",
    "gold/zh_msra.bio": "msra/msra_test_bio.txt",
    "gold/zh_wikiann.bio": "wikiann/zh.bio",
    "gold/ja_wikiann.bio": "wikiann/ja.bio",
    "en_ner/uner_ewt_train.iob2": "uner/en_ewt-ud-train.iob2",
    "en_ner/uner_ewt_dev.iob2": "uner/en_ewt-ud-dev.iob2",
    "en_ner/uner_ewt_test.iob2": "uner/en_ewt-ud-test.iob2",
    **{
        f"en_ner/crossner_{field}_{split}.conll": f"crossner/{field}/{split}.txt"
        for field in ("ai", "literature", "music", "politics", "science")
        for split in ("train", "dev", "test")
    },
    "en_ner/wnut17_train.conll": "wnut17/wnut17train.conll",
    "en_ner/wnut17_dev.conll": "wnut17/emerging.dev.conll",
    "en_ner/wnut17_test.conll": "wnut17/emerging.test.annotated",
}


def fetch(mirror: Path | None) -> None:
    """Bring the originals to their places."""
    if mirror is None:
        subprocess.run([sys.executable, "-m", "spacy", "project", "assets", "."], check=False)
        return
    for asset in assets():
        source, target = mirror / asset["dest"].relative_to(ORIGINAL), asset["dest"]
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def check() -> None:
    """Stop at files that are not there, or are not what they were."""
    wrong = []
    for asset in assets():
        path, expected = asset["dest"], asset.get("checksum")
        if not path.is_file():
            if not asset.get("extra"):
                remedy = f"Fetch it from {asset['url']}, or give a folder that has it: --vars.mirror FOLDER"
                wrong.append(f"{path}: not there. {remedy}")
        elif expected and md5(path.read_bytes()).hexdigest() != expected:
            remedy = (
                "Remove it and run this again; if the source has changed, review it, and change project.yml"
            )
            wrong.append(f"{path}: its MD5 checksum is not {expected}. {remedy}")
    if wrong:
        msg.fail(f"{len(wrong)} assets are missing or wrong", "\n".join(wrong), exits=1)


def assets() -> list[dict]:
    """The assets of project.yml, with paths."""
    return [{**asset, "dest": Path(asset["dest"])} for asset in srsly.read_yaml("project.yml")["assets"]]


def lay_out() -> None:
    """From the originals to assets/data."""
    for target, source in COPIES.items():
        if (ORIGINAL / source).is_file():
            (DATA / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ORIGINAL / source, DATA / target)
    for path in sorted((ORIGINAL / "eat").glob("corpus_*.json")):
        lang = path.stem.removeprefix("corpus_")
        write_jsonl(f"alignment/{lang}.jsonl", srsly.read_json(path))
    for lang in ("zh", "ja"):
        for name, source, english in parallel_files(lang):
            if source.is_file() and english.is_file():
                write_jsonl(f"parallel/{lang}_{name}.jsonl", pairs(source, english))
    tanaka = ORIGINAL / "tanaka"
    if (tanaka / "train.ja").is_file():
        rows = pairs(tanaka / "train.ja", tanaka / "train.en")
        write_jsonl("parallel/ja_tanaka.jsonl", ({**p, "source": p["source"].replace(" ", "")} for p in rows))
    # Of annotated training sets only the texts are kept: nothing here is trained on gold labels.
    train = ORIGINAL / "uner" / "zh_gsdsimp-ud-train.iob2"
    write_lines("unlabeled/zh_gsdsimp_train.txt", (record.text for record in read(train, lang="zh")))
    records = srsly.read_json(ORIGINAL / "stockmark" / "ner.json")
    gold = [record for record in records if is_gold(record["text"])]
    write_jsonl("gold/ja_stockmark_dev.jsonl", gold)
    raw = (record["text"] for record in records if not is_gold(record["text"]))
    write_lines("unlabeled/ja_stockmark_train.txt", raw)


def is_gold(text: str) -> bool:
    """A fifth, told by the text itself: the same text is never on both sides."""
    return zlib.crc32(text.encode("utf-8")) % 5 == 0


def parallel_files(lang: str) -> Iterator[tuple[str, Path, Path]]:
    """For each set its name, and the files of its two sides."""
    into, out_of = ORIGINAL / "mt" / f"{lang}-en", ORIGINAL / "mt" / f"en-{lang}"
    yield "flores_dev", into / f"flores-dev.{lang}", into / "flores-dev.en"
    yield "talks_mt", into / f"iwslt17.{lang}", into / "iwslt17.mt.en"
    for year in range(17, 23):
        yield f"news{year}_mt", into / f"wmt{year}.{lang}", into / f"wmt{year}.mt.en"
        yield f"news{year}_backtranslated", out_of / f"wmt{year}.mt.{lang}", out_of / f"wmt{year}.en"


def pairs(source: Path, english: Path) -> Iterator[dict[str, str]]:
    """Two files, line by line."""
    sides = [path.read_text(encoding="utf-8").split("\n") for path in (source, english)]
    if len(sides[0]) != len(sides[1]):
        msg.fail(f"{source} has {len(sides[0])} lines, {english} has {len(sides[1])}", exits=1)
    for text, translation in zip(*sides, strict=True):
        if text.strip() and translation.strip():
            yield {"source": text.strip(), "english": translation.strip()}


def write_jsonl(name: str, rows) -> None:
    write_lines(name, (json.dumps(row, ensure_ascii=False) for row in rows))


def write_lines(name: str, lines) -> None:
    path = DATA / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mirror", default="", help="Folder that stands in for the network")
    mirror = Path(name) if (name := parser.parse_args().mirror) else None
    if mirror is not None and not mirror.is_dir():
        msg.fail(f"No folder {mirror.resolve()}", "Give another --vars.mirror, or none", exits=1)
    if mirror is not None and (mirror / "gold").is_dir():
        for folder in FOLDERS:
            if not (mirror / folder).is_dir():
                msg.fail(f"{mirror} has no folder {folder}", "Give another --vars.mirror, or none", exits=1)
            (DATA / folder).mkdir(parents=True, exist_ok=True)
            for path in (mirror / folder).iterdir():
                shutil.copyfile(path, DATA / folder / path.name)
    else:
        fetch(mirror)
        check()
        lay_out()
    files = [path for path in DATA.rglob("*") if path.is_file()]
    msg.good(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB in {DATA}")


if __name__ == "__main__":
    main()
