/* Training on mini-batches of a few samples, in the layout of online.h. */
#include "online.h"

#include <math.h>

#include "pass.h"

bool pycnn_online_serves(const pycnn_workspace *ws, size_t batch)
{
    return ws->online != NULL && batch <= MIN(FEW, ws->capacity);
}

void pycnn_online_begin(pycnn_workspace *ws, const double *theta)
{
    ws->begun = NULL;
    for (size_t l = 0; l < ws->net->depth; l++) {
        const online_layer *self = &ws->online[l];
        const double *weight = theta + ws->net->layers[l].offset;
        pycnn_make_columns(self->columns, self->out_stride, weight,
                           weight + self->fan_out * self->fan_in, ws->net->kernels, self->fan_out,
                           self->fan_in);
        for (size_t j = 0; j < self->fan_out && self->rows != NULL; j++) {
            memcpy(self->rows + j * self->in_stride, weight + j * self->fan_in,
                   self->fan_in * sizeof *theta);
        }
    }
}

void pycnn_online_end(const pycnn_workspace *ws, double *theta)
{
    for (size_t l = 0; l < ws->net->depth; l++) {
        const online_layer *self = &ws->online[l];
        double *weight = theta + ws->net->layers[l].offset;
        ws->net->kernels->transpose(weight, self->fan_in, self->columns, self->out_stride,
                                    self->fan_in, self->fan_out);
        memcpy(weight + self->fan_out * self->fan_in,
               self->columns + self->fan_in * self->out_stride, self->fan_out * sizeof *theta);
    }
}

/* The last layer's z -> its output, where that is read, the losses and dL/dz, by way of the slice
 * that the general path would use: there samples lie side by side. */
static int score(pycnn_workspace *ws, const selection *samples)
{
    const pycnn_network *net = ws->net;
    const online_layer *last = &ws->online[net->depth - 1];
    const layer *self = &net->layers[net->depth - 1];
    pycnn_workspace_partition(ws, samples->count);
    layer_io *io = io_of(ws, net->depth - 1, 0);
    TRY(pycnn_load_targets(&ws->slices[0], samples, ws));
    double *const z = io->z, *const delta = io->delta;
    if (io->stride == 1) { /* of a single sample, row and column are the same */
        io->z = last->z;
        io->delta = last->delta;
    } else {
        ws->net->kernels->transpose(io->z, io->stride, last->z, last->out_stride, io->batch,
                                    net->outputs);
    }
    if (loss_reads_output(net->loss)) {
        pycnn_activate(self, io);
    }
    pycnn_score(ws, samples, 0);
    pycnn_derive(self, io);
    if (io->stride != 1) {
        ws->net->kernels->transpose(last->delta, last->out_stride, io->delta, io->stride,
                                    net->outputs, io->batch);
    }
    io->z = z;
    io->delta = delta;
    return PYCNN_OK;
}

/* The sample that a mini-batch consists of; NULL: of more, or of none. */
static const double *only_sample(const pycnn_network *net, const selection *samples)
{
    if (samples->count != 1) {
        return NULL;
    }
    const size_t row = row_of(samples, 0);
    return row < samples->data->rows ? samples->data->x + row * net->inputs : NULL;
}

/* Has the next step's samples brought into cache: in an order of their own they lie anywhere. */
static void fetch_samples(const pycnn_network *net, const selection *samples)
{
    for (size_t i = 0; i < samples->count && samples->order != NULL; i++) {
        const size_t row = row_of(samples, i);
        if (row < samples->data->rows) {
            fetch_numbers(samples->data->x + row * net->inputs, net->inputs);
            fetch_targets(net, samples->data, row);
        }
    }
}

int pycnn_online_step(pycnn_totals *totals, pycnn_workspace *ws, const selection *samples,
                      const selection *next, double learning_rate)
{
    const pycnn_network *net = ws->net;
    const online_kernels *kernels = ws->online_kernels;
    const double *x[FEW];
    for (size_t i = 0; i < samples->count; i++) {
        const size_t row = row_of(samples, i);
        RETURN_IF(row >= samples->data->rows, PYCNN_ERROR_INDEX);
        x[i] = samples->data->x + row * net->inputs;
    }
    fetch_samples(net, next);
    kernels->forward(ws->online, net->depth, x, samples->count, ws->begun == x[0]);
    ws->begun = NULL;
    TRY(score(ws, samples));
    const slice *scored = &ws->slices[0];
    *totals = (pycnn_totals){0};
    pycnn_loss_sum(totals, scored->loss, scored->correct, scored->weight, net->positions,
                   samples->count, scored->stride);
    RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
    RETURN_IF(!weight_divides(totals->weight), PYCNN_ERROR_RANGE);
    kernels->backward(ws->online, net->depth, samples->count);
    if (totals->weight > 0) {
        ws->begun = samples->count == 1 ? only_sample(net, next) : NULL;
        kernels->descend(ws->online, net->depth, x, samples->count, learning_rate / totals->weight,
                         ws->begun);
    }
    return PYCNN_OK;
}
