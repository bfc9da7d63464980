/* The layer that changes nothing but how its numbers are seen: an image's rows, columns and
 * channels lie behind each other anyway. */
#include "layer.h"

static int reshape_create(layer *self, const pycnn_layer_spec *spec)
{
    TRY(pycnn_set_features(self, spec));
    self->positions = pycnn_sequence_positions(spec); /* which it has from here on */
    self->fan_out = self->work = self->fan_in;
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

static void reshape_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        memcpy(io->z, io->input, self->fan_out * io->stride * sizeof *io->z);
        pycnn_activate(self, io);
    }
}

static void reshape_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        if (io->delta_input != NULL) {
            memcpy(io->delta_input, io->delta, self->fan_out * io->stride * sizeof *io->delta);
        }
    }
}

const layer_ops pycnn_reshape_ops = {
    .create = reshape_create,
    .forward = reshape_forward,
    .backward = reshape_backward,
};
