// Python's side of the kernels: checks shapes and contiguity, lets go of the interpreter, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "kernels.hpp"
#include "sparse.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace recmind {
namespace {

template <class T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <class T, int Dims>
using Given = std::optional<Array<T, Dims>>;
using Any = nb::ndarray<nb::c_contig, nb::device::cpu>;  // (n, d), or tiles (t, n, d / t)

// What the processor can do, best first.
std::vector<Kernels> usable() {
    std::vector<Kernels> found;
    const auto add = [&](Kernels kernels, const Selection& selection, Candidates candidates, const Attention& attention) {
        kernels.selection = selection, kernels.candidates = candidates, kernels.attention = attention;
        found.push_back(kernels);
    };
#if defined(RECMIND_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        add(kernels_avx512(), selection_avx512(), candidates_avx512(), attention_avx512());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        add(kernels_avx2(), selection_avx2(), candidates_avx2(), attention_avx2());
#endif
    add(kernels_baseline(), selection_baseline(), candidates_baseline(), attention_baseline());
    return found;
}

Kernels chosen = usable().front();

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

bool is_bf16(const Any& x) {
    const auto type = x.dtype();
    if (type.code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat)) return true;
    require(type == nb::dtype<float>(), "expected float32 or bfloat16");
    return false;
}

std::int64_t size(const auto& a, int k) { return static_cast<std::int64_t>(a.shape(k)); }

std::int64_t rows_of(const Any& x) { return size(x, x.ndim() == 3 ? 1 : 0); }

std::int64_t columns_of(const Any& x) { return x.ndim() == 3 ? size(x, 0) * size(x, 2) : size(x, 1); }

Table table_of(const Any& x) {
    require(x.ndim() == 2 || x.ndim() == 3, "expected a table (n, d) or tiles (t, n, d / t)");
    const std::int64_t n = rows_of(x), width = x.ndim() == 3 ? size(x, 2) : size(x, 1);
    require(x.ndim() == 2 || size(x, 0) == 1 || width % 16 == 0, "tiles are a multiple of 16 columns wide");
    return {.data = x.data(), .bf16 = is_bf16(x), .width = std::max<std::int64_t>(width, 1), .row = width, .tile = n * width};
}

Table float_table_of(const Any& x) {
    const Table table = table_of(x);
    require(!table.bf16, "expected float32");
    return table;
}

std::int64_t cache_size() {
    constexpr std::int64_t guess = 1 << 20;
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (found > 0) return found;
#endif
    return guess;
}

// First rows of chunks with about the same work each; a row counts as its edges and a little.
std::vector<std::int64_t> chunk_bounds(const GatherSum& a, int threads) {
    constexpr std::int64_t row_cost = 8, least = 8192;
    const auto cost = [&](std::int64_t r) {
        const std::int64_t i = a.rows ? a.rows[r] : a.first_row + r;
        return a.offsets[i + 1] - a.offsets[i] + row_cost;
    };
    std::int64_t whole = 0;
    for (std::int64_t r = 0; r < a.n_rows; ++r) whole += cost(r);
    const std::int64_t share = std::max(least, whole / (threads * 16));
    std::vector<std::int64_t> bounds{0};
    std::int64_t sum = 0;
    for (std::int64_t r = 0; r < a.n_rows; ++r) {
        sum += cost(r);
        if (sum >= share || r + 1 == a.n_rows) bounds.push_back(r + 1), sum = 0;
    }
    return bounds;
}

