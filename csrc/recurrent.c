/* The recurrent layers over sequences [positions,features]: at each position a step
 *
 *     z = W x_t + U h_{t-1} + b, a chain over the features, which goes on over the units of h
 *
 * and a cell that makes h_t of it, and where there is one of c_{t-1} the state c_t:
 *
 *     simple:  h = f(z)
 *     LSTM (Hochreiter and Schmidhuber 1997), gates i, f, g, o:
 *              c = sigma(z_f) c_{t-1} + sigma(z_i) tanh(z_g),  h = sigma(z_o) tanh(c)
 *     GRU (Cho et al. 2014, with the reset behind the product), gates r, u, n:
 *              n = tanh(W_n x + b + sigma(z_r) (U_n h_{t-1} + b_n)),
 *              h = (1 - sigma(z_u)) n + sigma(z_u) h_{t-1}
 *
 * theta is W[gates units,features], U[gates units,units], b[gates units], and the GRU's b_n[units].
 * The steps go from the first position to the last or, in reverse, from the last to the first. At
 * positions that a sample does not have its state stays as it is, and there is no output. */
#include "layer.h"

#include <math.h>

enum {
    ROWS_TOGETHER = 8,     /* of a gradient that a part has at least, as a dense layer's */
    UNITS_TOGETHER = 32,   /* whose weights lie together for a single sample, too */
    SLICES_TOGETHER = 8,   /* that go through the steps side by side, by the same weights */
    TERMS_TOGETHER = 256,  /* of a gradient's sums, about */
    COLUMNS_TOGETHER = 32, /* of an orthogonal matrix */
    TAIL = 8               /* numbers that a kernel may write behind those that are meant */
};

/* ---------------------------------------------------------------- what is kept of a slice */

/* The numbers of a slice on its way through the steps, [units,stride] matrices of all steps or,
 * where there is no way back, of the latest. */
typedef struct {
    const layer_io *io;
    size_t count;           /* units stride */
    size_t steps, states;   /* of which there is what a step makes, and what it begins with */
    double *z;              /* by position: sums, then gates, then their deltas */
    double *h, *c, *tanh_c; /* by step: what it begins with; of tanh_c what it has made */
    double *dh[2], *dc[2];  /* of even and of odd steps: dL by what these have made */
    double *some;
} tape;

typedef struct cell {
    size_t together, apart; /* gates with one chain over x and h; those with two, for W and U */
    bool has_c;
    bool passes_on; /* back() leaves in `some` what dh gives to the step before by itself */
    void (*step)(const layer *self, const tape *tape, size_t step);
    void (*back)(const layer *self, const tape *tape, size_t step);
} cell;

static size_t position_of(const layer *self, size_t step)
{
    return self->recurrence.reverse ? self->recurrence.positions - 1 - step : step;
}

/* Gates of which there are sums. */
static size_t sums_of(const cell *cell) { return cell->together + 2 * cell->apart; }

static double *z_at(const layer *self, const tape *tape, size_t position)
{
    return tape->z + position % tape->steps * sums_of(self->recurrence.cell) * tape->count;
}

static double *h_at(const tape *tape, size_t step)
{
    return tape->h + step % tape->states * tape->count;
}

static double *c_at(const tape *tape, size_t step)
{
    return tape->c + step % tape->states * tape->count;
}

static double *tanh_c_at(const tape *tape, size_t step)
{
    return tape->tanh_c + step % tape->steps * tape->count;
}

/* Rows [stride] of a tape, one of the arrays after the other. */
static int add_rows(size_t *rows, const layer *self, bool all)
{
    const recurrence *shape = &self->recurrence;
    const size_t steps = all ? shape->positions : 1, states = 1 + shape->cell->has_c;
    size_t units = 0;
    TRY(add_product(&units, steps, sums_of(shape->cell)));
    TRY(add_product(&units, all ? steps + 1 : 2, states));
    TRY(add_product(&units, steps, states - 1));
    TRY(add_product(&units, all ? 2 : 0, states));
    TRY(add_product(rows, units + 1, shape->units));
    TRY(add_product(rows, 1, shape->features));
    return add_product(rows, 4, TAIL);
}

