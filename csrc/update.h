/* What turns the gradient of a mini-batch into a step of training. */
#ifndef PYCNN_UPDATE_H
#define PYCNN_UPDATE_H

#include "pass.h"

/* Whether theta -= rate * gradient is all that a step does. */
PYCNN_PRIVATE bool pycnn_step_is_plain(const pycnn_network *net, const pycnn_training *state);

/* theta from grad, a sum over samples of this weight above 0, which is used up: one update. */
PYCNN_PRIVATE void pycnn_apply(double *theta, double *grad, const pycnn_training *state,
                               double rate, pycnn_workspace *ws, double weight);

/* Adds the penalty to a sum of losses. */
PYCNN_PRIVATE void pycnn_penalize(pycnn_totals *totals, const pycnn_network *net,
                                  const double *theta);

/* The statistics of the layers that keep some, from the mini-batch that last passed in training,
 * unless all of its samples weigh 0 or their loss is not finite. */
PYCNN_PRIVATE void pycnn_update_statistics(double *statistics, const pycnn_workspace *ws);

/* A step on `count` samples of `rows` is done. */
PYCNN_PRIVATE void pycnn_advance(pycnn_training *state, const pycnn_totals *sums, size_t count,
                                 size_t rows);

/* One step on a mini-batch. */
PYCNN_PRIVATE int pycnn_step(pycnn_totals *totals, double *theta, const pycnn_training *state,
                             double rate, pycnn_workspace *ws, const selection *samples);

/* grad, a sum over samples, and totals become those of the mean loss with its penalty. */
PYCNN_PRIVATE void pycnn_average(double *grad, pycnn_totals *totals, const pycnn_network *net,
                                 const double *theta);

#endif
