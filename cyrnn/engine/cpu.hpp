// What this CPU can run, and this OS keeps safe: the compiler's runtime asks CPUID, and XGETBV whether the OS saves
// the wide registers when it switches threads.
#pragma once

#include "matrix.hpp"

#if defined(CYRNN_NATIVE_TILES)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cyrnn {

#if defined(__x86_64__) || defined(__i386__)

inline bool cpu_has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

inline bool cpu_has_avx512() {
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

#if defined(CYRNN_DOT_PRODUCTS)

// Products of pairs of bfloat16 in vectors. They are twice as fast as multiply-adds of float32 on CPUs of AMD, and half as fast on
// those of Intel that were measured.
inline bool cpu_has_dot_products() { return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16"); }
inline bool cpu_has_fast_dot_products() { return __builtin_cpu_is("amd"); }

#endif

#if defined(CYRNN_NATIVE_TILES)

// Matrix tiles with bfloat16. A process asks Linux for them, once; it says no where a thread's stack for signals is too small for
// what it would save there.
inline bool cpu_has_tiles() {
    static const bool found = [] {
        constexpr unsigned bfloat16 = 1u << 22, tile = 1u << 24, saved = 3u << 17;
        constexpr long request_permission = 0x1023, tile_data = 18;
        unsigned a, b, c, d, low, high;
        if (!cpu_has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & bfloat16) == 0 || (d & tile) == 0) return false;
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return (low & saved) == saved && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    }();
    return found;
}

#endif

#endif

}  // namespace cyrnn
