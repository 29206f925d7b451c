import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ._table import table

if TYPE_CHECKING:
    from spacy.language import Language

    from ..corpora import Record
    from ..evaluation.scores import LabelMap
    from ..types import Span, Text

PIPELINE_HELP = "Package, path, .cfg or language code (a blank pipeline with the two components as they come)"
GOLD_HELP = ".spacy, .iob2 (UNER), .bio, .conll, .jsonl (Stockmark)"
ENGLISH_HELP = "Take the translations from here, in the order of GOLD: .iob2, or .jsonl with a field english"
REFERENCE_HELP = "Only judge by the translations here (.iob2): which of their names has the LLM kept?"
LABELS_HELP = (
    'JSON file {"label": "other label" or null, "*": null for all others}, added to the table in '
    'spacy_eat.corpora; "none" for no table'
)


def evaluate_cli(
    pipeline: Annotated[str, Argument(help=PIPELINE_HELP)],
    gold: Annotated[Path, Argument(help=GOLD_HELP, exists=True, dir_okay=False)],
    limit: Annotated[int, Option("--limit", "-l", min=0, help="Only the first docs; 0: all")] = 0,
    output: Annotated[Path | None, Option("--output", "-o", help="Write everything as JSON")] = None,
    english: Annotated[Path | None, Option(exists=True, help=ENGLISH_HELP)] = None,
    gold_entities: Annotated[bool, Option("--gold-entities", help="And the English entities")] = False,
    reference: Annotated[Path | None, Option(exists=True, help=REFERENCE_HELP)] = None,
    labels: Annotated[str | None, Option(help=LABELS_HELP)] = None,
    examples: Annotated[int, Option("--n", "-n", min=0, help="Mistakes of each kind to show")] = 0,
    code: Annotated[
        Path | None, Option("--code", "-c", exists=True, help="Python file to import first")
    ] = None,
) -> None:
    """
    Score a pipeline on gold data, and show where entities were lost.
    """
    from spacy.util import import_file
    from wasabi import msg

    from ..annotate import load_pipeline
    from ..corpora import LABELS, CorpusError, read

    if gold_entities and not english:
        msg.fail("--gold-entities needs --english", exits=1)
    if code:
        import_file("python_code", code)
    mapping: Mapping[str, str | None] = LABELS
    if labels:
        more = {} if labels == "none" else json.loads(Path(labels).read_text(encoding="utf-8"))
        mapping = {} if labels == "none" else {**LABELS, **more}

    def label_map(label: str) -> str | None:
        return mapping.get(label, mapping.get("*", label))

    try:
        records = list(islice(read(gold, labels=None), limit or None))
        given = _read_english(english, records, label_map) if english else None
        judge = _read_english(reference, records, label_map) if reference else given
    except CorpusError as error:
        msg.fail(str(error), exits=1)
    if not records:
        msg.fail(f"{gold} has no records", exits=1)
    result = evaluate(
        load_pipeline(pipeline),
        records,
        label_map=label_map,
        english=given,
        gold_entities=gold_entities,
        reference=judge,
    )
    result = {"pipeline": pipeline, "gold": str(gold), "english": english and str(english), **result}
    print(report(result, examples))
    if output:
        output.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        msg.good(f"Saved to {output}")


def evaluate(
    nlp: "Language",
    records: Sequence["Record"],
    *,
    label_map: "LabelMap | None" = None,
    english: Sequence["Record"] | None = None,
    gold_entities: bool = False,
    reference: Sequence["Record"] | None = None,
) -> dict[str, Any]:
    """Run a pipeline over gold records, and score it.

    nlp (Language): The pipeline, with or without the EAT components.
    records (Sequence[Record]): Gold texts and entities.
    label_map (Optional[Callable[[str], Optional[str]]]): See `scoring.score_entities`.
    english (Optional[Sequence[Record]]): For each record its English, used
        instead of a translation.
    gold_entities (bool): Use the entities of `english` instead of the English tagger.
    reference (Optional[Sequence[Record]]): For each record its English, to judge by.
    RETURNS (Dict[str, Any]): As `scoring.evaluate`, and "usage", "lost", "spurious",
        "mistakes", "names_kept"; JSON-serialisable.
    """
    from tqdm import tqdm

    from ..annotate import usage_of
    from ..components.entity_aligner import EatEntityAligner
    from ..corpora import to_examples
    from ..evaluation.mistakes import LOST, SPURIOUS, count_mistakes, find_mistakes, names_kept
    from ..evaluation.scores import evaluate as score

    if gold_entities and english:
        for _, component in nlp.pipeline:
            if isinstance(component, EatEntityAligner):
                component.tagger = _GoldEntities(english)
    examples = list(to_examples(records, nlp))
    first = nlp.make_doc(records[0].text)
    docs = [example.predicted for example in examples]
    for doc, translation in zip([first, *docs], [english[0], *english] if english else (), strict=False):
        doc._.eat_translation = translation.text
    nlp(first)  # models are loaded when first used, which is not the pipeline's speed
    before, began = usage_of(nlp), time.perf_counter()
    annotated = tqdm(nlp.pipe(docs), total=len(docs), unit="doc", disable=None)
    for example, doc in zip(examples, annotated, strict=True):
        example.predicted = doc
    seconds = time.perf_counter() - began

    names: list[list[tuple[str, str]]] | None = None
    if reference and all(record.spans is not None for record in reference):
        names = [[(r.text[s.start_char : s.end_char], s.label) for s in r.spans or ()] for r in reference]
    mistakes = [
        find_mistakes(example, label_map, names[i] if names else None) for i, example in enumerate(examples)
    ]
    lost = [mistake for found, _ in mistakes for mistake in found]
    spurious = [mistake for _, found in mistakes for mistake in found]
    return {
        **score(examples, label_map=label_map, seconds=seconds),
        "usage": {name: amount - before[name] for name, amount in usage_of(nlp).items()},
        "names_kept": names_kept(examples, names) if names else None,
        "lost": count_mistakes(lost, LOST),
        "spurious": count_mistakes(spurious, SPURIOUS),
        "mistakes": {"lost": [asdict(m) for m in lost], "spurious": [asdict(m) for m in spurious]},
    }


