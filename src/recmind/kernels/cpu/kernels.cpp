// Compiled once per instruction set: RECMIND_ISA names it. Only vector extensions of GCC and Clang are used,
// which become the registers that the flags of the compilation allow.
#include "kernels.hpp"

#include <cmath>
#include <cstring>

#include "isa.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace recmind {
namespace {

inline vec load(const bf16* p) {
    vech h;
    std::memcpy(&h, p, sizeof h);
    return (vec)(__builtin_convertvector(h, vecu) << 16);
}

inline void store(bf16* p, vec v) {  // to nearest, ties to even
    const vecu u = (vecu)v, not_a_number = (vecu)(v != v);  // whose payload rounding could carry away
    const vecu rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    const vech h = __builtin_convertvector((rounded & ~not_a_number) | (0x7fc0 & not_a_number), vech);
    std::memcpy(p, &h, sizeof h);
}

inline float widen(float x) { return x; }

inline float widen(bf16 x) {
    const std::uint32_t u = static_cast<std::uint32_t>(x) << 16;
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

inline void narrow(float* p, float x) { *p = x; }

inline void narrow(bf16* p, float x) {
    std::uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    *p = x != x ? 0x7fc0 : static_cast<bf16>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

// Walks along one row of a table; a step never crosses the end of a tile.
template <class T>
struct Cursor {
    T* at;
    std::int64_t width, to_next, left;

    Cursor(const Table& t, std::int64_t row, std::int64_t column = 0)
        : at(static_cast<T*>(t.data) + row * t.row + column / t.width * t.tile + column % t.width),
          width(t.width), to_next(t.tile - t.width), left(t.width - column % t.width) {}

    // The same column of another row.
    Cursor in_row(const Table& t, std::int64_t row) const {
        Cursor other = *this;
        other.at += row * t.row;
        return other;
    }

    void advance(std::int64_t n) {
        at += n, left -= n;
        if (left == 0) at += to_next, left = width;
    }
};

// The rows of x to sum for one row of the result.
struct Terms {
    const std::int32_t* index;
    std::int64_t n;
    const std::int32_t* ahead;  // up to where later indices can be read, or null
};

Terms terms_of(const GatherSum& a, std::int64_t i) {
    const std::int32_t* neighbours = a.neighbours + a.offsets[i];
    const std::int64_t n = a.offsets[i + 1] - a.offsets[i];
    if (!a.x_at) return {neighbours, n, a.ahead};
    auto* index = static_cast<std::int32_t*>(scratch(n * sizeof(std::int32_t)));
    std::int64_t m = 0;
    for (std::int64_t k = 0; k < n; ++k) {  // without a branch: who has a row is unpredictable
        index[m] = a.x_at[neighbours[k]];
        m += index[m] >= 0;
    }
    return {index, m, nullptr};
}

template <int V>
inline void add_row(vec* sum, const float* row) {
    for (int v = 0; v < V; ++v) sum[v] += load(row + v * W);
}

// Two columns are one 32-bit number, and each is a float once the other one is gone: cheaper than to spread them
// over two registers. Even registers hold the even columns until in_order puts them straight.
template <int V>
inline void add_row(vec* sum, const bf16* row) {
    if constexpr (V == 1) sum[0] += load(row);
    for (int v = 0; v + 1 < V; v += 2) {
        vecu pairs;
        std::memcpy(&pairs, row + v * W, sizeof pairs);
        sum[v] += (vec)(pairs << 16);
        sum[v + 1] += (vec)(pairs & 0xffff0000u);
    }
}

template <int V>
inline void in_order(vec*, const float*) {}

inline vec interleave(vec a, vec b, veci from) {  // value k is [a ‖ b][from[k]]
#if defined(__clang__)
    vec out;
    for (int k = 0; k < W; ++k) out[k] = from[k] < W ? a[from[k]] : b[from[k] - W];
    return out;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

template <int V>
inline void in_order(vec* sum, const bf16*) {
    veci first, second;  // a constant for the compiler
    for (int k = 0; k < W; ++k) {
        first[k] = k / 2 + k % 2 * W;
        second[k] = (W + k) / 2 + k % 2 * W;
    }
    for (int v = 0; v + 1 < V; v += 2) {
        const vec even = sum[v], odd = sum[v + 1];
        sum[v] = interleave(even, odd, first), sum[v + 1] = interleave(even, odd, second);
    }
}

constexpr std::int64_t far = 16;  // edges between asking for a row and reading it

template <int V, class X>
inline void add_all(vec* sum, const Terms& terms, const X* x, std::int64_t row) {
    constexpr int U = V <= 2 ? 2 : 1;  // sums side by side: an addition need not wait for the one before
    vec part[U][V] = {};
    std::int64_t k = 0;
    if (terms.ahead)
        for (; k < terms.n && terms.index + k + far < terms.ahead; ++k) {
            const char* later = reinterpret_cast<const char*>(x + terms.index[k + far] * row);
            for (int byte = 0; byte < V * W * static_cast<int>(sizeof(X)); byte += 64) __builtin_prefetch(later + byte);
            add_row<V>(part[0], x + terms.index[k] * row);
        }
    for (; k + U <= terms.n; k += U)
        for (int u = 0; u < U; ++u) add_row<V>(part[u], x + terms.index[k + u] * row);
    for (; k < terms.n; ++k) add_row<V>(part[0], x + terms.index[k] * row);
    for (int v = 0; v < V; ++v) {
        sum[v] = part[0][v];
        for (int u = 1; u < U; ++u) sum[v] += part[u][v];
    }
    in_order<V>(sum, x);
}

// The sums of one row in n columns, a register at a time and in order: put(c, sum) for columns c .. c + W, and
// rest(c, sum) for single ones at the end.
template <int V, class X, class Put>
inline void sum_columns(const Terms& terms, const X* x, std::int64_t row, std::int64_t c, const Put& put) {
    vec sum[V];
    add_all<V>(sum, terms, x + c, row);
    for (int v = 0; v < V; ++v) put(c + v * W, sum[v]);
}

template <class X, class Put, class Rest>
inline void sum_row(const Terms& terms, const X* x, std::int64_t row, std::int64_t n, const Put& put, const Rest& rest) {
    std::int64_t c = 0;
    for (; c + 8 * W <= n; c += 8 * W) sum_columns<8>(terms, x, row, c, put);
    for (; c + 4 * W <= n; c += 4 * W) sum_columns<4>(terms, x, row, c, put);
    for (; c + 2 * W <= n; c += 2 * W) sum_columns<2>(terms, x, row, c, put);
    for (; c + W <= n; c += W) sum_columns<1>(terms, x, row, c, put);
    if (c == n) return;
    float sum[W] = {};
    for (std::int64_t k = 0; k < terms.n; ++k)
        for (std::int64_t j = 0; j < n - c; ++j) sum[j] += widen(x[terms.index[k] * row + c + j]);
    for (std::int64_t j = 0; j < n - c; ++j) rest(c + j, sum[j]);
}

// The columns of one tile of x in the rows of one chunk.
template <class X, class Out>
void gather_tile(const GatherSum& a, std::int64_t tile, std::int64_t first, std::int64_t last) {
    const std::int64_t width = a.x.width, column = tile * width, row = a.x.row;
    const X* x = static_cast<const X*>(a.x.data) + tile * a.x.tile - a.first_column * row;
    const Cursor<Out> out_column(a.out, 0, column);
    const Cursor<const float> base_column(a.base.data ? a.base : a.x, 0, a.base.data ? column : 0);
    const bool whole = width <= out_column.left && (!a.base.data || width <= base_column.left);
    for (std::int64_t r = first; r < last; ++r) {
        const std::int64_t i = a.rows ? a.rows[r] : a.first_row + r;
        const Terms terms = terms_of(a, i);
        const float scale = a.row_scale ? a.alpha * a.row_scale[i] : a.alpha;
        const std::int64_t base_row = a.base_at ? a.base_at[i] : r;
        const bool with_base = a.base.data && base_row >= 0;
        Cursor<Out> out = out_column.in_row(a.out, r);
        Cursor<const float> base = base_column.in_row(a.base, with_base ? base_row : 0);
        const auto put = [&](const float* at_base, Out* at, vec sum) {
            vec y = scale * sum;
            if (with_base) y += a.beta * load(at_base);
            store(at, y);
        };
        const auto rest = [&](std::int64_t c, float sum) {  // every table is one tile then
            narrow(out.at + c, scale * sum + (with_base ? a.beta * base.at[c] : 0.0f));
        };
        if (whole)
            sum_row(terms, x, row, width, [&](std::int64_t c, vec sum) { put(base.at + c, out.at + c, sum); }, rest);
        else
            sum_row(terms, x, row, width, [&](std::int64_t, vec sum) {
                put(base.at, out.at, sum);
                base.advance(W), out.advance(W);
            }, rest);
    }
}

template <class X, class Out>
void gather_all(const GatherSum& a, int threads) {
    for_chunks(threads, a.chunks * (a.d / a.x.width), [&](std::int64_t number) {
        const std::int64_t tile = number / a.chunks, chunk = number % a.chunks;
        gather_tile<X, Out>(a, tile, a.bounds[chunk], a.bounds[chunk + 1]);
    });
}

void gather_sum(const GatherSum& a, int threads) {
    if (a.x.bf16)
        a.out.bf16 ? gather_all<bf16, bf16>(a, threads) : gather_all<bf16, float>(a, threads);
    else
        a.out.bf16 ? gather_all<float, bf16>(a, threads) : gather_all<float, float>(a, threads);
}

// Columns that lie behind each other in all of the tables. Tiles of different widths share steps of 16.
inline std::int64_t piece_of(const Table& a, const Table& b, const Table& c) {
    return a.width == b.width && b.width == c.width ? a.width : 16;
}

constexpr std::int64_t arrange_rows = 512;

template <class Out>
void arrange_all(const Arrange& a, int threads) {
    const std::int64_t piece = piece_of(a.x, a.x, a.out);
    for_chunks(threads, (a.n + arrange_rows - 1) / arrange_rows, [&](std::int64_t chunk) {
        const std::int64_t end = least(a.n, (chunk + 1) * arrange_rows);
        for (std::int64_t r = chunk * arrange_rows; r < end; ++r) {
            Cursor<const float> x(a.x, r);
            Cursor<Out> out(a.out, r);
            const float scale = a.scale ? a.scale[r] : 1.0f;
            for (std::int64_t c = 0; c < a.d; c += piece) {
                std::int64_t k = 0;
                for (; k + W <= piece; k += W) store(out.at + k, scale * load(x.at + k));
                for (; k < piece; ++k) narrow(out.at + k, scale * x.at[k]);
                x.advance(piece), out.advance(piece);
            }
        }
    });
}

void arrange(const Arrange& a, int threads) { a.out.bf16 ? arrange_all<bf16>(a, threads) : arrange_all<float>(a, threads); }

// An inner product that goes on piece by piece; the same bits wherever the pieces end.
struct Dot {
    vec sum = {};
    float rest = 0;

    void add(const float* a, const float* b, std::int64_t n) {
        std::int64_t c = 0;
        for (; c + W <= n; c += W) sum += load(a + c) * load(b + c);
        for (; c < n; ++c) rest += a[c] * b[c];
    }

    float value() const { return total(sum) + rest; }
};

struct Chunk {
    std::int64_t begin, end;
    int side;
};

Chunk mix_chunk(std::int64_t chunk, std::int64_t n, std::int64_t n_users) {
    const std::int64_t of_users = (n_users + mix_rows - 1) / mix_rows;
    if (chunk < of_users) return {chunk * mix_rows, least(n_users, (chunk + 1) * mix_rows), 0};
    const std::int64_t begin = n_users + (chunk - of_users) * mix_rows;
    return {begin, least(n, begin + mix_rows), 1};
}

template <class Out>
void mix_all(const Mix& a, int threads) {
    const std::int64_t d = a.d, piece = piece_of(a.e, a.e, a.mixed);
    for_chunks(threads, mix_chunks(a.n, a.n_users), [&](std::int64_t number) {
        const Chunk chunk = mix_chunk(number, a.n, a.n_users);
        const float* w = a.weight + chunk.side * (2 * d + 1);
        for (std::int64_t i = chunk.begin; i < chunk.end; ++i) {
            const float* z = a.z + i * d;
            Dot product;
            Cursor<const float> e(a.e, i);
            for (std::int64_t c = 0; c < d; c += piece, e.advance(piece)) product.add(e.at, w + c, piece);
            product.add(z, w + d, d);
            const float logit = product.value() + a.log_degree[i] * w[2 * d] + a.bias[chunk.side];
            const float gamma = 1.0f / (1.0f + std::exp(-logit)), scale = a.scale ? a.scale[i] : 1.0f;
            a.gamma[i] = gamma;
            Cursor<Out> out(a.mixed, i);
            e = Cursor<const float>(a.e, i);
            for (std::int64_t c = 0; c < d; c += piece, e.advance(piece), out.advance(piece), z += piece) {
                std::int64_t k = 0;
                for (; k + W <= piece; k += W) {
                    const vec zk = load(z + k);
                    store(out.at + k, scale * (zk + gamma * (load(e.at + k) - zk)));
                }
                for (; k < piece; ++k) narrow(out.at + k, scale * (z[k] + gamma * (e.at[k] - z[k])));
            }
        }
    });
}

void mix(const Mix& a, int threads) { a.mixed.bf16 ? mix_all<bf16>(a, threads) : mix_all<float>(a, threads); }

template <class Out>
void mix_backward_all(const MixBackward& a, int threads) {
    const std::int64_t d = a.d, piece = piece_of(a.grad, a.e, a.grad_e);
    for_chunks(threads, mix_chunks(a.n, a.n_users), [&](std::int64_t number) {
        const Chunk chunk = mix_chunk(number, a.n, a.n_users);
        const float* w = a.weight + chunk.side * (2 * d + 1);
        auto* sum = static_cast<float*>(scratch((2 * d + 2) * sizeof(float)));
        for (std::int64_t k = 0; k < 2 * d + 2; ++k) sum[k] = 0;
        for (std::int64_t i = chunk.begin; i < chunk.end; ++i) {
            Cursor<const float> g(a.grad, i), e(a.e, i);
            const float* z = a.z + i * d;
            Dot with_e, with_z;
            for (std::int64_t c = 0; c < d; c += piece, g.advance(piece), e.advance(piece))
                with_e.add(g.at, e.at, piece), with_z.add(g.at, z + c, piece);
            const float gamma = a.gamma[i], scale = a.scale ? a.scale[i] : 1.0f;
            const float logit = (with_e.value() - with_z.value()) * gamma * (1 - gamma);
            g = Cursor<const float>(a.grad, i), e = Cursor<const float>(a.e, i);
            Cursor<Out> to_e(a.grad_e, i);
            float* to_z = a.grad_z + i * d;
            const std::int64_t plus_row = a.plus_at ? a.plus_at[i] : i;
            const float* plus = a.plus && plus_row >= 0 ? a.plus + plus_row * d : nullptr;
            for (std::int64_t c = 0; c < d; c += piece, g.advance(piece), e.advance(piece), to_e.advance(piece)) {
                std::int64_t k = 0;
                for (; k + W <= piece; k += W) {
                    const vec gk = load(g.at + k), ek = load(e.at + k), zk = load(z + c + k);
                    vec of_e = gamma * gk + logit * load(w + c + k);
                    vec of_z = (1 - gamma) * gk + logit * load(w + d + c + k);
                    if (plus) of_e += load(plus + c + k);
                    if (a.add_to_grad_z) of_z += load(to_z + c + k);
                    store(to_e.at + k, scale * of_e), store(to_z + c + k, of_z);
                    store(sum + c + k, load(sum + c + k) + logit * ek);
                    store(sum + d + c + k, load(sum + d + c + k) + logit * zk);
                }
                for (; k < piece; ++k) {
                    const std::int64_t j = c + k;
                    narrow(to_e.at + k, scale * (gamma * g.at[k] + logit * w[j] + (plus ? plus[j] : 0.0f)));
                    to_z[j] = (1 - gamma) * g.at[k] + logit * w[d + j] + (a.add_to_grad_z ? to_z[j] : 0.0f);
                    sum[j] += logit * e.at[k], sum[d + j] += logit * z[j];
                }
            }
            sum[2 * d] += logit * a.log_degree[i], sum[2 * d + 1] += logit;
        }
        for (std::int64_t k = 0; k < 2 * d + 2; ++k) a.partial[number * (2 * d + 2) + k] = sum[k];
    });
}

void mix_backward(const MixBackward& a, int threads) {
    a.grad_e.bf16 ? mix_backward_all<bf16>(a, threads) : mix_backward_all<float>(a, threads);
}

void softmax_row(const SoftmaxRows& a, std::int64_t r) {
    float* x = a.logits + r * a.n;
    const float own = a.positive[r];
    vec highest = vec{} + own;
    std::int64_t c = 0;
    for (; c + W <= a.n; c += W) {
        const vec v = load(x + c);
        highest = v > highest ? v : highest;
    }
    float top = own;
    for (int k = 0; k < W; ++k) top = highest[k] > top ? highest[k] : top;
    for (std::int64_t k = c; k < a.n; ++k) top = x[k] > top ? x[k] : top;
    vec sums = {};
    for (c = 0; c + W <= a.n; c += W) {
        const vec e = exp_below_zero(load(x + c) - top);
        store(x + c, e), sums += e;
    }
    const float own_share = exp_below_zero(vec{} + (own - top))[0];
    float sum = own_share + total(sums);
    for (; c < a.n; ++c) sum += x[c] = exp_below_zero(vec{} + (x[c] - top))[0];
    a.loss[r] = top + std::log(sum) - own;
    const float share = 1.0f / static_cast<float>(a.n_rows), scale = share / sum;
    a.grad_positive[r] = (own_share - sum) * scale;
    for (c = 0; c + W <= a.n; c += W) store(x + c, load(x + c) * scale);
    for (; c < a.n; ++c) x[c] *= scale;
}

void softmax_rows(const SoftmaxRows& a, int threads) {
    constexpr std::int64_t size = 64;
    for_chunks(threads, (a.n_rows + size - 1) / size, [&](std::int64_t chunk) {
        const std::int64_t end = least(a.n_rows, (chunk + 1) * size);
        for (std::int64_t r = chunk * size; r < end; ++r) softmax_row(a, r);
    });
}

}  // namespace

Kernels RECMIND_CONCAT(kernels_, RECMIND_ISA)() {
    return {RECMIND_STRING(RECMIND_ISA), gather_sum, arrange, mix, mix_backward, softmax_rows};
}

}  // namespace recmind
