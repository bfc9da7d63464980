/* Recurrent layers: against their formulas, their gradients against differences, and the same bits
 * whatever the slices are. */
#include "check.h"

typedef struct {
    int kind, activation;
    size_t positions, features, units;
    int reverse, sequences;
} shape;

static const shape shapes[] = {
    {PYCNN_LSTM, 0, 1, 1, 1, 0, 0},
    {PYCNN_LSTM, 0, 7, 3, 5, 0, 1},
    {PYCNN_LSTM, 0, 2, 9, 8, 1, 0},
    {PYCNN_LSTM, 0, 3, 24, 33, 1, 1},
    {PYCNN_GRU, 0, 1, 1, 1, 0, 0},
    {PYCNN_GRU, 0, 7, 3, 5, 0, 0},
    {PYCNN_GRU, 0, 2, 9, 8, 0, 1},
    {PYCNN_GRU, 0, 3, 25, 24, 1, 1},
    {PYCNN_SIMPLE_RNN, PYCNN_TANH, 7, 3, 5, 1, 0},
    {PYCNN_SIMPLE_RNN, PYCNN_RELU, 2, 1, 9, 0, 1},
    {PYCNN_SIMPLE_RNN, PYCNN_GELU, 3, 25, 13, 1, 1},
    {PYCNN_SIMPLE_RNN, PYCNN_SOFTMAX, 4, 2, 3, 0, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static pycnn_layer_spec spec_of(const shape *s)
{
    return (pycnn_layer_spec){.kind = s->kind,
                              .activation = s->activation,
                              .units = s->units,
                              .shape = {1, s->positions, s->features},
                              .reverse = s->reverse,
                              .return_sequences = s->sequences};
}

static size_t gates_of(const shape *s)
{
    return s->kind == PYCNN_LSTM ? 4 : s->kind == PYCNN_GRU ? 3 : 1;
}

static size_t states_of(const shape *s) { return s->kind == PYCNN_LSTM ? 2 : 1; }

static size_t outputs_of(const shape *s) { return s->units * (s->sequences ? s->positions : 1); }

/* ---------------------------------------------------------------- the formulas */

static double sigma(double z) { return 1 / (1 + exp(-z)); }

static void activate(double *h, const double *z, const shape *s)
{
    double sum = 0;
    for (size_t j = 0; j < s->units; j++) {
        h[j] = s->activation == PYCNN_TANH   ? tanh(z[j])
               : s->activation == PYCNN_RELU ? (z[j] > 0 ? z[j] : 0)
               : s->activation == PYCNN_GELU ? z[j] * 0.5 * erfc(-z[j] / sqrt(2))
                                             : exp(z[j]);
        sum += h[j];
    }
    for (size_t j = 0; j < s->units && s->activation == PYCNN_SOFTMAX; j++) {
        h[j] /= sum;
    }
}

/* b[gates,units] + the matrix[gates units,n] times in[n] */
static void multiply(double *z, const double *matrix, const double *in, size_t rows, size_t n)
{
    for (size_t j = 0; j < rows; j++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++) {
            sum += matrix[j * n + k] * in[k];
        }
        z[j] = sum;
    }
}

/* One sample of `length` positions; state[states,units] from before, and for later. */
static void reference(double *y, double *state, const shape *s, const double *theta,
                      const double *x, size_t length)
{
    enum { MOST = 200 };
    const size_t n = s->units, rows = gates_of(s) * n;
    const double *u = theta + rows * s->features, *b = u + rows * n, *b_n = b + rows;
    double *h = state, *c = state + n, by_x[MOST], by_h[MOST], z[MOST];
    memset(y, 0, outputs_of(s) * sizeof *y);
    for (size_t step = 0; step < s->positions; step++) {
        const size_t t = s->reverse ? s->positions - 1 - step : step;
        if (t >= length) {
            continue;
        }
        multiply(by_x, theta, x + t * s->features, rows, s->features);
        multiply(by_h, u, h, rows, n);
        for (size_t j = 0; j < rows; j++) {
            by_x[j] += b[j];
            z[j] = by_x[j] + by_h[j];
        }
        if (s->kind == PYCNN_SIMPLE_RNN) {
            activate(h, z, s);
        }
        for (size_t j = 0; j < n && s->kind == PYCNN_LSTM; j++) {
            c[j] = sigma(z[n + j]) * c[j] + sigma(z[j]) * tanh(z[2 * n + j]);
            h[j] = sigma(z[3 * n + j]) * tanh(c[j]);
        }
        for (size_t j = 0; j < n && s->kind == PYCNN_GRU; j++) {
            const double r = sigma(z[j]), gate = sigma(z[n + j]), k = by_h[2 * n + j] + b_n[j];
            h[j] = (1 - gate) * tanh(by_x[2 * n + j] + r * k) + gate * h[j];
        }
        if (s->sequences) {
            memcpy(y + t * n, h, n * sizeof *y);
        }
    }
    if (!s->sequences) {
        memcpy(y, h, n * sizeof *y);
    }
}

/* Numbers of which some may be the small difference of others. */
static bool are_close(const double *a, const double *b, size_t count)
{
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        good = good && fabs(a[i] - b[i]) <= 1e-13 * (1 + fabs(b[i]));
    }
    return good;
}

