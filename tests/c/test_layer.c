/* What a layer says of itself, and that nobody counts on more. */
#include "plan.h"

#include "check.h"

enum { INPUTS = 5, ROWS = 300 };

/* A layer that no network has: z = c_j s_i x with a factor c_j of each unit and s_i of each sample,
 * which it takes from the input, and keeps for later in both kinds of memory:
 *   c_j = 1 + j / 8                      as often as UNIT_COPIES
 *   s_i = 1 + sum_j x_ji / 4             as often as SAMPLE_COPIES */
enum { UNIT_COPIES = 3, SAMPLE_COPIES = 2 };

static int scaling_create(layer *self)
{
    self->fan_out = self->fan_in;
    self->saved_per_slice = UNIT_COPIES * self->fan_out;
    self->saved_per_sample = SAMPLE_COPIES;
    return pycnn_set_activation(self, PYCNN_TANH);
}

static void scaling_forward(const layer *self, const double *theta, const layer_io *io,
                            size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end; io++) {
        for (size_t j = 0; j < UNIT_COPIES * self->fan_out; j++) {
            io->saved[j] = 1 + (double)(j % self->fan_out) / 8;
        }
        for (size_t i = 0; i < io->stride; i++) {
            double sum = 0;
            for (size_t j = 0; j < self->fan_in; j++) {
                sum += io->input[j * io->stride + i];
            }
            for (size_t copy = 0; copy < SAMPLE_COPIES; copy++) {
                io->saved_samples[copy * io->stride + i] = 1 + sum / 4;
            }
        }
        for (size_t j = 0; j < self->fan_out; j++) {
            for (size_t i = 0; i < io->stride; i++) {
                const size_t at = j * io->stride + i;
                io->z[at] = io->saved[j] * io->saved_samples[i] * io->input[at];
            }
        }
        pycnn_activate(self, io);
    }
}

/* dL/dx_ki = delta_ki c_k s_i + 1/4 sum_j delta_ji c_j x_ji, from the last copies */
static void scaling_backward(const layer *self, const double *theta, const layer_io *io,
                             size_t slices)
{
    (void)theta;
    for (const layer_io *end = io + slices; io < end && io->delta_input != NULL; io++) {
        const double *c = io->saved + (UNIT_COPIES - 1) * self->fan_out;
        const double *s = io->saved_samples + (SAMPLE_COPIES - 1) * io->stride;
        for (size_t i = 0; i < io->stride; i++) {
            double sum = 0;
            for (size_t j = 0; j < self->fan_out; j++) {
                const size_t at = j * io->stride + i;
                sum += io->delta[at] * c[j] * io->input[at];
            }
            for (size_t k = 0; k < self->fan_in; k++) {
                const size_t at = k * io->stride + i;
                io->delta_input[at] = io->delta[at] * c[k] * s[i] + sum / 4;
            }
        }
    }
}

static const layer_ops scaling_ops = {.forward = scaling_forward, .backward = scaling_backward};

/* Puts such a layer where a dropout layer, which has no parameters either, has been. */
static void replace(pycnn_network *net, size_t l)
{
    layer *self = &net->layers[l];
    self->ops = &scaling_ops;
    self->writes_z = false;
    CHECK(scaling_create(self) == PYCNN_OK);
    self->activation = &net->kernels->activations[self->f];
}

static problem make_scaling_problem(void)
{
    const pycnn_layer_spec dropout = {.kind = PYCNN_DROPOUT, .units = 7};
    const pycnn_layer_spec layers[] = {
        dropout, DENSE(PYCNN_TANH, 7),  dropout, dropout, DENSE(PYCNN_TANH, 7),
        dropout, DENSE(PYCNN_LINEAR, 3)};
    problem p = make_problem(4, ROWS, INPUTS, layers, 7, PYCNN_MSE);
    replace(p.net, 0), replace(p.net, 2), replace(p.net, 3), replace(p.net, 5);
    return p;
}

static double loss_of(const problem *p, pycnn_workspace *ws, double *grad)
{
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p->net, ws, p->theta, p->theta_size, &p->data, NULL) ==
          PYCNN_OK);
    return totals.loss / totals.weight;
}

