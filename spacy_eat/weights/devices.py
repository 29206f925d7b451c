"""What a device computes fast with, and with how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def choose_dtype(name: str, device: str) -> Any:
    """RETURNS (torch.dtype): The one of this name, or for "auto" the one that a device is made for."""
    import torch

    if name != "auto":
        return getattr(torch, name)
    if likes_bfloat16(device):
        return torch.bfloat16
    return torch.float32 if device == "cpu" else torch.float16


def likes_bfloat16(device: str) -> bool:
    """Whether a device computes faster with bfloat16 than with float32.

    device (str): "cpu", "auto" for GPUs, "cuda" or "cuda:1".
    """
    import torch

    if device == "auto" or device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Have torch compute with so many CPU threads, and with as many as before in the end.

    count (Optional[int]): None leaves them as they are.
    """
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
