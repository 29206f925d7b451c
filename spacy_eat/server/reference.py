"""The API's schema as a page without a script: what can be asked, and what is answered.

Swagger UI and its like write HTML and styles into their page, which the server's policy does not allow.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

Schema = Mapping[str, Any]

BOUNDS = {"minimum": "from", "maximum": "to", "exclusiveMaximum": "below", "minItems": "of", "maxItems": "to"}


def reference(schema: Schema) -> str:
    """RETURNS (str): What reference.html has of an OpenAPI schema of FastAPI's, as HTML."""
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    shared = set.intersection(*(set(_refusals(o)) for o in operations.values()))
    links = (f'<li><a href="#{_anchor(name)}">{_code(name)}</a></li>' for name in operations)
    parts = [
        _prose(schema["info"]["description"]),
        '<p>The same <a href="openapi.json">as OpenAPI</a>. <a href="./">The page for texts</a>.</p>',
        f'<nav aria-label="Requests"><ul>{"".join(links)}</ul></nav>',
        *(_operation(name, operation, shared) for name, operation in operations.items()),
        '<h2 id="refusals">Any request</h2>',
        _table(("answer", "when"), sorted(shared)),
        "<h2>Values</h2>",
        *(_model(name, model) for name, model in sorted(schema["components"]["schemas"].items())),
    ]
    return "\n".join(parts)


def _refusals(operation: Schema) -> Iterator[tuple[str, str]]:
    for status, answer in operation["responses"].items():
        if status >= "4":
            yield status, escape(answer["description"])


def _operation(name: str, operation: Schema, shared: set[tuple[str, str]]) -> str:
    given = [(_code(p["name"]), _type(p["schema"])) for p in operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {})
    given += [(f"body, {escape(kind)}", _type(media["schema"])) for kind, media in body.items()]
    answers = [
        (status, escape(answer["description"]), "<br>".join(_contents(answer.get("content", {}))))
        for status, answer in sorted(operation["responses"].items())
        if (status, escape(answer["description"])) not in shared
    ]
    token = "<p>It needs the header <code>Authorization: Bearer TOKEN</code>.</p>"
    return (
        f'<section><h2 id="{_anchor(name)}">{_code(name)}</h2>{_prose(operation["description"])}'
        f"{token if 'security' in operation else ''}{_table(('given', 'what'), given) if given else ''}"
        f"{_table(('answer', 'when', 'what'), answers)}</section>"
    )


def _contents(content: Schema) -> Iterator[str]:
    for kind, media in content.items():
        for event in media.get("itemSchema", {}).get("oneOf", ()):
            name, data = event["properties"]["event"]["const"], event["properties"]["data"]
            yield f"{_code(f'event: {name}')} {_type(data['contentSchema'])}"
        if "itemSchema" not in media:
            yield _type(media["schema"]) if media.get("schema") else escape(kind)


def _model(name: str, model: Schema) -> str:
    rows = [
        (
            _code(field),
            _type(kind) + ", optional" * (field not in model.get("required", ())),
            _inline(kind.get("description", "")),
        )
        for field, kind in model["properties"].items()
    ]
    table = _table(("field", "what", ""), rows)
    return f'<section><h3 id="{name}">{name}</h3>{_prose(model["description"])}{table}</section>'


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(_code(f'"{value}"') for value in schema["enum"])
    bounds = "".join(f" {word} {schema[key]:,}" for key, word in BOUNDS.items() if key in schema)
    longest = f", {schema['maxLength']} characters at most" if "maxLength" in schema else ""
    return f"{schema['type']}{bounds}{longest}" + (
        f" of {_type(schema['items'])}" if "items" in schema else ""
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="eat-scroll" tabindex="0" role="group" aria-label="{names[0]}">{table}</div>'


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n"))


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()
