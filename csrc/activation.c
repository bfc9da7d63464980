/* Activations: each f beside its derivative, as the lecture lists them.
 *
 * z, a and delta are [units,stride], row-major: a column is a sample. `a` may be `z`, so there is
 * no restrict here. The derivatives are written in terms of a = f(z).
 */
#include "activation.h"

#include <math.h>

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

/* f(z) = 1 / (1 + e^-z), f' = a (1 - a). The exponent is never positive: no overflow. */

static void sigmoid_forward(double *a, const double *z, size_t units, size_t stride)
{
    for (size_t i = 0; i < units * stride; i++) {
        const double e = exp(-fabs(z[i]));
        a[i] = (z[i] >= 0 ? 1 : e) / (1 + e);
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
        a[i] = tanh(z[i]);
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
        double sum = 0;
        for (size_t j = 0; j < units; j++) {
            const double e = exp(z[j * stride + i] - largest);
            a[j * stride + i] = e;
            sum += e;
        }
        for (size_t j = 0; j < units; j++) {
            a[j * stride + i] /= sum;
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

const activation_ops pycnn_activations[ACTIVATION_COUNT] = {
    [PYCNN_LINEAR] = {linear_forward, linear_backward},
    [PYCNN_SIGMOID] = {sigmoid_forward, sigmoid_backward},
    [PYCNN_RELU] = {relu_forward, relu_backward},
    [PYCNN_TANH] = {tanh_forward, tanh_backward},
    [PYCNN_SOFTMAX] = {softmax_forward, softmax_backward},
};
