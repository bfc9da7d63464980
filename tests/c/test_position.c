/* The position embedding, learned or of waves. */
#include "check.h"
#include "workspace.h"

enum { T = 7, F = 5, NUMBERS = T * F, ROWS = 37 };

static pycnn_layer_spec spec_of(size_t positions, size_t window, bool waves)
{
    return (pycnn_layer_spec){.kind = PYCNN_POSITION_EMBEDDING,
                              .shape = {1, positions, F},
                              .window = window,
                              .sinusoidal = waves};
}

static void test_what_is_added_follows_from_the_position(void)
{
    for (int waves = 0; waves < 2; waves++) {
        const pycnn_layer_spec layer = spec_of(T, 0, waves);
        pycnn_network *net = create(NUMBERS, &layer, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(1, NUMBERS), *x = random_doubles(2, ROWS * NUMBERS);
        double *y = doubles(ROWS * NUMBERS), one[NUMBERS];
        pycnn_workspace *ws = workspace(net, ROWS, PYCNN_FORWARD);
        pycnn_predictor *predictor;
        CHECK(size == (waves ? 0 : NUMBERS));
        CHECK(pycnn_predict(y, net, ws, theta, size, x, ROWS) == PYCNN_OK);
        CHECK(pycnn_predictor_create(&predictor, net, theta, size) == PYCNN_OK);
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t n = 0; n < NUMBERS; n++) {
                const double angle = (double)(n / F) / pow(10000, (double)(n % F / 2 * 2) / F);
                const double wave = n % F % 2 == 0 ? sin(angle) : cos(angle);
                const double sum = x[i * NUMBERS + n] + (waves ? wave : theta[n]);
                CHECK(fabs(y[i * NUMBERS + n] - sum) <= (waves ? 1e-14 : 0));
            }
            CHECK(pycnn_predictor_run(predictor, one, x + i * NUMBERS) == PYCNN_OK);
            CHECK(same_bits(one, y + i * NUMBERS, NUMBERS));
        }
        pycnn_predictor_destroy(predictor);
        free(theta), free(x), free(y);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
    }
}

/* Of thousands of positions, where an angle is of many turns. */
static void test_waves_are_exact_far_away(void)
{
    enum { FAR = 20000 };
    const pycnn_layer_spec layer = spec_of(FAR, 0, true);
    pycnn_network *net = create(FAR * F, &layer, 1, PYCNN_MSE);
    double *x = doubles(FAR * F), *y = doubles(FAR * F), worst = 0, theta = 0;
    pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
    memset(x, 0, FAR * F * sizeof *x);
    CHECK(pycnn_predict(y, net, ws, &theta, 0, x, 1) == PYCNN_OK);
    for (size_t n = 0; n < FAR * F; n++) {
        const long double angle =
            (long double)(n / F) / powl(10000, (long double)(n % F / 2 * 2) / F);
        const double wave = (double)(n % F % 2 == 0 ? sinl(angle) : cosl(angle));
        worst = fmax(worst, fabs(y[n] - wave) / (1 + (double)angle));
    }
    CHECK(worst < 2e-15); /* of the angle */
    free(x), free(y);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* dL/dW of the mean of 1/2 (x + W - y)^2 over the samples, however many are taken together. */
static void test_the_gradient_is_a_sum_over_samples(void)
{
    const pycnn_layer_spec layer = spec_of(T, T + 2, false);
    pycnn_network *net = create(NUMBERS, &layer, 1, PYCNN_MSE);
    const size_t size = pycnn_network_theta_size(net);
    double *theta = random_doubles(1, size), *x = random_doubles(2, ROWS * NUMBERS);
    double *y = random_doubles(3, ROWS * NUMBERS), *grad = doubles(size), *first = NULL;
    CHECK(size == NUMBERS + 2 * F);
    for (size_t rows = 1; rows <= ROWS; rows += 12) {
        const pycnn_dataset data = {.rows = rows, .x = x, .y = y};
        pycnn_workspace *ws = workspace(net, rows, PYCNN_BACKWARD);
        pycnn_totals totals;
        CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, &data, NULL) == PYCNN_OK);
        for (size_t n = 0; n < size; n++) {
            double sum = 0;
            for (size_t i = 0; i < rows && n < NUMBERS; i++) {
                sum += x[i * NUMBERS + n] + theta[n] - y[i * NUMBERS + n];
            }
            CHECK(fabs(grad[n] - sum / (double)(rows * T)) < 1e-14); /* a loss a position */
        }
        pycnn_workspace_destroy(ws);
    }
    for (size_t threads = 1; threads <= 4; threads++) {
        const pycnn_dataset data = {.rows = ROWS, .x = x, .y = y};
        pycnn_threads *pool = NULL;
        pycnn_workspace *ws = workspace(net, ROWS, PYCNN_BACKWARD);
        CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
        pycnn_workspace_set_threads(ws, pool);
        double *moved = copy_doubles(theta, size);
        pycnn_training state = {.epochs = 2, .batch_size = 17, .learning_rate = 0.1};
        size_t steps;
        CHECK(pycnn_train(&steps, moved, size, &state, net, ws, &data, SIZE_MAX) == PYCNN_OK);
        first = first == NULL ? copy_doubles(moved, size) : first;
        CHECK(same_bits(first, moved, size));
        free(moved);
        pycnn_workspace_destroy(ws);
        pycnn_threads_destroy(pool);
    }
    free(first), free(theta), free(x), free(y), free(grad);
    pycnn_network_destroy(net);
}

