/* One row at a time, from a copy of theta. */
#include "check.h"

#define NORMALIZED(k, f, n) \
    {.kind = (k), .activation = (f), .units = (n), .epsilon = 1e-5, .momentum = 0.1}
#define DROPOUT(n) {.kind = PYCNN_DROPOUT, .units = (n), .rate = 0.5}

enum { ROWS = 5 };

/* What training would have counted: any means, and variances. */
static double *with_statistics(const problem *p, uint64_t seed)
{
    double *theta = random_doubles(seed, p->theta_size);
    for (size_t i = p->parameters; i < p->theta_size; i++) {
        theta[i] += 1.5;
    }
    return theta;
}

static pycnn_predictor *predictor_of(const problem *p, const double *theta)
{
    pycnn_predictor *predictor = NULL;
    if (!CHECK(pycnn_predictor_create(&predictor, p->net, theta, p->theta_size) == PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    return predictor;
}

/* Whether each row alone has the bits that it has among the others. */
static bool predicts_alike(pycnn_predictor *predictor, const problem *p, const double *theta)
{
    pycnn_workspace *ws = workspace(p->net, ROWS, PYCNN_FORWARD);
    double *expected = doubles(ROWS * p->outputs), *y = doubles(p->outputs);
    CHECK(pycnn_predict(expected, p->net, ws, theta, p->theta_size, p->x, ROWS) == PYCNN_OK);
    bool alike = true;
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(pycnn_predictor_run(predictor, y, p->x + i * p->inputs) == PYCNN_OK);
        alike = alike && same_bits(y, expected + i * p->outputs, p->outputs);
    }
    free(expected), free(y);
    pycnn_workspace_destroy(ws);
    return alike;
}

/* Before an update and after it. */
static void check_network(uint64_t seed, size_t inputs, const pycnn_layer_spec *layers,
                          size_t depth, int loss)
{
    problem p = make_problem(seed, ROWS, inputs, layers, depth, loss);
    double *theta = with_statistics(&p, seed + 1), *later = with_statistics(&p, seed + 2);
    double *kept = copy_doubles(theta, p.theta_size);
    pycnn_predictor *predictor = predictor_of(&p, theta);
    CHECK(predicts_alike(predictor, &p, kept));
    memset(theta, 0, p.theta_size * sizeof *theta); /* theta was lent for the call */
    CHECK(predicts_alike(predictor, &p, kept));
    CHECK(pycnn_predictor_update(predictor, later, p.theta_size) == PYCNN_OK);
    CHECK(predicts_alike(predictor, &p, later));
    pycnn_predictor_destroy(predictor);
    free(theta), free(later), free(kept);
    free_problem(&p);
}

static void test_a_row_has_the_bits_of_the_others(void)
{
    static const size_t widths[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33, 40, 64, 65, 100};
    enum { WIDTHS = sizeof widths / sizeof *widths };
    for (size_t n = 0; n < 16 * ACTIVATIONS; n++) {
        const int f = (int)(n % ACTIVATIONS), g = (int)(n / 16), loss = (int)(n % LOSSES);
        const int end = loss == PYCNN_MSE ? g : output_for(loss);
        const size_t u = widths[n % WIDTHS], v = widths[(3 * n + n / WIDTHS) % WIDTHS];
        const pycnn_layer_spec layers[] = {DENSE(f, u), DENSE(g, v), DENSE(end, 1 + n % 11)};
        check_network(n, 1 + n % 70, layers + n % 3, 3 - n % 3, loss);
    }
}

static void test_narrow_networks_predict_as_wide_ones_do(void)
{
    for (size_t n = 0; n < 4 * ACTIVATIONS * ACTIVATIONS; n++) {
        const int f = (int)(n % ACTIVATIONS), g = (int)(n / ACTIVATIONS % ACTIVATIONS);
        const pycnn_layer_spec layers[] = {DENSE(f, 1 + n % 8), DENSE(f, 1 + n / 3 % 4),
                                           DENSE(g, 1 + n % 3)};
        check_network(n, 1 + n % 12, layers, 1 + n % 3, PYCNN_MSE);
    }
}

static void test_every_kind_of_layer_predicts_alike(void)
{
    for (size_t n = 0; n < 9 * ACTIVATIONS; n++) {
        const int f = (int)(n % ACTIVATIONS), g = (int)(n / 2 % ACTIVATIONS);
        const size_t u = 1 + 5 * n % 37;
        const pycnn_layer_spec batch = NORMALIZED(PYCNN_BATCH_NORM, f, u),
                               sample = NORMALIZED(PYCNN_LAYER_NORM, g, u), dropout = DROPOUT(u),
                               dense = DENSE(f, u);
        const pycnn_layer_spec inner[] = {batch, dense, dropout}, nested[] = {dense, dense, sample};
        const pycnn_layer_spec plain = {.kind = PYCNN_RESIDUAL,
                                        .activation = g,
                                        .units = u,
                                        .inner = inner,
                                        .inner_depth = 1 + n % 3};
        const pycnn_layer_spec beside = {.kind = PYCNN_RESIDUAL,
                                         .activation = f,
                                         .units = u,
                                         .inner = nested,
                                         .inner_depth = 3,
                                         .shortcut = n % 2 ? &batch : &dense};
        const pycnn_layer_spec stacks[][5] = {{dense, batch, dropout, sample, dense},
                                              {dense, plain, beside, dropout, batch},
                                              {beside, dropout, plain, dense, sample},
                                              {sample, plain, dropout, dense, beside}};
        check_network(n, u, stacks[n % 4], 5, PYCNN_MSE);
    }
}

/* What is not finite goes through as it does there. */
static void test_what_is_not_finite_is_not_refused(void)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e308, 0};
    problem p = classifier(5, 1);
    pycnn_predictor *predictor = predictor_of(&p, p.theta);
    pycnn_workspace *ws = workspace(p.net, 1, PYCNN_FORWARD);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        double x[5] = {0.5, odd[i], -0.5, 0.25, 1}, expected[3], y[3];
        CHECK(pycnn_predict(expected, p.net, ws, p.theta, p.theta_size, x, 1) == PYCNN_OK);
        CHECK(pycnn_predictor_run(predictor, y, x) == PYCNN_OK);
        for (size_t j = 0; j < 3; j++) {
            CHECK(isnan(y[j]) ? isnan(expected[j]) : y[j] == expected[j]);
        }
        CHECK(pycnn_predictor_run(predictor, x, x) == PYCNN_OK); /* over the row itself */
        CHECK(isnan(x[0]) ? isnan(y[0]) : same_bits(x, y, 3));
    }
    pycnn_workspace_destroy(ws);
    pycnn_predictor_destroy(predictor);
    free_problem(&p);
}

