"""The C file that `c_source` fills in: what it says of itself, its declarations, its functions."""

from string import Template

FILE = Template("""\
/* $name: a recurrent network and its weights in C99, written by cyrnn $version.
 * It needs a C compiler and <math.h>, nothing else.
 *
$network
 *
 *   void ${name}_init(${name}_state *state);
 *       Begin a sequence, with $beginning.
 *
 *   void ${name}_step(${name}_state *state, const $real *x, $real *output);
 *       One timestep. x: (${prefix}_FEATURES), output: (${prefix}_UNITS), or NULL if it is not wanted.
 *       The two may be the same memory, or overlap in any way.
 *
 *   void ${name}_forward(${name}_state *state, const $real *x, size_t timesteps, $real *outputs);
 *       As many steps, on from where the state is: the same bits as one by one.
 *       x: (timesteps, ${prefix}_FEATURES), outputs: (timesteps, ${prefix}_UNITS), or NULL if only the
 *       state shall move. $sharing
 *
 *   void ${name}_output(const ${name}_state *state, $real *output);
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
 * Example, from lines of $features to lines of $units:   cc -O3 main.c $file -lm
 *
 *     #include <stdio.h>
 *     #define ${prefix}_DECLARATIONS_ONLY
 *     #include "$file"
 *
 *     int main(void) {
 *         ${name}_state state;
 *         $real x[${prefix}_FEATURES], output[${prefix}_UNITS];
 *
 *         ${name}_init(&state);
 *         for (;;) {
 *             for (int i = 0; i < ${prefix}_FEATURES; ++i)
 *                 if (scanf("$scan", &x[i]) != 1) return 0;
 *             ${name}_step(&state, x, output);
 *             for (int i = 0; i < ${prefix}_UNITS; ++i) printf("$print ", (double)output[i]);
 *             printf("\\n");
 *         }
 *     }
 */

#ifndef ${name}_DECLARED
#define ${name}_DECLARED

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${prefix}_FEATURES $features
#define ${prefix}_UNITS $units

typedef struct {
$members
} ${name}_state;

void ${name}_init(${name}_state *state);
void ${name}_step(${name}_state *state, const $real *x, $real *output);
void ${name}_forward(${name}_state *state, const $real *x, size_t timesteps, $real *outputs);
void ${name}_output(const ${name}_state *state, $real *output);

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

void ${name}_output(const ${name}_state *state, $real *output) {
$output
}

void ${name}_step(${name}_state *state, const $real *x, $real *output) {
$step

    if (output) ${name}_output(state, output);
}

void ${name}_forward(${name}_state *state, const $real *x, size_t timesteps, $real *outputs) {
    for (size_t t = 0; t < timesteps; ++t)
        ${name}_step(state, x + t * ${prefix}_FEATURES, outputs ? outputs + t * ${prefix}_UNITS : NULL);
}

#endif
""")
