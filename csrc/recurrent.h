/* Recurrent layers: the shape of what they go through, and the kernels of their cells. */
#ifndef PYCNN_RECURRENT_H
#define PYCNN_RECURRENT_H

#include "common.h"

/* What all positions of a sequence have in common; recurrent.c fills it in. */
typedef struct {
    const struct cell *cell;
    size_t positions, features, units;
    bool reverse, sequences; /* whether the outputs of all positions are wanted */
    int f;                   /* pycnn_activation of a cell that has one */
} recurrence;

/* A step of `count` cells, those of all units and samples of a slice. z[4,count] are sums, and
 * become what the way back reads; there they become dL/dsum. What a function reads may be what it
 * writes. */
typedef struct {
    /* i, f, g, o = sigma z0, sigma z1, tanh z2, sigma z3; c = f c_before + i g; h = o tanh c */
    void (*lstm)(double *z, double *h, double *c, double *tanh_c, const double *c_before,
                 size_t count);
    /* dh, dc -> dc_before */
    void (*lstm_back)(double *z, double *dc_before, const double *dh, const double *dc,
                      const double *c_before, const double *tanh_c, size_t count);
    /* r, u = sigma z0, sigma z1; n = tanh(z3 + r z2); h = n + u (h_before - n); z3 becomes n */
    void (*gru)(double *z, double *h, const double *h_before, size_t count);
    /* dh -> of dh_before what does not come by way of z */
    void (*gru_back)(double *z, double *dh_before, const double *dh, const double *h_before,
                     size_t count);
} recurrent_kernels;

#endif
