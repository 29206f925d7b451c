"""The evaluation report: how good the entities are, where they were lost, and mistakes to look at."""

import random
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from spacy.training import Example

from ..evaluation.mistakes import LOST, SPURIOUS
from ..evaluation.report import facts
from ..evaluation.scores import LabelMap, digest
from .charts import Line, bar, chart
from .markup import Options, direction, document, marked, plain, shown, static, whole_page
from .views import View, view_of

SAMPLED = 50  # mistakes to look at
REASONS = {"lost": LOST, "spurious": SPURIOUS}

Result = Mapping[str, Any]


class Case(NamedTuple):
    """A doc with mistakes.

    view (View): What the pipeline said.
    gold (View): What is right.
    mistakes (List[Dict[str, Any]]): Those that were drawn, as `evaluation.run.judge` has them, and each
        with its "side", "lost" or "spurious".
    """

    view: View
    gold: View
    mistakes: list[dict[str, Any]]


def sample_cases(
    result: Result,
    examples: Sequence[Example],
    label_map: LabelMap | None = None,
    count: int = SAMPLED,
    seed: int = 0,
) -> list[Case]:
    """Draw mistakes, each as likely as any other.

    result (Mapping[str, Any]): What `evaluation.run.judge` returned.
    examples (Sequence[Example]): The docs it was made of.
    label_map (Optional[Callable[[str], Optional[str]]]): Applied to the gold labels.
    count (int): Mistakes to draw.
    seed (int): Decides which.
    RETURNS (List[Case]): Their docs, in order.
    """
    pool = [{**m, "side": side} for side in REASONS for m in result["mistakes"][side]]
    drawn = random.Random(seed).sample(pool, min(count, len(pool)))
    by_doc: dict[int, list[dict[str, Any]]] = {}
    for mistake in sorted(drawn, key=lambda m: (m["doc"], m["side"])):
        by_doc.setdefault(mistake["doc"], []).append(mistake)
    return [
        Case(view_of(examples[n].predicted), _mapped(view_of(examples[n].reference), label_map), mistakes)
        for n, mistakes in by_doc.items()
    ]


def _mapped(view: View, label_map: LabelMap | None) -> View:
    for sentence in view.sentences if label_map else ():
        for mention in sentence.mentions:
            label = label_map(mention.label) if label_map else None
            mention.label, mention.chosen = label or mention.label, label is not None
    return view


def report_page(result: Result, cases: Sequence[Case], other: Result | None = None) -> str:
    """The report as a page of its own.

    result (Mapping[str, Any]): What `python -m spacy eat evaluate --output` writes.
    cases (Sequence[Case]): See `sample_cases`.
    other (Optional[Mapping[str, Any]]): Another run over the same docs, to be set beside it.
    RETURNS (str): HTML.
    """
    name = f"{result['pipeline']} on {result['gold']}"
    beside = f" The other run is <b>{shown(_name(other))}</b>." if other else ""
    parts = [
        f"<h1>{shown(name)}</h1>",
        f'<p class="lead">Strict F1 <b>{result["strict"]["f"]:.3f}</b>{_interval(result["interval"])},'
        f" {result['docs']} docs.{_difference(result)}{beside}</p>",
        _scores(result, other),
        *(_reasons(result, other, side) for side in REASONS),
        _confidence(result, other),
        _facts(result),
        _cases(cases, other),
        _only_other(result, other) if other else "",
    ]
    return whole_page("\n".join(parts), name, css=static("report.css"), scripts=static("report.js"))


def _name(result: Result | None) -> str:
    return str(result.get("pipeline", "another run")) if result else ""


def _interval(interval: Result) -> str:
    if interval["low"] is None:
        return ""
    return (
        f" ({interval['low']:.3f} to {interval['high']:.3f}, {interval['level']:.0%} of samples of the docs)"
    )


def _difference(result: Result) -> str:
    found = result.get("compared")
    if not found:
        return ""
    return (
        f" That is <b>{found['difference']:+.3f}</b> ({found['low']:+.3f} to {found['high']:+.3f}) against"
        f" the other run, better in {found['better']:.0%} of the samples."
    )


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], style: str = "") -> str:
    names = "".join(f'<th scope="col">{shown(name)}</th>' if name else "<td></td>" for name in header)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<section><h2>{shown(caption)}</h2><div class="eat-scroll" tabindex="0" role="group"'
        f' aria-label="{escape(plain(caption))}"><table class="{style}"><thead><tr>{names}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div></section>"
    )


# --- Scores and reasons ------------------------------------------------------


