/* The convolution layer over images [rows,columns,channels], or sequences, which have one row:
 *
 *     z[y,x,f] = sum over k, l, c of W[f,k,l,c] input[y s + k d - before, x s + l d - before, c]
 *                + b[f]
 *
 * with strides s and dilation d of their own along rows and columns. theta is W[filters,k,l,c],
 * b[filters]. The sums are in the kernels. */
#include "filters.h"

/* ---------------------------------------------------------------- the plain kernels */

/* One sum for each of `width` samples of a slice; `in` is at the first tap. */
static void convolve_number(double *sum, const double *in, size_t stride, size_t width,
                            const convolution *self, const tap_run *rows, const tap_run *columns,
                            const double *filter)
{
    for (size_t k = 0; k < rows->count; k++) {
        for (size_t l = 0; l < columns->count; l++) {
            const size_t at = k * rows->at_step * self->in[1] + l * columns->at_step;
            const double *from = in + at * self->in_features * stride;
            const double *w = filter +
                              (ptrdiff_t)(rows->first + k * rows->step) * self->tap_steps[0] +
                              (ptrdiff_t)(columns->first + l * columns->step) * self->tap_steps[1];
            for (size_t c = 0; c < self->in_features; c++) {
                for (size_t i = 0; i < width; i++) {
                    sum[i] += w[(ptrdiff_t)c * self->feature_step] * from[c * stride + i];
                }
            }
        }
    }
}

/* All filters at the i-th row and j-th column of two runs. */
static void convolve_place(double *out, const double *in, size_t stride, const convolution *self,
                           const tap_run *rows, size_t i, const tap_run *columns, size_t j,
                           const double *weights, const double *bias)
{
    enum { WIDE = 16 };
    const size_t y = rows->place + i * rows->place_step;
    const size_t x = columns->place + j * columns->place_step;
    const size_t from = (rows->at + i * rows->at_next) * self->in[1] + columns->at;
    in += (from + j * columns->at_next) * self->in_features * stride;
    out += (y * self->out[1] + x) * self->out_features * stride;
    for (size_t f = 0; f < self->out_features; f++, out += stride) {
        for (size_t first = 0; first < stride; first += WIDE) {
            const size_t width = MIN(WIDE, stride - first);
            double sum[WIDE] = {0};
            convolve_number(sum, in + first, stride, width, self, rows, columns,
                            weights + (ptrdiff_t)f * self->filter_step);
            for (size_t n = 0; n < width; n++) {
                out[first + n] = bias == NULL ? sum[n] : sum[n] + bias[f];
            }
        }
    }
}

static void convolve_baseline(double *out, const double *in, size_t stride, const convolution *self,
                              const tap_runs *runs, const double *weights, const double *bias)
{
    for (size_t r = 0; r < runs->row_count * runs->column_count; r++) {
        const tap_run *rows = &runs->rows[r / runs->column_count];
        const tap_run *columns = &runs->columns[r % runs->column_count];
        for (size_t i = 0; i < rows->places; i++) {
            for (size_t j = 0; j < columns->places; j++) {
                convolve_place(out, in, stride, self, rows, i, columns, j, weights, bias);
            }
        }
    }
}

/* What weight t of a filter multiplies at position [y,x]; NULL where that is beside the image. */
static const double *input_of(const double *in, size_t stride, const convolution *self, size_t y,
                              size_t x, size_t t)
{
    const size_t features = self->in_features, k = t / features / self->taps[1];
    const size_t l = t / features % self->taps[1];
    const size_t from_y = y * self->strides[0] + k * self->dilation[0] - self->before[0];
    const size_t from_x = x * self->strides[1] + l * self->dilation[1] - self->before[1];
    if (from_y >= self->in[0] || from_x >= self->in[1]) { /* or below 0 */
        return NULL;
    }
    return in + ((from_y * self->in[1] + from_x) * features + t % features) * stride;
}

