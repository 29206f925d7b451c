"""Sentences with pairs of entities: what the entity aligner is trained on."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from spacy.vocab import Vocab

from ...corpora import CorpusError
from ...corpora.files import read_docs, read_jsonl
from ...corpora.splits import held_out
from ...encoders import readable
from ...languages import guess_language
from ...records import install_extensions, sentences_of
from ..alignment_records import latin_names, read_alignment
from .config import AlignerConfig, Annotated, Records

# English around a name, where there is no translation.
TEMPLATES = ("{}", "{}.", "{}", "This is about {}.", "{} was mentioned.")


class Bilingual(Protocol):
    """A sentence of the language `lang`, and its English."""

    @property
    def lang(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def english(self) -> str: ...


_Sentence = TypeVar("_Sentence", bound=Bilingual)


@dataclass(frozen=True)
class Pair:
    """An entity of the English, and where it comes from.

    english (Tuple[int, int]): Characters of the English, half open.
    source (Optional[Tuple[int, int]]): Characters of the source; None if it has no words for it.
    weight (float): What the pair counts, 0.0 to 1.0.
    """

    english: tuple[int, int]
    source: tuple[int, int] | None
    weight: float = 1.0


@dataclass(frozen=True)
class Example:
    """A sentence and its English.

    lang (str): Language code of the source.
    origin (str): Where the pairs come from: "annotated", "records" or "projected".
    """

    lang: str
    source: str
    english: str
    pairs: tuple[Pair, ...]
    origin: str


def read_annotated(settings: Annotated, counts: Counter[str]) -> list[Example]:
    """Sentences that an aligner has annotated. One name of the English has one place: the first.

    settings (Annotated): See there.
    counts (Counter[str]): Counts what is read and left out.
    RETURNS (List[Example]): Sentences with pairs.
    """
    if settings.path is None:
        return []
    install_extensions()
    examples = []
    for doc in read_docs(settings.path, Vocab()):
        for sentence in sentences_of(doc) if doc._.eat else ():
            start, end, pairs = sentence["start_char"], sentence["end_char"], dict[tuple[int, int], Pair]()
            for entity in sentence["entities"]:
                place = entity["english_start"], entity["english_end"]
                first, last = entity["start_char"], entity["end_char"]
                if first is None or last is None:
                    counts["without a place"] += 1
                elif entity["score"] < settings.min_score:
                    counts["low score"] += 1
                elif place not in pairs:
                    pairs[place] = Pair(place, (first - start, last - start), entity["score"])
            if pairs:
                text, english = doc.text[start:end], sentence["english"] or ""
                lang = _language(doc.text)
                examples.append(Example(lang, text, english, tuple(pairs.values()), "annotated"))
                counts["pairs"] += len(pairs)
    counts["sentences"] = len(examples)
    return examples


def _language(text: str) -> str:
    """Of a .spacy file, which does not say: by its script."""
    return guess_language([text]) or ""


def read_records(settings: Records, seed: int, counts: Counter[str]) -> list[Example]:
    """Alignment records, and questions for names that are not there.

    settings (Records): See there.
    seed (int): Decides which.
    counts (Counter[str]): Counts what is read and left out.
    RETURNS (List[Example]): One pair each.
    """
    if settings.path is None:
        return []
    random_ = random.Random(seed)
    latin = latin_names(settings.path)
    examples = []
    for lang, limit in settings.limits.items():
        path = settings.path / f"{lang}.jsonl"
        records = [r for r in read_alignment(path, lang, counts, latin) if len(r.text) <= settings.max_chars]
        random_.shuffle(records)
        names = [record.english for record in records]
        for record in records[:limit]:
            start = record.text.index(record.name)
            name, place = record.english, (start, start + len(record.name))
            missing = random_.random() < settings.none
            if missing:
                name = random_.choice(names)
                if name == record.english:
                    continue
            template = random_.choice(TEMPLATES)
            at = template.index("{")
            pair = Pair((at, at + len(name)), None if missing else place)
            examples.append(Example(lang, record.text, template.format(name), (pair,), "records"))
    counts["sentences"] = len(examples)
    return examples


def readable_sides(sentences: Sequence[Bilingual]) -> tuple[list[str], list[str]]:
    """RETURNS (Tuple[List[str], List[str]]): The sentences and their English, as an encoder is given them."""
    return (
        [readable(sentence.source, sentence.lang) for sentence in sentences],
        [readable(sentence.english, "en") for sentence in sentences],
    )


def hold_out(examples: Sequence[_Sentence], count: float) -> tuple[list[_Sentence], list[_Sentence]]:
    """Split examples by their English: the same ones in every run.

    examples (Sequence[Bilingual]): Of parallel text.
    count (float): About how many to hold out, at most a fifth.
    RETURNS (Tuple[List[Bilingual], List[Bilingual]]): What to train on, and what is held out.
    """
    share = min(0.2, count / max(1, len(examples)))
    kept = [example for example in examples if not held_out(example.english, share)]
    return kept, [example for example in examples if held_out(example.english, share)]


def with_missing(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Cut one entity out of the source of some sentences: so its English has no place.

    examples (Sequence[Example]): The sentences.
    share (float): Share of them that are cut.
    seed (int): Decides which.
    RETURNS (List[Example]): As many sentences, in their order.
    """
    random_ = random.Random(seed)
    return [
        _cut(example, random_.choice(example.pairs)) if random_.random() < share else example
        for example in examples
    ]


