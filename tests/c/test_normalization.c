/* Normalization: its gradients, in training and in prediction, and its statistics. */
#include "check.h"

#define BATCH_NORM(f, n) \
    {.kind = PYCNN_BATCH_NORM, .activation = (f), .units = (n), .epsilon = 1e-5, .momentum = 0.1}
#define LAYER_NORM(f, n) \
    {.kind = PYCNN_LAYER_NORM, .activation = (f), .units = (n), .epsilon = 1e-5}

/* The same of images, by their features. */
#define OF_IMAGES(which, f, y, x, c)                                                   \
    {                                                                                  \
        .kind = (which), .activation = (f), .units = (y) * (x) * (c), .epsilon = 1e-5, \
        .momentum = 0.1, .shape = {(y), (x), (c)}                                      \
    }

/* With a key as in training, where the mini-batch's own moments count. */
static double loss_and_gradient(double *grad, const problem *p, pycnn_workspace *ws,
                                const double *theta, const uint64_t *key)
{
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p->net, ws, theta, p->theta_size, &p->data, key) ==
          PYCNN_OK);
    return totals.loss / totals.weight;
}

static void check_gradient(size_t inputs, size_t rows, const pycnn_layer_spec *layers, size_t depth,
                           const uint64_t *key)
{
    const double h = 1e-5;
    problem p = make_problem(171, rows, inputs, layers, depth, PYCNN_MSE);
    const size_t count = p.parameters + pycnn_network_statistic_count(p.net);
    pycnn_workspace *ws = workspace(p.net, rows, PYCNN_BACKWARD);
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
            check_gradient(4, 13, stacks[s], 3, &key);
            check_gradient(4, 13, stacks[s], 3, NULL);
        }
    }
}

/* Of images also a single one is a mini-batch. */
static void test_gradients_of_images_meet_central_differences(void)
{
    static const uint64_t key = 9;
    static const pycnn_layer_spec stack[] = {
        OF_IMAGES(PYCNN_BATCH_NORM, PYCNN_LINEAR, 2, 3, 2),
        {.kind = PYCNN_CONVOLUTION,
         .activation = PYCNN_LINEAR,
         .units = 17,
         .kernel = {2, 2},
         .shape = {2, 3, 2},
         .padding = PYCNN_SAME,
         .no_bias = 1},
        OF_IMAGES(PYCNN_BATCH_NORM, PYCNN_TANH, 2, 3, 17),
        OF_IMAGES(PYCNN_LAYER_NORM, PYCNN_TANH, 2, 3, 17),
        DENSE(PYCNN_LINEAR, 2),
    };
    for (size_t rows = 1; rows <= 27; rows += 26) {
        check_gradient(12, rows, stack, 5, &key);
        check_gradient(12, rows, stack, 5, NULL);
    }
}

