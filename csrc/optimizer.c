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

/* As in Python, whose AdamW has another weight_decay. */
void pycnn_optimizer_init(pycnn_optimizer *optimizer, int kind)
{
    static const pycnn_optimizer defaults[PYCNN_OPTIMIZER_COUNT] = {
        [PYCNN_SGD] = {.kind = PYCNN_SGD},
        [PYCNN_ADAM] = {.kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8},
        [PYCNN_RMSPROP] = {.kind = PYCNN_RMSPROP, .beta_2 = 0.99, .epsilon = 1e-8},
        [PYCNN_ADAGRAD] = {.kind = PYCNN_ADAGRAD, .epsilon = 1e-10},
        [PYCNN_RPROP] = {.kind = PYCNN_RPROP,
                         .increase = 1.2,
                         .decrease = 0.5,
                         .min_step = 1e-6,
                         .max_step = 50},
    };
    const bool known = kind >= 0 && kind < PYCNN_OPTIMIZER_COUNT;
    if (optimizer != NULL) { /* an unknown kind is refused where it is used */
        *optimizer = known ? defaults[kind] : (pycnn_optimizer){.kind = kind};
    }
}

double pycnn_optimizer_learning_rate(int kind)
{
    static const double rates[PYCNN_OPTIMIZER_COUNT] = {[PYCNN_SGD] = 0.1,
                                                        [PYCNN_ADAM] = 0.001,
                                                        [PYCNN_RMSPROP] = 0.01,
                                                        [PYCNN_ADAGRAD] = 0.01,
                                                        [PYCNN_RPROP] = 0.01};
    return kind >= 0 && kind < PYCNN_OPTIMIZER_COUNT ? rates[kind] : NAN;
}

static bool is_positive(double value) { return value > 0 && isfinite(value); }
static bool is_at_least(double least, double value) { return value >= least && isfinite(value); }

static double or_default(double value, double otherwise) { return value == 0 ? otherwise : value; }

/* RPROP's: 0 stands for Riedmiller and Braun's. */
static void set_steps(update *u, const pycnn_optimizer *optimizer)
{
    u->increase = or_default(optimizer->increase, 1.2);
    u->decrease = or_default(optimizer->decrease, 0.5);
    u->min_step = or_default(optimizer->min_step, 1e-6);
    u->max_step = or_default(optimizer->max_step, 50);
}

static int check_steps(const char **why, const pycnn_optimizer *optimizer)
{
    update u;
    set_steps(&u, optimizer);
    NEED(is_at_least(1, u.increase), PYCNN_ERROR_RANGE, "increase must be finite and at least 1");
    NEED(u.decrease > 0 && u.decrease < 1, PYCNN_ERROR_RANGE, "decrease must lie between 0 and 1");
    NEED(is_positive(u.min_step), PYCNN_ERROR_RANGE, "min_step must be finite and above 0");
    NEED(is_at_least(u.min_step, u.max_step), PYCNN_ERROR_RANGE,
         "max_step must be finite and at least min_step");
    return PYCNN_OK;
}

static int check_fraction(const char **why, double value, const char *words)
{
    NEED(value >= 0 && value < 1, PYCNN_ERROR_RANGE, words);
    return PYCNN_OK;
}

static const char *const fraction_words[] = {
    "momentum must be at least 0 and below 1",
    "beta_1 must be at least 0 and below 1",
    "beta_2 must be at least 0 and below 1",
};
enum { MOMENTUM, BETA_1, BETA_2 };

static int check_epsilon(const char **why, const pycnn_optimizer *optimizer)
{
    NEED(is_positive(optimizer->epsilon), PYCNN_ERROR_RANGE, "epsilon must be finite and above 0");
    return PYCNN_OK;
}

static int check_adam(const char **why, const pycnn_optimizer *optimizer)
{
    TRY(check_fraction(why, optimizer->beta_1, fraction_words[BETA_1]));
    TRY(check_fraction(why, optimizer->beta_2, fraction_words[BETA_2]));
    NEED(is_at_least(0, optimizer->weight_decay), PYCNN_ERROR_RANGE,
         "weight_decay must be finite and at least 0");
    return check_epsilon(why, optimizer);
}

int pycnn_optimizer_check(const char **why, const pycnn_optimizer *optimizer)
{
    RETURN_IF(optimizer == NULL, PYCNN_OK);
    const pycnn_optimizer *o = optimizer;
    NEED(IS_RESERVED(o), PYCNN_ERROR_ARGUMENT, "the optimizer's reserved numbers must be 0");
    NEED(is_at_least(0, o->clip_value), PYCNN_ERROR_RANGE,
         "clip_value must be finite and above 0, or 0 for none");
    NEED(is_at_least(0, o->clip_norm), PYCNN_ERROR_RANGE,
         "clip_norm must be finite and above 0, or 0 for none");
    switch (o->kind) {
    case PYCNN_SGD: return check_fraction(why, o->momentum, fraction_words[MOMENTUM]);
    case PYCNN_ADAM: return check_adam(why, o);
    case PYCNN_RMSPROP:
        TRY(check_fraction(why, o->momentum, fraction_words[MOMENTUM]));
        TRY(check_fraction(why, o->beta_2, fraction_words[BETA_2]));
        return check_epsilon(why, o);
    case PYCNN_ADAGRAD: return check_epsilon(why, o);
    case PYCNN_RPROP: return check_steps(why, o);
    default: NEED(false, PYCNN_ERROR_ARGUMENT, "the optimizer's kind is no pycnn_optimizer_kind");
    }
}

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
    if (optimizer->kind == PYCNN_RPROP) {
        set_steps(&u, optimizer);
    }
    if (optimizer->kind == PYCNN_RMSPROP && !u.centered) { /* the velocity has a place of its own */
        u.slot[2] = u.slot[1];
        u.slot[1] = NULL;
    }
    return u;
}

void pycnn_training_init(pycnn_training *training)
{
    if (training != NULL) {
        *training = (pycnn_training){.epochs = 10, .batch_size = 32, .learning_rate = 0.1};
    }
}
