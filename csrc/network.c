/* The network: plan, workspace, and the walk over the layers. Calls only; the arithmetic is in
 * dense.c, activation.c, loss.c and optim.c. */
#include <math.h>

#include "layer.h"

/* ---------------------------------------------------------------- the plan */

struct pycnn_network {
    size_t inputs, outputs, depth, parameter_count;
    int loss; /* pycnn_loss */
    const kernel_table *kernels;
    layer layers[]; /* [depth] */
};

static const layer_ops *find_layer_ops(int kind)
{
    switch (kind) {
    case PYCNN_DENSE: return &pycnn_dense_ops;
    default: return NULL;
    }
}

static int create_layers(pycnn_network *net, const pycnn_layer_spec *specs)
{
    size_t fan_in = net->inputs;
    for (size_t l = 0; l < net->depth; l++) {
        layer *self = &net->layers[l];
        self->ops = find_layer_ops(specs[l].kind);
        RETURN_IF(self->ops == NULL, PYCNN_ERROR_ARGUMENT);
        self->fan_in = fan_in;
        self->kernels = net->kernels;
        self->offset = net->parameter_count;
        TRY(self->ops->create(self, &specs[l]));
        TRY(add_product(&net->parameter_count, self->parameter_count, 1));
        fan_in = self->fan_out;
    }
    net->outputs = fan_in;
    /* The bytes of theta must be countable too. */
    size_t bytes = 0;
    return add_product(&bytes, net->parameter_count, sizeof(double));
}

int pycnn_network_create(pycnn_network **out, size_t inputs, const pycnn_layer_spec *layers,
                         size_t depth, int loss)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(layers == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(inputs == 0 || depth == 0, PYCNN_ERROR_SIZE);
    RETURN_IF(loss < 0 || loss >= LOSS_COUNT, PYCNN_ERROR_ARGUMENT);
    const int needed = pycnn_loss_activation(loss);
    RETURN_IF(needed >= 0 && needed != layers[depth - 1].activation, PYCNN_ERROR_PAIRING);
    const kernel_table *kernels = pycnn_kernels_find();
    RETURN_IF(kernels == NULL, PYCNN_ERROR_ISA);

    size_t bytes = sizeof(pycnn_network);
    TRY(add_product(&bytes, depth, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = inputs;
    net->depth = depth;
    net->loss = loss;
    net->kernels = kernels;
    const int status = create_layers(net, layers);
    if (status != PYCNN_OK) {
        PYCNN_FREE(net);
        return status;
    }
    *out = net;
    return PYCNN_OK;
}

void pycnn_network_destroy(pycnn_network *net) { PYCNN_FREE(net); }

size_t pycnn_network_parameter_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->parameter_count;
}

/* ---------------------------------------------------------------- the workspace */

struct pycnn_workspace {
    const pycnn_network *net;
    size_t capacity; /* samples that fit */
    int mode;
    double *rows;    /* [capacity,inputs] a gathered mini-batch, padded as a layer_io says */
    double *input;   /* [inputs,capacity] the same, transposed */
    double *y;       /* [outputs,capacity] */
    double *weight;  /* [capacity] */
    double *loss;    /* [capacity] a value a sample */
    double *correct; /* [capacity] */
    double *grad;    /* [parameter_count]; NULL in forward mode */
    layer_io io[];   /* [depth] */
};

/* Buffers start on a cache line. */
#define ALIGNMENT 64

/* One walk both measures the buffers (base NULL) and hands them out, so the two cannot differ. */
typedef struct {
    double *base;
    size_t used;
    bool overflow;
} arena;

static double *take(arena *memory, size_t a, size_t b)
{
    double *block = memory->base == NULL ? NULL : memory->base + memory->used;
    memory->overflow |= add_product(&memory->used, a, b) != PYCNN_OK;
    memory->used = round_up(memory->used, ALIGNMENT / sizeof(double));
    return block;
}

/* Room for a [batch,units] matrix with a column for the bias. */
static size_t row_stride(const pycnn_network *net, size_t units)
{
    return round_up(units + 1, net->kernels->lanes);
}

static void lay_out(pycnn_workspace *ws, const pycnn_network *net, arena *memory)
{
    const size_t m = round_up(ws->capacity, net->kernels->lanes);
    const bool backward = ws->mode >= PYCNN_BACKWARD;
    ws->input = take(memory, net->inputs, m);
    ws->rows = take(memory, row_stride(net, net->inputs), ws->capacity);
    ws->y = take(memory, net->outputs, m);
    ws->weight = take(memory, m, 1);
    ws->loss = take(memory, m, 1);
    ws->correct = take(memory, m, 1);
    ws->grad = backward ? take(memory, net->parameter_count, 1) : NULL;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        const layer_io *below = l == 0 ? NULL : &ws->io[l - 1];
        const bool last = l + 1 == net->depth;
        layer_io *io = &ws->io[l];
        io->input = below == NULL ? ws->input : below->output;
        io->input_rows = below == NULL ? ws->rows : below->output_rows;
        io->input_row_stride = row_stride(net, self->fan_in);
        io->output = take(memory, self->fan_out, m);
        /* The losses read the output layer's z; elsewhere only a trace does. */
        io->z = last || ws->mode == PYCNN_TRACE ? take(memory, self->fan_out, m) : io->output;
        io->output_row_stride = row_stride(net, self->fan_out);
        io->output_rows =
            backward && !last ? take(memory, io->output_row_stride, ws->capacity) : NULL;
        io->delta = backward ? take(memory, self->fan_out, m) : NULL;
        io->delta_is_dz = last && pycnn_loss_activation(net->loss) >= 0;
        io->delta_input = below == NULL ? NULL : below->delta;
    }
}

