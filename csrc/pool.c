/* The pooling layers over images [rows,columns,features], or sequences, which have one row: of each
 * window and feature the largest number or the mean, over what lies within the image. There are no
 * parameters, and nothing is saved: which number was the largest is seen again going back. */
#include "layer.h"

static int pool_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    pycnn_layer_spec dense = *spec;
    dense.dilation[0] = dense.dilation[1] = 1; /* it is none of these layers' */
    TRY(pycnn_set_windows(self, &dense));
    shape->out_features = shape->in_features;
    self->fan_out = shape->out[0] * shape->out[1] * shape->out_features; /* none is larger */
    self->work = self->fan_in;
    self->slice_by_slice = true;
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

/* The first row or column that a window covers, and how many it does: it begins in front of the
 * image or within, and covers at least one. */
static size_t cover(size_t *count, const convolution *shape, int axis, size_t place)
{
    const size_t start = place * shape->strides[axis], before = shape->before[axis];
    const size_t first = start > before ? start - before : 0;
    *count = MIN(start + shape->taps[axis] - before, shape->in[axis]) - first;
    return first;
}

/* The window of an output; returns where it begins in the image. */
static size_t window_of(pool_window *window, const convolution *shape, size_t stride, size_t y,
                        size_t x)
{
    window->width = shape->in_features * stride;
    window->row_step = shape->in[1] * window->width;
    const size_t row = cover(&window->rows, shape, 0, y);
    return row * window->row_step + cover(&window->columns, shape, 1, x) * window->width;
}

static void pool_slices(const layer *self, const layer_io *io, size_t slices, pool_function *pool)
{
    const convolution *shape = &self->forward;
    pool_window window;
    for (const layer_io *end = io + slices; io < end; io++) {
        double *out = io->z;
        for (size_t y = 0; y < shape->out[0]; y++) {
            for (size_t x = 0; x < shape->out[1]; x++, out += window.width) {
                const size_t at = window_of(&window, shape, io->stride, y, x);
                pool(out, io->input + at, &window);
            }
        }
        pycnn_activate(self, io);
    }
}

/* What windows share gets a sum, in their order. */
static void pool_deltas(const layer *self, const layer_io *io, size_t slices,
                        pool_delta_function *add)
{
    const convolution *shape = &self->forward;
    pool_window window;
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        size_t from = 0;
        memset(io->delta_input, 0, self->fan_in * io->stride * sizeof *io->delta_input);
        for (size_t y = 0; y < shape->out[0]; y++) {
            for (size_t x = 0; x < shape->out[1]; x++, from += window.width) {
                const size_t at = window_of(&window, shape, io->stride, y, x);
                add(io->delta_input + at, io->delta + from, io->input + at, io->output + from,
                    &window);
            }
        }
    }
}

static void max_forward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    (void)theta;
    pool_slices(self, io, slices, self->kernels->pool->largest);
}

static void max_backward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    (void)theta;
    pool_deltas(self, io, slices, self->kernels->pool->add_to_largest);
}

static void average_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    (void)theta;
    pool_slices(self, io, slices, self->kernels->pool->mean);
}

static void average_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    pool_deltas(self, io, slices, self->kernels->pool->add_to_all);
}

const layer_ops pycnn_max_pool_ops = {
    .create = pool_create,
    .forward = max_forward,
    .backward = max_backward,
};

const layer_ops pycnn_average_pool_ops = {
    .create = pool_create,
    .forward = average_forward,
    .backward = average_backward,
};
