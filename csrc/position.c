/* The position embedding: a[t,j] = input[t,j] + W[t,j] for a sequence [positions,features]. Theta
 * is W or, where it consists of waves (Vaswani et al. 2017), nothing:
 *
 *     W[t,2i] = sin(t / 10000^(2i / features))        W[t,2i+1] = cos of the same
 */
#include "layer.h"

#include <math.h>

/* Numbers whose gradients are summed at a time. */
enum { TOGETHER = 16 };

/* Rows of W: as many positions as there can be, whatever part of them a sample is. */
static size_t rows_of(const layer *self) { return MAX(self->window, self->positions); }

static int position_create(layer *self, const pycnn_layer_spec *spec)
{
    size_t count = 0;
    TRY(pycnn_check_image(self, spec));
    REQUIRE(spec->shape[0] == 1, self, PYCNN_ERROR_SIZE,
            "shape must be that of a sequence, which has one row");
    REQUIRE(spec->window == 0 || spec->window >= spec->shape[1], self, PYCNN_ERROR_SIZE,
            "window must hold all positions of a sample, or be 0");
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_set_activation(self, PYCNN_LINEAR));
    self->fan_out = self->work = self->fan_in;
    self->positions = spec->shape[1];
    self->features = spec->shape[2];
    self->window = spec->window;
    self->state_count = spec->window > 0;
    self->slice_by_slice = self->sums_samples = self->knows_lengths = true;
    TRY(add_product(&count, rows_of(self), self->features));
    self->packed_rows = 1;
    self->packed_width = count;
    if (spec->sinusoidal) {
        self->max_norm = self->l1 = self->l2 = 0; /* there is no weight */
        self->scratch = count;
        return PYCNN_OK;
    }
    return pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 2, (size_t[]){rows_of(self), self->features});
}

/* sin x, or cos x a quarter of a turn further, for x from 0 to 2^20: the same bits everywhere. */
static double sine(double x, bool quarter_further)
{
    /* The parts of pi / 2 have 33 bits each, so that their products with k are exact. */
    const double k = rint(x * 0.63661977236758134308);
    const double r = ((x - k * 1.57079632673412561417e+00) - k * 6.07710050630396597660e-11) -
                     k * 2.02226624879595063154e-21;
    const long turns = (long)k + quarter_further;
    const double square = r * r;
    double series = 1;
    for (int n = turns % 2 == 0 ? 16 : 15; n > 0; n -= 2) { /* the next term is below 2^-58 */
        series = 1 - series * square / (n * (n + 1));
    }
    series *= turns % 2 == 0 ? r : 1;
    return turns % 4 >= 2 ? -series : series;
}

/* The rows first ... last - 1 of table[rows,features]. */
static void make_waves(const layer *self, double *table, size_t first, size_t last)
{
    const double log_of_10000 = 9.210340371976184, features = (double)self->features;
    for (size_t j = 0; j < self->features; j++) {
        const double speed = pycnn_exact_exp(-(double)(j / 2 * 2) / features * log_of_10000);
        for (size_t t = first; t < last; t++) {
            table[t * self->features + j] = sine((double)t * speed, j % 2 == 1);
        }
    }
}

/* The row of W for position t of sample s; where there are no more rows it is the last one. */
static size_t row_of(const layer *self, const layer_io *io, size_t t, size_t s)
{
    const bool goes_on = self->window > 0 && io->state != NULL;
    const double before = goes_on && io->state[s] > 0 ? io->state[s] : 0; /* it may be anybody's */
    const size_t rows = rows_of(self);
    return MIN(t + (size_t)MIN(before, (double)rows), rows - 1);
}

static void count_positions(const layer *self, const layer_io *io)
{
    for (size_t s = 0; s < io->stride && self->window > 0 && io->state != NULL; s++) {
        const double there = io->lengths == NULL ? (double)self->positions : io->lengths[s];
        io->state[s] += there < 1 ? 1 : there;
    }
}

