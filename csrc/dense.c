/* The dense layer: a = f(W @ input + b), its delta and its gradients. The sums are in the kernels.
 * At each position of a sequence it is a convolution whose filters have one tap. */
#include "layer.h"

#include <math.h>

/* Rows of a gradient that a part has at least: a multiple of every kernel's tile but one. */
enum { ROWS_TOGETHER = 8 };

/* Units whose weights lie together for a single sample: as many as a kernel sums side by side. */
enum { UNITS_TOGETHER = 32 };

/* Slices that a part of the units goes through together: so many samples that to copy weights pays
 * wherever it does. */
enum { SLICES_TOGETHER = 32 };

/* The layer becomes such a convolution, but for the shape of W[units,features]. */
static int make_per_position(layer *self, const pycnn_layer_spec *spec)
{
    const pycnn_layer_spec filters = {.activation = spec->activation,
                                      .units = spec->units,
                                      .l1 = spec->l1,
                                      .l2 = spec->l2,
                                      .max_norm = spec->max_norm,
                                      .shape = {1, spec->shape[1], spec->shape[2]},
                                      .kernel = {1, 1}};
    REQUIRE(spec->shape[0] == 1, self, PYCNN_ERROR_SIZE,
            "shape must be that of a sequence, which has one row");
    self->ops = &pycnn_convolution_ops;
    TRY(self->ops->create(self, &filters));
    layer_tensor *weights = &self->tensors[0];
    *weights = (layer_tensor){
        weights->name, weights->role, 2, weights->size, {spec->units, spec->shape[2], 1, 1}};
    return PYCNN_OK;
}

static int dense_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units must be at least 1");
    if (spec->shape[2] > 0) {
        return make_per_position(self, spec);
    }
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_set_activation(self, spec->activation));
    self->fan_out = spec->units;
    self->reads_rows = self->trains_online = true;
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 2, (size_t[]){self->fan_out, self->fan_in}));
    TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, &self->fan_out));
    self->work = self->parameter_count;
    self->packed_rows = self->fan_in + 1;
    self->packed_width = self->fan_out;
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

/* The units of a part. */
static size_t part_of_units(const layer *self, part which, size_t *first)
{
    const size_t height = round_up((self->fan_out + which.of - 1) / which.of, ROWS_TOGETHER);
    *first = MIN(which.index * height, self->fan_out);
    return MIN(height, self->fan_out - *first);
}

/* The same for some of the units. */
static void dense_forward_part(const layer *self, const double *theta, const layer_io *io,
                               size_t slices, part which)
{
    size_t first;
    const size_t units = part_of_units(self, which, &first);
    const double *weight = theta + first * self->fan_in;
    const double *bias = theta + self->fan_out * self->fan_in + first;
    for (size_t done = 0, count; done < slices && units > 0; done += count) {
        product_panel panels[SLICES_TOGETHER];
        count = MIN(slices - done, SLICES_TOGETHER);
        for (size_t s = 0; s < count; s++) {
            panels[s] = io[done + s].forward[0];
            panels[s].out += first * panels[s].stride;
        }
        self->kernels->product(panels, count, weight, self->fan_in, 1, bias, units, self->fan_in,
                               which.scratch);
    }
    for (size_t s = 0; s < slices && units > 0; s++) {
        pycnn_activate_units(self, &io[s], first, first + units);
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
    size_t first;
    const size_t units = part_of_units(self, which, &first);
    if (units == 0) {
        return;
    }
    double *weight = out + first * self->fan_in;
    double *bias = out + self->fan_out * self->fan_in + first;
    use = use == GRADIENT_DESCEND && which.away ? GRADIENT_DESCEND_AWAY : use;
    self->kernels->gradient(weight, bias, use, step, io->terms, slices, io->input_rows,
                            io->distance, first, units, self->fan_in);
}

static void dense_initialize(const layer *self, double *theta, double *statistics,
                             random_stream *stream)
{
    (void)statistics;
    pycnn_draw_weights(self, theta, (double)self->fan_in, (double)self->fan_out, stream);
}

const layer_ops pycnn_dense_ops = {
    .create = dense_create,
    .forward = dense_forward,
    .forward_part = dense_forward_part,
    .pack = dense_pack,
    .forward_packed = dense_forward_packed,
    .backward = dense_backward,
    .gradient = dense_gradient,
    .initialize = dense_initialize,
    .constrain = pycnn_constrain_rows,
};
