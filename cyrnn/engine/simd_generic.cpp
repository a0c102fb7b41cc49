// The activations and the product for any CPU: 16-byte vectors, as SSE2 and NEON have them.
#include "simd.hpp"

#define CYRNN_VECTOR_BYTES 16
#define CYRNN_TILE_ROWS 4

namespace cyrnn {

namespace generic {
#include "activations.hpp"
#include "product.hpp"
}

extern const Simd simd_generic;
const Simd simd_generic{"generic",
                       generic::Table<float>::entries,
                       generic::Table<double>::entries,
                       generic::Panels<float>::multiply,
                       generic::Panels<double>::multiply,
                       generic::Panels<float>::columns,
                       generic::Panels<double>::columns};

}  // namespace cyrnn