/* ---------------------------------------------------------------- predictions */

typedef struct {
    size_t inputs, outputs, size;
    pycnn_network *net;
    double *theta, *x;
} recurrent;

static recurrent make(const shape *s, size_t rows)
{
    const pycnn_layer_spec layer = spec_of(s);
    recurrent r = {.inputs = s->positions * s->features, .outputs = outputs_of(s)};
    r.net = create(r.inputs, &layer, 1, PYCNN_MSE);
    r.size = pycnn_network_theta_size(r.net);
    r.theta = random_doubles(1, r.size);
    r.x = random_doubles(2, rows * r.inputs);
    return r;
}

static void free_recurrent(recurrent *r)
{
    free(r->theta), free(r->x);
    pycnn_network_destroy(r->net);
}

static const size_t batches[] = {1, 3, 8, 25, 129};
enum { BATCHES = sizeof batches / sizeof *batches, ROWS = 131 };

static void test_a_sequence_is_gone_through(void)
{
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        recurrent r = make(s, ROWS);
        CHECK(pycnn_network_outputs(r.net) == r.outputs);
        double *expected = doubles(ROWS * r.outputs), *alone = doubles(ROWS * r.outputs);
        double *y = doubles(ROWS * r.outputs);
        for (size_t i = 0; i < ROWS; i++) {
            double state[100] = {0};
            reference(expected + i * r.outputs, state, s, r.theta, r.x + i * r.inputs,
                      s->positions);
        }
        pycnn_predictor *predictor;
        CHECK(pycnn_predictor_create(&predictor, r.net, r.theta, r.size) == PYCNN_OK);
        for (size_t i = 0; i < ROWS; i++) {
            CHECK(pycnn_predictor_run(predictor, alone + i * r.outputs, r.x + i * r.inputs) ==
                  PYCNN_OK);
        }
        pycnn_predictor_destroy(predictor);
        CHECK(agree(alone, expected, ROWS * r.outputs, 1e-13));
        for (size_t b = 0; b < BATCHES; b++) {
            for (int mode = PYCNN_FORWARD; mode <= PYCNN_BACKWARD; mode++) {
                pycnn_workspace *ws = workspace(r.net, batches[b], mode);
                CHECK(pycnn_predict(y, r.net, ws, r.theta, r.size, r.x, ROWS) == PYCNN_OK);
                if (!CHECK(same_bits(y, alone, ROWS * r.outputs))) {
                    printf("    shape %d, batch %zu\n", (int)(s - shapes), batches[b]);
                }
                pycnn_workspace_destroy(ws);
            }
        }
        free(expected), free(alone), free(y);
        free_recurrent(&r);
    }
}

