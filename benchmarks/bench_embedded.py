"""The embedded LLM: load time, tokens per second, seconds per name, and
whether batches change answers.

    python -m benchmarks.bench_embedded --sentences 40 --threads 2 [--ctranslate2 FOLDER]

With a folder, the same model in 8 bits by CTranslate2 too, converted to there if it is empty: text by text,
and then in batches as it likes to have them.

Translated are Chinese news sentences; the names looked for are the gold English ones of the Chinese PUD half.
Prompts are those of the default tasks: with few-shot examples where the model has no adapter.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from spacy_eat.corpora import read
from spacy_eat.llm.ctranslate2 import make_ctranslate2
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.forms import AlignmentForm
from spacy_eat.llm.local import LocalBackend
from spacy_eat.llm.prompts import Prompt
from spacy_eat.llm.tasks.alignment import make_alignment_task
from spacy_eat.llm.tasks.translation import make_translation_task
from spacy_eat.weights.gemma import model_dir
from tests.llm.tiny import convert

DATA = Path(os.environ.get("SPACY_EAT_DATA", Path(__file__).parents[2] / "shared" / "data"))


def prompts(count: int) -> tuple[list[Prompt], list[Prompt]]:
    """RETURNS (Tuple[List[Prompt], List[Prompt]]): To translate, and to align."""
    chinese = list(read(DATA / "gold" / "zh_pud_half.iob2"))
    english = list(read(DATA / "gold" / "en_pud_half.iob2"))
    translation, alignment = make_translation_task(), make_alignment_task()
    texts = [translation.prompt(record.text, "zh") for record in chinese[:count]]
    names = [
        alignment.prompt(
            zh.text, en.text, list(dict.fromkeys(en.text[s.start_char : s.end_char] for s in en.spans)), "zh"
        )
        for zh, en in zip(chinese[:count], english[:count], strict=True)
        if en.spans
    ]
    return texts, names


def timed(model: LocalBackend, asked: list[Prompt]) -> tuple[list[str], float, int]:
    """RETURNS (Tuple[List[str], float, int]): Answers, seconds, tokens generated."""
    before = model.usage.completion_tokens
    start = time.perf_counter()
    answers = [str(answer) for answer in next(iter(model([asked])))]
    return answers, time.perf_counter() - start, model.usage.completion_tokens - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 32])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--adapter", default="default", help='folder, "default" or "none"')
    parser.add_argument("--ctranslate2", type=Path, help="folder for the converted model")
    args = parser.parse_args()
    texts, names = prompts(args.sentences)
    asked = sum(len(p.completion.names) for p in names if isinstance(p.completion, AlignmentForm))
    settings: dict[str, Any] = {
        "adapter": None if args.adapter == "none" else args.adapter,
        "dtype": args.dtype,
        "threads": args.threads,
    }
    make_embedded(**settings).load()  # imports, conversion
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model = make_embedded(**settings)
        model.load()
        seconds.append(time.perf_counter() - start)
    print(f"load (torch and transformers imported, model prepared)  {statistics.median(seconds):.2f} s")
    busy = os.getloadavg()[0]
    print(f"{len(texts)} sentences, {asked} names, {args.threads} threads, load average {busy:.1f}\n")
    engines: list[tuple[str, Callable[[], LocalBackend]]] = [
        (f"torch {size:>5}", partial(make_embedded, batch_size=size, **settings)) for size in args.batch_sizes
    ]
    if args.ctranslate2 is not None:
        if not (args.ctranslate2 / "model.bin").is_file():
            source = model_dir(settings["adapter"])
            convert(source, args.ctranslate2, quantization="int8_float32", force=True)
        make = partial(
            make_ctranslate2,
            str(args.ctranslate2),
            form="completion",
            tuned=settings["adapter"] is not None,
            threads=args.threads,
            cache=None,
        )
        engines += [("ct2       1", make), ("ct2  padded", partial(make, batch_invariant=False))]
    print("batch        tokens/s  s/sentence  s/name   translations  best answer  all answers")
    first: tuple[list[str], list[str]] | None = None
    for title, make in engines:
        model = make()
        model.generate([texts[0], names[0]])  # the examples' keys and values
        translations, spent, tokens = timed(model, texts)
        answers, aligning, _ = timed(model, names)
        first = first or (translations, answers)
        same = sum(a == b for a, b in zip(first[0], translations, strict=True))
        mine, theirs = ([row for a in group for row in json.loads(a)] for group in (answers, first[1]))
        best = sum(a[:1] and a[0][0] == b[0][0] for a, b in zip(mine, theirs, strict=True))
        every = sum([t for t, _ in a] == [t for t, _ in b] for a, b in zip(mine, theirs, strict=True))
        print(
            f"{title:<11}  {tokens / spent:>8.1f}  {spent / len(texts):>10.2f}  {aligning / asked:>6.3f}  "
            f"{same:>8}/{len(texts):<5} {best:>6}/{asked:<5} {every:>6}/{asked}"
        )
    print("\nThe last three columns: answers that are the same as with the first row.")


if __name__ == "__main__":
    main()
