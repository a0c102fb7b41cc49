// What one core can do: float32 multiply-adds, and reading from its caches.
//
// Usage: peak [bytes ...]   Prints "flops BITS GFLOP/S" for each width of vectors, and "read BYTES GB/S" for a buffer of
// each size. The best of some samples counts: whatever disturbs one only makes it slower.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

#if defined(__AVX512F__)
constexpr std::size_t widest = 64;
#elif defined(__AVX__)
constexpr std::size_t widest = 32;
#else
constexpr std::size_t widest = 16;
#endif
typedef float Widest __attribute__((vector_size(widest)));
typedef float Bits256 __attribute__((vector_size(32)));
constexpr int samples = 9;
constexpr double sample_seconds = 0.01;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The most that `work(repetitions)` does per second, in units of `amount` per repetition.
template <class Work> double best_rate(double amount, Work work) {
    std::size_t repetitions = 1;
    double seconds = 0;
    for (;; repetitions *= 2) {  // this warms up, too
        const double began = now();
        work(repetitions);
        seconds = now() - began;
        if (seconds >= sample_seconds) break;
    }
    double best = 0;
    for (int i = 0; i < samples; ++i) {
        const double began = now();
        work(repetitions);
        const double rate = amount * static_cast<double>(repetitions) / (now() - began);
        best = rate > best ? rate : best;
    }
    return best;
}

// Twelve chains of multiply-adds, that wait for themselves only: two units with a latency of up to six are kept busy, and
// sixteen registers suffice.
template <class V> void print_flops() {
    constexpr std::size_t lanes = sizeof(V) / sizeof(float);
    volatile float factor = 0.999f, summand = 0.001f;
    volatile float sink = 0;
    constexpr int steps = 64;
    const double rate = best_rate(2.0 * 12 * lanes * steps, [&](std::size_t repetitions) {
        // each start is read anew: of chains that it knows to be equal the compiler would compute one
        const auto start = [&] { return V{} + factor; };
        const V a = start(), b = V{} + summand;
        V c0 = start(), c1 = start(), c2 = start(), c3 = start(), c4 = start(), c5 = start();
        V c6 = start(), c7 = start(), c8 = start(), c9 = start(), c10 = start(), c11 = start();
        for (std::size_t i = 0; i < repetitions * steps; ++i) {
            c0 = c0 * a + b, c1 = c1 * a + b, c2 = c2 * a + b, c3 = c3 * a + b;
            c4 = c4 * a + b, c5 = c5 * a + b, c6 = c6 * a + b, c7 = c7 * a + b;
            c8 = c8 * a + b, c9 = c9 * a + b, c10 = c10 * a + b, c11 = c11 * a + b;
        }
        const V sum = c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11;
        for (std::size_t i = 0; i < lanes; ++i) sink = sink + sum[i];
    });
    std::printf("flops %zu %.1f\n", 8 * sizeof(V), rate * 1e-9);
}

void print_read(std::size_t bytes) {
    typedef std::uint32_t V __attribute__((vector_size(widest)));
    constexpr std::size_t unroll = 8;
    const std::size_t count = (bytes / (unroll * sizeof(V)) + 1) * unroll;
    void *const memory = std::aligned_alloc(4096, (count * sizeof(V) + 4095) / 4096 * 4096);
    if (!memory) std::exit(1);
    V *const buffer = static_cast<V *>(memory);
    for (std::size_t i = 0; i < count; ++i) buffer[i] = V{} + static_cast<std::uint32_t>(i);
    volatile std::uint32_t sink = 0;
    const double rate = best_rate(static_cast<double>(count * sizeof(V)), [&](std::size_t repetitions) {
        V s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};
        for (std::size_t repetition = 0; repetition < repetitions; ++repetition) {
            asm volatile("" ::: "memory");  // it has to be read again
            for (const V *at = buffer, *end = buffer + count; at != end; at += unroll) {
                s0 += at[0], s1 += at[1], s2 += at[2], s3 += at[3];
                s4 += at[4], s5 += at[5], s6 += at[6], s7 += at[7];
            }
        }
        const V sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
        for (std::size_t i = 0; i < sizeof(V) / 4; ++i) sink = sink + sum[i];
    });
    std::free(memory);
    std::printf("read %zu %.1f\n", bytes, rate * 1e-9);
}

}  // namespace

int main(int count, char **arguments) {
    print_flops<Widest>();
    if (widest > sizeof(Bits256)) print_flops<Bits256>();
    for (int i = 1; i < count; ++i) print_read(std::strtoull(arguments[i], nullptr, 10));
}
