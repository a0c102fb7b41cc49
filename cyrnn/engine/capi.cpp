// The functions of cyrnn.h: arguments checked, then the runner's own.
#include "capi.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "arguments.hpp"
#include "runner.hpp"

namespace cyrnn {
namespace {

using Status = cyrnn_status;

bool single(const cyrnn_model &model) { return model.program->single; }

template <class T> bool holds(const cyrnn_model &model) { return single(model) == (sizeof(T) == sizeof(float)); }

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
    case CYRNN_OUT_OF_RANGE: return "a batch, row, index, length or number of timesteps is out of range";
    case CYRNN_MEMORY_TOO_SMALL: return "the memory is smaller than runner_size says";
    case CYRNN_NO_MEMORY: return "there is no memory left";
    case CYRNN_BUSY: return "another thread is using the runner";
    case CYRNN_WRONG_STRUCT: return "struct_size is not set to the size of the struct";
    case CYRNN_OVERLAP: return "inputs and outputs share memory";
    case CYRNN_WRONG_PORTS: return "the model has other inputs or outputs than this function takes";
    case CYRNN_WRONG_TOKEN: return "a token is not in the model's table";
    case CYRNN_NO_MASK: return "the model takes no mask, and so no lengths";
    }
    return "not a status of cyrnn";
}

// ---------------------------------------------------------------- models

// So far above any struct that there will be that it is no size but what happened to be in the memory.
constexpr std::size_t absurd_size = 1024;

// Fills as much of a caller's struct as it has; what a later header has beyond it stays as it is.
template <class T> Status fill(T *given, T known, std::size_t smallest) {
    const std::size_t size = given->struct_size;
    if (size < smallest || size >= absurd_size) return CYRNN_WRONG_STRUCT;
    known.struct_size = size < sizeof known ? size : sizeof known;
    std::memcpy(given, &known, known.struct_size);
    return CYRNN_OK;
}

Status model_info(const cyrnn_model *model, cyrnn_info *info) noexcept {
    if (!model || !info) return CYRNN_NULL_ARGUMENT;
    const Steps &steps = *model->steps;
    cyrnn_info known{};
    known.features = steps.inputs.empty() ? 0 : steps.inputs.front().width;
    known.units = steps.outputs.empty() ? 0 : steps.outputs.front().width;
    known.dtype = single(*model) ? CYRNN_FLOAT32 : CYRNN_FLOAT64;
    known.inputs = static_cast<std::int32_t>(steps.inputs.size());
    known.outputs = static_cast<std::int32_t>(steps.outputs.size());
    known.states = static_cast<std::int32_t>(steps.states.size());
    known.takes_lengths = steps.takes_lengths;
    known.real_time = model->real_time;
    return fill(info, known, offsetof(cyrnn_info, real_time) + sizeof known.real_time);
}

Status describe(const cyrnn_model *model, const std::vector<Port> Steps::*ports, std::int32_t index, cyrnn_port *port) {
    if (!model || !port) return CYRNN_NULL_ARGUMENT;
    const std::vector<Port> &all = (*model->steps).*ports;
    if (index < 0 || static_cast<std::size_t>(index) >= all.size()) return CYRNN_OUT_OF_RANGE;
    const Port &found = all[static_cast<std::size_t>(index)];
    cyrnn_port known{};
    known.kind = found.kind == Kind::number ? CYRNN_NUMBER : found.kind == Kind::token ? CYRNN_TOKEN : CYRNN_MASK;
    known.timed = found.timed;
    known.width = found.width;
    known.name = found.name.c_str();
    return fill(port, known, sizeof known);
}

Status input_info(const cyrnn_model *model, std::int32_t index, cyrnn_port *port) noexcept {
    return describe(model, &Steps::inputs, index, port);
}

Status output_info(const cyrnn_model *model, std::int32_t index, cyrnn_port *port) noexcept {
    return describe(model, &Steps::outputs, index, port);
}

