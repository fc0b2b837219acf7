// Inner products of users with all items, and the largest of each row, without the rows ever being written down.
// select.cpp is compiled once per instruction set, as kernels.cpp is.
#pragma once

#include <cstdint>

namespace recmind {

// score(u, i) = sum over c of users[u][c] items[i][c], added in the order of c whatever the call, the neighbours
// or the number of threads: the same pair has the same score in all three functions, bit for bit.
struct Products {
    const float* users;  // (n_users, d)
    const float* items;  // (n_items, d)
    std::int64_t n_users, n_items, d;
};

// The `wanted` largest scores of each user and their items, largest first. Of equal scores at the edge, which ones
// are named is left open. Where fewer are left the rest is -inf and item -1; a row with a NaN is all NaN.
struct Best {
    Products of;
    const std::int64_t* starts;    // user u leaves out left_out[starts[u] .. starts[u + 1]), ascending; or null
    const std::int32_t* left_out;
    // raised[p] is added to the score of user u and item raised_items[p], p in raised_starts[u] .. raised_starts[u + 1),
    // items ascending; or null
    const std::int64_t* raised_starts;
    const std::int32_t* raised_items;
    const float* raised;
    std::int64_t wanted;           // 1 .. n_items
    float* values;                 // (n_users, wanted)
    std::int64_t* columns;         // (n_users, wanted)
};

struct Selection {
    void (*best)(const Best&, int threads);
    void (*scores)(const Products&, float* out, int threads);  // (n_users, n_items)
    // out[p] = score(rows[p], columns[p])
    void (*pairs)(const Products&, const std::int64_t* rows, const std::int64_t* columns, std::int64_t n, float* out);
};

Selection selection_baseline();
#if defined(RECMIND_X86)
Selection selection_avx2();
Selection selection_avx512();
#endif

}  // namespace recmind
