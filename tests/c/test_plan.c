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
              PYCNN_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < sizeof no_fraction / sizeof *no_fraction; i++) {
        CHECK(pycnn_network_create(&none, 2, fine, 2, PYCNN_QUANTILE, no_fraction[i]) ==
              PYCNN_ERROR_ARGUMENT);
    }
    static const double no_smoothing[] = {-0.1, 1, NAN};
    const pycnn_layer_spec one[] = {DENSE(PYCNN_SIGMOID, 2)};
    for (size_t i = 0; i < sizeof no_smoothing / sizeof *no_smoothing; i++) {
        CHECK(pycnn_network_create(&none, 2, one, 1, PYCNN_BINARY_CROSSENTROPY, no_smoothing[i]) ==
              PYCNN_ERROR_ARGUMENT);
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

const test plan_tests[] = {
    FOR_EACH_SET("networks that cannot be", test_networks_that_cannot_be),
    {0},
};
