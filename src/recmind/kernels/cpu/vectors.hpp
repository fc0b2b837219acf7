// Registers full of floats, by the vector extensions of GCC and Clang: as wide as the flags of the compilation allow.
// Everything has internal linkage, for the reason given in threads.hpp.
#pragma once

#include <cstdint>
#include <cstring>

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

inline void store(float* p, vec v) { std::memcpy(p, &v, sizeof v); }

inline std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

inline float total(vec v) {
    float s = 0;
    for (int k = 0; k < W; ++k) s += v[k];
    return s;
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

}  // namespace
}  // namespace recmind
