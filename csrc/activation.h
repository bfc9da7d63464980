/* Activations: f and f', side by side. */
#ifndef PYCNN_ACTIVATION_H
#define PYCNN_ACTIVATION_H

#include "common.h"

typedef struct {
    /* a[units,stride] = f(z[units,stride]). a may be z itself. */
    void (*forward)(double *a, const double *z, size_t units, size_t stride);
    /* delta[units,stride] holds dL/da and becomes dL/dz. f' is written in terms of `from`, which is
     * z[units,stride] where from_z says so, else a[units,stride]: then nobody need keep z. */
    void (*backward)(double *delta, const double *from, size_t units, size_t stride);
    bool from_z;
    /* Where f and f' are mostly the same work: forward, and z becomes f'(z); and a delta times
     * that, with the bits of backward. Or both NULL. */
    void (*forward_with_slope)(double *a, double *z, size_t units, size_t stride);
    void (*times_slope)(double *delta, const double *slope, size_t units, size_t stride);
} activation_ops;

/* leaky_relu's slope below 0. */
#define LEAKY_SLOPE 0.01

/* selu's lambda, and lambda * alpha (Klambauer et al. 2017): with them mean 0 and variance 1 of a
 * layer's inputs are those of its outputs, for weights of mean 0 and variance 1 / fan_in. */
#define SELU_SCALE 1.0507009873554804934
#define SELU_SCALE_ALPHA 1.7580993408473768599

/* gelu_tanh(z) = z / (1 + e^-(GELU_LINEAR z + GELU_CUBIC z^3)): 2 sqrt(2 / pi), and that times
 * 0.044715 (Hendrycks and Gimpel 2016). */
#define GELU_LINEAR 1.5957691216057307118
#define GELU_CUBIC 0.071354816272600248777

/* The plain activations, by pycnn_activation. */
extern PYCNN_PRIVATE const activation_ops pycnn_activations[PYCNN_ACTIVATION_COUNT];

#endif
