// Threads that compute parts of one row's timesteps together with a caller: see shared_row.hpp for what they compute.
//
// The caller is party 0 and each helper another party. A session is some timesteps. Each party has one flag, on cache lines
// that only it writes: the session, and how many of its timesteps the party has published. A party may be one timestep
// ahead of another one. So there is no barrier, and no lock.
//
// The caller never waits for a thread that does not run. A session begins only with helpers that are looking for work at that
// moment, and where the caller has waited too long for one, it closes the session and does the rest alone. What a late
// helper still reads and writes belongs to the crew, and it holds the weights: nothing of the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "spinning.hpp"

#if defined(CYRNN_DELAYS)  // a test stops threads here at random, and the caller tries them again at once
extern void cyrnn_delay();
#define CYRNN_DELAY() cyrnn_delay()
#define CYRNN_REST 0
#else
#define CYRNN_DELAY() static_cast<void>(0)
#define CYRNN_REST 40
#endif

namespace cyrnn {

class Crew {
public:
    static constexpr int most_helpers = 63;
    using Serve = void (*)(Crew &crew, void *job, int party, std::uint64_t session);

    // The crew with so many helpers, or null while another caller has it. It starts threads if there are fewer, and wakes those that
    // sleep.
    static Crew *take(int helpers);
    void give_back() { taken.store(false, std::memory_order_release); }

    Crew() = default;
    Crew(const Crew &) = delete;
    Crew &operator=(const Crew &) = delete;

    // ---- a session, for the caller

    // How many helpers, of so many at most, take part in the next session; they wait for `begin` or `dismiss`. None while any is still in
    // the last session: its memory is theirs too.
    int reserve(int wanted) {
        int found = 0;
        if (!worth_a_try()) return 0;
        for (int i = 0; i < helpers; ++i)
            if (!comes_back(i, busy)) return 0;
        for (int i = 0; i < helpers && found < std::min(wanted, asked_for); ++i) {
            int expected = looking;
            if (!comes_back(i, away)) continue;
            if (!all[i].state.compare_exchange_strong(expected, reserved, std::memory_order_acq_rel)) continue;
            all[i].party = ++found;
        }
        return found;
    }

    void dismiss() { hand_over(looking); }

    // The reserved helpers run `serve`, with a reference to what must live as long. Returns the session.
    std::uint64_t begin(Serve serve, void *job, const std::shared_ptr<const void> &held) {
        session += std::uint64_t{1} << 32;
        flags[0].value.store(session, std::memory_order_release);
        for (int i = 0; i < helpers; ++i)
            if (state_of(i) == reserved) all[i].serve = serve, all[i].job = job, all[i].session = session, all[i].held = held;
        hand_over(busy);
        return session;
    }

    // After this no helper reads what the caller publishes, and none is waited for.
    void close() {
        CYRNN_DELAY();
        session += std::uint64_t{1} << 32;
        flags[0].value.store(session, std::memory_order_release);
    }

    // Memory of the sessions, for which helpers must be reserved, or none be there; null where there is no more.
    char *room(std::size_t bytes) noexcept;

    // ---- for each party, in a session

    void publish(int party, std::uint64_t of_session, std::ptrdiff_t timesteps) {
        CYRNN_DELAY();
        flags[party].value.store(of_session + std::uint64_t(timesteps), std::memory_order_release);
    }

    // Whether a party has published so many timesteps of the session; it may have more.
    bool has_published(int party, std::uint64_t of_session, std::ptrdiff_t timesteps) const {
        const std::uint64_t seen = flags[party].value.load(std::memory_order_acquire);
        return seen >> 32 == of_session >> 32 && seen >= of_session + std::uint64_t(timesteps);
    }

    // For the caller: whether it has, before so much time is over.
    bool wait_for(int party, std::ptrdiff_t timesteps, Clock::duration patience) {
        CYRNN_DELAY();
        const bool published = spin_until([&] { return has_published(party, session, timesteps); }, patience);
        if (!published) waited_in_vain(patience);
        in_vain = in_vain && !published;
        return published;
    }

