"""What `evaluate` found, for people."""

from collections.abc import Mapping
from typing import Any

from .mistakes import LOST, SPURIOUS
from .tables import table


def report(result: Mapping[str, Any], examples: int = 0) -> str:
    """The result of `evaluate` for people.

    result (Mapping[str, Any]): What `evaluate` returned.
    examples (int): Mistakes of each kind to show.
    RETURNS (str): Tables.
    """
    strict = {**result["labels"], "all": result["strict"], "all, label ignored": result["unlabelled"]}
    rows: list[list[object]] = [
        [name, s["p"], s["r"], s["f"], s["tp"] + s["fn"], s["tp"] + s["fp"], s["tp"]]
        for name, s in strict.items()
    ]
    header = ["strict entities", "P", "R", "F1", "gold", "predicted", "right"]
    parts = [table(rows, header, right=header[1:])]

    parts.append(table(facts(result), ["", "", ""]))

    trust = result.get("confidence")
    if trust:
        rows = [[f"{b['score']:.2f}", b["right"], b["count"]] for b in trust["bins"]]
        header = ["mean eat_score", "right words", "entities"]
        parts.append(
            table([*rows, ["expected calibration error", trust["ece"], ""]], header, right=header[1:])
        )
        rows = [[t["min_score"], t["p"], t["r"], t["f"]] for t in trust["thresholds"]]
        header = ["min_score", "P", "R", "F1"]
        parts.append(table(rows, header, right=header))

    for key, kinds in (("lost", LOST), ("spurious", SPURIOUS)):
        total = sum(result[key].values())
        counts = [(kind, n, n / total, kinds[kind]) for kind, n in result[key].items() if n]
        header = [f"{key} entities", "count", "share", "why"]
        parts.append(table([*counts, ("all", total, None, "")], header, right=header[1:3]))
        for kind in kinds:
            for m in [m for m in result["mistakes"][key] if m["kind"] == kind][:examples]:
                parts.append(f"\n{kind}: {m['text']} ({m['label']})")
                parts += [f" | {m['instead']}"] if m["instead"] else []
                parts += [f"\n  {text}" for text in (m["source"], m["english"]) if text]
        parts += ["\n"] if examples else []
    return "".join(parts)


def facts(result: Mapping[str, Any]) -> list[tuple[str, object, str]]:
    """What else there is to say of a run.

    result (Mapping[str, Any]): What `evaluate` returned.
    RETURNS (List[Tuple[str, object, str]]): What, how much, and a remark.
    """
    chance, compared = result["interval"], result.get("compared")
    paper, coverage, speed = result["paper_characters"], result["coverage"], result["speed"]
    kept, usage = result["names_kept"], result["usage"]
    skipped = f"skips {paper['skipped']} docs without gold"
    found: list[tuple[str, object, str]] = []
    if chance["low"] is not None:
        bounds = f"{chance['low']:.3f} to {chance['high']:.3f}"
        found.append((f"strict F1, {chance['level']:.0%} interval", bounds, "docs drawn anew"))
    if compared:
        bounds = f"{compared['low']:+.3f} to {compared['high']:+.3f}"
        better = f"better in {compared['better']:.0%} of the draws"
        found.append(
            (
                f"strict F1, against {compared['other']}",
                f"{compared['difference']:+.3f}",
                f"{bounds}, {better}",
            )
        )
    found += [
        ("paper's character F1, micro", paper["micro"], skipped),
        ("paper's character F1, macro", paper["macro"], ""),
        ("paper's character F1, weighted", paper["weighted"], ""),
    ]
    if coverage["sentences"]:
        share = f"{coverage['annotated']} of {coverage['sentences']} sentences"
        found.append(("coverage", coverage["share"], share))
        requests = f"{speed['requests']} in all"
        found.append(("LLM requests per sentence", speed["requests_per_sentence"], requests))
    found.append(("seconds per sentence", speed["seconds_per_sentence"], f"{speed['seconds']:.1f} in all"))
    for change, count in result["boundaries"].items():
        found.append((f"entities off token boundaries: {change}", count, ""))
    if kept:
        found.append(("English names kept", kept["share"], f"{kept['kept']} of {kept['names']}"))
    if usage["prompt_tokens"]:
        found.append(("prompt tokens", usage["prompt_tokens"], f"{usage['cached']} requests from the cache"))
        found.append(("completion tokens", usage["completion_tokens"], f"cost {usage['cost']:.4f}"))
    return found
