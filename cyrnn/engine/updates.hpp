// The rules of optimizers, element by element, as cyrnn/optimizers has them with NumPy: with the same bits, if sums and
// products are not fused.
//
// w are the weights and g their gradients; m, v and others are what is remembered of them; lr is the learning rate, and t
// the number of the update, 1 first.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

namespace cyrnn {

enum class Rule : int { sgd, momentum, nesterov, adam, amsgrad, adamax, nadam, rmsprop, adagrad, adadelta, lion };

constexpr int most_slots = 3;              // of a rule
constexpr int all_slots = most_slots + 2;  // and those of averages and of sums

// How many slots a rule cannot do without: the first ones.
constexpr int needed_slots(Rule rule) {
    switch (rule) {
    case Rule::sgd: return 0;
    case Rule::amsgrad: return 3;
    case Rule::adam:
    case Rule::adamax:
    case Rule::nadam:
    case Rule::adadelta: return 2;
    default: return 1;
    }
}

struct RuleOptions {  // what a rule does not have is not looked at
    double beta_1 = 0, beta_2 = 0, epsilon = 0;  // rho and momentum are beta_1 and beta_2 of the rules that have these
};

// The product of Nadam's momenta up to an update, step by step in the dtype of the weights.
struct NadamProduct {
    long t = 0;
    double value = 1;

