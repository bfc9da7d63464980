/* The convolution layer over images [rows,columns,channels], or sequences, which have one row:
 *
 *     z[y,x,f] = sum over k, l, c of W[f,k,l,c] input[y s + k d - before, x s + l d - before, c]
 *                + b[f]
 *
 * with strides s and dilation d of their own along rows and columns. theta is W[filters,k,l,c],
 * b[filters]. The sums are in the kernels. */
#include "layer.h"

/* Sums of a gradient that are made at a time, CHAINS of each: for so many a padded image is worth
 * its making, whatever its size. */
enum { SUMS_TOGETHER = 1 << 14 };

/* ---------------------------------------------------------------- which taps read what */

/* Of position `place` along axis 0 (rows) or 1 (columns). */
static tap_run taps_of(const convolution *self, int axis, size_t place)
{
    const size_t before = self->before[axis], stride = self->strides[axis];
    const size_t start = self->backward ? place : place * stride;
    const size_t divide = self->backward ? stride : 1;
    tap_run run = {.step = 1, .place = place, .places = 1};
    /* Going back, windows that are a stride apart have the same taps. */
    run.place_step = divide;
    run.at_next = self->backward ? 1 : stride;
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

/* Puts the runs of an axis into `runs`; returns how many they are. */
static size_t find_runs(tap_run *runs, const convolution *self, int axis)
{
    const size_t period = self->backward ? self->strides[axis] : 1, all = self->out[axis];
    size_t count = 0;
    for (size_t first = 0; first < MIN(period, all); first++) {
        runs[count++] = taps_of(self, axis, first);
        for (size_t place = first; period < all - place;) {
            place += period;
            tap_run *last = &runs[count - 1];
            const tap_run next = taps_of(self, axis, place);
            if (next.count == last->count && next.first == last->first) {
                last->places++;
            } else {
                runs[count++] = next;
            }
        }
    }
    return count;
}

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

/* The same windows as the delta of the input sees them: those of the flipped filters. */
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
    }
    return back;
}

/* Where weights lie that are [filters,taps,features]; or, with the filters side by side,
 * [taps,features,filters]. */
static void set_steps(convolution *shape, bool side_by_side)
{
    const ptrdiff_t features = (ptrdiff_t)shape->in_features;
    const ptrdiff_t unit = side_by_side ? (ptrdiff_t)shape->out_features : 1;
    shape->feature_step = unit;
    shape->tap_steps[1] = unit * features;
    shape->tap_steps[0] = unit * features * (ptrdiff_t)shape->taps[1];
    shape->filter_step = side_by_side ? 1 : shape->tap_steps[0] * (ptrdiff_t)shape->taps[0];
}

/* Filters whose gradients are summed at a time. */
static size_t filters_together(const convolution *shape)
{
    const size_t some = SUMS_TOGETHER / (weights_of(shape) + 1);
    return MIN(some > FILTERS_TOGETHER ? some : FILTERS_TOGETHER, shape->out_features);
}

/* Adds the room for the taps of all rows and columns, in doubles. */
static int add_runs(size_t *count, const size_t *places)
{
    enum { SIZE = (sizeof(tap_run) + sizeof(double) - 1) / sizeof(double) };
    TRY(add_product(count, places[0], SIZE));
    return add_product(count, places[1], SIZE);
}

/* What a part of the work needs besides: the weights in another order, and the taps behind them;
 * for the gradient its sums. */
static int set_scratch(layer *self)
{
    const convolution *shape = &self->forward;
    size_t forward = self->weight_count, backward = forward, gradient = 0, row = CHAINS;
    TRY(add_runs(&forward, shape->out));
    TRY(add_runs(&backward, shape->in));
    TRY(add_product(&row, weights_of(shape), CHAINS));
    TRY(add_product(&gradient, filters_together(shape), row));
    TRY(gradient_scratch(&gradient, shape));
    self->scratch = MAX(MAX(forward, backward), gradient);
    return PYCNN_OK;
}

