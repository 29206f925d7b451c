"""What pages have from the code itself.

`<!-- registered: GROUP -->` becomes the reference of all functions under an entry point group,
`<!-- commands -->` the help of all commands, `<!-- cards -->` the cards of all weights.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called by MkDocs for each page."""
    markdown = re.sub(
        r"^<!-- registered: (\w+) -->$", lambda m: registered(m[1]), markdown, flags=re.MULTILINE
    )
    markdown = re.sub(r"^<!-- commands -->$", lambda m: commands(), markdown, flags=re.MULTILINE)
    return re.sub(r"^<!-- cards -->$", lambda m: cards(), markdown, flags=re.MULTILINE)


def registered(group: str) -> str:
    """RETURNS (str): The name as a heading and the function's docstring, for each entry point of a group."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = project["entry-points"][group]
    options = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
    return "\n".join(
        f"## {name}\n\n::: {place.replace(':', '.')}\n{options}" for name, place in points.items()
    )


def commands() -> str:
    """RETURNS (str): A heading and the help of each command, as the terminal shows it."""
    from click import Context
    from typer.main import get_command

    from spacy_eat.cli import app

    group = get_command(app)
    parts = []
    for name, command in group.commands.items():
        context = Context(command, info_name=f"python -m spacy eat {name}", max_content_width=100)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def cards() -> str:
    """RETURNS (str): The card of each folder of weights, with its front matter as a table."""
    parts = []
    for path in sorted((ROOT / "spacy_eat" / "weights").glob("*/README.md")):
        _, matter, text = path.read_text(encoding="utf-8").split("---\n", 2)
        title, body = re.sub(r"^#", "##", text.strip(), flags=re.MULTILINE).split("\n", 1)
        facts = {"folder": f"`spacy_eat/weights/{path.parent.name}`", **yaml.safe_load(matter)}
        rows = [
            f"| {key.replace('_', ' ')} | {', '.join(value) if isinstance(value, list) else value} |"
            for key, value in facts.items()
        ]
        table = "\n".join(["| | |", "| --- | --- |", *rows])
        parts.append(f"{title}\n\n{table}\n{body}\n")
    return "\n".join(parts)