/* Sums far beyond where a gate is open or shut. */
static void test_gates_at_their_limits(void)
{
    static const shape both[] = {{PYCNN_LSTM, 0, 3, 1, 2, 0, 1}, {PYCNN_GRU, 0, 3, 1, 2, 0, 1}};
    static const double sizes[] = {1e-9, 30, 400, 1e5, 1e300};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (const shape *s = both; s < both + 2; s++) {
            recurrent r = make(s, 9);
            double y[9 * 6], expected[6];
            pycnn_workspace *ws = workspace(r.net, 9, PYCNN_FORWARD);
            for (size_t k = 0; k < 9 * r.inputs; k++) {
                r.x[k] *= sizes[i];
            }
            CHECK(pycnn_predict(y, r.net, ws, r.theta, r.size, r.x, 9) == PYCNN_OK);
            for (size_t row = 0; row < 9; row++) {
                double state[4] = {0};
                reference(expected, state, s, r.theta, r.x + row * r.inputs, s->positions);
                CHECK(are_close(y + row * 6, expected, 6));
            }
            r.x[4] = NAN;
            CHECK(pycnn_predict(y, r.net, ws, r.theta, r.size, r.x, 9) == PYCNN_OK);
            CHECK(isnan(y[6 + 2]) && isnan(y[6 + 5]) && !isnan(y[0]) && !isnan(y[12]));
            pycnn_workspace_destroy(ws);
            free_recurrent(&r);
        }
    }
}

/* ---------------------------------------------------------------- lengths and states */

static void set_sequences(pycnn_workspace *ws, const size_t *lengths, double *state)
{
    CHECK(pycnn_workspace_set_sequences(
              ws, &(pycnn_sequences){.lengths = lengths, .state = state}) == PYCNN_OK);
}

static void test_short_samples_end_where_they_end(void)
{
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        recurrent r = make(s, ROWS);
        size_t lengths[ROWS];
        const size_t count = states_of(s) * s->units;
        CHECK(pycnn_network_state_count(r.net) == count);
        double *start = random_doubles(3, ROWS * count), *left = copy_doubles(start, ROWS * count);
        double *expected = doubles(ROWS * r.outputs), *y = doubles(ROWS * r.outputs);
        double *state = doubles(ROWS * count);
        for (size_t i = 0; i < ROWS; i++) {
            lengths[i] = 1 + i * 5 % s->positions;
            reference(expected + i * r.outputs, left + i * count, s, r.theta, r.x + i * r.inputs,
                      lengths[i]);
            for (size_t k = lengths[i] * s->features; k < r.inputs; k++) {
                r.x[i * r.inputs + k] = NAN;
            }
        }
        for (size_t b = 0; b < BATCHES; b++) {
            const size_t rows = batches[b];
            for (int mode = PYCNN_FORWARD; mode <= PYCNN_BACKWARD; mode++) {
                pycnn_workspace *ws = workspace(r.net, rows, mode);
                memcpy(state, start, rows * count * sizeof *state);
                set_sequences(ws, lengths, state);
                CHECK(pycnn_predict(y, r.net, ws, r.theta, r.size, r.x, rows) == PYCNN_OK);
                CHECK(are_close(y, expected, rows * r.outputs));
                CHECK(are_close(state, left, rows * count));
                pycnn_workspace_destroy(ws);
            }
        }
        free(start), free(left), free(expected), free(y), free(state);
        free_recurrent(&r);
    }
}

static void test_two_halves_are_the_whole(void)
{
    enum { HALF = 3, BOTH = 25 };
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        shape whole = *s, half = *s;
        whole.positions = 2 * HALF;
        half.positions = HALF;
        whole.reverse = half.reverse = 0;
        recurrent r = make(&whole, BOTH), part = make(&half, BOTH);
        const size_t count = states_of(s) * s->units, outputs = part.outputs;
        double *y = doubles(BOTH * r.outputs), *piece = doubles(BOTH * outputs);
        double *state = doubles(BOTH * count);
        pycnn_workspace *ws = workspace(r.net, BOTH, PYCNN_FORWARD);
        CHECK(pycnn_predict(y, r.net, ws, r.theta, r.size, r.x, BOTH) == PYCNN_OK);
        pycnn_workspace_destroy(ws);
        memset(state, 0, BOTH * count * sizeof *state);
        ws = workspace(part.net, BOTH, PYCNN_FORWARD);
        set_sequences(ws, NULL, state);
        for (size_t turn = 0; turn < 2; turn++) {
            for (size_t i = 0; i < BOTH; i++) {
                memcpy(part.x + i * part.inputs, r.x + i * r.inputs + turn * part.inputs,
                       part.inputs * sizeof *y);
            }
            CHECK(pycnn_predict(piece, part.net, ws, r.theta, r.size, part.x, BOTH) == PYCNN_OK);
            for (size_t i = 0; i < BOTH && (s->sequences || turn == 1); i++) {
                const double *of_whole = y + i * r.outputs + (s->sequences ? turn * outputs : 0);
                CHECK(same_bits(piece + i * outputs, of_whole, outputs));
            }
        }
        pycnn_workspace_destroy(ws);
        free(y), free(piece), free(state);
        free_recurrent(&r);
        free_recurrent(&part);
    }
}

