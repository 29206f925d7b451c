"""Readers for annotated and raw text, whatever format it comes in.

Every reader streams `Record`s: a text and the character offsets of its
entities. What the corpora call their labels is mapped by a schema for each, see
`spacy_eat.corpora.labels`.

What is wrong in a file is either repaired by a rule and counted, or stops the
reader with a `CorpusError` that names the file, the line and the remedy:

- repaired: an I- tag that continues no entity of its type begins one, as in
  conlleval ("repaired"); a sentence or text with nothing in it is left out
  ("empty"); of overlapping entities the longest is kept, of equally long ones
  the first ("overlapping");
- errors: anything else, such as missing columns, tags of no known form, labels
  that are not in the table, bytes that are not UTF-8, offsets outside the text.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..languages import load
from ..types import Span
from .files import CorpusError, read_docs, read_jsonl, read_lines
from .labels import Labels, label_table

# UNER's guidelines leave these out of a name; other English corpora do not.
_NOT_OF_THE_NAME = re.compile(
    r"(?:(?:the|mr|mrs|ms|miss|dr|prof|professor|president|prime minister|senator|sen|king|queen)\b\.?\s+)+",
    re.IGNORECASE,
)
# The prefixes of BIO and of its relatives BIOES, BILOU and BMES.
_TAG = re.compile(r"(?P<prefix>[BIESULM])-(?P<label>\S+)")
_BEGINS = frozenset("BSU")
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_NO_SPACE_BEFORE = re.compile(r"[.,;:!?)\]}%…”’]+|['’](?:s|re|ve|ll|d|m)|n['’]t", re.IGNORECASE)
_NO_SPACE_AFTER = re.compile(r"[(\[{$£€“‘]+")


@dataclass(frozen=True)
class Record:
    """A text of a corpus, usually a sentence.

    text (str): Not empty.
    spans (Optional[Tuple[Span, ...]]): The entities in the order of the text, without overlaps. Empty if
        there are none, None if nobody looked for them.
    id (Optional[str]): As the corpus has it.
    unknown (Tuple[Tuple[int, int], ...]): Characters, half open, of which nobody knows whether they are
        part of an entity. None of the `spans` is among them.
    """

    text: str
    spans: tuple[Span, ...] | None = None
    id: str | None = None
    unknown: tuple[tuple[int, int], ...] = ()


class _Lines:
    """The lines of a UTF-8 file, with the number of the current one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in read_lines(self.path):
            self.number = line.number
            self.check(line.error)
            yield line.text

    def check(self, error: str | None) -> None:
        """RAISES (CorpusError): If there is an error."""
        if error and "UTF-8" in error:
            remedy = (
                "Convert the file, for example with `iconv -f gb18030 -t utf-8`; if only some lines are"
                " affected, it mixes encodings"
            )
            raise self.error(error, remedy)
        if error:
            raise self.error(f"not a record ({error})", _JSONL)

    def error(self, problem: str, remedy: str) -> CorpusError:
        return CorpusError(self.path, self.number, problem, remedy)


_JSONL = 'A line is {"text": ..., "entities": [{"span": [start, end], "type": ...}]}'

# A reader of one format: lines, language, counts -> records with the labels of the corpus.
_Reader = Callable[[_Lines, str | None, Counter[str]], Iterator[Record]]


def read(
    path: str | Path,
    *,
    lang: str | None = None,
    labels: str | Labels | None = "auto",
    counts: Counter[str] | None = None,
) -> Iterator[Record]:
    """Stream the records of a corpus.

    path (Union[str, Path]): UNER .iob2, two-column BIO (.bio, .conll and others), KLUE's .tsv, .jsonl
        (Stockmark's, or spans as `start`, `end`, `label`), .spacy, or .txt with one text a line. See
        `detect_format`.
    lang (Optional[str]): Language code. It only decides how BIO columns are joined: Chinese, Japanese and
        Thai without spaces. None: by the script of the sentence.
    labels (Optional[Union[str, Mapping[str, Optional[str]]]]): What the labels become: "auto" (by the
        schema that has them), the name of a schema, or a table with None for what is no entity. A label
        that is not there is an error. If None, the labels stay as they are.
    counts (Optional[Counter]): Where what was read ("records", "entities") and repaired ("repaired",
        "empty", "overlapping") is added up.
    YIELDS (Record): The records in the order of the file.
    RAISES (CorpusError): If the file cannot be read or repaired.
    """
    path = Path(path)
    counts = Counter() if counts is None else counts
    lines = _Lines(path)
    table = None if labels is None else label_table(labels)
    for record in _READERS[detect_format(path)](lines, lang, counts):
        if not record.text.strip():
            counts["empty"] += 1
            continue
        spans = record.spans
        if spans is not None:
            if table is not None:
                spans = tuple(_relabel(spans, table, lines))
            record = replace(record, spans=_without_overlaps(spans, counts))
            counts["entities"] += len(record.spans or ())
        counts["records"] += 1
        yield record


