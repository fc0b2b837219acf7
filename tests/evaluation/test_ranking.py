import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recmind.errors import TrainingError
from recmind.evaluation.ranking import Seen, rank_targets, top_k
from recmind.evaluation.selection import top_values
from recmind.kernels import scan
from recmind.model.scorer import Scorer
from recmind.model.transitions import ComesNext
from recmind.model.views import VectorScorer

INF = np.inf


def as_vectors(matrix):
    """A scorer of vectors with exactly these finite scores: each user's vector picks the user's entry of an item."""
    matrix = torch.as_tensor(np.asarray(matrix), dtype=torch.float32)
    return VectorScorer(torch.eye(len(matrix)), matrix.T.contiguous())


def as_raised(matrix):
    """The same where some of the positive scores are products of 0 that are raised to what they are."""
    matrix = np.asarray(matrix, dtype=np.float32)
    raised = np.where((matrix > 0) & (np.random.default_rng(0).random(matrix.shape) < 0.5), matrix, np.float32(0))
    comes_next = ComesNext(csr_array(np.eye(len(matrix), dtype=np.float32)), csr_array(raised), 1.0)
    vectors = as_vectors(np.where(raised > 0, 0, matrix))
    return VectorScorer(vectors.users, vectors.items, comes_next)


@pytest.fixture(scope="session", params=["scores", "vectors", "raised"])
def model(request, dense):
    """A scorer from a matrix of finite scores: one that writes scores down, one whose products are scanned, and one
    that raises some of them."""
    return {"scores": dense, "vectors": as_vectors, "raised": as_raised}[request.param]


