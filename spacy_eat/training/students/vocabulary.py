"""A tagger with the pieces of a few languages: two thirds of a multilingual encoder are the vectors of pieces
that a text in these languages never has.

What is cut is self-contained: all weights in fp16, a tokenizer of its own, and no need of the encoder that it
was trained on.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import spacy

from ...components.token_classifier import TokenClassifier


def cut_vocabulary(
    tagger: str | Path, texts: Iterable[str], output: str | Path, *, min_count: int = 1
) -> tuple[int, int]:
    """Write a tagger with those pieces of its vocabulary that texts have.

    Pieces of one character stay, so that any text in the scripts of the encoder can be read, and of what is
    read in smaller pieces now the parts are there. Where all pieces of a text are kept, the tagger finds what
    it found before.

    tagger (Union[str, Path]): Folder of an `eat_token_classifier` on an encoder with a unigram vocabulary
        (XLM-R and its kin).
    texts (Iterable[str]): Raw text of the languages.
    output (Union[str, Path]): Folder for the new one.
    min_count (int): Pieces that the texts have less often are cut.
    RETURNS (Tuple[int, int]): How many pieces there were and are.
    RAISES (ValueError): If the vocabulary is of another kind, or there are no texts.
    """
    classifier = TokenClassifier(spacy.blank("xx").vocab).from_disk(tagger)
    tokenizer = classifier.tokenizer
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    if settings["model"]["type"] != "Unigram":
        raise ValueError(
            f"The vocabulary of {tagger} is of the kind {settings['model']['type']}; only unigram"
            " vocabularies, as XLM-R has one, can be cut."
        )
    counts = _counts(tokenizer, texts)
    if not counts:
        raise ValueError("There are no texts to count pieces in.")
    pieces: list[tuple[str, float]] = settings["model"]["vocab"]
    special = set(tokenizer.all_special_ids)
    kept = [
        i
        for i, (piece, _) in enumerate(pieces)
        if i in special or counts[i] >= min_count or len(piece.lstrip("▁")) <= 1
    ]
    classifier.cut_vocabulary(_cut(tokenizer, settings, kept), kept)
    classifier.to_disk(output)
    return len(pieces), len(kept)


def _counts(tokenizer: Any, texts: Iterable[str]) -> Counter[int]:
    """How often each piece is read."""
    counts: Counter[int] = Counter()
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == 1000:
            counts.update(i for ids in _ids(tokenizer, batch) for i in ids)
            batch = []
    counts.update(i for ids in _ids(tokenizer, batch) for i in ids)
    return counts


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(list(texts))]


def _cut(tokenizer: Any, settings: dict[str, Any], kept: Sequence[int]) -> Any:
    """The tokenizer with some of its pieces, numbered anew. settings (Dict[str, Any]): Its JSON."""
    from tokenizers import Tokenizer

    new = {old: i for i, old in enumerate(kept)}
    model = settings["model"]
    model["vocab"] = [model["vocab"][old] for old in kept]
    model["unk_id"] = new[model["unk_id"]]
    for token in settings["added_tokens"]:
        token["id"] = new[token["id"]]
    for token in (settings["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [new[old] for old in token["ids"]]
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return type(tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(settings)),
        model_max_length=tokenizer.model_max_length,
        **names,
    )
