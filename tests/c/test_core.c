// The C core's own test program: it needs nothing but the core.
//
//     cc -O2 -pthread -Icsrc csrc/*.c tests/c/test_core.c -o test_core -lm && ./test_core
//
// With `-include tests/c/failing_malloc.h` it also makes each allocation of the core fail in turn.
// All of it runs once for each instruction set that the machine has, or for that of PYCNN_ISA.
#if defined(__linux__)
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS and setenv, also with -std=c11 */
#endif

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#define HAVE_POSIX 1
#endif

#include "pycnn.h"

/* ---------------------------------------------------------------- the frame */

static _Atomic size_t passed, failed; /* some tests check on several threads */

static bool check(bool good, const char *what, int line)
{
    if (good) {
        passed++;
    } else if (failed++ < 20) {
        printf("test_core.c:%d: failed: %s\n", line, what);
    }
    return good;
}

static double not_null; /* what an output pointer points to before a call that must clear it */

#define CHECK(condition) check((condition), #condition, __LINE__)

static void *checked_malloc(size_t size)
{
    void *block = malloc(size);
    if (block == NULL) {
        printf("the test program itself is out of memory\n");
        exit(EXIT_FAILURE);
    }
    return block;
}

static double *doubles(size_t count) { return checked_malloc((count + 1) * sizeof(double)); }

/* splitmix64: the same numbers everywhere. */
static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In [-1, 1). */
static double random_value(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) / (double)(1ull << 52) - 1;
}

static double *random_doubles(uint64_t seed, size_t count)
{
    double *values = doubles(count);
    for (size_t i = 0; i < count; i++) {
        values[i] = random_value(&seed);
    }
    return values;
}

static double *copy_doubles(const double *source, size_t count)
{
    double *copy = doubles(count);
    memcpy(copy, source, count * sizeof *copy);
    return copy;
}

static bool same_bits(const void *a, const void *b, size_t count)
{
    return memcmp(a, b, count * sizeof(double)) == 0;
}

static double largest(const double *values, size_t count)
{
    double result = 0;
    for (size_t i = 0; i < count; i++) {
        result = fabs(values[i]) > result ? fabs(values[i]) : result;
    }
    return result;
}

/* |a - b| relative to the largest of b: rounding errors of a sum follow its terms, not its value.
 */
static bool agree(const double *a, const double *b, size_t count, double tolerance)
{
    const double scale = largest(b, count);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= tolerance * scale)) {
            return false;
        }
    }
    return true;
}

static bool near(double a, double b, double tolerance) { return agree(&a, &b, 1, tolerance); }

/* ---------------------------------------------------------------- networks and data to test on */

#define DENSE(f, n) {.kind = PYCNN_DENSE, .activation = (f), .units = (n)}

enum { ACTIVATIONS = PYCNN_ACTIVATION_COUNT, LOSSES = PYCNN_LOSS_COUNT };

/* An output activation that suits the loss, and what it carries. */
static int output_for(int loss)
{
    switch (loss) {
    case PYCNN_BINARY_CROSSENTROPY: return PYCNN_SIGMOID;
    case PYCNN_CATEGORICAL_CROSSENTROPY: return PYCNN_SOFTMAX;
    case PYCNN_KL_DIVERGENCE: return PYCNN_SOFTMAX;
    case PYCNN_POISSON: return PYCNN_SOFTPLUS;
    default: return PYCNN_LINEAR;
    }
}

static double parameter_of(int loss)
{
    return loss == PYCNN_HUBER ? 0.75 : loss == PYCNN_QUANTILE ? 0.25 : 0;
}

static pycnn_network *create(size_t inputs, const pycnn_layer_spec *layers, size_t depth, int loss)
{
    pycnn_network *net = NULL;
    if (!CHECK(pycnn_network_create(&net, inputs, layers, depth, loss, parameter_of(loss)) ==
               PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    return net;
}

static pycnn_workspace *workspace(const pycnn_network *net, size_t batch, int mode)
{
    pycnn_workspace *ws = NULL;
    if (!CHECK(pycnn_workspace_create(&ws, net, batch, mode) == PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    return ws;
}

/* A network, its parameters and labelled samples. */
typedef struct {
    size_t inputs, outputs, parameters, units; /* units: of all layers together */
    pycnn_network *net;
    double *theta, *x, *y, *weight;
    size_t *label;
    pycnn_dataset data;
} problem;

static void free_problem(problem *p)
{
    pycnn_network_destroy(p->net);
    free(p->theta);
    free(p->x);
    free(p->y);
    free(p->weight);
    free(p->label);
}

/* Targets suit every loss: one-hot rows of `label`. Weights are there, but not in use. */
static problem make_problem(uint64_t seed, size_t rows, size_t inputs,
                            const pycnn_layer_spec *layers, size_t depth, int loss)
{
    problem p = {.inputs = inputs, .outputs = layers[depth - 1].units};
    p.net = create(inputs, layers, depth, loss);
    p.parameters = pycnn_network_parameter_count(p.net);
    for (size_t l = 0; l < depth; l++) {
        p.units += layers[l].units;
    }
    p.theta = random_doubles(seed, p.parameters);
    p.x = random_doubles(seed + 1, rows * inputs);
    p.weight = random_doubles(seed + 2, rows);
    p.y = doubles(rows * p.outputs);
    p.label = checked_malloc((rows + 1) * sizeof *p.label);
    memset(p.y, 0, rows * p.outputs * sizeof *p.y);
    uint64_t state = seed + 3;
    for (size_t i = 0; i < rows; i++) {
        p.weight[i] += 1.5;
        p.label[i] = random_bits(&state) % p.outputs;
        p.y[i * p.outputs + p.label[i]] = 1;
    }
    p.data = (pycnn_dataset){.rows = rows, .x = p.x, .y = p.y};
    return p;
}

/* 5 -> 7 tanh -> 6 relu -> 3 softmax */
static problem classifier(uint64_t seed, size_t rows)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 7), DENSE(PYCNN_RELU, 6),
                                              DENSE(PYCNN_SOFTMAX, 3)};
    return make_problem(seed, rows, 5, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
}

/* ---------------------------------------------------------------- the lecture's worked example */

/* 2-2-2-1, relu, relu, sigmoid, binary cross-entropy, one sample; learning rate 0.1. */
static void test_lecture_example(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 2), DENSE(PYCNN_RELU, 2),
                                       DENSE(PYCNN_SIGMOID, 1)};
    double theta[15] = {0.1, 0.2, 0.3, 0.4, 0.05, 0.05, /* W[1], b[1] */
                        0.5, 0.6, 0.7, 0.8, 0.1,  0.1,  /* W[2], b[2] */
                        0.9, 1.0, 0.15};                /* W[3], b[3] */
    const double x[2] = {0.5, 1.0}, y[1] = {1.0};

    /* The lecture's formulas, written out; what it prints is rounded after each of them. */
    double z[5], a[5], delta[5], grad[15], updated[15];
    z[0] = theta[0] * x[0] + theta[1] * x[1] + theta[4];
    z[1] = theta[2] * x[0] + theta[3] * x[1] + theta[5];
    a[0] = fmax(0, z[0]), a[1] = fmax(0, z[1]);
    z[2] = theta[6] * a[0] + theta[7] * a[1] + theta[10];
    z[3] = theta[8] * a[0] + theta[9] * a[1] + theta[11];
    a[2] = fmax(0, z[2]), a[3] = fmax(0, z[3]);
    z[4] = theta[12] * a[2] + theta[13] * a[3] + theta[14];
    a[4] = 1 / (1 + exp(-z[4]));
    delta[4] = a[4] - y[0];
    delta[2] = z[2] > 0 ? theta[12] * delta[4] : 0;
    delta[3] = z[3] > 0 ? theta[13] * delta[4] : 0;
    delta[0] = z[0] > 0 ? theta[6] * delta[2] + theta[8] * delta[3] : 0;
    delta[1] = z[1] > 0 ? theta[7] * delta[2] + theta[9] * delta[3] : 0;
    for (int j = 0; j < 2; j++) {
        for (int k = 0; k < 2; k++) {
            grad[2 * j + k] = delta[j] * x[k];
            grad[6 + 2 * j + k] = delta[2 + j] * a[k];
        }
        grad[4 + j] = delta[j];
        grad[10 + j] = delta[2 + j];
        grad[12 + j] = delta[4] * a[2 + j];
    }
    grad[14] = delta[4];
    for (int i = 0; i < 15; i++) {
        updated[i] = theta[i] - 0.1 * grad[i];
    }

    pycnn_network *net = create(2, layers, 3, PYCNN_BINARY_CROSSENTROPY);
    CHECK(pycnn_network_parameter_count(net) == 15);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_TRACE);
    const pycnn_dataset data = {.rows = 1, .x = x, .y = y};
    double z_core[5], a_core[5], delta_core[5], grad_core[15], output;
    pycnn_totals totals;
    CHECK(pycnn_trace(&totals, grad_core, z_core, a_core, delta_core, net, ws, theta, &data) ==
          PYCNN_OK);
    for (int i = 0; i < 5; i++) {
        CHECK(near(z_core[i], z[i], 1e-12));
        CHECK(near(a_core[i], a[i], 1e-12));
        CHECK(near(delta_core[i], delta[i], 1e-12));
    }
    for (int i = 0; i < 15; i++) {
        CHECK(near(grad_core[i], grad[i], 1e-12));
    }
    CHECK(near(totals.loss, -log(a[4]), 1e-12));
    CHECK(totals.weight == 1 && totals.correct == 1);
    CHECK(pycnn_predict(&output, net, ws, theta, x, 1) == PYCNN_OK);
    CHECK(same_bits(&output, &a_core[4], 1));

    /* The figures it prints, for what they are worth. */
    CHECK(fabs(z_core[4] - 1.489) < 1e-12);
    CHECK(fabs(output - 0.816) < 1e-3);
    CHECK(fabs(totals.loss - 0.203) < 1e-3);
    CHECK(fabs(delta_core[4] + 0.184) < 1e-3);

    pycnn_totals epoch = {0};
    pycnn_training state = {.epochs = 1, .batch_size = 1, .learning_rate = 0.1, .totals = &epoch};
    size_t steps = 0;
    CHECK(pycnn_train(&steps, theta, &state, net, ws, &data, 10) == PYCNN_OK);
    CHECK(steps == 1 && state.epoch == 1 && state.position == 0);
    CHECK(same_bits(&epoch, &totals, 3));
    for (int i = 0; i < 15; i++) {
        CHECK(near(theta[i], updated[i], 1e-12));
    }
    CHECK(fabs(theta[0] - 0.110580) < 1e-4 && fabs(theta[12] - 0.911224) < 1e-4);
    CHECK(pycnn_evaluate(&totals, net, ws, theta, &data) == PYCNN_OK);
    CHECK(totals.loss < epoch.loss); /* the second iteration's loss is the lower one */
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* ---------------------------------------------------------------- activations */

