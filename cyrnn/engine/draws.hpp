// Random numbers as NumPy's `default_rng` draws them, which Keras' seeds mean: a seed sequence of two words fills the state of
// PCG64, the 128-bit congruential generator whose output is rotated (XSL-RR).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace cyrnn {

struct Wide {  // 128 bits
    std::uint64_t high, low;

    friend Wide operator+(const Wide &a, const Wide &b) {
        const std::uint64_t sum = a.low + b.low;
        return {a.high + b.high + (sum < a.low), sum};
    }

    friend Wide operator*(const Wide &a, const Wide &b) {
        const Wide low = of_halves(a.low, b.low);
        return {low.high + a.high * b.low + a.low * b.high, low.low};
    }

private:
    static Wide of_halves(std::uint64_t a, std::uint64_t b) {
#ifdef __SIZEOF_INT128__
        __extension__ typedef unsigned __int128 Product;
        const Product product = static_cast<Product>(a) * b;
        return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
#else
        const std::uint64_t mask = 0xffffffff, low = (a & mask) * (b & mask), left = (a >> 32) * (b & mask), right = (a & mask) * (b >> 32);
        const std::uint64_t middle = (low >> 32) + (left & mask) + (right & mask);
        return {(a >> 32) * (b >> 32) + (left >> 32) + (right >> 32) + (middle >> 32), (middle << 32) | (low & mask)};
#endif
    }
};

class Draws {
public:
    Draws(std::uint32_t seed, std::uint32_t counter) {
        std::uint32_t pool[4] = {seed, counter, 0, 0}, multiplier = 0x43b0d7e5;
        const auto hashed = [&multiplier](std::uint32_t word) {
            word ^= multiplier;
            multiplier *= 0x931e8875;
            word *= multiplier;
            return word ^ (word >> 16);
        };
        for (std::uint32_t &word : pool) word = hashed(word);
        for (int from = 0; from < 4; ++from)
            for (int to = 0; to < 4; ++to) {
                if (from == to) continue;
                const std::uint32_t mixed = 0xca01f9dd * pool[to] - 0x4973f715 * hashed(pool[from]);
                pool[to] = mixed ^ (mixed >> 16);
            }
        std::uint64_t words[4];
        multiplier = 0x8b51f9dd;
        for (int i = 0; i < 8; ++i) {
            std::uint32_t word = pool[i % 4] ^ multiplier;
            multiplier *= 0x58f38ded;
            word *= multiplier;
            word ^= word >> 16;
            words[i / 2] = i % 2 == 0 ? word : words[i / 2] | static_cast<std::uint64_t>(word) << 32;
        }
        increment = {words[2] << 1 | words[3] >> 63, words[3] << 1 | 1};
        state = increment + Wide{words[0], words[1]};
        move();
    }

    // 53 random bits
    std::uint64_t next() {
        move();
        const std::uint64_t mixed = state.high ^ state.low;
        const unsigned turn = static_cast<unsigned>(state.high >> 58);
        return (mixed >> turn | mixed << (-turn & 63)) >> 11;
    }

private:
    void move() { state = state * Wide{2549297995355413924u, 4865540595714422341u} + increment; }

    Wide state, increment;
};

// Inverted dropout: `kept` for a share `keep` of the elements, below 1, and 0 for the others.
template <class T> void draw_factors(std::uint32_t seed, std::uint32_t counter, double keep, T kept, T *factors, std::ptrdiff_t count) {
    Draws draws(seed, counter);
    const auto bound = static_cast<std::uint64_t>(std::ceil(keep * 0x1p53));
    const T choices[] = {0, kept};  // by index, not by a branch: a processor cannot predict it
    for (std::ptrdiff_t i = 0; i < count; ++i) factors[i] = choices[draws.next() < bound];
}

}  // namespace cyrnn
