/* Losses: each value beside its delta. z, a, y and delta are [units,batch]: a column is a sample.
 *
 * The cross-entropies work from the logits z, so they are finite for any finite logit, and their
 * delta is a - y written without the cancellation: an error of 1e-20 comes out as 1e-20, not as 0.
 */
#include "loss.h"

#include <math.h>

/* L = 1/2 sum_j (a_j - y_j)^2, dL/da = a - y */

static void mse_value(double *loss, const loss_inputs *in)
{
    memset(loss, 0, in->batch * sizeof *loss);
    for (size_t j = 0; j < in->units; j++) {
        for (size_t i = 0; i < in->batch; i++) {
            const double error = in->a[j * in->stride + i] - in->y[j * in->stride + i];
            loss[i] += 0.5 * error * error;
        }
    }
}

static void mse_delta(double *delta, const loss_inputs *in)
{
    for (size_t i = 0; i < in->units * in->stride; i++) {
        delta[i] = in->a[i] - in->y[i];
    }
}

/* L = -sum_j [y_j log a_j + (1 - y_j) log(1 - a_j)] with a = sigmoid(z):
 *     max(z,0) - z y + log(1 + e^-|z|)                       (the same, from the logit)
 * dL/dz = a - y = (1 - y) sigmoid(z) - y sigmoid(-z) */

static void binary_value(double *loss, const loss_inputs *in)
{
    memset(loss, 0, in->batch * sizeof *loss);
    for (size_t j = 0; j < in->units; j++) {
        for (size_t i = 0; i < in->batch; i++) {
            const double z = in->z[j * in->stride + i], y = in->y[j * in->stride + i];
            /* z - z*y would overflow to inf - inf; z*(1-y) cannot. */
            loss[i] += (z > 0 ? z * (1 - y) : -z * y) + log1p(exp(-fabs(z)));
        }
    }
}

static void binary_delta(double *delta, const loss_inputs *in)
{
    for (size_t i = 0; i < in->units * in->stride; i++) {
        const double z = in->z[i], y = in->y[i];
        const double e = exp(-fabs(z)), large = 1 / (1 + e), small = e / (1 + e);
        delta[i] = z >= 0 ? (1 - y) * large - y * small : (1 - y) * small - y * large;
    }
}

static void binary_correct(double *correct, const loss_inputs *in)
{
    memset(correct, 0, in->batch * sizeof *correct);
    for (size_t j = 0; j < in->units; j++) {
        for (size_t i = 0; i < in->batch; i++) {
            const size_t ji = j * in->stride + i;
            correct[i] += (in->a[ji] > 0.5) == (in->y[ji] > 0.5);
        }
    }
    for (size_t i = 0; i < in->batch; i++) {
        correct[i] /= (double)in->units;
    }
}

/* L = -sum_j y_j log a_j with a = softmax(z). With t = argmax_j z_j and
 * rest = sum_{j != t} e^{z_j - z_t} = sum_{j != t} a_j / a_t,
 *     -log a_j = z_t - z_j + log(1 + rest)
 * dL/dz_j = a_j sum_k y_k - y_j = a_j (sum_k y_k - y_j) - y_j (1 - a_j), with
 * 1 - a_t = rest / (1 + rest). For one-hot y this is a - y. */

static size_t argmax(const double *column, size_t units, size_t stride)
{
    size_t best = 0;
    for (size_t j = 1; j < units; j++) {
        best = column[j * stride] > column[best * stride] ? j : best;
    }
    return best;
}

/* sum_{j != top} a_j / a_top */
static double odds_against(const double *a, size_t top, size_t units, size_t stride)
{
    double rest = 0;
    for (size_t j = 0; j < units; j++) {
        rest += j == top ? 0 : a[j * stride];
    }
    return rest / a[top * stride];
}

static void categorical_value(double *loss, const loss_inputs *in)
{
    for (size_t i = 0; i < in->batch; i++) {
        const double *z = in->z + i, *y = in->y + i;
        const size_t top = argmax(z, in->units, in->stride);
        const double log_sum = log1p(odds_against(in->a + i, top, in->units, in->stride));
        loss[i] = 0;
        for (size_t j = 0; j < in->units; j++) {
            if (y[j * in->stride] != 0) { /* 0 * inf is not what the limit says */
                loss[i] += y[j * in->stride] * (z[top * in->stride] - z[j * in->stride] + log_sum);
            }
        }
    }
}

static void categorical_delta(double *delta, const loss_inputs *in)
{
    for (size_t i = 0; i < in->batch; i++) {
        const double *z = in->z + i, *a = in->a + i, *y = in->y + i;
        const size_t top = argmax(z, in->units, in->stride);
        const double rest = odds_against(a, top, in->units, in->stride);
        double y_sum = 0;
        for (size_t j = 0; j < in->units; j++) {
            y_sum += y[j * in->stride];
        }
        for (size_t j = 0; j < in->units; j++) {
            const double aj = a[j * in->stride], yj = y[j * in->stride];
            const double not_aj = j == top ? rest / (1 + rest) : 1 - aj;
            delta[j * in->stride + i] = aj * (y_sum - yj) - yj * not_aj;
        }
    }
}

static void categorical_correct(double *correct, const loss_inputs *in)
{
    for (size_t i = 0; i < in->batch; i++) {
        correct[i] = argmax(in->a + i, in->units, in->stride) ==
                     argmax(in->y + i, in->units, in->stride);
    }
}

const loss_ops *pycnn_loss_find(int loss)
{
    static const loss_ops table[] = {
        [PYCNN_MSE] = {mse_value, mse_delta, NULL, -1},
        [PYCNN_BINARY_CROSSENTROPY] = {binary_value, binary_delta, binary_correct, PYCNN_SIGMOID},
        [PYCNN_CATEGORICAL_CROSSENTROPY] = {categorical_value, categorical_delta,
                                            categorical_correct, PYCNN_SOFTMAX},
    };
    const bool known = loss >= 0 && (size_t)loss < sizeof table / sizeof *table;
    return known ? &table[loss] : NULL;
}
