"""What tuning is worth, and what each step of decoding: the embedded LLM
without and with an adapter, on what `configs/tune_embedded.cfg` keeps out of
training.

  names        source words of an English name, in three sentences without
               brackets, the name in the second or third: the share that is
               exactly right; decoding as the component does it, with and
               without close answers asked the other way round
  within       the share where the answer and the record's name are one within the
               other, the right ones included: an article often says its name
               twice, in full and in short, and the record has one of the two
  first chunk  a rule that answers with the beginning of the text: in raw
               records it is right most of the time, here it must not be
  ECE          expected calibration error of the score that the components
               would give the answer
  chrF         translations (sacrebleu); few-shot without the adapter, as the
               component does it; with and without names found first (draft)
  kept         of the names that the English NER finds in the reference, the share that
               stands in the translation
  there        how many names it finds in the translations, in each at most as many
               as in its reference, as a share of those

    python -m benchmarks.bench_tuning --adapters none default --names 50 --sentences 20
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sacrebleu.metrics.chrf import CHRF
from spacy.util import load_config
from wasabi import msg

from spacy_eat.alignment.llm import to_options
from spacy_eat.alignment.resolve import resolve
from spacy_eat.corpora import read
from spacy_eat.corpora.parallel import hold_out_pairs, read_parallel
from spacy_eat.evaluation.scores import reliability
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.prompts import Prompt, Response
from spacy_eat.llm.tasks.alignment import make_alignment_task, parse_alignment
from spacy_eat.llm.tasks.translation import clean_translation, make_translation_task
from spacy_eat.taggers.pipeline import EnglishPipeline
from spacy_eat.training.alignment_records import hold_out_names, latin_names, read_alignment
from spacy_eat.training.tuning.config import Corpora
from spacy_eat.training.tuning.data import build_tests
from spacy_eat.types import Sentence, Span, Text
from tests.conftest import DATA

CONFIG = Path(__file__).parents[1] / "configs" / "tune_embedded.cfg"
LANGUAGES = ("zh", "ja")


def first_chunk(text: str) -> str:
    """What a rule answers that never reads the English: all up to the first
    punctuation mark, bracket or particle."""
    text = text.strip("「『《〈\"' ")
    end = re.search(r"[，、。,.（(：:「」『』《》；;]|[はがのを](?=.)|(?<=..)[是为為於于在](?=.)", text)
    return text[: end.start()].strip() if end else text


def held_out_names(corpora: Corpora, lang: str) -> list[tuple[str, str, str]]:
    """Text, English name, and its words in the text."""
    assert corpora.alignment is not None
    latin = latin_names(corpora.alignment)
    records = read_alignment(corpora.alignment / f"{lang}.jsonl", lang, Counter(), latin)
    return build_tests(hold_out_names(records, corpora.held_out_names)[1], corpora.held_out_questions, seed=0)


def held_out_pairs(corpora: Corpora, data: Path, lang: str, file: str) -> list[tuple[str, str]]:
    """Sentences with their translation: those held out of the dev corpus, or a
    whole file, for Chinese PUD that of the gold data."""
    assert corpora.parallel is not None
    path = corpora.parallel / f"{lang}_{file}.jsonl"
    if not path.is_file():
        sides = [read(data / "gold" / f"{side}_{file}.iob2", labels=None) for side in (lang, "en")]
        return [(source.text, english.text) for source, english in zip(*sides, strict=True)]
    records = read_parallel(path, lang, Counter())
    if file == corpora.dev:
        records = hold_out_pairs(records, corpora.held_out_pairs)[1]
    return [(record.source, record.english) for record in records]


def ask(model: object, prompts: Sequence[Prompt]) -> tuple[list[Response], float]:
    """Responses, and seconds per prompt."""
    begun = time.perf_counter()
    (responses,) = model([prompts])  # type: ignore[operator]
    return list(responses), (time.perf_counter() - begun) / max(1, len(prompts))


def score_names(model: object, tests: Sequence[tuple[str, str, str]], lang: str) -> dict[str, float]:
    """Share of names answered exactly, and nearly so, calibration error, and seconds per name."""
    task = make_alignment_task()
    prompts = [task.prompt(text, "", [english], lang) for text, english, _ in tests]
    responses, seconds = ask(model, prompts)
    scored, within = [], 0
    for (text, english, name), response in zip(tests, responses, strict=True):
        answers = parse_alignment(response, [english]) if isinstance(response, str) else None
        sentence = Sentence(Text(text, lang), Text(english, "en"), [Span(0, len(english))])
        options = to_options(sentence.source, english, (answers or {}).get(english, []))
        (span,) = resolve(sentence, [options], mentions="aligned").spans
        words = sentence.source[span] if span else ""
        scored.append((span.score if span else 0.0, words == name))
        within += bool(words) and (words in name or name in words)
    return {
        "names": sum(right for _, right in scored) / len(scored),
        "within": within / len(scored),
        "ECE": reliability(scored)[1],
        "s/name": seconds,
    }


def score_translation(
    model: object, english: EnglishPipeline, pairs: Sequence[tuple[str, str]], lang: str
) -> dict[str, float]:
    """chrF, shares of the names, and seconds per sentence."""
    task = make_translation_task()
    responses, seconds = ask(model, [task.prompt(source, lang) for source, _ in pairs])
    answers = [clean_translation(r) if isinstance(r, str) else "" for r in responses]
    references = [reference for _, reference in pairs]
    names, found = english(references), english(answers)
    total = sum(map(len, names)) or 1
    kept = sum(
        name.text.lower() in answer.lower()
        for answer, wanted in zip(answers, names, strict=True)
        for name in wanted
    )
    there = sum(min(len(a), len(b)) for a, b in zip(names, found, strict=True))
    return {
        "chrF": CHRF().corpus_score(answers, [references]).score,
        "kept": kept / total,
        "there": there / total,
        "s/sentence": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with alignment/, parallel/ and gold/")
    parser.add_argument(
        "--adapters", nargs="+", default=["none", "default"], help="none, default, or folders"
    )
    parser.add_argument("--names", type=int, default=150, help="names per language")
    parser.add_argument("--sentences", type=int, default=20, help="sentences per language and file")
    parser.add_argument("--pairs", nargs="+", default=["flores_dev", "pud_half"], help="without {lang}_")
    parser.add_argument(
        "--check-weights", type=float, nargs="+", default=[0.0, 0.4], help="see spacy_eat.Embedded.v1"
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="JSON file for the numbers")
    args = parser.parse_args()
    config = load_config(CONFIG, overrides={"paths.data": str(args.data)}, interpolate=True)
    corpora = Corpora.model_validate(config["corpora"])
    english = EnglishPipeline()
    names: list[dict[str, object]] = []
    translations: list[dict[str, object]] = []
    for adapter in args.adapters:
        folder = None if adapter == "none" else adapter
        checks = args.check_weights if folder else [0.0]
        for check in checks if args.names else ():
            model = make_embedded(folder, check_weight=check, threads=args.threads)
            model.load()
            for lang in LANGUAGES:
                tests = held_out_names(corpora, lang)[: args.names]
                rule = sum(first_chunk(text) == name for text, _, name in tests) / len(tests)
                row = {"adapter": adapter, "check": check}
                row |= {"language": lang, "tested": len(tests)}
                names.append({**row, "first chunk": rule, **score_names(model, tests, lang)})
                print(json.dumps(names[-1]), flush=True)
        for draft in ((False, True) if folder else (False,)) if args.sentences else ():
            model = make_embedded(folder, draft=draft, threads=args.threads)
            model.load()
            for lang in LANGUAGES:
                for file in args.pairs:
                    pairs = held_out_pairs(corpora, args.data, lang, file)[: args.sentences]
                    row = {"adapter": adapter, "draft": draft, "language": lang, "pairs": file}
                    row |= {"translated": len(pairs)}
                    translations.append({**row, **score_translation(model, english, pairs, lang)})
                    print(json.dumps(translations[-1]), flush=True)
    for rows in filter(None, (names, translations)):
        cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        msg.table(cells, header=list(rows[0]), divider=True)
    if args.output:
        args.output.write_text(
            json.dumps({"names": names, "translations": translations}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
