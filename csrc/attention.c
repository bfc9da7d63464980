/* Attention of several heads (Vaswani et al. 2017) over a sequence [positions,features]:
 *
 *     q, k, v = W_query x + b_query, W_key x + b_key, W_value x + b_value     at each position
 *     P[i,j]  = softmax over j of q[i] . k[j] / sqrt(d)                       for each head
 *     z[i]    = W_output (sum over j of P[i,j] v[j]) + b_output
 *
 * where a head has d of the features, which lie together, and i sees all positions j or, where it
 * is causal, those up to i; positions that a sample does not have nobody sees. Theta is W_query,
 * W_key, W_value, W_output, each [features,features], and their biases: the first three are one
 * matrix with three times as many rows.
 *
 * P is as large as a sequence is long, squared: of it there are some rows at a time, and going back
 * these are computed anew. Samples are side by side, but for one that is alone, whose positions
 * are; and every sum is the same chain in both. A key that is left out may add 0 v to such a chain.
 */
#include "filters.h"

#include <math.h>

/* Samples of a slice, and positions of these, whose probabilities are there together. */
enum { SAMPLES_TOGETHER = CHAINS, ROWS_TOGETHER = 8 };

/* Positions of a sample that is alone: too few for a product to copy anything for them. And what a
 * vector may write behind the last number. */
enum { QUERIES_TOGETHER = 24, ROOM = 8 };

/* The data flow of a slice: numbers that are saved of each position, a sample's [positions,.] of
 * the first in front of those of the next. */
enum { QUERIES_KEYS_VALUES = 3, ATTENDED = 1, DELTA_ATTENDED = 1 };

/* Numbers of a head's positions that a pass has beside each other: queries, keys, values; going
 * back, the deltas of these and of what has been attended to. */
enum { MOST_MATRICES = 7 };

/* ---------------------------------------------------------------- the plain kernel */

static void multiply_baseline(double *out, const double *a, const double *b,
                              const sample_product *shape, size_t width)
{
    for (size_t r = 0; r < shape->rows; r++) {
        const size_t depth = shape->depth + (shape->deeper ? r : 0);
        for (size_t c = 0; c < shape->columns; c++) {
            double *to = out + r * shape->out_row + c * shape->out_column;
            for (size_t i = 0; i < width; i++) {
                double sum = shape->onto ? to[i] : 0;
                for (size_t k = 0; k < depth; k++) {
                    sum += a[r * shape->a_row + k * shape->a_depth + i] *
                           b[k * shape->b_depth + c * shape->b_column + i];
                }
                to[i] = sum * shape->factor;
            }
        }
    }
}

const attention_kernels pycnn_attention_baseline = {multiply_baseline};

/* ---------------------------------------------------------------- the layer */

static size_t head_of(const layer *self) { return self->features / self->heads; }

/* Positions that can be seen at most. */
static size_t most_keys(const layer *self) { return MAX(self->window, self->positions); }

static convolution output_filters(const layer *self)
{
    return pycnn_filters_of_positions(self->positions, self->features, self->features);
}

/* Adds so many matrices [rows,columns], and room. */
static int add_matrices(size_t *count, size_t matrices, size_t rows, size_t columns)
{
    size_t numbers = ROOM;
    TRY(add_product(&numbers, rows, columns));
    return add_product(count, matrices, numbers);
}

static int set_scratch(layer *self)
{
    const convolution output = output_filters(self);
    const size_t d = head_of(self), keys = most_keys(self);
    size_t several = 0, alone = 0, head = 0, row = 0, tile = 0;
    TRY(add_product(&head, d, SAMPLES_TOGETHER));
    TRY(add_product(&row, keys, ROWS_TOGETHER));
    TRY(add_matrices(&several, MOST_MATRICES, keys, head));
    TRY(add_matrices(&several, 2, row, SAMPLES_TOGETHER));
    TRY(add_product(&tile, d, 1));
    TRY(add_product(&tile, ROOM + QUERIES_TOGETHER, 1)); /* whole panels, and a bias */
    TRY(add_matrices(&alone, 3, d, QUERIES_TOGETHER));
    TRY(add_matrices(&alone, 1, tile, QUERIES_TOGETHER));
    TRY(add_matrices(&alone, 2, keys, QUERIES_TOGETHER));
    TRY(add_matrices(&alone, 3, keys, d));
    TRY(add_matrices(&alone, 1, keys, 1));
    self->scratch = MAX(several, alone);
    TRY(pycnn_filters_scratch(&self->scratch, &self->forward));
    return pycnn_filters_scratch(&self->scratch, &output);
}

