/* Activations: each f beside its derivative, as the lecture lists them.
 *
 * z, a and delta are [units,stride], row-major: a column is a sample. `a` may be `z`, so there is
 * no restrict here. The derivatives are written in terms of a = f(z) where they can be, else of z.
 */
#include "activation.h"

#include <math.h>

#include "scalar_template.h"

#include "math_template.h"

/* e^x - 1 for x <= 0 */
static double expm1_below(double x)
{
    double excess;
    return exponential_minus_one(x, &excess);
}

/* f(z) = z, f' = 1 */

static void linear_forward(double *a, const double *z, size_t units, size_t stride)
{
    if (a != z) {
        memcpy(a, z, units * stride * sizeof *a);
    }
}

static void linear_backward(double *delta, const double *a, size_t units, size_t stride)
{
    (void)delta, (void)a, (void)units, (void)stride;
}

/* f(z) = 1 / (1 + e^-z), f' = a (1 - a) */

static void sigmoid_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = logistic(z[i]);
    }
}

static void sigmoid_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= a[i] * (1 - a[i]);
    }
}

/* f(z) = max(0, z), f' = 1 for z > 0, else 0. Written so that a NaN stays one. */

static void relu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = z[i] < 0 ? 0 : z[i];
    }
}

static void relu_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] = a[i] > 0 ? delta[i] : 0;
    }
}

/* f(z) = tanh z, f' = 1 - a^2 */

static void tanh_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = hyperbolic_tangent(z[i]);
    }
}

static void tanh_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= 1 - a[i] * a[i];
    }
}

/* f(z)_j = e^{z_j - c} / sum_k e^{z_k - c} with c = max_k z_k, sample by sample.
 * Its Jacobian is a_j (1[j=k] - a_k), so dL/dz_j = a_j (g_j - sum_k g_k a_k) with g = dL/da. */

static void softmax_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < stride; i++) {
        double largest = z[i];
        for (size_t j = 1; j < units; j++) {
            largest = z[j * stride + i] > largest ? z[j * stride + i] : largest;
        }
        double sum = 0, sum_excess = 0;
        for (size_t j = 0; j < units; j++) {
            /* The difference's rounding would be many times that of the power. */
            const double zj = z[j * stride + i], difference = zj - largest;
            const double excess = excess_of_any_sum(difference, zj, -largest);
            const double e = exponential_of_difference(difference, excess);
            const double next = sum + e;
            a[j * stride + i] = e;
            sum_excess += excess_of_any_sum(next, sum, e);
            sum = next;
        }
        for (size_t j = 0; j < units; j++) {
            a[j * stride + i] = quotient(a[j * stride + i], 0, sum, sum_excess, 1 / sum);
        }
    }
}

static void softmax_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < stride; i++) {
        double mean = 0;
        for (size_t j = 0; j < units; j++) {
            mean += delta[j * stride + i] * a[j * stride + i];
        }
        for (size_t j = 0; j < units; j++) {
            delta[j * stride + i] = a[j * stride + i] * (delta[j * stride + i] - mean);
        }
    }
}

/* f(z) = z for z >= 0, else z / 100; f' = 1 for a > 0, else 1 / 100 */

static void leaky_relu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = z[i] < 0 ? LEAKY_SLOPE * z[i] : z[i];
    }
}

static void leaky_relu_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= a[i] > 0 ? 1 : LEAKY_SLOPE;
    }
}

/* f(z) = z for z >= 0, else e^z - 1; f' = 1 for a > 0, else e^z = a + 1 */

static void elu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = z[i] >= 0 ? z[i] : expm1_below(z[i]);
    }
}

static void elu_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= a[i] > 0 ? 1 : a[i] + 1;
    }
}

/* f(z) = lambda z for z >= 0, else lambda alpha (e^z - 1);
 * f' = lambda for a > 0, else lambda alpha e^z = a + lambda alpha */

static void selu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = z[i] >= 0 ? SELU_SCALE * z[i] : SELU_SCALE_ALPHA * expm1_below(z[i]);
    }
}

static void selu_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= a[i] > 0 ? SELU_SCALE : a[i] + SELU_SCALE_ALPHA;
    }
}

/* f(z) = z Phi(z) with Phi(z) = 1/2 erfc(-z / sqrt 2), the standard normal distribution, and
 * f' = Phi(z) + z phi(z) with phi(z) = e^{-z^2/2} / sqrt(2 pi). */

static double held(double z, double bound) /* NaN stays */
{
    return z < -bound ? -bound : z > bound ? bound : z;
}

static void gelu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = gaussian_unit(z[i]);
    }
}

static void gelu_backward(double *delta, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= gaussian_unit_slope(z[i]);
    }
}

static void gelu_forward_with_slope(double *a, double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double x = z[i];
        a[i] = gaussian_unit(x);
        z[i] = gaussian_unit_slope(x);
    }
}

