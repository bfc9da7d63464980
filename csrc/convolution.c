/* The convolution layer over images [rows,columns,channels], or sequences, which have one row:
 *
 *     z[y,x,f] = sum over k, l, c of W[f,k,l,c] input[y s + k d - before, x s + l d - before, c]
 *                + b[f]
 *
 * with strides s and dilation d of their own along rows and columns. theta is W[filters,k,l,c],
 * b[filters]. The sums are in the kernels. */
#include "layer.h"

/* Sums of a gradient that are made at a time, which the second-level cache has to hold, and filters
 * that are at least: a kernel's tile. */
enum { SUMS_TOGETHER = 1 << 14, LEAST_FILTERS = 4 };

/* ---------------------------------------------------------------- which taps read what */

/* Those of position `place` along axis 0 (rows) or 1 (columns). */
static tap_run taps_of(const convolution *self, int axis, size_t place)
{
    const size_t before = self->before[axis], stride = self->strides[axis];
    const size_t start = self->backward ? place : place * stride;
    const size_t divide = self->backward ? stride : 1;
    tap_run run = {.step = 1};
    for (size_t k = 0; k < self->taps[axis]; k++) {
        const size_t from = start + k * self->dilation[axis];
        if (from < before || (from - before) % divide != 0 ||
            (from - before) / divide >= self->in[axis]) {
            continue;
        }
        const size_t at = (from - before) / divide;
        if (run.count == 0) {
            run.first = k;
            run.at = at;
        } else if (run.count == 1) {
            run.step = k - run.first;
            run.at_step = at - run.at;
        }
        run.count++;
    }
    return run;
}

/* ---------------------------------------------------------------- the plain kernels */

/* One sum for each of `width` samples of a slice. */
static void convolve_number(double *sum, const double *in, size_t stride, size_t width,
                            const convolution *self, tap_run rows, tap_run columns,
                            const double *filter)
{
    for (size_t k = 0; k < rows.count; k++) {
        for (size_t l = 0; l < columns.count; l++) {
            const size_t at =
                (rows.at + k * rows.at_step) * self->in[1] + columns.at + l * columns.at_step;
            const double *from = in + at * self->in_features * stride;
            const double *w = filter +
                              (ptrdiff_t)(rows.first + k * rows.step) * self->tap_steps[0] +
                              (ptrdiff_t)(columns.first + l * columns.step) * self->tap_steps[1];
            for (size_t c = 0; c < self->in_features; c++) {
                for (size_t i = 0; i < width; i++) {
                    sum[i] += w[(ptrdiff_t)c * self->feature_step] * from[c * stride + i];
                }
            }
        }
    }
}

static void convolve_baseline(double *out, const double *in, size_t stride, const convolution *self,
                              const tap_run *rows, const tap_run *columns, const double *weights,
                              const double *bias)
{
    enum { WIDE = 16 };
    for (size_t y = 0; y < self->out[0]; y++) {
        for (size_t x = 0; x < self->out[1]; x++) {
            for (size_t f = 0; f < self->out_features; f++, out += stride) {
                for (size_t i = 0; i < stride; i += WIDE) {
                    const size_t width = MIN(WIDE, stride - i);
                    double sum[WIDE] = {0};
                    convolve_number(sum, in + i, stride, width, self, rows[y], columns[x],
                                    weights + (ptrdiff_t)f * self->filter_step);
                    for (size_t j = 0; j < width; j++) {
                        out[i + j] = bias == NULL ? sum[j] : sum[j] + bias[f];
                    }
                }
            }
        }
    }
}