class _GoldEntities:
    """Stands in for the English tagger: gives the gold entities of a text."""

    def __init__(self, english: Sequence["Record"]) -> None:
        self.english = {record.text: record for record in english}

    def __call__(self, texts: Sequence["Text"]) -> list[list["Span"]]:
        from ..types import Span

        return [
            [
                Span(s.start_char, s.end_char, s.label)
                for s in (self.english[text.string].spans if text.string in self.english else None) or ()
            ]
            for text in texts
        ]


def _read_english(path: Path, records: Sequence["Record"], label_map: "LabelMap") -> list["Record"]:
    """The English of gold records: as many, in the same order, with the same ids
    where both have some."""
    from ..corpora import CorpusError, Record, read

    found: list[Record]
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not all(isinstance(row, dict) and isinstance(row.get("english"), str) for row in rows):
            raise CorpusError(path, None, "a line has no field english", 'A line is {"english": ...}')
        found = [Record(row["english"], None, row.get("id")) for row in rows]
    else:
        found = list(read(path, lang="en", labels=None))
    if len(found) < len(records):
        problem = f"{len(found)} texts for {len(records)} docs"
        raise CorpusError(path, None, problem, "It must have one for each")
    for i, (record, english) in enumerate(zip(records, found, strict=False)):
        if record.id is not None and english.id is not None and record.id != english.id:
            problem = f"text {i + 1} is {english.id}, but doc {i + 1} is {record.id}"
            raise CorpusError(path, None, problem, "Both must be in the same order")
        if english.spans is not None:
            labels = [label_map(span.label) for span in english.spans]
            pairs = zip(english.spans, labels, strict=True)
            spans = tuple(span._replace(label=label) for span, label in pairs if label is not None)
            found[i] = replace(english, spans=spans)
    return found[: len(records)]


def report(result: Mapping[str, Any], examples: int = 0) -> str:
    """The result of `evaluate` for people.

    result (Mapping[str, Any]): What `evaluate` returned.
    examples (int): Mistakes of each kind to show.
    RETURNS (str): Tables.
    """
    from ..evaluation.mistakes import LOST, SPURIOUS

    strict = {**result["labels"], "all": result["strict"], "all, label ignored": result["unlabelled"]}
    rows: list[list[object]] = [
        [name, s["p"], s["r"], s["f"], s["tp"] + s["fn"], s["tp"] + s["fp"], s["tp"]]
        for name, s in strict.items()
    ]
    header = ["strict entities", "P", "R", "F1", "gold", "predicted", "right"]
    parts = [table(rows, header, right=header[1:])]

    paper, coverage, speed = result["paper_characters"], result["coverage"], result["speed"]
    kept, usage = result["names_kept"], result["usage"]
    skipped = f"skips {paper['skipped']} docs without gold"
    facts: list[tuple[str, object, str]] = [
        ("paper's character F1, micro", paper["micro"], skipped),
        ("paper's character F1, macro", paper["macro"], ""),
        ("paper's character F1, weighted", paper["weighted"], ""),
    ]
    if coverage["sentences"]:
        share = f"{coverage['annotated']} of {coverage['sentences']} sentences"
        facts.append(("coverage", coverage["share"], share))
        requests = f"{speed['requests']} in all"
        facts.append(("LLM requests per sentence", speed["requests_per_sentence"], requests))
    facts.append(("seconds per sentence", speed["seconds_per_sentence"], f"{speed['seconds']:.1f} in all"))
    for change, count in result["boundaries"].items():
        facts.append((f"entities off token boundaries: {change}", count, ""))
    if kept:
        facts.append(("English names kept", kept["share"], f"{kept['kept']} of {kept['names']}"))
    if usage["prompt_tokens"]:
        facts.append(("prompt tokens", usage["prompt_tokens"], f"{usage['cached']} requests from the cache"))
        facts.append(("completion tokens", usage["completion_tokens"], f"cost {usage['cost']:.4f}"))
    parts.append(table(facts, ["", "", ""]))

    trust = result.get("confidence")
    if trust:
        rows = [[f"{b['score']:.2f}", b["right"], b["count"]] for b in trust["bins"]]
        header = ["mean eat_score", "right words", "entities"]
        parts.append(
            table([*rows, ["expected calibration error", trust["ece"], ""]], header, right=header[1:])
        )
        rows = [[t["min_score"], t["p"], t["r"], t["f"]] for t in trust["thresholds"]]
        header = ["min_score", "P", "R", "F1"]
        parts.append(table(rows, header, right=header))

    for key, kinds in (("lost", LOST), ("spurious", SPURIOUS)):
        total = sum(result[key].values())
        counts = [(kind, n, n / total, kinds[kind]) for kind, n in result[key].items() if n]
        header = [f"{key} entities", "count", "share", "why"]
        parts.append(table([*counts, ("all", total, None, "")], header, right=header[1:3]))
        for kind in kinds:
            for m in [m for m in result["mistakes"][key] if m["kind"] == kind][:examples]:
                parts.append(f"\n{kind}: {m['text']} ({m['label']})")
                parts += [f" | {m['instead']}"] if m["instead"] else []
                parts += [f"\n  {text}" for text in (m["source"], m["english"]) if text]
        parts += ["\n"] if examples else []
    return "".join(parts)
