/* A mini-batch on its way through the network, on all threads.
 *
 * First each chunk of the samples goes through the network, forward and back, on a thread of its
 * own, all slices of it through one layer after the other: samples do not know of each other, but
 * where a layer needs the whole batch, and there all chunks wait for each other, and where the
 * first layer is so wide that threads share out its units (forward_by_units). Then the gradients,
 * which sum over samples, are shared out by rows of the weights, each summed by one thread over all
 * samples in order. So no sum is ever split. */
#include "pass.h"

#include <math.h>

/* ---------------------------------------------------------------- a slice of a mini-batch */

/* Zeros in the padding of matrix[units,batch]. */
static void pad(double *matrix, size_t units, size_t batch, size_t stride)
{
    for (size_t j = 0; j < units && batch < stride; j++) {
        memset(matrix + j * stride + batch, 0, (stride - batch) * sizeof *matrix);
    }
}

/* Whether the samples that have come in are tokens, where the network reads such. */
static int check_tokens(const slice *self, const pycnn_network *net)
{
    const layer *first = &net->layers[0];
    for (size_t k = 0; k < net->inputs && first->vocabulary > 0; k++) {
        for (size_t i = 0; i < self->batch; i++) {
            const size_t token = pycnn_token_of(first, self->input[k * self->stride + i]);
            RETURN_IF(token == first->vocabulary, PYCNN_ERROR_TOKEN);
        }
    }
    return PYCNN_OK;
}

/* What of a sample that is a sequence lies in front of its length. */
static size_t numbers_there(const pycnn_workspace *ws, size_t row)
{
    const pycnn_network *net = ws->net;
    const size_t *lengths = ws->sequences.lengths;
    return lengths == NULL ? net->inputs : net->inputs / net->steps * lengths[row];
}

/* Brings the i-th sample's length and state in, where there are such. */
static int load_sequence(slice *self, const pycnn_workspace *ws, size_t i, size_t row)
{
    const size_t count = ws->net->state_count;
    if (self->lengths != NULL) {
        const size_t length = ws->sequences.lengths[row];
        RETURN_IF(length == 0 || length > ws->net->steps, PYCNN_ERROR_LENGTHS);
        self->lengths[i] = (double)length;
    }
    for (size_t j = 0; j < count && self->state != NULL; j++) {
        self->state[j * self->stride + i] = ws->sequences.state[row * count + j];
    }
    return PYCNN_OK;
}

/* In the padding samples are whole, and go on from nothing. */
static void pad_sequences(slice *self, const pycnn_network *net)
{
    for (size_t i = self->batch; i < self->stride; i++) {
        if (self->lengths != NULL) {
            self->lengths[i] = (double)net->steps;
        }
        for (size_t j = 0; j < net->state_count && self->state != NULL; j++) {
            self->state[j * self->stride + i] = 0;
        }
    }
}

static void store_state(const slice *self, const pycnn_workspace *ws, size_t i, size_t row)
{
    const size_t count = ws->net->state_count;
    for (size_t j = 0; j < count; j++) {
        ws->sequences.state[row * count + j] = self->state[j * self->stride + i];
    }
}

/* Of a mini-batch when all samples are through: a row may be there twice. */
static void store_states(const pycnn_workspace *ws, const selection *samples)
{
    for (size_t s = 0; s < ws->slice_count && ws->sequences.state != NULL; s++) {
        const slice *self = &ws->slices[s];
        for (size_t i = 0; i < self->batch; i++) {
            store_state(self, ws, i, row_of(samples, self->first + i));
        }
    }
}

/* Targets of a row's position, and what they weigh: `at` is its place among all of the data's. */
static int load_position(double *y, double *weight, size_t stride, const pycnn_dataset *data,
                         const pycnn_network *net, size_t at)
{
    const size_t units = net->features;
    if (data->y == NULL) {
        const size_t label = data->label[at];
        if (label == SIZE_MAX && net->has_sequence) {
            *weight = 0;
            return PYCNN_OK;
        }
        RETURN_IF(label >= units, PYCNN_ERROR_LABEL);
        y[label * stride] = 1;
        return PYCNN_OK;
    }
    bool observed = !net->has_sequence && !loss_allows_missing(net->loss);
    for (size_t j = 0; j < units; j++) {
        y[j * stride] = data->y[at * units + j];
        observed = observed || !isnan(y[j * stride]);
    }
    *weight = observed ? *weight : 0; /* as if the sample were not there */
    return PYCNN_OK;
}

