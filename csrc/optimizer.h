/* Optimizers: how a gradient changes the parameters. */
#ifndef PYCNN_OPTIMIZER_H
#define PYCNN_OPTIMIZER_H

#include "common.h"

enum { MOST_SLOTS = 3 };

/* One update; all buffers are as long as theta. */
typedef struct {
    double *theta;
    const double *grad;       /* of the mean loss */
    double *slot[MOST_SLOTS]; /* what the optimizer remembers, in the order of optimizer.c */
    double scale; /* multiplied into the gradient: 1, or less where its norm is clipped */
    double rate;  /* the learning rate */
    double momentum, beta_1, beta_2, epsilon;
    double increase, decrease, min_step, max_step;
    double keep;         /* what decoupled weight decay leaves of theta */
    double correction_1; /* Adam: 1 / (1 - beta_1^t) */
    double correction_2; /* Adam: 1 / sqrt(1 - beta_2^t) */
    bool nesterov, centered;
    bool first; /* update of all */
} update;

/* What a gradient, as a sum over samples, goes through before: held to +-limit, unless that is 0,
 * is scale * grad + l1 sign(theta) + l2 theta */
typedef struct {
    double scale, l1, l2, limit;
} regularization;

/* Updates theta[first ... last - 1]. */
typedef void update_function(const update *self, size_t first, size_t last);

/* The plain ones, by pycnn_optimizer_kind. */
extern PYCNN_PRIVATE update_function *const pycnn_updates[PYCNN_OPTIMIZER_COUNT];

/* Fills in what depends on the optimizer and on how many updates there have been; theta, grad and
 * scale are the caller's. `slots` are [slots,parameters]. */
PYCNN_PRIVATE update pycnn_update_of(const pycnn_optimizer *optimizer, double rate, size_t updates,
                                     double *slots, size_t parameters);

/* Whether the numbers that its kind reads, and its limits, are in their ranges. */
PYCNN_PRIVATE int pycnn_optimizer_check(const char **why, const pycnn_optimizer *optimizer);

/* Whether theta -= rate * gradient is all that it does. */
PYCNN_PRIVATE bool pycnn_optimizer_is_plain(const pycnn_optimizer *optimizer);

#endif