Status state_info(const cyrnn_model *model, std::int32_t index, cyrnn_port *port) noexcept {
    return describe(model, &Steps::states, index, port);
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

Status runner_size(const cyrnn_model *model, std::int64_t batch, std::size_t *bytes) noexcept {
    if (!model || !bytes) return CYRNN_NULL_ARGUMENT;
    if (batch < 1 || batch > Frame::largest_batch(*model->steps)) return CYRNN_OUT_OF_RANGE;
    *bytes = Frame(*model, static_cast<std::ptrdiff_t>(batch)).end + Frame::line;
    return CYRNN_OK;
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
    const Frame frame(*model, static_cast<std::ptrdiff_t>(batch));
    std::align(Frame::line, frame.end, start, needed);
    std::memset(start, 0, frame.end);  // the states are zeros, and all pages are there before the first step
    cyrnn_runner *const made = new (start) cyrnn_runner;
    model_retain(model);
    made->model = model;
    made->batch = static_cast<std::ptrdiff_t>(batch);
    made->memory = own;
    Run(*made).make(frame);
    *runner = made;
    return CYRNN_OK;
}

Status runner_destroy(cyrnn_runner *runner) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    if (runner->busy.exchange(true, std::memory_order_acquire)) return CYRNN_BUSY;
    cyrnn_model *const model = runner->model;
    char *const memory = static_cast<char *>(runner->memory);
    runner->~cyrnn_runner();
    delete[] memory;
    return model_release(model);
}

Status runner_batch(const cyrnn_runner *runner, std::int64_t *batch) noexcept {
    if (!runner || !batch) return CYRNN_NULL_ARGUMENT;
    *batch = runner->batch;
    return CYRNN_OK;
}

// ---------------------------------------------------------------- steps

Status step(cyrnn_runner *runner, const void *const *inputs, void *const *outputs) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    Arrays arrays{*runner, 1, inputs, outputs};
    if (!arrays.all_there() || !outputs) return CYRNN_NULL_ARGUMENT;
    if (arrays.outputs_share_outputs()) return CYRNN_OVERLAP;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    if (!arrays.tokens_fit()) return CYRNN_WRONG_TOKEN;
    const void *copied[most_ports];
    if (arrays.outputs_share_inputs()) arrays.inputs = Run(*runner).copy(inputs, copied);
    Run(*runner).step(arrays.inputs, outputs, arrays.wanted());
    return CYRNN_OK;
}

// Whether a model computes in T, and has one input of this kind, and one output of numbers.
template <class T> Status simple(const cyrnn_model &model, Kind kind) {
    if (!(kind == Kind::number ? model.simple.numbers : model.simple.tokens)) return CYRNN_WRONG_PORTS;
    return holds<T>(model) ? CYRNN_OK : CYRNN_WRONG_DTYPE;
}

template <class T> Status step_simple(cyrnn_runner *runner, Kind kind, const void *x, T *output) {
    if (!runner || !x || !output) return CYRNN_NULL_ARGUMENT;
    const cyrnn_model &model = *runner->model;
    const Status status = simple<T>(model, kind);
    if (status != CYRNN_OK) return status;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    void *const outputs[] = {output};
    if (kind == Kind::token && !Arrays{*runner, 1, &x, outputs}.tokens_fit()) return CYRNN_WRONG_TOKEN;
    const bool apart = !share(x, runner->batch * model.simple.read, output, runner->batch * model.simple.filled);
    const void *copied = x;
    Run(*runner).step(apart ? &x : Run(*runner).copy(&x, &copied), outputs, 1);
    return CYRNN_OK;
}

template <class T> Status step_numbers(cyrnn_runner *runner, const T *x, T *output) noexcept {
    return step_simple(runner, Kind::number, x, output);
}

template <class T> Status step_tokens(cyrnn_runner *runner, const std::int64_t *tokens, T *output) noexcept {
    return step_simple(runner, Kind::token, tokens, output);
}

