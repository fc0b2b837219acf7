import numpy as np
import pytest
import ranx
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.config import EvaluationConfig
from recmind.data.splitting import Split
from recmind.errors import ConfigError, RunError, TrainingError
from recmind.evaluation.evaluate import evaluate, parse_metric, validation_metrics
from recmind.evaluation.metrics import ACCURACY
from recmind.evaluation.ranking import Seen, top_k
from recmind.evaluation.strata import BINS

QUICK = EvaluationConfig(cutoffs=(5, 20), bootstrap=0)
RANX = {"recall": "recall", "ndcg": "ndcg", "hit_rate": "hit_rate", "mrr": "mrr", "map": "map"}


def run(scorer, split, part="test", config=QUICK, **options):
    return evaluate(scorer, split, part, config, show_progress=False, **options)


def distinct(n_users, n_items, seed=0):
    """Scores without ties."""
    rows = np.tile(np.arange(n_items, dtype=np.float32), (n_users, 1))
    return np.random.default_rng(seed).permuted(rows, axis=1)


def ranx_values(matrix, split, part, metrics):
    """The same metrics by ranx, from scores with the known items taken out."""
    targets, known = (split.valid, [split.train]) if part == "valid" else (split.test, [split.train, split.valid])
    left_out = {(u, i) for p in known for u, i in zip(p.users.tolist(), p.items.tolist(), strict=True)}
    relevant: dict[str, dict[str, int]] = {}
    for user, item in zip(targets.users.tolist(), targets.items.tolist(), strict=True):
        relevant.setdefault(str(user), {})[f"i{item}"] = 1
    scores = {
        user: {f"i{i}": float(s) for i, s in enumerate(matrix[int(user)]) if (int(user), i) not in left_out}
        for user in relevant
    }
    return ranx.evaluate(ranx.Qrels(relevant), ranx.Run(scores), metrics)


class TestAgainstRanx:
    @pytest.mark.parametrize("part", ["valid", "test"])
    @pytest.mark.parametrize("sizes", [(400, 40, 40), (400, 300, 300)], ids=["mostly one target", "several targets"])
    def test_every_accuracy_metric(self, dense, random_split, part, sizes):
        split = random_split(60, 150, sizes)
        matrix = distinct(60, 150)
        ours = run(dense(matrix), split, part).metrics
        names = {f"{name}@{k}": f"{theirs}@{k}" for name, theirs in RANX.items() for k in (5, 20)}
        theirs = ranx_values(matrix, split, part, list(names.values()))
        for name, their_name in names.items():
            assert ours[name] == pytest.approx(theirs[their_name], rel=1e-9), name


class TestMasks:
    def test_training_items_are_left_out_at_validation_and_both_at_test(self, dense, make_split):
        split = make_split(1, 4, train=[(0, 0)], valid=[(0, 1)], test=[(0, 2)])
        scorer = dense([[4.0, 3.0, 2.0, 1.0]])
        config = EvaluationConfig(cutoffs=(1,), bootstrap=0)
        assert run(scorer, split, "valid", config).metrics["recall@1"] == 1.0
        assert run(scorer, split, "test", config).metrics["recall@1"] == 1.0

    def test_the_test_item_is_a_rival_at_validation(self, dense, make_split):
        split = make_split(1, 4, train=[(0, 0)], valid=[(0, 1)], test=[(0, 2)])
        assert run(dense([[0.0, 1.0, 2.0, 0.0]]), split, "valid").metrics["mrr@5"] == 1 / 2


class TestTies:
    def test_a_constant_scorer_gets_chance(self, dense, make_split):
        split = make_split(2, 100, train=[(0, 0), (1, 1)], test=[(0, 5), (1, 99)])
        metrics = run(dense(np.zeros((2, 100))), split).metrics
        assert metrics["recall@20"] == pytest.approx(20 / 99, rel=1e-12)
        assert metrics["mrr@5"] == pytest.approx(sum(1 / r for r in range(1, 6)) / 99, rel=1e-12)

    def test_equal_the_mean_over_random_tie_breaking(self, dense, random_split):
        """Noise below the spacing of the scores breaks ties at random; the mean over many draws must agree."""
        split = random_split(40, 60, (200, 100, 100))
        matrix = np.random.default_rng(0).integers(0, 4, (40, 60)).astype(np.float64)
        expected = run(dense(matrix), split).metrics
        rng = np.random.default_rng(1)
        draws = [run(dense(matrix + 0.5 * rng.random(matrix.shape)), split).metrics for _ in range(400)]
        for name in (f"{metric}@{k}" for metric in ACCURACY for k in QUICK.cutoffs):
            values = np.array([draw[name] for draw in draws])
            error = values.std() / np.sqrt(len(values))
            assert abs(values.mean() - expected[name]) < 5 * error + 1e-9, name


