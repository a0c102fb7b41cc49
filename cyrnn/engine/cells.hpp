// The cells: what becomes of the sums of a timestep, and the way back through that. The products are elsewhere.
//
// Included inside a namespace per instruction set, after activations.hpp.
//
// A row of sums has a line of (units) elements for each gate, and more lines for what the way back reads. `f` stands for
// the activation, `s` for the recurrent one. The pair that most models have, tanh and sigmoid, is applied to vectors in
// registers; others, also those of whole rows, to the lines. In `saved` are the lines after their activation, then a line
// with the state before, and, where a derivative reads the sums, a line for each gate with its sums.

template <class T> struct CellFormulas {
    using M = Math<T>;
    using F = Formulas<T>;
    using V = typename M::V;
    static constexpr std::ptrdiff_t lanes = M::lanes;
    static constexpr std::ptrdiff_t most = 8;  // lines of a plane

    CYRNN_INLINE bool usual(const Activate<T> activate, const Activate<T> gates) {
        return activate == by_element<T, F::tanh> && gates == by_element<T, F::sigmoid>;
    }

    CYRNN_INLINE bool usual(const Differentiated<T> *w) {
        return w->differentiate == differentiate_by_element<T, F::d_tanh> && w->differentiate_gates == differentiate_by_element<T, F::d_sigmoid>;
    }

    struct Plane {  // some lines of all rows
        T *at;
        std::ptrdiff_t stride, line;  // from row to row, and from line to line
        int lines;
        bool reads, writes;
        const std::ptrdiff_t *places = nullptr;  // of the rows; null: they are in order
        T *row(std::ptrdiff_t i) const { return at + (places ? places[i] : i) * stride; }
    };

    struct Lines {  // a vector of each line
        T *at;
        std::ptrdiff_t line;

        V load(int number) const { return M::load(at + number * line, lanes, 0); }
        void store(int number, V x) const { M::store(at + number * line, lanes, x); }
    };

    struct Sums : Lines {
        const T *bias;
        T *saved;  // or null

        V operator()(int number) const { return plus(number, this->load(number)); }
        V plus(int number, V x) const {
            if (bias) x += M::load(bias + number * this->line, lanes, 0);
            return x;
        }
        void save(int number, V x) const { M::store(saved + number * this->line, lanes, x); }
    };

    struct Planes {
        std::ptrdiff_t rows, units;
        Plane a, b, c;
        const T *bias;
        int biases;
        Plane saved;
    };

    using Vectors = void (*)(const Planes &planes, const void *function);

    // Whole vectors. There is one copy of a function's code: so the bits of an element do not depend on its place.
    template <class Function> static void walk(const Planes &p, const void *given) {
        const Function function = *static_cast<const Function *>(given);
        for (std::ptrdiff_t row = 0; row < p.rows; ++row)
            for (std::ptrdiff_t j = 0; j + lanes <= p.units; j += lanes)
                function(Sums{{p.a.row(row) + j, p.a.line}, p.bias ? p.bias + j : nullptr, p.saved.at ? p.saved.row(row) + j : nullptr},
                         Lines{p.b.row(row) + j, p.b.line}, Lines{p.c.row(row) + j, p.c.line});
    }

    struct Pass {
        Vectors vectors;
        const void *function;
    };

    // For each row and each vector of units, one function after the other.
    template <class... Functions> CYRNN_INLINE void each(const Planes &p, const Functions &...functions) {
        const Pass passes[] = {{walk<Functions>, &functions}...};
        for (const Pass &pass : passes) pass.vectors(p, pass.function);
        if (p.units % lanes != 0) each_rest(p, passes, passes + sizeof...(Functions));
    }

    // The units that are left over come side by side from as many rows as a vector holds.
    [[gnu::noinline]] static void each_rest(const Planes &p, const Pass *passes, const Pass *end) {
        const std::ptrdiff_t whole = p.units / lanes * lanes, rest = p.units - whole;
        T planes[4][most * lanes], bias[most * lanes];
        for (T &element : bias) element = 0;
        const std::ptrdiff_t together = lanes / rest;
        for (int line = 0; p.bias && line < p.biases; ++line)
            for (std::ptrdiff_t i = 0; i < together * rest; ++i) bias[line * lanes + i] = p.bias[line * p.a.line + whole + i % rest];
        for (auto &plane : planes)
            for (T &element : plane) element = 0;
        const Plane *const from[] = {&p.a, &p.b, &p.c, &p.saved};
        const Planes side_by_side{1, lanes, {planes[0], 0, lanes, 0, true, true}, {planes[1], 0, lanes, 0, true, true},
                                  {planes[2], 0, lanes, 0, true, true}, p.bias ? bias : nullptr, p.biases,
                                  {p.saved.at ? planes[3] : nullptr, 0, lanes, 0, true, true}};
        for (std::ptrdiff_t row = 0; row < p.rows; row += together) {
            const std::ptrdiff_t count = p.rows - row < together ? p.rows - row : together;
            const auto move = [&](bool back) {
                for (int k = 0; k < 4; ++k) {
                    if (!(back ? from[k]->writes : from[k]->reads)) continue;
                    for (std::ptrdiff_t i = 0; i < count; ++i)
                        for (int line = 0; line < from[k]->lines; ++line) {
                            T *const inside = planes[k] + line * lanes + i * rest;
                            T *const outside = from[k]->row(row + i) + line * from[k]->line + whole;
                            for (std::ptrdiff_t j = 0; j < rest; ++j) back ? outside[j] = inside[j] : inside[j] = outside[j];
                        }
                }
            };
            move(false);
            for (const Pass *pass = passes; pass != end; ++pass) pass->vectors(side_by_side, pass->function);
            move(true);
        }
    }

    // Of sums, the records before, and the records after.
    CYRNN_INLINE Planes planes(const Weights<T> *w, const Step<T> *step, bool writes_sums, bool reads_out = false) {
        const int states = int(w->cell->states);
        return {step->rows, w->units, {step->sums, step->sums_stride, w->units, int(w->cell->lines), true, writes_sums},
                {const_cast<T *>(step->before), step->before_stride, w->units, states, true, false},
                {step->out, step->out_stride, w->units, states, reads_out, true}, w->bias, int(w->cell->biases),
                {step->saved, step->saved_stride, w->units, int(w->cell->lines), step->saved != nullptr, step->saved != nullptr, step->places}};
    }

    // On the way back: of what is saved, the gradients of the states, and those of the sums.
    CYRNN_INLINE Planes planes(const Differentiated<T> *w, const StepBack<T> *step, bool reads_sums) {
        return {step->rows, w->units, {const_cast<T *>(step->saved), step->saved_stride, w->units, int(w->cell->lines), true, false},
                {step->d_states, step->d_states_stride, w->units, int(w->cell->states), true, true},
                {step->d_sums, step->d_sums_stride, w->units, int(w->cell->d_lines), reads_sums, true}, nullptr, 0, {}};
    }

    // line := function(line + bias), in place
    template <class... Gates> CYRNN_INLINE void apply(const Weights<T> *w, const Step<T> *step, Activate<T> function, bool of_sums, Gates... gates) {
        (apply_to(w, step, function, of_sums, gates), ...);
    }

    static void apply_to(const Weights<T> *w, const Step<T> *step, Activate<T> function, bool of_sums, int gate) {
        T *const line = step->sums + gate * w->units;
        const T *bias = w->bias ? w->bias + gate * w->units : nullptr;
        if (step->saved && of_sums) {
            w->add_bias(line, step->sums_stride, bias, step->rows, w->units);
            save(w, step, gate, 1, int(w->cell->lines) + gate);
            bias = nullptr;
        }
        function(line, step->sums_stride, bias, step->rows, w->units);
    }

    // Some lines of the sums to those that are saved, if there are any.
    static void save(const Weights<T> *w, const Step<T> *step, int first, int count, int to) {
        for (std::ptrdiff_t row = 0; step->saved && row < step->rows; ++row)
            __builtin_memcpy(step->saved_row(row) + to * w->units, step->sums + row * step->sums_stride + first * w->units,
                             std::size_t(count * w->units) * sizeof(T));
    }

    // The gradient of a gate becomes that of its sum.
    template <class... Gates>
    CYRNN_INLINE void through(const Differentiated<T> *w, const StepBack<T> *step, Differentiate<T> function, bool of_sums, Gates... gates) {
        const std::ptrdiff_t first = of_sums ? w->cell->lines : 0;
        (function(step->saved + (first + gates) * w->units, step->saved_stride, step->d_sums + gates * w->units, step->d_sums_stride, step->rows,
                  w->units), ...);
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

    CYRNN_INLINE V next_c(V in, V forget, V candidate, V c) {
        const V kept = forget * c;
        return in * candidate + kept;
    }
    static void finish(const Weights<T> *w, const Step<T> *step) {
        if (Base::usual(w->activate, w->activate_gates)) return together(w, step);
        Base::apply(w, step, w->activate_gates, w->gates_of_sums, i, f, o);
        Base::apply(w, step, w->activate, w->of_sums, g);
        Base::each(Base::planes(w, step, false), [](const auto &z, const Lines &was, const Lines &out) {
            const V c = was.load(1), next = next_c(z.load(i), z.load(f), z.load(g), c);
            out.store(0, next), out.store(1, next);
            if (z.saved) z.save(before, c);
        });
        Base::save(w, step, i, before, i);
        w->activate(step->out, step->out_stride, nullptr, step->rows, w->units);
        Base::each(Base::planes(w, step, false, true), [](const auto &z, const Lines &, const Lines &out) { out.store(0, z.load(o) * out.load(0)); });
    }

    // In two walks, so that less has to wait for another: the first one goes up to c', for which the second one has to wait.
    static void together(const Weights<T> *w, const Step<T> *step) {
        const auto up_to_c = [](const auto &z, const Lines &was, const Lines &out) {
            const auto in = F::sigmoid_quotient(z(i)), candidate = M::tanh_quotient(z(g));
            const V forget = F::sigmoid(z(f)), c = was.load(1), added = in.times(candidate);
            out.store(1, forget * c + added);
            if (z.saved) z.save(i, in.value()), z.save(f, forget), z.save(g, candidate.value()), z.save(before, c);
        };
        const auto from_c = [](const auto &z, const Lines &, const Lines &out) {
            const auto shown = F::sigmoid_quotient(z(o));
            out.store(0, shown.times(M::tanh_quotient(out.load(1))));
            if (z.saved) z.save(o, shown.value());
        };
        Base::each(Base::planes(w, step, false), up_to_c, from_c);
    }

    static void back(const Differentiated<T> *w, const StepBack<T> *step) {
        if (Base::usual(w)) return back_together(w, step);
        const auto each = [&](bool reads_sums, auto function) { Base::each(Base::planes(w, step, reads_sums), function); };
        T *const c = step->d_sums + g * w->units, *const f_of_c = step->d_sums + o * w->units, *const d_f_of_c = step->d_sums + i * w->units;
        each(false, [](const auto &s, const Lines &d_states, const Lines &d) {
            const V next = next_c(s.load(i), s.load(f), s.load(g), s.load(before));
            d.store(g, next), d.store(o, next), d.store(i, d_states.load(0) * s.load(o));
        });
        w->activate(f_of_c, step->d_sums_stride, nullptr, step->rows, w->units);
        w->differentiate(w->of_sums ? c : f_of_c, step->d_sums_stride, d_f_of_c, step->d_sums_stride, step->rows, w->units);
        each(true, [](const auto &s, const Lines &d_states, const Lines &d) {
            const V d_c = d.load(i) + d_states.load(1);
            d.store(o, d_states.load(0) * d.load(o)), d.store(f, d_c * s.load(before));
            d.store(i, d_c * s.load(g)), d.store(g, d_c * s.load(i));
            d_states.store(0, V{}), d_states.store(1, d_c * s.load(f));
        });
        Base::through(w, step, w->differentiate_gates, w->gates_of_sums, i, f, o);
        Base::through(w, step, w->differentiate, w->of_sums, g);
    }

    static void back_together(const Differentiated<T> *w, const StepBack<T> *step) {
        Base::each(Base::planes(w, step, false), [](const auto &s, const Lines &d_states, const Lines &d) {
            const V in = s.load(i), forget = s.load(f), candidate = s.load(g), shown = s.load(o), c = s.load(before);
            const V of_c = F::tanh(next_c(in, forget, candidate, c)), d_h = d_states.load(0);
            const V d_of_c = d_h * shown * F::d_tanh(of_c), d_c = d_of_c + d_states.load(1);
            d.store(i, d_c * candidate * F::d_sigmoid(in)), d.store(f, d_c * c * F::d_sigmoid(forget));
            d.store(g, d_c * in * F::d_tanh(candidate)), d.store(o, d_h * of_c * F::d_sigmoid(shown));
            d_states.store(0, V{}), d_states.store(1, d_c * forget);
        });
    }

    static constexpr Cell<T> cell{4, 4, 0, lines, 4, 2, 4, 0, 0, nullptr, finish, back, nullptr};
};

// z, r := s(z_z), s(z_r);   n := f(x_n + r q), q := h . V_n + b_n;   h' := z h + (1 - z) n
//
// It has two biases of three lines each, as Keras: of the sums of x, and of those of h.
template <class T> struct Gru : CellFormulas<T> {
    using F = Formulas<T>;
    using V = typename Math<T>::V;
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
        const auto each = [&](bool writes, auto function) { Base::each(Base::planes(w, step, writes), function); };
        each(true, [](const auto &s, const Lines &, const Lines &) {
            s.store(z, s.plus(of_h + z, s.load(z))), s.store(r, s.plus(of_h + r, s.load(r))), s.store(q, s.plus(of_h + n, s.load(q)));
        });
        Base::apply(w, step, w->activate_gates, w->gates_of_sums, z, r);
        Base::apply(w, step, w->add_bias, false, n);
        each(true, [](const auto &s, const Lines &, const Lines &) { s.store(n, s.load(r) * s.load(q) + s.load(n)); });
        if (w->of_sums) Base::save(w, step, n, 1, lines + n);
        w->activate(step->sums + n * w->units, step->sums_stride, nullptr, step->rows, w->units);
        each(false, [](const auto &s, const Lines &was, const Lines &out) {
            const V h = was.load(0);
            out.store(0, blended(s.load(z), h, s.load(n)));
            if (s.saved) s.save(before, h);
        });
        Base::save(w, step, z, before, z);
    }

    static void together(const Weights<T> *w, const Step<T> *step) {
        const auto up_to_n = [](const auto &s, const Lines &, const Lines &) {
            const V reset = F::sigmoid(s.plus(of_h + r, s(r))), recurrent = s.plus(of_h + n, s.load(q));
            s.store(n, reset * recurrent + s(n));
            if (s.saved) s.save(r, reset), s.save(q, recurrent);
        };
        const auto from_n = [](const auto &s, const Lines &was, const Lines &out) {
            const V update = F::sigmoid(s.plus(of_h + z, s(z))), candidate = F::tanh(s.load(n)), h = was.load(0);
            out.store(0, blended(update, h, candidate));
            if (s.saved) s.save(z, update), s.save(n, candidate), s.save(before, h);
        };
        Base::each(Base::planes(w, step, false), up_to_n, from_n);
    }

    static void back(const Differentiated<T> *w, const StepBack<T> *step) {
        if (Base::usual(w)) return back_together(w, step);
        const auto each = [&](bool reads_sums, auto function) { Base::each(Base::planes(w, step, reads_sums), function); };
        each(false, [](const auto &s, const Lines &d_h, const Lines &d) {
            const V d_out = d_h.load(0), update = s.load(z);
            d.store(d_n, d_out * (1 - update)), d.store(d_z, d_out * (s.load(before) - s.load(n)));
            d_h.store(0, d_out * update);
        });
        Base::through(w, step, w->differentiate, w->of_sums, n);
        each(true, [](const auto &s, const Lines &, const Lines &d) {
            d.store(d_r, d.load(d_n) * s.load(q)), d.store(of_h + d_n, d.load(d_n) * s.load(r));
        });
        Base::through(w, step, w->differentiate_gates, w->gates_of_sums, z, r);
        each(true, [](const auto &, const Lines &, const Lines &d) { d.store(of_h + d_z, d.load(d_z)), d.store(of_h + d_r, d.load(d_r)); });
    }

    static void back_together(const Differentiated<T> *w, const StepBack<T> *step) {
        Base::each(Base::planes(w, step, false), [](const auto &s, const Lines &d_h, const Lines &d) {
            const V d_out = d_h.load(0), update = s.load(z), reset = s.load(r), candidate = s.load(n);
            const V d_candidate = d_out * (1 - update) * F::d_tanh(candidate);
            const V d_update = d_out * (s.load(before) - candidate) * F::d_sigmoid(update);
            const V d_reset = d_candidate * s.load(q) * F::d_sigmoid(reset);
            d.store(d_z, d_update), d.store(d_r, d_reset), d.store(d_n, d_candidate);
            d.store(of_h + d_z, d_update), d.store(of_h + d_r, d_reset), d.store(of_h + d_n, d_candidate * reset);
            d_h.store(0, d_out * update);
        });
    }

    static constexpr Cell<T> cell{3, 2, q, lines, 6, 1, d_lines, of_h, 0, nullptr, finish, back, nullptr};
};

