// The cells: what becomes of the sums of a timestep, and the way back through that. The products are elsewhere.
//
// Included inside a namespace per instruction set, after activations.hpp.
//
// A row of sums has a line of (units) elements for each gate, and more lines for what the way back reads. `f` stands for
// the activation, `s` for the recurrent one. Pairs that most models have are applied to vectors in registers; others, also those of
// whole rows, to the lines. In `saved` are the lines after their activation, and in the last one the state before.

template <class T> struct CellFormulas {
    using M = Math<T>;
    using F = Formulas<T>;
    using V = typename M::V;
    static constexpr std::ptrdiff_t lanes = M::lanes;

    CYRNN_INLINE bool usual(const Activate<T> activate, const Activate<T> gates) {
        return activate == by_element<T, F::tanh> && gates == by_element<T, F::sigmoid>;
    }

    // Some elements of the lines of a row, from j on.
    struct Lines {
        T *at;
        std::ptrdiff_t units, j;

        V load(int line) const { return M::load(at + line * units + j, units - j, 0); }
        void store(int line, V x) const { M::store(at + line * units + j, units - j, x); }
    };

    // The sums with their biases.
    struct Sums : Lines {
        const T *bias;

        V operator()(int line) const { return plus(line, this->load(line)); }
        V plus(int line, V x) const {
            if (bias) x += M::load(bias + line * this->units + this->j, this->units - this->j, 0);
            return x;
        }
    };

    // For each row, and each vector of units.
    template <class Function> CYRNN_INLINE void each(const Weights<T> *w, const Step<T> *step, Function function) {
        for (std::ptrdiff_t row = 0; row < step->rows; ++row)
            for (std::ptrdiff_t j = 0; j < w->units; j += lanes)
                function(Sums{{step->sums + row * step->sums_stride, w->units, j}, w->bias},
                         Lines{const_cast<T *>(step->before) + row * step->before_stride, w->units, j},
                         Lines{step->out + row * step->out_stride, w->units, j});
    }

    // line := function(line + bias), in place
    template <class... Gates> CYRNN_INLINE void apply(const Weights<T> *w, const Step<T> *step, Activate<T> function, Gates... lines) {
        (function(step->sums + lines * w->units, step->sums_stride, w->bias ? w->bias + lines * w->units : nullptr, step->rows, w->units), ...);
    }

    // The same on the way back, with what is saved of a row, the gradients of its states, and those of its sums.
    template <class Function> CYRNN_INLINE void each(const Differentiated<T> *w, const StepBack<T> *step, Function function) {
        for (std::ptrdiff_t row = 0; row < step->rows; ++row)
            for (std::ptrdiff_t j = 0; j < w->units; j += lanes)
                function(Lines{const_cast<T *>(step->saved) + row * step->saved_stride, w->units, j},
                         Lines{step->d_states + row * step->d_states_stride, w->units, j},
                         Lines{step->d_sums + row * step->d_sums_stride, w->units, j});
    }

    // The gradient of a gate becomes that of its sum.
    template <class... Gates> CYRNN_INLINE void through(const Differentiated<T> *w, const StepBack<T> *step, Differentiate<T> function, Gates... lines) {
        (function(step->saved + lines * w->units, step->saved_stride, step->d_sums + lines * w->units, step->d_sums_stride, step->rows, w->units), ...);
    }
};