def _scores(result: Result, other: Result | None) -> str:
    rows = []
    scored = [("all", "strict", result["strict"], result["interval"])]
    intervals = result.get("label_intervals", {})
    scored += [(label, "labels", score, intervals.get(label)) for label, score in result["labels"].items()]
    scored.append(("all, label ignored", "unlabelled", result["unlabelled"], None))
    colours = Options().colours
    for label, key, score, interval in scored:
        low, high = (interval["low"], interval["high"]) if interval else (None, None)
        range_ = "" if low is None else f"{low:.3f} to {high:.3f}"
        cells = [
            f'<span class="eat-key {colours[label]}">{shown(label)}</span>'
            if key == "labels"
            else shown(label),
            f"{score['p']:.3f}",
            f"{score['r']:.3f}",
            f"<b>{score['f']:.3f}</b>",
            bar(score["f"], low, high),
            range_,
            str(score["tp"] + score["fn"]),
            str(score["tp"] + score["fp"]),
            str(score["tp"]),
        ]
        if other:
            their = other[key].get(label) if key == "labels" else other[key]
            cells += (
                [f"{their['f']:.3f}", bar(their["f"], style="other"), f"{score['f'] - their['f']:+.3f}"]
                if their
                else [""] * 3
            )
        rows.append(cells)
    header = ["label", "P", "R", "F1", "", "interval", "gold", "predicted", "right"]
    return _table(
        "Strict scores", header + (["other F1", "", "difference"] if other else []), rows, "numbers"
    )


def _reasons(result: Result, other: Result | None, side: str) -> str:
    captions = {"lost": "Where entities were lost", "spurious": "Where wrong ones came from"}
    total = sum(result[side].values())
    rows = []
    for kind, count in result[side].items():
        their = other[side].get(kind, 0) if other else 0
        if count or their:
            share = count / total if total else 0.0
            cells = [shown(kind.replace("_", " ")), str(count), bar(share), f"{share:.0%}"]
            cells += [str(their), f"{count - their:+d}"] if other else []
            rows.append([*cells, shown(REASONS[side][kind])])
    if not rows:
        return f"<section><h2>{captions[side]}</h2><p>None.</p></section>"
    header = ["", "count", "", "share", *(["other run", "difference"] if other else []), "what it means"]
    return _table(captions[side], header, rows, "numbers")


def _facts(result: Result) -> str:
    rows = [
        [
            shown(name),
            "" if value is None else f"{value:.3f}" if isinstance(value, float) else shown(str(value)),
            shown(note),
        ]
        for name, value, note in facts(result)
    ]
    return _table("What else there is to say", ["", "", ""], rows)


# --- Confidence --------------------------------------------------------------


def _confidence(result: Result, other: Result | None) -> str:
    trust = result.get("confidence")
    if not trust:
        return "<section><h2>Scores of the entities</h2><p>No entity has a score.</p></section>"
    theirs = other.get("confidence") if other else None
    runs = [("this run", trust, "this")] + ([("other run", theirs, "other")] if theirs else [])
    reliability = chart(
        [
            Line([(b["score"], b["right"]) for b in t["bins"]], name, style, _sizes(t["bins"]))
            for name, t, style in runs
        ],
        "How often a score is right",
        "mean score",
        "share with the right words",
        diagonal=True,
        summary=f"Expected calibration error {trust['ece']:.3f}",
    )
    lines = []
    for name, t, style in runs:
        for key, what in (("p", "precision"), ("r", "recall"), ("f", "F1")):
            points = [(row["min_score"], row[key]) for row in t["thresholds"]]
            lines.append(Line(points, f"{what}, {name}" if theirs else what, f"{style} {key}"))
    best = max(trust["thresholds"], key=lambda row: row["f"])
    thresholds = chart(
        lines,
        "What min_score would do",
        "min_score",
        "strict score",
        summary=f"F1 is best at {best['min_score']:g}: {best['f']:.3f}",
    )
    note = f"Expected calibration error {trust['ece']:.3f}"
    note += f" (other run {theirs['ece']:.3f})" if theirs else ""
    header = ["min_score", "P", "R", "F1"]
    rows = [
        [f"{row['min_score']:g}", *(f"{row[key]:.3f}" for key in ("p", "r", "f"))]
        for row in trust["thresholds"]
    ]
    table = _table("Strict scores by min_score", header, rows, "numbers")
    return (
        f'<section><h2>Scores of the entities</h2><div class="charts">{reliability}{thresholds}</div>'
        f"<p>{note}. The size of a point is the number of entities. F1 is best at min_score"
        f" {best['min_score']:g} of those tried.</p>{table}</section>"
    )


def _sizes(bins: Sequence[Result]) -> list[float]:
    most = max((b["count"] for b in bins), default=1)
    return [2.5 + 7 * (b["count"] / most) ** 0.5 for b in bins]


# --- Mistakes ----------------------------------------------------------------


