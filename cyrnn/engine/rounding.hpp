// Products whose operands are rounded to bfloat16, on any engine: it computes them of rounded copies.
#pragma once

#include "contract.hpp"

namespace cyrnn {

// out := the nearest bfloat16, of two the even one. A NaN stays one.
void round_to_bfloat16(const float *from, std::ptrdiff_t count, float *out);

// As those of `weights->plain`, for weights that have been rounded.
std::ptrdiff_t workspace_rounded(const Weights<float> *weights, std::ptrdiff_t rows);
void step_rounded(const Weights<float> *weights, const Step<float> *step, float *workspace);
Product<float> rounded(const Product<float> &plain);

}  // namespace cyrnn
