"""Corpora for tuning, cleaned, and the examples built from them. No model here.

An `Example` is one source text with everything that is asked about it: its
translation, and the source words of English names. All of it continues the
same prefix, so the text is read once for many answers.
"""

import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rapidfuzz import fuzz

from ...alignment.locate import find
from ...corpora.dictionaries import find_terms
from ...corpora.splits import held_out
from ...languages import load
from ...llm.tasks.alignment import NONE, alignment_prompt
from ...llm.tasks.rendering import language_name, one_line
from ...llm.tasks.translation import TERMS, translation_prompt
from ...text.sentences import split_text
from ...types import Text
from .config import Mix

Kind = Literal["alignment", "translation", "terms"]

# Languages written in Latin script: an English name in their text is no leak.
LATIN = frozenset({"de", "es", "fr", "nl"})
LISTED = (4, 10)  # names in a list, at least and at most
# Percent of likeness below which names in Latin script are of different things.
MIN_LIKENESS = 45.0


@dataclass(frozen=True)
class AlignmentRecord:
    """A sentence that contains the name of something English has a name for.

    lang (str): Language code.
    text (str): The sentence, one line.
    english (str): The English name.
    name (str): Its words in `text`, character for character.
    """

    lang: str
    text: str
    english: str
    name: str


@dataclass(frozen=True)
class ParallelRecord:
    """A sentence and its translation.

    lang (str): Language code of the source.
    source, english (str): Both on one line.
    names (Tuple[Tuple[str, str], ...]): English names of the translation, each
        with its words in `source`.
    complete (bool): Whether these are all names of the translation.
    origin (str): The file it comes from, without suffix.
    """

    lang: str
    source: str
    english: str
    names: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    complete: bool = False