static int load_target(slice *self, const pycnn_dataset *data, const pycnn_workspace *ws, size_t i,
                       size_t row)
{
    const pycnn_network *net = ws->net;
    const bool ends = net->has_lengths && ws->sequences.lengths != NULL;
    const size_t there = ends ? ws->sequences.lengths[row] : net->positions;
    for (size_t p = 0; p < net->positions; p++) {
        const size_t at = row * net->positions + p, of = data->weight_per_position ? at : row;
        double *weight = &self->weight[p * self->stride + i];
        *weight = data->weight == NULL ? 1 : data->weight[of];
        double *y = self->y + p * net->features * self->stride + i;
        if (p < there) {
            TRY(load_position(y, weight, self->stride, data, net, at));
            continue;
        }
        *weight = 0;
        for (size_t j = 0; j < net->features && net->loss == PYCNN_CUSTOM; j++) {
            y[j * self->stride] = NAN; /* a function of the caller's sees which are not there */
        }
    }
    return PYCNN_OK;
}

/* The same where a sample has one position, and a number for each output: most data. */
static void load_numbers(slice *self, const selection *samples, const pycnn_network *net)
{
    const size_t units = net->features, stride = self->stride;
    const double *weight = samples->data->weight;
    const bool all_count = !loss_allows_missing(net->loss);
    for (size_t i = 0; i < self->batch; i++) {
        const size_t row = row_of(samples, self->first + i);
        const double *y = samples->data->y + row * units;
        bool observed = all_count;
        for (size_t j = 0; j < units; j++) {
            self->y[j * stride + i] = y[j];
            observed = observed || !isnan(y[j]);
        }
        self->weight[i] = !observed ? 0 : weight == NULL ? 1 : weight[row];
    }
    pad(self->y, units, self->batch, stride);
}

int pycnn_load_targets(slice *self, const selection *samples, const pycnn_workspace *ws)
{
    const pycnn_network *net = ws->net;
    const size_t position = net->features * self->stride;
    if (samples->data->y != NULL && net->positions == 1 && !net->has_sequence) {
        load_numbers(self, samples, net);
    } else {
        memset(self->y, 0, net->positions * position * sizeof *self->y);
        for (size_t i = 0; i < self->batch; i++) {
            TRY(load_target(self, samples->data, ws, i, row_of(samples, self->first + i)));
        }
    }
    for (size_t p = 0; p < net->positions && net->loss_parameter != 0; p++) {
        pycnn_loss_smooth(self->y + p * position, net->loss, net->loss_parameter, net->features,
                          self->stride);
    }
    return PYCNN_OK;
}

/* Brings a sample in, a row; `next` is that of the next sample. */
static int load_row(slice *self, const pycnn_workspace *ws, const pycnn_dataset *data, size_t i,
                    size_t row, size_t next)
{
    const kernel_table *kernels = ws->net->kernels;
    const size_t inputs = ws->net->inputs, panel = kernels->panel, distance = panel_distance(ws);
    const double *x = data->x;
    if (self->lengths != NULL || self->state != NULL) {
        TRY(load_sequence(self, ws, i, row));
    }
    const size_t there = numbers_there(ws, row);
    double *packed = self->rows + i * panel;
    kernels->pack(packed, distance, x + row * inputs, next < data->rows ? x + next * inputs : NULL,
                  there);
    for (size_t k = there; k < inputs; k++) {
        packed[k / panel * distance + k % panel] = 0;
    }
    return PYCNN_OK;
}

/* Finds a vector of samples, the first of which is this one of the slice's; false: some are not
 * there. */
static bool find_rows(const double **x, const slice *self, const selection *samples,
                      const pycnn_network *net, size_t first)
{
    const pycnn_dataset *data = samples->data;
    const size_t lanes = net->kernels->lanes;
    if (first + lanes > self->batch) {
        return false;
    }
    for (size_t i = 0; i < lanes; i++) {
        const size_t row = row_of(samples, self->first + first + i);
        if (row >= data->rows) {
            return false;
        }
        x[i] = data->x + row * net->inputs;
        fetch_targets(net, data, row); /* they are read when all samples are there */
    }
    return true;
}

