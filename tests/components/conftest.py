"""A tiny tagger on the source."""

import pytest

from ..bert import han_tagger


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """See `han_tagger`."""
    return han_tagger(tmp_path_factory.mktemp("tagger"))
