"""LoRA adapters: finding one, and merging it into a model's weights."""

import json
import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # takes seconds to import
    import torch

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
LORA_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")


def adapter_config(folder: Path) -> dict[str, Any]:
    """The settings of an adapter.

    folder (Path): Its folder, in peft's form.
    RETURNS (Dict[str, Any]): The content of adapter_config.json.
    RAISES (ValueError): The folder lacks a file. (Pickled weights do not count.)
    """
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"No adapter in {folder}: it has no {' and no '.join(missing)}")
    config: dict[str, Any] = json.loads((folder / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    return config


def adapter_in_package(name: str) -> Path | None:
    """RETURNS (Optional[Path]): The folder `adapter` in an installed package, such as a packaged pipeline
    (whose own folder is not known when it is made); None if there is none."""
    spec = find_spec(name) if name.isidentifier() else None
    roots = spec.submodule_search_locations if spec else None
    return next((path for root in roots or () for path in Path(root).rglob("adapter")), None)


def merge_lora(model: Any, folder: str | Path) -> None:
    """Add a LoRA adapter's weights to a model's, in place: `W += scale * B @ A`
    (Hu et al., arXiv 2106.09685, section 4.1).

    model (PreTrainedModel): The model.
    folder (Union[str, Path]): The adapter's folder, in peft's form.
    RAISES (ValueError): The adapter is not a plain LoRA, lacks a file, or does not fit the model. That it was
        tuned from these very weights can't be told from its shapes.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    config = adapter_config(folder)
    unsupported = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or unsupported:
        raise ValueError(
            f"The adapter {folder} is no plain LoRA adapter (peft_type {config.get('peft_type')}, bias "
            f"{config.get('bias')}, {', '.join(unsupported)}): merge it with peft's `merge_and_unload`, and "
            "name the folder of the merged model"
        )
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(folder / ADAPTER_FILES[1]).items():
        match = LORA_KEY.fullmatch(key)
        if match is None:
            raise ValueError(f"The adapter {folder} has a weight that is not LoRA's: {key}")
        pairs.setdefault(match["module"], {})[match["side"]] = tensor.float()
    parameters: Mapping[str, torch.nn.Parameter] = dict(model.named_parameters())
    for module, pair in pairs.items():
        weight = parameters.get(f"{module}.weight")
        if weight is None or pair.keys() != {"A", "B"}:
            raise ValueError(f"The adapter {folder} belongs to another base model: there is no {module} here")
        if (pair["B"].shape[0], pair["A"].shape[1]) != tuple(weight.shape):
            raise ValueError(
                f"The adapter {folder} belongs to another base model: {module} is "
                f"{tuple(weight.shape)} here, {(pair['B'].shape[0], pair['A'].shape[1])} there"
            )
        delta = (scale * (pair["B"] @ pair["A"])).to(weight.device)
        weight.data.copy_(weight.data.float() + delta)  # half precision is rounded once
