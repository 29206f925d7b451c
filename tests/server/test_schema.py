"""The API is what its schema says: requests are made from the schema, wrong ones too (schemathesis)."""

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Site

schemathesis = pytest.importorskip("schemathesis", reason="needs the extra 'dev'")

# What is not looked at, as it is no fault here:
EXCLUDED = [
    # The schema cannot say that a text has as many characters as its end less its start.
    "positive_data_acceptance",
    # One pipeline of the fixture does not load, and 503 says so. Of 500 the schema does not speak.
    "not_a_server_error",
]


@pytest.fixture
def api(serve: Callable[..., Site]) -> Any:
    client = serve(max_chars=1000).client
    config = schemathesis.Config.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": 5, "database": "none"},
            "cache": {"enabled": False},
            "phases": {"stateful": {"enabled": False}},
            "checks": {name: {"enabled": False} for name in EXCLUDED},
        }
    )
    return schemathesis.openapi.from_url(f"{client.base_url}/openapi.json", config=config)


def test_answers_are_what_the_schema_says(api: Any) -> None:
    from schemathesis.engine import events, from_schema

    faults, asked = [], set()
    for event in from_schema(api).execute():
        if isinstance(event, events.ScenarioFinished):
            for checks in event.recorder.checks.values():
                asked.add(event.recorder.label)
                faults += [str(check.failure_info.failure) for check in checks if check.failure_info]
        assert not isinstance(event, events.FatalError | events.NonFatalError), event
    assert not faults, "\n\n".join(faults)
    assert asked == {operation.ok().label for operation in api.get_all_operations()}
