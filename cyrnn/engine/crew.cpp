#include "crew.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <thread>

#if !defined(_WIN32)  // Windows has no forks
#include <pthread.h>
#endif

namespace cyrnn {
namespace {

// Never destroyed: helpers may still look at it while the process ends.
std::atomic<Crew *> crew{nullptr};

#if !defined(_WIN32)
// A forked child has no helpers, and makes a crew of its own. Its caller that was in a session finds all helpers late.
void forget_crew() { crew.store(nullptr, std::memory_order_relaxed); }

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget_crew);
#endif

Crew *the_crew() {
    Crew *current = crew.load(std::memory_order_acquire);
    if (current) return current;
    Crew *const fresh = new (std::nothrow) Crew;
    if (!fresh || crew.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return fresh;
    delete fresh;
    return current;
}

}  // namespace

Crew *Crew::take(int wanted) {
    Crew *const found = the_crew();
    if (!found || found->taken.exchange(true, std::memory_order_acquire)) return nullptr;
    bool any_sleeps = false;
    for (int i = 0; i < found->helpers; ++i) any_sleeps = any_sleeps || found->state_of(i) == asleep;
    if (any_sleeps && found->worth_a_try()) {
        {
            const std::lock_guard<std::mutex> lock(found->mutex);
            found->calls.fetch_add(1, std::memory_order_relaxed);
        }
        found->wake.notify_all();
    }
    found->asked_for = wanted = std::min(wanted, most_helpers);
    if (found->helpers >= wanted) return found;
    [[maybe_unused]] const SignalsBlocked blocked{};
    try {
        for (; found->helpers < wanted; ++found->helpers)
            std::thread(&Crew::work, found, std::ref(found->all[found->helpers])).detach();
    } catch (const std::exception &) {
        // no more threads to be had
    }
    return found;
}

char *Crew::room(std::size_t bytes) noexcept {
    if (bytes > memory_size) {
        memory_size = 0;
        memory.reset(new (std::nothrow) char[bytes]);
        if (memory) memory_size = bytes;
    }
    return memory.get();
}

// For some time: whether there was some. A helper that lets others run says so: a caller does not wait for it for long.
bool Crew::look_for_work(Helper &self) {
    const auto wanted = [&] { return self.state.load(std::memory_order_acquire) != looking; };
    if (spin_until(wanted, selfish)) return true;
    const auto deadline = Clock::now() + looking_time;
    do {
        int expected = looking;
        if (!self.state.compare_exchange_strong(expected, away, std::memory_order_acq_rel)) return true;
        std::this_thread::yield();
        CYRNN_DELAY();
        self.state.store(looking, std::memory_order_release);
        if (spin_until(wanted, between_yields)) return true;
    } while (Clock::now() < deadline);
    return false;
}

[[noreturn]] void Crew::work(Helper &self) {
    for (;;) {
        const unsigned seen = calls.load(std::memory_order_relaxed);
        self.state.store(looking, std::memory_order_release);
        // While a caller has the crew, its next session may begin after as much time as it computes alone.
        const auto patience = Clock::now() + most_looking_time;
        bool found = look_for_work(self);
        while (!found && taken.load(std::memory_order_relaxed) && Clock::now() < patience) found = look_for_work(self);
        if (!found) {
            int expected = looking;
            if (self.state.compare_exchange_strong(expected, asleep, std::memory_order_acq_rel)) {
                CYRNN_DELAY();
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return calls.load(std::memory_order_relaxed) != seen; });
                continue;
            }
        }
        CYRNN_DELAY();
        const auto called = [&] { return self.state.load(std::memory_order_acquire) != reserved; };
        while (!spin_politely_until(called, looking_time)) {}
        if (self.state.load(std::memory_order_acquire) != busy) continue;  // it was dismissed
        CYRNN_DELAY();
        self.serve(*this, self.job, self.party, self.session);
        self.held.reset();
    }
}

}  // namespace cyrnn