def brute_force(matrix, users, k, seen_pairs):
    """Lists of the seen-free items by a full stable sort; only for scores without ties."""
    matrix = np.array(matrix, dtype=np.float32)
    for user, item in seen_pairs:
        matrix[user, item] = -INF
    order = np.argsort(-matrix[users], axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(matrix[users], order, axis=1)


def test_the_dense_scorer_keeps_the_contract(dense):
    assert isinstance(dense(np.zeros((1, 1))), Scorer)


class TestSeen:
    def test_masks_the_items_of_every_part_and_nothing_else(self, make_part):
        seen = Seen.from_parts(3, 4, make_part([(0, 1), (2, 3)]), make_part([(2, 0)]))
        scores = torch.zeros(3, 4)
        seen.mask_(scores, np.array([2, 1, 0]))
        assert scores.tolist() == [[-INF, 0, 0, -INF], [0, 0, 0, 0], [0, -INF, 0, 0]]

    def test_a_user_may_occur_twice_and_users_may_be_a_tensor(self, make_part):
        seen = Seen.from_parts(2, 2, make_part([(1, 0)]))
        scores = torch.zeros(2, 2)
        seen.mask_(scores, torch.tensor([1, 1]))
        assert scores.tolist() == [[-INF, 0], [-INF, 0]]

    def test_without_parts_nothing_is_masked(self):
        scores = torch.zeros(2, 3)
        Seen.from_parts(2, 3).mask_(scores, np.array([0, 1]))
        assert scores.tolist() == [[0, 0, 0], [0, 0, 0]]

    def test_what_several_parts_name_is_there_once_and_ascending(self, make_part):
        seen = Seen.from_parts(2, 9, make_part([(1, 7), (1, 2)]), make_part([(1, 5), (1, 7), (0, 8)]))
        assert seen.starts.tolist() == [0, 1, 4]
        assert seen.items.tolist() == [8, 2, 5, 7]

    def test_a_block_has_the_rows_asked_for_without_what_is_kept(self, make_part):
        seen = Seen.from_parts(3, 9, make_part([(0, 1), (0, 8), (2, 0), (2, 3), (2, 8)]))
        kept = np.array([0, 1, 2, 2]), np.array([3, 4, 1, 7])
        block = seen.of(np.array([2, 1, 0]), kept)
        assert block.starts.tolist() == [0, 2, 2, 3]
        assert block.items.tolist() == [0, 8, 8]

    @pytest.mark.parametrize(("pair", "message"), [((0, 3), "item codes 3 to 3"), ((2, 0), "user codes 2 to 2")])
    def test_a_code_outside_the_dataset_is_refused(self, make_part, pair, message):
        with pytest.raises(ValueError, match=message):
            Seen.from_parts(2, 3, make_part([pair]))


class TestTopValues:
    @given(
        n=st.integers(1, 400),
        k=st.integers(1, 40),
        levels=st.sampled_from([2, 30, 10**6]),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=150, deadline=None)
    def test_equals_a_full_sort(self, n, k, levels, seed):
        k = min(k, n)
        scores = torch.from_numpy(np.random.default_rng(seed).integers(0, levels, (4, n)).astype(np.float32))
        values, columns = top_values(scores, k)
        expected = scores.sort(dim=1, descending=True).values[:, : k + 1]
        assert torch.equal(values, expected)
        assert torch.equal(scores.gather(1, columns), values)
        assert all(len(set(row)) == len(row) for row in columns.tolist())

    def test_nan_comes_first_wherever_it_stands(self):
        for column in (0, 37, 95, 999):
            scores = torch.zeros(1, 1000)
            scores[0, column] = torch.nan
            assert torch.isnan(top_values(scores, 3)[0][0, 0])


class TestTopK:
    @pytest.mark.parametrize("n_items", [50, 1000, 1003])
    @pytest.mark.parametrize("block_users", [1, 7, 1024])
    def test_equals_brute_force(self, model, make_part, n_items, block_users):
        rng = np.random.default_rng(0)
        matrix = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (20, 1)), axis=1)
        pairs = [(int(u), int(i)) for u, i in rng.integers(0, (20, n_items), (200, 2))]
        users = np.array([3, 19, 0, 3, 7])
        seen = Seen.from_parts(20, n_items, make_part(set(pairs)))
        items, scores = top_k(model(matrix), users, 10, seen, block_users=block_users)
        expected_items, expected_scores = brute_force(matrix, users, 10, pairs)
        assert items.dtype == np.int32
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(items, expected_items)
        np.testing.assert_array_equal(scores, expected_scores)

    def test_k_larger_than_the_catalogue_is_padded(self, dense, make_part):
        seen = Seen.from_parts(1, 3, make_part([(0, 2)]))
        items, scores = top_k(dense([[1.0, 2.0, 3.0]]), np.array([0]), 5, seen, block_users=4)
        assert items.tolist() == [[1, 0, -1, -1, -1]]
        assert scores.tolist() == [[2.0, 1.0, -INF, -INF, -INF]]

    def test_an_item_scored_minus_infinity_is_never_listed(self, dense):
        items, scores = top_k(dense([[-INF, 1.0, -INF], [-INF] * 3]), np.array([0, 1]), 2, None, block_users=4)
        assert items.tolist() == [[1, -1], [-1, -1]]
        assert scores.tolist() == [[1.0, -INF], [-INF, -INF]]

    def test_plus_infinity_is_a_score_like_any_other(self, dense):
        items, _ = top_k(dense([[0.0, INF, 1.0]]), np.array([0]), 2, None, block_users=1)
        assert items.tolist() == [[1, 2]]

    def test_no_users(self, model):
        items, scores = top_k(model(np.zeros((2, 3))), np.array([], dtype=np.int32), 4, None, block_users=8)
        assert items.shape == scores.shape == (0, 4)

    def test_nan_names_the_user(self, dense):
        matrix = np.zeros((5, 40))
        matrix[3, 17] = np.nan
        with pytest.raises(TrainingError, match=r"user code 3: .*not a number"):
            top_k(dense(matrix), np.arange(5), 2, None, block_users=2)
        assert not torch.is_inference_mode_enabled()

    def test_the_scorer_s_own_scores_stay_as_they_were(self, dense, make_part):
        scorer = dense(np.arange(6).reshape(2, 3))
        top_k(scorer, np.arange(2), 2, Seen.from_parts(2, 3, make_part([(0, 2)])), block_users=2)
        assert scorer.matrix.tolist() == [[0, 1, 2], [3, 4, 5]]


