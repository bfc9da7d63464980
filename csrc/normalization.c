/* The normalization layers: z = gamma x^ + beta with x^ = (x - mean) / sqrt(variance + epsilon),
 * and an activation of their own behind it. theta is gamma[features], beta[features]; a row of
 * numbers has them all for features, an image those of a position, at each of its positions.
 *
 * Batch normalization (Ioffe and Szegedy 2015) takes a feature's mean and variance over the
 * mini-batch and all positions in training, and what training has counted of them in prediction;
 * its statistics are mean[features], variance[features]. Layer normalization (Ba, Kiros and Hinton
 * 2016) takes those of a sample's position over its features, always. */
#include "layer.h"

#include <math.h>

/* Over the numbers: a mean, a variance, and what is normalized by them. */
enum { PASSES = 4 };

/* Features whose sums are made at a time: as many chains as hide how long an addition takes. */
enum { TOGETHER = 16 };

static int normalization_create(layer *self, const pycnn_layer_spec *spec)
{
    REQUIRE(spec->epsilon > 0 && isfinite(spec->epsilon), self, PYCNN_ERROR_RANGE,
            "epsilon must be finite and above 0");
    REQUIRE(spec->activation != PYCNN_SOFTMAX || spec->shape[2] == 0 || spec->shape[0] == 1, self,
            PYCNN_ERROR_ARGUMENT, "softmax is of a row of units, and this is an image");
    TRY(pycnn_set_activation(self, spec->activation));
    self->epsilon = spec->epsilon;
    self->fan_out = self->fan_in;
    self->sums_samples = true;
    TRY(pycnn_set_features(self, spec));
    TRY(add_product(&self->work, PASSES, self->fan_out));
    TRY(pycnn_add_tensor(self, "gamma", PYCNN_SCALE, 1, &self->features));
    return pycnn_add_tensor(self, "beta", PYCNN_BIAS, 1, &self->features);
}

/* The features of a part: *first ... the result - 1 */
static size_t features_of_part(const layer *self, part which, size_t *first)
{
    const size_t height = (self->features + which.of - 1) / which.of;
    *first = MIN(which.index * height, self->features);
    return MIN(*first + height, self->features);
}

static size_t positions_of(const layer *self) { return self->fan_out / self->features; }

/* So many features of a slice, at all positions. */
static feature_rows rows_of(const layer *self, const layer_io *io, size_t features)
{
    return (feature_rows){.features = features,
                          .positions = positions_of(self),
                          .step = self->features * io->stride,
                          .batch = io->batch,
                          .stride = io->stride};
}

/* What is saved: of batch normalization for each feature the mean and the inverse deviation, the
 * variance, and the sums below; of layer normalization for each sample the first two of each
 * position, and scratch. */
enum { MEAN, INVERSE, VARIANCE, DELTA_SUM, DELTA_PRODUCT, SAVED_PER_FEATURE };
enum { SAMPLE_MOMENTS = 2, SAMPLE_SCRATCH = 2 };

/* The sums of some features. */
typedef struct {
    double sum[TOGETHER], product[TOGETHER];
} delta_sums;

static void end_chains(double *sums, const double *chains, size_t count)
{
    for (size_t f = 0; f < count; f++) {
        sums[f] = pycnn_sum_chains(chains + f * CHAINS);
    }
}

/* Sums over all samples and positions of delta and of delta x^, for the features f ...
 * f + count - 1: the gradients of beta and of gamma. */
static delta_sums sum_deltas(const layer *self, const layer_io *io, size_t slices, size_t f,
                             size_t count, bool by_sample)
{
    double sums[TOGETHER * CHAINS] = {0}, products[TOGETHER * CHAINS] = {0};
    for (const layer_io *end = io + slices; io < end; io++) {
        const feature_rows rows = rows_of(self, io, count);
        const double *mean = by_sample ? io->saved_samples : io->saved + f;
        const double *inverse = mean + (by_sample ? io->stride : self->features);
        const size_t apart = by_sample ? SAMPLE_MOMENTS * io->stride : 0;
        self->kernels->normalization->add_deltas(sums, products, io->delta + f * io->stride,
                                                 io->input + f * io->stride, mean, inverse, apart,
                                                 &rows);
    }
    delta_sums all;
    end_chains(all.sum, sums, count);
    end_chains(all.product, products, count);
    return all;
}

static void put(double *out, gradient_use use, double step, double sum)
{
    *out = use == GRADIENT_SET ? sum : use == GRADIENT_ADD ? *out + sum : *out - step * sum;
}

