/* Predictions with dropout left on. */
#include "check.h"

static void check_draws(const pycnn_layer_spec *layers, size_t depth)
{
    enum { ROWS = 300, DRAWS = 3, PART = 70 };
    const uint64_t keys[DRAWS] = {1, 2, UINT64_MAX};
    problem p = make_problem(5, ROWS, 4, layers, depth, PYCNN_MSE);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace *large = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *small = workspace(p.net, 33, PYCNN_TRACE);
    pycnn_workspace_set_threads(large, threads);
    const size_t one = ROWS * p.outputs;
    double *all = doubles(DRAWS * one), *part = doubles(one), *plain = doubles(one);
    CHECK(pycnn_predict_samples(all, p.net, large, p.theta, p.theta_size, p.x, ROWS, keys, DRAWS,
                                0) == PYCNN_OK);
    CHECK(!same_bits(all, all + one, one) && !same_bits(all, all + 2 * one, one));
    for (size_t d = 0; d < DRAWS; d++) { /* each by itself, and in two parts */
        double *rest = part + PART * p.outputs;
        CHECK(pycnn_predict_samples(part, p.net, small, p.theta, p.theta_size, p.x, PART, keys + d,
                                    1, 0) == PYCNN_OK);
        CHECK(pycnn_predict_samples(rest, p.net, small, p.theta, p.theta_size,
                                    p.x + PART * p.inputs, ROWS - PART, keys + d, 1,
                                    PART) == PYCNN_OK);
        CHECK(same_bits(part, all + d * one, one));
    }
    CHECK(pycnn_predict(plain, p.net, large, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(part, p.net, small, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(same_bits(plain, part, one) && !same_bits(plain, all, one));
    CHECK(pycnn_predict_samples(all, p.net, large, p.theta, p.theta_size, p.x, ROWS, NULL, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(NULL, p.net, large, p.theta, p.theta_size, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(all, NULL, large, p.theta, p.theta_size, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(all, p.net, NULL, p.theta, p.theta_size, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    free(all), free(part), free(plain);
    pycnn_workspace_destroy(large), pycnn_workspace_destroy(small);
    pycnn_threads_destroy(threads);
    free_problem(&p);
}

static void test_predictions_can_be_drawn(void)
{
    static const pycnn_layer_spec layers[] = {
        DENSE(PYCNN_TANH, 13), {.kind = PYCNN_DROPOUT, .rate = 0.3}, DENSE(PYCNN_LINEAR, 2)};
    static const pycnn_layer_spec images[] = {
        DENSE(PYCNN_TANH, 18),
        {.kind = PYCNN_DROPOUT, .rate = 0.3, .shape = {3, 2, 3}},
        DENSE(PYCNN_LINEAR, 2)};
    check_draws(layers, 3);
    check_draws(images, 3);
}

/* A feature is there at all positions or at none, and by the numbers of a row as wide. */
static void test_an_image_loses_whole_features(void)
{
    enum { ROWS = 21, AREA = 6, FEATURES = 5, UNITS = AREA * FEATURES };
    static const pycnn_layer_spec image[] = {
        {.kind = PYCNN_DROPOUT, .rate = 0.4, .shape = {2, 3, FEATURES}}, {.kind = PYCNN_RESHAPE}};
    static const pycnn_layer_spec row[] = {{.kind = PYCNN_DROPOUT, .rate = 0.4},
                                           {.kind = PYCNN_RESHAPE}};
    const uint64_t key = 11;
    double ones[ROWS * UNITS], out[ROWS * UNITS], expected[ROWS * FEATURES];
    for (size_t i = 0; i < ROWS * UNITS; i++) {
        ones[i] = 1;
    }
    pycnn_network *images = create(UNITS, image, 2, PYCNN_MSE);
    pycnn_network *rows = create(FEATURES, row, 2, PYCNN_MSE);
    for (size_t room = 1; room <= ROWS; room += 4) {
        pycnn_workspace *ws = workspace(images, room, PYCNN_FORWARD);
        pycnn_workspace *other = workspace(rows, room, PYCNN_BACKWARD);
        CHECK(pycnn_predict_samples(out, images, ws, ones, 0, ones, ROWS, &key, 1, 0) == PYCNN_OK);
        CHECK(pycnn_predict_samples(expected, rows, other, ones, 0, ones, ROWS, &key, 1, 0) ==
              PYCNN_OK);
        for (size_t i = 0; i < ROWS * UNITS; i++) {
            CHECK(out[i] == expected[i / UNITS * FEATURES + i % FEATURES]);
        }
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(other);
    }
    pycnn_network_destroy(images), pycnn_network_destroy(rows);
}

const test dropout_tests[] = {
    FOR_EACH_SET("an image loses whole features", test_an_image_loses_whole_features),
    FOR_EACH_SET("predictions can be drawn", test_predictions_can_be_drawn),
    {0},
};