static int set_saved(layer *self)
{
    enum { SAVED = QUERIES_KEYS_VALUES + ATTENDED + DELTA_ATTENDED };
    TRY(add_product(&self->saved_per_sample, self->fan_in, SAVED));
    RETURN_IF(self->window == 0, PYCNN_OK);
    size_t numbers = 0; /* of keys, and of values */
    TRY(add_product(&numbers, self->window, self->features));
    self->state_count = 1;
    return add_product(&self->state_count, numbers, 2);
}

static int set_work(layer *self)
{
    size_t each = 0;
    TRY(add_product(&each, 2, most_keys(self)));
    TRY(add_product(&each, 4, self->features));
    return add_product(&self->work, self->fan_in, each);
}

static int add_tensors(layer *self)
{
    static const char *const names[][4] = {{"W_query", "W_key", "W_value", "W_output"},
                                           {"b_query", "b_key", "b_value", "b_output"}};
    const size_t shape[] = {self->features, self->features};
    for (size_t i = 0; i < 4; i++) {
        TRY(pycnn_add_tensor(self, names[0][i], PYCNN_WEIGHT, 2, shape));
    }
    for (size_t i = 0; i < 4; i++) {
        TRY(pycnn_add_tensor(self, names[1][i], PYCNN_BIAS, 1, shape));
    }
    return PYCNN_OK;
}

static int attention_create(layer *self, const pycnn_layer_spec *spec)
{
    TRY(pycnn_check_image(self, spec));
    REQUIRE(spec->shape[0] == 1, self, PYCNN_ERROR_SIZE,
            "shape must be that of a sequence, which has one row");
    REQUIRE(spec->heads > 0 && spec->shape[2] % spec->heads == 0, self, PYCNN_ERROR_SIZE,
            "heads must be at least 1, and share out the features evenly");
    REQUIRE(spec->window == 0 || spec->window >= spec->shape[1], self, PYCNN_ERROR_SIZE,
            "window must hold all positions of a sample, or be 0");
    REQUIRE(spec->activation == PYCNN_LINEAR, self, PYCNN_ERROR_ARGUMENT,
            "attention has no activation: it must be PYCNN_LINEAR");
    TRY(pycnn_set_regularization(self, spec));
    TRY(pycnn_set_activation(self, spec->activation));
    self->fan_out = self->fan_in;
    self->positions = spec->shape[1];
    self->knows_lengths = true;
    self->features = spec->shape[2];
    self->heads = spec->heads;
    self->window = spec->window;
    self->causal = spec->causal != 0;
    self->slice_by_slice = self->sums_samples = true;
    TRY(add_tensors(self));
    self->forward = pycnn_filters_of_positions(self->positions, self->features, 3 * self->features);
    self->backward = pycnn_filters_backwards(&self->forward);
    self->packed_rows = 1;
    self->packed_width = self->parameter_count;
    TRY(set_work(self));
    TRY(set_saved(self));
    return set_scratch(self);
}

static void attention_initialize(const layer *self, double *theta, double *statistics,
                                 random_stream *stream)
{
    const double features = (double)self->features;
    (void)statistics;
    pycnn_draw_weights(self, theta, features, features, stream);
}

static void attention_constrain(const layer *self, double *theta)
{
    for (size_t j = 0; j < 4 * self->features; j++) {
        pycnn_hold_norm(theta + j * self->features, self->max_norm, self->kernels, self->features);
    }
}

/* ---------------------------------------------------------------- where the numbers are */

/* Of a slice: [positions,3 features,stride] queries, keys and values of each position, which going
 * back become their deltas. */
static double *projected_of(const layer_io *io) { return io->saved_samples; }

/* [positions,features,stride], all heads' sums over the values; and the deltas of these. */
static double *attended_of(const layer *self, const layer_io *io)
{
    return io->saved_samples + QUERIES_KEYS_VALUES * self->fan_in * io->stride;
}