class TestVectors:
    """Scores that are never written down, against the same ones written down."""

    needed = pytest.mark.skipif(not scan.available(), reason="no compiled kernels")

    @staticmethod
    def scorer(n_users=50, n_items=1003, d=19, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return VectorScorer(torch.randn(n_users, d, generator=generator), torch.randn(n_items, d, generator=generator))

    def random_seen(self, make_part, n_users=50, n_items=1003, n=2000):
        pairs = np.random.default_rng(1).integers(0, (n_users, n_items), (n, 2))
        return Seen.from_parts(n_users, n_items, make_part({(int(u), int(i)) for u, i in pairs}))

    def test_lists_are_those_of_the_product(self, dense, make_part):
        scorer, seen = self.scorer(), self.random_seen(make_part)
        users = np.random.default_rng(0).integers(0, 50, 70)
        written = dense(scorer.users.double() @ scorer.items.double().T)
        items, scores = top_k(scorer, users, 20, seen, block_users=16)
        expected_items, expected_scores = top_k(written, users, 20, seen, block_users=16)
        np.testing.assert_array_equal(items, expected_items)
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)

    def test_items_with_the_same_vector_tie_whatever_stands_around_them(self, make_part):
        scorer = self.scorer()
        order = np.random.default_rng(2).integers(0, 40, 1003)
        scorer.items = scorer.items[torch.from_numpy(order)]
        items, scores = top_k(scorer, np.arange(50), 30, None, block_users=8)
        for row, values in zip(items, scores, strict=True):
            groups = order[row]
            assert len(set(row)) == 30
            assert [len(set(values[groups == g])) for g in set(groups)] == [1] * len(set(groups))
        shorter, _ = top_k(scorer, np.arange(50)[::-1], 7, None, block_users=64)
        np.testing.assert_array_equal(items[:, :7], shorter[::-1])

    def test_targets_stand_where_the_lists_have_them(self, make_part):
        scorer, seen = self.scorer(), self.random_seen(make_part)
        lists, _ = top_k(scorer, np.arange(50), 40, seen, block_users=16)
        places = np.random.default_rng(3).permuted(np.tile(np.arange(40), (50, 1)), axis=1)[:, :3]
        targets = make_part({(u, int(lists[u, place])) for u in range(50) for place in places[u]})
        ranked = rank_targets(scorer, targets, 40, seen, block_users=16)
        expected = [
            int(np.flatnonzero(lists[user] == item)[0])
            for user, item in zip(ranked.users[ranked.ranks.owner], ranked.targets, strict=True)
        ]
        assert ranked.ranks.above.tolist() == expected
        np.testing.assert_array_equal(ranked.lists, lists)

    @needed
    @pytest.mark.parametrize("k", [1, 12, 200])
    def test_the_scores_are_not_asked_for(self, k, monkeypatch):
        scorer = self.scorer(n_items=200)
        monkeypatch.setattr(VectorScorer, "scores", lambda *_: pytest.fail("scores were written down"))
        items, _ = top_k(scorer, np.arange(50), k, None, block_users=16)
        assert (np.sort(items)[:, 1:] != np.sort(items)[:, :-1]).all()

    def test_nan_names_the_user(self):
        scorer = self.scorer()
        scorer.users[31, 5] = torch.nan
        with pytest.raises(TrainingError, match=r"user code 31: .*not a number"):
            top_k(scorer, np.arange(50), 5, None, block_users=8)

    def test_another_precision_goes_the_plain_way(self, dense):
        scorer = self.scorer()
        wide = VectorScorer(scorer.users.double(), scorer.items.double())
        items, _ = top_k(wide, np.arange(50), 9, None, block_users=8)
        expected, _ = top_k(dense(wide.users @ wide.items.T), np.arange(50), 9, None, block_users=8)
        np.testing.assert_array_equal(items, expected)


class TestTies:
    def test_every_item_is_listed_about_equally_often(self, model):
        n_users, n_items, k = 4000, 200, 10
        items, _ = top_k(model(np.zeros((n_users, n_items))), np.arange(n_users), k, None, block_users=512)
        counts = np.bincount(items.ravel(), minlength=n_items)
        expected = n_users * k / n_items
        # Binomial with p = k / n_items; five standard deviations over 200 items.
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - k / n_items))
        assert all(len(set(row)) == k for row in items.tolist())

    def test_every_place_within_a_list_is_drawn_too(self, model):
        """Two tied items, both always listed: each is first about half of the time."""
        matrix = np.tile([1.0, 0.0, 1.0], (2000, 1))
        items, _ = top_k(model(matrix), np.arange(2000), 2, None, block_users=512)
        assert abs((items[:, 0] == 0).mean() - 0.5) < 5 * np.sqrt(0.25 / 2000)

    @pytest.mark.parametrize("levels", [1, 3, 20])
    def test_neither_blocks_nor_k_nor_the_company_change_the_order(self, model, levels):
        matrix = np.random.default_rng(1).integers(0, levels, (30, 700))
        whole, _ = top_k(model(matrix), np.arange(30), 25, None, block_users=64)
        blocks, _ = top_k(model(matrix), np.arange(30), 25, None, block_users=7)
        short, _ = top_k(model(matrix), np.arange(30)[::-1], 10, None, block_users=64)
        np.testing.assert_array_equal(whole, blocks)
        np.testing.assert_array_equal(whole[:, :10], short[::-1])

    @pytest.mark.parametrize("levels", [1, 2, 5, 50])
    def test_scores_are_those_of_a_full_sort(self, model, levels):
        matrix = np.random.default_rng(2).integers(0, levels, (30, 700)).astype(np.float32)
        items, scores = top_k(model(matrix), np.arange(30), 15, None, block_users=64)
        np.testing.assert_array_equal(scores, -np.sort(-matrix, axis=1)[:, :15])
        np.testing.assert_array_equal(np.take_along_axis(matrix, items.astype(np.int64), axis=1), scores)
        assert all(len(set(row)) == 15 for row in items.tolist())

    def test_another_seed_draws_another_order(self, model):
        scorer = model(np.zeros((5, 300)))
        first, _ = top_k(scorer, np.arange(5), 5, None, block_users=8, seed=0)
        second, _ = top_k(scorer, np.arange(5), 5, None, block_users=8, seed=1)
        assert (first != second).any()


