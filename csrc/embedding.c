/* Tokens, which are whole numbers that stand for something.
 *
 * The embedding, which is a network's first layer: theta is W[vocabulary,features], and
 *
 *     a[t,j] = W[input[t],j]        dW[k,j] = the sum of delta[t,j] where input[t] is k
 *
 * The tied dense layer, whose weights are the embedding's: theta is b[vocabulary], and
 *
 *     z[t,k] = sum over j of W[k,j] input[t,j] + b[k]
 *
 * at each position. What it adds to dW comes behind what the embedding has put there: so the
 * gradient of a network that has one of these is always written down. */
#include "filters.h"

#include <math.h>

/* ---------------------------------------------------------------- the embedding */

static int embedding_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(self->number == 0, self, PYCNN_ERROR_ARGUMENT,
            "an embedding must be the first layer, which reads the samples");
    REQUIRE(spec->vocabulary > 0, self, PYCNN_ERROR_SIZE, "vocabulary must be at least 1");
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units must be at least 1");
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 2, (size_t[]){spec->vocabulary, spec->units}));
    TRY(add_product(&self->fan_out, self->fan_in, spec->units));
    self->f = PYCNN_LINEAR;
    self->vocabulary = spec->vocabulary;
    self->features = spec->units;
    self->positions = self->fan_in;
    self->work = self->fan_out;
    self->shares_gradient = self->knows_lengths = true;
    return PYCNN_OK;
}

/* out[features,width] = the rows of W that tokens[width] stand for; NaN for one that is none. */
static void gather(const layer *self, double *out, size_t stride, const double *theta,
                   const double *tokens, size_t width)
{
    enum { WIDE = 16 };
    for (size_t first = 0; first < width; first += WIDE) {
        const size_t count = MIN(WIDE, width - first);
        const double *rows[WIDE];
        for (size_t i = 0; i < count; i++) {
            const size_t row = pycnn_token_of(self, tokens[first + i]);
            rows[i] = row == self->vocabulary ? NULL : theta + row * self->features;
        }
        for (size_t j = 0; j < self->features; j++) {
            for (size_t i = 0; i < count; i++) {
                out[j * stride + first + i] = rows[i] == NULL ? NAN : rows[i][j];
            }
        }
    }
}

static void embedding_forward(const layer *self, const double *theta, const layer_io *io,
                              size_t slices)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t t = 0; t < self->fan_in; t++) {
            gather(self, io->z + t * self->features * io->stride, io->stride, theta,
                   io->input + t * io->stride, io->stride);
        }
        pycnn_activate(self, io);
    }
}

/* There is nothing that a token could be a little more of. */
static void embedding_backward(const layer *self, const double *theta, const layer_io *io,
                               size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        memset(io->delta_input, 0, self->fan_in * io->stride * sizeof *io->delta_input);
    }
}

/* Adds delta[features] of one sample's position, which lie `stride` apart. */
static void add_row(double *out, const double *delta, size_t stride, size_t features)
{
    for (size_t j = 0; j < features; j++) {
        out[j] += delta[j * stride];
    }
}

/* Each row of W in one chain: samples, and within one its positions. A part is some rows. */
static void embedding_gradient(const layer *self, double *out, gradient_use use, double step,
                               const layer_io *io, size_t slices, part which)
{
    const size_t features = self->features;
    const size_t height = (self->vocabulary + which.of - 1) / which.of;
    const size_t first = MIN(which.index * height, self->vocabulary);
    const size_t last = MIN(first + height, self->vocabulary);
    (void)step;
    assert(use != GRADIENT_DESCEND);
    if (use == GRADIENT_SET) {
        memset(out + first * features, 0, (last - first) * features * sizeof *out);
    }
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < io->batch; i++) {
            for (size_t t = 0; t < self->fan_in; t++) {
                const size_t row = pycnn_token_of(self, io->input[t * io->stride + i]);
                if (row >= first && row < last) {
                    add_row(out + row * features, io->delta + t * features * io->stride + i,
                            io->stride, features);
                }
            }
        }
    }
}

static void embedding_initialize(const layer *self, double *theta, double *statistics,
                                 random_stream *stream)
{
    (void)statistics;
    pycnn_draw_uniform(theta, self->parameter_count, 0.05, stream);
}

const layer_ops pycnn_embedding_ops = {
    .create = embedding_create,
    .forward = embedding_forward,
    .backward = embedding_backward,
    .gradient = embedding_gradient,
    .initialize = embedding_initialize,
    .constrain = pycnn_constrain_rows,
};

/* ---------------------------------------------------------------- outputs by its table */

