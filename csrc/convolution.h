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

/* The taps first, first + step, ... that a row or column of `out` has, and the rows or columns of
 * `in` that they read: at, at + at_step, ... */
typedef struct {
    size_t count, first, step, at, at_step;
} tap_run;

typedef struct {
    /* out[out[0],out[1],out_features,stride] of one slice; each sum is one chain over the taps in
     * their order, and their features, with the bias behind it, or NULL. rows[out[0]] and
     * columns[out[1]] are the taps of each row and column. With a stride of 1 it is one sample,
     * and filter_step must be 1. */
    void (*convolve)(double *out, const double *in, size_t stride, const convolution *self,
                     const tap_run *rows, const tap_run *columns, const double *weights,
                     const double *bias);

    /* sums[filters,taps[0] taps[1] in_features + 1,CHAINS] += delta @ in, over all positions of
     * up to CHAINS samples, sample i into chain i; for the filters first ... first + filters - 1 of
     * delta[out[0],out[1],out_features,delta_stride], where in[in[0],in[1],in_features,in_stride]
     * has been padded, so that no tap reads beside it. The last column is the bias's. */
    void (*add_gradient)(double *sums, const double *delta, size_t delta_stride, const double *in,
                         size_t in_stride, size_t samples, const convolution *self, size_t first,
                         size_t filters);
} convolution_kernels;

extern PYCNN_PRIVATE const convolution_kernels pycnn_convolution_baseline;

#endif
