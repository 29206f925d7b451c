"""Fits what speaks for a place of the lexicon's aligner, on names whose English is known.

    python -m benchmarks.lexicon [--names 1000] [--languages zh ja]

Wikipedia sentences with a name (`alignment/`), and as many questions for names that the text does not have.
Half of them fit the weights (conditional logit: the likelihood of the right words, or of none), half are
scored: how often the best place is right, the log loss and the calibration error of its score. No gold entity
of an evaluation set is looked at.
"""

import random
from collections import Counter
from typing import Annotated, NamedTuple

import numpy as np
import typer
from scipy.optimize import minimize
from scipy.special import logsumexp
from wasabi import msg

from spacy_eat.alignment.lexicon import WEIGHTS, Evidence, make_lexicon_aligner
from spacy_eat.evaluation.scores import reliability
from spacy_eat.training.alignment_records import latin_names, read_alignment
from spacy_eat.types import Text
from tests.conftest import DATA

from .calibration import with_missing

PENALTY = 1e-5  # of squared weights, per question: what hardly occurs stays near 0


class Question(NamedTuple):
    """A name that was asked for.

    evidence (ndarray): Of each place, shape (places, pieces of evidence).
    more (ndarray): What else speaks for it (nats), shape (places,).
    words (ndarray): The number of its words: places with the same words are one answer, shape (places,).
    right (int): The number of the right words, -1 for none of them.
    """

    evidence: np.ndarray
    more: np.ndarray
    words: np.ndarray
    right: int


def questions(lang: str, count: int) -> list[Question]:
    """RETURNS (List[Question]): Of a language, in random order. Names that no place was found for are among
    them; those that stand in the text as they are, are not."""
    records = read_alignment(
        DATA / "alignment" / f"{lang}.jsonl", lang, Counter(), latin_names(DATA / "alignment")
    )
    random.Random(0).shuffle(records)
    aligner = make_lexicon_aligner()
    asked = []
    for text, english, name in with_missing([(r.text, r.english, r.name) for r in records[:count]]):
        source = Text(text, lang)
        places = aligner.candidates(source).places(english)
        words = [source[span] for span, *_ in places]
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        asked.append(
            Question(
                np.array([evidence for _, evidence, _ in places]).reshape(len(places), len(Evidence._fields)),
                np.array([more for *_, more in places]),
                np.array([numbers[word] for word in words], dtype=int),
                numbers.get(name, -1) if name else -1,
            )
        )
    random.Random(1).shuffle(asked)
    return asked


def logprobs(question: Question, weights: np.ndarray) -> np.ndarray:
    """RETURNS (ndarray): Log-probabilities of none and of all words, shape (1 + words,)."""
    worth = question.evidence @ weights[1:] + question.more
    best = np.full(question.words.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, question.words, worth)
    answers = np.concatenate([weights[:1], best])
    return answers - logsumexp(answers)


def fit(asked: list[Question]) -> np.ndarray:
    """RETURNS (ndarray): The weights, that of none first."""

    def loss(weights: np.ndarray) -> float:
        likelihood = sum(logprobs(question, weights)[question.right + 1] for question in asked)
        return float(PENALTY * weights @ weights - likelihood / len(asked))

    start = np.array([WEIGHTS["none"], *(WEIGHTS[name] for name in Evidence._fields)])
    return minimize(loss, start, method="L-BFGS-B").x


def scores(asked: list[Question], weights: np.ndarray) -> list[str]:
    """RETURNS (List[str]): A row of the table."""
    found = [(logprobs(question, weights), question.right + 1) for question in asked]
    pairs = [(float(np.exp(p.max())), int(p.argmax()) == right) for p, right in found]
    named = [(p, right) for p, right in found if p.argmax()]
    names = [right for _, right in found if right]
    return [
        str(len(asked)),
        f"{len(names) / len(asked):.3f}",
        f"{sum(p.argmax() == right for p, right in named) / max(1, len(named)):.3f}",
        f"{sum(p.argmax() == right for p, right in named) / (len(asked) / 2):.3f}",
        f"{-sum(p[right] for p, right in found) / len(found):.3f}",
        f"{reliability(pairs)[1]:.3f}",
    ]


def main(names: int = 1000, languages: Annotated[list[str] | None, typer.Option()] = None) -> None:
    """Print the fitted weights, and a table with a row for each language.

    names: Names of a language, and as many that are missing.
    languages: Language codes; Chinese and Japanese if none are given.
    """
    asked = {lang: questions(lang, names) for lang in languages or ("zh", "ja")}
    halves = {lang: (found[::2], found[1::2]) for lang, found in asked.items()}
    weights = fit([question for first, _ in halves.values() for question in first])
    rows = [
        (lang, which, *scores(second, used))
        for lang, (_, second) in halves.items()
        for which, used in (
            ("stored", np.array([WEIGHTS["none"], *(WEIGHTS[name] for name in Evidence._fields)])),
            ("fitted", weights),
        )
    ]
    header = ("language", "weights", "questions", "right one there", "precision", "recall", "log loss", "ECE")
    msg.table(rows, header=header, divider=True, aligns=("l", "l", *"r" * 6))
    print({name: round(float(w), 2) for name, w in zip(("none", *Evidence._fields), weights, strict=True)})


if __name__ == "__main__":
    typer.run(main)
