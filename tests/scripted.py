"""A pipeline component for tests that stands in for the two EAT components.

It tags every "张三" or "東京", keeps a log of the texts it was asked for, and
fails as told by the text. Import it with `--code`.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace

from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_eat.llm.prompts import Usage
from spacy_eat.records import install_extensions

NAMES = {"张三": ("Zhang San", "PER"), "東京": ("Tokyo", "LOC")}
CONFIG = """
[nlp]
lang = "zh"
pipeline = ["scripted"]

[components]

[components.scripted]
factory = "scripted"
log = {log}
delay = {delay}
"""


def write_config(folder: Path, log: Path | None = None, delay: float = 0.0) -> Path:
    path = folder / "scripted.cfg"
    quoted = "null" if log is None else f'"{log}"'
    path.write_text(CONFIG.format(log=quoted, delay=delay), encoding="utf-8")
    return path


@Language.factory("scripted", default_config={"log": None, "delay": 0.0})
def make_scripted(nlp: Language, name: str, log: str | None, delay: float) -> "Scripted":
    return Scripted(log, delay)


class Scripted:
    def __init__(self, log: str | None, delay: float) -> None:
        install_extensions()
        self.log = log
        self.delay = delay
        self.model = SimpleNamespace(usage=Usage())

    def __call__(self, doc: Doc) -> Doc:
        self.model.usage.requests += 2
        self.model.usage.cost += 0.25
        if self.delay:
            time.sleep(self.delay)
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(doc.text + "\n")
        if "毒" in doc.text:
            raise RuntimeError("the component cannot stand this doc")
        entities = [
            {
                "text": english,
                "label": label,
                "english_start": 0,
                "english_end": len(english),
                "english_score": 1.0,
                "answers": [name],
                "logprobs": [None],
                "start_char": start,
                "end_char": start + len(name),
                "status": "exact",
                "score": 0.5,
            }
            for name, (english, label) in NAMES.items()
            if (start := doc.text.find(name)) >= 0
        ]
        failed = "败" in doc.text and not os.environ.get("SCRIPTED_SERVER_IS_BACK")
        sentence = {
            "start_char": 0,
            "end_char": len(doc.text),
            "english": f"{len(doc.text)} characters.",
            "status": "failed" if failed else "aligned",
            "error": "TimeoutError: no answer" if failed else None,
            "entities": entities,
            "requests": 2,
        }
        doc._.eat = {"sentences": [sentence], "counts": {}}
        spans = [doc.char_span(e["start_char"], e["end_char"], e["label"]) for e in entities]
        doc.ents = [span for span in spans if isinstance(span, Span)]
        return doc
