/* Kernels of the pooling layers: they go once over each number of a window. There is no fused
 * multiply-add here: the plain kernels give the same bits as the others. */
#ifndef PYCNN_POOL_H
#define PYCNN_POOL_H

#include "common.h"

/* What a window covers of an image: numbers [rows,columns,width], rows `row_step` apart. Those side
 * by side are the features of all samples of a slice, each for itself. */
typedef struct {
    size_t rows, columns, row_step, width;
    bool shared; /* other windows may cover some of it too */
} pool_window;

/* out[width] from in[window] */
typedef void pool_function(double *out, const double *in, const pool_window *window);

/* delta_input[window] = what comes of delta[width], or += where it is shared */
typedef void pool_delta_function(double *delta_input, const double *delta, const double *in,
                                 const double *out, const pool_window *window);

typedef struct {
    pool_function *largest; /* a NaN where there is one */
    pool_function *mean;    /* one chain over rows and columns, divided by their number */
    /* All of delta to the number that the largest was, of equal ones the first. */
    pool_delta_function *give_to_largest;
    /* To each an equal part. */
    pool_delta_function *give_to_all;
} pool_kernels;

extern PYCNN_PRIVATE const pool_kernels pycnn_pool_baseline;

#endif