static void add_gradient_baseline(double *sums, const double *delta, size_t delta_stride,
                                  const double *in, size_t in_stride, size_t samples,
                                  const convolution *self, size_t first, size_t filters)
{
    const size_t run = self->taps[1] * self->in_features;
    const size_t row = self->taps[0] * run + 1; /* of sums */
    for (size_t place = 0; place < self->out[0] * self->out[1]; place++) {
        const size_t y = place / self->out[1], x = place % self->out[1];
        for (size_t f = 0; f < filters; f++) {
            const double *d = delta + (place * self->out_features + first + f) * delta_stride;
            double *sum = sums + f * row * CHAINS;
            for (size_t t = 0; t + 1 < row; t++, sum += CHAINS) {
                const size_t k = t / run, l = t % run / self->in_features;
                const size_t from_y = y * self->strides[0] + k * self->dilation[0];
                const size_t from_x = x * self->strides[1] + l * self->dilation[1];
                const double *from = in + ((from_y * self->in[1] + from_x) * self->in_features +
                                           t % self->in_features) *
                                              in_stride;
                for (size_t i = 0; i < samples; i++) {
                    sum[i] += d[i] * from[i];
                }
            }
            for (size_t i = 0; i < samples; i++) {
                sum[i] += d[i];
            }
        }
    }
}

const convolution_kernels pycnn_convolution_baseline = {convolve_baseline, add_gradient_baseline};

/* ---------------------------------------------------------------- the layer */

/* The same windows as the delta of the input sees them. */
static convolution backwards(const convolution *forward)
{
    convolution back = *forward;
    back.backward = true;
    back.in_features = forward->out_features;
    back.out_features = forward->in_features;
    for (int axis = 0; axis < 2; axis++) {
        back.in[axis] = forward->out[axis];
        back.out[axis] = forward->in[axis];
        back.before[axis] =
            (forward->taps[axis] - 1) * forward->dilation[axis] - forward->before[axis];
        back.tap_steps[axis] = -forward->tap_steps[axis];
    }
    back.filter_step = forward->feature_step;
    back.feature_step = forward->filter_step;
    return back;
}

/* Rows or columns of the image once it is padded: as far as taps read, `before` in front included.
 */
static size_t padded(const convolution *shape, int axis)
{
    return (shape->out[axis] - 1) * shape->strides[axis] +
           (shape->taps[axis] - 1) * shape->dilation[axis] + 1;
}

/* A filter's sums, in chains, of its weights and its bias. */
static size_t sums_of_filter(const convolution *shape)
{
    return (shape->taps[0] * shape->taps[1] * shape->in_features + 1) * CHAINS;
}

/* Filters whose gradients are summed at a time. */
static size_t filters_together(const convolution *shape)
{
    const size_t some = SUMS_TOGETHER / sums_of_filter(shape);
    return MIN(some > LEAST_FILTERS ? some : LEAST_FILTERS, shape->out_features);
}

/* The taps of all rows and columns, as doubles. */
static size_t size_of_runs(const size_t *places)
{
    return ((places[0] + places[1]) * sizeof(tap_run) + sizeof(double) - 1) / sizeof(double);
}

/* What a part of the work needs besides: forward, of one sample, the weights turned over; for the
 * gradient its sums, and the padded image of a few samples. */
static int set_scratch(layer *self)
{
    const convolution *shape = &self->forward;
    const size_t forward = size_of_runs(shape->out), backward = size_of_runs(shape->in);
    size_t image = 0, sums = 0, one = forward;
    TRY(add_product(&image, padded(shape, 0), padded(shape, 1)));
    const size_t places = image;
    image = 0;
    TRY(add_product(&image, places, shape->in_features));
    const size_t numbers = image;
    TRY(add_product(&sums, numbers, CHAINS));
    TRY(add_product(&sums, filters_together(shape), sums_of_filter(shape)));
    TRY(add_product(&one, self->weight_count, 1));
    self->scratch = MAX(MAX(one, sums), backward);
    return PYCNN_OK;
}