/* The network's only weight is 1, so z is x. */
static void check_activation(int activation, const double *x, const double *expected, size_t count)
{
    const pycnn_layer_spec layers[] = {DENSE(activation, 1)};
    pycnn_network *net = create(1, layers, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(net, 64, PYCNN_FORWARD);
    const double theta[2] = {1, 0};
    double *a = doubles(count);
    CHECK(pycnn_predict(a, net, ws, theta, x, count) == PYCNN_OK);
    for (size_t i = 0; i < count; i++) {
        /* 4 ulp, of the smallest number there is too; the plain kernels of three activations round
         * an exponent of up to 750 */
        const bool exponent =
            activation == PYCNN_GELU || activation == PYCNN_GELU_TANH || activation == PYCNN_SILU;
        const double ulps = exponent ? 4096 : 4;
        CHECK(a[i] == expected[i] ||
              fabs(a[i] - expected[i]) <= ulps * (DBL_EPSILON * fabs(expected[i]) + 0x1p-1074));
    }
    free(a);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

static void test_activations_meet_the_c_library(void)
{
    enum { COUNT = 4000 };
    double *x = doubles(COUNT), *expected[ACTIVATIONS];
    uint64_t seed = 5;
    for (int f = 0; f < ACTIVATIONS; f++) {
        expected[f] = doubles(COUNT);
    }
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = random_value(&seed) * exp(30 * random_value(&seed)); /* 1e-13 ... 1e13 */
        x[i] = i % 2 ? 40 * random_value(&seed) : x[i];
    }
    const double special[] = {0.0,     -0.0,     1,    -1,    DBL_MIN, -DBL_MIN, 0x1p-1074,
                              DBL_MAX, -DBL_MAX, 709,  -709,  745,     -745,     746,
                              -746,    800,      -800, 19.06, 22,      -37,      36.8};
    memcpy(x, special, sizeof special);
    for (size_t i = 0; i < COUNT; i++) {
        expected[PYCNN_LINEAR][i] = x[i];
        expected[PYCNN_SIGMOID][i] = (double)(1 / (1 + expl(-(long double)x[i])));
        if (x[i] < -700) { /* where long double is double, the line above would overflow */
            expected[PYCNN_SIGMOID][i] = exp(x[i]);
        }
        expected[PYCNN_RELU][i] = x[i] > 0 ? x[i] : 0;
        expected[PYCNN_TANH][i] = (double)tanhl(x[i]);
        expected[PYCNN_SOFTMAX][i] = 1;
        const long double v = x[i], u = 1.5957691216057307118L * (v + 0.044715L * v * v * v);
        expected[PYCNN_LEAKY_RELU][i] = x[i] > 0 ? x[i] : 0.01 * x[i];
        expected[PYCNN_ELU][i] = x[i] > 0 ? x[i] : (double)expm1l(v);
        expected[PYCNN_SELU][i] =
            (x[i] > 0 ? 1.0507009873554805 : 1.7580993408473768) * expected[PYCNN_ELU][i];
        expected[PYCNN_GELU][i] = (double)(v * erfcl(-v * 0.70710678118654752440L) / 2);
        expected[PYCNN_GELU_TANH][i] = (double)(u < -700 ? v * expl(u) : v / (1 + expl(-u)));
        expected[PYCNN_SILU][i] =
            x[i] < -700 ? fmax(x[i], -800) * exp(x[i]) : (double)(v / (1 + expl(-v)));
        expected[PYCNN_SOFTPLUS][i] = (double)(fmaxl(v, 0) + log1pl(expl(-fabsl(v))));
        expected[PYCNN_SOFTSIGN][i] = (double)(v / (1 + fabsl(v)));
        expected[PYCNN_HARD_SIGMOID][i] = fmax(0, fmin(1, x[i] / 6 + 0.5));
        expected[PYCNN_HARD_TANH][i] = fmax(-1, fmin(1, x[i]));
    }
    for (int f = 0; f < ACTIVATIONS; f++) {
        check_activation(f, x, expected[f], COUNT);
        free(expected[f]);
    }
    free(x);
}

/* The binary cross-entropy of logit z and target 0: log(1 + e^z). */
static void test_logarithms_meet_the_c_library(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_SIGMOID, 1)};
    pycnn_network *net = create(1, layers, 1, PYCNN_BINARY_CROSSENTROPY);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
    const double theta[2] = {1, 0}, y = 0;
    uint64_t seed = 6;
    for (int i = 0; i < 4000; i++) {
        const double z = (i % 2 ? 3 : 45) * random_value(&seed);
        const double e = exp(-fabs(z)), expected = fmax(z, 0) + log1p(e);
        const pycnn_dataset data = {.rows = 1, .x = &z, .y = &y};
        pycnn_totals totals;
        CHECK(pycnn_evaluate(&totals, net, ws, theta, &data) == PYCNN_OK);
        CHECK(near(totals.loss, expected, 6 * DBL_EPSILON));
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* ---------------------------------------------------------------- gradients */

static double mean_loss(const problem *p, pycnn_workspace *ws)
{
    pycnn_totals totals;
    CHECK(pycnn_evaluate(&totals, p->net, ws, p->theta, &p->data) == PYCNN_OK);
    return totals.loss / totals.weight;
}

static bool is_far(double x, double kink) { return fabs(x - kink) > 1e-3; }

/* A difference across a kink measures nothing: no z may be close to one of an activation (relu's is
 * at 0, those of the hard ones at -1, 1, -3 and 3), and no output to one of a loss. */
static bool far_from_kinks(const problem *p, pycnn_workspace *ws)
{
    const size_t count = p->units * p->data.rows;
    double *z = doubles(count), *a = doubles(count), *delta = doubles(count);
    double *grad = doubles(p->parameters);
    pycnn_totals totals;
    CHECK(pycnn_trace(&totals, grad, z, a, delta, p->net, ws, p->theta, &p->data) == PYCNN_OK);
    bool far = true;
    for (size_t i = 0; i < count; i++) {
        far = far && is_far(z[i], 0) && is_far(fabs(z[i]), 1) && is_far(fabs(z[i]), 3);
    }
    for (size_t j = 0; j < p->outputs; j++) {
        for (size_t i = 0; i < p->data.rows; i++) {
            const double output = a[(p->units - p->outputs + j) * p->data.rows + i];
            const double target = p->y[i * p->outputs + j], error = output - target;
            far = far && is_far(error, 0) && is_far(fabs(error), parameter_of(PYCNN_HUBER)) &&
                  is_far(target * output, 1);
        }
    }
    free(z), free(a), free(delta), free(grad);
    return far;
}

/* Targets of a class that add up to 1. */
static problem make_soft_problem(uint64_t seed, size_t rows, const pycnn_layer_spec layers[2],
                                 int loss)
{
    problem p = make_problem(seed, rows, 3, layers, 2, loss);
    for (size_t i = 0; i < rows; i++) {
        p.y[3 * i + p.label[i]] = 0.9;
        p.y[3 * i + (p.label[i] + 1) % 3] = 0.1;
    }
    return p;
}

static void check_gradient(int hidden, int output, int loss, bool weighted)
{
    const pycnn_layer_spec layers[] = {DENSE(hidden, 4), DENSE(output, 3)};
    enum { ROWS = 6 };
    uint64_t seed = 100;
    problem p = make_soft_problem(seed, ROWS, layers, loss);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
    while (!far_from_kinks(&p, ws) && seed < 200) {
        pycnn_workspace_destroy(ws);
        free_problem(&p);
        p = make_soft_problem(++seed, ROWS, layers, loss);
        ws = workspace(p.net, ROWS, PYCNN_TRACE);
    }
    p.data.weight = weighted ? p.weight : NULL;
    double *grad = doubles(p.parameters), *numeric = doubles(p.parameters);
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(near(totals.loss / totals.weight, mean_loss(&p, ws), 1e-15));
    CHECK(largest(grad, p.parameters) > 1e-2);
    const double h = 1e-5; /* errors: h^2 f''' = 1e-10 and eps / h = 1e-11 */
    for (size_t i = 0; i < p.parameters; i++) {
        const double value = p.theta[i];
        p.theta[i] = value + h;
        const double above = mean_loss(&p, ws);
        p.theta[i] = value - h;
        const double below = mean_loss(&p, ws);
        p.theta[i] = value;
        numeric[i] = (above - below) / (2 * h);
    }
    CHECK(agree(grad, numeric, p.parameters, 1e-8));
    free(grad), free(numeric);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_gradients_meet_central_differences(void)
{
    for (int weighted = 0; weighted < 2; weighted++) {
        for (int hidden = 0; hidden < ACTIVATIONS; hidden++) {
            for (int output = 0; output < ACTIVATIONS; output++) {
                check_gradient(hidden, output, PYCNN_MSE, weighted);
            }
            for (int loss = 0; loss < LOSSES; loss++) {
                check_gradient(hidden, output_for(loss), loss, weighted);
            }
        }
    }
}

/* ---------------------------------------------------------------- tails */

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
    CHECK(pycnn_predict(output, p.net, ws, p.theta, p.x, rows) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(agree(output, expected, count, 1e-14));
    CHECK(agree(grad, expected_grad, p.parameters, 1e-13));
    CHECK(output[count] == 12345 && grad[p.parameters] == 12345);
    bool alike = true; /* a row's bits do not depend on the rows beside it */
    for (size_t i = 0; i < rows; i++) {
        CHECK(pycnn_predict(row, p.net, ws, p.theta, p.x + i * inputs, 1) == PYCNN_OK);
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

/* ---------------------------------------------------------------- data: pieces, order, labels */

/* Trains a copy of p->theta and returns it; NULL stands for a failure. */
static double *trained(const problem *p, pycnn_workspace *ws, pycnn_training state,
                       pycnn_totals *totals)
{
    double *theta = copy_doubles(p->theta, p->parameters);
    memset(totals, 0, state.epochs * sizeof *totals);
    state.totals = totals;
    size_t steps = 0;
    CHECK(pycnn_train(&steps, theta, &state, p->net, ws, &p->data, SIZE_MAX) == PYCNN_OK);
    CHECK(state.epoch == state.epochs && state.position == 0);
    const size_t rows = p->data.rows, size = state.batch_size;
    CHECK(steps == state.epochs * (rows / size + (rows % size != 0)));
    return theta;
}

static void test_a_small_workspace_gives_the_same_bits(void)
{
    enum { ROWS = 33, OUTPUTS = 3, EPOCHS = 2 };
    problem p = classifier(7, ROWS);
    p.data.weight = p.weight;
    double output[2][ROWS * OUTPUTS], *grad[2];
    pycnn_totals totals[2][2], epochs[2][EPOCHS];
    const pycnn_training plan = {.epochs = EPOCHS, .batch_size = 20, .learning_rate = 0.1};
    double *theta[2] = {NULL, NULL};
    for (size_t capacity = ROWS; capacity > 0; capacity--) {
        const int i = capacity != ROWS; /* 0: the whole data at once, which the rest must equal */
        pycnn_workspace *ws = workspace(p.net, capacity, PYCNN_BACKWARD);
        grad[i] = doubles(p.parameters);
        CHECK(pycnn_predict(output[i], p.net, ws, p.theta, p.x, ROWS) == PYCNN_OK);
        CHECK(pycnn_evaluate(&totals[i][0], p.net, ws, p.theta, &p.data) == PYCNN_OK);
        CHECK(pycnn_gradients(&totals[i][1], grad[i], p.net, ws, p.theta, &p.data, NULL) ==
              PYCNN_OK);
        theta[i] = trained(&p, ws, plan, epochs[i]);
        if (i == 1) {
            CHECK(same_bits(output[0], output[1], ROWS * OUTPUTS));
            CHECK(same_bits(totals[0], totals[1], 6));
            CHECK(same_bits(grad[0], grad[1], p.parameters));
            CHECK(same_bits(theta[0], theta[1], p.parameters));
            CHECK(same_bits(epochs[0], epochs[1], 3 * EPOCHS));
            free(grad[1]), free(theta[1]);
        }
        pycnn_workspace_destroy(ws);
    }
    CHECK(same_bits(&totals[0][0], &totals[0][1], 3)); /* evaluate and gradients agree too */
    free(grad[0]), free(theta[0]);
    free_problem(&p);
}

static void test_order_decides_which_sample_comes_when(void)
{
    enum { ROWS = 11, EPOCHS = 3 };
    problem p = classifier(11, ROWS), q = classifier(11, ROWS);
    pycnn_workspace *ws = workspace(p.net, 4, PYCNN_BACKWARD);
    pycnn_workspace *ws_q = workspace(q.net, 4, PYCNN_BACKWARD);
    size_t order[EPOCHS * ROWS];
    pycnn_totals totals[2][EPOCHS];
    for (size_t i = 0; i < EPOCHS * ROWS; i++) {
        order[i] = i % ROWS;
    }
    pycnn_training plan = {.epochs = EPOCHS, .batch_size = 4, .learning_rate = 0.1};
    double *plain = trained(&p, ws, plan, totals[0]);
    plan.order = order;
    double *identity = trained(&p, ws, plan, totals[1]);
    CHECK(same_bits(plain, identity, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* The same order in every epoch is the same as data that lie in that order. */
    for (size_t i = 0; i < ROWS; i++) {
        const size_t from = (i * 4 + 3) % ROWS;
        order[i] = order[ROWS + i] = order[2 * ROWS + i] = from;
        memcpy(q.x + i * q.inputs, p.x + from * p.inputs, p.inputs * sizeof *q.x);
        memcpy(q.y + i * q.outputs, p.y + from * p.outputs, p.outputs * sizeof *q.y);
        q.weight[i] = p.weight[from];
    }
    p.data.weight = p.weight, q.data.weight = q.weight;
    double *ordered = trained(&p, ws, plan, totals[0]);
    plan.order = NULL;
    double *moved = trained(&q, ws_q, plan, totals[1]);
    CHECK(same_bits(ordered, moved, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    CHECK(!same_bits(ordered, plain, p.parameters));

    /* Another order in another epoch is read from its own place. */
    for (size_t i = 0; i < ROWS; i++) {
        order[2 * ROWS + i] = ROWS - 1 - i;
    }
    plan.order = order;
    double *varied = trained(&p, ws, plan, totals[0]);
    CHECK(same_bits(totals[0], totals[1], 3 * 2));
    CHECK(!same_bits(varied, ordered, p.parameters));
    free(plain), free(identity), free(ordered), free(moved), free(varied);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(ws_q);
    free_problem(&p), free_problem(&q);
}

static void test_labels_and_one_hot_rows_give_the_same_bits(void)
{
    enum { ROWS = 23, EPOCHS = 2 };
    problem p = classifier(23, ROWS);
    pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
    const pycnn_training plan = {.epochs = EPOCHS, .batch_size = 5, .learning_rate = 0.3};
    pycnn_totals totals[2][EPOCHS], sums[2];
    double *one_hot_grad = doubles(p.parameters), *label_grad = doubles(p.parameters);
    double *one_hot = trained(&p, ws, plan, totals[0]);
    CHECK(pycnn_gradients(&sums[0], one_hot_grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    p.data.y = NULL, p.data.label = p.label;
    double *labels = trained(&p, ws, plan, totals[1]);
    CHECK(pycnn_gradients(&sums[1], label_grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(same_bits(one_hot, labels, p.parameters));
    CHECK(same_bits(one_hot_grad, label_grad, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    CHECK(same_bits(&sums[0], &sums[1], 3));
    CHECK(sums[0].correct >= 0 && sums[0].correct <= ROWS && sums[0].weight == ROWS);
    free(one_hot), free(labels), free(one_hot_grad), free(label_grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* As if somebody else had smoothed the targets; what is right is told from them as they were. */
static void check_smoothing(int loss, size_t units)
{
    enum { ROWS = 23, EPOCHS = 2 };
    const double e = 0.1, classes = loss == PYCNN_BINARY_CROSSENTROPY ? 2 : (double)units;
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(output_for(loss), units)};
    problem p = make_problem(29, ROWS, 4, layers, 2, loss), q = p;
    CHECK(pycnn_network_create(&q.net, 4, layers, 2, loss, e) == PYCNN_OK);
    for (size_t batch = 1; batch <= 8; batch += 7) { /* few samples take another way */
        pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
        pycnn_workspace *smoothing_ws = workspace(q.net, 8, PYCNN_BACKWARD);
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.3};
        double *smoothed = copy_doubles(p.y, ROWS * units);
        for (size_t i = 0; i < ROWS * units; i++) {
            smoothed[i] = (1 - e) * p.y[i] + e / classes;
        }
        pycnn_totals totals[3][EPOCHS];
        p.data.y = smoothed;
        double *expected = trained(&p, ws, plan, totals[0]);
        double *theta = trained(&q, smoothing_ws, plan, totals[1]);
        q.data.y = NULL, q.data.label = q.label;
        double *of_labels = trained(&q, smoothing_ws, plan, totals[2]);
        q.data.y = q.y;
        CHECK(same_bits(theta, expected, p.parameters));
        CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
        CHECK(same_bits(of_labels, expected, p.parameters));
        free(expected), free(theta), free(of_labels), free(smoothed);
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(smoothing_ws);
    }
    pycnn_network_destroy(q.net);
    free_problem(&p);
}

static void test_labels_are_smoothed(void)
{
    check_smoothing(PYCNN_CATEGORICAL_CROSSENTROPY, 3);
    check_smoothing(PYCNN_BINARY_CROSSENTROPY, 3);
    check_smoothing(PYCNN_BINARY_CROSSENTROPY, 1);
}

/* Targets of several outputs, some of them missing. */
static void check_missing_targets(int loss, bool weighted)
{
    enum { ROWS = 21, UNITS = 3, EPOCHS = 2 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(output_for(loss), UNITS)};
    problem p = make_problem(31, ROWS, 4, layers, 2, loss);
    pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
    double *grad = doubles(p.parameters), *expected = doubles(p.parameters);
    p.data.weight = weighted ? p.weight : NULL;

    /* One sample: its loss is the sum of what the losses of the outputs that it has are. */
    pycnn_totals totals, part, sum = {0};
    p.data.rows = 1;
    memset(expected, 0, p.parameters * sizeof *expected);
    for (size_t mask = 1; mask < 1 << UNITS; mask++) {
        double loss_sum = 0, share = 0, count = 0;
        for (size_t j = 0; j < UNITS; j++) {
            const double one[] = {j == 0 ? p.y[0] : NAN, j == 1 ? p.y[1] : NAN,
                                  j == 2 ? p.y[2] : NAN};
            p.data.y = one;
            CHECK(pycnn_evaluate(&part, p.net, ws, p.theta, &p.data) == PYCNN_OK);
            if (mask >> j & 1) {
                loss_sum += part.loss, share += part.correct, count++;
            }
        }
        const double some[] = {mask & 1 ? p.y[0] : NAN, mask & 2 ? p.y[1] : NAN,
                               mask & 4 ? p.y[2] : NAN};
        p.data.y = some;
        CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, &p.data) == PYCNN_OK);
        CHECK(totals.weight == (weighted ? p.weight[0] : 1));
        CHECK(near(totals.loss, loss_sum, 1e-14) && near(totals.correct, share / count, 1e-14));
    }

    /* Rows without any target are as if they were not there. */
    p.data.rows = ROWS;
    double *kept_x = doubles(ROWS * p.inputs), *kept_y = doubles(ROWS * UNITS);
    double *kept_weight = doubles(ROWS), *y = copy_doubles(p.y, ROWS * UNITS);
    size_t kept = 0;
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < UNITS; j++) {
            y[i * UNITS + j] = i % 3 == 0 || (i + j) % 4 == 0 ? NAN : p.y[i * UNITS + j];
        }
        if (i % 3 != 0) {
            memcpy(kept_x + kept * p.inputs, p.x + i * p.inputs, p.inputs * sizeof *p.x);
            memcpy(kept_y + kept * UNITS, y + i * UNITS, UNITS * sizeof *y);
            kept_weight[kept++] = p.weight[i];
        }
    }
    p.data.y = y;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    const pycnn_dataset rest = {kept, kept_x, kept_y, NULL, weighted ? kept_weight : NULL};
    CHECK(pycnn_gradients(&sum, expected, p.net, ws, p.theta, &rest, NULL) == PYCNN_OK);
    CHECK(same_bits(grad, expected, p.parameters) && same_bits(&totals, &sum, 3));

    /* A mini-batch of such rows changes nothing; others train, few samples at a time or many. */
    for (size_t batch = 1; batch <= 8; batch += 7) {
        pycnn_totals epochs[EPOCHS];
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.1};
        double *theta = trained(&p, ws, plan, epochs);
        CHECK(largest(theta, p.parameters) < 100 && !same_bits(theta, p.theta, p.parameters));
        CHECK(near(epochs[1].weight, sum.weight, 1e-14));
        CHECK(epochs[1].loss < epochs[0].loss);
        free(theta);
    }
    for (size_t i = 0; i < ROWS * UNITS; i++) {
        y[i] = NAN;
    }
    for (size_t batch = 1; batch <= 8; batch += 7) {
        pycnn_totals epoch;
        const pycnn_training plan = {.epochs = 1, .batch_size = batch, .learning_rate = 0.1};
        double *theta = trained(&p, ws, plan, &epoch);
        CHECK(same_bits(theta, p.theta, p.parameters) && epoch.weight == 0 && epoch.loss == 0);
        free(theta);
    }
    free(grad), free(expected), free(kept_x), free(kept_y), free(kept_weight), free(y);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_targets_may_be_missing(void)
{
    for (int loss = 0; loss < LOSSES; loss++) {
        if (loss != PYCNN_CATEGORICAL_CROSSENTROPY && loss != PYCNN_KL_DIVERGENCE) {
            check_missing_targets(loss, false);
            check_missing_targets(loss, true);
        }
    }
    /* A class that is missing is an error of the caller's; the loss shows it. */
    problem p = classifier(23, 4);
    pycnn_workspace *ws = workspace(p.net, 4, PYCNN_FORWARD);
    pycnn_totals totals;
    p.y[3] = p.y[4] = p.y[5] = NAN;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, &p.data) == PYCNN_OK);
    CHECK(isnan(totals.loss));
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_weights_count_samples(void)
{
    enum { ROWS = 9 };
    problem p = classifier(41, ROWS);
    pycnn_workspace *ws = workspace(p.net, 2 * ROWS, PYCNN_BACKWARD);
    double *plain = doubles(p.parameters), *grad = doubles(p.parameters);
    pycnn_totals plain_totals, totals;
    CHECK(pycnn_gradients(&plain_totals, plain, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    p.data.weight = p.weight;

    /* All 1 is the same as none. */
    for (size_t i = 0; i < ROWS; i++) {
        p.weight[i] = 1;
    }
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(same_bits(plain, grad, p.parameters) && same_bits(&plain_totals, &totals, 3));

    /* A weight of 2 is a sample that is there twice, a weight of 0 one that is not there. */
    problem twice = classifier(41, ROWS);
    memcpy(twice.x, p.x + p.inputs, p.inputs * sizeof *p.x);
    memcpy(twice.y, p.y + p.outputs, p.outputs * sizeof *p.y);
    p.weight[0] = 0, p.weight[1] = 2;
    pycnn_workspace *twice_ws = workspace(twice.net, ROWS, PYCNN_BACKWARD);
    CHECK(pycnn_gradients(&plain_totals, plain, twice.net, twice_ws, twice.theta, &twice.data,
                          NULL) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(agree(grad, plain, p.parameters, 1e-14));
    CHECK(near(totals.loss, plain_totals.loss, 1e-14) && totals.weight == ROWS);
    CHECK(totals.correct == plain_totals.correct);

    /* Weights of all zero: no gradient, and a mini-batch that changes nothing. */
    memset(p.weight, 0, ROWS * sizeof *p.weight);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    CHECK(totals.weight == 0 && totals.loss == 0 && largest(grad, p.parameters) == 0);
    const pycnn_training plan = {.epochs = 1, .batch_size = 4, .learning_rate = 0.5};
    double *theta = trained(&p, ws, plan, &totals);
    CHECK(same_bits(theta, p.theta, p.parameters) && totals.weight == 0);
    free(theta);

    /* An infinite loss at weight 0 is none. */
    p.weight[0] = 1;
    double *far = copy_doubles(p.x, ROWS * p.inputs);
    far[p.inputs] = INFINITY;
    p.data.x = far;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, &p.data) == PYCNN_OK);
    CHECK(isfinite(totals.loss) && totals.loss > 0 && totals.weight == 1);
    free(far), free(plain), free(grad);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(twice_ws);
    free_problem(&p), free_problem(&twice);
}

/* ---------------------------------------------------------------- training */

static void test_training_step_by_step_gives_the_same_bits(void)
{
    enum { ROWS = 10, EPOCHS = 4 };
    problem p = classifier(51, ROWS);
    pycnn_workspace *ws = workspace(p.net, 3, PYCNN_BACKWARD);
    for (size_t batch = 1; batch <= ROWS + 2; batch++) {
        const pycnn_training plan = {.epochs = EPOCHS, .batch_size = batch, .learning_rate = 0.2};
        pycnn_totals whole_totals[EPOCHS], totals[EPOCHS] = {{0}};
        double *whole = trained(&p, ws, plan, whole_totals);
        for (size_t stride = 1; stride <= 5; stride += 2) {
            double *theta = copy_doubles(p.theta, p.parameters);
            memset(totals, 0, sizeof totals);
            pycnn_training state = plan;
            state.totals = totals;
            size_t steps = 1, done = 0;
            while (state.epoch < EPOCHS && steps > 0) {
                pycnn_training saved = state; /* plain data: put back, it goes on from there */
                CHECK(pycnn_train(&steps, theta, &saved, p.net, ws, &p.data, stride) == PYCNN_OK);
                state = saved;
                done += steps;
            }
            CHECK(state.epoch == EPOCHS && state.position == 0);
            CHECK(done == EPOCHS * ((ROWS + batch - 1) / batch));
            CHECK(same_bits(theta, whole, p.parameters));
            CHECK(same_bits(totals, whole_totals, 3 * EPOCHS));
            CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, stride) == PYCNN_OK);
            CHECK(steps == 0 && same_bits(theta, whole, p.parameters)); /* it is over */
            free(theta);
        }
        free(whole);
    }
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* Mini-batches of a few samples train in a layout of their own: with the bits of the others. Here a
 * batch size that is larger than the data asks for the general way. */
static void test_few_samples_train_as_many_do(void)
{
    static const size_t widths[] = {1, 2, 4, 5, 8, 9, 16, 17, 33};
    enum { WIDTHS = sizeof widths / sizeof *widths, EPOCHS = 5 };
    for (size_t n = 0; n < 3 * ACTIVATIONS * ACTIVATIONS; n++) {
        const size_t rows = 1 + n % 4;
        const int loss = (int)(n / 4 % (LOSSES + 1)) % LOSSES; /* mse twice, */
        const int end =
            loss == PYCNN_MSE ? (int)(n % ACTIVATIONS) : output_for(loss); /* with all */
        const pycnn_layer_spec layers[] = {
            DENSE((int)(n / 3 % ACTIVATIONS), widths[n % WIDTHS]),
            DENSE((int)(n / 3 / ACTIVATIONS), widths[n / WIDTHS % WIDTHS]), DENSE(end, 1 + n % 11)};
        problem p = make_problem(n, rows, 1 + n % 18, layers + n % 3, 3 - n % 3, loss);
        p.data.weight = n % 2 ? p.weight : NULL;
        pycnn_workspace *ws = workspace(p.net, 4, PYCNN_BACKWARD);
        pycnn_totals totals[2][EPOCHS];
        pycnn_training plan = {.epochs = EPOCHS, .batch_size = 1000, .learning_rate = 0.01};
        double *general = trained(&p, ws, plan, totals[0]);
        plan.batch_size = rows;
        double *few = trained(&p, ws, plan, totals[1]);
        CHECK(same_bits(general, few, p.parameters));
        CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
        free(general), free(few);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

static void test_a_step_is_the_gradient_times_the_learning_rate(void)
{
    enum { ROWS = 8 };
    problem p = classifier(61, ROWS);
    p.data.weight = p.weight;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    double *grad = doubles(p.parameters);
    pycnn_totals totals, epoch;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    const pycnn_training plan = {.epochs = 1, .batch_size = ROWS, .learning_rate = 0.25};
    double *theta = trained(&p, ws, plan, &epoch);
    for (size_t i = 0; i < p.parameters; i++) {
        grad[i] = p.theta[i] - 0.25 * grad[i];
    }
    CHECK(agree(theta, grad, p.parameters, 1e-15));
    CHECK(same_bits(&totals, &epoch, 3));
    free(theta), free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_divergence_leaves_the_last_finished_step(void)
{
    enum { ROWS = 6, EPOCHS = 400 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 5), DENSE(PYCNN_LINEAR, 2)};
    problem p = make_problem(71, ROWS, 3, layers, 2, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_totals totals[2][EPOCHS] = {{{0}}};
    double *theta = copy_doubles(p.theta, p.parameters);
    double *again = copy_doubles(p.theta, p.parameters);
    pycnn_training state = {
        .epochs = EPOCHS, .batch_size = 4, .learning_rate = 50, .totals = totals[0]};
    pycnn_training state_again = state;
    state_again.totals = totals[1];
    size_t steps = 0, steps_again = 0;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, SIZE_MAX) == PYCNN_ERROR_DIVERGED);
    CHECK(steps > 0 && state.epoch < EPOCHS && steps == 2 * state.epoch + (state.position > 0));
    CHECK(pycnn_train(&steps_again, again, &state_again, p.net, ws, &p.data, steps) == PYCNN_OK);
    CHECK(steps_again == steps && same_bits(theta, again, p.parameters));
    CHECK(state_again.epoch == state.epoch && state_again.position == state.position);
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* Called again it says so again, and changes nothing. */
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, again, p.parameters));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));

    /* NaN in the data. */
    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.x[ROWS * 3 - 1] = NAN;
    state = (pycnn_training){
        .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = totals[0]};
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_DIVERGED);
    CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
    free(theta), free(again);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* ---------------------------------------------------------------- extreme values */

/* One unit without inputs to speak of: the logits are the biases. */
static void check_logits(const double *bias, size_t units, int output, int loss, const double *y,
                         double expected_loss, const double *expected_delta)
{
    const pycnn_layer_spec layers[] = {DENSE(output, units)};
    pycnn_network *net = create(1, layers, 1, loss);
    pycnn_workspace *ws = workspace(net, 1, PYCNN_BACKWARD);
    double theta[8] = {0}, grad[8];
    memcpy(theta + units, bias, units * sizeof *bias);
    const double x = 1;
    const pycnn_dataset data = {.rows = 1, .x = &x, .y = y};
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, net, ws, theta, &data, NULL) == PYCNN_OK);
    CHECK(near(totals.loss, expected_loss, 1e-14));
    for (size_t j = 0; j < units; j++) {
        CHECK(near(grad[units + j], expected_delta[j], 1e-14));
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

static void test_cross_entropies_of_extreme_logits(void)
{
    static const double zero[2] = {0, 0}, one[2] = {1, 0}, two[2] = {0, 1};
    for (double z = 50; z < 1e300; z *= z) {
        /* wrong: the loss is the logit, delta is 1; right: both are e^-z, not 0. */
        const double small = exp(-z), delta_wrong[1] = {1}, delta_right[1] = {-small};
        check_logits(&(double){z}, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, zero, z,
                     delta_wrong);
        check_logits(&(double){z}, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, one, small,
                     delta_right);
        const double logits[2] = {z / 2, -z / 2};
        const double wrong[2] = {1, -1}, right[2] = {-small, small};
        check_logits(logits, 2, PYCNN_SOFTMAX, PYCNN_CATEGORICAL_CROSSENTROPY, two, z, wrong);
        check_logits(logits, 2, PYCNN_SOFTMAX, PYCNN_CATEGORICAL_CROSSENTROPY, one, small, right);
    }
    const double largest_logit[1] = {DBL_MAX}, delta[1] = {1};
    check_logits(largest_logit, 1, PYCNN_SIGMOID, PYCNN_BINARY_CROSSENTROPY, zero, DBL_MAX, delta);
}

static void test_the_first_number_that_is_not_finite_is_found(void)
{
    static const double bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t count = 0; count < 70; count++) {
        double *x = random_doubles(count, count);
        x[count] = NAN; /* behind the end */
        CHECK(pycnn_find_not_finite(x, count) == count);
        for (size_t i = 0; i < count; i++) {
            const double value = x[i];
            x[i] = i % 2 ? DBL_MAX : -DBL_MAX;
            CHECK(pycnn_find_not_finite(x, count) == count);
            x[i] = bad[i % 3];
            CHECK(pycnn_find_not_finite(x, count) == i);
            x[count - 1] = NAN; /* the first one counts */
            CHECK(pycnn_find_not_finite(x, count) == i);
            x[count - 1] = 0, x[i] = value;
        }
        free(x);
    }
}

/* ---------------------------------------------------------------- refusals */

static void test_every_status_has_words(void)
{
    for (int a = PYCNN_OK; a <= PYCNN_ERROR_INTERRUPTED; a++) {
        CHECK(strlen(pycnn_strerror(a)) > 5);
        CHECK(strcmp(pycnn_strerror(a), "unknown status") != 0);
        for (int b = PYCNN_OK; b < a; b++) {
            CHECK(strcmp(pycnn_strerror(a), pycnn_strerror(b)) != 0);
        }
    }
    CHECK(strcmp(pycnn_strerror(-1), "unknown status") == 0);
    CHECK(strcmp(pycnn_strerror(PYCNN_ERROR_INTERRUPTED + 1), "unknown status") == 0);
    CHECK(strcmp(pycnn_version(), PYCNN_VERSION) == 0);
    CHECK(strlen(pycnn_isa()) > 0 && strlen(pycnn_compiler()) > 0);
}

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
    static const double no_delta[] = {0, -1, INFINITY, NAN}, no_share[] = {0, 1, -0.5, 2, NAN};
    pycnn_network *none;
    for (size_t i = 0; i < sizeof no_delta / sizeof *no_delta; i++) {
        CHECK(pycnn_network_create(&none, 2, fine, 2, PYCNN_HUBER, no_delta[i]) ==
              PYCNN_ERROR_ARGUMENT);
    }
    for (size_t i = 0; i < sizeof no_share / sizeof *no_share; i++) {
        CHECK(pycnn_network_create(&none, 2, fine, 2, PYCNN_QUANTILE, no_share[i]) ==
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

static void test_workspaces_that_cannot_be(void)
{
    problem p = classifier(81, 2);
    pycnn_workspace *ws = (pycnn_workspace *)&not_null; /* must become NULL */
    CHECK(pycnn_workspace_create(NULL, p.net, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, NULL, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(ws == NULL);
    CHECK(pycnn_workspace_create(&ws, p.net, 1, -1) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, p.net, 1, PYCNN_TRACE + 1) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_create(&ws, p.net, 0, PYCNN_FORWARD) == PYCNN_ERROR_SIZE);
    for (int shift = 0; shift < 8; shift++) {
        for (int mode = PYCNN_FORWARD; mode <= PYCNN_TRACE; mode++) {
            const size_t batch = SIZE_MAX >> shift;
            CHECK(pycnn_workspace_create(&ws, p.net, batch, mode) == PYCNN_ERROR_SIZE);
            CHECK(ws == NULL);
        }
    }
    pycnn_workspace_destroy(NULL);
    free_problem(&p);
}

static void test_calls_that_cannot_be(void)
{
    enum { ROWS = 5 };
    problem p = classifier(91, ROWS), other = classifier(91, ROWS);
    pycnn_workspace *forward = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *backward = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_workspace *trace = workspace(p.net, ROWS, PYCNN_TRACE);
    pycnn_workspace *small = workspace(p.net, ROWS - 1, PYCNN_TRACE);
    pycnn_workspace *foreign = workspace(other.net, ROWS, PYCNN_TRACE);
    double *out = doubles(p.units * ROWS), *grad = doubles(p.parameters);
    pycnn_totals totals;
    const pycnn_network *net = p.net;
    const double *theta = p.theta;

    CHECK(pycnn_predict(NULL, net, forward, theta, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, NULL, forward, theta, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, NULL, theta, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, forward, NULL, p.x, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, forward, theta, NULL, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict(out, net, foreign, theta, p.x, ROWS) == PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_predict(out, net, forward, theta, p.x, 0) == PYCNN_OK);

    const pycnn_dataset good = p.data, no_rows = {.x = p.x, .y = p.y};
    const pycnn_dataset no_x = {.rows = ROWS, .y = p.y}, no_y = {.rows = ROWS, .x = p.x};
    CHECK(pycnn_evaluate(NULL, net, forward, theta, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, NULL, forward, theta, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, NULL, theta, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, NULL, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, &no_x) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, &no_y) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_evaluate(&totals, net, forward, theta, &no_rows) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_evaluate(&totals, net, foreign, theta, &good) == PYCNN_ERROR_WORKSPACE);

    CHECK(pycnn_gradients(NULL, grad, net, backward, theta, &good, NULL) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, NULL, net, backward, theta, &good, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, grad, net, backward, theta, &no_x, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_gradients(&totals, grad, net, forward, theta, &good, NULL) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_gradients(&totals, grad, net, foreign, theta, &good, NULL) ==
          PYCNN_ERROR_WORKSPACE);

    CHECK(pycnn_trace(NULL, grad, out, out, out, net, trace, theta, &good) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, NULL, out, out, out, net, trace, theta, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, NULL, out, out, net, trace, theta, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, NULL, out, net, trace, theta, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, NULL, net, trace, theta, &good) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, trace, theta, NULL) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, trace, theta, &no_rows) ==
          PYCNN_ERROR_SIZE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, backward, theta, &good) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, small, theta, &good) ==
          PYCNN_ERROR_WORKSPACE);
    CHECK(pycnn_trace(&totals, grad, out, out, out, net, foreign, theta, &good) ==
          PYCNN_ERROR_WORKSPACE);

    free(out), free(grad);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(backward);
    pycnn_workspace_destroy(trace), pycnn_workspace_destroy(small);
    pycnn_workspace_destroy(foreign);
    free_problem(&p), free_problem(&other);
}

static void test_trainings_that_cannot_be(void)
{
    enum { ROWS = 5 };
    problem p = classifier(95, ROWS);
    pycnn_workspace *forward = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *ws = workspace(p.net, 2, PYCNN_BACKWARD);
    double *theta = copy_doubles(p.theta, p.parameters);
    pycnn_totals totals = {0};
    size_t steps = 99;
    const pycnn_training good = {
        .epochs = 1, .batch_size = 2, .learning_rate = 0.1, .totals = &totals};
    pycnn_training state = good;
    CHECK(pycnn_train(NULL, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, NULL, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(steps == 0);
    CHECK(pycnn_train(&steps, theta, NULL, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, NULL, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, NULL, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, NULL, 9) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_train(&steps, theta, &state, p.net, forward, &p.data, 9) == PYCNN_ERROR_WORKSPACE);
    state.totals = NULL;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_ARGUMENT);
    state = good, state.batch_size = 0;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good, state.position = ROWS;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good, state.position = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_SIZE);
    state = good;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 0) == PYCNN_OK && steps == 0);
    state.epochs = 0;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_OK && steps == 0);
    CHECK(same_bits(theta, p.theta, p.parameters));

    /* The mini-batch that meets a bad entry changes nothing; those before it count. */
    size_t order[ROWS] = {4, 3, 2, 1, ROWS};
    state = good, state.order = order, state.batch_size = ROWS;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && state.position == 0 && same_bits(theta, p.theta, p.parameters));
    order[4] = SIZE_MAX;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 0 && totals.weight == 0 && same_bits(theta, p.theta, p.parameters));
    state.batch_size = 2;
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_INDEX);
    CHECK(steps == 2 && state.position == 4 && totals.weight == 4);

    memcpy(theta, p.theta, p.parameters * sizeof *theta);
    p.data.y = NULL, p.data.label = p.label;
    for (size_t bad = 3; bad != 0; bad = bad == 3 ? SIZE_MAX : 0) {
        p.label[1] = bad;
        state = good;
        CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 9) == PYCNN_ERROR_LABEL);
        CHECK(steps == 0 && same_bits(theta, p.theta, p.parameters));
        double *grad = doubles(p.parameters);
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, theta, &p.data, NULL) == PYCNN_ERROR_LABEL);
        CHECK(pycnn_evaluate(&totals, p.net, forward, theta, &p.data) == PYCNN_ERROR_LABEL);
        free(grad);
    }
    free(theta);
    pycnn_workspace_destroy(forward), pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* ---------------------------------------------------------------- threads */

