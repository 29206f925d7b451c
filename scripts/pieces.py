"""List the encoder's pieces that reach across words: spacy_eat/weights/e5_across_words.txt.

    python scripts/pieces.py

The vocabulary of multilingual-e5-small (XLM-R's) was cut by frequency, in scripts without spaces too, and has
pieces such as 在日本 ("in Japan") or との ("with" and "of"). A name cannot end within a piece. So pieces of
Han characters or Kana that are no word of CC-CEDICT or of Sudachi's dictionary are not read: their text is
read in smaller ones.
"""

from pathlib import Path

import regex
from wasabi import msg

from spacy_eat.corpora.dictionaries import cedict_entries
from spacy_eat.weights import e5
from spacy_eat.weights.prepare import package_file

PIECES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
HIRAGANA = regex.compile(r"\p{Hiragana}")
KATAKANA = regex.compile(r"[\p{Katakana}ー]+")


def main() -> None:
    from sudachipy import SplitMode, dictionary

    chinese = {form for entry in cedict_entries() for form in (entry.simplified, entry.traditional)}
    sudachi = dictionary.Dictionary().create(SplitMode.C)

    def is_word(piece: str) -> bool:
        if piece in chinese or KATAKANA.fullmatch(piece):
            return True
        morphemes = sudachi.tokenize(piece)
        return len(morphemes) == 1 and not morphemes[0].is_oov()

    model = e5.read_e5(package_file(e5.PACKAGE, e5.BINARY, extra=e5.EXTRA, purpose=e5.TITLE))
    pieces = {piece.lstrip("▁") for piece, _ in model.pieces}
    asked = [piece for piece in pieces if len(piece) > 1 and PIECES.search(piece)]
    found = sorted(piece for piece in asked if not is_word(piece))
    e5.ACROSS_WORDS.write_text("".join(f"{piece}\n" for piece in found), encoding="utf-8")
    msg.good(f"{len(found)} of {len(asked)} pieces: {Path(e5.ACROSS_WORDS).name}")


if __name__ == "__main__":
    main()
