"""A view as HTML: source and English one above the other, their entities coloured and numbered alike.

Everything that comes from a text is escaped. Control characters, and those that turn the direction of
writing, are shown by their code points and have no effect.
"""

import re
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b, sha256
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from spacy.tokens import Doc
from spacy.tokens import Span as DocSpan
from spacy.util import is_in_jupyter

from . import colours
from .colours import Colours
from .views import Mention, Sentence, View, view_of

LOW_SCORE = 0.7  # what is below is shown as doubtful, unless `options` say otherwise
DEPTH = 6  # most entities that are shown within each other; all are in the table
LONG = 50  # sentences above which only what is on the screen is laid out
PAIRS = 40  # numbers in a sentence whose pairs light up without a script

# Control characters but for tab and line feed, what changes the direction of writing, line and paragraph
# separators, the byte order mark, and surrogates, which UTF-8 cannot write.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ud800-\udfff]"
)


class Options:
    """How things are shown.

    colors (Dict[str, str]): CSS colours by label, as of displaCy.
    ents (Optional[Sequence[str]]): Labels to show, all by default, as of displaCy.
    low_score (float): Entities below it are marked as doubtful.
    groups (Optional[Sequence[str]]): Keys of the span groups to show as annotators, see `views.view_of`.
    RAISES (ValueError): If there is no such option, or a colour is none.
    """

    def __init__(
        self,
        colors: dict[str, str] | None = None,
        ents: Sequence[str] | None = None,
        low_score: float = LOW_SCORE,
        groups: Sequence[str] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise ValueError(
                f"The viewer has no option {', '.join(unknown)}: it has colors, ents, low_score, groups"
            )
        self.colours = Colours(colors)
        self.ents = ents
        self.low_score = low_score
        self.groups = groups

    def shows(self, label: str) -> bool:
        """RETURNS (bool): Whether entities with the label are shown."""
        return self.ents is None or label in self.ents


def render(
    docs: Doc | DocSpan | View | Iterable[Doc | DocSpan | View],
    *,
    page: bool = False,
    jupyter: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> str | None:
    """Docs with their English and their entities, as HTML that needs nothing else.

    docs (Union[Doc, Span, View, Iterable[Union[Doc, Span, View]]]): What to show. Without `doc._.eat` it is
        the entities alone.
    page (bool): Whether it is a whole page, or a part for one of your own.
    jupyter (Optional[bool]): Whether to display it in a notebook; None finds out.
    options (Optional[Mapping[str, Any]]): "colors", "ents", "low_score", "groups", see `Options`.
    RETURNS (Optional[str]): HTML; None where it is displayed.
    RAISES (ValueError): If an option is wrong, or something is not a doc.
    """
    chosen = Options(**(options or {}))
    items = [docs] if isinstance(docs, Doc | DocSpan | View) else list(docs)
    views = [_view(item, chosen) for item in items]
    body = "\n".join(document(view, chosen, number) for number, view in enumerate(views))
    in_notebook = is_in_jupyter() if jupyter is None else jupyter
    html = whole_page(body, "Entities", chosen) if page and not in_notebook else fragment(body, chosen)
    if in_notebook:
        from IPython.display import HTML, display

        # "tex2jax_ignore": a notebook would take dollar signs for formulas
        display(HTML(f'<span class="tex2jax_ignore">{html}</span>'))
        return None
    return html


def _view(item: Any, options: Options) -> View:
    if isinstance(item, View):
        return item
    if isinstance(item, DocSpan):
        item = item.as_doc()
    if not isinstance(item, Doc):
        raise ValueError(f"The viewer shows Doc and Span, not {type(item).__name__}")
    return view_of(item, options.groups)


# --- Around the docs ---------------------------------------------------------


@cache
def stylesheet() -> str:
    """RETURNS (str): The CSS of the view."""
    pairs = "".join(
        f'.eat-sentence:has([data-n="{n}"]:is(:hover,:focus-within)) [data-n="{n}"],' for n in range(1, PAIRS)
    )
    return f"{static('view.css')}\n{colours.css()}{pairs}.eat-on{{outline:2px solid var(--eat-ink)}}\n"


@cache
def script() -> str:
    """RETURNS (str): The script that ties pairs with a line."""
    return static("view.js")


@cache
def static(name: str) -> str:
    """RETURNS (str): A file of the folder static."""
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


def fragment(body: str, options: Options) -> str:
    """RETURNS (str): Documents with their style and script, for a page or notebook of the user's."""
    return (
        f"<style>\n{stylesheet()}{options.colours.css()}</style>\n"
        f'<div class="eat eat-fragment">\n{body}\n</div>\n<script>{script()}</script>\n'
    )


def whole_page(
    body: str, title: str, options: Options | None = None, *, css: str = "", scripts: str = ""
) -> str:
    """A page that needs nothing else, and may load nothing: its one script is allowed by its digest.

    body (str): HTML.
    title (str): Its title.
    css, scripts (str): Further rules and code.
    RETURNS (str): HTML.
    """
    code = f"{script()}{scripts}"
    digest = b64encode(sha256(code.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    style = f"{stylesheet()}{css}{options.colours.css() if options else ''}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(plain(title))}</title>
<style>
{style}</style>
</head>
<body class="eat eat-page">
<main>
{body}
</main>
<script>{code}</script>
</body>
</html>
"""


# --- Texts -------------------------------------------------------------------


def plain(text: str) -> str:
    """RETURNS (str): The text with the code points of what cannot be seen in its place, for attributes."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def shown(text: str) -> str:
    """RETURNS (str): The text as HTML. What cannot be seen is an empty element with its code point, which
    counts as one character (view.css writes it)."""

    def element(match: re.Match[str]) -> str:
        code = f"U+{ord(match[0]):04X}"
        name = unicodedata.name(match[0], code)
        return f'<span class="eat-char" data-c="{code}" title="{name}"></span>'

    return _UNSEEN.sub(element, escape(text))


def direction(text: str) -> str:
    """RETURNS (str): "rtl" where most letters are written from right to left, else "ltr"."""
    kinds = Counter(unicodedata.bidirectional(char) for char in text)
    return "rtl" if kinds["R"] + kinds["AL"] > kinds["L"] else "ltr"


# --- Marks in a text ---------------------------------------------------------


class _Mark(NamedTuple):
    """A place in a text that is marked.

    start, end (int): Characters of the text.
    attributes (str): Of the element.
    tag (str): HTML after its last character.
    """

    start: int
    end: int
    attributes: str
    tag: str


def _marked(text: str, marks: Iterable[_Mark]) -> str:
    """A text with marks, which may be empty, within each other, and across each other: one that crosses the
    end of another is continued behind it."""
    ordered = sorted(marks, key=lambda mark: (mark.start, -mark.end))
    points = sorted({point for mark in ordered for point in (mark.start, mark.end)} | {0, len(text)})
    out: list[str] = []
    stack: list[_Mark] = []
    waiting, position = 0, 0
    for point in points:
        out.append(shown(text[position:point]))
        position = point
        ending = next((depth for depth, mark in enumerate(stack) if mark.end == point), None)
        if ending is not None:
            open_, stack = stack[ending:], stack[:ending]
            for mark in reversed(open_):
                out.append(f"{mark.tag}</mark>" if mark.end == point else "</mark>")
            for mark in open_:
                if mark.end != point:
                    out.append(f"<mark {mark.attributes}>")
                    stack.append(mark)
        while waiting < len(ordered) and ordered[waiting].start == point:
            mark = ordered[waiting]
            waiting += 1
            if mark.end == point:
                out.append(f"<mark {mark.attributes}>{mark.tag}</mark>")
            elif len(stack) < DEPTH:
                out.append(f"<mark {mark.attributes}>")
                stack.append(mark)
    return "".join(out)


def marked(text: str, places: Iterable[tuple[int, int, str]], options: Options) -> str:
    """RETURNS (str): A text with labelled places, each a start, an end and a label, as HTML."""
    return _marked(
        text,
        (
            _Mark(
                max(0, start),
                min(end, len(text)),
                f'class="eat-mark {options.colours[label]}"',
                f'<span class="eat-tag" dir="ltr">{shown(label)}</span>',
            )
            for start, end, label in places
            if options.shows(label)
        ),
    )


# --- Documents ---------------------------------------------------------------


def document(view: View, options: Options, number: int = 0) -> str:
    """A doc.

    view (View): The doc.
    options (Options): How it is shown.
    number (int): Which one it is on the page.
    RETURNS (str): HTML.
    """
    title = f"<h2>{shown(view.title)}</h2>\n" if view.title else ""
    cards = "\n".join(
        sentence_card(sentence, options, f"{number}-{i}", view.lang)
        for i, sentence in enumerate(view.sentences)
    )
    empty = "" if view.sentences else '<p class="eat-quiet">An empty text.</p>'
    name = escape(plain(view.title or f"Document {number + 1}"))
    long = " eat-long" * (len(view.sentences) > LONG)
    content = f"{title}{legend(view, options)}{cards}{empty}"
    return f'<article class="eat-doc{long}" aria-label="{name}">\n{content}</article>'


def legend(view: View, options: Options) -> str:
    """RETURNS (str): The labels of a doc with their colours and counts, and what needs a look."""
    mentions = [m for s in view.sentences for m in s.mentions if options.shows(m.label)]
    labels = Counter(m.label for m in mentions if m.chosen)
    parts = [
        f'<li><span class="eat-key {options.colours[label]}">{shown(label) or "no label"}</span> {count}</li>'
        for label, count in sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    ]
    doubtful = sum(_is_low(m, options) for m in mentions)
    unaligned = sum(m.start is None for m in mentions)
    failed = sum(s.status == "failed" for s in view.sentences)
    for count, words in (
        (doubtful, f"below {options.low_score:.2f}"),
        (unaligned, "unaligned"),
        (failed, f"failed sentence{'s' * (failed != 1)}"),
    ):
        if count:
            parts.append(f'<li class="eat-notice">{count} {words}</li>')
    return f'<ul class="eat-legend">{"".join(parts)}</ul>\n' if parts else ""


def sentence_card(sentence: Sentence, options: Options, key: str, lang: str = "") -> str:
    """A sentence, its English, and the tables of its entities and annotators.

    sentence (Sentence): The sentence.
    options (Options): How it is shown.
    key (str): What tells it from the others on the page.
    lang (str): Language code of the source.
    RETURNS (str): HTML.
    """
    key = f"e{key}-{blake2b(sentence.text.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"
    mentions = [(i, m) for i, m in enumerate(sentence.mentions) if options.shows(m.label)]
    numbers = _numbers(m for _, m in mentions)
    source = _marked(
        sentence.text,
        (
            _source_mark(i, m, sentence, numbers, options, key)
            for i, m in mentions
            if m.start is not None and m.start <= sentence.end
        ),
    )
    parts = [
        f'<p class="eat-source" lang="{escape(lang)}" dir="{direction(sentence.text)}"'
        f' data-start="{sentence.start}">{source}</p>'
    ]
    if sentence.english:
        english = _marked(sentence.english, _english_marks(sentence, mentions, numbers, options, key))
        parts.append(f'<p class="eat-english" lang="en" dir="{direction(sentence.english)}">{english}</p>')
    if sentence.status == "failed" or sentence.error:
        parts.append(
            f'<p class="eat-error"><b>failed</b> {shown(sentence.error or "no reason is known")}</p>'
        )
    elif sentence.status in ("pending", "translated", "given"):
        parts.append(f'<p class="eat-quiet">{sentence.status}: its entities have not been looked for</p>')
    parts.append(_details(sentence, [m for _, m in mentions], numbers, options))
    state = escape(sentence.status or "plain")
    return (
        f'<section class="eat-sentence" data-status="{state}">\n'
        + "\n".join(filter(None, parts))
        + "\n</section>"
    )


_Numbers = dict[tuple[Any, Any, str], int]


def _numbers(mentions: Iterable[Mention]) -> _Numbers:
    """A number for each English mention that has a place in the source, in the order of the source."""
    numbers: _Numbers = {}
    for m in mentions:
        if m.start is not None and m.english_start is not None:
            numbers.setdefault(_english_key(m), len(numbers) + 1)
    return numbers


def _english_key(mention: Mention) -> tuple[Any, Any, str]:
    return mention.english_start, mention.english_end, mention.label


def _is_low(mention: Mention, options: Options) -> bool:
    return mention.score is not None and mention.score < options.low_score


def _source_mark(
    index: int, mention: Mention, sentence: Sentence, numbers: _Numbers, options: Options, key: str
) -> _Mark:
    start = max(0, (mention.start or 0) - sentence.start)
    end = max(start, min(len(sentence.text), (mention.end or 0) - sentence.start))
    number = numbers.get(_english_key(mention))
    classes = ["eat-mark", options.colours[mention.label]]
    facts = [shown(mention.label)] if mention.label else []
    if mention.score is not None:
        facts.append(f'<span class="eat-score">{mention.score:.2f}</span>')
    if mention.status not in ("", "exact"):
        facts.append(f"<i>{shown(mention.status)}</i>")
    if not mention.chosen:
        classes.append("eat-aside")
        facts.append("<i>not in ents</i>")
    if start == end:
        facts.append("<i>empty</i>")
    if _is_low(mention, options):
        classes.append("eat-low")
        facts.append('<b title="doubtful">?</b>')
    attributes = f'class="{" ".join(classes)}" data-m="{index}"'
    link = ""
    if number is not None:
        attributes += f' data-n="{number}"'
        link = f'<a class="eat-n" href="#{key}-{number}">{number}</a> '
    return _Mark(start, end, attributes, f'<span class="eat-tag" dir="ltr">{link}{" ".join(facts)}</span>')


def _english_marks(
    sentence: Sentence,
    mentions: Sequence[tuple[int, Mention]],
    numbers: _Numbers,
    options: Options,
    key: str,
) -> Iterable[_Mark]:
    seen: set[tuple[Any, Any, str]] = set()
    for index, m in sorted(mentions, key=lambda item: item[1].start is None):
        place = _english_key(m)
        if m.english_start is None or m.english_end is None or place in seen:
            continue
        seen.add(place)
        colour, label, number = options.colours[m.label], shown(m.label), numbers.get(place)
        if number is None:
            attributes = f'class="eat-mark eat-unaligned {colour}" data-m="{index}"'
            tag = f'<span class="eat-tag">{label} <i>unaligned</i></span>'
        else:
            attributes = f'class="eat-mark {colour}" data-n="{number}" id="{key}-{number}"'
            tag = f'<span class="eat-tag"><span class="eat-n">{number}</span> {label}</span>'
        yield _Mark(m.english_start, m.english_end, attributes, tag)


def _details(sentence: Sentence, mentions: Sequence[Mention], numbers: _Numbers, options: Options) -> str:
    """The table below a sentence: all that is known of each entity, and what each annotator said."""
    said: dict[tuple[int | None, int | None, str], dict[str, float | None]] = {}
    for o in sentence.opinions:
        if options.shows(o.label):
            said.setdefault((o.start, o.end, o.label), {})[o.annotator] = o.score
    known = {(m.start, m.end, m.label) for m in mentions}
    others = [Mention(*place, status="", chosen=False) for place in said if place not in known]
    rows = [*mentions, *others]
    if not rows:
        return ""
    annotators = sentence.annotators
    answers = any(m.answers for m in rows)
    header = ["", "source", "English", "label", "score", "found", *annotators, *["answered"] * answers]
    lines = []
    for m in sorted(rows, key=lambda m: (m.start is None, m.start or 0, -(m.end or 0))):
        english = (
            (sentence.english or "")[m.english_start : m.english_end] if m.english_start is not None else ""
        )
        found = [m.status] if m.status else []
        if m.start is not None and not m.chosen:
            found.append("not in ents")
        scores = said.get((m.start, m.end, m.label), {})
        cells = [
            str(numbers.get(_english_key(m), "")),
            f"<bdi>{shown(_words(sentence, m.start, m.end))}</bdi>",
            shown(english),
            f'<span class="eat-key {options.colours[m.label]}">{shown(m.label) or "no label"}</span>',
            "" if m.score is None else f"{m.score:.2f}{' ?' * _is_low(m, options)}",
            shown(", ".join(found)),
            *(_score(scores[name]) if name in scores else "" for name in annotators),
            *[f"<bdi>{shown('; '.join(map(str, m.answers)))}</bdi>"] * answers,
        ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = "".join(f'<th scope="col">{shown(name)}</th>' if name else "<td></td>" for name in header)
    counts = [(len(mentions), "entity", "entities"), (len(annotators), "annotator", "annotators")]
    summary = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
    return (
        f'<details class="eat-details"{" open" * bool(annotators)}><summary>{summary}</summary>'
        f'<div class="eat-scroll" tabindex="0" role="group" aria-label="Entities"><table>'
        f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>"
    )


def _score(score: float | None) -> str:
    return "yes" if score is None else f"{score:.2f}"


def _words(sentence: Sentence, start: int | None, end: int | None) -> str:
    if start is None or end is None:
        return ""
    return sentence.text[max(0, start - sentence.start) : max(0, end - sentence.start)]