static double *delta_attended_of(const layer *self, const layer_io *io)
{
    return attended_of(self, io) + ATTENDED * self->fan_in * io->stride;
}

/* Keys and values of the first head: `step` from one position to the next. */
typedef struct {
    const double *keys, *values;
    size_t step;
} seen;

static bool goes_on(const layer *self, const layer_io *io)
{
    return self->window > 0 && io->state != NULL;
}

/* In the state keys[window,features], values[window,features], and of each sample how many of these
 * positions are there. */
static double *counts_of(const layer *self, const layer_io *io)
{
    return io->state + 2 * self->window * self->features * io->stride;
}

static seen seen_in(const layer *self, const layer_io *io, bool going_on)
{
    const size_t row = self->features * io->stride;
    if (going_on) {
        return (seen){io->state, io->state + self->window * row, row};
    }
    return (seen){projected_of(io) + row, projected_of(io) + 2 * row, 3 * row};
}

/* Positions that sample s has: at least one. */
static size_t length_of(const layer *self, const layer_io *io, size_t s)
{
    const double length = io->lengths == NULL ? (double)self->positions : io->lengths[s];
    return length < 1 ? 1 : (size_t)length;
}

static size_t before_of(const layer *self, const layer_io *io, size_t s, bool going_on)
{
    return going_on ? (size_t)counts_of(self, io)[s] : 0;
}

/* Adds the positions of sample s to its state. Where that is full, the oldest ones are dropped. */
static void remember(const layer *self, const layer_io *io, size_t s)
{
    const size_t row = self->features * io->stride, half = self->window * row;
    double *count = counts_of(self, io) + s;
    /* A state may be anybody's. */
    const size_t before = *count > 0 ? (size_t)MIN(*count, (double)self->window) : 0;
    const size_t room = self->window - self->positions;
    const size_t dropped = before > room ? before - room : 0;
    for (double *at = io->state + s; dropped > 0 && at < io->state + 2 * half; at += half) {
        for (size_t i = 0; i < room * row; i += io->stride) {
            at[i] = at[i + dropped * row];
        }
    }
    *count = (double)(before - dropped);
    const seen own = seen_in(self, io, false);
    double *key = io->state + (before - dropped) * row + s, *value = key + half;
    for (size_t t = 0; t < length_of(self, io, s); t++) {
        for (size_t i = 0; i < row; i += io->stride, key += io->stride, value += io->stride) {
            *key = own.keys[t * own.step + i + s];
            *value = own.values[t * own.step + i + s];
        }
    }
}

static void remember_all(const layer *self, const layer_io *io)
{
    for (size_t s = 0; s < io->stride; s++) {
        remember(self, io, s);
    }
}

/* ... which the next part of the sequence finds in front of its own. */
static void count_all(const layer *self, const layer_io *io)
{
    for (size_t s = 0; s < io->stride; s++) {
        counts_of(self, io)[s] += (double)length_of(self, io, s);
    }
}

/* ---------------------------------------------------------------- some samples of a slice */

/* One head of some samples: first ... first + width - 1. */
typedef struct {
    const layer *self;
    const layer_io *io;
    size_t first, width;
    bool going_on;
    size_t before;     /* the most positions that one of them has seen before */
    size_t d;          /* features of a head */
    double *q, *k, *v; /* [.,d,width] */
    double *scores;    /* [ROWS_TOGETHER,.,width], which become the probabilities */
    double *behind;    /* scratch that is left */
} group;

static group group_of(const layer *self, const layer_io *io, size_t first, bool going_on)
{
    group g = {.self = self, .io = io, .first = first, .going_on = going_on, .d = head_of(self)};
    g.width = MIN(SAMPLES_TOGETHER, io->stride - first);
    for (size_t s = first; s < first + g.width; s++) {
        const size_t before = before_of(self, io, s, going_on);
        g.before = before > g.before ? before : g.before;
    }
    const size_t matrix = most_keys(self) * g.d * g.width;
    g.q = io->scratch;
    g.k = g.q + matrix;
    g.v = g.k + matrix;
    g.scores = g.v + matrix;
    g.behind = g.scores + ROWS_TOGETHER * most_keys(self) * g.width;
    return g;
}

/* Between matrices that have all heads and all samples, `step` from one position to the next, and
 * one that has this one's alone. */