/* The gradients of gamma and beta of some features. */
static void put_gradients(const layer *self, double *out, gradient_use use, double step, size_t f,
                          size_t count, const delta_sums *sums)
{
    for (size_t j = 0; j < count; j++) {
        put(&out[f + j], use, step, sums->product[j]);
        put(&out[self->features + f + j], use, step, sums->sum[j]);
    }
}

/* The layer normalizes and does nothing else; what is counted begins as mean 0 and variance 1. */
static void normalization_initialize(const layer *self, double *theta, double *statistics,
                                     random_stream *stream)
{
    (void)stream;
    for (size_t j = 0; j < self->features; j++) {
        theta[j] = 1;
        theta[self->features + j] = 0;
    }
    for (size_t j = 0; j < self->statistic_count; j++) {
        statistics[j] = j < self->features ? 0 : 1;
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
    TRY(normalization_create(self, spec));
    self->packed_rows = PACKED_ROWS;
    self->packed_width = self->features;
    TRY(pycnn_add_tensor(self, "mean", PYCNN_STATISTIC, 1, &self->features));
    TRY(pycnn_add_tensor(self, "variance", PYCNN_STATISTIC, 1, &self->features));
    return add_product(&self->saved_per_slice, SAVED_PER_FEATURE, self->features);
}

static double *saved(const layer *self, const layer_io *io, int which)
{
    return io->saved + (size_t)which * self->features;
}

/* How many numbers of the mini-batch a feature has. */
static double count_of(const layer *self, const layer_io *io)
{
    return (double)io->context->count * (double)positions_of(self);
}

/* Mean and variance of the features f ... f + count - 1 over all samples and positions. */
static void measure(const layer *self, const layer_io *io, size_t slices, size_t f, size_t count)
{
    const normalization_kernels *kernels = self->kernels->normalization;
    const double numbers = count_of(self, io);
    double chains[TOGETHER * CHAINS] = {0}, mean[TOGETHER], variance[TOGETHER];
    for (size_t s = 0; s < slices; s++) {
        const feature_rows rows = rows_of(self, &io[s], count);
        kernels->add(chains, io[s].input + f * io[s].stride, &rows);
    }
    end_chains(mean, chains, count);
    for (size_t j = 0; j < count; j++) {
        mean[j] /= numbers;
    }
    memset(chains, 0, sizeof chains);
    for (size_t s = 0; s < slices; s++) {
        const feature_rows rows = rows_of(self, &io[s], count);
        kernels->add_squares(chains, io[s].input + f * io[s].stride, mean, &rows);
    }
    end_chains(variance, chains, count);
    for (size_t s = 0; s < slices; s++) {
        for (size_t j = 0; j < count; j++) {
            const double spread = variance[j] / numbers;
            saved(self, &io[s], MEAN)[f + j] = mean[j];
            saved(self, &io[s], INVERSE)[f + j] = 1 / sqrt(spread + self->epsilon);
            saved(self, &io[s], VARIANCE)[f + j] = spread;
        }
    }
}

static void batch_norm_reduce(const layer *self, const layer_io *io, size_t slices, part which,
                              bool backward)
{
    size_t f;
    const size_t last = features_of_part(self, which, &f);
    for (; f < last; f += TOGETHER) {
        const size_t count = MIN(TOGETHER, last - f);
        if (!backward) {
            measure(self, io, slices, f, count);
            continue;
        }
        const delta_sums sums = sum_deltas(self, io, slices, f, count, false);
        for (size_t s = 0; s < slices; s++) {
            memcpy(saved(self, &io[s], DELTA_SUM) + f, sums.sum, count * sizeof *sums.sum);
            memcpy(saved(self, &io[s], DELTA_PRODUCT) + f, sums.product,
                   count * sizeof *sums.product);
        }
    }
}

/* The mean and the inverse deviation that each feature is normalized by in prediction. */
static void counted_moments(const layer *self, double *mean, double *inverse,
                            const double *statistics)
{
    for (size_t j = 0; j < self->features; j++) {
        mean[j] = statistics[j];
        inverse[j] = 1 / sqrt(statistics[self->features + j] + self->epsilon);
    }
}

/* All positions by the same moments. */
static void normalize(const layer *self, const layer_io *io, const double *mean,
                      const double *inverse, const double *gamma, const double *beta)
{
    for (size_t at = 0; at < self->fan_out * io->stride; at += self->features * io->stride) {
        self->kernels->normalization->normalize_units(io->z + at, io->input + at, mean, inverse,
                                                      gamma, beta, self->features, io->stride);
    }
    pycnn_activate(self, io);
}

static void batch_norm_forward_slice(const layer *self, const double *theta, const layer_io *io)
{
    double *mean = saved(self, io, MEAN), *inverse = saved(self, io, INVERSE);
    if (!io->context->training) {
        counted_moments(self, mean, inverse, io->context->statistics + self->statistic_offset);
    }
    normalize(self, io, mean, inverse, theta, theta + self->features);
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
    const size_t features = self->features;
    counted_moments(self, packed + PACKED_MEAN * features, packed + PACKED_INVERSE * features,
                    statistics);
    memcpy(packed + PACKED_GAMMA * features, theta, 2 * features * sizeof *packed); /* and beta */
}

static void batch_norm_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    const size_t features = self->features;
    normalize(self, io, packed + PACKED_MEAN * features, packed + PACKED_INVERSE * features,
              packed + PACKED_GAMMA * features, packed + PACKED_BETA * features);
}

