// Causal attention within the pieces of a table: no row sees a later one, or one of another piece. attention.cpp is
// compiled once per instruction set, as kernels.cpp is.
#pragma once

#include <cstdint>

namespace recmind {

// Of row t of a piece, a head at a time: shares[j] = softmax over j <= t of query[t]·key[j] / sqrt(width of a head).
struct Pieces {
    const float* mixed;          // (n, 3 d): query, key and value of a row beside each other, heads beside each other within
    const std::int64_t* starts;  // piece p is rows starts[p] .. starts[p + 1)
    std::int64_t pieces, d, heads;
};

struct Attention {
    void (*attend)(const Pieces&, float* out, int threads);  // out[t] = sum over j of shares[j] value[j], (n, d)
    // The gradient of `mixed` from that of `out`, (n, 3 d); the shares are made anew.
    void (*backward)(const Pieces&, const float* grad, float* grad_mixed, int threads);
};

Attention attention_baseline();
#if defined(RECMIND_X86)
Attention attention_avx2();
Attention attention_avx512();
#endif

}  // namespace recmind
