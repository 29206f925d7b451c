"""Examples as token ids, and batches of them as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .data import Example, Kind

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

IGNORE = -100


@dataclass(frozen=True)
class EncodedQuestion:
    """A question about a text.

    kind (str): See `Question`.
    prompt, answer (Tuple[int, ...]): Token ids; the answer ends its line.
    """

    kind: Kind
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """An example as token ids.

    prefix (Tuple[int, ...]): What all prompts begin with, the first token included.
    questions (Tuple[EncodedQuestion, ...]): What is asked.
    """

    prefix: tuple[int, ...]
    questions: tuple[EncodedQuestion, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(q.prompt) + len(q.answer) for q in self.questions)


def encode(example: Example, tokenizer: Any) -> Encoded:
    """Token ids of an example, prefix, prompts and answers each by itself: as
    the engine that shares a prefix reads them.

    example (Example): The example.
    tokenizer (PreTrainedTokenizerBase): The model's tokenizer.
    """

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    # What the tokenizer puts first, if anything.
    start = tuple(tokenizer("")["input_ids"][:1])
    return Encoded(
        start + ids(example.prefix),
        tuple(EncodedQuestion(q.kind, ids(q.prompt), ids(f" {q.answer}\n")) for q in example.questions),
    )


def collate(
    examples: Sequence[Encoded], weights: Mapping[Kind, float], pad: int = 0
) -> "dict[str, torch.Tensor]":
    """Tensors of a batch. Each question of a row sees the row's prefix and
    itself, and stands at the positions right after the prefix.

    examples (Sequence[Encoded]): The batch.
    weights (Mapping[str, float]): Weight of a token of each kind of answer.
    pad (int): Token id to fill up with.
    RETURNS (Dict[str, torch.Tensor]): "input_ids" and "position_ids" (batch,
        length); "attention_mask" (batch, 1, length, length), bool; "labels"
        (batch, length): the token after each one where that is a part of an
        answer, else -100; "weights" (batch, length).
    """
    import torch

    width = max(map(len, examples))
    shape = (len(examples), width)
    input_ids = torch.full(shape, pad)
    positions = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORE)
    factors = torch.zeros(shape)
    segments = torch.full(shape, -1)
    for row, example in enumerate(examples):
        end = len(example.prefix)
        input_ids[row, :end] = torch.tensor(example.prefix)
        positions[row, :end] = torch.arange(end)
        segments[row, :end] = 0
        for number, question in enumerate(example.questions, 1):
            ids = torch.tensor(question.prompt + question.answer)
            start, end = end, end + len(ids)
            input_ids[row, start:end] = ids
            positions[row, start:end] = torch.arange(len(example.prefix), len(example.prefix) + len(ids))
            segments[row, start:end] = number
            answered = slice(start + len(question.prompt) - 1, end - 1)
            labels[row, answered] = torch.tensor(question.answer)
            factors[row, answered] = weights.get(question.kind, 1.0)
    same = (segments[:, None, :] == segments[:, :, None]) | (segments[:, None, :] == 0)
    mask = same & torch.ones(width, width, dtype=torch.bool).tril()
    return {
        "input_ids": input_ids,
        "position_ids": positions,
        "attention_mask": mask[:, None],
        "labels": labels,
        "weights": factors,
    }