static void copy_head(const group *g, double *head, double *all, size_t step, size_t positions,
                      bool back)
{
    const size_t stride = g->io->stride, bytes = g->width * sizeof *head;
    for (size_t p = 0; p < positions; p++) {
        for (size_t e = 0; e < g->d; e++, head += g->width) {
            double *at = all + p * step + e * stride + g->first;
            double *to = back ? at : head, *from = back ? head : at;
            if (g->width == SAMPLES_TOGETHER) { /* a size that is known is no call */
                memcpy(to, from, SAMPLES_TOGETHER * sizeof *to);
            } else {
                memcpy(to, from, bytes);
            }
        }
    }
}

/* Where head h begins, among all of a position. */
static size_t head_at(const group *g, size_t h) { return h * g->d * g->io->stride; }

static void gather(const group *g, double *head, const double *all, size_t step, size_t positions)
{
    copy_head(g, head, (double *)(uintptr_t)all, step, positions, false);
}

static void scatter(const group *g, double *all, double *head, size_t step)
{
    copy_head(g, head, all, step, g->self->positions, true);
}

static void gather_head(const group *g, size_t h)
{
    const seen from = seen_in(g->self, g->io, g->going_on);
    const size_t positions = g->self->positions, at = head_at(g, h);
    gather(g, g->q, projected_of(g->io) + at, 3 * g->self->features * g->io->stride, positions);
    gather(g, g->k, from.keys + at, from.step, g->before + positions);
    gather(g, g->v, from.values + at, from.step, g->before + positions);
}

/* Positions that the i-th may see, of the sample that sees most. */
static size_t keys_of(const group *g, size_t i)
{
    return g->before + (g->self->causal ? i + 1 : g->self->positions);
}

/* What a sample does not see, though others do, is as far away as can be. */
static void mask(const group *g, double *scores, size_t i)
{
    const size_t keys = keys_of(g, i);
    if (g->io->lengths == NULL && !g->going_on) {
        return;
    }
    for (size_t s = 0; s < g->width; s++) {
        const size_t length = length_of(g->self, g->io, g->first + s);
        const size_t own = keys - g->before < length ? keys - g->before : length;
        size_t j = before_of(g->self, g->io, g->first + s, g->going_on) + own;
        for (; j < keys; j++) {
            scores[j * g->width + s] = -INFINITY;
        }
    }
}

/* The probabilities of the rows i ... i + rows - 1, `keys` in each. */
static void attend_rows(const group *g, size_t i, size_t rows, size_t keys)
{
    const layer *self = g->self;
    const size_t element = g->width, position = g->d * element;
    const sample_product product = {
        .rows = rows,
        .columns = keys,
        .depth = g->d,
        .out_row = keys * element,
        .out_column = element,
        .a_row = position,
        .a_depth = element,
        .b_depth = element,
        .b_column = position,
        .factor = 1 / sqrt((double)g->d),
    };
    self->kernels->attention->multiply(g->scores, g->q + i * position, g->k, &product, g->width);
    for (size_t r = 0; r < rows; r++) {
        double *row = g->scores + r * keys * element;
        mask(g, row, i + r);
        self->kernels->activations[PYCNN_SOFTMAX].forward(row, row, keys_of(g, i + r), g->width);
    }
}

/* Sums of keys or values by probabilities [rows,keys,width], or their deltas. */
static sample_product sums_of(const group *g, size_t i, size_t rows, size_t keys)
{
    const bool causal = g->self->causal;
    return (sample_product){
        .rows = rows,
        .columns = g->d,
        .depth = causal ? keys_of(g, i) : keys,
        .deeper = causal,
        .out_row = g->d * g->width,
        .out_column = g->width,
        .a_row = keys * g->width,
        .a_depth = g->width,
        .b_depth = g->d * g->width,
        .b_column = g->width,
        .factor = 1,
    };
}

static void attend_head(const group *g, size_t h)
{
    const layer *self = g->self;
    const size_t stride = g->io->stride;
    double *out = attended_of(self, g->io) + head_at(g, h) + g->first;
    gather_head(g, h);
    for (size_t i = 0, rows; i < self->positions; i += rows) {
        rows = MIN(ROWS_TOGETHER, self->positions - i);
        const size_t keys = keys_of(g, i + rows - 1);
        attend_rows(g, i, rows, keys);
        sample_product product = sums_of(g, i, rows, keys);
        product.out_row = self->features * stride;
        product.out_column = stride;
        self->kernels->attention->multiply(out + i * product.out_row, g->scores, g->v, &product,
                                           g->width);
    }
}

