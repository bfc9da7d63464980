/* The layer that brings numbers into another unit: z = scale x + offset. Bytes come in as they are,
 * and what makes 0 ... 1 of them stays with the network. */
#include "layer.h"

#include <math.h>

static int rescale_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(isfinite(spec->scale) && spec->scale != 0, self, PYCNN_ERROR_RANGE,
            "scale must be a finite number other than 0");
    REQUIRE(isfinite(spec->offset), self, PYCNN_ERROR_RANGE, "offset must be finite");
    self->scale = spec->scale;
    self->shift = spec->offset;
    self->fan_out = self->work = self->fan_in;
    TRY(pycnn_set_features(self, spec));
    self->knows_lengths = self->positions > 0;
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

/* z = scale x + offset, rounded twice: the same on all instruction sets */
static void rescale_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < self->fan_out * io->stride; i++) {
            io->z[i] = io->input[i] * self->scale + self->shift;
        }
        pycnn_activate(self, io);
    }
}

/* dL/dx = scale delta */
static void rescale_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < self->fan_out * io->stride && io->delta_input != NULL; i++) {
            io->delta_input[i] = io->delta[i] * self->scale;
        }
    }
}

const layer_ops pycnn_rescale_ops = {
    .create = rescale_create,
    .forward = rescale_forward,
    .backward = rescale_backward,
};
