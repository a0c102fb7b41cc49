// Vectors of one register, and e^x and its kin on them: Math<float>, Math<double>.
//
// Included inside a namespace per instruction set, after CYRNN_VECTOR_BYTES is defined and the target is set; hence no
// #include here and no #pragma once. Every function takes NaN to NaN. A comparison with NaN is false, so the order of a
// clamp's operands matters: they are written for NaN to pass.
//
// The coefficients are near-minimax fits in relative error (weighted least squares on Chebyshev points, 50 digits);
// the number after each is the largest relative error of the function it serves, before rounding.

#define CYRNN_INLINE static inline __attribute__((always_inline))

template <class T> struct Math {
    typedef T V __attribute__((vector_size(CYRNN_VECTOR_BYTES)));
    typedef decltype(V{} < V{}) Bits;  // integers as wide as T: masks, and the bits of a V

    static constexpr std::ptrdiff_t lanes = CYRNN_VECTOR_BYTES / sizeof(T);
    static constexpr bool single = sizeof(T) == 4;

    // ---- memory: n elements from p on, at most a vector. What is missing reads as `fill`, and is not written.

    // A vector anywhere in an array of T. (Copying one with memcpy uses the stack, 8 times slower.)
    typedef T Unaligned __attribute__((vector_size(CYRNN_VECTOR_BYTES), aligned(sizeof(T)), may_alias));

    CYRNN_INLINE V load(const T *p, std::ptrdiff_t n, T fill) {
        return n >= lanes ? V(*reinterpret_cast<const Unaligned *>(p)) : part(p, n, fill);
    }

    CYRNN_INLINE void store(T *p, std::ptrdiff_t n, V x) {
        if (n >= lanes)
            *reinterpret_cast<Unaligned *>(p) = x;
        else
            store_part(p, n, x);
    }

    // Parts of vectors are at the ends of rows only: in line, they would be most of the code.

    // It is put together in registers: a wide load waits until the narrow stores before it have retired.
    [[gnu::noinline]] static V part(const T *p, std::ptrdiff_t n, T fill) {
        V x = all(fill);
        for (std::ptrdiff_t i = 0; i < lanes - 1; ++i) x[i] = i < n ? p[i] : fill;
        return x;
    }

    // Not element by element: GCC makes masked instructions of that, some of which fault at a page beyond the part.
    [[gnu::noinline]] static void store_part(T *p, std::ptrdiff_t n, V x) { __builtin_memcpy(p, &x, std::size_t(n) * sizeof(T)); }

    // ---- choice and sign

    CYRNN_INLINE V all(T value) { return V{} + value; }
    CYRNN_INLINE V select(Bits mask, V yes, V no) { return mask ? yes : no; }
#if CYRNN_VECTOR_BYTES == 64 && !defined(__clang__)  // of a choice GCC makes two instructions; this one takes the second operand for NaN
    CYRNN_INLINE V at_least(V x, T low) {
        if constexpr (single) return __builtin_ia32_maxps512_mask(all(low), x, V{}, -1, current_rounding);
        else return __builtin_ia32_maxpd512_mask(all(low), x, V{}, -1, current_rounding);
    }
    CYRNN_INLINE V at_most(V x, T high) {
        if constexpr (single) return __builtin_ia32_minps512_mask(all(high), x, V{}, -1, current_rounding);
        else return __builtin_ia32_minpd512_mask(all(high), x, V{}, -1, current_rounding);
    }
    static constexpr int current_rounding = 4;
#else
    CYRNN_INLINE V at_least(V x, T low) { return select(x < low, all(low), x); }
    CYRNN_INLINE V at_most(V x, T high) { return select(x > high, all(high), x); }
#endif
    CYRNN_INLINE V clip(V x, T low, T high) { return at_most(at_least(x, low), high); }

    CYRNN_INLINE Bits sign_bit() { return (Bits)(-V{}); }
    CYRNN_INLINE V magnitude(V x) { return (V)((Bits)x & ~sign_bit()); }
    CYRNN_INLINE V with_sign_of(V x, V y) { return (V)(((Bits)y & ~sign_bit()) | ((Bits)x & sign_bit())); }

    CYRNN_INLINE V sqrt(V x) {  // both compilers make one instruction of the loop
        for (std::ptrdiff_t i = 0; i < lanes; ++i) x[i] = single ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
        return x;
    }

    // c0 + c1 x + c2 x^2 + ...
    CYRNN_INLINE V polynomial(V, T c) { return all(c); }
    template <class... Rest> CYRNN_INLINE V polynomial(V x, T c, Rest... rest) {
        return polynomial(x, rest...) * x + c;
    }

    // ---- exponentials
    //
    //   e^x = 2^n (1 + q),   n = round(x / ln 2),   r = x - n ln 2,   q = e^r - 1 = r + r^2 p(r)
    //
    // so that e^x = 2^n q + 2^n, and e^x - 1 = 2^n q + (2^n - 1) loses nothing near 0.

    struct Power {
        V scale, q;  // 2^n, and e^r - 1 over `times`
    };

    // Of `times` x, 1 or 2 of them, which takes no multiplication. For `times` x up to 127 ln 2 (1023 ln 2); from -88 (-709) down the
    // scale is 0, and so is e^x: no denormals.
    template <int times = 1> CYRNN_INLINE Power power(V x) {
        // Adding 1.5 * 2^23 (2^52) rounds to an integer and leaves it in the low bits, here with the exponent's
        // offset on top. ln 2 is split so that n times its first part is exact.
        const T shift = single ? T(0x1.8p23 + 127) : T(0x1.8p52 + 1023);
        const T ln2_high = T((single ? 0.693145751953125 : 0.6931471805592082091607) / times);
        const T ln2_low = T((single ? 1.428606820309417232e-6 : 7.371002565167798902e-13) / times);

        x = at_least(x, T(single ? -88 : -709) / times);  // n = -127 (-1023): the exponent's bits are 0
        const V shifted = x * T(1.44269504088896340736 * times) + shift;
        const V n = shifted - shift;
        const V r = x - n * ln2_high - n * ln2_low;
        const V scale = (V)((Bits)shifted << (single ? 23 : 52));
        constexpr double a = times, b = a * a, c = b * a, d = b * b, e = d * a;  // powers, which move no bit but the exponents'
        V p;
        if constexpr (single)  // 2e-8
            p = polynomial(r, 0.4999999901 * a, 0.1666654443 * b, 0.04166688329 * c, 0.008366487386 * d, 0.00139045153 * e);
        else  // 2e-17
            p = polynomial(r, 0.500000000000000453 * a, 0.1666666666666662387 * b, 0.04166666666658183095 * c,
                           0.008333333333364781439 * d, 0.001388888893039968145 * e, 0.0001984126977712492727 * (e * a),
                           0.00002480150628732914421 * (e * b), 2.755735233529500819e-6 * (e * c), 2.762574559072729485e-7 * (e * d),
                           2.507213800277482707e-8 * (e * e));
        return {scale, p * (r * r) + r};
    }

    CYRNN_INLINE V exp_negative(V x) {  // e^x for x <= 0
        const Power e = power(x);
        return e.scale * e.q + e.scale;
    }

    CYRNN_INLINE V expm1_negative(V x) {  // e^x - 1 for x <= 0
        const Power e = power(x);
        return e.scale * e.q + (e.scale - 1);
    }

    // e^x for any x. 2^128 (2^1024) is no number yet: upwards of 0, one factor of 2 waits until the end.
    CYRNN_INLINE V exp(V x) {
        const Power e = power(at_most(x, single ? 89 : 710));
        const Bits one_power_less = (x > 0) & ((Bits)all(2) - (Bits)all(1));
        const V scale = (V)((Bits)e.scale - one_power_less);
        const V y = scale * e.q + scale;
        return select(x > 0, y + y, y);
    }

    // A function before its division: a product of two needs one division then. `under` is from 1/2 to 2.
    struct Quotient {
        V over, under;

        V value() const { return over / under; }
        V times(const Quotient &other) const { return over * other.over / (under * other.under); }
    };

    //   tanh |x| = -t / (1 + t),   t = (e^(-2|x|) - 1) / 2
    CYRNN_INLINE Quotient tanh_quotient(V x) {
        const Power e = power<2>((V)((Bits)x | sign_bit()));
        const V t = e.scale * e.q + (e.scale * T(0.5) - T(0.5));
        return {with_sign_of(x, t), t + 1};
    }
    CYRNN_INLINE V tanh(V x) { return tanh_quotient(x).value(); }

    // ---- logarithm:   log(1 + u) = 2 artanh(s) = 2s + 2s s^2 a(s^2),   s = u / (2 + u),   for 0 <= u <= 1
    CYRNN_INLINE V log1p_unit(V u) {
        const V s = u / (u + 2), w = s * s;
        V a;
        if constexpr (single)  // 5e-9
            a = polynomial(w, 0.3333324018, 0.2000922562, 0.1402294886, 0.1390818725);
        else  // 7e-17
            a = polynomial(w, 0.3333333333333467736, 0.1999999999909868929, 0.1428571443121265909,
                           0.1111110085033579436, 0.09091296033172476128, 0.07683797113183035441,
                           0.06778833279727418975, 0.05018678836070771435, 0.08737922323424742989);
        return (s + s) * (a * w) + (s + s);
    }

    // ---- the normal distribution's upper tail, for a >= 0:   1 - Phi(a) = e^(-a^2 / 2) p(a) / q(a)

    static constexpr T normal_end = single ? 14 : 39;  // the exponential is 0 there

    CYRNN_INLINE V normal_tail(V a) {
        a = at_most(a, normal_end);
        return normal_decay(a) * normal_ratio(a);
    }

    CYRNN_INLINE V normal_decay(V a) { return exp_negative(a * a * T(-0.5)); }
    CYRNN_INLINE V normal_ratio(V a) {
        V p, q;
        if constexpr (single) {  // 6e-9
            p = polynomial(a, 0.5000000027, 0.4372198208, 0.1824380663, 0.04036435062, 0.004076348954);
            q = polynomial(a, 1, 1.672324595, 1.199193599, 0.4673662454, 0.1011852389, 0.01021776266);
        } else {  // 5e-17
            p = polynomial(a, 0.4999999999999999749, 0.7749212220020533539, 0.5941153879360071018,
                           0.2893823812506203123, 0.09772184281871240745, 0.02362934731776300517,
                           0.004090794469798288389, 0.0004906331006764264069, 0.00003727389981809739161,
                           1.386587117896289584e-6);
            q = polynomial(a, 1, 2.347727004806962048, 2.561445905987764649, 1.714600922080716546,
                           0.7821793797082507011, 0.2550195600288484503, 0.0604528740078147586,
                           0.0103475328837348507, 0.001233310461299024766, 0.00009343181118767893423,
                           3.475658474968218841e-6);
        }
        return p / q;
    }
};