static double *take(double **at, size_t numbers)
{
    *at += numbers;
    return *at - numbers;
}

static tape tape_of(const layer *self, const layer_io *io)
{
    const recurrence *shape = &self->recurrence;
    const bool has_c = shape->cell->has_c, all = io->delta != NULL;
    tape tape = {.io = io,
                 .count = shape->units * io->stride,
                 .steps = all ? shape->positions : 1,
                 .states = all ? shape->positions + 1 : 2};
    const size_t count = tape.count, tail = TAIL * io->stride;
    double *at = io->saved_samples;
    tape.z = take(&at, tape.steps * sums_of(shape->cell) * count + tail);
    take(&at, shape->features * io->stride); /* a single sample's x, in front of h */
    tape.h = take(&at, tape.states * count);
    tape.c = take(&at, has_c * tape.states * count);
    tape.tanh_c = take(&at, has_c * tape.steps * count);
    tape.some = take(&at, count + tail);
    for (int k = 0; k < 2 && all; k++) {
        tape.dc[k] = take(&at, has_c * count);
        tape.dh[k] = take(&at, count + tail);
    }
    return tape;
}

/* Columns of the samples that have no such position become those of `from`, or zeros. */
static void carry(double *to, const double *from, const layer_io *io, size_t rows, size_t position)
{
    for (size_t i = 0; i < io->stride && io->lengths != NULL; i++) {
        for (size_t j = 0; j < rows && !((double)position < io->lengths[i]); j++) {
            to[j * io->stride + i] = from == NULL ? 0 : from[j * io->stride + i];
        }
    }
}

/* ---------------------------------------------------------------- the cells */

static void simple_step(const layer *self, const tape *tape, size_t step)
{
    const activation_ops *f = &self->kernels->activations[self->recurrence.f];
    const double *z = z_at(self, tape, position_of(self, step));
    f->forward(tape->some, z, self->recurrence.units, tape->io->stride);
    memcpy(h_at(tape, step + 1), tape->some, tape->count * sizeof *z);
}

static void simple_back(const layer *self, const tape *tape, size_t step)
{
    const activation_ops *f = &self->kernels->activations[self->recurrence.f];
    double *z = z_at(self, tape, position_of(self, step));
    memcpy(tape->some, tape->dh[step % 2], tape->count * sizeof *z);
    f->backward(tape->some, f->from_z ? z : h_at(tape, step + 1), self->recurrence.units,
                tape->io->stride);
    memcpy(z, tape->some, tape->count * sizeof *z);
}

static void lstm_step(const layer *self, const tape *tape, size_t step)
{
    self->kernels->recurrent->lstm(z_at(self, tape, position_of(self, step)), h_at(tape, step + 1),
                                   c_at(tape, step + 1), tanh_c_at(tape, step), c_at(tape, step),
                                   tape->count);
}

static void lstm_back(const layer *self, const tape *tape, size_t step)
{
    const int now = step % 2;
    self->kernels->recurrent->lstm_back(z_at(self, tape, position_of(self, step)), tape->dc[!now],
                                        tape->dh[now], tape->dc[now], c_at(tape, step),
                                        tanh_c_at(tape, step), tape->count);
}

static void gru_step(const layer *self, const tape *tape, size_t step)
{
    self->kernels->recurrent->gru(z_at(self, tape, position_of(self, step)), h_at(tape, step + 1),
                                  h_at(tape, step), tape->count);
}

static void gru_back(const layer *self, const tape *tape, size_t step)
{
    self->kernels->recurrent->gru_back(z_at(self, tape, position_of(self, step)), tape->some,
                                       tape->dh[step % 2], h_at(tape, step), tape->count);
}

