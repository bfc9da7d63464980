/* Losses: value and delta, side by side. */
#ifndef PYCNN_LOSS_H
#define PYCNN_LOSS_H

#include "common.h"

/* What a loss reads of the output layer; z, a and y are [units,batch], rows `stride` apart. */
typedef struct {
    const double *z, *a, *y;
    size_t units, batch, stride;
} loss_inputs;

typedef struct {
    /* loss[batch]: one value a sample. */
    void (*value)(double *loss, const loss_inputs *in);
    /* delta[units,batch]: dL/dz when the loss has an activation of its own, else dL/da. */
    void (*delta)(double *delta, const loss_inputs *in);
    /* correct[batch]: 1 where the class is right, 0 where it is not. NULL for regression. */
    void (*correct)(double *correct, const loss_inputs *in);
    int activation; /* the one output activation it goes with, or -1: any */
} loss_ops;

/* NULL when there is no such loss. */
const loss_ops *pycnn_loss_find(int loss);

#endif
