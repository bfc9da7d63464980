/* Attention: against its formula, its gradients against differences, and the same bits whatever is
 * beside a sample, and however a sequence is gone through. */
#include "check.h"
#include "workspace.h"

typedef struct {
    size_t positions, features, heads;
    bool causal;
} geometry;

static const geometry geometries[] = {
    {1, 1, 1, false}, {1, 6, 2, true},  {2, 3, 1, true},   {7, 4, 4, false},
    {8, 8, 2, true},  {9, 6, 2, false}, {13, 10, 1, true}, {26, 12, 4, true},
};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

static pycnn_layer_spec spec_of(const geometry *g, size_t window)
{
    return (pycnn_layer_spec){
        .kind = PYCNN_ATTENTION,
        .shape = {1, g->positions, g->features},
        .heads = g->heads,
        .causal = g->causal,
        .window = window,
    };
}

static void say(bool good, const geometry *g)
{
    if (!CHECK(good)) {
        printf("    %zu positions of %zu, %zu heads, causal %d\n", g->positions, g->features,
               g->heads, g->causal);
    }
}

/* out[features] = W x + b at one position; W and b are the n-th of theta's. */
static void project(long double *out, const geometry *g, const double *theta, size_t n,
                    const long double *x)
{
    const size_t f = g->features;
    for (size_t j = 0; j < f; j++) {
        out[j] = theta[4 * f * f + n * f + j];
        for (size_t k = 0; k < f; k++) {
            out[j] += theta[(n * f + j) * f + k] * x[k];
        }
    }
}

/* One sample, by the definition. */
static void attend(double *z, const geometry *g, const double *theta, const double *x,
                   size_t length)
{
    enum { MOST = 26 * 12 };
    static long double qkv[3][MOST], row[MOST];
    const size_t f = g->features, d = f / g->heads;
    for (size_t t = 0; t < g->positions; t++) {
        for (size_t k = 0; k < f; k++) {
            row[k] = x[t * f + k];
        }
        for (size_t n = 0; n < 3; n++) {
            project(qkv[n] + t * f, g, theta, n, row);
        }
    }
    for (size_t i = 0; i < g->positions; i++) {
        long double attended[12] = {0}, out[12], p[26];
        const size_t seen = g->causal && i < length ? i + 1 : length;
        for (size_t h = 0; h < g->heads; h++) {
            long double whole = 0;
            for (size_t j = 0; j < seen; j++) {
                long double s = 0;
                for (size_t e = h * d; e < (h + 1) * d; e++) {
                    s += qkv[0][i * f + e] * qkv[1][j * f + e];
                }
                p[j] = expl(s / sqrtl((long double)d));
                whole += p[j];
            }
            for (size_t e = h * d; e < (h + 1) * d; e++) {
                for (size_t j = 0; j < seen; j++) {
                    attended[e] += p[j] / whole * qkv[2][j * f + e];
                }
            }
        }
        project(out, g, theta, 3, attended);
        for (size_t j = 0; j < f; j++) {
            z[i * f + j] = (double)out[j];
        }
    }
}

static void test_positions_attend_to_others(void)
{
    enum { ROWS = 53 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t numbers = g->positions * g->features;
        const pycnn_layer_spec layer = spec_of(g, 0);
        pycnn_network *net = create(numbers, &layer, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        CHECK(size == 4 * g->features * (g->features + 1));
        double *theta = random_doubles(1, size), *x = random_doubles(2, ROWS * numbers);
        double *expected = doubles(ROWS * numbers), *y = doubles(ROWS * numbers);
        double *other = doubles(ROWS * numbers);
        pycnn_predictor *predictor;
        CHECK(pycnn_predictor_create(&predictor, net, theta, size) == PYCNN_OK);
        for (size_t i = 0; i < ROWS; i++) {
            const size_t at = i * numbers;
            attend(expected + at, g, theta, x + at, g->positions);
            CHECK(pycnn_predictor_run(predictor, other + at, x + at) == PYCNN_OK);
        }
        pycnn_predictor_destroy(predictor);
        say(agree(other, expected, ROWS * numbers, 1e-14), g);
        for (size_t batch = 1; batch <= ROWS; batch += 4) {
            pycnn_workspace *ws = workspace(net, batch, PYCNN_FORWARD);
            CHECK(pycnn_predict(y, net, ws, theta, size, x, ROWS) == PYCNN_OK);
            say(same_bits(y, other, ROWS * numbers), g);
            pycnn_workspace_destroy(ws);
        }
        free(theta), free(x), free(expected), free(y), free(other);
        pycnn_network_destroy(net);
    }
}

/* Two, one on the other. */
static pycnn_network *two_layers(const geometry *g)
{
    pycnn_layer_spec layers[] = {spec_of(g, 0), spec_of(g, 0)};
    layers[0].l2 = 0.125;
    return create(g->positions * g->features, layers, 2, PYCNN_MSE);
}

static double loss_of(const pycnn_network *net, pycnn_workspace *ws, double *grad,
                      const double *theta, size_t size, const pycnn_dataset *data)
{
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, data, NULL) == PYCNN_OK);
    return totals.loss / totals.weight;
}

