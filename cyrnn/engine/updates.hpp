// The rules of optimizers, element by element, as cyrnn/optimizers has them with NumPy: with the same bits, if sums and
// products are not fused.
//
// w are the weights and g their gradients; m, v and others are what is remembered of them; lr is the learning rate, and t
// the number of the update, 1 first.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace cyrnn {

enum class Rule : int { sgd, momentum, nesterov, adam, amsgrad, adamax, rmsprop, adagrad, adadelta, lion };

constexpr int most_slots = 3;  // of a rule

struct RuleOptions {  // what a rule does not have is not looked at
    double beta_1 = 0, beta_2 = 0, epsilon = 0;  // rho and momentum are beta_1 and beta_2 of the rules that have these
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
    static void update(Rule rule, const RuleOptions &o, Size n, T *w, const T *g, T *const *slots, T lr, long t) {
        switch (rule) {
        case Rule::sgd: return sgd(n, w, g, lr);
        case Rule::momentum: return momentum(n, w, g, slots[0], lr, T(o.beta_1), false);
        case Rule::nesterov: return momentum(n, w, g, slots[0], lr, T(o.beta_1), true);
        case Rule::adam: return adam(n, w, g, slots[0], slots[1], nullptr, lr, t, o);
        case Rule::amsgrad: return adam(n, w, g, slots[0], slots[1], slots[2], lr, t, o);
        case Rule::adamax: return adamax(n, w, g, slots[0], slots[1], lr, t, o);
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
};

struct Segment {  // a weight: where it is in the flat ones, its penalties, and its decay
    std::ptrdiff_t first, size;
    double l1, l2, decay;
};

// How flat weights follow their flat gradients, in one dtype or the other.
struct Movement {
    Rule rule = Rule::sgd;
    RuleOptions options;
    double clip_value = 0, clip_norm = 0, clip_global = 0;  // 0 for no limit
    std::vector<Segment> segments;

    // Floats if single, or else doubles. Returns the penalties on the weights before.
    double move(bool single, std::ptrdiff_t size, void *w, void *g, void *const *slots, double rate, long t) const {
        const auto run = [&](auto sample) {
            using T = decltype(sample);
            T *const each[most_slots] = {static_cast<T *>(slots[0]), static_cast<T *>(slots[1]), static_cast<T *>(slots[2])};
            return moved(size, static_cast<T *>(w), static_cast<T *>(g), each, rate, t);
        };
        return single ? run(float()) : run(double());
    }

private:
    template <class T> double moved(std::ptrdiff_t size, T *w, T *g, T *const *slots, double rate, long t) const {
        using U = Updates<T>;
        const T lr = T(rate);
        double penalties = 0;
        for (const Segment &part : segments)
            if (part.l1 != 0 || part.l2 != 0)
                penalties += U::penalty(part.size, w + part.first, g + part.first, T(part.l1), T(part.l2));
        clip(size, g);
        for (const Segment &part : segments)
            if (part.decay != 0) U::decay(part.size, w + part.first, T(part.decay), lr);
        U::update(rule, options, size, w, g, slots, lr, t);
        return penalties;
    }

    template <class T> void clip(std::ptrdiff_t size, T *g) const {
        using U = Updates<T>;
        if (clip_value > 0) U::clip(size, g, T(clip_value));
        double all = 0;
        for (const Segment &part : segments) {
            if (clip_norm <= 0 && clip_global <= 0) return;
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
