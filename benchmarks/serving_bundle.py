"""A generated bundle of any size, and what one request costs in the process that serves it.

    python benchmarks/serving_bundle.py --items 100000 --out /tmp/bundle-100k
    python benchmarks/serving_bundle.py --items 1000000 --users 200000 --out /tmp/bundle-1m
    python benchmarks/serving_bundle.py --out /tmp/bundle-100k --requests 2000

The first call makes the folder, later ones only measure it. The vectors are
those of ``serving_index.py``; titles, brands, categories and prices are drawn,
histories are long-tailed. Nothing of it is trained: it says what serving costs,
not how good the lists are. Times are of one thread; ``cpu`` is disturbed less
than the clock where other programs run.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from serving_index import DIM, POPULARITY, generated

from recmind.config import load_config
from recmind.files import new_folder
from recmind.language.features import encoder_manifest, load_encoder
from recmind.model.graph import build_graph
from recmind.model.sequence import SequenceEncoder
from recmind.schema import BundleFiles, BundleTensors
from recmind.serving.bundle import seal, write_json, write_tensors
from recmind.serving.folding import Equations, Folding, unit
from recmind.serving.index import Kind, build_index
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Filters, Options
from recmind.serving.sequence import PREFIX

WORDS = (
    "quiet red steel travel garden winter camera cable oak wool running kids phone kitchen light heavy soft sharp"
).split()
HISTORY = 12
FOLLOWERS = 60
"""Items that came after an item."""
D_LM = 384


def make(out: Path, n_items: int, n_users: int, index: Kind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, _ = generated(n_items, 1, seed)
    hidden = {"projection.0": (256, D_LM), "projection.2": (DIM, 256)}
    parameters = {f"{name}.weight": _normal(rng, *shape) / np.sqrt(shape[1]) for name, shape in hidden.items()}
    parameters |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in hidden.items()}
    parameters |= {"gate.weight": np.zeros((2, 2, 2 * DIM + 1), np.float32), "gate.bias": np.ones((2, 2), np.float32)}
    parameters |= _encoder(seed)
    share = 1 / 3
    equations = Equations(
        DIM,
        cosine=True,
        alpha=0.5,
        first=share,
        others=share,
        layers=2,
        starts_with_text=True,
        popularity=POPULARITY,
        average_degree=float(items[:, -1].mean()),
        recent_weight=0.5,
        sequence_weight=2.0,
        transition_weight=16.0,
        folds=True,
        reads=True,
    )
    codes = rng.zipf(1.2, n_users * HISTORY).astype(np.int64) % n_items
    degrees = np.maximum(np.bincount(codes, minlength=n_items), 1).astype(np.int32)
    language, folding = items[:, :-1].copy(), Folding(equations, parameters)
    messages = (2 * language / np.sqrt(degrees)[:, None]).astype(np.float32)
    known = np.ones(n_items, dtype=bool)
    offsets = np.arange(n_users + 1, dtype=np.int64) * HISTORY
    users = np.empty((n_users, DIM), dtype=np.float32)
    for user in range(n_users):
        own = codes[offsets[user] : offsets[user + 1]]
        taste = folding.fold(own, messages[own], language[own], known[own])
        taste = folding.with_sequence(taste, items[own, :-1])
        users[user] = folding.with_latest(taste, items[own[-10:], :-1], 0.5 * language[own[-10:]]).vector
    queries = np.hstack([users[:500], np.full((min(500, n_users), 1), POPULARITY, dtype=np.float32)])
    built = build_index(items, queries, index)
    config = load_config("default")
    encoder, text = load_encoder(config.text, config.language)
    card = {
        "recmind": "generated",
        "made": "",
        "model": "recmind",
        **{"dataset": "generated", "recipe": "default", "seed": seed, "best_epoch": None},
        "encoder": encoder_manifest(encoder, text),
        "equations": equations.to_json(),
        "index": built.about,
        "gate": None,
        "limits": ["Generated: nothing is trained."],
        "data": {"users": n_users, "items": n_items, "split": "valid-only", "interactions": {"train": len(codes)}},
    }
    with new_folder(out) as new:
        write_json(new / BundleFiles.CARD, card)
        (new / BundleFiles.README).write_text("Generated.\n", encoding="utf-8")
        write_json(new / BundleFiles.CONFIG, config.model_dump(mode="json", exclude_none=True))
        pl.DataFrame({"user_id": [f"u{n}" for n in range(n_users)]}).write_parquet(new / BundleFiles.USERS)
        _catalogue(n_items, rng).write_parquet(new / BundleFiles.ITEMS)
        vectors = {
            BundleTensors.USERS: users,
            BundleTensors.USERS_FREE: np.zeros_like(users),
            BundleTensors.ITEMS: items,
            BundleTensors.ITEMS_LANGUAGE: language,
            BundleTensors.ITEMS_TEXTS: unit(_normal(rng, n_items, D_LM)),
            BundleTensors.ITEMS_SCALE: np.full(n_items, 0.5, dtype=np.float32),
            BundleTensors.ITEMS_KNOWN: known,
            BundleTensors.ITEMS_MESSAGES: messages,
            BundleTensors.ITEMS_DEGREES: degrees,
            BundleTensors.ITEMS_GATES: np.full((n_items, 2), 0.73, dtype=np.float32),
            BundleTensors.USERS_GATES: np.full((n_users, 2), 0.73, dtype=np.float32),
        }
        write_tensors(new / BundleFiles.VECTORS, vectors)
        history = {BundleTensors.OFFSETS: offsets, BundleTensors.CODES: codes.astype(np.int32)}
        trained = {BundleTensors.TRAINED: np.full(n_users, HISTORY, dtype=np.int32)}
        write_tensors(new / BundleFiles.HISTORY, history | trained)
        write_tensors(new / BundleFiles.TRANSITIONS, _transitions(n_items, rng))
        write_tensors(new / BundleFiles.PARAMETERS, parameters)
        if built.content is not None:
            write_tensors(new / BundleFiles.INDEX, {BundleTensors.INDEX: built.content})
        seal(new)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _encoder(seed: int) -> dict[str, np.ndarray]:
    """An encoder of histories in order as it is before training, with the shape of the recipe."""
    settings, nothing = load_config("default").model.sequence, np.empty(0, dtype=np.int32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SequenceEncoder(
            build_graph(nothing, nothing, 1, 1),
            dim=DIM,
            blocks=settings.blocks,
            heads=settings.heads,
            length=settings.length,
            dropout=settings.dropout,
            init_std=DIM**-0.5,
            precision="float32",
        )
    return {f"{PREFIX}{name}": value.numpy() for name, value in encoder.state_dict().items()}


def _transitions(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What came next: popular items more often, as in the histories."""
    codes = (np.sort(rng.zipf(1.2, (n, FOLLOWERS)).astype(np.int64) % n, axis=1)).astype(np.int32)
    new = np.ones(codes.shape, dtype=bool)
    new[:, 1:] = codes[:, 1:] != codes[:, :-1]
    shares = rng.gamma(0.5, 0.02, int(new.sum())).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(new.sum(axis=1))])
    return {BundleTensors.OFFSETS: offsets, BundleTensors.CODES: codes[new], BundleTensors.SHARES: shares}


