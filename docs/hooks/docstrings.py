"""Docstrings in spaCy's form, for Griffe: `arg (Type): meaning`, `RETURNS (Type): meaning` and the like."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from griffe import (
    Class,
    DocstringAttribute,
    DocstringParameter,
    DocstringRaise,
    DocstringReturn,
    DocstringSection,
    DocstringSectionAttributes,
    DocstringSectionParameters,
    DocstringSectionRaises,
    DocstringSectionReturns,
    DocstringSectionText,
    DocstringSectionYields,
    DocstringYield,
    Extension,
    Function,
    GriffeLoader,
    Object,
)
from spacy.language import Language

# An entry begins a line and ends before the next one, a blank line, or a line that is not indented after an
# indented one. Types may have brackets: "Callable[[str], (int)]".
ENTRY = re.compile(
    r"^(?P<name>[\w*][\w*.]*(?:, [\w*][\w*.]*)*) \((?P<type>(?:[^()]|\([^()]*\))+)\)(?::\s+|$)"
)


class SpacyDocstrings(Extension):
    """Parses the docstring of every object that is loaded."""

    def on_object(self, *, obj: Object, loader: GriffeLoader, **kwargs: Any) -> None:
        if obj.docstring:
            # a cached property of Griffe's, which no parser of its own replaces then
            obj.docstring.__dict__["parsed"] = sections(obj.docstring.value, obj)


def sections(docstring: str, obj: Object) -> list[DocstringSection]:
    """RETURNS (List[DocstringSection]): Text and tables, in the order of the docstring."""
    found: list[DocstringSection] = []
    for name, type_, text in entries(docstring):
        if name is None:
            found.append(DocstringSectionText(text))
            continue
        kind, element = _element(name, type_, text, obj)
        if not found or type(found[-1]) is not kind:
            found.append(kind([]))
        found[-1].value.append(element)
    return found


def entries(docstring: str) -> Iterator[tuple[str | None, str, str]]:
    """YIELDS (Tuple[Optional[str], str, str]): Name, type and meaning of an entry, or None, "" and a text."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        if not any(ENTRY.match(line) for line in paragraph.splitlines()):
            yield None, "", paragraph
            continue
        name, type_, lines = None, "", []
        for line in paragraph.splitlines():
            if match := ENTRY.match(line):
                if lines:
                    yield name, type_, "\n".join(lines)
                name, type_, lines = match["name"], match["type"], [line[match.end() :]]
            else:
                lines.append(line.strip() if name else line)
        yield name, type_, "\n".join(lines)


def _element(name: str, type_: str, text: str, obj: Object) -> tuple[type[DocstringSection], Any]:
    if name == "RETURNS":
        return DocstringSectionReturns, DocstringReturn(name="", annotation=type_, description=text)
    if name == "YIELDS":
        return DocstringSectionYields, DocstringYield(name="", annotation=type_, description=text)
    if name == "RAISES":
        return DocstringSectionRaises, DocstringRaise(annotation=type_, description=text)
    if isinstance(obj, Class):
        return DocstringSectionAttributes, DocstringAttribute(name, annotation=type_, description=text)
    value = _default(obj, name) if isinstance(obj, Function) else None
    return DocstringSectionParameters, DocstringParameter(
        name, annotation=type_, description=text, value=value
    )


def _default(function: Function, name: str) -> str | None:
    """RETURNS (Optional[str]): The default of an argument, or of the first of several.
    A factory's are those of its config; of a block, its registered name."""
    name = name.split(", ")[0]
    for decorator in function.decorators:
        if decorator.callable_path.endswith("Language.factory"):
            import_module(function.module.path)
            (factory,) = re.findall(r'factory\(\s*["\'](\w+)["\']', str(decorator.value))
            value = Language.get_factory_meta(factory).default_config.get(name, ...)
            if isinstance(value, dict):
                value = next((made for key, made in value.items() if key.startswith("@")), value)
            return None if value is ... else json.dumps(value, ensure_ascii=False)
    return next(
        (str(p.default) for p in function.parameters if p.name == name and p.default is not None), None
    )
