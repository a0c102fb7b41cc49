// Every activation, vectorised once: its formula on a vector, and the walk over an array.
//
// Included inside a namespace per instruction set; see vector_math.hpp for what that forbids.
//
// Whether a product and a sum are fused is the compiler's choice, so each expression leaves it only one; and a tail
// uses the code of the full vectors. So an element's bits do not depend on its place in the array.

#include "vector_math.hpp"

// Keras' formulas, rearranged where the plain form overflows or cancels. NaN and infinity give what they give in
// Keras on TensorFlow, and so x * 0 stays where it makes NaN of -inf.
template <class T> struct Formulas {
    using M = Math<T>;
    using V = typename M::V;

    CYRNN_INLINE V linear(V x) { return x; }

    // ---- piecewise linear and quadratic

    CYRNN_INLINE V relu(V x) { return M::at_least(x, 0); }
    CYRNN_INLINE V relu6(V x) { return M::clip(x, 0, 6); }
    CYRNN_INLINE V leaky_relu(V x) { return M::select(x < 0, x * T(0.2), x); }
    CYRNN_INLINE V hard_tanh(V x) { return M::clip(x, -1, 1); }

    //   clip(x / 6 + 1 / 2, 0, 1), exact near -3
    CYRNN_INLINE V hard_sigmoid(V x) { return M::clip(x + 3, 0, 6) * (T(1) / 6); }
    CYRNN_INLINE V hard_sigmoid_keras2(V x) { return M::clip(x * T(0.2) + T(0.5), 0, 1); }
    CYRNN_INLINE V hard_silu(V x) { return x * hard_sigmoid(x); }

    // Both take NaN to 0, as in Keras: it is neither above the threshold nor below.
    CYRNN_INLINE V hard_shrink(V x) { return M::select(M::magnitude(x) > T(0.5), x, V{}); }
    CYRNN_INLINE V soft_shrink(V x) {
        const V shrunk = M::with_sign_of(x, M::magnitude(x) - T(0.5));
        return M::select(M::magnitude(x) > T(0.5), shrunk, V{});
    }

    CYRNN_INLINE V sparse_sigmoid(V x) { return M::clip((x + 1) * T(0.5), 0, 1); }
    //   0 up to -1,   (x + 1)^2 / 4,   x from 1 on
    CYRNN_INLINE V sparse_plus(V x) {
        const V half = M::at_least((x + 1) * T(0.5), 0);
        return M::select(x < 1, half * half, x);
    }

    // ---- exponentials.   u = e^-|x| is never above 1, so nothing overflows

    CYRNN_INLINE V decay(V x) { return M::exp_negative(-M::magnitude(x)); }

    CYRNN_INLINE V exponential(V x) { return M::exp(x); }
    CYRNN_INLINE V elu(V x) { return M::select(x >= 0, x, M::expm1_negative(M::at_most(x, 0))); }
    CYRNN_INLINE V celu(V x) { return elu(x); }  // with alpha 1 they are one
    CYRNN_INLINE V selu(V x) {
        const T scale = T(1.0507009873554805), scale_alpha = T(1.0507009873554805 * 1.6732632423543772);
        return elu(x) * M::select(x > 0, M::all(scale), M::all(scale_alpha));
    }

    //   1 / (1 + u),  or  u / (1 + u) below 0
    CYRNN_INLINE V sigmoid(V x) {
        const V u = decay(x);
        return M::select(x < 0, u, M::all(1)) / (u + 1);
    }
    CYRNN_INLINE V silu(V x) { return x * sigmoid(x); }
    CYRNN_INLINE V tanh(V x) { return M::tanh(x); }

    //   log(1 + e^x) = max(x, 0) + log(1 + u)
    CYRNN_INLINE V softplus(V x) { return M::at_least(x, 0) + M::log1p_unit(decay(x)); }
    CYRNN_INLINE V log_sigmoid(V x) { return M::at_most(x, 0) - M::log1p_unit(decay(x)); }

    //   x tanh(log(1 + e^x)) = x y / (y + 2),   y = e^x (e^x + 2);  above 0 both are divided by e^2x
    CYRNN_INLINE V mish(V x) {
        const V u = decay(x);
        const V top = M::select(x < 0, u * (u + 2), u * 2 + 1);
        return x * (top / (top + M::select(x < 0, M::all(2), u * u * 2)));
    }

    //   x Phi(x)
    CYRNN_INLINE V gelu(V x) {
        const V tail = M::normal_tail(M::magnitude(x));
        return x * M::select(x < 0, tail, 1 - tail);
    }

    // ---- algebraic

    CYRNN_INLINE V softsign(V x) { return x / (M::magnitude(x) + 1); }

    //   (x + sqrt(x^2 + 4)) / 2,   and below 0, where that cancels,   2 / (sqrt(x^2 + 4) - x)
    CYRNN_INLINE V squareplus(V x) {
        const T far = M::single ? T(0x1p20) : T(0x1p40);  // from here on the 4 is lost, and further on x^2 overflows
        const V a = M::magnitude(x), near = M::at_most(a, far);
        const V root = M::select(a < far, M::sqrt(near * near + 4), a);
        return M::select(x < 0, 2 / (root - x) + (x - x), x * T(0.5) + root * T(0.5));  // x - x: -inf becomes NaN
    }

    //   x - tanh x,   and near 0, where that cancels,   x^3 p(x^2) / q(x^2)
    CYRNN_INLINE V tanh_shrink(V x) {
        const V square = M::at_most(x * x, T(2.25));
        V p, q;
        if constexpr (M::single) {  // 4e-8
            p = M::polynomial(square, 0.3333333213, 0.01458572682);
            q = M::polynomial(square, 1, 0.4437565357, 0.01559972295);
        } else {  // 2e-18
            p = M::polynomial(square, 0.3333333333333333328, 0.02349397164952108625, 0.0003713063111437587331,
                              1.255820510959894857e-6);
            q = M::polynomial(square, 1, 0.4704819149485631595, 0.02740192300809569101, 0.0003997398529888441777,
                              1.284067447649043078e-6);
        }
        return M::select(M::magnitude(x) < T(1.5), x * (square * (p / q)), x - M::tanh(x));
    }
};

