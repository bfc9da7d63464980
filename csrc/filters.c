/* Filters over all positions: which taps read what, weights in the order that the kernels want, and
 * gradients, whose sums end as one number each. */
#include "filters.h"

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

/* Adds the room for the taps of all rows and columns, in doubles. */
static int add_runs(size_t *count, const size_t *places)
{
    enum { SIZE = (sizeof(tap_run) + sizeof(double) - 1) / sizeof(double) };
    TRY(add_product(count, places[0], SIZE));
    return add_product(count, places[1], SIZE);
}

/* The runs of all rows, and behind them of all columns, in scratch. */
static tap_runs runs_of(const convolution *shape, double *scratch)
{
    tap_run *rows = (tap_run *)(void *)scratch;
    const size_t row_count = find_runs(rows, shape, 0);
    tap_run *columns = rows + row_count;
    return (tap_runs){rows, columns, row_count, find_runs(columns, shape, 1)};
}

/* ---------------------------------------------------------------- shapes */

convolution pycnn_filters_backwards(const convolution *forward)
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

convolution pycnn_filters_of_positions(size_t positions, size_t in_features, size_t out_features)
{
    return (convolution){
        .in = {1, positions},
        .out = {1, positions},
        .in_features = in_features,
        .out_features = out_features,
        .taps = {1, 1},
        .strides = {1, 1},
        .dilation = {1, 1},
    };
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

/* The weights in another order, and the taps behind them; for the gradient its sums. */
int pycnn_filters_scratch(size_t *most, const convolution *shape)
{
    size_t forward = 0, backward = 0, gradient = 0, row = CHAINS;
    TRY(add_product(&forward, weights_of(shape), shape->out_features));
    backward = forward;
    TRY(add_runs(&forward, shape->out));
    TRY(add_runs(&backward, shape->in));
    TRY(add_product(&row, weights_of(shape), CHAINS));
    TRY(add_product(&gradient, filters_together(shape), row));
    TRY(gradient_scratch(&gradient, shape));
    *most = MAX(*most, MAX(MAX(forward, backward), gradient));
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- forward and back */

void pycnn_filters_pack(const kernel_table *kernels, const convolution *forward, double *packed,
                        const double *weights)
{
    const size_t filters = forward->out_features, count = weights_of(forward);
    kernels->transpose(packed, filters, weights, count, filters, count);
}

void pycnn_filters_forward_packed(const kernel_table *kernels, const convolution *forward,
                                  double *out, const double *in, const double *packed,
                                  const double *bias, double *scratch)
{
    convolution shape = *forward;
    const tap_runs runs = runs_of(&shape, scratch);
    set_steps(&shape, true);
    kernels->convolution->convolve(out, in, 1, &shape, &runs, packed, bias);
}

void pycnn_filters_forward(const kernel_table *kernels, const convolution *forward, double *out,
                           const double *in, size_t stride, const double *weights,
                           const double *bias, double *scratch)
{
    convolution shape = *forward;
    if (stride == 1) {
        pycnn_filters_pack(kernels, forward, scratch, weights);
        pycnn_filters_forward_packed(kernels, forward, out, in, scratch, bias,
                                     scratch + weights_of(forward) * forward->out_features);
        return;
    }
    const tap_runs runs = runs_of(&shape, scratch);
    set_steps(&shape, false);
    kernels->convolution->convolve(out, in, stride, &shape, &runs, weights, bias);
}

/* The filters of the way back, whose first tap is the last one of weights[filters,taps,features]:
 * flipped[features,taps,filters], or of one sample [taps,filters,features]. */
static void flip(const kernel_table *kernels, const convolution *back, double *flipped,
                 const double *weights, bool side_by_side)
{
    const size_t filters = back->in_features, features = back->out_features;
    const size_t taps = back->taps[0] * back->taps[1];
    for (size_t t = 0; t < taps; t++) {
        const double *from = weights + (taps - 1 - t) * features;
        double *to = flipped + (ptrdiff_t)t * back->tap_steps[1];
        if (!side_by_side) {
            kernels->transpose(to, taps * filters, from, taps * features, filters, features);
        }
        for (size_t f = 0; f < filters && side_by_side; f++) {
            memcpy(to + f * features, from + f * taps * features, features * sizeof *to);
        }
    }
}

void pycnn_filters_backward(const kernel_table *kernels, const convolution *backward,
                            double *delta_input, const double *delta, size_t stride,
                            const double *weights, double *scratch)
{
    convolution back = *backward;
    set_steps(&back, stride == 1);
    flip(kernels, &back, scratch, weights, stride == 1);
    const tap_runs runs = runs_of(&back, scratch + weights_of(&back) * back.out_features);
    kernels->convolution->convolve(delta_input, delta, stride, &back, &runs, scratch, NULL);
}

/* ---------------------------------------------------------------- gradients */

/* Adds up the gradients of some filters over all samples. */
static void add_gradients(const layer *self, const filter_gradient *what, double *sums,
                          const layer_io *io, size_t slices, filter_terms_of *terms_of,
                          size_t first, size_t filters, double *scratch)
{
    for (const layer_io *end = io + slices; io < end; io++) {
        const filter_terms terms = terms_of(self, io);
        for (size_t i = 0; i < io->batch; i += CHAINS) {
            const size_t samples = MIN(CHAINS, io->batch - i);
            self->kernels->convolution->add_gradient(sums, terms.delta + i, terms.input + i,
                                                     io->stride, samples, what->forward, first,
                                                     filters, scratch);
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

void pycnn_filters_gradient(const layer *self, const filter_gradient *what, const layer_io *io,
                            size_t slices, filter_terms_of *terms)
{
    const size_t weights = weights_of(what->forward), row = (weights + 1) * CHAINS;
    const size_t most = filters_together(what->forward);
    double *sums = what->scratch;
    for (size_t f = what->first; f < what->last; f += most) {
        const size_t filters = MIN(most, what->last - f);
        memset(sums, 0, filters * row * sizeof *sums);
        add_gradients(self, what, sums, io, slices, terms, f, filters, sums + most * row);
        for (size_t j = f; j < f + filters; j++) {
            double *sum = sums + (j - f) * row;
            double *behind = sum + weights * CHAINS;
            finish(self, what->weights + j * weights, weights, what->use, what->step, sum);
            if (what->bias != NULL) {
                finish(self, what->bias + j, 1, what->use, what->step, behind);
            }
        }
    }
}
