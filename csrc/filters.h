/* Filters that share their weights over all positions of an image or a sequence, for the layers
 * that have some: what their sums need besides the kernels of convolution.h. A filter of one tap is
 * a dense unit at each position. */
#ifndef PYCNN_FILTERS_H
#define PYCNN_FILTERS_H

#include "layer.h"

/* The same windows as the delta of the input sees them: those of the flipped filters. */
PYCNN_PRIVATE convolution pycnn_filters_backwards(const convolution *forward);

/* A convolution of one tap: from some features to others at each of so many positions. */
PYCNN_PRIVATE convolution pycnn_filters_of_positions(size_t positions, size_t in_features,
                                                     size_t out_features);

/* *most = the doubles of scratch that any of these needs, or as many as it has been. */
PYCNN_PRIVATE int pycnn_filters_scratch(size_t *most, const convolution *forward);

/* out = the sums of weights[filters,taps,features], and bias[filters], or NULL, for one slice. */
PYCNN_PRIVATE void pycnn_filters_forward(const kernel_table *kernels, const convolution *forward,
                                         double *out, const double *in, size_t stride,
                                         const double *weights, const double *bias,
                                         double *scratch);

/* packed[taps,features,filters] = weights[filters,taps,features]: where one sample is alone the
 * filters lie side by side. */
PYCNN_PRIVATE void pycnn_filters_pack(const kernel_table *kernels, const convolution *forward,
                                      double *packed, const double *weights);

/* The same as `forward` for one sample, by such weights. */
PYCNN_PRIVATE void pycnn_filters_forward_packed(const kernel_table *kernels,
                                                const convolution *forward, double *out,
                                                const double *in, const double *packed,
                                                const double *bias, double *scratch);

/* delta_input = the deltas that each input has a part in, for one slice. */
PYCNN_PRIVATE void pycnn_filters_backward(const kernel_table *kernels, const convolution *backward,
                                          double *delta_input, const double *delta, size_t stride,
                                          const double *weights, double *scratch);

/* What some filters' gradient is made of in a slice: their delta and what they have read. */
typedef struct {
    const double *delta, *input;
} filter_terms;
typedef filter_terms filter_terms_of(const layer *self, const layer_io *io);

/* The gradient of the filters first ... last - 1, and where it goes. */
typedef struct {
    const convolution *forward;
    double *weights, *bias; /* of all filters; bias may be NULL */
    gradient_use use;
    double step;
    size_t first, last;
    double *scratch;
} filter_gradient;

/* In CHAINS chains by the sample, each over all positions of a sample, then the next. */
PYCNN_PRIVATE void pycnn_filters_gradient(const layer *self, const filter_gradient *what,
                                          const layer_io *io, size_t slices,
                                          filter_terms_of *terms);

#endif
