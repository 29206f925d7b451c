"""Whole pipelines side by side, from the text to its entities: each is a config that can be taken as it is.

    python -m benchmarks.strategies GOLD --lang zh [--limit 100] [--only encoder --only jieba]
    python -m benchmarks.strategies GOLD --lang zh --keep DIR [--fuse zh_light+zh_encoder+zh_jieba]

The configs of `configs/strategies/` of the language, the default pipeline (`configs/zh_embedded.cfg`) and the
tagger on the source alone (`configs/zh_light.cfg`). Strict F1 with its bootstrap interval. Requests are
those that LLMs answered; times are of this machine, all else included. Aligners alone, on gold English:
`python -m benchmarks.aligners --llm`.

With `--keep`, what each pipeline finds is written to a file as it goes: a run that was ended goes on where
it was, and what is there is not computed again. `--fuse` adds a row for what several strategies have
together, by `spacy_eat.Vote.v1`. With `--english`, translations are taken from recorded chains
(`benchmarks.chains`) of the same texts: each counts as a request, and no time.
"""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from spacy.tokens import Doc
from tqdm import tqdm
from wasabi import msg

from benchmarks.chains import recorded
from benchmarks.fusion import scores
from spacy_eat.corpora import Record, label_table, read
from spacy_eat.fusion import Vote
from spacy_eat.pipelines import PipelineError, load_pipeline, usage_of
from spacy_eat.records import install_extensions
from spacy_eat.types import Span, Text

CONFIGS = Path(__file__).parents[1] / "configs"
TOGETHER = 32  # texts after which what was found is written


class Found(NamedTuple):
    """What a pipeline made of a text.

    spans (List[Span]): Its entities, with their scores.
    requests (float): To an LLM, its share of those of a batch.
    seconds (float): The same of the time.
    """

    spans: list[Span]
    requests: float
    seconds: float


def configs(lang: str) -> list[Path]:
    """RETURNS (List[Path]): The pipelines of a language, the default one first."""
    general = [CONFIGS / f"{lang}_{name}.cfg" for name in ("embedded", "light")]
    return [*filter(Path.is_file, general), *sorted(CONFIGS.glob(f"strategies/{lang}_*.cfg"))]


def annotate(config: Path, texts: Sequence[str], english: dict[str, str]) -> Iterator[Found]:
    """Run a pipeline.

    config (Path): Its config.
    texts (Sequence[str]): The texts.
    english (Dict[str, str]): By text its translation, of those that have one.
    YIELDS (Found): For each text what was found.
    RAISES (PipelineError): If it cannot be loaded.
    """
    install_extensions()
    nlp = load_pipeline(str(config))
    translates = "eat_translator" in nlp.pipe_names
    try:
        nlp(texts[0])  # models are loaded when first used, which is not the pipeline's speed
    except ValueError as error:  # there are no weights
        raise PipelineError(f"The pipeline {str(config)!r} cannot be loaded: {error}") from error
    labels = label_table("auto").get
    for first in range(0, len(texts), TOGETHER):
        docs = [nlp.make_doc(text) for text in texts[first : first + TOGETHER]]
        given = [translates and doc.text in english for doc in docs]
        for doc in compress(docs, given):
            doc._.eat_translation = english[doc.text]
        before, began = usage_of(nlp)["requests"], time.perf_counter()
        done = list(nlp.pipe(docs))
        seconds = (time.perf_counter() - began) / len(docs)
        requests = (usage_of(nlp)["requests"] - before + sum(given)) / len(docs)
        for doc in done:
            yield Found(_entities(doc, labels), requests, seconds)


def _entities(doc: Doc, labels: Any) -> list[Span]:
    spans = []
    for entity in doc.ents:
        score = entity._.eat_score
        if label := labels(entity.label_, entity.label_):
            span = Span(entity.start_char, entity.end_char, label, 1.0 if score is None else score)
            spans.append(span)
    return spans


