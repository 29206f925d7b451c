"""Entity-Aligned Translation (EAT) for spaCy.

Importing the package registers the attributes `doc._.eat`, `doc._.eat_translation`, `span._.eat_english`,
`span._.eat_score` and `span._.eat_status`, unless they are there, so that stored docs can be read.
"""

from .records import install_extensions

install_extensions()
