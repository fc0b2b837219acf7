"""How long training takes until it is as good as RecBole's LightGCN ever gets on the validation part.

    python benchmarks/time_to_quality.py DATASET --peers recbole
    python benchmarks/time_to_quality.py DATASET --peers recbole --honest-full    hours on a large graph
    python benchmarks/time_to_quality.py                                          a generated shop, no peer

Quality is NDCG@20 of the validation part of the leave-one-out split, measured
by RecMind's evaluation for all. First RecBole's LightGCN: its best value, with
the settings given here and patience, and the seconds of training until then.
Then RecMind's LightGCN and RecMind, with the settings of the recipe, until they
reach that value. Time spent in validation is left out for everybody, and the
encoding of texts, which is done once, is shown apart.

RecBole's LightGCN computes the same function as ours with the same settings.
With ``--curve-from ours``, the default, that is checked (same first table, same
batches, losses of 20 steps of both) and its curve is then taken from our
implementation, which differs from it by rounding and by the random numbers of
an epoch; its time is its epochs times the seconds that its own Trainer takes
for one, measured here between our trainings. ``--honest-full`` trains RecBole
itself to the end instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peers.curves import (
    Curve,
    Point,
    initial_table,
    largest_difference,
    our_curve,
    peer_curve,
    start_from,
    xavier_table,
)
from peers.environment import DEFAULT, ensure
from peers.ours_worker import make_trainer
from peers.process import Contender, Reading
from peers.turns import print_machine, processor
from peers.workload import Workload, workload_file

from recmind.config import Config, load_config
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split, split_dataset
from recmind.model.graph import build_graph
from recmind.model.registry import build_model
from recmind.model.views import GraphModel
from recmind.pipeline import text_inputs
from recmind.training.trainer import Trainer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="dataset folder; without one, a generated shop")
    parser.add_argument("--peers", choices=["none", "recbole"], default="none")
    parser.add_argument("--honest-full", action="store_true", help="train RecBole itself to the end")
    parser.add_argument("--curve-from", choices=["ours"], default="ours", help="whose steps give RecBole's curve")
    parser.add_argument("--models", nargs="+", choices=["lightgcn", "recmind"], default=["lightgcn", "recmind"])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3, help="of RecBole's LightGCN")
    parser.add_argument("--batch", type=int, default=2048, help="RecBole's default")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="RecBole's default")
    parser.add_argument("--weight-decay", type=float, default=1e-4, help="RecBole's reg_weight")
    parser.add_argument("--epochs", type=int, default=300, help="epochs of RecBole at most (its default)")
    parser.add_argument("--eval-every", type=int, default=5, help="epochs between validations of RecBole's curve")
    parser.add_argument("--patience", type=int, default=5, help="validations without a better one that end its curve")
    parser.add_argument("--our-eval-every", type=int, default=0, help="0: as the recipe says")
    parser.add_argument("--set", action="append", default=[], help="key=value, a setting of RecMind's models")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--env", type=Path, default=DEFAULT, help="environment of the peers")
    parser.add_argument("--show", action="store_true", help="print every validation")
    parser.add_argument("--json", type=Path, help="write the result and the curves to this file too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    dataset = Dataset.load(args.dataset) if args.dataset else generated_shop()
    split = split_dataset(dataset, load_config("default").split)
    path = workload_file(dataset, split)
    workload, name = Workload.load(path), dataset.info.get("name", "a generated shop")
    print(f"{name}: {workload.n_users} users, {workload.n_items} items, {len(workload)} training interactions")
    print(f"{processor()}, {args.threads} threads; validation NDCG@20, training time only")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(args, dataset, split, workload, path, Path(folder))
        result = run.measure()
        run.close()
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


class Run:
    """One comparison: the peer, if any, and what has been measured of it so far."""

    def __init__(
        self, args: argparse.Namespace, dataset: Dataset, split: Split, workload: Workload, path: Path, folder: Path
    ) -> None:
        self.args, self.dataset, self.split, self.workload, self.folder = args, dataset, split, workload, folder
        # Read now: a recipe that is edited in the hours of a run changes nothing.
        self.configs = {model: self.our_config(model) for model in args.models}
        self.epochs: list[Reading] = []
        self.peer: Contender | None = None
        if args.peers == "recbole":
            settings = {"data": str(path), "exchange": str(folder), "threads": args.threads, "negatives": 1}
            settings |= {"dim": args.dim, "layers": args.layers, "batch": args.batch}
            settings |= {"learning_rate": args.learning_rate, "weight_decay": args.weight_decay}
            self.peer = Contender("RecBole LightGCN", ensure(args.env.absolute()), "peers.recbole_worker", settings)
            print_machine([self.peer])

    def measure(self) -> dict[str, Any]:
        """The target, then our models until they reach it."""
        config = self.peer_config()
        curve, note = self.target_curve(config)
        target = curve.best
        print(f"target: {target.value:.4f}, the best of LightGCN with RecBole's settings, at epoch {target.epoch}")
        if target is curve.points[-1]:
            print(f"  it was still improving when it ended; raise --epochs ({self.args.epochs})")
        ours = {}
        for model in self.args.models:
            self.time_epoch()
            ours[model] = self.reach(model, target.value)
        self.time_epoch()
        seconds = self.peer_seconds(target, curve)
        if seconds:
            print(f"RecBole: {seconds['wall']:.0f} s to there ({note})")
        for model, (found, encoding) in ours.items():
            self.print_reached(model, found, encoding, seconds)
        points = {model: [vars(point) for point in found.points] for model, (found, _) in ours.items()}
        return {
            "target": vars(target),
            "recbole_seconds": seconds,
            "note": note,
            "curve": [vars(point) for point in curve.points],
            "ours": points,
            "encoding": {model: encoding for model, (_, encoding) in ours.items()},
            "settings": {key: str(value) for key, value in vars(self.args).items()},
        }

    def peer_config(self) -> Config:
        """RecBole's settings as ours."""
        args = self.args
        return load_config(
            "default",
            model="lightgcn",
            overrides={
                "model.dim": args.dim,
                "model.layers": args.layers,
                "model.score": "dot",
                "training.loss": "bpr",
                "training.temperature": 1.0,
                "training.n_negatives": 1,
                "training.batch_size": args.batch,
                "training.learning_rate": args.learning_rate,
                "training.weight_decay": args.weight_decay,
                "training.max_epochs": args.epochs,
                "training.eval_every": args.eval_every,
                "training.patience": args.patience,
                "training.metric": "ndcg@20",
            },
        )

    def target_curve(self, config: Config) -> tuple[Curve, str]:
        """The validation curve of LightGCN with RecBole's settings, and how it was got."""
        if self.peer is not None and self.args.honest_full:
            return peer_curve(self.peer, self.folder, self.split, config, show=self.args.show), "trained to the end"
        trainer = make_trainer(self.workload, config, self.split)
        table = xavier_table(self.split.n_users, self.split.n_items, self.args.dim)
        if self.peer is not None:
            self.peer.do("table")
            table = initial_table(self.folder)
            apart, ours, theirs = largest_difference(self.peer, self.folder, self.workload, self.split, config)
            verdict = "the same function" if apart < 1e-4 else "NOT the same function"
            print(
                f"same table, same batches, {len(ours)} steps: losses differ by {apart:.1e} at most "
                f"({theirs[-1]:.6f} theirs, {ours[-1]:.6f} ours at the end): {verdict}"
            )
            if apart >= 1e-4:
                raise SystemExit("the curve cannot be taken from ours; use --honest-full")
        self.time_epoch()
        start_from(trainer, table)
        return our_curve(trainer, self.split, show=self.args.show), "epochs from our implementation, seconds measured"

    def time_epoch(self) -> None:
        """One more measured epoch of RecBole, between our trainings."""
        if self.peer is not None and not self.args.honest_full:
            if not self.epochs:
                self.peer.do("step", 2)
            self.epochs.append(self.peer.do("epoch"))

    def peer_seconds(self, target: Point, curve: Curve) -> dict[str, float] | None:
        """Wall and processor seconds of RecBole until its best epoch."""
        if self.peer is None:
            return None
        if self.args.honest_full:
            return {"wall": target.wall, "cpu": target.cpu}
        wall, cpu = (statistics.median(getattr(epoch, clock) for epoch in self.epochs) for clock in ("wall", "cpu"))
        walls = ", ".join(f"{epoch.wall:.1f}" for epoch in self.epochs)
        print(
            f"RecBole: {wall:.1f} s an epoch (measured: {walls}; {cpu:.1f} s of processor time), {target.epoch} epochs"
        )
        return {"wall": wall * target.epoch, "cpu": cpu * target.epoch}

    def our_config(self, model: str) -> Config:
        """The recipe, with the metric and the size of the comparison."""
        overrides = [f"model.dim={self.args.dim}", "training.metric=ndcg@20", *self.args.set]
        if self.args.our_eval_every:
            overrides.append(f"training.eval_every={self.args.our_eval_every}")
        return load_config("default", model=model, overrides=overrides)

    def reach(self, model: str, value: float) -> tuple[Curve, float]:
        """Train one of ours until it has reached ``value``; the curve and the seconds of encoding."""
        trainer, encoding = self.trainer(self.configs[model])
        return our_curve(trainer, self.split, until=value, show=self.args.show), encoding

    def trainer(self, config: Config) -> tuple[Trainer, float]:
        """A trainer on the data set's own texts, and the seconds that encoding them took."""
        split, start, texts = self.split, time.perf_counter(), None
        if config.model.name != "lightgcn":
            texts = text_inputs(self.dataset, split, config, show_progress=False)
        encoding = time.perf_counter() - start
        graph = build_graph(split.train.users, split.train.items, split.n_users, split.n_items)
        model = build_model(graph, texts, config.model, seed=config.seed)
        assert isinstance(model, GraphModel)
        return Trainer(model, split, config, validate=None, show_progress=False), encoding if texts else 0.0

    def print_reached(self, model: str, found: Curve, encoding: float, seconds: dict[str, float] | None) -> None:
        point, best = found.points[-1], found.best
        label = {"lightgcn": "RecMind's LightGCN", "recmind": "RecMind"}[model]
        if point is not best:
            print(f"{label}: did not get there; best {best.value:.4f} at epoch {best.epoch}")
            return
        print(
            f"{label}: {point.value:.4f} at epoch {point.epoch} "
            f"after {point.wall:.1f} s (processor time {point.cpu:.1f} s)"
            + (f", and {encoding:.1f} s for the texts, once" if encoding else "")
        )
        if seconds:
            wall, cpu = seconds["wall"] / point.wall, seconds["cpu"] / point.cpu
            print(f"  {wall:.0f} times as fast as RecBole (processor time {cpu:.0f} times)")

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()


def generated_shop() -> Dataset:
    """The shop of ``recmind demo``."""
    from recmind.data.shop import generate_shop

    shop = generate_shop()
    return Dataset.from_frames(shop.interactions, shop.items)


if __name__ == "__main__":
    main()
