"""From a package or hub to a model that is ready to load; and the models that come with this package."""

from pathlib import Path

# The tagger on the source that comes with this package: a folder of `eat_token_classifier`.
SOURCE_TAGGER = Path(__file__).parent / "source_tagger"
# The English NER: a spaCy pipeline.
EN_NER = Path(__file__).parent / "en_ner"
