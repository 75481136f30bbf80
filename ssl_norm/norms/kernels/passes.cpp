// The four passes over memory for one type of numbers, SCALAR, and one map, MAP, each of which
// reads its input once; compiled and called by native.py.
//
// A unit of work is one sample's block of channels (channels-last memory) or one of its channels
// (contiguous memory). It is cut into tiles: some rows of at most LANES numbers that lie side by
// side. A lane of a tile is a channel there, and here some of the positions of the one channel.
// A unit belongs to one thread, so results do not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "exponential.h"

namespace {

struct BFloat16 {
    uint16_t bits;

    operator float() const {
        uint32_t wide = uint32_t(bits) << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
    explicit BFloat16(float value) {  // to the nearest, ties to even
        uint32_t wide;
        std::memcpy(&wide, &value, sizeof wide);
        wide += 0x7fff + (wide >> 16 & 1);
        bits = value == value ? wide >> 16 : 0x7fc0;
    }
};

using Number = SCALAR;
using Sum = std::conditional_t<std::is_same_v<Number, double>, double, float>;  // also of tables

struct Shape {
    int64_t samples, channels, positions, channels_last, threads;
};

struct Table {  // (N, C), perhaps expanded
    const Sum *entries;
    int64_t sample_stride, channel_stride;
};

struct Tile {
    int64_t start, rows, stride, lanes;

    template <class Body>
    void each(Body body) const {
        for (int64_t row = 0; row < rows; ++row) {
            int64_t first = start + row * stride;
#pragma omp simd
            for (int64_t lane = 0; lane < lanes; ++lane) body(first + lane, lane);
        }
    }
};

// WIDTH is the most channels of a unit in channels-last memory: long rows are faster to stream, and
// moments, which read a tile twice, need short ones to stay in the first cache.
template <bool CHANNELS_LAST, int64_t WIDTH = 512>
struct Unit {
    static constexpr int64_t LANES = CHANNELS_LAST ? WIDTH : 16;
    static constexpr int64_t ROWS = CHANNELS_LAST ? 16 : 128;

    const Shape &shape;
    int64_t sample, channel, channels, lanes;

    template <class Work>
    void each_tile(Work work) const {
        int64_t start = (sample * shape.channels + channel) * shape.positions;
        int64_t rows = shape.positions, stride = lanes, rest = 0;
        if (CHANNELS_LAST) {
            start = sample * shape.channels * shape.positions + channel;
            stride = shape.channels;
        } else {
            rows = shape.positions / lanes;
            rest = shape.positions % lanes;
        }
        for (int64_t row = 0; row < rows; row += ROWS)
            work(Tile{start + row * stride, std::min(ROWS, rows - row), stride, lanes});
        if (rest) work(Tile{start + rows * stride, 1, stride, rest});
    }

    void load(const Table &table, Sum *entries) const {
        const Sum *from = table.entries + sample * table.sample_stride;
        for (int64_t lane = 0; lane < lanes; ++lane)
            entries[lane] = from[(channel + (CHANNELS_LAST ? lane : 0)) * table.channel_stride];
    }

    int64_t first_entry() const { return sample * shape.channels + channel; }
};

template <class U, class Work>
void each_unit(const Shape &shape, Work work) {
    int64_t width = shape.channels_last ? U::LANES : 1;
    int64_t blocks = (shape.channels + width - 1) / width;
#pragma omp parallel for num_threads(int(shape.threads))
    for (int64_t index = 0; index < shape.samples * blocks; ++index) {
        int64_t channel = index % blocks * width;
        int64_t channels = std::min(width, shape.channels - channel);
        int64_t lanes = shape.channels_last ? channels : std::min(U::LANES, shape.positions);
        work(U{shape, index / blocks, channel, channels, lanes});
    }
}

// Add the moments of further values, a share of all, to those of `before` others (Chan, Golub and
// LeVeque, 1979).
struct Moments {
    double mean = 0, squares = 0;