def naive_ranks(matrix, targets, seen_pairs):
    """(above, tied) of each target, one comparison at a time."""
    result = []
    for user, item in targets:
        own = {i for u, i in targets if u == user}
        left_out = {i for u, i in seen_pairs if u == user} - own
        others = [matrix[user][i] for i in range(len(matrix[user])) if i not in left_out]
        result.append((sum(s > matrix[user][item] for s in others), sum(s == matrix[user][item] for s in others)))
    return result


class TestRankTargets:
    @given(
        n_items=st.integers(1, 60),
        k=st.integers(1, 12),
        levels=st.sampled_from([1, 3, 10, 1000]),
        block=st.sampled_from([1, 3, 100]),
        seed=st.integers(0, 10_000),
    )
    @settings(max_examples=200, deadline=None)
    def test_counts_equal_one_by_one_comparison(self, model, make_part, n_items, k, levels, block, seed):
        rng = np.random.default_rng(seed)
        matrix = rng.integers(0, levels, (6, n_items)).astype(np.float32)
        draw = {(int(u), int(i)) for u, i in rng.integers(0, (6, n_items), (12, 2))}
        targets = make_part(draw)
        seen_pairs = {(int(u), int(i)) for u, i in rng.integers(0, (6, n_items), (30, 2))}
        seen = Seen.from_parts(6, n_items, make_part(seen_pairs))
        ranked = rank_targets(model(matrix), targets, k, seen, block_users=block)
        pairs = list(zip(ranked.users[ranked.ranks.owner].tolist(), ranked.targets.tolist(), strict=True))
        assert sorted(pairs) == sorted(draw)
        for pair, above, tied in zip(pairs, ranked.ranks.above, ranked.ranks.tied, strict=True):
            [(expected_above, expected_tied)] = [
                counts for p, counts in zip(pairs, naive_ranks(matrix, pairs, seen_pairs), strict=True) if p == pair
            ]
            if expected_above < k:
                assert (above, tied) == (expected_above, expected_tied)
            else:
                assert above >= k

    def test_a_wide_catalogue_with_ties_across_the_edge(self, model, make_part):
        matrix = np.zeros((1, 2000))
        matrix[0, :5] = 1.0
        ranked = rank_targets(model(matrix), make_part([(0, 3), (0, 999)]), 20, None, block_users=8)
        assert ranked.ranks.above.tolist() == [0, 5]
        assert ranked.ranks.tied.tolist() == [5, 1995]

    def test_a_target_among_the_seen_items_is_still_a_candidate(self, model, make_part):
        pairs = make_part([(0, 1)])
        ranked = rank_targets(model([[1.0, 2.0, 3.0]]), pairs, 2, Seen.from_parts(1, 3, pairs), block_users=1)
        assert (ranked.ranks.above[0], ranked.ranks.tied[0]) == (1, 1)
        assert ranked.lists is not None
        assert ranked.lists.tolist() == [[2, 1]]

    def test_a_target_scored_minus_infinity_is_never_found(self, dense, make_part):
        ranked = rank_targets(dense([[-INF, -INF, -INF]]), make_part([(0, 1)]), 5, None, block_users=1)
        assert ranked.ranks.above[0] >= 5

    def test_nan_of_a_target_names_the_user(self, dense, make_part):
        with pytest.raises(TrainingError, match="user code 1"):
            rank_targets(dense([[0.0, 1.0], [np.nan, 1.0]]), make_part([(0, 0), (1, 0)]), 1, None, block_users=4)