/* ---------------------------------------------------------------- gradients */

/* A recurrent layer that gives sequences, the layer itself, and a dense one. */
static problem two_layers(const shape *s, size_t rows)
{
    const shape below = {s->kind, s->activation, s->positions, 2, s->features, 0, 1};
    const pycnn_layer_spec layers[] = {spec_of(&below), spec_of(s), DENSE(PYCNN_LINEAR, 2)};
    problem p = make_problem(4, rows, s->positions * 2, layers, 3, PYCNN_MSE);
    p.data.weight = p.weight;
    return p;
}

typedef struct {
    const problem *p;
    const size_t *lengths;
    size_t batch;
} setting;

static double loss_of(const setting *at, const double *theta)
{
    pycnn_totals totals;
    pycnn_workspace *ws = workspace(at->p->net, at->p->data.rows, PYCNN_FORWARD);
    CHECK(pycnn_evaluate(&totals, at->p->net, ws, theta, at->p->theta_size, &at->p->data) ==
          PYCNN_OK);
    pycnn_workspace_destroy(ws);
    return totals.loss / totals.weight;
}

static bool meets(double got, double above, double below, double step)
{
    const double expected = (above - below) / (2 * step);
    return fabs(got - expected) <= 1e-7 * (1 + fabs(expected));
}

static void test_gradients_meet_central_differences(void)
{
    enum { FEW = 11 };
    const double step = 1e-5;
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        problem p = two_layers(s, FEW);
        const setting at = {&p, NULL, FEW};
        pycnn_workspace *ws = workspace(p.net, FEW, PYCNN_TRACE);
        double *grad = doubles(p.parameters), *by_x = doubles(FEW * p.inputs);
        pycnn_totals totals;
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
              PYCNN_OK);
        CHECK(pycnn_input_gradient(by_x, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
        const size_t stride = p.parameters / 60 + 1;
        bool good = true;
        for (size_t k = 0; k < p.parameters; k += stride) {
            const double before = p.theta[k];
            p.theta[k] = before + step;
            const double above = loss_of(&at, p.theta);
            p.theta[k] = before - step;
            const double below = loss_of(&at, p.theta);
            p.theta[k] = before;
            good = CHECK(meets(grad[k], above, below, step)) && good;
        }
        for (size_t k = 0; k < FEW * p.inputs; k += 3) {
            const double before = p.x[k];
            p.x[k] = before + step;
            const double above = loss_of(&at, p.theta);
            p.x[k] = before - step;
            const double below = loss_of(&at, p.theta);
            p.x[k] = before;
            good = CHECK(meets(by_x[k] / totals.weight, above, below, step)) && good;
        }
        if (!good) {
            printf("    shape %d\n", (int)(s - shapes));
        }
        free(grad), free(by_x);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

/* With lengths, a sample's gradient is that of the same network over fewer positions. */
static void test_gradients_of_short_samples(void)
{
    enum { MANY = 25 };
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        shape whole = *s;
        whole.sequences = 0;
        whole.positions = 5;
        const pycnn_layer_spec layers[] = {spec_of(&whole), DENSE(PYCNN_LINEAR, 2)};
        problem p = make_problem(6, MANY, 5 * s->features, layers, 2, PYCNN_MSE);
        double *grad = doubles(p.parameters), *sum = doubles(p.parameters);
        pycnn_totals totals;
        for (size_t length = 1; length <= 5; length += 2) {
            size_t lengths[MANY];
            shape brief = whole;
            brief.positions = length;
            const pycnn_layer_spec fewer[] = {spec_of(&brief), layers[1]};
            problem q = make_problem(6, MANY, length * s->features, fewer, 2, PYCNN_MSE);
            for (size_t i = 0; i < MANY; i++) {
                lengths[i] = length;
                memcpy(q.x + i * q.inputs, p.x + i * p.inputs, q.inputs * sizeof *q.x);
            }
            memcpy(q.y, p.y, MANY * 2 * sizeof *q.y);
            pycnn_workspace *ws = workspace(q.net, MANY, PYCNN_BACKWARD);
            CHECK(pycnn_gradients(&totals, sum, q.net, ws, p.theta, p.theta_size, &q.data, NULL) ==
                  PYCNN_OK);
            pycnn_workspace_destroy(ws);
            ws = workspace(p.net, MANY, PYCNN_BACKWARD);
            set_sequences(ws, lengths, NULL);
            CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
                  PYCNN_OK);
            pycnn_workspace_destroy(ws);
            CHECK(agree(grad, sum, p.parameters, 1e-14));
            free_problem(&q);
        }
        free(grad), free(sum);
        free_problem(&p);
    }
}