@dataclass(frozen=True)
class Question:
    """Something asked about a text: what follows its prefix, and the answer.

    kind (str): "alignment", "translation" or "terms" (the names of a text with
        their English, as a translation is given them).
    prompt (str): Follows the prefix; does not end with a space.
    answer (str): Without the space before it and the line break after it.
    """

    kind: Kind
    prompt: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A source text with the questions about it, each independent of the others.

    prefix (str): The text as all prompts begin with it.
    questions (Tuple[Question, ...]): At least one.
    """

    prefix: str
    questions: tuple[Question, ...]


# --- Reading and cleaning ----------------------------------------------------


def read_records(path: Path, fields: Sequence[str], dropped: Counter[str]) -> Iterator[dict[str, str]]:
    """Records of a JSONL file that have all fields as non-empty text.

    path (Path): The file.
    fields (Sequence[str]): The fields of a record.
    dropped (Counter[str]): Counts what is left out, by reason.
    YIELDS (Dict[str, str]): The fields, stripped.
    """
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:  # broken JSON or broken UTF-8
                dropped["broken line"] += 1
                continue
            if not isinstance(record, dict) or any(not isinstance(record.get(f), str) for f in fields):
                dropped["missing field"] += 1
                continue
            values = {field: record[field].strip() for field in fields}
            if all(values.values()):
                yield values
            else:
                dropped["empty field"] += 1


def read_alignment(
    path: Path, lang: str, dropped: Counter[str], latin: Mapping[str, Sequence[str]] | None = None
) -> list[AlignmentRecord]:
    """Clean records {eng_entity, tgt_entity, text} of Wikipedia leads.

    path (Path): A JSONL file.
    lang (str): Its language code.
    dropped (Counter[str]): Counts what is left out, by reason.
    latin (Optional[Mapping[str, Sequence[str]]]): See `latin_names`; what they
        tell to be the name of something else is left out.
    RETURNS (List[AlignmentRecord]): Different ones, names verbatim in the text.
    """
    records: dict[tuple[str, str, str], AlignmentRecord] = {}
    for raw in read_records(path, ("eng_entity", "tgt_entity", "text"), dropped):
        record = clean_alignment(lang, raw["text"], raw["eng_entity"], raw["tgt_entity"])
        if isinstance(record, str):
            dropped[record] += 1
            continue
        if latin and is_something_else(record.english, latin.get(record.english.casefold(), ())):
            dropped["name of something else"] += 1
            continue
        key = record.text, record.english.casefold(), record.name
        if key in records:
            dropped["duplicate"] += 1
        else:
            records[key] = record
    return list(records.values())


def latin_names(folder: Path) -> dict[str, list[str]]:
    """What English names are in other languages of Latin script.

    folder (Path): With {lang}.jsonl files.
    RETURNS (Dict[str, List[str]]): Lower-cased English names with the others.
    """
    names: dict[str, list[str]] = {}
    for lang in sorted(LATIN):
        path = folder / f"{lang}.jsonl"
        for raw in read_records(path, ("eng_entity", "tgt_entity"), Counter()) if path.is_file() else ():
            names.setdefault(cased(one_line(raw["eng_entity"])).casefold(), []).append(raw["tgt_entity"])
    return names


def is_something_else(english: str, latin: Sequence[str]) -> bool:
    """Whether a record's English name and its article are not the same thing.

    Records of one English name have articles on one thing in all languages.
    Where that is called something without any likeness wherever a name of
    several words would be hardly changed, it is the wrong one: "Anatoly
    Shkirko" is not "Primera guerra chechena". Nine in ten found so are wrong.

    english (str): The English name.
    latin (Sequence[str]): Its names in other languages of Latin script.
    """
    if " " not in english or not latin:
        return False
    name = english.casefold()
    return all(fuzz.partial_ratio(name, other.casefold()) < MIN_LIKENESS for other in latin)


def clean_alignment(lang: str, text: str, english: str, name: str) -> AlignmentRecord | str:
    """One record, cut to the sentence with the name and freed of what gives the
    answer away, or the reason why it can't be used."""
    english = cased(one_line(english))
    name = re.sub(r"\s*[(（][^()（）]*[)）]$", "", one_line(name)) or name
    if not any(c.isalpha() for c in english) or not any(c.isalnum() for c in name):
        return "no name"
    text = unicodedata.normalize("NFC", re.sub(r"\[[^\[\]]{0,4}\]|[\u200b-\u200f\ufeff]", "", text))
    for start, end in split_text(text, max_length=2000):
        sentence = without_leak(lang, one_line(text[start:end]), english)
        spans = find(Text(sentence, lang), name)
        if spans and spans[0].origin != "fuzzy" and len(sentence) > len(name) + 6:
            found = sentence[spans[0].start_char : spans[0].end_char]
            if _contains(sentence, english) and lang not in LATIN and found != english:
                return "leak"
            if found.casefold() == english.casefold():
                return "same in English"
            return AlignmentRecord(lang, sentence, english, found)
    return "name not in the text"


_BRACKETS = re.compile(r"\s*(?:\([^()（）]*\)|（[^()（）]*）)")


def without_leak(lang: str, text: str, english: str) -> str:
    """The text without glosses that hold the English name: in other scripts all
    brackets with Latin letters in them, else those with the name itself."""

    def gloss(match: re.Match[str]) -> str:
        inner = match.group()
        leaks = _contains(inner, english) if lang in LATIN else re.search("[A-Za-z]{2}", inner)
        return "" if leaks or not any(c.isalnum() for c in inner) else inner

    return re.sub(r" {2,}", " ", _BRACKETS.sub(gloss, text))


def without_brackets(text: str) -> str:
    """The text without round brackets and what is in them."""
    previous = ""
    while previous != text:
        previous, text = text, _BRACKETS.sub("", text)
    return re.sub(r" {2,}", " ", text).strip()


def cased(name: str) -> str:
    """A name in capitals as it stands in running text, acronyms left alone."""
    if not name.isupper() or (len(name) < 6 and " " not in name):
        return name
    return re.sub(r"[^\W\d_]+", lambda word: word.group().capitalize(), name)


