/* The pooling layers over images [rows,columns,features], or sequences, which have one row: of each
 * window and feature the largest number or the mean, over what lies within the image. There are no
 * parameters, and nothing is saved: which number was the largest is seen again going back. */
#include "layer.h"

#include <math.h>

/* ---------------------------------------------------------------- the plain kernels */

static void largest_baseline(double *out, const double *in, const pool_window *window)
{
    for (size_t i = 0; i < window->width; i++) {
        double most = -INFINITY;
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const double x = in[k * window->row_step + l * window->width + i];
                most = x > most || isnan(x) ? x : most;
            }
        }
        out[i] = most;
    }
}

static void mean_baseline(double *out, const double *in, const pool_window *window)
{
    for (size_t i = 0; i < window->width; i++) {
        double sum = 0;
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                sum += in[k * window->row_step + l * window->width + i];
            }
        }
        out[i] = sum / (double)(window->rows * window->columns);
    }
}

static void give_to_largest_baseline(double *delta_input, const double *delta, const double *in,
                                     const double *out, const pool_window *window)
{
    for (size_t i = 0; i < window->width; i++) {
        double rest = delta[i]; /* until it has found its place */
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const size_t at = k * window->row_step + l * window->width + i;
                const bool found = in[at] == out[i] || isnan(in[at]);
                const double given = found ? rest : 0;
                delta_input[at] = window->shared ? delta_input[at] + given : given;
                rest = found ? 0 : rest;
            }
        }
    }
}

static void give_to_all_baseline(double *delta_input, const double *delta, const double *in,
                                 const double *out, const pool_window *window)
{
    (void)in, (void)out;
    for (size_t i = 0; i < window->width; i++) {
        const double each = delta[i] / (double)(window->rows * window->columns);
        for (size_t k = 0; k < window->rows; k++) {
            for (size_t l = 0; l < window->columns; l++) {
                const size_t at = k * window->row_step + l * window->width + i;
                delta_input[at] = window->shared ? delta_input[at] + each : each;
            }
        }
    }
}

const pool_kernels pycnn_pool_baseline = {
    .largest = largest_baseline,
    .mean = mean_baseline,
    .give_to_largest = give_to_largest_baseline,
    .give_to_all = give_to_all_baseline,
};

/* ---------------------------------------------------------------- the layers */

static int pool_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    pycnn_layer_spec dense = *spec;
    dense.dilation[0] = dense.dilation[1] = 1; /* it is none of these layers' */
    TRY(pycnn_set_windows(self, &dense));
    shape->out_features = shape->in_features;
    const bool whole = shape->taps[1] == shape->in[1] && shape->before[1] == 0;
    if (shape->in[0] == 1 && shape->out[0] == 1 && shape->out[1] == 1 && whole) {
        self->knows_lengths = true; /* one window over all that is there of a sequence */
    }
    self->fan_out = shape->out[0] * shape->out[1] * shape->out_features; /* none is larger */
    self->work = self->fan_in;
    self->positions = sequence_of(shape) > 1 ? shape->out[1] : 0; /* one is of all positions */
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

/* Positions of the sample that the k-th number of a row is of. */
static size_t length_of(const layer_io *io, size_t k)
{
    return MAX((size_t)io->lengths[k % io->stride], 1); /* in the padding it is 0 */
}

/* The largest number, or the mean, of the positions that are there. */
static void pool_lengths(const layer *self, const layer_io *io, bool largest)
{
    const size_t width = self->fan_out * io->stride;
    for (size_t k = 0; k < width; k++) {
        const size_t length = length_of(io, k);
        double most = -INFINITY, sum = 0;
        for (size_t t = 0; t < length; t++) {
            const double x = io->input[t * width + k];
            most = x > most || isnan(x) ? x : most;
            sum += x;
        }
        io->z[k] = largest ? most : sum / (double)length;
    }
}

/* The same back: all to the first of the largest, or to each an equal part. */
static void give_to_lengths(const layer *self, const layer_io *io, bool largest)
{
    const size_t width = self->fan_out * io->stride;
    memset(io->delta_input, 0, self->fan_in * io->stride * sizeof *io->delta_input);
    for (size_t k = 0; k < width; k++) {
        const size_t length = length_of(io, k);
        bool found = false;
        for (size_t t = 0; t < length && !found; t++) {
            const double x = io->input[t * width + k];
            found = largest && (x == io->output[k] || isnan(x));
            if (found || !largest) {
                io->delta_input[t * width + k] =
                    largest ? io->delta[k] : io->delta[k] / (double)length;
            }
        }
    }
}

static void pool_slices(const layer *self, const layer_io *io, size_t slices, pool_function *pool)
{
    const convolution *shape = &self->forward;
    pool_window window = {0};
    for (const layer_io *end = io + slices; io < end; io++) {
        double *out = io->z;
        if (io->lengths != NULL) {
            pool_lengths(self, io, pool == self->kernels->pool->largest);
            pycnn_activate(self, io);
            continue;
        }
        for (size_t y = 0; y < shape->out[0]; y++) {
            for (size_t x = 0; x < shape->out[1]; x++, out += window.width) {
                const size_t at = window_of(&window, shape, io->stride, y, x);
                pool(out, io->input + at, &window);
            }
        }
        pycnn_activate(self, io);
    }
}

/* Whether each number of an axis is in one window just. */
static bool divides(const convolution *shape, int axis)
{
    return shape->strides[axis] == shape->taps[axis] &&
           shape->out[axis] >= (shape->in[axis] - 1) / shape->taps[axis] + 1;
}

/* What several windows cover gets a sum, in their order. */
static void pool_deltas(const layer *self, const layer_io *io, size_t slices,
                        pool_delta_function *give)
{
    const convolution *shape = &self->forward;
    pool_window window = {.shared = shape->strides[0] < shape->taps[0] ||
                                    shape->strides[1] < shape->taps[1]};
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        size_t from = 0;
        if (io->lengths != NULL) {
            give_to_lengths(self, io, give == self->kernels->pool->give_to_largest);
            continue;
        }
        if (!divides(shape, 0) || !divides(shape, 1)) {
            memset(io->delta_input, 0, self->fan_in * io->stride * sizeof *io->delta_input);
        }
        for (size_t y = 0; y < shape->out[0]; y++) {
            for (size_t x = 0; x < shape->out[1]; x++, from += window.width) {
                const size_t at = window_of(&window, shape, io->stride, y, x);
                give(io->delta_input + at, io->delta + from, io->input + at, io->output + from,
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
    pool_deltas(self, io, slices, self->kernels->pool->give_to_largest);
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
    pool_deltas(self, io, slices, self->kernels->pool->give_to_all);
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