class TestProperties:
    @given(seed=st.integers(0, 1000), levels=st.sampled_from([3, 10**6]))
    @settings(max_examples=25, deadline=None)
    def test_renaming_users_and_items_changes_nothing(self, dense, make_split, random_split, seed, levels):
        rng = np.random.default_rng(seed)
        split = random_split(15, 40, (80, 30, 30), seed)
        matrix = rng.integers(0, levels, (15, 40)).astype(np.float32)
        users, items = rng.permutation(15), rng.permutation(40)
        renamed = np.empty_like(matrix)
        renamed[np.ix_(users, items)] = matrix
        parts = (
            list(zip(users[p.users].tolist(), items[p.items].tolist(), strict=True))
            for p in (split.train, split.valid, split.test)
        )
        other = run(dense(renamed), make_split(15, 40, *parts))
        this = run(dense(matrix), split)
        for name in (f"{metric}@{k}" for metric in ACCURACY for k in QUICK.cutoffs):
            assert other.metrics[name] == pytest.approx(this.metrics[name], rel=1e-9, abs=1e-12)
        for key, stratum in this.strata.items():
            if stratum["n"] == 0:
                assert other.strata[key] == stratum
            else:
                assert other.strata[key] == pytest.approx(stratum, rel=1e-9, abs=1e-12)

    @pytest.mark.parametrize("levels", [3, 10**6])
    def test_the_size_of_the_blocks_changes_nothing(self, dense, random_split, levels):
        split = random_split(50, 600, (400, 100, 100))
        scorer = dense(np.random.default_rng(0).integers(0, levels, (50, 600)))
        results = [run(scorer, split, config=QUICK.model_copy(update={"block_users": b})) for b in (1, 7, 1024)]
        for other in results[1:]:
            assert other.metrics == results[0].metrics
            assert other.strata == results[0].strata
            assert other.per_user.equals(results[0].per_user)

    def test_a_higher_score_of_a_target_never_lowers_its_user_s_metrics(self, dense, random_split):
        split = random_split(30, 80, (200, 50, 50))
        matrix = distinct(30, 80)
        user, item = int(split.test.users[0]), int(split.test.items[0])
        before = run(dense(matrix), split).per_user.row(0, named=True)
        matrix[user, item] = 1000
        after = run(dense(matrix), split).per_user.row(0, named=True)
        assert all(after[name] >= before[name] - 1e-12 for name in before)


class TestParts:
    def test_per_user_rows_average_to_the_metrics(self, dense, random_split):
        result = run(dense(distinct(40, 90)), random_split(40, 90, (200, 60, 60)))
        assert result.per_user.columns == ["user", *(f"{name}@{k}" for k in QUICK.cutoffs for name in ACCURACY)]
        assert result.per_user["user"].is_sorted()
        assert result.n_users == result.per_user.height
        for name in result.per_user.columns[1:]:
            assert result.metrics[name] == pytest.approx(result.per_user[name].to_numpy().mean())

    def test_list_metrics_are_those_of_the_recommended_lists(self, dense, random_split):
        split = random_split(30, 700, (200, 60, 60))
        scorer = dense(np.random.default_rng(3).integers(0, 5, (30, 700)))
        result = run(scorer, split)
        seen = Seen.from_parts(30, 700, split.train, split.valid)
        lists, _ = top_k(scorer, result.per_user["user"].to_numpy(), 5, seen, block_users=8)
        assert result.metrics["coverage@5"] == len(np.unique(lists)) / 700
        popularity = split.item_degrees()[lists].mean(axis=1).mean()
        assert result.metrics["average_popularity@5"] == pytest.approx(popularity)

    def test_validation_metrics_equals_evaluate(self, dense, random_split):
        split = random_split(40, 90, (200, 60, 60))
        scorer = dense(np.random.default_rng(0).integers(0, 9, (40, 90)))
        full = run(scorer, split, "valid").metrics
        for name in (f"{metric}@{k}" for metric in ACCURACY for k in QUICK.cutoffs):
            assert validation_metrics(scorer, split, QUICK, metric=name) == pytest.approx(full[name], rel=1e-12)

    def test_intervals_hold_the_mean_and_come_from_the_seed(self, dense, random_split):
        split = random_split(80, 90, (200, 60, 60))
        config = EvaluationConfig(cutoffs=(20,), bootstrap=200)
        first = run(dense(distinct(80, 90)), split, config=config)
        again = run(dense(distinct(80, 90)), split, config=config)
        other = run(dense(distinct(80, 90)), split, config=config, seed=1)
        assert set(first.intervals) == {f"{name}@20" for name in ACCURACY}
        for name, (low, high) in first.intervals.items():
            assert low < first.metrics[name] < high
        assert first.intervals == again.intervals
        assert first.intervals != other.intervals

    def test_k_larger_than_the_catalogue(self, dense, random_split):
        result = run(dense(distinct(10, 8)), random_split(10, 8, (20, 10, 10)))
        assert result.metrics["recall@20"] == result.metrics["hit_rate@20"] == 1.0

    def test_one_user_and_one_item(self, dense, make_split):
        result = run(dense([[0.3]]), make_split(1, 1, test=[(0, 0)]))
        assert result.metrics["ndcg@5"] == 1.0

    def test_minus_infinity_everywhere_finds_nothing(self, dense, random_split):
        metrics = run(dense(np.full((20, 30), -np.inf)), random_split(20, 30, (50, 20, 20))).metrics
        assert set(metrics.values()) == {0.0}