static const cell simple_cell = {.together = 1, .step = simple_step, .back = simple_back};
static const cell lstm_cell = {.together = 4, .has_c = true, .step = lstm_step, .back = lstm_back};
static const cell gru_cell = {
    .together = 2, .apart = 1, .passes_on = true, .step = gru_step, .back = gru_back};

/* ---------------------------------------------------------------- the parameters */

/* The arrays in theta, or in a gradient; rows of W and U with one chain, and behind them those with
 * two. */
typedef struct {
    double *w, *u, *b, *b_n;
    size_t together, apart;
} weights;

static weights weights_of_layer(const layer *self, const double *theta)
{
    const recurrence *shape = &self->recurrence;
    const size_t together = shape->cell->together * shape->units;
    const size_t apart = shape->cell->apart * shape->units, rows = together + apart;
    double *w = (double *)theta, *u = w + rows * shape->features, *b = u + rows * shape->units;
    return (weights){w, u, b, b + rows, together, apart};
}

static int recurrent_create(layer *self, const pycnn_layer_spec *spec, const cell *cell)
{
    enum { TERMS = (MOST_SLICES * sizeof(gradient_terms) + sizeof(double) - 1) / sizeof(double) };
    const size_t positions = spec->shape[1], features = spec->shape[2], units = spec->units;
    const size_t gates = cell->together + cell->apart;
    size_t rows = 0, width = 0, short_tape = 0;
    REQUIRE(units > 0, self, PYCNN_ERROR_SIZE, "units must be at least 1");
    TRY(pycnn_check_image(self, spec));
    REQUIRE(spec->shape[0] == 1, self, PYCNN_ERROR_SIZE,
            "shape must be that of a sequence: an image of one row");
    TRY(pycnn_set_regularization(self, spec));
    self->recurrence = (recurrence){.cell = cell,
                                    .positions = positions,
                                    .features = features,
                                    .units = units,
                                    .reverse = spec->reverse != 0,
                                    .sequences = spec->return_sequences != 0,
                                    .f = spec->activation};
    TRY(add_product(&rows, gates, units));
    TRY(pycnn_add_tensor(self, "W", PYCNN_WEIGHT, 2, (size_t[]){rows, features}));
    TRY(pycnn_add_tensor(self, "U", PYCNN_WEIGHT, 2, (size_t[]){rows, units}));
    TRY(pycnn_add_tensor(self, "b", PYCNN_BIAS, 1, &rows));
    if (cell->apart > 0) {
        TRY(pycnn_add_tensor(self, "b_n", PYCNN_BIAS, 1, &units));
    }
    self->positions = spec->return_sequences ? positions : 0;
    self->knows_lengths = true;
    TRY(add_product(&self->fan_out, units, spec->return_sequences ? positions : 1));
    TRY(add_product(&self->state_count, units, 1 + cell->has_c));
    TRY(add_product(&self->work, positions, self->parameter_count));
    TRY(add_rows(&self->saved_per_sample, self, true));
    TRY(add_rows(&short_tape, self, false));
    self->saved_for_delta = self->saved_per_sample - short_tape;
    self->row_positions = positions;
    self->row_widths[0] = features + 1;
    self->row_widths[1] = units + 1;
    self->scratch = TERMS;
    self->shares_gradient = true; /* its sums are made in several parts */
    TRY(add_product(&width, sums_of(cell), units));
    self->packed_rows = features + units + 1;
    self->packed_width = width + 3 * TAIL;
    return PYCNN_OK;
}

static int simple_create(layer *self, const pycnn_layer_spec *spec)
{
    TRY(pycnn_set_activation(self, spec->activation));
    self->f = PYCNN_LINEAR; /* of what leaves the layer */
    return recurrent_create(self, spec, &simple_cell);
}

static int gated_create(layer *self, const pycnn_layer_spec *spec, const cell *cell)
{
    REQUIRE(spec->activation == PYCNN_LINEAR, self, PYCNN_ERROR_ARGUMENT,
            "activation must be PYCNN_LINEAR: the gates have their own");
    return recurrent_create(self, spec, cell);
}