/* What is needed of a head going back: [positions,d,width] deltas, and those of the scores. */
typedef struct {
    double *out, *q, *k, *v, *scores;
} head_deltas;

/* delta of probabilities -> of scores before the softmax and the factor; zeros where a row sees
 * less than the last one. */
static void derive_rows(const group *g, const head_deltas *delta, size_t i, size_t rows,
                        size_t keys)
{
    const double factor = 1 / sqrt((double)g->d);
    for (size_t r = 0; r < rows; r++) {
        const size_t own = keys_of(g, i + r) * g->width, all = keys * g->width;
        double *p = g->scores + r * all, *dp = delta->scores + r * all;
        g->self->kernels->activations[PYCNN_SOFTMAX].backward(dp, p, keys_of(g, i + r), g->width);
        for (size_t n = 0; n < own; n++) {
            dp[n] *= factor;
        }
        memset(p + own, 0, (all - own) * sizeof *p);
        memset(dp + own, 0, (all - own) * sizeof *dp);
    }
}

/* Those of keys or values: into[j] += the sum over rows of by[row,j] from[row] */
static void add_to_keys(const group *g, double *into, const double *by, const double *from,
                        size_t rows, size_t keys)
{
    const sample_product product = {
        .rows = keys,
        .columns = g->d,
        .depth = rows,
        .onto = true,
        .out_row = g->d * g->width,
        .out_column = g->width,
        .a_row = g->width,
        .a_depth = keys * g->width,
        .b_depth = g->d * g->width,
        .b_column = g->width,
        .factor = 1,
    };
    g->self->kernels->attention->multiply(into, by, from, &product, g->width);
}

static void attend_rows_back(const group *g, const head_deltas *delta, size_t i, size_t rows)
{
    const size_t keys = keys_of(g, i + rows - 1), at = i * g->d * g->width;
    const attention_kernels *kernels = g->self->kernels->attention;
    attend_rows(g, i, rows, keys);
    const sample_product by_values = {
        .rows = rows,
        .columns = keys,
        .depth = g->d,
        .out_row = keys * g->width,
        .out_column = g->width,
        .a_row = g->d * g->width,
        .a_depth = g->width,
        .b_depth = g->width,
        .b_column = g->d * g->width,
        .factor = 1,
    };
    kernels->multiply(delta->scores, delta->out + at, g->v, &by_values, g->width);
    derive_rows(g, delta, i, rows, keys);
    const sample_product by_keys = sums_of(g, i, rows, keys);
    kernels->multiply(delta->q + at, delta->scores, g->k, &by_keys, g->width);
    add_to_keys(g, delta->k, delta->scores, g->q + at, rows, keys);
    add_to_keys(g, delta->v, g->scores, delta->out + at, rows, keys);
}

/* The deltas take the place of what has been projected. */
static void attend_head_back(const group *g, size_t h)
{
    const layer *self = g->self;
    const size_t matrix = self->positions * g->d * g->width, at = head_at(g, h);
    const size_t row = self->features * g->io->stride;
    const head_deltas delta = {g->behind, g->behind + matrix, g->behind + 2 * matrix,
                               g->behind + 3 * matrix, g->behind + 4 * matrix};
    gather_head(g, h);
    gather(g, delta.out, delta_attended_of(self, g->io) + at, row, self->positions);
    memset(delta.k, 0, 2 * matrix * sizeof *delta.k); /* and of v */
    for (size_t i = 0, rows; i < self->positions; i += rows) {
        rows = MIN(ROWS_TOGETHER, self->positions - i);
        attend_rows_back(g, &delta, i, rows);
    }
    double *into = projected_of(g->io) + at;
    scatter(g, into, delta.q, 3 * row);
    scatter(g, into + row, delta.k, 3 * row);
    scatter(g, into + 2 * row, delta.v, 3 * row);
}