/* Along directions in which every parameter has a part. */
static void test_gradients_are_those_of_differences(void)
{
    enum { ROWS = 11, DIRECTIONS = 8 };
    const double h = 1e-6;
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t numbers = g->positions * g->features;
        pycnn_layer_spec layers[] = {spec_of(g, 0), spec_of(g, 0)};
        pycnn_network *net = create(numbers, layers, 2, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(3, size), *grad = doubles(size), *moved = doubles(size);
        double *x = random_doubles(4, ROWS * numbers), *y = random_doubles(5, ROWS * numbers);
        double *unused = doubles(size);
        for (size_t rows = 1; rows <= ROWS; rows += 10) {
            const pycnn_dataset data = {.rows = rows, .x = x, .y = y};
            pycnn_workspace *ws = workspace(net, rows, PYCNN_BACKWARD);
            double slopes[DIRECTIONS] = {0}, found[DIRECTIONS];
            loss_of(net, ws, grad, theta, size, &data);
            for (size_t d = 0; d < DIRECTIONS; d++) {
                double *direction = random_doubles(7 + d, size), losses[2];
                for (size_t side = 0; side < 2; side++) {
                    for (size_t i = 0; i < size; i++) {
                        moved[i] = theta[i] + (side == 0 ? -h : h) * direction[i];
                    }
                    losses[side] = loss_of(net, ws, unused, moved, size, &data);
                }
                for (size_t i = 0; i < size; i++) {
                    slopes[d] += grad[i] * direction[i];
                }
                found[d] = (losses[1] - losses[0]) / (2 * h);
                free(direction);
            }
            say(agree(slopes, found, DIRECTIONS, 1e-8), g);
            pycnn_workspace_destroy(ws);
        }
        free(theta), free(grad), free(moved), free(x), free(y), free(unused);
        pycnn_network_destroy(net);
    }
}

static void test_a_samples_deltas_do_not_depend_on_those_beside_it(void)
{
    enum { ROWS = 29 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t numbers = g->positions * g->features;
        pycnn_network *net = two_layers(g);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(3, size), *first = NULL;
        double *x = random_doubles(4, ROWS * numbers), *y = random_doubles(5, ROWS * numbers);
        const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
        static const size_t rooms[] = {1, 3, 8, 25, ROWS};
        for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
            pycnn_workspace *ws = workspace(net, rooms[r], PYCNN_TRACE);
            double *gradient = doubles(ROWS * numbers);
            CHECK(pycnn_input_gradient(gradient, net, ws, theta, size, &data) == PYCNN_OK);
            first = first == NULL ? copy_doubles(gradient, ROWS * numbers) : first;
            say(same_bits(first, gradient, ROWS * numbers), g);
            free(gradient);
            pycnn_workspace_destroy(ws);
        }
        free(first), free(theta), free(x), free(y);
        pycnn_network_destroy(net);
    }
}

