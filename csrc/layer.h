/* The operation table that every kind of layer fills in; network.c walks a list of them. */
#ifndef PYCNN_LAYER_H
#define PYCNN_LAYER_H

#include "kernels.h"

typedef struct layer_ops layer_ops;

typedef struct {
    const layer_ops *ops;
    const kernel_table *kernels;
    const activation_ops *activation;
    size_t fan_in, fan_out;
    size_t parameter_count;
    size_t offset;       /* of its parameters in theta */
    size_t weight_count; /* of these, in front, are weights: the ones that are penalized */
    double l1, l2;
} layer;

/* What a layer reads and writes for one slice of a mini-batch; the buffers belong to the workspace.
 *
 * [units,batch] matrices have rows `stride` apart, a multiple of the kernels' lanes: what lies
 * between batch and stride is computed along and never read for a result. [batch,units] matrices
 * have rows padded likewise, with a 1 behind the last unit: the input of the bias. */
typedef struct {
    size_t batch, stride;
    const double *input;      /* [fan_in,batch] */
    const double *input_rows; /* [batch,fan_in] the same, a row a sample; NULL in forward mode */
    size_t input_row_stride;
    double *z;           /* [fan_out,batch]; may be `output` where nobody reads z again */
    double *output;      /* [fan_out,batch] */
    double *output_rows; /* [batch,fan_out]; NULL in forward mode and for the last layer */
    size_t output_row_stride;
    double *delta;       /* [fan_out,batch] dL/doutput, which backward turns into dL/dz */
    bool delta_is_dz;    /* ... unless the loss has done that already */
    double *delta_input; /* [fan_in,batch] dL/dinput; NULL for the first layer */
} layer_io;

struct layer_ops {
    /* Sets fan_out, parameter_count and activation from the spec; fan_in and kernels are set. */
    int (*create)(layer *self, const pycnn_layer_spec *spec);
    /* input -> z, output (and output_rows). theta is this layer's own part. */
    void (*forward)(const layer *self, const double *theta, const layer_io *io);
    /* delta = dL/doutput -> dL/dz, and delta_input. */
    void (*backward)(const layer *self, const double *theta, const layer_io *io);
    /* The part-th of `slices` parts of this layer's gradient, summed over the samples of all slices
     * io[slices], into `out`: this layer's part of a gradient or, with GRADIENT_DESCEND, of theta.
     */
    void (*gradient)(const layer *self, double *out, gradient_use use, double step,
                     const layer_io *io, size_t slices, size_t part);
};

extern const layer_ops pycnn_dense_ops;

#endif
