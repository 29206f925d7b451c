"""What was trained of an encoder: its weights alone, in half precision; the rest is taken from its base."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Base:
    """What a tuned encoder was made of, stored beside its weights.

    base (str): The encoder, as of `spacy_eat.Encoder.v1`.
    layers (int): Layers of it that are used, from below.
    """

    base: str
    layers: int


def read_base(folder: str) -> Base | None:
    """RETURNS (Optional[Base]): What `write_base` wrote in a folder; None for all other encoders."""
    try:
        settings = json.loads(Path(folder, CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(settings, dict) and settings.keys() == {"base", "layers"}
    return Base(**settings) if known else None


def write_base(base: Base, folder: Path) -> None:
    """Write what a tuned encoder was made of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(asdict(base), indent=2) + "\n", encoding="utf-8")


def write_trained(module: Any, folder: Path) -> None:
    """Write what was trained of a module, which is what needs gradients, in half precision."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.detach().half().cpu().contiguous()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def of_another_encoder(folder: Path, wrong: Sequence[str]) -> ValueError:
    """RETURNS (ValueError): Says that weights in a folder do not fit. wrong (Sequence[str]): Their names."""
    return ValueError(
        f"The weights in {folder} do not fit the encoder: {', '.join(wrong[:3])}. They were trained on"
        " another one: train them anew."
    )


def load_trained(module: Any, folder: Path) -> None:
    """Put the weights in a folder in their places. What it does not have stays as it is, and untrained.

    module (PreTrainedModel): An encoder, or one with a head. A head for other labels is left as it is, as
        transformers does it.
    folder (Path): What `write_trained` wrote.
    RAISES (ValueError): The weights are those of another encoder.
    """
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    shapes = {name: weight.shape for name, weight in module.named_parameters()}
    wrong = sorted(name for name, weight in weights.items() if shapes.get(name) != weight.shape)
    if module.base_model is not module:
        prefix = module.base_model_prefix
        wrong = [name for name in wrong if prefix in name.split(".") or name not in shapes]
    if wrong:
        raise of_another_encoder(folder, wrong)
    module.load_state_dict(
        {name: weight.float() for name, weight in weights.items() if shapes[name] == weight.shape},
        strict=False,
    )
    for name, weight in module.named_parameters():
        weight.requires_grad_(name in weights)


def take_tuned(encoder: Any, folder: Path) -> None:
    """Take the weights of a tuned encoder for what is to be trained on.

    encoder (PreTrainedModel): Its base, without a head. The tuned layers that it does not have are left out.
    folder (Path): What `write_trained` and `write_base` wrote.
    RAISES (ValueError): The weights are those of another encoder, or of layers that are frozen.
    """
    from safetensors.torch import load_file

    own = dict(encoder.named_parameters())
    weights = {name: weight for name, weight in load_file(folder / WEIGHTS).items() if name in own}
    if not weights or any(own[name].shape != weight.shape for name, weight in weights.items()):
        raise ValueError(f"The weights in {folder} do not fit the encoder: they were trained on another one.")
    frozen = sorted(name for name in weights if not own[name].requires_grad)
    if frozen:
        raise ValueError(
            f"`frozen_layers` is too high: the encoder in {folder} was tuned in layers that it would freeze,"
            f" as they were before ({frozen[0]})."
        )
    encoder.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=False)
