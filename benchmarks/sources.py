"""How fast raw files are read, on one thread, and in how much memory.

Generates a file of the given size, reads it as `recmind prepare` does (parse,
check, clean, write typed Parquet parts), and prints uncompressed MB/s and the
peak memory of the process. With `--whole` the entire preparation is measured,
filtering and writing of the dataset included.

    python benchmarks/sources.py --format amazon-2018-reviews --mb 200
    python benchmarks/sources.py --all --mb 100
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TEXT = (
    "the a of and very nice good smell colour bought this for my wife it works as told but price &amp; size "
    "<br />not &#34;great&#34; love again café don't buy cheap strong light 7\" long battery shipping fast"
)
WORDS = _TEXT.split()

FORMATS = {
    "amazon-2014-literals": ("amazon-2014", "meta_generated.json"),
    "amazon-2018-reviews": ("amazon-2018", "Generated_5.json"),
    "amazon-2018-meta": ("amazon-2018", "meta_generated.json"),
    "amazon-2023-reviews": ("amazon-2023", "Generated.jsonl"),
    "amazon-2023-meta": ("amazon-2023", "meta_Generated.jsonl"),
    "yelp-reviews": ("yelp", "yelp_academic_dataset_review.json"),
    "yelp-businesses": ("yelp", "yelp_academic_dataset_business.json"),
    "table-csv": ("table", "interactions.csv"),
}


def prose(rng: random.Random, n: int) -> str:
    return " ".join(rng.choices(WORDS, k=n))


def line_of(kind: str, rng: random.Random, number: int) -> str:
    user, item = f"A{rng.randrange(10**6):08d}", f"B{rng.randrange(10**5):08d}"
    match kind:
        case "amazon-2014-literals":
            related = {"also_bought": [f"B{rng.randrange(10**9):09d}" for _ in range(60)]}
            row = {"asin": f"B{number:08d}", "related": related, "title": prose(rng, 7), "price": 9.99, "brand": "Acme"}
            row |= {"categories": [["Beauty", "Hair", prose(rng, 1)]], "description": prose(rng, 60)}
            return repr(row)
        case "amazon-2018-reviews":
            row = {"overall": 5.0, "verified": True, "reviewTime": "09 1, 2016", "reviewerID": user, "asin": item}
            row |= {"style": {"Size:": " 7 oz"}, "reviewerName": "A B", "reviewText": prose(rng, rng.randint(3, 120))}
            row |= {"summary": prose(rng, 3), "unixReviewTime": 1472688000 + number}
        case "amazon-2018-meta":
            row = {"category": ["Beauty", "Hair", prose(rng, 1)], "tech1": "", "description": [prose(rng, 60)]}
            row |= {"title": prose(rng, 8), "also_buy": [f"B{rng.randrange(10**9):09d}" for _ in range(40)]}
            row |= {"brand": "Acme", "feature": [prose(rng, 9) for _ in range(4)], "asin": f"B{number:08d}"}
            row |= {"details": {"Publisher:": prose(rng, 2), "ASIN: ": item}, "main_cat": "Beauty", "price": "$9.99"}
        case "amazon-2023-reviews":
            row = {"rating": 5.0, "title": prose(rng, 3), "text": prose(rng, rng.randint(3, 120)), "images": []}
            row |= {"asin": item, "parent_asin": item, "user_id": user, "timestamp": 1588687728923 + number}
            row |= {"helpful_vote": 0, "verified_purchase": True}
        case "amazon-2023-meta":
            row = {"main_category": "All Beauty", "title": prose(rng, 8), "average_rating": 4.8, "rating_number": 10}
            row |= {"features": [prose(rng, 9) for _ in range(4)], "description": [prose(rng, 50)], "price": 9.99}
            row |= {"images": [{"thumb": "https://m.media-amazon.com/images/I/41.jpg"}], "store": "Acme"}
            row |= {"details": {"Brand": "Acme", "Color": prose(rng, 1)}, "parent_asin": f"B{number:08d}"}
            row |= {"categories": ["Beauty", prose(rng, 1)]}
        case "yelp-reviews":
            row = {"review_id": f"r{number:021d}", "user_id": user, "business_id": item, "stars": 4.0, "useful": 3}
            row |= {"text": prose(rng, rng.randint(20, 200)), "date": "2015-07-03 20:38:25"}
        case "yelp-businesses":
            row = {"business_id": f"b{number:021d}", "name": prose(rng, 3), "city": "Calgary", "state": "AB"}
            row |= {"attributes": {"BikeParking": "False", "BusinessParking": "{'garage': False, 'street': True}"}}
            row |= {"stars": 4.0, "review_count": 24, "categories": "Pizza, Restaurants, Food"}
        case _:
            quoted = prose(rng, rng.randint(3, 60)).replace('"', '""')
            return f'{user},{item},{rng.randint(1, 5)},{1472688000 + number},"{quoted}"'
    return json.dumps(row)


def generate(kind: str, path: Path, megabytes: float) -> int:
    """Write a file of the given kind and size; a block of lines is varied by its ids only where size matters."""
    rng, written, number = random.Random(0), 0, 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        if kind == "table-csv":
            written += out.write("user_id,item_id,rating,timestamp,review_text\n")
        while written < megabytes * 1e6:
            written += out.write(line_of(kind, rng, number) + "\n")
            number += 1
    return path.stat().st_size


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, path: Path, whole: bool) -> dict:
    """Read ``path`` in this process: MB/s and the growth of its peak memory."""
    from recmind.data.prepare import prepare
    from recmind.data.sources import get_source
    from recmind.data.sources.inputs import Input
    from recmind.data.sources.parts import Parts, read_into
    from recmind.data.sources.problems import Problems

    source, before = FORMATS[kind][0], peak_mb()
    form = next(f for f in get_source(source).formats({}) if f.recognise(path.open("rb").readline().rstrip(b"\n")))
    problems = Problems()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        if whole:
            print(prepare(source, [path], Path(folder) / "dataset", show_progress=False))
        else:
            parts = Parts(Path(folder), form.role)
            read_into(parts, Input(path, form), 0, problems, lambda n=1, note="": None)
            assert parts.height, "nothing was read"
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    megabytes = path.stat().st_size / 1e6
    return {
        "format": kind,
        "mb": round(megabytes, 1),
        "mb_per_second": round(megabytes / wall, 1),
        "mb_per_cpu_second": round(megabytes / cpu, 1),
        "peak_memory_mb": round(peak_mb()),
        "memory_before_mb": round(before),
        "problems": problems.total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=list(FORMATS), default="amazon-2018-reviews")
    parser.add_argument("--all", action="store_true", help="every format, each in a process of its own")
    parser.add_argument("--mb", type=float, default=100, help="size of the generated file")
    parser.add_argument("--whole", action="store_true", help="measure the entire preparation")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    args = parser.parse_args()
    if args.all:
        for kind in FORMATS:
            flags = ["--json"] * args.json + ["--whole"] * (args.whole and "meta" not in kind)
            subprocess.run([sys.executable, __file__, "--format", kind, "--mb", str(args.mb), *flags], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FORMATS[args.format][1]
        generate(args.format, path, args.mb)
        result = measure(args.format, path, args.whole)
    if args.json:
        print(json.dumps(result))
    else:
        print(
            "{format:<22}{mb:>8} MB {mb_per_second:>8} MB/s {mb_per_cpu_second:>8} MB/CPU-s   "
            "peak {peak_memory_mb} MB (before: {memory_before_mb})".format(**result)
        )


if __name__ == "__main__":
    main()