/* ---------------------------------------------------------------- the same bits */

/* Everything that a network computes of some rows, by `count` threads. */
static double *compute(const problem *p, size_t batch, size_t threads, size_t *size)
{
    pycnn_threads *pool = NULL;
    pycnn_totals totals, epochs[2];
    const size_t rows = p->data.rows, n = p->parameters;
    pycnn_workspace *ws = workspace(p->net, rows, PYCNN_TRACE);
    CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
    pycnn_workspace_set_threads(ws, pool);
    *size = 2 * n + rows * p->inputs;
    double *all = doubles(*size);
    CHECK(pycnn_gradients(&totals, all, p->net, ws, p->theta, p->theta_size, &p->data, NULL) ==
          PYCNN_OK);
    double *theta = trained(
        p, ws, (pycnn_training){.epochs = 2, .batch_size = batch, .learning_rate = 0.1}, epochs);
    memcpy(all + n, theta, n * sizeof *all);
    CHECK(pycnn_input_gradient(all + 2 * n, p->net, ws, p->theta, p->theta_size, &p->data) ==
          PYCNN_OK);
    free(theta);
    pycnn_workspace_destroy(ws);
    pycnn_threads_destroy(pool);
    return all;
}

/* Wide enough that threads are worth it, in mini-batches that have odd ends. */
static problem wide_problem(int kind, size_t rows)
{
    const pycnn_layer_spec layers[] = {
        spec_of(&(shape){kind, kind == PYCNN_SIMPLE_RNN ? PYCNN_TANH : 0, 9, 5, 43, 0, 1}),
        spec_of(&(shape){kind, kind == PYCNN_SIMPLE_RNN ? PYCNN_SILU : 0, 9, 43, 21, 1, 0}),
        DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(9, rows, 45, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
    for (size_t i = 0; i < p.parameters; i++) {
        p.theta[i] *= 0.3;
    }
    return p;
}

static void test_threads_give_the_same_bits(void)
{
    static const int kinds[] = {PYCNN_SIMPLE_RNN, PYCNN_LSTM, PYCNN_GRU};
    for (int k = 0; k < 3; k++) {
        problem p = wide_problem(kinds[k], 110);
        size_t size;
        double *alone = compute(&p, 53, 1, &size), *together = compute(&p, 53, 3, &size);
        CHECK(same_bits(alone, together, size));
        free(alone), free(together);
        free_problem(&p);
    }
}

#ifdef HAVE_POSIX
static void test_instruction_sets_agree(void)
{
    const char *outer = getenv("PYCNN_ISA");
    char before[20] = "";
    snprintf(before, sizeof before, "%s", outer == NULL ? "" : outer);
    static const int kinds[] = {PYCNN_SIMPLE_RNN, PYCNN_LSTM, PYCNN_GRU};
    for (int k = 0; k < 3; k++) {
        double *plain = NULL, *fused = NULL;
        size_t size = 0;
        for (int set = SET_COUNT; set-- > 0;) {
            setenv("PYCNN_ISA", instruction_sets[set], 1);
            if (pycnn_isa() == NULL) {
                continue;
            }
            problem p = wide_problem(kinds[k], 30);
            double *result = compute(&p, 17, 1, &size);
            free_problem(&p);
            if (set == BASELINE) {
                plain = result;
                continue;
            }
            CHECK(agree(result, plain, size, 1e-12));
            CHECK(fused == NULL || same_bits(result, fused, size));
            free(fused);
            fused = result;
        }
        free(plain), free(fused);
    }
    setenv("PYCNN_ISA", before, 1);
}
#endif

/* ---------------------------------------------------------------- parameters */

static void test_recurrent_weights_start_orthogonal(void)
{
    const shape s = {PYCNN_LSTM, 0, 3, 6, 37, 0, 0};
    recurrent r = make(&s, 1);
    CHECK(pycnn_initialize(r.theta, r.size, r.net, 5) == PYCNN_OK);
    const double limit = sqrt(6.0 / (6 + 37)), *u = r.theta + 4 * 37 * 6, *b = u + 4 * 37 * 37;
    CHECK(largest(r.theta, 4 * 37 * 6) < limit && largest(r.theta, 4 * 37 * 6) > 0.95 * limit);
    for (size_t j = 0; j < 4 * 37; j++) {
        for (size_t k = j / 37 * 37; k <= j; k++) { /* rows of the same gate */
            double sum = 0;
            for (size_t i = 0; i < 37; i++) {
                sum += u[j * 37 + i] * u[k * 37 + i];
            }
            CHECK(fabs(sum - (j == k)) < 1e-13);
        }
        CHECK(b[j] == (j / 37 == 1));
    }
    free_recurrent(&r);
}

static void test_rows_are_held_to_their_norm(void)
{
    for (const shape *s = shapes; s < shapes + SHAPES; s++) {
        pycnn_layer_spec layer = spec_of(s);
        layer.max_norm = 0.25;
        problem p = make_problem(2, 9, s->positions * s->features, &layer, 1, PYCNN_MSE);
        pycnn_workspace *ws = workspace(p.net, 9, PYCNN_BACKWARD);
        pycnn_totals totals;
        double *theta = trained(
            &p, ws, (pycnn_training){.epochs = 1, .batch_size = 9, .learning_rate = 0.1}, &totals);
        const size_t rows = gates_of(s) * s->units;
        const double *row = theta;
        for (size_t j = 0; j < 2 * rows; j++) {
            const size_t width = j < rows ? s->features : s->units;
            double square = 0;
            for (size_t k = 0; k < width; k++) {
                square += row[k] * row[k];
            }
            CHECK(sqrt(square) < 0.25 * (1 + 1e-15));
            row += width;
        }
        free(theta);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

static void test_layers_that_cannot_be(void)
{
    static const struct {
        pycnn_layer_spec spec;
        int status;
    } wrong[] = {
        {{.kind = PYCNN_LSTM, .units = 0, .shape = {1, 3, 2}}, PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_LSTM, .units = 2, .shape = {1, 3, 3}}, PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_GRU, .units = 2, .shape = {3, 1, 2}}, PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_GRU, .units = 2}, PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_GRU, .units = (size_t)PTRDIFF_MAX / 2, .shape = {1, 3, 2}},
         PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_SIMPLE_RNN, .units = 3037000000u, .shape = {1, 3, 2}}, PYCNN_ERROR_SIZE},
        {{.kind = PYCNN_LSTM, .activation = PYCNN_TANH, .units = 2, .shape = {1, 3, 2}},
         PYCNN_ERROR_ARGUMENT},
        {{.kind = PYCNN_SIMPLE_RNN,
          .activation = PYCNN_ACTIVATION_COUNT,
          .units = 2,
          .shape = {1, 3, 2}},
         PYCNN_ERROR_ARGUMENT},
        {{.kind = PYCNN_LSTM, .units = 2, .shape = {1, 3, 2}, .l2 = -1}, PYCNN_ERROR_RANGE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pycnn_network *net = (pycnn_network *)&not_null;
        CHECK(pycnn_network_create(&net, 6, &wrong[i].spec, 1, PYCNN_MSE, 0) == wrong[i].status);
        CHECK(net == NULL);
    }
}