static void test_memory_of_slices_and_of_samples_is_kept_apart(void)
{
    problem p = make_scaling_problem();
    double *grad = doubles(p.parameters), *other = doubles(p.parameters);
    double *numeric = doubles(p.parameters);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    loss_of(&p, ws, grad);
    for (size_t k = 0; k < p.parameters; k++) {
        const double value = p.theta[k], h = 1e-5;
        p.theta[k] = value + h;
        const double above = loss_of(&p, ws, other);
        p.theta[k] = value - h;
        numeric[k] = (above - loss_of(&p, ws, other)) / (2 * h);
        p.theta[k] = value;
    }
    CHECK(largest(grad, p.parameters) > 1e-2);
    CHECK(agree(grad, numeric, p.parameters, 2e-8));
    for (size_t count = 1; count <= 7; count += 3) {
        pycnn_threads *threads;
        CHECK(pycnn_threads_create(&threads, count) == PYCNN_OK);
        for (size_t capacity = 1; capacity <= ROWS; capacity = 2 * capacity + 7) {
            pycnn_workspace *small = workspace(p.net, capacity, PYCNN_TRACE);
            pycnn_workspace_set_threads(small, threads);
            loss_of(&p, small, other);
            CHECK(same_bits(other, grad, p.parameters));
            pycnn_workspace_destroy(small);
        }
        pycnn_threads_destroy(threads);
    }
    free(grad), free(other), free(numeric);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* Alone they would be no work at all, if that were the number of parameters. */
static void test_layers_without_parameters_may_stand_anywhere(void)
{
    const pycnn_layer_spec drop = {.kind = PYCNN_DROPOUT, .rate = 0.5, .units = INPUTS};
    const pycnn_layer_spec add = {.kind = PYCNN_RESIDUAL,
                                  .activation = PYCNN_TANH,
                                  .units = INPUTS,
                                  .inner = &drop,
                                  .inner_depth = 1,
                                  .shortcut = &drop};
    const pycnn_layer_spec stacks[][4] = {{drop, DENSE(PYCNN_TANH, 3)},
                                          {drop, drop, add, DENSE(PYCNN_TANH, INPUTS)},
                                          {DENSE(PYCNN_TANH, INPUTS), drop, drop, add},
                                          {add},
                                          {drop, add, drop, add}};
    static const size_t depths[] = {2, 4, 4, 1, 4};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        double *theta[3], output[3][INPUTS * ROWS];
        pycnn_totals totals[3];
        problem p = make_problem(6, ROWS, INPUTS, stacks[i], depths[i], PYCNN_MSE);
        for (size_t t = 0; t < 3; t++) {
            pycnn_threads *threads;
            pycnn_workspace *ws = workspace(p.net, 250, PYCNN_BACKWARD);
            CHECK(pycnn_threads_create(&threads, 3 * t + 1) == PYCNN_OK);
            pycnn_workspace_set_threads(ws, threads);
            theta[t] = trained(
                &p, ws, (pycnn_training){.epochs = 1, .batch_size = 200, .learning_rate = 0.1},
                &totals[t]);
            CHECK(pycnn_predict(output[t], p.net, ws, theta[t], p.theta_size, p.x, ROWS) ==
                  PYCNN_OK);
            CHECK(same_bits(theta[t], theta[0], p.parameters));
            CHECK(same_bits(output[t], output[0], p.outputs * ROWS));
            CHECK(same_bits(&totals[t], &totals[0], 3));
            pycnn_workspace_destroy(ws);
            pycnn_threads_destroy(threads);
        }
        CHECK(p.parameters == 0 || !same_bits(theta[0], p.theta, p.parameters));
        free(theta[0]), free(theta[1]), free(theta[2]);
        free_problem(&p);
    }
}

const test layer_tests[] = {
    FOR_EACH_SET("memory of slices and of samples is kept apart",
                 test_memory_of_slices_and_of_samples_is_kept_apart),
    FOR_EACH_SET("layers without parameters may stand anywhere",
                 test_layers_without_parameters_may_stand_anywhere),
    {0},
};