def detect_format(path: Path) -> str:
    """Tell the format of a corpus from its name and, for column files, from its first row.

    path (Path): The file.
    RETURNS (str): "iob2", "bio", "klue", "jsonl", "spacy" or "txt".
    RAISES (CorpusError): If there is no such file, or its format is not known.
    """
    if not path.is_file():
        raise CorpusError(
            path, None, "no such file", "Check the path, or fetch it with `spacy project assets`"
        )
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".spacy", ".txt"):
        return suffix[1:]
    if suffix in (".iob2", ".iob", ".bio", ".conll", ".tsv"):
        lines = _Lines(path)
        row = next((line for line in lines if line.strip() and not line.startswith("# ")), "")
        if row.startswith("##"):
            return "klue"
        return "iob2" if re.match(r"\d+\t\S+\t[BIO]\b", row) or suffix == ".iob2" else "bio"
    raise CorpusError(
        path,
        None,
        f"unknown format '{suffix}'",
        "Name it .iob2, .bio, .conll, .jsonl, .spacy or .txt, as it is",
    )


def uner_names(record: Record) -> Record:
    """Cut English names to what UNER's guidelines take for a name: without a leading "the" or title.

    record (Record): A record of another English corpus.
    RETURNS (Record): The same with shorter spans.
    """

    def cut(span: Span) -> Span:
        match = _NOT_OF_THE_NAME.match(record.text, span.start_char, span.end_char)
        return replace(span, start_char=match.end()) if match and match.end() < span.end_char else span

    return record if record.spans is None else replace(record, spans=tuple(map(cut, record.spans)))


def to_docs(records: Iterable[Record], nlp: Language) -> Iterator[Doc]:
    """Make gold docs.

    The tokens are the tokenizer's, cut where an entity begins or ends inside of one: no entity is lost or
    moved.

    records (Iterable[Record]): The records.
    nlp (Language): Whose tokenizer to use.
    YIELDS (Doc): Docs with `doc.ents`, missing where the record has no annotation; the id is in
        `doc.user_data["id"]`.
    """
    for record in records:
        doc = nlp.make_doc(record.text)
        if record.spans is not None:
            places = [*((span.start_char, span.end_char) for span in record.spans), *record.unknown]
            doc = _cut(doc, {edge for place in places for edge in place})
            spans = [doc.char_span(span.start_char, span.end_char, label=span.label) for span in record.spans]
            unknown = [doc.char_span(start, end) for start, end in record.unknown]
            doc.set_ents(
                [span for span in spans if span is not None],
                missing=[span for span in unknown if span is not None],
                default="outside",
            )
        if record.id is not None:
            doc.user_data["id"] = record.id
        yield doc


def to_examples(records: Iterable[Record], nlp: Language) -> Iterator[Example]:
    """Make examples: a gold doc, and beside it the bare text as the pipeline tokenises it.

    records (Iterable[Record]): The records.
    nlp (Language): Whose tokenizer to use.
    YIELDS (Example): One per record.
    """
    for gold in to_docs(records, nlp):
        yield Example(nlp.make_doc(gold.text), gold)