// Tables of a step come and go; an allocator that hands their memory back each time has it zeroed and mapped anew.
void keep_memory() {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that it accepts
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void gather_sum(Array<const std::int64_t, 1> offsets, Array<const std::int32_t, 1> neighbours, Any x, Any out,
                Given<const std::int64_t, 1> rows, std::int64_t first_row, std::int64_t first_column,
                Given<const std::int32_t, 1> x_at, Given<const float, 1> row_scale, std::optional<Any> base,
                Given<const std::int32_t, 1> base_at, float alpha, float beta, int threads) {
    const std::int64_t n_nodes = size(offsets, 0) - 1;
    GatherSum call{
        .offsets = offsets.data(), .neighbours = neighbours.data(), .rows = rows ? rows->data() : nullptr,
        .n_rows = rows_of(out), .first_row = first_row, .d = columns_of(x), .x = table_of(x),
        .x_at = x_at ? x_at->data() : nullptr, .first_column = x_at ? 0 : first_column, .ahead = nullptr,
        .row_scale = row_scale ? row_scale->data() : nullptr, .base = base ? float_table_of(*base) : Table{},
        .base_at = base_at ? base_at->data() : nullptr, .alpha = alpha, .beta = beta, .out = table_of(out),
        .bounds = nullptr, .chunks = 0};
    require(n_nodes >= 0 && threads > 0, "offsets are one more than the nodes, threads at least 1");
    require(columns_of(out) == call.d, "x and out differ in columns");
    require(rows ? size(*rows, 0) == call.n_rows : first_row + call.n_rows <= n_nodes, "out has another number of rows than asked for");
    require(!row_scale || size(*row_scale, 0) == n_nodes, "row_scale is not one value a node");
    for (const auto* at : {&x_at, &base_at}) require(!*at || size(**at, 0) == n_nodes, "x_at and base_at are one row a node");
    require(!base || (columns_of(*base) == call.d && (base_at || rows_of(*base) == call.n_rows)), "base and out differ in shape");
    if (call.d == 0) return;
    // Asking for a row costs more than it wins where the rows are in the cache anyway.
    if (call.x.width == call.d && !x_at && static_cast<std::int64_t>(x.nbytes()) > cache_size())
        call.ahead = neighbours.data() + size(neighbours, 0);
    const nb::gil_scoped_release release;
    const std::vector<std::int64_t> bounds = chunk_bounds(call, threads);
    call.bounds = bounds.data(), call.chunks = static_cast<std::int64_t>(bounds.size()) - 1;
    chosen.gather_sum(call, threads);
}

void arrange(Any x, Given<const float, 1> scale, Any out, int threads) {
    const Arrange call{.x = float_table_of(x), .scale = scale ? scale->data() : nullptr, .out = table_of(out),
                       .n = rows_of(x), .d = columns_of(x)};
    require(rows_of(out) == call.n && columns_of(out) == call.d, "x and out differ in shape");
    require((!scale || size(*scale, 0) == call.n) && threads > 0, "scale is one value a row, threads at least 1");
    const nb::gil_scoped_release release;
    chosen.arrange(call, threads);
}

void mix(Any e, Array<const float, 2> z, Array<const float, 1> log_degree, Array<const float, 2> weight,
         Array<const float, 1> bias, Given<const float, 1> scale, std::int64_t n_users, Any mixed,
         Array<float, 1> gamma, int threads) {
    const std::int64_t n = size(z, 0), d = size(z, 1);
    for (const Any* x : {&e, &mixed}) require(rows_of(*x) == n && columns_of(*x) == d, "e, z and mixed differ in shape");
    require(size(log_degree, 0) == n && size(gamma, 0) == n && (!scale || size(*scale, 0) == n), "log_degree, scale and gamma are one value a node");
    require(size(weight, 0) == 2 && size(weight, 1) == 2 * d + 1 && size(bias, 0) == 2, "weight is (2, 2 d + 1), bias (2)");
    require(n_users >= 0 && n_users <= n && threads > 0, "at most as many users as nodes, and at least one thread");
    const Mix call{.e = float_table_of(e), .z = z.data(), .log_degree = log_degree.data(), .weight = weight.data(),
                   .bias = bias.data(), .scale = scale ? scale->data() : nullptr, .n = n, .n_users = n_users, .d = d,
                   .mixed = table_of(mixed), .gamma = gamma.data()};
    const nb::gil_scoped_release release;
    chosen.mix(call, threads);
}

void mix_backward(Any grad, Any e, Array<const float, 2> z, Array<const float, 1> log_degree,
                  Array<const float, 1> gamma, Array<const float, 2> weight, Given<const float, 2> plus,
                  Given<const std::int32_t, 1> plus_at, Given<const float, 1> scale, std::int64_t n_users, Any grad_e,
                  Array<float, 2> grad_z, bool add_to_grad_z, Array<double, 2> sums, int threads) {
    const std::int64_t n = size(z, 0), d = size(z, 1);
    for (const Any* x : {&grad, &e, &grad_e}) require(rows_of(*x) == n && columns_of(*x) == d, "the tables differ in shape");
    require(size(grad_z, 0) == n && size(grad_z, 1) == d, "the tables differ in shape");
    require(!plus || (size(*plus, 1) == d && (plus_at ? size(*plus_at, 0) : size(*plus, 0)) == n), "plus and e differ in shape");
    require(size(log_degree, 0) == n && size(gamma, 0) == n && (!scale || size(*scale, 0) == n), "log_degree, scale and gamma are one value a node");
    require(size(weight, 0) == 2 && size(weight, 1) == 2 * d + 1, "weight is (2, 2 d + 1)");
    require(size(sums, 0) == 2 && size(sums, 1) == 2 * d + 2, "sums is (2, 2 d + 2)");
    require(n_users >= 0 && n_users <= n && threads > 0, "at most as many users as nodes, and at least one thread");
    const std::int64_t width = 2 * d + 2, chunks = mix_chunks(n, n_users);
    std::vector<double> partial(chunks * width);
    const MixBackward call{.grad = float_table_of(grad), .e = float_table_of(e), .z = z.data(),
                           .log_degree = log_degree.data(), .gamma = gamma.data(), .weight = weight.data(),
                           .plus = plus ? plus->data() : nullptr, .plus_at = plus_at ? plus_at->data() : nullptr,
                           .scale = scale ? scale->data() : nullptr, .n = n, .n_users = n_users, .d = d,
                           .grad_e = table_of(grad_e), .grad_z = grad_z.data(), .add_to_grad_z = add_to_grad_z,
                           .partial = partial.data()};
    const nb::gil_scoped_release release;
    chosen.mix_backward(call, threads);
    const std::int64_t of_users = mix_chunks(n_users, n_users);
    std::fill(sums.data(), sums.data() + 2 * width, 0.0);
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk)  // in order, so that the sum does not depend on the threads
        for (std::int64_t k = 0; k < width; ++k) sums.data()[(chunk >= of_users) * width + k] += partial[chunk * width + k];
}