def kept(path: Path) -> Iterator[tuple[str, Found]]:
    """YIELDS (Tuple[str, Found]): Texts of a file, and what was found in them. A line that is cut ends it."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return
        yield row["text"], Found([Span(*span) for span in row["spans"]], row["requests"], row["seconds"])


def found_by(config: Path, texts: Sequence[str], english: dict[str, str], path: Path | None) -> list[Found]:
    """What a pipeline finds, as far as it is in a file from there.

    path (Optional[Path]): The file, which is continued.
    RETURNS (List[Found]): For each text.
    """
    before = dict(kept(path)) if path else {}
    missing = [text for text in dict.fromkeys(texts) if text not in before]
    if missing:
        if path:  # again without what was cut
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(_line(text, found) for text, found in before.items()), encoding="utf-8")
        runs = annotate(config, missing, english)
        for text, found in tqdm(zip(missing, runs, strict=True), config.stem, len(missing), disable=None):
            before[text] = found
            if path:
                with path.open("a", encoding="utf-8") as file:
                    file.write(_line(text, found))
    return [before[text] for text in texts]


def _line(text: str, found: Found) -> str:
    spans = [(*span.place, span.label, round(span.score, 4)) for span in found.spans]
    row = {
        "text": text,
        "spans": spans,
        "requests": round(found.requests, 4),
        "seconds": round(found.seconds, 4),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def fused(texts: Sequence[Text], several: dict[str, list[Found]]) -> list[list[Span]]:
    """RETURNS (List[List[Span]]): What strategies have together, by vote."""
    vote = Vote()
    return [
        vote(text, {name: found[i].spans for name, found in several.items()}) for i, text in enumerate(texts)
    ]


def row(name: str, gold: Sequence[Sequence[Span]], found: Sequence[Found]) -> list[object]:
    """RETURNS (List[object]): A row of the table."""
    requests = sum(one.requests for one in found) / len(found)
    seconds = sum(one.seconds for one in found) / len(found)
    return [*score(name, gold, [one.spans for one in found]), f"{requests:.2f}", f"{seconds:.3f}"]


def score(name: str, gold: Sequence[Sequence[Span]], spans: Sequence[Sequence[Span]]) -> list[object]:
    """RETURNS (List[object]): Name, precision, recall, F1 and its interval."""
    f1, chance, precision, recall, _ = scores(gold, spans)
    return [name, *(f"{number:.3f}" for number in (precision, recall, f1)), chance]


def gold_of(records: Sequence[Record]) -> list[list[Span]]:
    """RETURNS (List[List[Span]]): The gold entities of each record, with the labels that pipelines have."""
    labels = label_table("auto")
    return [
        [Span(*s.place, label) for s in record.spans or () if (label := labels.get(s.label, s.label))]
        for record in records
    ]


def main(
    gold: Path,
    lang: str = "zh",
    limit: int = 0,
    only: Annotated[list[str] | None, typer.Option()] = None,
    keep: Annotated[Path | None, typer.Option()] = None,
    fuse: Annotated[list[str] | None, typer.Option()] = None,
    english: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Print a table, a row for each pipeline.

    gold: Annotated sentences.
    lang: Their language: "zh" or "ja".
    limit: Only so many sentences; 0 for all.
    only: Only configs with this in their name.
    keep: Folder for what each pipeline finds.
    fuse: Configs, joined by "+", whose entities are combined.
    english: Recorded chains, whose translations are taken.
    """
    records = list(read(gold, labels=None))[: limit or None]
    texts, right = [record.text for record in records], gold_of(records)
    translations = {
        chain["text"]: " ".join(sentence["english"] or "" for sentence in chain["eat"]["sentences"])
        for chain in (recorded(english) if english else ())
    }
    rows, several = [], {}
    wanted = {name for names in fuse or () for name in names.split("+")}
    for config in configs(lang):
        if only and not any(part in config.stem for part in only) and config.stem not in wanted:
            continue
        path = keep / gold.stem / f"{config.stem}.jsonl" if keep else None
        try:
            several[config.stem] = found_by(config, texts, translations, path)
        except PipelineError as error:
            msg.warn(f"{config.stem} is left out", str(error))
            continue
        rows.append(row(config.stem, right, several[config.stem]))
    for names in fuse or ():
        if missing := [name for name in names.split("+") if name not in several]:
            msg.warn(f"{names} is left out", f"There is no {', '.join(missing)}")
            continue
        chosen = {name: several[name] for name in names.split("+")}
        rows.append([*score(names, right, fused([Text(text, lang) for text in texts], chosen)), "", ""])
    msg.info(f"{gold.stem}: {len(records)} sentences")
    header = ("config", "P", "R", "F1", "95 %", "requests/sentence", "s/sentence")
    msg.table(rows, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))


if __name__ == "__main__":
    typer.run(main)
