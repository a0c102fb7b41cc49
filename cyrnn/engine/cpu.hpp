// What this CPU can run, and this OS keeps safe: the compiler's runtime asks CPUID, and XGETBV whether the OS saves
// the wide registers when it switches threads.
#pragma once

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

#endif

}  // namespace cyrnn
