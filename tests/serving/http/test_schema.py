"""The OpenAPI document against the server: generated requests, within its bounds and outside of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]

_EXAMPLES = 15


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((method.upper(), path) for path, methods in document["paths"].items() for method in methods)


def test_nothing_that_is_generated_breaks_the_server(serving: Any):
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    running = serving()
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]

        for strategy in strategies:

            @settings(
                max_examples=_EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def check(case: Any) -> None:
                case.call_and_validate(checks=checks, timeout=300)

            try:
                check()
            except schemathesis.errors.InvalidSchema:
                raise
            except Exception as error:
                # An operation without parameters cannot be asked wrongly.
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "Skipped"):
                    raise
        tried.append((operation.method.upper(), operation.path))
    with running.client() as client:
        assert sorted(tried) == operations(client.get("/openapi.json").json())
        counted = client.get("/metrics").text
    assert 'status="500"' not in counted
    asked = {
        (method, path): sum(
            float(number)
            for number in re.findall(
                rf'^recmind_requests_total{{method="{method}",route="{path}",.*}} (.*)$', counted, re.MULTILINE
            )
        )
        for method, path in tried
    }
    with_bodies = {key: n for key, n in asked.items() if key[0] == "POST" and key[1] != "/v1/reload"}
    assert with_bodies and min(with_bodies.values()) > _EXAMPLES


def test_the_document_says_what_is_bounded(api: Any):
    """Every text, list and number that a client sends has its bounds in the document."""
    document = api.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    unbounded = []
    for name, schema in schemas.items():
        if not name.endswith(("Request", "Model", "NewItem", "Interaction")):
            continue
        assert schema["additionalProperties"] is False, name
        for field, about in schema["properties"].items():
            for one in about.get("anyOf", [about]):
                limits = {"string": {"maxLength"}, "array": {"maxItems"}, "integer": {"maximum"}, "number": {"maximum"}}
                if not limits.get(one.get("type", ""), set()) <= one.keys():
                    unbounded.append((name, field))
    assert unbounded == []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            for parameter in about.get("parameters", ()):
                one = parameter["schema"].get("anyOf", [parameter["schema"]])[0]
                bounded = {"maxLength", "maximum"} & one.keys() or one.get("type") == "boolean"
                assert bounded, (method, path, parameter["name"])
