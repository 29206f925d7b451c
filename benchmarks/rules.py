"""What is each rule of finding, completing and assigning worth? Each is switched off in turn.

    python -m benchmarks.rules --chains DIR [--only WORD]

Three measures:

- strict F1 over recorded chains (`python -m benchmarks.chains record`): what is lost without the rule, in
  points, with a paired bootstrap interval (95 %). Most rules were made with these sets in view;
- the same for the two parts of zh_pud_half: the first 200 sentences were looked at most;
- how often a name is found where it stands in Wikipedia sentences of ten languages (`benchmarks.languages`),
  from which no rule was made, in points. Japanese and Chinese by themselves.

A rule that loses nothing when it is off has to have a reason of its own, in its language's file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import numpy
import typer
from wasabi import msg

from benchmarks.chains import SETS, recorded, replay
from benchmarks.languages import Record, chosen, records
from spacy_eat import languages
from spacy_eat.alignment import llm, locate, resolve
from spacy_eat.components import placement
from spacy_eat.languages import FOLDER, Language
from spacy_eat.types import Span, Text
from tests.conftest import DATA

KNOWN = 200  # sentences of zh_pud_half that were looked at most
SAMPLES = 1000  # of the bootstrap

# What the files say that serves other ends than finding names.
OTHER_FIELDS = {"name", "scripts", "examples", "spaces", "traditional", "by_sound", "stop", "width", "scales"}
OF_NAMES = {
    "locate: complete, all of it",
    "locate: GLOSSED",
    "locate: CUT_NAME",
    "locate: PHRASE",
    "resolve: English as it stands",
    "resolve: repeats",
    "resolve: names in brackets",
    "placement: addresses joined",
}

Switch = Callable[[], AbstractContextManager[Any]]


class Rule(NamedTuple):
    """A rule, and how to switch it off.

    name (str): Where it is. off (Callable): A context without it. lang (str): The language that it serves, ""
        for all.
    """

    name: str
    off: Switch
    lang: str = ""


def rules() -> list[Rule]:
    """RETURNS (List[Rule]): All rules, those of the languages by their entries."""
    nothing: Callable[..., Any] = lambda *args, **kwargs: []  # noqa: E731
    code: list[tuple[str, object, str, Any]] = [
        ("locate: fuzzy places", locate, "_find_similar", nothing),
        ("locate: fuzzy keeps numbers and contrasts", locate, "_contrasts", nothing),
        ("locate: fuzzy keeps its ends", locate, "_same_ends", lambda a, b: True),
        ("locate: other wordings (gloss, title, particle)", locate, "_wordings", _plain_wording),
        ("locate: around glosses in the source", locate, "_without_glosses", lambda text: text.folded),
        ("locate: trim", locate, "_trim", lambda string, start, end: (start, end)),
        ("locate: balance brackets", locate, "_balance", lambda string, start, end: (start, end)),
        ("locate: complete, all of it", llm, "complete", lambda text, english, span: span),
        ("locate: GLOSSED", locate, "GLOSSED", 0.0),
        ("locate: CUT_NAME", locate, "CUT_NAME", 0.0),
        ("locate: PHRASE", locate, "PHRASE", 0.0),
        ("llm: QUALITY", llm, "QUALITY", dict.fromkeys(llm.QUALITY, 1.0)),
        ("resolve: out of longer names", resolve, "MAX_ROUNDS", 0),
        ("resolve: FREE", resolve, "FREE", 0.0),
        ("resolve: EARLIER", resolve, "EARLIER", 0.0),
        ("resolve: SHARED", resolve, "SHARED", 1e3),
        ("resolve: English as it stands", resolve, "_take_verbatim", nothing),
        ("resolve: repeats", resolve, "_repeats", nothing),
        ("resolve: names in brackets", resolve, "_glosses", nothing),
        ("placement: addresses joined", placement, "_addresses", lambda spans: [[s] for s in sorted(spans)]),
    ]
    found = [Rule(name, partial(patch.object, *where)) for name, *where in code]
    named = {rule.name: rule.off for rule in found}
    for lang in _languages():
        language = languages.load(lang)
        for key, default in _defaults().items():
            value = getattr(language, key)
            if value == default:
                continue
            found.append(Rule(f"{lang}: {key}", partial(_changed, lang, {key: default}), lang))
            if key.startswith(("ranks", "completing")) and lang != "en" and len(value) > 1:
                for i, entry in enumerate(value):
                    rest = {key: (*value[:i], *value[i + 1 :])}
                    found.append(Rule(f"{lang}: {key} {_short(entry)}", partial(_changed, lang, rest), lang))
    files = [partial(_changed, lang, _defaults()) for lang in _languages()]
    return [
        *found,
        Rule("all: what the languages' files say", partial(_together, files)),
        Rule(
            "all: what is known of names", partial(_together, [*files, *(named[name] for name in OF_NAMES)])
        ),
        Rule(
            "all: how words are matched and ties decided",
            partial(_together, [named[n] for n in named.keys() - OF_NAMES]),
        ),
    ]


def _languages() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _defaults() -> dict[str, Any]:
    """What a language without a file has in the fields that rules are in."""
    return {field.name: field.default for field in fields(Language) if field.name not in OTHER_FIELDS}


def _short(entry: str) -> str:
    return entry if len(entry) <= 24 else f"{entry[:23]}…"


def _plain_wording(answer: str, language: Language) -> Iterator[str]:
    yield locate._fold_text(answer)


@contextmanager
def _changed(lang: str, change: dict[str, Any]) -> Iterator[None]:
    """A context in which a language has other values."""
    load = languages._load

    def changed(folder: Path, code: str) -> Language:
        return replace(load(folder, code), **change) if code == lang else load(folder, code)

    with patch.object(languages, "_load", changed if change else load):
        yield


@contextmanager
def _together(switches: Sequence[Switch]) -> Iterator[None]:
    with ExitStack() as stack:
        for switch in switches:
            stack.enter_context(switch())
        yield


class Chain(NamedTuple):
    """A recorded chain: its set, its number there, the text, the sentences and the gold spans."""

    corpus: str
    number: int
    text: str
    sentences: list[dict[str, Any]]
    gold: frozenset[Span]


def counts(chains: Sequence[Chain]) -> numpy.ndarray:
    """RETURNS (ndarray): Right, predicted and gold spans, shape (chains, 3)."""
    rows = []
    for chain in chains:
        found = set(replay(chain.sentences, Text(chain.text, chain.corpus[:2])))
        rows.append((len(found & chain.gold), len(found), len(chain.gold)))
    return numpy.array(rows, dtype=float).reshape(-1, 3)


def f1(counted: numpy.ndarray) -> numpy.ndarray:
    """RETURNS (ndarray): Strict F1 of counts summed over the last axis but one, 0 to 100."""
    right, predicted, gold = numpy.moveaxis(counted.sum(-2), -1, 0)
    return 200 * right / numpy.maximum(1, predicted + gold)


def loss(on: numpy.ndarray, off: numpy.ndarray) -> tuple[float, float, float]:
    """RETURNS (Tuple[float, float, float]): Points that are lost without a rule, and their interval."""
    random = numpy.random.default_rng(0)
    draws = [random.integers(len(on), size=len(on)) for _ in range(SAMPLES)]
    lost = numpy.array([f1(on[draw]) - f1(off[draw]) for draw in draws])
    low, high = numpy.percentile(lost, [2.5, 97.5])
    return float(f1(on) - f1(off)), float(low), float(high)


def found_names(rows: Sequence[Record]) -> numpy.ndarray:
    """RETURNS (ndarray): For each record whether the name itself is chosen."""
    return numpy.array([chosen(fresh) == fresh.name for fresh in map(_fresh, rows)])


def _fresh(row: Record) -> Record:
    """A record with nothing kept from a run under other rules."""
    return row._replace(text=replace(row.text))


def main(
    chains: Annotated[Path, typer.Option()], data: Path = DATA, only: str = "", limit: int = 200
) -> None:
    """Print a table, a row for each rule.

    chains: A folder with recorded chains, named like the sets.
    data: The development data.
    only: Only rules with this in their name.
    limit: So many alignment records of each language; 0 for all.
    """
    read = [
        Chain(corpus, i, row["text"], row["eat"]["sentences"], frozenset(Span(*span) for span in row["gold"]))
        for corpus in SETS
        if (path := chains / f"{corpus}.jsonl").exists()
        for i, row in enumerate(recorded(path))
    ]
    names = [r for p in sorted((data / "alignment").glob("*.jsonl")) for r in records(p, limit) if r.stands]
    on, names_on = counts(read), found_names(names)
    parts = {
        "all": numpy.array([True] * len(read)),
        **{corpus: numpy.array([c.corpus == corpus for c in read]) for corpus in SETS},
        "pud :200": numpy.array([c.corpus == "zh_pud_half" and c.number < KNOWN for c in read]),
        "pud 200:": numpy.array([c.corpus == "zh_pud_half" and c.number >= KNOWN for c in read]),
    }
    parts = {name: part for name, part in parts.items() if part.any()}
    groups = {
        "names zh ja": numpy.array([r.text.lang in ("zh", "ja") for r in names]),
        "names others": numpy.array([r.text.lang not in ("zh", "ja") for r in names]),
    }
    base = [f"{f1(on[part]):.2f}" for part in parts.values()]
    base += [f"{100 * names_on[group].mean():.2f}" for group in groups.values()]
    table = [("(all rules on)", *base[:1], "", *base[1:])]
    for rule in rules():
        if only not in rule.name:
            continue
        with rule.off():
            mine = [not rule.lang or rule.lang == "en" or c.corpus[:2] == rule.lang for c in read]
            off = on.copy()
            off[mine] = counts([c for c, used in zip(read, mine, strict=True) if used])
            names_off = names_on.copy()
            used = [not rule.lang or rule.lang in ("en", r.text.lang) for r in names]
            names_off[used] = found_names([r for r, is_used in zip(names, used, strict=True) if is_used])
        lost, low, high = loss(on, off)
        cells = [f"{f1(on[part]) - f1(off[part]):+.2f}" for part in list(parts.values())[1:]]
        cells += [f"{100 * (names_on[g].mean() - names_off[g].mean()):+.2f}" for g in groups.values()]
        table.append((rule.name, f"{lost:+.2f}", f"{low:+.2f} to {high:+.2f}", *cells))
    header = ("off", "all", "95 %", *list(parts)[1:], *groups)
    msg.table(table, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))


if __name__ == "__main__":
    typer.run(main)