static void test_neither_threads_nor_slices_change_a_bit(void)
{
    enum { ROWS = 131 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t numbers = g->positions * g->features;
        pycnn_network *net = two_layers(g);
        const size_t size = pycnn_network_theta_size(net);
        double *x = random_doubles(4, ROWS * numbers), *y = random_doubles(5, ROWS * numbers);
        const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
        static const size_t batches[] = {1, 129};
        for (size_t b = 0; b < 2; b++) {
            double *first = NULL;
            for (size_t threads = 1; threads <= 7; threads += 3) {
                pycnn_threads *pool = NULL;
                CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
                pycnn_workspace *ws = workspace(net, batches[b] * threads, PYCNN_BACKWARD);
                pycnn_workspace_set_threads(ws, pool);
                double *theta = random_doubles(3, size);
                pycnn_training state = {
                    .epochs = 1, .batch_size = batches[b], .learning_rate = 0.0001};
                size_t steps;
                CHECK(pycnn_train(&steps, theta, size, &state, net, ws, &data, 9) == PYCNN_OK);
                first = first == NULL ? copy_doubles(theta, size) : first;
                say(same_bits(first, theta, size), g);
                free(theta);
                pycnn_workspace_destroy(ws);
                pycnn_threads_destroy(pool);
            }
            free(first);
        }
        free(x), free(y);
        pycnn_network_destroy(net);
    }
}

/* ---------------------------------------------------------------- lengths, parts */

/* y[rows,.] of a network of one layer; lengths[rows], or NULL, and state[state_count,stride] of a
 * slice that has them all, or NULL. */
static void predict_parts(double *y, const pycnn_network *net, const double *theta, const double *x,
                          size_t rows, const double *lengths, double *state)
{
    const size_t numbers = pycnn_network_inputs(net);
    pycnn_workspace *ws = workspace(net, rows, PYCNN_FORWARD);
    double padded[64] = {0};
    pycnn_workspace_partition(ws, rows);
    CHECK(ws->slice_count == 1);
    layer_io *io = io_of(ws, 0, 0);
    for (size_t s = 0; s < rows && lengths != NULL; s++) {
        padded[s] = lengths[s];
    }
    io->lengths = lengths == NULL ? NULL : padded;
    io->state = state;
    for (size_t k = 0; k < numbers; k++) {
        for (size_t s = 0; s < rows; s++) {
            ws->slices[0].input[k * io->stride + s] = x[s * numbers + k];
        }
    }
    net->layers[0].ops->forward(&net->layers[0], theta, io, 1);
    for (size_t k = 0; k < numbers; k++) {
        for (size_t s = 0; s < rows; s++) {
            y[s * numbers + k] = io->output[k * io->stride + s];
        }
    }
    pycnn_workspace_destroy(ws);
}

/* ... has the bits that it has in a network of its length. */
static void test_nobody_sees_what_a_sample_does_not_have(void)
{
    enum { ROWS = 7 };
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        const size_t numbers = g->positions * g->features;
        const pycnn_layer_spec layer = spec_of(g, 0);
        pycnn_network *net = create(numbers, &layer, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(1, size), *x = random_doubles(2, ROWS * numbers);
        double *y = doubles(ROWS * numbers), *short_y = doubles(numbers), lengths[ROWS];
        for (size_t rows = 1; rows <= ROWS; rows += ROWS - 1) {
            for (size_t s = 0; s < rows; s++) {
                lengths[s] = (double)(1 + (5 * s + g->positions / 2) % g->positions);
            }
            predict_parts(y, net, theta, x, rows, lengths, NULL);
            for (size_t s = 0; s < rows; s++) {
                geometry cut = *g;
                cut.positions = (size_t)lengths[s];
                const pycnn_layer_spec alone = spec_of(&cut, 0);
                const size_t count = cut.positions * cut.features;
                pycnn_network *short_net = create(count, &alone, 1, PYCNN_MSE);
                predict_parts(short_y, short_net, theta, x + s * numbers, 1, NULL, NULL);
                say(same_bits(short_y, y + s * numbers, count), g);
                attend(short_y, g, theta, x + s * numbers, cut.positions);
                say(agree(y + s * numbers, short_y, numbers, 1e-13), g);
                pycnn_network_destroy(short_net);
            }
        }
        free(theta), free(x), free(y), free(short_y);
        pycnn_network_destroy(net);
    }
}

/* x[rows,positions,features]: some positions of each row from `first` on. */
static void take_part(double *part, const double *x, size_t rows, size_t all, size_t first,
                      size_t count)
{
    for (size_t s = 0; s < rows; s++) {
        memcpy(part + s * count, x + s * all + first, count * sizeof *part);
    }
}

