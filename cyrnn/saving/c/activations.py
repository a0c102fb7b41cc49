"""The activations in C: what `export_c` writes into a file, of these only those that are used.

The formulas are the engine's (`engine/activations.hpp`) on the functions of <math.h>: rearranged where the plain form
overflows or cancels, and NaN and infinity go through as there. A comparison with NaN is false, so in each clamp NaN is
what stays. `$real` is float or double, `$f` the suffix of its literals and functions, `$name` the prefix of the file.
"""

from string import Template

_BY_ELEMENT = """
/* $formula */
static void ${name}_$activation(const $real *z, $real *y, size_t units) {
    for (size_t i = 0; i < units; ++i) {
        const $real x = z[i];
$body
    }
}
"""

# name: the formula, and the lines that compute y[i] from x
_FORMULAS = {
    "linear": ("y = z", "y[i] = x;"),
    # ---- piecewise linear and quadratic
    "relu": ("y = max(z, 0)", "y[i] = x < 0 ? 0 : x;"),
    "relu6": ("y = clip(z, 0, 6)", "y[i] = x < 0 ? 0 : x > 6 ? 6 : x;"),
    "leaky_relu": ("y = z, and 0.2 z below 0", "y[i] = x < 0 ? x * 0.2$f : x;"),
    "hard_tanh": ("y = clip(z, -1, 1)", "y[i] = x < -1 ? -1 : x > 1 ? 1 : x;"),
    "hard_sigmoid": (
        "y = clip(z / 6 + 1 / 2, 0, 1), exact near -3",
        "const $real c = x + 3;\ny[i] = (c < 0 ? 0 : c > 6 ? 6 : c) * (1 / 6.0$f);",
    ),
    "hard_sigmoid_keras2": (
        "y = clip(z / 5 + 1 / 2, 0, 1)",
        "const $real c = x * 0.2$f + 0.5$f;\ny[i] = c < 0 ? 0 : c > 1 ? 1 : c;",
    ),
    "hard_silu": (
        "y = z clip(z / 6 + 1 / 2, 0, 1)",
        "const $real c = x + 3;\ny[i] = x * ((c < 0 ? 0 : c > 6 ? 6 : c) * (1 / 6.0$f));",
    ),
    "hard_shrink": ("y = z where |z| > 1 / 2, else 0, for NaN too", "y[i] = fabs$f(x) > 0.5$f ? x : 0;"),
    "soft_shrink": (
        "y = z moved by 1 / 2 towards 0, and 0 where |z| <= 1 / 2, for NaN too",
        "y[i] = x > 0.5$f ? x - 0.5$f : x < -0.5$f ? x + 0.5$f : 0;",
    ),
    "sparse_sigmoid": (
        "y = clip((z + 1) / 2, 0, 1)",
        "const $real half = (x + 1) * 0.5$f;\ny[i] = half < 0 ? 0 : half > 1 ? 1 : half;",
    ),
    "sparse_plus": (
        "y = 0 up to -1, (z + 1)^2 / 4, z from 1 on",
        "const $real half = x < -1 ? 0 : (x + 1) * 0.5$f;\ny[i] = x < 1 ? half * half : x;",
    ),
    # ---- exponentials; u = e^-|x| is never above 1, so nothing overflows
    "exponential": ("y = e^z", "y[i] = exp$f(x);"),
    "elu": ("y = z, and e^z - 1 below 0", "y[i] = x > 0 ? x : expm1$f(x);"),
    "celu": ("y = z, and e^z - 1 below 0", "y[i] = x > 0 ? x : expm1$f(x);"),
    "selu": (
        "y = 1.05 z, and 1.76 (e^z - 1) below 0",
        "y[i] = x > 0 ? x * 1.0507009873554805$f : expm1$f(x) * 1.7580993408473766$f;",
    ),
    "sigmoid": (
        "y = 1 / (1 + e^-z)",
        "const $real u = exp$f(-fabs$f(x)); /* cannot overflow */\ny[i] = (x < 0 ? u : 1) / (1 + u);",
    ),
    "silu": (
        "y = z / (1 + e^-z)",
        "const $real u = exp$f(-fabs$f(x)); /* cannot overflow */\ny[i] = x * ((x < 0 ? u : 1) / (1 + u));",
    ),
    "tanh": ("y = tanh z", "y[i] = tanh$f(x);"),
    "softplus": (
        "y = log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)",
        "y[i] = (x < 0 ? 0 : x) + log1p$f(exp$f(-fabs$f(x)));",
    ),
    "log_sigmoid": (
        "y = -log(1 + e^-z) = min(z, 0) - log(1 + e^-|z|)",
        "y[i] = (x > 0 ? 0 : x) - log1p$f(exp$f(-fabs$f(x)));",
    ),
    "mish": (
        "y = z tanh(log(1 + e^z)) = z v / (v + 2), v = e^z (e^z + 2); above 0 both are divided by e^2z",
        "const $real u = exp$f(-fabs$f(x)); /* cannot overflow */\n"
        "const $real top = x < 0 ? u * (u + 2) : 1 + 2 * u;\n"
        "y[i] = x * (top / (top + (x < 0 ? 2 : 2 * u * u)));",
    ),
    "gelu": ("y = z Phi(z), Phi of the normal distribution", "y[i] = x * (0.5$f * erfc$f(x * -0.7071067811865476$f));"),
    # ---- algebraic
    "softsign": ("y = z / (|z| + 1)", "y[i] = x / (fabs$f(x) + 1);"),
    "squareplus": (
        "y = (z + r) / 2, and below 0, where that cancels, 2 / (r - z); r = sqrt(z^2 + 4)",
        "const $real a = fabs$f(x);\n"
        "const $real r = a < $far ? sqrt$f(a * a + 4) : a; /* from there on the 4 is lost, and a * a may overflow */\n"
        "y[i] = x < 0 ? 2 / (r - x) + (x - x) : x * 0.5$f + r * 0.5$f; /* x - x: -infinity gives NaN, as in Keras */",
    ),
    "tanh_shrink": (
        "y = z - tanh z, and near 0, where that cancels, z c / (1 + c); c = z^2 / (3 + z^2 / (5 + z^2 / (7 + ...)))",
        "$real c = 0;\n"
        "for (int k = $terms; k > 1; k -= 2) c = x * x / (($real)k + c);\n"
        "y[i] = fabs$f(x) < 1.5$f ? x * (c / (1 + c)) : x - tanh$f(x);",
    ),
}

