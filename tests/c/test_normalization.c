/* Normalization: its gradients, in training and in prediction, and its statistics. */
#include "check.h"

#define BATCH_NORM(f, n) \
    {.kind = PYCNN_BATCH_NORM, .activation = (f), .units = (n), .epsilon = 1e-5, .momentum = 0.1}
#define LAYER_NORM(f, n) \
    {.kind = PYCNN_LAYER_NORM, .activation = (f), .units = (n), .epsilon = 1e-5}

/* With a key as in training, where the mini-batch's own moments count. */
static double loss_and_gradient(double *grad, const problem *p, pycnn_workspace *ws,
                                const double *theta, const uint64_t *key)
{
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p->net, ws, theta, p->theta_size, &p->data, key) ==
          PYCNN_OK);
    return totals.loss / totals.weight;
}

static void check_gradient(const pycnn_layer_spec *layers, size_t depth, const uint64_t *key)
{
    enum { ROWS = 13 };
    const double h = 1e-5;
    problem p = make_problem(171, ROWS, 4, layers, depth, PYCNN_MSE);
    const size_t count = p.parameters + pycnn_network_statistic_count(p.net);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    double *theta = random_doubles(172, count), *grad = doubles(p.parameters);
    double *numeric = doubles(p.parameters), *unused = doubles(p.parameters);
    for (size_t i = p.parameters; i < count; i++) {
        theta[i] += 1.5; /* a variance is positive */
    }
    p.data.weight = p.weight;
    loss_and_gradient(grad, &p, ws, theta, key);
    CHECK(largest(grad, p.parameters) > 1e-2);
    for (size_t i = 0; i < p.parameters; i++) {
        const double value = theta[i];
        theta[i] = value + h;
        const double above = loss_and_gradient(unused, &p, ws, theta, key);
        theta[i] = value - h;
        numeric[i] = (above - loss_and_gradient(unused, &p, ws, theta, key)) / (2 * h);
        theta[i] = value;
    }
    CHECK(agree(grad, numeric, p.parameters, 2e-8));
    free(theta), free(grad), free(numeric), free(unused);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_gradients_meet_central_differences(void)
{
    static const int smooth[] = {PYCNN_LINEAR, PYCNN_TANH, PYCNN_SOFTMAX, PYCNN_GELU};
    static const uint64_t key = 9;
    for (size_t i = 0; i < sizeof smooth / sizeof *smooth; i++) {
        const pycnn_layer_spec stacks[][3] = {
            {BATCH_NORM(smooth[i], 4), DENSE(PYCNN_TANH, 5), DENSE(PYCNN_LINEAR, 3)},
            {DENSE(PYCNN_TANH, 5), BATCH_NORM(smooth[i], 5), LAYER_NORM(smooth[i], 5)},
            {DENSE(PYCNN_TANH, 3), LAYER_NORM(PYCNN_LINEAR, 3), BATCH_NORM(smooth[i], 3)}};
        for (size_t s = 0; s < sizeof stacks / sizeof *stacks; s++) {
            check_gradient(stacks[s], 3, &key);
            check_gradient(stacks[s], 3, NULL);
        }
    }
}

static void test_statistics_follow_mini_batches_of_training_alone(void)
{
    enum { ROWS = 8, UNITS = 3 };
    static const uint64_t key = 7;
    const pycnn_layer_spec layers[] = {BATCH_NORM(PYCNN_LINEAR, UNITS), DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(151, ROWS, UNITS, layers, 2, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    const double before[2 * UNITS] = {1, 2, 3, 4, 5, 6};
    double statistics[2 * UNITS], *grad = doubles(p.parameters);
    double *theta = doubles(p.parameters + 2 * UNITS);
    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    memcpy(theta + p.parameters, before, sizeof before);
    memcpy(statistics, before, sizeof before);
    memset(grad, 0, p.parameters * sizeof *grad);
    pycnn_totals totals = {0};
    CHECK(pycnn_gradient_sums(&totals, grad, statistics, p.net, ws, theta, p.theta_size, &p.data,
                              NULL, 0) == PYCNN_OK);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, p.net, ws, theta, p.theta_size, &p.data, &key,
                              0) == PYCNN_OK);
    memset(p.weight, 0, ROWS * sizeof *p.weight);
    p.data.weight = p.weight;
    CHECK(pycnn_gradient_sums(&totals, grad, statistics, p.net, ws, theta, p.theta_size, &p.data,
                              &key, 0) == PYCNN_OK);
    CHECK(same_bits(statistics, before, 2 * UNITS) && totals.weight == 2 * ROWS);
    p.data.weight = NULL;
    CHECK(pycnn_gradient_sums(&totals, grad, statistics, p.net, ws, theta, p.theta_size, &p.data,
                              &key, 0) == PYCNN_OK);
    CHECK(same_bits(theta + p.parameters, before, 2 * UNITS)); /* a copy moves, theta's stay */
    for (size_t j = 0; j < UNITS; j++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < ROWS; i++) {
            mean += p.x[i * UNITS + j] / ROWS;
        }
        for (size_t i = 0; i < ROWS; i++) {
            square += (p.x[i * UNITS + j] - mean) * (p.x[i * UNITS + j] - mean) / (ROWS - 1);
        }
        CHECK(near(statistics[j], 0.9 * before[j] + 0.1 * mean, 1e-14));
        CHECK(near(statistics[UNITS + j], 0.9 * before[UNITS + j] + 0.1 * square, 1e-14));
    }

    /* A loss that is not finite moves nothing either; more samples than fit have no mean. */
    memcpy(statistics, before, sizeof before);
    p.y[0] = INFINITY;
    CHECK(pycnn_gradient_sums(&totals, grad, statistics, p.net, ws, theta, p.theta_size, &p.data,
                              &key, 0) == PYCNN_OK);
    CHECK(!isfinite(totals.loss) && same_bits(statistics, before, 2 * UNITS));
    pycnn_workspace *small = workspace(p.net, ROWS - 1, PYCNN_BACKWARD);
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, p.net, small, theta, p.theta_size, &p.data, &key,
                              0) == PYCNN_ERROR_WORKSPACE);
    free(grad), free(theta);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(small);
    free_problem(&p);
}

