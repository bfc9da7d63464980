/* Dense layers of every size around a tile's edges, against plain loops. */
#include "check.h"
#include "kernels.h"

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

/* Where the first cache line of a block begins. */
static double *first_line(double *block) { return (double *)(((uintptr_t)block + 63) / 64 * 64); }

/* Vectors of samples come in as one by one, near or past the caches, where weights that go past
 * them are the same too; nothing around them changes, wherever memory begins. */
static void check_stores(const kernel_table *kernels, size_t inputs, size_t batch, size_t units,
                         size_t offset)
{
    enum { ROOM = 64 };
    const size_t panel = kernels->panel, lanes = kernels->lanes, samples = batch * lanes;
    const size_t panels = (inputs + panel) / panel * panel * samples + ROOM;
    const size_t matrix = MAX(panel, MAX(inputs, units)) * samples + ROOM;
    const size_t weights = units * inputs + ROOM;
    double *x = random_doubles(1, samples * inputs), *delta = random_doubles(2, units * samples);
    enum { ONE_BY_ONE, NEAR, AWAY, WAYS };
    double *blocks[WAYS][3], *rows[WAYS], *columns[WAYS], *theta[WAYS];
    double *bias = doubles(WAYS * units);
    const double *row[MOST_LANES], *next[MOST_LANES];
    for (int way = 0; way < WAYS; way++) {
        rows[way] = first_line(blocks[way][0] = doubles(panels + LINE));
        columns[way] = first_line(blocks[way][1] = doubles(matrix + LINE));
        theta[way] = first_line(blocks[way][2] = doubles(weights + LINE));
        memset(rows[way], 0, panels * sizeof *x);
        memset(columns[way], 0, matrix * sizeof *x);
        for (size_t k = 0; k < weights; k++) {
            theta[way][k] = 1 / (double)(k + 1);
        }
        for (size_t j = 0; j < units; j++) {
            bias[(size_t)way * units + j] = (double)j;
        }
        double *to = rows[way] + offset, *column = columns[way] + offset;
        const size_t distance = samples * panel;
        for (size_t i = 0; i < samples; i += way == ONE_BY_ONE ? 1 : lanes) {
            for (size_t l = 0; l < lanes; l++) {
                row[l] = x + (i + l) % samples * inputs;
                next[l] = x + (i + l + lanes) % samples * inputs;
            }
            if (way != ONE_BY_ONE) {
                const gather_way far = i > 0 ? GATHER_AWAY : GATHER_ROWS_AWAY;
                kernels->gather(to + i * panel, distance, column + i, samples,
                                way == AWAY ? far : GATHER_NEAR, row, next, inputs);
                continue;
            }
            kernels->pack(to + i * panel, distance, row[0], NULL, inputs);
            for (size_t k = 0; k < inputs; k++) {
                column[k * samples + i] = row[0][k];
            }
        }
        const gradient_terms terms = {.delta = delta, .stride = samples, .batch = samples};
        kernels->gradient(theta[way] + offset, bias + (size_t)way * units,
                          way == AWAY ? GRADIENT_DESCEND_AWAY : GRADIENT_DESCEND, 0.25, &terms, 1,
                          to, distance, 0, units, inputs);
    }
    for (int way = NEAR; way < WAYS; way++) {
        CHECK(same_bits(rows[0], rows[way], panels));
        CHECK(same_bits(columns[0], columns[way], matrix));
        CHECK(same_bits(theta[0], theta[way], weights));
        CHECK(same_bits(bias, bias + (size_t)way * units, units));
    }
    if (kernels->transpose_away != NULL) {
        const size_t few = MIN(units, panel);
        kernels->transpose(columns[NEAR] + offset, panel, delta, samples, few, samples);
        kernels->transpose_away(columns[AWAY] + offset, panel, delta, samples, few, samples);
        CHECK(same_bits(columns[NEAR], columns[AWAY], matrix));
    }
    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < 3; i++) {
            free(blocks[way][i]);
        }
    }
    free(x), free(delta), free(bias);
}

static void test_samples_come_in_whichever_way(void)
{
    static const size_t inputs[] = {1, 24, 31, 64, 96}, units[] = {1, 8, 10, 24};
    const kernel_table *kernels = pycnn_kernels_find(SIZE_MAX);
    for (size_t i = 0; kernels->gather != NULL && i < sizeof inputs / sizeof *inputs; i++) {
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            for (size_t offset = 0; offset < 8; offset += 3 + u) {
                check_stores(kernels, inputs[i], 1 + u, units[u], offset);
            }
        }
    }
}

const test dense_tests[] = {
    FOR_EACH_SET("every batch and width up to an edge", test_every_batch_and_width_up_to_an_edge),
    FOR_EACH_SET("samples come in whichever way", test_samples_come_in_whichever_way),
    {0},
};
