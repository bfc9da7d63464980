/* The normalization layers: z = gamma x^ + beta with x^ = (x - mean) / sqrt(variance + epsilon),
 * and an activation of their own behind it. theta is gamma[units], beta[units].
 *
 * Batch normalization (Ioffe and Szegedy 2015) takes a unit's mean and variance over the mini-batch
 * in training, and what training has counted of them in prediction; its statistics are mean[units],
 * variance[units]. Layer normalization (Ba, Kiros and Hinton 2016) takes a sample's over its units,
 * always. */
#include "layer.h"

#include <math.h>

/* Over the numbers: a mean, a variance, and what is normalized by them. */
enum { PASSES = 4 };

static int normalization_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->epsilon > 0 && isfinite(spec->epsilon), self, PYCNN_ERROR_RANGE,
            "epsilon must be finite and above 0");
    TRY(pycnn_set_activation(self, spec->activation));
    self->epsilon = spec->epsilon;
    self->fan_out = self->fan_in;
    self->sums_samples = true;
    TRY(add_product(&self->work, PASSES, self->fan_out));
    TRY(pycnn_add_tensor(self, "gamma", PYCNN_SCALE, 1, &self->fan_out));
    return pycnn_add_tensor(self, "beta", PYCNN_BIAS, 1, &self->fan_out);
}

/* The units of a part: *first ... the result - 1 */
static size_t units_of_part(const layer *self, part which, size_t *first)
{
    const size_t height = (self->fan_out + which.of - 1) / which.of;
    *first = MIN(which.index * height, self->fan_out);
    return MIN(*first + height, self->fan_out);
}

/* What is saved: the mean and the inverse deviation, of batch normalization for each unit, of layer
 * normalization for each sample; for each unit the variance and the sums below; scratch. */
enum { MEAN, INVERSE, VARIANCE, DELTA_SUM, DELTA_PRODUCT, SAVED_PER_UNIT };
enum { SAMPLE_SCRATCH = 2, SAVED_PER_SAMPLE = 4 };

/* Sums over all samples of delta and of delta x^, for unit j: the gradients of beta and of gamma.
 */
static void sum_deltas(const layer *self, const layer_io *io, size_t slices, size_t j,
                       bool by_sample, double *sum, double *product)
{
    double sums[CHAINS] = {0}, products[CHAINS] = {0};
    for (size_t s = 0; s < slices; s++) {
        const double *mean = by_sample ? io[s].saved_samples : io[s].saved + j;
        const double *inverse = mean + (by_sample ? io[s].stride : self->fan_out);
        const size_t row = j * io[s].stride;
        self->kernels->normalization->add_deltas(sums, products, io[s].delta + row,
                                                 io[s].input + row, mean, inverse, by_sample,
                                                 io[s].batch);
    }
    *sum = pycnn_sum_chains(sums);
    *product = pycnn_sum_chains(products);
}

static void put(double *out, gradient_use use, double step, double sum)
{
    *out = use == GRADIENT_SET ? sum : use == GRADIENT_ADD ? *out + sum : *out - step * sum;
}

/* The layer normalizes and does nothing else; what is counted begins as mean 0 and variance 1. */
static void normalization_initialize(const layer *self, double *theta, double *statistics,
                                     random_stream *stream)
{
    (void)stream;
    for (size_t j = 0; j < self->fan_out; j++) {
        theta[j] = 1;
        theta[self->fan_out + j] = 0;
    }
    for (size_t j = 0; j < self->statistic_count; j++) {
        statistics[j] = j < self->fan_out ? 0 : 1;
    }
}

/* ---------------------------------------------------------------- by the mini-batch */

/* Rows of what batch normalization packs. */
enum { PACKED_MEAN, PACKED_INVERSE, PACKED_GAMMA, PACKED_BETA, PACKED_ROWS };

static int batch_norm_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->momentum >= 0 && spec->momentum <= 1, self, PYCNN_ERROR_RANGE,
            "momentum must be at least 0 and at most 1");
    self->momentum = spec->momentum;
    self->packed_rows = PACKED_ROWS;
    TRY(normalization_create(self, spec));
    TRY(pycnn_add_tensor(self, "mean", PYCNN_STATISTIC, 1, &self->fan_out));
    TRY(pycnn_add_tensor(self, "variance", PYCNN_STATISTIC, 1, &self->fan_out));
    return add_product(&self->saved_per_slice, SAVED_PER_UNIT, self->fan_out);
}

