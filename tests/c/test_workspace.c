/* Workspaces: their size changes no bit; those that are refused. */
#include "check.h"
#include "pass.h"

static void test_a_small_workspace_gives_the_same_bits(void)
{
    enum { ROWS = 33, OUTPUTS = 3, EPOCHS = 2 };
    problem p = classifier(7, ROWS);
    p.data.weight = p.weight;
    double output[2][ROWS * OUTPUTS], *grad[2];
    pycnn_totals totals[2][2], epochs[2][EPOCHS];
    const pycnn_training plan = {.epochs = EPOCHS, .batch_size = 20, .learning_rate = 0.1};
    double *theta[2] = {NULL, NULL};
    for (size_t capacity = ROWS; capacity > 0; capacity--) {
        const int i = capacity != ROWS; /* 0: the whole data at once, which the rest must equal */
        pycnn_workspace *ws = workspace(p.net, capacity, PYCNN_BACKWARD);
        grad[i] = doubles(p.parameters);
        CHECK(pycnn_predict(output[i], p.net, ws, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
        CHECK(pycnn_evaluate(&totals[i][0], p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
        CHECK(pycnn_gradients(&totals[i][1], grad[i], p.net, ws, p.theta, p.theta_size, &p.data,
                              NULL) == PYCNN_OK);
        theta[i] = trained(&p, ws, plan, epochs[i]);
        if (i == 1) {
            CHECK(same_bits(output[0], output[1], ROWS * OUTPUTS));
            CHECK(same_bits(totals[0], totals[1], 6));
            CHECK(same_bits(grad[0], grad[1], p.parameters));
            CHECK(same_bits(theta[0], theta[1], p.parameters));
            CHECK(same_bits(epochs[0], epochs[1], 3 * EPOCHS));
            free(grad[1]), free(theta[1]);
        }
        pycnn_workspace_destroy(ws);
    }
    CHECK(same_bits(&totals[0][0], &totals[0][1], 3)); /* evaluate and gradients agree too */
    free(grad[0]), free(theta[0]);
    free_problem(&p);
}

static void test_workspaces_that_cannot_be(void)
{
    problem p = classifier(81, 2);
    pycnn_workspace *ws = (pycnn_workspace *)&not_null; /* must become NULL */
    CHECK(pycnn_workspace_create(NULL, p.net, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, NULL, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(ws == NULL);
    CHECK(pycnn_workspace_create(&ws, p.net, 1, -1) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, p.net, 1, PYCNN_TRACE + 1) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, p.net, 0, PYCNN_FORWARD) == PYCNN_ERROR_SIZE);
    for (int shift = 0; shift < 8; shift++) {
        for (int mode = PYCNN_FORWARD; mode <= PYCNN_TRACE; mode++) {
            const size_t batch = SIZE_MAX >> shift;
            CHECK(pycnn_workspace_create(&ws, p.net, batch, mode) == PYCNN_ERROR_SIZE);
            CHECK(ws == NULL);
        }
    }
    pycnn_workspace_destroy(NULL);
    free_problem(&p);
}

/* Where the first layer has more units than there are samples, threads share out its units. */
static void test_shared_units_change_no_bit(void)
{
    static const struct {
        size_t units, batch;
        int activation;
    } cases[] = {{128, 32, PYCNN_RELU}, {136, 40, PYCNN_GELU}, {32, 80, PYCNN_TANH}};
    enum { ROWS = 90, INPUTS = 150 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pycnn_layer_spec layers[] = {DENSE(cases[i].activation, cases[i].units),
                                           DENSE(PYCNN_SOFTMAX, 3)};
        problem p = make_problem(i, ROWS, INPUTS, layers, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
        const pycnn_training plan = {
            .epochs = 2, .batch_size = cases[i].batch, .learning_rate = 0.1};
        double *alone = NULL;
        for (size_t threads = 1; threads <= 7; threads += 1 + threads / 3 * 3) {
            pycnn_threads *pool = NULL;
            pycnn_totals totals[2] = {{0}};
            pycnn_workspace *ws = workspace(p.net, cases[i].batch, PYCNN_BACKWARD);
            CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
            pycnn_workspace_set_threads(ws, pool);
            pycnn_workspace_partition(ws, cases[i].batch);
            CHECK(threads > 3 || ws->by_units == (threads > 1 && cases[i].units > cases[i].batch));
            double *theta = trained(&p, ws, plan, totals);
            alone = alone == NULL ? theta : alone;
            CHECK(same_bits(theta, alone, p.parameters));
            if (theta != alone) {
                free(theta);
            }
            pycnn_workspace_destroy(ws);
            pycnn_threads_destroy(pool);
        }
        free(alone);
        free_problem(&p);
    }
}

/* Where a mini-batch leaves the caches it goes through a small network in pieces. */
static void test_pieces_that_stay_in_cache_change_no_bit(void)
{
    enum { ROWS = 900, INPUTS = 33 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_GELU, 60), DENSE(PYCNN_SOFTMAX, 3)};
    problem p = make_problem(5, ROWS, INPUTS, layers, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
    const pycnn_training plan = {.epochs = 2, .batch_size = ROWS, .learning_rate = 0.1};
    p.data.weight = p.weight;
    double *theta[2], *grad[2];
    pycnn_totals totals[2][2] = {{{0}}}, sums[2];
    for (int whole = 0; whole < 2; whole++) { /* a workspace for traces leaves all together */
        pycnn_workspace *ws = workspace(p.net, ROWS, whole ? PYCNN_TRACE : PYCNN_BACKWARD);
        CHECK((pycnn_samples_together(ws, ROWS) == ROWS) == whole);
        theta[whole] = trained(&p, ws, plan, totals[whole]);
        grad[whole] = doubles(p.parameters);
        CHECK(pycnn_gradients(&sums[whole], grad[whole], p.net, ws, p.theta, p.theta_size, &p.data,
                              NULL) == PYCNN_OK);
        pycnn_workspace_destroy(ws);
    }
    CHECK(same_bits(theta[0], theta[1], p.parameters) && same_bits(grad[0], grad[1], p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * 2) && same_bits(&sums[0], &sums[1], 3));
    free(theta[0]), free(theta[1]), free(grad[0]), free(grad[1]);
    free_problem(&p);
}

const test workspace_tests[] = {
    FOR_EACH_SET("a small workspace gives the same bits",
                 test_a_small_workspace_gives_the_same_bits),
    FOR_EACH_SET("pieces that stay in cache change no bit",
                 test_pieces_that_stay_in_cache_change_no_bit),
    FOR_EACH_SET("shared units change no bit", test_shared_units_change_no_bit),
    FOR_EACH_SET("workspaces that cannot be", test_workspaces_that_cannot_be),
    {0},
};
