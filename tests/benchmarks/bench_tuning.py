"""What tuning is worth: the embedded LLM without and with an adapter.

On what `configs/tune_embedded.cfg` keeps out of training:

  names        source words of an English name, in three sentences without
               brackets, the name in the second or third: the share that is
               exactly right; decoding as the component does it
  first chunk  a rule that answers with the beginning of the text: in raw
               records it is right most of the time, here it must not be
  chrF         translations of FLORES sentences (sacrebleu); few-shot without
               the adapter, as the component does it

    python -m tests.benchmarks.bench_tuning --adapters none default --names 50 --sentences 20
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sacrebleu.metrics.chrf import CHRF
from spacy.util import load_config
from wasabi import msg

from spacy_eat.models.embedded import make_embedded
from spacy_eat.tasks.alignment import make_alignment_task, parse_alignment
from spacy_eat.tasks.translation import clean_translation, make_translation_task
from spacy_eat.training.config import Corpora
from spacy_eat.training.data import (
    build_tests,
    first_chunk,
    hold_out_names,
    hold_out_pairs,
    latin_names,
    read_alignment,
    read_parallel,
)
from spacy_eat.types import Prompt, Response

from ..conftest import DATA

CONFIG = Path(__file__).parents[2] / "configs" / "tune_embedded.cfg"
LANGUAGES = ("zh", "ja")


def held_out_names(corpora: Corpora, lang: str) -> list[tuple[str, str, str]]:
    """Text, English name, and its words in the text."""
    assert corpora.alignment is not None
    latin = latin_names(corpora.alignment)
    records = read_alignment(corpora.alignment / f"{lang}.jsonl", lang, Counter(), latin)
    return build_tests(hold_out_names(records, corpora.held_out_names)[1], corpora.held_out_questions, seed=0)


def held_out_pairs(corpora: Corpora, lang: str, file: str) -> list[tuple[str, str]]:
    """Sentences with their translation: those held out of the dev corpus, or a whole file."""
    assert corpora.parallel is not None
    records = read_parallel(corpora.parallel / f"{lang}_{file}.jsonl", lang, Counter())
    if file == corpora.dev:
        records = hold_out_pairs(records, corpora.held_out_pairs)[1]
    return [(record.source, record.english) for record in records]


def ask(model: object, prompts: Sequence[Prompt]) -> tuple[list[Response], float]:
    """Responses, and seconds per prompt."""
    begun = time.perf_counter()
    (responses,) = model([prompts])  # type: ignore[operator]
    return list(responses), (time.perf_counter() - begun) / max(1, len(prompts))


def score_names(model: object, tests: Sequence[tuple[str, str, str]], lang: str) -> tuple[float, float]:
    """Share of names answered exactly, and seconds per name."""
    task = make_alignment_task()
    prompts = [task.prompt(text, "", [english], lang) for text, english, _ in tests]
    responses, seconds = ask(model, prompts)
    right = 0
    for (_, english, name), response in zip(tests, responses, strict=True):
        answers = parse_alignment(response, [english]) if isinstance(response, str) else None
        right += bool(answers and answers.get(english) and answers[english][0].text == name)
    return right / max(1, len(tests)), seconds


def score_translation(model: object, pairs: Sequence[tuple[str, str]], lang: str) -> tuple[float, float]:
    """chrF, and seconds per sentence."""
    task = make_translation_task()
    responses, seconds = ask(model, [task.prompt(source, lang) for source, _ in pairs])
    answers = [clean_translation(r) if isinstance(r, str) else "" for r in responses]
    return CHRF().corpus_score(answers, [[english for _, english in pairs]]).score, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with alignment/ and parallel/")
    parser.add_argument(
        "--adapters", nargs="+", default=["none", "default"], help="none, default, or folders"
    )
    parser.add_argument("--names", type=int, default=150, help="names per language")
    parser.add_argument("--sentences", type=int, default=20, help="sentences per language")
    parser.add_argument("--pairs", default="flores_dev", help="parallel file, without {lang}_")
    parser.add_argument("--prior-weight", type=float, default=0.5, help="see spacy_eat.Embedded.v1")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    args = parser.parse_args()
    config = load_config(CONFIG, overrides={"paths.data": str(args.data)}, interpolate=True)
    corpora = Corpora.model_validate(config["corpora"])
    rows = []
    for adapter in args.adapters:
        model = make_embedded(
            None if adapter == "none" else adapter, prior_weight=args.prior_weight, threads=args.threads
        )
        model.load()
        for lang in LANGUAGES:
            row: dict[str, object] = {"adapter": adapter, "language": lang}
            if args.names:
                tests = held_out_names(corpora, lang)[: args.names]
                row["names"], row["s/name"] = score_names(model, tests, lang)
                row["first chunk"] = sum(first_chunk(t) == n for t, _, n in tests) / len(tests)
                row["tested"] = len(tests)
            if args.sentences:
                pairs = held_out_pairs(corpora, lang, args.pairs)[: args.sentences]
                row["chrF"], row["s/sentence"] = score_translation(model, pairs, lang)
                row["translated"] = len(pairs)
            rows.append(row)
            print(json.dumps(row), flush=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        [f"{v:.3f}" if isinstance(v := row.get(c, ""), float) else str(v) for c in columns] for row in rows
    ]
    msg.table(cells, header=columns, divider=True)
    if args.output:
        args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