static double *saved(const layer *self, const layer_io *io, int which)
{
    return io->saved + (size_t)which * self->fan_out;
}

/* Mean and variance of unit j over all samples. */
static void measure(const layer *self, const layer_io *io, size_t slices, size_t j)
{
    const double count = (double)io->context->count;
    double sums[CHAINS] = {0}, squares[CHAINS] = {0};
    for (size_t s = 0; s < slices; s++) {
        self->kernels->normalization->add(sums, io[s].input + j * io[s].stride, io[s].batch);
    }
    const double mean = pycnn_sum_chains(sums) / count;
    for (size_t s = 0; s < slices; s++) {
        self->kernels->normalization->add_squares(squares, io[s].input + j * io[s].stride, mean,
                                                  io[s].batch);
    }
    const double variance = pycnn_sum_chains(squares) / count;
    for (size_t s = 0; s < slices; s++) {
        saved(self, &io[s], MEAN)[j] = mean;
        saved(self, &io[s], INVERSE)[j] = 1 / sqrt(variance + self->epsilon);
        saved(self, &io[s], VARIANCE)[j] = variance;
    }
}

static void batch_norm_reduce(const layer *self, const layer_io *io, size_t slices, part which,
                              bool backward)
{
    size_t j;
    const size_t last = units_of_part(self, which, &j);
    for (; j < last; j++) {
        if (!backward) {
            measure(self, io, slices, j);
            continue;
        }
        double sum, product;
        sum_deltas(self, io, slices, j, false, &sum, &product);
        for (size_t s = 0; s < slices; s++) {
            saved(self, &io[s], DELTA_SUM)[j] = sum;
            saved(self, &io[s], DELTA_PRODUCT)[j] = product;
        }
    }
}

/* The mean and the inverse deviation that each unit is normalized by in prediction. */
static void counted_moments(const layer *self, double *mean, double *inverse,
                            const double *statistics)
{
    for (size_t j = 0; j < self->fan_out; j++) {
        mean[j] = statistics[j];
        inverse[j] = 1 / sqrt(statistics[self->fan_out + j] + self->epsilon);
    }
}

static void batch_norm_forward_slice(const layer *self, const double *theta, const layer_io *io)
{
    const double *gamma = theta, *beta = theta + self->fan_out;
    double *mean = saved(self, io, MEAN), *inverse = saved(self, io, INVERSE);
    if (!io->context->training) {
        counted_moments(self, mean, inverse, io->context->statistics + self->statistic_offset);
    }
    self->kernels->normalization->normalize_units(io->z, io->input, mean, inverse, gamma, beta,
                                                  self->fan_out, io->stride);
    pycnn_activate(self, io);
}

static void batch_norm_forward(const layer *self, const double *theta, const layer_io *io,
                               size_t slices)
{
    for (size_t s = 0; s < slices; s++) {
        batch_norm_forward_slice(self, theta, &io[s]);
    }
}

static void batch_norm_pack(const layer *self, double *packed, const double *theta,
                            const double *statistics)
{
    const size_t units = self->fan_out;
    counted_moments(self, packed + PACKED_MEAN * units, packed + PACKED_INVERSE * units,
                    statistics);
    memcpy(packed + PACKED_GAMMA * units, theta, 2 * units * sizeof *packed); /* and beta */
}

static void batch_norm_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    const size_t units = self->fan_out;
    self->kernels->normalization->normalize_units(
        io->z, io->input, packed + PACKED_MEAN * units, packed + PACKED_INVERSE * units,
        packed + PACKED_GAMMA * units, packed + PACKED_BETA * units, units, io->stride);
    pycnn_activate(self, io);
}

static void batch_norm_backward_slice(const layer *self, const double *theta, const layer_io *io)
{
    if (io->delta_input != NULL) {
        const double fraction = io->context->training ? 1 / (double)io->context->count : 0;
        self->kernels->normalization->unit_deltas(
            io->delta_input, io->delta, io->input, saved(self, io, MEAN), saved(self, io, INVERSE),
            theta, saved(self, io, DELTA_SUM), saved(self, io, DELTA_PRODUCT), fraction,
            self->fan_out, io->batch, io->stride);
    }
}