void softmax_rows(Array<float, 2> logits, Array<const float, 1> positive, Array<float, 1> loss,
                  Array<float, 1> grad_positive, int threads) {
    for (const auto rows : {positive.shape(0), loss.shape(0), grad_positive.shape(0)})
        require(rows == logits.shape(0), "expected one value for each row of the logits");
    require(threads > 0, "expected at least one thread");
    const SoftmaxRows call{.logits = logits.data(), .positive = positive.data(), .loss = loss.data(),
                           .grad_positive = grad_positive.data(), .n_rows = static_cast<std::int64_t>(logits.shape(0)),
                           .n = static_cast<std::int64_t>(logits.shape(1))};
    const nb::gil_scoped_release release;
    chosen.softmax_rows(call, threads);
}

Products products_of(const Array<const float, 2>& users, const Array<const float, 2>& items) {
    require(users.shape(1) == items.shape(1), "users and items differ in columns");
    return {.users = users.data(), .items = items.data(), .n_users = static_cast<std::int64_t>(users.shape(0)),
            .n_items = static_cast<std::int64_t>(items.shape(0)), .d = static_cast<std::int64_t>(users.shape(1))};
}

using Starts = Array<const std::int64_t, 1>;
using Codes = Array<const std::int32_t, 1>;
using Values = Array<const float, 1>;

// Rows of entries one behind the other, the columns of each ascending and within bounds.
void require_rows(const Starts& starts, const Codes& columns, std::int64_t n_columns) {
    require(starts.shape(0) >= 1 && starts.data()[0] == 0 &&
                starts.data()[starts.shape(0) - 1] == static_cast<std::int64_t>(columns.shape(0)),
            "starts begin with 0 and end with the number of entries");
    for (std::size_t r = 0; r + 1 < starts.shape(0); ++r) require(starts.data()[r] <= starts.data()[r + 1], "starts do not fall");
    for (std::size_t r = 0; r + 1 < starts.shape(0); ++r) {
        std::int64_t before = -1;
        for (std::int64_t e = starts.data()[r]; e < starts.data()[r + 1]; before = columns.data()[e++])
            require(columns.data()[e] > before && columns.data()[e] < n_columns, "columns ascend, within bounds");
    }
}

