from typing import Annotated

from typer import Argument, Option

from ._errors import plain_errors

PIPELINE_HELP = "Package, path, .cfg or language code (default: by the script of the text)"


def demo_cli(
    text: Annotated[list[str] | None, Argument(help="Own sentences, instead of the built-in ones")] = None,
    pipeline: Annotated[str | None, Option("--pipeline", "-p", help=PIPELINE_HELP)] = None,
) -> None:
    """
    Find the entities of a few sentences and show how.
    Without --pipeline it takes the default models: no key, no server, no network.
    """
    from wasabi import msg

    from ..annotate import to_fields
    from ..evaluation.tables import table
    from ..languages import codes, guess_language, load
    from ..pipelines import load_pipeline
    from ..records import sentences_of

    groups: dict[str, list[str]] = {}
    for sentence in text or [example for code in codes() for example in load(code).examples]:
        name = pipeline or guess_language([sentence])
        if name is None:
            msg.fail(f"The script of {sentence!r} does not tell its language: use --pipeline", exits=1)
        else:
            groups.setdefault(name, []).append(sentence)
    with plain_errors():
        for name, sentences in groups.items():
            msg.info(f"Loading pipeline: {name}")
            nlp = load_pipeline(name)
            for doc in nlp.pipe(sentences):
                print(f"\n{doc.text}")
                for record in sentences_of(doc):
                    print(record["english"] or "")
                    if record["error"]:
                        msg.fail(record["error"])
                rows = [
                    (e["text"], e["label"], e.get("english"), e.get("score"), e.get("status"))
                    for e in to_fields(doc)["entities"]
                ]
                header = ("entity", "label", "English", "score", "status")
                print(table(rows, header, right=["score"]) if rows else "no entities\n")