// i, f, o := s(z_i), s(z_f), s(z_o);   g := f(z_g);   c' := f c + i g;   h' := o f(c')
template <class T> struct Lstm : CellFormulas<T> {
    using M = Math<T>;
    using F = Formulas<T>;
    using V = typename M::V;
    using Base = CellFormulas<T>;
    using typename Base::Lines;
    enum : int { i, f, g, o, before, lines };

    static void finish(const Weights<T> *w, const Step<T> *step) {
        if (Base::usual(w->activate, w->activate_gates)) return together(w, step);
        Base::apply(w, step, w->activate_gates, i, f, o);
        Base::apply(w, step, w->activate, g);
        Base::each(w, step, [&](const auto &z, const Lines &was, const Lines &out) {
            const V c = was.load(1), next = next_c(z.load(i), z.load(f), z.load(g), c);
            out.store(0, next), out.store(1, next);
            if (step->saves) z.store(before, c);
        });
        w->activate(step->out, step->out_stride, nullptr, step->rows, w->units);
        Base::each(w, step, [&](const auto &z, const Lines &, const Lines &out) { out.store(0, z.load(o) * out.load(0)); });
    }

    CYRNN_INLINE V next_c(V in, V forget, V candidate, V c) {
        const V kept = forget * c;
        return in * candidate + kept;
    }

    static void together(const Weights<T> *w, const Step<T> *step) {
        Base::each(w, step, [&](const auto &z, const Lines &was, const Lines &out) {
            const V in = F::sigmoid(z(i)), forget = F::sigmoid(z(f)), candidate = F::tanh(z(g)), shown = F::sigmoid(z(o));
            const V c = was.load(1), next = next_c(in, forget, candidate, c);
            out.store(0, shown * F::tanh(next)), out.store(1, next);
            if (step->saves) z.store(i, in), z.store(f, forget), z.store(g, candidate), z.store(o, shown), z.store(before, c);
        });
    }

    static void back(const Differentiated<T> *w, const StepBack<T> *step) {
        const auto each = [&](auto function) { Base::each(w, step, function); };
        T *const f_of_c = step->d_sums + o * w->units, *const d_f_of_c = step->d_sums + i * w->units;
        each([](const Lines &s, const Lines &, const Lines &d) { d.store(o, next_c(s.load(i), s.load(f), s.load(g), s.load(before))); });
        w->activate(f_of_c, step->d_sums_stride, nullptr, step->rows, w->units);
        each([](const Lines &s, const Lines &d_states, const Lines &d) { d.store(i, d_states.load(0) * s.load(o)); });
        w->differentiate(f_of_c, step->d_sums_stride, d_f_of_c, step->d_sums_stride, step->rows, w->units);
        each([](const Lines &s, const Lines &d_states, const Lines &d) {
            const V d_c = d.load(i) + d_states.load(1);
            d.store(o, d_states.load(0) * d.load(o)), d.store(f, d_c * s.load(before));
            d.store(i, d_c * s.load(g)), d.store(g, d_c * s.load(i));
            d_states.store(0, V{}), d_states.store(1, d_c * s.load(f));
        });
        Base::through(w, step, w->differentiate_gates, i, f, o);
        Base::through(w, step, w->differentiate, g);
    }

    static constexpr Cell<T> cell{4, 4, 0, lines, 4, 2, 4, 0, nullptr, finish, back};
};

