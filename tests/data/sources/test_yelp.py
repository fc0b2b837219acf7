from __future__ import annotations

import json
from pathlib import Path

BUSINESS = {
    "business_id": "b1",
    "name": "CK'S BBQ &amp; Catering",
    "neighborhood": "",
    "city": "Henderson",
    "state": "NV",
    "stars": 4.5,
    "review_count": 3,
    "attributes": {
        "WiFi": "u'free'",
        "GoodForKids": "True",
        "HasTV": "False",
        "BusinessParking": "{'garage': False, 'street': True, 'lot': True}",
        "RestaurantsPriceRange2": "2",
        "RestaurantsAttire": "'casual'",
    },
    "categories": "Chicken Wings, Burgers",
    "hours": None,
}
REVIEW = {"review_id": "r1", "user_id": "u1", "business_id": "b1", "stars": 4.0, "useful": 3, "text": "Good\n\nfood"}
REVIEW |= {"date": "2015-07-03 20:38:25"}
TIP = {"user_id": "u2", "business_id": "b1", "text": "Ask for extra", "date": "2013-11-26", "compliment_count": 0}
USER = {
    "user_id": "u1",
    "name": "Jane",
    "review_count": 9,
    "yelping_since": "2007-01-25 16:47:26",
    "elite": "2007,2008",
}
USER |= {"friends": "a, b", "average_stars": 3.9}


def test_business_review_tip_and_user(tmp_path: Path, read) -> None:
    for name, row in (("business", BUSINESS), ("review", REVIEW), ("tip", TIP), ("user", USER)):
        (tmp_path / f"yelp_academic_dataset_{name}.json").write_text(json.dumps(row) + "\n")
    (tmp_path / "yelp_academic_dataset_checkin.json").write_text('{"business_id":"b1","date":"2016-04-26 19:49:16"}\n')
    tables, problems = read("yelp", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [
        ("u1", "b1", 1435955905, 4.0, "Good food"),
        ("u2", "b1", 1385424000, None, "Ask for extra"),
    ]
    assert tables["items"].to_dicts() == [
        {
            "item_id": "b1",
            "title": "CK'S BBQ & Catering",
            "categories": "Chicken Wings, Burgers",
            "attributes": "Henderson, NV; wifi: free; good for kids; business parking: street, lot; "
            "price range: 2; attire: casual",
        }
    ]
    assert tables["users"].rows() == [("u1", "on Yelp since 2007; elite in 2007, 2008")]


def test_what_is_made_from_held_out_reviews_is_not_read(tmp_path: Path, read) -> None:
    paths = []
    for name, row in (("business", BUSINESS), ("review", REVIEW), ("user", USER)):
        paths.append(tmp_path / f"{name}.json")
        changed = {**row, "review_count": 777, "average_stars": 777, **({"stars": 7.77} if name == "business" else {})}
        paths[-1].write_text(json.dumps(changed) + "\n")
    tables, _ = read("yelp", *paths)
    assert "777" not in str([tables["items"].rows(), tables["users"].rows()])


def test_the_real_review_sample_ends_in_a_cut_line(read, real_data: Path) -> None:
    tables, problems = read(
        "yelp", real_data / "raw" / "yelp_business_sample", real_data / "raw" / "yelp_review_sample"
    )
    assert (tables["interactions"].height, tables["items"].height) == (3610, 249)
    assert {kind: found["count"] for kind, found in problems.as_dict().items()} == {"the last line is cut off": 1}
    (example,) = problems.as_dict()["the last line is cut off"]["examples"]
    assert "yelp_academic_dataset_review.json:3611" in example
    assert tables["interactions"]["timestamp"].null_count() == 0
