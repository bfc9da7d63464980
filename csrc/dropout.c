/* The dropout layer (Srivastava et al. 2014), inverted: in training each number is 0 with
 * probability `rate`, else divided by 1 - rate; in prediction nothing changes, but where it is
 * drawn (Gal & Ghahramani 2016). Which are dropped follows from counters alone, for each layer,
 * sample and unit: not from threads, nor from what came before. Of images a feature is dropped at
 * all positions or at none (Tompson et al. 2015). */
#include "layer.h"

/* A random number costs about as many multiply-adds. */
enum { DRAW_WORK = 8 };

static int dropout_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->rate >= 0 && spec->rate < 1, self, PYCNN_ERROR_RANGE,
            "rate must be at least 0 and below 1");
    self->rate = spec->rate;
    self->fan_out = self->fan_in;
    self->writes_z = true;
    TRY(pycnn_set_features(self, spec));
    self->knows_lengths = self->positions > 0;
    TRY(add_product(&self->work, DRAW_WORK, self->fan_out));
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

/* out = in mask[features,stride] at all positions. The last one comes first: where out is the mask
 * as well, its place is that of the first. */
static void multiply(const layer *self, double *out, const double *in, const double *mask,
                     size_t stride)
{
    const size_t step = self->features * stride;
    for (size_t at = self->fan_out * stride; at > 0; at -= step) {
        for (size_t i = 0, from = at - step; i < step; i++) {
            out[from + i] = in[from + i] * mask[i];
        }
    }
}

/* z begins with the mask: backward needs it again. */
static void forward_slice(const layer *self, const layer_io *io)
{
    const size_t count = self->fan_out * io->stride;
    if (io->context->dropping) {
        self->kernels->normalization->draw_mask(
            io->z, random_bits(io->context->dropout_key, self->number),
            io->context->position + io->first, self->rate, self->features, io->stride);
        multiply(self, io->output, io->input, io->z, io->stride);
    } else {
        memcpy(io->output, io->input, count * sizeof *io->output);
        if (io->z != io->output) {
            memcpy(io->z, io->input, count * sizeof *io->z);
        }
    }
    pycnn_rows(self, io);
}

static void dropout_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    (void)theta;
    for (size_t s = 0; s < slices; s++) {
        forward_slice(self, &io[s]);
    }
}

static void dropout_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        if (io->delta_input == NULL) {
            continue;
        }
        if (io->context->dropping) {
            multiply(self, io->delta_input, io->delta, io->z, io->stride);
        } else {
            memcpy(io->delta_input, io->delta,
                   self->fan_out * io->stride * sizeof *io->delta_input);
        }
    }
}

const layer_ops pycnn_dropout_ops = {
    .create = dropout_create,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
