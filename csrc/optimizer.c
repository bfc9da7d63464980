/* Optimizers, element by element, after PyTorch's conventions; g is the gradient, eta the learning
 * rate, t the number of this update from 1. Slots start as zeros.
 */
#include "optimizer.h"

#include <math.h>

/* SGD        theta -= eta g
 * momentum   v = mu v + g,  theta -= eta v                 (Polyak 1964; slot v)
 * Nesterov   v = mu v + g,  theta -= eta (g + mu v)        (Sutskever et al. 2013) */
static void sgd(const update *u, size_t first, size_t last)
{
    double *velocity = u->slot[0];
    for (size_t i = first; i < last; i++) {
        const double g = u->scale * u->grad[i];
        double direction = g;
        if (velocity != NULL) {
            velocity[i] = u->momentum * velocity[i] + g;
            direction = u->nesterov ? g + u->momentum * velocity[i] : velocity[i];
        }
        u->theta[i] -= u->rate * direction;
    }
}

/* Adam       m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *            theta -= eta m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 *                                                          (Kingma & Ba 2015; slots m, v)
 * AdamW      first theta *= 1 - eta lambda                 (Loshchilov & Hutter 2019) */
static void adam(const update *u, size_t first, size_t last)
{
    double *mean = u->slot[0], *square = u->slot[1];
    for (size_t i = first; i < last; i++) {
        const double g = u->scale * u->grad[i];
        mean[i] = u->beta_1 * mean[i] + (1 - u->beta_1) * g;
        square[i] = u->beta_2 * square[i] + (1 - u->beta_2) * g * g;
        const double root = sqrt(square[i]) * u->correction_2 + u->epsilon;
        u->theta[i] = u->keep * u->theta[i] - u->rate * u->correction_1 * mean[i] / root;
    }
}

/* RMSprop    s = rho s + (1 - rho) g^2,  theta -= eta g / (sqrt(s) + eps)    (Hinton 2012; slot s)
 * centered   a = rho a + (1 - rho) g, and s - a^2 for s                      (Graves 2013; slot a)
 * momentum   b = mu b + g / (...),  theta -= eta b                           (slot b, the last) */
static void rmsprop(const update *u, size_t first, size_t last)
{
    double *square = u->slot[0], *mean = u->slot[1], *velocity = u->slot[2];
    for (size_t i = first; i < last; i++) {
        const double g = u->scale * u->grad[i];
        square[i] = u->beta_2 * square[i] + (1 - u->beta_2) * g * g;
        double variance = square[i];
        if (mean != NULL) {
            mean[i] = u->beta_2 * mean[i] + (1 - u->beta_2) * g;
            variance -= mean[i] * mean[i];
            variance = variance < 0 ? 0 : variance; /* of rounding */
        }
        double direction = g / (sqrt(variance) + u->epsilon);
        if (velocity != NULL) {
            direction = velocity[i] = u->momentum * velocity[i] + direction;
        }
        u->theta[i] -= u->rate * direction;
    }
}

/* Adagrad    s += g^2,  theta -= eta g / (sqrt(s) + eps)   (Duchi et al. 2011; slot s) */
static void adagrad(const update *u, size_t first, size_t last)
{
    double *square = u->slot[0];
    for (size_t i = first; i < last; i++) {
        const double g = u->scale * u->grad[i];
        square[i] += g * g;
        u->theta[i] -= u->rate * g / (sqrt(square[i]) + u->epsilon);
    }
}

/* RPROP      the step of each parameter starts as eta, grows while its gradient keeps its sign and
 *            shrinks when that changes, where this gradient then counts as 0;
 *            theta -= sign(g) step       (Riedmiller & Braun 1993, iRprop-: Igel & Huesken 2000;
 *                                         slots: g before, step) */
static void rprop(const update *u, size_t first, size_t last)
{
    double *before = u->slot[0], *step = u->slot[1];
    for (size_t i = first; i < last; i++) {
        double g = u->scale * u->grad[i];
        const double same = before[i] * g;
        double size = u->first ? u->rate : step[i];
        size *= same > 0 ? u->increase : same < 0 ? u->decrease : 1;
        size = size < u->min_step ? u->min_step : size;
        size = size > u->max_step ? u->max_step : size;
        g = same < 0 ? 0 : g;
        step[i] = size;
        before[i] = g;
        u->theta[i] -= g > 0 ? size : g < 0 ? -size : 0;
    }
}

update_function *const pycnn_updates[PYCNN_OPTIMIZER_COUNT] = {
    [PYCNN_SGD] = sgd,         [PYCNN_ADAM] = adam,   [PYCNN_RMSPROP] = rmsprop,
    [PYCNN_ADAGRAD] = adagrad, [PYCNN_RPROP] = rprop,
};

bool pycnn_optimizer_is_plain(const pycnn_optimizer *optimizer)
{
    return optimizer == NULL || (optimizer->kind == PYCNN_SGD && optimizer->momentum == 0 &&
                                 optimizer->clip_value == 0 && optimizer->clip_norm == 0);
}

size_t pycnn_optimizer_slots(const pycnn_optimizer *optimizer)
{
    if (optimizer == NULL) {
        return 0;
    }
    const size_t momentum = optimizer->momentum != 0, centered = optimizer->centered != 0;
    switch (optimizer->kind) {
    case PYCNN_SGD: return momentum;
    case PYCNN_ADAM: return 2;
    case PYCNN_RMSPROP: return 1 + centered + momentum;
    case PYCNN_ADAGRAD: return 1;
    case PYCNN_RPROP: return 2;
    default: return 0;
    }
}

/* base^n by squaring: the same bits everywhere, which pow() does not promise. */
static double power(double base, size_t n)
{
    double result = 1;
    for (; n > 0; n /= 2, base *= base) {
        result *= n % 2 ? base : 1;
    }
    return result;
}

static double or_default(double value, double otherwise) { return value > 0 ? value : otherwise; }

update pycnn_update_of(const pycnn_optimizer *optimizer, double rate, size_t updates, double *slots,
                       size_t parameters)
{
    update u = {.rate = rate, .keep = 1, .scale = 1, .first = updates == 0};
    if (optimizer == NULL) {
        return u;
    }
    for (size_t s = 0; s < pycnn_optimizer_slots(optimizer); s++) {
        u.slot[s] = slots + s * parameters;
    }
    u.momentum = optimizer->momentum;
    u.nesterov = optimizer->nesterov != 0;
    u.centered = optimizer->centered != 0;
    u.beta_1 = optimizer->beta_1;
    u.beta_2 = optimizer->beta_2;
    u.epsilon = optimizer->epsilon;
    if (optimizer->kind == PYCNN_ADAM) {
        u.keep = 1 - rate * optimizer->weight_decay;
        u.correction_1 = 1 / (1 - power(u.beta_1, updates + 1));
        u.correction_2 = 1 / sqrt(1 - power(u.beta_2, updates + 1));
    }
    if (optimizer->kind == PYCNN_RPROP) { /* the defaults are Riedmiller and Braun's */
        u.increase = or_default(optimizer->increase, 1.2);
        u.decrease = or_default(optimizer->decrease, 0.5);
        u.min_step = or_default(optimizer->min_step, 1e-6);
        u.max_step = or_default(optimizer->max_step, 50);
    }
    if (optimizer->kind == PYCNN_RMSPROP && !u.centered) { /* the velocity has a place of its own */
        u.slot[2] = u.slot[1];
        u.slot[1] = NULL;
    }
    return u;
}
