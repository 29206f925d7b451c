"""`spacy_eat.EncoderAligner.v1`: a multilingual encoder points at the words behind English entities."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.pieces import Pieces, readable
from ..optional import require
from ..types import Failure, Options, Sentence, Span, Text
from .locate import as_it_stands, verbatim, weigh

if TYPE_CHECKING:  # torch takes seconds to import
    from .network import Found, Network, Settings

FOLDER = Path(__file__).parents[1] / "weights" / "entity_aligner"  # the weights that ship
MAX_OPTIONS = 12  # spans of an entity that are weighed


class EncoderAligner:
    """Reads the source and its English apart, and points from each entity of the English to the span of the
    source that it most likely came from. No LLM. Names that stand in the source as they are (NHK, iPhone) are
    taken from there.

    After the entity alignment model of Li, He and Xu 2021 (arXiv 2101.11112), with the English sentence as
    context. How it is trained: `spacy_eat.training.aligner`.
    """

    def __init__(
        self, weights: str | None = None, *, reverse: bool = True, rules: bool = True, batch_size: int = 32
    ) -> None:
        """See `make_encoder_aligner`."""
        self.weights = Path(weights) if weights else FOLDER
        self.reverse = reverse
        self.rules = rules
        self.batch_size = batch_size
        self._loaded: tuple[Any, Network, Settings] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Weights do not travel: another process loads its own.
        return {**self.__dict__, "_loaded": None}

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in
            their order.
        RAISES (ImportError): The extra `encoder` is not installed.
        RAISES (ValueError): The weights or the encoder cannot be loaded.
        """
        results: list[list[Options] | Failure] = [[] for _ in sentences]
        order = [i for i, sentence in enumerate(sentences) if sentence.entities]
        order.sort(key=lambda i: len(sentences[i].english.string) + len(sentences[i].source.string))
        if order and self._loaded is None:
            require("torch", extra="encoder", purpose="The entity aligner")
            from .network import load

            self._loaded = load(self.weights)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for i, options in zip(batch, self._align([sentences[i] for i in batch]), strict=True):
                results[i] = options
        return results

    def _align(self, sentences: Sequence[Sentence]) -> Sequence[list[Options] | Failure]:
        """The options of sentences that are read together. Where they fail, each has a try alone."""
        try:
            return self._options(sentences)
        except Exception as error:
            if len(sentences) == 1:
                return [Failure(f"{type(error).__name__}: {error}")]
            return [self._align([sentence])[0] for sentence in sentences]

    def _options(self, sentences: Sequence[Sentence]) -> list[list[Options]]:
        import torch

        from .network import look, pieces_of, read

        assert self._loaded is not None
        tokenizer, network, settings = self._loaded
        found: list[list[Found | None]] = [[None] * len(sentence.entities) for sentence in sentences]
        with torch.inference_mode():
            texts = [readable(sentence.english.string, sentence.english.lang) for sentence in sentences]
            here, english = read(network, tokenizer, texts, settings.max_length)
            texts = [readable(sentence.source.string, sentence.source.lang) for sentence in sentences]
            there, source = read(network, tokenizer, texts, settings.max_length)
            asked = [
                (text, entity, places)
                for text, sentence in enumerate(sentences)
                for entity, span in enumerate(sentence.entities)
                if len(source[text]) and (places := pieces_of(english[text], *span.place))
            ]
            answers = look(
                network,
                here,
                there,
                [text for text, _, _ in asked],
                [places for _, _, places in asked],
                most=MAX_OPTIONS,
                reverse=self.reverse and bool(settings.reverse),
            )
        if not self.reverse:
            settings = replace(settings, reverse=0.0)
        for (text, entity, _), answer in zip(asked, answers, strict=True):
            found[text][entity] = answer
        options = []
        for sentence, answered, pieces in zip(sentences, found, source, strict=True):
            names = sentence.names()
            known = verbatim(sentence.source, names) if self.rules else set()
            options.append(
                [
                    as_it_stands(sentence.source, name)
                    if name in known
                    else self._weigh(sentence.source, name, answer, pieces, settings)
                    for name, answer in zip(names, answered, strict=True)
                ]
            )
        return options

    def _weigh(
        self, source: Text, english: str, answer: "Found | None", pieces: Pieces, settings: "Settings"
    ) -> Options:
        """RETURNS (Options): Those of one entity."""
        if answer is None:
            return Options(none=1.0)
        shares = answer.shares(settings)
        found = (
            (Span(int(pieces.starts[first]), int(pieces.ends[first:last].max())), share)
            for share, (first, last) in zip(shares[1:].tolist(), answer.spans.tolist(), strict=True)
        )
        return weigh(source, english, found, float(shares[0]), rules=self.rules)


def make_encoder_aligner(
    weights: str | None = None, reverse: bool = True, rules: bool = True, batch_size: int = 32
) -> EncoderAligner:
    """`spacy_eat.EncoderAligner.v1` (misc): a multilingual encoder points at the words behind entities.

    weights (Optional[str]): A folder that `python -m spacy eat tune-aligner` made; None for the weights that
        come with this package.
    reverse (bool): Whether the opposite question counts too: which English words a span of the source stands
        for.
    rules (bool): Whether names that stand in the source are taken from there, and what is known of the ends
        of names is used, as for every aligner; without, the encoder's spans as they are.
    batch_size (int): Sentences that are read together.
    RETURNS (EncoderAligner): The aligner.
    RAISES (ValueError): A setting is out of its range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size} of the entity aligner is too small")
    return EncoderAligner(weights, reverse=reverse, rules=rules, batch_size=batch_size)
