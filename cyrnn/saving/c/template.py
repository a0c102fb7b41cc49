"""The C file that `source` fills in: what it says of itself, its declarations, its functions."""

from string import Template

FILE = Template("""\
/* $name: a recurrent network and its weights in C99, written by cyrnn $version.
 * It needs a C compiler and $headers, nothing else.
 *
$network
 *
 *   void ${name}_init(${name}_state *state);
 *       Begin a sequence, with $beginning.
 *
 *   void ${name}_step(${name}_state *state, $taken, $returned);
$about_step
 *
 *   void ${name}_forward(${name}_state *state, $taken, size_t timesteps, $returned_rows);
$about_forward
 *
 *   void ${name}_output(const ${name}_state *state, $returned);
 *       The output of the last timestep again. After a forward without outputs: that of the whole sequence.
 *
 * The state is all that changes: nothing is allocated, locked or kept elsewhere, and no call can fail or wait. Any
 * number of threads and sequences may run, each with a state of its own. A state is plain memory, and may be copied.
 *
 * Bytes: $constant_bytes of constants, $state_bytes in a state, $stack_bytes in arrays on the stack.
 * NaN and infinity go through as in Keras, if the compiler lets them (not with -ffast-math).
 *
 * The file is its own header: with ${prefix}_DECLARATIONS_ONLY defined it declares, and defines nothing.
 * C++ compilers take it too; the hexadecimal weights are standard from C++17 on.
 *
 * Example, from a line of inputs for each timestep to a line of outputs:   cc -O3 main.c $file -lm
 *
 *     #include <stdio.h>
 *     #define ${prefix}_DECLARATIONS_ONLY
 *     #include "$file"
 *
 *     int main(void) {
$example
 *     }
 */

#ifndef ${name}_DECLARED
#define ${name}_DECLARED

#include <stddef.h>
$integers
#ifdef __cplusplus
extern "C" {
#endif

$macros

typedef struct {
$members
} ${name}_state;

void ${name}_init(${name}_state *state);
void ${name}_step(${name}_state *state, $taken, $returned);
void ${name}_forward(${name}_state *state, $taken, size_t timesteps, $returned_rows);
void ${name}_output(const ${name}_state *state, $returned);

#ifdef __cplusplus
}
#endif

#endif

#if !defined ${prefix}_DECLARATIONS_ONLY && !defined ${name}_DEFINED
#define ${name}_DEFINED

#include <math.h>

/* ---- Weights, exact to the bit. Kernels: (inputs, units) */

$constants
/* ---- Activations: y = f(z), rows of so many units; z and y may be one */
$activations
/* ---- The network. Each inner loop adds a multiple of a kernel's row: unit stride, and no sum across lanes */

void ${name}_init(${name}_state *state) {
$init
}

void ${name}_output(const ${name}_state *state, $returned) {
$output
}

void ${name}_step(${name}_state *state, $taken, $returned) {
$step

    if ($wanted) ${name}_output(state, $arguments);
}

void ${name}_forward(${name}_state *state, $taken, size_t timesteps, $returned_rows) {
    for (size_t t = 0; t < timesteps; ++t)
        ${name}_step(state, $ahead, $filled);
}

#endif
""")