// The same, but the reset comes before the product:   n := f(x_n + q),   q := (r h) . V_n
//
// Its sums are of x and of h, and it has one bias.
template <class T> struct GruResetBefore : CellFormulas<T> {
    using F = Formulas<T>;
    using V = typename Math<T>::V;
    using Base = CellFormulas<T>;
    using typename Base::Lines;
    enum : int { z, r, n, q, before, lines };

    static void between(const Weights<T> *w, const Step<T> *step) {  // out := r h
        Step<T> of_h = *step;
        of_h.before = step->h, of_h.before_stride = step->h_stride;
        if (Base::usual(w->activate, w->activate_gates))
            return Base::each(Base::planes(w, &of_h, true), [](const auto &s, const Lines &h, const Lines &out) {
                const V reset = F::sigmoid(s(r));
                s.store(z, F::sigmoid(s(z))), s.store(r, reset), out.store(0, reset * h.load(0));
            });
        Base::apply(w, step, w->activate_gates, w->gates_of_sums, z, r);
        Base::each(Base::planes(w, &of_h, false), [](const auto &s, const Lines &h, const Lines &out) { out.store(0, s.load(r) * h.load(0)); });
    }

    static void finish(const Weights<T> *w, const Step<T> *step) {
        if (Base::usual(w->activate, w->activate_gates)) return together(w, step);
        Base::each(Base::planes(w, step, true, true), [](const auto &s, const Lines &, const Lines &out) {
            s.store(n, s.load(n) + s.load(q)), s.store(q, out.load(0));
        });
        Base::apply(w, step, w->activate, w->of_sums, n);
        Base::each(Base::planes(w, step, false), [](const auto &s, const Lines &was, const Lines &out) {
            const V h = was.load(0);
            out.store(0, Gru<T>::blended(s.load(z), h, s.load(n)));
            if (s.saved) s.save(before, h);
        });
        Base::save(w, step, z, before, z);
    }

    static void together(const Weights<T> *w, const Step<T> *step) {
        Base::each(Base::planes(w, step, false, step->saved), [](const auto &s, const Lines &was, const Lines &out) {
            const V update = s.load(z), candidate = F::tanh(s.plus(n, s.load(n) + s.load(q))), h = was.load(0);
            if (s.saved) s.save(z, update), s.save(r, s.load(r)), s.save(n, candidate), s.save(q, out.load(0)), s.save(before, h);
            out.store(0, Gru<T>::blended(update, h, candidate));
        });
    }

    static void back(const Differentiated<T> *w, const StepBack<T> *step) {
        if (Base::usual(w))
            return Base::each(Base::planes(w, step, false), [](const auto &s, const Lines &d_h, const Lines &d) {
                const V d_out = d_h.load(0), update = s.load(z), candidate = s.load(n);
                d.store(n, d_out * (1 - update) * F::d_tanh(candidate));
                d.store(z, d_out * (s.load(before) - candidate) * F::d_sigmoid(update));
                d_h.store(0, d_out * update);
            });
        Base::each(Base::planes(w, step, false), [](const auto &s, const Lines &d_h, const Lines &d) {
            const V d_out = d_h.load(0), update = s.load(z);
            d.store(n, d_out * (1 - update)), d.store(z, d_out * (s.load(before) - s.load(n)));
            d_h.store(0, d_out * update);
        });
        Base::through(w, step, w->differentiate, w->of_sums, n);
        Base::through(w, step, w->differentiate_gates, w->gates_of_sums, z);
    }

    static void back_between(const Differentiated<T> *w, const StepBack<T> *step) {  // the line r comes in as the gradient of r h
        const bool usual = Base::usual(w);
        Base::each(Base::planes(w, step, true), [usual](const auto &s, const Lines &d_h, const Lines &d) {
            const V d_product = d.load(r), reset = s.load(r), d_reset = d_product * s.load(before);
            d_h.store(0, d_product * reset + d_h.load(0));
            d.store(r, usual ? d_reset * F::d_sigmoid(reset) : d_reset);
        });
        if (!usual) Base::through(w, step, w->differentiate_gates, w->gates_of_sums, r);
    }

    static constexpr Cell<T> cell{3, 2, q, lines, 3, 1, 3, 0, r, between, finish, back, back_between};
};

template <class T> struct CellTable {
#define CYRNN_ENTRY(name, Kind) Kind<T>::cell,
    static constexpr Cell<T> entries[] = {CYRNN_CELLS(CYRNN_ENTRY)};
#undef CYRNN_ENTRY
};
