// Threads that share the timesteps of a row, without Python, to be compiled with -fsanitize=thread and -DCYRNN_DELAYS: at each
// place where a thread publishes or waits it may be stopped for a while. So helpers are late, sessions are closed, and what
// late helpers touch is no longer their caller's.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "recurrence.hpp"

namespace {

using std::ptrdiff_t;

std::atomic<bool> delays{false};
std::atomic<long> late{0}, by_helpers{0};
thread_local bool calls_here = false;

unsigned drawn() {
    thread_local unsigned state = unsigned(std::hash<std::thread::id>()(std::this_thread::get_id())) | 1;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

// An engine whose h has something of its neighbour's:   h'_j = x_0 k_j + h_{j+1} / 2,   or for a cell so many sums
void project_part(const cyrnn::Weights<float> *weights, ptrdiff_t rows, const float *x, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride,
                  float *, ptrdiff_t begin, ptrdiff_t end) {
    for (ptrdiff_t row = 0; row < rows; ++row)
        for (ptrdiff_t j = begin; j < end; ++j) out[row * out_stride + j] = x[row * x_stride] * weights->kernels[j];
}

void step_part(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step, float *, ptrdiff_t begin, ptrdiff_t end) {
    if (!calls_here) ++by_helpers;
    float *const out = weights->cell ? step->sums : step->out;
    for (ptrdiff_t j = begin; j < end; ++j) {
        const float of_x = step->projected ? out[j] : weights->features == 0 ? 0 : step->x[0] * weights->kernels[j];
        out[j] = of_x + (j < weights->recurrent ? step->h[(j + 1) % weights->units] / 2 : 0);
    }
}

// Two cells of two sums, of which h has a part in the first, and a second product:
//   q_j = h_{j+1} / 2,   or of z h instead of h;   h' = (z + n + q) / 4
void between(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step) {
    for (ptrdiff_t j = 0; j < weights->units; ++j) step->out[j] = step->sums[j] * step->h[j] / 4;
}

void finish(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step) {
    for (ptrdiff_t j = 0, n = weights->units; j < n; ++j) step->out[j] = (step->sums[j] + step->sums[n + j] + step->sums[2 * n + j]) / 4;
}

const cyrnn::Cell<float> cells[] = {{2, 1, 2, 3, 0, 1, 0, 0, 0, nullptr, finish, nullptr, nullptr},
                                    {2, 1, 2, 3, 0, 1, 0, 0, 0, between, finish, nullptr, nullptr}};

void project(const cyrnn::Weights<float> *weights, ptrdiff_t rows, const float *x, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride,
             float *workspace) {
    project_part(weights, rows, x, x_stride, out, out_stride, workspace, 0, weights->sums());
}

void step(const cyrnn::Weights<float> *weights, const cyrnn::Step<float> *step, float *workspace) {
    step_part(weights, step, workspace, 0, weights->sums());
}

ptrdiff_t no_workspace(const cyrnn::Weights<float> *, ptrdiff_t) { return 0; }
bool never(void *) { return false; }

cyrnn::Product<float> product() {
    cyrnn::Product<float> made{};
    made.workspace = no_workspace, made.step = step, made.project = project;
    made.step_part = step_part, made.project_part = project_part, made.shared_columns = 8;
    return made;
}

const cyrnn::Product<float> of_neighbours = product();

std::shared_ptr<cyrnn::Prepared> layer(ptrdiff_t units, const cyrnn::Cell<float> *cell) {
    auto prepared = std::make_shared<cyrnn::Prepared>();
    std::vector<float> kernel(std::size_t(2 * units));
    for (std::size_t j = 0; j < kernel.size(); ++j) kernel[j] = float(j % 7) / 8;
    cyrnn::Weights<float> &w = prepared->f32;
    w.units = w.recurrent = w.carried = units, w.features = 1, w.depth = units + 1, w.gates = w.lines = 1;
    if (cell) {
        cyrnn::Weights<float> &second = prepared->more_f32.emplace_back(w);
        second.features = 0, second.depth = units;
        w.cell = cell, w.gates = cell->gates, w.lines = cell->lines, w.second = &second;
    }
    w.kernels = static_cast<const float *>(prepared->keep(kernel.data(), kernel.size() * sizeof(float)));
    return prepared;
}

std::vector<float> run(cyrnn::Crew *crew, ptrdiff_t units, const cyrnn::Cell<float> *cell, ptrdiff_t timesteps, bool outputs) {
    const std::shared_ptr<cyrnn::Prepared> prepared = layer(units, cell);  // its last owner may be a late helper
    const cyrnn::Weights<float> &w = prepared->f32;
    std::vector<float> x(static_cast<std::size_t>(timesteps)), now(std::size_t(units), 0.25f), then(now.size());
    std::vector<float> filled(outputs ? std::size_t(units * timesteps) : 0);
    for (std::size_t t = 0; t < x.size(); ++t) x[t] = float(t % 5) - 2;
    std::vector<char> scratch(std::size_t(cyrnn::Recurrence<float>::scratch_bytes(of_neighbours, w, 1, timesteps, false)));
    cyrnn::Record<float> record{now.data(), then.data(), nullptr};
    cyrnn::Block<float> block{};
    block.rows = 1, block.timesteps = timesteps, block.alone = true;
    block.x = x.data(), block.x_row = timesteps, block.x_time = 1;
    if (outputs) block.outputs = filled.data(), block.outputs_row = units * timesteps, block.outputs_time = units;
    {
        std::unique_ptr<cyrnn::SharedRow<float>> shared;
        if (crew) shared = std::make_unique<cyrnn::SharedRow<float>>(*crew, *prepared, of_neighbours, w, true);
        cyrnn::Recurrence<float>::run(of_neighbours, w, block, record, scratch.data(), {never, nullptr}, shared.get());
    }
    filled.insert(filled.end(), record.now, record.now + units);
    return filled;
}

void calls(int caller) {
    calls_here = true;
    for (int i = 0; i < 60; ++i) {
        const ptrdiff_t units = 16 + 8 * (i % 5) + i % 3, timesteps = 1 + (i * 37 + caller) % 150;
        const bool outputs = i % 2 == 0;
        const cyrnn::Cell<float> *const cell = i % 3 == 2 ? nullptr : &cells[i % 3];
        const std::vector<float> expected = run(nullptr, units, cell, timesteps, outputs);
        cyrnn::Crew *const crew = cyrnn::Crew::take(1 + (i + caller) % 4);
        const std::vector<float> found = run(crew, units, cell, timesteps, outputs);
        if (crew) crew->give_back();
        if (found == expected) continue;
        std::fprintf(stderr, "wrong: threads that shared a row have other results than one\n");
        std::exit(1);
    }
}

void from_several_threads() {
    std::vector<std::thread> threads;
    for (int caller = 0; caller < 4; ++caller) threads.emplace_back(calls, caller);
    for (std::thread &thread : threads) thread.join();
}

}  // namespace

void cyrnn_delay() {
    if (!delays) return;
    const unsigned number = drawn() % 400;
    if (number == 0) ++late, std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (number < 40) std::this_thread::sleep_for(std::chrono::microseconds(drawn() % 40));
}

int main() {
    calls(0);
    from_several_threads();
    delays = true;
    from_several_threads();
    for (int round = 0; round < 100 && (late < 20 || by_helpers == 0); ++round) calls(0);  // how many sessions there are is up to the system
    if (late == 0) return std::fprintf(stderr, "wrong: no thread was stopped\n"), 1;
    if (by_helpers == 0) return std::fprintf(stderr, "wrong: no helper had a part\n"), 1;
    std::puts("no race among threads that share a row");
}