static void batch_norm_backward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    for (size_t s = 0; s < slices; s++) {
        batch_norm_backward_slice(self, theta, &io[s]);
    }
}

static void batch_norm_gradient(const layer *self, double *out, gradient_use use, double step,
                                const layer_io *io, size_t slices, part which)
{
    size_t j;
    const size_t last = units_of_part(self, which, &j);
    for (; j < last; j++) {
        double sum = saved(self, io, DELTA_SUM)[j], product = saved(self, io, DELTA_PRODUCT)[j];
        if (!io->context->training) {
            sum_deltas(self, io, slices, j, false, &sum, &product);
        }
        put(&out[j], use, step, product);
        put(&out[self->fan_out + j], use, step, sum);
    }
}

/* statistics = (1 - momentum) statistics + momentum (mean, variance): the variance is the unbiased
 * estimate, which one sample does not give. */
static void batch_norm_update_statistics(const layer *self, double *statistics, const layer_io *io)
{
    const double count = (double)io->context->count, m = self->momentum;
    for (size_t j = 0; j < self->fan_out && io->context->count > 1; j++) {
        const double variance = saved(self, io, VARIANCE)[j] * (count / (count - 1));
        double *mean = &statistics[j], *spread = &statistics[self->fan_out + j];
        *mean = (1 - m) * *mean + m * saved(self, io, MEAN)[j];
        *spread = (1 - m) * *spread + m * variance;
    }
}

const layer_ops pycnn_batch_norm_ops = {
    .create = batch_norm_create,
    .forward = batch_norm_forward,
    .pack = batch_norm_pack,
    .forward_packed = batch_norm_forward_packed,
    .backward = batch_norm_backward,
    .gradient = batch_norm_gradient,
    .initialize = normalization_initialize,
    .reduce = batch_norm_reduce,
    .update_statistics = batch_norm_update_statistics,
};

/* ---------------------------------------------------------------- by the sample */

static int layer_norm_create(layer *self, const pycnn_layer_spec *spec)
{
    self->saved_per_sample = SAVED_PER_SAMPLE;
    return normalization_create(self, spec);
}

static void layer_norm_forward_slice(const layer *self, const double *theta, const layer_io *io)
{
    const normalization_kernels *kernels = self->kernels->normalization;
    double *mean = io->saved_samples, *inverse = mean + io->stride;
    kernels->sample_moments(mean, inverse, io->input, self->epsilon, self->fan_out, io->stride);
    kernels->normalize_samples(io->z, io->input, mean, inverse, theta, theta + self->fan_out,
                               self->fan_out, io->stride);
    pycnn_activate(self, io);
}

static void layer_norm_forward(const layer *self, const double *theta, const layer_io *io,
                               size_t slices)
{
    for (size_t s = 0; s < slices; s++) {
        layer_norm_forward_slice(self, theta, &io[s]);
    }
}

static void layer_norm_backward_slice(const layer *self, const double *theta, const layer_io *io)
{
    if (io->delta_input != NULL) {
        self->kernels->normalization->sample_deltas(
            io->delta_input, io->delta, io->input, io->saved_samples,
            io->saved_samples + io->stride, theta, io->saved_samples + SAMPLE_SCRATCH * io->stride,
            self->fan_out, io->stride);
    }
}

static void layer_norm_backward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    for (size_t s = 0; s < slices; s++) {
        layer_norm_backward_slice(self, theta, &io[s]);
    }
}

static void layer_norm_gradient(const layer *self, double *out, gradient_use use, double step,
                                const layer_io *io, size_t slices, part which)
{
    size_t j;
    const size_t last = units_of_part(self, which, &j);
    for (; j < last; j++) {
        double sum, product;
        sum_deltas(self, io, slices, j, true, &sum, &product);
        put(&out[j], use, step, product);
        put(&out[self->fan_out + j], use, step, sum);
    }
}

const layer_ops pycnn_layer_norm_ops = {
    .create = layer_norm_create,
    .forward = layer_norm_forward,
    .backward = layer_norm_backward,
    .gradient = layer_norm_gradient,
    .initialize = normalization_initialize,
};
