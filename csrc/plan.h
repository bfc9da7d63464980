/* The plan of a network: its layers, their shapes and offsets, and the kernels. It never changes
 * after creation. */
#ifndef PYCNN_PLAN_H
#define PYCNN_PLAN_H

#include "layer.h"
#include "allocator.h"

struct pycnn_network {
    pycnn_allocator allocator; /* of this and of what is made of it */
    size_t inputs, outputs, depth, parameter_count;
    int loss; /* pycnn_loss */
    double loss_parameter;
    bool penalized;       /* some layer's weights are */
    bool constrained;     /* some layer's weights are held to a norm */
    bool needs_batch;     /* some layer does, in training: something is reduced over its samples */
    bool sums_samples;    /* some layer does, in chains */
    bool shares_gradient; /* some layer does */
    bool has_window;      /* some layer has: what it has seen before is in a state */
    size_t widest;        /* number of units, or of inputs */
    size_t last_reader;   /* of the data */
    size_t work;          /* about as many multiply-adds as a sample's forward pass takes, not 0 */
    size_t statistic_count;
    size_t steps;        /* positions of the data's samples, where a layer says so; else 0 */
    size_t state_count;  /* numbers of a sample that go on into the next part of its sequence */
    bool takes_lengths;  /* all layers that would read some know them */
    bool has_sequence;   /* the output is one: each position has a loss of its own */
    bool has_lengths;    /* ... and lengths, where the data has */
    size_t positions;    /* of the output; 1 where it is no sequence */
    size_t features;     /* ... of each of them */
    size_t scratch;      /* the most that a layer needs */
    bool slice_by_slice; /* some layer is */
    size_t tensor_count, statistic_tensor_count;
    const kernel_table *kernels;
    /* While it is being made: */
    size_t met;          /* layers, in the order in which they are written */
    const char *refusal; /* why it cannot be, and for which of them, or NO_LAYER */
    size_t refused;
    layer layers[]; /* [depth] in such an order that each reads what those before it give */
};

/* Appends a layer, and in front of it those that it is made of, on top of layer *top, or THE_DATA;
 * *top becomes the layer itself. Its place is that in the network, or in a layer that it is part
 * of.
 */
PYCNN_PRIVATE int pycnn_plan_append(pycnn_network *net, const pycnn_layer_spec *spec, size_t *top,
                                    size_t place);

/* Numbers in theta. */
static inline size_t theta_size_of(const pycnn_network *net)
{
    return net->parameter_count + net->statistic_count;
}

/* Numbers that come from layer l, or THE_DATA. */
PYCNN_PRIVATE size_t pycnn_plan_width(const pycnn_network *net, size_t l);

#endif
