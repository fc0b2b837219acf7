"""Small parts alone: rates, problems, logs, charts."""

from __future__ import annotations

import io
import json
import logging
import math
import xml.etree.ElementTree as ET

import pytest

from recmind.errors import BundleError, ConfigError, DataError, UnknownIdError
from recmind.serving.answers import Reason
from recmind.serving.http import charts, logs
from recmind.serving.http.card_view import card_view
from recmind.serving.http.limits import Rates
from recmind.serving.http.problems import KINDS, Problem, from_error, shown

# -- rates -------------------------------------------------------------------------------------------------------


def test_a_bucket_fills_at_its_rate():
    now = [0.0]
    rates = Rates(2.0, 3, clock=lambda: now[0])
    assert [rates.take("a") for _ in range(3)] == [0, 0, 0]
    assert rates.take("a") == pytest.approx(0.5)
    assert rates.take("b") == 0
    now[0] = 0.5
    assert rates.take("a") == 0 and rates.take("a") > 0
    now[0] = 100.0
    assert [rates.take("a") for _ in range(3)] == [0, 0, 0] and rates.take("a") > 0


def test_a_refused_request_takes_nothing():
    now = [0.0]
    rates = Rates(1.0, 2, clock=lambda: now[0])
    assert rates.take("a", 2) == 0
    assert all(rates.take("a") > 0 for _ in range(50))
    now[0] = 1.0
    assert rates.take("a") == 0


def test_buckets_are_bounded():
    rates = Rates(1.0, 1, clients=10, clock=lambda: 0.0)
    for number in range(1000):
        rates.take(str(number))
    assert len(rates._buckets) == 10


def test_a_rate_of_zero_limits_nothing():
    assert not any(Rates(0.0, 1).take("a") for _ in range(100))


# -- problems ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnknownIdError("there is no such user", where="user", got="bob"), "unknown-id"),
        (DataError("out of range", where="k", got=0, accepted="1 to 1000"), "invalid"),
        (ConfigError("reads no texts", where="text"), "cannot"),
        (BundleError("damaged", where="/secret/place", got="sha256"), "failed"),
    ],
)
def test_errors_of_the_recommender(error: Exception, kind: str):
    problem = from_error(error)
    assert problem.kind == kind
    content = problem.to_json()
    if kind == "failed":
        assert "/secret/place" not in json.dumps(content)
    else:
        assert content["errors"][0]["field"] == error.where


def test_every_kind_is_a_problem():
    for name, kind in KINDS.items():
        response = Problem(name).response("/below", "r1")
        content = json.loads(response.body)
        assert response.status_code == kind.status == content["status"]
        assert content["type"] == f"/below/problems#{name}" and content["detail"]


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 10**400, "x" * 1000, {"a": ["b"] * 500}, "\ud800", b"\xff", None, 1.5],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_in_bounds_and_as_json(value: object):
    text = json.dumps(shown(value), allow_nan=False)
    assert len(text) < 300


# -- logs --------------------------------------------------------------------------------------------------------


def test_an_error_is_logged_without_its_message():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logs.LOGGER.addHandler(handler)
    try:
        try:
            raise KeyError("the wish of alice")
        except KeyError as error:
            logs.event("request", level=logging.ERROR, error=error, route="/v1/recommend")
    finally:
        logs.LOGGER.removeHandler(handler)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["error"], line["route"]) == ("request", "KeyError", "/v1/recommend")
    assert "alice" not in stream.getvalue() and any("test_parts.py" in place for place in line["stack"])


# -- charts ------------------------------------------------------------------------------------------------------


def reason(**parts: float) -> Reason:
    values = {"language": 0.0, "graph": 0.0, "cross": 0.0, "popularity": 0.0, "sequence": 0.0, **parts}
    return Reason("i", sum(values.values()), own=0.0, **values)


def boxes(svg: str) -> dict[str, tuple[float, float]]:
    return {
        box.get("class", ""): (float(box.get("x", 0)), float(box.get("width", 0)))
        for box in ET.fromstring(svg).iter("rect")
    }


def test_a_bar_shows_shares_in_proportion():
    one, two = reason(language=1.0, graph=3.0), reason(graph=2.0, cross=-1.0)
    span = charts.Span.of([one, two])
    assert (span.low, span.high) == (-1.0, 4.0)
    assert boxes(charts.why_bar(one, span)) == {
        "language": (20, 20),
        "graph": (40, 60),
        "cross": (100, 0),
        "popularity": (100, 0),
        "sequence": (100, 0),
    }
    assert boxes(charts.why_bar(two, span))["cross against"] == (0, 20)
    assert "Score 4.000: language +1.000, graph +3.000" in charts.why_bar(one, span)


def test_plots_are_well_formed_and_escaped():
    plot = charts.bars({"<b>": 0.5, "0": 0.0}, 'a "title" & more')
    assert ET.fromstring(plot).get("aria-label") == 'a "title" & more'
    assert "&lt;b&gt;" in plot
    lines = ET.fromstring(charts.lines({"one": [0, 1], "two": [0.5, 0.5]}, ["a", "b"], "t"))
    assert len(list(lines.iter("polyline"))) == 2 and len(list(lines.iter("circle"))) == 4
    for svg in (plot, charts.lines({}, [], "t"), charts.bars({}, "t"), charts.share_bar(1, 0)):
        assert "style=" not in svg
        ET.fromstring(svg)


def test_a_card_without_metrics_has_a_view():
    view = card_view({"test": None, "valid": None, "strata": None, "gate": None})
    assert view == {"held": None, "metrics": None, "strata": [], "gates": []}


def test_a_card_as_the_page_shows_it():
    strata = {
        "items_degree_0": {"n": 3, "recall@20": 0.1},
        "items_degree_4_10": {"n": 2, "recall@20": 0.2},
        "items_degree_over_50": {"n": 1, "recall@20": 0.3},
    }
    gate = {
        "users": [{"degree": [0, 0], "n": 2, "mean": [0.5, 0.25]}, {"degree": [51, None], "n": 1, "mean": [0.6, 0.3]}]
    }
    view = card_view({"test": {"recall@10": 0.1, "recall@20": 0.2, "ndcg@10": 0.3}, "strata": strata, "gate": gate})
    assert view["metrics"] == {"cutoffs": [10, 20], "rows": [("Recall", [0.1, 0.2]), ("NDCG", [0.3, None])]}
    assert [row[0] for row in view["strata"][0]["rows"]] == ["0", "4–10", "51+"]
    assert view["gates"][0]["rows"] == [("0", 2, [0.5, 0.25]), ("51+", 1, [0.6, 0.3])]