/* Everything that a network computes, one thing after the other. */
static double *compute_everything(size_t rows, size_t *count, pycnn_threads *threads)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 65), DENSE(PYCNN_SIGMOID, 129),
                                              DENSE(PYCNN_RELU, 43), DENSE(PYCNN_SOFTMAX, 10)};
    problem p = make_problem(7, rows, 37, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
    for (size_t i = 0; i < p.parameters; i++) {
        p.theta[i] *= 0.2;
    }
    p.data.weight = p.weight;
    pycnn_workspace *ws = workspace(p.net, rows, PYCNN_TRACE);
    pycnn_workspace_set_threads(ws, threads);
    const size_t traced = p.units * rows;
    *count = 2 * p.parameters + 3 * traced + rows * p.outputs;
    double *all = doubles(*count), *at = all;
    pycnn_totals totals, epochs[3];
    const pycnn_training plan = {.epochs = 3, .batch_size = 70, .learning_rate = 0.5};
    CHECK(pycnn_trace(&totals, at, at + p.parameters, at + p.parameters + traced,
                      at + p.parameters + 2 * traced, p.net, ws, p.theta, &p.data) == PYCNN_OK);
    at += p.parameters + 3 * traced;
    double *theta = trained(&p, ws, plan, epochs);
    memcpy(at, theta, p.parameters * sizeof *at);
    at += p.parameters;
    CHECK(pycnn_predict(at, p.net, ws, theta, p.x, rows) == PYCNN_OK);
    free(theta);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
    return all;
}