/* Brings whole vectors of samples in; returns how many samples: none where some may not be whole.
 * What another thread reads that is far from this one goes past the caches, in which it would have
 * to be taken back from that one for each mini-batch. */
static size_t gather(slice *self, const selection *samples, const pycnn_workspace *ws)
{
    const pycnn_network *net = ws->net;
    const kernel_table *kernels = net->kernels;
    const gather_way far = ws->by_units ? GATHER_AWAY : GATHER_ROWS_AWAY;
    const gather_way way = ws->context.apart ? far : GATHER_NEAR;
    const double *x[2][MOST_LANES];
    size_t done = 0;
    if (kernels->gather == NULL || ws->sequences.lengths != NULL || self->state != NULL) {
        return 0;
    }
    bool there = find_rows(x[0], self, samples, net, 0);
    for (int now = 0; there; now = !now) {
        there = find_rows(x[!now], self, samples, net, done + kernels->lanes);
        kernels->gather(self->rows + done * kernels->panel, panel_distance(ws), self->input + done,
                        self->stride, way, x[now], there ? x[!now] : x[now], net->inputs);
        done += kernels->lanes;
    }
    return done;
}

/* Brings samples in: rows, input, targets and weights. */
static int load(slice *self, const selection *samples, const pycnn_workspace *ws)
{
    const pycnn_network *net = ws->net;
    const kernel_table *kernels = net->kernels;
    const pycnn_dataset *data = samples->data;
    const size_t inputs = net->inputs, panel = kernels->panel, distance = panel_distance(ws);
    double *bias_input = self->rows + inputs / panel * distance + inputs % panel;
    const size_t there = gather(self, samples, ws);
    for (size_t i = 0; i < self->batch; i++) {
        bias_input[i * panel] = 1;
    }
    for (size_t i = there; i < self->batch; i++) {
        const size_t row = row_of(samples, self->first + i);
        const size_t next = i + 1 < self->batch ? row_of(samples, self->first + i + 1) : row;
        RETURN_IF(row >= data->rows, PYCNN_ERROR_INDEX);
        fetch_targets(net, data, row);
        TRY(load_row(self, ws, data, i, row, next));
    }
    pad_sequences(self, net);
    for (size_t k = 0; k < inputs && self->rows != self->input && there < self->batch; k += panel) {
        kernels->transpose(self->input + k * self->stride + there, self->stride,
                           self->rows + k / panel * distance + there * panel, panel,
                           self->batch - there, MIN(panel, inputs - k));
    }
    pad(self->input, inputs, self->batch, self->stride);
    TRY(check_tokens(self, net));
    return pycnn_load_targets(self, samples, ws);
}

/* Whether layer `next` is like layer l: a slice either goes on alone through both, or waits for the
 * others in between. */
static bool goes_on(const pycnn_network *net, size_t l, size_t next)
{
    return net->layers[l].slice_by_slice == net->layers[next].slice_by_slice;
}

static void forward_layers(const pycnn_workspace *ws, const double *theta, size_t first,
                           size_t last, size_t s, size_t slices)
{
    for (size_t l = first; l < last; l++) {
        const layer *self = &ws->net->layers[l];
        self->ops->forward(self, theta + self->offset, io_of(ws, l, s), slices);
    }
}

/* A[l] = f(W[l] A[l-1] + b[l]) for the layers first ... last - 1 of a chunk's slices. Where images
 * are large, a slice goes through them alone, while its numbers are in the second-level cache. */
static void forward(const pycnn_workspace *ws, const double *theta, size_t t, size_t first,
                    size_t last)
{
    const size_t s = ws->chunks[t], slices = ws->chunks[t + 1] - s;
    for (size_t l = first, end; l < last; l = end) {
        end = l + 1;
        while (end < last && goes_on(ws->net, l, end)) {
            end++;
        }
        if (!ws->net->layers[l].slice_by_slice) {
            forward_layers(ws, theta, l, end, s, slices);
            continue;
        }
        for (size_t i = 0; i < slices; i++) {
            forward_layers(ws, theta, l, end, s + i, 1);
        }
    }
}