def _cases(cases: Sequence[Case], other: Result | None) -> str:
    drawn = [m for case in cases for m in case.mistakes]
    if not drawn:
        return "<section><h2>Mistakes</h2><p>There are none.</p></section>"
    kinds = dict.fromkeys(
        f"{m['side']}: {m['kind']}" for m in sorted(drawn, key=lambda m: (m["side"], m["kind"]))
    )
    labels = dict.fromkeys(sorted(m["label"] for m in drawn))
    theirs = _by_text(other) if other else None
    choices = _choice("kind", kinds) + _choice("label", labels)
    if other:
        choices += _choice("run", {"both runs": None, "this run alone": None})
    cards = "\n".join(_case(case, theirs, number) for number, case in enumerate(cases))
    return (
        f'<section id="mistakes"><h2>{len(drawn)} mistakes, drawn at random</h2>'
        f'<form class="filter" hidden>{choices}<output aria-live="polite"></output></form>{cards}</section>'
    )


def _choice(name: str, values: Mapping[str, Any]) -> str:
    options = "".join(
        f'<option value="{escape(plain(value))}">{escape(plain(value.replace("_", " ")))}</option>'
        for value in values
    )
    return f'<label>{name} <select name="{name}"><option value="">all</option>{options}</select></label>'


def _case(case: Case, theirs: dict[str, list[dict[str, Any]]] | None, number: int) -> str:
    others = theirs.get(digest(case.view.text), []) if theirs is not None else []
    lines = "".join(_mistake(m, theirs is not None, others) for m in case.mistakes)
    options = Options()
    marks = ((m.start or 0, m.end or 0, m.label) for m in case.gold.entities())
    gold = marked(case.gold.text, marks, options)
    more = ""
    if others:
        named = (f"{m['kind'].replace('_', ' ')}: {m['text']} ({m['label']})" for m in others)
        listed = "; ".join(dict.fromkeys(named))
        more = f'<p class="eat-quiet">The other run here: {shown(listed)}</p>'
    elif theirs is not None:
        more = '<p class="eat-quiet">The other run has no mistake here.</p>'
    return (
        f'<div class="case"><ul class="what">{lines}</ul>{document(case.view, options, number)}'
        f'<p class="gold" dir="{direction(case.gold.text)}" lang="{escape(case.gold.lang)}">'
        f'<span class="side">gold</span> {gold}</p>{more}</div>'
    )


def _mistake(mistake: Result, compared: bool, others: Sequence[Result]) -> str:
    both = any(all(mistake[key] == m[key] for key in ("side", "text", "label")) for m in others)
    run = f' data-run="{"both runs" if both else "this run alone"}"' if compared else ""
    kind = f"{mistake['side']}: {mistake['kind']}"
    label = f'<span class="eat-key {Options().colours[mistake["label"]]}">{shown(mistake["label"])}</span>'
    instead = f' <span class="instead">{shown(mistake["instead"])}</span>' if mistake["instead"] else ""
    return (
        f'<li data-kind="{escape(plain(kind))}" data-label="{escape(plain(mistake["label"]))}"{run}>'
        f"<b>{shown(kind.replace('_', ' '))}</b> <bdi>{shown(mistake['text'])}</bdi>"
        f" {label}{instead}</li>"
    )


def _by_text(result: Result) -> dict[str, list[dict[str, Any]]]:
    """The mistakes of a run by the digests of their texts."""
    found: dict[str, list[dict[str, Any]]] = {}
    for side in REASONS:
        for mistake in result["mistakes"][side]:
            found.setdefault(digest(mistake["source"]), []).append({**mistake, "side": side})
    return found


def _only_other(result: Result, other: Result, count: int = SAMPLED, seed: int = 0) -> str:
    """Mistakes that the other run made alone."""

    def key(text: str, mistake: Result) -> tuple[str, str, str, str]:
        return text, mistake["side"], mistake["text"], mistake["label"]

    ours = {key(text, m) for text, found in _by_text(result).items() for m in found}
    pool = [m for text, found in _by_text(other).items() for m in found if key(text, m) not in ours]
    if not pool:
        return "<section><h2>Mistakes of the other run alone</h2><p>There are none.</p></section>"
    drawn = random.Random(seed).sample(pool, min(count, len(pool)))
    rows = [
        [
            shown(f"{m['side']}: {m['kind']}".replace("_", " ")),
            f"<bdi>{shown(m['text'])}</bdi>",
            shown(m["label"]),
            shown(m["instead"]),
            f"<bdi>{shown(m['source'])}</bdi><br>{shown(m['english'])}",
        ]
        for m in drawn
    ]
    caption = f"Mistakes of the other run alone: {len(drawn)} of {len(pool)}"
    return _table(caption, ["kind", "entity", "label", "instead", "text"], rows)
