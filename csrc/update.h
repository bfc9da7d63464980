/* What turns the gradient of a mini-batch into a step of training. */
#ifndef PYCNN_UPDATE_H
#define PYCNN_UPDATE_H

#include "pass.h"

/* Whether theta -= rate * gradient is all that a step does. */
bool pycnn_step_is_plain(const pycnn_network *net, const pycnn_training *state);

/* One step on a mini-batch. */
int pycnn_step(pycnn_totals *totals, double *theta, const pycnn_training *state, double rate,
               pycnn_workspace *ws, const selection *samples);

/* grad, a sum over samples, and totals become those of the mean loss with its penalty. */
void pycnn_average(double *grad, pycnn_totals *totals, const pycnn_network *net,
                   const double *theta);

#endif
