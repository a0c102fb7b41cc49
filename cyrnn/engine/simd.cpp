// Which instruction set: the one asked for, or the widest, but never one that this machine cannot run.
#include "simd.hpp"

#include <cstring>

#include "cpu.hpp"
#include "matrix.hpp"

namespace cyrnn {

extern const Simd simd_generic, simd_avx2, simd_avx512;  // each in its own file; the wide ones on x86 only
extern const OnTiles amx_tiles[2], emulated_tiles[2], dot_products[2];

namespace {

#define CYRNN_TEXT(name, walk, from) #name,
const char *const names[] = {CYRNN_ACTIVATIONS(CYRNN_TEXT)};
#undef CYRNN_TEXT

constexpr bool bias_only = false, by_element = false, by_row = true;
#define CYRNN_WALK(name, walk, from) walk,
const bool walks_by_row[] = {CYRNN_ACTIVATIONS(CYRNN_WALK)};
#undef CYRNN_WALK

constexpr bool outputs = false, sums = true;
#define CYRNN_FROM(name, walk, from) from,
const bool derived_from_sums[] = {CYRNN_ACTIVATIONS(CYRNN_FROM)};
#undef CYRNN_FROM

#define CYRNN_CELL(name, Kind) #name,
const char *const cell_names[] = {CYRNN_CELLS(CYRNN_CELL)};
#undef CYRNN_CELL

// The vectors of another instruction set, with matrix tiles.
Simd with_tiles(const Simd &vectors, const char *name, const OnTiles *tiles) {
    Simd simd = vectors;
    simd.name = name, simd.engine.tiles = tiles;
    return simd;
}

bool always() { return true; }
bool never() { return false; }

#if defined(__x86_64__) || defined(__i386__)
bool emulates() { return cpu_has_avx2(); }

const Simd *emulated() {
    static const Simd simd = with_tiles(simd_avx2, "amx-emulated", emulated_tiles);
    return &simd;
}
#else
bool emulates() { return true; }

const Simd *emulated() {
    static const Simd simd = with_tiles(simd_generic, "amx-emulated", emulated_tiles);
    return &simd;
}
#endif

#if defined(CYRNN_NATIVE_TILES)
const Simd *amx() {
    static const Simd simd = with_tiles(simd_avx512, "amx", amx_tiles);
    return &simd;
}
#endif

#if defined(CYRNN_DOT_PRODUCTS)
const Simd *avx512_bf16() {
    static const Simd simd = with_tiles(simd_avx512, "avx512-bf16", dot_products);
    return &simd;
}
#endif

struct Choice {
    const char *name;
    bool (*runs_here)();
    const Simd *(*simd)();
    bool (*fastest)();  // of those that follow and run here
};

const Choice choices[] = {  // the best first
#if defined(CYRNN_NATIVE_TILES)
    {"amx", cpu_has_tiles, amx, always},
#endif
#if defined(CYRNN_DOT_PRODUCTS)
    {"avx512-bf16", cpu_has_dot_products, avx512_bf16, cpu_has_fast_dot_products},
#endif
#if defined(__x86_64__) || defined(__i386__)
    {"avx512", cpu_has_avx512, [] { return &simd_avx512; }, always},
    {"avx2", cpu_has_avx2, [] { return &simd_avx2; }, always},
#endif
    {"generic", always, [] { return &simd_generic; }, always},
    {"amx-emulated", emulates, emulated, never},
};

}  // namespace

int activation_count() { return sizeof names / sizeof *names; }

const char *activation_name(int index) { return 0 <= index && index < activation_count() ? names[index] : nullptr; }

bool activation_by_row(int index) { return walks_by_row[index]; }

bool activation_from_sums(int index) { return derived_from_sums[index]; }

int cell_count() { return sizeof cell_names / sizeof *cell_names; }

const char *cell_name(int index) { return 0 <= index && index < cell_count() ? cell_names[index] : nullptr; }

const Simd *simd_by_name(const char *name) {
    for (const Choice &choice : choices)
        if (name && std::strcmp(name, choice.name) == 0) return choice.runs_here() ? choice.simd() : nullptr;
    return nullptr;
}

const Simd *simd_best() {
    for (const Choice &choice : choices)
        if (choice.runs_here() && choice.fastest()) return choice.simd();
    return &simd_generic;
}

}  // namespace cyrnn