static int lstm_create(layer *self, const pycnn_layer_spec *spec)
{
    return gated_create(self, spec, &lstm_cell);
}

static int gru_create(layer *self, const pycnn_layer_spec *spec)
{
    return gated_create(self, spec, &gru_cell);
}

/* Q[n,n], a random orthogonal matrix of Haar's distribution, as a product of reflections of 1, 2,
 * ... n dimensions (Stewart 1980), each of which maps a normally distributed v[n] to an axis. */
static void draw_orthogonal(double *q, size_t n, double *v, random_stream *stream)
{
    for (size_t i = 0; i < n * n; i++) {
        q[i] = i / n == i % n;
    }
    for (size_t k = 1; k <= n; k++) {
        double *block = q + (n - k) * (n + 1), square = 0;
        for (size_t i = 0; i < k; i++) {
            v[i] = pycnn_stream_normal(stream);
            square = i == 0 ? v[i] * v[i] : square + v[i] * v[i];
        }
        const double sign = v[0] < 0 ? -1 : 1, norm = sqrt(square);
        const double factor = 1 / (norm * (norm + fabs(v[0])));
        v[0] += sign * norm;
        for (size_t j = 0; j < k; j += COLUMNS_TOGETHER) {
            const size_t columns = MIN(COLUMNS_TOGETHER, k - j);
            double w[COLUMNS_TOGETHER];
            for (size_t i = 0; i < k; i++) {
                const double *row = block + i * n + j;
                for (size_t c = 0; c < columns; c++) {
                    w[c] = i == 0 ? v[i] * row[c] : w[c] + v[i] * row[c];
                }
            }
            for (size_t c = 0; c < columns; c++) {
                w[c] *= factor;
            }
            for (size_t i = 0; i < k; i++) {
                double *row = block + i * n + j;
                for (size_t c = 0; c < columns; c++) {
                    row[c] = -sign * (row[c] - v[i] * w[c]);
                }
            }
        }
    }
}

/* W: Glorot's uniform distribution, and U orthogonal, of each gate by itself. b: zeros, but for the
 * LSTM's f, which begins by keeping what there is (Jozefowicz et al. 2015). */
static void recurrent_initialize(const layer *self, double *theta, double *statistics,
                                 random_stream *stream)
{
    const recurrence *shape = &self->recurrence;
    const weights to = weights_of_layer(self, theta);
    const size_t n = shape->units, rows = to.together + to.apart;
    const double limit = sqrt(6 / (double)(shape->features + n));
    (void)statistics;
    for (size_t i = 0; i < rows * shape->features; i++) {
        to.w[i] = -limit + (limit - -limit) * pycnn_stream_uniform(stream);
    }
    for (size_t first = 0; first < rows; first += n) {
        draw_orthogonal(to.u + first * n, n, to.b, stream);
    }
    memset(to.b, 0, (self->parameter_count - self->weight_count) * sizeof *to.b);
    for (size_t j = n; j < 2 * n && shape->cell->has_c; j++) {
        to.b[j] = 1;
    }
}

/* Each row of W by itself, and of U. */
static void recurrent_constrain(const layer *self, double *theta)
{
    const layer_tensor *tensor = self->tensors;
    for (double *at = theta; tensor->role == PYCNN_WEIGHT; at += tensor->size, tensor++) {
        for (size_t j = 0; j < tensor->shape[0]; j++) {
            pycnn_hold_norm(at + j * tensor->shape[1], self->max_norm, self->kernels,
                            tensor->shape[1]);
        }
    }
}

/* ---------------------------------------------------------------- forward */

/* h and c that the first step begins with. */
static void begin_forward(const layer *self, const tape *tape)
{
    const size_t bytes = tape->count * sizeof(double);
    const double *state = tape->io->state;
    for (int k = 0; k <= self->recurrence.cell->has_c; k++) {
        double *to = k == 0 ? h_at(tape, 0) : c_at(tape, 0);
        if (state == NULL) {
            memset(to, 0, bytes);
        } else {
            memcpy(to, state + k * tape->count, bytes);
        }
    }
}

