"""One tagger out of several runs: the mean of their weights.

Runs that begin at the same weights and differ in the order of their data end in the same valley, and the mean
of their weights is better than most of them, without any labels to choose by (Schmidt, Vulić, Glavaš 2023,
Free Lunch: Robust Cross-Lingual Transfer via Model Checkpoint Averaging, ACL).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import srsly

WEIGHTS = Path("model") / "model.safetensors"


def average(folders: Sequence[str | Path], output: str | Path) -> None:
    """Write the mean of several taggers.

    folders (Sequence[Union[str, Path]]): Folders of `eat_token_classifier`, all with the same labels and
        encoder.
    output (Union[str, Path]): Folder for the mean: all else is as in the first one.
    RAISES (ValueError): If there are none, one has no weights, or they do not fit each other.
    """
    from safetensors.torch import load_file, save_file

    paths = [Path(folder) for folder in folders]
    absent = [str(path) for path in paths if not (path / WEIGHTS).is_file() or not (path / "cfg").is_file()]
    if absent or not paths:
        raise ValueError(
            f"There is no tagger in {', '.join(absent) or 'an empty list of folders'}: name folders of"
            " trained 'eat_token_classifier's, such as training/tagger/model-last/tagger."
        )
    settings = [srsly.read_json(path / "cfg") for path in paths]
    sums = {name: weight.float() for name, weight in load_file(paths[0] / WEIGHTS).items()}
    for path, cfg in zip(paths[1:], settings[1:], strict=True):
        weights = load_file(path / WEIGHTS)
        differing = [
            name
            for name in ("labels", "base", "casing", "pooling", "context")
            if cfg.get(name) != settings[0].get(name)
        ]
        shapes = {name: weight.shape for name, weight in weights.items()}
        if differing or shapes != {name: weight.shape for name, weight in sums.items()}:
            what = ", ".join(differing) or "other weights"
            raise ValueError(f"{path} cannot be averaged with {paths[0]}: {what} differ.")
        for name, weight in weights.items():
            sums[name] += weight.float()
    output = Path(output)
    if output.resolve() not in [path.resolve() for path in paths]:
        shutil.copytree(paths[0], output, dirs_exist_ok=True)
    means = {name: (weight / len(paths)).half().contiguous() for name, weight in sums.items()}
    save_file(means, output / WEIGHTS, metadata={"format": "pt"})
