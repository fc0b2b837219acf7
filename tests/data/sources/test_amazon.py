"""The three Amazon dumps, on rows written by hand in their published formats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl

REVIEW_2014 = {
    "reviewerID": "A2SUAM1J3GNN3B",
    "asin": "0000013714",
    "reviewerName": "J. McDonald",
    "helpful": [2, 3],
    "reviewText": "I bought this for my husband &amp; he loves it.\u2028Second\u0085line",
    "overall": 5.0,
    "summary": "Heavenly Highway Hymns",
    "unixReviewTime": 1252800000,
    "reviewTime": "09 13, 2009",
}
META_2014 = (
    "{'asin': u'0000013714', 'related': {'also_bought': ['B00JHONN1S', 'B002BZX8Z6']}, 'title': \"Girls' Tutu\", "
    "'price': 3.17, 'salesRank': {'Toys & Games': 211836}, 'brand': 'Coxlures', "
    "'categories': [['Sports & Outdoors', 'Other Sports', 'Dance'], ['Toys']], "
    "'description': 'Says \\'hi\\' \\u00e9'}\n"
)


def test_2014_reviews_and_python_literal_metadata(tmp_path: Path, read) -> None:
    reviews, meta = tmp_path / "reviews_Toys_5.json.gz", tmp_path / "meta_Toys.json.gz"
    reviews.write_bytes(gzip.compress((json.dumps(REVIEW_2014, ensure_ascii=False) + "\n").encode()))
    as_json = {"asin": "B2", "title": "T", "categories": [["A"]], "price": 1, "description": None}
    meta.write_bytes(gzip.compress((META_2014 + json.dumps(as_json) + "\n").encode()))
    tables, problems = read("amazon-2014", meta, reviews)
    assert problems.as_dict() == {}
    assert tables["interactions"].to_dicts() == [
        {
            "user_id": "A2SUAM1J3GNN3B",
            "item_id": "0000013714",
            "timestamp": 1252800000,
            "rating": 5.0,
            "review_text": "Heavenly Highway Hymns. I bought this for my husband & he loves it. Second line",
        }
    ]
    assert tables["items"].to_dicts() == [
        {
            "item_id": "0000013714",
            "title": "Girls' Tutu",
            "brand": "Coxlures",
            "categories": "Sports & Outdoors > Other Sports > Dance, Toys",
            "description": "Says 'hi' é",
            "price": 3.17,
        },
        {"item_id": "B2", "title": "T", "brand": None, "categories": "A", "description": None, "price": 1.0},
    ]


def test_2014_reviews_as_python_literals(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json"
    path.write_text(repr(REVIEW_2014) + "\n", encoding="utf-8")
    tables, problems = read("amazon-2014", path)
    assert (tables["interactions"]["rating"].to_list(), problems.total) == ([5.0], 0)


def test_2018_fields_debris_and_details(tmp_path: Path, read) -> None:
    review = {"overall": 4.0, "vote": "3", "verified": True, "reviewTime": "09 1, 2016", "reviewerID": "A1"}
    review |= {"asin": "B1", "style": {"Size:": " 7 oz"}, "summary": "Great!", "unixReviewTime": 1472688000}
    meta = {"category": ["Beauty", "Arts &amp; Music"], "tech1": "", "description": ["One.", "", "Two."], "fit": ""}
    meta |= {"title": '<span class="a-size-medium a-color-secondary"', "brand": "Acme", "feature": ["Soft", "Two."]}
    meta |= {"details": {"Format:": "Print Magazine", "ASIN: ": "B1"}, "main_cat": "Beauty", "asin": "B1"}
    meta |= {"price": ".a-box-inner{background-color:#fff}", "rank": "742 in Magazines ("}
    other = {"asin": "B2", "category": [], "main_cat": "Beauty", "title": "Cream", "price": "$1,299.50 - $1,400"}
    (tmp_path / "All_Beauty.json").write_text(json.dumps(review) + "\n")
    (tmp_path / "meta_All_Beauty.json").write_text(json.dumps(meta) + "\n" + json.dumps(other) + "\n")
    tables, problems = read("amazon-2018", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("A1", "B1", 1472688000, 4.0, "Great!")]
    first, second = tables["items"].to_dicts()
    assert first == {
        "item_id": "B1",
        "title": None,
        "brand": "Acme",
        "categories": "Beauty > Arts & Music",
        "attributes": "Format: Print Magazine",
        "description": "One. Two. Soft Two.",
        "price": None,
    }
    assert (second["title"], second["categories"], second["price"]) == ("Cream", "Beauty", 1299.5)


def test_2023_parent_asin_features_and_milliseconds(tmp_path: Path, read) -> None:
    review = {
        "rating": 5.0,
        "title": "Such a lovely scent",
        "text": "Nice.<br />Buy",
        "images": [],
        "asin": "B00YQ6X8EO",
    }
    review |= {"parent_asin": "B0PARENT", "user_id": "AGKHLE", "timestamp": 1588687728923, "helpful_vote": 0}
    meta = {"main_category": "All Beauty", "title": "Howard Hair", "average_rating": 4.8, "features": ["A", "B"]}
    meta |= {"description": ["D"], "price": None, "images": [], "store": "Howard Products", "categories": []}
    meta |= {"details": {"Brand": "Howard", "Color": "Red", "UPC": "617390882781"}, "parent_asin": "B0PARENT"}
    (tmp_path / "All_Beauty.jsonl.gz").write_bytes(gzip.compress((json.dumps(review) + "\n").encode()))
    (tmp_path / "meta_All_Beauty.jsonl").write_text(json.dumps(meta) + "\n")
    tables, problems = read("amazon-2023", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("AGKHLE", "B0PARENT", 1588687728, 5.0, "Such a lovely scent. Nice. Buy")]
    assert tables["items"].to_dicts() == [
        {
            "item_id": "B0PARENT",
            "title": "Howard Hair",
            "brand": "Howard",
            "categories": "All Beauty",
            "attributes": "Color: Red",
            "description": "D A B",
        }
    ]


def test_real_magazine_pair(read, real_data: Path) -> None:
    tables, problems = read("amazon-2018", real_data / "raw" / "amazon2018_magazine_subscriptions")
    events, items = tables["interactions"], tables["items"]
    assert (events.height, items.height, problems.total) == (2375, 3385, 0)
    texts = items.select(pl.col("title", "brand", "categories", "description")).unpivot()["value"].drop_nulls()
    assert not texts.str.contains(r"&amp;|&#\d|</?(?:span|br|div|a)\b").any()
    # 348 users and 157 items, as published with the sample.
    assert (events["user_id"].n_unique(), events["item_id"].n_unique()) == (348, 157)
    assert items["title"].drop_nulls().str.contains("a-size-medium").sum() == 0


def test_real_2014_metadata(read, tmp_path: Path, real_data: Path) -> None:
    reviews = tmp_path / "r.json"
    reviews.write_text(json.dumps(REVIEW_2014) + "\n")
    tables, _ = read("amazon-2014", real_data / "raw" / "amazon2014_movies_meta", reviews)
    items = tables["items"]
    assert items.height == 3658
    assert items["title"].null_count() == 1029
    assert items["price"].null_count() == 41
    assert items.filter(pl.col("item_id") == "0310263662")["description"][0].startswith("From Academy Award®-winning")