/* The sums of a step, of all gates. */
static void sum_gates(const layer *self, const double *theta, const tape *tapes, size_t count,
                      size_t step)
{
    const recurrence *shape = &self->recurrence;
    const kernel_table *kernels = self->kernels;
    const weights of = weights_of_layer(self, theta);
    const size_t n = shape->units, features = shape->features, position = position_of(self, step);
    product_panel x[SLICES_TOGETHER], h[SLICES_TOGETHER];
    product_panel x_apart[SLICES_TOGETHER], h_apart[SLICES_TOGETHER];
    for (size_t s = 0; s < count; s++) {
        const size_t stride = tapes[s].io->stride;
        const double *in = tapes[s].io->input + position * features * stride;
        double *z = z_at(self, &tapes[s], position);
        x[s] = (product_panel){z, in, stride};
        h[s] = (product_panel){z, h_at(&tapes[s], step), stride};
        h_apart[s] = (product_panel){z + of.together * stride, h[s].in, stride};
        x_apart[s] = (product_panel){h_apart[s].out + of.apart * stride, in, stride};
    }
    double *scratch = tapes->io->scratch;
    kernels->product(x, count, of.w, features, 1, NULL, of.together, features, scratch);
    kernels->product_onto(h, count, of.u, n, 1, of.b, of.together, n, scratch);
    if (of.apart > 0) {
        kernels->product(x_apart, count, of.w + of.together * features, features, 1,
                         of.b + of.together, of.apart, features, scratch);
        kernels->product(h_apart, count, of.u + of.together * n, n, 1, of.b_n, of.apart, n,
                         scratch);
    }
}

/* h and c behind the last step -> output and state */
static void end(const layer *self, const tape *tape)
{
    const size_t bytes = tape->count * sizeof(double), steps = self->recurrence.positions;
    const layer_io *io = tape->io;
    if (!self->recurrence.sequences) {
        memcpy(io->z, h_at(tape, steps), bytes);
    }
    if (io->state != NULL) {
        memcpy(io->state, h_at(tape, steps), bytes);
    }
    if (io->state != NULL && self->recurrence.cell->has_c) {
        memcpy(io->state + tape->count, c_at(tape, steps), bytes);
    }
    pycnn_activate(self, io);
}

static void step_forward(const layer *self, const tape *tape, size_t step)
{
    const size_t units = self->recurrence.units, position = position_of(self, step);
    const layer_io *io = tape->io;
    self->recurrence.cell->step(self, tape, step);
    carry(h_at(tape, step + 1), h_at(tape, step), io, units, position);
    if (self->recurrence.cell->has_c) {
        carry(c_at(tape, step + 1), c_at(tape, step), io, units, position);
    }
    if (self->recurrence.sequences) {
        double *out = io->z + position * tape->count;
        memcpy(out, h_at(tape, step + 1), tape->count * sizeof *out);
        carry(out, NULL, io, units, position);
    }
}

static void recurrent_forward(const layer *self, const double *theta, const layer_io *io,
                              size_t slices)
{
    tape tapes[SLICES_TOGETHER];
    for (size_t first = 0; first < slices; first += SLICES_TOGETHER) {
        const size_t count = MIN(SLICES_TOGETHER, slices - first);
        for (size_t s = 0; s < count; s++) {
            tapes[s] = tape_of(self, &io[first + s]);
            begin_forward(self, &tapes[s]);
        }
        for (size_t step = 0; step < self->recurrence.positions; step++) {
            sum_gates(self, theta, tapes, count, step);
            for (size_t s = 0; s < count; s++) {
                step_forward(self, &tapes[s], step);
            }
        }
        for (size_t s = 0; s < count; s++) {
            end(self, &tapes[s]);
        }
    }
}

/* ---------------------------------------------------------------- backward */