/* delta[L], weighted by its sample or position, and 0 in the padding */
static void weigh(const pycnn_workspace *ws, const selection *samples, size_t s)
{
    const pycnn_network *net = ws->net;
    const slice *self = &ws->slices[s];
    double *delta = io_of(ws, net->depth - 1, s)->delta;
    const bool weighted = samples->data->weight != NULL || net->has_sequence;
    if (!weighted && self->batch == self->stride) {
        return;
    }
    for (size_t p = 0; p < net->positions && delta != NULL; p++) {
        pycnn_loss_weigh(delta, weighted ? self->weight + p * self->stride : NULL, net->features,
                         self->batch, self->stride);
        delta += net->features * self->stride;
    }
}

void pycnn_score(const pycnn_workspace *ws, const selection *samples, size_t s)
{
    const pycnn_network *net = ws->net;
    const slice *self = &ws->slices[s];
    const layer_io *last = io_of(ws, net->depth - 1, s);
    for (size_t p = 0; p < net->positions; p++) {
        const size_t at = p * net->features * self->stride, one = p * self->stride;
        const loss_inputs in = {last->z + at,  last->output + at, self->y + at,
                                net->features, self->stride,      net->loss_parameter};
        const loss_outputs out = {self->loss + one, self->correct + one,
                                  last->delta == NULL ? NULL : last->delta + at};
        net->kernels->losses[net->loss](&out, &in);
    }
    weigh(ws, samples, s);
}

/* ---------------------------------------------------------------- forward and back */

/* What chunks do without waiting for each other: from layer `from` forward to `to`, the loss, and
 * back again. */
typedef struct {
    pycnn_workspace *ws;
    const double *theta;
    const selection *samples;
    bool load;       /* the samples come in first */
    size_t from, to; /* layers from ... to - 1, forward */
    bool score;
    size_t top, bottom; /* layers top - 1 ... bottom, backward */
    bool derived;       /* ... of which the uppermost has its dL/dz */
    bool derive_below;  /* ... and dL/dz of layer bottom - 1 */
} segment;

static void score_chunk(const segment *here, size_t t)
{
    const pycnn_workspace *ws = here->ws;
    for (size_t s = ws->chunks[t]; s < ws->chunks[t + 1]; s++) {
        if (ws->net->loss == PYCNN_CUSTOM) {
            weigh(ws, here->samples, s);
        } else {
            pycnn_score(ws, here->samples, s);
        }
    }
}

/* dL/da -> dL/dz of layer l */
static void derive(const pycnn_workspace *ws, size_t l, size_t s, size_t slices)
{
    for (size_t i = s; i < s + slices; i++) {
        pycnn_derive(&ws->net->layers[l], io_of(ws, l, i));
    }
}

/* delta[l-1] = (W[l]^T delta[l]) * f'(Z[l-1]) for the layers top - 1 ... bottom */
static void backward_layers(const segment *here, size_t top, size_t bottom, size_t s, size_t slices)
{
    for (size_t l = top; l-- > bottom;) {
        const layer *self = &here->ws->net->layers[l];
        if (!here->derived || l + 1 < here->top) {
            derive(here->ws, l, s, slices);
        }
        self->ops->backward(self, here->theta + self->offset, io_of(here->ws, l, s), slices);
        pycnn_add_deltas(self, io_of(here->ws, l, s), slices);
    }
}

static void backward(const segment *here, size_t s, size_t slices)
{
    const pycnn_network *net = here->ws->net;
    for (size_t top = here->top, bottom; top > here->bottom; top = bottom) {
        bottom = top - 1;
        while (bottom > here->bottom && goes_on(net, top - 1, bottom - 1)) {
            bottom--;
        }
        if (!net->layers[bottom].slice_by_slice) {
            backward_layers(here, top, bottom, s, slices);
            continue;
        }
        for (size_t i = 0; i < slices; i++) {
            backward_layers(here, top, bottom, s + i, 1);
        }
    }
}

static void segment_task(void *context, size_t t)
{
    const segment *here = context;
    pycnn_workspace *ws = here->ws;
    const size_t first = ws->chunks[t], slices = ws->chunks[t + 1] - first;
    for (size_t s = first; s < first + slices && here->load; s++) {
        slice *self = &ws->slices[s];
        self->status = load(self, here->samples, ws);
        if (self->status != PYCNN_OK) {
            return;
        }
    }
    forward(ws, here->theta, t, here->from, here->to);
    if (here->score) {
        score_chunk(here, t);
    }
    backward(here, first, slices);
    if (here->derive_below) {
        derive(ws, here->bottom - 1, first, slices);
    }
}

