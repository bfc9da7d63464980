/* Activations: f and f', side by side. */
#ifndef PYCNN_ACTIVATION_H
#define PYCNN_ACTIVATION_H

#include "common.h"

typedef struct {
    /* a[units,stride] = f(z[units,stride]). a may be z itself. */
    void (*forward)(double *a, const double *z, size_t units, size_t stride);
    /* delta[units,stride] holds dL/da and becomes dL/dz. All derivatives here follow from a. */
    void (*backward)(double *delta, const double *a, size_t units, size_t stride);
} activation_ops;

enum { ACTIVATION_COUNT = PYCNN_SOFTMAX + 1 };

/* The plain activations, by pycnn_activation. */
extern const activation_ops pycnn_activations[ACTIVATION_COUNT];

#endif
