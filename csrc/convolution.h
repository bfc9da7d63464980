/* Convolution: how windows move over an image, and its kernels.
 *
 * An image is [rows,columns,features], features fastest; in a slice each of its numbers is a row of
 * samples, `stride` apart, and of one sample alone a single number. */
#ifndef PYCNN_CONVOLUTION_H
#define PYCNN_CONVOLUTION_H

#include "normalization.h"

/* What is summed up is a correlation: out[y,x,f] is the sum over taps (k,l) and features c of
 * W[f,k,l,c] in[y',x',c] with y' = y stride + k dilation - before, and x' alike; taps that read
 * beside the image are left out. The delta of the input is such a sum too, over the taps of the
 * flipped filter: then y' = (y + k dilation - before) / stride, for those k that make it whole. */
typedef struct {
    size_t in[2], out[2]; /* rows and columns of what is read and of what is written */
    size_t in_features, out_features;
    size_t taps[2], strides[2], dilation[2], before[2];
    bool backward; /* it is the delta of the input */
    /* W[f,k,l,c] is weights[f filter_step + k tap_steps[0] + l tap_steps[1] + c feature_step]. */
    ptrdiff_t filter_step, tap_steps[2], feature_step;
} convolution;

/* Rows or columns of `out`, `places` of them from `place` on and place_step apart, that have the
 * same taps: first, first + step, ..., which read the rows or columns of `in` at, at + at_step,
 * ...; those of the next place are at_next further. */
typedef struct {
    size_t count, first, step, at, at_step, at_next;
    size_t place, place_step, places;
} tap_run;

/* All rows and columns of `out`. */
typedef struct {
    const tap_run *rows, *columns;
    size_t row_count, column_count;
} tap_runs;

typedef struct {
    /* out[out[0],out[1],out_features,stride] of one slice; each sum is one chain over the taps in
     * their order, and their features, with the bias behind it, or NULL. With a stride of 1 it is
     * one sample, and filter_step must be 1. */
    void (*convolve)(double *out, const double *in, size_t stride, const convolution *self,
                     const tap_runs *runs, const double *weights, const double *bias);

    /* sums[filters,weights_of(self) + 1,CHAINS] += delta @ in, over all positions of up to CHAINS
     * samples, sample i into chain i; of the filters first ... first + filters - 1. Samples of
     * delta[out[0],out[1],out_features] and of in[in[0],in[1],in_features] are `stride` apart, as
     * those of a slice are. The last column is the bias's. scratch[gradient_scratch()] */
    void (*add_gradient)(double *sums, const double *delta, const double *in, size_t stride,
                         size_t samples, const convolution *self, size_t first, size_t filters,
                         double *scratch);
} convolution_kernels;

/* Weights of a filter. */
static inline size_t weights_of(const convolution *self)
{
    return self->taps[0] * self->taps[1] * self->in_features;
}

/* Positions of what is written, where both are sequences; else 0. */
static inline size_t sequence_of(const convolution *self)
{
    return self->in[0] == 1 && self->out[0] == 1 ? self->out[1] : 0;
}

/* Rows (axis 0) or columns of the image once it is padded: as far as taps read, `before` in front
 * included. */
static inline size_t padded(const convolution *self, int axis)
{
    return (self->out[axis] - 1) * self->strides[axis] +
           (self->taps[axis] - 1) * self->dilation[axis] + 1;
}

/* Positions and filters whose deltas lie together for a gradient: so many fit the first-level
 * cache. The filters are at least a kernel's tile. */
enum { POSITIONS_TOGETHER = 32, FILTERS_TOGETHER = 8 };

/* Doubles that a gradient needs: the padded image and some deltas of up to CHAINS samples, and
 * where each weight's input lies. */
static inline int gradient_scratch(size_t *count, const convolution *self)
{
    size_t area = 0, image = 0;
    TRY(add_product(&area, padded(self, 0), padded(self, 1)));
    TRY(add_product(&image, area, self->in_features));
    TRY(add_product(count, image, CHAINS));
    TRY(add_product(count, weights_of(self), 1));
    return add_product(count, (size_t)POSITIONS_TOGETHER * FILTERS_TOGETHER, CHAINS);
}

extern PYCNN_PRIVATE const convolution_kernels pycnn_convolution_baseline;

#endif
