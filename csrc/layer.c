/* What all kinds of layers do alike: their activation, and its derivative. */
#include "layer.h"

#include <math.h>

const layer_ops *pycnn_layer_ops(int kind)
{
    /* A new kind of layer is one more row here. */
    static const layer_ops *const table[] = {
        [PYCNN_DENSE] = &pycnn_dense_ops,
        [PYCNN_DROPOUT] = &pycnn_dropout_ops,
        [PYCNN_BATCH_NORM] = &pycnn_batch_norm_ops,
        [PYCNN_LAYER_NORM] = &pycnn_layer_norm_ops,
        [PYCNN_RESIDUAL] = &pycnn_residual_ops,
        [PYCNN_RESHAPE] = &pycnn_reshape_ops,
        [PYCNN_RESCALE] = &pycnn_rescale_ops,
        [PYCNN_CONVOLUTION] = &pycnn_convolution_ops,
        [PYCNN_MAX_POOL] = &pycnn_max_pool_ops,
        [PYCNN_AVERAGE_POOL] = &pycnn_average_pool_ops,
        [PYCNN_ZERO_PADDING] = &pycnn_zero_padding_ops,
        [PYCNN_STACK] = &pycnn_stack_ops,
        [PYCNN_SIMPLE_RNN] = &pycnn_simple_rnn_ops,
        [PYCNN_LSTM] = &pycnn_lstm_ops,
        [PYCNN_GRU] = &pycnn_gru_ops,
        [PYCNN_CONCATENATE] = &pycnn_concatenate_ops,
        [PYCNN_EMBEDDING] = &pycnn_embedding_ops,
        [PYCNN_TIED_DENSE] = &pycnn_tied_dense_ops,
        [PYCNN_POSITION_EMBEDDING] = &pycnn_position_embedding_ops,
        [PYCNN_ATTENTION] = &pycnn_attention_ops,
    };
    const int count = (int)(sizeof table / sizeof *table);
    return kind < 0 || kind >= count ? NULL : table[kind];
}

int pycnn_add_tensor(layer *self, const char *name, int role, size_t dims, const size_t *shape)
{
    const bool counted = role == PYCNN_STATISTIC;
    assert(self->tensor_count + self->statistic_tensor_count < MOST_TENSORS);
    assert(counted || self->statistic_tensor_count == 0);
    layer_tensor *tensor = &self->tensors[self->tensor_count + self->statistic_tensor_count];
    *tensor = (layer_tensor){.name = name, .role = role, .dims = dims, .size = 1};
    for (size_t d = 0; d < PYCNN_MOST_DIMS; d++) {
        tensor->shape[d] = d < dims ? shape[d] : 1;
        size_t size = 0;
        TRY(add_product(&size, tensor->size, tensor->shape[d]));
        tensor->size = size;
    }
    *(counted ? &self->statistic_tensor_count : &self->tensor_count) += 1;
    if (role == PYCNN_WEIGHT) {
        TRY(add_product(&self->weight_count, tensor->size, 1));
    }
    return add_product(counted ? &self->statistic_count : &self->parameter_count, tensor->size, 1);
}

int pycnn_set_regularization(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->l1 >= 0 && isfinite(spec->l1), self, PYCNN_ERROR_RANGE,
            "l1 must be finite and at least 0");
    REQUIRE(spec->l2 >= 0 && isfinite(spec->l2), self, PYCNN_ERROR_RANGE,
            "l2 must be finite and at least 0");
    REQUIRE(spec->max_norm >= 0 && isfinite(spec->max_norm), self, PYCNN_ERROR_RANGE,
            "max_norm must be finite and above 0, or 0 for none");
    self->l1 = spec->l1;
    self->l2 = spec->l2;
    self->max_norm = spec->max_norm;
    return PYCNN_OK;
}

