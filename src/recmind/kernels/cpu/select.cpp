// Compiled once per instruction set: RECMIND_ISA names it. Nothing of the standard library that may be left out of
// line, for the reason given in threads.hpp.
#include "select.hpp"

#include <cstring>
#include <limits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "isa.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace recmind {
namespace {

constexpr int V = W == 16 ? 4 : 2;  // registers of items in a tile
constexpr int tile_users = 6;       // with V registers each: as many sums as there is room for
constexpr int panel = V * W;        // items in a tile

constexpr float infinity = std::numeric_limits<float>::infinity();

inline std::int64_t most(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

// A bit for each element that is larger than t, or NaN.
inline unsigned above(vec v, float t) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(t), _CMP_NLE_UQ);
#elif defined(__AVX2__)
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(t), _CMP_NLE_UQ)));
#elif defined(__SSE2__)
    return static_cast<unsigned>(_mm_movemask_ps(_mm_cmpnle_ps((__m128)v, _mm_set1_ps(t))));
#else
    unsigned bits = 0;
    for (int k = 0; k < W; ++k) bits |= static_cast<unsigned>(!(v[k] <= t)) << k;
    return bits;
#endif
}

// A panel begins at a line of the cache, so that no load crosses two.
inline std::int64_t packed_bytes(std::int64_t d) { return d * panel * static_cast<std::int64_t>(sizeof(float)) + 64; }
inline float* aligned(float* p) {
    return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(p) + 63) & ~std::uintptr_t{63});
}

// Items first .. first + panel side by side, (d, panel), zero beyond the last item.
void pack(const Products& p, std::int64_t first, float* out) {
    const std::int64_t n = least(panel, p.n_items - first);
    for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t c = 0; c < p.d; ++c) out[c * panel + j] = p.items[(first + j) * p.d + c];
    for (std::int64_t j = n; j < panel; ++j)
        for (std::int64_t c = 0; c < p.d; ++c) out[c * panel + j] = 0;
}

// Scores of U users with the items of a panel, in registers: keep(u, sums of user u). Keep must not let the address of
// the sums escape, or they are held in memory: see copy_of.
template <int U, class Keep>
inline void tile(const float* users, const float* items, std::int64_t d, const Keep& keep) {
    vec sum[U][V] = {};
    for (std::int64_t c = 0; c < d; ++c) {
        vec item[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) std::memcpy(&item[v], items + c * panel + v * W, sizeof(vec));
#pragma GCC unroll 6
        for (int u = 0; u < U; ++u) {
            const float x = users[u * d + c];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[u][v] += x * item[v];
        }
    }
#pragma GCC unroll 6
    for (int u = 0; u < U; ++u) keep(u, sum[u]);
}

struct Sums {
    vec of[V];
};

inline Sums copy_of(const vec* sum) {
    Sums copy;
    for (int v = 0; v < V; ++v) copy.of[v] = sum[v];
    return copy;
}

// Every user in begin .. end with every panel: keep(user, first item, sums). A panel is packed once and stays in the
// cache while all the users pass by.
template <class Keep>
inline void all_tiles(const Products& p, std::int64_t begin, std::int64_t end, float* packed, const Keep& keep) {
    for (std::int64_t first = 0; first < p.n_items; first += panel) {
        pack(p, first, packed);
        std::int64_t r = begin;
        for (; r + tile_users <= end; r += tile_users)
            tile<tile_users>(p.users + r * p.d, packed, p.d, [&](int u, const vec* sum) { keep(r + u, first, sum); });
        for (; r < end; ++r)
            tile<1>(p.users + r * p.d, packed, p.d, [&](int u, const vec* sum) { keep(r + u, first, sum); });
    }
}

// A score and its item as one whole number: larger scores first, then smaller items.
using Key = std::uint64_t;

inline Key key_of(float score, std::int64_t item) {
    std::uint32_t u;
    std::memcpy(&u, &score, sizeof u);
    u = u >> 31 ? ~u : u | 0x80000000u;
    return static_cast<Key>(u) << 32 | static_cast<std::uint32_t>(~item);
}