/* In parts of one, or of three and five and so on: the bits of the whole. */
static void test_a_sequence_is_gone_through_in_parts(void)
{
    enum { ROWS = 5, STRIDE = 8 };
    static const size_t parts[][2] = {{1, 1}, {3, 5}, {2, 1}};
    for (const geometry *g = geometries; g < geometries + GEOMETRIES; g++) {
        if (!g->causal) {
            continue;
        }
        const size_t numbers = g->positions * g->features, f = g->features;
        const pycnn_layer_spec layer = spec_of(g, 0);
        pycnn_network *net = create(numbers, &layer, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(1, size), *x = random_doubles(2, ROWS * numbers);
        double *whole = doubles(ROWS * numbers), *y = doubles(ROWS * numbers);
        double *part = doubles(ROWS * numbers);
        for (size_t i = 0; i < 2 * sizeof parts / sizeof *parts; i++) {
            const size_t rows = i % 2 == 0 ? 1 : ROWS;
            double *state = doubles((2 * numbers + 1) * STRIDE);
            memset(state, 0, (2 * numbers + 1) * STRIDE * sizeof *state);
            predict_parts(whole, net, theta, x, rows, NULL, NULL);
            for (size_t at = 0, turn = 0, some; at < g->positions; at += some, turn++) {
                some = parts[i / 2][turn % 2];
                some = some < g->positions - at ? some : g->positions - at;
                geometry less = *g;
                less.positions = some;
                const pycnn_layer_spec stepping = spec_of(&less, g->positions);
                pycnn_network *step = create(some * f, &stepping, 1, PYCNN_MSE);
                CHECK(step->layers[0].state_count == 2 * numbers + 1);
                take_part(part, x, rows, numbers, at * f, some * f);
                predict_parts(y, step, theta, part, rows, NULL, state);
                take_part(part, whole, rows, numbers, at * f, some * f);
                say(same_bits(y, part, rows * some * f), g);
                pycnn_network_destroy(step);
            }
            free(state);
        }
        free(theta), free(x), free(whole), free(y), free(part);
        pycnn_network_destroy(net);
    }
}

/* Samples that have seen more or less before; and what drops out of a full window. */
static void test_states_of_different_samples_side_by_side(void)
{
    enum { F = 6, WINDOW = 5, ROWS = 3, STEPS = 9, STRIDE = 8, STATE = 2 * WINDOW * F + 1 };
    const geometry one = {1, F, 2, true};
    const pycnn_layer_spec stepping = spec_of(&one, WINDOW);
    pycnn_network *step = create(F, &stepping, 1, PYCNN_MSE);
    const size_t size = pycnn_network_theta_size(step);
    double *theta = random_doubles(1, size), *x = random_doubles(2, (STEPS + ROWS) * F);
    double states[STATE * STRIDE] = {0}, alone[ROWS][STATE] = {{0}}, y[ROWS * F], expected[F];
    const size_t stride = pycnn_kernels_find(5)->lanes == 1 ? ROWS : pycnn_kernels_find(5)->lanes;
    const size_t apart = (ROWS + stride - 1) / stride * stride;
    for (size_t s = 0; s < ROWS; s++) { /* the s-th begins s positions earlier */
        for (size_t t = 0; t < s; t++) {
            predict_parts(y, step, theta, x + t * F, 1, NULL, alone[s]);
        }
        for (size_t n = 0; n < STATE; n++) {
            states[n * apart + s] = alone[s][n];
        }
    }
    for (size_t t = 0; t < STEPS; t++) {
        double part[ROWS * F];
        for (size_t s = 0; s < ROWS; s++) {
            memcpy(part + s * F, x + (t + s) * F, F * sizeof *part);
        }
        predict_parts(y, step, theta, part, ROWS, NULL, states);
        for (size_t s = 0; s < ROWS; s++) {
            predict_parts(expected, step, theta, part + s * F, 1, NULL, alone[s]);
            CHECK(same_bits(expected, y + s * F, F));
            const size_t seen = t + s + 1 < WINDOW ? t + s + 1 : WINDOW;
            CHECK(alone[s][STATE - 1] == (double)seen && states[(STATE - 1) * apart + s] == seen);
            /* as if the sequence were no longer than the window */
            geometry window = {seen, F, 2, true};
            const pycnn_layer_spec layer = spec_of(&window, 0);
            pycnn_network *net = create(seen * F, &layer, 1, PYCNN_MSE);
            double whole[WINDOW * F];
            predict_parts(whole, net, theta, x + (t + s + 1 - seen) * F, 1, NULL, NULL);
            CHECK(same_bits(expected, whole + (seen - 1) * F, F));
            pycnn_network_destroy(net);
        }
    }
    free(theta), free(x);
    pycnn_network_destroy(step);
}

/* ---------------------------------------------------------------- what cannot be */

static void test_heads_and_sizes_that_do_not_fit(void)
{
    const size_t half = PTRDIFF_MAX, part = (size_t)1 << (sizeof(size_t) * 4 - 1);
    const struct {
        size_t inputs;
        pycnn_layer_spec layer;
        int status;
    } cases[] = {
        {6, {.shape = {1, 2, 3}, .heads = 0}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 3}, .heads = 2}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 4}, .heads = 1}, PYCNN_ERROR_SIZE},
        {6, {.shape = {2, 1, 3}, .heads = 1}, PYCNN_ERROR_SIZE},
        {6, {.heads = 1}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 3}, .heads = 3, .window = 1}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 3}, .heads = 3, .window = half}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 3}, .heads = 3, .activation = PYCNN_TANH}, PYCNN_ERROR_ARGUMENT},
        {6, {.shape = {1, 2, 3}, .heads = 3, .l2 = -1}, PYCNN_ERROR_RANGE},
        {part, {.shape = {1, 1, part}, .heads = 1}, PYCNN_ERROR_SIZE},
        {half, {.shape = {1, half, 1}, .heads = 1}, PYCNN_ERROR_SIZE},
        {6, {.shape = {1, 2, 3}, .heads = 3, .window = 2}, PYCNN_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pycnn_layer_spec layer = cases[i].layer;
        pycnn_network *net;
        layer.kind = PYCNN_ATTENTION;
        const int status = pycnn_network_create(&net, cases[i].inputs, &layer, 1, PYCNN_MSE, 0);
        if (!CHECK(status == cases[i].status)) {
            printf("    case %zu: %d\n", i, status);
        }
        pycnn_network_destroy(net);
    }
}

