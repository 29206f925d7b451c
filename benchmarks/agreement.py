"""How much of what an annotator finds the tagger on the source finds too: a score for one that tells none.

    python -m benchmarks.agreement configs/strategies/zh_jieba.cfg zh_gsdsimp_train.txt [--limit 500]

The text is raw, a sentence a line, looked for among the development data (`unlabeled/`) too. No gold label is
looked at. The share is not the annotator's precision, which nothing without labels tells: where both are
wrong alike, it is too high, and where the tagger has missed a name, too low.
"""

from pathlib import Path

import typer
from wasabi import msg

from spacy_eat.components.source_tagger import SourceTagger
from spacy_eat.pipelines import load_pipeline
from tests.conftest import DATA


def main(config: str, texts: Path, limit: int = 500, weights: str = "embedded", data: Path = DATA) -> None:
    """Print, for each label, how many spans an annotator found, and the share that both found.

    config: The annotator, a pipeline that sets entities: package, folder or config file.
    texts: Raw text, a sentence a line.
    limit: So many lines.
    weights: Of the tagger on the source.
    data: The development data.
    """
    path = texts if texts.is_file() else data / "unlabeled" / texts
    nlp = load_pipeline(config)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][:limit]
    docs = list(nlp.pipe(lines))
    found = [{(e.start_char, e.end_char, e.label_) for e in doc.ents} for doc in docs]
    tagger = SourceTagger(nlp.vocab, weights=weights, spans_key="tagger")
    plain = [nlp.make_doc(line) for line in lines]
    tagger.annotate(plain)
    both = [
        spans & {(s.start_char, s.end_char, s.label_) for s in doc.spans["tagger"]}
        for spans, doc in zip(found, plain, strict=True)
    ]
    labels = sorted({label for spans in found for *_, label in spans})
    rows = []
    for wanted in [*labels, None]:
        total, shared = (
            sum(wanted in (None, label) for spans in many for *_, label in spans) for many in (found, both)
        )
        rows.append((wanted or "all", total, shared, f"{shared / max(1, total):.3f}"))
    msg.table(rows, header=("label", "found", "by both", "share"), divider=True, aligns="lrrr")


if __name__ == "__main__":
    typer.run(main)
