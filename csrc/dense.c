/* The dense layer: a = f(W @ input + b), its delta and its gradients.
 *
 * These are the plain kernels: portable C, no vector types, no fused multiply-add. Every sum runs
 * in one chain in index order, so a sample's result depends neither on the samples beside it nor
 * on how the compiler vectorises. Weights are read where they lie, row-major, in both directions.
 */
#include "layer.h"

/* Samples whose sums are carried in registers at a time: 16 doubles fill half of SSE2's file. */
#define TILE 16

/* out[rows,batch] = M[rows,depth] @ in[depth,batch], where M's element (r,k) is
 * matrix[r * row_stride + k * column_stride]: one kernel for W @ A and for W^T @ delta. */
static void product(double *RESTRICT out, const double *RESTRICT matrix, size_t row_stride,
                    size_t column_stride, const double *RESTRICT in, size_t rows, size_t depth,
                    size_t batch)
{
    for (size_t r = 0; r < rows; r++) {
        const double *m = matrix + r * row_stride;
        size_t i = 0;
        for (; i + TILE <= batch; i += TILE) {
            double sum[TILE] = {0};
            for (size_t k = 0; k < depth; k++) {
                for (size_t t = 0; t < TILE; t++) {
                    sum[t] += m[k * column_stride] * in[k * batch + i + t];
                }
            }
            memcpy(out + r * batch + i, sum, sizeof sum);
        }
        for (; i < batch; i++) {
            double sum = 0;
            for (size_t k = 0; k < depth; k++) {
                sum += m[k * column_stride] * in[k * batch + i];
            }
            out[r * batch + i] = sum;
        }
    }
}

/* z[fan_out,batch] = weight[fan_out,fan_in] @ input[fan_in,batch] + bias[fan_out]   (lecture, 1) */
static void forward_product(double *RESTRICT z, const double *weight, const double *bias,
                            const double *input, size_t fan_out, size_t fan_in, size_t batch)
{
    product(z, weight, fan_in, 1, input, fan_out, fan_in, batch);
    for (size_t j = 0; j < fan_out; j++) {
        for (size_t i = 0; i < batch; i++) {
            z[j * batch + i] += bias[j];
        }
    }
}

/* delta_input[fan_in,batch] = weight[fan_out,fan_in]^T @ delta[fan_out,batch] */
static void backward_product(double *delta_input, const double *weight, const double *delta,
                             size_t fan_out, size_t fan_in, size_t batch)
{
    product(delta_input, weight, 1, fan_in, delta, fan_in, fan_out, batch);
}

/* dweight[fan_out,fan_in] (+)= delta[fan_out,batch] @ input_rows[batch,fan_in]      (lecture, 3)
 * dbias[fan_out]          (+)= sum over the batch of delta                          (lecture, 4)
 * Both without the 1/m, which the update puts in. */
static void gradient(double *RESTRICT dweight, double *RESTRICT dbias,
                     const double *RESTRICT delta, const double *RESTRICT input_rows,
                     size_t fan_out, size_t fan_in, size_t batch, bool accumulate)
{
    if (!accumulate) {
        memset(dweight, 0, fan_out * fan_in * sizeof *dweight);
        memset(dbias, 0, fan_out * sizeof *dbias);
    }
    for (size_t j = 0; j < fan_out; j++) {
        double *row = dweight + j * fan_in;
        for (size_t i = 0; i < batch; i++) {
            const double d = delta[j * batch + i];
            for (size_t k = 0; k < fan_in; k++) {
                row[k] += d * input_rows[i * fan_in + k];
            }
            dbias[j] += d;
        }
    }
}

static int dense_create(layer *self, const pycnn_layer_spec *spec)
{
    RETURN_IF(spec->units == 0, PYCNN_ERROR_SIZE);
    self->activation = pycnn_activation_find(spec->activation);
    RETURN_IF(self->activation == NULL, PYCNN_ERROR_ARGUMENT);
    self->fan_out = spec->units;
    self->parameter_count = spec->units;                                          /* b */
    return add_product(&self->parameter_count, self->fan_out, self->fan_in);      /* W */
}

static void dense_forward(const layer *self, const double *theta, const layer_io *io)
{
    const double *weight = theta, *bias = theta + self->fan_out * self->fan_in;
    forward_product(io->z, weight, bias, io->input, self->fan_out, self->fan_in, io->batch);
    self->activation->forward(io->output, io->z, self->fan_out, io->batch);
    if (io->output_rows != NULL) {
        pycnn_transpose(io->output_rows, io->output, self->fan_out, io->batch);
    }
}

static void dense_backward(const layer *self, double *grad, const double *theta,
                           const layer_io *io, bool accumulate)
{
    const double *weight = theta;
    double *dweight = grad, *dbias = grad + self->fan_out * self->fan_in;
    if (!io->delta_is_dz) {
        self->activation->backward(io->delta, io->output, self->fan_out, io->batch);
    }
    if (io->delta_input != NULL) {
        backward_product(io->delta_input, weight, io->delta, self->fan_out, self->fan_in,
                         io->batch);
    }
    gradient(dweight, dbias, io->delta, io->input_rows, self->fan_out, self->fan_in, io->batch,
             accumulate);
}

const layer_ops pycnn_dense_ops = {dense_create, dense_forward, dense_backward};
