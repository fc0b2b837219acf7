"""The sections of the suites `cold` and `few`: items without a training edge, and users with short histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recmind.evaluation.significance import compare_runs, holm
from recmind.schema import Columns
from recmind.studies.measures import measured
from recmind.studies.report.blocks import Figure, Part, Table, Text, gain, mean_of, ranked
from recmind.studies.report.curves import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RESAMPLES: Final = 10_000
_COLD: Final = {
    "cold": "cold among cold",
    "warm": "warm among warm",
    "all": "all among all",
    "cold in all": "cold among all",
    "warm in all": "warm among all",
}
_FEW: Final = {length: f"history {length}" for length in ("1", "2", "3", "5", "whole")}
_COLD_READING: Final = (
    "Cold is every item without a training edge: a random fifth of the catalogue lost its interactions to validation "
    "and test, and of the others each user's last two are held out. *Cold among cold*: held-out cold items ranked "
    "among the cold ones alone; *warm among warm* likewise; *all among all*: everything at once. A model that places "
    "new items gives the cold ones the vectors that `recmind recommend --new-items` would; one that weighs items by "
    "the likeness of their texts scores them by that; for any other they are all alike and stand below the rest, so "
    "among cold items it has what chance gives, and none in a list of all. Negatives are drawn from warm items alone "
    "(`training.cold_negatives` off): no model may learn that what comes later is unwanted. The table of results above "
    "ranks cold items as the model holds them after training instead."
)
_FEW_READING: Final = (
    "Half of the users with at least 5 training interactions were given a length by lot; their histories were cut to "
    "the last 1, 2, 3 or 5 before training, or left whole, and the models were trained on the rest. The lot makes the "
    "columns alike but for the length. What was cut away is left out of the ranking here, and not in the "
    "results of all users above."
)


def cold_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """Items without a training edge, those with one, and both at once."""
    metrics, users = (measured(results, out, name) for name in ("cold", "cold-users"))
    if metrics.is_empty():
        return []
    return _section("New items", _COLD_READING, metrics, users, "among", _COLD, compared=("cold", "all"))


def few_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """Users by what was left of their history."""
    metrics, users = (measured(results, out, name) for name in ("few", "few-users"))
    if metrics.is_empty():
        return []
    parts = _section("Users of whom little is known", _FEW_READING, metrics, users, "history", _FEW, tuple(_FEW))
    figures = [Figure(f"Test: {name} by length of history", _by_length(metrics, name)) for name in _shown(metrics)]
    return [*parts[:1], Part("By the length of the history", figures), *parts[1:]]


def _section(
    title: str,
    reading: str,
    metrics: pl.DataFrame,
    users: pl.DataFrame,
    key: str,
    names: Mapping[str, str],
    compared: Sequence[str],
) -> list[Part]:
    there = [group for group in names if group in metrics[key]]
    blocks: list[Any] = [Text(reading)]
    for part, what in (("valid", "On the validation part:"), ("test", "On the test part:")):
        here = metrics.filter(part=part)
        if here.height:
            shown = [_values(here, key, names, there, metric) for metric in _shown(metrics)]
            blocks += [Text(what), *shown, _sizes(here, key, names, there)]
    return [Part(title, blocks), *_differences(users, key, names, [group for group in compared if group in there])]


def _shown(metrics: pl.DataFrame) -> list[str]:
    """Recall and NDCG at the largest cutoff."""
    cutoff = max(int(name.partition("@")[2]) for name in metrics["metric"].unique())
    return [f"recall@{cutoff}", f"ndcg@{cutoff}"]


def _values(metrics: pl.DataFrame, key: str, names: Mapping[str, str], there: Sequence[str], metric: str) -> Table:
    """Variants as lines, groups as columns."""
    variants = metrics["variant"].unique(maintain_order=True).to_list()
    columns = []
    for group in there:
        rows = [metrics.filter(pl.col(key) == group, variant=variant, metric=metric) for variant in variants]
        columns.append(ranked([_spread(here) for here in rows], [mean_of(here["value"].to_list()) for here in rows]))
    lines = [[variant, *(column[at] for column in columns)] for at, variant in enumerate(variants)]
    return Table([metric, *(names[group] for group in there)], lines)


def _sizes(metrics: pl.DataFrame, key: str, names: Mapping[str, str], there: Sequence[str]) -> Text:
    """Of how many users, targets and items the columns are."""
    found = []
    for group in there:
        row = metrics.filter(pl.col(key) == group).row(0, named=True)
        targets = f", {row['n_targets']:,} targets, {row['n_items']:,} items" if "n_targets" in row else ""
        found.append(f"{names[group]}: {row['n_users']:,} users{targets}")
    return Text("; ".join(found) + ".")


def _spread(rows: pl.DataFrame) -> str:
    """Of one seed the value and its interval over users, of several mean and standard deviation."""
    values = rows["value"].to_list()
    if len(values) > 1:
        return f"{rows['value'].mean():.4f} ± {rows['value'].std():.4f}"
    if not values:
        return "-"
    low, high = rows.select("low", "high").row(0)
    return f"{values[0]:.4f}" + ("" if low is None or high is None else f" ({low:.4f} to {high:.4f})")


def _differences(users: pl.DataFrame, key: str, names: Mapping[str, str], compared: Sequence[str]) -> list[Part]:
    """The first variant against each other one, in each group, on the test part."""
    users = users.filter(part="test")
    variants = users["variant"].unique(maintain_order=True).to_list()
    if len(variants) < 2:
        return []
    cutoff = max(int(name.partition("@")[2]) for name in users.columns if name.startswith("recall@"))
    shown = [f"recall@{cutoff}", f"ndcg@{cutoff}"]
    pairs = [(variants[0], rival) for rival in variants[1:]]
    flat = []
    for group in compared:
        here = users.filter(pl.col(key) == group)
        models = {
            variant: [
                run.select(Columns.USER_CODE, *shown)
                for _, run in here.filter(variant=variant).sort("seed").group_by("seed", maintain_order=True)
            ]
            for variant in variants
        }
        found = compare_runs(models, pairs, metrics=shown, n=_RESAMPLES)
        flat += [(group, pair, one) for pair, several in zip(pairs, found, strict=True) for one in several]
    corrected = [holm([getattr(one, name) for *_, one in flat]) for name in ("p_bootstrap", "p_wilcoxon")]
    lines = []
    for (group, (_, rival), one), p_bootstrap, p_wilcoxon in zip(flat, *corrected, strict=True):
        low, high = one.interval
        difference = f"{one.mean - one.baseline:+.4f} ({low:+.4f} to {high:+.4f})"
        p = (f"{p_bootstrap:.2g}", f"{p_wilcoxon:.2g}")
        lines.append([rival, names[group], one.metric, gain(one.relative_gain), difference, *p])
        lines[-1].append(f"{one.wins} / {one.losses}")
    head = ["against", "what", "metric", "gain", "difference (95%)", "p bootstrap", "p Wilcoxon", "better / worse"]
    text = (
        f"On the test part, paired by user; {_RESAMPLES:,} bootstrap resamples of users and, where there are several, "
        f"of seeds. Both p are corrected for the {len(flat)} lines of this table (Holm). Where a model scores many "
        "items alike, its values are expectations over their order, and the rank test sets outcomes against "
        "expectations: most users are a little worse than chance by missing. There the bootstrap is to be read."
    )
    return [Part(f"{variants[0]} against each", [Table(head, lines), Text(text)])]


def _by_length(metrics: pl.DataFrame, metric: str) -> Any:
    lengths = list(_FEW)

    def draw(axis: Axes) -> None:
        here = metrics.filter(part="test", metric=metric)
        for (variant,), rows in here.group_by("variant", maintain_order=True):
            means = dict(rows.group_by("history").agg(pl.mean("value")).iter_rows())
            x = [at for at, length in enumerate(lengths) if length in means]
            axis.plot(x, [means[lengths[at]] for at in x], marker="o", ms=3, lw=1.4, label=variant)
        axis.set_xticks(range(len(lengths)), lengths)
        axis.set(xlabel="training interactions left", ylabel=metric)
        legend(axis)

    return draw
