// Exponential and sigmoid that compilers can vectorize.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

inline double exponential(double x) { return std::exp(x); }

// Cephes' expf, which compilers can vectorize: e^x = 2^n e^r, |r| <= log(2) / 2.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to the nearest integer
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    int32_t power = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &power, sizeof scale);
    return (p * r * r + r + 1.0f) * scale;
}

template <class Number>
Number sigmoid(Number x) {
    return Number(1) / (Number(1) + exponential(-x));
}