// The activations of a whole row. Each adds the bias in its first pass. A row with NaN or inf becomes NaN; -inf becomes 0.
template <class T> struct Rows {
    using M = Math<T>;
    using V = typename M::V;
    static constexpr T lowest = -__builtin_inff();

    // A sum that remembers what rounding took from it: a long row would lose more than its small terms.
    struct Sum {
        V total{}, lost{};

        inline __attribute__((always_inline)) void add(V x) {
            const V before = total;
            total = before + x;
            const V kept = total - before;
            lost += (before - (total - kept)) + (x - kept);
        }
        inline __attribute__((always_inline)) double value() const { return across(total) + across(lost); }
    };

    CYRNN_INLINE double across(V x) {
        double sum = 0;
        for (std::ptrdiff_t i = 0; i < M::lanes; ++i) sum += x[i];
        return sum;
    }

    CYRNN_INLINE T largest_of(V x) {
        T largest = x[0];
        for (std::ptrdiff_t i = 1; i < M::lanes; ++i) largest = x[i] > largest ? x[i] : largest;
        return largest;
    }

    // row := row + bias; returns the largest. (It may overlook NaN: the sums that follow do not.)
    CYRNN_INLINE T add_bias(T *row, const T *bias, std::ptrdiff_t units) {
        V most = M::all(lowest);
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes) {
            V x = M::load(row + i, units - i, lowest);
            if (bias) M::store(row + i, units - i, x += M::load(bias + i, units - i, 0));
            most = M::select(x > most, x, most);
        }
        return largest_of(most);
    }

    //   e^(z - max z) / sum e^(z - max z)
    CYRNN_INLINE void softmax(T *row, const T *bias, std::ptrdiff_t units) {
        const T largest = add_bias(row, bias, units);
        Sum sum;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes) {
            const V e = M::exp_negative(M::load(row + i, units - i, lowest) - largest);
            sum.add(e);
            M::store(row + i, units - i, e);
        }
        const T total = T(sum.value());
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(row + i, units - i, M::load(row + i, units - i, 0) / total);
    }

    //   z - max z - log sum e^(z - max z)
    CYRNN_INLINE void log_softmax(T *row, const T *bias, std::ptrdiff_t units) {
        const T largest = add_bias(row, bias, units);
        Sum sum;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            sum.add(M::exp_negative(M::load(row + i, units - i, lowest) - largest));
        const T log_total = T(__builtin_log(sum.value()));
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(row + i, units - i, M::load(row + i, units - i, 0) - largest - log_total);
    }

    //   max(z - tau, 0),   tau = (s_1 + ... + s_k - 1) / k,   s_i the sum of the i largest,
    //   k the last i for which the i-th largest is above (s_i - 1) / i
    //
    // The paper (Martins and Astudillo, 2016) has s_k alone in tau, so that the row sums to 1. Every backend of
    // Keras adds up the s_i, and a model that was trained with that needs it. Nothing is sorted: the support is small
    // as a rule, and each pass finds the next largest value and how often it stands in the row.
    CYRNN_INLINE void sparsemax(T *row, const T *bias, std::ptrdiff_t units) {
        T value = add_bias(row, bias, units);
        double size = 0, sum = 0, sum_of_sums = 0, undefined = 0;
        for (bool inside = true; inside; ) {
            V copies{}, next = M::all(lowest), spoilt{};
            for (std::ptrdiff_t i = 0; i < units; i += M::lanes) {
                const V x = M::load(row + i, units - i, lowest);
                copies += M::select(x == value, M::all(1), V{});
                next = M::select((x < value) & (x > next), x, next);
                spoilt += M::select(x == lowest, V{}, x - x);  // NaN where x is NaN or inf
            }
            undefined = across(spoilt);
            inside = false;
            for (double left = across(copies); left > 0; --left) {
                inside = value - (sum + value - 1) / (size + 1) > 0;
                if (!inside) break;
                sum += value;
                sum_of_sums += sum;
                ++size;
            }
            value = largest_of(next);
        }
        const T tau = T((sum_of_sums - 1) / size + undefined);
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(row + i, units - i, M::at_least(M::load(row + i, units - i, 0) - tau, 0));
    }
};

