/* The table of kernels: one row for each instruction set. */
#ifndef PYCNN_KERNELS_H
#define PYCNN_KERNELS_H

#include "activation.h"
#include "attention.h"
#include "convolution.h"
#include "loss.h"
#include "normalization.h"
#include "online.h"
#include "optimizer.h"
#include "pool.h"
#include "recurrent.h"

/* What becomes of a gradient's sum over a mini-batch. */
typedef enum {
    GRADIENT_SET,         /* out  = sum */
    GRADIENT_ADD,         /* out += sum, in the same chain: one sum over several mini-batches */
    GRADIENT_DESCEND,     /* out -= step * sum */
    GRADIENT_DESCEND_AWAY /* the same, past this core's caches: it is others who read it next */
} gradient_use;

static inline bool descends(gradient_use use) { return use >= GRADIENT_DESCEND; }

/* How samples are stored that come in: near; past the caches where another thread reads their rows
 * next, far from this one; or their columns too. */
typedef enum { GATHER_NEAR, GATHER_ROWS_AWAY, GATHER_AWAY } gather_way;

enum { MOST_LANES = 8, LINE = 8 /* numbers of a cache line */ };

static inline bool begins_line(const double *p) { return (uintptr_t)p % (LINE * sizeof *p) == 0; }

/* What a product reads and writes of one slice: a panel of samples. */
typedef struct {
    double *out;      /* [rows,stride] */
    const double *in; /* [depth,stride] */
    size_t stride;
} product_panel;

/* The delta of one slice, as a gradient sums over its samples. */
typedef struct {
    const double *delta; /* [fan_out,batch] rows `stride` apart */
    size_t stride, batch;
    /* Of a sequence: delta[positions,height,batch], and the sum goes over the samples of all slices
     * at the first position, then at the next. positions is 0 where there is but one delta. */
    size_t positions, height;
} gradient_terms;

/* Chunks of a mini-batch at most, for a thread each, and slices. */
enum { MOST_CHUNKS = 64, MOST_SLICES = 256 };

typedef struct {
    const char *name;
    unsigned feature;   /* of pycnn_cpu_features(); 0: runs everywhere */
    size_t lanes;       /* rows of activations are padded to a multiple of this */
    size_t panel;       /* numbers side by side that a register tile takes, of samples or units */
    size_t least_width; /* a network none of whose layers is as wide does better with another */
    size_t block;       /* doubles that a product may copy at a time */

    /* out[rows,stride] = M[rows,depth] @ in[depth,stride] + bias[rows] for panels[count], where M's
     * element (r,k) is matrix[r * row_stride + k * column_stride] and bias may be NULL: W @ A + b
     * and W^T @ delta. Each sum is one chain over k. A stride is a multiple of lanes, or 1 for one
     * sample, then alone; `out` has room for whole vectors. What is copied goes to scratch[block].
     */
    void (*product)(const product_panel *panels, size_t count, const double *matrix,
                    size_t row_stride, size_t column_stride, const double *bias, size_t rows,
                    size_t depth, double *scratch);

    /* The same with `out` in front of the sum: its chains go on. */
    void (*product_onto)(const product_panel *panels, size_t count, const double *matrix,
                         size_t row_stride, size_t column_stride, const double *bias, size_t rows,
                         size_t depth, double *scratch);

    /* out[stride] = in[depth] @ columns[depth,stride] + columns[depth]: one sample, its units along
     * vectors, in the same chains as a product's. The stride is a multiple of lanes. */
    void (*combine)(double *out, const double *columns, size_t stride, const double *in,
                    size_t depth);

    /* sum[rows,fan_in+1] = delta[rows,batch] @ inputs[batch,fan_in+1], each sum one chain over the
     * samples of terms[0], then those of terms[1], ... The rows are those of delta from `first` on.
     * `inputs` are panels, `distance` apart, each [batch,panel], of a sequence one such behind the
     * other. The last column is that of the bias, and must hold ones, though not each kernel reads
     * it; where bias is NULL there is none. */
    void (*gradient)(double *weight, double *bias, gradient_use use, double step,
                     const gradient_terms *terms, size_t count, const double *inputs,
                     size_t distance, size_t first, size_t rows, size_t fan_in);

    /* theta[count] -= step * grad[count] */
    void (*descend)(double *theta, const double *grad, double step, size_t count);

    /* dst[columns,rows] = src[rows,columns]^T; the strides are those of rows in memory. */
    void (*transpose)(double *dst, size_t dst_stride, const double *src, size_t src_stride,
                      size_t rows, size_t columns);

    /* The same, past the caches; NULL: there are no such stores. */
    void (*transpose_away)(double *dst, size_t dst_stride, const double *src, size_t src_stride,
                           size_t rows, size_t columns);

    /* panels[.,panel], `distance` apart = row[count]; next[count] is the row that comes next, whose
     * place in memory no processor foresees, or NULL. */
    void (*pack)(double *panels, size_t distance, const double *row, const double *next,
                 size_t count);

    /* The same of `lanes` rows x[lanes], and columns[count,lanes] = x^T, whose rows are `stride`
     * apart; next[lanes] come next, or are x again. Past the caches go whole lines alone. NULL:
     * there is no such kernel. */
    void (*gather)(double *panels, size_t distance, double *columns, size_t stride, gather_way way,
                   const double *const *x, const double *const *next, size_t count);

    const activation_ops *activations; /* [PYCNN_ACTIVATION_COUNT] */
    loss_function *const *losses;      /* [PYCNN_LOSS_COUNT] */
    update_function *const *updates;   /* [PYCNN_OPTIMIZER_COUNT] */

    void (*regularize)(double *grad, const double *theta, const regularization *how, size_t count);

    /* The sum of l1 |x| + l2/2 x^2 over x[count], in eight chains. */
    double (*penalty)(const double *x, double l1, double l2, size_t count);

    const normalization_kernels *normalization;
    const convolution_kernels *convolution;
    const attention_kernels *attention;
    const pool_kernels *pool;
    const recurrent_kernels *recurrent;
    const online_kernels *online; /* [ONLINE_KINDS]; NULL: there are none */
} kernel_table;