static void test_threads_give_the_same_bits(void)
{
    static const size_t rows[] = {1, 33, 131}, counts[] = {1, 2, 3, 8, 100};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t count = 0;
        double *alone = compute_everything(rows[r], &count, NULL);
        for (size_t t = 0; t < sizeof counts / sizeof *counts; t++) {
            pycnn_threads *threads = NULL;
            CHECK(pycnn_threads_create(&threads, counts[t]) == PYCNN_OK);
            double *together = compute_everything(rows[r], &count, threads);
            CHECK(same_bits(alone, together, count));
            free(together);
            pycnn_threads_destroy(threads);
        }
        free(alone);
    }
}

static void test_errors_reach_the_caller_from_other_threads(void)
{
    enum { ROWS = 400 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 60), DENSE(PYCNN_SOFTMAX, 10)};
    problem p = make_problem(17, ROWS, 60, layers, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
    p.data.y = NULL, p.data.label = p.label;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace_set_threads(ws, threads);
    double *theta = copy_doubles(p.theta, p.parameters);
    double *y[2] = {doubles(ROWS * p.outputs), doubles(ROWS * p.outputs)};
    pycnn_totals totals = {0};
    pycnn_training state = {
        .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = &totals};
    size_t steps = 0, order[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        order[i] = i;
    }
    state.order = order;
    for (size_t at = 0; at < ROWS; at += 133) { /* the first, the last, and some between */
        const size_t label = p.label[at];
        p.label[at] = p.outputs;
        CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_LABEL);
        p.label[at] = label, order[at] = ROWS;
        CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_ERROR_INDEX);
        order[at] = at;
        const double x = p.x[at * 60 + 59];
        p.x[at * 60 + 59] = at % 2 ? NAN : -INFINITY;
        CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.x, ROWS) == PYCNN_ERROR_NOT_FINITE);
        CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.x + at * 60, 1) ==
              PYCNN_ERROR_NOT_FINITE);
        p.x[at * 60 + 59] = x;
        CHECK(steps == 0 && state.position == 0 && totals.weight == 0);
        CHECK(same_bits(theta, p.theta, p.parameters));
    }
    CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(y[1], p.net, ws, theta, p.x, ROWS) == PYCNN_OK);
    CHECK(same_bits(y[0], y[1], ROWS * p.outputs));
    CHECK(pycnn_train(&steps, theta, &state, p.net, ws, &p.data, 1) == PYCNN_OK && steps == 1);
    free(theta), free(y[0]), free(y[1]);
    pycnn_workspace_destroy(ws);
    pycnn_threads_destroy(threads);
    free_problem(&p);
}

