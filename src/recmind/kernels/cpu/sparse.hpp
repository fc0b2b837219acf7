// Products of sparse matrices whose rows come out in the order of their columns.
#pragma once

#include <cstdint>

namespace recmind {

struct Csr {
    const std::int64_t* starts;  // row r has columns[starts[r] .. starts[r + 1]) and values likewise
    const std::int32_t* columns;
    const float* values;
    std::int64_t n_rows, n_columns;
};

// starts[r] .. starts[r + 1], n_rows + 1 of them: where row r of a b will stand. An entry is where any term is, zero or not.
void product_starts(const Csr& a, const Csr& b, std::int64_t* starts, int threads);

// The rows of a b, columns ascending, terms added in the order of a's entries; `starts` as above.
void product(const Csr& a, const Csr& b, const std::int64_t* starts, std::int32_t* columns, float* values, int threads);

}  // namespace recmind