static void test_wrong_arguments_of_a_predictor_are_refused(void)
{
    problem p = classifier(6, 1);
    const size_t size = p.theta_size;
    double y[3];
    pycnn_predictor *predictor = (pycnn_predictor *)&not_null;
    CHECK(pycnn_predictor_create(NULL, p.net, p.theta, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_create(&predictor, NULL, p.theta, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(predictor == NULL);
    predictor = (pycnn_predictor *)&not_null;
    CHECK(pycnn_predictor_create(&predictor, p.net, NULL, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(predictor == NULL);
    predictor = (pycnn_predictor *)&not_null;
    CHECK(pycnn_predictor_create(&predictor, p.net, p.theta, size - 1) == PYCNN_ERROR_SIZE);
    CHECK(predictor == NULL);
    predictor = predictor_of(&p, p.theta);
    CHECK(pycnn_predictor_update(NULL, p.theta, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_update(predictor, NULL, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_update(predictor, p.theta, size + 1) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_predictor_run(NULL, y, p.x) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_run(predictor, NULL, p.x) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_run(predictor, y, NULL) == PYCNN_ERROR_ARGUMENT);
    pycnn_predictor_destroy(predictor);
    pycnn_predictor_destroy(NULL);
    free_problem(&p);
}

/* A plan takes no memory for its parameters, and may be larger than any. */
static void test_a_predictor_that_no_memory_holds_is_refused(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_LINEAR, 1)};
    const size_t inputs = (size_t)PTRDIFF_MAX / sizeof(double) - 1;
    pycnn_network *net = create(inputs, layers, 1, PYCNN_MSE);
    pycnn_predictor *predictor = (pycnn_predictor *)&not_null;
    CHECK(pycnn_predictor_create(&predictor, net, &not_null, inputs + 1) == PYCNN_ERROR_SIZE);
    CHECK(predictor == NULL);
    pycnn_network_destroy(net);
}

const test predictor_tests[] = {
    FOR_EACH_SET("a row has the bits of the others", test_a_row_has_the_bits_of_the_others),
    FOR_EACH_SET("narrow networks predict as wide ones do",
                 test_narrow_networks_predict_as_wide_ones_do),
    FOR_EACH_SET("every kind of layer predicts alike", test_every_kind_of_layer_predicts_alike),
    FOR_EACH_SET("what is not finite is not refused", test_what_is_not_finite_is_not_refused),
    ONCE("wrong arguments of a predictor are refused",
         test_wrong_arguments_of_a_predictor_are_refused),
    FOR_EACH_SET("a predictor that no memory holds is refused",
                 test_a_predictor_that_no_memory_holds_is_refused),
    {0},
};