static void times_slope(double *delta, const double *slope, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= slope[i];
    }
}

/* f(z) = 1/2 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) = z s with s = 1 / (1 + e^-u) and
 * u = GELU_LINEAR z + GELU_CUBIC z^3; f' = s + z s (1 - s) du/dz. Beyond 40 s is 0 or 1. */

static double positive_part(double e, double u) { return (u >= 0 ? 1 : e) / (1 + e); }

static void gelu_tanh_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        double excess;
        const double u = gelu_exponent(held(z[i], 40), &excess);
        a[i] = logistic_unit(z[i], u, excess);
    }
}

static void gelu_tanh_backward(double *delta, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double x = held(z[i], 40), u = x * (GELU_LINEAR + GELU_CUBIC * x * x);
        const double e = exponential(-fabs(u)), s = positive_part(e, u),
                     not_s = positive_part(e, -u);
        delta[i] *= s + x * s * not_s * (GELU_LINEAR + 3 * GELU_CUBIC * x * x);
    }
}

/* f(z) = z s with s = 1 / (1 + e^-z), f' = s + z s (1 - s). Below -800 s is 0. */

static void silu_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = logistic_unit(z[i], z[i], 0);
    }
}

static void silu_backward(double *delta, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double x = held(z[i], 800), e = exponential(-fabs(x));
        const double s = positive_part(e, x), not_s = positive_part(e, -x);
        delta[i] *= s + x * s * not_s;
    }
}

/* f(z) = log(1 + e^z) = max(0, z) + log(1 + e^-|z|), f' = 1 / (1 + e^-z) = 1 - e^-a */

static void softplus_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double e = exponential(-fabs(z[i]));
        a[i] = (z[i] > 0 ? z[i] : 0) + log_one_plus(e, 1 / (1 + e));
    }
}

static void softplus_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] *= -expm1_below(-a[i]);
    }
}

/* f(z) = z / (1 + |z|), f' = 1 / (1 + |z|)^2 = (1 - |a|)^2 */

static void softsign_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) { /* infinity / infinity is not the limit */
        a[i] = fabs(z[i]) > 0x1p60 ? copysign(1, z[i]) : z[i] / (1 + fabs(z[i]));
    }
}

static void softsign_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double rest = 1 - fabs(a[i]);
        delta[i] *= rest * rest;
    }
}

/* f(z) = max(0, min(1, z / 6 + 1/2)), f' = 1/6 for 0 < a < 1, else 0 */

static void hard_sigmoid_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double line = z[i] / 6 + 0.5;
        a[i] = line < 0 ? 0 : line > 1 ? 1 : line;
    }
}

static void hard_sigmoid_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] = a[i] > 0 && a[i] < 1 ? delta[i] * (1.0 / 6) : 0;
    }
}

/* f(z) = max(-1, min(1, z)), f' = 1 for -1 < a < 1, else 0 */

static void hard_tanh_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        a[i] = held(z[i], 1);
    }
}

static void hard_tanh_backward(double *delta, const double *a, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        delta[i] = fabs(a[i]) < 1 ? delta[i] : 0;
    }
}

const activation_ops pycnn_activations[PYCNN_ACTIVATION_COUNT] = {
    [PYCNN_LINEAR] = {linear_forward, linear_backward, false, NULL, NULL},
    [PYCNN_SIGMOID] = {sigmoid_forward, sigmoid_backward, false, NULL, NULL},
    [PYCNN_RELU] = {relu_forward, relu_backward, false, NULL, NULL},
    [PYCNN_TANH] = {tanh_forward, tanh_backward, false, NULL, NULL},
    [PYCNN_SOFTMAX] = {softmax_forward, softmax_backward, false, NULL, NULL},
    [PYCNN_LEAKY_RELU] = {leaky_relu_forward, leaky_relu_backward, false, NULL, NULL},
    [PYCNN_ELU] = {elu_forward, elu_backward, false, NULL, NULL},
    [PYCNN_SELU] = {selu_forward, selu_backward, false, NULL, NULL},
    [PYCNN_GELU] = {gelu_forward, gelu_backward, true, gelu_forward_with_slope, times_slope},
    [PYCNN_GELU_TANH] = {gelu_tanh_forward, gelu_tanh_backward, true, NULL, NULL},
    [PYCNN_SILU] = {silu_forward, silu_backward, true, NULL, NULL},
    [PYCNN_SOFTPLUS] = {softplus_forward, softplus_backward, false, NULL, NULL},
    [PYCNN_SOFTSIGN] = {softsign_forward, softsign_backward, false, NULL, NULL},
    [PYCNN_HARD_SIGMOID] = {hard_sigmoid_forward, hard_sigmoid_backward, false, NULL, NULL},
    [PYCNN_HARD_TANH] = {hard_tanh_forward, hard_tanh_backward, false, NULL, NULL},
};