def _read_iob2(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """UNER: rows "index, token, tag, ...", the text in `# text =`, the id in `# sent_id =`."""
    for comments, rows in _sentences(lines, counts):
        columns = _columns(rows, lines, counts, is_iob2=True)
        text = comments.get("text") or _join([token.text for token in columns], lang)
        offsets = []
        end = 0
        for line, token, _ in columns:
            start = end + len(text[end:]) - len(text[end:].lstrip())
            end = start + len(token)
            if text[start:end] != token:
                raise CorpusError(
                    lines.path,
                    line,
                    f"token '{token}' is not next in the text, '{text[start : start + 20]}' is",
                    "Make `# text =` agree with the tokens, or remove it to have them joined",
                )
            offsets.append((start, end))
        yield Record(text, _decode(columns, offsets, lines, counts), comments.get("sent_id"))


def _read_bio(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """Rows "token, tag" (the tag in the last column, as in CoNLL), empty lines between sentences."""
    for comments, rows in _sentences(lines, counts):
        columns = _columns(rows, lines, counts, is_iob2=False)
        tokens = [token.text for token in columns]
        # WikiANN puts the language before every token.
        prefix = re.match(r"[a-z]{2,3}:(?=.)", tokens[0]) if tokens else None
        if prefix and all(token.startswith(prefix[0]) for token in tokens):
            tokens = [token[len(prefix[0]) :] for token in tokens]
        text = _join(tokens, lang)
        offsets = []
        end = 0
        for token in tokens:
            start = text.index(token, end)
            end = start + len(token)
            offsets.append((start, end))
        yield Record(text, _decode(columns, offsets, lines, counts), comments.get("sent_id"))


def _read_klue(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """KLUE: rows "character, tag", spaces too; comments "## key\ttext with its entities"."""
    for is_empty, block in groupby(lines, key=lambda line: not line):
        if is_empty:
            continue
        columns, identifier = [], None
        for line in block:
            if line.startswith("##"):
                identifier = line.removeprefix("##").strip().split("\t")[0]
                continue
            character, _, tag = line.partition("\t")
            if len(character) != 1 or not tag:
                raise lines.error(
                    f"the columns are {line.split(chr(9))}",
                    "Expected a character and its tag, separated by a tab",
                )
            columns.append(_Token(lines.number, character, tag))
        if columns:
            offsets = [(i, i + 1) for i in range(len(columns))]
            text = "".join(token.text for token in columns)
            yield Record(text, _decode(columns, offsets, lines, counts), identifier)


def _read_jsonl(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """Stockmark: {"text", "entities": [{"name", "span", "type"}]}; or, as spaCy's tools write them, "spans"
    or "ents" with "start", "end" and "label"; or only {"text"}."""
    for line, data, problem in read_jsonl(lines.path):
        lines.number = line.number
        lines.check(problem)
        try:
            text = data["text"]
            entities = next((data[key] for key in ("entities", "spans", "ents") if key in data), None)
            spans = None if entities is None else tuple(_json_span(entity) for entity in entities)
            identifier = data.get("id", data.get("curid"))
            names = [entity.get("name") for entity in entities or () if isinstance(entity, dict)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise lines.error(f"not a record ({type(error).__name__}: {error})", _JSONL) from error
        if not isinstance(text, str):
            raise lines.error(f"the text is a {type(text).__name__}", "It must be a string")
        for span in spans or ():
            if not 0 <= span.start_char < span.end_char <= len(text):
                raise lines.error(
                    f"{span.place} is not within the text", "Offsets are characters, half open, from 0"
                )
        for name, span in zip(names, spans or (), strict=False):
            if name is not None and text[span.start_char : span.end_char] != name:
                raise lines.error(
                    f"{list(span.place)} is not '{name}'",
                    "Offsets are characters, half open, from 0; correct one of both",
                )
        yield Record(text, spans, None if identifier is None else str(identifier))


def _read_spacy(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """A DocBin. Docs without entity annotation have no spans."""
    for doc in read_docs(lines.path, spacy.blank("xx").vocab):
        spans = tuple(Span(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents)
        identifier = doc.user_data.get("id")
        yield Record(doc.text, spans if doc.has_annotation("ENT_IOB") else None, identifier)


def _read_txt(lines: _Lines, lang: str | None, counts: Counter[str]) -> Iterator[Record]:
    """One text a line."""
    for line in lines:
        yield Record(line.strip())


_READERS: dict[str, _Reader] = {
    "iob2": _read_iob2,
    "bio": _read_bio,
    "klue": _read_klue,
    "jsonl": _read_jsonl,
    "spacy": _read_spacy,
    "txt": _read_txt,
}

_Row = tuple[int, list[str]]


class _Token(NamedTuple):
    """A row of a column file, with its line number."""

    line: int
    text: str
    tag: str


def _sentences(lines: _Lines, counts: Counter[str]) -> Iterator[tuple[dict[str, str], list[_Row]]]:
    """Split column files at empty lines.

    YIELDS (Tuple[Dict[str, str], List[_Row]]): The comments `# key = value` of a sentence, and the line
        number and columns of its rows, at least one.
    """
    for is_empty, block in groupby(lines, key=lambda line: not line.strip()):
        if is_empty:
            continue
        comments: dict[str, str] = {}
        rows: list[_Row] = []
        for line in block:
            comment = re.match(r"#\s*([\w ]+?)\s*=(.*)", line) if "\t" not in line else None
            if comment:
                comments[comment[1]] = comment[2].strip()
            elif not rows and line.startswith("# id "):  # MultiCoNER: "# id 5239d808-...\tdomain=zh"
                comments["sent_id"] = line.split()[2]
            elif line.startswith("-DOCSTART-"):
                continue
            else:
                rows.append((lines.number, line.split("\t") if "\t" in line else line.split()))
        if rows:
            yield comments, rows
        elif "text" in comments or "sent_id" in comments:
            counts["empty"] += 1


def _columns(rows: Sequence[_Row], lines: _Lines, counts: Counter[str], *, is_iob2: bool) -> list[_Token]:
    """The tokens and tags of a sentence. An empty token without an entity is left out, and counted."""
    columns = []
    for line, row in rows:
        is_wrong = len(row) < 2 + is_iob2 or (is_iob2 and not row[0].isdigit())
        token, tag = ("", "") if is_wrong else (row[1], row[2]) if is_iob2 else (row[0], row[-1])
        if token.strip():
            columns.append(_Token(line, token, tag))
        elif tag == "O":
            counts["empty"] += 1
        else:
            form = "index, token, tag, separated by tabs" if is_iob2 else "token, tag, separated by a tab"
            raise CorpusError(
                lines.path,
                line,
                f"the columns are {row}",
                f"Expected {form}, and an empty line after a sentence",
            )
    return columns


def _decode(
    columns: Sequence[_Token], offsets: Sequence[tuple[int, int]], lines: _Lines, counts: Counter[str]
) -> tuple[Span, ...]:
    """Tags to spans. An I- tag that continues no entity of its type begins one, and is counted."""
    spans: list[Span] = []
    inside = False
    for (line, _, tag), (start, end) in zip(columns, offsets, strict=True):
        match = _TAG.fullmatch(tag)
        if not match:
            if tag not in ("O", "_", "-"):
                raise CorpusError(
                    lines.path,
                    line,
                    f"the tag is '{tag}'",
                    "Expected O, B-LABEL or I-LABEL; check the tag's column",
                )
            inside = False
            continue
        continues = inside and spans[-1].label == match["label"]
        if match["prefix"] in _BEGINS or not continues:
            counts["repaired"] += match["prefix"] not in _BEGINS
            spans.append(Span(start, end, match["label"]))
        else:
            spans[-1] = replace(spans[-1], end_char=end)
        inside = match["prefix"] not in "SUEL"
    return tuple(spans)


def _json_span(entity: Any) -> Span:
    """One entity of a JSONL record, in any of its forms."""
    if isinstance(entity, list):
        start, end, label = entity
    elif "span" in entity:
        (start, end), label = entity["span"], entity["type"]
    else:
        start, end, label = entity["start"], entity["end"], entity["label"]
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(label, str)):
        raise TypeError(f"an entity is two integers and a label, not {entity}")
    return Span(start, end, label)


def _relabel(spans: Iterable[Span], labels: Labels, lines: _Lines) -> Iterator[Span]:
    for span in spans:
        if span.label not in labels:
            raise CorpusError(
                lines.path,
                lines.number or None,
                f"no mapping for the label '{span.label}' (in the sentence before this line)",
                "Name a schema or give a table in `labels` (`spacy_eat.corpora.schemas`), or keep all labels"
                " with `labels=None`",
            )
        label = labels[span.label]
        if label is not None:
            yield replace(span, label=label)


def _without_overlaps(spans: Sequence[Span], counts: Counter[str]) -> tuple[Span, ...]:
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start_char - span.end_char, span.start_char)):
        if not any(span.overlaps(other) for other in kept):
            kept.append(span)
    counts["overlapping"] += len(spans) - len(kept)
    return tuple(sorted(kept))


def _join(tokens: Sequence[str], lang: str | None) -> str:
    """Tokens to text: without spaces in languages that have none, else as English is typeset."""
    characters = "".join(tokens)
    spaceless = 2 * len(_CJK.findall(characters)) > len(characters)
    if spaceless if lang is None else not load(lang).spaces:
        return characters
    text = tokens[0] if tokens else ""
    for before, token in pairwise(tokens):
        glued = _NO_SPACE_BEFORE.fullmatch(token) or _NO_SPACE_AFTER.fullmatch(before)
        text += token if glued else f" {token}"
    return text


def _cut(doc: Doc, edges: set[int]) -> Doc:
    """A doc of the same text whose tokens are cut at the given characters."""
    words: list[str] = []
    spaces: list[bool] = []
    for token in doc:
        cuts = sorted(
            {token.idx, token.idx + len(token), *(e for e in edges if 0 < e - token.idx < len(token))}
        )
        words.extend(doc.text[start:end] for start, end in pairwise(cuts))
        spaces.extend([False] * (len(cuts) - 2) + [bool(token.whitespace_)])
    return doc if len(words) == len(doc) else Doc(doc.vocab, words=words, spaces=spaces)