    template <class T> double up_to(double beta_1, long wanted);
};

template <class T> struct Updates {
    using Size = std::ptrdiff_t;

    static T one_minus_power(double beta, long t) { return 1 - std::pow(T(beta), T(t)); }

    static void sgd(Size n, T *w, const T *g, T lr) {
        for (Size i = 0; i < n; ++i) w[i] -= lr * g[i];
    }

    static void momentum(Size n, T *w, const T *g, T *m, T lr, T mu, bool nesterov) {
        for (Size i = 0; i < n; ++i) {
            const T step = lr * g[i];
            m[i] = mu * m[i] - step;
            w[i] += nesterov ? mu * m[i] - step : m[i];
        }
    }

    static void adam(Size n, T *w, const T *g, T *m, T *v, T *most, T lr, long t, const RuleOptions &o) {
        const T rate = lr * std::sqrt(one_minus_power(o.beta_2, t)) / one_minus_power(o.beta_1, t);
        const T first = T(1 - o.beta_1), second = T(1 - o.beta_2), epsilon = T(o.epsilon);
        for (Size i = 0; i < n; ++i) {
            m[i] += (g[i] - m[i]) * first;
            v[i] += (g[i] * g[i] - v[i]) * second;
        }
        if (most)
            for (Size i = 0; i < n; ++i) most[i] = most[i] >= v[i] || std::isnan(most[i]) ? most[i] : v[i];
        const T *const root = most ? most : v;
        for (Size i = 0; i < n; ++i) w[i] -= m[i] * rate / (std::sqrt(root[i]) + epsilon);
    }

    static void adamax(Size n, T *w, const T *g, T *m, T *u, T lr, long t, const RuleOptions &o) {
        const T share = one_minus_power(o.beta_1, t), first = T(1 - o.beta_1), second = T(o.beta_2), epsilon = T(o.epsilon);
        for (Size i = 0; i < n; ++i) {
            m[i] += (g[i] - m[i]) * first;
            const T kept = second * u[i], size = std::fabs(g[i]);
            u[i] = kept >= size || std::isnan(kept) ? kept : size;
            w[i] -= lr * m[i] / (share * (u[i] + epsilon));
        }
    }

    // What Nadam multiplies its momentum with at update t.
    static T nadam_momentum(double beta_1, long t) { return T(beta_1) * (1 - T(0.5) * std::pow(T(0.96), T(t))); }

    // `product` is that of all these up to t.
    static void nadam(Size n, T *w, const T *g, T *m, T *v, T lr, long t, T product, const RuleOptions &o) {
        const T first = 1 - T(o.beta_1), second = 1 - T(o.beta_2), epsilon = T(o.epsilon);
        const T now = nadam_momentum(o.beta_1, t), after = nadam_momentum(o.beta_1, t + 1);
        const T share = one_minus_power(o.beta_2, t), of_m = 1 - product * after, of_g = 1 - product;
        for (Size i = 0; i < n; ++i) {
            m[i] += (g[i] - m[i]) * first;
            v[i] += (g[i] * g[i] - v[i]) * second;
            const T ahead = after * m[i] / of_m + (1 - now) * g[i] / of_g;
            w[i] -= lr * ahead / (std::sqrt(v[i] / share) + epsilon);
        }
    }

    static void rmsprop(Size n, T *w, const T *g, T *v, T *moving, T *a, T lr, const RuleOptions &o) {
        const T rho = T(o.beta_1), rest = T(1 - o.beta_1), mu = T(o.beta_2), epsilon = T(o.epsilon);
        for (Size i = 0; i < n; ++i) {
            v[i] = rho * v[i] + rest * (g[i] * g[i]);
            T below = v[i] + epsilon;
            if (a) {
                a[i] = rho * a[i] + rest * g[i];
                below = v[i] - a[i] * a[i] + epsilon;
            }
            T step = lr * g[i] / std::sqrt(below);
            if (moving) step = moving[i] = mu * moving[i] + step;
            w[i] -= step;
        }
    }

    static void adagrad(Size n, T *w, const T *g, T *total, T lr, const RuleOptions &o) {
        const T epsilon = T(o.epsilon);
        for (Size i = 0; i < n; ++i) {
            total[i] += g[i] * g[i];
            w[i] -= lr * g[i] / std::sqrt(total[i] + epsilon);
        }
    }

    static void adadelta(Size n, T *w, const T *g, T *squares, T *deltas, T lr, const RuleOptions &o) {
        const T rho = T(o.beta_1), rest = T(1 - o.beta_1), epsilon = T(o.epsilon);
        for (Size i = 0; i < n; ++i) {
            squares[i] = rho * squares[i] + rest * (g[i] * g[i]);
            const T delta = -g[i] * std::sqrt(deltas[i] + epsilon) / std::sqrt(squares[i] + epsilon);
            deltas[i] = rho * deltas[i] + rest * (delta * delta);
            w[i] += lr * delta;
        }
    }

    static void lion(Size n, T *w, const T *g, T *m, T lr, const RuleOptions &o) {
        const T first = T(o.beta_1), first_rest = T(1 - o.beta_1), second = T(o.beta_2), second_rest = T(1 - o.beta_2);
        for (Size i = 0; i < n; ++i) {
            const T c = first * m[i] + first_rest * g[i];
            w[i] -= lr * (c > 0 ? T(1) : c < 0 ? T(-1) : c);  // NaN passes
            m[i] = second * m[i] + second_rest * g[i];
        }
    }

    // One update of n weights; `slots` are those of the rule, in the order in which the optimizer has them, or null.
    static void update(Rule rule, const RuleOptions &o, Size n, T *w, const T *g, T *const *slots, T lr, long t,
                       NadamProduct &product) {
        switch (rule) {
        case Rule::sgd: return sgd(n, w, g, lr);
        case Rule::momentum: return momentum(n, w, g, slots[0], lr, T(o.beta_1), false);
        case Rule::nesterov: return momentum(n, w, g, slots[0], lr, T(o.beta_1), true);
        case Rule::adam: return adam(n, w, g, slots[0], slots[1], nullptr, lr, t, o);
        case Rule::amsgrad: return adam(n, w, g, slots[0], slots[1], slots[2], lr, t, o);
        case Rule::adamax: return adamax(n, w, g, slots[0], slots[1], lr, t, o);
        case Rule::nadam: return nadam(n, w, g, slots[0], slots[1], lr, t, T(product.up_to<T>(o.beta_1, t)), o);
        case Rule::rmsprop: return rmsprop(n, w, g, slots[0], slots[1], slots[2], lr, o);
        case Rule::adagrad: return adagrad(n, w, g, slots[0], lr, o);
        case Rule::adadelta: return adadelta(n, w, g, slots[0], slots[1], lr, o);
        case Rule::lion: return lion(n, w, g, slots[0], lr, o);
        }
    }

    // ------------------------------------------------------------ before the rule

    static void decay(Size n, T *w, T factor, T lr) {
        for (Size i = 0; i < n; ++i) w[i] -= w[i] * factor * lr;
    }

    // Adds the gradient of l1 Σ|w| + l2 Σw², and returns that.
    static double penalty(Size n, const T *w, T *g, T l1, T l2) {
        double absolute = 0, square = 0;
        for (Size i = 0; i < n; ++i) {
            absolute += std::fabs(double(w[i]));
            square += double(w[i]) * double(w[i]);
            g[i] += l1 * (w[i] > 0 ? T(1) : w[i] < 0 ? T(-1) : w[i]) + 2 * l2 * w[i];
        }
        return double(l1) * absolute + double(l2) * square;
    }

    static void clip(Size n, T *g, T limit) {
        for (Size i = 0; i < n; ++i) g[i] = g[i] < -limit ? -limit : g[i] > limit ? limit : g[i];  // NaN passes
    }

    static T squares(Size n, const T *g) {
        double sum = 0;
        for (Size i = 0; i < n; ++i) sum += double(g[i]) * double(g[i]);
        return T(sum);
    }

    static void scale(Size n, T *g, T factor) {
        for (Size i = 0; i < n; ++i) g[i] *= factor;
    }

    // ------------------------------------------------------------ beside the rule

    static void add(Size n, const T *g, T *sum) {
        for (Size i = 0; i < n; ++i) sum[i] += g[i];
    }

    // g := sum / count, and the sum begins anew.
    static void take_mean(Size n, T *sum, T *g, T count) {
        for (Size i = 0; i < n; ++i) {
            g[i] = sum[i] / count;
            sum[i] = 0;
        }
    }

    static void move_average(Size n, const T *value, T *average, double momentum) {
        const T kept = T(momentum), rest = T(1 - momentum);
        for (Size i = 0; i < n; ++i) average[i] = average[i] * kept + value[i] * rest;
    }

    static void average(Size n, const T *w, T *average, double momentum, bool first) {
        const T kept = T(momentum), rest = T(1 - momentum);
        for (Size i = 0; i < n; ++i) average[i] = first ? w[i] : kept * average[i] + rest * w[i];
    }
};

template <class T> double NadamProduct::up_to(double beta_1, long wanted) {
    if (t > wanted) *this = NadamProduct();
    for (; t < wanted && value != 0; ++t)  // soon it is so small that it is 0
        value = double(T(value) * Updates<T>::nadam_momentum(beta_1, t + 1));
    t = wanted;
    return value;
}

struct Segment {  // a weight: where it is in the flat ones, its penalties, and its decay
    std::ptrdiff_t first, size;
    double l1, l2, decay;
};

// How flat weights follow their flat gradients, in one dtype or the other.
struct Movement {
    Rule rule = Rule::sgd;
    RuleOptions options;
    double clip_value = 0, clip_norm = 0, clip_global = 0;  // 0 for no limit
    double ema_momentum = 0;
    long ema_overwrite = 0;  // each so many updates weights become their averages; 0 for never
    long accumulated = 1;    // of so many gradients an update takes the mean
    std::vector<Segment> segments;
    NadamProduct product;