static void test_predictions_can_be_drawn(void)
{
    enum { ROWS = 300, DRAWS = 3, PART = 70 };
    static const pycnn_layer_spec layers[] = {
        DENSE(PYCNN_TANH, 13), {.kind = PYCNN_DROPOUT, .rate = 0.3}, DENSE(PYCNN_LINEAR, 2)};
    const uint64_t keys[DRAWS] = {1, 2, UINT64_MAX};
    problem p = make_problem(5, ROWS, 4, layers, 3, PYCNN_MSE);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace *large = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *small = workspace(p.net, 33, PYCNN_TRACE);
    pycnn_workspace_set_threads(large, threads);
    const size_t one = ROWS * p.outputs;
    double *all = doubles(DRAWS * one), *part = doubles(one), *plain = doubles(one);
    CHECK(pycnn_predict_samples(all, p.net, large, p.theta, p.x, ROWS, keys, DRAWS, 0) == PYCNN_OK);
    CHECK(!same_bits(all, all + one, one) && !same_bits(all, all + 2 * one, one));
    for (size_t d = 0; d < DRAWS; d++) { /* each by itself, and in two parts */
        double *rest = part + PART * p.outputs;
        CHECK(pycnn_predict_samples(part, p.net, small, p.theta, p.x, PART, keys + d, 1, 0) ==
              PYCNN_OK);
        CHECK(pycnn_predict_samples(rest, p.net, small, p.theta, p.x + PART * p.inputs, ROWS - PART,
                                    keys + d, 1, PART) == PYCNN_OK);
        CHECK(same_bits(part, all + d * one, one));
    }
    CHECK(pycnn_predict(plain, p.net, large, p.theta, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(part, p.net, small, p.theta, p.x, ROWS) == PYCNN_OK);
    CHECK(same_bits(plain, part, one) && !same_bits(plain, all, one));
    CHECK(pycnn_predict_samples(all, p.net, large, p.theta, p.x, ROWS, NULL, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(NULL, p.net, large, p.theta, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(all, NULL, large, p.theta, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predict_samples(all, p.net, NULL, p.theta, p.x, ROWS, keys, 1, 0) ==
          PYCNN_ERROR_ARGUMENT);
    free(all), free(part), free(plain);
    pycnn_workspace_destroy(large), pycnn_workspace_destroy(small);
    pycnn_threads_destroy(threads);
    free_problem(&p);
}

static void test_pools_that_cannot_be(void)
{
    pycnn_threads *threads = (pycnn_threads *)&not_null; /* must become NULL */
    CHECK(pycnn_threads_create(NULL, 2) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_threads_create(&threads, 0) == PYCNN_ERROR_SIZE && threads == NULL);
    CHECK(pycnn_threads_create(&threads, SIZE_MAX) == PYCNN_OK); /* as many as can work */
    pycnn_threads_destroy(threads);
    pycnn_threads_destroy(NULL);
    pycnn_workspace_set_threads(NULL, NULL);
    CHECK(pycnn_threads_create(&threads, 4) == PYCNN_OK); /* never used: none is started */
    pycnn_threads_destroy(threads);
}

#ifdef HAVE_POSIX
/* A child has none of its parent's threads, and does the work alone. */
static void test_a_forked_child_goes_on_alone(void)
{
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    size_t count = 0;
    double *before = compute_everything(131, &count, threads);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        double *result = compute_everything(131, &count, threads);
        const bool same = same_bits(before, result, count);
        free(result);
        pycnn_threads_destroy(threads);
        _exit(same ? 0 : 1);
    }
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    double *after = compute_everything(131, &count, threads);
    CHECK(same_bits(before, after, count));
    free(before), free(after);
    pycnn_threads_destroy(threads);
}

static void *compute_in_a_thread(void *threads)
{
    size_t count = 0;
    return compute_everything(131, &count, threads);
}

/* One of the callers gets the pool, the others work on their own threads. */
static void test_callers_may_share_a_pool(void)
{
    enum { CALLERS = 4 };
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 2) == PYCNN_OK);
    size_t count = 0;
    double *alone = compute_everything(131, &count, NULL);
    pthread_t caller[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        if (pthread_create(&caller[i], NULL, compute_in_a_thread, threads) != 0) {
            printf("cannot start a thread\n");
            exit(EXIT_FAILURE);
        }
    }
    void *result[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(caller[i], &result[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        CHECK(same_bits(alone, result[i], count));
        free(result[i]);
    }
    free(alone);
    pycnn_threads_destroy(threads);
}

/* ---------------------------------------------------------------- long calls */

/* Says stop at the call number *context. */
static int count_down(void *context)
{
    size_t *left = context;
    return --*left == 0;
}

/* Trains on all samples at once until the caller says stop, and then as many steps again. */
static void check_interrupted_training(const problem *p, size_t capacity,
                                       const pycnn_optimizer *optimizer)
{
    enum { EPOCHS = 2000 };
    const size_t count = p->parameters + pycnn_network_statistic_count(p->net);
    const size_t memory = pycnn_optimizer_slots(optimizer) * p->parameters;
    double *theta[2], *slots[2];
    static pycnn_totals totals[2][EPOCHS];
    size_t left = 2, steps = 0, stopped = 0;
    pycnn_training state[2];
    for (int i = 0; i < 2; i++) {
        theta[i] = doubles(count), slots[i] = doubles(memory);
        memset(theta[i], 0, count * sizeof **theta);
        memcpy(theta[i], p->theta, p->parameters * sizeof **theta);
        memset(slots[i], 0, memory * sizeof **slots);
        memset(totals[i], 0, sizeof totals[i]);
        state[i] = (pycnn_training){.epochs = EPOCHS,
                                    .batch_size = p->data.rows,
                                    .learning_rate = 1e-3,
                                    .totals = totals[i],
                                    .optimizer = optimizer,
                                    .slots = slots[i]};
        pycnn_workspace *ws = workspace(p->net, capacity, PYCNN_BACKWARD);
        pycnn_workspace_set_poll(ws, i == 0 ? count_down : NULL, &left);
        CHECK(pycnn_train(&steps, theta[i], &state[i], p->net, ws, &p->data,
                          i == 0 ? EPOCHS : stopped) ==
              (i == 0 ? PYCNN_ERROR_INTERRUPTED : PYCNN_OK));
        stopped = steps;
        pycnn_workspace_destroy(ws);
    }
    CHECK(left == 0 && stopped < EPOCHS && state[0].epoch == stopped);
    CHECK(state[0].updates == stopped && state[1].updates == stopped);
    CHECK(same_bits(theta[0], theta[1], count) && same_bits(slots[0], slots[1], memory));
    CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
    for (int i = 0; i < 2; i++) {
        free(theta[i]), free(slots[i]);
    }
}

static void test_a_training_in_pieces_can_be_ended(void)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 40), DENSE(PYCNN_LINEAR, 1)};
    const pycnn_optimizer adam = {
        .kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8};
    problem p = make_problem(1, 9000, 4, layers, 2, PYCNN_MSE);
    check_interrupted_training(&p, 256, NULL);
    check_interrupted_training(&p, 256, &adam);
    free_problem(&p);
}

