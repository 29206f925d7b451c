"""The `eat_translator` component: every sentence of a doc gets its English."""

from collections.abc import Iterable, Iterator

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.util import minibatch
from thinc.api import Config

from ..llm.dispatch import Model, ask, usages
from ..llm.tasks.checks import has_letters
from ..llm.tasks.translation import EntityTranslationTask
from ..records import (
    count_usage,
    install_extensions,
    needs_english,
    new_record,
    sentences_of,
    set_nothing,
    texts_of,
)
from ..text.sentences import split_doc
from .failures import OnError, tell

DEFAULT_CONFIG = """
[eat_translator]
max_length = 256
batch_size = 64
on_error = "record"

[eat_translator.task]
@llm_tasks = "spacy_eat.EntityTranslation.v1"

[eat_translator.model]
@llm_models = "spacy_eat.Embedded.v1"
"""


@Language.factory(
    "eat_translator",
    assigns=["doc._.eat", "doc._.eat_translation"],
    default_config=Config().from_str(DEFAULT_CONFIG)["eat_translator"],
)
def make_translator(
    nlp: Language,
    name: str,
    task: EntityTranslationTask,
    model: Model,
    max_length: int,
    batch_size: int,
    on_error: OnError,
) -> "EatTranslator":
    """Construct an `eat_translator`.

    When in doubt, keep the default task. The default model needs no server and
    no key; any larger model translates better.

    nlp (Language): The pipeline. Its language is the source language, unless
        the task names one.
    name (str): The component instance name.
    task (EntityTranslationTask): "spacy_eat.EntityTranslation.v1", or
        "spacy_eat.EntityTranslationDialogue.v1", or one with the same methods.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of
        spacy-llm's registry.
    max_length (int): Characters above which a sentence is split at clause
        punctuation.
    batch_size (int): Most docs whose sentences are put to the model together.
    on_error (str): What becomes of a sentence that fails: "record" records it in `doc._.eat` and warns,
        once for each cause; "raise" raises an error after the batch.
    """
    return EatTranslator(
        name=name, task=task, model=model, max_length=max_length, batch_size=batch_size, on_error=on_error
    )


class EatTranslator(Pipe):
    """Translates every sentence of a doc into English, with its entities in mind.

    Step 1 of Entity-Aligned Translation (arXiv 2509.01147, section 3). Sentences
    are `doc.sents` where set, else split by punctuation. A sentence that has
    its English already (from the user, or from an earlier run) is left as it
    is, so running the component again retries only what failed. One without any
    letter (emoji, digits) is not sent.
    """

    def __init__(
        self,
        *,
        name: str = "eat_translator",
        task: EntityTranslationTask,
        model: Model,
        max_length: int = 256,
        batch_size: int = 64,
        on_error: OnError = "record",
    ) -> None:
        """See `make_translator`."""
        install_extensions()
        self.name = name
        self.task = task
        self.model = model
        self.max_length = max_length
        self.batch_size = batch_size
        self.on_error: OnError = on_error

    def __call__(self, doc: Doc) -> Doc:
        """Translate one doc.

        doc (Doc): The doc. Failures are recorded in `doc._.eat`, and raised as `on_error` says.
        RETURNS (Doc): The same doc.
        """
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Translate a stream of docs, a batch of requests at a time.

        stream (Iterable[Doc]): The docs.
        batch_size (int): Docs per batch; never more than the component's own.
        YIELDS (Doc): The same docs, in order.
        """
        for docs in minibatch(stream, min(batch_size, self.batch_size)):
            try:
                self._translate(docs)
            except Exception as error:
                self.get_error_handler()(self.name, self, docs, error)
            yield from docs

    def _translate(self, docs: list[Doc]) -> None:
        for doc in docs:
            if doc._.eat is None:
                doc._.eat = new_record(split_doc(doc, max_length=self.max_length))
            open_ = [sentence for sentence in sentences_of(doc) if needs_english(sentence)]
            for text, sentence in zip(texts_of(doc, open_), open_, strict=True):
                if not has_letters(text):
                    set_nothing(sentence)
        jobs = [self.task.pending(doc) for doc in docs]
        prompts = [
            [self.task.prompt(text, doc.lang_) for text, _ in pending]
            for doc, pending in zip(docs, jobs, strict=True)
        ]
        responses = ask(self.model, prompts)
        failed: list[str] = []
        for pending, answers in zip(jobs, responses, strict=True):
            for (text, sentence), response in zip(pending, answers, strict=True):
                self.task.parse(text, sentence, response)
                if sentence["error"]:
                    failed.append(sentence["error"])
        for doc, usage in zip(docs, usages(responses), strict=True):
            count_usage(doc, usage)
        tell(self.name, failed, self.on_error)
