/* Layers without parameters: the same numbers in another shape, or in another unit. */
#include "check.h"

/* Units are for the problem, not for the layer. */
#define RESHAPE(n) {.kind = PYCNN_RESHAPE, .units = (n)}
#define RESCALE(factor, summand) {.kind = PYCNN_RESCALE, .scale = (factor), .offset = (summand)}

static void test_a_shape_changes_no_bit(void)
{
    enum { ROWS = 61 };
    static const pycnn_layer_spec plain[] = {DENSE(PYCNN_TANH, 13), DENSE(PYCNN_LINEAR, 2)};
    static const pycnn_layer_spec shaped[] = {RESHAPE(5),  DENSE(PYCNN_TANH, 13),  RESHAPE(13),
                                              RESHAPE(13), DENSE(PYCNN_LINEAR, 2), RESHAPE(2)};
    problem p = make_problem(5, ROWS, 4, plain, 2, PYCNN_MSE);
    problem q = make_problem(5, ROWS, 4, shaped, 6, PYCNN_MSE);
    CHECK(p.parameters == q.parameters && p.theta_size == q.theta_size);
    const pycnn_dataset data = {.rows = ROWS, .x = p.x, .y = p.y};
    for (size_t batch = 1; batch <= ROWS; batch += 30) {
        pycnn_workspace *one = workspace(p.net, batch, PYCNN_BACKWARD);
        pycnn_workspace *two = workspace(q.net, batch, PYCNN_BACKWARD);
        double *grad = doubles(p.parameters), *other = doubles(p.parameters);
        pycnn_totals totals, more;
        CHECK(pycnn_gradients(&totals, grad, p.net, one, p.theta, p.theta_size, &data, NULL) ==
              PYCNN_OK);
        CHECK(pycnn_gradients(&more, other, q.net, two, p.theta, p.theta_size, &data, NULL) ==
              PYCNN_OK);
        CHECK(same_bits(grad, other, p.parameters) && same_bits(&totals.loss, &more.loss, 1));
        free(grad), free(other);
        pycnn_workspace_destroy(one), pycnn_workspace_destroy(two);
    }
    free_problem(&p), free_problem(&q);
}

static void test_a_unit_is_a_line(void)
{
    enum { ROWS = 37, INPUTS = 3 };
    static const pycnn_layer_spec layers[] = {RESCALE(-0.7, 0.3), RESCALE(3, 0)};
    pycnn_network *net = create(INPUTS, layers, 2, PYCNN_MSE);
    double *x = random_doubles(1, ROWS * INPUTS), *y = doubles(ROWS * INPUTS);
    for (size_t batch = 1; batch <= ROWS; batch += 12) {
        pycnn_workspace *ws = workspace(net, batch, PYCNN_TRACE);
        CHECK(pycnn_predict(y, net, ws, x, 0, x, ROWS) == PYCNN_OK);
        for (size_t i = 0; i < ROWS * INPUTS; i++) {
            const double inner = x[i] * -0.7; /* rounded, and not fused with the sum */
            volatile double sum = inner;
            sum += 0.3;
            CHECK(y[i] == sum * 3);
        }
        pycnn_workspace_destroy(ws);
    }
    free(x), free(y);
    pycnn_network_destroy(net);
}

static void test_a_factor_is_finite_and_not_0(void)
{
    const double bad[][2] = {{0, 1}, {NAN, 1}, {INFINITY, 1}, {1, NAN}, {1, -INFINITY}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const pycnn_layer_spec layer = RESCALE(bad[i][0], bad[i][1]);
        pycnn_network *net = (pycnn_network *)&not_null;
        CHECK(pycnn_network_create(&net, 3, &layer, 1, PYCNN_MSE, 0) == PYCNN_ERROR_RANGE);
        CHECK(net == NULL);
    }
}

const test reshape_tests[] = {
    FOR_EACH_SET("a shape changes no bit", test_a_shape_changes_no_bit),
    FOR_EACH_SET("a unit is a line", test_a_unit_is_a_line),
    ONCE("a factor is finite and not 0", test_a_factor_is_finite_and_not_0),
    {0},
};
