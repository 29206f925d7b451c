"""How good the entities are.

Two scores are reported, and neither may be compared with the other:

- strict entity scores: an entity counts if start, end and label are right;
- the character score of the EAT paper's own code, kept to compare with the
  paper's tables. It forgives wrong boundaries and does not look at sentences
  without gold entities, so it hides false positives.

Offsets are counted in the characters that are not whitespace: neither the
tokenisation nor the spacing of gold and predicted docs has to agree.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any

from spacy.scorer import PRFScore
from spacy.tokens import Doc
from spacy.tokens import Span as SpacySpan
from spacy.training import Example

from ..records import get_record, sentences_of
from ..types import Span
from .bootstrap import Counts, interval

MIN_SCORES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)

LabelMap = Callable[[str], str | None]


def score_entities(
    examples: Iterable[Example], *, label_map: LabelMap | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Strict scores of `doc.ents` by character offsets. Like spaCy's `get_ner_prf`,
    but it never rounds an entity to the gold tokens.

    examples (Iterable[Example]): Docs whose reference has no entity annotation
        are skipped, and so are predictions over tokens without one.
    label_map (Optional[Callable[[str], Optional[str]]]): Applied to the labels of
        both sides; None leaves the entity out.
    RETURNS (Dict[str, Any]): ents_p, ents_r, ents_f, ents_per_type; None where
        there is nothing to score.
    """
    per_type, total, *_ = _count(examples, label_map)
    if not len(total):
        return {"ents_p": None, "ents_r": None, "ents_f": None, "ents_per_type": None}
    return {
        "ents_p": total.precision,
        "ents_r": total.recall,
        "ents_f": total.fscore,
        "ents_per_type": {label: score.to_dict() for label, score in sorted(per_type.items())},
    }


