"""The vocabulary head in 8 bits: which tokens may be the likeliest, for a third of the time.

More than half of the weights of a small LLM are the head: 262k words of 640 numbers each. To find the
likeliest word it need not be exact: this one tells how far it may be wrong, and what lies within that is
computed once more, exactly (`spacy_eat.llm.torch_engine.Decoder.likeliest`). So the answers are those of the
whole head.

Rows become whole numbers from -127 to 127, those of the vocabulary once and those of texts in each step, each
row with a scale of its own. Sums of their products are exact, so a row's result does not depend on what is
computed beside it.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # takes seconds to import
    import torch

LARGEST = 127
ZERO = 128  # what stands for 0 where numbers have no sign, as those of a text must not
AT_ONCE = 1024  # rows of the vocabulary that are in float32 at a time
# How far the difference of two logits may be wrong, in standard deviations of one. The most by which the
# likeliest word lay below another one in 1,806 steps of the embedded LLM, on 60 news sentences: 2.4.
SURE = 8


class RoughHead:
    """A head (`torch.nn.Linear`) in 8 bits. See `make_rough_head`."""

    def __init__(self, head: Any) -> None:
        import torch

        weight, self.bias = head.weight.detach(), head.bias
        whole = torch.empty(weight.shape, dtype=torch.int8)
        self.scales = torch.empty(len(weight))
        squares = 0.0
        for start in range(0, len(weight), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            rows = weight[part].float()
            squares += rows.square().sum().item()
            whole[part], scales = to_int8(rows)
            self.scales[part] = scales[:, 0]
        self.packed = torch.ops.onednn.qlinear_prepack(whole, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        # Rounding is wrong by up to half of a scale, evenly: by the scale / sqrt(12) on average.
        self.words = math.sqrt(squares / len(weight) / 12)
        self.steps = math.sqrt(self.scales.square().mean().item() / 12)

    def __call__(self, hidden: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
        """Compute the logits of all words.

        hidden (Tensor): Last hidden states, shape (rows, hidden size).
        RETURNS (Tuple[Tensor, Tensor]): The logits in float32, shape (rows, words), and how far the
            difference of two of them may be wrong, shape (rows,).
        """
        import torch

        hidden = hidden.float()
        rows, scales = to_int8(hidden)
        logits = torch.ops.onednn.qlinear_pointwise(
            (rows.short() + ZERO).to(torch.uint8), 1.0, ZERO, self.packed, self.scales, self.zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        logits *= scales
        if self.bias is not None:
            logits += self.bias.float()
        deviation = torch.hypot(scales[:, 0] * self.words, hidden.norm(dim=-1) * self.steps)
        return logits, SURE * deviation


def to_int8(rows: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """RETURNS (Tuple[Tensor, Tensor]): Rows in int8, and the scale of each, shape (rows, 1)."""
    import torch

    scales = (rows.abs().amax(dim=-1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / scales).round().to(torch.int8), scales


def make_rough_head(head: Any) -> RoughHead | None:
    """RETURNS (Optional[RoughHead]): None where the head is not on a CPU that multiplies 8 bits fast and
    exactly: without VNNI, sums of products are cut at 16 bits."""
    import torch

    supported = getattr(torch.cpu, "_is_vnni_supported", bool)()
    if (
        head.weight.device.type != "cpu"
        or not supported
        or not hasattr(torch.ops.onednn, "qlinear_pointwise")
    ):
        return None
    return RoughHead(head)