int pycnn_workspace_create(pycnn_workspace **out, const pycnn_network *net, size_t batch, int mode)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(net == NULL || mode < PYCNN_FORWARD || mode > PYCNN_TRACE, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(batch == 0, PYCNN_ERROR_SIZE);

    size_t head = sizeof(pycnn_workspace);
    TRY(add_product(&head, net->depth, sizeof(layer_io)));
    pycnn_workspace *ws = PYCNN_MALLOC(head);
    RETURN_IF(ws == NULL, PYCNN_ERROR_MEMORY);
    memset(ws, 0, head);
    ws->net = net;
    ws->capacity = batch;
    ws->mode = mode;
    arena measure = {0};
    lay_out(ws, net, &measure);

    size_t bytes = head + ALIGNMENT;
    int status = measure.overflow ? PYCNN_ERROR_SIZE
                                  : add_product(&bytes, measure.used, sizeof(double));
    pycnn_workspace *whole = status == PYCNN_OK ? PYCNN_MALLOC(bytes) : NULL;
    if (status == PYCNN_OK && whole == NULL) {
        status = PYCNN_ERROR_MEMORY;
    }
    if (status == PYCNN_OK) {
        memcpy(whole, ws, head);
        memset((char *)whole + head, 0, bytes - head); /* padding is computed along */
        const uintptr_t end = (uintptr_t)whole + head;
        const uintptr_t start = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        arena memory = {.base = (double *)start};
        lay_out(whole, net, &memory);
        *out = whole;
    }
    PYCNN_FREE(ws);
    return status;
}

void pycnn_workspace_destroy(pycnn_workspace *ws) { PYCNN_FREE(ws); }