/* Two samples, the second of which has seen one position before. */
static void test_positions_go_on_from_a_state(void)
{
    for (int waves = 0; waves < 2; waves++) {
        const pycnn_layer_spec layer = spec_of(T, 0, waves), stepping = spec_of(1, T, waves);
        pycnn_network *net = create(NUMBERS, &layer, 1, PYCNN_MSE);
        pycnn_network *step = create(F, &stepping, 1, PYCNN_MSE);
        const size_t size = pycnn_network_theta_size(net);
        double *theta = random_doubles(1, NUMBERS), zeros[NUMBERS] = {0}, whole[NUMBERS];
        double state[8] = {0, 1};
        pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
        pycnn_workspace *parts = workspace(step, 2, PYCNN_FORWARD);
        CHECK(pycnn_predict(whole, net, ws, theta, size, zeros, 1) == PYCNN_OK);
        CHECK(pycnn_network_theta_size(step) == size && step->layers[0].state_count == 1);
        pycnn_workspace_partition(parts, 2);
        layer_io *io = io_of(parts, 0, 0);
        io->state = state;
        for (size_t t = 0; t < T + 2; t++) { /* beyond the last one that is the row */
            step->layers[0].ops->forward(&step->layers[0], theta, io, 1);
            for (size_t s = 0; s < 2; s++) {
                for (size_t j = 0; j < F; j++) {
                    const size_t row = t + s < T ? t + s : T - 1;
                    CHECK(same_bits(&io->output[j * io->stride + s], &whole[row * F + j], 1));
                }
            }
        }
        CHECK(state[0] == T + 2 && state[1] == T + 3);
        free(theta);
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(parts);
        pycnn_network_destroy(net), pycnn_network_destroy(step);
    }
}

static void test_positions_that_do_not_fit(void)
{
    const struct {
        pycnn_layer_spec layer;
        int status;
    } cases[] = {
        {{.shape = {1, 2, 2}}, PYCNN_ERROR_SIZE},
        {{.shape = {2, 1, 3}}, PYCNN_ERROR_SIZE},
        {{.shape = {1, 2, 3}, .window = 1}, PYCNN_ERROR_SIZE},
        {{.shape = {1, 2, 3}, .window = PTRDIFF_MAX}, PYCNN_ERROR_SIZE},
        {{.shape = {1, 2, 3}, .l1 = -1}, PYCNN_ERROR_RANGE},
        {{.shape = {1, 2, 3}, .window = 2, .sinusoidal = 1, .max_norm = 1}, PYCNN_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pycnn_layer_spec layer = cases[i].layer;
        pycnn_network *net;
        layer.kind = PYCNN_POSITION_EMBEDDING;
        CHECK(pycnn_network_create(&net, 6, &layer, 1, PYCNN_MSE, 0) == cases[i].status);
        pycnn_network_destroy(net);
    }
}

const test position_tests[] = {
    FOR_EACH_SET("what is added follows from the position",
                 test_what_is_added_follows_from_the_position),
    ONCE("waves are exact far away", test_waves_are_exact_far_away),
    FOR_EACH_SET("the gradient of positions is a sum over samples",
                 test_the_gradient_is_a_sum_over_samples),
    FOR_EACH_SET("positions go on from a state", test_positions_go_on_from_a_state),
    ONCE("positions that do not fit", test_positions_that_do_not_fit),
    {0},
};