/* ---------------------------------------------------------------- both ways */

static void test_both_ways_lie_side_by_side(void)
{
    enum { T = 4, F = 3, H = 5, MANY = 20 };
    for (int sequences = 0; sequences < 2; sequences++) {
        const shape way[] = {{PYCNN_GRU, 0, T, F, H, 0, sequences},
                             {PYCNN_GRU, 0, T, F, H, 1, sequences}};
        const size_t positions = sequences ? T : 1;
        const pycnn_layer_spec inner = spec_of(&way[0]), shortcut = spec_of(&way[1]);
        const pycnn_layer_spec both = {.kind = PYCNN_CONCATENATE,
                                       .inner = &inner,
                                       .inner_depth = 1,
                                       .shortcut = &shortcut,
                                       .shape = {1, positions, H}};
        problem p = make_problem(8, MANY, T * F, &both, 1, PYCNN_MSE);
        CHECK(p.outputs == 2 * positions * H);
        double *y = doubles(MANY * p.outputs), *half = doubles(MANY * positions * H);
        pycnn_workspace *ws = workspace(p.net, MANY, PYCNN_FORWARD);
        CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, MANY) == PYCNN_OK);
        pycnn_workspace_destroy(ws);
        for (size_t k = 0; k < 2; k++) {
            pycnn_network *net = create(T * F, k == 0 ? &inner : &shortcut, 1, PYCNN_MSE);
            const size_t size = p.theta_size / 2;
            ws = workspace(net, MANY, PYCNN_FORWARD);
            CHECK(pycnn_predict(half, net, ws, p.theta + k * size, size, p.x, MANY) == PYCNN_OK);
            for (size_t i = 0; i < MANY * positions; i++) {
                CHECK(same_bits(y + (2 * i + k) * H, half + i * H, H));
            }
            pycnn_workspace_destroy(ws);
            pycnn_network_destroy(net);
        }
        const setting at = {&p, NULL, MANY};
        ws = workspace(p.net, MANY, PYCNN_BACKWARD);
        double *grad = doubles(p.parameters);
        pycnn_totals totals;
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
              PYCNN_OK);
        for (size_t k = 0; k < p.parameters; k += 7) {
            const double before = p.theta[k], step = 1e-5;
            p.theta[k] = before + step;
            const double above = loss_of(&at, p.theta);
            p.theta[k] = before - step;
            const double below = loss_of(&at, p.theta);
            p.theta[k] = before;
            CHECK(meets(grad[k], above, below, step));
        }
        free(y), free(half), free(grad);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

const test recurrent_tests[] = {
    FOR_EACH_SET("recurrent layers go through a sequence", test_a_sequence_is_gone_through),
    FOR_EACH_SET("gates at their limits", test_gates_at_their_limits),
    FOR_EACH_SET("short samples end where they end", test_short_samples_end_where_they_end),
    FOR_EACH_SET("two halves of a sequence are the whole", test_two_halves_are_the_whole),
    FOR_EACH_SET("gradients through time meet central differences",
                 test_gradients_meet_central_differences),
    FOR_EACH_SET("gradients of short samples", test_gradients_of_short_samples),
    FOR_EACH_SET("threads give recurrent layers the same bits", test_threads_give_the_same_bits),
#ifdef HAVE_POSIX
    ONCE("instruction sets agree on recurrent layers", test_instruction_sets_agree),
#endif
    ONCE("recurrent weights start orthogonal", test_recurrent_weights_start_orthogonal),
    FOR_EACH_SET("rows of recurrent weights are held to their norm",
                 test_rows_are_held_to_their_norm),
    ONCE("recurrent layers that cannot be", test_layers_that_cannot_be),
    FOR_EACH_SET("both ways lie side by side", test_both_ways_lie_side_by_side),
    {0},
};
