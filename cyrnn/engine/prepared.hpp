// The weights of one plan in memory of their own, which lives as long as a plan or a model in C holds it.
#pragma once

#include <cstddef>
#include <cstring>
#include <list>
#include <memory>
#include <new>
#include <vector>

#include "contract.hpp"
#include "guarded.hpp"

namespace cyrnn {

class Prepared {
public:
    const Engine *engine = nullptr;
    bool single = true;  // float32; which of the two is filled
    Weights<float> f32{};
    Weights<double> f64{};
    std::vector<Weights<float>> more_f32;  // those of other products of the same cell, which are a second one, and its parts
    std::vector<Weights<double>> more_f64;
    std::ptrdiff_t length = -1;                                           // of the vectors, where it has some instead:
    const void *scale = nullptr, *shift = nullptr, *offset = nullptr;     // floats or doubles
    const void *gain = nullptr;                                           // or null
    Guard guard = Guard::none;  // of what is kept from now on

    // A copy that begins at a cache line: vectors that lie across two take twice the time. Raises std::bad_alloc.
    const void *keep(const void *array, std::size_t bytes) {
        if (guard != Guard::none) return guarded.emplace_back(array, bytes, guard).begin();
        kept.reserve(kept.size() + 1);  // so that nothing raises between the two
        kept.emplace_back(static_cast<char *>(::operator new[](bytes ? bytes : 1, line)));
        return bytes ? std::memcpy(kept.back().get(), array, bytes) : kept.back().get();
    }

    // Lets its one owner change what is kept.
    void let_change() const {
        for (const GuardedCopy &copy : guarded) copy.open();
    }

    template <class T> const Weights<T> &weights() const;
    template <class T> const Product<T> &product() const;

private:
    static constexpr std::align_val_t line{64};
    struct Free {
        void operator()(char *array) const { ::operator delete[](array, line); }
    };
    std::vector<std::unique_ptr<char, Free>> kept;
    std::list<GuardedCopy> guarded;
};

template <> inline const Weights<float> &Prepared::weights<float>() const { return f32; }
template <> inline const Weights<double> &Prepared::weights<double>() const { return f64; }
template <> inline const Product<float> &Prepared::product<float>() const { return engine->f32; }
template <> inline const Product<double> &Prepared::product<double>() const { return engine->f64; }

}  // namespace cyrnn