static void batch_norm_backward_slice(const layer *self, const double *theta, const layer_io *io)
{
    const double fraction = io->context->training ? 1 / count_of(self, io) : 0;
    const size_t position = self->features * io->stride, end = self->fan_out * io->stride;
    for (size_t at = 0; at < end && io->delta_input != NULL; at += position) {
        self->kernels->normalization->unit_deltas(
            io->delta_input + at, io->delta + at, io->input + at, saved(self, io, MEAN),
            saved(self, io, INVERSE), theta, saved(self, io, DELTA_SUM),
            saved(self, io, DELTA_PRODUCT), fraction, self->features, io->batch, io->stride);
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
    size_t f;
    const size_t last = features_of_part(self, which, &f);
    for (; f < last; f += TOGETHER) {
        const size_t count = MIN(TOGETHER, last - f);
        delta_sums sums;
        if (io->context->training) { /* they have been reduced */
            memcpy(sums.sum, saved(self, io, DELTA_SUM) + f, count * sizeof *sums.sum);
            memcpy(sums.product, saved(self, io, DELTA_PRODUCT) + f, count * sizeof *sums.product);
        } else {
            sums = sum_deltas(self, io, slices, f, count, false);
        }
        put_gradients(self, out, use, step, f, count, &sums);
    }
}

/* statistics = (1 - momentum) statistics + momentum (mean, variance): the variance is the unbiased
 * estimate, which one number does not give. */
static void batch_norm_update_statistics(const layer *self, double *statistics, const layer_io *io)
{
    const double count = count_of(self, io), m = self->momentum;
    for (size_t j = 0; j < self->features && count > 1; j++) {
        const double variance = saved(self, io, VARIANCE)[j] * (count / (count - 1));
        double *mean = &statistics[j], *spread = &statistics[self->features + j];
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
    TRY(normalization_create(self, spec));
    self->knows_lengths = pycnn_sequence_positions(spec) > 0;
    self->saved_per_sample = SAMPLE_SCRATCH;
    return add_product(&self->saved_per_sample, SAMPLE_MOMENTS, positions_of(self));
}

static void layer_norm_forward_slice(const layer *self, const double *theta, const layer_io *io)
{
    const normalization_kernels *kernels = self->kernels->normalization;
    const size_t units = self->features, step = units * io->stride;
    for (size_t p = 0; p < positions_of(self); p++) {
        double *mean = io->saved_samples + p * SAMPLE_MOMENTS * io->stride;
        double *inverse = mean + io->stride;
        const double *x = io->input + p * step;
        kernels->sample_moments(mean, inverse, x, self->epsilon, units, io->stride);
        kernels->normalize_samples(io->z + p * step, x, mean, inverse, theta, theta + units, units,
                                   io->stride);
    }
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
    const size_t step = self->features * io->stride, moments = SAMPLE_MOMENTS * io->stride;
    double *scratch = io->saved_samples + positions_of(self) * moments;
    for (size_t p = 0; p < positions_of(self) && io->delta_input != NULL; p++) {
        const double *mean = io->saved_samples + p * moments;
        self->kernels->normalization->sample_deltas(
            io->delta_input + p * step, io->delta + p * step, io->input + p * step, mean,
            mean + io->stride, theta, scratch, self->features, io->stride);
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
    size_t f;
    const size_t last = features_of_part(self, which, &f);
    for (; f < last; f += TOGETHER) {
        const size_t count = MIN(TOGETHER, last - f);
        const delta_sums sums = sum_deltas(self, io, slices, f, count, true);
        put_gradients(self, out, use, step, f, count, &sums);
    }
}

const layer_ops pycnn_layer_norm_ops = {
    .create = layer_norm_create,
    .forward = layer_norm_forward,
    .backward = layer_norm_backward,
    .gradient = layer_norm_gradient,
    .initialize = normalization_initialize,
};