/* Along an axis: what a window covers of it, and how often it fits. */
static int measure(layer *self, const pycnn_layer_spec *spec, int axis)
{
    convolution *shape = &self->forward;
    const size_t in = spec->shape[axis];
    const size_t stride = spec->strides[axis] == 0 ? 1 : spec->strides[axis];
    const size_t dilation = spec->dilation[axis] == 0 ? 1 : spec->dilation[axis];
    size_t reach = 1;
    REQUIRE(spec->kernel[axis] > 0, self, PYCNN_ERROR_SIZE, "kernel must be at least 1");
    TRY(add_product(&reach, spec->kernel[axis] - 1, dilation));
    REQUIRE(spec->padding == PYCNN_SAME || reach <= in, self, PYCNN_ERROR_SIZE,
            "kernel must not reach beyond the image");
    shape->in[axis] = in;
    shape->taps[axis] = spec->kernel[axis];
    shape->strides[axis] = stride;
    shape->dilation[axis] = dilation;
    if (spec->padding == PYCNN_SAME) {
        const size_t out = in / stride + (in % stride > 0), covered = (out - 1) * stride + reach;
        shape->out[axis] = out;
        shape->before[axis] = covered > in ? (covered - in) / 2 : 0;
    } else {
        shape->out[axis] = (in - reach) / stride + 1;
    }
    return PYCNN_OK;
}

int pycnn_check_image(layer *self, const pycnn_layer_spec *spec)
{
    size_t area = 0, image = 0;
    TRY(add_product(&area, spec->shape[0], spec->shape[1]));
    TRY(add_product(&image, area, spec->shape[2]));
    REQUIRE(image > 0 && image == self->fan_in, self, PYCNN_ERROR_SIZE,
            "shape must have as many numbers as there are inputs");
    return PYCNN_OK;
}

size_t pycnn_sequence_positions(const pycnn_layer_spec *spec)
{
    return spec->shape[0] == 1 && spec->shape[2] > 0 ? spec->shape[1] : 0;
}

int pycnn_set_features(layer *self, const pycnn_layer_spec *spec)
{
    self->features = self->fan_in;
    self->positions = self->input_positions;
    RETURN_IF(spec->shape[2] == 0, PYCNN_OK);
    self->features = spec->shape[2];
    self->positions = pycnn_sequence_positions(spec);
    self->slice_by_slice = true;
    return pycnn_check_image(self, spec);
}

int pycnn_set_windows(layer *self, const pycnn_layer_spec *spec)
{
    TRY(pycnn_check_image(self, spec));
    REQUIRE(spec->padding == PYCNN_VALID || spec->padding == PYCNN_SAME, self, PYCNN_ERROR_ARGUMENT,
            "padding must be PYCNN_VALID or PYCNN_SAME");
    self->forward.in_features = spec->shape[2];
    TRY(measure(self, spec, 0));
    return measure(self, spec, 1);
}

/* Srivastava et al. 2014. */
void pycnn_constrain_rows(const layer *self, double *theta)
{
    const size_t rows = self->tensors[0].shape[0], width = self->weight_count / rows;
    for (size_t j = 0; j < rows; j++) {
        pycnn_hold_norm(theta + j * width, self->max_norm, self->kernels, width);
    }
}

void pycnn_draw_uniform(double *values, size_t count, double limit, random_stream *stream)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = -limit + (limit - -limit) * pycnn_stream_uniform(stream);
    }
}

size_t pycnn_token_of(const layer *self, double value)
{
    const bool good = value >= 0 && value < (double)self->vocabulary;
    const size_t token = good ? (size_t)value : self->vocabulary;
    return (double)token == value ? token : self->vocabulary;
}

/* W: He's normal distribution (2015) for relu and what is shaped like it, else Glorot's uniform one
 * (2010). b: U(-r, r) with r = 1 / sqrt(fan_in), so that units bend at different places; 0 for
 * outputs that do not bend. */
void pycnn_draw_weights(const layer *self, double *theta, double fan_in, double fan_out,
                        random_stream *stream)
{
    const size_t biases = self->parameter_count - self->weight_count;
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
    default: pycnn_draw_uniform(theta, self->weight_count, sqrt(6 / (fan_in + fan_out)), stream);
    }
    if (self->f == PYCNN_LINEAR || self->f == PYCNN_SOFTMAX) {
        memset(bias, 0, biases * sizeof *bias);
    } else {
        pycnn_draw_uniform(bias, biases, 1 / sqrt(fan_in), stream);
    }
}