def _contains(text: str, name: str) -> bool:
    """Whether a name stands in a text, not within a longer Latin word."""
    return re.search(rf"(?<![{_LETTERS}]){re.escape(name)}(?![{_LETTERS}])", text, re.IGNORECASE) is not None


_LETTERS = "A-Za-z0-9À-ɏ"


def read_parallel(path: Path, lang: str, dropped: Counter[str]) -> list[ParallelRecord]:
    """Clean sentence pairs {source, english}.

    path (Path): A JSONL file.
    lang (str): Code of the source language.
    dropped (Counter[str]): Counts what is left out, by reason.
    RETURNS (List[ParallelRecord]): Different ones, without names.
    """
    records: dict[str, ParallelRecord] = {}
    for raw in read_records(path, ("source", "english"), dropped):
        source, english = one_line(raw["source"]), detokenize(one_line(raw["english"]))
        if not load(lang).spaces:
            source = full_width(source)
            han = sum(c > "\u2e80" for c in source)
            if han < 0.4 * len(source.replace(" ", "")):
                dropped["other script"] += 1
                continue
            if not 0.8 * len(source) < len(english) < 8 * len(source) + 20:
                dropped["lengths differ"] += 1
                continue
        if sum(c.isascii() for c in english) < 0.9 * len(english) or len(english) < 4:
            dropped["not English"] += 1
            continue
        if source in records:
            dropped["duplicate"] += 1
        else:
            records[source] = ParallelRecord(lang, source, english, origin=path.stem)
    return list(records.values())


def full_width(text: str) -> str:
    """Commas and the like between Han characters or kana as these languages write them."""
    table = str.maketrans(",;:?!", "，；：？！")
    return re.sub(r"(?<=[\u3040-\u9fff])[,;:?!] ?", lambda m: m.group()[0].translate(table), text)


def detokenize(english: str) -> str:
    """Running text from lower-cased tokens ("i 'm in the tennis club ."); other text as it is."""
    if not re.search(r" [.?!]$| n't| '(?:m|s|re|ve|ll|d)\b", english):
        return english
    text = re.sub(r" (n't|'(?:m|s|re|ve|ll|d)\b)", r"\1", re.sub(r" ([.,?!;:])", r"\1", english))
    text = re.sub(r"\bi\b(?!\.)", "I", text)
    return text[:1].upper() + text[1:]


# --- Held out ----------------------------------------------------------------


def hold_out_names(
    records: Sequence[AlignmentRecord], share: float
) -> tuple[list[AlignmentRecord], list[AlignmentRecord]]:
    """Split records by English name, such that no held-out name, in either
    language, is the answer to a training record.

    records (Sequence[AlignmentRecord]): Of one language.
    share (float): Share of English names that are held out.
    RETURNS (Tuple[List[AlignmentRecord], List[AlignmentRecord]]): Training
        records and held-out ones.
    """
    test = [record for record in records if held_out(record.english, share)]
    names, texts = {record.name for record in test}, {record.text for record in test}
    train = [
        record
        for record in records
        if not held_out(record.english, share) and record.name not in names and record.text not in texts
    ]
    return train, test


def hold_out_pairs(
    records: Sequence[ParallelRecord], count: int
) -> tuple[list[ParallelRecord], list[ParallelRecord]]:
    """Split pairs by their English, so that corpora of the same sentences in
    several languages hold out the same ones.

    records (Sequence[ParallelRecord]): Pairs of one language.
    count (int): About how many to hold out; none where it would be over half.
    RETURNS (Tuple[List[ParallelRecord], List[ParallelRecord]]): Training pairs
        and held-out ones.
    """
    share = count / len(records) if len(records) > 2 * count else 0.0
    test = [record for record in records if held_out(record.english, share)]
    return [record for record in records if not held_out(record.english, share)], test


