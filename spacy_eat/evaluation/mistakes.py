"""Where entities were lost, and where wrong ones came from."""

import calendar
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from spacy.training import Example

from ..records import sentences_of
from ..types import EntityRecord, SentenceRecord, Span
from .scores import LabelMap, compare, entities_of, positions, squeeze

# Why a gold entity is not among the predictions. The first rule that holds
# decides. The last three cannot be seen: there is no telling which English
# words stand for a lost entity. They are counted instead, as `find_mistakes`
# says.
LOST = {
    "wrong_label": "predicted there, with another label",
    "wrong_boundary": "a prediction overlaps it, with other boundaries",
    "unknown": "the pipeline is not EAT: nothing is known of the way there",
    "failed": "an error: its sentence was not translated or not aligned",
    "not_aligned": "tagged in English, but placed elsewhere or nowhere",
    "not_tagged": "named in the translation, but the English tagger missed it",
    "not_translated": "never in the translation, at least not as a name",
}

# Why a prediction is not among the gold entities.
SPURIOUS = {
    "wrong_label": "a gold entity stands there, with another label",
    "wrong_boundary": "a gold entity overlaps it, with other boundaries",
    "misplaced": "its English entity belongs to a gold entity that is not_aligned",
    "not_gold": "no gold entity for it: a mistake of the tagger, or other guidelines",
}


@dataclass(frozen=True)
class Mistake:
    """A gold entity that was not predicted, or a prediction that is not gold.

    kind (str): A key of `LOST` or `SPURIOUS`.
    text, label (str): The gold entity, or the prediction.
    instead (str): What stands there, the English words, or the error.
    source, english (str): The doc's text, and the translation around the entity.
    """

    kind: str
    text: str
    label: str
    instead: str
    source: str
    english: str


class _Name(NamedTuple):
    """English words that no gold entity was found by.

    label (Optional[str]): None where it is not known.
    span (Optional[Tuple[int, int]]): Where the aligner put them.
    """

    kind: str
    text: str
    label: str | None
    span: tuple[int, int] | None = None


def find_mistakes(
    example: Example,
    label_map: LabelMap | None = None,
    english: Sequence[tuple[str, str]] | None = None,
) -> tuple[list[Mistake], list[Mistake]]:
    """Compare a predicted doc with its gold doc.

    The gold entities of a sentence that no prediction touches are set, in
    order, against the English names of the sentence that no gold entity was
    found by, where the labels agree: first those the tagger found
    (`not_aligned`), then those it missed (`not_tagged`). What is left is
    `not_translated`. How many there are of each kind is as good as the list of
    names; which one is which, where there are several, is a guess.

    Without gold English names, the names are what the tagger found, right or
    wrong, and any other words in a row with capitals, of any label: an
    estimate. With them, they are looked up in the translation, case aside; a
    name translated in other words still counts as `not_translated`.

    example (Example): A predicted and a gold doc.
    label_map (Optional[Callable[[str], Optional[str]]]): See `score_entities`.
    english (Optional[Sequence[Tuple[str, str]]]): Gold English names and their
        labels, the map applied.
    RETURNS (Tuple[List[Mistake], List[Mistake]]): The lost gold entities and the
        spurious predictions.
    """
    doc = example.predicted
    gold, predicted = compare(example, label_map)
    lost: dict[Span, tuple[str, str]] = {}
    spurious: dict[Span, tuple[str, str]] = {}
    text = squeeze(doc.text)

    def blame_rivals(entities: set[Span], others: set[Span], found: dict[Span, tuple[str, str]]) -> None:
        for entity in entities:
            rivals = sorted(other for other in others if other.overlaps(entity))
            same = [other for other in rivals if other.place == entity.place]
            for rival in (same or rivals)[:1]:
                instead = f"{text[rival.start_char : rival.end_char]} ({rival.label})"
                found[entity] = ("wrong_label" if same else "wrong_boundary", instead)

    # Labels that the map leaves out are still labels that stand there.
    blame_rivals(gold - predicted, predicted | entities_of(doc), lost)
    blame_rivals(predicted - gold, gold | entities_of(example.reference), spurious)

    translations: dict[Span, str] = {}
    position = positions(doc.text)
    for sentence in sentences_of(doc):
        start, end = position[sentence["start_char"]], position[sentence["end_char"]]
        inside = {entity for entity in gold | predicted if start <= entity.start_char < end}
        translations.update(dict.fromkeys(inside, sentence["english"] or ""))
        untouched = sorted(inside & gold - predicted - lost.keys())
        if sentence["status"] != "aligned":
            lost.update(dict.fromkeys(untouched, ("failed", sentence["error"] or sentence["status"])))
            continue
        names = _spare_names(sentence, gold - set(untouched), position, label_map, english)
        for entity in untouched:
            fitting = (name for name in names if name.label in (None, entity.label))
            name = next(fitting, _Name("not_translated", "", None))
            lost[entity] = (name.kind, name.text)
            if name in names:
                names.remove(name)
            for other in predicted - gold - spurious.keys():
                if name.span == other.place:
                    spurious[other] = (
                        "misplaced",
                        f"{name.text} = {text[entity.start_char : entity.end_char]}",
                    )

    for entity in gold - predicted - lost.keys():
        lost[entity] = ("failed", "no sentence") if sentences_of(doc) else ("unknown", "")
    for entity in predicted - gold - spurious.keys():
        spurious[entity] = ("not_gold", "")

    def listed(found: dict[Span, tuple[str, str]]) -> list[Mistake]:
        return [
            Mistake(
                kind, text[e.start_char : e.end_char], e.label, instead, doc.text, translations.get(e, "")
            )
            for e, (kind, instead) in sorted(found.items())
        ]

    return listed(lost), listed(spurious)


