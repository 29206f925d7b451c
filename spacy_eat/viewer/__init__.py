"""See annotated docs: `render` in displaCy's manner, the evaluation report, and the web page.

The room reads only what stands on a `Doc`: `doc._.eat`, `doc.ents`, and the span groups of annotators.
"""

from .markup import render
from .views import Mention, Opinion, Sentence, View, view_of

__all__ = ["Mention", "Opinion", "Sentence", "View", "render", "view_of"]
