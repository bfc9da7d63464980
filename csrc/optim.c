/* Update rules, over the flat parameter vector. */
#include "optim.h"

void pycnn_sgd_update(double *RESTRICT theta, const double *RESTRICT grad, double step,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        theta[i] -= step * grad[i];
    }
}