bool countable(const cyrnn_runner &runner, std::int64_t timesteps) {
    std::int64_t widest = 1;  // bytes
    for (const auto *ports : {&runner.model->steps->inputs, &runner.model->steps->outputs})
        for (const Port &port : *ports) widest = std::max<std::int64_t>(widest, runner.model->steps->bytes_of(port));
    return timesteps >= 0 && timesteps <= PTRDIFF_MAX / runner.batch / widest;
}

Status forward(cyrnn_runner *runner, std::int64_t timesteps, const std::int64_t *lengths, const void *const *inputs,
               void *const *outputs) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    const Arrays arrays{*runner, timesteps, inputs, outputs};
    if (timesteps > 0 && !arrays.all_there()) return CYRNN_NULL_ARGUMENT;
    if (!countable(*runner, timesteps)) return CYRNN_OUT_OF_RANGE;
    if (timesteps == 0) return CYRNN_OK;
    if (arrays.outputs_share_inputs() || arrays.outputs_share_outputs()) return CYRNN_OVERLAP;
    if (lengths && !runner->model->steps->takes_lengths) return CYRNN_NO_MASK;
    for (std::ptrdiff_t row = 0; lengths && row < runner->batch; ++row)
        if (lengths[row] < 0 || lengths[row] > timesteps) return CYRNN_OUT_OF_RANGE;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    if (!arrays.tokens_fit()) return CYRNN_WRONG_TOKEN;
    Run(*runner).forward(static_cast<std::ptrdiff_t>(timesteps), lengths, inputs, outputs, arrays.wanted());
    return CYRNN_OK;
}

template <class T>
Status forward_simple(cyrnn_runner *runner, Kind kind, std::int64_t timesteps, const void *x, T *output) {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    const Status status = simple<T>(*runner->model, kind);
    if (status != CYRNN_OK) return status;
    void *const outputs[] = {output};
    return forward(runner, timesteps, nullptr, &x, outputs);
}

template <class T> Status forward_numbers(cyrnn_runner *runner, std::int64_t timesteps, const T *x, T *outputs) noexcept {
    return forward_simple(runner, Kind::number, timesteps, x, outputs);
}

template <class T>
Status forward_tokens(cyrnn_runner *runner, std::int64_t timesteps, const std::int64_t *tokens, T *outputs) noexcept {
    return forward_simple(runner, Kind::token, timesteps, tokens, outputs);
}

// ---------------------------------------------------------------- states

// function(port of the state, number of the row) for each of its rows that are asked for
template <class T, class F>
Status each_row(cyrnn_runner &runner, std::int32_t index, std::int64_t first_row, std::int64_t rows, F function) {
    const Taken taken(runner);
    if (!taken.was_free) return CYRNN_BUSY;
    if (!holds<T>(*runner.model)) return CYRNN_WRONG_DTYPE;
    const std::vector<Port> &states = runner.model->steps->states;
    if (index < 0 || static_cast<std::size_t>(index) >= states.size()) return CYRNN_OUT_OF_RANGE;
    if (first_row < 0 || rows < 0 || first_row > runner.batch || rows > runner.batch - first_row) return CYRNN_OUT_OF_RANGE;
    for (std::ptrdiff_t row = 0; row < rows; ++row) function(states[static_cast<std::size_t>(index)], row);
    return CYRNN_OK;
}

template <class T>
Status get_state(cyrnn_runner *runner, std::int32_t index, std::int64_t first_row, std::int64_t rows, T *state) noexcept {
    if (!runner || !state) return CYRNN_NULL_ARGUMENT;
    return each_row<T>(*runner, index, first_row, rows, [&](const Port &port, std::ptrdiff_t row) {
        std::memcpy(state + row * port.width, Run(*runner).state(port, first_row + row), std::size_t(port.width) * sizeof(T));
    });
}

// A row that is set begins anew: it has had no unmasked timestep.
void set_row(cyrnn_runner &runner, const Port &port, std::ptrdiff_t row, const void *from, std::size_t bytes) {
    char *const to = Run(runner).state(port, row);
    std::uint8_t *const seen = Run(runner).seen(port.index, row);
    if (from)
        std::memcpy(to, from, bytes);
    else
        std::memset(to, 0, bytes);
    if (seen) *seen = 0;
}