static int convolution_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    size_t taps = 0;
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units, the filters, must be at least 1");
    TRY(pycnn_set_windows(self, spec));
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_set_activation(self, spec->activation));
    const size_t features = shape->in_features;
    shape->out_features = spec->units;
    TRY(add_product(&taps, shape->taps[0], shape->taps[1]));
    const size_t tensor[] = {spec->units, shape->taps[0], shape->taps[1], features};
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 4, tensor));
    if (!spec->no_bias) {
        TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, tensor));
    }
    shape->feature_step = 1;
    shape->tap_steps[1] = (ptrdiff_t)features;
    shape->tap_steps[0] = (ptrdiff_t)(shape->taps[1] * features);
    shape->filter_step = (ptrdiff_t)(taps * features);
    self->backward = backwards(shape);
    const size_t places = shape->out[0] * shape->out[1];
    TRY(add_product(&self->fan_out, places, spec->units));
    TRY(add_product(&self->work, places, self->parameter_count));
    self->slice_by_slice = self->sums_samples = true;
    return set_scratch(self);
}

/* Puts the taps of all rows, and behind them of all columns, into scratch. */
static const tap_run *runs_of(const convolution *shape, double *scratch)
{
    tap_run *runs = (tap_run *)(void *)scratch;
    for (size_t y = 0; y < shape->out[0]; y++) {
        runs[y] = taps_of(shape, 0, y);
    }
    for (size_t x = 0; x < shape->out[1]; x++) {
        runs[shape->out[0] + x] = taps_of(shape, 1, x);
    }
    return runs;
}

/* packed[taps,features,filters] = W[filters,taps,features]: where one sample is alone the filters
 * lie side by side. */
static void convolve_one(const layer *self, const double *theta, const double *bias,
                         const layer_io *io, const tap_run *runs, double *packed)
{
    convolution shape = self->forward;
    const size_t filters = shape.out_features, numbers = self->weight_count / filters;
    self->kernels->transpose(packed, filters, theta, numbers, filters, numbers);
    shape.filter_step = 1;
    shape.feature_step = (ptrdiff_t)filters;
    shape.tap_steps[0] *= (ptrdiff_t)filters;
    shape.tap_steps[1] *= (ptrdiff_t)filters;
    self->kernels->convolution->convolve(io->z, io->input, 1, &shape, runs, runs + shape.out[0],
                                         packed, bias);
}

static void convolution_forward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    const convolution *shape = &self->forward;
    const double *bias =
        self->parameter_count > self->weight_count ? theta + self->weight_count : NULL;
    const tap_run *runs = runs_of(shape, io->scratch);
    for (const layer_io *end = io + slices; io < end; io++) {
        if (io->stride == 1) {
            double *packed = io->scratch + size_of_runs(shape->out);
            convolve_one(self, theta, bias, io, runs, packed);
        } else {
            self->kernels->convolution->convolve(io->z, io->input, io->stride, shape, runs,
                                                 runs + shape->out[0], theta, bias);
        }
        pycnn_activate(self, io);
    }
}

/* delta_input: of the flipped filters, whose first tap is the last. */
static void convolution_backward(const layer *self, const double *theta, const layer_io *io,
                                 size_t slices)
{
    const convolution *shape = &self->backward;
    if (io->delta_input == NULL) {
        return;
    }
    const tap_run *runs = runs_of(shape, io->scratch);
    const double *last = theta - (ptrdiff_t)(shape->taps[0] - 1) * shape->tap_steps[0] -
                         (ptrdiff_t)(shape->taps[1] - 1) * shape->tap_steps[1];
    for (const layer_io *end = io + slices; io < end; io++) {
        self->kernels->convolution->convolve(io->delta_input, io->delta, io->stride, shape, runs,
                                             runs + shape->out[0], last, NULL);
    }
}

/* padded[rows,columns,features,CHAINS] = some samples of image, with zeros around it: they add
 * nothing to a sum. */
