// What a plan hands to the recurrence, and what an engine offers to it: one timestep.
//
// All arrays are row-major; strides count elements, not bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_WIN32) && !defined(__clang__)
#error "on Windows cyrnn is compiled by Clang: MSVC has no vectors, and GCC does not align the stack for them"
#endif

namespace cyrnn {

// z := activation(z + bias), in place.  z: (rows, units), its rows `stride` elements apart;  bias: (units), or null
template <class T>
using Activate = void (*)(T *z, std::ptrdiff_t stride, const T *bias, std::ptrdiff_t rows, std::ptrdiff_t units);

// d := d . activation'(sums), in place: d comes in as the gradient of the outputs, and leaves as that of the sums.
// saved: the outputs, or the sums with their bias, as activation_from_sums says.  d, saved: (rows, units), their rows
// `stride` elements apart; they do not overlap
template <class T>
using Differentiate = void (*)(const T *saved, std::ptrdiff_t saved_stride, T *d, std::ptrdiff_t d_stride,
                               std::ptrdiff_t rows, std::ptrdiff_t units);

template <class T> struct Cell;

// The functions of a recurrence that a way back differentiates.
template <class T> struct Differentiated {
    std::ptrdiff_t units;
    const Cell<T> *cell;              // null for SimpleRNN and dense
    Activate<T> activate;
    Differentiate<T> differentiate;   // of `activate`; null: there is no way back
    Differentiate<T> differentiate_gates;
    bool of_sums, gates_of_sums;      // whether these read the sums, or else what the activation has made of them
};

template <class T> struct Product;
struct OnTiles;

template <class T> struct Weights {  // one layer's weights, made ready; they never change
    std::ptrdiff_t features, units;
    std::ptrdiff_t depth;     // features + units; for a dense layer, which has no recurrent kernel, features
    std::ptrdiff_t gates;     // sums of each unit; 1 where there is no cell
    std::ptrdiff_t recurrent; // of the gates * units sums, those that h has a part in: the first
    std::ptrdiff_t lines;     // (units) elements each, that a row of sums has; 1 where there is no cell. Those of a cell, and
                              // after them one for each gate where a derivative reads the sums
    std::ptrdiff_t carried;   // elements of a row's record: as many states as the cell has, (units) each, h first
    const Cell<T> *cell;      // null for SimpleRNN and dense: they activate their sums, and that is h
    const Weights<T> *second; // of a cell's second product, (units, units); or null
    const Weights<T> *parts;  // the same product as several, each of some gates; or null
    std::ptrdiff_t part_count;
    // Those that the engine reads; the others are null.
    const T *kernels;       // (depth, gates * units): the kernel above the recurrent kernel
    const T *kernels_t;     // (gates * units, depth): the same, transposed
    const T *panels;        // the same, in panels (see tiles.hpp)
    const std::uint32_t *tiles;   // the same, for matrix tiles (see matrix_parts.hpp)
    const Product<T> *plain;      // for what computes on tiles, or with rounded operands: the products of multiply-adds
    const T *bias;          // (gates * units), or null; as wide as the panels, where there are some. Of a cell: of its lines
    Activate<T> activate;
    Activate<T> activate_gates;  // a cell's recurrent activation
    Activate<T> add_bias;   // the same without an activation
    bool by_row;            // whether an activation needs a whole row, as softmax does
    bool of_sums, gates_of_sums;  // whether the derivatives of the two activations read the sums
    Differentiated<T> back; // what a way back with these weights is through

    std::ptrdiff_t sums() const { return gates * units; }
    std::ptrdiff_t sums_row() const { return lines * units; }
};

// One timestep of some rows:
//
//   out := activation(x . kernel + h . recurrent_kernel + bias),   or for a cell
//   sums := x . kernel + h . recurrent_kernel
//
// It is made for each step, so only what may be absent has a value from the beginning: to fill it all with zeros takes a tenth
// of the step of a small layer.
template <class T> struct Step {
    std::ptrdiff_t rows;
    const T *x;        // (rows, features)
    std::ptrdiff_t x_stride;
    const std::ptrdiff_t *places = nullptr;  // (rows): which row of x each is, of saved and of outputs; or null: they are in order
    T *beside = nullptr;    // (rows, features): room for those of x, side by side; null where x is so already
    const T *h;        // (rows, units); not read by a dense layer
    std::ptrdiff_t h_stride;
    const T *before = nullptr;  // (rows, carried): the records before, for a cell
    std::ptrdiff_t before_stride;
    T *sums = nullptr;      // (rows, lines * units): for a cell, of which the product fills the first gates
    std::ptrdiff_t sums_stride;
    T *saved = nullptr;     // (rows, lines * units): where a cell leaves what the way back reads; or null
    std::ptrdiff_t saved_stride;
    T *out;            // (rows, carried): the records after; overlaps none of the others
    std::ptrdiff_t out_stride;
    T *outputs = nullptr;   // (rows, units): where h is copied to; or null
    std::ptrdiff_t outputs_stride;
    bool projected = false; // out, or sums, holds x . kernel already, and x is not read
    bool alone = false;     // a batch of one row
    bool turned = false;    // from the last panel to the first: where each step turns, it begins with what is in the cache

    const T *x_row(std::ptrdiff_t row) const { return x + (beside ? places[row] : row) * x_stride; }
    T *saved_row(std::ptrdiff_t row) const { return saved + (places ? places[row] : row) * saved_stride; }
    T *outputs_row(std::ptrdiff_t row) const { return outputs + (places ? places[row] : row) * outputs_stride; }
};

// One timestep of some rows back through a cell.
template <class T> struct StepBack {
    std::ptrdiff_t rows;
    const T *saved;    // (rows, lines * units): what the cell has left in its lines
    std::ptrdiff_t saved_stride;
    T *d_states;       // (rows, carried): comes in as the gradient of the record after, and leaves as that of the record
                       // before, but for what h gets through the sums
    std::ptrdiff_t d_states_stride;
    T *d_sums;         // (rows, d_lines * units): the gradients of the sums of x, and of those of h
    std::ptrdiff_t d_sums_stride;
};

// What is done with the sums where that is more than one activation: see cells.hpp. The engines know no cell; see timestep.hpp.
template <class T> struct Cell {
    std::ptrdiff_t gates;      // sums of each unit in its first product
    std::ptrdiff_t recurrent;  // of the gates, those that h has a part in: the first
    std::ptrdiff_t second;     // the line that a second product fills, of what is made of h; 0: there is none
    std::ptrdiff_t lines, biases, states;
    std::ptrdiff_t d_lines, d_recurrent;  // of the gradients of the sums; the first of them that is of a sum of h
    std::ptrdiff_t d_between;  // of the gradients of the sums the line that the gradient of `between` comes in
    // What the second product multiplies, (rows, units), into step->out; null: that is h. If the step saves, `finish` leaves it in
    // the line `second`.
    void (*between)(const Weights<T> *weights, const Step<T> *step);
    // The records after (step->out) from the sums, gate after gate and without the bias, and the records before.
    void (*finish)(const Weights<T> *weights, const Step<T> *step);
    void (*back)(const Differentiated<T> *functions, const StepBack<T> *step);  // through `finish`
    void (*back_between)(const Differentiated<T> *functions, const StepBack<T> *step);  // through `between`
};

// What a slice carries from block to block. Before the first block the caller fills `now` with the initial states, or with
// zeros, and `seen` with zeros.
template <class T> struct Record {
    T *now, *then;       // (rows, carried): the states, and where the next ones go. A walk may swap the two.
    std::uint8_t *seen;  // (rows): has there been an unmasked timestep? Null where no block has a mask.
};

// Pointers are to the slice's first row and the block's first timestep. In a block of one timestep, x and the outputs may
// share memory.
// out := a function of a and b, element by element, (rows, width)
template <class T>
using ByElement = void (*)(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, const T *b, std::ptrdiff_t b_stride,
                           T *out, std::ptrdiff_t out_stride);

template <class T> struct Block {
    std::ptrdiff_t rows, timesteps;
    const T *x;                             // (rows, timesteps, features), contiguous along the features
    std::ptrdiff_t x_row, x_time;
    const std::uint8_t *mask;               // (rows, timesteps), 0 = skip; or null
    std::ptrdiff_t mask_row, mask_time;
    bool zero_output_for_mask;
    const T *input_dropout;                 // (rows, features) factors, or null
    std::ptrdiff_t input_dropout_row;
    const T *recurrent_dropout;             // (rows, units) factors, or null
    std::ptrdiff_t recurrent_dropout_row;
    bool inputs_by_gate, states_by_gate;    // whether there are such factors for each gate, one after another
    ByElement<T> multiply;                  // of x and h with their factors; null where there are none
    T *outputs;                             // (rows, timesteps, units), or null
    std::ptrdiff_t outputs_row, outputs_time;
    T *sums;                                // (rows, timesteps, lines * units): what a cell saves for the way back; or null
    std::ptrdiff_t sums_row, sums_time;
    T *last_output;                         // (rows, units); null in every block but the last, and where it is not wanted
    std::ptrdiff_t last_output_row;
    bool alone;                             // a call of one row
};

struct Stop {  // asked between stretches of work: has the call been interrupted?
    bool (*asked)(void *self);
    void *self;
};

// Terms of a sum of outer products: rows of a and b, each of them as far apart as all others.
template <class T> struct Terms {
    const T *a, *b;
    std::ptrdiff_t count;
};

// An engine, for one dtype. Its functions cannot fail, allocate or raise. The bits of a row may depend on `alone`, but
// on nothing else that is not in the row: not on its place among the others, nor on their number. (A BLAS cannot keep
// this; see `slice_rows`.)
template <class T> struct Product {
    // Elements of workspace that `step` needs for so many rows.
    std::ptrdiff_t (*workspace)(const Weights<T> *weights, std::ptrdiff_t rows);
    void (*step)(const Weights<T> *weights, const Step<T> *step, T *workspace);
    // out := x . kernel, (rows, gates * units), for many rows at once, such as the timesteps of one sequence; with the bits that `step`
    // has within. Null where a product of another shape has others.
    void (*project)(const Weights<T> *weights, std::ptrdiff_t rows, const T *x, std::ptrdiff_t x_stride, T *out,
                    std::ptrdiff_t out_stride, T *workspace);
    // c := c + a' . b, with c (height, width), and the rows of a and b where they lie: an element is one chain of all terms, added to c.
    void (*accumulate)(const Terms<T> *terms, std::ptrdiff_t some, std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t a_stride,
                       std::ptrdiff_t b_stride, T *c, std::ptrdiff_t c_stride, T *workspace);
    // Elements of workspace that it needs for so many rows.
    std::ptrdiff_t (*accumulate_workspace)(std::ptrdiff_t count, std::ptrdiff_t height, std::ptrdiff_t width);
    std::ptrdiff_t accumulate_height;  // for which it is fast
    // out := a, (rows, width)
    void (*copy)(std::ptrdiff_t rows, std::ptrdiff_t width, const T *a, std::ptrdiff_t a_stride, T *out, std::ptrdiff_t out_stride);
    // out := a + b, and out := a o b
    ByElement<T> add, multiply;
    // Elements of workspace that `run` needs for so many rows; 0 where it is not for these weights, and null where there is no `run`.
    std::ptrdiff_t (*run_workspace)(const Weights<T> *weights, std::ptrdiff_t rows);
    // Some timesteps of a block without dropout, `alone` or sums that are kept: its record is brought from the first to the last in
    // its place, and the outputs are filled. For at least `run_rows` rows, with the bits that `step` has.
    void (*run)(const Weights<T> *weights, const Block<T> *block, std::ptrdiff_t begin, std::ptrdiff_t end, const Record<T> *record,
                T *workspace);
    std::ptrdiff_t run_rows;
    bool run_masked;  // whether it takes a block with a mask
    // `step` and `project` for the columns of the sums from `begin` to `end`, of one row for `step`: two multiples of `shared_columns`, or
    // the end of all. An element has the same bits. Null, and 0, where a timestep cannot be divided.
    void (*step_part)(const Weights<T> *weights, const Step<T> *step, T *workspace, std::ptrdiff_t begin, std::ptrdiff_t end) = nullptr;
    void (*project_part)(const Weights<T> *weights, std::ptrdiff_t rows, const T *x, std::ptrdiff_t x_stride, T *out,
                         std::ptrdiff_t out_stride, T *workspace, std::ptrdiff_t begin, std::ptrdiff_t end) = nullptr;
    std::ptrdiff_t shared_columns = 0;
};

struct Load {  // what a call is to be cut for
    std::ptrdiff_t batch;
    int threads;            // that may share it
    double row_work;        // multiply-adds of a row, over all timesteps
    double weights_bytes;   // that each timestep reads
};

struct Engine {
    // Rows of a slice of the batch. For a BLAS it depends on the batch alone, and so the shape of every product does: it
    // may round a row differently in another shape.
    std::ptrdiff_t (*slice_rows)(const Load *load);
    void (*begin)();  // before the first slice of a call, and
    void (*end)();    // after its last
    Product<float> f32;
    Product<double> f64;
    bool transposed = false;  // whether `step` reads kernels_t
    const OnTiles *tiles = nullptr;  // products on matrix tiles: [0] as exact as float32, [1] of rounded operands; or null
};

}  // namespace cyrnn