static void test_a_long_look_at_data_can_be_ended(void)
{
    enum { ROWS = 1 << 20 };
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 80), DENSE(PYCNN_TANH, 80),
                                              DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(3, ROWS, 1, layers, 3, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, 256, PYCNN_BACKWARD);
    double *y = doubles(ROWS), *grad = doubles(p.parameters);
    pycnn_totals totals;
    size_t left = 1;
    pycnn_workspace_set_poll(ws, count_down, &left);
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.x, ROWS) == PYCNN_ERROR_INTERRUPTED && left == 0);
    left = 1;
    CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, &p.data) == PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    left = 1;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) ==
          PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    const uint64_t keys[2] = {1, 2};
    double *drawn = doubles(2 * ROWS);
    left = 1;
    CHECK(pycnn_predict_samples(drawn, p.net, ws, p.theta, p.x, ROWS, keys, 2, 0) ==
          PYCNN_ERROR_INTERRUPTED);
    CHECK(left == 0);
    free(drawn);
    left = 1; /* what is short asks nothing */
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.x, 256) == PYCNN_OK && left == 1);
    pycnn_workspace_set_poll(NULL, count_down, &left);
    free(y), free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* So much work that it takes a kernel at its full speed. */
#if defined(__has_feature)
#define WATCHED (__has_feature(thread_sanitizer) || __has_feature(address_sanitizer))
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#else
#define WATCHED 0
#endif
#if defined(__OPTIMIZE__) && !WATCHED
#define FAST