/* Rows of a slice's samples at a position: of all that lie in panels from `rows` on. */
static void pack_rows(const layer *self, double *rows, const layer_io *io, size_t position,
                      const double *from, size_t width)
{
    const size_t panel = self->kernels->panel, samples = io->context->count;
    const size_t distance = self->recurrence.positions * samples * panel;
    rows += (position * samples + io->first) * panel;
    for (size_t j = 0; j < width; j += panel) {
        self->kernels->transpose(rows + j / panel * distance, panel, from + j * io->stride,
                                 io->stride, MIN(panel, width - j), io->batch);
    }
    double *ones = rows + width / panel * distance + width % panel;
    for (size_t i = 0; i < io->batch; i++) { /* the inputs of the bias */
        ones[i * panel] = 1;
    }
}

/* Those of h, which lie behind those of x. */
static double *rows_of_h(const layer *self, const layer_io *io)
{
    const size_t samples = self->recurrence.positions * io->context->count;
    return io->own_rows + samples * round_up(self->row_widths[0], self->kernels->panel);
}

/* dL/dh and dL/dc behind a step -> those of its sums, and of c before it */
static void step_back(const layer *self, const tape *tape, size_t step)
{
    const recurrence *shape = &self->recurrence;
    const size_t position = position_of(self, step), now = step % 2, count = tape->count;
    const layer_io *io = tape->io;
    double *delta = io->delta + position * count;
    if (shape->sequences) {
        carry(delta, NULL, io, shape->units, position);
        for (size_t i = 0; i < count; i++) {
            tape->dh[now][i] += delta[i];
        }
    }
    shape->cell->back(self, tape, step);
    carry(z_at(self, tape, position), NULL, io, sums_of(shape->cell) * shape->units, position);
    if (shape->cell->has_c) {
        carry(tape->dc[!now], tape->dc[now], io, shape->units, position);
    }
    pack_rows(self, io->own_rows, io, position, io->input + position * shape->features * io->stride,
              shape->features);
    pack_rows(self, rows_of_h(self, io), io, position, h_at(tape, step), shape->units);
}

/* dL/dh before a step: what comes by way of its sums, and by itself */
static void pass_back(const layer *self, const double *theta, const tape *tapes, size_t count,
                      size_t step)
{
    const weights of = weights_of_layer(self, theta);
    const size_t n = self->recurrence.units, position = position_of(self, step), now = step % 2;
    product_panel panels[SLICES_TOGETHER];
    for (size_t s = 0; s < count; s++) {
        panels[s] = (product_panel){tapes[s].dh[!now], z_at(self, &tapes[s], position),
                                    tapes[s].io->stride};
    }
    self->kernels->product(panels, count, of.u, 1, n, NULL, n, of.together + of.apart,
                           tapes->io->scratch);
    for (const tape *tape = tapes; tape < tapes + count; tape++) {
        for (size_t i = 0; i < tape->count && self->recurrence.cell->passes_on; i++) {
            tape->dh[!now][i] += tape->some[i];
        }
        carry(tape->dh[!now], tape->dh[now], tape->io, n, position);
    }
}

/* delta_input[positions,features] = W^T @ the deltas of the sums */
static void give_back(const layer *self, const double *theta, const tape *tape)
{
    const weights of = weights_of_layer(self, theta);
    const size_t features = self->recurrence.features, positions = self->recurrence.positions;
    const size_t stride = tape->io->stride, most = stride == 1 ? 1 : SLICES_TOGETHER;
    product_panel panels[SLICES_TOGETHER];
    for (size_t first = 0; first < positions && tape->io->delta_input != NULL; first += most) {
        const size_t count = MIN(most, positions - first);
        for (size_t p = 0; p < count; p++) {
            double *out = tape->io->delta_input + (first + p) * features * stride;
            panels[p] = (product_panel){out, z_at(self, tape, first + p), stride};
        }
        self->kernels->product(panels, count, of.w, 1, features, NULL, features, of.together,
                               tape->io->scratch);
        for (size_t p = 0; p < count && of.apart > 0; p++) {
            panels[p].in += (of.together + of.apart) * stride;
        }
        if (of.apart > 0) {
            self->kernels->product_onto(panels, count, of.w + of.together * features, 1, features,
                                        NULL, features, of.apart, tape->io->scratch);
        }
    }
}

