/* Layers that are made of layers.
 *
 * Residual (He et al. 2016): a = f(inner(x) + shortcut(x)), where inner is one or more layers on
 * top of each other and shortcut a layer or x itself. In the plan these come first; the layer
 * itself adds up where both paths end.
 *
 * Concatenate: the same, with the features of both side by side.
 *
 * Stack: inner layers on top of each other, as one layer, which passes on what the last one gives.
 */
#include "plan.h"

static int two_paths_compose(pycnn_network *net, const pycnn_layer_spec *spec,
                             size_t inputs[MOST_INPUTS], size_t *count)
{
    *count = 2;
    inputs[1] = inputs[0];
    for (size_t i = 0; i < spec->inner_depth; i++) {
        TRY(pycnn_plan_append(net, &spec->inner[i], &inputs[0], i + 1));
    }
    if (spec->shortcut != NULL) {
        TRY(pycnn_plan_append(net, spec->shortcut, &inputs[1], 0));
    }
    REQUIRE(pycnn_plan_width(net, inputs[0]) == pycnn_plan_width(net, inputs[1]), net,
            PYCNN_ERROR_SIZE,
            "the inner layers must end in as many units as the shortcut, or as their input without "
            "one");
    return PYCNN_OK;
}

/* It is a sequence where that within is one. */
static void keep_sequence(layer *self)
{
    self->positions = self->input_positions;
    self->slice_by_slice = self->positions > 0;
    self->knows_lengths = true;
}

static int residual_create(layer *self, const pycnn_layer_spec *spec)
{
    self->fan_out = self->work = self->fan_in;
    keep_sequence(self);
    return pycnn_set_activation(self, spec->activation);
}

/* z[fan_out,batch] = input + second_input
 * a[fan_out,batch] = f(z) */
static void residual_forward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < self->fan_out * io->stride; i++) {
            io->z[i] = io->input[i] + io->second_input[i];
        }
        pycnn_activate(self, io);
    }
}

/* dL/dinput = dL/dsecond_input = delta */
static void residual_backward(const layer *self, const double *theta, const layer_io *io,
                              size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        for (int k = 0; k < MOST_INPUTS; k++) {
            double *below = k == 0 ? io->delta_input : io->delta_second_input;
            if (below != NULL) {
                memcpy(below, io->delta, self->fan_out * io->stride * sizeof *below);
            }
        }
    }
}

const layer_ops pycnn_residual_ops = {
    .compose = two_paths_compose,
    .create = residual_create,
    .forward = residual_forward,
    .backward = residual_backward,
};

static int stack_compose(pycnn_network *net, const pycnn_layer_spec *spec,
                         size_t inputs[MOST_INPUTS], size_t *count)
{
    *count = 1;
    REQUIRE(spec->shortcut == NULL, net, PYCNN_ERROR_ARGUMENT, "a stack has no shortcut");
    for (size_t i = 0; i < spec->inner_depth; i++) {
        TRY(pycnn_plan_append(net, &spec->inner[i], &inputs[0], i + 1));
    }
    return PYCNN_OK;
}

static int stack_create(layer *self, const pycnn_layer_spec *spec)
{
    (void)spec;
    self->fan_out = self->work = self->fan_in;
    keep_sequence(self);
    return pycnn_set_activation(self, PYCNN_LINEAR);
}

static void stack_forward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        memcpy(io->z, io->input, self->fan_out * io->stride * sizeof *io->z);
        pycnn_activate(self, io);
    }
}

static void stack_backward(const layer *self, const double *theta, const layer_io *io,
                           size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        if (io->delta_input != NULL) {
            memcpy(io->delta_input, io->delta, self->fan_out * io->stride * sizeof *io->delta);
        }
    }
}

const layer_ops pycnn_stack_ops = {
    .compose = stack_compose,
    .create = stack_create,
    .forward = stack_forward,
    .backward = stack_backward,
};

/* Of a sequence at each position; rows of numbers as they are. */
static int concatenate_create(layer *self, const pycnn_layer_spec *spec)
{
    self->positions = self->input_positions;
    self->knows_lengths = true;
    TRY(add_product(&self->fan_out, self->fan_in, 2));
    self->work = self->fan_out;
    self->features = self->fan_out / MAX(self->positions, 1);
    return pycnn_set_activation(self, spec->activation);
}

/* z[positions,features] = those of input, then those of second_input
 * a[fan_out,batch] = f(z) */
static void concatenate_forward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        const size_t half = self->features / 2 * io->stride;
        for (size_t p = 0; p < MAX(self->positions, 1); p++) {
            memcpy(io->z + 2 * p * half, io->input + p * half, half * sizeof *io->z);
            memcpy(io->z + (2 * p + 1) * half, io->second_input + p * half, half * sizeof *io->z);
        }
        pycnn_activate(self, io);
    }
}

static void concatenate_backward(const layer *self, const double *theta, const layer_io *io,
                                 size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        const size_t half = self->features / 2 * io->stride;
        for (int k = 0; k < MOST_INPUTS; k++) {
            double *below = k == 0 ? io->delta_input : io->delta_second_input;
            for (size_t p = 0; p < MAX(self->positions, 1) && below != NULL; p++) {
                memcpy(below + p * half, io->delta + (2 * p + (size_t)k) * half,
                       half * sizeof *below);
            }
        }
    }
}

const layer_ops pycnn_concatenate_ops = {
    .compose = two_paths_compose,
    .create = concatenate_create,
    .forward = concatenate_forward,
    .backward = concatenate_backward,
};