def _catalogue(n: int, rng: np.random.Generator) -> pl.DataFrame:
    words = np.array(WORDS)[rng.integers(0, len(WORDS), (n, 3))]
    shelves = [f"{a} > {b}" for a in WORDS[:8] for b in WORDS[8:]]
    return pl.DataFrame(
        {
            "item_id": [f"i{code}" for code in range(n)],
            "title": [" ".join(row) for row in words],
            "brand": [f"brand {code}" for code in rng.zipf(1.5, n) % 500],
            "categories": np.array(shelves)[rng.integers(0, len(shelves), n)].tolist(),
            "price": rng.gamma(2.0, 15.0, n).round(2),
        }
    )


def measure(bundle: Path, requests: int, seed: int) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        live = LiveRecommender.open(bundle, Path(folder) / "changes.sqlite")
        opened = time.perf_counter() - started
        live.warm()
        warm = time.perf_counter() - started
        counts = live.status.counts
        print(f"{counts.items:,} items, {counts.users:,} users; {live.status.index}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"opened and verified in {opened:.1f} s, warm after {warm:.1f} s, {memory:,.0f} MiB at most")
        users = [f"u{code}" for code in rng.integers(0, counts.users, requests)]
        items = [f"i{code}" for code in rng.integers(0, counts.items, 3 * requests)]
        shelf, few = Filters(categories=("quiet",)), Filters(categories=("quiet > oak",), max_price=10.0)
        ways: dict[str, Callable[[int], object]] = {
            "recommend": lambda n: live.recommend(users[n], 20),
            "... an eighth of the items admitted": lambda n: live.recommend(users[n], 20, options=Options(shelf)),
            "... few of them": lambda n: live.recommend(users[n], 20, options=Options(few)),
            "... diversity .3": lambda n: live.recommend(users[n], 20, options=Options(diversity=0.3)),
            "history of three": lambda n: live.recommend_for_history(items[3 * n : 3 * n + 3], 20),
            "history of a hundred": lambda n: live.recommend_for_history(items[n : n + 100], 20),
            "similar items": lambda n: live.similar_items(items[n], 20),
            "explain": lambda n: live.explain(items[n], user=users[n]),
            "fields of 20 items": lambda n: live.items(items[n : n + 20]),
            "words never read before": lambda n: live.recommend_for_text(f"{WORDS[n % 18]} and {n} for {users[n]}", 20),
            "add an interaction": lambda n: live.add_interactions([(users[n], items[n])]),
        }
        for name, call in ways.items():
            _print(name, call, requests if name.split()[0] not in ("words", "add") else min(requests, 200))
        live.close()


def _print(name: str, call: Callable[[int], object], n: int) -> None:
    for warm in range(min(20, n)):
        call(warm)
    wall, busy = np.empty(n), np.empty(n)
    for request in range(n):
        started, used = time.perf_counter(), time.thread_time()
        call(request)
        wall[request], busy[request] = time.perf_counter() - started, time.thread_time() - used
    low, mid, high = np.percentile(1000 * wall, [5, 50, 99])
    print(f"{name:36}  cpu {1000 * np.median(busy):7.3f} ms   5% {low:7.3f}  median {mid:7.3f}  p99 {high:8.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--index", choices=["auto", "exact", "ivf", "hnsw"], default="auto")
    parser.add_argument("--requests", type=int, default=1000, help="measured for each kind of request; 0: only make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.out / BundleFiles.MANIFEST).exists():
        make(arguments.out, arguments.items, arguments.users, arguments.index, arguments.seed)
    if arguments.requests:
        measure(arguments.out, arguments.requests, arguments.seed)


if __name__ == "__main__":
    main()
