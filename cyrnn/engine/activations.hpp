// Every activation and its derivative, vectorised once: the formulas on a vector, and the walks over arrays. Those of whole
// rows are in row_activations.hpp.
//
// Included inside a namespace per instruction set; see vector_math.hpp for what that forbids.
//
// Whether a product and a sum are fused is the compiler's choice, so each expression leaves it only one; and a tail
// uses the code of the full vectors. So an element's bits do not depend on its place in the array.

#include "vector_math.hpp"

#include "row_activations.hpp"

// Keras' formulas, rearranged where the plain form overflows or cancels. NaN and infinity give what they give in
// Keras on TensorFlow, and so x * 0 stays where it makes NaN of -inf.
//
// Under each stands its derivative, of the output y or of the sum x. At kinks and NaN it is what TensorFlow has, but at
// infinity it is the limit.
template <class T> struct Formulas {
    using M = Math<T>;
    using V = typename M::V;
    using Bits = typename M::Bits;

    CYRNN_INLINE V linear(V x) { return x; }
    CYRNN_INLINE V d_linear(V) { return M::all(1); }

    // ---- piecewise linear and quadratic

    CYRNN_INLINE V within(Bits inside, T slope) { return M::select(inside, M::all(slope), V{}); }

    CYRNN_INLINE V relu(V x) { return M::at_least(x, 0); }
    CYRNN_INLINE V d_relu(V y) { return within(y > 0, 1); }
    CYRNN_INLINE V relu6(V x) { return M::clip(x, 0, 6); }
    CYRNN_INLINE V d_relu6(V y) { return within((y > 0) & (y < 6), 1); }
    CYRNN_INLINE V leaky_relu(V x) { return M::select(x < 0, x * T(0.2), x); }
    CYRNN_INLINE V d_leaky_relu(V y) { return M::select(y > 0, M::all(1), M::all(T(0.2))); }
    CYRNN_INLINE V hard_tanh(V x) { return M::clip(x, -1, 1); }
    CYRNN_INLINE V d_hard_tanh(V x) { return within(M::magnitude(x) <= 1, 1); }  // the kinks belong to the slope

    //   clip(x / 6 + 1 / 2, 0, 1), exact near -3
    CYRNN_INLINE V hard_sigmoid(V x) { return M::clip(x + 3, 0, 6) * (T(1) / 6); }
    CYRNN_INLINE V d_hard_sigmoid(V y) { return within((y > 0) & (y < 1), T(1) / 6); }
    CYRNN_INLINE V hard_sigmoid_keras2(V x) { return M::clip(x * T(0.2) + T(0.5), 0, 1); }
    CYRNN_INLINE V d_hard_sigmoid_keras2(V y) { return within((y > 0) & (y < 1), T(0.2)); }
    CYRNN_INLINE V hard_silu(V x) { return x * hard_sigmoid(x); }
    CYRNN_INLINE V d_hard_silu(V x) {
        return M::select(x <= -3, V{}, M::select(x >= 3, M::all(1), (x + T(1.5)) * (T(1) / 3)));
    }

    // Both take NaN to 0, as in Keras: it is neither above the threshold nor below.
    CYRNN_INLINE V hard_shrink(V x) { return M::select(M::magnitude(x) > T(0.5), x, V{}); }
    CYRNN_INLINE V d_hard_shrink(V y) { return within(M::magnitude(y) > 0, 1); }
    CYRNN_INLINE V soft_shrink(V x) {
        const V shrunk = M::with_sign_of(x, M::magnitude(x) - T(0.5));
        return M::select(M::magnitude(x) > T(0.5), shrunk, V{});
    }
    CYRNN_INLINE V d_soft_shrink(V y) { return d_hard_shrink(y); }

    CYRNN_INLINE V sparse_sigmoid(V x) { return M::clip((x + 1) * T(0.5), 0, 1); }
    CYRNN_INLINE V d_sparse_sigmoid(V y) { return M::select((y <= 0) | (y >= 1), V{}, M::all(T(0.5))); }
    //   0 up to -1,   (x + 1)^2 / 4,   x from 1 on
    CYRNN_INLINE V sparse_plus(V x) {
        const V half = M::at_least((x + 1) * T(0.5), 0);
        return M::select(x < 1, half * half, x);
    }
    CYRNN_INLINE V d_sparse_plus(V y) { return M::sqrt(M::at_most(y, 1)); }  // the root of a square is exact

    // ---- exponentials.   u = e^-|x| is never above 1, so nothing overflows

    CYRNN_INLINE V decay(V x) { return M::exp_negative(-M::magnitude(x)); }

    CYRNN_INLINE V exponential(V x) { return M::exp(x); }
    CYRNN_INLINE V d_exponential(V y) { return y; }
    CYRNN_INLINE V elu(V x) { return M::select(x >= 0, x, M::expm1_negative(M::at_most(x, 0))); }
    CYRNN_INLINE V d_elu(V y) { return M::select(y < 0, y + 1, M::all(1)); }
    CYRNN_INLINE V celu(V x) { return elu(x); }  // with alpha 1 they are one
    CYRNN_INLINE V d_celu(V y) { return d_elu(y); }  // TensorFlow adds up both sides at 0, and has 2 there
    static constexpr T scale = T(1.0507009873554805), scale_alpha = T(1.0507009873554805 * 1.6732632423543772);
    CYRNN_INLINE V selu(V x) { return elu(x) * M::select(x > 0, M::all(scale), M::all(scale_alpha)); }
    CYRNN_INLINE V d_selu(V y) { return M::select(y < 0, y + scale_alpha, M::all(scale)); }

    //   1 / (1 + u),  or  u / (1 + u) below 0
    CYRNN_INLINE typename M::Quotient sigmoid_quotient(V x) {
        const V u = decay(x);
        return {M::select((Bits)x < 0, u, M::all(1)), u + 1};  // by the sign, which takes no comparison: at 0 u is 1
    }
    CYRNN_INLINE V sigmoid(V x) { return sigmoid_quotient(x).value(); }
    CYRNN_INLINE V d_sigmoid(V y) { return y * (1 - y); }

    // For f(x) = x s(x) with s(x) + s(-x) = 1 is f'(x) + f'(-x) = 1: from f'(-|x|), which loses nothing far out.
    CYRNN_INLINE V mirrored(V x, V below) { return M::select(x < 0, below, 1 - below); }
    // |x|, but never so large that times a u of 0 it is NaN
    CYRNN_INLINE V bounded(V x) { return M::at_most(M::magnitude(x), M::single ? 100 : 1000); }

    CYRNN_INLINE V silu(V x) { return x * sigmoid(x); }
    CYRNN_INLINE V d_silu(V x) {
        const V a = bounded(x), u = decay(a);
        return mirrored(x, u * (u + 1 - a) / ((u + 1) * (u + 1)));
    }
    CYRNN_INLINE V tanh(V x) { return M::tanh(x); }
    CYRNN_INLINE V d_tanh(V y) { return (1 - y) * (1 + y); }

    //   log(1 + e^x) = max(x, 0) + log(1 + u)
    CYRNN_INLINE V softplus(V x) { return M::at_least(x, 0) + M::log1p_unit(decay(x)); }
    CYRNN_INLINE V d_softplus(V y) { return -M::expm1_negative(-y); }
    CYRNN_INLINE V log_sigmoid(V x) { return M::at_most(x, 0) - M::log1p_unit(decay(x)); }
    CYRNN_INLINE V d_log_sigmoid(V y) { return -M::expm1_negative(y); }

    //   x tanh(log(1 + e^x)) = x y / (y + 2),   y = e^x (e^x + 2);  above 0 both are divided by e^2x
    CYRNN_INLINE V mish(V x) {
        const V u = decay(x);
        const V top = M::select(x < 0, u * (u + 2), u * 2 + 1);
        return x * (top / (top + M::select(x < 0, M::all(2), u * u * 2)));
    }
    //   with that y:   y / (y + 2) + 4 x e^x (e^x + 1) / (y + 2)^2
    CYRNN_INLINE V d_mish(V x) {
        const V a = bounded(x), u = decay(a), w = M::select(x < 0, u, u * u);
        const V top = M::select(x < 0, u * (u + 2), u * 2 + 1);
        const V whole = top + M::select(x < 0, M::all(2), u * u * 2);
        return (top + M::with_sign_of(x, a) * 4 * (u + 1) * w / whole) / whole;
    }

    //   x Phi(x)
    CYRNN_INLINE V gelu(V x) {
        const V tail = M::normal_tail(M::magnitude(x));
        return x * M::select(x < 0, tail, 1 - tail);
    }
    //   Phi(x) + x phi(x)
    CYRNN_INLINE V d_gelu(V x) {
        const V a = M::at_most(M::magnitude(x), M::normal_end);
        return mirrored(x, M::normal_decay(a) * (M::normal_ratio(a) - a * T(0.3989422804014326779)));
    }

    // ---- algebraic

    CYRNN_INLINE V softsign(V x) { return x / (M::magnitude(x) + 1); }
    CYRNN_INLINE V d_softsign(V x) {
        const V part = 1 / (M::magnitude(x) + 1);
        return part * part;
    }

    //   (x + sqrt(x^2 + 4)) / 2,   and below 0, where that cancels,   2 / (sqrt(x^2 + 4) - x)
    CYRNN_INLINE V root_of(V a) {
        const T far = M::single ? T(0x1p20) : T(0x1p40);  // from here on the 4 is lost, and further on x^2 overflows
        const V near = M::at_most(a, far);
        return M::select(a < far, M::sqrt(near * near + 4), a);
    }
    CYRNN_INLINE V squareplus(V x) {
        const V root = root_of(M::magnitude(x));
        return M::select(x < 0, 2 / (root - x) + (x - x), x * T(0.5) + root * T(0.5));  // x - x: -inf becomes NaN
    }
    CYRNN_INLINE V d_squareplus(V x) {
        const V a = M::magnitude(x), root = root_of(a);
        return mirrored(x, 2 / (root + a) / root);
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
    CYRNN_INLINE V d_tanh_shrink(V x) {
        const V y = M::tanh(x);
        return y * y;
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

// ---- The walks back:   d := d f'(saved), in place.   saved, d: (rows, units)

template <class T, typename Math<T>::V (*slope)(typename Math<T>::V)>
void differentiate_vectors(const T *saved, T *d, std::ptrdiff_t units) {  // whole ones
    using M = Math<T>;
    for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
        M::store(d + i, M::lanes, M::load(d + i, M::lanes, 0) * slope(M::load(saved + i, M::lanes, 0)));
}

// In line in the walks of each activation, this would be most of the code.
template <class T>
[[gnu::noinline]] void differentiate_rows(const T *saved, std::ptrdiff_t saved_stride, T *d, std::ptrdiff_t d_stride,
                                          std::ptrdiff_t rows, std::ptrdiff_t units,
                                          void (*vectors)(const T *, T *, std::ptrdiff_t)) {
    using M = Math<T>;
    const std::ptrdiff_t whole = units / M::lanes * M::lanes, rest = units - whole;
    for (std::ptrdiff_t row = 0; row < rows; ++row, saved += saved_stride, d += d_stride) {
        if (whole > 0) vectors(saved, d, whole);
        if (rest == 0) continue;
        const typename M::V x = M::part(saved + whole, rest, 0);
        typename M::V part = M::part(d + whole, rest, 0);
        vectors(reinterpret_cast<const T *>(&x), reinterpret_cast<T *>(&part), M::lanes);
        M::store_part(d + whole, rest, part);
    }
}

template <class T, typename Math<T>::V (*slope)(typename Math<T>::V)>
void differentiate_by_element(const T *saved, std::ptrdiff_t saved_stride, T *d, std::ptrdiff_t d_stride, std::ptrdiff_t rows,
                              std::ptrdiff_t units) {
    differentiate_rows(saved, saved_stride, d, d_stride, rows, units, differentiate_vectors<T, slope>);
}

template <class T, typename Math<T>::V (*slope)(typename Math<T>::V)>
void differentiate_bias_only(const T *, std::ptrdiff_t, T *, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t) {}

template <class T, void (*f)(const T *saved, T *d, std::ptrdiff_t units)>
void differentiate_by_row(const T *saved, std::ptrdiff_t saved_stride, T *d, std::ptrdiff_t d_stride, std::ptrdiff_t rows,
                          std::ptrdiff_t units) {
    for (std::ptrdiff_t row = 0; row < rows && units > 0; ++row) f(saved + row * saved_stride, d + row * d_stride, units);
}

template <class T> struct Table : Formulas<T>, Rows<T> {
#define CYRNN_ENTRY(name, walk, from) walk<T, Table::name>,
    static constexpr Activate<T> entries[] = {CYRNN_ACTIVATIONS(CYRNN_ENTRY)};
#undef CYRNN_ENTRY
#define CYRNN_DERIVATIVE(name, walk, from) differentiate_##walk<T, Table::d_##name>,
    static constexpr Differentiate<T> derivatives[] = {CYRNN_ACTIVATIONS(CYRNN_DERIVATIVE)};
#undef CYRNN_DERIVATIVE
};