Csr csr_of(const Starts& starts, const Codes& columns, const Values& values, std::int64_t n_columns) {
    require(values.shape(0) == columns.shape(0), "columns and values are one an entry");
    require_rows(starts, columns, n_columns);
    return {.starts = starts.data(), .columns = columns.data(), .values = values.data(), .n_rows = size(starts, 0) - 1,
            .n_columns = n_columns};
}

void sparse_starts(Starts starts, Codes columns, Values values, Starts other_starts, Codes other_columns, Values other_values,
                   std::int64_t width, Array<std::int64_t, 1> out, int threads) {
    const Csr b = csr_of(other_starts, other_columns, other_values, width);
    const Csr a = csr_of(starts, columns, values, b.n_rows);
    require(size(out, 0) == a.n_rows + 1 && threads > 0, "out has a place more than there are rows");
    const nb::gil_scoped_release release;
    product_starts(a, b, out.data(), threads);
}

void sparse_product(Starts starts, Codes columns, Values values, Starts other_starts, Codes other_columns, Values other_values,
                    std::int64_t width, Starts out_starts, Array<std::int32_t, 1> out_columns, Array<float, 1> out_values,
                    int threads) {
    const Csr b = csr_of(other_starts, other_columns, other_values, width);
    const Csr a = csr_of(starts, columns, values, b.n_rows);
    require(size(out_starts, 0) == a.n_rows + 1 && size(out_columns, 0) == out_starts.data()[a.n_rows] &&
                size(out_values, 0) == size(out_columns, 0) && threads > 0,
            "out is as sparse_starts says");
    const nb::gil_scoped_release release;
    product(a, b, out_starts.data(), out_columns.data(), out_values.data(), threads);
}

void best_products(Array<const float, 2> users, Array<const float, 2> items, Given<const std::int64_t, 1> starts,
                   Given<const std::int32_t, 1> left_out, Given<const std::int64_t, 1> raised_starts,
                   Given<const std::int32_t, 1> raised_items, Given<const float, 1> raised, Array<float, 2> values,
                   Array<std::int64_t, 2> columns, int threads) {
    const Best call{.of = products_of(users, items), .starts = starts ? starts->data() : nullptr,
                    .left_out = left_out ? left_out->data() : nullptr,
                    .raised_starts = raised_starts ? raised_starts->data() : nullptr,
                    .raised_items = raised_items ? raised_items->data() : nullptr, .raised = raised ? raised->data() : nullptr,
                    .wanted = static_cast<std::int64_t>(values.shape(1)), .values = values.data(), .columns = columns.data()};
    require(values.shape(0) == users.shape(0) && columns.shape(0) == users.shape(0) && columns.shape(1) == values.shape(1),
            "values and columns are (n_users, wanted)");
    require(call.wanted >= 1 && call.wanted <= call.of.n_items && threads > 0, "wanted is 1 to n_items, threads at least 1");
    require(starts.has_value() == left_out.has_value(), "starts and left_out belong together");
    require(!starts || (starts->shape(0) == users.shape(0) + 1 && starts->data()[0] >= 0 &&
                        starts->data()[call.of.n_users] <= static_cast<std::int64_t>(left_out->shape(0))),
            "starts are one more than the users, within left_out");
    require(raised_starts.has_value() == raised.has_value() && raised_items.has_value() == raised.has_value(),
            "raised_starts, raised_items and raised belong together");
    if (raised) {
        require(raised_starts->shape(0) == users.shape(0) + 1 && raised->shape(0) == raised_items->shape(0),
                "raised_starts are one more than the users, raised one an item");
        require_rows(*raised_starts, *raised_items, call.of.n_items);
    }
    const nb::gil_scoped_release release;
    chosen.selection.best(call, threads);
}