def count_mistakes(mistakes: Iterable[Mistake], kinds: dict[str, str]) -> dict[str, int]:
    """How often each kind occurs, in the order of `LOST` or `SPURIOUS`."""
    found = [mistake.kind for mistake in mistakes]
    return {kind: found.count(kind) for kind in kinds}


def names_kept(examples: Iterable[Example], english: Iterable[Sequence[tuple[str, str]]]) -> dict[str, Any]:
    """How many of the gold English names a translation has, case aside.

    examples (Iterable[Example]): Predicted docs with `doc._.eat`.
    english (Iterable[Sequence[Tuple[str, str]]]): For each its gold English names.
    RETURNS (Dict[str, Any]): "names", "kept", "share" (None without names).
    """
    total = kept = 0
    for example, names in zip(examples, english, strict=True):
        translation = " ".join(s["english"] or "" for s in sentences_of(example.predicted))
        total += len(names)
        kept += len(list(_look_up(names, translation)))
    return {"names": total, "kept": kept, "share": kept / total if total else None}


# Words in a row with capitals, as names have them, with "of" and the like in between.
_CAPITALS = re.compile(
    r"\b[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|and|for|de|la|van|von|der|bin|al)\s+){0,2}[A-Z][\w'’.-]*)*"
)
_NOT_NAMES = {"I", *calendar.day_name, *calendar.month_name}


def _spare_names(
    sentence: SentenceRecord,
    taken: set[Span],
    position: Sequence[int],
    label_map: LabelMap | None,
    english: Sequence[tuple[str, str]] | None,
) -> list[_Name]:
    """The English names of a sentence that were not placed on one of the `taken`
    entities, those that the tagger found first."""
    text, tagged = sentence["english"] or "", sentence["entities"]

    def tags(start: int, end: int) -> list[EntityRecord]:
        return [e for e in tagged if e["english_start"] < end and start < e["english_end"]]

    mentions: list[tuple[int, int, str | None]] = []
    if english is not None:
        mentions += [(start, start + len(name), label) for name, label, start in _look_up(english, text)]
    else:
        for e in tagged:
            label = label_map(e["label"]) if label_map else e["label"]
            if label is not None:
                mentions.append((e["english_start"], e["english_end"], label))
        for match in _CAPITALS.finditer(text):
            lone_first_word = match.start() == 0 and " " not in match.group()
            if not (lone_first_word or match.group() in _NOT_NAMES or tags(*match.span())):
                mentions.append((*match.span(), None))

    names = []
    for start, end, label in dict.fromkeys(mentions):  # a repeated mention counts once
        spans = [
            (position[e["start_char"]], position[e["end_char"]])
            for e in tags(start, end)
            if e["start_char"] is not None and e["end_char"] is not None
        ]
        if not any(Span(*span).overlaps(entity) for span in spans for entity in taken):
            kind = "not_aligned" if tags(start, end) else "not_tagged"
            names.append(_Name(kind, text[start:end], label, spans[0] if spans else None))
    return sorted(names, key=lambda name: name.kind != "not_aligned")


def _look_up(names: Sequence[tuple[str, str]], text: str) -> Iterator[tuple[str, str, int]]:
    """Names and labels with the place where the text has them, case aside; a
    name that is listed twice has to stand there twice."""
    after = Counter[str]()
    for name, label in names:
        match = re.compile(re.escape(name), re.IGNORECASE).search(text, after[name])
        if match:
            after[name] = match.end()
            yield name, label, match.start()
