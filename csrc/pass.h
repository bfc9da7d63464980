/* A mini-batch on its way through the network, forward and back, on all threads. */
#ifndef PYCNN_PASS_H
#define PYCNN_PASS_H

#include "workspace.h"

/* A mini-batch: the samples order[first ...], or first ... themselves when order is NULL. */
typedef struct selection {
    const pycnn_dataset *data;
    const size_t *order;
    size_t first, count;
} selection;

/* The row of the data that is the i-th sample. */
static inline size_t row_of(const selection *samples, size_t i)
{
    const size_t at = samples->first + i;
    return samples->order == NULL ? at : samples->order[at];
}

/* Has numbers brought into cache, of a row the last line too. */
static inline void fetch_numbers(const double *row, size_t count)
{
    for (size_t k = 0; k < count; k += 8) {
        FETCH(row + k);
    }
    FETCH(row + count - 1);
}

/* Targets of a sample that are fetched before they are read: more would push other data out. */
enum { MOST_FETCHED = 64 };

/* Of labels of a sequence the first ones. */
static inline void fetch_targets(const pycnn_network *net, const pycnn_dataset *data, size_t row)
{
    if (data->y == NULL) {
        FETCH(data->label + row * net->positions);
    } else if (net->outputs <= MOST_FETCHED) {
        fetch_numbers(data->y + row * net->outputs, net->outputs);
    }
}

/* Brings targets and weights in: y[outputs,batch], weight[positions,batch]. */
PYCNN_PRIVATE int pycnn_load_targets(slice *self, const selection *samples,
                                     const pycnn_workspace *ws);

/* The loss of each sample of a slice, or of each position, and where there is room for it delta[L],
 * weighted. */
PYCNN_PRIVATE void pycnn_score(const pycnn_workspace *ws, const selection *samples, size_t s);

/* Adds what was scored of all slices. */
PYCNN_PRIVATE void pycnn_add_totals(pycnn_totals *totals, const pycnn_workspace *ws);

/* Takes a mini-batch through the network and adds its loss and right answers to totals; ws->context
 * says whether it is trained on. */
PYCNN_PRIVATE int pycnn_pass(pycnn_totals *totals, pycnn_workspace *ws, const double *theta,
                             const selection *samples, bool backward);

/* The gradients of the mini-batch that last passed, as sums over its samples. With GRADIENT_DESCEND
 * `out` is theta, and the caller is not asked in between: what changes theta is not ended early. */
PYCNN_PRIVATE int pycnn_sum_gradients(pycnn_workspace *ws, double *out, gradient_use use,
                                      double step);

/* Of so many samples those that go through the network together: as many as there is room for.
 * Fewer where that leaves the caches though the weights do not: sums go on where they stood, so the
 * bits are the same. */
PYCNN_PRIVATE size_t pycnn_samples_together(const pycnn_workspace *ws, size_t count);

/* Gradient of a selection's loss, as a sum over its samples, into `grad` or, with GRADIENT_ADD,
 * onto it; a selection of more samples than go together is worked through piece by piece. */
PYCNN_PRIVATE int pycnn_gradient_of(pycnn_totals *totals, double *grad, gradient_use use,
                                    pycnn_workspace *ws, const double *theta,
                                    const selection *samples);

/* gradient[samples,inputs] of each sample's own loss, times its weight, by its input; the workspace
 * is one for a trace. A selection larger than it is worked through piece by piece. */
PYCNN_PRIVATE int pycnn_input_gradient_of(double *gradient, pycnn_workspace *ws,
                                          const double *theta, const selection *samples);

/* Rows whose outputs are wanted. */
typedef struct {
    pycnn_workspace *ws;
    const double *theta;
    const double *x; /* [.,inputs] */
    double *y;       /* [.,outputs] */
    bool finite;     /* x must be */
    bool leaves_state;
    size_t row; /* of the data that x begins with */
} prediction;

/* Works through all rows, of which the first has this place among dropout's random numbers. */
PYCNN_PRIVATE int pycnn_predict_rows(const prediction *all, size_t rows, size_t position);

/* What the mini-batch that last passed has left in each layer: [units,rows] matrices, one layer
 * after the other, without those that layers are made of. */
PYCNN_PRIVATE void pycnn_copy_trace(double *z, double *a, double *delta, const pycnn_workspace *ws,
                                    size_t rows);

/* Whether a sum of samples' weights is 0 or can be divided by. */
static inline bool weight_divides(double weight) { return !(weight > 0 && weight < 1e-250); }

#endif
