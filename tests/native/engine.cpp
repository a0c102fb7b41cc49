// The simd engine without Python, beside plain loops in double precision. It needs nothing but a C++ compiler, so it can be
// built for another kind of CPU and run by an emulator: `.ci/run arm`.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "simd.hpp"
#include "recurrence.hpp"

namespace {

using cyrnn::Block;
using cyrnn::Record;
using cyrnn::Simd;
using std::ptrdiff_t;

template <class T> using Array = std::vector<T>;

std::mt19937 random_numbers(1);

ptrdiff_t between(ptrdiff_t low, ptrdiff_t high) { return low + ptrdiff_t(random_numbers() % std::uint32_t(high - low + 1)); }
double uniform(double bound) { return bound * (2.0 * random_numbers() / 4294967295.0 - 1); }

template <class T> Array<T> drawn(ptrdiff_t count, double bound) {
    Array<T> array(static_cast<std::size_t>(count));
    for (T &element : array) element = T(uniform(bound));
    return array;
}

int index_of(const char *activation) {
    for (int i = 0; i < cyrnn::activation_count(); ++i)
        if (!std::strcmp(cyrnn::activation_name(i), activation)) return i;
    std::abort();
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double relu(double x) { return x < 0 ? 0 : x; }
double linear(double x) { return x; }

struct Function {
    const char *name;
    double (*plain)(double);
};
const Function functions[] = {{"tanh", std::tanh}, {"sigmoid", sigmoid}, {"relu", relu}, {"linear", linear}};

template <class T> struct Tables;
template <> struct Tables<float> {
    static const cyrnn::Activate<float> *activate(const Simd &simd) { return simd.activate_f32; }
    static const cyrnn::Cell<float> *cells(const Simd &simd) { return simd.cells_f32; }
    static const cyrnn::Product<float> &product(const Simd &simd) { return simd.engine.f32; }
    static ptrdiff_t columns(const Simd &simd) { return simd.columns_f32; }
    static constexpr double tolerance = 2e-5;
};
template <> struct Tables<double> {
    static const cyrnn::Activate<double> *activate(const Simd &simd) { return simd.activate_f64; }
    static const cyrnn::Cell<double> *cells(const Simd &simd) { return simd.cells_f64; }
    static const cyrnn::Product<double> &product(const Simd &simd) { return simd.engine.f64; }
    static ptrdiff_t columns(const Simd &simd) { return simd.columns_f64; }
    static constexpr double tolerance = 1e-12;
};

// A SimpleRNN, or an LSTM, which is the first of the cells.
template <class T> struct Layer {
    ptrdiff_t features, units, gates, depth, sums;
    const Function &function;
    Array<T> kernels, bias, panels, wide_bias;  // (depth, sums), (sums), and the same in panels
    cyrnn::Weights<T> weights{};

    Layer(const Simd &simd, bool lstm, ptrdiff_t features_, ptrdiff_t units_, const Function &function_)
        : features(features_), units(units_), gates(lstm ? 4 : 1), depth(features + units), sums(gates * units), function(function_),
          kernels(drawn<T>(depth * sums, 0.8 / std::sqrt(double(depth)))), bias(drawn<T>(sums, 0.5)) {
        const ptrdiff_t columns = Tables<T>::columns(simd);
        for (ptrdiff_t first = 0; first < sums; first += columns) {
            ptrdiff_t width = columns;
            if (sums - first < columns)
                for (width = 16 / ptrdiff_t(sizeof(T)); width < sums - first;) width *= 2;
            for (ptrdiff_t k = 0; k < depth; ++k)
                for (ptrdiff_t j = first; j < first + width; ++j) panels.push_back(j < sums ? kernels[std::size_t(k * sums + j)] : 0);
            for (ptrdiff_t j = first; j < first + width; ++j) wide_bias.push_back(j < sums ? bias[std::size_t(j)] : 0);
        }
        weights.features = features, weights.units = units, weights.depth = depth;
        weights.gates = gates, weights.recurrent = sums, weights.lines = 1, weights.carried = units;
        if (lstm) weights.cell = Tables<T>::cells(simd), weights.lines = weights.cell->lines, weights.carried = 2 * units;
        weights.panels = panels.data(), weights.bias = wide_bias.data();
        weights.activate = Tables<T>::activate(simd)[index_of(function.name)];
        weights.activate_gates = Tables<T>::activate(simd)[index_of("sigmoid")];
    }
};

template <class T> struct Sequence {
    ptrdiff_t rows, timesteps;
    Array<T> x, states;
    Array<std::uint8_t> mask;  // or empty

    template <class Of> Array<Of> outputs_of(const Layer<T> &layer) const { return Array<Of>(std::size_t(rows * timesteps * layer.units)); }
    bool live(ptrdiff_t row, ptrdiff_t t) const { return mask.empty() || mask[std::size_t(row * timesteps + t)]; }
};

template <class T> struct Results {
    Array<T> outputs, states;
};

template <class T> Results<double> plain(const Layer<T> &layer, const Sequence<T> &s) {
    Results<double> r{s.template outputs_of<double>(layer), {s.states.begin(), s.states.end()}};
    Array<double> z(std::size_t(layer.sums));
    for (ptrdiff_t row = 0; row < s.rows; ++row) {
        double *const h = r.states.data() + row * layer.weights.carried, *const c = h + layer.units;
        bool seen = false;
        for (ptrdiff_t t = 0; t < s.timesteps; ++t) {
            seen = seen || s.live(row, t);
            for (ptrdiff_t j = 0; j < layer.sums && s.live(row, t); ++j) {
                z[std::size_t(j)] = layer.bias[std::size_t(j)];
                for (ptrdiff_t k = 0; k < layer.depth; ++k)
                    z[std::size_t(j)] += double(layer.kernels[std::size_t(k * layer.sums + j)]) *
                                         (k < layer.features ? double(s.x[std::size_t((row * s.timesteps + t) * layer.features + k)]) : h[k - layer.features]);
            }
            for (ptrdiff_t u = 0; u < layer.units && s.live(row, t); ++u) {
                const auto of = [&](ptrdiff_t gate) { return z[std::size_t(gate * layer.units + u)]; };
                if (layer.gates == 1) {
                    h[u] = layer.function.plain(of(0));
                } else {
                    c[u] = sigmoid(of(1)) * c[u] + sigmoid(of(0)) * layer.function.plain(of(2));
                    h[u] = sigmoid(of(3)) * layer.function.plain(c[u]);
                }
            }
            for (ptrdiff_t u = 0; u < layer.units; ++u) r.outputs[std::size_t((row * s.timesteps + t) * layer.units + u)] = seen ? h[u] : 0;
        }
    }
    return r;
}

// Memory whose end lies at a page that faults.
class Fenced {
public:
    explicit Fenced(std::size_t bytes) : page(std::size_t(sysconf(_SC_PAGESIZE))), size((bytes + page - 1) / page * page + page) {
        memory = static_cast<char *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (memory == MAP_FAILED || mprotect(memory + size - page, page, PROT_NONE)) std::abort();
        begin = memory + size - page - bytes;
    }
    ~Fenced() { munmap(memory, size); }
    Fenced(const Fenced &) = delete;
    Fenced &operator=(const Fenced &) = delete;

    template <class T> T *of() const { return reinterpret_cast<T *>(begin); }

private:
    const std::size_t page, size;
    char *memory, *begin;
};

// Some of the rows, so many timesteps in a block.
template <class T>
Results<T> computed(const Simd &simd, const Layer<T> &layer, const Sequence<T> &s, ptrdiff_t rows, ptrdiff_t timesteps) {
    const cyrnn::Product<T> &product = Tables<T>::product(simd);
    const cyrnn::Weights<T> &w = layer.weights;
    Results<T> r{s.template outputs_of<T>(layer), s.states};
    const std::size_t bytes = std::size_t(cyrnn::Recurrence<T>::scratch_bytes(product, w, rows, timesteps, !s.mask.empty()));
    const Fenced scratch((bytes + 63) / 64 * 64);
    for (ptrdiff_t first = 0; first < s.rows; first += rows) {
        const ptrdiff_t count = std::min(rows, s.rows - first);
        Array<T> now(r.states.begin() + first * w.carried, r.states.begin() + (first + count) * w.carried), then(now.size());
        Array<std::uint8_t> seen(static_cast<std::size_t>(count));
        Record<T> record{now.data(), then.data(), seen.data()};
        for (ptrdiff_t t = 0; t < s.timesteps; t += timesteps) {
            Block<T> block{};
            block.rows = count, block.timesteps = std::min(timesteps, s.timesteps - t);
            block.x = s.x.data() + (first * s.timesteps + t) * layer.features, block.x_row = s.timesteps * layer.features, block.x_time = layer.features;
            if (!s.mask.empty()) block.mask = s.mask.data() + first * s.timesteps + t, block.mask_row = s.timesteps, block.mask_time = 1;
            block.outputs = r.outputs.data() + (first * s.timesteps + t) * layer.units, block.outputs_row = s.timesteps * layer.units;
            block.outputs_time = layer.units, block.alone = s.rows == 1;
            cyrnn::Recurrence<T>::run(product, w, block, record, scratch.of<char>(), {[](void *) { return false; }, nullptr});
        }
        std::copy(record.now, record.now + count * w.carried, r.states.begin() + first * w.carried);
    }
    return r;
}

// A product writes into no more of a workspace than it has asked for.
template <class T> void multiply_fenced(const Simd &simd, const Layer<T> &layer, ptrdiff_t rows) {
    const cyrnn::Product<T> &product = Tables<T>::product(simd);
    const Array<T> x = drawn<T>(rows * layer.features, 1), h = drawn<T>(rows * layer.units, 1);
    Array<T> sums(std::size_t(rows * layer.sums)), states(std::size_t(rows * layer.weights.carried));
    cyrnn::Step<T> step;
    step.rows = rows, step.x = x.data(), step.x_stride = layer.features, step.h = h.data(), step.h_stride = layer.units;
    step.out = states.data(), step.out_stride = layer.weights.carried;
    if (layer.weights.cell) step.sums = sums.data(), step.sums_stride = layer.sums;
    const Fenced workspace(std::size_t(product.workspace(&layer.weights, rows)) * sizeof(T));
    product.step(&layer.weights, &step, workspace.of<T>());
}

template <class T> bool same(const Results<T> &a, const Results<T> &b) {
    return !std::memcmp(a.outputs.data(), b.outputs.data(), a.outputs.size() * sizeof(T)) &&
           !std::memcmp(a.states.data(), b.states.data(), a.states.size() * sizeof(T));
}

template <class T> double distance(const Array<T> &a, const Array<double> &b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double apart = std::abs(double(a[i]) - b[i]) / std::max(1.0, std::abs(b[i]));
        most = apart <= most ? most : apart;  // NaN too
    }
    return most;
}

template <class T> void test(const Simd &simd, int number) {
    const bool lstm = number % 3 == 2;
    const Function &function = functions[number / 3 % 4];
    const Layer<T> layer(simd, lstm, between(0, 40), number % 2 ? between(1, 16) : between(1, 90), function);
    const ptrdiff_t rows = number % 5 ? between(2, 40) : 1, timesteps = between(1, 12);
    Sequence<T> s{rows, timesteps, drawn<T>(rows * timesteps * layer.features, 1), drawn<T>(rows * layer.weights.carried, 1), {}};
    for (ptrdiff_t i = 0; number % 4 == 3 && i < rows * timesteps; ++i) s.mask.push_back(between(0, 9) < 7);
    multiply_fenced(simd, layer, rows);
    const Results<double> expected = plain(layer, s);
    const Results<T> found = computed(simd, layer, s, rows, timesteps);
    const double apart = std::max(distance(found.outputs, expected.outputs), distance(found.states, expected.states));
    const bool by_timestep = same(found, computed(simd, layer, s, rows, ptrdiff_t(1)));
    const bool by_row = same(found, computed(simd, layer, s, ptrdiff_t(rows == 1 ? 1 : 3), timesteps));
    if (apart <= Tables<T>::tolerance && by_timestep && by_row) return;
    std::printf("%s, case %d: %zu bytes, %s %s, rows %td, timesteps %td, features %td, units %td: error %g, by timestep %d, by row %d\n", simd.name,
                number, sizeof(T), lstm ? "LSTM" : "SimpleRNN", function.name, rows, timesteps, layer.features, layer.units, apart, by_timestep, by_row);
    std::exit(1);
}

}  // namespace

int main() {
    for (const char *name : {"generic", "avx2", "avx512"}) {
        const Simd *const simd = cyrnn::simd_by_name(name);
        if (!simd) continue;
        for (int number = 0; number < 600; ++number) test<float>(*simd, number), test<double>(*simd, number);
        std::printf("%s is right\n", name);
    }
}
