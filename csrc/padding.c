/* The layer that puts zeros around an image [rows,columns,features]; going back they are cut off.
 */
#include "layer.h"

static int padding_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    size_t places = 0;
    TRY(pycnn_check_image(self, spec));
    for (int axis = 0; axis < 2; axis++) {
        const size_t *margins = spec->margins + 2 * axis;
        shape->in[axis] = shape->out[axis] = spec->shape[axis];
        shape->before[axis] = margins[0];
        TRY(add_product(&shape->out[axis], margins[0], 1));
        TRY(add_product(&shape->out[axis], margins[1], 1));
    }
    shape->in_features = shape->out_features = spec->shape[2];
    TRY(add_product(&places, shape->out[0], shape->out[1]));
    TRY(add_product(&self->fan_out, places, shape->out_features));
    self->work = self->fan_out;
    self->positions = sequence_of(shape);
    self->slice_by_slice = true;
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

/* Where in the padded image a row of the image begins. */
static size_t row_at(const convolution *shape, size_t width, size_t y)
{
    return ((shape->before[0] + y) * shape->out[1] + shape->before[1]) * width;
}

static void padding_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    const convolution *shape = &self->forward;
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        const size_t width = shape->in_features * io->stride, row = shape->in[1] * width;
        memset(io->z, 0, self->fan_out * io->stride * sizeof *io->z);
        for (size_t y = 0; y < shape->in[0]; y++) {
            memcpy(io->z + row_at(shape, width, y), io->input + y * row, row * sizeof *io->z);
        }
        pycnn_activate(self, io);
    }
}

static void padding_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    const convolution *shape = &self->forward;
    (void)theta;
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        const size_t width = shape->in_features * io->stride, row = shape->in[1] * width;
        for (size_t y = 0; y < shape->in[0]; y++) {
            memcpy(io->delta_input + y * row, io->delta + row_at(shape, width, y),
                   row * sizeof *io->delta);
        }
    }
}

const layer_ops pycnn_zero_padding_ops = {
    .create = padding_create,
    .forward = padding_forward,
    .backward = padding_backward,
};
