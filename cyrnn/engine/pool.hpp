// The thread pool: parallel loops in which the caller works too.
#pragma once

#include <cstddef>

namespace cyrnn {

// Calls body(self, index, worker) once for each 0 <= index < count, on at most `threads` threads, and returns when all
// calls have. `worker` is 0 for the caller and 1 ... threads-1 for the others: no two calls with the same `worker`
// overlap, so it can index scratch memory.
//
// While all that is left runs elsewhere, the caller asks idle(self) ten times a second. Returns false in a child that was
// forked from within this call (by a signal handler): the threads that had the rest are not there.
//
// Any thread may call this at any time. The pool serves one caller at a time; while it is taken, another caller does
// all of its work alone. A caller never waits for a worker that has not begun an index, so a worker that the
// system does not schedule delays no caller. Threads are started on first use, and again in a forked child.
bool parallel_for(std::ptrdiff_t count, int threads, void (*body)(void *self, std::ptrdiff_t index, int worker),
                  void (*idle)(void *self), void *self);

}  // namespace cyrnn