static void pad(double *into, const convolution *shape, const double *image, size_t stride,
                size_t samples)
{
    const size_t rows = padded(shape, 0), columns = padded(shape, 1);
    const size_t features = shape->in_features;
    memset(into, 0, rows * columns * features * CHAINS * sizeof *into);
    for (size_t y = 0; y < shape->in[0] && y + shape->before[0] < rows; y++) {
        for (size_t x = 0; x < shape->in[1] && x + shape->before[1] < columns; x++) {
            const size_t at = (y + shape->before[0]) * columns + x + shape->before[1];
            const double *from = image + (y * shape->in[1] + x) * features * stride;
            for (size_t c = 0; c < features; c++) {
                memcpy(into + (at * features + c) * CHAINS, from + c * stride,
                       samples * sizeof *into);
            }
        }
    }
}

/* Adds up the gradients of some filters over all samples. */
static void add_gradients(const layer *self, double *sums, double *image, const layer_io *io,
                          size_t slices, size_t first, size_t filters)
{
    convolution shape = self->forward;
    const bool fits = shape.before[0] + shape.before[1] == 0 && padded(&shape, 0) <= shape.in[0] &&
                      padded(&shape, 1) <= shape.in[1];
    if (!fits) {
        shape.in[0] = padded(&self->forward, 0);
        shape.in[1] = padded(&self->forward, 1);
    }
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < io->batch; i += CHAINS) {
            const size_t samples = MIN(CHAINS, io->batch - i);
            if (!fits) {
                pad(image, &self->forward, io->input + i, io->stride, samples);
            }
            self->kernels->convolution->add_gradient(
                sums, io->delta + i, io->stride, fits ? io->input + i : image,
                fits ? io->stride : CHAINS, samples, &shape, first, filters);
        }
    }
}

/* What becomes of a filter's gradient; the sums end as one number each. */
static void finish(const layer *self, double *out, size_t count, gradient_use use, double step,
                   double *sums)
{
    for (size_t t = 0; t < count; t++) {
        sums[t] = pycnn_sum_chains(sums + t * CHAINS);
    }
    if (use == GRADIENT_DESCEND) {
        self->kernels->descend(out, sums, step, count);
    }
    for (size_t t = 0; t < count && use != GRADIENT_DESCEND; t++) {
        out[t] = use == GRADIENT_ADD ? out[t] + sums[t] : sums[t];
    }
}

/* dW[f,k,l,c] = sum over positions and samples of delta[y,x,f] input[y',x',c], db[f] = that of
 * delta: in CHAINS chains by the sample, each over all positions of a sample, then the next. A part
 * is some filters. */
static void convolution_gradient(const layer *self, double *out, gradient_use use, double step,
                                 const layer_io *io, size_t slices, part which)
{
    const convolution *shape = &self->forward;
    const size_t all = shape->out_features, weights = self->weight_count / all;
    const size_t height = (all + which.of - 1) / which.of;
    const size_t last = MIN((which.index + 1) * height, all), most = filters_together(shape);
    double *sums = which.scratch, *image = sums + most * sums_of_filter(shape);
    for (size_t f = which.index * height; f < last; f += most) {
        const size_t filters = MIN(most, last - f);
        memset(sums, 0, filters * sums_of_filter(shape) * sizeof *sums);
        add_gradients(self, sums, image, io, slices, f, filters);
        for (size_t j = f; j < f + filters; j++) {
            double *sum = sums + (j - f) * sums_of_filter(shape);
            double *behind = sum + weights * CHAINS;
            finish(self, out + j * weights, weights, use, step, sum);
            if (self->parameter_count > self->weight_count) {
                finish(self, out + self->weight_count + j, 1, use, step, behind);
            }
        }
    }
}

static void convolution_initialize(const layer *self, double *theta, double *statistics,
                                   random_stream *stream)
{
    const convolution *shape = &self->forward;
    const double taps = (double)(shape->taps[0] * shape->taps[1]);
    (void)statistics;
    pycnn_draw_weights(self, theta, taps * (double)shape->in_features,
                       taps * (double)shape->out_features, stream);
}

const layer_ops pycnn_convolution_ops = {
    .create = convolution_create,
    .forward = convolution_forward,
    .backward = convolution_backward,
    .gradient = convolution_gradient,
    .initialize = convolution_initialize,
    .constrain = pycnn_constrain_rows,
};