/* Some tasks of many. */
typedef struct {
    task_function *run;
    void *context;
    size_t first;
} some_tasks;

static void run_one_of_some(void *context, size_t task)
{
    const some_tasks *some = context;
    some->run(some->context, some->first + task);
}

/* Runs tasks on all threads. Those of long work a few at a time; in between the caller may end it.
 */
static int run_tasks(pycnn_workspace *ws, size_t count, task_function *run, void *context)
{
    pycnn_threads *threads = ws->together > 1 ? ws->threads : NULL;
    if (!is_long(ws)) {
        pycnn_threads_run(threads, count, run, context);
        return PYCNN_OK;
    }
    for (size_t first = 0; first < count; first += ws->together) {
        some_tasks some = {run, context, first};
        pycnn_threads_run(threads, MIN(ws->together, count - first), run_one_of_some, &some);
        TRY(pycnn_workspace_poll(ws));
    }
    return PYCNN_OK;
}

/* Runs a task on each chunk, and returns what a slice's status says then: that of the first one
 * that is not well. */
static int run_chunks(pycnn_workspace *ws, task_function *task, void *context)
{
    for (size_t s = 0; s < ws->slice_count; s++) {
        ws->slices[s].status = PYCNN_OK;
    }
    TRY(run_tasks(ws, ws->chunk_count, task, context));
    for (size_t s = 0; s < ws->slice_count; s++) {
        TRY(ws->slices[s].status);
    }
    return PYCNN_OK;
}

static int run_segment(segment *here)
{
    TRY(run_chunks(here->ws, segment_task, here));
    here->load = false;
    return PYCNN_OK;
}

typedef struct {
    const pycnn_workspace *ws;
    size_t l;
    bool backward;
} reduction;

static void reduction_task(void *context, size_t index)
{
    const reduction *here = context;
    const layer *self = &here->ws->net->layers[here->l];
    self->ops->reduce(self, io_of(here->ws, here->l, 0), here->ws->slice_count,
                      (part){index, here->ws->chunk_count, NULL, false}, here->backward);
}

/* What a layer needs to know of the batch, shared out by its units. */
static int reduce(pycnn_workspace *ws, size_t l, bool backward)
{
    reduction here = {ws, l, backward};
    return run_tasks(ws, ws->chunk_count, reduction_task, &here);
}

typedef struct {
    const pycnn_workspace *ws;
    const double *theta;
} units_work;

static void units_task(void *context, size_t index)
{
    const units_work *work = context;
    const pycnn_workspace *ws = work->ws;
    const layer *self = &ws->net->layers[0];
    const part which = {index, ws->together, pycnn_workspace_scratch(ws, index), false};
    self->ops->forward_part(self, work->theta + self->offset, io_of(ws, 0, 0), ws->slice_count,
                            which);
}

/* The first layer forward, shared out by its units when all samples have come in. */
static int forward_by_units(segment *here)
{
    units_work work = {here->ws, here->theta};
    TRY(run_segment(here));
    TRY(run_tasks(here->ws, here->ws->together, units_task, &work));
    here->from = here->to = 1;
    return PYCNN_OK;
}

static bool reduces_at(const pycnn_workspace *ws, size_t l)
{
    return ws->context.training && ws->net->layers[l].ops->reduce != NULL;
}

