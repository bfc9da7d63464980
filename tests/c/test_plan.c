/* Networks that are made, and those that are refused. */
#include "check.h"

static void expect_no_network(int status, size_t inputs, const pycnn_layer_spec *layers,
                              size_t depth, int loss)
{
    pycnn_network *net = (pycnn_network *)&not_null; /* must become NULL */
    CHECK(pycnn_network_create(&net, inputs, layers, depth, loss, parameter_of(loss)) == status);
    CHECK(net == NULL);
}

static void test_networks_that_cannot_be(void)
{
    const pycnn_layer_spec fine[] = {DENSE(PYCNN_RELU, 2), DENSE(PYCNN_LINEAR, 1)};
    CHECK(pycnn_network_create(NULL, 2, fine, 2, PYCNN_MSE, 0) == PYCNN_ERROR_ARGUMENT);
    expect_no_network(PYCNN_ERROR_ARGUMENT, 2, NULL, 2, PYCNN_MSE);
    expect_no_network(PYCNN_ERROR_SIZE, 0, fine, 2, PYCNN_MSE);
    expect_no_network(PYCNN_ERROR_SIZE, 2, fine, 0, PYCNN_MSE);
    expect_no_network(PYCNN_ERROR_SIZE, 2, fine, 0, PYCNN_BINARY_CROSSENTROPY);
    expect_no_network(PYCNN_ERROR_SIZE, 2, &(pycnn_layer_spec)DENSE(PYCNN_RELU, 0), 1, PYCNN_MSE);
    static const int unknown[] = {-1, ACTIVATIONS, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_no_network(PYCNN_ERROR_ARGUMENT, 2, fine, 2, unknown[i]);
        expect_no_network(PYCNN_ERROR_ARGUMENT, 2, &(pycnn_layer_spec)DENSE(unknown[i], 3), 1,
                          PYCNN_MSE);
        expect_no_network(PYCNN_ERROR_ARGUMENT, 2,
                          &(pycnn_layer_spec){.kind = unknown[i], .units = 3}, 1, PYCNN_MSE);
    }
    for (int output = 0; output < ACTIVATIONS; output++) {
        const pycnn_layer_spec layers[] = {DENSE(output, 2)};
        for (int loss = 0; loss < LOSSES; loss++) {
            const bool any = loss == PYCNN_MSE || loss == PYCNN_MAE || loss == PYCNN_HUBER ||
                             loss == PYCNN_QUANTILE;
            const bool positive = output == PYCNN_SIGMOID || output == PYCNN_SOFTMAX;
            if (any || output == output_for(loss) || (loss == PYCNN_POISSON && positive)) {
                pycnn_network_destroy(create(3, layers, 1, loss));
            } else {
                expect_no_network(PYCNN_ERROR_PAIRING, 3, layers, 1, loss);
            }
        }
    }
    static const double no_delta[] = {0, -1, INFINITY, NAN}, no_fraction[] = {0, 1, -0.5, 2, NAN};
    pycnn_network *none;
    for (size_t i = 0; i < sizeof no_delta / sizeof *no_delta; i++) {
        CHECK(pycnn_network_create(&none, 2, fine, 2, PYCNN_HUBER, no_delta[i]) ==
              PYCNN_ERROR_RANGE);
    }
    for (size_t i = 0; i < sizeof no_fraction / sizeof *no_fraction; i++) {
        CHECK(pycnn_network_create(&none, 2, fine, 2, PYCNN_QUANTILE, no_fraction[i]) ==
              PYCNN_ERROR_RANGE);
    }
    static const double no_smoothing[] = {-0.1, 1, NAN};
    const pycnn_layer_spec one[] = {DENSE(PYCNN_SIGMOID, 2)};
    for (size_t i = 0; i < sizeof no_smoothing / sizeof *no_smoothing; i++) {
        CHECK(pycnn_network_create(&none, 2, one, 1, PYCNN_BINARY_CROSSENTROPY, no_smoothing[i]) ==
              PYCNN_ERROR_RANGE);
    }
    /* Sizes whose products do not fit. */
    static const size_t large[] = {SIZE_MAX,     SIZE_MAX - 1, SIZE_MAX / 2 + 1,
                                   SIZE_MAX / 2, SIZE_MAX / 8, SIZE_MAX / 16 + 1};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        expect_no_network(PYCNN_ERROR_SIZE, large[i], fine, 2, PYCNN_MSE);
        expect_no_network(PYCNN_ERROR_SIZE, 1, &(pycnn_layer_spec)DENSE(PYCNN_RELU, large[i]), 1,
                          PYCNN_MSE);
        expect_no_network(PYCNN_ERROR_SIZE, large[i],
                          &(pycnn_layer_spec)DENSE(PYCNN_RELU, large[i]), 1, PYCNN_MSE);
    }
    const size_t root = (size_t)1 << (sizeof(size_t) * 4); /* root * root wraps around to 0 */
    const pycnn_layer_spec square[] = {DENSE(PYCNN_RELU, root), DENSE(PYCNN_RELU, root)};
    expect_no_network(PYCNN_ERROR_SIZE, root, square, 2, PYCNN_MSE);
    expect_no_network(PYCNN_ERROR_SIZE, 1, square, 2, PYCNN_MSE);
    CHECK(pycnn_network_parameter_count(NULL) == 0);
    pycnn_network_destroy(NULL);
}

