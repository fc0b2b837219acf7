// Compiled once per instruction set: RECMIND_ISA names it. Nothing of the standard library that may be left out of
// line, for the reason given in threads.hpp.
#include "bytes.hpp"

#include <limits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "isa.hpp"
#include "threads.hpp"

namespace recmind {
namespace {

constexpr int group = 4;  // rows at once

// The products of four rows with the query, as whole numbers.
inline void products(const std::int8_t* rows, const std::int16_t* query, std::int64_t width, std::int32_t* out) {
#if defined(__AVX2__)
    __m256i sum[group] = {};
    for (std::int64_t c = 0; c < width; c += 16) {
        const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + c));
#pragma GCC unroll 4
        for (int r = 0; r < group; ++r) {
            const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + r * width + c));
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), q));
        }
    }
    const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
    const __m128i all = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), all);
#else
    for (int r = 0; r < group; ++r) {
        std::int32_t sum = 0;
        for (std::int64_t c = 0; c < width; ++c) sum += static_cast<std::int32_t>(rows[r * width + c]) * query[c];
        out[r] = sum;
    }
#endif
}

// Takes the smallest of a heap out and puts x in.
inline void exchange(float* heap, std::int64_t size, float x) {
    std::int64_t at = 0;
    for (;;) {
        std::int64_t child = 2 * at + 1;
        if (child >= size) break;
        if (child + 1 < size && heap[child + 1] < heap[child]) ++child;
        if (x <= heap[child]) break;
        heap[at] = heap[child], at = child;
    }
    heap[at] = x;
}

std::int64_t candidates(const Bytes& b, std::int32_t* codes, float* upper) {
    // The wanted largest of the lower bounds so far; what does not reach the smallest of them is not among the best.
    float* heap = static_cast<float*>(scratch(b.wanted * static_cast<std::int64_t>(sizeof(float))));
    for (std::int64_t k = 0; k < b.wanted; ++k) heap[k] = -std::numeric_limits<float>::infinity();
    const std::int32_t *left_out = b.left_out, *left_out_end = b.left_out + b.n_left_out;
    std::int64_t found = 0;
    const auto look = [&](std::int64_t row, std::int32_t product) {
        const float about = b.step * b.scale[row] * static_cast<float>(product);
        const float bound = b.error[row] * b.length + b.rest;
        if (!(about + bound >= heap[0]) || (b.admitted && !b.admitted[row])) return;
        while (left_out < left_out_end && *left_out < row) ++left_out;
        if (left_out < left_out_end && *left_out == row) return;
        codes[found] = static_cast<std::int32_t>(row), upper[found] = about + bound, ++found;
        if (about - bound > heap[0]) exchange(heap, b.wanted, about - bound);
    };
    std::int64_t row = 0;
    for (; row + group <= b.n; row += group) {
        std::int32_t product[group];
        products(b.rows + row * b.width, b.query, b.width, product);
#if defined(__AVX2__)
        // Nearly always none of the four comes near.
        const __m128 about = _mm_mul_ps(_mm_mul_ps(_mm_set1_ps(b.step), _mm_loadu_ps(b.scale + row)),
                                        _mm_cvtepi32_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(product))));
        const __m128 bound = _mm_add_ps(_mm_mul_ps(_mm_loadu_ps(b.error + row), _mm_set1_ps(b.length)), _mm_set1_ps(b.rest));
        if (!_mm_movemask_ps(_mm_cmpge_ps(_mm_add_ps(about, bound), _mm_set1_ps(heap[0])))) continue;
#endif
        for (int r = 0; r < group; ++r) look(row + r, product[r]);
    }
    for (; row < b.n; ++row) {
        std::int32_t sum = 0;
        for (std::int64_t c = 0; c < b.width; ++c) sum += static_cast<std::int32_t>(b.rows[row * b.width + c]) * b.query[c];
        look(row, sum);
    }
    std::int64_t kept = 0;
    for (std::int64_t k = 0; k < found; ++k)
        if (upper[k] >= heap[0]) codes[kept++] = codes[k];
    return kept;
}

}  // namespace

Candidates RECMIND_CONCAT(candidates_, RECMIND_ISA)() { return candidates; }

}  // namespace recmind
