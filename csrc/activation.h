/* Activations: f and f', side by side. */
#ifndef PYCNN_ACTIVATION_H
#define PYCNN_ACTIVATION_H

#include "common.h"

typedef struct {
    /* a[units,batch] = f(z[units,batch]). a may be z itself. */
    void (*forward)(double *a, const double *z, size_t units, size_t batch);
    /* delta[units,batch] holds dL/da and becomes dL/dz. All derivatives here follow from a. */
    void (*backward)(double *delta, const double *a, size_t units, size_t batch);
} activation_ops;

/* NULL when there is no such activation. */
const activation_ops *pycnn_activation_find(int activation);

#endif