/* The loss that the caller has brought: rows of all samples, in one call. */
static int call_loss(pycnn_workspace *ws)
{
    const size_t units = ws->net->outputs, last = ws->net->depth - 1, count = ws->context.count;
    const size_t positions = ws->net->positions;
    const kernel_table *kernels = ws->net->kernels;
    double *losses = ws->loss_rows, *outputs = losses + count * positions;
    double *targets = outputs + count * units;
    double *gradient = ws->mode == PYCNN_FORWARD ? NULL : targets + count * units;
    RETURN_IF(ws->loss_function == NULL, PYCNN_ERROR_ARGUMENT);
    for (size_t s = 0; s < ws->slice_count; s++) {
        const slice *self = &ws->slices[s];
        const size_t at = self->first * units;
        kernels->transpose(outputs + at, units, io_of(ws, last, s)->output, self->stride, units,
                           self->batch);
        kernels->transpose(targets + at, units, self->y, self->stride, units, self->batch);
        memset(self->correct, 0, positions * self->stride * sizeof *self->correct);
    }
    const int failed = ws->loss_function(ws->loss_context, losses, gradient, outputs, targets,
                                         count * positions, ws->net->features);
    RETURN_IF(failed, PYCNN_ERROR_LOSS);
    for (size_t s = 0; s < ws->slice_count; s++) {
        const slice *self = &ws->slices[s];
        kernels->transpose(self->loss, self->stride, losses + self->first * positions, positions,
                           self->batch, positions);
        if (gradient != NULL) {
            kernels->transpose(io_of(ws, last, s)->delta, self->stride,
                               gradient + self->first * units, units, self->batch, units);
        }
    }
    return PYCNN_OK;
}

static int forward_segments(segment *here, bool by_units)
{
    pycnn_workspace *ws = here->ws;
    const size_t depth = ws->net->depth;
    if (by_units) {
        TRY(forward_by_units(here));
    }
    for (size_t l = here->from; l < depth; l++) {
        if (reduces_at(ws, l)) {
            here->to = l;
            TRY(run_segment(here));
            TRY(reduce(ws, l, false));
            here->from = l;
        }
    }
    here->to = depth;
    if (ws->net->loss == PYCNN_CUSTOM) {
        TRY(run_segment(here));
        TRY(call_loss(ws));
        here->from = depth;
    }
    here->score = true;
    return PYCNN_OK;
}

static int backward_segments(segment *here)
{
    pycnn_workspace *ws = here->ws;
    for (size_t l = here->top; l-- > 0;) {
        if (reduces_at(ws, l)) {
            here->bottom = l + 1;
            here->derive_below = true;
            TRY(run_segment(here));
            TRY(reduce(ws, l, true));
            here->from = here->to;
            here->score = false;
            here->top = l + 1;
            here->derived = true;
        }
    }
    here->bottom = 0;
    here->derive_below = false;
    return run_segment(here);
}

void pycnn_add_totals(pycnn_totals *totals, const pycnn_workspace *ws)
{
    for (const slice *self = ws->slices; self < ws->slices + ws->slice_count; self++) {
        pycnn_loss_sum(totals, self->loss, self->correct, self->weight, ws->net->positions,
                       self->batch, self->stride);
    }
}

