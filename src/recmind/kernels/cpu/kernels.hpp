// The kernels, as plain functions on pointers. kernels.cpp is compiled once for every instruction set
// in the list below; module.cpp takes the best one that the processor has when the module is loaded.
#pragma once

#include <cstdint>

#include "attention.hpp"
#include "bytes.hpp"
#include "select.hpp"

namespace recmind {

using bf16 = std::uint16_t;

// Value (r, c) of a table stands at data[(c / width) * tile + r * row + c % width]: rows behind each other where the
// width is that of the table, tiles of a few columns each where it is smaller. Every tile but a whole row is a
// multiple of 16 columns wide.
struct Table {
    void* data;
    bool bf16;
    std::int64_t width, row, tile;
};

// out[r] = alpha * row_scale[i] * sum over j in N(i) of x[j]  +  beta * base[i],   i = rows[r]
struct GatherSum {
    const std::int64_t* offsets;      // neighbours of i: neighbours[offsets[i] .. offsets[i + 1])
    const std::int32_t* neighbours;
    const std::int64_t* rows;         // or null: row r is node first_row + r
    std::int64_t n_rows, first_row, d;
    Table x;                          // node j in row j - first_column, or
    const std::int32_t* x_at;         // in row x_at[j]; -1: not in x, counts as zero and is skipped
    std::int64_t first_column;
    const std::int32_t* ahead;        // end of all neighbours: ask for rows of x before they are needed; or null
    const float* row_scale;           // per node, or null: 1
    Table base;                       // float32, no data: none; node i in row r, or
    const std::int32_t* base_at;      // in row base_at[i]; -1: not in base, counts as zero
    float alpha, beta;
    Table out;                        // not x or base
    const std::int64_t* bounds;       // rows bounds[c] .. bounds[c + 1] are chunk c
    std::int64_t chunks;
};

// out[r] = scale[r] * x[r], from any layout to any other
struct Arrange {
    Table x;                          // float32
    const float* scale;               // or null: 1
    Table out;
    std::int64_t n, d;
};

// mixed[v] = scale[v] * (z[v] + gamma[v] (e[v] - z[v])),  gamma[v] = sigmoid(w[side]·[e ‖ z ‖ log_degree] + b[side])
struct Mix {
    Table e;
    const float *z, *log_degree;
    const float *weight, *bias;       // (2, 2 d + 1) and (2): users, items
    const float* scale;
    std::int64_t n, n_users, d;
    Table mixed;
    float* gamma;
};

// The gradients of Mix from that of the unscaled mixture.
struct MixBackward {
    Table grad, e;
    const float *z, *log_degree, *gamma, *weight;
    const float* plus;                // added to grad_e, or null; node v in row v, or
    const std::int32_t* plus_at;      // in row plus_at[v]; -1: nothing is added
    const float* scale;               // multiplies grad_e in the end, or null
    std::int64_t n, n_users, d;
    Table grad_e;
    float* grad_z;
    bool add_to_grad_z;
    double* partial;                  // (mix_chunks(n, n_users), 2 d + 2): sums for weight, then bias
};

// Softmax cross-entropy of a positive against the logits of its row, and the gradient of the mean in their place.
struct SoftmaxRows {
    float* logits;                    // (n_rows, n); afterwards the gradient of the loss
    const float* positive;            // (n_rows)
    float *loss, *grad_positive;      // (n_rows) each
    std::int64_t n_rows, n;
};

struct Kernels {
    const char* name;
    void (*gather_sum)(const GatherSum&, int threads);
    void (*arrange)(const Arrange&, int threads);
    void (*mix)(const Mix&, int threads);
    void (*mix_backward)(const MixBackward&, int threads);
    void (*softmax_rows)(const SoftmaxRows&, int threads);
    Selection selection{};
    Candidates candidates{};
    Attention attention{};
};

inline constexpr std::int64_t mix_rows = 1024;  // rows behind one partial sum

// Chunks never mix users and items, so that each partial sum belongs to one side.
inline std::int64_t mix_chunks(std::int64_t n, std::int64_t n_users) {
    return (n_users + mix_rows - 1) / mix_rows + (n - n_users + mix_rows - 1) / mix_rows;
}

Kernels kernels_baseline();
#if defined(RECMIND_X86)
Kernels kernels_avx2();
Kernels kernels_avx512();
#endif

}  // namespace recmind