static void begin_back(const layer *self, const tape *tape)
{
    const size_t last = (self->recurrence.positions - 1) % 2, bytes = tape->count * sizeof(double);
    if (self->recurrence.sequences) {
        memset(tape->dh[last], 0, bytes);
    } else {
        memcpy(tape->dh[last], tape->io->delta, bytes);
    }
    if (self->recurrence.cell->has_c) {
        memset(tape->dc[last], 0, bytes);
    }
}

static void recurrent_backward(const layer *self, const double *theta, const layer_io *io,
                               size_t slices)
{
    tape tapes[SLICES_TOGETHER];
    for (size_t first = 0; first < slices; first += SLICES_TOGETHER) {
        const size_t count = MIN(SLICES_TOGETHER, slices - first);
        for (size_t s = 0; s < count; s++) {
            tapes[s] = tape_of(self, &io[first + s]);
            begin_back(self, &tapes[s]);
        }
        for (size_t step = self->recurrence.positions; step-- > 0;) {
            for (size_t s = 0; s < count; s++) {
                step_back(self, &tapes[s], step);
            }
            if (step > 0) {
                pass_back(self, theta, tapes, count, step);
            }
        }
        for (size_t s = 0; s < count; s++) {
            give_back(self, theta, &tapes[s]);
        }
    }
}

/* Goes on with the sums of rows begin ... end - 1 of W or of U, over some positions from `first`
 * on: those of W by the deltas `behind` rows further. */
typedef struct {
    const gradient_terms *terms;
    size_t count, first, begin, end;
    gradient_use use;
    double step;
} row_sums;

static void add_rows_of(const layer *self, const row_sums *sums, const layer_io *io, double *matrix,
                        double *bias, const double *rows, size_t behind, size_t width)
{
    const size_t panel = self->kernels->panel, samples = io->context->count;
    self->kernels->gradient(matrix + sums->begin * width, bias, sums->use, sums->step, sums->terms,
                            sums->count, rows + sums->first * samples * panel,
                            self->recurrence.positions * samples * panel, sums->begin + behind,
                            sums->end - sums->begin, width);
}

/* dW = the sum over positions, and at each over the samples, of the sums' deltas times x; dU of the
 * same times h before the step; db of the deltas. A part is some of the rows. Some positions at a
 * time, whose deltas stay in cache for all of a row's weights. */
static void recurrent_gradient(const layer *self, double *out, gradient_use use, double step,
                               const layer_io *io, size_t slices, part which)
{
    const recurrence *shape = &self->recurrence;
    const weights to = weights_of_layer(self, out);
    const size_t rows = to.together + to.apart, deltas = sums_of(shape->cell) * shape->units;
    const size_t height = round_up((rows + which.of - 1) / which.of, ROWS_TOGETHER);
    const size_t first = MIN(which.index * height, rows), last = MIN(first + height, rows);
    const size_t some = MAX(TERMS_TOGETHER / io->context->count, 1);
    assert(use != GRADIENT_DESCEND || some >= shape->positions);
    gradient_terms *terms = (gradient_terms *)(void *)which.scratch;
    for (size_t p = 0; p < shape->positions; p += some) {
        for (size_t s = 0; s < slices; s++) {
            terms[s] =
                (gradient_terms){io[s].saved_samples + p * deltas * io[s].stride, io[s].stride,
                                 io[s].batch, MIN(some, shape->positions - p), deltas};
        }
        row_sums sums = {terms, slices, p, 0, 0, p == 0 ? use : GRADIENT_ADD, step};
        for (size_t k = 0; k < 2; k++) { /* rows with one chain, and those with two */
            sums.begin = k == 0 ? first : MAX(first, to.together);
            sums.end = k == 0 ? MIN(last, to.together) : last;
            if (sums.begin < sums.end) {
                double *b_n = k == 0 ? NULL : to.b_n + sums.begin - to.together;
                add_rows_of(self, &sums, io, to.w, to.b + sums.begin, io->own_rows, k * to.apart,
                            shape->features);
                add_rows_of(self, &sums, io, to.u, b_n, rows_of_h(self, io), 0, shape->units);
            }
        }
    }
}