static int convolution_create(layer *self, const pycnn_layer_spec *spec)
{
    convolution *shape = &self->forward;
    REQUIRE(spec->units > 0, self, PYCNN_ERROR_SIZE, "units, the filters, must be at least 1");
    REQUIRE(spec->activation != PYCNN_SOFTMAX, self, PYCNN_ERROR_ARGUMENT,
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
    self->backward = backwards(shape);
    const size_t places = shape->out[0] * shape->out[1];
    TRY(add_product(&self->fan_out, places, spec->units));
    TRY(add_product(&self->work, places, self->parameter_count));
    self->slice_by_slice = self->sums_samples = true;
    self->packed_rows = 1;
    self->packed_width = self->parameter_count;
    return set_scratch(self);
}

/* The runs of all rows, and behind them of all columns, in scratch. */
static tap_runs runs_of(const convolution *shape, double *scratch)
{
    tap_run *rows = (tap_run *)(void *)scratch;
    const size_t row_count = find_runs(rows, shape, 0);
    tap_run *columns = rows + row_count;
    return (tap_runs){rows, columns, row_count, find_runs(columns, shape, 1)};
}

/* packed[taps,features,filters] = W[filters,taps,features]: where one sample is alone the filters
 * lie side by side. */
static void turn_over(const layer *self, double *packed, const double *theta)
{
    const size_t filters = self->forward.out_features, weights = weights_of(&self->forward);
    self->kernels->transpose(packed, filters, theta, weights, filters, weights);
}

static const double *bias_of(const layer *self, const double *theta)
{
    return self->parameter_count > self->weight_count ? theta + self->weight_count : NULL;
}

static void convolve_one(const layer *self, const double *packed, const double *bias,
                         const layer_io *io, double *scratch)
{
    convolution shape = self->forward;
    const tap_runs runs = runs_of(&shape, scratch);
    set_steps(&shape, true);
    self->kernels->convolution->convolve(io->z, io->input, 1, &shape, &runs, packed, bias);
    pycnn_activate(self, io);
}

static void convolution_forward(const layer *self, const double *theta, const layer_io *io,
                                size_t slices)
{
    convolution shape = self->forward;
    if (io->stride == 1) {
        turn_over(self, io->scratch, theta);
        convolve_one(self, io->scratch, bias_of(self, theta), io, io->scratch + self->weight_count);
        return;
    }
    const tap_runs runs = runs_of(&shape, io->scratch);
    set_steps(&shape, false);
    for (const layer_io *end = io + slices; io < end; io++) {
        self->kernels->convolution->convolve(io->z, io->input, io->stride, &shape, &runs, theta,
                                             bias_of(self, theta));
        pycnn_activate(self, io);
    }
}

/* The weights of a single sample, and the biases behind them. */
static void convolution_pack(const layer *self, double *packed, const double *theta,
                             const double *statistics)
{
    const size_t biases = self->parameter_count - self->weight_count;
    (void)statistics;
    turn_over(self, packed, theta);
    memcpy(packed + self->weight_count, theta + self->weight_count, biases * sizeof *packed);
}

static void convolution_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    convolve_one(self, packed, bias_of(self, packed), io, io->scratch);
}

/* The filters of the way back, whose first tap is the last one of W[filters,taps,features]:
 * flipped[features,taps,filters], or of one sample [taps,filters,features]. */
static void flip(const layer *self, double *flipped, const double *theta, const convolution *back)
{
    const size_t features = self->forward.in_features, weights = weights_of(&self->forward);
    const size_t taps = self->forward.taps[0] * self->forward.taps[1];
    for (size_t f = 0; f < self->forward.out_features; f++) {
        for (size_t t = 0; t < taps; t++) {
            const double *from = theta + f * weights + (taps - 1 - t) * features;
            double *to =
                flipped + (ptrdiff_t)t * back->tap_steps[1] + (ptrdiff_t)f * back->feature_step;
            for (size_t c = 0; c < features; c++) {
                to[(ptrdiff_t)c * back->filter_step] = from[c];
            }
        }
    }
}

/* delta_input = the deltas that each input has a part in, by the flipped filters */
static void convolution_backward(const layer *self, const double *theta, const layer_io *io,
                                 size_t slices)
{
    convolution back = self->backward;
    double *flipped = io->scratch;
    if (io->delta_input == NULL) {
        return;
    }
    set_steps(&back, io->stride == 1);
    flip(self, flipped, theta, &back);
    const tap_runs runs = runs_of(&back, flipped + self->weight_count);
    for (const layer_io *end = io + slices; io < end; io++) {
        self->kernels->convolution->convolve(io->delta_input, io->delta, io->stride, &back, &runs,
                                             flipped, NULL);
    }
}

/* Adds up the gradients of some filters over all samples. */
static void add_gradients(const layer *self, double *sums, const layer_io *io, size_t slices,
                          size_t first, size_t filters, double *scratch)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t i = 0; i < io->batch; i += CHAINS) {
            const size_t samples = MIN(CHAINS, io->batch - i);
            self->kernels->convolution->add_gradient(sums, io->delta + i, io->input + i, io->stride,
                                                     samples, &self->forward, first, filters,
                                                     scratch);
        }
    }
}

/* What becomes of a filter's gradient; the sums end as one number each. */
static void finish(const layer *self, double *out, size_t count, gradient_use use, double step,
                   double *sums)
{
    for (size_t t = 0; t < count; t++) {
        sums[t] = pycnn_sum_chains(sums + t * CHAINS) + 0; /* -0 or 0 hangs on the padding */
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
    const size_t all = shape->out_features, weights = weights_of(shape);
    const size_t row = (weights + 1) * CHAINS;
    const size_t height = (all + which.of - 1) / which.of;
    const size_t last = MIN((which.index + 1) * height, all), most = filters_together(shape);
    double *sums = which.scratch;
    for (size_t f = which.index * height; f < last; f += most) {
        const size_t filters = MIN(most, last - f);
        memset(sums, 0, filters * row * sizeof *sums);
        add_gradients(self, sums, io, slices, f, filters, sums + most * row);
        for (size_t j = f; j < f + filters; j++) {
            double *sum = sums + (j - f) * row;
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
    .pack = convolution_pack,
    .forward_packed = convolution_forward_packed,
    .backward = convolution_backward,
    .gradient = convolution_gradient,
    .initialize = convolution_initialize,
    .constrain = pycnn_constrain_rows,
};
