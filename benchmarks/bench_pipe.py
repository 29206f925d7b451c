"""`nlp.pipe` against a loop over `nlp()` with the embedded LLM: seconds, and
whether the entities are the same.

    python -m benchmarks.bench_pipe --lang zh --sentences 48
"""

import argparse
import time
from pathlib import Path

import spacy

from tests.conftest import DATA

FILES = {"zh": "zh_gsdsimp_train.txt", "ja": "ja_stockmark_train.txt"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lang", default="zh", choices=sorted(FILES))
    parser.add_argument("--texts", type=Path, help="a sentence per line")
    parser.add_argument("--sentences", type=int, default=48)
    args = parser.parse_args()
    nlp = spacy.blank(args.lang)
    nlp.add_pipe("eat_translator")
    nlp.add_pipe("eat_entity_aligner")
    path = args.texts or DATA / "unlabeled" / FILES[args.lang]
    texts = path.read_text(encoding="utf-8").splitlines()[: args.sentences]
    nlp(texts[0])  # the models are loaded at the first use

    def entities(docs: object) -> list[list[tuple[str, str]]]:
        return [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs]  # type: ignore[attr-defined]

    began = time.perf_counter()
    one_by_one = entities(nlp(text) for text in texts)
    loop = time.perf_counter() - began
    began = time.perf_counter()
    together = entities(nlp.pipe(texts))
    pipe = time.perf_counter() - began
    same = sum(a == b for a, b in zip(one_by_one, together, strict=True))
    print(f"loop over nlp()   {loop / len(texts):.3f} s a sentence")
    print(f"nlp.pipe          {pipe / len(texts):.3f} s a sentence, {loop / pipe:.2f} times as fast")
    print(f"same entities     {same} of {len(texts)} sentences")


if __name__ == "__main__":
    main()
