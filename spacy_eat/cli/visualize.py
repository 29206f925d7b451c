import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

IN_HELP = "What `eat evaluate --output` wrote: .json files, or folders of them"
COLOURS = (
    *("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377"),
    *("#999999", "#332288", "#ee8866", "#117733"),
)


def visualize_cli(
    source: Annotated[list[Path], Argument(metavar="SCORES... OUT", help=IN_HELP + "; last, the picture")],
    title: Annotated[str, Option(help="Above the picture")] = "",
) -> None:
    """
    Draw scores: by set, by label, and by the kind of mistake. OUT is a .png, .svg or .pdf file.
    """
    from wasabi import msg

    *inputs, output = source
    try:
        results = read_results(inputs)
        draw(results, output, title)
    except (ValueError, ImportError) as error:
        msg.fail(str(error), exits=1)
    msg.good(f"{len(results)} runs in {output}")


def read_results(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Read results of `eat evaluate`.

    paths (Sequence[Path]): .json files, or folders of them.
    RETURNS (Dict[str, Dict[str, Any]]): By pipeline and set, in the order of the files.
    RAISES (ValueError): If there are none, or a file is not one of them.
    """
    files = [f for path in paths for f in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise ValueError("No scores to draw: write some with `python -m spacy eat evaluate --output`")
    results = {}
    for file in files:
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            name = f"{Path(result['pipeline']).name}, {Path(result['gold']).stem} ({result['docs']})"
            _ = [result[key] for key in ("strict", "unlabelled", "labels", "lost", "spurious")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} has no scores of `python -m spacy eat evaluate`: {error}") from error
        results[name] = result
    return results


def draw(results: Mapping[str, Mapping[str, Any]], output: Path, title: str = "") -> None:
    """Draw results, one row each.

    results (Mapping[str, Mapping[str, Any]]): See `read_results`.
    output (Path): The picture; its suffix says what kind.
    title (str): Its title.
    RAISES (ImportError): Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('The picture needs matplotlib: pip install "spacy-eat[train]"') from error

    names = list(results)
    rows = list(range(len(names)))
    figure = Figure(figsize=(16, 2.2 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True, width_ratios=(3, 2, 3, 3))
    if title:
        figure.suptitle(title)

    f1, table, lost, spurious = axes
    for key, colour, label in (("unlabelled", COLOURS[1], "label ignored"), ("strict", COLOURS[0], "strict")):
        f1.barh(rows, [result[key]["f"] for result in results.values()], color=colour, label=label)
    for row, result in enumerate(results.values()):
        f1.text(0.01, row, f"{result['strict']['f']:.3f}", va="center", color="white")
    f1.set(title="F1", xlim=(0, 1), yticks=rows, yticklabels=names)
    f1.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False)
    f1.invert_yaxis()

    labels = sorted({label for result in results.values() for label in result["labels"]})
    scores = [
        [result["labels"][label]["f"] if label in result["labels"] else float("nan") for label in labels]
        for result in results.values()
    ]
    if labels:
        table.imshow(scores, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, line in enumerate(scores):
        for column, score in enumerate(line):
            if score == score:
                colour = "white" if score > 0.5 else "black"
                table.text(column, row, f"{score:.2f}", ha="center", va="center", color=colour)
    table.set(title="strict F1 by label", xticks=range(len(labels)), xticklabels=labels)

    kinds = {**_kinds(results, "lost"), **_kinds(results, "spurious")}
    colours = dict(zip(kinds, COLOURS, strict=False))
    for axis, key, whole, name in (
        (lost, "lost", ("tp", "fn"), "gold entities that were lost, by cause"),
        (spurious, "spurious", ("tp", "fp"), "predictions that are wrong, by cause"),
    ):
        left = [0.0] * len(names)
        for kind in _kinds(results, key):
            shares = []
            for result in results.values():
                total = sum(result["strict"][part] for part in whole)
                shares.append(result[key].get(kind, 0) / total if total else 0.0)
            axis.barh(rows, shares, left=left, color=colours[kind], label=kind.replace("_", " "))
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axis.set(title=name, xlim=(0, 1))
        if _kinds(results, key):
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)


def _kinds(results: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, None]:
    """The kinds of mistakes that were made, in the order in which the results have them."""
    return {kind: None for result in results.values() for kind, count in result[key].items() if count}