    // For a helper: whether it has, before the session is closed. It does not wait for ever for a caller that does not run.
    bool wait_in(std::uint64_t of_session, int party, std::ptrdiff_t timesteps) const {
        CYRNN_DELAY();
        bool published = false;
        const auto news = [&] {
            published = has_published(party, of_session, timesteps);
            return published || flags[0].value.load(std::memory_order_acquire) >> 32 != of_session >> 32;
        };
        spin_politely_until(news, loitering);
        return published;
    }

private:
    enum : int { asleep, looking, away, reserved, busy };

    // Within this time a helper that has published its last part, or has let others run, is looking for work again, unless it does
    // not run.
    static constexpr auto leaving = std::chrono::microseconds(2);
    static constexpr auto loitering = std::chrono::milliseconds(1);
    // A helper looks for work for so long after a call, and so long in one: meanwhile the caller may compute a block of timesteps alone.
    static constexpr auto looking_time = std::chrono::microseconds(200);
    static constexpr auto most_looking_time = std::chrono::milliseconds(100);

    // Threads that do not run are not tried at each step, as where other processes keep the processors busy.
    bool worth_a_try() const { return not_before == Clock::time_point() || Clock::now() >= not_before; }
    bool comes_back(int helper, int from) {
        CYRNN_DELAY();
        const bool is_back = spin_until([&] { return state_of(helper) != from; }, leaving);
        if (!is_back) waited_in_vain(leaving);
        return is_back;
    }
    void waited_in_vain(Clock::duration time) {
        constexpr Clock::duration most = looking_time / 2;  // the helper does not fall asleep meanwhile
        // The first time it may have been late because it read the weights for the first time.
        if (in_vain) not_before = Clock::now() + std::min<Clock::duration>(CYRNN_REST * time, most);
        in_vain = true;
    }

    // Two lines: the processor fetches them in pairs.
    struct alignas(128) Flag {
        std::atomic<std::uint64_t> value{0};
    };

    struct alignas(128) Helper {
        std::atomic<int> state{asleep};
        // Written by the caller while it is reserved
        int party = 0;
        std::uint64_t session = 0;
        Serve serve = nullptr;
        void *job = nullptr;
        std::shared_ptr<const void> held;
    };

    int state_of(int helper) const { return all[helper].state.load(std::memory_order_acquire); }

    void hand_over(int next) {
        CYRNN_DELAY();
        for (int i = 0; i < helpers; ++i)
            if (state_of(i) == reserved) all[i].state.store(next, std::memory_order_release);
    }

    [[noreturn]] void work(Helper &self);
    bool look_for_work(Helper &self);

    std::atomic<bool> taken{false};
    // What follows is the caller's that has the crew.
    int helpers = 0, asked_for = 0;
    std::uint64_t session = 0;  // in the upper half
    Clock::time_point not_before;
    bool in_vain = false;  // the last wait was so
    std::unique_ptr<char[]> memory;
    std::size_t memory_size = 0;
    // And this is everybody's.
    Flag flags[most_helpers + 1];
    Helper all[most_helpers];
    std::atomic<unsigned> calls{0};  // changes when those that sleep are to look for work
    std::mutex mutex;
    std::condition_variable wake;
};

// Has the crew, with so many helpers, as long as it lives; null where none are wanted, or another caller has it.
class Helped {
public:
    using Take = Crew *(*)(int helpers);  // Crew::take of the module that has the crew

    Helped(Take take, int helpers) : crew(helpers > 0 ? take(helpers) : nullptr) {}
    ~Helped() {
        if (crew) crew->give_back();
    }
    Helped(const Helped &) = delete;
    Helped &operator=(const Helped &) = delete;

    Crew *const crew;
};

}  // namespace cyrnn