int pycnn_set_activation(layer *self, int activation)
{
    REQUIRE(activation >= 0 && activation < PYCNN_ACTIVATION_COUNT, self, PYCNN_ERROR_ARGUMENT,
            "activation is no pycnn_activation");
    self->f = activation;
    return PYCNN_OK;
}

/* output[first ... last - 1] -> their columns of output_rows */
static void copy_to_rows(const layer *self, const layer_io *io, size_t first, size_t last)
{
    const kernel_table *kernels = self->kernels;
    const size_t panel = kernels->panel;
    double *rows = io->output_rows;
    if (rows == NULL) {
        return;
    }
    const bool away = io->context->apart && kernels->transpose_away != NULL;
    void (*transpose)(double *, size_t, const double *, size_t, size_t, size_t) =
        away ? kernels->transpose_away : kernels->transpose;
    for (size_t j = first, next; j < last && rows != io->output; j = next) {
        next = MIN((j / panel + 1) * panel, last);
        transpose(rows + j / panel * io->distance + j % panel, panel, io->output + j * io->stride,
                  io->stride, next - j, io->batch);
    }
    double *ones = rows + self->fan_out / panel * io->distance + self->fan_out % panel;
    for (size_t i = 0; i < io->batch && last == self->fan_out; i++) { /* the next bias's inputs */
        ones[i * panel] = 1;
    }
}

/* Whether the way forward leaves f'(z) where z was. */
static bool leaves_slope(const layer *self, const layer_io *io)
{
    return io->z_is_own && io->context->training && self->activation->forward_with_slope != NULL;
}

/* a[fan_out,batch] = f(z)                                                      (lecture, 2) */
static void activate(const layer *self, const layer_io *io, size_t first, size_t units)
{
    const size_t at = first * io->stride;
    if (leaves_slope(self, io)) {
        self->activation->forward_with_slope(io->output + at, io->z + at, units, io->stride);
    } else {
        self->activation->forward(io->output + at, io->z + at, units, io->stride);
    }
}

void pycnn_activate(const layer *self, const layer_io *io)
{
    const size_t columns = meets_in_columns(self) ? self->positions : 1;
    const size_t units = self->fan_out / columns;
    for (size_t p = 0; p < columns; p++) {
        activate(self, io, p * units, units);
    }
    pycnn_rows(self, io);
}

void pycnn_activate_units(const layer *self, const layer_io *io, size_t first, size_t last)
{
    activate(self, io, first, last - first);
    copy_to_rows(self, io, first, last);
}

void pycnn_rows(const layer *self, const layer_io *io) { copy_to_rows(self, io, 0, self->fan_out); }

/* delta[fan_out,batch] = dL/da * f'(z) */
void pycnn_derive(const layer *self, const layer_io *io)
{
    if (io->delta_is_dz) {
        return;
    }
    const activation_ops *f = self->activation;
    void (*backward)(double *, const double *, size_t, size_t) =
        leaves_slope(self, io) ? f->times_slope : f->backward;
    const double *from = f->from_z ? io->z : io->output;
    const size_t columns = meets_in_columns(self) ? self->positions : 1;
    const size_t units = self->fan_out / columns;
    for (size_t p = 0, at = 0; p < columns; p++, at += units * io->stride) {
        backward(io->delta + at, from + at, units, io->stride);
    }
}

static void add(double *sum, const double *part, size_t count)
{
    for (size_t i = 0; i < count && sum != NULL; i++) {
        sum[i] += part[i];
    }
}

void pycnn_add_deltas(const layer *self, const layer_io *io, size_t slices)
{
    if (io->added_to[0] == NULL && io->added_to[1] == NULL) { /* nor of any other slice */
        return;
    }
    for (const layer_io *end = io + slices; io < end; io++) {
        add(io->added_to[0], io->delta_input, self->fan_in * io->stride);
        add(io->added_to[1], io->delta_second_input, self->fan_in * io->stride);
    }
}
