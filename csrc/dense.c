/* The dense layer: a = f(W @ input + b), its delta and its gradients. The sums are in the kernels.
 */
#include "layer.h"

/* Rows of a gradient that a part has at least: a multiple of every kernel's tile but one. */
enum { ROWS_TOGETHER = 8 };

static int dense_create(layer *self, const pycnn_layer_spec *spec)
{
    RETURN_IF(spec->units == 0, PYCNN_ERROR_SIZE);
    RETURN_IF(spec->activation < 0 || spec->activation >= ACTIVATION_COUNT, PYCNN_ERROR_ARGUMENT);
    self->activation = &self->kernels->activations[spec->activation];
    self->fan_out = spec->units;
    self->weight_count = 0;
    TRY(add_product(&self->weight_count, self->fan_out, self->fan_in));
    self->parameter_count = spec->units;                                     /* b */
    return add_product(&self->parameter_count, self->fan_out, self->fan_in); /* W */
}

/* z[fan_out,batch] = W[fan_out,fan_in] @ input[fan_in,batch] + b[fan_out]      (lecture, 1)
 * a[fan_out,batch] = f(z)                                                      (lecture, 2) */
static void dense_forward(const layer *self, const double *theta, const layer_io *io)
{
    const double *weight = theta, *bias = theta + self->fan_out * self->fan_in;
    self->kernels->product(io->z, weight, self->fan_in, 1, io->input, bias, self->fan_out,
                           self->fan_in, io->stride);
    self->activation->forward(io->output, io->z, self->fan_out, io->stride);
    if (io->output_rows == NULL) {
        return;
    }
    if (io->output_rows != io->output) { /* of a single sample, row and column are the same */
        self->kernels->transpose(io->output_rows, io->output_row_stride, io->output, io->stride,
                                 self->fan_out, io->batch);
    }
    for (size_t i = 0; i < io->batch; i++) { /* the inputs of the next layer's bias */
        io->output_rows[i * io->output_row_stride + self->fan_out] = 1;
    }
}

/* delta[fan_out,batch]       = dL/da * f'(z)
 * delta_input[fan_in,batch]  = W^T @ delta */
static void dense_backward(const layer *self, const double *theta, const layer_io *io)
{
    const double *weight = theta;
    if (!io->delta_is_dz) {
        const double *from = self->activation->from_z ? io->z : io->output;
        self->activation->backward(io->delta, from, self->fan_out, io->stride);
    }
    if (io->delta_input != NULL) {
        self->kernels->product(io->delta_input, weight, 1, self->fan_in, io->delta, NULL,
                               self->fan_in, self->fan_out, io->stride);
    }
}

/* dW[fan_out,fan_in] = delta @ input_rows[batch,fan_in]                        (lecture, 3)
 * db[fan_out]        = sum over the batch of delta                             (lecture, 4)
 * without the 1/m, which is in the update's step. A part is some of the rows. */
static void dense_gradient(const layer *self, double *out, gradient_use use, double step,
                           const layer_io *io, size_t slices, size_t part)
{
    const size_t height = round_up((self->fan_out + slices - 1) / slices, ROWS_TOGETHER);
    const size_t first = part * height;
    if (first >= self->fan_out) {
        return;
    }
    gradient_terms terms[MOST_SLICES];
    for (size_t s = 0; s < slices; s++) {
        terms[s] = (gradient_terms){io[s].delta + first * io[s].stride, io[s].stride,
                                    io[s].input_rows, io[s].batch};
    }
    double *weight = out + first * self->fan_in;
    double *bias = out + self->fan_out * self->fan_in + first;
    self->kernels->gradient(weight, bias, use, step, terms, slices, io->input_row_stride,
                            MIN(height, self->fan_out - first), self->fan_in);
}

const layer_ops pycnn_dense_ops = {dense_create, dense_forward, dense_backward, dense_gradient};
