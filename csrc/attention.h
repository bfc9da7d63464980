/* Attention: its kernel, a product of two matrices whose elements are rows of samples. */
#ifndef PYCNN_ATTENTION_H
#define PYCNN_ATTENTION_H

#include "common.h"

/* Of some samples side by side, `width` of them: out[rows,columns] = a[rows,depth] @
 * b[depth,columns], for each of them its own. An element is a row of `width` numbers, and how far
 * it is to the next one along each side is said in doubles. */
typedef struct {
    size_t rows, columns, depth;
    bool deeper; /* each row sums one term more than that before it, the first `depth` */
    bool onto;   /* the chains go on from what is in out */
    size_t out_row, out_column, a_row, a_depth, b_depth, b_column;
    double factor; /* of all sums */
} sample_product;

typedef struct {
    /* Each sum is one chain; width is a multiple of lanes. */
    void (*multiply)(double *out, const double *a, const double *b, const sample_product *shape,
                     size_t width);
} attention_kernels;

extern PYCNN_PRIVATE const attention_kernels pycnn_attention_baseline;

#endif
