// The rule of pooled.py on tables (N, C) of one type of numbers, SCALAR, and its gradient.
//
// Tables are read row by row, and sums over a cell are kept for each channel, so that the loops run
// over channels that lie side by side. Sums over rows are double.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "exponential.h"

namespace {

using Sum = SCALAR;

struct Rule {
    int64_t rows, channels, samples, width;  // a cell: `samples` rows, `width` channels
    double eps, factor;
    const Sum *weight, *bias, *center_weight, *scale_weight, *scale_bias;  // (C,); null if absent
};

struct Parameter : std::vector<Sum> {
    Parameter(const Rule &rule, const Sum *values, Sum absent) : std::vector<Sum>(rule.channels, absent) {
        if (values) std::copy(values, values + rule.channels, begin());
    }
};

struct Parameters {
    Parameter weight, bias, center, slope, offset;

    explicit Parameters(const Rule &rule)
        : weight(rule, rule.weight, 1),
          bias(rule, rule.bias, 0),
          center(rule, rule.center_weight, 0),
          slope(rule, rule.scale_weight, 0),
          offset(rule, rule.scale_bias, 0) {}
};

using Sums = std::vector<double>;  // (C,)

template <class Body>
void each_channel(const Rule &rule, Body body) {
#pragma omp simd
    for (int64_t c = 0; c < rule.channels; ++c) body(c);
}

// The rows of a cell; `body` takes the first entry of a row and the channel.
struct Rows {
    const Rule &rule;
    int64_t first, last;

    template <class Body>
    void each(Body body) const {
        for (int64_t row = first; row < last; ++row) {
            int64_t start = row * rule.channels;
            each_channel(rule, [&](int64_t c) { body(start + c, c); });
        }
    }

    // Replace sums of the channels by means over the cell.
    void average(Sums &sums) const {
        double count = double((last - first) * rule.width);
        for (int64_t start = 0; start < rule.channels; start += rule.width) {
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t c = start; c < start + rule.width; ++c) sum += sums[c];
            for (int64_t c = start; c < start + rule.width; ++c) sums[c] = sum / count;
        }
    }
};

template <class Work>
void each_cell(const Rule &rule, Work work) {
    for (int64_t first = 0, cell = 0; first < rule.rows; first += rule.samples, ++cell)
        work(Rows{rule, first, std::min(first + rule.samples, rule.rows)}, cell * rule.channels);
}

template <bool GATED>
void coefficients(const Rule &rule, const Sum *mean, const Sum *variance, Sum *scale, Sum *shift,
                  Sum *gate, Sum *pooled_mean, Sum *pooled_variance) {
    Parameters p(rule);
    Sums means(rule.channels), squares(rule.channels);
    Parameter inverse(rule, nullptr, 0), slope = inverse;
    each_cell(rule, [&](const Rows &rows, int64_t cell) {
        Sum *E = pooled_mean + cell, *V = pooled_variance + cell;
        std::fill(means.begin(), means.end(), 0);
        std::fill(squares.begin(), squares.end(), 0);
        rows.each([&](int64_t i, int64_t c) { means[c] += mean[i] + p.center[c] * mean[i]; });
        rows.average(means);
        each_channel(rule, [&](int64_t c) { E[c] = Sum(means[c]); });
        rows.each([&](int64_t i, int64_t c) {
            Sum deviation = mean[i] + p.center[c] * mean[i] - E[c];
            squares[c] += deviation * deviation + variance[i];
        });
        rows.average(squares);
        each_channel(rule, [&](int64_t c) {
            V[c] = Sum(squares[c]);
            inverse[c] = Sum(1 / std::sqrt(V[c] + rule.eps));
            slope[c] = inverse[c] * p.slope[c];
            inverse[c] *= Sum(rule.factor) * p.weight[c];
        });
        rows.each([&](int64_t i, int64_t c) {
            Sum of_gate = 1;
            if (GATED) {
                Sum deviation = mean[i] + p.center[c] * mean[i] - E[c];
                of_gate = gate[i] = sigmoid(deviation * slope[c] + p.offset[c]);
            }
            scale[i] = inverse[c] * of_gate;
            shift[i] = p.bias[c] + scale[i] * (p.center[c] * mean[i] - E[c]);
        });
    });
}