static void test_rows_of_all_weights_are_held_to_their_norm(void)
{
    enum { F = 4, INPUTS = 3 * F };
    const pycnn_layer_spec layer = {
        .kind = PYCNN_ATTENTION, .shape = {1, 3, F}, .heads = 2, .max_norm = 0.5};
    problem p = make_problem(2, 9, INPUTS, &layer, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, 9, PYCNN_BACKWARD);
    pycnn_totals totals;
    double *theta = trained(
        &p, ws, (pycnn_training){.epochs = 1, .batch_size = 9, .learning_rate = 0.1}, &totals);
    for (size_t unit = 0; unit < 4 * F; unit++) {
        double square = 0;
        for (size_t k = 0; k < F; k++) {
            square += theta[unit * F + k] * theta[unit * F + k];
        }
        CHECK(sqrt(square) < 0.5 * (1 + 1e-15));
    }
    free(theta);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

const test attention_tests[] = {
    FOR_EACH_SET("positions attend to others", test_positions_attend_to_others),
    FOR_EACH_SET("gradients are those of differences, with attention",
                 test_gradients_are_those_of_differences),
    FOR_EACH_SET("a sample's deltas do not depend on those beside it",
                 test_a_samples_deltas_do_not_depend_on_those_beside_it),
    FOR_EACH_SET("neither threads nor slices change a bit, with attention",
                 test_neither_threads_nor_slices_change_a_bit),
    FOR_EACH_SET("nobody sees what a sample does not have",
                 test_nobody_sees_what_a_sample_does_not_have),
    FOR_EACH_SET("a sequence is gone through in parts", test_a_sequence_is_gone_through_in_parts),
    FOR_EACH_SET("states of different samples side by side",
                 test_states_of_different_samples_side_by_side),
    ONCE("heads and sizes that do not fit", test_heads_and_sizes_that_do_not_fit),
    FOR_EACH_SET("rows of all weights are held to their norm",
                 test_rows_of_all_weights_are_held_to_their_norm),
    {0},
};
