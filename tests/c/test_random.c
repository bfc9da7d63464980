/* Random numbers from a seed: those of Python's pycnn, which tests/test_c_calls.py compares at
 * length; here some of them, for platforms without Python. */
#include "check.h"

static void test_orders_and_keys(void)
{
    static const size_t expected[2][12] = {{9, 4, 0, 2, 3, 1, 6, 8, 5, 7, 11, 10},
                                           {1, 3, 8, 6, 2, 11, 0, 7, 5, 4, 10, 9}};
    size_t order[12];
    CHECK(pycnn_permutation(order, 12, 7, 3) == PYCNN_OK);
    CHECK(memcmp(order, expected[0], sizeof order) == 0);
    CHECK(pycnn_permutation(order, 12, 0, 0) == PYCNN_OK);
    CHECK(memcmp(order, expected[1], sizeof order) == 0);
    CHECK(pycnn_dropout_key(0, 0) == 0x5d4b826de4784f45u);
    CHECK(pycnn_dropout_key(UINT64_MAX, 1000001) == 0xa6dedf8a5c2e8088u);

    enum { MANY = 70000 };
    size_t *large = checked_malloc(MANY * sizeof *large);
    bool *seen = checked_malloc(MANY * sizeof *seen);
    memset(seen, 0, MANY * sizeof *seen);
    CHECK(pycnn_permutation(large, MANY, 1, 2) == PYCNN_OK);
    size_t count = 0;
    for (size_t i = 0; i < MANY; i++) {
        count += large[i] < MANY && !seen[large[i]];
        seen[large[i] % MANY] = true;
    }
    CHECK(count == MANY);
    free(large), free(seen);
    order[0] = 5;
    CHECK(pycnn_permutation(NULL, 12, 7, 3) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_permutation(order, 0, 7, 3) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_permutation(order, SIZE_MAX, 7, 3) == PYCNN_ERROR_SIZE && order[0] == 5);
}

static void test_where_networks_start(void)
{
    static const double expected[] = {-0x1.f6572dd3d959ep-3,
                                      0x1.5f25ea7a5b6e4p-1,
                                      -0x1.dabd00d45e4abp+0,
                                      -0x1.04ecaad5f2292p+1,
                                      -0x1.10c4b1e57ea4ap-1,
                                      0x1.787b0740df8a0p-4,
                                      1,
                                      1,
                                      0,
                                      0,
                                      -0x1.cc4cdac18914cp-1,
                                      -0x1.ebf6758c3ae68p-2,
                                      -0x1.291c41d82b880p-6,
                                      -0x1.d4ecb66e405a0p-1,
                                      -0x1.1a415d617ca98p-3,
                                      0x1.0a9952dc74922p-1,
                                      0,
                                      0,
                                      1,
                                      1};
    enum { SIZE = sizeof expected / sizeof *expected };
    const pycnn_layer_spec layers[] = {
        DENSE(PYCNN_RELU, 2), {.kind = PYCNN_BATCH_NORM, .epsilon = 1}, DENSE(PYCNN_TANH, 2)};
    pycnn_network *net = create(2, layers, 3, PYCNN_MSE);
    double theta[SIZE] = {0}, untouched[SIZE];
    CHECK(pycnn_initialize(theta, SIZE, net, 5) == PYCNN_OK && same_bits(theta, expected, SIZE));
    memcpy(untouched, theta, sizeof theta);
    CHECK(pycnn_initialize(NULL, SIZE, net, 6) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_initialize(theta, SIZE, NULL, 6) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_initialize(theta, SIZE - 4, net, 6) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_initialize(theta, SIZE + 1, net, 6) == PYCNN_ERROR_SIZE);
    CHECK(same_bits(theta, untouched, SIZE));
    pycnn_network_destroy(net);
}

const test random_tests[] = {
    ONCE("orders and keys", test_orders_and_keys),
    ONCE("where networks start", test_where_networks_start),
    {0},
};
