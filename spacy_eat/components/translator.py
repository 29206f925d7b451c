"""The `eat_translator` component: every sentence of a doc gets its English."""

from collections.abc import Iterable, Iterator

from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.util import minibatch
from thinc.api import Config

from ..llm.dispatch import Model, ask
from ..llm.tasks.translation import EntityTranslationTask
from ..records import count_usage, install_extensions, new_record
from ..text.sentences import split_doc

DEFAULT_CONFIG = """
[eat_translator]
max_length = 256
batch_size = 64

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
    """
    return EatTranslator(name=name, task=task, model=model, max_length=max_length, batch_size=batch_size)


class EatTranslator(Pipe):
    """Translates every sentence of a doc into English, with its entities in mind.

    Step 1 of Entity-Aligned Translation (arXiv 2509.01147, section 3). Sentences
    are `doc.sents` where set, else split by punctuation. A sentence that has
    its English already (from the user, or from an earlier run) is left as it
    is, so running the component again retries only what failed.
    """

    def __init__(
        self,
        *,
        name: str = "eat_translator",
        task: EntityTranslationTask,
        model: Model,
        max_length: int = 256,
        batch_size: int = 64,
    ) -> None:
        """See `make_translator`."""
        install_extensions()
        self.name = name
        self.task = task
        self.model = model
        self.max_length = max_length
        self.batch_size = batch_size

    def __call__(self, doc: Doc) -> Doc:
        """Translate one doc.

        doc (Doc): The doc. Failures are recorded in `doc._.eat`, not raised.
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
        prompts = [list(prompts) for prompts, _ in self.task.generate_prompts(docs)]
        responses = ask(self.model, prompts)
        counted: set[int] = set()
        for doc, answers in zip(docs, responses, strict=True):
            for answer in answers:
                if id(answer) not in counted:  # the same question is answered once for all
                    counted.add(id(answer))
                    count_usage(doc, answer.usage)
        for _ in self.task.parse_responses([[doc] for doc in docs], responses):
            pass
