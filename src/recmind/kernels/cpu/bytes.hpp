// The largest inner products of one query with a table that is kept in a byte per number. bytes.cpp is compiled once
// per instruction set, as kernels.cpp is.
#pragma once

#include <cstdint>

namespace recmind {

// Row i of the table is scale[i] * rows[i], give or take a vector of length error[i]; the query is step * query, nearly.
// So the product lies within error[i] * length + rest of step * scale[i] * (rows[i] . query).
struct Bytes {
    const std::int8_t* rows;  // (n, width)
    const float *scale, *error;
    const std::int16_t* query;  // (width,), so small that its product with a row fits into 32 bits
    float step, length, rest;
    std::int64_t n, width;            // width is a multiple of 16
    const std::uint8_t* admitted;     // rows that may be listed, or null for all
    const std::int32_t* left_out;     // rows that may not, ascending
    std::int64_t n_left_out, wanted;  // wanted is 1 .. n
};

// Writes to `codes` (n,), ascending, every row that can be among the `wanted` largest; `upper` (n,) is for its own use.
// Returns how many they are.
using Candidates = std::int64_t (*)(const Bytes&, std::int32_t* codes, float* upper);

Candidates candidates_baseline();
#if defined(RECMIND_X86)
Candidates candidates_avx2();
Candidates candidates_avx512();
#endif

}  // namespace recmind
