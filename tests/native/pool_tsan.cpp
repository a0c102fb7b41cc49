// The pool and programs without Python, to be compiled with -fsanitize=thread: a race ends the process with a report.
//
// What a loop's body writes is not atomic: the pool alone must order it with what the caller reads afterwards. Bodies,
// results and scratch are on the caller's stack or freed as soon as the call is over, so that a worker that comes late,
// and touches the job of a loop that has ended, is a race too.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "pool.hpp"
#include "builder.hpp"
#include "execution.hpp"

namespace {

constexpr int callers = 6;

void require(bool holds, const char *what) {
    if (holds) return;
    std::fprintf(stderr, "wrong: %s\n", what);
    std::exit(1);
}

void no_news(void *) {}

// ---------------------------------------------------------------- parallel_for

struct Loop {
    std::vector<long> results;   // (count), of which each body writes its own
    std::vector<long> by_worker; // (threads), of which each worker writes its own
    bool nested;

    Loop(std::ptrdiff_t count, int threads, bool nested_)
        : results(static_cast<std::size_t>(count)), by_worker(static_cast<std::size_t>(threads)), nested(nested_) {}

    static void body(void *self_, std::ptrdiff_t index, int worker) {
        auto *self = static_cast<Loop *>(self_);
        const auto i = static_cast<std::size_t>(index);
        self->results[i] += index + 1;
        self->by_worker[static_cast<std::size_t>(worker)] += index + 1;
        if (self->nested) {
            Loop inner(5, 3, false);
            inner.run();
        }
    }

    void run() {
        const auto count = static_cast<std::ptrdiff_t>(results.size());
        const int threads = static_cast<int>(by_worker.size());
        require(cyrnn::parallel_for(count, threads, body, no_news, this), "a loop was not completed");
        for (std::size_t i = 0; i < results.size(); ++i)
            require(results[i] == static_cast<long>(i) + 1, "an index was left out, or taken twice");
        const long sum = std::accumulate(by_worker.begin(), by_worker.end(), 0L);
        require(sum == count * (count + 1) / 2, "two bodies had one worker at the same time");
    }
};

// Small loops one after another: workers come late to most of them.
void short_loops(int caller) {
    for (int i = 0; i < 1500; ++i) Loop(2 + (i + caller) % 7, 2 + i % 4, false).run();
}

// Long enough for the caller to sleep until a worker has ended; and bodies that are callers themselves.
void long_loops(int caller) {
    for (int i = 0; i < 40; ++i) Loop(200 + 100 * caller, 4, i % 2 == 0).run();
}

struct Slow {
    std::vector<int> done = std::vector<int>(4);
    int asked = 0;

