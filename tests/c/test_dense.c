/* Dense layers of every size around a tile's edges, against plain loops. */
#include "check.h"

/* One layer, one loop a formula: dW = 1/m sum_i (a - y) x^T for a linear layer with mse. */
static void linear_reference(double *output, double *grad, const problem *p)
{
    const size_t m = p->data.rows, n = p->inputs, units = p->outputs;
    const double *weight = p->theta, *bias = p->theta + units * n;
    memset(grad, 0, p->parameters * sizeof *grad);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < units; j++) {
            double z = 0;
            for (size_t k = 0; k < n; k++) {
                z += weight[j * n + k] * p->x[i * n + k];
            }
            output[i * units + j] = z + bias[j];
            const double delta = output[i * units + j] - p->y[i * units + j];
            for (size_t k = 0; k < n; k++) {
                grad[j * n + k] += delta * p->x[i * n + k] / (double)m;
            }
            grad[units * n + j] += delta / (double)m;
        }
    }
}

static void check_size(size_t rows, size_t inputs, size_t units)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_LINEAR, units)};
    problem p = make_problem(rows * 1000 + inputs * 20 + units, rows, inputs, layers, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, rows, PYCNN_BACKWARD);
    const size_t count = rows * units;
    double *expected = doubles(count), *expected_grad = doubles(p.parameters);
    double *output = doubles(count), *grad = doubles(p.parameters), *row = doubles(units);
    linear_reference(expected, expected_grad, &p);
    output[count] = grad[p.parameters] = 12345; /* must not be written to */
    pycnn_totals totals;
    CHECK(pycnn_predict(output, p.net, ws, p.theta, p.theta_size, p.x, rows) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    CHECK(agree(output, expected, count, 1e-14));
    CHECK(agree(grad, expected_grad, p.parameters, 1e-13));
    CHECK(output[count] == 12345 && grad[p.parameters] == 12345);
    bool alike = true; /* a row's bits do not depend on the rows beside it */
    for (size_t i = 0; i < rows; i++) {
        CHECK(pycnn_predict(row, p.net, ws, p.theta, p.theta_size, p.x + i * inputs, 1) ==
              PYCNN_OK);
        alike = alike && same_bits(row, output + i * units, units);
    }
    CHECK(alike);
    free(expected), free(expected_grad), free(output), free(grad), free(row);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_every_batch_and_width_up_to_an_edge(void)
{
    for (size_t rows = 1; rows <= 33; rows++) {
        check_size(rows, 1 + rows % 19, 1 + rows * 7 % 19);
    }
    for (size_t inputs = 1; inputs <= 19; inputs++) {
        for (size_t units = 1; units <= 19; units++) {
            check_size(17, inputs, units);
        }
    }
    /* Beyond the blocks that the kernels divide large products into. */
    check_size(127, 300, 19);
    check_size(128, 256, 16);
    check_size(150, 257, 33);
    check_size(2, 515, 100);
    check_size(1, 515, 100);
}

const test dense_tests[] = {
    FOR_EACH_SET("every batch and width up to an edge", test_every_batch_and_width_up_to_an_edge),
    {0},
};