template <bool GATED>
void gradients(const Rule &rule, const Sum *mean, const Sum *scale, const Sum *gate,
               const Sum *pooled_mean, const Sum *pooled_variance, const Sum *d_scale,
               const Sum *d_shift, Sum *d_mean, Sum *d_variance, Sum *d_parameters) {
    Parameters p(rule);
    Parameter inverse(rule, nullptr, 0), slope = inverse, factor = inverse;
    Sums of_scale(rule.channels), of_slope(rule.channels), of_mean(rule.channels);
    Sums weight(rule.channels), bias = weight, center = weight, scale_weight = weight, offset = weight;
    each_cell(rule, [&](const Rows &rows, int64_t cell) {
        const Sum *E = pooled_mean + cell, *V = pooled_variance + cell;
        for (Sums *sums : {&of_scale, &of_slope, &of_mean}) std::fill(sums->begin(), sums->end(), 0);
        each_channel(rule, [&](int64_t c) {
            inverse[c] = Sum(1 / std::sqrt(V[c] + rule.eps));
            slope[c] = inverse[c] * p.slope[c];
            factor[c] = inverse[c] * Sum(rule.factor) * p.weight[c];
        });
        // shift = bias + scale * (center * mean - E), so scale has two gradients.
        auto whole = [&](int64_t i, int64_t c) {
            return d_scale[i] + d_shift[i] * (p.center[c] * mean[i] - E[c]);
        };
        auto inside = [&](int64_t i, int64_t c) {  // of the argument of the gate
            return whole(i, c) * factor[c] * gate[i] * (1 - gate[i]);
        };
        auto deviation = [&](int64_t i, int64_t c) { return mean[i] + p.center[c] * mean[i] - E[c]; };
        rows.each([&](int64_t i, int64_t c) {
            Sum through_mean = d_shift[i] * scale[i];
            bias[c] += d_shift[i];
            if (GATED) {
                Sum of_argument = inside(i, c);
                of_scale[c] += whole(i, c) * gate[i];
                of_slope[c] += of_argument * deviation(i, c);
                offset[c] += of_argument;
                through_mean += of_argument * slope[c];
            } else {
                of_scale[c] += whole(i, c);
            }
            of_mean[c] -= through_mean;
        });
        each_channel(rule, [&](int64_t c) {
            double root = inverse[c];
            weight[c] += of_scale[c] * root * rule.factor;
            scale_weight[c] += of_slope[c] * root;
            of_scale[c] = (of_scale[c] * p.weight[c] * rule.factor + of_slope[c] * p.slope[c]) *
                          (-0.5 * root * root * root);
        });
        rows.average(of_scale);  // now the gradient of V
        rows.average(of_mean);
        // In cells of one channel the factors of center_weight's gradient sum to 0, so that a common
        // mean would only add their rounding.
        const Sum *first = mean + rows.first * rule.channels;
        auto origin = [&](int64_t c) { return rule.width == 1 ? first[c] : Sum(0); };
        rows.each([&](int64_t i, int64_t c) {
            Sum of_variance = Sum(of_scale[c]), through_shift = d_shift[i] * scale[i];
            Sum of_centred = Sum(of_mean[c]) + 2 * of_variance * deviation(i, c);
            if (GATED) of_centred += inside(i, c) * slope[c];
            center[c] += (of_centred + through_shift) * (mean[i] - origin(c));
            d_mean[i] = of_centred + (of_centred + through_shift) * p.center[c];
            d_variance[i] = of_variance;
        });
    });
    for (const Sums *sums : {&weight, &bias, &center, &scale_weight, &offset})
        d_parameters = std::copy(sums->begin(), sums->end(), d_parameters);
}

}  // namespace

extern "C" {

void ssl_norm_coefficients(const Rule *rule, const Sum *mean, const Sum *variance, Sum *scale,
                           Sum *shift, Sum *gate, Sum *pooled_mean, Sum *pooled_variance) {
    (rule->scale_weight ? coefficients<true> : coefficients<false>)(
        *rule, mean, variance, scale, shift, gate, pooled_mean, pooled_variance);
}
void ssl_norm_coefficient_gradients(const Rule *rule, const Sum *mean, const Sum *scale,
                                    const Sum *gate, const Sum *pooled_mean,
                                    const Sum *pooled_variance, const Sum *d_scale,
                                    const Sum *d_shift, Sum *d_mean, Sum *d_variance,
                                    Sum *d_parameters) {
    (rule->scale_weight ? gradients<true> : gradients<false>)(
        *rule, mean, scale, gate, pooled_mean, pooled_variance, d_scale, d_shift, d_mean, d_variance,
        d_parameters);
}

}  // extern "C"
