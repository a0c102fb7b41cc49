// The table of functions that cyrnn.h declares, and the making of models.
#pragma once

#include <cstddef>
#include <memory>

#include "cyrnn.h"
#include "prepared.hpp"

namespace cyrnn {

const cyrnn_api *c_api();

// A model of so many layers, to be released; null without memory. All are of one dtype, and each takes the units of the
// one before it. The simd engine alone is real-time.
cyrnn_model *make_model(const std::shared_ptr<Prepared> *layers, std::ptrdiff_t count, bool real_time) noexcept;

}  // namespace cyrnn