# Those that need the whole row. NaN or infinity in it gives NaN everywhere; -infinity gives 0, its logarithm -infinity.
BY_ROW = {
    "softmax": """
/* y = e^(z - max z) / sum e^(z - max z) */
static void ${name}_softmax(const $real *z, $real *y, size_t units) {
    $real most = -$infinity, total = 0, lost = 0;

    for (size_t i = 0; i < units; ++i) most = z[i] > most ? z[i] : most;
    for (size_t i = 0; i < units; ++i) {
        const $real e = exp$f(z[i] - most), before = total;
        total = before + e;
        const $real added = total - before;
        lost += (before - (total - added)) + (e - added); /* what rounding took from the total */
        y[i] = e;
    }
    total += lost;
    for (size_t i = 0; i < units; ++i) y[i] /= total;
}
""",
    "log_softmax": """
/* y = z - max z - log sum e^(z - max z) */
static void ${name}_log_softmax(const $real *z, $real *y, size_t units) {
    $real most = -$infinity, total = 0, lost = 0;

    for (size_t i = 0; i < units; ++i) most = z[i] > most ? z[i] : most;
    for (size_t i = 0; i < units; ++i) {
        const $real e = exp$f(z[i] - most), before = total;
        total = before + e;
        const $real added = total - before;
        lost += (before - (total - added)) + (e - added); /* what rounding took from the total */
    }
    const $real log_total = log$f(total) + lost / total;
    for (size_t i = 0; i < units; ++i) y[i] = z[i] - most - log_total;
}
""",
    "sparsemax": """
/* y = max(z - tau, 0), tau = (s_1 + ... + s_k - 1) / k, s_i the sum of the i largest,
 * k the last i for which the i-th largest is above (s_i - 1) / i. So Keras has it; the paper has s_k alone in tau.
 * Nothing is sorted: each pass finds the next largest value, and how often it is there. */
static void ${name}_sparsemax(const $real *z, $real *y, size_t units) {
    double size = 0, sum = 0, sum_of_sums = 0, undefined = 0;
    $real value = -$infinity;
    int inside = 1;

    for (size_t i = 0; i < units; ++i) {
        value = z[i] > value ? z[i] : value;
        undefined += z[i] < 0 ? 0 : (double)(z[i] - z[i]); /* NaN where z is NaN or infinity */
    }
    while (inside) {
        $real next = -$infinity;
        size_t copies = 0;
        for (size_t i = 0; i < units; ++i) {
            if (z[i] == value) ++copies;
            if (z[i] < value && z[i] > next) next = z[i];
        }
        for (inside = 0; copies > 0; --copies) {
            const double largest = (double)value;
            inside = largest - (sum + largest - 1) / (size + 1) > 0;
            if (!inside) break;
            sum += largest;
            sum_of_sums += sum;
            ++size;
        }
        value = next;
    }
    const $real tau = ($real)((sum_of_sums - 1) / size + undefined);
    for (size_t i = 0; i < units; ++i) {
        const $real above = z[i] - tau;
        y[i] = above < 0 ? 0 : above;
    }
}
""",
}

ACTIVATIONS = frozenset([*_FORMULAS, *BY_ROW])

_TYPES = {
    "float": {"f": "f", "far": "0x1p20f", "terms": "11", "infinity": "HUGE_VALF"},
    "double": {"f": "", "far": "0x1p40", "terms": "19", "infinity": "HUGE_VAL"},
}


def function(activation: str, name: str, real: str) -> str:
    """The C function ``<name>_<activation>(z, y, units)``, which may work in place; `real` is "float" or "double"."""
    words = {"name": name, "real": real, "activation": activation, **_TYPES[real]}
    if activation in BY_ROW:
        return Template(BY_ROW[activation]).substitute(words)
    formula, body = _FORMULAS[activation]
    lines = Template(body).substitute(words).splitlines()
    words |= {"formula": formula, "body": "\n".join(" " * 8 + line for line in lines)}
    return Template(_BY_ELEMENT).substitute(words)
