// Products whose operands are rounded to bfloat16.
#include "rounding.hpp"

#include <cstring>

namespace cyrnn {

namespace {

void project_rounded(const Weights<float> *weights, std::ptrdiff_t rows, const float *x, std::ptrdiff_t x_stride, float *out,
                     std::ptrdiff_t out_stride, float *workspace) {
    const std::ptrdiff_t features = weights->features;
    for (std::ptrdiff_t i = 0; i < rows; ++i) round_to_bfloat16(x + i * x_stride, features, workspace + i * features);
    weights->plain->project(weights, rows, workspace, features, out, out_stride, workspace + rows * weights->depth);
}

}  // namespace

void round_to_bfloat16(const float *from, std::ptrdiff_t count, float *out) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, from + i, sizeof bits);
        const std::uint32_t nearest = bits + 0x7fff + ((bits >> 16) & 1), quiet = bits | 0x400000;
        bits = ((bits & 0x7fffffff) > 0x7f800000 ? quiet : nearest) & 0xffff0000;
        std::memcpy(out + i, &bits, sizeof bits);
    }
}

std::ptrdiff_t workspace_rounded(const Weights<float> *weights, std::ptrdiff_t rows) {
    return rows * weights->depth + weights->plain->workspace(weights, rows);
}

void step_rounded(const Weights<float> *weights, const Step<float> *step, float *workspace) {
    const std::ptrdiff_t features = weights->features, of_h = weights->depth - features;
    float *const x = workspace, *const h = x + step->rows * features;
    Step<float> of_rounded = *step;
    for (std::ptrdiff_t i = 0; i < step->rows; ++i) {
        if (!step->projected) round_to_bfloat16(step->x_row(i), features, x + i * features);
        round_to_bfloat16(step->h + i * step->h_stride, of_h, h + i * of_h);
    }
    of_rounded.x = x, of_rounded.x_stride = features, of_rounded.beside = nullptr;
    of_rounded.h = h, of_rounded.h_stride = of_h;
    weights->plain->step(weights, &of_rounded, h + step->rows * of_h);
}

Product<float> rounded(const Product<float> &plain) {
    Product<float> product = plain;
    product.workspace = workspace_rounded;
    product.step = step_rounded;
    product.project = plain.project ? project_rounded : nullptr;
    product.run_workspace = nullptr, product.run = nullptr;
    product.step_part = nullptr, product.project_part = nullptr, product.shared_columns = 0;
    return product;
}

}  // namespace cyrnn