    static void body(void *self, std::ptrdiff_t index, int worker) {
        if (worker != 0) std::this_thread::sleep_for(std::chrono::milliseconds(250));  // the caller waits, and is asked
        static_cast<Slow *>(self)->done[static_cast<std::size_t>(index)] = 1;
    }
    static void idle(void *self) { ++static_cast<Slow *>(self)->asked; }
};

void slow_workers(int) {
    for (int i = 0; i < 3; ++i) {
        Slow slow;
        require(cyrnn::parallel_for(4, 3, Slow::body, Slow::idle, &slow), "a loop was not completed");
        require(slow.done == std::vector<int>(4, 1), "a slow body was not waited for");
    }
}

// ---------------------------------------------------------------- run_slices

// An engine whose timestep needs no time:   h' = h / 2 + x_0
std::ptrdiff_t no_workspace(const cyrnn::Weights<float> *, std::ptrdiff_t) { return 0; }

void half_step(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step, float *) {
    for (std::ptrdiff_t row = 0; row < step->rows; ++row)
        for (std::ptrdiff_t unit = 0; unit < weights->units; ++unit)
            step->out[row * step->out_stride + unit] =
                step->h[row * step->h_stride + unit] / 2 + step->x[row * step->x_stride];
}

void slow_step(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step, float *workspace) {
    half_step(weights, step, workspace);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::ptrdiff_t eight_rows(const cyrnn::Load *) { return 8; }
void nothing() {}

cyrnn::Engine engine_of(void (*step)(const cyrnn::Weights<float> *, const cyrnn::Step<float> *, float *)) {
    cyrnn::Engine engine{};
    engine.slice_rows = eight_rows;
    engine.begin = engine.end = nothing;
    engine.f32 = {no_workspace, step, nullptr, nullptr, nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr, 0, false};
    return engine;
}

const cyrnn::Engine quick = engine_of(half_step), slow = engine_of(slow_step);

struct Layer {
    static constexpr std::ptrdiff_t units = 64, features = 64;
    cyrnn::Prepared prepared;

    explicit Layer(const cyrnn::Engine &engine) {
        prepared.engine = &engine;
        prepared.f32.units = units, prepared.f32.features = features, prepared.f32.depth = units + features;
        prepared.f32.gates = 1, prepared.f32.carried = units;
    }
};

// One layer: all outputs, and the final state; then the sum of the outputs over rows and timesteps.
const cyrnn::Program &program() {
    static const std::unique_ptr<cyrnn::Program> made = [] {
        auto p = std::make_unique<cyrnn::Program>(true);
        cyrnn::Builder builder(*p);
        p->timelines.emplace_back();
        p->slots = 1;
        const int x = builder.storage(cyrnn::Kind::number, 0, Layer::features);
        const int outputs = builder.storage(cyrnn::Kind::number, 0, Layer::units);
        const int state = builder.storage(cyrnn::Kind::number, -1, Layer::units);
        const int sum = builder.storage(cyrnn::Kind::number, -1, Layer::units);
        p->storages[0].input = 0, p->storages[1].output = 0, p->storages[2].output = 1, p->storages[3].output = 2;
        p->storages[3].once = true;
        p->inputs = {0}, p->outputs = {1, 2, 3};
        builder.recurrent(0, x, -1, -1, -1, outputs, -1, {-1}, {state}, false, -1);
        builder.batch_sum(outputs, sum, 1);
        p->finish();
        return p;
    }();
    return *made;
}

struct Sequence {
    std::ptrdiff_t batch, timesteps;
    std::vector<float> x, outputs, state, sum;
    const cyrnn::Prepared *weights;
    cyrnn::Source source{};
    cyrnn::Target targets[3];

    Sequence(const Layer &layer, std::ptrdiff_t batch_, std::ptrdiff_t timesteps_)
        : batch(batch_), timesteps(timesteps_), x(size(Layer::features), 1.0f), outputs(size(Layer::units)),
          state(static_cast<std::size_t>(batch * Layer::units)), sum(Layer::units), weights(&layer.prepared) {
        source = {reinterpret_cast<const char *>(x.data()), timesteps * Layer::features * 4, Layer::features * 4, 4,
                  cyrnn::Element::f32, true};
        targets[0] = {reinterpret_cast<char *>(outputs.data()), timesteps * Layer::units, Layer::units};
        targets[1] = {reinterpret_cast<char *>(state.data()), Layer::units, 0};
        targets[2] = {reinterpret_cast<char *>(sum.data()), 0, 0};
    }

    cyrnn::Outcome run(int threads, bool (*interrupted)()) const {
        const std::ptrdiff_t lengths[] = {timesteps};
        return cyrnn::execute({&program(), batch, batch, lengths, &source, targets, &weights, threads, interrupted});
    }

    std::size_t size(std::ptrdiff_t width) const { return static_cast<std::size_t>(batch * timesteps * width); }

    void check() const {
        std::vector<float> expected(static_cast<std::size_t>(timesteps));
        float h = 0;
        for (float &e : expected) e = h = h / 2 + 1;
        for (std::size_t i = 0; i < outputs.size(); ++i)
            require(outputs[i] == expected[i / Layer::units % expected.size()], "an output is wrong");
        for (const float s : state) require(s == h, "a state is wrong");
        float total = 0;
        for (const float e : expected) total += e * float(batch);
        for (const float s : sum) require(std::abs(s - total) < 1e-4f * total, "a sum over the batch is wrong");
    }
};

bool never() { return false; }
bool at_once() { return true; }

// All threads share the weights and the program.
void sequences(int caller) {
    static const Layer layer(quick);
    for (int i = 0; i < 30; ++i) {
        Sequence first(layer, 40 + caller, 60), second(layer, 9, 7);
        for (const Sequence *sequence : {&first, &second})
            require(sequence->run(2 + i % 3, never) == cyrnn::Outcome::done, "a sequence was not completed");
        first.check(), second.check();
    }
}

void interrupted_sequences(int) {
    static const Layer layer(slow);
    for (int i = 0; i < 2; ++i) {
        Sequence sequence(layer, 64, 4000);  // half a minute
        require(sequence.run(3, at_once) == cyrnn::Outcome::interrupted, "an interrupt was overlooked");
    }
}

void in_threads(const char *name, void (*work)(int caller)) {
    std::printf("%s\n", name);
    std::fflush(stdout);
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) threads.emplace_back(work, caller);
    for (std::thread &thread : threads) thread.join();
}

}  // namespace

int main() {
    std::printf("one caller\n");
    short_loops(0), long_loops(0), slow_workers(0), sequences(0);
    in_threads("short loops", short_loops);
    in_threads("long loops", long_loops);
    in_threads("slow workers", slow_workers);
    in_threads("sequences", sequences);
    in_threads("interrupted sequences", interrupted_sequences);
    in_threads("all at once", [](int caller) {
        void (*const works[])(int) = {short_loops, long_loops, slow_workers, sequences, interrupted_sequences, short_loops};
        works[caller](caller);
    });
    std::printf("no race\n");
}