static void test_a_training_in_rounds_can_be_ended(void)
{
    static const pycnn_layer_spec layers[] = {
        DENSE(PYCNN_TANH, 500),
        {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_LINEAR, .units = 500, .epsilon = 1e-5},
        DENSE(PYCNN_TANH, 400),
        DENSE(PYCNN_LINEAR, 1)};
    problem p = make_problem(2, 1500, 4, layers, 4, PYCNN_MSE);
    check_interrupted_training(&p, 1500, NULL);
    free_problem(&p);
}

/* So much work at once that a thread alone does it in several rounds, where three do it in one: the
 * same bits, also where samples meet. */
static void test_long_work_gives_the_same_bits(void)
{
    enum { ROWS = 4200 };
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 300),
                                              {.kind = PYCNN_BATCH_NORM,
                                               .activation = PYCNN_LINEAR,
                                               .units = 300,
                                               .epsilon = 1e-5,
                                               .momentum = 0.1},
                                              DENSE(PYCNN_RELU, 300),
                                              DENSE(PYCNN_SOFTMAX, 3)};
    const pycnn_optimizer momentum = {.kind = PYCNN_SGD, .momentum = 0.9};
    problem p = make_problem(5, ROWS, 9, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
    const size_t count = p.parameters + pycnn_network_statistic_count(p.net);
    double *theta[2][2];
    pycnn_totals totals[2][2] = {{{0}}};
    for (int i = 0; i < 2; i++) {
        pycnn_threads *threads = NULL;
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        CHECK(pycnn_threads_create(&threads, i == 0 ? 1 : 3) == PYCNN_OK);
        pycnn_workspace_set_threads(ws, threads);
        for (int j = 0; j < 2; j++) {
            double *slots = doubles(p.parameters);
            size_t steps;
            pycnn_training state = {.epochs = 1,
                                    .batch_size = ROWS,
                                    .learning_rate = 0.1,
                                    .totals = &totals[i][j],
                                    .optimizer = j == 0 ? NULL : &momentum,
                                    .slots = slots};
            memset(slots, 0, p.parameters * sizeof *slots);
            theta[i][j] = doubles(count);
            memset(theta[i][j], 0, count * sizeof *slots);
            memcpy(theta[i][j], p.theta, p.parameters * sizeof *slots);
            CHECK(pycnn_train(&steps, theta[i][j], &state, p.net, ws, &p.data, 1) == PYCNN_OK);
            free(slots);
        }
        pycnn_workspace_destroy(ws);
        pycnn_threads_destroy(threads);
    }
    CHECK(!same_bits(theta[0][0], p.theta, p.parameters));
    for (int j = 0; j < 2; j++) {
        CHECK(same_bits(theta[0][j], theta[1][j], count));
        free(theta[0][j]), free(theta[1][j]);
    }
    CHECK(same_bits(totals[0], totals[1], 6));
    free_problem(&p);
}

#endif

/* ---------------------------------------------------------------- instruction sets */

static const char *const sets[] = {"avx512", "avx2", "neon", "baseline"}; /* the fused ones first */
enum { SET_COUNT = sizeof sets / sizeof *sets, BASELINE = SET_COUNT - 1 };

static void test_instruction_sets_agree(void)
{
    char before[32] = "";
    snprintf(before, sizeof before, "%s", getenv("PYCNN_ISA") == NULL ? "" : getenv("PYCNN_ISA"));
    static const size_t rows[] = {1, 2, 7, 131};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t count = 0;
        setenv("PYCNN_ISA", sets[BASELINE], 1);
        double *plain = compute_everything(rows[r], &count, NULL), *fused = NULL;
        for (size_t i = 0; i < BASELINE; i++) {
            setenv("PYCNN_ISA", sets[i], 1);
            if (pycnn_isa() == NULL) {
                continue; /* not this machine's */
            }
            double *result = compute_everything(rows[r], &count, NULL);
            CHECK(agree(result, plain, count, 1e-12));
            CHECK(fused == NULL || same_bits(result, fused, count));
            free(fused);
            fused = result;
        }
        free(plain), free(fused);
    }
    setenv("PYCNN_ISA", "no such set", 1);
    pycnn_network *net = (pycnn_network *)&not_null; /* must become NULL */
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 2)};
    CHECK(pycnn_isa() == NULL);
    CHECK(pycnn_network_create(&net, 2, layers, 1, PYCNN_MSE, 0) == PYCNN_ERROR_ISA && net == NULL);
    setenv("PYCNN_ISA", before, 1);
}
#endif

/* ---------------------------------------------------------------- memory */

#ifdef HAVE_POSIX
#if !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS MAP_ANON
#endif

/* A copy that ends where an unmapped page begins: reading or writing past it is a crash. */
typedef struct {
    void *pages, *block;
    size_t length;
} guarded;

static guarded guard(const void *source, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t used = (bytes + page - 1) / page * page;
    guarded g = {.length = used + page};
    g.pages = mmap(NULL, g.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.pages == MAP_FAILED || mprotect((char *)g.pages + used, page, PROT_NONE) != 0) {
        printf("cannot map a guard page\n");
        exit(EXIT_FAILURE);
    }
    g.block = (char *)g.pages + used - bytes;
    if (source != NULL) {
        memcpy(g.block, source, bytes);
    }
    return g;
}

