/* The dense layer: a = f(W @ input + b), its delta and its gradients. The sums are in the kernels.
 */
#include "layer.h"

#include <math.h>

/* Rows of a gradient that a part has at least: a multiple of every kernel's tile but one. */
enum { ROWS_TOGETHER = 8 };

/* Units whose weights lie together for a single sample: as many as a kernel sums side by side. */
enum { UNITS_TOGETHER = 32 };

static int dense_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units must be at least 1");
    REQUIRE(spec->l1 >= 0 && isfinite(spec->l1), self, PYCNN_ERROR_RANGE,
            "l1 must be finite and at least 0");
    REQUIRE(spec->l2 >= 0 && isfinite(spec->l2), self, PYCNN_ERROR_RANGE,
            "l2 must be finite and at least 0");
    REQUIRE(spec->max_norm >= 0 && isfinite(spec->max_norm), self, PYCNN_ERROR_RANGE,
            "max_norm must be finite and above 0, or 0 for none");
    TRY(pycnn_set_activation(self, spec->activation));
    self->l1 = spec->l1;
    self->l2 = spec->l2;
    self->max_norm = spec->max_norm;
    self->fan_out = spec->units;
    self->reads_rows = self->trains_online = true;
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 2, (size_t[]){self->fan_out, self->fan_in}));
    TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, &self->fan_out));
    self->work = self->parameter_count;
    self->packed_rows = self->fan_in + 1;
    return PYCNN_OK;
}

/* z[fan_out,batch] = W[fan_out,fan_in] @ input[fan_in,batch] + b[fan_out]      (lecture, 1)
 * a[fan_out,batch] = f(z)                                                      (lecture, 2) */
static void dense_forward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    const double *weight = theta, *bias = theta + self->fan_out * self->fan_in;
    self->kernels->product(io->forward, slices, weight, self->fan_in, 1, bias, self->fan_out,
                           self->fan_in, io->scratch);
    for (size_t s = 0; s < slices; s++) {
        pycnn_activate(self, &io[s]);
    }
}

/* Columns of some units at a time, one such matrix behind the other. */
static void dense_pack(const layer *self, double *packed, const double *theta,
                       const double *statistics)
{
    const double *weight = theta, *bias = theta + self->fan_out * self->fan_in;
    (void)statistics;
    for (size_t j = 0; j < self->fan_out; j += UNITS_TOGETHER) {
        const size_t units = MIN(UNITS_TOGETHER, self->fan_out - j);
        pycnn_make_columns(packed + j * self->packed_rows, round_up(units, self->kernels->lanes),
                           weight + j * self->fan_in, bias + j, self->kernels, units, self->fan_in);
    }
}

/* z = W input + b, a = f(z) for one sample */
static void dense_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    for (size_t j = 0; j < self->fan_out; j += UNITS_TOGETHER) {
        const size_t units = MIN(UNITS_TOGETHER, self->fan_out - j);
        self->kernels->combine(io->z + j, packed + j * self->packed_rows,
                               round_up(units, self->kernels->lanes), io->input, self->fan_in);
    }
    pycnn_activate(self, io);
}

/* delta_input[fan_in,batch] = W^T @ delta */
static void dense_backward(const layer *self, const double *theta, const layer_io *io,
                           size_t slices)
{
    const double *weight = theta;
    if (io->delta_input == NULL) {
        return;
    }
    self->kernels->product(io->backward, slices, weight, 1, self->fan_in, NULL, self->fan_in,
                           self->fan_out, io->scratch);
}

/* dW[fan_out,fan_in] = delta @ input_rows[batch,fan_in]                        (lecture, 3)
 * db[fan_out]        = sum over the batch of delta                             (lecture, 4)
 * without the 1/m, which is in the update's step. A part is some of the rows. */
static void dense_gradient(const layer *self, double *out, gradient_use use, double step,
                           const layer_io *io, size_t slices, part which)
{
    const size_t height = round_up((self->fan_out + which.of - 1) / which.of, ROWS_TOGETHER);
    const size_t first = which.index * height;
    if (first >= self->fan_out) {
        return;
    }
    double *weight = out + first * self->fan_in;
    double *bias = out + self->fan_out * self->fan_in + first;
    self->kernels->gradient(weight, bias, use, step, io->terms, slices, io->input_rows,
                            io->distance, first, MIN(height, self->fan_out - first), self->fan_in);
}

/* From U(-limit, limit). */
static void draw_uniform(double *values, size_t count, double limit, random_stream *stream)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = -limit + (limit - -limit) * pycnn_stream_uniform(stream);
    }
}

/* W: He's normal distribution (2015) for relu and what is shaped like it, else Glorot's uniform one
 * (2010). b: U(-r, r) with r = 1 / sqrt(fan_in), so that units bend at different places; 0 for
 * outputs that do not bend. */
static void dense_initialize(const layer *self, double *theta, double *statistics,
                             random_stream *stream)
{
    (void)statistics;
    const double fan_in = (double)self->fan_in, both = (double)(self->fan_in + self->fan_out);
    double *bias = theta + self->weight_count;
    switch (self->f) {
    case PYCNN_RELU:
    case PYCNN_LEAKY_RELU:
    case PYCNN_ELU:
    case PYCNN_GELU:
    case PYCNN_GELU_TANH:
    case PYCNN_SILU: {
        const double deviation = sqrt(2 / fan_in);
        for (size_t i = 0; i < self->weight_count; i++) {
            theta[i] = deviation * pycnn_stream_normal(stream);
        }
        break;
    }
    default: draw_uniform(theta, self->weight_count, sqrt(6 / both), stream);
    }
    if (self->f == PYCNN_LINEAR || self->f == PYCNN_SOFTMAX) {
        memset(bias, 0, self->fan_out * sizeof *bias);
    } else {
        draw_uniform(bias, self->fan_out, 1 / sqrt(fan_in), stream);
    }
}

/* Scales the weights of each unit down to max_norm (Srivastava et al. 2014). */
static void dense_constrain(const layer *self, double *theta)
{
    for (size_t j = 0; j < self->fan_out; j++) {
        pycnn_hold_norm(theta + j * self->fan_in, self->max_norm, self->kernels, self->fan_in);
    }
}

const layer_ops pycnn_dense_ops = {
    .create = dense_create,
    .forward = dense_forward,
    .pack = dense_pack,
    .forward_packed = dense_forward_packed,
    .backward = dense_backward,
    .gradient = dense_gradient,
    .initialize = dense_initialize,
    .constrain = dense_constrain,
};
