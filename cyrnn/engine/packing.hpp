// Weights that lie in one flat array, made ready for an engine again after each step of training.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

#include "contract.hpp"
#include "prepared.hpp"

namespace cyrnn {

struct Stretch {  // elements of an array that follow those of the flat one at a constant distance
    std::ptrdiff_t to, from, count, stride;
};

// The stretches of an array, of which `index` says for each element where in the flat array it comes from, 1 for the
// first; 0 for one that does not follow it.
template <class Index>
inline void find_stretches(const Index *index, std::ptrdiff_t count, std::vector<Stretch> &found) {
    for (std::ptrdiff_t i = 0; i < count;) {
        if (index[i] == 0) {
            ++i;
            continue;
        }
        std::ptrdiff_t end = i + 1;
        const std::ptrdiff_t stride = end < count && index[end] ? std::ptrdiff_t(index[end]) - std::ptrdiff_t(index[i]) : 1;
        while (end < count && index[end] && std::ptrdiff_t(index[end]) - std::ptrdiff_t(index[end - 1]) == stride) ++end;
        found.push_back({i, std::ptrdiff_t(index[i]) - 1, end - i, stride});
        i = end;
    }
}

template <class T>
inline void fill_stretches(const std::vector<Stretch> &stretches, const T *flat, T *array) {
    for (const Stretch &part : stretches) {
        T *const to = array + part.to;
        const T *const from = flat + part.from;
        if (part.stride == 1)
            std::memcpy(to, from, std::size_t(part.count) * sizeof(T));
        else
            for (std::ptrdiff_t i = 0; i < part.count; ++i) to[i] = from[i * part.stride];
    }
}

// Which elements of the weights of a plan, a table or vectors follow flat ones.
struct Followers {
    std::vector<Stretch> kernels, kernels_t, panels, bias;
    std::vector<Stretch> scale, offset, gain;  // of vectors along an axis

    // The weights belong to one owner, who lets them change.
    template <class T> void fill(const T *flat, const Weights<T> &weights) const {
        fill_stretches(kernels, flat, const_cast<T *>(weights.kernels));
        fill_stretches(kernels_t, flat, const_cast<T *>(weights.kernels_t));
        fill_stretches(panels, flat, const_cast<T *>(weights.panels));
        fill_stretches(bias, flat, const_cast<T *>(weights.bias));
    }

    template <class T> void fill_vectors(const T *flat, const Prepared &vectors) const {
        fill_stretches(scale, flat, static_cast<T *>(const_cast<void *>(vectors.scale)));
        fill_stretches(offset, flat, static_cast<T *>(const_cast<void *>(vectors.offset)));
        fill_stretches(gain, flat, static_cast<T *>(const_cast<void *>(vectors.gain)));
    }
};

}  // namespace cyrnn
