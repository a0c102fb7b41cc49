// How threads of the engine wait for each other, and how they are started.
#pragma once

#include <chrono>
#include <initializer_list>
#include <thread>

#if !defined(_WIN32)  // Windows has no signals that go to a thread
#include <signal.h>
#endif

namespace cyrnn {

using Clock = std::chrono::steady_clock;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Whether the condition has come to hold before so much time was over.
template <class Condition> bool spin_until(Condition condition, Clock::duration most) {
    if (condition()) return true;
    const auto deadline = Clock::now() + most;
    do {
        for (int i = 0; i < 32; ++i) {
            if (condition()) return true;
            relax();
        }
    } while (Clock::now() < deadline);
    return false;
}

// A thread that may have taken the processor of the one that it waits for lets others run after a while, and then in between.
constexpr auto selfish = std::chrono::microseconds(20);
constexpr auto between_yields = std::chrono::microseconds(5);

template <class Condition> bool spin_politely_until(Condition condition, Clock::duration most) {
    if (spin_until(condition, selfish)) return true;
    const auto deadline = Clock::now() + most - selfish;
    do {
        std::this_thread::yield();
        if (spin_until(condition, between_yields)) return true;
    } while (Clock::now() < deadline);
    return false;
}

// Threads that are started meanwhile take no signals: those are for the program's own threads. But faults are their own.
class SignalsBlocked {
#if !defined(_WIN32)
public:
    SignalsBlocked() {
        sigset_t others;
        sigfillset(&others);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&others, fault);
        pthread_sigmask(SIG_SETMASK, &others, &before);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    SignalsBlocked(const SignalsBlocked &) = delete;
    SignalsBlocked &operator=(const SignalsBlocked &) = delete;

private:
    sigset_t before;
#endif
};

}  // namespace cyrnn
