"""`python -m spacy eat translate-train`: labelled text of another language from labelled English."""

from itertools import islice
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ._errors import check_writable, plain_errors

SOURCE_HELP = "English with its entities: .spacy, .iob2 (UNER), .conll, .bio, .jsonl"
CONFIG_HELP = "Sections [task] and [model] (configs/translate_train.cfg); none: the embedded LLM"


def translate_train_cli(
    source: Annotated[Path, Argument(help=SOURCE_HELP, exists=True, dir_okay=False)],
    output: Annotated[Path, Argument(help="The labelled text, .spacy", dir_okay=False)],
    lang: Annotated[str, Option("--lang", help="Language code, such as zh or ja")],
    config: Annotated[Path | None, Option("--config", exists=True, dir_okay=False, help=CONFIG_HELP)] = None,
    limit: Annotated[int, Option("--limit", "-l", min=0, help="Only the first sentences; 0: all")] = 0,
    labels: Annotated[str, Option(help='Schema of the labels, or "auto" for that which has them')] = "auto",
    batch_size: Annotated[int, Option(min=1, help="Sentences put to the LLM together")] = 64,
) -> None:
    """
    Make labelled text of another language: labelled English is translated with markers round its entities.
    Sentences whose markers do not all come back are left out, and counted.
    """
    from collections import Counter

    from spacy.tokens import DocBin
    from spacy.util import load_config
    from spacy_llm.registry import registry
    from tqdm import tqdm
    from wasabi import msg

    from ..corpora import CorpusError, read, to_docs
    from ..pipelines import blank
    from ..training.translated import translate_train

    settings = {
        "task": {"@llm_tasks": "spacy_eat.MarkedTranslation.v1"},
        "model": {"@llm_models": "spacy_eat.Embedded.v1", "adapter": None},
    }
    with plain_errors():
        if output.suffix != ".spacy":
            raise ValueError(f"{output}: labelled text is written as .spacy, for `spacy train`")
        check_writable(output)
        given = load_config(config).interpolate() if config else settings
        if absent := settings.keys() - given.keys():
            raise ValueError(
                f"{config}: there is no section [{min(absent)}]; see configs/translate_train.cfg"
            )
        made = registry.resolve({name: given[name] for name in settings})
        records = list(islice(read(source, lang="en", labels=labels), limit or None))
        if not any(record.spans for record in records):
            raise CorpusError(source, None, "no entities", f"Give annotated English. {SOURCE_HELP}")
        counts: Counter[str] = Counter()
        translated = translate_train(
            tqdm(records, disable=None),
            lang,
            made["task"],
            made["model"],
            batch_size=batch_size,
            counts=counts,
        )
        docs = list(to_docs(translated, blank(lang)))
        DocBin(docs=docs, store_user_data=True).to_disk(output)
        others = ", ".join(
            f"{number} {reason}" for reason, number in counts.most_common() if reason != "taken"
        )
        entities = sum(len(doc.ents) for doc in docs)
        told = f"{len(docs)} of {len(records)} sentences with {entities} entities in {output}"
        if not docs:
            msg.fail(told, f"Left out: {others}. A larger LLM keeps markers: --config", exits=1)
        msg.good(told, f"Left out: {others}" if others else None)
