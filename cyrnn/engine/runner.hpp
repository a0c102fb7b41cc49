// A runner: the states of some rows in one block of memory, and the steps that move them. The other side of cyrnn.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cyrnn.h"
#include "prepared.hpp"
#include "recurrence.hpp"

// Plans in sequence, as the cells of a stack are.
struct cyrnn_model {
    std::vector<std::shared_ptr<const cyrnn::Prepared>> layers;
    bool real_time;
    std::atomic<std::ptrdiff_t> holders{1};
};

// At the head of its block; after it the states, for each layer its records and where the next ones go (batch, carried), and the scratch.
struct cyrnn_runner {
    cyrnn_model *model;
    std::ptrdiff_t batch;
    void *block;                     // to be freed with the runner; null if the memory is the caller's
    std::atomic<bool> busy{false};
    void *scratch;
    struct State {
        void *now, *then;
        std::ptrdiff_t slice;        // rows that go through a product together, as in a call
    } *states;                       // one for each layer
};

namespace cyrnn {

template <class T> class Run {
public:
    explicit Run(cyrnn_runner &runner_) : runner(runner_), layers(runner_.model->layers) {}

    void step(const T *x, T *output) {
        const std::ptrdiff_t batch = runner.batch;
        std::ptrdiff_t x_row = layers[0]->weights<T>().features;
        for (std::size_t l = 0; l < layers.size(); ++l) {
            cyrnn_runner::State &state = runner.states[l];
            const Begun begun(*layers[l]->engine);
            for (std::ptrdiff_t first = 0; first < batch; first += state.slice) {
                Block<T> block = block_of(l, first, 1);
                block.x = x + first * x_row, block.x_row = x_row;
                run(l, first, block);
            }
            std::swap(state.now, state.then);  // as each slice has done with its own
            x = static_cast<const T *>(state.now), x_row = layers[l]->weights<T>().carried;
        }
        const std::size_t units = static_cast<std::size_t>(layers.back()->weights<T>().units);
        for (std::ptrdiff_t row = 0; row < batch; ++row, x += x_row, output += units) std::memcpy(output, x, units * sizeof(T));
    }

    // A stack runs some timesteps at a time through all layers, so that the arrays between them have a bounded size.
    void forward(std::ptrdiff_t timesteps, const T *x, T *outputs) {
        const std::ptrdiff_t features = layers[0]->weights<T>().features, units = layers.back()->weights<T>().units;
        const std::ptrdiff_t most = layers.size() == 1 ? timesteps : between;
        for (std::ptrdiff_t t = 0; t < timesteps; t += most) {
            const std::ptrdiff_t count = timesteps - t < most ? timesteps - t : most;
            Place from{const_cast<T *>(x) + t * features, timesteps * features, features};  // which is not written to
            for (std::size_t l = 0; l < layers.size(); ++l) {
                const bool last = l + 1 == layers.size();
                const std::ptrdiff_t width = layers[l]->weights<T>().units;
                const Place to = last ? Place{outputs ? outputs + t * units : nullptr, timesteps * units, units}
                                      : Place{passage(l), between * width, width};
                walk(l, count, from, to);
                from = to;
            }
        }
    }

    // Timesteps that a stack hands from layer to layer at once.
    static constexpr std::ptrdiff_t between = 16;

    // Bytes of scratch: of the layer that needs most, and then what two layers hand on and take.
    static std::size_t scratch_bytes(const cyrnn_model &model, std::ptrdiff_t batch) {
        return recurrence_bytes(model, batch) + (model.layers.size() > 1 ? 2 * passage_bytes(model, batch) : 0);
    }

    static std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

    // As a call of this batch on one thread is cut: a BLAS may round a row differently in a product of other rows.
    static std::ptrdiff_t slice_of(const Prepared &layer, std::ptrdiff_t batch) {
        const Weights<T> &weights = layer.weights<T>();
        const double work = static_cast<double>(weights.sums()) * static_cast<double>(weights.depth);
        const Load load{batch, 1, work, work * sizeof(T)};
        const std::ptrdiff_t rows = layer.engine->slice_rows(&load);
        return rows < batch ? rows : batch;
    }

private:
    struct Begun {
        explicit Begun(const Engine &engine_) : engine(engine_) { engine.begin(); }
        ~Begun() { engine.end(); }
        const Engine &engine;
    };

    struct Place {
        T *array;
        std::ptrdiff_t batch, time;  // strides
    };

    void walk(std::size_t l, std::ptrdiff_t count, const Place &from, const Place &to) {
        cyrnn_runner::State &state = runner.states[l];
        const Begun begun(*layers[l]->engine);
        bool swapped = false;
        for (std::ptrdiff_t first = 0; first < runner.batch; first += state.slice) {
            Block<T> block = block_of(l, first, count);
            block.x = from.array + first * from.batch, block.x_row = from.batch, block.x_time = from.time;
            if (to.array) block.outputs = to.array + first * to.batch;
            block.outputs_row = to.batch, block.outputs_time = to.time;
            swapped = run(l, first, block);
        }
        if (swapped) std::swap(state.now, state.then);  // without a mask, that does not depend on the rows
    }

    Block<T> block_of(std::size_t l, std::ptrdiff_t first, std::ptrdiff_t timesteps) const {
        const std::ptrdiff_t slice = runner.states[l].slice, left = runner.batch - first;
        Block<T> block{};
        block.rows = left < slice ? left : slice, block.timesteps = timesteps;
        block.alone = runner.batch == 1;
        return block;
    }

    // Whether the states of the slice have changed places.
    bool run(std::size_t l, std::ptrdiff_t first, const Block<T> &block) {
        const Weights<T> &weights = layers[l]->weights<T>();
        const cyrnn_runner::State &state = runner.states[l];
        T *const now = static_cast<T *>(state.now) + first * weights.carried;
        Record<T> record{now, static_cast<T *>(state.then) + first * weights.carried, nullptr};
        const Stop never{[](void *) { return false; }, nullptr};
        Recurrence<T>::run(layers[l]->product<T>(), weights, block, record, runner.scratch, never);
        return record.now != now;
    }

    // Between layer l and the next: two places take turns.
    T *passage(std::size_t l) const {
        const cyrnn_model &model = *runner.model;
        char *const first = static_cast<char *>(runner.scratch) + recurrence_bytes(model, runner.batch);
        return reinterpret_cast<T *>(first + l % 2 * passage_bytes(model, runner.batch));
    }

    static std::size_t recurrence_bytes(const cyrnn_model &model, std::ptrdiff_t batch) {
        std::ptrdiff_t most = 0;
        for (const auto &layer : model.layers) {
            const std::ptrdiff_t rows = slice_of(*layer, batch);
            const std::ptrdiff_t bytes = Recurrence<T>::scratch_bytes(layer->product<T>(), layer->weights<T>(), rows, PTRDIFF_MAX, false);
            most = bytes > most ? bytes : most;
        }
        return aligned(static_cast<std::size_t>(most));
    }

    static std::size_t passage_bytes(const cyrnn_model &model, std::ptrdiff_t batch) {
        std::ptrdiff_t most = 0;
        for (const auto &layer : model.layers)
            most = layer->weights<T>().units > most ? layer->weights<T>().units : most;
        return aligned(static_cast<std::size_t>(batch * between * most) * sizeof(T));
    }

    cyrnn_runner &runner;
    const std::vector<std::shared_ptr<const Prepared>> &layers;
};

}  // namespace cyrnn
