"""What the package knows of languages: one YAML file each, and Unicode's defaults for all others.

A new language is a new file in `FOLDER`, named by its code, with any of the fields of `Language`. An entry
says in a comment why it is there: a grammar, a style guide, or the data that it gains on.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import regex
import srsly

FOLDER = Path(__file__).parent
_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class Language:
    """What is known of a language. Patterns are regular expressions.

    name (str): In English.
    scripts (Tuple[str, ...]): Unicode's names of its scripts. Those that no other file has tell it.
    examples (Tuple[str, ...]): Sentences with names in them, for a demonstration.
    spaces (bool): Whether spaces stand between its words.
    traditional (bool): Whether its texts are in traditional characters or in simplified ones.
    by_sound (bool): Whether it writes names from elsewhere in Han characters, by their sound.
    stop (str): The full stop, "" if sentences have none.
    width (float): English characters that a letter of its scripts is worth in a translation.
    scales (str): Characters beside which a number is another one in English: 3万 is 30,000.
    compounds (bool): Whether a name right after a Han character is likely the second part of a longer one.
    abbreviations (Tuple[str, ...]): Words with a full stop that ends no sentence.
    prefixes (Tuple[str, ...]): What may be written together with a name, before it; also several.
    suffixes (Tuple[str, ...]): What may be written together with a name, after it; also several.
    particles (Tuple[str, ...]): Patterns. What an answer may end with and a name does not.
    titles (Tuple[str, ...]): What an answer may have before or after the name.
    ranks_before (Tuple[str, ...]): Patterns. What a person is, said right before the name.
    ranks_after (Tuple[str, ...]): Patterns. What a person is, said right after the name.
    completing_before (Tuple[str, ...]): Patterns. What is a part of the name that it stands right before.
    completing_after (Tuple[str, ...]): Patterns. What is a part of the name that it stands right after.
    joining (Tuple[str, ...]): Patterns. What joins names to a phrase, between two of its characters.
    contrasting (str): Characters that tell names apart.
    divisions (str): What a place ends with that may be the first part of an address written as one word.
    """

    name: str = ""
    scripts: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    spaces: bool = True
    traditional: bool = False
    by_sound: bool = False
    stop: str = "."
    width: float = 1.0
    scales: str = ""
    compounds: bool = False
    abbreviations: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    particles: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    ranks_before: tuple[str, ...] = ()
    ranks_after: tuple[str, ...] = ()
    completing_before: tuple[str, ...] = ()
    completing_after: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    contrasting: str = ""
    divisions: str = ""

    @cached_property
    def letter(self) -> regex.Pattern[str]:
        """RETURNS (Pattern): A letter of its scripts."""
        return regex.compile(_either(rf"\p{{Script={script}}}" for script in self.scripts))

    def share(self, text: str) -> float:
        """RETURNS (float): The share of a text's letters that are of its scripts, 0.0 of none."""
        letters = len(_LETTER.findall(text))
        return len(self.letter.findall(text)) / letters if letters else 0.0

    @cached_property
    def prefix(self) -> re.Pattern[str]:
        """RETURNS (Pattern): Prefixes, one or several."""
        return re.compile(f"(?:{_either(map(re.escape, self.prefixes))})+")

    @cached_property
    def suffix(self) -> re.Pattern[str]:
        """RETURNS (Pattern): Suffixes, one or several."""
        return re.compile(f"(?:{_either(map(re.escape, self.suffixes))})+")

    @cached_property
    def particle(self) -> re.Pattern[str]:
        """RETURNS (Pattern): A particle at the end."""
        return re.compile(f"(?:{_either(self.particles)})$")

    @cached_property
    def rank_before(self) -> re.Pattern[str]:
        """RETURNS (Pattern): A person's rank at the beginning, where two characters or more follow it."""
        return re.compile(rf"(?:{_either(self.ranks_before)})\s*(?=\w\w)")

    @cached_property
    def rank(self) -> re.Pattern[str]:
        """RETURNS (Pattern): A person's rank as a word, wherever it stands."""
        return re.compile(rf"\b(?:{_either(self.ranks_before)})\b", re.IGNORECASE)

    @cached_property
    def rank_after(self) -> re.Pattern[str]:
        """RETURNS (Pattern): A person's rank at the end, where two characters or more precede it."""
        return re.compile(f"(?<=..)(?:{_either(self.ranks_after)})$")

    @cached_property
    def completes_before(self) -> re.Pattern[str]:
        """RETURNS (Pattern): What completes a name, at the end of what precedes it."""
        return re.compile(f"(?:{_either(self.completing_before)})$")

    @cached_property
    def completes_after(self) -> re.Pattern[str]:
        """RETURNS (Pattern): What completes a name, right after it."""
        return re.compile(_either(self.completing_after))

    @cached_property
    def joins(self) -> re.Pattern[str]:
        """RETURNS (Pattern): What joins names to a phrase."""
        return re.compile(f".(?:{_either(self.joining)}).")


