"""From the folders of a config to training examples and what is held out."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import srsly

from ...corpora.dictionaries import load_dictionary
from ...corpora.parallel import ParallelRecord, hold_out_pairs, read_parallel
from ...corpora.splits import held_out
from ...taggers.pipeline import EnglishPipeline
from ...types import Text
from ..alignment_records import AlignmentRecord, hold_out_names, latin_names, read_alignment
from .config import Corpora, Mix
from .data import (
    Example,
    Question,
    ask_name,
    ask_translation,
    build_alignment_examples,
    build_name_examples,
    build_parallel_examples,
    build_tests,
    known_names,
    text_prefix,
)
from .pairs import mine_pairs

NOT_NEEDED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer")
NAMES = {"PERSON", "PER", "GPE", "LOC", "FAC", "ORG", "EVENT", "PRODUCT", "MISC"}


@dataclass
class Built:
    """What a config's corpora give.

    train (List[Example]): Training examples.
    tests (Dict[str, List[Example]]): What is held out, by task and language:
        "alignment_zh", "translation_ja" ...
    counts (Dict[str, Dict[str, int]]): For each file or step, what was kept,
        dropped or found.
    """

    train: list[Example] = field(default_factory=list)
    tests: dict[str, list[Example]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def build(corpora: Corpora, mix: Mix, seed: int) -> Built:
    """Read, clean, split, mine and mix.

    corpora (Corpora): The folders.
    mix (Mix): What to make of them.
    seed (int): Decides everything random.
    RETURNS (Built): The examples.
    RAISES (FileNotFoundError): If a folder, or a language's file, is not there.
    """
    built = Built()
    known: dict[str, list[AlignmentRecord]] = {}
    dictionaries = {
        lang: _dictionary(name, corpora.held_out_names, lang, built) for lang, name in corpora.names.items()
    }
    for number, (lang, count) in enumerate(sorted(mix.alignment.items())):
        if not count:
            continue
        known[lang], test = _read_alignment(corpora, lang, built)
        built.train += build_alignment_examples(known[lang], count, mix, seed + 100 + number)
        if lang in mix.parallel or not mix.parallel:
            built.tests[f"alignment_{lang}"] = [
                Example(text_prefix(text, lang), (ask_name(english, lang, name),))
                for text, english, name in build_tests(test, corpora.held_out_questions, seed)
            ]
    for number, (lang, count) in enumerate(sorted(mix.names.items())):
        own, more = known_names(known.get(lang, [])), dictionaries.get(lang, {})
        built.train += build_name_examples(lang, own, more, count, mix, seed + 300 + number)
    for number, (lang, count) in enumerate(sorted(mix.parallel.items())):
        if not count:
            continue
        records, plain, pairs = _read_parallel(corpora, lang, built)
        built.tests[f"translation_{lang}"] = [
            Example(text_prefix(p.source, lang), (ask_translation(p.english),)) for p in pairs
        ]
        rng = random.Random(seed + 200 + number)
        rng.shuffle(records)
        rng.shuffle(plain)
        records = _with_names(records[: corpora.tag], known.get(lang, []), corpora, built)
        short = mix.short.get(lang, 0)
        built.train += build_parallel_examples(
            [*records, *plain[:short]],
            count,
            short,
            known_names(known.get(lang, [])),
            dictionaries.get(lang, {}),
            mix,
            seed + 200 + number,
        )
    return built


def _read_alignment(
    corpora: Corpora, lang: str, built: Built
) -> tuple[list[AlignmentRecord], list[AlignmentRecord]]:
    if corpora.alignment is None:
        raise FileNotFoundError("mix.alignment asks for examples, but corpora.alignment names no folder")
    path = corpora.alignment / f"{lang}.jsonl"
    _check(path)
    dropped: Counter[str] = Counter()
    train, test = hold_out_names(
        read_alignment(path, lang, dropped, latin_names(corpora.alignment)), corpora.held_out_names
    )
    built.counts[path.stem] = {"kept": len(train), "held out": len(test), **dropped}
    return train, test


def _read_parallel(
    corpora: Corpora, lang: str, built: Built
) -> tuple[list[ParallelRecord], list[ParallelRecord], list[ParallelRecord]]:
    """Sentences in which names are looked for, plain ones, and held-out ones."""
    if corpora.parallel is None:
        raise FileNotFoundError("mix.parallel asks for examples, but corpora.parallel names no folder")
    paths = sorted(corpora.parallel.glob(f"{lang}_*.jsonl"))
    _check(*paths or [corpora.parallel / f"{lang}_*.jsonl"])
    records: list[ParallelRecord] = []
    plain: list[ParallelRecord] = []
    pairs: list[ParallelRecord] = []
    for path in paths:
        name = path.stem.removeprefix(f"{lang}_")
        if name in corpora.exclude:
            continue
        dropped: Counter[str] = Counter()
        read = read_parallel(path, lang, dropped)
        if name == corpora.dev:
            read, pairs = hold_out_pairs(read, corpora.held_out_pairs)
        (plain if name in corpora.plain else records).extend(read)
        built.counts[path.stem] = {"kept": len(read), **dropped}
    return records, plain, pairs


def _dictionary(name: str, share: float, lang: str, built: Built) -> dict[str, str]:
    """A dictionary without held-out names."""
    names = load_dictionary(name)
    kept = {words: english for words, english in names.items() if not held_out(english, share)}
    built.counts[f"{lang} names in {name}"] = {"kept": len(kept), "held out": len(names) - len(kept)}
    return kept


def _with_names(
    records: Sequence[ParallelRecord], known: Sequence[AlignmentRecord], corpora: Corpora, built: Built
) -> list[ParallelRecord]:
    """The records with entity pairs; held-out names are not among them."""
    pipeline = EnglishPipeline(corpora.english, exclude=NOT_NEEDED)
    texts = [Text(record.english, "en") for record in records]
    entities = [
        [text[entity] for entity in found if entity.label in NAMES]
        for text, found in zip(texts, pipeline(texts), strict=True)
    ]
    forms: defaultdict[str, set[str]] = defaultdict(set)
    for record in known:
        forms[record.english.casefold()].add(record.name)
    mined, counts = mine_pairs(records, entities, forms)
    lang = records[0].lang if records else ""
    built.counts[f"{lang} names in parallel sentences"] = dict(counts)
    kept = []
    for pair in mined:
        names = tuple(name for name in pair.names if not held_out(name[0], corpora.held_out_names))
        complete = pair.complete and len(names) == len(pair.names)
        kept.append(replace(pair, names=names, complete=complete))
    return kept


def _check(*paths: Path) -> None:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no {path}. Set the folders in [corpora], or all at once with --paths.data"
            )


# --- As files ------------------------------------------------------------------


def write_built(built: Built, path: Path) -> None:
    """Keep examples with a run, so that it goes on with the very same ones.

    built (Built): The examples.
    path (Path): A folder.
    """

    def rows(examples: Sequence[Example]) -> list[dict[str, object]]:
        return [
            {"prefix": e.prefix, "questions": [[q.kind, q.prompt, q.answer] for q in e.questions]}
            for e in examples
        ]

    path.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(path / "examples.jsonl", rows(built.train))
    srsly.write_json(path / "held_out.json", {name: rows(examples) for name, examples in built.tests.items()})
    srsly.write_json(path / "counts.json", built.counts)


def read_built(path: Path) -> Built:
    """Examples that `write_built` wrote."""

    def examples(rows: object) -> list[Example]:
        return [
            Example(row["prefix"], tuple(Question(*q) for q in row["questions"]))
            for row in rows  # type: ignore[attr-defined]
        ]

    return Built(
        examples(srsly.read_jsonl(path / "examples.jsonl")),
        {name: examples(rows) for name, rows in srsly.read_json(path / "held_out.json").items()},
        srsly.read_json(path / "counts.json"),
    )