/* The network's embedding, which is the first of its layers; or NULL. */
static const layer *embedding_of(const layer *self)
{
    const layer *first = self - self->number;
    return self->number > 0 && first->vocabulary > 0 ? first : NULL;
}

static int tied_create(layer *self, const pycnn_layer_spec *spec)
{
    const layer *embedding = embedding_of(self);
    const bool one = spec->shape[2] == 0; /* a sample is one position */
    const size_t features = one ? self->fan_in : spec->shape[2];
    REQUIRE(embedding != NULL, self, PYCNN_ERROR_ARGUMENT,
            "a tied dense layer needs a network whose first layer is an embedding");
    TRY(one ? PYCNN_OK : pycnn_check_image(self, spec));
    REQUIRE(spec->units == embedding->vocabulary, self, PYCNN_ERROR_SIZE,
            "units must be the embedding's vocabulary");
    REQUIRE(one || spec->shape[0] == 1, self, PYCNN_ERROR_SIZE, "a sequence has one row");
    REQUIRE(features == embedding->features, self, PYCNN_ERROR_SIZE,
            "a tied dense layer must have as many features as the embedding has units");
    TRY(pycnn_set_activation(self, spec->activation));
    TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, &embedding->vocabulary));
    const size_t positions = self->fan_in / features;
    self->forward = pycnn_filters_of_positions(positions, features, embedding->vocabulary);
    self->backward = pycnn_filters_backwards(&self->forward);
    self->features = embedding->vocabulary;
    self->positions = one ? 0 : positions;
    self->knows_lengths = !one;
    TRY(add_product(&self->fan_out, positions, self->features));
    TRY(add_product(&self->work, self->fan_out, features));
    TRY(add_product(&self->packed_width, embedding->parameter_count, 1));
    TRY(add_product(&self->packed_width, self->features, 1));
    self->packed_rows = 1;
    self->slice_by_slice = self->sums_samples = self->shares_gradient = true;
    return pycnn_filters_scratch(&self->scratch, &self->forward);
}

/* The embedding's W: theta, or a gradient like it, begins with it. */
static double *table_in(const layer *self, double *own) { return own - self->offset; }
static const double *table_of(const layer *self, const double *own) { return own - self->offset; }

static void tied_forward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        pycnn_filters_forward(self->kernels, &self->forward, io->z, io->input, io->stride,
                              table_of(self, theta), theta, io->scratch);
        pycnn_activate(self, io);
    }
}

/* The weights of a single sample, and b behind them. */
static void tied_pack(const layer *self, double *packed, const double *theta,
                      const double *statistics)
{
    (void)statistics;
    pycnn_filters_pack(self->kernels, &self->forward, packed, table_of(self, theta));
    memcpy(packed + self->packed_width - self->features, theta, self->features * sizeof *packed);
}

static void tied_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    pycnn_filters_forward_packed(self->kernels, &self->forward, io->z, io->input, packed,
                                 packed + self->packed_width - self->features, io->scratch);
    pycnn_activate(self, io);
}

static void tied_backward(const layer *self, const double *theta, const layer_io *io, size_t slices)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        pycnn_filters_backward(self->kernels, &self->backward, io->delta_input, io->delta,
                               io->stride, table_of(self, theta), io->scratch);
    }
}

static filter_terms tied_terms(const layer *self, const layer_io *io)
{
    (void)self;
    return (filter_terms){io->delta, io->input};
}

/* What is added to the embedding's dW, and db. A part is some tokens. It comes behind the layers
 * that need no scratch, of which the embedding is one. */
static void tied_gradient(const layer *self, double *out, gradient_use use, double step,
                          const layer_io *io, size_t slices, part which)
{
    const size_t height = (self->features + which.of - 1) / which.of;
    const size_t first = MIN(which.index * height, self->features);
    const size_t last = MIN(first + height, self->features);
    const filter_gradient what = {
        &self->forward, table_in(self, out), out, GRADIENT_ADD, step, first, last, which.scratch};
    assert(use != GRADIENT_DESCEND);
    if (use == GRADIENT_SET) {
        memset(out + first, 0, (last - first) * sizeof *out);
    }
    pycnn_filters_gradient(self, &what, io, slices, tied_terms);
}

static void tied_initialize(const layer *self, double *theta, double *statistics,
                            random_stream *stream)
{
    (void)statistics;
    (void)stream;
    memset(theta, 0, self->parameter_count * sizeof *theta);
}

const layer_ops pycnn_tied_dense_ops = {
    .create = tied_create,
    .forward = tied_forward,
    .pack = tied_pack,
    .forward_packed = tied_forward_packed,
    .backward = tied_backward,
    .gradient = tied_gradient,
    .initialize = tied_initialize,
};
