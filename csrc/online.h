/* Training on mini-batches of a few samples: online learning, and nearly so.
 *
 * With few samples a step is short, and its fixed cost shows. So for as long as pycnn_train runs,
 * the parameters of a small network lie in a layout made for it: every row and column of a weight
 * matrix begins a vector and fills whole ones, and matrices whose rows and columns are both needed
 * lie there both ways. A sample is a vector of units; nothing is transposed, and no input copied.
 * The sums are the same chains as elsewhere, so the bits are the same too. */
#ifndef PYCNN_ONLINE_H
#define PYCNN_ONLINE_H

#include "activation.h"

/* Samples of a mini-batch at most. */
enum { FEW = 4 };

typedef struct {
    size_t fan_in, fan_out;
    size_t in_stride, out_stride; /* the same, rounded up to whole vectors */
    int f;                        /* pycnn_activation */
    const activation_ops *activation;
    double *columns; /* [fan_in+1,out_stride] W^T, and b behind it */
    double *rows;    /* [fan_out,in_stride] W; NULL for the first layer, which needs no W^T delta */
    double *z;       /* [FEW,out_stride] a row a sample, as all of these; may be `output` */
    double *output;  /* NULL for the last layer */
    double *from;    /* that of z and output which the activation's backward reads */
    double *delta;
} online_layer;

/* Steps through all layers[depth], for `count` samples; x[count] points to their inputs. */
typedef struct {
    /* x -> z and output of each layer; the last one's output is left to the loss. The first one's z
     * may have been `begun`. */
    void (*forward)(const online_layer *layers, size_t depth, const double *const *x, size_t count,
                    bool begun);
    /* The last layer's delta -> those of the layers below. */
    void (*backward)(const online_layer *layers, size_t depth, size_t count);
    /* Parameters -= step * the gradient summed over the samples. A single sample may have a `next`
     * one, whose step is begun: the first layer's z while its weights are at hand. */
    void (*descend)(const online_layer *layers, size_t depth, const double *const *x, size_t count,
                    double step, const double *next);
} online_kernels;

/* Which of a table's are meant: those for any network, or for one none of whose layers fills more
 * than a vector. */
enum { ONLINE_ANY, ONLINE_NARROW, ONLINE_KINDS };

struct selection;

/* Whether mini-batches of `batch` samples train in the layout above: between a
 * pycnn_online_begin, which brings theta into it, and a pycnn_online_end, which brings theta back.
 */
PYCNN_PRIVATE bool pycnn_online_serves(const pycnn_workspace *ws, size_t batch);
PYCNN_PRIVATE void pycnn_online_begin(pycnn_workspace *ws, const double *theta);
PYCNN_PRIVATE void pycnn_online_end(const pycnn_workspace *ws, double *theta);

/* One step of gradient descent on a mini-batch of FEW samples at most; `next` is the mini-batch
 * that the next step will be on; it may have no samples. */
PYCNN_PRIVATE int pycnn_online_step(pycnn_totals *totals, pycnn_workspace *ws,
                                    const struct selection *samples, const struct selection *next,
                                    double learning_rate);

#endif
