/* The dropout layer (Srivastava et al. 2014), inverted: in training each number is 0 with
 * probability `rate`, else divided by 1 - rate; in prediction nothing changes, but where it is
 * drawn (Gal & Ghahramani 2016). Which are dropped follows from counters alone, for each layer,
 * sample and unit: not from threads, nor from what came before. */
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
    TRY(add_product(&self->work, DRAW_WORK, self->fan_out));
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

/* z is the mask: backward needs it again. */
static void forward_slice(const layer *self, const layer_io *io)
{
    const size_t count = self->fan_out * io->stride;
    if (io->context->dropping) {
        self->kernels->normalization->draw_mask(
            io->z, random_bits(io->context->dropout_key, self->number),
            io->context->position + io->first, self->rate, self->fan_out, io->stride);
        for (size_t i = 0; i < count; i++) {
            io->output[i] = io->input[i] * io->z[i];
        }
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
        const size_t count = self->fan_out * io->stride;
        for (size_t i = 0; i < count && io->delta_input != NULL; i++) {
            io->delta_input[i] = io->context->dropping ? io->delta[i] * io->z[i] : io->delta[i];
        }
    }
}

const layer_ops pycnn_dropout_ops = {
    .create = dropout_create,
    .forward = dropout_forward,
    .backward = dropout_backward,
};