// z, r := s(z_z), s(z_r);   n := f(x_n + r q), q := h . V_n + b_n;   h' := z h + (1 - z) n
//
// It has two biases of three lines each, as Keras: of the sums of x, and of those of h.
template <class T> struct Gru : CellFormulas<T> {
    using M = Math<T>;
    using F = Formulas<T>;
    using V = typename M::V;
    using Base = CellFormulas<T>;
    using typename Base::Lines;
    enum : int { z, r, n, q, before, lines };
    enum : int { d_z, d_r, d_n, of_h, d_lines = 2 * of_h };  // those of x, and then those of h

    CYRNN_INLINE V blended(V update, V h, V candidate) {
        const V kept = update * h;
        return (1 - update) * candidate + kept;
    }

    static void finish(const Weights<T> *w, const Step<T> *step) {
        if (Base::usual(w->activate, w->activate_gates)) return together(w, step);
        for (std::ptrdiff_t row = 0; w->bias && row < step->rows; ++row)
            w->add_bias(step->sums + row * step->sums_stride, 0, w->bias + of_h * w->units, 1, 2 * w->units);
        Base::apply(w, step, w->activate_gates, z, r);
        Base::apply(w, step, w->add_bias, n);
        Base::each(w, step, [&](const auto &s, const Lines &, const Lines &) { s.store(q, s.plus(of_h + n, s.load(q))); });
        Base::each(w, step, [&](const auto &s, const Lines &, const Lines &) { s.store(n, s.load(r) * s.load(q) + s.load(n)); });
        w->activate(step->sums + n * w->units, step->sums_stride, nullptr, step->rows, w->units);
        Base::each(w, step, [&](const auto &s, const Lines &was, const Lines &out) {
            const V h = was.load(0);
            out.store(0, blended(s.load(z), h, s.load(n)));
            if (step->saves) s.store(before, h);
        });
    }

    static void together(const Weights<T> *w, const Step<T> *step) {
        Base::each(w, step, [&](const auto &s, const Lines &was, const Lines &out) {
            const V update = F::sigmoid(s.plus(of_h + z, s(z))), reset = F::sigmoid(s.plus(of_h + r, s(r)));
            const V recurrent = s.plus(of_h + n, s.load(q)), candidate = F::tanh(reset * recurrent + s(n)), h = was.load(0);
            out.store(0, blended(update, h, candidate));
            if (step->saves) s.store(z, update), s.store(r, reset), s.store(n, candidate), s.store(q, recurrent), s.store(before, h);
        });
    }

    static void back(const Differentiated<T> *w, const StepBack<T> *step) {
        const auto each = [&](auto function) { Base::each(w, step, function); };
        each([](const Lines &s, const Lines &d_h, const Lines &d) {
            const V d_out = d_h.load(0), update = s.load(z);
            d.store(d_n, d_out * (1 - update)), d.store(d_z, d_out * (s.load(before) - s.load(n)));
            d_h.store(0, d_out * update);
        });
        Base::through(w, step, w->differentiate, n);
        each([](const Lines &s, const Lines &, const Lines &d) {
            d.store(d_r, d.load(d_n) * s.load(q)), d.store(of_h + d_n, d.load(d_n) * s.load(r));
        });
        Base::through(w, step, w->differentiate_gates, z, r);
        each([](const Lines &, const Lines &, const Lines &d) { d.store(of_h + d_z, d.load(d_z)), d.store(of_h + d_r, d.load(d_r)); });
    }

    static constexpr Cell<T> cell{3, 2, q, lines, 6, 1, d_lines, of_h, nullptr, finish, back};
};

// The same, but the reset comes before the product:   n := f(x_n + (r h) . V_n)
template <class T> struct GruResetBefore : Gru<T> {
    using M = Math<T>;
    using F = Formulas<T>;
    using V = typename M::V;
    using Base = CellFormulas<T>;
    using typename Base::Lines;
    using Gru<T>::z, Gru<T>::r, Gru<T>::n, Gru<T>::q;

    static void between(const Weights<T> *w, const Step<T> *step) {
        Base::apply(w, step, w->activate_gates, z, r);
        const auto reset = [&](std::ptrdiff_t row) { return step->sums + row * step->sums_stride + r * w->units; };
        for (std::ptrdiff_t row = 0; row < step->rows; ++row)
            for (std::ptrdiff_t j = 0; j < w->units; ++j)
                step->out[row * step->out_stride + j] = reset(row)[j] * step->h[row * step->h_stride + j];
    }

    static void finish(const Weights<T> *w, const Step<T> *step) {
        Base::each(w, step, [&](const auto &s, const Lines &, const Lines &) { s.store(n, s.load(n) + s.load(q)); });
        Base::apply(w, step, w->activate, n);
        Base::each(w, step, [&](const auto &s, const Lines &was, const Lines &out) {
            out.store(0, Gru<T>::blended(s.load(z), was.load(0), s.load(n)));
        });
    }

    static constexpr Cell<T> cell{3, 2, q, 4, 3, 1, 3, 0, between, finish, nullptr};
};

template <class T> struct CellTable {
#define CYRNN_ENTRY(name, Kind) Kind<T>::cell,
    static constexpr Cell<T> entries[] = {CYRNN_CELLS(CYRNN_ENTRY)};
#undef CYRNN_ENTRY
};
