// An op, and its work: the rows of a slice over the timesteps of a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "prepared.hpp"

namespace cyrnn {

// Where an operand lies: the first row of the slice at the first timestep of the block, or of the whole sequence for an
// operand that is read as a whole. The elements of a row's timestep are contiguous. Strides count elements.
struct Place {
    void *data;                 // null: there is none
    std::ptrdiff_t row, time;
    std::ptrdiff_t timesteps;   // that are to be seen from here; 1 without timesteps
};

template <class T> T *address(const Place &place) { return static_cast<T *>(place.data); }

template <class T> T *address(const Place &place, std::ptrdiff_t row, std::ptrdiff_t t) {
    return address<T>(place) + row * place.row + t * place.time;
}

// Whether nothing comes back to a row's timestep, as to those that are masked. A way back computes nothing there: what it would
// multiply the zeros by may be NaN.
template <class T> bool all_zeros(const T *elements, std::ptrdiff_t count) {
    bool other = false;
    for (std::ptrdiff_t i = 0; i < count; ++i) other |= elements[i] != 0;
    return !other;
}

class Crew;

struct State {  // what an op carries from block to block
    void *now, *then;    // (rows, carried) each; the op may swap them
    std::uint8_t *seen;  // (rows): has there been an unmasked step?
};

struct Work {
    std::ptrdiff_t rows, timesteps;
    bool first, last;      // of the sequence
    std::ptrdiff_t nominal_batch;  // by which, and by the weights, the form of the call is chosen
    const Place *places;   // one for each operand
    const Prepared *weights;
    State *state;
    void *scratch;
    Stop stop;
    std::ptrdiff_t at = 0;  // the first of the timesteps, counted in the whole sequence
    std::ptrdiff_t part = 0, parts = 1;  // of an op over the batch: the first one, and how many
    Crew *crew = nullptr;  // who may help with one row; or null
};

struct Operand {
    int view;      // -1: absent
    bool written;
    bool whole;    // it is read, or filled, at other timesteps than those of the block
    // Whether the op does without an input that a call leaves out. Other ops read what that stands for: a mask is true at all
    // timesteps, and numbers and tokens are zeros.
    bool optional = false;
};

// Of elements that are only moved.
constexpr double multiply_adds_of_moving(double elements) { return elements / 4; }

class Op {
public:
    virtual ~Op() = default;

    std::vector<Operand> operands;
    int slot = -1;       // of the weights, -1 without
    int timeline = -1;   // whose blocks it is run over; -1: once for each row

    // Bytes that it needs for a block, of which nothing is kept.
    virtual std::ptrdiff_t scratch_bytes(const Prepared *, std::ptrdiff_t /* rows */, std::ptrdiff_t /* timesteps */) const {
        return 0;
    }
    // Elements of a row's record; 0 without.
    virtual std::ptrdiff_t carried(const Prepared *) const { return 0; }
    // Whether it only moves numbers.
    virtual bool moves() const { return false; }
    // Whether it runs over the whole batch and all timesteps at once, when all slices have come so far: it sums over them.
    virtual bool over_batch() const { return false; }
    // Into how many parts such an op is divided, which threads share. The bits must not depend on who computes which.
    virtual std::ptrdiff_t parts(const Prepared *) const { return 1; }
    // Whether several parts, one after the other, are computed together: they read the same numbers.
    virtual bool joins_parts() const { return false; }
    // Whether it computes a recurrence, which is worth a thread of its own. Blocks come in order to all ops.
    virtual bool recurrent() const { return false; }
    // Whether threads can share each timestep of one row, and gain by it.
    virtual bool shares_timesteps(const Prepared *, std::ptrdiff_t /* nominal_batch */) const { return false; }
    // What a row's timestep takes, in the time of a multiply-add: it decides about threads, and whether the GIL is let go of.
    virtual double multiply_adds(const Prepared *weights) const = 0;
    // Whether these weights are of the widths of the operands.
    virtual bool fits(const Prepared *) const { return true; }
    // Whether its result, which has no timesteps, is what x is at the last one: so it is known if the sequence ends anywhere.
    virtual bool takes_last() const { return false; }
    // Whether each timestep of its result is that timestep of x, though on another timeline.
    virtual bool keeps_timesteps() const { return false; }
    // False: it was stopped. It cannot fail.
    virtual bool run(const Work &work) const noexcept = 0;
};

}  // namespace cyrnn