void all_products(Array<const float, 2> users, Array<const float, 2> items, Array<float, 2> out, int threads) {
    const Products call = products_of(users, items);
    require(out.shape(0) == users.shape(0) && out.shape(1) == items.shape(0) && threads > 0, "out is (n_users, n_items)");
    const nb::gil_scoped_release release;
    chosen.selection.scores(call, out.data(), threads);
}

void pair_products(Array<const float, 2> users, Array<const float, 2> items, Array<const std::int64_t, 1> rows,
                   Array<const std::int64_t, 1> columns, Array<float, 1> out) {
    const Products call = products_of(users, items);
    require(rows.shape(0) == out.shape(0) && columns.shape(0) == out.shape(0), "rows, columns and out are one value a pair");
    const auto n = static_cast<std::int64_t>(out.shape(0));
    for (std::int64_t i = 0; i < n; ++i)
        require(rows.data()[i] >= 0 && rows.data()[i] < call.n_users && columns.data()[i] >= 0 && columns.data()[i] < call.n_items,
                "a pair lies outside users and items");
    const nb::gil_scoped_release release;
    chosen.selection.pairs(call, rows.data(), columns.data(), n, out.data());
}

std::int64_t candidates(Array<const std::int8_t, 2> rows, Array<const float, 1> scale, Array<const float, 1> error,
                        Array<const std::int16_t, 1> query, float step, float length, float rest,
                        Given<const std::uint8_t, 1> admitted, Given<const std::int32_t, 1> left_out, std::int64_t wanted,
                        Array<std::int32_t, 1> codes, Array<float, 1> upper) {
    const Bytes call{.rows = rows.data(), .scale = scale.data(), .error = error.data(), .query = query.data(),
                     .step = step, .length = length, .rest = rest, .n = size(rows, 0), .width = size(rows, 1),
                     .admitted = admitted ? admitted->data() : nullptr, .left_out = left_out ? left_out->data() : nullptr,
                     .n_left_out = left_out ? size(*left_out, 0) : 0, .wanted = wanted};
    require(call.width % 16 == 0 && size(query, 0) == call.width, "rows and query are a multiple of 16 columns wide");
    require(size(scale, 0) == call.n && size(error, 0) == call.n && size(codes, 0) == call.n && size(upper, 0) == call.n &&
                (!admitted || size(*admitted, 0) == call.n),
            "one scale, error, code, bound and admission a row");
    require(wanted >= 1 && wanted <= call.n && call.n < (std::int64_t{1} << 31), "wanted is 1 to n, n less than 2^31");
    const nb::gil_scoped_release release;
    return chosen.candidates(call, codes.data(), upper.data());
}

Pieces pieces_of(const Array<const float, 2>& mixed, const Array<const std::int64_t, 1>& starts, std::int64_t heads) {
    const Pieces found{.mixed = mixed.data(), .starts = starts.data(), .pieces = size(starts, 0) - 1,
                       .d = size(mixed, 1) / 3, .heads = heads};
    require(heads >= 1 && size(mixed, 1) == 3 * found.d && found.d % heads == 0, "mixed is 3 d columns wide, which the heads share evenly");
    require(found.pieces >= 0 && found.starts[0] == 0 && found.starts[found.pieces] == size(mixed, 0),
            "starts go from 0 to the number of rows");
    require(std::is_sorted(found.starts, found.starts + found.pieces + 1), "starts are ascending");
    return found;
}

void attend(Array<const float, 2> mixed, Array<const std::int64_t, 1> starts, std::int64_t heads, Array<float, 2> out, int threads) {
    const Pieces call = pieces_of(mixed, starts, heads);
    require(out.shape(0) == mixed.shape(0) && size(out, 1) == call.d, "out is one row of d columns for each of mixed");
    const nb::gil_scoped_release release;
    chosen.attention.attend(call, out.data(), threads);
}

void attend_backward(Array<const float, 2> mixed, Array<const std::int64_t, 1> starts, std::int64_t heads,
                     Array<const float, 2> grad, Array<float, 2> grad_mixed, int threads) {
    const Pieces call = pieces_of(mixed, starts, heads);
    require(grad.shape(0) == mixed.shape(0) && size(grad, 1) == call.d, "grad is one row of d columns for each of mixed");
    require(grad_mixed.shape(0) == mixed.shape(0) && grad_mixed.shape(1) == mixed.shape(1), "grad_mixed has another shape than mixed");
    const nb::gil_scoped_release release;
    chosen.attention.backward(call, grad.data(), grad_mixed.data(), threads);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels& kernels : usable()) names.emplace_back(kernels.name);
    return names;
}