    bool updates_at(long call) const { return call % accumulated == 0; }

    // Floats if single, or else doubles. `slots` are those of the rule; the averages of the weights, or null; and the
    // sums of gradients, or null. `call` counts gradients, 1 first. Returns the penalties on the weights before.
    double move(bool single, std::ptrdiff_t size, void *w, void *g, void *const *slots, double rate, long call,
                bool first_average) {
        const auto run = [&](auto sample) {
            using T = decltype(sample);
            T *each[all_slots];
            for (int i = 0; i < all_slots; ++i) each[i] = static_cast<T *>(slots[i]);
            return moved(size, static_cast<T *>(w), static_cast<T *>(g), each, T(rate), call, first_average);
        };
        return single ? run(float()) : run(double());
    }

private:
    template <class T>
    double moved(std::ptrdiff_t size, T *w, T *g, T *const *slots, T lr, long call, bool first_average) {
        using U = Updates<T>;
        T *const averages = slots[most_slots], *const sums = slots[most_slots + 1];
        double penalties = 0;
        for (const Segment &part : segments)
            if (part.l1 != 0 || part.l2 != 0)
                penalties += U::penalty(part.size, w + part.first, g + part.first, T(part.l1), T(part.l2));
        if (sums) {
            U::add(size, g, sums);
            if (!updates_at(call)) return penalties;
            U::take_mean(size, sums, g, T(accumulated));
        }
        const long t = call / accumulated;
        clip(size, g);
        for (const Segment &part : segments)
            if (part.decay != 0) U::decay(part.size, w + part.first, T(part.decay), lr);
        U::update(rule, options, size, w, g, slots, lr, t, product);
        if (averages) {
            U::average(size, w, averages, ema_momentum, first_average);
            if (ema_overwrite > 0 && t % ema_overwrite == 0) std::memcpy(w, averages, std::size_t(size) * sizeof(T));
        }
        return penalties;
    }

    template <class T> void clip(std::ptrdiff_t size, T *g) const {
        using U = Updates<T>;
        if (clip_value > 0) U::clip(size, g, T(clip_value));
        if (clip_norm <= 0 && clip_global <= 0) return;
        double all = 0;
        for (const Segment &part : segments) {
            const double squares = double(U::squares(part.size, g + part.first)), norm = std::sqrt(squares);
            all += squares;
            if (clip_norm > 0 && !(norm <= clip_norm)) U::scale(part.size, g + part.first, T(clip_norm / norm));
        }
        const double norm = std::sqrt(all);
        if (clip_global > 0 && !(norm <= clip_global))
            U::scale(size, g, std::isfinite(norm) ? T(clip_global / norm) : std::numeric_limits<T>::quiet_NaN());
    }
};

}  // namespace cyrnn