/* Says what is wrong, and with which of the layers. */
static void test_what_is_wrong_is_said_in_words(void)
{
    const pycnn_layer_spec good[] = {DENSE(PYCNN_RELU, 2), DENSE(PYCNN_LINEAR, 1)};
    const pycnn_layer_spec within[] = {DENSE(PYCNN_RELU, 3), {.kind = PYCNN_LAYER_NORM}};
    const pycnn_layer_spec wide = DENSE(PYCNN_RELU, 3), odd = DENSE(99, 2);
    enum { NO_LAYER = -1 };
    const struct {
        pycnn_layer_spec layers[3];
        size_t depth;
        int loss;
        double parameter;
        int status, layer;
        const char *words;
    } cases[] = {
        {{good[0]}, 0, PYCNN_MSE, 0, PYCNN_ERROR_SIZE, NO_LAYER, "empty"},
        {{good[0]}, 1, -1, 0, PYCNN_ERROR_ARGUMENT, NO_LAYER, "loss"},
        {{good[0]}, 1, PYCNN_HUBER, NAN, PYCNN_ERROR_RANGE, NO_LAYER, "loss_parameter"},
        {{good[0], {.kind = 77}}, 2, 0, 0, PYCNN_ERROR_ARGUMENT, 1, "kind"},
        {{good[0], {.units = 1, .reserved = {[7] = 1}}},
         2,
         0,
         0,
         PYCNN_ERROR_ARGUMENT,
         1,
         "reserved"},
        {{good[0], odd}, 2, 0, 0, PYCNN_ERROR_ARGUMENT, 1, "activation"},
        {{DENSE(PYCNN_TANH, 0)}, 1, 0, 0, PYCNN_ERROR_SIZE, 0, "units"},
        {{{.units = 1, .l1 = NAN}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "l1"},
        {{{.units = 1, .l1 = -1}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "l1"},
        {{{.units = 1, .l2 = INFINITY}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "l2"},
        {{{.units = 1, .max_norm = NAN}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "max_norm"},
        {{{.units = 1, .max_norm = -2}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "max_norm"},
        {{good[0], {.kind = PYCNN_DROPOUT, .rate = 1}, good[1]},
         3,
         0,
         0,
         PYCNN_ERROR_RANGE,
         1,
         "rate"},
        {{{.kind = PYCNN_DROPOUT, .rate = NAN}, good[1]}, 2, 0, 0, PYCNN_ERROR_RANGE, 0, "rate"},
        {{{.kind = PYCNN_DROPOUT, .rate = -0.1}, good[1]}, 2, 0, 0, PYCNN_ERROR_RANGE, 0, "rate"},
        {{good[0], {.kind = PYCNN_LAYER_NORM}}, 2, 0, 0, PYCNN_ERROR_RANGE, 1, "epsilon"},
        {{{.kind = PYCNN_BATCH_NORM, .epsilon = NAN}}, 1, 0, 0, PYCNN_ERROR_RANGE, 0, "epsilon"},
        {{{.kind = PYCNN_BATCH_NORM, .epsilon = 1, .momentum = 2}},
         1,
         0,
         0,
         PYCNN_ERROR_RANGE,
         0,
         "momentum"},
        {{{.kind = PYCNN_BATCH_NORM, .epsilon = 1, .momentum = NAN}},
         1,
         0,
         0,
         PYCNN_ERROR_RANGE,
         0,
         "momentum"},
        {{good[0], {.kind = PYCNN_DROPOUT}}, 2, 0, 0, PYCNN_ERROR_ARGUMENT, 1, "last layer"},
        {{good[0], good[0]}, 2, PYCNN_HINGE, 0, PYCNN_ERROR_PAIRING, 1, "output activation"},
        {{good[0], {.kind = PYCNN_RESIDUAL, .inner = within, .inner_depth = 2}},
         2,
         0,
         0,
         PYCNN_ERROR_RANGE,
         3,
         "epsilon"},
        {{good[0], {.kind = PYCNN_RESIDUAL, .inner = within, .inner_depth = 1}},
         2,
         0,
         0,
         PYCNN_ERROR_SIZE,
         1,
         "shortcut"},
        {{{.kind = PYCNN_RESIDUAL, .inner = within, .inner_depth = 1, .shortcut = &odd}, good[0]},
         2,
         0,
         0,
         PYCNN_ERROR_ARGUMENT,
         2,
         "activation"},
        {{{.kind = PYCNN_RESIDUAL, .inner = within, .inner_depth = 1, .shortcut = &wide}, odd},
         2,
         0,
         0,
         PYCNN_ERROR_ARGUMENT,
         3,
         "activation"},
        {{{.kind = PYCNN_RESIDUAL, .inner = within, .inner_depth = 1, .shortcut = &wide},
          {.kind = -1}},
         2,
         0,
         0,
         PYCNN_ERROR_ARGUMENT,
         3,
         "kind"},
        {{good[0], {.kind = PYCNN_RESIDUAL, .inner_depth = 1}},
         2,
         0,
         0,
         PYCNN_ERROR_ARGUMENT,
         1,
         "NULL"},
        {{good[0], {.kind = PYCNN_RESIDUAL, .inner = within}},
         2,
         0,
         0,
         PYCNN_ERROR_SIZE,
         1,
         "empty"},
        {{good[0], DENSE(PYCNN_RELU, SIZE_MAX / 4)}, 2, 0, 0, PYCNN_ERROR_SIZE, 1, "too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pycnn_network *net = (pycnn_network *)&not_null;
        size_t layer = 12345;
        CHECK(pycnn_network_create(&net, 2, cases[i].layers, cases[i].depth, cases[i].loss,
                                   cases[i].parameter) == cases[i].status);
        const char *found = pycnn_network_check(2, cases[i].layers, cases[i].depth, cases[i].loss,
                                                cases[i].parameter, &layer);
        CHECK(net == NULL && found != NULL && strstr(found, cases[i].words) != NULL);
        CHECK(layer == (cases[i].layer == NO_LAYER ? SIZE_MAX : (size_t)cases[i].layer));
    }
    size_t layer = 12345;
    CHECK(pycnn_network_check(2, good, 2, PYCNN_MSE, 0, &layer) == NULL && layer == SIZE_MAX);
    CHECK(pycnn_network_check(2, good, 2, PYCNN_MSE, 0, NULL) == NULL);
    CHECK(strstr(pycnn_network_check(0, good, 2, PYCNN_MSE, 0, NULL), "inputs") != NULL);
    CHECK(strstr(pycnn_network_check(2, NULL, 2, PYCNN_MSE, 0, NULL), "NULL") != NULL);
}

const test plan_tests[] = {
    ONCE("what is wrong is said in words", test_what_is_wrong_is_said_in_words),
    FOR_EACH_SET("networks that cannot be", test_networks_that_cannot_be),
    {0},
};