    void add(double before, double share, double other_mean, double other_squares) {
        double away = other_mean - mean;
        mean += away * share;
        squares += other_squares + away * away * before * share;
    }
};

template <bool CHANNELS_LAST>
void instance_moments(const Shape &shape, const Number *x, Sum *mean, Sum *variance) {
    using U = Unit<CHANNELS_LAST, 128>;
    constexpr int64_t LANES = U::LANES;
    each_unit<U>(shape, [&](const U &unit) {
        Moments total[CHANNELS_LAST ? LANES : 1];
        double count = 0;
        unit.each_tile([&](const Tile &tile) {
            Sum centre[LANES] = {}, rest[LANES] = {}, squares[LANES] = {};
            tile.each([&](int64_t i, int64_t lane) { centre[lane] += Sum(x[i]); });
            for (int64_t lane = 0; lane < tile.lanes; ++lane) centre[lane] /= Sum(tile.rows);
            tile.each([&](int64_t i, int64_t lane) {
                Sum away = Sum(x[i]) - centre[lane];
                rest[lane] += away;
                squares[lane] += away * away;
            });
            double rows = double(tile.rows), part = 1 / rows, share = rows / (count + rows);
            for (int64_t lane = 0; lane < tile.lanes; ++lane) {
                double off = rest[lane] * part;  // the rounding error of centre
                Moments &into = total[CHANNELS_LAST ? lane : 0];
                into.add(count, share, centre[lane] + off, squares[lane] - off * off * rows);
                if (!CHANNELS_LAST) share = rows / ((count += rows) + rows);
            }
            if (CHANNELS_LAST) count += rows;
        });
        double part = 1 / double(shape.positions);
        for (int64_t channel = 0; channel < unit.channels; ++channel) {
            mean[unit.first_entry() + channel] = Sum(total[channel].mean);
            variance[unit.first_entry() + channel] =
                Sum(total[channel].squares * part);
        }
    });
}

// The entries of the tables of a unit, by table and lane.
template <int COUNT, int64_t LANES>
struct Entries {
    Sum values[COUNT][LANES];

    template <class U>
    Entries(const U &unit, const Table *tables) {
        for (int k = 0; k < COUNT; ++k) unit.load(tables[k], values[k]);
    }
};

// y = scale x + shift; the gradient of scale is summed about the mean.
struct Affine {
    static constexpr int TABLES = 2, KEPT = 1;
    static constexpr bool CENTRED = true;

    template <class T>
    static Sum value(Sum x, T table) {
        return table(0) * x + table(1);
    }
    template <class T>
    static Sum slope(Sum, T table) {
        return table(0);
    }
    template <class T, class Add>
    static void gradients(Sum dy, Sum, Sum centred, T, Add add) {
        add(0, dy * centred);
        add(1, dy);
    }
};

// y = max(scale x + shift, floor); at equality both sides get half of the gradient, as in torch.
struct Thresholded {
    static constexpr int TABLES = 3, KEPT = 3;
    static constexpr bool CENTRED = false;

    template <class T>
    static Sum value(Sum x, T table) {
        Sum linear = table(0) * x + table(1), floor = table(2);
        return linear < floor || floor != floor ? floor : linear;
    }
    template <class T>
    static Sum share(Sum x, T table) {
        Sum linear = table(0) * x + table(1), floor = table(2);
        return (linear > floor ? Sum(0.5) : Sum(0)) + (linear >= floor ? Sum(0.5) : Sum(0));
    }
    template <class T>
    static Sum slope(Sum x, T table) {
        return table(0) * share(x, table);
    }
    template <class T, class Add>
    static void gradients(Sum dy, Sum x, Sum, T table, Add add) {
        Sum above = dy * share(x, table);
        add(0, above * x);
        add(1, above);
        add(2, dy - above);
    }
};

// y = scale x sigmoid(v x) + shift.
struct Gated {
    static constexpr int TABLES = 3, KEPT = 2;
    static constexpr bool CENTRED = false;

    template <class T>
    static Sum value(Sum x, T table) {
        return table(0) * x * sigmoid(table(1) * x) + table(2);
    }
    template <class T>
    static Sum slope(Sum x, T table) {
        Sum gate = sigmoid(table(1) * x);
        return table(0) * gate * (Sum(1) + table(1) * x * (Sum(1) - gate));
    }
    template <class T, class Add>
    static void gradients(Sum dy, Sum x, Sum, T table, Add add) {
        Sum gate = sigmoid(table(1) * x), gated = dy * x * gate;
        add(0, gated);
        add(1, gated * table(0) * x * (Sum(1) - gate));
        add(2, dy);
    }
};

// y = weight x / max(v x + instance, batch) + bias.
struct Bounded {
    static constexpr int TABLES = 5, KEPT = 4;
    static constexpr bool CENTRED = false;