static void attend_samples(const layer *self, const layer_io *io, bool back)
{
    for (size_t first = 0; first < io->stride; first += SAMPLES_TOGETHER) {
        const group g = group_of(self, io, first, !back && goes_on(self, io));
        for (size_t h = 0; h < self->heads; h++) {
            if (back) {
                attend_head_back(&g, h);
            } else {
                attend_head(&g, h);
            }
        }
    }
}

/* ---------------------------------------------------------------- one sample */

/* One head of it. Some positions lie side by side, as samples do in a slice: matrices are
 * [.,width], and of a single position width is 1. */
typedef struct {
    const layer *self;
    const layer_io *io;
    size_t before, d, width, count; /* of so many positions, from `first` on */
    size_t first, keys;             /* that one of them sees */
    const double *q;                /* of the first position */
    seen from;
    double *queries, *sums; /* [d,width] */
    double *scores;         /* [keys,width] */
    double *behind;
} queries;

static queries queries_of(const layer *self, const layer_io *io, size_t h, bool going_on)
{
    const size_t d = head_of(self), tile = d * QUERIES_TOGETHER + ROOM;
    queries of = {.self = self, .io = io, .d = d, .from = seen_in(self, io, going_on)};
    of.before = before_of(self, io, 0, going_on);
    of.q = projected_of(io) + h * d;
    of.from.keys += h * d;
    of.from.values += h * d;
    of.queries = io->scratch;
    of.sums = of.queries + tile;
    of.scores = of.sums + tile;
    of.behind = of.scores + most_keys(self) * QUERIES_TOGETHER + ROOM;
    return of;
}

/* Takes those from position `first` on, and says whether there are any. */
static bool take_queries(queries *of, size_t first)
{
    const layer *self = of->self;
    const size_t length = length_of(self, of->io, 0);
    if (first >= self->positions) {
        return false;
    }
    of->first = first;
    of->count = MIN(QUERIES_TOGETHER, self->positions - first);
    of->width = self->positions == 1 ? 1 : round_up(of->count, self->kernels->lanes);
    of->keys = self->causal ? MIN(first + of->count, length) : length;
    of->keys += of->before;
    return true;
}

/* into[d,width] = those positions' part of a matrix, `step` from one to the next */
static void turn(const queries *of, double *into, const double *from, size_t step)
{
    memset(into, 0, of->d * of->width * sizeof *into);
    of->self->kernels->transpose(into, of->width, from + of->first * step, step, of->count, of->d);
}

/* scores[keys,width] = matrix[keys,d] @ by[d,width] */
static void score(const queries *of, double *scores, const double *matrix, const double *by)
{
    const product_panel panel = {scores, by, of->width};
    of->self->kernels->product(&panel, 1, matrix, of->from.step, 1, NULL, of->keys, of->d, NULL);
}

/* sums[d,width] = matrix[keys,d]^T @ scores[keys,width] */
static void sum_up(const queries *of, const double *matrix, const double *scores)
{
    const product_panel panel = {of->sums, scores, of->width};
    of->self->kernels->product(&panel, 1, matrix, 1, of->from.step, NULL, of->d, of->keys, NULL);
}

static void find_probabilities(const queries *of)
{
    const double factor = 1 / sqrt((double)of->d);
    turn(of, of->queries, of->q, 3 * of->self->features);
    score(of, of->scores, of->from.keys, of->queries);
    for (size_t n = 0; n < of->keys * of->width; n++) {
        of->scores[n] *= factor;
    }
    for (size_t c = 0; c < of->count && of->self->causal; c++) {
        for (size_t j = of->before + of->first + c + 1; j < of->keys; j++) {
            of->scores[j * of->width + c] = -INFINITY;
        }
    }
    of->self->kernels->activations[PYCNN_SOFTMAX].forward(of->scores, of->scores, of->keys,
                                                          of->width);
}

/* Beyond what a position sees, the sums have added 0 v: where such a v is not finite, they are made
 * anew without. out[count,d], the rows of which are `step` apart. */
static void leave_out_the_rest(const queries *of, double *out, size_t step)
{
    const size_t later = of->before + of->first + 1;
    for (size_t c = 0; c < of->count; c++) {
        double *own = out + c * step, *scores = of->behind;
        size_t finite = 0;
        while (finite < of->d && isfinite(own[finite])) {
            finite++;
        }
        if (finite == of->d) {
            continue;
        }
        const size_t keys = MIN(later + c, of->keys);
        const product_panel panel = {of->sums, scores, 1};
        for (size_t j = 0; j < keys; j++) {
            scores[j] = of->scores[j * of->width + c];
        }
        of->self->kernels->product(&panel, 1, of->from.values, 1, of->from.step, NULL, of->d, keys,
                                   NULL);
        memcpy(own, of->sums, of->d * sizeof *own);
    }
}