def evaluate(
    examples: Iterable[Example], *, label_map: LabelMap | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """All scores of a run over gold data.

    examples (Iterable[Example]): Predicted and gold docs.
    label_map (Optional[Callable[[str], Optional[str]]]): See `score_entities`.
    seconds (Optional[float]): Wall time of the run.
    RETURNS (Dict[str, Any]): JSON-serialisable: "docs", "strict" (micro average),
        "interval" (of its F1, see `spacy_eat.evaluation.bootstrap`), "per_doc" (a
        digest of each text and its counts, to compare runs), "labels",
        "label_intervals", "unlabelled", "paper_characters", "coverage", "speed", "boundaries", what
        the policy for token boundaries changed, and "confidence".
    """
    examples = list(examples)
    per_type, total, unlabelled, counts, by_label = _count(examples, label_map)
    return {
        "docs": len(examples),
        "strict": _prf(total),
        "interval": interval(counts),
        "per_doc": {
            "text": [digest(eg.reference.text) for eg in examples],
            **{name: [doc[i] for doc in counts] for i, name in enumerate(("tp", "fp", "fn"))},
        },
        "labels": {label: _prf(score) for label, score in sorted(per_type.items())},
        "label_intervals": {label: interval(found) for label, found in sorted(by_label.items())},
        "unlabelled": _prf(unlabelled),
        "paper_characters": paper_character_f1(
            (squeeze(eg.reference.text), _names(eg.reference, label_map), _names(eg.predicted, label_map))
            for eg in examples
        ),
        "coverage": coverage(eg.predicted for eg in examples),
        "speed": _speed((eg.predicted for eg in examples), seconds),
        "boundaries": dict(sum((_counts(eg.predicted) for eg in examples), Counter[str]())),
        "confidence": confidence(examples, label_map),
    }


def confidence(examples: Iterable[Example], label_map: LabelMap | None = None) -> dict[str, Any] | None:
    """How far `span._.eat_score` can be trusted, and what `min_score` would do.

    An entity counts as right here if start and end are: the score speaks of
    the words, not of the label. See `reliability`.

    examples (Iterable[Example]): Predicted and gold docs.
    label_map (Optional[Callable[[str], Optional[str]]]): See `score_entities`.
    RETURNS (Optional[Dict[str, Any]]): "bins" of scores 0.1 wide, those with an
        entity, each with "count", the mean "score" and the share "right"; "ece";
        and "thresholds": strict "p", "r" and "f" at several values of
        "min_score". None if no entity has a score.
    """
    scored: list[tuple[float, bool, bool]] = []
    gold_count = 0
    for example in examples:
        gold, predicted = compare(example, label_map)
        places = {entity.place for entity in gold}
        gold_count += len(gold)
        position = positions(example.predicted.text)
        scores = (
            {
                (position[ent.start_char], position[ent.end_char]): ent._.eat_score
                for ent in example.predicted.ents
            }
            if SpacySpan.has_extension("eat_score")
            else {}
        )
        for entity in predicted:
            score = scores.get(entity.place)
            if score is not None:
                scored.append((score, entity.place in places, entity in gold))
    if not scored:
        return None
    bins, ece = reliability([(score, right) for score, right, _ in scored])
    thresholds = []
    for least in MIN_SCORES:
        kept = [right for score, _, right in scored if score >= least]
        prf = PRFScore(tp=sum(kept), fp=len(kept) - sum(kept), fn=gold_count - sum(kept))
        thresholds.append({"min_score": least, **prf.to_dict()})
    return {"bins": bins, "ece": ece, "thresholds": thresholds}


def reliability(scored: Sequence[tuple[float, bool]]) -> tuple[list[dict[str, Any]], float]:
    """How far scores are the shares of what is right.

    The expected calibration error is that of Guo et al., "On Calibration of
    Modern Neural Networks", ICML 2017.

    scored (Sequence[Tuple[float, bool]]): Scores, 0.0 to 1.0, and whether each is right.
    RETURNS (Tuple[List[Dict[str, Any]], float]): Bins of scores 0.1 wide, those that
        are not empty, each with "count", the mean "score" and the share "right"; and
        the expected calibration error, 0.0 of nothing.
    """
    bins = []
    for tenth in range(10):
        inside = [(score, right) for score, right in scored if min(9, int(score * 10)) == tenth]
        if inside:
            means = [sum(values) / len(inside) for values in zip(*inside, strict=True)]
            bins.append({"count": len(inside), "score": means[0], "right": means[1]})
    ece = sum(b["count"] * abs(b["score"] - b["right"]) for b in bins) / max(1, len(scored))
    return bins, ece


def coverage(docs: Iterable[Doc]) -> dict[str, Any]:
    """How much of the text was annotated without an error.

    docs (Iterable[Doc]): Docs with `doc._.eat`.
    RETURNS (Dict[str, Any]): "sentences", how many of them were "annotated",
        their "share" (None without sentences), and the "errors" of the rest
        with their counts.
    """
    sentences = [sentence for doc in docs for sentence in sentences_of(doc)]
    errors = Counter(s["error"] or s["status"] for s in sentences if s["status"] != "aligned")
    annotated = len(sentences) - errors.total()
    return {
        "sentences": len(sentences),
        "annotated": annotated,
        "share": annotated / len(sentences) if sentences else None,
        "errors": dict(errors.most_common()),
    }


def paper_character_f1(
    sentences: Iterable[tuple[str, Sequence[tuple[str, str]], Sequence[tuple[str, str]]]],
) -> dict[str, Any]:
    """The score of the paper's own code (ZelateCalcite/EAT_NER, `eval/eval_utils.py`;
    Zhang et al. 2025, arXiv 2509.01147): every character has a label, and the
    labels are scored. A name is put where it first stands in the text, unless
    another one begins there. A sentence without gold entities is skipped, with
    all its false positives.

    sentences (Iterable[Tuple[str, Sequence[Tuple[str, str]], Sequence[Tuple[str, str]]]]):
        Text, gold names and predicted names, each a name and its label.
    RETURNS (Dict[str, Any]): "micro", "macro" and "weighted" F1 over the labels
        that occur, and the number of sentences "scored" and "skipped".
    """
    scores: dict[str, PRFScore] = defaultdict(PRFScore)
    scored = skipped = 0
    for text, gold, predicted in sentences:
        if not gold:
            skipped += 1
            continue
        scored += 1
        for right, given in zip(_characters(text, gold), _characters(text, predicted), strict=True):
            if right and right == given:
                scores[right].tp += 1
            elif right != given:
                if right:
                    scores[right].fn += 1
                if given:
                    scores[given].fp += 1
    support = {label: score.tp + score.fn for label, score in scores.items()}
    weight = sum(support.values())
    return {
        "micro": sum(scores.values(), PRFScore()).fscore if weight else None,
        "macro": sum(s.fscore for s in scores.values()) / len(scores) if weight else None,
        "weighted": sum(s.fscore * support[k] for k, s in scores.items()) / weight if weight else None,
        "scored": scored,
        "skipped": skipped,
    }


def entities_of(doc: Doc, label_map: LabelMap | None = None) -> set[Span]:
    """The entities of a doc that have a label under the map, in `squeeze(doc.text)`."""
    position = positions(doc.text)
    labels = {label: label_map(label) if label_map else label for label in {e.label_ for e in doc.ents}}
    return {
        Span(position[ent.start_char], position[ent.end_char], label)
        for ent in doc.ents
        if (label := labels[ent.label_]) is not None
    }


def compare(example: Example, label_map: LabelMap | None = None) -> tuple[set[Span], set[Span]]:
    """The gold entities and the predicted ones, less what cannot be judged.

    RETURNS (Tuple[Set[Span], Set[Span]]): Gold, predicted; in the text without its whitespace.
    RAISES (ValueError): If the texts differ in more than whitespace.
    """
    if squeeze(example.predicted.text) != squeeze(example.reference.text):
        raise ValueError(f"The predicted doc has another text than the gold doc: {example.reference.text!r}")
    predicted = entities_of(example.predicted, label_map)
    position = positions(example.reference.text)
    unknown = [
        Span(position[token.idx], position[token.idx + len(token)])
        for token in example.reference
        if token.ent_iob == 0
    ]
    if unknown:
        predicted = {e for e in predicted if not any(e.overlaps(u) for u in unknown)}
    return entities_of(example.reference, label_map), predicted


def digest(text: str) -> str:
    """Eight hexadecimal digits that tell a text from others, whatever its whitespace."""
    return blake2b(squeeze(text).encode("utf-8", "replace"), digest_size=4).hexdigest()


def squeeze(text: str) -> str:
    """The text without its whitespace: what the spans of `compare` point into."""
    return "".join(text.split())


def positions(text: str) -> list[int]:
    """For each character offset, the end of the text included, how many
    characters before it are not whitespace."""
    return list(accumulate((not char.isspace() for char in text), initial=0))


def _count(
    examples: Iterable[Example], label_map: LabelMap | None
) -> tuple[dict[str, PRFScore], PRFScore, PRFScore, Counts, dict[str, Counts]]:
    """Scores per label, over all labels, and regardless of the label; and the counts of each doc, over all
    labels and per label."""
    per_type: dict[str, PRFScore] = defaultdict(PRFScore)
    total, unlabelled = PRFScore(), PRFScore()
    counts: list[tuple[int, int, int]] = []
    by_label: dict[str, dict[int, tuple[int, int, int]]] = defaultdict(dict)
    for number, example in enumerate(examples):
        if len(example.reference) and not example.reference.has_annotation("ENT_IOB"):
            counts.append((0, 0, 0))
            continue
        gold, predicted = compare(example, label_map)
        for label in {e.label for e in gold | predicted}:
            found, wanted = ({e for e in side if e.label == label} for side in (predicted, gold))
            per_type[label].score_set(found, wanted)
            by_label[label][number] = _matches(found, wanted)
        total.score_set(predicted, gold)
        counts.append(_matches(predicted, gold))
        unlabelled.score_set({e.place for e in predicted}, {e.place for e in gold})
    filled: dict[str, Counts] = {
        label: [found.get(number, (0, 0, 0)) for number in range(len(counts))]
        for label, found in by_label.items()
    }
    return per_type, total, unlabelled, counts, filled


def _matches(predicted: set[Span], gold: set[Span]) -> tuple[int, int, int]:
    """RETURNS (Tuple[int, int, int]): True positives, false positives, false negatives."""
    right = len(gold & predicted)
    return right, len(predicted) - right, len(gold) - right


def _prf(score: PRFScore) -> dict[str, Any]:
    return {**score.to_dict(), "tp": score.tp, "fp": score.fp, "fn": score.fn}


def _speed(docs: Iterable[Doc], seconds: float | None) -> dict[str, Any]:
    per_doc = [sentences_of(doc) for doc in docs]
    sentences = sum(len(s) for s in per_doc)
    requests = sum(s["requests"] for records in per_doc for s in records)
    units = sentences or len(per_doc)  # a pipeline without EAT: a doc is a sentence
    return {
        "requests": requests if sentences else None,
        "requests_per_sentence": requests / sentences if sentences else None,
        "seconds": seconds,
        "seconds_per_sentence": seconds / units if seconds is not None and units else None,
    }


def _counts(doc: Doc) -> Counter[str]:
    record = get_record(doc)
    return Counter(record["counts"] if record else {})


def _names(doc: Doc, label_map: LabelMap | None) -> list[tuple[str, str]]:
    text = squeeze(doc.text)
    return [(text[e.start_char : e.end_char], e.label) for e in sorted(entities_of(doc, label_map))]


def _characters(text: str, names: Sequence[tuple[str, str]]) -> list[str | None]:
    """The label of each character, as the paper's `label_to_seq` gives it."""
    labels: list[str | None] = [None] * len(text)
    for name, label in names:
        start = text.find(name)
        while start >= 0 and labels[start] is not None:
            start = text.find(name, start + len(name))
        if start >= 0 and name:
            labels[start : start + len(name)] = [label] * len(name)
    return labels