def build_tests(records: Sequence[AlignmentRecord], count: int, seed: int) -> list[tuple[str, str, str]]:
    """Held-out questions that can't be answered by position: three sentences
    without brackets, of which the second or third has the name.

    records (Sequence[AlignmentRecord]): Held-out records of one language.
    count (int): Most questions to build.
    seed (int): Decides the other sentences.
    RETURNS (List[Tuple[str, str, str]]): Text, English name, and its words in the text.
    """
    rng = random.Random(seed)
    bare = [replace(r, text=without_brackets(r.text)) for r in records]
    bare = [r for r in bare if r.name in r.text and len(r.text) <= 120]
    by_name = {r.english.casefold(): r for r in bare}
    tests: list[tuple[str, str, str]] = []
    for record in sorted(by_name.values(), key=lambda r: (r.english, r.text)):
        others = [r for r in bare if record.name not in r.text and r.text != record.text]
        if len(others) < 2:
            continue
        first, other = rng.sample(others, 2)
        rest = [other.text, record.text]
        rng.shuffle(rest)
        tests.append((_joined(record.lang, [first.text, *rest]), record.english, record.name))
    rng.shuffle(tests)
    return tests[:count]


def first_chunk(text: str) -> str:
    """What a rule answers that never reads the English: all up to the first
    punctuation mark, bracket or particle."""
    text = text.strip("「『《〈\"' ")
    end = re.search(r"[，、。,.（(：:「」『』《》；;]|[はがのを](?=.)|(?<=..)[是为為於于在](?=.)", text)
    return text[: end.start()].strip() if end else text


# --- Examples ------------------------------------------------------------------


def ask_name(text: str, english: str, lang: str, answer: str) -> Question:
    """The question for the source words of an English name."""
    _, prompt = alignment_prompt(text, english, language_name(lang))
    return Question("alignment", prompt, one_line(answer))


def ask_translation(text: str, english: str, lang: str, glossary: Sequence[tuple[str, str]] = ()) -> Question:
    """The question for the translation.

    glossary (Sequence[Tuple[str, str]]): Source terms with their English.
    """
    prompt = translation_prompt(text, language_name(lang), glossary)
    return Question("translation", prompt.removeprefix(text_prefix(text, lang)), one_line(english))


def ask_terms(text: str, lang: str, terms: Sequence[tuple[str, str]]) -> Question:
    """The question for the names of a text with their English.

    terms (Sequence[Tuple[str, str]]): Source terms with their English.
    """
    head, end = TERMS, "\n"
    translation = ask_translation(text, "", lang, sorted(terms, key=lambda term: text.find(term[0])))
    line = translation.prompt[: translation.prompt.index(end)] if terms else f"{head} {NONE}"
    return Question("terms", head, line.removeprefix(head).strip())


def text_prefix(text: str, lang: str) -> str:
    """What all prompts about a text begin with."""
    return alignment_prompt(text, "", language_name(lang))[0]


def known_names(records: Iterable[AlignmentRecord]) -> dict[str, str]:
    """Names of a language with their English, most frequent reading first."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(record.name, Counter())[record.english] += 1
    return {name: english.most_common(1)[0][0] for name, english in counts.items() if len(name) > 1}


def names_in(text: str, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Known names in a text, longer ones first, none within another.

    text (str): The text.
    names (Mapping[str, str]): Names with their English.
    RETURNS (List[Tuple[str, str]]): English names, each with its words.
    """
    present = [name for name in names if name in text]
    found = []
    rest = text
    for name in sorted(present, key=lambda n: (-len(n), n)):
        if name in rest and find(Text(rest), name, min_similarity=2.0):
            found.append((names[name], name))
            rest = rest.replace(name, "\n")
    return found