inline float score_of(Key key) {
    std::uint32_t u = static_cast<std::uint32_t>(key >> 32);
    u = u >> 31 ? u & 0x7fffffffu : ~u;
    float score;
    std::memcpy(&score, &u, sizeof score);
    return score;
}

inline std::int64_t item_of(Key key) { return static_cast<std::uint32_t>(~key); }

// Brings the `wanted` largest of n different keys to the front, sorted if asked for: quicksort that leaves out the
// parts nobody asked for.
void largest_first(Key* a, std::int64_t n, std::int64_t wanted, bool sorted) {
    const auto swap = [](Key& x, Key& y) {
        const Key z = x;
        x = y, y = z;
    };
    while (n > 16) {
        Key *x = a, *y = a + n / 2, *z = a + n - 1;
        if (*x < *y) swap(*x, *y);
        if (*y < *z) swap(*y, *z);
        if (*x < *y) swap(*x, *y);
        const Key pivot = *y;
        std::int64_t i = 0, j = n - 1;
        for (;;) {
            while (a[i] > pivot) ++i;
            while (a[j] < pivot) --j;
            if (i >= j) break;
            swap(a[i++], a[j--]);
        }
        // a[0 .. i) are at least the pivot, a[i .. n) at most; neither is empty.
        if (i < wanted) {
            if (sorted) largest_first(a, i, i, true);
            a += i, n -= i, wanted -= i;
        } else if (i == wanted && !sorted) {
            return;
        } else {
            n = i;
        }
    }
    for (std::int64_t i = 1; i < n; ++i) {
        const Key key = a[i];
        std::int64_t j = i;
        for (; j > 0 && a[j - 1] < key; --j) a[j] = a[j - 1];
        a[j] = key;
    }
}

// What is kept of one user's row while it passes by: at least the `wanted` largest so far.
struct Row {
    Key* keys;
    std::int64_t n;
    const std::int32_t *left_out, *left_out_end;  // from the next one on
    std::int64_t raised, raised_end;              // likewise
    bool has_nan;
};

struct Chunk {
    const Best& a;
    std::int64_t room;  // for keys, at least a.wanted
    Row* rows;
    float* bar;  // of each row: what is not larger cannot be among the best
};

// The survivors of one panel; rare, so kept out of the loop over tiles.
__attribute__((noinline)) void take(const Chunk& chunk, std::int64_t r, std::int64_t first, const Sums& sums) {
    Row& row = chunk.rows[r];
    if (row.has_nan) return;
    for (int v = 0; v < V; ++v)
        for (unsigned bits = above(sums.of[v], chunk.bar[r]); bits; bits &= bits - 1) {
            const int k = __builtin_ctz(bits);
            const std::int64_t item = first + v * W + k;
            const float score = sums.of[v][k];
            if (item >= chunk.a.of.n_items || score <= chunk.bar[r]) continue;
            while (row.left_out < row.left_out_end && *row.left_out < item) ++row.left_out;
            if (row.left_out < row.left_out_end && *row.left_out == item) continue;
            if (score != score) {
                row.has_nan = true, chunk.bar[r] = infinity;
                return;
            }
            if (row.n == chunk.room) {
                largest_first(row.keys, row.n, chunk.a.wanted, false);
                row.n = chunk.a.wanted;
                Key last = row.keys[0];
                for (std::int64_t i = 1; i < row.n; ++i) last = last < row.keys[i] ? last : row.keys[i];
                chunk.bar[r] = score_of(last);
                if (score <= chunk.bar[r]) continue;
            }
            row.keys[row.n++] = key_of(score, item);
        }
}

// A panel in which some scores are raised.
__attribute__((noinline)) void raise_and_take(const Chunk& chunk, std::int64_t r, std::int64_t first, const Sums& sums) {
    Row& row = chunk.rows[r];
    const Best& a = chunk.a;
    Sums raised = sums;
    for (; row.raised < row.raised_end && a.raised_items[row.raised] < first + panel; ++row.raised) {
        const std::int64_t k = a.raised_items[row.raised] - first;
        raised.of[k / W][k % W] += a.raised[row.raised];
    }
    unsigned any = 0;
    for (int v = 0; v < V; ++v) any |= above(raised.of[v], chunk.bar[r]);
    if (any) take(chunk, r, first, raised);
}