/* What the core only reads, it gets where writing is a crash too. */
static guarded guard_constant(const void *source, size_t bytes)
{
    guarded g = guard(source, bytes);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(mprotect(g.pages, g.length - page, PROT_READ) == 0);
    return g;
}

static void test_no_call_reads_or_writes_past_a_buffer(void)
{
    enum { LARGEST = 19, EPOCHS = 2 };
    for (size_t rows = 1; rows <= LARGEST; rows++) {
        problem p = classifier(rows, rows);
        pycnn_workspace *ws = workspace(p.net, rows / 2 + 1, PYCNN_BACKWARD);
        pycnn_workspace *trace = workspace(p.net, rows, PYCNN_TRACE);
        const size_t one = sizeof(double), traced = p.units * rows;
        size_t order[EPOCHS * LARGEST];
        for (size_t i = 0; i < EPOCHS * rows; i++) {
            order[i] = rows - 1 - i % rows;
        }
        guarded x = guard_constant(p.x, rows * p.inputs * one);
        guarded y = guard_constant(p.y, rows * p.outputs * one);
        guarded weight = guard_constant(p.weight, rows * one);
        guarded label = guard_constant(p.label, rows * sizeof *p.label);
        guarded orders = guard_constant(order, EPOCHS * rows * sizeof *order);
        guarded constant_theta = guard_constant(p.theta, p.parameters * one);
        guarded theta = guard(p.theta, p.parameters * one);
        guarded grad = guard(NULL, p.parameters * one);
        guarded output = guard(NULL, rows * p.outputs * one);
        guarded z = guard(NULL, traced * one), a = guard(NULL, traced * one);
        guarded delta = guard(NULL, traced * one);
        guarded epochs = guard(NULL, EPOCHS * sizeof(pycnn_totals));
        pycnn_totals totals;
        size_t steps = 0;
        for (int labelled = 0; labelled < 2; labelled++) {
            const pycnn_dataset data = {.rows = rows,
                                        .x = x.block,
                                        .y = labelled ? NULL : y.block,
                                        .label = labelled ? label.block : NULL,
                                        .weight = weight.block};
            pycnn_training state = {.epochs = EPOCHS,
                                    .batch_size = 4,
                                    .learning_rate = 0.1,
                                    .order = labelled ? orders.block : NULL,
                                    .totals = epochs.block};
            const double *read = constant_theta.block;
            CHECK(pycnn_predict(output.block, p.net, ws, read, x.block, rows) == PYCNN_OK);
            CHECK(pycnn_evaluate(&totals, p.net, ws, read, &data) == PYCNN_OK);
            CHECK(pycnn_gradients(&totals, grad.block, p.net, ws, read, &data, NULL) == PYCNN_OK);
            CHECK(pycnn_trace(&totals, grad.block, z.block, a.block, delta.block, p.net, trace,
                              read, &data) == PYCNN_OK);
            CHECK(pycnn_train(&steps, theta.block, &state, p.net, ws, &data, SIZE_MAX) == PYCNN_OK);
        }
        guarded all[] = {x,    y,      weight, label, orders, constant_theta, theta,
                         grad, output, z,      a,     delta,  epochs};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            munmap(all[i].pages, all[i].length);
        }
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(trace);
        free_problem(&p);
    }
}
#endif

#ifdef PYCNN_FAILING_MALLOC_H
static size_t allocations, blocks_alive, fail_at = SIZE_MAX;

void *pycnn_test_malloc(size_t size)
{
    if (allocations++ == fail_at) {
        return NULL;
    }
    void *block = malloc(size);
    blocks_alive += block != NULL;
    if (block != NULL) {
        memset(block, 0xa5, size); /* nothing may count on zeroed memory */
    }
    return block;
}

void pycnn_test_free(void *block)
{
    blocks_alive -= block != NULL;
    free(block);
}

static void test_every_allocation_may_fail(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 3), DENSE(PYCNN_RELU, 2)};
    CHECK(blocks_alive == 0); /* what came before has given everything back */
    bool failed_once = true;
    size_t n = 0;
    for (; failed_once && n < 100; n++) {
        allocations = 0, fail_at = n;
        pycnn_network *net = NULL;
        pycnn_workspace *ws = NULL;
        pycnn_threads *threads = NULL;
        int status = pycnn_network_create(&net, 2, layers, 2, PYCNN_MSE, 0);
        CHECK((status == PYCNN_OK) == (net != NULL));
        if (status == PYCNN_OK) {
            status = pycnn_workspace_create(&ws, net, 4, PYCNN_TRACE);
            CHECK((status == PYCNN_OK) == (ws != NULL));
        }
        if (status == PYCNN_OK) {
            status = pycnn_threads_create(&threads, 3);
            CHECK((status == PYCNN_OK) == (threads != NULL));
        }
        failed_once = allocations > n;
        CHECK(status == (failed_once ? PYCNN_ERROR_MEMORY : PYCNN_OK));
        pycnn_threads_destroy(threads);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
        CHECK(blocks_alive == 0);
    }
    CHECK(n > 2 && n < 100);
    fail_at = SIZE_MAX;

    /* No other call allocates. */
    problem p = classifier(3, 6);
    pycnn_workspace *ws = workspace(p.net, 6, PYCNN_BACKWARD);
    double output[6 * 3], *grad = doubles(p.parameters);
    pycnn_totals totals;
    allocations = 0;
    CHECK(pycnn_predict(output, p.net, ws, p.theta, p.x, 6) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, &p.data, NULL) == PYCNN_OK);
    free(trained(&p, ws, (pycnn_training){.epochs = 1, .batch_size = 2, .learning_rate = 0.1},
                 &totals));
    CHECK(allocations == 0);
    free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
    CHECK(blocks_alive == 0);
}
#endif

/* ---------------------------------------------------------------- all of it */

typedef struct {
    const char *name;
    void (*run)(void);
} group;

static void run(const group *tests)
{
    const size_t before = failed;
    tests->run();
    printf("%s  %-9s %s\n", failed == before ? "ok    " : "FAILED", pycnn_isa(), tests->name);
    fflush(stdout);
}

static void run_all(void)
{
    static const group groups[] = {
        {"the lecture's worked example", test_lecture_example},
        {"activations meet the C library", test_activations_meet_the_c_library},
        {"logarithms meet the C library", test_logarithms_meet_the_c_library},
        {"gradients meet central differences", test_gradients_meet_central_differences},
        {"every batch and width up to an edge", test_every_batch_and_width_up_to_an_edge},
        {"a small workspace gives the same bits", test_a_small_workspace_gives_the_same_bits},
        {"order decides which sample comes when", test_order_decides_which_sample_comes_when},
        {"labels and one-hot rows give the same bits",
         test_labels_and_one_hot_rows_give_the_same_bits},
        {"labels are smoothed", test_labels_are_smoothed},
        {"targets may be missing", test_targets_may_be_missing},
        {"weights count samples", test_weights_count_samples},
        {"training step by step gives the same bits",
         test_training_step_by_step_gives_the_same_bits},
        {"few samples train as many do", test_few_samples_train_as_many_do},
        {"a step is the gradient times the learning rate",
         test_a_step_is_the_gradient_times_the_learning_rate},
        {"divergence leaves the last finished step", test_divergence_leaves_the_last_finished_step},
        {"cross-entropies of extreme logits", test_cross_entropies_of_extreme_logits},
        {"the first number that is not finite is found",
         test_the_first_number_that_is_not_finite_is_found},
        {"every status has words", test_every_status_has_words},
        {"networks that cannot be", test_networks_that_cannot_be},
        {"workspaces that cannot be", test_workspaces_that_cannot_be},
        {"calls that cannot be", test_calls_that_cannot_be},
        {"predictions can be drawn", test_predictions_can_be_drawn},
        {"pools that cannot be", test_pools_that_cannot_be},
        {"trainings that cannot be", test_trainings_that_cannot_be},
        {"errors reach the caller from other threads",
         test_errors_reach_the_caller_from_other_threads},
#ifdef HAVE_POSIX
        {"no call reads or writes past a buffer", test_no_call_reads_or_writes_past_a_buffer},
#endif
#ifdef PYCNN_FAILING_MALLOC_H
        {"every allocation may fail", test_every_allocation_may_fail},
#endif
    };
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        run(&groups[i]);
    }
}

int main(void)
{
    if (pycnn_isa() == NULL) {
        printf("PYCNN_ISA=%s: %s\n", getenv("PYCNN_ISA"), pycnn_strerror(PYCNN_ERROR_ISA));
        return EXIT_FAILURE;
    }
#ifdef HAVE_POSIX
    const char *asked = getenv("PYCNN_ISA");
    const bool all_sets = asked == NULL || *asked == '\0';
    for (size_t i = 0; i < SET_COUNT && all_sets; i++) {
        setenv("PYCNN_ISA", sets[i], 1);
        if (pycnn_isa() != NULL) {
            run_all();
        }
    }
    run(&(group){"instruction sets agree", test_instruction_sets_agree});
    run(&(group){"threads give the same bits", test_threads_give_the_same_bits});
    run(&(group){"a forked child goes on alone", test_a_forked_child_goes_on_alone});
    run(&(group){"callers may share a pool", test_callers_may_share_a_pool});
#else
    const bool all_sets = false;
#endif
    if (!all_sets) {
        run_all();
    }
#ifndef HAVE_POSIX
    run(&(group){"threads give the same bits", test_threads_give_the_same_bits});
#endif
    run(&(group){"a training in pieces can be ended", test_a_training_in_pieces_can_be_ended});
    run(&(group){"a long look at data can be ended", test_a_long_look_at_data_can_be_ended});
#ifdef FAST
    run(&(group){"a training in rounds can be ended", test_a_training_in_rounds_can_be_ended});
    run(&(group){"long work gives the same bits", test_long_work_gives_the_same_bits});
#endif
    printf("%zu passed, %zu failed\n", (size_t)passed, (size_t)failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
