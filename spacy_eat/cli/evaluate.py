import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ._errors import check_writable, plain_errors

PIPELINE_HELP = "Package, path, .cfg or language code (a blank pipeline with the two components as they come)"
GOLD_HELP = ".spacy, .iob2 (UNER), .bio, .conll, .tsv (KLUE), .jsonl (Stockmark)"
ENGLISH_HELP = "Take the translations from here, in the order of GOLD: .iob2, or .jsonl with a field english"
REFERENCE_HELP = "Only judge by the translations here (.iob2): which of their names has the LLM kept?"
LABELS_HELP = (
    'Schema of the labels (uner, klue ...), or JSON file {"label": "other label" or null, "*": null for all '
    'others}, added to all schemas (the default); "none" for none of them'
)
HTML_HELP = "Write a page: scores, charts, and mistakes to look at; with --compare, both runs side by side"
COMPARE_HELP = "What --output wrote of another run over the same docs: how much better is this one?"


def evaluate_cli(
    pipeline: Annotated[str, Argument(help=PIPELINE_HELP)],
    gold: Annotated[Path, Argument(help=GOLD_HELP, exists=True, dir_okay=False)],
    limit: Annotated[int, Option("--limit", "-l", min=0, help="Only the first docs; 0: all")] = 0,
    output: Annotated[Path | None, Option("--output", "-o", help="Write everything as JSON")] = None,
    html: Annotated[Path | None, Option(help=HTML_HELP)] = None,
    english: Annotated[Path | None, Option(exists=True, help=ENGLISH_HELP)] = None,
    gold_entities: Annotated[bool, Option("--gold-entities", help="And the English entities")] = False,
    reference: Annotated[Path | None, Option(exists=True, help=REFERENCE_HELP)] = None,
    labels: Annotated[str | None, Option(help=LABELS_HELP)] = None,
    compare: Annotated[Path | None, Option(exists=True, help=COMPARE_HELP)] = None,
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

    from ..corpora import CorpusError, read
    from ..evaluation.report import report
    from ..evaluation.run import compare_runs, judge, read_counts, read_english, run
    from ..pipelines import load_pipeline
    from ..taggers.gold import GoldTagger
    from ..viewer.report import report_page, sample_cases

    if gold_entities and not english:
        msg.fail("--gold-entities needs --english", exits=1)
    if code:
        import_file("python_code", code)
    with plain_errors():
        label_map = _label_map(labels)
        records = list(islice(read(gold, labels=None), limit or None))
        if not any(record.spans is not None for record in records):
            problem = "plain text, without annotation" if records else "no records"
            raise CorpusError(gold, None, problem, f"Gold data is one of {GOLD_HELP}")
        given = read_english(english, records, label_map) if english else None
        if gold_entities and english and not any(record.spans for record in given or ()):
            raise CorpusError(
                english, None, "no entities for --gold-entities", "Give an annotated file: .iob2"
            )
        names = read_english(reference, records, label_map) if reference else given
        other = read_counts(compare) if compare else None
        for path in (output, html):
            if path:
                check_writable(path)
        annotated = run(
            load_pipeline(pipeline),
            records,
            english=given,
            tagger=GoldTagger({r.text: r.spans or () for r in given or ()}) if gold_entities else None,
        )
        result = judge(annotated, label_map=label_map, reference=names)
        result = {"pipeline": pipeline, "gold": str(gold), "english": english and str(english), **result}
        if other:
            result["compared"] = {"other": str(compare), **compare_runs(result, other)}
        print(report(result, examples))
        if output:
            output.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            msg.good(f"Saved to {output}")
        if html:
            cases = sample_cases(result, annotated.examples, label_map)
            beside = json.loads(compare.read_text(encoding="utf-8")) if compare else None
            html.write_text(report_page(result, cases, beside), encoding="utf-8")
            msg.good(f"Report: {html}")


def _label_map(labels: str | None) -> Callable[[str], str | None]:
    """RAISES (CorpusError): If there is no such schema, and no such table."""
    from ..corpora import CorpusError, label_table, schemas

    mapping = {} if labels == "none" else dict(label_table("auto"))
    if labels in schemas():
        mapping |= label_table(labels)
    elif labels not in (None, "none"):
        try:
            mapping |= json.loads(Path(labels).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            remedy = f"Give a schema ({', '.join(schemas())}), a JSON file {{label: label or null}}, or none"
            raise CorpusError(Path(labels), None, f"no table of labels ({error})", remedy) from error

    def label_map(label: str) -> str | None:
        return mapping.get(label, mapping.get("*", label))

    return label_map