/* By its own samples: in the sums of all pieces so far a little weight, or a finite loss, is lost.
 */
static void test_statistics_take_in_each_piece_by_its_own_weight(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_BATCH_NORM, .epsilon = 1e-5, .momentum = 0.5},
        {.kind = PYCNN_DENSE, .units = 1},
    };
    const struct {
        double weight, loss;
        bool counts;
    } cases[] = {{1, 0, true}, {1e-250, 0, true}, {0, 0, false}, {1, INFINITY, true}};
    const double x[] = {1, 3}, y[] = {0, 0};
    const uint64_t key = 1;
    pycnn_network *net = NULL;
    pycnn_workspace *ws = NULL;
    CHECK(pycnn_network_create(&net, 1, layers, 2, PYCNN_MSE, 0) == PYCNN_OK);
    CHECK(pycnn_workspace_create(&ws, net, 2, PYCNN_BACKWARD) == PYCNN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double theta[] = {1, 0, 1, 0, 0, 1}; /* gamma, beta, W, b, mean, variance */
        double grad[4] = {0}, statistics[] = {0, 1};
        const double weight[] = {cases[i].weight, cases[i].weight};
        const pycnn_dataset data = {.rows = 2, .x = x, .y = y, .weight = weight};
        pycnn_totals totals = {.loss = cases[i].loss, .weight = 1};
        CHECK(pycnn_gradient_sums(&totals, grad, statistics, net, ws, theta,
                                  pycnn_network_theta_size(net), &data, &key, 0) == PYCNN_OK);
        CHECK(statistics[0] == (cases[i].counts ? 1 : 0)); /* half of the mean, 2 */
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* What a kind does not name is not read. */
static void test_settings_of_other_kinds_are_not_read(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-5, .l1 = NAN, .l2 = -1, .max_norm = NAN},
        {.kind = PYCNN_DENSE, .units = 1, .rate = 7, .epsilon = NAN},
    };
    pycnn_network *net = NULL;
    CHECK(pycnn_network_create(&net, 3, layers, 2, PYCNN_MSE, 0) == PYCNN_OK);
    pycnn_network_destroy(net);
}

const test normalization_tests[] = {
    FOR_EACH_SET("gradients of normalization meet central differences",
                 test_gradients_meet_central_differences),
    FOR_EACH_SET("statistics follow mini-batches of training alone",
                 test_statistics_follow_mini_batches_of_training_alone),
    FOR_EACH_SET("statistics take in each piece by its own weight",
                 test_statistics_take_in_each_piece_by_its_own_weight),
    ONCE("settings of other kinds are not read", test_settings_of_other_kinds_are_not_read),
    {0},
};