int pycnn_pass(pycnn_totals *totals, pycnn_workspace *ws, const double *theta,
               const selection *samples, bool backward)
{
    /* No delta reaches what a window has kept of earlier parts. */
    RETURN_IF(backward && ws->sequences.state != NULL && ws->net->has_window, PYCNN_ERROR_LENGTHS);
    pycnn_workspace_partition(ws, samples->count);
    ws->context.apart = backward && ws->together > 1 && pycnn_threads_apart(ws->threads);
    ws->context.count = samples->count;
    ws->context.statistics = theta + ws->net->parameter_count;
    segment here = {.ws = ws, .theta = theta, .samples = samples, .load = true};
    TRY(forward_segments(&here, backward && ws->by_units));
    here.top = backward ? ws->net->depth : 0;
    TRY(backward_segments(&here));
    pycnn_add_totals(totals, ws);
    store_states(ws, samples);
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- gradients */

typedef struct {
    const pycnn_workspace *ws;
    double *out; /* a gradient, or with GRADIENT_DESCEND theta */
    gradient_use use;
    double step;
    size_t first, parts; /* layers from there on, each in so many parts */
    bool alone;          /* it is a layer that needs scratch, rather than all that do not */
} gradient_work;

static void gradient_task(void *context, size_t task)
{
    const gradient_work *work = context;
    const pycnn_workspace *ws = work->ws;
    const size_t l = work->first + task / work->parts, index = task % work->parts;
    const layer *self = &ws->net->layers[l];
    if (self->parameter_count > 0 && (self->scratch > 0) == work->alone) {
        const part which = {index, work->parts,
                            work->alone ? pycnn_workspace_scratch(ws, index) : NULL,
                            ws->context.apart && !(l == 0 && ws->by_units)};
        self->ops->gradient(self, work->out + self->offset, work->use, work->step, io_of(ws, l, 0),
                            ws->slice_count, which);
    }
}

static int run_gradients(pycnn_workspace *ws, gradient_work *work, size_t layers)
{
    const size_t tasks = layers * work->parts;
    if (work->use == GRADIENT_DESCEND) {
        pycnn_threads_run(ws->together > 1 ? ws->threads : NULL, tasks, gradient_task, work);
        return PYCNN_OK;
    }
    return run_tasks(ws, tasks, gradient_task, work);
}

/* Each layer in as many parts as there are chunks, all at once; those that need scratch, of which
 * there is as much as chunks are worked on together, one after the other in so many parts. */
int pycnn_sum_gradients(pycnn_workspace *ws, double *out, gradient_use use, double step)
{
    const pycnn_network *net = ws->net;
    gradient_work work = {ws, out, use, step, 0, ws->chunk_count, false};
    TRY(run_gradients(ws, &work, net->depth));
    work.alone = true;
    work.parts = ws->together;
    for (work.first = 0; work.first < net->depth; work.first++) {
        if (net->layers[work.first].scratch > 0) {
            TRY(run_gradients(ws, &work, 1));
        }
    }
    return PYCNN_OK;
}

/* Numbers that stay in the second-level cache, those of them that may be parameters, and samples of
 * a thread that weights are used for at least. */
enum { NUMBERS_IN_CACHE = 1 << 17, PARAMETERS_IN_CACHE = 1 << 15, LEAST_TOGETHER = 192 };

/* Numbers of a sample that a step goes through; 0 where the sums of pieces are not those of the
 * whole: chains of layers other than those that train online, which are of rows alone, may begin
 * anew, and a function of the caller's may look at all samples. */
static size_t numbers_of_sample(const pycnn_network *net)
{
    size_t numbers = 2 * net->inputs; /* as columns and as rows */
    for (size_t l = 0; l < net->depth && net->loss != PYCNN_CUSTOM; l++) {
        if (!net->layers[l].trains_online) {
            return 0;
        }
        numbers += 4 * net->layers[l].fan_out; /* the same, z or what is like it, deltas */
    }
    return net->loss == PYCNN_CUSTOM ? 0 : numbers;
}

size_t pycnn_samples_together(const pycnn_workspace *ws, size_t count)
{
    const pycnn_network *net = ws->net;
    const size_t most = MIN(count, ws->capacity), numbers = numbers_of_sample(net);
    if (numbers == 0 || ws->mode != PYCNN_BACKWARD || net->parameter_count > PARAMETERS_IN_CACHE) {
        return most;
    }
    const size_t fit = round_up(NUMBERS_IN_CACHE / numbers, CHAINS);
    const size_t piece = MAX(fit, LEAST_TOGETHER) * pycnn_threads_count(ws->threads);
    return most < 2 * piece ? most : piece;
}

int pycnn_gradient_of(pycnn_totals *totals, double *grad, gradient_use use, pycnn_workspace *ws,
                      const double *theta, const selection *samples)
{
    const bool whole = samples->count <= ws->capacity;
    const size_t together = pycnn_samples_together(ws, samples->count);
    RETURN_IF(ws->context.training && ws->net->needs_batch && !whole, PYCNN_ERROR_WORKSPACE);
    for (size_t done = 0; done < samples->count; done += together) {
        selection piece = *samples;
        piece.first += done;
        piece.count = MIN(together, samples->count - done);
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
            ws->context.position += together;
        }
        TRY(pycnn_pass(totals, ws, theta, &piece, true));
        TRY(pycnn_sum_gradients(ws, grad, done > 0 ? GRADIENT_ADD : use, 0));
    }
    return PYCNN_OK;
}

