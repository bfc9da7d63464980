/* The network: plan, workspace, and the walk over the layers. Calls only; the arithmetic is in
 * dense.c, activation.c, loss.c and optim.c. */
#include <math.h>

#include "layer.h"
#include "loss.h"
#include "optim.h"

/* ---------------------------------------------------------------- the plan */

struct pycnn_network {
    size_t inputs, outputs, depth, parameter_count;
    const loss_ops *loss;
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
    const loss_ops *ops = pycnn_loss_find(loss);
    RETURN_IF(ops == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(ops->activation >= 0 && ops->activation != layers[depth - 1].activation,
              PYCNN_ERROR_PAIRING);

    size_t bytes = sizeof(pycnn_network);
    TRY(add_product(&bytes, depth, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = inputs;
    net->depth = depth;
    net->loss = ops;
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
    double *rows;    /* [capacity,inputs] a gathered mini-batch; NULL in forward mode */
    double *input;   /* [inputs,capacity] the same, transposed */
    double *y;       /* [outputs,capacity] */
    double *weight;  /* [capacity] */
    double *loss;    /* [capacity] a value a sample */
    double *correct; /* [capacity] */
    double *grad;    /* [parameter_count]; NULL in forward mode */
    layer_io io[];   /* [depth] */
};

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
    return block;
}

static void lay_out(pycnn_workspace *ws, const pycnn_network *net, arena *memory)
{
    const size_t m = ws->capacity;
    const bool backward = ws->mode >= PYCNN_BACKWARD;
    ws->input = take(memory, net->inputs, m);
    ws->rows = backward ? take(memory, net->inputs, m) : NULL;
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
        io->output = take(memory, self->fan_out, m);
        /* The losses read the output layer's z; elsewhere only a trace does. */
        io->z = last || ws->mode == PYCNN_TRACE ? take(memory, self->fan_out, m) : io->output;
        io->output_rows = backward && !last ? take(memory, self->fan_out, m) : NULL;
        io->delta = backward ? take(memory, self->fan_out, m) : NULL;
        io->delta_is_dz = last && net->loss->activation >= 0;
        io->delta_input = below == NULL ? NULL : below->delta;
    }
}

/* Buffers start on a cache line. */
#define ALIGNMENT 64

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

void pycnn_transpose(double *RESTRICT dst, const double *RESTRICT src, size_t rows, size_t columns)
{
    enum { BLOCK = 8 }; /* a block's rows and columns are one cache line each */
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
        const size_t r1 = MIN(r0 + BLOCK, rows);
        for (size_t c0 = 0; c0 < columns; c0 += BLOCK) {
            const size_t c1 = MIN(c0 + BLOCK, columns);
            for (size_t c = c0; c < c1; c++) {
                for (size_t r = r0; r < r1; r++) {
                    dst[c * rows + r] = src[r * columns + c];
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

static void set_batch(const pycnn_network *net, pycnn_workspace *ws, size_t batch)
{
    for (size_t l = 0; l < net->depth; l++) {
        ws->io[l].batch = batch;
    }
}

/* Brings targets and weights of the selected samples in: y[outputs,batch], weight[batch]. */
static int load_targets(pycnn_workspace *ws, const selection *samples)
{
    const pycnn_dataset *data = samples->data;
    const size_t outputs = ws->net->outputs, batch = samples->count;
    if (data->y == NULL) {
        memset(ws->y, 0, outputs * batch * sizeof *ws->y);
    }
    for (size_t i = 0; i < batch; i++) {
        const size_t row = row_of(samples, i);
        ws->weight[i] = data->weight == NULL ? 1 : data->weight[row];
        if (data->y == NULL) {
            RETURN_IF(data->label[row] >= outputs, PYCNN_ERROR_LABEL);
            ws->y[data->label[row] * batch + i] = 1;
            continue;
        }
        for (size_t j = 0; j < outputs; j++) {
            ws->y[j * batch + i] = data->y[row * outputs + j];
        }
    }
    return PYCNN_OK;
}

/* Brings the selected samples in: input[inputs,batch] and, for the gradients, input_rows. */
static int load_samples(pycnn_workspace *ws, const selection *samples)
{
    const pycnn_dataset *data = samples->data;
    const size_t inputs = ws->net->inputs, batch = samples->count;
    for (size_t i = 0; i < batch; i++) {
        RETURN_IF(row_of(samples, i) >= data->rows, PYCNN_ERROR_INDEX);
    }
    const double *rows = data->x + samples->first * inputs;
    if (samples->order != NULL) {
        for (size_t i = 0; i < batch; i++) {
            memcpy(ws->rows + i * inputs, data->x + row_of(samples, i) * inputs,
                   inputs * sizeof *ws->rows);
        }
        rows = ws->rows;
    }
    ws->io[0].input_rows = rows;
    pycnn_transpose(ws->input, rows, batch, inputs);
    set_batch(ws->net, ws, batch);
    return load_targets(ws, samples);
}

/* A[l] = f(W[l] A[l-1] + b[l]) for l = 1 ... L */
static void forward(const pycnn_network *net, pycnn_workspace *ws, const double *theta)
{
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        self->ops->forward(self, theta + self->offset, &ws->io[l]);
    }
}

static loss_inputs read_output(const pycnn_network *net, const pycnn_workspace *ws)
{
    const layer_io *last = &ws->io[net->depth - 1];
    return (loss_inputs){last->z, last->output, ws->y, net->outputs, last->batch};
}

/* Adds the mini-batch's weighted loss and right answers to totals. */
static void score(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws)
{
    const loss_inputs in = read_output(net, ws);
    net->loss->value(ws->loss, &in);
    if (net->loss->correct != NULL) {
        net->loss->correct(ws->correct, &in);
    }
    for (size_t i = 0; i < in.batch; i++) {
        const double w = ws->weight[i];
        totals->weight += w;
        totals->loss += w == 0 ? 0 : w * ws->loss[i];
        totals->correct += net->loss->correct == NULL ? 0 : w * ws->correct[i];
    }
}

/* delta[L], then delta[l-1] = (W[l]^T delta[l]) * f'(Z[l-1]) and the gradients, for l = L ... 1 */
static void backward(double *grad, const pycnn_network *net, pycnn_workspace *ws,
                     const double *theta, bool accumulate)
{
    const loss_inputs in = read_output(net, ws);
    double *delta = ws->io[net->depth - 1].delta;
    net->loss->delta(delta, &in);
    for (size_t j = 0; j < in.units; j++) {
        for (size_t i = 0; i < in.batch; i++) {
            const double w = ws->weight[i];
            delta[j * in.batch + i] = w == 0 ? 0 : w * delta[j * in.batch + i];
        }
    }
    for (size_t l = net->depth; l-- > 0;) {
        const layer *self = &net->layers[l];
        self->ops->backward(self, grad + self->offset, theta + self->offset, &ws->io[l],
                            accumulate);
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
        backward(grad, net, ws, theta, done > 0);
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
        pycnn_transpose(ws->input, x + done * net->inputs, batch, net->inputs);
        set_batch(net, ws, batch);
        forward(net, ws, theta);
        pycnn_transpose(y + done * net->outputs, ws->io[net->depth - 1].output, net->outputs,
                        batch);
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
        const size_t count = net->layers[l].fan_out * data->rows;
        memcpy(z + at, ws->io[l].z, count * sizeof *z);
        memcpy(a + at, ws->io[l].output, count * sizeof *a);
        memcpy(delta + at, ws->io[l].delta, count * sizeof *delta);
        at += count;
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
        TRY(sum_gradient(&sums, ws->grad, net, ws, theta, &batch));
        RETURN_IF(!isfinite(sums.loss), PYCNN_ERROR_DIVERGED);
        if (sums.weight > 0) {
            pycnn_sgd_update(theta, ws->grad, state->learning_rate / sums.weight,
                             net->parameter_count);
        }
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
