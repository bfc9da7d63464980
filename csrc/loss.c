/* Losses: value, delta and right answers. z, a, y and delta are [units,stride]: a column is a
 * sample.
 *
 * The cross-entropies work from the logits z, so they are finite for any finite logit, and their
 * delta is a - y written without the cancellation: an error of 1e-20 comes out as 1e-20, not as 0.
 *
 * A target that is NaN has not been observed, where the loss is a sum over the outputs: its term
 * and its delta are 0, and right answers are a fraction of the others.
 */
#include "loss.h"

#include <math.h>

#include "activation.h"
#include "scalar_template.h"

#include "math_template.h"

static bool observed(double y) { return !isnan(y); }

static size_t argmax(const double *column, size_t units, size_t stride)
{
    size_t best = 0;
    for (size_t j = 1; j < units; j++) {
        best = column[j * stride] > column[best * stride] ? j : best;
    }
    return best;
}

/* L = 1/2 sum_j (a_j - y_j)^2, dL/da = a - y
 * Of several outputs the largest is right when it is that of the largest target: targets may be
 * classes, one-hot. A sample that has not been observed as a whole is not right. */

static void mse(const loss_outputs *out, const loss_inputs *in)
{
    for (size_t i = 0; i < in->stride; i++) {
        double y_sum = 0;
        out->loss[i] = 0;
        for (size_t j = 0; j < in->units; j++) {
            const size_t ji = j * in->stride + i;
            const double error = observed(in->y[ji]) ? in->a[ji] - in->y[ji] : 0;
            out->loss[i] += 0.5 * error * error;
            y_sum += in->y[ji];
            if (out->delta != NULL) {
                out->delta[ji] = error;
            }
        }
        out->correct[i] =
            in->units > 1 && observed(y_sum) &&
            argmax(in->a + i, in->units, in->stride) == argmax(in->y + i, in->units, in->stride);
    }
}

static void leave_out(const loss_outputs *out, size_t ji)
{
    if (out->delta != NULL) {
        out->delta[ji] = 0;
    }
}

/* L = -sum_j [y_j log a_j + (1 - y_j) log(1 - a_j)] with a = sigmoid(z):
 *     max(z,0) - z y + log(1 + e^-|z|)                       (the same, from the logit)
 * dL/dz = a - y = (1 - y) sigmoid(z) - y sigmoid(-z)
 * An output is right when it is on the target's side of 1/2. */

static void binary(const loss_outputs *out, const loss_inputs *in)
{
    for (size_t i = 0; i < in->stride; i++) {
        double count = 0;
        out->loss[i] = out->correct[i] = 0;
        for (size_t j = 0; j < in->units; j++) {
            const size_t ji = j * in->stride + i;
            if (!observed(in->y[ji])) {
                leave_out(out, ji);
                continue;
            }
            count++;
            const double z = in->z[ji], y = in->y[ji], e = exponential(-fabs(z));
            /* z - z*y would overflow to inf - inf; z*(1-y) cannot. */
            out->loss[i] += (z > 0 ? z * (1 - y) : -z * y) + log_one_plus(e, 1 / (1 + e));
            const double large = 1 / (1 + e), small = e / (1 + e);
            out->correct[i] += (z > LOGISTIC_HALF) == (y > 0.5);
            if (out->delta != NULL) {
                out->delta[ji] = z >= 0 ? (1 - y) * large - y * small : (1 - y) * small - y * large;
            }
        }
        out->correct[i] /= count > 0 ? count : 1;
    }
}

/* L = sum_j l(a_j, y_j): a term is l, and *slope = dl/da. */

typedef double loss_term(double *slope, double a, double y, double parameter);

static void sum_terms(const loss_outputs *out, const loss_inputs *in, loss_term *term)
{
    for (size_t i = 0; i < in->stride; i++) {
        out->loss[i] = out->correct[i] = 0;
        for (size_t j = 0; j < in->units; j++) {
            const size_t ji = j * in->stride + i;
            if (!observed(in->y[ji])) {
                leave_out(out, ji);
                continue;
            }
            double slope;
            out->loss[i] += term(&slope, in->a[ji], in->y[ji], in->parameter);
            if (out->delta != NULL) {
                out->delta[ji] = slope;
            }
        }
    }
}