static void attend_one(const layer *self, const layer_io *io, bool going_on)
{
    const size_t features = self->features;
    for (size_t h = 0; h < self->heads; h++) {
        queries of = queries_of(self, io, h, going_on);
        double *out = attended_of(self, io) + h * of.d;
        for (size_t first = 0; take_queries(&of, first); first += of.count) {
            find_probabilities(&of);
            sum_up(&of, of.from.values, of.scores);
            self->kernels->transpose(out + first * features, features, of.sums, of.width, of.d,
                                     of.count);
            if (self->causal) {
                leave_out_the_rest(&of, out + first * features, features);
            }
        }
    }
}

/* into[keys,d] += scores[keys,count] @ from[count,d], the rows of which are `step` apart. scratch
 * has room for them as panels, and for biases that nobody needs. */
static void add_to_keys_of_one(const queries *of, double *into, const double *scores,
                               const double *from, size_t step, double *scratch)
{
    const kernel_table *kernels = of->self->kernels;
    const size_t panel = kernels->panel, distance = of->count * panel;
    const gradient_terms terms = {.delta = scores, .stride = of->width, .batch = of->count};
    double *unused = scratch + round_up(of->d + 1, panel) * of->count;
    for (size_t i = 0; i < of->count; i++) {
        double *row = scratch + i * panel;
        kernels->pack(row, distance, from + (of->first + i) * step, NULL, of->d);
        row[of->d / panel * distance + of->d % panel] = 0;
    }
    memset(unused, 0, of->keys * sizeof *unused);
    kernels->gradient(into, unused, GRADIENT_ADD, 0, &terms, 1, scratch, distance, 0, of->keys,
                      of->d);
}

static void attend_head_of_one_back(queries *of, size_t h)
{
    const layer *self = of->self;
    const size_t features = self->features, d = of->d, matrix = self->positions * d;
    const double factor = 1 / sqrt((double)d);
    const double *out = delta_attended_of(self, of->io) + h * d;
    double *delta = of->behind, *delta_scores = delta + 3 * matrix;
    double *turned = delta_scores + self->positions * QUERIES_TOGETHER + ROOM;
    double *scratch = turned + d * QUERIES_TOGETHER + ROOM;
    memset(delta + matrix, 0, 2 * matrix * sizeof *delta);
    for (size_t first = 0; take_queries(of, first); first += of->count) {
        find_probabilities(of);
        turn(of, turned, out, features);
        score(of, delta_scores, of->from.values, turned);
        self->kernels->activations[PYCNN_SOFTMAX].backward(delta_scores, of->scores, of->keys,
                                                           of->width);
        for (size_t n = 0; n < of->keys * of->width; n++) {
            delta_scores[n] *= factor;
        }
        sum_up(of, of->from.keys, delta_scores);
        self->kernels->transpose(delta + first * d, d, of->sums, of->width, d, of->count);
        add_to_keys_of_one(of, delta + matrix, delta_scores, of->q, 3 * features, scratch);
        add_to_keys_of_one(of, delta + 2 * matrix, of->scores, out, features, scratch);
    }
    for (size_t p = 0; p < QUERIES_KEYS_VALUES * self->positions; p++) {
        const size_t t = p % self->positions, which = p / self->positions;
        memcpy(projected_of(of->io) + (3 * t + which) * features + h * d, delta + p * d,
               d * sizeof *delta);
    }
}

static void attend_one_back(const layer *self, const layer_io *io)
{
    for (size_t h = 0; h < self->heads; h++) {
        queries of = queries_of(self, io, h, false);
        attend_head_of_one_back(&of, h);
    }
}
/* ---------------------------------------------------------------- forward and back */

static void attend(const layer *self, const layer_io *io)
{
    const bool going_on = goes_on(self, io);
    if (going_on) {
        remember_all(self, io);
    }
    if (io->stride == 1) {
        attend_one(self, io, going_on);
    } else {
        attend_samples(self, io, false);
    }
    if (going_on) {
        count_all(self, io);
    }
}

