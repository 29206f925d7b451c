"""Running a pipeline over gold data."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.training import Example
from tqdm import tqdm

from ..corpora import CorpusError, Record, read, read_jsonl, to_examples
from ..pipelines import usage_of
from ..records import install_extensions
from ..types import Tagger
from .bootstrap import Counts, difference
from .mistakes import LOST, SPURIOUS, Mistake, count_mistakes, find_mistakes, names_kept
from .scores import LabelMap
from .scores import evaluate as score


class Run(NamedTuple):
    """Gold docs that a pipeline has annotated.

    examples (List[Example]): Predicted and gold docs.
    seconds (float): Wall time, without the loading of models.
    usage (Dict[str, float]): What it has cost, by the fields of `Usage`.
    """

    examples: list[Example]
    seconds: float
    usage: dict[str, float]


def evaluate(
    nlp: Language,
    records: Sequence[Record],
    *,
    label_map: LabelMap | None = None,
    english: Sequence[Record] | None = None,
    tagger: Tagger | None = None,
    reference: Sequence[Record] | None = None,
) -> dict[str, Any]:
    """Run a pipeline over gold records, and score it: `run` and `judge` together."""
    return judge(run(nlp, records, english=english, tagger=tagger), label_map=label_map, reference=reference)


def run(
    nlp: Language,
    records: Sequence[Record],
    *,
    english: Sequence[Record] | None = None,
    tagger: Tagger | None = None,
) -> Run:
    """Run a pipeline over gold records.

    nlp (Language): The pipeline, with or without the EAT components.
    records (Sequence[Record]): Gold texts and entities.
    english (Optional[Sequence[Record]]): For each record its English, used
        instead of a translation.
    tagger (Optional[Tagger]): In the place of the aligner's, such as `spacy_eat.taggers.gold.GoldTagger`.
    RETURNS (Run): The docs.
    RAISES (ValueError): If there is no gold annotation.
    """
    if not any(record.spans is not None for record in records):
        raise ValueError("There are no records with gold annotation: plain texts cannot be scored against")
    install_extensions()
    with _tagged_by(nlp, tagger):
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
    return Run(examples, seconds, {name: amount - before[name] for name, amount in usage_of(nlp).items()})


def judge(
    run: Run, *, label_map: LabelMap | None = None, reference: Sequence[Record] | None = None
) -> dict[str, Any]:
    """Score what a pipeline has annotated.

    run (Run): The docs.
    label_map (Optional[Callable[[str], Optional[str]]]): See `spacy_eat.evaluation.scores.score_entities`.
    reference (Optional[Sequence[Record]]): For each record its English, to judge by.
    RETURNS (Dict[str, Any]): As `spacy_eat.evaluation.scores.evaluate`, and "usage", "lost", "spurious",
        "mistakes" (each with the number of its doc), "names_kept"; JSON-serialisable.
    """
    names: list[list[tuple[str, str]]] | None = None
    if reference and all(record.spans is not None for record in reference):
        names = [[(r.text[s.start_char : s.end_char], s.label) for s in r.spans or ()] for r in reference]
    lost: list[tuple[int, Mistake]] = []
    spurious: list[tuple[int, Mistake]] = []
    for number, example in enumerate(run.examples):
        missing, wrong = find_mistakes(example, label_map, names[number] if names else None)
        lost += [(number, mistake) for mistake in missing]
        spurious += [(number, mistake) for mistake in wrong]
    return {
        **score(run.examples, label_map=label_map, seconds=run.seconds),
        "usage": run.usage,
        "names_kept": names_kept(run.examples, names) if names else None,
        "lost": count_mistakes((mistake for _, mistake in lost), LOST),
        "spurious": count_mistakes((mistake for _, mistake in spurious), SPURIOUS),
        "mistakes": {
            "lost": [{**asdict(mistake), "doc": number} for number, mistake in lost],
            "spurious": [{**asdict(mistake), "doc": number} for number, mistake in spurious],
        },
    }


@contextmanager
def _tagged_by(nlp: Language, tagger: Tagger | None) -> Iterator[None]:
    """Give the aligner another tagger of the English for a while."""
    aligners = [
        pipe for name, pipe in nlp.pipeline if nlp.get_pipe_meta(name).factory == "eat_entity_aligner"
    ]
    if tagger is None or not aligners:
        yield
        return
    aligner: Any = aligners[0]
    before, aligner.tagger = aligner.tagger, tagger
    try:
        yield
    finally:
        aligner.tagger = before


def read_english(path: Path, records: Sequence[Record], label_map: LabelMap) -> list[Record]:
    """The English of gold records: as many, in the same order, with the same ids where both have some.

    path (Path): Any annotated corpus, or .jsonl with the field english.
    records (Sequence[Record]): The gold records.
    label_map (Callable[[str], Optional[str]]): Applied to the labels of the English.
    RETURNS (List[Record]): One for each.
    RAISES (CorpusError): If it does not fit the gold records.
    """
    found: list[Record] = []
    if path.suffix == ".jsonl":
        for line, row, _ in read_jsonl(path):
            if not isinstance(row.get("english"), str):
                problem, remedy = "the line has no field english", 'A line is {"english": ...}'
                raise CorpusError(path, line.number, problem, remedy)
            found.append(Record(row["english"], None, row.get("id")))
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
            spans = tuple(replace(span, label=label) for span, label in pairs if label is not None)
            found[i] = replace(english, spans=spans)
    return found[: len(records)]


def read_counts(path: Path) -> tuple[list[str], Counts]:
    """The counts of a run.

    path (Path): What `evaluate` returned, as JSON.
    RETURNS (Tuple[List[str], Counts]): A digest of the text of each doc, and its counts.
    RAISES (CorpusError): If the file is not one.
    """
    try:
        return _counts(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"no counts of docs ({type(error).__name__}: {error})"
        raise CorpusError(path, None, problem, "Write it with `spacy eat evaluate --output`") from error


def compare_runs(result: Mapping[str, Any], other: tuple[list[str], Counts]) -> dict[str, Any]:
    """Compare a run with another one over the same docs.

    result (Mapping[str, Any]): What `evaluate` returned.
    other (Tuple[List[str], Counts]): See `read_counts`.
    RETURNS (Dict[str, Any]): How much better strict F1 is, see `spacy_eat.evaluation.bootstrap.difference`.
    RAISES (ValueError): If they are not of the same docs.
    """
    texts, counts = _counts(result)
    if texts != other[0]:
        raise ValueError(
            f"The other run scored {len(other[0])} docs, and they are not the {len(texts)} of this one."
            " Both must score the same docs, in the same order"
        )
    return difference(counts, other[1])


def _counts(result: Mapping[str, Any]) -> tuple[list[str], Counts]:
    docs = result["per_doc"]
    return docs["text"], list(zip(docs["tp"], docs["fp"], docs["fn"], strict=True))