extern PYCNN_PRIVATE const kernel_table pycnn_kernels_baseline;
extern PYCNN_PRIVATE const kernel_table pycnn_kernels_avx2;
extern PYCNN_PRIVATE const kernel_table pycnn_kernels_avx512;
extern PYCNN_PRIVATE const kernel_table pycnn_kernels_neon;
extern PYCNN_PRIVATE const kernel_table pycnn_kernels_wasm;

/* The best table that may run here for a network whose widest layer has `width` units; the
 * environment variable PYCNN_ISA names another one. NULL when what it names is unknown or may not
 * run here. */
PYCNN_PRIVATE const kernel_table *pycnn_kernels_find(size_t width);

/* What `combine` reads: columns[fan_in+1,stride] = W^T, and b behind it, of weight[units,fan_in]
 * and bias[units]. What lies between units and stride stays as it is. */
PYCNN_PRIVATE void pycnn_make_columns(double *columns, size_t stride, const double *weight,
                                      const double *bias, const kernel_table *kernels, size_t units,
                                      size_t fan_in);

/* Whether they compute what is written, to the bit: where options of the compiler that no macro
 * tells of have fused or reordered it, the functions' values are others. */
PYCNN_PRIVATE bool pycnn_kernels_exact(const kernel_table *kernels);

/* The Euclidean norm of x[count]. Where its square overflows, x is divided by a power of two first,
 * by which the norm is smaller too: *shrunk is the factor, else 1. */
PYCNN_PRIVATE double pycnn_norm(double *shrunk, double *x, const kernel_table *kernels,
                                size_t count);

/* What holds a vector to a norm of `most` at most, from what pycnn_norm() has found. */
PYCNN_PRIVATE double pycnn_norm_scale(double most, double norm, double shrunk);

/* Scales x[count] down to a norm of `most`, where it has a larger one. */
PYCNN_PRIVATE void pycnn_hold_norm(double *x, double most, const kernel_table *kernels,
                                   size_t count);

static inline size_t round_up(size_t value, size_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

#endif
