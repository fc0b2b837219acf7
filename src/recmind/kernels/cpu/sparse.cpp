#include "sparse.hpp"

#include <bit>
#include <cstring>

#include "threads.hpp"

namespace recmind {
namespace {

constexpr std::int64_t rows_of_chunk = 256;

// The columns that a row has, a bit for each: what was set is found again in order, without sorting.
struct Marks {
    std::uint64_t* words;
    std::int64_t n;

    bool set(std::int32_t column) const {  // whether it was
        std::uint64_t& word = words[column >> 6];
        const std::uint64_t bit = std::uint64_t{1} << (column & 63), before = word & bit;
        word |= bit;
        return before;
    }
};

// work(row, marks, n_columns floats of room) for every row of a; marks are clear before, and have to be after.
template <class Work>
void for_rows(const Csr& a, const Csr& b, int threads, const Work& work) {
    for_chunks(threads, (a.n_rows + rows_of_chunk - 1) / rows_of_chunk, [&](std::int64_t number) {
        const std::int64_t n_words = (b.n_columns + 63) / 64;
        auto* words = static_cast<std::uint64_t*>(
            scratch(n_words * static_cast<std::int64_t>(sizeof(std::uint64_t)) + b.n_columns * static_cast<std::int64_t>(sizeof(float))));
        std::memset(words, 0, n_words * sizeof(std::uint64_t));
        auto* sums = reinterpret_cast<float*>(words + n_words);
        const std::int64_t end = (number + 1) * rows_of_chunk < a.n_rows ? (number + 1) * rows_of_chunk : a.n_rows;
        for (std::int64_t r = number * rows_of_chunk; r < end; ++r) work(r, Marks{words, n_words}, sums);
    });
}

}  // namespace

void product_starts(const Csr& a, const Csr& b, std::int64_t* starts, int threads) {
    starts[0] = 0;
    for_rows(a, b, threads, [&](std::int64_t r, const Marks& marks, float*) {
        std::int64_t n = 0;
        for (std::int64_t e = a.starts[r]; e < a.starts[r + 1]; ++e)
            for (std::int64_t f = b.starts[a.columns[e]]; f < b.starts[a.columns[e] + 1]; ++f) n += !marks.set(b.columns[f]);
        std::memset(marks.words, 0, marks.n * sizeof(std::uint64_t));
        starts[r + 1] = n;
    });
    for (std::int64_t r = 0; r < a.n_rows; ++r) starts[r + 1] += starts[r];
}

void product(const Csr& a, const Csr& b, const std::int64_t* starts, std::int32_t* columns, float* values, int threads) {
    for_rows(a, b, threads, [&](std::int64_t r, const Marks& marks, float* sums) {
        for (std::int64_t e = a.starts[r]; e < a.starts[r + 1]; ++e)
            for (std::int64_t f = b.starts[a.columns[e]]; f < b.starts[a.columns[e] + 1]; ++f) {
                const std::int32_t column = b.columns[f];
                const float term = a.values[e] * b.values[f];
                sums[column] = marks.set(column) ? sums[column] + term : term;
            }
        std::int64_t at = starts[r];
        for (std::int64_t w = 0; w < marks.n; ++w) {
            for (std::uint64_t bits = marks.words[w]; bits; bits &= bits - 1) {
                columns[at] = static_cast<std::int32_t>(w * 64 + std::countr_zero(bits));
                values[at] = sums[columns[at]];
                ++at;
            }
            marks.words[w] = 0;
        }
    });
}

}  // namespace recmind
