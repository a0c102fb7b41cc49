// The table of functions that cyrnn.h declares, and what Python needs beyond it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "crew.hpp"
#include "cyrnn.h"
#include "program.hpp"
#include "steps.hpp"

namespace cyrnn {

const cyrnn_api *c_api();

struct Making {  // what a model is made of, and why it is not made
    std::shared_ptr<Program> program;
    std::vector<std::shared_ptr<Prepared>> weights;  // of each slot
    Names names;
    std::vector<bool> optional, turned;  // of the inputs, and of the outputs (see Steps)
    std::vector<int> order;              // of the inputs
    bool real_time;                      // no engine takes locks
    int op = -1;                         // that is to blame
    std::string reason;                  // empty: there was no memory
};

// A model, to be released; null where there is none.
cyrnn_model *make_model(Making &making) noexcept;

const Steps &steps_of(const cyrnn_model *model);

// So many threads may compute the steps of a runner together. It must not be in use.
void share_steps(cyrnn_runner *runner, int threads, Helped::Take take_crew);

// Whether each row has had an unmasked timestep: (recurrent ops, batch), taken or put.
void take_seen(cyrnn_runner *runner, std::uint8_t *seen);
void put_seen(cyrnn_runner *runner, const std::uint8_t *seen);

}  // namespace cyrnn
