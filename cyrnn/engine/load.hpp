// The work of a call, or of a step, and the slices of the batch that it is cut into.
#pragma once

#include <algorithm>
#include <cstddef>

#include "program.hpp"

namespace cyrnn {

// Adds what an op does for a row.
inline void add_work(Load &load, const Op &op, const Prepared *weights, std::ptrdiff_t timesteps) {
    const double each = op.multiply_adds(weights);
    load.row_work += each * double(timesteps);
    if (weights && weights->engine) load.weights_bytes = std::max(load.weights_bytes, each * (weights->single ? 4.0 : 8.0));
}

// Rows of a slice of the batch, which goes through all ops: as few as the engine of some weights asks for.
inline std::ptrdiff_t slice_rows(const Program &program, const Prepared *const *weights, const Load &load) {
    constexpr std::ptrdiff_t most = 96;
    std::ptrdiff_t rows = std::min(most, std::max<std::ptrdiff_t>((load.batch + load.threads - 1) / load.threads, 4));
    bool found = false;
    for (int i = 0; i < program.slots; ++i) {
        const Engine *const engine = weights[i]->engine;
        if (!engine) continue;
        const std::ptrdiff_t wanted = engine->slice_rows(&load);
        rows = found ? std::min(rows, wanted) : wanted;
        found = true;
    }
    return std::min(rows, load.batch);
}

}  // namespace cyrnn