template <class T>
Status set_state(cyrnn_runner *runner, std::int32_t index, std::int64_t first_row, std::int64_t rows, const T *state) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    return each_row<T>(*runner, index, first_row, rows, [&](const Port &port, std::ptrdiff_t row) {
        set_row(*runner, port, first_row + row, state ? state + row * port.width : nullptr, std::size_t(port.width) * sizeof(T));
    });
}

Status reset(cyrnn_runner *runner) noexcept {
    if (!runner) return CYRNN_NULL_ARGUMENT;
    const Taken taken(*runner);
    if (!taken.was_free) return CYRNN_BUSY;
    const Steps &steps = *runner->model->steps;
    for (const Port &port : steps.states)
        for (std::ptrdiff_t row = 0; row < runner->batch; ++row)
            set_row(*runner, port, row, nullptr, static_cast<std::size_t>(steps.bytes_of(port)));
    return CYRNN_OK;
}

const cyrnn_api table = {
    sizeof(cyrnn_api), CYRNN_ABI_VERSION, 0,
    status_text,
    model_info, input_info, output_info, state_info, model_retain, model_release,
    runner_size, runner_create, runner_destroy, runner_batch,
    step, step_numbers<float>, step_numbers<double>, step_tokens<float>, step_tokens<double>,
    forward, forward_numbers<float>, forward_numbers<double>, forward_tokens<float>, forward_tokens<double>,
    get_state<float>, get_state<double>, set_state<float>, set_state<double>, reset,
};

void find_simple(cyrnn_model &model) {
    const Steps &steps = *model.steps;
    model.simple = {};
    if (steps.inputs.size() != 1 || steps.outputs.size() != 1 || steps.outputs[0].kind != Kind::number) return;
    model.simple = {steps.inputs[0].kind == Kind::number, steps.inputs[0].kind == Kind::token,
                    steps.bytes_of(steps.inputs[0]), steps.bytes_of(steps.outputs[0])};
}

}  // namespace

const cyrnn_api *c_api() { return &table; }

cyrnn_model *make_model(Making &making) noexcept {
    try {
        std::unique_ptr<cyrnn_model> model(new cyrnn_model);
        model->program = making.program;
        std::vector<const Prepared *> weights;
        for (const auto &prepared : making.weights) {
            model->weights.push_back(prepared);
            weights.push_back(prepared.get());
        }
        model->steps.reset(new Steps(*model->program, std::move(weights), making.names, making.optional, making.turned, making.order));
        model->real_time = making.real_time;
        find_simple(*model);
        for (const Prepared *prepared : model->steps->weights) {
            const Engine *const engine = prepared->engine;
            auto &known = model->engines;
            if (engine && !making.real_time && std::find(known.begin(), known.end(), engine) == known.end()) known.push_back(engine);
        }
        return model.release();
    } catch (const Refused &refused) {
        making.op = refused.op;
        try {
            making.reason = refused.reason;
        } catch (const std::bad_alloc &) {
        }
    } catch (const std::bad_alloc &) {
    }
    return nullptr;
}

const Steps &steps_of(const cyrnn_model *model) { return *model->steps; }

void share_steps(cyrnn_runner *runner, int threads, Helped::Take take_crew) { Run(*runner).share(threads, take_crew); }

void take_seen(cyrnn_runner *runner, std::uint8_t *seen) {
    for (int record = 0; record < int(runner->model->steps->carried.size()); ++record)
        for (std::ptrdiff_t row = 0; row < runner->batch; ++row) {
            const std::uint8_t *const place = Run(*runner).seen(record, row);
            *seen++ = place ? *place : 0;
        }
}

void put_seen(cyrnn_runner *runner, const std::uint8_t *seen) {
    for (int record = 0; record < int(runner->model->steps->carried.size()); ++record)
        for (std::ptrdiff_t row = 0; row < runner->batch; ++row, ++seen)
            if (std::uint8_t *const place = Run(*runner).seen(record, row)) *place = *seen;
}

}  // namespace cyrnn
