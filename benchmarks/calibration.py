"""Fits what turns log-probabilities into probabilities, and the least score worth taking, on held-out names.

    python -m benchmarks.calibration [--names 150] [--languages zh ja] [--answers FILE]

Every question is asked of the default aligner: names that the adapter was not tuned on, in sentences put
together such that no position gives them away; and as many names that the text does not have. Printed are,
for each temperature, log loss and expected calibration error of the best place's score; and for the best one
what each `min_score` would cut. The default is the highest one that cuts, in the bins below it, more wrong
names than right ones. No gold entity of an evaluation set is looked at.

--answers keeps the LLM's answers in a file: the next run takes them from there.
"""

import argparse
import json
import math
import random
from pathlib import Path
from typing import NamedTuple

from thinc.api import Config
from wasabi import msg

from spacy_eat.alignment.llm import LLMAligner, to_options
from spacy_eat.evaluation.scores import reliability
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.prompts import Candidate
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.training.tuning.config import Corpora
from spacy_eat.types import Failure, Sentence, Span, Text
from tests.conftest import DATA

from .bench_tuning import CONFIG, held_out_names

TEMPERATURES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
BINS = tuple(i / 20 for i in range(20))


class Asked(NamedTuple):
    """A question and what was answered.

    text, english (str): The source, and the English name.
    name (str): Its words in the source, "" if it has none.
    answers (List[Candidate]): Best first.
    """

    lang: str
    text: str
    english: str
    name: str
    answers: list[Candidate]


def ask(lang: str, questions: list[tuple[str, str, str]]) -> list[Asked]:
    """Put questions (text, English name, its words) to the default aligner."""
    aligner = LLMAligner(make_alignment_task(), make_embedded())
    sentences = [
        Sentence(Text(text, lang), Text(english, "en"), [Span(0, len(english))])
        for text, english, _ in questions
    ]
    asked = []
    for (text, english, name), options in zip(questions, aligner(sentences), strict=True):
        if not isinstance(options, Failure):
            asked.append(Asked(lang, text, english, name, [Candidate(*a) for a in options[0].answers]))
    return asked


def with_missing(tests: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Questions, and as many for names that the text does not have."""
    rng = random.Random(0)
    missing = []
    for text, english, _ in tests:
        others = [test for test in tests if test[2] not in text and test[1] != english]
        if others:
            missing.append((text, rng.choice(others)[1], ""))
    return tests + missing


def scored(asked: list[Asked], temperature: float) -> list[tuple[float, bool]]:
    """For each answered question the score of the best place, and whether it is right."""
    pairs = []
    for a in asked:
        source = Text(a.text, a.lang)
        options = to_options(source, a.english, a.answers, temperature=temperature)
        if options.spans and options.spans[0].score > options.none:
            best = options.spans[0]
            pairs.append((best.score, source[best] == a.name))
    return pairs


def log_loss(pairs: list[tuple[float, bool]]) -> float:
    """Mean of minus the logarithm of what was given to what is true."""
    return -sum(math.log(max(1e-6, score if right else 1 - score)) for score, right in pairs) / len(pairs)


def least_score(pairs: list[tuple[float, bool]]) -> float:
    """The highest `min_score` below which every bin has more wrong names than right ones."""
    least = 0.0
    for low, high in zip(BINS, (*BINS[1:], 1.01), strict=True):
        inside = [right for score, right in pairs if low <= score < high]
        if inside and sum(inside) > len(inside) / 2:
            break
        least = high
    return least


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, default=150, help="names per language, and as many missing ones")
    parser.add_argument("--languages", nargs="+", default=["zh", "ja"])
    parser.add_argument("--answers", type=Path, help="where the LLM's answers are kept")
    args = parser.parse_args()
    asked: list[Asked] = []
    if args.answers and args.answers.is_file():
        rows = [json.loads(line) for line in args.answers.read_text(encoding="utf-8").splitlines()]
        asked = [Asked(*row[:4], [Candidate(*answer) for answer in row[4]]) for row in rows]
    for lang in args.languages:
        if not any(a.lang == lang for a in asked):
            config = Config().from_disk(CONFIG, overrides={"paths.data": str(DATA)})
            corpora = Corpora.model_validate(config.interpolate()["corpora"])
            asked += ask(lang, with_missing(held_out_names(corpora, lang)[: args.names]))
    if args.answers:
        lines = "".join(json.dumps(a, ensure_ascii=False) + "\n" for a in asked)
        args.answers.write_text(lines, encoding="utf-8")

    table = []
    for temperature in TEMPERATURES:
        row: list[object] = [temperature]
        for lang in args.languages:
            pairs = scored([a for a in asked if a.lang == lang], temperature)
            row += [f"{log_loss(pairs):.3f}", f"{reliability(pairs)[1]:.3f}"]
        everything = scored(asked, temperature)
        table.append([*row, f"{log_loss(everything):.3f}", f"{reliability(everything)[1]:.3f}"])
    columns = [f"{what} {lang}" for lang in [*args.languages, "all"] for what in ("log loss", "ECE")]
    msg.table(table, header=["temperature", *columns], divider=True)
    best = min(TEMPERATURES, key=lambda t: log_loss(scored(asked, t)))
    pairs = scored(asked, best)
    right = sum(r for _, r in pairs)
    table = []
    for least in BINS:
        kept = [r for score, r in pairs if score >= least]
        inside = [r for score, r in pairs if least <= score < least + 0.05]
        share = f"{sum(inside)}/{len(inside)}"
        precision = f"{sum(kept) / max(1, len(kept)):.3f}"
        table.append([f"{least:.2f}", share, precision, f"{sum(kept) / max(1, right):.3f}"])
    print(f"\nAt temperature {best}, {len(asked)} questions, {len(pairs)} answered:")
    msg.table(table, header=["score from", "right here", "precision above", "right names kept"], divider=True)
    print(f"temperature = {best}, min_score = {least_score(pairs):.2f}")


if __name__ == "__main__":
    main()
