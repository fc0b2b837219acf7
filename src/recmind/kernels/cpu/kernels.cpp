// Compiled once per instruction set: RECMIND_ISA names it. Only vector extensions of GCC and Clang are used,
// which become the registers that the flags of the compilation allow.
#include "kernels.hpp"

#include <cmath>
#include <cstring>

#include "threads.hpp"

#define RECMIND_CONCAT_(a, b) a##b
#define RECMIND_CONCAT(a, b) RECMIND_CONCAT_(a, b)
#define RECMIND_STRING_(a) #a
#define RECMIND_STRING(a) RECMIND_STRING_(a)

namespace recmind {
namespace {

#if defined(__AVX512F__)
constexpr int W = 16;  // floats in a register
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
typedef float vec __attribute__((vector_size(W * 4)));
typedef std::int32_t veci __attribute__((vector_size(W * 4)));
typedef std::uint32_t vecu __attribute__((vector_size(W * 4)));
typedef std::uint16_t vech __attribute__((vector_size(W * 2)));

inline vec load(const float* p) {
    vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline vec load(const bf16* p) {
    vech h;
    std::memcpy(&h, p, sizeof h);
    return (vec)(__builtin_convertvector(h, vecu) << 16);
}

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline void store(bf16* p, vec v) {  // to nearest, ties to even
    const vecu u = (vecu)v, not_a_number = (vecu)(v != v);  // whose payload rounding could carry away
    const vecu rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    const vech h = __builtin_convertvector((rounded & ~not_a_number) | (0x7fc0 & not_a_number), vech);
    std::memcpy(p, &h, sizeof h);
}

inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

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

inline float total(vec v) {
    float s = 0;
    for (int k = 0; k < W; ++k) s += v[k];
    return s;
}

// The rows of x to sum for one row of the result, with their weights.
struct Terms {
    const std::int32_t* index;  // row of x, counted from a.first_column
    const float* weight;        // of term k at [k], or null
    const float* node_weight;   // of term k at [index[k]], or null
    std::int64_t n;

    float operator[](std::int64_t k) const { return weight ? weight[k] : node_weight ? node_weight[index[k]] : 1.0f; }
};

Terms terms_of(const GatherSum& a, std::int64_t i) {
    const std::int32_t* neighbours = a.neighbours + a.offsets[i];
    const std::int64_t n = a.offsets[i + 1] - a.offsets[i];
    if (!a.x_at) return {neighbours, nullptr, a.column_scale, n};
    auto* index = static_cast<std::int32_t*>(scratch(n * (sizeof(std::int32_t) + sizeof(float))));
    auto* weight = reinterpret_cast<float*>(index + n);
    std::int64_t m = 0;
    for (std::int64_t k = 0; k < n; ++k) {  // without a branch: who has a row is unpredictable
        index[m] = a.x_at[neighbours[k]];
        weight[m] = a.column_scale ? a.column_scale[neighbours[k]] : 1.0f;
        m += index[m] >= 0;
    }
    return {index, weight, nullptr, m};
}

// Columns c .. c + V W of one row: V registers hold the sums over all terms.
template <int V, class X, class Out>
inline void gather_columns(const GatherSum& a, const Terms& terms, float scale, const float* base, std::int64_t r,
                           std::int64_t c) {
    const X* x = static_cast<const X*>(a.x) + c - a.first_column * a.d;
    vec sum[V] = {};
    const auto add = [&](auto weight_of) {
        for (std::int64_t k = 0; k < terms.n; ++k) {
            const X* row = x + terms.index[k] * a.d;
            const float w = weight_of(k);
            for (int v = 0; v < V; ++v) sum[v] += w * load(row + v * W);
        }
    };
    if (terms.weight)
        add([&](std::int64_t k) { return terms.weight[k]; });
    else if (terms.node_weight)
        add([&](std::int64_t k) { return terms.node_weight[terms.index[k]]; });
    else
        add([](std::int64_t) { return 1.0f; });
    Out* out = static_cast<Out*>(a.out) + r * a.d + c;
    for (int v = 0; v < V; ++v) {
        vec y = scale * sum[v];
        if (base) y += a.beta * load(base + c + v * W);
        store(out + v * W, y);
    }
}

// The last columns, fewer than a register.
template <class X, class Out>
inline void gather_rest(const GatherSum& a, const Terms& terms, float scale, const float* base, std::int64_t r,
                        std::int64_t c) {
    const X* x = static_cast<const X*>(a.x) + c - a.first_column * a.d;
    const std::int64_t m = a.d - c;
    float sum[W] = {};
    for (std::int64_t k = 0; k < terms.n; ++k) {
        const X* row = x + terms.index[k] * a.d;
        for (std::int64_t j = 0; j < m; ++j) sum[j] += terms[k] * widen(row[j]);
    }
    Out* out = static_cast<Out*>(a.out) + r * a.d + c;
    for (std::int64_t j = 0; j < m; ++j) narrow(out + j, scale * sum[j] + (base ? a.beta * base[c + j] : 0.0f));
}

template <class X, class Out>
void gather_row(const GatherSum& a, std::int64_t r) {
    const std::int64_t i = a.rows ? a.rows[r] : a.first_row + r;
    const Terms terms = terms_of(a, i);
    const float scale = a.row_scale ? a.alpha * a.row_scale[i] : a.alpha;
    const std::int64_t base_row = a.base_at ? a.base_at[i] : r;
    const float* base = a.base && base_row >= 0 ? a.base + base_row * a.d : nullptr;
    std::int64_t c = 0;
    for (; c + 8 * W <= a.d; c += 8 * W) gather_columns<8, X, Out>(a, terms, scale, base, r, c);
    for (; c + 4 * W <= a.d; c += 4 * W) gather_columns<4, X, Out>(a, terms, scale, base, r, c);
    for (; c + W <= a.d; c += W) gather_columns<1, X, Out>(a, terms, scale, base, r, c);
    if (c < a.d) gather_rest<X, Out>(a, terms, scale, base, r, c);
}

template <class X, class Out>
void gather_all(const GatherSum& a, int threads) {
    for_chunks(threads, a.chunks, [&](std::int64_t chunk) {
        for (std::int64_t r = a.bounds[chunk]; r < a.bounds[chunk + 1]; ++r) gather_row<X, Out>(a, r);
    });
}

void gather_sum(const GatherSum& a, int threads) {
    if (a.x_bf16)
        a.out_bf16 ? gather_all<bf16, bf16>(a, threads) : gather_all<bf16, float>(a, threads);
    else
        a.out_bf16 ? gather_all<float, bf16>(a, threads) : gather_all<float, float>(a, threads);
}

inline float dot(const float* a, const float* b, std::int64_t d) {
    vec sum = {};
    std::int64_t c = 0;
    for (; c + W <= d; c += W) sum += load(a + c) * load(b + c);
    float s = total(sum);
    for (; c < d; ++c) s += a[c] * b[c];
    return s;
}

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
    for_chunks(threads, mix_chunks(a.n, a.n_users), [&](std::int64_t number) {
        const Chunk chunk = mix_chunk(number, a.n, a.n_users);
        const float* w = a.weight + chunk.side * (2 * a.d + 1);
        for (std::int64_t i = chunk.begin; i < chunk.end; ++i) {
            const float *e = a.e + i * a.d, *z = a.z + i * a.d;
            const float logit = dot(e, w, a.d) + dot(z, w + a.d, a.d) + a.log_degree[i] * w[2 * a.d] + a.bias[chunk.side];
            const float gamma = 1.0f / (1.0f + std::exp(-logit));
            a.gamma[i] = gamma;
            Out* out = static_cast<Out*>(a.mixed) + i * a.d;
            std::int64_t c = 0;
            for (; c + W <= a.d; c += W) {
                const vec zc = load(z + c);
                store(out + c, zc + gamma * (load(e + c) - zc));
            }
            for (; c < a.d; ++c) narrow(out + c, z[c] + gamma * (e[c] - z[c]));
        }
    });
}

void mix(const Mix& a, int threads) { a.mixed_bf16 ? mix_all<bf16>(a, threads) : mix_all<float>(a, threads); }

void mix_backward(const MixBackward& a, int threads) {
    const std::int64_t d = a.d;
    for_chunks(threads, mix_chunks(a.n, a.n_users), [&](std::int64_t number) {
        const Chunk chunk = mix_chunk(number, a.n, a.n_users);
        const float* w = a.weight + chunk.side * (2 * d + 1);
        auto* sum = static_cast<float*>(scratch((2 * d + 2) * sizeof(float)));
        for (std::int64_t k = 0; k < 2 * d + 2; ++k) sum[k] = 0;
        for (std::int64_t i = chunk.begin; i < chunk.end; ++i) {
            const float *g = a.grad + i * d, *e = a.e + i * d, *z = a.z + i * d;
            float *grad_e = a.grad_e + i * d, *grad_z = a.grad_z + i * d;
            const std::int64_t plus_row = a.plus_at ? a.plus_at[i] : i;
            const float* plus = a.plus && plus_row >= 0 ? a.plus + plus_row * d : nullptr;
            const float gamma = a.gamma[i];
            const float logit = (dot(g, e, d) - dot(g, z, d)) * gamma * (1 - gamma);
            std::int64_t c = 0;
            for (; c + W <= d; c += W) {
                const vec gc = load(g + c), ec = load(e + c), zc = load(z + c);
                vec to_e = gamma * gc + logit * load(w + c), to_z = (1 - gamma) * gc + logit * load(w + d + c);
                if (plus) to_e += load(plus + c);
                if (a.add_to_grad_z) to_z += load(grad_z + c);
                store(grad_e + c, to_e), store(grad_z + c, to_z);
                store(sum + c, load(sum + c) + logit * ec), store(sum + d + c, load(sum + d + c) + logit * zc);
            }
            for (; c < d; ++c) {
                grad_e[c] = gamma * g[c] + logit * w[c] + (plus ? plus[c] : 0.0f);
                grad_z[c] = (1 - gamma) * g[c] + logit * w[d + c] + (a.add_to_grad_z ? grad_z[c] : 0.0f);
                sum[c] += logit * e[c], sum[d + c] += logit * z[c];
            }
            sum[2 * d] += logit * a.log_degree[i], sum[2 * d + 1] += logit;
        }
        for (std::int64_t k = 0; k < 2 * d + 2; ++k) a.partial[number * (2 * d + 2) + k] = sum[k];
    });
}

// e^x for x <= 0 to about one unit in the last place; 0 below -87, where a float loses its precision and speed.
inline vec exp_below_zero(vec x) {
    const veci tiny = x < -87.0f;
    const vec clipped = tiny ? vec{} - 87.0f : x;
    const vec k = __builtin_convertvector(__builtin_convertvector(clipped * 1.44269504088896341f - 0.5f, veci), vec);
    vec r = clipped - k * 0.693359375f;  // ln 2 in two parts, the first one exact
    r = r - k * -2.12194440e-4f;
    vec y = 1.9875691500e-4f * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    const veci power = (__builtin_convertvector(k, veci) + 127) << 23;
    return (vec)(~tiny & (veci)(y * (vec)power));
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
    return {RECMIND_STRING(RECMIND_ISA), gather_sum, mix, mix_backward, softmax_rows};
}

}  // namespace recmind
