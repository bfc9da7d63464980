/* Losses: value and delta, side by side. */
#ifndef PYCNN_LOSS_H
#define PYCNN_LOSS_H

#include "common.h"

/* What a loss reads of the output layer; z, a and y are [units,batch], rows `stride` apart. */
typedef struct {
    const double *z, *a, *y;
    size_t units, stride;
    double parameter; /* huber's delta, quantile's q, the cross-entropies' smoothing */
} loss_inputs;

typedef struct {
    double *loss;    /* [stride] one value a sample */
    double *correct; /* [stride] 1 where the class is right, else 0; 0 for regression */
    double *delta;   /* [units,stride] dL/dz where the loss has an activation of its own, else
                      * dL/da; or NULL: not wanted */
} loss_outputs;

typedef void loss_function(const loss_outputs *out, const loss_inputs *in);

/* Outputs and targets below this, which only an underflow makes, have its logarithm: so small that
 * no sum shows it, and so large that a count divided by it is finite. */
#define LEAST_FOR_LOG 0x1p-960

/* The plain losses, by pycnn_loss. */
extern PYCNN_PRIVATE loss_function *const pycnn_losses[PYCNN_LOSS_COUNT];

/* The one output activation that a loss goes with, whose derivative is in its delta; -1: its delta
 * is dL/da. */
PYCNN_PRIVATE int pycnn_loss_activation(int loss);

/* Whether a loss reads a: the binary cross-entropy has all it needs in z. */
static inline bool loss_reads_output(int loss) { return loss != PYCNN_BINARY_CROSSENTROPY; }

/* Whether an output activation has the range that a loss asks for. */
PYCNN_PRIVATE bool pycnn_loss_accepts(int loss, int activation);

/* Whether targets may be NaN: not observed. */
static inline bool loss_allows_missing(int loss)
{
    return loss != PYCNN_CATEGORICAL_CROSSENTROPY && loss != PYCNN_KL_DIVERGENCE &&
           loss != PYCNN_CUSTOM;
}

/* Label smoothing (Szegedy et al. 2016) of y[outputs,stride]: targets become (1 - e) y + e / c,
 * where e is the parameter of a cross-entropy and c the number of classes. */
PYCNN_PRIVATE void pycnn_loss_smooth(double *y, int loss, double parameter, size_t outputs,
                                     size_t stride);

/* delta[units,stride] *= weight[batch], 0 in the padding; weight NULL: all are 1 */
PYCNN_PRIVATE void pycnn_loss_weigh(double *delta, const double *weight, size_t units, size_t batch,
                                    size_t stride);

/* Adds the weighted losses and right answers of a slice, loss, correct and weight
 * [positions,stride]: sample after sample, of each one position after the other. */
PYCNN_PRIVATE void pycnn_loss_sum(pycnn_totals *totals, const double *loss, const double *correct,
                                  const double *weight, size_t positions, size_t batch,
                                  size_t stride);

/* Whether a parameter is one that the loss can have. */
PYCNN_PRIVATE bool pycnn_loss_takes(int loss, double parameter);

#endif