void write(const Best& a, Row& row, float* values, std::int64_t* columns) {
    const std::int64_t n = least(row.n, a.wanted);
    largest_first(row.keys, row.n, n, true);
    for (std::int64_t i = 0; i < a.wanted; ++i) {
        const bool there = i < n && !row.has_nan;
        values[i] = there ? score_of(row.keys[i]) : row.has_nan ? std::numeric_limits<float>::quiet_NaN() : -infinity;
        columns[i] = there ? item_of(row.keys[i]) : -1;
    }
}

void best(const Best& a, int threads) {
    constexpr std::int64_t rows_at_most = 510, keys_at_most = 1 << 19;  // 4 MiB of keys a thread
    const std::int64_t room = most(1, least(a.wanted + most(64, a.wanted), a.of.n_items));
    const std::int64_t size = most(tile_users, least(rows_at_most, keys_at_most / room / tile_users * tile_users));
    for_chunks(threads, (a.of.n_users + size - 1) / size, [&](std::int64_t number) {
        const std::int64_t begin = number * size, end = least(a.of.n_users, begin + size), n = end - begin;
        const std::int64_t row_bytes = room * sizeof(Key) + sizeof(Row) + sizeof(float);
        auto* keys = static_cast<Key*>(scratch(n * row_bytes + packed_bytes(a.of.d)));
        auto* rows = reinterpret_cast<Row*>(keys + n * room);
        auto* bar = reinterpret_cast<float*>(rows + n);
        for (std::int64_t r = 0; r < n; ++r) {
            const std::int32_t* of_row = a.starts ? a.left_out + a.starts[begin + r] : nullptr;
            rows[r] = {.keys = keys + r * room, .n = 0,
                       .left_out = of_row, .left_out_end = a.starts ? a.left_out + a.starts[begin + r + 1] : nullptr,
                       .raised = a.raised ? a.raised_starts[begin + r] : 0,
                       .raised_end = a.raised ? a.raised_starts[begin + r + 1] : 0, .has_nan = false};
            bar[r] = -infinity;
        }
        const Chunk chunk{a, room, rows, bar};
        all_tiles(a.of, begin, end, aligned(bar + n), [&](std::int64_t user, std::int64_t first, const vec* sum) {
            const std::int64_t r = user - begin;
            if (rows[r].raised < rows[r].raised_end && a.raised_items[rows[r].raised] < first + panel)
                return raise_and_take(chunk, r, first, copy_of(sum));
            unsigned any = 0;
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) any |= above(sum[v], bar[r]);
            if (any) take(chunk, r, first, copy_of(sum));
        });
        for (std::int64_t r = 0; r < n; ++r)
            write(a, rows[r], a.values + (begin + r) * a.wanted, a.columns + (begin + r) * a.wanted);
    });
}

void scores(const Products& p, float* out, int threads) {
    constexpr std::int64_t size = 2 * tile_users;
    for_chunks(threads, (p.n_users + size - 1) / size, [&](std::int64_t number) {
        float* packed = aligned(static_cast<float*>(scratch(packed_bytes(p.d))));
        const std::int64_t begin = number * size, end = least(p.n_users, begin + size);
        all_tiles(p, begin, end, packed, [&](std::int64_t user, std::int64_t first, const vec* sum) {
            const Sums sums = copy_of(sum);
            std::memcpy(out + user * p.n_items + first, sums.of, least(panel, p.n_items - first) * sizeof(float));
        });
    });
}

// Through tile(), with the item alone in a panel: written as a dot product, the compiler would round it differently.
void pairs(const Products& p, const std::int64_t* rows, const std::int64_t* columns, std::int64_t n, float* out) {
    float* packed = aligned(static_cast<float*>(scratch(packed_bytes(p.d))));
    for (std::int64_t i = 0; i < p.d * panel; ++i) packed[i] = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t c = 0; c < p.d; ++c) packed[c * panel] = p.items[columns[i] * p.d + c];
        tile<1>(p.users + rows[i] * p.d, packed, p.d, [&](int, const vec* sum) { out[i] = sum[0][0]; });
    }
}

}  // namespace

Selection RECMIND_CONCAT(selection_, RECMIND_ISA)() { return {best, scores, pairs}; }

}  // namespace recmind