int pycnn_input_gradient_of(double *gradient, pycnn_workspace *ws, const double *theta,
                            const selection *samples)
{
    const size_t inputs = ws->net->inputs;
    pycnn_totals ignored = {0};
    for (size_t done = 0; done < samples->count; done += ws->capacity) {
        selection piece = *samples;
        piece.first += done;
        piece.count = MIN(ws->capacity, samples->count - done);
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        TRY(pycnn_pass(&ignored, ws, theta, &piece, true));
        for (size_t s = 0; s < ws->slice_count; s++) {
            const slice *self = &ws->slices[s];
            ws->net->kernels->transpose(gradient + (done + self->first) * inputs, inputs,
                                        self->delta, self->stride, inputs, self->batch);
        }
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- predictions */

/* Brings samples in from where they lie side by side. */
static int load_rows(slice *self, const prediction *work)
{
    const pycnn_workspace *ws = work->ws;
    const pycnn_network *net = ws->net;
    const bool in_sequences = self->lengths != NULL || self->state != NULL;
    const size_t inputs = net->inputs, count = self->batch * inputs;
    const double *x = work->x + self->first * inputs;
    RETURN_IF(work->finite && self->lengths == NULL && pycnn_find_not_finite(x, count) != count,
              PYCNN_ERROR_NOT_FINITE);
    if (ws->batch == 1) {
        memcpy(self->input, x, inputs * sizeof *x);
    } else {
        net->kernels->transpose(self->input, self->stride, x, inputs, self->batch, inputs);
        pad(self->input, inputs, self->batch, self->stride);
    }
    for (size_t i = 0; i < self->batch && in_sequences; i++) {
        const size_t row = work->row + self->first + i;
        TRY(load_sequence(self, ws, i, row));
        const size_t there = numbers_there(ws, row);
        RETURN_IF(work->finite && pycnn_find_not_finite(x + i * inputs, there) != there,
                  PYCNN_ERROR_NOT_FINITE);
        for (size_t k = there; k < inputs; k++) {
            self->input[k * self->stride + i] = 0;
        }
    }
    pad_sequences(self, net);
    return check_tokens(self, net);
}

static void predict_task(void *context, size_t t)
{
    const prediction *work = context;
    pycnn_workspace *ws = work->ws;
    const pycnn_network *net = ws->net;
    for (size_t s = ws->chunks[t]; s < ws->chunks[t + 1]; s++) {
        slice *self = &ws->slices[s];
        self->status = load_rows(self, work);
        if (self->status != PYCNN_OK) {
            return;
        }
    }
    forward(ws, work->theta, t, 0, net->depth);
    for (size_t s = ws->chunks[t]; s < ws->chunks[t + 1]; s++) {
        const slice *self = &ws->slices[s];
        net->kernels->transpose(work->y + self->first * net->outputs, net->outputs,
                                io_of(ws, net->depth - 1, s)->output, self->stride, net->outputs,
                                self->batch);
    }
}

int pycnn_predict_rows(const prediction *all, size_t rows, size_t position)
{
    pycnn_workspace *ws = all->ws;
    ws->context.apart = false;
    for (size_t done = 0; done < rows; done += ws->capacity) {
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        ws->context.position = position + done;
        pycnn_workspace_partition(ws, MIN(ws->capacity, rows - done));
        prediction work = *all;
        work.row += done;
        work.x += done * ws->net->inputs;
        work.y += done * ws->net->outputs;
        TRY(run_chunks(ws, predict_task, &work));
        if (work.leaves_state) {
            const selection samples = {.first = work.row};
            store_states(ws, &samples);
        }
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- traces */

/* dst[units,rows] = a matrix of each slice, side by side */
static void gather_slices(double *dst, const pycnn_workspace *ws, size_t l, size_t units,
                          size_t rows, double *layer_io_matrix(const layer_io *))
{
    for (size_t s = 0; s < ws->slice_count; s++) {
        const slice *self = &ws->slices[s];
        const double *src = layer_io_matrix(io_of(ws, l, s));
        for (size_t j = 0; j < units; j++) {
            memcpy(dst + j * rows + self->first, src + j * self->stride, self->batch * sizeof *dst);
        }
    }
}

static double *z_of(const layer_io *io) { return io->z; }
static double *output_of(const layer_io *io) { return io->output; }
static double *delta_of(const layer_io *io) { return io->delta; }

void pycnn_copy_trace(double *z, double *a, double *delta, const pycnn_workspace *ws, size_t rows)
{
    const pycnn_network *net = ws->net;
    for (size_t l = 0, at = 0; l < net->depth; l++) {
        const size_t units = net->layers[l].fan_out;
        if (!net->layers[l].traced) {
            continue;
        }
        gather_slices(z + at, ws, l, units, rows, z_of);
        gather_slices(a + at, ws, l, units, rows, output_of);
        gather_slices(delta + at, ws, l, units, rows, delta_of);
        at += units * rows;
    }
}
