// Losses of a batch and their gradients: each value beside its derivative.
//
// p and t are (count, classes), p what the model returns and t the truth; labels are (count). The value of a row counts
// `weight` times, with a factor for all; the derivative is that of the sum by p, times a share. Kinks are Keras' on TensorFlow.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace cyrnn {

enum class Loss : int {
    mean_squared_error,
    mean_absolute_error,
    huber,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
};

struct LossOptions {
    double delta = 1;         // of huber
    double smoothing = 0;     // of labels
    bool from_logits = false;
};

struct LossCall {  // floats if single, or else doubles
    bool single;
    std::ptrdiff_t count, classes;
    const void *p;
    const void *t = nullptr;                // or labels instead:
    const std::int64_t *labels = nullptr;
    const void *weights = nullptr;          // each for `repeats` rows, or null for ones
    std::ptrdiff_t repeats = 1;
    const bool *keep = nullptr;             // (count), which rows count; or null for all
    double factor;                          // what each value counts
    double share = 1;                       // what the derivative has more of
    void *d;                                // (count, classes), filled

    bool keeps(std::ptrdiff_t row) const { return !keep || keep[row]; }
};

template <class T> struct Losses {
    static constexpr T epsilon = T(1e-7), least = epsilon, most = T(1 - 1e-7);

    static T clipped(T p) { return p < least ? least : p > most ? most : p; }  // NaN passes
    static bool inside(T p) { return p >= least && p <= most; }  // NaN is not
    static T sign(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; }  // NaN passes
    // log(1 + e^x)
    static T softplus(T x) { return (x > 0 ? x : T(0)) + std::log1p(std::exp(-std::fabs(x))); }

    // Each returns the value of a row, and fills d with its derivative times `scale`.

    static T squared(const LossOptions &, std::ptrdiff_t n, const T *p, const T *t, T scale, T *d) {
        T sum = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
            const T e = p[j] - t[j];
            sum += e * e;
            d[j] = 2 * e / T(n) * scale;
        }
        return sum / T(n);
    }

    static T absolute(const LossOptions &, std::ptrdiff_t n, const T *p, const T *t, T scale, T *d) {
        T sum = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
            const T e = p[j] - t[j];
            sum += std::fabs(e);
            d[j] = sign(e) / T(n) * scale;
        }
        return sum / T(n);
    }

    static T huber(const LossOptions &options, std::ptrdiff_t n, const T *p, const T *t, T scale, T *d) {
        const T delta = T(options.delta);
        T sum = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
            const T e = p[j] - t[j], size = std::fabs(e);
            sum += size <= delta ? e * e / 2 : delta * size - delta * delta / 2;
            d[j] = (e < -delta ? -delta : e > delta ? delta : e) / T(n) * scale;
        }
        return sum / T(n);
    }

    static T binary(const LossOptions &options, std::ptrdiff_t n, const T *p, const T *t, T scale, T *d) {
        const T share = T(1 - options.smoothing), shift = T(options.smoothing / 2);
        T sum = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) {
            const T y = t[j] * share + shift;
            if (options.from_logits) {
                sum += softplus(p[j]) - p[j] * y;
                d[j] = (std::exp(-softplus(-p[j])) - y) / T(n) * scale;
            } else {
                const T c = clipped(p[j]);
                sum += -y * std::log(c) - (1 - y) * std::log(1 - c);
                d[j] = inside(p[j]) ? ((1 - y) / (1 - c) - y / c) / T(n) * scale : T(0);
            }
        }
        return sum / T(n);
    }

    static T categorical(const LossOptions &options, std::ptrdiff_t n, const T *p, const T *t, T scale, T *d) {
        const T share = T(1 - options.smoothing), shift = T(options.smoothing / double(n));
        if (options.from_logits) {
            const T top = largest(n, p), log_total = log_sum(n, p, top);
            T sum = 0, all = 0;
            for (std::ptrdiff_t j = 0; j < n; ++j) {
                const T y = t[j] * share + shift;
                sum -= y * (p[j] - top - log_total);
                all += y;
            }
            for (std::ptrdiff_t j = 0; j < n; ++j)
                d[j] = (std::exp(p[j] - top - log_total) * all - (t[j] * share + shift)) * scale;
            return sum;
        }
        T total = 0, sum = 0, back = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) total += p[j];
        for (std::ptrdiff_t j = 0; j < n; ++j) {
            const T y = t[j] * share + shift, q = p[j] / total, c = clipped(q);
            sum -= y * std::log(c);
            d[j] = inside(q) ? -y / c : T(0);
            back += d[j] * q;
        }
        for (std::ptrdiff_t j = 0; j < n; ++j) d[j] = (d[j] - back) / total * scale;
        return sum;
    }

    static T sparse(const LossOptions &options, std::ptrdiff_t n, const T *p, std::int64_t label, T scale, T *d) {
        if (options.from_logits) {
            const T top = largest(n, p), log_total = log_sum(n, p, top);
            for (std::ptrdiff_t j = 0; j < n; ++j) d[j] = (std::exp(p[j] - top - log_total) - T(j == label)) * scale;
            return -(p[label] - top - log_total);
        }
        T total = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) total += clipped(p[j]);
        for (std::ptrdiff_t j = 0; j < n; ++j)
            d[j] = inside(p[j]) ? (1 / total - T(j == label) / clipped(p[j])) * scale : T(0);
        return std::log(total) - std::log(clipped(p[label]));
    }

    static T largest(std::ptrdiff_t n, const T *p) {
        T top = p[0];
        for (std::ptrdiff_t j = 1; j < n; ++j) top = p[j] < top ? top : p[j];
        return top;
    }

    static T log_sum(std::ptrdiff_t n, const T *p, T top) {
        T total = 0;
        for (std::ptrdiff_t j = 0; j < n; ++j) total += std::exp(p[j] - top);
        return std::log(total);
    }

    // The weighed sum of all values. A row that does not count is not looked at: it may be anything.
    static double of_batch(Loss kind, const LossOptions &options, const LossCall &call) {
        using Row = T (*)(const LossOptions &, std::ptrdiff_t, const T *, const T *, T, T *);
        static constexpr Row rows[] = {squared, absolute, huber, binary, categorical};
        const T *p = static_cast<const T *>(call.p), *t = static_cast<const T *>(call.t);
        const T *const weights = static_cast<const T *>(call.weights);
        T *d = static_cast<T *>(call.d);
        double total = 0;
        for (std::ptrdiff_t i = 0; i < call.count; ++i, p += call.classes, d += call.classes) {
            if (!call.keeps(i)) {
                for (std::ptrdiff_t j = 0; j < call.classes; ++j) d[j] = 0;
                continue;
            }
            const T factor = weights ? weights[i / call.repeats] * T(call.factor) : T(call.factor);
            const T scale = factor * T(call.share);
            const T value = call.labels
                ? sparse(options, call.classes, p, call.labels[i], scale, d)
                : rows[static_cast<int>(kind)](options, call.classes, p, t + i * call.classes, scale, d);
            total += double(value) * double(factor);
        }
        return total;
    }
};

// Whether all labels that count are classes.
inline bool labels_are_classes(const LossCall &call) {
    for (std::ptrdiff_t i = 0; i < call.count; ++i)
        if (call.keeps(i) && (call.labels[i] < 0 || call.labels[i] >= call.classes)) return false;
    return true;
}

inline std::ptrdiff_t rows_that_count(const LossCall &call) {
    std::ptrdiff_t found = 0;
    for (std::ptrdiff_t i = 0; i < call.count; ++i) found += call.keeps(i);
    return found;
}

inline double loss_of_batch(Loss kind, const LossOptions &options, const LossCall &call) {
    return call.single ? Losses<float>::of_batch(kind, options, call) : Losses<double>::of_batch(kind, options, call);
}

}  // namespace cyrnn