static int check_workspace(const pycnn_network *net, const pycnn_workspace *ws, int mode)
{
    RETURN_IF(net == NULL || ws == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(ws->net != net || ws->mode < mode, PYCNN_ERROR_WORKSPACE);
    return PYCNN_OK;
}

static int check_data(const double *theta, const pycnn_dataset *data)
{
    RETURN_IF(theta == NULL || data == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(data->x == NULL || (data->y == NULL && data->label == NULL), PYCNN_ERROR_ARGUMENT);
    RETURN_IF(data->rows == 0, PYCNN_ERROR_SIZE);
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- one mini-batch */

void pycnn_transpose(double *RESTRICT dst, size_t dst_stride, const double *RESTRICT src,
                     size_t src_stride, size_t rows, size_t columns)
{
    enum { BLOCK = 8 }; /* a block's rows and columns are one cache line each */
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
        const size_t r1 = MIN(r0 + BLOCK, rows);
        for (size_t c0 = 0; c0 < columns; c0 += BLOCK) {
            const size_t c1 = MIN(c0 + BLOCK, columns);
            for (size_t c = c0; c < c1; c++) {
                for (size_t r = r0; r < r1; r++) {
                    dst[c * dst_stride + r] = src[r * src_stride + c];
                }
            }
        }
    }
}

/* The samples order[first ...], or first ... themselves when order is NULL. */
typedef struct {
    const pycnn_dataset *data;
    const size_t *order;
    size_t first, count;
} selection;

static inline size_t row_of(const selection *samples, size_t i)
{
    const size_t at = samples->first + i;
    return samples->order == NULL ? at : samples->order[at];
}

static size_t set_batch(const pycnn_network *net, pycnn_workspace *ws, size_t batch)
{
    const size_t stride = batch == 1 ? 1 : round_up(batch, net->kernels->lanes);
    for (size_t l = 0; l < net->depth; l++) {
        ws->io[l].batch = batch;
        ws->io[l].stride = stride;
    }
    return stride;
}

/* input[inputs,batch] from rows of [batch,inputs], with zeros in the padding. */
static void transpose_input(pycnn_workspace *ws, const double *rows, size_t row_stride,
                            size_t batch, size_t stride)
{
    const size_t inputs = ws->net->inputs;
    pycnn_transpose(ws->input, stride, rows, row_stride, batch, inputs);
    for (size_t k = 0; k < inputs && batch < stride; k++) {
        memset(ws->input + k * stride + batch, 0, (stride - batch) * sizeof *ws->input);
    }
}

/* Brings targets and weights of the selected samples in: y[outputs,batch], weight[batch]. */
static int load_targets(pycnn_workspace *ws, const selection *samples, size_t stride)
{
    const pycnn_dataset *data = samples->data;
    const size_t outputs = ws->net->outputs;
    memset(ws->y, 0, outputs * stride * sizeof *ws->y);
    for (size_t i = 0; i < samples->count; i++) {
        const size_t row = row_of(samples, i);
        ws->weight[i] = data->weight == NULL ? 1 : data->weight[row];
        if (data->y == NULL) {
            RETURN_IF(data->label[row] >= outputs, PYCNN_ERROR_LABEL);
            ws->y[data->label[row] * stride + i] = 1;
            continue;
        }
        for (size_t j = 0; j < outputs; j++) {
            ws->y[j * stride + i] = data->y[row * outputs + j];
        }
    }
    return PYCNN_OK;
}

/* Brings the selected samples in: input_rows, input, targets and weights. */
static int load_samples(pycnn_workspace *ws, const selection *samples)
{
    const pycnn_dataset *data = samples->data;
    const size_t inputs = ws->net->inputs, batch = samples->count;
    const size_t row_stride = ws->io[0].input_row_stride;
    const size_t stride = set_batch(ws->net, ws, batch);
    for (size_t i = 0; i < batch; i++) {
        const size_t row = row_of(samples, i);
        RETURN_IF(row >= data->rows, PYCNN_ERROR_INDEX);
        memcpy(ws->rows + i * row_stride, data->x + row * inputs, inputs * sizeof *ws->rows);
        ws->rows[i * row_stride + inputs] = 1; /* the input of the bias */
    }
    transpose_input(ws, ws->rows, row_stride, batch, stride);
    return load_targets(ws, samples, stride);
}

/* A[l] = f(W[l] A[l-1] + b[l]) for l = 1 ... L */
static void forward(const pycnn_network *net, pycnn_workspace *ws, const double *theta)
{
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        self->ops->forward(self, theta + self->offset, &ws->io[l]);
    }
}

/* The mini-batch's loss and, where there is room for it, delta[L], each weighted by its sample;
 * adds loss and right answers to totals. */
static void score(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws)
{
    const layer_io *last = &ws->io[net->depth - 1];
    const loss_inputs in = {last->z, last->output, ws->y, net->outputs, last->stride};
    const loss_outputs out = {ws->loss, ws->correct, last->delta};
    net->kernels->losses[net->loss](&out, &in);
    for (size_t i = 0; i < last->batch; i++) {
        const double w = ws->weight[i];
        totals->weight += w;
        totals->loss += w == 0 ? 0 : w * ws->loss[i];
        totals->correct += w * ws->correct[i];
    }
    if (out.delta == NULL) {
        return;
    }
    for (size_t j = 0; j < in.units; j++) {
        double *delta = out.delta + j * in.stride;
        for (size_t i = 0; i < last->batch; i++) {
            const double w = ws->weight[i];
            delta[i] = w == 0 ? 0 : w * delta[i];
        }
        for (size_t i = last->batch; i < in.stride; i++) {
            delta[i] = 0; /* padding */
        }
    }
}

/* delta[l-1] = (W[l]^T delta[l]) * f'(Z[l-1]) and the gradients, for l = L ... 1, from the delta[L]
 * of score(). `out` is a gradient, or with GRADIENT_DESCEND theta. */
static void backward(double *out, gradient_use use, double step, const pycnn_network *net,
                     pycnn_workspace *ws, const double *theta)
{
    for (size_t l = net->depth; l-- > 0;) {
        const layer *self = &net->layers[l];
        self->ops->backward(self, out + self->offset, use, step, theta + self->offset,
                            &ws->io[l]);
    }
}

/* Gradient of the selection's loss, as a sum over its samples; a selection larger than the
 * workspace is worked through piece by piece. */
static int sum_gradient(pycnn_totals *totals, double *grad, const pycnn_network *net,
                        pycnn_workspace *ws, const double *theta, const selection *samples)
{
    *totals = (pycnn_totals){0};
    for (size_t done = 0; done < samples->count; done += ws->capacity) {
        selection piece = *samples;
        piece.first += done;
        piece.count = MIN(ws->capacity, samples->count - done);
        TRY(load_samples(ws, &piece));
        forward(net, ws, theta);
        score(totals, net, ws);
        backward(grad, done > 0 ? GRADIENT_ADD : GRADIENT_SET, 0, net, ws, theta);
    }
    return PYCNN_OK;
}

/* One step of gradient descent on a mini-batch. */
static int descend(pycnn_totals *totals, double *theta, double learning_rate,
                   const pycnn_network *net, pycnn_workspace *ws, const selection *samples)
{
    if (samples->count > ws->capacity) {
        TRY(sum_gradient(totals, ws->grad, net, ws, theta, samples));
        RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
        if (totals->weight > 0) {
            net->kernels->descend(theta, ws->grad, learning_rate / totals->weight,
                                  net->parameter_count);
        }
        return PYCNN_OK;
    }
    /* It fits: the gradient goes straight into theta, and is never written down. */
    *totals = (pycnn_totals){0};
    TRY(load_samples(ws, samples));
    forward(net, ws, theta);
    score(totals, net, ws);
    RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
    if (totals->weight > 0) {
        backward(theta, GRADIENT_DESCEND, learning_rate / totals->weight, net, ws, theta);
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- the public calls */

int pycnn_predict(double *y, const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                  const double *x, size_t rows)
{
    TRY(check_workspace(net, ws, PYCNN_FORWARD));
    RETURN_IF(y == NULL || theta == NULL || x == NULL, PYCNN_ERROR_ARGUMENT);
    for (size_t done = 0; done < rows; done += ws->capacity) {
        const size_t batch = MIN(ws->capacity, rows - done);
        const size_t stride = set_batch(net, ws, batch);
        transpose_input(ws, x + done * net->inputs, net->inputs, batch, stride);
        forward(net, ws, theta);
        pycnn_transpose(y + done * net->outputs, net->outputs, ws->io[net->depth - 1].output,
                        stride, net->outputs, batch);
    }
    return PYCNN_OK;
}

int pycnn_evaluate(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws,
                   const double *theta, const pycnn_dataset *data)
{
    TRY(check_workspace(net, ws, PYCNN_FORWARD));
    TRY(check_data(theta, data));
    RETURN_IF(totals == NULL, PYCNN_ERROR_ARGUMENT);
    *totals = (pycnn_totals){0};
    for (size_t done = 0; done < data->rows; done += ws->capacity) {
        TRY(load_samples(ws, &(selection){data, NULL, done, MIN(ws->capacity, data->rows - done)}));
        forward(net, ws, theta);
        score(totals, net, ws);
    }
    return PYCNN_OK;
}

int pycnn_gradients(pycnn_totals *totals, double *grad, const pycnn_network *net,
                    pycnn_workspace *ws, const double *theta, const pycnn_dataset *data)
{
    TRY(check_workspace(net, ws, PYCNN_BACKWARD));
    TRY(check_data(theta, data));
    RETURN_IF(totals == NULL || grad == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(sum_gradient(totals, grad, net, ws, theta, &(selection){data, NULL, 0, data->rows}));
    for (size_t i = 0; i < net->parameter_count; i++) {
        grad[i] = totals->weight == 0 ? 0 : grad[i] / totals->weight;
    }
    return PYCNN_OK;
}

int pycnn_trace(pycnn_totals *totals, double *grad, double *z, double *a, double *delta,
                const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                const pycnn_dataset *data)
{
    TRY(check_workspace(net, ws, PYCNN_TRACE));
    RETURN_IF(z == NULL || a == NULL || delta == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(check_data(theta, data));
    RETURN_IF(ws->capacity < data->rows, PYCNN_ERROR_WORKSPACE);
    TRY(pycnn_gradients(totals, grad, net, ws, theta, data));
    for (size_t l = 0, at = 0; l < net->depth; l++) {
        const layer_io *io = &ws->io[l];
        for (size_t j = 0; j < net->layers[l].fan_out; j++, at += io->batch) {
            memcpy(z + at, io->z + j * io->stride, io->batch * sizeof *z);
            memcpy(a + at, io->output + j * io->stride, io->batch * sizeof *a);
            memcpy(delta + at, io->delta + j * io->stride, io->batch * sizeof *delta);
        }
    }
    return PYCNN_OK;
}

int pycnn_train(size_t *steps, double *theta, pycnn_training *state, const pycnn_network *net,
                pycnn_workspace *ws, const pycnn_dataset *data, size_t max_steps)
{
    RETURN_IF(steps == NULL, PYCNN_ERROR_ARGUMENT);
    *steps = 0;
    TRY(check_workspace(net, ws, PYCNN_BACKWARD));
    TRY(check_data(theta, data));
    RETURN_IF(state == NULL || state->totals == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(state->batch_size == 0 || state->position >= data->rows, PYCNN_ERROR_SIZE);
    while (*steps < max_steps && state->epoch < state->epochs) {
        const selection batch = {
            data, state->order == NULL ? NULL : state->order + state->epoch * data->rows,
            state->position, MIN(state->batch_size, data->rows - state->position)};
        pycnn_totals sums;
        TRY(descend(&sums, theta, state->learning_rate, net, ws, &batch));
        pycnn_totals *epoch = &state->totals[state->epoch];
        epoch->loss += sums.loss;
        epoch->weight += sums.weight;
        epoch->correct += sums.correct;
        state->position += batch.count;
        if (state->position == data->rows) {
            state->position = 0;
            state->epoch++;
        }
        ++*steps;
    }
    return PYCNN_OK;
}