/* ---------------------------------------------------------------- one sample */

/* Some rows of W and U (either of which may be left out, with 0 columns) by columns, and b behind
 * them, of UNITS_TOGETHER rows at a time. Returns what lies behind. */
static double *pack_columns(const layer *self, double *packed, const double *w, size_t features,
                            const double *u, size_t units, const double *b, size_t rows)
{
    for (size_t j = 0; j < rows; j += UNITS_TOGETHER) {
        const size_t some = MIN(UNITS_TOGETHER, rows - j);
        const size_t stride = round_up(some, self->kernels->lanes);
        self->kernels->transpose(packed, stride, w + j * features, features, some, features);
        packed += features * stride;
        pycnn_make_columns(packed, stride, u + j * units, b + j, self->kernels, some, units);
        packed += (units + 1) * stride;
    }
    return packed;
}

/* sums[rows] of what pack_columns() has packed, in[depth]; returns what lies behind. */
static const double *combine_rows(const layer *self, double *sums, const double *packed,
                                  const double *in, size_t depth, size_t rows)
{
    for (size_t j = 0; j < rows; j += UNITS_TOGETHER) {
        const size_t stride = round_up(MIN(UNITS_TOGETHER, rows - j), self->kernels->lanes);
        self->kernels->combine(sums + j, packed, stride, in, depth);
        packed += (depth + 1) * stride;
    }
    return packed;
}

static void recurrent_pack(const layer *self, double *packed, const double *theta,
                           const double *statistics)
{
    const weights of = weights_of_layer(self, theta);
    const size_t features = self->recurrence.features, n = self->recurrence.units;
    (void)statistics;
    packed = pack_columns(self, packed, of.w, features, of.u, n, of.b, of.together);
    packed = pack_columns(self, packed, of.w, 0, of.u + of.together * n, n, of.b_n, of.apart);
    pack_columns(self, packed, of.w + of.together * features, features, of.u, 0, of.b + of.together,
                 of.apart);
}

/* x and h lie behind each other, so that one chain goes over both, and each step's h is where the
 * one before has been. */
static void recurrent_forward_packed(const layer *self, const double *packed, const layer_io *io)
{
    const recurrence *shape = &self->recurrence;
    const size_t n = shape->units, features = shape->features;
    const size_t together = shape->cell->together * n, apart = shape->cell->apart * n;
    tape tape = tape_of(self, io);
    double *x = tape.h - features, *z = tape.z;
    tape.states = 1;
    begin_forward(self, &tape);
    for (size_t step = 0; step < shape->positions; step++) {
        memcpy(x, io->input + position_of(self, step) * features, features * sizeof *x);
        const double *next = combine_rows(self, z, packed, x, features + n, together);
        next = combine_rows(self, z + together, next, tape.h, n, apart);
        combine_rows(self, z + together + apart, next, x, features, apart);
        step_forward(self, &tape, step);
    }
    end(self, &tape);
}

#define RECURRENT_OPS(create_function)              \
    {                                               \
        .create = create_function,                  \
        .forward = recurrent_forward,               \
        .pack = recurrent_pack,                     \
        .forward_packed = recurrent_forward_packed, \
        .backward = recurrent_backward,             \
        .gradient = recurrent_gradient,             \
        .initialize = recurrent_initialize,         \
        .constrain = recurrent_constrain,           \
    }

const layer_ops pycnn_simple_rnn_ops = RECURRENT_OPS(simple_create);
const layer_ops pycnn_lstm_ops = RECURRENT_OPS(lstm_create);
const layer_ops pycnn_gru_ops = RECURRENT_OPS(gru_create);