static void add_rows(const layer *self, const double *table, const layer_io *io)
{
    const size_t stride = io->stride;
    for (size_t t = 0; t < self->positions; t++) {
        const double *in = io->input + t * self->features * stride;
        double *out = io->z + t * self->features * stride;
        size_t same = 0; /* so many samples are at the same position */
        while (same < stride && row_of(self, io, t, same) == row_of(self, io, t, 0)) {
            same++;
        }
        for (size_t j = 0; j < self->features; j++, in += stride, out += stride) {
            const double w = table[row_of(self, io, t, 0) * self->features + j];
            for (size_t s = 0; s < same; s++) {
                out[s] = in[s] + w;
            }
            for (size_t s = same; s < stride; s++) {
                out[s] = in[s] + table[row_of(self, io, t, s) * self->features + j];
            }
        }
    }
    count_positions(self, io);
    pycnn_activate(self, io);
}

static void position_forward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    const bool waves = self->parameter_count == 0;
    for (const layer_io *end = io + slices; io < end; io++) {
        size_t first = row_of(self, io, 0, 0), last = 0;
        for (size_t s = 0; s < io->stride && waves; s++) {
            const size_t from = row_of(self, io, 0, s), to = row_of(self, io, self->positions, s);
            first = MIN(first, from);
            last = MAX(last, to + 1);
        }
        if (waves) {
            make_waves(self, io->scratch, first, last);
        }
        add_rows(self, waves ? io->scratch : theta, io);
    }
}

static void position_pack(const layer *self, double *packed, const double *theta,
                          const double *statistics)
{
    (void)statistics;
    if (self->parameter_count == 0) {
        make_waves(self, packed, 0, rows_of(self));
    } else {
        memcpy(packed, theta, self->parameter_count * sizeof *packed);
    }
}

static void position_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    add_rows(self, packed, io);
}

static void position_backward(const layer *self, const double *theta, const layer_io *io,
                              size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        memcpy(io->delta_input, io->delta, self->fan_in * io->stride * sizeof *io->delta);
    }
}

/* dW[t,j] = the sum of delta[t,j] over the samples, in CHAINS chains. A part is some numbers. */
static void position_gradient(const layer *self, double *out, gradient_use use, double step,
                              const layer_io *io, size_t slices, part which)
{
    const size_t all = self->fan_in, height = (all + which.of - 1) / which.of;
    const size_t first = MIN(which.index * height, all), last = MIN(first + height, all);
    for (size_t j = first, count; j < last; j += count) {
        double sums[TOGETHER * CHAINS] = {0};
        count = MIN(TOGETHER, last - j);
        for (size_t s = 0; s < slices; s++) {
            const feature_rows rows = {count, 1, 0, io[s].batch, io[s].stride};
            self->kernels->normalization->add(sums, io[s].delta + j * io[s].stride, &rows);
        }
        for (size_t n = 0; n < count; n++) {
            sums[n] = pycnn_sum_chains(sums + n * CHAINS) + (use == GRADIENT_ADD ? out[j + n] : 0);
        }
        if (use == GRADIENT_DESCEND) {
            self->kernels->descend(out + j, sums, step, count);
        } else {
            memcpy(out + j, sums, count * sizeof *sums);
        }
    }
    if (use == GRADIENT_SET && which.index + 1 == which.of) { /* positions that no sample has */
        memset(out + all, 0, (self->parameter_count - all) * sizeof *out);
    }
}

static void position_initialize(const layer *self, double *theta, double *statistics,
                                random_stream *stream)
{
    (void)statistics;
    pycnn_draw_uniform(theta, self->parameter_count, 0.05, stream);
}

const layer_ops pycnn_position_embedding_ops = {
    .create = position_create,
    .forward = position_forward,
    .pack = position_pack,
    .forward_packed = position_forward_packed,
    .backward = position_backward,
    .gradient = position_gradient,
    .initialize = position_initialize,
    .constrain = pycnn_constrain_rows,
};