static double sign_of(double x) { return (x > 0) - (x < 0); }

/* l = |a - y| */

static double mae_term(double *slope, double a, double y, double unused)
{
    (void)unused;
    *slope = sign_of(a - y);
    return fabs(a - y);
}

static void mae(const loss_outputs *out, const loss_inputs *in) { sum_terms(out, in, mae_term); }

/* l = e^2 / 2 with e = a - y where |e| <= d, else d (|e| - d / 2); dl/da = e, held to -d ... d */

static double huber_term(double *slope, double a, double y, double d)
{
    const double error = a - y, size = fabs(error);
    *slope = size <= d ? error : d * sign_of(error);
    return size <= d ? 0.5 * error * error : d * (size - 0.5 * d);
}

static void huber(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, huber_term);
}

/* l = a - y log a: the negative log likelihood of a count y whose mean is a, less what does not
 * depend on a; dl/da = 1 - y / a */

static double poisson_term(double *slope, double a, double y, double unused)
{
    (void)unused;
    const double mean = a < LEAST_FOR_LOG ? LEAST_FOR_LOG : a;
    *slope = 1 - y / mean;
    return a - y * logarithm(mean);
}

static void poisson(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, poisson_term);
}

/* l = max(0, 1 - y a), dl/da = -y where that is above 0, else 0.
 * An output is right when it is on the target's side of 0. */

static double hinge_term(double *slope, double a, double y, double unused)
{
    (void)unused;
    const double margin = 1 - y * a;
    *slope = margin > 0 ? -y : 0;
    return margin <= 0 ? 0 : margin;
}

static void hinge(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, hinge_term);
    for (size_t i = 0; i < in->stride; i++) {
        double count = 0;
        for (size_t j = 0; j < in->units; j++) {
            const double a = in->a[j * in->stride + i], y = in->y[j * in->stride + i];
            count += observed(y);
            out->correct[i] += observed(y) && (a > 0) == (y > 0);
        }
        out->correct[i] /= count > 0 ? count : 1;
    }
}

/* l = q (y - a) where a < y, else (1 - q) (a - y): least, on average, where a fraction q of the y
 * lies below a */

static double quantile_term(double *slope, double a, double y, double q)
{
    const double error = y - a;
    *slope = error > 0 ? -q : error < 0 ? 1 - q : 0;
    return error > 0 ? q * error : (q - 1) * error;
}

static void quantile(const loss_outputs *out, const loss_inputs *in)
{
    sum_terms(out, in, quantile_term);
}

/* L = -sum_j y_j log a_j with a = softmax(z). With t = argmax_j z_j and
 * rest = sum_{j != t} e^{z_j - z_t} = sum_{j != t} a_j / a_t,
 *     -log a_j = z_t - z_j + log(1 + rest)
 * dL/dz_j = a_j sum_k y_k - y_j = a_j (sum_k y_k - y_j) - y_j (1 - a_j), with
 * 1 - a_t = rest / (1 + rest). For one-hot y this is a - y. */

static void categorical(const loss_outputs *out, const loss_inputs *in)
{
    const size_t units = in->units, stride = in->stride;
    for (size_t i = 0; i < stride; i++) {
        const double *z = in->z + i, *a = in->a + i, *y = in->y + i;
        const size_t top = argmax(z, units, stride);
        double rest = 0, y_sum = 0, loss = 0;
        for (size_t j = 0; j < units; j++) {
            rest += j == top ? 0 : a[j * stride];
            y_sum += y[j * stride];
        }
        rest /= a[top * stride];
        const double log_sum = log_one_plus(rest, 1 / (1 + rest));
        for (size_t j = 0; j < units; j++) {
            const double aj = a[j * stride], yj = y[j * stride];
            if (yj != 0) { /* 0 * inf is not what the limit says */
                loss += yj * (z[top * stride] - z[j * stride] + log_sum);
            }
            if (out->delta != NULL) {
                const double not_aj = j == top ? rest / (1 + rest) : 1 - aj;
                out->delta[j * stride + i] = aj * (y_sum - yj) - yj * not_aj;
            }
        }
        out->loss[i] = loss;
        out->correct[i] = argmax(a, units, stride) == argmax(y, units, stride);
    }
}