def build_alignment_examples(
    records: Sequence[AlignmentRecord], count: int, mix: Mix, seed: int
) -> list[Example]:
    """Alignment examples of one language: composites, sentences with several
    names, single sentences.

    records (Sequence[AlignmentRecord]): Training records of one language.
    count (int): How many; records are used again in other company if there
        are fewer.
    mix (Mix): The shares.
    seed (int): Decides everything.
    RETURNS (List[Example]): At most `count`; none if there are no records.
    """
    rng = random.Random(seed)
    names = known_names(records)
    single = {r.text: [(r.english, r.name)] for r in records if len(r.text) <= mix.max_chars}
    bare: dict[str, list[tuple[str, str]]] = {}
    for record in records:
        text = without_brackets(record.text)
        if record.name in text and len(text) <= mix.max_chars // 2:
            bare[text] = _merge([(record.english, record.name)], names_in(text, names))
    several = {text: found for text, found in bare.items() if len(found) > 1}
    if not single and not bare:
        return []
    lang = records[0].lang
    english = sorted({record.english for record in records})
    examples = []
    pools = {key: _Cycle(sorted(pool), rng) for key, pool in (("c", bare), ("s", several), ("r", single))}
    for _ in range(count):
        draw = rng.random()
        if draw < mix.composite and len(bare) > 2:
            texts = [pools["c"].draw() for _ in range(rng.choice((2, 2, 3)))]
            found: list[tuple[str, str]] = []
            for text in texts:
                found = _merge(found, bare[text])
            text = _joined(lang, texts)
        elif draw < mix.composite + mix.several and several:
            text = pools["s"].draw()
            found = several[text]
        elif single:
            text = pools["r"].draw()
            found = single[text]
        else:
            text = pools["c"].draw()
            found = bare[text]
        if len(text) <= mix.max_chars:
            examples.append(_example(lang, text, found, english, names, mix, rng))
    return examples


def build_name_examples(
    lang: str, names: Mapping[str, str], more: Mapping[str, str], count: int, mix: Mix, seed: int
) -> list[Example]:
    """Lists of names: to translate, and to find some by their English.

    lang (str): Language code.
    names, more (Mapping[str, str]): Names with their English. Half of each list is
        from `more`, where there is any.
    count (int): How many lists.
    mix (Mix): The shares.
    seed (int): Decides everything.
    RETURNS (List[Example]): At most `count`.
    """
    rng = random.Random(seed)
    pools = [_Cycle(sorted(pool), rng) for pool in (names, more) if pool]
    examples = []
    for _ in range(count if pools else 0):
        chosen = dict.fromkeys(pools[i % len(pools)].draw() for i in range(rng.randint(*LISTED)))
        found = [(more.get(words) or names[words], words) for words in chosen]
        rng.shuffle(found)
        text, found = _respell(lang, "、".join(words for _, words in found), found, mix.traditional, rng)
        if len(text) > mix.max_chars or len({english.casefold() for english, _ in found}) < len(found):
            continue
        asked = rng.sample(found, min(len(found), 3))
        english = ", ".join(english for english, _ in found)
        examples.append(
            Example(
                text_prefix(text, lang),
                (
                    ask_translation(text, english, lang),
                    *(ask_name(text, name, lang, words) for name, words in asked),
                ),
            )
        )
    return examples


