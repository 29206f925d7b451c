"""The pipeline's work on gold sentences, recorded link by link, and replayed without an LLM.

    python -m benchmarks.chains record GOLD OUT.jsonl       ask the embedded LLM; continues a file
    python -m benchmarks.chains replay                      do the stored answers still give the stored spans?
    python -m benchmarks.chains replay --update             store the spans that they give now
    python -m benchmarks.chains pack DIR                    store the answers of recorded chains anew

A chain has the text, the gold spans, `doc._.eat` (the English, its entities, the answers with their
log-probabilities) and the entities. `replay` goes from the answers to the entities again: all that the rules
of `alignment` decide. The stored chains (`tests/alignment/replay.jsonl.gz`) hold neither texts nor gold: a
text is known by its checksum, and read from the development data.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import spacy
import typer
from spacy.language import Language
from wasabi import msg

from spacy_eat.alignment.llm import MAX_PLACES, to_options
from spacy_eat.alignment.resolve import resolve
from spacy_eat.components.placement import place
from spacy_eat.corpora import read
from spacy_eat.llm.prompts import Candidate
from spacy_eat.records import install_extensions, new_record, set_entities
from spacy_eat.types import Aligner, EntityRecord, Sentence, Span, Text
from tests.conftest import DATA

SETS = {
    "zh_pud_half": "zh_pud_half.iob2",
    "zh_gsdsimp_dev": "zh_gsdsimp_dev.iob2",
    "ja_stockmark_dev": "ja_stockmark_dev.jsonl",
    "ja_gsd_dev": "ja_gsd_dev.bio",
}
STORED = Path(__file__).parents[1] / "tests" / "alignment" / "replay.jsonl.gz"
KEPT = 300  # stored sentences of a set

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


def replay(
    sentences: Sequence[Mapping[str, Any]],
    text: Text,
    min_score: float = 0.0,
    aligner: Aligner | None = None,
) -> list[Span]:
    """The entities of a text, from the answers on.

    sentences (Sequence[Mapping]): As `doc._.eat["sentences"]`.
    text (Text): The text.
    min_score (float): Of the entity aligner.
    aligner (Optional[Aligner]): Asked in the place of the LLM, whose answers are not looked at then.
    RETURNS (List[Span]): As in `doc.ents`, with their scores.
    """
    doc = _blank(text.lang).make_doc(text.string)
    record = new_record(
        [(s["start_char"], s["end_char"]) for s in sentences], [s["english"] for s in sentences]
    )
    doc._.eat = record
    for old, new in zip(sentences, record["sentences"], strict=True):
        mentions: dict[Span, EntityRecord] = {}
        for entity in old["entities"]:  # further ones with the same English are repeats, found anew
            certain = entity.get("english_score", 1.0)  # not in chains that were stored before 0.2
            place_of = (entity["english_start"], entity["english_end"])
            mentions.setdefault(Span(*place_of, entity["label"], certain), entity)
        source = Text(text.string[old["start_char"] : old["end_char"]], text.lang)
        sentence = Sentence(source, Text(old["english"] or "", "en"), list(mentions))
        limit = min(len(mentions) + 4, MAX_PLACES)
        options: Any = [
            to_options(source, e["text"], map(Candidate, e["answers"], e["logprobs"]), limit=limit)
            for e in mentions.values()
        ]
        if aligner is not None and mentions:
            (options,) = aligner([sentence])
        resolved = resolve(sentence, options, min_score=min_score)
        set_entities(new, sentence.entities, options, resolved.spans, resolved.repeats)
    place(doc, [entity for new in record["sentences"] for entity in new["entities"]])
    return [Span(e.start_char, e.end_char, e.label_, score=e._.eat_score) for e in doc.ents]


@cache
def _blank(lang: str) -> Language:
    """A pipeline whose tokens are characters, so that any span is on their boundaries."""
    install_extensions()
    tokenizer = {"@tokenizers": "spacy_eat.ClusterTokenizer.v1"}
    return spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}})


class Stored(NamedTuple):
    """A chain as it is stored.

    corpus (str): A key of `SETS`. Its first two letters are the language.
    checksum (str): Of the text.
    sentences (List[Dict]): Of `doc._.eat`, without what is found from the answers.
    entities (List[Tuple[int, int, str, float]]): Start, end, label, score.
    """

    corpus: str
    checksum: str
    sentences: list[dict[str, Any]]
    entities: list[tuple[int, int, str, float]]

    def replayed(self, text: str) -> "Stored":
        """RETURNS (Stored): The chain with the entities that its answers give now."""
        spans = replay(self.sentences, Text(text, self.corpus[:2]))
        return self._replace(entities=[(*span.place, span.label, round(span.score, 4)) for span in spans])

    def differs(self, other: "Stored") -> bool:
        """RETURNS (bool): Whether a span or a label is another, or a score by more than a thousandth."""
        return [e[:3] for e in self.entities] != [e[:3] for e in other.entities] or any(
            abs(mine[3] - yours[3]) > 1e-3 for mine, yours in zip(self.entities, other.entities, strict=True)
        )


def load(path: Path = STORED) -> list[Stored]:
    """RETURNS (List[Stored]): The stored chains."""
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [
            Stored(corpus, checksum, sentences, [tuple(e) for e in entities])
            for corpus, checksum, sentences, entities in map(json.loads, file)
        ]


def save(chains: Iterable[Stored], path: Path = STORED) -> None:
    """Write chains; the same ones always give the same file."""
    lines = "".join(json.dumps(chain, ensure_ascii=False, separators=(",", ":")) + "\n" for chain in chains)
    path.write_bytes(gzip.compress(lines.encode("utf8"), mtime=0))


def texts(data: Path) -> dict[str, str]:
    """RETURNS (Dict[str, str]): The texts of the development data by their checksums."""
    return {
        checksum(record.text): record.text
        for corpus, file in SETS.items()
        for record in read(data / "gold" / file, labels=None, lang=corpus[:2])
    }


def checksum(text: str) -> str:
    """RETURNS (str): What a text is known by."""
    return hashlib.sha256(text.encode("utf8", "surrogatepass")).hexdigest()


def recorded(path: Path) -> Iterator[dict[str, Any]]:
    """YIELDS (Dict[str, Any]): The chains of a recorded file: text, gold, eat, ents."""
    with path.open(encoding="utf8") as file:
        yield from map(json.loads, file)


@app.command()
def record(gold: Path, out: Path, lang: str = "", limit: int = 0, batch: int = 32) -> None:
    """Run the embedded LLM over a gold file, without encoder and tagger on the source. Continues a file.

    gold: An annotated file, of any format that `evaluate` reads.
    out: Where to write, JSONL.
    lang: Language code; the file name's first two letters if not given.
    limit: So many sentences only; 0 for all.
    batch: Sentences at once.
    """
    lang = lang or gold.name[:2]
    nlp = spacy.blank(lang)
    nlp.add_pipe("eat_translator")
    nlp.add_pipe("eat_entity_aligner", config={"aligner": {"first": None}, "source_tagger": None})
    rows = list(read(gold, lang=lang))[: limit or None]
    done = sum(1 for _ in recorded(out)) if out.exists() else 0
    with out.open("a", encoding="utf8") as file:
        for start in range(done, len(rows), batch):
            part = rows[start : start + batch]
            for row, doc in zip(part, nlp.pipe([row.text for row in part]), strict=True):
                chain = {
                    "text": doc.text,
                    "gold": [[*span.place, span.label] for span in row.spans or ()],
                    "eat": doc._.eat,
                    "ents": [[e.start_char, e.end_char, e.label_, e._.eat_score] for e in doc.ents],
                }
                file.write(json.dumps(chain, ensure_ascii=False) + "\n")
            file.flush()
            msg.info(f"{out.name}: {start + len(part)} of {len(rows)}")


@app.command(name="replay")
def replay_command(update: bool = False, data: Path = DATA, show: int = 10) -> None:
    """Say which stored chains give other entities now.

    update: Store what they give now. Say why in the commit.
    data: The development data.
    show: So many differences are shown.
    """
    known = texts(data)
    before = load()
    after = [chain.replayed(known[chain.checksum]) for chain in before]
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a.differs(b)]
    for old, new in changed[:show]:
        text = known[old.checksum]
        lost, gained = (
            ", ".join(f"{text[e[0] : e[1]]} {e[2]} {e[3]:.3f}" for e in a.entities if e not in b.entities)
            for a, b in ((old, new), (new, old))
        )
        msg.text(f"{old.corpus}: {lost or '-'} → {gained or '-'}   ({text})")
    if update:
        save(after)
    msg.info(f"{len(changed)} of {len(before)} chains differ{', now stored' if update else ''}")
    if changed and not update:
        raise typer.Exit(1)


@app.command()
def pack(chains: Path) -> None:
    """Store the first sentences of recorded chains, with the entities as they were recorded.

    chains: A folder with files as `record` makes them, named like the sets. Sets without one are kept.
    """
    stored = load() if STORED.exists() else []
    for corpus in SETS:
        if (path := chains / f"{corpus}.jsonl").exists():
            stored = [chain for chain in stored if chain.corpus != corpus]
            for chain in islice(recorded(path), KEPT):
                sentences = [_compact(sentence) for sentence in chain["eat"]["sentences"]]
                entities = [(start, end, label, score) for start, end, label, score in chain["ents"]]
                stored.append(Stored(corpus, checksum(chain["text"]), sentences, entities))
    save(stored)
    msg.good(f"{len(stored)} chains in {STORED} ({STORED.stat().st_size // 1024} KB)")


def _compact(sentence: Mapping[str, Any]) -> dict[str, Any]:
    """A sentence without what is found from its answers, logarithms to five decimals."""
    kept = {key: sentence[key] for key in ("start_char", "end_char", "english")}
    keys = ("text", "label", "english_start", "english_end", "english_score", "answers")
    kept["entities"] = [
        {key: entity[key] for key in keys}
        | {"logprobs": [None if x is None else round(x, 5) for x in entity["logprobs"]]}
        for entity in sentence["entities"]
    ]
    return kept


if __name__ == "__main__":
    app()
