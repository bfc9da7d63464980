/* Update rules, over the flat parameter vector. */
#ifndef PYCNN_OPTIM_H
#define PYCNN_OPTIM_H

#include "common.h"

/* theta[count] -= step * grad[count]. With grad the sum over a mini-batch, step is the learning
 * rate divided by the sum of the samples' weights. */
void pycnn_sgd_update(double *theta, const double *grad, double step, size_t count);

#endif
