// What a caller in C passes to a step, or to many: arrays, and whether they are such as the model takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "frame.hpp"

namespace cyrnn {

inline bool share(const void *a, std::int64_t a_bytes, const void *b, std::int64_t b_bytes) {
    const std::less<const char *> before;  // which orders pointers into different arrays too
    const char *const first = static_cast<const char *>(a), *const second = static_cast<const char *>(b);
    return a_bytes > 0 && b_bytes > 0 && before(first, second + b_bytes) && before(second, first + a_bytes);
}

struct Arrays {  // of one call
    const cyrnn_runner &runner;
    std::int64_t timesteps;
    const void *const *inputs;
    void *const *outputs;

    const Steps &steps() const { return *runner.model->steps; }
    std::int64_t bytes(const Port &port) const { return runner.batch * steps().bytes_of(port) * (port.timed ? timesteps : 1); }
    void *output(std::size_t index) const { return outputs ? outputs[index] : nullptr; }

    bool all_there() const {
        const std::size_t count = steps().inputs.size();
        return count == 0 || (inputs && std::all_of(inputs, inputs + count, [](const void *p) { return p; }));
    }

    // Bits of the outputs that are wanted.
    std::uint64_t wanted() const {
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < steps().outputs.size(); ++i) bits |= std::uint64_t(output(i) != nullptr) << i;
        return bits;
    }

    bool outputs_share_inputs() const {
        for (std::size_t i = 0; i < steps().outputs.size(); ++i)
            for (std::size_t j = 0; output(i) && j < steps().inputs.size(); ++j)
                if (share(output(i), bytes(steps().outputs[i]), inputs[j], bytes(steps().inputs[j]))) return true;
        return false;
    }

    bool outputs_share_outputs() const {
        for (std::size_t i = 0; i < steps().outputs.size(); ++i)
            for (std::size_t j = 0; output(i) && j < i; ++j)
                if (output(j) && share(output(i), bytes(steps().outputs[i]), output(j), bytes(steps().outputs[j]))) return true;
        return false;
    }

    bool tokens_fit() const {
        for (std::size_t i = 0; i < steps().inputs.size(); ++i) {
            const Port &port = steps().inputs[i];
            if (port.kind != Kind::token) continue;
            const char *at = static_cast<const char *>(inputs[i]);
            for (const char *const end = at + bytes(port); at != end; at += sizeof(std::int64_t)) {
                std::int64_t token;
                std::memcpy(&token, at, sizeof token);
                if (token < 0 || token >= port.limit) return false;
            }
        }
        return true;
    }
};

}  // namespace cyrnn
