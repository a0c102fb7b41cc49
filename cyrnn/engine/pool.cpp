#include "pool.hpp"

#include "spinning.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#if !defined(_WIN32)  // Windows has no forks
#include <pthread.h>
#endif

namespace cyrnn {
namespace {

using Body = void (*)(void *, std::ptrdiff_t, int);
using Idle = void (*)(void *);

// How long an idle worker, or a caller whose last slices run elsewhere, looks for news before it sleeps. Waking a
// sleeper costs some 10 us; spinning longer than a few such times takes the processor from someone who has work.
constexpr auto spin_time = std::chrono::microseconds(40);

constexpr auto idle_time = std::chrono::milliseconds(100);

class Pool {
public:
    bool try_acquire() { return !taken.exchange(true, std::memory_order_acquire); }
    void release() { taken.store(false, std::memory_order_release); }

    bool run(std::uint32_t count, int threads, Body body, Idle idle, void *self) {
        start_workers(threads - 1);
        const std::uint32_t generation = publish({body, self, count, threads});
        const std::uint32_t mine = work(Job{body, self, count, threads}, generation, 0);
        finished.fetch_add(mine, std::memory_order_acq_rel);
        return wait_for(count, idle, self);
    }

private:
    struct Job {
        Body body;
        void *self;
        std::uint32_t count;
        int threads;
    };

    // `ticket` is the one truth about what is left: the generation of the job in the upper half, the next index in the
    // lower. An index is taken by compare-and-swap on both, so a worker that wakes up late, holding a job that is
    // long finished, takes nothing.
    static std::uint64_t ticket_of(std::uint32_t generation, std::uint32_t index) {
        return std::uint64_t{generation} << 32 | index;
    }
    static std::uint32_t generation_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket >> 32); }
    static std::uint32_t index_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket); }

    std::uint32_t publish(const Job &next) {
        std::lock_guard<std::mutex> lock(mutex);
        const std::uint32_t generation = generation_of(ticket.load(std::memory_order_relaxed)) + 1;
        job = next;
        finished.store(0, std::memory_order_relaxed);
        ticket.store(ticket_of(generation, 0), std::memory_order_release);
        if (sleepers > 0) wake.notify_all();
        return generation;
    }

    // Takes indices of this generation until none is left; returns how many it did.
    std::uint32_t work(const Job &mine, std::uint32_t generation, int worker) {
        std::uint32_t done = 0;
        std::uint64_t seen = ticket.load(std::memory_order_acquire);
        while (generation_of(seen) == generation && index_of(seen) < mine.count) {
            if (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
            mine.body(mine.self, index_of(seen), worker);
            ++done;
            seen = ticket.load(std::memory_order_acquire);
        }
        return done;
    }

    // All indices are taken by now, so those not finished have been begun.
    bool wait_for(std::uint32_t count, Idle idle, void *self) {
        const auto all = [&] { return finished.load(std::memory_order_acquire) == count; };
        for (;;) {
            if (spin_until(all, spin_time)) return true;
            if (forgotten()) return false;
            {
                std::unique_lock<std::mutex> lock(mutex);
                if (completed.wait_for(lock, idle_time, all)) return true;
            }
            idle(self);
        }
    }

    bool forgotten() const;  // is this a child, and the pool its parent's?

    void start_workers(int wanted) {
        if (workers >= wanted) return;
        [[maybe_unused]] const SignalsBlocked blocked{};
        try {
            for (; workers < wanted; ++workers) std::thread(&Pool::serve, this, workers + 1).detach();
        } catch (const std::exception &) {
            // no more threads to be had: the caller does their share
        }
    }

    [[noreturn]] void serve(int worker) {
        std::uint32_t last = 0;
        for (;;) {
            const auto news = [&] { return generation_of(ticket.load(std::memory_order_acquire)) != last; };
            spin_until(news, spin_time);
            Job current;
            {
                std::unique_lock<std::mutex> lock(mutex);
                ++sleepers;
                wake.wait(lock, news);
                --sleepers;
                current = job;
                last = generation_of(ticket.load(std::memory_order_relaxed));
            }
            if (worker >= current.threads) continue;
            if (const std::uint32_t done = work(current, last, worker)) report(done);
        }
    }

    void report(std::uint32_t done) {
        // The lock orders this with a caller that is about to sleep in wait_for.
        std::lock_guard<std::mutex> lock(mutex);
        finished.fetch_add(done, std::memory_order_acq_rel);
        completed.notify_all();
    }

    std::atomic<bool> taken{false};
    std::atomic<std::uint64_t> ticket{0};
    std::atomic<std::uint32_t> finished{0};
    std::mutex mutex;  // guards job and sleepers
    std::condition_variable wake, completed;
    Job job{};
    int sleepers = 0;
    int workers = 0;  // touched only by the caller that holds the pool
};

// Never destroyed: workers may still look at it while the process ends.
std::atomic<Pool *> pool{nullptr};

#if !defined(_WIN32)
// A forked child has the pool's memory but not its threads, and perhaps a lock that no thread will open again. It
// forgets that pool and makes another when it needs one.
void forget_pool() { pool.store(nullptr, std::memory_order_relaxed); }

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
#endif

bool Pool::forgotten() const { return pool.load(std::memory_order_relaxed) != this; }

Pool &the_pool() {
    Pool *current = pool.load(std::memory_order_acquire);
    if (current) return *current;
    Pool *fresh = new Pool;
    if (pool.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
    return *current;
}

}  // namespace

bool parallel_for(std::ptrdiff_t count, int threads, Body body, Idle idle, void *self) {
    constexpr std::ptrdiff_t most = 0x7fffffff;  // indices that a ticket can count
    if (threads > 1 && count > 1 && count <= most) {
        Pool &shared = the_pool();
        if (shared.try_acquire()) {
            const bool complete = shared.run(static_cast<std::uint32_t>(count), threads, body, idle, self);
            shared.release();
            return complete;
        }
    }
    for (std::ptrdiff_t index = 0; index < count; ++index) body(self, index, 0);
    return true;
}

}  // namespace cyrnn
