/* Scratch memory for mini-batches, and how a mini-batch is partitioned into slices. */
#ifndef PYCNN_WORKSPACE_H
#define PYCNN_WORKSPACE_H

#include "plan.h"
#include "threads.h"

/* Samples of a mini-batch whose numbers lie together, as layer.h says: as many as a register tile
 * takes, or more where the layers are narrow. A sample's numbers do not depend on the slice that it
 * is in. Matrices are [units,batch], rows `stride` apart. */
typedef struct {
    size_t first; /* sample of the mini-batch that it begins with */
    size_t batch, stride;
    double *rows;    /* the samples gathered, as rows */
    double *input;   /* [inputs,batch] the same, transposed */
    double *delta;   /* [inputs,batch] dL/dinput; NULL where nobody wants it */
    double *y;       /* [outputs,batch] */
    double *weight;  /* [positions,batch] of the output */
    double *loss;    /* [positions,batch] */
    double *correct; /* [positions,batch] */
    double *lengths; /* [stride] of the samples; NULL where the network takes none */
    double *state;   /* [state_count,stride] */
    int status;      /* of the work on it */
} slice;

struct pycnn_workspace {
    pycnn_allocator allocator; /* the network's, which may be gone before */
    size_t bytes;              /* that this takes, in all */
    bool measured;             /* only that is wanted: large buffers are not made */
    const pycnn_network *net;
    pycnn_threads *threads; /* or NULL */
    size_t capacity;        /* samples that fit */
    int mode;               /* pycnn_mode */
    size_t shared_width;    /* units in the buffers that outputs share; 0: they do not */
    size_t shared_count;    /* of these buffers */
    size_t batch;           /* samples that the slices are made for; 0: not yet */
    size_t threads_meant;   /* threads that they are made for */
    size_t slice_count, most_slices;
    slice *slices;                  /* [most_slices] */
    size_t chunk_count;             /* parts of the work, a task each */
    size_t together;                /* of them at a time; fewer than all: the work is long */
    bool by_units;                  /* in training the first layer is shared out by its units */
    size_t chunks[MOST_SLICES + 1]; /* slices chunks[t] ... chunks[t + 1] - 1 are the t-th */
    layer_io *io; /* [depth,most_slices] what each layer reads and writes of each slice */
    product_panel *products; /* [2,depth,most_slices] the same for products forward, backward */
    gradient_terms *terms;   /* [depth,most_slices] and for gradients */
    size_t most_chunks;      /* that are worked on at a time */
    void *scratch;           /* [most_chunks,scratch_size] and what aligns it */
    size_t scratch_size;
    double *grad; /* [parameter_count]; NULL in forward mode */
    void *memory; /* where all buffers are */
    struct layer_buffers {
        double *z, *output, *output_rows, *delta, *saved, *saved_samples, *own_rows;
        double *parts[MOST_INPUTS]; /* of the deltas below, or NULL: these themselves */
        double *shared;             /* [shared_width,batch] of the first shared_count of these: */
        size_t shared_until;        /* ... the last reader of the output that lies there */
    } *layers;                      /* [depth] whole buffers, from which the slices are taken */
    slice whole;
    batch_context context;
    pycnn_sequences sequences;          /* zeros: none are set */
    pycnn_loss_function *loss_function; /* or NULL */
    void *loss_context;
    double *loss_rows; /* [3,batch,outputs] outputs, targets, gradient of such a loss, and what it
                          is itself: [batch,positions] */
    pycnn_poll_function *poll; /* or NULL */
    void *poll_context;
    uint64_t polled;      /* when it was called last, in milliseconds; 0: not in this call */
    online_layer *online; /* [depth]; NULL where pycnn_train does without */
    const online_kernels *online_kernels;
    const double *begun; /* the sample whose first layer's z is there already, or NULL */
};

/* The io of a layer for one slice. */
static inline layer_io *io_of(const pycnn_workspace *ws, size_t l, size_t s)
{
    return &ws->io[l * ws->most_slices + s];
}

/* The number of doubles from one panel of rows to the next. */
static inline size_t panel_distance(const pycnn_workspace *ws)
{
    return ws->batch * ws->net->kernels->panel;
}

/* Scratch that no two of those chunks share that are worked on together; or NULL. */
PYCNN_PRIVATE double *pycnn_workspace_scratch(const pycnn_workspace *ws, size_t chunk);

/* Partitions a mini-batch into chunks, one for each thread where the work is worth it and more
 * where it is long, and those into slices. */
PYCNN_PRIVATE void pycnn_workspace_partition(pycnn_workspace *ws, size_t batch);

/* Whether the work on the mini-batch is so long that the caller is asked in between. */
static inline bool is_long(const pycnn_workspace *ws) { return ws->chunk_count > ws->together; }

/* Asks the caller, if it is time, whether to go on. */
PYCNN_PRIVATE int pycnn_workspace_poll(pycnn_workspace *ws);

#endif
