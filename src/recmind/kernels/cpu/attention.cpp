// Compiled once per instruction set: RECMIND_ISA names it. Nothing of the standard library that may be left out of
// line, for the reason given in threads.hpp.
#include "attention.hpp"

#include <cmath>
#include <limits>

#include "isa.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace recmind {
namespace {

constexpr std::int64_t pieces_of_chunk = 16;

// One head of one piece. Keys stand in columns, so that a register holds the logits of W rows and none has to be
// summed up across.
struct Head {
    std::int64_t n, width, stride;  // rows, numbers in a row, from one row of the table to the next
    std::int64_t room;              // n, rounded up to whole registers
    const float *query, *key, *value;
    float *keys, *values;           // (width, room), zero behind the end
    float *shares, *slopes;         // (room): of one row

    Head(const Pieces& a, std::int64_t piece, std::int64_t head) {
        n = a.starts[piece + 1] - a.starts[piece], width = a.d / a.heads, stride = 3 * a.d;
        room = (n + W - 1) / W * W;
        query = a.mixed + a.starts[piece] * stride + head * width, key = query + a.d, value = key + a.d;
        keys = static_cast<float*>(scratch((2 * width + 2) * room * static_cast<std::int64_t>(sizeof(float))));
        values = keys + width * room, shares = values + width * room, slopes = shares + room;
    }

    void in_columns(const float* rows, float* columns) const {
        for (std::int64_t c = 0; c < width; ++c) {
            for (std::int64_t t = 0; t < n; ++t) columns[c * room + t] = rows[t * stride + c];
            for (std::int64_t t = n; t < room; ++t) columns[c * room + t] = 0;
        }
    }

    float scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }

    // The products of a row with the rows up to t, whose columns are given.
    void products(const float* row, const float* columns, std::int64_t t, float* out) const {
        for (std::int64_t j = 0; j <= t; j += W) {
            vec sum[4] = {};
            std::int64_t c = 0;
            for (; c + 4 <= width; c += 4)
                for (int k = 0; k < 4; ++k) sum[k] += row[c + k] * load(columns + (c + k) * room + j);
            for (; c < width; ++c) sum[0] += row[c] * load(columns + c * room + j);
            store(out + j, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
    }

    // Row t's shares, 0 behind it.
    void share_out(std::int64_t t) const {
        products(query + t * stride, keys, t, shares);
        const std::int64_t end = t / W * W + W;
        for (std::int64_t j = t + 1; j < end; ++j) shares[j] = -std::numeric_limits<float>::infinity();
        float top = shares[0];
        for (std::int64_t j = 1; j <= t; ++j) top = shares[j] > top ? shares[j] : top;
        vec sums = {};
        for (std::int64_t j = 0; j < end; j += W) {
            const vec e = exp_below_zero(scale() * (load(shares + j) - top));
            store(shares + j, e), sums += e;
        }
        const float whole = 1.0f / total(sums);
        for (std::int64_t j = 0; j < end; j += W) store(shares + j, whole * load(shares + j));
    }

    // to = sum over j <= t of weights[j] rows[j]
    void sum_up(float* to, const float* weights, const float* rows, std::int64_t t) const {
        std::int64_t c = 0;
        for (; c + W <= width; c += W) {
            vec sum = {};
            for (std::int64_t j = 0; j <= t; ++j) sum += weights[j] * load(rows + j * stride + c);
            store(to + c, sum);
        }
        for (; c < width; ++c) {
            float sum = 0;
            for (std::int64_t j = 0; j <= t; ++j) sum += weights[j] * rows[j * stride + c];
            to[c] = sum;
        }
    }

    void add(float* to, float weight, const float* row) const {
        std::int64_t c = 0;
        for (; c + W <= width; c += W) store(to + c, load(to + c) + weight * load(row + c));
        for (; c < width; ++c) to[c] += weight * row[c];
    }
};

template <class Work>
void for_heads(const Pieces& a, int threads, const Work& work) {
    for_chunks(threads, (a.pieces + pieces_of_chunk - 1) / pieces_of_chunk, [&](std::int64_t chunk) {
        const std::int64_t end = least(a.pieces, (chunk + 1) * pieces_of_chunk);
        for (std::int64_t piece = chunk * pieces_of_chunk; piece < end; ++piece)
            for (std::int64_t head = 0; head < a.heads; ++head) work(Head(a, piece, head), a.starts[piece], head);
    });
}

void attend(const Pieces& a, float* out, int threads) {
    for_heads(a, threads, [&](const Head& h, std::int64_t first, std::int64_t head) {
        h.in_columns(h.key, h.keys);
        for (std::int64_t t = 0; t < h.n; ++t) {
            h.share_out(t);
            h.sum_up(out + (first + t) * a.d + head * h.width, h.shares, h.value, t);
        }
    });
}

void backward(const Pieces& a, const float* grad, float* grad_mixed, int threads) {
    for_heads(a, threads, [&](const Head& h, std::int64_t first, std::int64_t head) {
        float* to_query = grad_mixed + first * h.stride + head * h.width;
        float *to_key = to_query + a.d, *to_value = to_key + a.d;
        for (std::int64_t t = 0; t < h.n; ++t)
            for (std::int64_t c = 0; c < h.width; ++c) to_key[t * h.stride + c] = to_value[t * h.stride + c] = 0;
        h.in_columns(h.key, h.keys), h.in_columns(h.value, h.values);
        for (std::int64_t t = 0; t < h.n; ++t) {
            const float* of_row = grad + (first + t) * a.d + head * h.width;
            h.share_out(t);
            h.products(of_row, h.values, t, h.slopes);
            float mean = 0;
            for (std::int64_t j = 0; j <= t; ++j) mean += h.shares[j] * h.slopes[j];
            for (std::int64_t j = 0; j <= t; ++j) {
                h.slopes[j] = h.scale() * h.shares[j] * (h.slopes[j] - mean);
                h.add(to_key + j * h.stride, h.slopes[j], h.query + t * h.stride);
                h.add(to_value + j * h.stride, h.shares[j], of_row);
            }
            h.sum_up(to_query + t * h.stride, h.slopes, h.key, t);
        }
    });
}

}  // namespace

Attention RECMIND_CONCAT(attention_, RECMIND_ISA)() { return {attend, backward}; }

}  // namespace recmind
