// The weights of one plan in memory of their own, which lives as long as a plan or a model in C holds it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <new>
#include <vector>

#include "contract.hpp"
#include "guarded.hpp"
#include "matrix.hpp"

namespace cyrnn {

class Prepared : public std::enable_shared_from_this<Prepared> {
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
    bool rounds = false;                // operands of products to bfloat16; the weights are rounded already
    Product<float> rounded{};           // where it does: the products of multiply-adds
    std::ptrdiff_t panel_columns = 0;   // of the engine's panels
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
    template <class T> const Product<T> &product() const;  // the engine's own
    // That of the form that a call of such a nominal batch has.
    template <class T> const Product<T> &product(std::ptrdiff_t nominal_batch) const;
    // What each form needs, at most.
    template <class T, class Need> std::ptrdiff_t most(Need need) const {
        return std::max(need(product<T>(1)), need(product<T>(PTRDIFF_MAX)));
    }

    // Packs the weights, which are in panels, for matrix tiles too if the engine has some that are faster: from how many rows on
    // was measured. Raises std::bad_alloc.
    void make_tiles() {
        const std::ptrdiff_t sums = f32.sums(), least = rounds ? 32 : 48;
        if (!single || !engine || !engine->tiles || !f32.panels || sums < least) return;
        const double bytes = double(f32.depth) * double(sums) * (rounds ? 2 : 6);
        least_batch = rounds ? 4 : bytes > 1.5e6 ? 24 : 16;
        each_product([this](Weights<float> &weights) {
            if (!weights.panels || weights.sums() < 16) return;
            std::vector<std::uint32_t> packed(std::size_t(engine->tiles[rounds].packed_words(&weights)));
            const bool fit = engine->tiles[rounds].pack(&weights, panel_columns, packed.data());
            tiles.push_back(static_cast<const std::uint32_t *>(keep(packed.data(), packed.size() * sizeof(std::uint32_t))));
            tiled.push_back(&weights);
            weights.tiles = fit ? tiles.back() : nullptr;
        });
    }

    // The same after the panels have changed.
    void fill_tiles() {
        for (std::size_t i = 0; i < tiles.size(); ++i) {
            const bool fit = engine->tiles[rounds].pack(tiled[i], panel_columns, const_cast<std::uint32_t *>(tiles[i]));
            tiled[i]->tiles = fit ? tiles[i] : nullptr;
        }
    }

    template <class Function> void each_product(Function function) {
        function(f32);
        for (Weights<float> &weights : more_f32) function(weights);
    }

private:
    std::ptrdiff_t least_batch = 0;  // that is computed on matrix tiles; 0: none is
    std::vector<const std::uint32_t *> tiles;
    std::vector<Weights<float> *> tiled;  // whose they are
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
template <> inline const Product<double> &Prepared::product<double>(std::ptrdiff_t) const { return engine->f64; }
template <> inline const Product<float> &Prepared::product<float>(std::ptrdiff_t nominal_batch) const {
    if (least_batch > 0 && nominal_batch >= least_batch) return engine->tiles[rounds].product;
    return rounds ? rounded : engine->f32;
}

}  // namespace cyrnn