def load(lang: str) -> Language:
    """What is known of a language.

    lang (str): Code, such as "zh"; "zh-TW" is "zh". A language without a file has Unicode's defaults.
    RETURNS (Language): The same object for the same code.
    RAISES (ValueError): Its file is wrong. The message names file, key and remedy.
    """
    return _load(FOLDER, re.split("[-_]", lang.lower())[0])


def codes() -> list[str]:
    """RETURNS (List[str]): The languages with a file."""
    return _codes(FOLDER)


@cache
def _codes(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def guess_language(texts: Iterable[str]) -> str | None:
    """The language of texts, where their scripts tell it.

    texts (Iterable[str]): Some texts of one language.
    RETURNS (Optional[str]): The code of the one whose scripts most letters are of, and, where Chinese and
        Japanese have as many, few scripts rather than many. None where there is no letter of a script that
        tells: Latin letters do not.
    """
    text = "\n".join(texts)
    known = {code: load(code) for code in codes()}
    shared = Counter(language.scripts for language in known.values())
    counts = [
        (len(language.letter.findall(text)), -len(language.scripts), code)
        for code, language in known.items()
        if shared[language.scripts] == 1
    ]
    letters, _, code = max(counts, default=(0, 0, ""))
    return code if letters else None


@cache
def _load(folder: Path, code: str) -> Language:
    path = folder / f"{code}.yaml"
    if not code.isalpha() or not path.is_file():
        return Language()
    try:
        data = srsly.yaml_loads(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise ValueError(f"{path}: this is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: the file needs keys and values, such as `name: Chinese`")
    return Language(**{key: _value(path, key, value) for key, value in data.items()})


def _value(path: Path, key: str, value: Any) -> Any:
    """The value of a key as `Language` has it, checked."""
    defaults = {field.name: field.default for field in fields(Language)}
    if key not in defaults:
        close = get_close_matches(str(key), defaults, 1)
        hint = f"do you mean {close[0]!r}?" if close else f"the keys are {', '.join(defaults)}"
        raise ValueError(f"{path}: there is no key {key!r}; {hint}")
    expected = type(defaults[key])
    if expected is not tuple:
        if isinstance(value, expected):
            return value
        remedy = {bool: "write true or false", str: "write it in quotes", float: "write it as 1.0"}[expected]
        raise ValueError(f"{path}: {key!r} is {value!r}; {remedy}")
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"{path}: {key!r} is {value!r}; write a list of strings, each in quotes")
    for item in value:
        try:
            if key == "scripts":
                regex.compile(rf"\p{{Script={item}}}")
            re.compile(item if key in _PATTERNS else re.escape(item))
        except (re.error, regex.error) as error:
            raise ValueError(f"{path}: {key!r} has {item!r}; mend the pattern: {error}") from error
    return tuple(value)


_PATTERNS = ("particles", "ranks_before", "ranks_after", "completing_before", "completing_after", "joining")


def _either(patterns: Iterable[str]) -> str:
    """A pattern that matches what any of some patterns does; of none, one that never matches."""
    return "|".join(patterns) or "(?!)"