def _cut(example: Example, missing: Pair) -> Example:
    """The sentence without an entity's words; as it is where they stand elsewhere too."""
    if missing.source is None:
        return example
    start, end = missing.source
    rest = example.source[:start] + example.source[end:]
    others = [pair for pair in example.pairs if pair is not missing]
    if example.source[start:end] in rest or any(
        pair.source and pair.source[0] < end and start < pair.source[1] for pair in others
    ):
        return example
    moved = [
        replace(pair, source=(pair.source[0] - end + start, pair.source[1] - end + start))
        if pair.source and pair.source[0] >= end
        else pair
        for pair in others
    ]
    return replace(example, source=rest, pairs=(*moved, replace(missing, source=None)))


def read_examples(path: Path) -> list[Example]:
    """RETURNS (List[Example]): What `write_examples` wrote.
    RAISES (CorpusError): If a line is not one."""
    examples = []
    for line, row, error in read_jsonl(path):
        try:
            if error:
                raise ValueError(error)
            pairs = tuple(
                Pair(_place(p["english"]), p["source"] and _place(p["source"]), p["weight"])
                for p in row["pairs"]
            )
            examples.append(Example(row["lang"], row["source"], row["english"], pairs, row["origin"]))
        except (KeyError, TypeError, ValueError) as problem:
            remedy = "Remove the folder's run with --restart"
            raise CorpusError(path, line.number, f"no sentence with pairs ({problem})", remedy) from problem
    return examples


def _place(value: Sequence[int]) -> tuple[int, int]:
    start, end = value
    return int(start), int(end)


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """Write examples as JSON lines."""
    lines = (json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)
    path.write_text("".join(lines), encoding="utf-8")


def build(config: AlignerConfig, counts: dict[str, Counter[str]]) -> Iterator[Example]:
    """All examples that a config names.

    config (AlignerConfig): The config.
    counts (Dict[str, Counter[str]]): Gets for each kind what was read and left out.
    YIELDS (Example): The examples.
    """
    corpora, seed = config.corpora, config.training.seed
    counts["annotated"], counts["records"], counts["projected"] = Counter(), Counter(), Counter()
    known = read_annotated(corpora.annotated, counts["annotated"])
    yield from known
    yield from read_records(corpora.records, seed, counts["records"])
    if corpora.projected.path is not None:
        from .projection import project

        seen = {example.source for example in known}
        yield from project(corpora.projected, config.model.base, seen, seed, counts["projected"])