class TestStrata:
    @pytest.fixture
    def split(self, make_split) -> Split:
        """Items 0..4 have 0, 1, 4, 11 and 51 training interactions; each is the target of two users."""
        degrees = {0: 0, 1: 1, 2: 4, 3: 11, 4: 51}
        train = [(user, item) for item, degree in degrees.items() for user in range(degree)]
        return make_split(70, 40, train=train, test=[(60 + 2 * i + j, i) for i in range(5) for j in range(2)])

    def test_targets_fall_into_the_stratum_of_their_training_degree(self, dense, split):
        matrix = np.zeros((70, 40))
        matrix[60, 0] = matrix[62, 1] = matrix[63, 1] = 1.0  # 3 of 10 targets on top, the others tied
        strata = run(dense(matrix), split).strata
        assert [strata[f"items_{name}"]["n"] for name in BINS] == [2, 2, 2, 2, 2]
        assert strata["items_degree_0"]["recall@5"] == pytest.approx((1 + 5 / 40) / 2)
        assert strata["items_degree_1_3"]["recall@5"] == 1.0
        assert strata["items_degree_4_10"]["recall@5"] == pytest.approx(5 / 40)
        assert strata["users_degree_0"]["n"] == 10

    @pytest.mark.parametrize("metric", ["recall", "ndcg"])
    def test_sum_to_the_total_with_one_target_each(self, dense, split, metric):
        result = run(dense(distinct(70, 40)), split)
        for side in ("items", "users"):
            strata = [s for name, s in result.strata.items() if name.startswith(side) and s["n"]]
            assert sum(s["n"] for s in strata) == 10
            total = sum(s["n"] * s[f"{metric}@20"] for s in strata) / 10
            assert total == pytest.approx(result.metrics[f"{metric}@20"])

    def test_several_targets_sum_over_users_and_over_targets(self, dense, random_split):
        split = random_split(40, 60, (300, 150, 150))
        result = run(dense(distinct(40, 60)), split)
        users = [s for name, s in result.strata.items() if name.startswith("users") and s["n"]]
        items = [s for name, s in result.strata.items() if name.startswith("items") and s["n"]]
        assert sum(s["n"] for s in users) == result.n_users
        assert sum(s["n"] for s in items) == len(split.test)
        assert sum(s["n"] * s["recall@20"] for s in users) / result.n_users == pytest.approx(
            result.metrics["recall@20"]
        )
        n_targets = np.bincount(split.test.users, minlength=40)[result.per_user["user"].to_numpy()]
        hits = (result.per_user["recall@20"].to_numpy() * n_targets).sum()
        assert sum(s["n"] * s["recall@20"] for s in items) == pytest.approx(hits)

    def test_an_empty_stratum_has_no_numbers(self, dense, make_split):
        strata = run(dense(np.zeros((1, 3))), make_split(1, 3, train=[(0, 0)], test=[(0, 1)])).strata
        assert strata["items_degree_over_50"] == {
            "n": 0,
            "recall@5": None,
            "recall@20": None,
            "ndcg@5": None,
            "ndcg@20": None,
        }
        assert "users_degree_0" not in strata


class TestErrors:
    def test_a_split_without_a_test_part(self, dense, make_split):
        split = make_split(1, 3, train=[(0, 0)], valid=[(0, 1)])
        with pytest.raises(RunError, match=r"no test interactions(.|\n)*accepted: valid(.|\n)*valid-only"):
            run(dense(np.zeros((1, 3))), split)

    def test_a_split_without_validation(self, dense, make_split):
        with pytest.raises(RunError, match="no valid interactions"):
            validation_metrics(dense(np.zeros((1, 3))), make_split(1, 3, train=[(0, 0)]), QUICK, metric="ndcg@5")

    def test_nan(self, dense, make_split):
        split = make_split(2, 3, train=[(0, 0)], valid=[(1, 1)])
        with pytest.raises(TrainingError, match="user code 1"):
            validation_metrics(dense([[0.0] * 3, [0.0, 0.0, np.nan]]), split, QUICK, metric="ndcg@2")

    def test_a_model_of_another_dataset(self, dense, make_split):
        with pytest.raises(RunError, match=r"a model of 2 users and 3 items(.|\n)*1 users and 3 items"):
            run(dense(np.zeros((2, 3))), make_split(1, 3, test=[(0, 0)]))

    @pytest.mark.parametrize("metric", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "auc@20", "coverage@20"])
    def test_a_metric_that_does_not_exist(self, metric):
        with pytest.raises(ConfigError, match=r"no such metric(.|\n)*accepted: recall@K"):
            parse_metric(metric)