static void attention_forward(const layer *self, const double *theta, const layer_io *io,
                              size_t slices)
{
    const size_t features = self->features, square = features * features;
    const double *bias = theta + 4 * square;
    const convolution output = output_filters(self);
    for (const layer_io *end = io + slices; io < end; io++) {
        pycnn_filters_forward(self->kernels, &self->forward, projected_of(io), io->input,
                              io->stride, theta, bias, io->scratch);
        attend(self, io);
        pycnn_filters_forward(self->kernels, &output, io->z, attended_of(self, io), io->stride,
                              theta + 3 * square, bias + 3 * features, io->scratch);
        pycnn_activate(self, io);
    }
}

static void attention_pack(const layer *self, double *packed, const double *theta,
                           const double *statistics)
{
    const size_t features = self->features, square = features * features;
    const convolution output = output_filters(self);
    (void)statistics;
    pycnn_filters_pack(self->kernels, &self->forward, packed, theta);
    pycnn_filters_pack(self->kernels, &output, packed + 3 * square, theta + 3 * square);
    memcpy(packed + 4 * square, theta + 4 * square, 4 * features * sizeof *packed);
}

static void attention_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    const size_t features = self->features, square = features * features;
    const double *bias = packed + 4 * square;
    const convolution output = output_filters(self);
    pycnn_filters_forward_packed(self->kernels, &self->forward, projected_of(io), io->input, packed,
                                 bias, io->scratch);
    attend(self, io);
    pycnn_filters_forward_packed(self->kernels, &output, io->z, attended_of(self, io),
                                 packed + 3 * square, bias + 3 * features, io->scratch);
    pycnn_activate(self, io);
}

static void attention_backward(const layer *self, const double *theta, const layer_io *io,
                               size_t slices)
{
    const convolution output = output_filters(self), back = pycnn_filters_backwards(&output);
    const double *output_weights = theta + 3 * self->features * self->features;
    for (const layer_io *end = io + slices; io < end; io++) {
        pycnn_filters_backward(self->kernels, &back, delta_attended_of(self, io), io->delta,
                               io->stride, output_weights, io->scratch);
        if (io->stride == 1) {
            attend_one_back(self, io);
        } else {
            attend_samples(self, io, true);
        }
        if (io->delta_input != NULL) {
            pycnn_filters_backward(self->kernels, &self->backward, io->delta_input,
                                   projected_of(io), io->stride, theta, io->scratch);
        }
    }
}

static filter_terms projection_terms(const layer *self, const layer_io *io)
{
    (void)self;
    return (filter_terms){projected_of(io), io->input};
}

static filter_terms output_terms(const layer *self, const layer_io *io)
{
    return (filter_terms){io->delta, attended_of(self, io)};
}

/* A part is some rows of all four matrices, the first three of which read the input. */
static void attention_gradient(const layer *self, double *out, gradient_use use, double step,
                               const layer_io *io, size_t slices, part which)
{
    const size_t features = self->features, square = features * features, three = 3 * features;
    const size_t height = (4 * features + which.of - 1) / which.of;
    const size_t first = MIN(which.index * height, 4 * features);
    const size_t last = MIN(first + height, 4 * features);
    const convolution output = output_filters(self);
    const filter_gradient projection = {
        .forward = &self->forward,
        .weights = out,
        .bias = out + 4 * square,
        .use = use,
        .step = step,
        .first = MIN(first, three),
        .last = MIN(last, three),
        .scratch = which.scratch,
    };
    pycnn_filters_gradient(self, &projection, io, slices, projection_terms);
    filter_gradient behind = projection;
    behind.forward = &output;
    behind.weights += 3 * square;
    behind.bias += three;
    behind.first = MAX(first, three) - three;
    behind.last = MAX(last, three) - three;
    pycnn_filters_gradient(self, &behind, io, slices, output_terms);
}

const layer_ops pycnn_attention_ops = {
    .create = attention_create,
    .forward = attention_forward,
    .pack = attention_pack,
    .forward_packed = attention_forward_packed,
    .backward = attention_backward,
    .gradient = attention_gradient,
    .initialize = attention_initialize,
    .constrain = attention_constrain,
};
