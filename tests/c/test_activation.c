/* Activations against the C library. */
#include "check.h"

/* The network's only weight is 1, so z is x. */
static void check_activation(int activation, const double *x, const double *expected, size_t count)
{
    const pycnn_layer_spec layers[] = {DENSE(activation, 1)};
    pycnn_network *net = create(1, layers, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(net, 64, PYCNN_FORWARD);
    const double theta[2] = {1, 0};
    double *a = doubles(count);
    CHECK(pycnn_predict(a, net, ws, theta, pycnn_network_theta_size(net), x, count) == PYCNN_OK);
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

const test activation_tests[] = {
    FOR_EACH_SET("activations meet the C library", test_activations_meet_the_c_library),
    {0},
};