/* L = sum_j y_j log(y_j / a_j) with a = softmax(z): the categorical cross-entropy less that of the
 * targets themselves, so dL/dz is the same. */

static void kl_divergence(const loss_outputs *out, const loss_inputs *in)
{
    categorical(out, in);
    for (size_t i = 0; i < in->stride; i++) {
        for (size_t j = 0; j < in->units; j++) {
            const double y = in->y[j * in->stride + i];
            out->loss[i] += y < LEAST_FOR_LOG ? 0 : y * logarithm(y);
        }
    }
}

loss_function *const pycnn_losses[PYCNN_LOSS_COUNT] = {
    [PYCNN_MSE] = mse,
    [PYCNN_BINARY_CROSSENTROPY] = binary,
    [PYCNN_CATEGORICAL_CROSSENTROPY] = categorical,
    [PYCNN_MAE] = mae,
    [PYCNN_HUBER] = huber,
    [PYCNN_POISSON] = poisson,
    [PYCNN_HINGE] = hinge,
    [PYCNN_QUANTILE] = quantile,
    [PYCNN_KL_DIVERGENCE] = kl_divergence,
};

int pycnn_loss_activation(int loss)
{
    switch (loss) {
    case PYCNN_BINARY_CROSSENTROPY: return PYCNN_SIGMOID;
    case PYCNN_CATEGORICAL_CROSSENTROPY: return PYCNN_SOFTMAX;
    case PYCNN_KL_DIVERGENCE: return PYCNN_SOFTMAX;
    default: return -1;
    }
}

bool pycnn_loss_accepts(int loss, int activation)
{
    switch (loss) {
    case PYCNN_POISSON: /* a > 0 */
        return activation == PYCNN_SOFTPLUS || activation == PYCNN_SIGMOID ||
               activation == PYCNN_SOFTMAX;
    case PYCNN_HINGE: return activation == PYCNN_LINEAR; /* any a */
    default: return pycnn_loss_activation(loss) < 0 || pycnn_loss_activation(loss) == activation;
    }
}

bool pycnn_loss_takes(int loss, double parameter)
{
    switch (loss) {
    case PYCNN_HUBER: return parameter > 0 && isfinite(parameter);
    case PYCNN_QUANTILE: return parameter > 0 && parameter < 1;
    case PYCNN_BINARY_CROSSENTROPY:
    case PYCNN_CATEGORICAL_CROSSENTROPY: return parameter >= 0 && parameter < 1;
    default: return true;
    }
}

void pycnn_loss_smooth(double *y, int loss, double parameter, size_t outputs, size_t stride)
{
    const bool binary = loss == PYCNN_BINARY_CROSSENTROPY;
    const double uniform = binary ? 0.5 : 1 / (double)outputs;
    if (!binary && loss != PYCNN_CATEGORICAL_CROSSENTROPY) {
        return;
    }
    for (size_t i = 0; i < outputs * stride && parameter > 0; i++) {
        y[i] = (1 - parameter) * y[i] + parameter * uniform;
    }
}

void pycnn_loss_weigh(double *delta, const double *weight, size_t units, size_t batch,
                      size_t stride)
{
    for (size_t j = 0; j < units && (weight != NULL || batch < stride); j++, delta += stride) {
        for (size_t i = 0; i < batch && weight != NULL; i++) {
            delta[i] = weight[i] == 0 ? 0 : weight[i] * delta[i];
        }
        for (size_t i = batch; i < stride; i++) {
            delta[i] = 0;
        }
    }
}

void pycnn_loss_sum(pycnn_totals *totals, const double *loss, const double *correct,
                    const double *weight, size_t positions, size_t batch, size_t stride)
{
    pycnn_totals sums = *totals; /* in registers: three chains */
    for (size_t i = 0; i < batch; i++) {
        for (size_t p = 0, at = i; p < positions; p++, at += stride) {
            const double w = weight[at];
            sums.weight += w;
            sums.loss += w == 0 ? 0 : w * loss[at];
            sums.correct += w * correct[at];
        }
    }
    *totals = sums;
}
