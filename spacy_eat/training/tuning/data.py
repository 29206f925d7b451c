"""Examples to tune on, built from alignment records and parallel sentences. No model here.

An `Example` is one source text with everything that is asked about it: its
translation, and the source words of English names. All of it continues the
same prefix, so the text is read once for many answers.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from ...alignment.locate import find
from ...corpora.dictionaries import find_terms
from ...corpora.parallel import ParallelRecord
from ...languages import load
from ...llm.forms import NONE, TERMS, name_question, terms_list, text_line, translation_question
from ...llm.tasks.rendering import language_name
from ...text.lines import one_line
from ...types import Text
from ..alignment_records import AlignmentRecord, contains, without_brackets
from .config import Mix

Kind = Literal["alignment", "translation", "terms"]

LISTED = (4, 10)  # names in a list, at least and at most


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


# --- Examples ------------------------------------------------------------------


def ask_name(english: str, lang: str, answer: str) -> Question:
    """The question for the source words of an English name."""
    return Question("alignment", name_question(english, language_name(lang)), one_line(answer))


def ask_translation(english: str, glossary: Sequence[tuple[str, str]] = ()) -> Question:
    """The question for the translation.

    glossary (Sequence[Tuple[str, str]]): Source terms with their English.
    """
    return Question("translation", translation_question(glossary), one_line(english))


def ask_terms(text: str, terms: Sequence[tuple[str, str]]) -> Question:
    """The question for the names of a text with their English.

    terms (Sequence[Tuple[str, str]]): Source terms with their English.
    """
    listed = terms_list(sorted(terms, key=lambda term: text.find(term[0])))
    return Question("terms", TERMS, listed or NONE)


def text_prefix(text: str, lang: str) -> str:
    """What all prompts about a text begin with."""
    return text_line(text, language_name(lang))


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
                    ask_translation(english),
                    *(ask_name(name, lang, words) for name, words in asked),
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
        questions = [ask_translation(record.english, terms)]
        if record.complete and len(own) == len(found):
            questions.append(ask_terms(text, own))
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
    questions = [ask_name(name, lang, words) for name, words in asked]
    if rng.random() < mix.none * len(asked):
        name = rng.choice(english)
        own = {known for known in names if names[known] == name}
        present = {a.casefold() for a, _ in found}
        if (
            name.casefold() not in present
            and not contains(avoid, name)
            and not contains(text, name)
            and not any(word in text for word in own)
            and not any(contains(a, name) or contains(name, a) for a in present)
        ):
            questions.append(ask_name(name, lang, NONE))
    return Example(text_prefix(text, lang), tuple(questions))


def _respell(
    lang: str, text: str, found: list[tuple[str, str]], share: float, rng: random.Random
) -> tuple[str, list[tuple[str, str]]]:
    """A share of the texts in traditional characters where the language has them, with their names."""
    if not load(lang).traditional or rng.random() >= share:
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