void use(const std::string& name) {
    for (const Kernels& kernels : usable())
        if (kernels.name == name) {
            chosen = kernels;
            return;
        }
    throw std::invalid_argument("this processor or build has no kernels named " + name);
}

}  // namespace
}  // namespace recmind

NB_MODULE(_cpu, m) {
    using namespace recmind;
    // noconvert: a result written to a converted copy would be lost.
    m.def("gather_sum", &gather_sum, "offsets"_a, "neighbours"_a, "x"_a, "out"_a.noconvert(), nb::kw_only(), "rows"_a = nb::none(),
          "first_row"_a = 0, "first_column"_a = 0, "x_at"_a = nb::none(), "row_scale"_a = nb::none(),
          "base"_a = nb::none(), "base_at"_a = nb::none(), "alpha"_a = 1.0f, "beta"_a = 1.0f, "threads"_a = 1);
    m.def("arrange", &arrange, "x"_a, "scale"_a.none(), "out"_a.noconvert(), "threads"_a);
    m.def("mix", &mix, "e"_a, "z"_a, "log_degree"_a, "weight"_a, "bias"_a, "scale"_a.none(), "n_users"_a,
          "mixed"_a.noconvert(), "gamma"_a.noconvert(), "threads"_a);
    m.def("mix_backward", &mix_backward, "grad"_a, "e"_a, "z"_a, "log_degree"_a, "gamma"_a, "weight"_a,
          "plus"_a.none(), "plus_at"_a.none(), "scale"_a.none(), "n_users"_a, "grad_e"_a.noconvert(),
          "grad_z"_a.noconvert(), "add_to_grad_z"_a, "sums"_a.noconvert(), "threads"_a);
    m.def("cache_size", &cache_size);
    m.def("keep_memory", &keep_memory);
    m.def("softmax_rows", &softmax_rows, "logits"_a.noconvert(), "positive"_a, "loss"_a.noconvert(),
          "grad_positive"_a.noconvert(), "threads"_a);
    m.def("best_products", &best_products, "users"_a, "items"_a, "starts"_a.none(), "left_out"_a.none(),
          "raised_starts"_a.none(), "raised_items"_a.none(), "raised"_a.none(), "values"_a.noconvert(), "columns"_a.noconvert(),
          "threads"_a);
    m.def("sparse_starts", &sparse_starts, "starts"_a, "columns"_a, "values"_a, "other_starts"_a, "other_columns"_a,
          "other_values"_a, "width"_a, "out"_a.noconvert(), "threads"_a);
    m.def("sparse_product", &sparse_product, "starts"_a, "columns"_a, "values"_a, "other_starts"_a, "other_columns"_a,
          "other_values"_a, "width"_a, "out_starts"_a, "out_columns"_a.noconvert(), "out_values"_a.noconvert(), "threads"_a);
    m.def("all_products", &all_products, "users"_a, "items"_a, "out"_a.noconvert(), "threads"_a);
    m.def("pair_products", &pair_products, "users"_a, "items"_a, "rows"_a, "columns"_a, "out"_a.noconvert());
    m.def("candidates", &candidates, "rows"_a, "scale"_a, "error"_a, "query"_a, nb::kw_only(), "step"_a, "length"_a, "rest"_a,
          "admitted"_a.none(), "left_out"_a.none(), "wanted"_a, "codes"_a.noconvert(), "upper"_a.noconvert());
    m.def("attend", &attend, "mixed"_a, "starts"_a, "heads"_a, "out"_a.noconvert(), "threads"_a);
    m.def("attend_backward", &attend_backward, "mixed"_a, "starts"_a, "heads"_a, "grad"_a, "grad_mixed"_a.noconvert(),
          "threads"_a);
    m.def("instruction_sets", &instruction_sets);
    m.def("instruction_set", [] { return std::string(chosen.name); });
    m.def("use", &use, "name"_a);
}