    template <class T>
    static Sum inverse(Sum x, T table, Sum &share) {
        Sum linear = table(1) * x + table(2), batch = table(3);
        share = (linear > batch ? Sum(0.5) : Sum(0)) + (linear >= batch ? Sum(0.5) : Sum(0));
        return Sum(1) / (linear < batch || batch != batch ? batch : linear);
    }
    template <class T>
    static Sum value(Sum x, T table) {
        Sum share;
        return table(0) * (x * inverse(x, table, share)) + table(4);
    }
    template <class T>
    static Sum slope(Sum x, T table) {
        Sum share, ratio = inverse(x, table, share);
        return table(0) * ratio * (Sum(1) - x * ratio * share * table(1));
    }
    template <class T, class Add>
    static void gradients(Sum dy, Sum x, Sum, T table, Add add) {
        Sum share, ratio = inverse(x, table, share), divided = dy * x * ratio;
        Sum of_denominator = -divided * table(0) * ratio, of_linear = of_denominator * share;
        add(0, divided);
        add(1, of_linear * x);
        add(2, of_linear);
        add(3, of_denominator - of_linear);
        add(4, dy);
    }
};

template <bool CHANNELS_LAST>
void map(const Shape &shape, const Number *x, Number *y, const Table *tables) {
    using U = Unit<CHANNELS_LAST>;
    each_unit<U>(shape, [&](const U &unit) {
        Entries<MAP::TABLES, U::LANES> entries(unit, tables);
        unit.each_tile([&](const Tile &tile) {
            tile.each([&](int64_t i, int64_t lane) {
                auto table = [&](int k) { return entries.values[k][lane]; };
                y[i] = Number(MAP::value(Sum(x[i]), table));
            });
        });
    });
}

template <bool CHANNELS_LAST>
void map_gradients(const Shape &shape, const Number *dy, const Number *x, const Table *mean,
                   const Table *tables, Sum *gradients) {
    using U = Unit<CHANNELS_LAST>;
    constexpr int64_t LANES = U::LANES;
    each_unit<U>(shape, [&](const U &unit) {
        Entries<MAP::KEPT, LANES> entries(unit, tables);
        Entries<1, LANES> centre(unit, mean);
        double totals[MAP::TABLES][LANES] = {};
        unit.each_tile([&](const Tile &tile) {
            Sum sums[MAP::TABLES][LANES] = {};
            tile.each([&](int64_t i, int64_t lane) {
                auto table = [&](int k) { return entries.values[k][lane]; };
                auto add = [&](int k, Sum term) { sums[k][lane] += term; };
                Sum value = Sum(x[i]);
                MAP::gradients(Sum(dy[i]), value, value - centre.values[0][lane], table, add);
            });
            for (int k = 0; k < MAP::TABLES; ++k)
                for (int64_t lane = 0; lane < tile.lanes; ++lane)
                    totals[k][CHANNELS_LAST ? lane : 0] += sums[k][lane];
        });
        for (int64_t channel = 0; channel < unit.channels; ++channel) {
            if (MAP::CENTRED) totals[0][channel] += centre.values[0][channel] * totals[1][channel];
            for (int k = 0; k < MAP::TABLES; ++k)
                gradients[k * shape.samples * shape.channels + unit.first_entry() + channel] =
                    Sum(totals[k][channel]);
        }
    });
}

template <bool CHANNELS_LAST>
void input_gradient(const Shape &shape, const Number *dy, const Number *x, Number *dx,
                    const Table *moments, const Table *tables) {
    using U = Unit<CHANNELS_LAST>;
    constexpr int64_t LANES = U::LANES;
    each_unit<U>(shape, [&](const U &unit) {
        Entries<MAP::KEPT, LANES> entries(unit, tables);
        Entries<3, LANES> line(unit, moments);  // mean, d_mean, d_variance
        auto &[centre, offset, slope] = line.values;
        for (int64_t lane = 0; lane < unit.lanes; ++lane) {
            offset[lane] /= Sum(shape.positions);
            slope[lane] *= Sum(2) / Sum(shape.positions);
        }
        unit.each_tile([&](const Tile &tile) {
            tile.each([&](int64_t i, int64_t lane) {
                auto table = [&](int k) { return entries.values[k][lane]; };
                Sum value = Sum(x[i]);
                Sum direct = Sum(dy[i]) * MAP::slope(value, table);
                dx[i] = Number(direct + (slope[lane] * (value - centre[lane]) + offset[lane]));
            });
        });
    });
}

}  // namespace

extern "C" {

void ssl_norm_instance_moments(const Shape *shape, const Number *x, Sum *mean, Sum *variance) {
    (shape->channels_last ? instance_moments<true> : instance_moments<false>)(*shape, x, mean,
                                                                              variance);
}
void ssl_norm_map(const Shape *shape, const Number *x, Number *y, const Table *tables) {
    (shape->channels_last ? map<true> : map<false>)(*shape, x, y, tables);
}
void ssl_norm_map_gradients(const Shape *shape, const Number *dy, const Number *x,
                            const Table *mean, const Table *tables, Sum *gradients) {
    (shape->channels_last ? map_gradients<true> : map_gradients<false>)(*shape, dy, x, mean,
                                                                        tables, gradients);
}
void ssl_norm_input_gradient(const Shape *shape, const Number *dy, const Number *x, Number *dx,
                             const Table *moments, const Table *tables) {
    (shape->channels_last ? input_gradient<true> : input_gradient<false>)(*shape, dy, x, dx,
                                                                          moments, tables);
}

}  // extern "C"
