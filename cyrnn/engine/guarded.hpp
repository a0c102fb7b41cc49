// For tests: weights between two pages that fault, so that a read beyond either end, or a write, ends the process.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>

#if !defined(_WIN32)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace cyrnn {

// Which end of an array lies at a page that faults. At its other end there is up to a page of slack.
enum class Guard : int { none, lower, upper };

#if defined(_WIN32)
constexpr bool guard_pages_exist = false;
#else
constexpr bool guard_pages_exist = true;
#endif

// A copy of an array, which can only be read at first. Raises std::bad_alloc.
class GuardedCopy {
public:
    GuardedCopy([[maybe_unused]] const void *array, [[maybe_unused]] std::size_t bytes, [[maybe_unused]] Guard guard) {
#if !defined(_WIN32)
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t between = (bytes + page - 1) / page * page;
        mapped = between + 2 * page;
        pages = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (pages == MAP_FAILED) throw std::bad_alloc();
        char *const first = static_cast<char *>(pages) + page;
        start = guard == Guard::lower ? first : first + between - bytes;
        if (bytes) std::memcpy(start, array, bytes);
        const bool sealed = mprotect(pages, mapped, PROT_NONE) == 0 && mprotect(first, between, PROT_READ) == 0;
        if (sealed) return;
        munmap(pages, mapped);
        throw std::bad_alloc();
#endif
    }
    ~GuardedCopy() {
#if !defined(_WIN32)
        munmap(pages, mapped);
#endif
    }
    GuardedCopy(const GuardedCopy &) = delete;
    GuardedCopy &operator=(const GuardedCopy &) = delete;

    const void *begin() const { return start; }

    // Lets it be written too.
    void open() const {
#if !defined(_WIN32)
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        mprotect(static_cast<char *>(pages) + page, mapped - 2 * page, PROT_READ | PROT_WRITE);
#endif
    }

private:
    void *pages = nullptr;
    std::size_t mapped = 0;
    char *start = nullptr;
};

}  // namespace cyrnn