/* Each feature over all samples and positions; each position of a sample over its features. */
static void test_images_are_normalized_by_their_features(void)
{
    enum { ROWS = 19, AREA = 6, FEATURES = 5, UNITS = AREA * FEATURES };
    static const uint64_t key = 3;
    for (int kind = PYCNN_BATCH_NORM; kind <= PYCNN_LAYER_NORM; kind++) {
        const pycnn_layer_spec layer = OF_IMAGES(kind, PYCNN_LINEAR, 2, 3, FEATURES);
        problem p = make_problem(152, ROWS, UNITS, &layer, 1, PYCNN_MSE);
        CHECK(p.parameters == 2 * FEATURES);
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        double *theta = random_doubles(4, p.theta_size), *grad = doubles(p.parameters);
        double statistics[2 * FEATURES] = {0}, beta[FEATURES] = {0}, gamma[FEATURES] = {0};
        for (size_t f = 0; f < FEATURES; f++) {
            long double mean = 0, variance = 0;
            for (size_t i = 0; i < ROWS * AREA; i++) {
                mean += p.x[i * FEATURES + f] / (ROWS * AREA);
            }
            for (size_t i = 0; i < ROWS * AREA; i++) {
                const long double d = p.x[i * FEATURES + f] - mean;
                variance += d * d / (ROWS * AREA);
            }
            statistics[f] = (double)mean;
            statistics[FEATURES + f] = (double)variance;
        }
        for (size_t i = 0; i < ROWS * AREA; i++) { /* the loss is half the squared distance */
            const double *x = p.x + i * FEATURES;
            long double mean = 0, variance = 0;
            for (size_t f = 0; f < FEATURES; f++) {
                mean += x[f] / FEATURES;
            }
            for (size_t f = 0; f < FEATURES; f++) {
                variance += (x[f] - mean) * (x[f] - mean) / FEATURES;
            }
            for (size_t f = 0; f < FEATURES; f++) {
                const bool batch = kind == PYCNN_BATCH_NORM;
                const long double center = batch ? statistics[f] : mean;
                const long double spread = batch ? statistics[FEATURES + f] : variance;
                const double normalized = (double)((x[f] - center) / sqrtl(spread + 1e-5L));
                const double delta =
                    theta[f] * normalized + theta[FEATURES + f] - p.y[i * FEATURES + f];
                gamma[f] += delta * normalized / ROWS;
                beta[f] += delta / ROWS;
            }
        }
        loss_and_gradient(grad, &p, ws, theta, &key);
        CHECK(agree(grad, gamma, FEATURES, 1e-13) && agree(grad + FEATURES, beta, FEATURES, 1e-13));
        free(theta), free(grad);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

static void test_neither_threads_nor_slices_change_a_bit_of_images(void)
{
    enum { ROWS = 67, SIDE = 12, FEATURES = 19, UNITS = SIDE * SIDE * FEATURES };
    const pycnn_layer_spec layers[] = {
        OF_IMAGES(PYCNN_BATCH_NORM, PYCNN_RELU, SIDE, SIDE, FEATURES),
        {.kind = PYCNN_DROPOUT, .rate = 0.3, .shape = {SIDE, SIDE, FEATURES}},
        OF_IMAGES(PYCNN_LAYER_NORM, PYCNN_TANH, SIDE, SIDE, FEATURES),
        DENSE(PYCNN_LINEAR, 2),
    };
    problem p = make_problem(153, ROWS, UNITS, layers, 4, PYCNN_MSE);
    double *first = NULL, *rows = doubles(2 * ROWS);
    for (size_t threads = 1; threads <= 7; threads += 3) {
        for (size_t room = 33; room <= 260; room += 227) {
            pycnn_threads *pool = NULL;
            CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
            pycnn_workspace *ws = workspace(p.net, room, PYCNN_BACKWARD);
            pycnn_workspace_set_threads(ws, pool);
            double *theta = copy_doubles(p.theta, p.parameters);
            theta = realloc(theta, (p.theta_size + 2 * ROWS) * sizeof *theta);
            for (size_t j = 0; j < 2 * FEATURES; j++) {
                theta[p.parameters + j] = 1;
            }
            pycnn_training state = {.epochs = 1, .batch_size = 33, .learning_rate = 0.01};
            size_t steps;
            CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
                  PYCNN_OK);
            CHECK(pycnn_predict(theta + p.theta_size, p.net, ws, theta, p.theta_size, p.x, ROWS) ==
                  PYCNN_OK);
            if (first == NULL) {
                first = copy_doubles(theta, p.theta_size + 2 * ROWS);
            }
            CHECK(same_bits(first, theta, p.theta_size + 2 * ROWS));
            free(theta);
            pycnn_workspace_destroy(ws);
            pycnn_threads_destroy(pool);
        }
    }
    pycnn_predictor *predictor = NULL;
    CHECK(pycnn_predictor_create(&predictor, p.net, first, p.theta_size) == PYCNN_OK);
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(pycnn_predictor_run(predictor, rows + 2 * i, p.x + i * UNITS) == PYCNN_OK);
    }
    CHECK(same_bits(rows, first + p.theta_size, 2 * ROWS));
    pycnn_predictor_destroy(predictor);
    free(first), free(rows);
    free_problem(&p);
}

static void test_images_must_have_as_many_numbers_as_there_are(void)
{
    static const size_t shapes[][3] = {{0, 3, 2}, {2, 3, 3}, {SIZE_MAX / 2, 3, 2}, {0, 0, 12}};
    for (int kind = PYCNN_DROPOUT; kind <= PYCNN_LAYER_NORM; kind++) {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            pycnn_layer_spec layers[] = {OF_IMAGES(kind, PYCNN_LINEAR, 0, 0, 0),
                                         DENSE(PYCNN_LINEAR, 1)};
            memcpy(layers[0].shape, shapes[i], sizeof shapes[i]);
            pycnn_network *net = NULL;
            CHECK(pycnn_network_create(&net, 12, layers, 2, PYCNN_MSE, 0) == PYCNN_ERROR_SIZE);
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
    FOR_EACH_SET("gradients of images meet central differences",
                 test_gradients_of_images_meet_central_differences),
    FOR_EACH_SET("images are normalized by their features",
                 test_images_are_normalized_by_their_features),
    FOR_EACH_SET("neither threads nor slices change a bit of images",
                 test_neither_threads_nor_slices_change_a_bit_of_images),
    ONCE("images must have as many numbers as there are",
         test_images_must_have_as_many_numbers_as_there_are),
    FOR_EACH_SET("statistics follow mini-batches of training alone",
                 test_statistics_follow_mini_batches_of_training_alone),
    FOR_EACH_SET("statistics take in each piece by its own weight",
                 test_statistics_take_in_each_piece_by_its_own_weight),
    ONCE("settings of other kinds are not read", test_settings_of_other_kinds_are_not_read),
    {0},
};
