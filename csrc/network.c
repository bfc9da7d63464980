/* The network: the plan, the walk over the layers, and the calls of pycnn.h. Calls only; the
 * arithmetic is in the kernels. */
#include <math.h>

#include "workspace.h"

/* ---------------------------------------------------------------- the plan */

static const layer_ops *find_layer_ops(int kind)
{
    switch (kind) {
    case PYCNN_DENSE: return &pycnn_dense_ops;
    case PYCNN_DROPOUT: return &pycnn_dropout_ops;
    case PYCNN_BATCH_NORM: return &pycnn_batch_norm_ops;
    case PYCNN_LAYER_NORM: return &pycnn_layer_norm_ops;
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
        self->kernels = net->kernels;
        self->fan_in = fan_in;
        self->offset = net->parameter_count;
        self->statistic_offset = net->statistic_count;
        self->number = l;
        TRY(self->ops->create(self, &specs[l]));
        RETURN_IF(!(specs[l].l1 >= 0 && specs[l].l2 >= 0), PYCNN_ERROR_ARGUMENT);
        self->l1 = specs[l].l1;
        self->l2 = specs[l].l2;
        net->penalized = net->penalized || self->l1 > 0 || self->l2 > 0;
        net->constrained = net->constrained || self->max_norm > 0;
        net->meets = net->meets || self->ops->meet != NULL;
        net->chains = net->chains || self->ops->chains;
        TRY(add_product(&net->parameter_count, self->parameter_count, 1));
        TRY(add_product(&net->statistic_count, self->statistic_count, 1));
        fan_in = self->fan_out;
    }
    net->outputs = fan_in;
    /* The bytes of theta must be countable too. */
    size_t bytes = 0;
    TRY(add_product(&bytes, net->parameter_count, sizeof(double)));
    return add_product(&bytes, net->statistic_count, sizeof(double));
}

static size_t widest(size_t inputs, const pycnn_layer_spec *layers, size_t depth)
{
    size_t width = inputs; /* layers other than the dense have that of one before them */
    for (size_t l = 0; l < depth; l++) {
        width = layers[l].kind == PYCNN_DENSE && layers[l].units > width ? layers[l].units : width;
    }
    return width;
}