// ---- The walks:   z := f(z + bias), in place.   z: (rows, units), its rows `stride` apart;  bias: (units), or null

template <class T, typename Math<T>::V (*f)(typename Math<T>::V)>
[[gnu::noinline]] void by_element(T *z, std::ptrdiff_t stride, const T *bias, std::ptrdiff_t rows, std::ptrdiff_t units) {
    using M = Math<T>;
    const std::ptrdiff_t whole = units / M::lanes * M::lanes, rest = units - whole;
    for (std::ptrdiff_t row = 0; row < rows; ++row) {
        T *const at = z + row * stride;
        for (std::ptrdiff_t i = 0; i < whole; i += M::lanes) {
            typename M::V x = M::load(at + i, M::lanes, 0);
            if (bias) x += M::load(bias + i, M::lanes, 0);
            M::store(at + i, M::lanes, f(x));
        }
        if (rest == 0) continue;
        typename M::V x = M::part(at + whole, rest, 0);
        if (bias) x += M::part(bias + whole, rest, 0);
        by_element<T, f>(reinterpret_cast<T *>(&x), M::lanes, nullptr, 1, M::lanes);  // the one copy of f
        M::store_part(at + whole, rest, x);
    }
}

template <class T, typename Math<T>::V (*f)(typename Math<T>::V)>
void bias_only(T *z, std::ptrdiff_t stride, const T *bias, std::ptrdiff_t rows, std::ptrdiff_t units) {
    if (bias) by_element<T, f>(z, stride, bias, rows, units);
}

template <class T, void (*f)(T *row, const T *bias, std::ptrdiff_t units)>
void by_row(T *z, std::ptrdiff_t stride, const T *bias, std::ptrdiff_t rows, std::ptrdiff_t units) {
    if (units == 0) return;
    for (std::ptrdiff_t row = 0; row < rows; ++row) f(z + row * stride, bias, units);
}

template <class T> struct Table : Formulas<T>, Rows<T> {
#define CYRNN_ENTRY(name, walk) walk<T, Table::name>,
    static constexpr Activate<T> entries[] = {CYRNN_ACTIVATIONS(CYRNN_ENTRY)};
#undef CYRNN_ENTRY
};