static void add_gradient_baseline(double *sums, const double *delta, const double *in,
                                  size_t stride, size_t samples, const convolution *self,
                                  size_t first, size_t filters, double *scratch)
{
    const size_t weights = weights_of(self);
    (void)scratch;
    for (size_t place = 0; place < self->out[0] * self->out[1]; place++) {
        const size_t y = place / self->out[1], x = place % self->out[1];
        for (size_t t = 0; t <= weights; t++) {
            const double *from = t < weights ? input_of(in, stride, self, y, x, t) : NULL;
            for (size_t f = 0; f < filters && (from != NULL || t == weights); f++) {
                const double *d = delta + (place * self->out_features + first + f) * stride;
                double *sum = sums + (f * (weights + 1) + t) * CHAINS;
                for (size_t i = 0; i < samples; i++) {
                    sum[i] += t < weights ? d[i] * from[i] : d[i];
                }
            }
        }
    }
}

const convolution_kernels pycnn_convolution_baseline = {convolve_baseline, add_gradient_baseline};

/* ---------------------------------------------------------------- the layer */

static int convolution_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units, the filters, must be at least 1");
    REQUIRE(spec->activation != PYCNN_SOFTMAX || spec->shape[0] == 1, self, PYCNN_ERROR_ARGUMENT,
            "softmax is of a row of units, and this is an image");
    TRY(pycnn_set_windows(self, spec));
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_set_activation(self, spec->activation));
    const size_t features = shape->in_features;
    shape->out_features = spec->units;
    const size_t tensor[] = {spec->units, shape->taps[0], shape->taps[1], features};
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 4, tensor));
    if (!spec->no_bias) {
        TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, tensor));
    }
    self->backward = pycnn_filters_backwards(shape);
    const size_t places = shape->out[0] * shape->out[1];
    const bool one_tap = shape->taps[0] == 1 && shape->taps[1] == 1 && shape->strides[1] == 1;
    self->positions = sequence_of(shape);
    self->knows_lengths = self->positions > 0 && one_tap;
    TRY(add_product(&self->fan_out, places, spec->units));
    TRY(add_product(&self->work, places, self->parameter_count));
    self->slice_by_slice = self->sums_samples = true;
    self->packed_rows = 1;
    self->packed_width = self->parameter_count;
    return pycnn_filters_scratch(&self->scratch, shape);
}

static const double *bias_of(const layer *self, const double *theta)
{
    return self->parameter_count > self->weight_count ? theta + self->weight_count : NULL;
}

static void convolution_forward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        pycnn_filters_forward(self->kernels, &self->forward, io->z, io->input, io->stride, theta,
                              bias_of(self, theta), io->scratch);
        pycnn_activate(self, io);
    }
}

/* The weights of a single sample, and the biases behind them. */
static void convolution_pack(const layer *self, double *packed, const double *theta,
                             const double *statistics)
{
    const size_t biases = self->parameter_count - self->weight_count;
    (void)statistics;
    pycnn_filters_pack(self->kernels, &self->forward, packed, theta);
    memcpy(packed + self->weight_count, theta + self->weight_count, biases * sizeof *packed);
}

static void convolution_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    pycnn_filters_forward_packed(self->kernels, &self->forward, io->z, io->input, packed,
                                 bias_of(self, packed), io->scratch);
    pycnn_activate(self, io);
}

static void convolution_backward(const layer *self, const double *theta, const layer_io *io,
                                 size_t slices)
{
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        pycnn_filters_backward(self->kernels, &self->backward, io->delta_input, io->delta,
                               io->stride, theta, io->scratch);
    }
}

static filter_terms convolution_terms(const layer *self, const layer_io *io)
{
    (void)self;
    return (filter_terms){io->delta, io->input};
}

/* dW[f,k,l,c] = sum over positions and samples of delta[y,x,f] input[y',x',c], db[f] = that of
 * delta. A part is some filters. */
static void convolution_gradient(const layer *self, double *out, gradient_use use, double step,
                                 const layer_io *io, size_t slices, part which)
{
    const bool has_bias = self->parameter_count > self->weight_count;
    const size_t all = self->forward.out_features, height = (all + which.of - 1) / which.of;
    const filter_gradient what = {
        .forward = &self->forward,
        .weights = out,
        .bias = has_bias ? out + self->weight_count : NULL,
        .use = use,
        .step = step,
        .first = which.index * height,
        .last = MIN((which.index + 1) * height, all),
        .scratch = which.scratch,
    };
    pycnn_filters_gradient(self, &what, io, slices, convolution_terms);
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
    .pack = convolution_pack,
    .forward_packed = convolution_forward_packed,
    .backward = convolution_backward,
    .gradient = convolution_gradient,
    .initialize = convolution_initialize,
    .constrain = pycnn_constrain_rows,
};
