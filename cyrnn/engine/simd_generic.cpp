// The activations for any CPU: 16-byte vectors, as SSE2 and NEON have them.
#include "simd.hpp"

#define CYRNN_VECTOR_BYTES 16

namespace cyrnn {

namespace generic {
#include "activations.hpp"
}

extern const Simd simd_generic;
const Simd simd_generic{"generic", generic::Table<float>::entries, generic::Table<double>::entries};

}  // namespace cyrnn
