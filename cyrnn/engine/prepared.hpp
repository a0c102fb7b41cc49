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

    // Packs the weights, which are in panels, for matrix tiles too if the engine has some that are faster. Raises std::bad_alloc.
    void make_tiles() {
        if (!single || !engine || !engine->tiles || !f32.panels) return;
        const OnTiles &offered = engine->tiles[rounds];
        tiled_batches = offered.faster ? offered.faster(f32.depth, f32.sums()) : no_batches;
        if (tiled_batches.most < tiled_batches.least) return;
        each_product([&](Weights<float> &weights) {
            if (!weights.panels || weights.sums() < 16) return;
            std::vector<std::uint32_t> packed(std::size_t(offered.packed_words(&weights)));
            const bool fit = offered.pack(&weights, panel_columns, packed.data());
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
    Batches tiled_batches = no_batches;  // the batches that are computed on matrix tiles
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
    if (tiled_batches.least <= nominal_batch && nominal_batch <= tiled_batches.most) return engine->tiles[rounds].product;
    return rounds ? rounded : engine->f32;
}

}  // namespace cyrnn
