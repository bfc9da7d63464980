/* The operation table that every kind of layer fills in; network.c walks a list of them. */
#ifndef PYCNN_LAYER_H
#define PYCNN_LAYER_H

#include "activation.h"
#include "common.h"

typedef struct layer_ops layer_ops;

typedef struct {
    const layer_ops *ops;
    const activation_ops *activation;
    size_t fan_in, fan_out;
    size_t parameter_count;
    size_t offset; /* of its parameters in theta */
} layer;

/* What a layer reads and writes for one mini-batch; the buffers belong to the workspace. */
typedef struct {
    size_t batch;
    const double *input;      /* [fan_in,batch] */
    const double *input_rows; /* [batch,fan_in] the same, a row a sample; NULL in forward mode */
    double *z;                /* [fan_out,batch]; may be `output` where nobody reads z again */
    double *output;           /* [fan_out,batch] */
    double *output_rows;      /* [batch,fan_out]; NULL in forward mode and for the last layer */
    double *delta;            /* [fan_out,batch] dL/doutput, which backward turns into dL/dz */
    bool delta_is_dz;         /* ... unless the loss has done that already */
    double *delta_input;      /* [fan_in,batch] dL/dinput; NULL for the first layer */
} layer_io;

struct layer_ops {
    /* Sets fan_out, parameter_count and activation from the spec; fan_in is set. */
    int (*create)(layer *self, const pycnn_layer_spec *spec);
    /* input -> z, output (and output_rows). theta is this layer's own part. */
    void (*forward)(const layer *self, const double *theta, const layer_io *io);
    /* delta -> delta_input, and the sums over the mini-batch of the parameters' gradients: set
     * in grad, or with `accumulate` added to it. */
    void (*backward)(const layer *self, double *grad, const double *theta, const layer_io *io,
                     bool accumulate);
};

extern const layer_ops pycnn_dense_ops;

/* dst[columns,rows] = src[rows,columns]^T */
void pycnn_transpose(double *dst, const double *src, size_t rows, size_t columns);

#endif