int pycnn_network_create(pycnn_network **out, size_t inputs, const pycnn_layer_spec *layers,
                         size_t depth, int loss, double loss_parameter)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(layers == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(inputs == 0 || depth == 0, PYCNN_ERROR_SIZE);
    RETURN_IF(loss < 0 || (loss >= PYCNN_LOSS_COUNT && loss != PYCNN_CUSTOM), PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!pycnn_loss_takes(loss, loss_parameter), PYCNN_ERROR_ARGUMENT);
    RETURN_IF(layers[depth - 1].kind == PYCNN_DROPOUT, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!pycnn_loss_accepts(loss, layers[depth - 1].activation), PYCNN_ERROR_PAIRING);
    const size_t width = widest(inputs, layers, depth);
    const kernel_table *kernels = pycnn_kernels_find(width);
    RETURN_IF(kernels == NULL, PYCNN_ERROR_ISA);

    size_t bytes = sizeof(pycnn_network);
    TRY(add_product(&bytes, depth, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = inputs;
    net->depth = depth;
    net->loss = loss;
    net->loss_parameter = loss_parameter;
    net->kernels = kernels;
    net->widest = width;
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

size_t pycnn_network_statistic_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->statistic_count;
}

/* ---------------------------------------------------------------- a slice of a mini-batch */

/* Zeros in the padding of input[inputs,batch]. */
static void pad_input(const slice *self, size_t inputs)
{
    for (size_t k = 0; k < inputs && self->batch < self->stride; k++) {
        memset(self->input + k * self->stride + self->batch, 0,
               (self->stride - self->batch) * sizeof *self->input);
    }
}

int pycnn_load_targets(slice *self, const selection *samples, const pycnn_network *net)
{
    const size_t outputs = net->outputs;
    const pycnn_dataset *data = samples->data;
    const bool may_miss = pycnn_loss_allows_missing(net->loss);
    memset(self->y, 0, outputs * self->stride * sizeof *self->y);
    for (size_t i = 0; i < self->batch; i++) {
        const size_t row = row_of(samples, self->first + i);
        self->weight[i] = data->weight == NULL ? 1 : data->weight[row];
        if (data->y == NULL) {
            RETURN_IF(data->label[row] >= outputs, PYCNN_ERROR_LABEL);
            self->y[data->label[row] * self->stride + i] = 1;
            continue;
        }
        bool observed = !may_miss;
        for (size_t j = 0; j < outputs; j++) {
            const double y = data->y[row * outputs + j];
            self->y[j * self->stride + i] = y;
            observed = observed || !isnan(y);
        }
        self->weight[i] = observed ? self->weight[i] : 0; /* as if the sample were not there */
    }
    double share;
    const double smoothing = pycnn_loss_smoothing(net->loss, net->loss_parameter, outputs, &share);
    for (size_t i = 0; i < outputs * self->stride && smoothing > 0; i++) {
        self->y[i] = (1 - smoothing) * self->y[i] + smoothing * share;
    }
    return PYCNN_OK;
}

/* Brings samples in: rows, input, targets and weights. */
static int load(slice *self, const selection *samples, const pycnn_workspace *ws)
{
    const pycnn_network *net = ws->net;
    const kernel_table *kernels = net->kernels;
    const pycnn_dataset *data = samples->data;
    const size_t inputs = net->inputs, panel = kernels->panel, distance = panel_distance(ws);
    double *ones = self->rows + inputs / panel * distance + inputs % panel;
    for (size_t i = 0; i < self->batch; i++) {
        const size_t row = row_of(samples, self->first + i);
        RETURN_IF(row >= data->rows, PYCNN_ERROR_INDEX);
        kernels->cut(self->rows + i * panel, distance, data->x + row * inputs, inputs);
        ones[i * panel] = 1; /* the input of the bias */
    }
    for (size_t k = 0; k < inputs && self->rows != self->input; k += panel) {
        kernels->transpose(self->input + k * self->stride, self->stride,
                           self->rows + k / panel * distance, panel, self->batch,
                           MIN(panel, inputs - k));
    }
    pad_input(self, inputs);
    return pycnn_load_targets(self, samples, net);
}

/* A[l] = f(W[l] A[l-1] + b[l]) for the layers first ... last - 1 of a share's slices */
static void forward(const pycnn_workspace *ws, const double *theta, size_t t, size_t first,
                    size_t last)
{
    const size_t s = ws->shares[t], slices = ws->shares[t + 1] - s;
    for (size_t l = first; l < last; l++) {
        const layer *self = &ws->net->layers[l];
        self->ops->forward(self, theta + self->offset, io_of(ws, l, s), slices);
    }
}

/* delta[L], weighted by its sample, and 0 in the padding */
static void weigh(const slice *self, const layer_io *last, size_t units, bool weighted)
{
    if (last->delta == NULL || (!weighted && self->batch == self->stride)) {
        return;
    }
    for (size_t j = 0; j < units; j++) {
        double *delta = last->delta + j * self->stride;
        for (size_t i = 0; i < self->batch && weighted; i++) {
            const double w = self->weight[i];
            delta[i] = w == 0 ? 0 : w * delta[i];
        }
        for (size_t i = self->batch; i < self->stride; i++) {
            delta[i] = 0; /* padding */
        }
    }
}

void pycnn_score(const pycnn_workspace *ws, bool weighted, size_t s)
{
    const pycnn_network *net = ws->net;
    const slice *self = &ws->slices[s];
    const layer_io *last = io_of(ws, net->depth - 1, s);
    const loss_inputs in = {last->z,      last->output, self->y,
                            net->outputs, self->stride, net->loss_parameter};
    const loss_outputs out = {self->loss, self->correct, last->delta};
    net->kernels->losses[net->loss](&out, &in);
    weigh(self, last, net->outputs, weighted);
}

/* ---------------------------------------------------------------- a mini-batch, on all threads
 *
 * First each share of the samples goes through the network, forward and back, on a thread of its
 * own, all slices of it through one layer after the other: samples do not meet, but where a layer
 * says so, and there all shares wait for each other. Then the gradients, which sum over samples,
 * are shared out by rows of the weights, each summed by one thread over all samples in order. So no
 * sum is ever split. */

/* A way that shares go without meeting: up from layer `from` to `to`, the loss, and down again. */
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
} stretch;

static void score_share(const stretch *way, size_t t)
{
    const pycnn_workspace *ws = way->ws;
    const size_t last = ws->net->depth - 1;
    const bool weighted = way->samples->data->weight != NULL;
    for (size_t s = ws->shares[t]; s < ws->shares[t + 1]; s++) {
        if (ws->net->loss == PYCNN_CUSTOM) {
            weigh(&ws->slices[s], io_of(ws, last, s), ws->net->outputs, weighted);
        } else {
            pycnn_score(ws, weighted, s);
        }
    }
}

/* dL/da -> dL/dz of layer l */
static void derive(const pycnn_workspace *ws, size_t l, size_t t)
{
    for (size_t s = ws->shares[t]; s < ws->shares[t + 1]; s++) {
        pycnn_derive(&ws->net->layers[l], io_of(ws, l, s));
    }
}

static void stretch_task(void *context, size_t t)
{
    const stretch *way = context;
    pycnn_workspace *ws = way->ws;
    const size_t first = ws->shares[t], slices = ws->shares[t + 1] - first;
    for (size_t s = first; s < first + slices && way->load; s++) {
        slice *self = &ws->slices[s];
        self->status = load(self, way->samples, ws);
        if (self->status != PYCNN_OK) {
            return;
        }
    }
    forward(ws, way->theta, t, way->from, way->to);
    if (way->score) {
        score_share(way, t);
    }
    /* delta[l-1] = (W[l]^T delta[l]) * f'(Z[l-1]) */
    for (size_t l = way->top; l-- > way->bottom;) {
        const layer *layer = &ws->net->layers[l];
        if (!way->derived || l + 1 < way->top) {
            derive(ws, l, t);
        }
        layer->ops->backward(layer, way->theta + layer->offset, io_of(ws, l, first), slices);
    }
    if (way->derive_below) {
        derive(ws, way->bottom - 1, t);
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

/* Runs a task on each share, and returns what a slice's status says then: that of the first one
 * that is not well. */
static int run_shares(pycnn_workspace *ws, task_function *task, void *context)
{
    for (size_t s = 0; s < ws->slice_count; s++) {
        ws->slices[s].status = PYCNN_OK;
    }
    TRY(run_tasks(ws, ws->share_count, task, context));
    for (size_t s = 0; s < ws->slice_count; s++) {
        TRY(ws->slices[s].status);
    }
    return PYCNN_OK;
}

static int run_stretch(stretch *way)
{
    TRY(run_shares(way->ws, stretch_task, way));
    way->load = false;
    return PYCNN_OK;
}

typedef struct {
    const pycnn_workspace *ws;
    size_t l;
    bool backward;
} meeting;

static void meeting_task(void *context, size_t part)
{
    const meeting *here = context;
    const layer *self = &here->ws->net->layers[here->l];
    self->ops->meet(self, io_of(here->ws, here->l, 0), here->ws->slice_count,
                    (share){part, here->ws->share_count}, here->backward);
}

static int meet(pycnn_workspace *ws, size_t l, bool backward)
{
    meeting here = {ws, l, backward};
    return run_tasks(ws, ws->share_count, meeting_task, &here);
}

static bool meets_at(const pycnn_workspace *ws, size_t l)
{
    return ws->pass.training && ws->net->layers[l].ops->meet != NULL;
}

/* The loss that the caller has brought: rows of all samples, in one call. */
static int call_loss(pycnn_workspace *ws)
{
    const size_t units = ws->net->outputs, last = ws->net->depth - 1, count = ws->pass.count;
    const kernel_table *kernels = ws->net->kernels;
    double *outputs = ws->loss_rows, *targets = outputs + count * units;
    double *gradient = ws->mode == PYCNN_FORWARD ? NULL : targets + count * units;
    RETURN_IF(ws->loss_function == NULL, PYCNN_ERROR_ARGUMENT);
    for (size_t s = 0; s < ws->slice_count; s++) {
        const slice *self = &ws->slices[s];
        const size_t at = self->first * units;
        kernels->transpose(outputs + at, units, io_of(ws, last, s)->output, self->stride, units,
                           self->batch);
        kernels->transpose(targets + at, units, self->y, self->stride, units, self->batch);
        memset(self->correct, 0, self->batch * sizeof *self->correct);
    }
    const int failed = ws->loss_function(ws->loss_context, ws->whole.loss, gradient, outputs,
                                         targets, count, units);
    RETURN_IF(failed, PYCNN_ERROR_LOSS);
    for (size_t s = 0; s < ws->slice_count && gradient != NULL; s++) {
        const slice *self = &ws->slices[s];
        kernels->transpose(io_of(ws, last, s)->delta, self->stride, gradient + self->first * units,
                           units, self->batch, units);
    }
    return PYCNN_OK;
}

static int pass_up(stretch *way)
{
    pycnn_workspace *ws = way->ws;
    const size_t depth = ws->net->depth;
    for (size_t l = 0; l < depth; l++) {
        if (meets_at(ws, l)) {
            way->to = l;
            TRY(run_stretch(way));
            TRY(meet(ws, l, false));
            way->from = l;
        }
    }
    way->to = depth;
    if (ws->net->loss == PYCNN_CUSTOM) {
        TRY(run_stretch(way));
        TRY(call_loss(ws));
        way->from = depth;
    }
    way->score = true;
    return PYCNN_OK;
}

static int pass_down(stretch *way)
{
    pycnn_workspace *ws = way->ws;
    for (size_t l = way->top; l-- > 0;) {
        if (meets_at(ws, l)) {
            way->bottom = l + 1;
            way->derive_below = true;
            TRY(run_stretch(way));
            TRY(meet(ws, l, true));
            way->from = way->to;
            way->score = false;
            way->top = l + 1;
            way->derived = true;
        }
    }
    way->bottom = 0;
    way->derive_below = false;
    return run_stretch(way);
}

void pycnn_add_totals(pycnn_totals *totals, const pycnn_workspace *ws, size_t count)
{
    for (size_t i = 0; i < count; i++) { /* slices lie behind each other */
        const double w = ws->whole.weight[i];
        totals->weight += w;
        totals->loss += w == 0 ? 0 : w * ws->whole.loss[i];
        totals->correct += w * ws->whole.correct[i];
    }
}

/* Takes a mini-batch through the network and adds its loss and right answers to totals; ws->pass
 * says whether it is trained on. */
static int pass(pycnn_totals *totals, pycnn_workspace *ws, const double *theta,
                const selection *samples, bool backward)
{
    pycnn_workspace_cut(ws, samples->count);
    ws->pass.count = samples->count;
    ws->pass.statistics = theta + ws->net->parameter_count;
    stretch way = {.ws = ws, .theta = theta, .samples = samples, .load = true};
    TRY(pass_up(&way));
    way.top = backward ? ws->net->depth : 0;
    TRY(pass_down(&way));
    pycnn_add_totals(totals, ws, samples->count);
    return PYCNN_OK;
}

typedef struct {
    const pycnn_workspace *ws;
    double *out; /* a gradient, or with GRADIENT_DESCEND theta */
    gradient_use use;
    double step;
} gradient_work;

static void gradient_task(void *context, size_t task)
{
    const gradient_work *work = context;
    const pycnn_workspace *ws = work->ws;
    const size_t l = task / ws->share_count;
    const layer *self = &ws->net->layers[l];
    self->ops->gradient(self, work->out + self->offset, work->use, work->step, io_of(ws, l, 0),
                        ws->slice_count, (share){task % ws->share_count, ws->share_count});
}

/* The gradients of the mini-batch that last passed, as sums over its samples: each layer in as many
 * parts as there are shares. */
static int sum_gradients(pycnn_workspace *ws, double *grad, gradient_use use)
{
    gradient_work work = {ws, grad, use, 0};
    return run_tasks(ws, ws->net->depth * ws->share_count, gradient_task, &work);
}

/* Samples of a mini-batch beside which a second pass over theta does not show. */
enum { MANY = 4096 };

/* theta -= step * the same. The sums go straight into theta and are never written down; but the
 * long ones over many samples are, so that they can be interrupted: what changes theta must not. */
static int descend(pycnn_workspace *ws, double *theta, double step)
{
    gradient_work work = {ws, theta, GRADIENT_DESCEND, step};
    if (!is_long(ws) || ws->pass.count < MANY) {
        pycnn_threads *threads = ws->together > 1 ? ws->threads : NULL;
        pycnn_threads_run(threads, ws->net->depth * ws->share_count, gradient_task, &work);
        return PYCNN_OK;
    }
    TRY(sum_gradients(ws, ws->grad, GRADIENT_SET));
    for (size_t l = 0; l < ws->net->depth; l++) {
        const layer *self = &ws->net->layers[l];
        if (self->weight_count > 0) {
            ws->net->kernels->descend(theta + self->offset, ws->grad + self->offset, step,
                                      self->parameter_count);
        } else { /* a few sums, which round as they always do */
            self->ops->gradient(self, theta + self->offset, GRADIENT_DESCEND, step, io_of(ws, l, 0),
                                ws->slice_count, (share){0, 1});
        }
    }
    return PYCNN_OK;
}

/* Gradient of a selection's loss, as a sum over its samples; a selection larger than the workspace
 * is worked through piece by piece. */
static int gradient_of(pycnn_totals *totals, double *grad, pycnn_workspace *ws, const double *theta,
                       const selection *samples)
{
    const bool whole = samples->count <= ws->capacity;
    RETURN_IF(ws->pass.training && ws->net->meets && !whole, PYCNN_ERROR_WORKSPACE);
    for (size_t done = 0; done < samples->count; done += ws->capacity) {
        selection piece = *samples;
        piece.first += done;
        piece.count = MIN(ws->capacity, samples->count - done);
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
            ws->pass.position += ws->capacity;
        }
        TRY(pass(totals, ws, theta, &piece, true));
        TRY(sum_gradients(ws, grad, done > 0 ? GRADIENT_ADD : GRADIENT_SET));
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- penalties and updates */

/* What the loss gets for the size of the weights. */
static double penalty(const pycnn_network *net, const double *theta)
{
    double sum = 0;
    for (size_t l = 0; l < net->depth && net->penalized; l++) {
        const layer *self = &net->layers[l];
        if (self->l1 > 0 || self->l2 > 0) {
            sum +=
                net->kernels->penalty(theta + self->offset, self->l1, self->l2, self->weight_count);
        }
    }
    return sum;
}

/* grad[first ... last - 1], a sum over samples, becomes the penalized loss's, held to +-limit. */
static void prepare(double *grad, const pycnn_network *net, const double *theta, double scale,
                    double limit, size_t first, size_t last)
{
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        const size_t middle = self->offset + self->weight_count;
        const struct {
            size_t begin, end;
            double l1, l2;
        } parts[] = {{self->offset, middle, self->l1, self->l2},
                     {middle, self->offset + self->parameter_count, 0, 0}};
        for (int p = 0; p < 2; p++) { /* weights, biases */
            const size_t from = first > parts[p].begin ? first : parts[p].begin;
            const size_t to = MIN(last, parts[p].end);
            const preparation how = {scale, parts[p].l1, parts[p].l2, limit};
            if (from < to) {
                net->kernels->prepare(grad + from, theta + from, &how, to - from);
            }
        }
    }
}

/* Parameters of one task: a multiple of every kernel's lanes. */
#define UPDATE_CHUNK ((size_t)1 << 14)

typedef struct {
    const pycnn_network *net;
    double *grad;
    double scale, limit;
    update how;
    update_function *run;
} update_work;

static void prepare_task(void *context, size_t task)
{
    const update_work *work = context;
    const size_t first = task * UPDATE_CHUNK;
    prepare(work->grad, work->net, work->how.theta, work->scale, work->limit, first,
            MIN(first + UPDATE_CHUNK, work->net->parameter_count));
}

static void update_task(void *context, size_t task)
{
    const update_work *work = context;
    const size_t first = task * UPDATE_CHUNK;
    work->run(&work->how, first, MIN(first + UPDATE_CHUNK, work->net->parameter_count));
}

/* The Euclidean norm of x[count]. Where its square overflows, x is divided by a power of two first,
 * by which the norm is smaller too: *shrunk is the factor, else 1. */
static double norm_of(double *shrunk, double *x, const kernel_table *kernels, size_t count)
{
    double square = kernels->penalty(x, 0, 2, count); /* sum x^2 */
    *shrunk = isinf(square) ? 0x1p-600 : 1;
    if (*shrunk < 1) {
        for (size_t i = 0; i < count; i++) {
            x[i] *= *shrunk;
        }
        square = kernels->penalty(x, 0, 2, count);
    }
    return sqrt(square);
}

/* What holds a vector to a norm of `most` at most, from what norm_of() has found. */
static double scale_to(double most, double norm, double shrunk)
{
    return norm > most * shrunk ? most / norm : 1 / shrunk;
}

/* Scales the weights of each unit down to its layer's max_norm (Srivastava et al. 2014). */
static void constrain_task(void *context, size_t l)
{
    const update_work *work = context;
    const layer *self = &work->net->layers[l];
    for (size_t j = 0; j < self->fan_out && self->max_norm > 0; j++) {
        double *weight = work->how.theta + self->offset + j * self->fan_in;
        double shrunk;
        const double norm = norm_of(&shrunk, weight, work->net->kernels, self->fan_in);
        const double scale = scale_to(self->max_norm, norm, shrunk);
        for (size_t k = 0; k < self->fan_in && scale != 1; k++) {
            weight[k] *= scale;
        }
    }
}

/* theta from ws->grad, a sum over samples of this weight; adds the gradient's norm to *norm. */
static void apply(double *theta, const pycnn_training *state, double rate, pycnn_workspace *ws,
                  double weight, double *norm)
{
    const pycnn_network *net = ws->net;
    const pycnn_optimizer *optimizer = state->optimizer;
    const size_t count = net->parameter_count, tasks = (count + UPDATE_CHUNK - 1) / UPDATE_CHUNK;
    const double clip_value = optimizer == NULL ? 0 : optimizer->clip_value;
    const double clip_norm = optimizer == NULL ? 0 : optimizer->clip_norm;
    update_work work = {net,
                        ws->grad,
                        1 / weight,
                        clip_value > 0 ? clip_value : 0,
                        pycnn_update_of(optimizer, rate, state->updates, state->slots, count),
                        net->kernels->updates[optimizer == NULL ? PYCNN_SGD : optimizer->kind]};
    work.how.theta = theta;
    work.how.grad = ws->grad;
    pycnn_threads_run(ws->threads, tasks, prepare_task, &work);
    if (clip_norm > 0 || norm != NULL) {
        double shrunk;
        const double size = norm_of(&shrunk, ws->grad, net->kernels, count);
        work.how.scale = clip_norm > 0 ? scale_to(clip_norm, size, shrunk) : 1 / shrunk;
        if (norm != NULL) {
            *norm += size / shrunk;
        }
    }
    pycnn_threads_run(ws->threads, tasks, update_task, &work);
    if (net->constrained) {
        pycnn_threads_run(ws->threads, net->depth, constrain_task, &work);
    }
}

/* Whether theta -= rate * gradient is all that a step does. */
static bool is_plain(const pycnn_network *net, const pycnn_training *state)
{
    return pycnn_optimizer_is_plain(state->optimizer) && !net->penalized && !net->constrained &&
           state->norms == NULL;
}

/* The layers' statistics, which lie behind the parameters, from the mini-batch that last passed. */
static void remember(const pycnn_workspace *ws, double *theta)
{
    for (size_t l = 0; l < ws->net->depth && ws->net->statistic_count > 0; l++) {
        const layer *self = &ws->net->layers[l];
        if (self->ops->remember != NULL) {
            self->ops->remember(self, theta + ws->net->parameter_count + self->statistic_offset,
                                io_of(ws, l, 0));
        }
    }
}

/* One step on a mini-batch. */
static int step(pycnn_totals *totals, double *theta, const pycnn_training *state, double rate,
                pycnn_workspace *ws, const selection *samples)
{
    const pycnn_network *net = ws->net;
    const bool plain = is_plain(net, state);
    *totals = (pycnn_totals){0};
    ws->pass.training = ws->pass.dropping = true;
    ws->pass.mask_key = state->dropout_keys == NULL ? 0 : state->dropout_keys[state->epoch];
    ws->pass.position = state->sample_offset + state->position;
    if (plain && samples->count <= ws->capacity) {
        TRY(pass(totals, ws, theta, samples, true));
        RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
        if (totals->weight > 0) {
            TRY(descend(ws, theta, rate / totals->weight));
            remember(ws, theta);
        }
        return PYCNN_OK;
    }
    TRY(gradient_of(totals, ws->grad, ws, theta, samples));
    totals->loss += totals->weight * penalty(net, theta);
    RETURN_IF(!isfinite(totals->loss), PYCNN_ERROR_DIVERGED);
    if (totals->weight > 0) {
        remember(ws, theta);
    }
    if (totals->weight > 0 && plain) {
        net->kernels->descend(theta, ws->grad, rate / totals->weight, net->parameter_count);
    } else if (totals->weight > 0) {
        double *norm = state->norms == NULL ? NULL : &state->norms[state->epoch];
        apply(theta, state, rate, ws, totals->weight, norm);
    }
    return PYCNN_OK;
}

/* ---------------------------------------------------------------- the public calls */

static int take_workspace(const pycnn_network *net, pycnn_workspace *ws, int mode)
{
    RETURN_IF(net == NULL || ws == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(ws->net != net || ws->mode < mode, PYCNN_ERROR_WORKSPACE);
    ws->polled = 0;
    return PYCNN_OK;
}

static int check_data(const double *theta, const pycnn_dataset *data)
{
    RETURN_IF(theta == NULL || data == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(data->x == NULL || (data->y == NULL && data->label == NULL), PYCNN_ERROR_ARGUMENT);
    RETURN_IF(data->rows == 0, PYCNN_ERROR_SIZE);
    return PYCNN_OK;
}

typedef struct {
    pycnn_workspace *ws;
    const double *theta;
    const double *x; /* [.,inputs] rows of this piece */
    double *y;       /* [.,outputs] */
    bool finite;     /* x must be */
} predict_work;

/* Brings samples in from where they lie side by side. */
static int load_rows(slice *self, const predict_work *work)
{
    const pycnn_network *net = work->ws->net;
    const size_t inputs = net->inputs, count = self->batch * inputs;
    const double *x = work->x + self->first * inputs;
    RETURN_IF(work->finite && pycnn_find_not_finite(x, count) != count, PYCNN_ERROR_NOT_FINITE);
    if (work->ws->batch == 1) {
        memcpy(self->input, x, inputs * sizeof *x);
    } else {
        net->kernels->transpose(self->input, self->stride, x, inputs, self->batch, inputs);
        pad_input(self, inputs);
    }
    return PYCNN_OK;
}

static void predict_task(void *context, size_t t)
{
    const predict_work *work = context;
    pycnn_workspace *ws = work->ws;
    const pycnn_network *net = ws->net;
    for (size_t s = ws->shares[t]; s < ws->shares[t + 1]; s++) {
        slice *self = &ws->slices[s];
        self->status = load_rows(self, work);
        if (self->status != PYCNN_OK) {
            return;
        }
    }
    forward(ws, work->theta, t, 0, net->depth);
    for (size_t s = ws->shares[t]; s < ws->shares[t + 1]; s++) {
        const slice *self = &ws->slices[s];
        net->kernels->transpose(work->y + self->first * net->outputs, net->outputs,
                                io_of(ws, net->depth - 1, s)->output, self->stride, net->outputs,
                                self->batch);
    }
}

/* Works through all rows, of which the first has this place among dropout's random numbers. */
static int predict_rows(const predict_work *all, size_t rows, size_t position)
{
    pycnn_workspace *ws = all->ws;
    for (size_t done = 0; done < rows; done += ws->capacity) {
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        ws->pass.position = position + done;
        pycnn_workspace_cut(ws, MIN(ws->capacity, rows - done));
        predict_work work = *all;
        work.x += done * ws->net->inputs;
        work.y += done * ws->net->outputs;
        TRY(run_shares(ws, predict_task, &work));
    }
    return PYCNN_OK;
}

static int begin_prediction(const predict_work *all, const pycnn_network *net, bool dropping)
{
    pycnn_workspace *ws = all->ws;
    TRY(take_workspace(net, ws, PYCNN_FORWARD));
    RETURN_IF(all->y == NULL || all->theta == NULL || all->x == NULL, PYCNN_ERROR_ARGUMENT);
    ws->pass.training = false;
    ws->pass.dropping = dropping;
    ws->pass.statistics = all->theta + net->parameter_count;
    return PYCNN_OK;
}

static int predict(double *y, const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                   const double *x, size_t rows, bool finite)
{
    const predict_work work = {ws, theta, x, y, finite};
    TRY(begin_prediction(&work, net, false));
    return predict_rows(&work, rows, 0);
}

int pycnn_predict(double *y, const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                  const double *x, size_t rows)
{
    return predict(y, net, ws, theta, x, rows, false);
}

int pycnn_predict_finite(double *y, const pycnn_network *net, pycnn_workspace *ws,
                         const double *theta, const double *x, size_t rows)
{
    return predict(y, net, ws, theta, x, rows, true);
}

int pycnn_predict_samples(double *y, const pycnn_network *net, pycnn_workspace *ws,
                          const double *theta, const double *x, size_t rows,
                          const uint64_t *dropout_keys, size_t draws, size_t sample_offset)
{
    predict_work work = {ws, theta, x, y, false};
    TRY(begin_prediction(&work, net, true));
    RETURN_IF(dropout_keys == NULL, PYCNN_ERROR_ARGUMENT);
    for (size_t draw = 0; draw < draws; draw++) {
        if (draw > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        ws->pass.mask_key = dropout_keys[draw];
        TRY(predict_rows(&work, rows, sample_offset));
        work.y += rows * net->outputs;
    }
    return PYCNN_OK;
}

double pycnn_penalty(const pycnn_network *net, const double *theta)
{
    return net == NULL || theta == NULL ? 0 : penalty(net, theta);
}

int pycnn_evaluate(pycnn_totals *totals, const pycnn_network *net, pycnn_workspace *ws,
                   const double *theta, const pycnn_dataset *data)
{
    TRY(take_workspace(net, ws, PYCNN_FORWARD));
    TRY(check_data(theta, data));
    RETURN_IF(totals == NULL, PYCNN_ERROR_ARGUMENT);
    *totals = (pycnn_totals){0};
    ws->pass.training = ws->pass.dropping = false;
    for (size_t done = 0; done < data->rows; done += ws->capacity) {
        if (done > 0) {
            TRY(pycnn_workspace_poll(ws));
        }
        const selection piece = {data, NULL, done, MIN(ws->capacity, data->rows - done)};
        TRY(pass(totals, ws, theta, &piece, false));
    }
    totals->loss += totals->weight * penalty(net, theta);
    return PYCNN_OK;
}

int pycnn_gradients(pycnn_totals *totals, double *grad, const pycnn_network *net,
                    pycnn_workspace *ws, const double *theta, const pycnn_dataset *data,
                    const uint64_t *dropout_keys)
{
    TRY(take_workspace(net, ws, PYCNN_BACKWARD));
    TRY(check_data(theta, data));
    RETURN_IF(totals == NULL || grad == NULL, PYCNN_ERROR_ARGUMENT);
    *totals = (pycnn_totals){0};
    ws->pass.training = ws->pass.dropping = dropout_keys != NULL;
    ws->pass.mask_key = dropout_keys == NULL ? 0 : dropout_keys[0];
    ws->pass.position = 0;
    TRY(gradient_of(totals, grad, ws, theta, &(selection){data, NULL, 0, data->rows}));
    for (size_t i = 0; i < net->parameter_count; i++) {
        grad[i] = totals->weight == 0 ? 0 : grad[i] / totals->weight;
    }
    if (net->penalized && totals->weight > 0) {
        totals->loss += totals->weight * penalty(net, theta);
        prepare(grad, net, theta, 1, 0, 0, net->parameter_count);
    }
    return PYCNN_OK;
}

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

int pycnn_trace(pycnn_totals *totals, double *grad, double *z, double *a, double *delta,
                const pycnn_network *net, pycnn_workspace *ws, const double *theta,
                const pycnn_dataset *data)
{
    TRY(take_workspace(net, ws, PYCNN_TRACE));
    RETURN_IF(z == NULL || a == NULL || delta == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(check_data(theta, data));
    RETURN_IF(ws->capacity < data->rows, PYCNN_ERROR_WORKSPACE);
    TRY(pycnn_gradients(totals, grad, net, ws, theta, data, NULL));
    for (size_t l = 0, at = 0; l < net->depth; l++) {
        const size_t units = net->layers[l].fan_out;
        gather_slices(z + at, ws, l, units, data->rows, z_of);
        gather_slices(a + at, ws, l, units, data->rows, output_of);
        gather_slices(delta + at, ws, l, units, data->rows, delta_of);
        at += units * data->rows;
    }
    return PYCNN_OK;
}

static int run_steps(size_t *steps, double *theta, pycnn_training *state, pycnn_workspace *ws,
                     const pycnn_dataset *data, size_t max_steps, bool online)
{
    while (*steps < max_steps && state->epoch < state->epochs) {
        const selection batch = {
            data, state->order == NULL ? NULL : state->order + state->epoch * data->rows,
            state->position, MIN(state->batch_size, data->rows - state->position)};
        const double rate =
            state->learning_rates == NULL ? state->learning_rate : state->learning_rates[*steps];
        pycnn_totals sums;
        TRY(online ? pycnn_online_step(&sums, ws, &batch, rate)
                   : step(&sums, theta, state, rate, ws, &batch));
        state->updates += sums.weight > 0;
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

int pycnn_train(size_t *steps, double *theta, pycnn_training *state, const pycnn_network *net,
                pycnn_workspace *ws, const pycnn_dataset *data, size_t max_steps)
{
    RETURN_IF(steps == NULL, PYCNN_ERROR_ARGUMENT);
    *steps = 0;
    TRY(take_workspace(net, ws, PYCNN_BACKWARD));
    TRY(check_data(theta, data));
    RETURN_IF(state == NULL || state->totals == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(state->batch_size == 0 || state->position >= data->rows, PYCNN_ERROR_SIZE);
    const pycnn_optimizer *optimizer = state->optimizer;
    RETURN_IF(optimizer != NULL &&
                  (optimizer->kind < 0 || optimizer->kind >= PYCNN_OPTIMIZER_COUNT),
              PYCNN_ERROR_ARGUMENT);
    RETURN_IF(pycnn_optimizer_slots(optimizer) > 0 && state->slots == NULL, PYCNN_ERROR_ARGUMENT);
    const bool online = pycnn_online_serves(ws, state->batch_size) && is_plain(net, state);
    if (online) {
        pycnn_online_begin(ws, theta);
    }
    const int status = run_steps(steps, theta, state, ws, data, max_steps, online);
    if (online) {
        pycnn_online_end(ws, theta);
    }
    return status;
}

size_t pycnn_find_not_finite(const double *x, size_t count)
{
    enum { BLOCK = 64 };
    size_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        double zero[8] = {0}; /* x * 0 is NaN just for infinity and NaN */
        for (size_t j = 0; j < BLOCK; j++) {
            zero[j % 8] += x[i + j] * 0;
        }
        if (zero[0] + zero[1] + zero[2] + zero[3] + zero[4] + zero[5] + zero[6] + zero[7] != 0) {
            break;
        }
    }
    while (i < count && isfinite(x[i])) {
        i++;
    }
    return i;
}