def build_parallel_examples(
    records: Sequence[ParallelRecord],
    count: int,
    short: int,
    names: Mapping[str, str],
    dictionary: Mapping[str, str],
    mix: Mix,
    seed: int,
) -> list[Example]:
    """Translation and alignment together, on parallel sentences of one language.

    records (Sequence[ParallelRecord]): With their names.
    count (int): How many; sentences with many names come first.
    short (int): How many of them at most are without any name.
    names (Mapping[str, str]): Known names of the language with their English,
        to make sure that a name asked for in vain is not there.
    dictionary (Mapping[str, str]): Terms with their English, for `mix.dictionary`.
    mix (Mix): The shares.
    seed (int): Decides everything.
    RETURNS (List[Example]): At most `count`.
    """
    rng = random.Random(seed)
    usable = [r for r in records if len(r.source) <= mix.max_chars and len(r.english) <= 2.5 * mix.max_chars]
    rng.shuffle(usable)
    rich = sorted((r for r in usable if r.names), key=lambda r: -min(3, len(r.names)))
    plain = [r for r in usable if not r.names][: min(short, count)]
    chosen = rich[: count - len(plain)] + plain
    english = sorted({name for record in chosen for name, _ in record.names})
    examples = []
    for record in chosen:
        text, found = record.source, list(record.names)
        rng.shuffle(found)
        text, found = _respell(record.lang, text, found, mix.traditional, rng)
        own = [(words, name) for name, words in found if name in record.english]
        terms: list[tuple[str, str]] = []
        draw = rng.random()
        if draw < mix.glossary:
            terms = own
        elif draw < mix.glossary + mix.dictionary:
            terms = find_terms(text, dictionary, lang=record.lang)
        questions = [ask_translation(text, record.english, record.lang, terms)]
        if record.complete and len(own) == len(found):
            questions.append(ask_terms(text, record.lang, own))
        if found:
            example = _example(record.lang, text, found, english, names, mix, rng, avoid=record.english)
            questions += example.questions
        examples.append(Example(text_prefix(text, record.lang), tuple(questions)))
    return examples


def _example(
    lang: str,
    text: str,
    found: Sequence[tuple[str, str]],
    english: Sequence[str],
    names: Mapping[str, str],
    mix: Mix,
    rng: random.Random,
    avoid: str = "",
) -> Example:
    """Ask for the names found in a text, and now and then for one that is not there."""
    asked = list(found)
    rng.shuffle(asked)
    text, asked = _respell(lang, text, asked[: mix.max_questions], mix.traditional if not avoid else 0.0, rng)
    questions = [ask_name(text, name, lang, words) for name, words in asked]
    if rng.random() < mix.none * len(asked):
        name = rng.choice(english)
        own = {known for known in names if names[known] == name}
        present = {a.casefold() for a, _ in found}
        if (
            name.casefold() not in present
            and not _contains(avoid, name)
            and not _contains(text, name)
            and not any(word in text for word in own)
            and not any(_contains(a, name) or _contains(name, a) for a in present)
        ):
            questions.append(ask_name(text, name, lang, NONE))
    return Example(text_prefix(text, lang), tuple(questions))


def _respell(
    lang: str, text: str, found: list[tuple[str, str]], share: float, rng: random.Random
) -> tuple[str, list[tuple[str, str]]]:
    """A share of the Chinese texts in traditional characters, with their names."""
    if lang != "zh" or rng.random() >= share:
        return text, found
    converted = _traditional(text)
    if len(converted) != len(text):
        return text, found
    spelled = []
    for english, words in found:
        start = text.find(words)
        spelled.append((english, converted[start : start + len(words)]))
    return converted, spelled


def _traditional(text: str) -> str:
    return str(_converter().convert(text))


@cache
def _converter() -> Any:
    from opencc import OpenCC

    return OpenCC("s2tw")


def _merge(found: Sequence[tuple[str, str]], more: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names found, each English name and each place once."""
    merged = list(found)
    for english, words in more:
        if all(english.casefold() != e.casefold() and words != w for e, w in merged):
            merged.append((english, words))
    return merged


def _joined(lang: str, texts: Sequence[str]) -> str:
    return (" " if load(lang).spaces else "").join(texts)


class _Cycle:
    """Draws without replacement, shuffled anew when all were drawn."""

    def __init__(self, items: Sequence[str], rng: random.Random) -> None:
        self.items = list(items)
        self.rng = rng
        self.rest: list[str] = []

    def draw(self) -> str:
        if not self.rest:
            self.rest = list(self.items)
            self.rng.shuffle(self.rest)
        return self.rest.pop()
