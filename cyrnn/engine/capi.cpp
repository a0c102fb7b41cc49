// The functions of cyrnn.h: arguments checked, then the runner's own.
#include "capi.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>

#include "runner.hpp"

namespace cyrnn {
namespace {

using Status = cyrnn_status;

bool single(const cyrnn_model &model) { return model.layers[0]->single; }

template <class T> bool holds(const cyrnn_model &model) { return single(model) == (sizeof(T) == sizeof(float)); }

std::ptrdiff_t units_of(const Prepared &layer) { return layer.single ? layer.f32.units : layer.f64.units; }
std::ptrdiff_t sums_of(const Prepared &layer) { return layer.single ? layer.f32.sums() : layer.f64.sums(); }
std::ptrdiff_t carried_of(const Prepared &layer) { return layer.single ? layer.f32.carried : layer.f64.carried; }

// For as long as a function uses a runner, so that two threads cannot.
class Taken {
public:
    explicit Taken(cyrnn_runner &runner_)
        : runner(runner_), was_free(!runner_.busy.exchange(true, std::memory_order_acquire)) {}
    ~Taken() {
        if (was_free) runner.busy.store(false, std::memory_order_release);
    }
    Taken(const Taken &) = delete;
    Taken &operator=(const Taken &) = delete;

    cyrnn_runner &runner;
    const bool was_free;
};

const char *status_text(Status status) noexcept {
    switch (status) {
    case CYRNN_OK: return "ok";
    case CYRNN_NULL_ARGUMENT: return "an argument is NULL that may not be";
    case CYRNN_WRONG_DTYPE: return "a float32 function was called on a float64 model, or the other way round";
    case CYRNN_OUT_OF_RANGE: return "a batch, row, layer or number of timesteps is out of range";
    case CYRNN_MEMORY_TOO_SMALL: return "the memory is smaller than runner_size says";
    case CYRNN_NO_MEMORY: return "there is no memory left";
    case CYRNN_BUSY: return "another thread is using the runner";
    case CYRNN_WRONG_STRUCT: return "struct_size is not set to the size of the struct";
    case CYRNN_OVERLAP: return "x and outputs share memory";
    }
    return "not a status of cyrnn";
}

// ---------------------------------------------------------------- models

// Of the first cyrnn_info that there was; and so far above any that there will be that it is no size but what happened to
// be in the memory.
constexpr std::size_t smallest_info = offsetof(cyrnn_info, reserved) + sizeof(std::int32_t), absurd_info = 1024;

Status model_info(const cyrnn_model *model, cyrnn_info *info) noexcept {
    if (!model || !info) return CYRNN_NULL_ARGUMENT;
    const std::size_t size = info->struct_size;
    if (size < smallest_info || size >= absurd_info) return CYRNN_WRONG_STRUCT;
    const Prepared &first = *model->layers.front();
    cyrnn_info known{};
    known.struct_size = size < sizeof known ? size : sizeof known;
    known.features = first.single ? first.f32.features : first.f64.features;
    known.units = units_of(*model->layers.back());
    known.dtype = first.single ? CYRNN_FLOAT32 : CYRNN_FLOAT64;
    known.layers = static_cast<std::int32_t>(model->layers.size());
    known.real_time = model->real_time;
    std::memcpy(info, &known, known.struct_size);  // what a later header has beyond it stays as it is
    return CYRNN_OK;
}

Status layer_units(const cyrnn_model *model, std::int32_t layer, std::int64_t *units) noexcept {
    if (!model || !units) return CYRNN_NULL_ARGUMENT;
    if (layer < 0 || static_cast<std::size_t>(layer) >= model->layers.size()) return CYRNN_OUT_OF_RANGE;
    *units = units_of(*model->layers[static_cast<std::size_t>(layer)]);
    return CYRNN_OK;
}

Status model_retain(cyrnn_model *model) noexcept {
    if (!model) return CYRNN_NULL_ARGUMENT;
    model->holders.fetch_add(1, std::memory_order_relaxed);
    return CYRNN_OK;
}

Status model_release(cyrnn_model *model) noexcept {
    if (!model) return CYRNN_NULL_ARGUMENT;
    if (model->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete model;
    return CYRNN_OK;
}

// ---------------------------------------------------------------- runners

struct Layout {
    std::size_t states, rows, scratch, end;  // offsets in the block
};

// The largest batch whose block has a size that can be counted.
std::int64_t largest_batch(const cyrnn_model &model) {
    double row = 0;  // bytes, more than a runner needs for each
    for (const auto &layer : model.layers) {
        const double features = static_cast<double>(layer->single ? layer->f32.features : layer->f64.features);
        row += 8 * (4 * features + (256 + 32) * static_cast<double>(sums_of(*layer)) +
                    2 * static_cast<double>(carried_of(*layer)) + 64);
    }
    const double most = static_cast<double>(PTRDIFF_MAX) / 4 / row;
    return most < 1 ? 0 : static_cast<std::int64_t>(most);
}

template <class T> Layout layout_of(const cyrnn_model &model, std::ptrdiff_t batch) {
    Layout layout{};
    layout.states = Run<T>::aligned(sizeof(cyrnn_runner));
    layout.rows = layout.scratch = layout.states + Run<T>::aligned(model.layers.size() * sizeof(cyrnn_runner::State));
    for (const auto &layer : model.layers)
        layout.scratch += 2 * Run<T>::aligned(static_cast<std::size_t>(batch * layer->template weights<T>().carried) * sizeof(T));
    layout.end = layout.scratch + Run<T>::scratch_bytes(model, batch);
    return layout;
}

Layout layout_of(const cyrnn_model &model, std::ptrdiff_t batch) {
    return single(model) ? layout_of<float>(model, batch) : layout_of<double>(model, batch);
}

constexpr std::size_t line = 64;  // bytes; the block begins at one

Status runner_size(const cyrnn_model *model, std::int64_t batch, std::size_t *bytes) noexcept {
    if (!model || !bytes) return CYRNN_NULL_ARGUMENT;
    if (batch < 1 || batch > largest_batch(*model)) return CYRNN_OUT_OF_RANGE;
    *bytes = layout_of(*model, static_cast<std::ptrdiff_t>(batch)).end + line;
    return CYRNN_OK;
}

template <class T> void place_states(cyrnn_runner &runner, char *at) {
    for (std::size_t l = 0; l < runner.model->layers.size(); ++l) {
        const Prepared &layer = *runner.model->layers[l];
        const std::size_t bytes = Run<T>::aligned(static_cast<std::size_t>(runner.batch * layer.weights<T>().carried) * sizeof(T));
        new (runner.states + l) cyrnn_runner::State{at, at + bytes, Run<T>::slice_of(layer, runner.batch)};
        at += 2 * bytes;
    }
}

Status runner_create(cyrnn_model *model, std::int64_t batch, void *memory, std::size_t bytes, cyrnn_runner **runner) noexcept {
    std::size_t needed = 0;
    if (!runner) return CYRNN_NULL_ARGUMENT;
    *runner = nullptr;
    const Status status = runner_size(model, batch, &needed);
    if (status != CYRNN_OK) return status;
    if (memory && bytes < needed) return CYRNN_MEMORY_TOO_SMALL;
    char *const own = memory ? nullptr : new (std::nothrow) char[needed];
    if (!memory && !own) return CYRNN_NO_MEMORY;
    void *start = memory ? memory : own;
    const Layout layout = layout_of(*model, static_cast<std::ptrdiff_t>(batch));
    std::align(line, layout.end, start, needed);
    char *const block = static_cast<char *>(start);
    std::memset(block, 0, layout.end);  // the states are zeros, and all pages are there before the first step
    cyrnn_runner *const made = new (block) cyrnn_runner;
    model_retain(model);
    made->model = model;
    made->batch = static_cast<std::ptrdiff_t>(batch);
    made->block = own;
    made->states = reinterpret_cast<cyrnn_runner::State *>(block + layout.states);
    made->scratch = block + layout.scratch;
    if (single(*model))
        place_states<float>(*made, block + layout.rows);
    else
        place_states<double>(*made, block + layout.rows);
    *runner = made;
    return CYRNN_OK;
}

Status runner_destroy(cyrnn_runner *runner) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    if (runner->busy.exchange(true, std::memory_order_acquire)) return CYRNN_BUSY;
    cyrnn_model *const model = runner->model;
    char *const block = static_cast<char *>(runner->block);
    runner->~cyrnn_runner();
    delete[] block;
    return model_release(model);
}

Status runner_batch(const cyrnn_runner *runner, std::int64_t *batch) noexcept {
    if (!runner || !batch) return CYRNN_NULL_ARGUMENT;
    *batch = runner->batch;
    return CYRNN_OK;
}

template <class T> Status step(cyrnn_runner *runner, const T *x, T *output) noexcept {
    if (!runner || !x || !output) return CYRNN_NULL_ARGUMENT;
    if (!holds<T>(*runner->model)) return CYRNN_WRONG_DTYPE;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    Run<T>(*runner).step(x, output);
    return CYRNN_OK;
}

template <class T> bool share(const T *a, std::int64_t a_count, const T *b, std::int64_t b_count) {
    const std::less<const T *> before;  // which orders pointers into different arrays too
    return a_count > 0 && b_count > 0 && before(a, b + b_count) && before(b, a + a_count);
}

template <class T> Status forward(cyrnn_runner *runner, std::int64_t timesteps, const T *x, T *outputs) noexcept {
    if (!runner || (!x && timesteps > 0)) return CYRNN_NULL_ARGUMENT;
    if (!holds<T>(*runner->model)) return CYRNN_WRONG_DTYPE;
    const std::int64_t features = runner->model->layers.front()->template weights<T>().features;
    const std::int64_t units = runner->model->layers.back()->template weights<T>().units, batch = runner->batch;
    const std::int64_t most = PTRDIFF_MAX / std::ptrdiff_t(sizeof(T)) / batch / std::max<std::int64_t>({features, units, 1});
    if (timesteps < 0 || timesteps > most) return CYRNN_OUT_OF_RANGE;
    if (outputs && share<T>(x, batch * timesteps * features, outputs, batch * timesteps * units)) return CYRNN_OVERLAP;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    Run<T>(*runner).forward(static_cast<std::ptrdiff_t>(timesteps), x, outputs);
    return CYRNN_OK;
}

// ---------------------------------------------------------------- states

// The part of a layer's state that is asked for; null and a status where there is none.
template <class T>
Status state_rows(cyrnn_runner *runner, std::int32_t layer, std::int64_t first_row, std::int64_t rows, T **state, std::size_t *bytes) {
    if (!holds<T>(*runner->model)) return CYRNN_WRONG_DTYPE;
    std::int64_t units = 0;
    const Status status = layer_units(runner->model, layer, &units);
    if (status != CYRNN_OK) return status;
    if (first_row < 0 || rows < 0 || first_row > runner->batch || rows > runner->batch - first_row) return CYRNN_OUT_OF_RANGE;
    const std::ptrdiff_t carried = carried_of(*runner->model->layers[static_cast<std::size_t>(layer)]);
    *state = static_cast<T *>(runner->states[layer].now) + first_row * carried;
    *bytes = static_cast<std::size_t>(rows * carried) * sizeof(T);
    return CYRNN_OK;
}

template <class T>
Status get_state(cyrnn_runner *runner, std::int32_t layer, std::int64_t first_row, std::int64_t rows, T *state) noexcept {
    if (!runner || !state) return CYRNN_NULL_ARGUMENT;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    T *from = nullptr;
    std::size_t bytes = 0;
    const Status status = state_rows(runner, layer, first_row, rows, &from, &bytes);
    if (status == CYRNN_OK) std::memcpy(state, from, bytes);
    return status;
}

template <class T>
Status set_state(cyrnn_runner *runner, std::int32_t layer, std::int64_t first_row, std::int64_t rows, const T *state) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    T *to = nullptr;
    std::size_t bytes = 0;
    const Status status = state_rows(runner, layer, first_row, rows, &to, &bytes);
    if (status != CYRNN_OK) return status;
    if (state)
        std::memcpy(to, state, bytes);
    else
        std::memset(to, 0, bytes);
    return CYRNN_OK;
}

Status reset(cyrnn_runner *runner) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    const std::size_t item = single(*runner->model) ? sizeof(float) : sizeof(double);
    for (std::size_t l = 0; l < runner->model->layers.size(); ++l)
        std::memset(runner->states[l].now, 0, static_cast<std::size_t>(runner->batch * carried_of(*runner->model->layers[l])) * item);
    return CYRNN_OK;
}

const cyrnn_api table = {
    sizeof(cyrnn_api), CYRNN_ABI_VERSION, 0,
    status_text,
    model_info, layer_units, model_retain, model_release,
    runner_size, runner_create, runner_destroy, runner_batch,
    step<float>, step<double>, forward<float>, forward<double>,
    get_state<float>, get_state<double>, set_state<float>, set_state<double>, reset,
};

}  // namespace

const cyrnn_api *c_api() { return &table; }

cyrnn_model *make_model(const std::shared_ptr<Prepared> *layers, std::ptrdiff_t count, bool real_time) noexcept {
    try {
        std::unique_ptr<cyrnn_model> model(new cyrnn_model);
        model->layers.assign(layers, layers + count);
        model->real_time = real_time;
        return model.release();
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

}  // namespace cyrnn
