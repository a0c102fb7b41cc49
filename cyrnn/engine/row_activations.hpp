// The activations of a whole row. Each adds the bias in its first pass. A row with NaN or inf becomes NaN; -inf becomes 0.
// Under each stands its derivative: d times the row's Jacobian.
//
// Included by activations.hpp, inside a namespace per instruction set, after vector_math.hpp.

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

    //   y_j (d_j - sum d y)
    CYRNN_INLINE void d_softmax(const T *y, T *d, std::ptrdiff_t units) {
        Sum sum;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            sum.add(M::load(d + i, units - i, 0) * M::load(y + i, units - i, 0));
        const T total = T(sum.value());
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(d + i, units - i, M::load(y + i, units - i, 0) * (M::load(d + i, units - i, 0) - total));
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

    //   d_j - e^y_j sum d
    CYRNN_INLINE void d_log_softmax(const T *y, T *d, std::ptrdiff_t units) {
        Sum sum;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes) sum.add(M::load(d + i, units - i, 0));
        const T total = T(sum.value());
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(d + i, units - i, M::load(d + i, units - i, 0) - M::exp_negative(M::load(y + i, units - i, 0)) * total);
    }

    //   max(z - tau, 0),   tau = (s_1 + ... + s_k - 1) / k,   s_i the sum of the i largest,
    //   k the last i for which the i-th largest is above (s_i - 1) / i
    //
    // The paper (Martins and Astudillo, 2016) has s_k alone in tau, so that the row sums to 1. Every backend of
    // Keras adds up the s_i, and a model that was trained with that needs it. Nothing is sorted: the support is small
    // as a rule, and each pass finds the next largest value and how often it stands in the row.
    CYRNN_INLINE void sparsemax(T *row, const T *bias, std::ptrdiff_t units) {
        const T tau = support_of(row, units, add_bias(row, bias, units)).tau;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes)
            M::store(row + i, units - i, M::at_least(M::load(row + i, units - i, 0) - tau, 0));
    }

    struct Support {
        T tau;
        double size;  // k
    };

    [[gnu::noinline]] static Support support_of(const T *row, std::ptrdiff_t units, T value) {  // value: the largest
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
        return {T((sum_of_sums - 1) / size + undefined), size};
    }

    //   d_j [z_j >= tau] - (k - i + 1) / k  sum d [z >= tau],   z_j the i-th largest, i <= k; of equals, the first is larger
    CYRNN_INLINE void d_sparsemax(const T *z, T *d, std::ptrdiff_t units) {
        T value = lowest;
        for (std::ptrdiff_t i = 0; i < units; ++i) value = z[i] > value ? z[i] : value;
        const Support support = support_of(z, units, value);
        const T tau = support.tau;
        Sum sum;
        for (std::ptrdiff_t i = 0; i < units; i += M::lanes) {
            const V at = M::load(z + i, units - i, lowest) - tau;
            const V kept = M::select(at >= 0, M::load(d + i, units - i, 0), V{}) + (tau - tau);  // NaN for an undefined row
            sum.add(kept);
            M::store(d + i, units - i, kept);
        }
        const double share = sum.value() / support.size;
        for (double left = support.size; left > 0 && value > lowest; ) {
            T next = lowest;
            for (std::ptrdiff_t i = 0; i < units; ++i) {
                if (z[i] == value && left > 0) d[i] -= T(share * left--);
                if (z[i] < value && z[i] > next) next = z[i];
            }
            value = next;
        }
    }
};
