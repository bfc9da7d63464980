/* What an input describes, a network, data and a training, is done on every instruction set.
 *
 * It must neither crash nor leave its buffers, which end, or begin, at a page that cannot be
 * touched. The fused sets agree to the bit: on any number of threads, and where data come in
 * parts, or a training in several calls, some of them interrupted. Where the input asks for
 * ordinary numbers the baseline agrees to 1e-9 as well; where it asks for any numbers, with
 * infinities, indices that are none and pointers that are NULL, whatever a status can say is right.
 */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS and setenv */

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pycnn.h"

#define MOST_UNITS 40
#define MOST_ROWS 400 /* so many are divided among threads */
#define TALL 5000     /* so many that their gradient is a piece of work of its own, in few units */
#define FEW_UNITS 4
#define MOST_DEPTH 5
#define MOST_WITHIN 9 /* layers within others */
#define MOST_EPOCHS 3
#define MOST_SLOTS 3
#define MOST_DRAWS 3
#define MOST_CALLS 32

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
const char *__asan_default_options(void);

/* A size that cannot be had is a status, as it is without the sanitizer. */
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

/* ---------------------------------------------------------------- the input, as choices */

typedef struct {
    const uint8_t *at;
    size_t left;
} input;

/* 0 ... count - 1; 0 when the input is used up */
static unsigned take(input *in, unsigned count)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++ % count;
}

/* 1 ... most, rather small than large: time goes with the product of sizes */
static size_t size_up_to(input *in, size_t most)
{
    size_t choice = take(in, 256);
    return 1 + choice * choice * most / 65536;
}

static double special(input *in)
{
    static const double values[] = {
        0,    -0.0,  0.5,    1,    -1,    2,      0.1,      0.9,      0.999,     1e-3,
        1e-8, 1e-16, 1e-250, 1e16, 1e250, 5e-324, 2.3e-308, 1.7e308,  -0.1,      -1e9,
        50,   1.5,   709,    -745, NAN,   -NAN,   1e-300,   INFINITY, -INFINITY, 1e100};
    return values[take(in, sizeof values / sizeof *values)];
}

static double random_value(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / (double)(1ull << 52) - 1;
}

/* ---------------------------------------------------------------- buffers beside forbidden pages
 */

enum {
    X,
    Y,
    LABEL,
    WEIGHT,
    THETA,
    OUT,
    GRAD,
    Z,
    A,
    DELTA,
    SLOTS,
    ORDER,
    RATES,
    TOTALS,
    NORMS,
    NAME,
    BUFFERS,
    LAYERS = BUFFERS,
    KEYS,
    STATISTICS,
    LOSS,
    OUT_PARAMETERS /* what may be NULL instead */
};

#define ROOM (1u << 20)

static unsigned char *room[BUFFERS];
static size_t page;

static void make_rooms(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < BUFFERS; i++) {
        unsigned char *start =
            mmap(NULL, ROOM + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED || mprotect(start + page, ROOM, PROT_READ | PROT_WRITE) != 0) {
            abort();
        }
        room[i] = start + page;
    }
}

/* size bytes, right behind the first page or right before the last */
static void *place(int which, size_t size, bool first)
{
    if (size > ROOM) {
        abort();
    }
    unsigned char *start = first ? room[which] : room[which] + ROOM - size;
    memset(start, 0, size);
    return start;
}

/* ---------------------------------------------------------------- what the input describes */

typedef struct {
    bool tame, first;
    bool plain, tall;    /* plain: descent on a few samples at a time */
    bool seeded, gaps;   /* starts and orders are the core's own; some targets are unknown */
    int missing;         /* whose pointer is NULL, or -1 */
    size_t theta_excess; /* what theta's size is wrong by */
    uint64_t seed;
    size_t inputs, depth, rows, batch, room, epochs, steps, draws, epoch, position;
    size_t part, piece, interruptions; /* of rows; of steps */
    size_t threads;                    /* which pool */
    pycnn_layer_spec layers[MOST_DEPTH], within[MOST_WITHIN];
    size_t within_count;
    int loss, mode;
    double loss_parameter, learning_rate;
    pycnn_optimizer optimizer;
    bool labels, weights, ordered, no_optimizer, with_rates, with_norms, fails;
    size_t bad_label, bad_order; /* or SIZE_MAX */
    double odd[4];
    size_t odd_at[4]; /* where among x, y, weight, theta those numbers stand; or SIZE_MAX */
    size_t sample_offset;
    uint64_t keys[MOST_EPOCHS + MOST_DRAWS];
} program;

static size_t any_size(input *in, size_t most)
{
    static const size_t odd[] = {0, SIZE_MAX, SIZE_MAX / 8, SIZE_MAX / 2 + 1, (size_t)1 << 40};
    unsigned choice = take(in, 64);
    return choice < 5 ? odd[choice] : size_up_to(in, most);
}

static size_t units_of(const program *p, input *in)
{
    size_t most = p->tall ? FEW_UNITS : MOST_UNITS;
    return p->tame ? size_up_to(in, most) : any_size(in, most);
}

/* How often a layer's windows fit along an axis. */
static size_t windows_of(const pycnn_layer_spec *layer, int axis)
{
    size_t in = layer->shape[axis], stride = layer->strides[axis];
    size_t reach = (layer->kernel[axis] - 1) * layer->dilation[axis] + 1;
    if (layer->padding == PYCNN_SAME) {
        return stride == 0 ? in : in / stride + (in % stride > 0);
    }
    return reach > in ? 0 : stride == 0 ? in - reach + 1 : (in - reach) / stride + 1;
}

/* The units of a layer on so many inputs. */
static size_t width_of(const pycnn_layer_spec *layer, size_t inputs)
{
    if (layer->kind == PYCNN_RESIDUAL) {
        for (size_t l = 0; l < layer->inner_depth; l++) {
            inputs = width_of(&layer->inner[l], inputs);
        }
    }
    if (layer->kind == PYCNN_CONVOLUTION) {
        return windows_of(layer, 0) * windows_of(layer, 1) * layer->units;
    }
    return layer->kind == PYCNN_DENSE ? layer->units : inputs;
}

static size_t divisor_up_to(input *in, size_t most, size_t of)
{
    size_t size = size_up_to(in, most);
    while (of % size != 0) {
        size--;
    }
    return size;
}

/* The inputs are an image, of whatever sides they have, and no more come out than a layer has. */
static void fill_convolution(pycnn_layer_spec *layer, input *in, const program *p, size_t inputs)
{
    layer->shape[2] = divisor_up_to(in, 5, inputs);
    layer->shape[0] = divisor_up_to(in, 8, inputs / layer->shape[2]);
    layer->shape[1] = inputs / layer->shape[2] / layer->shape[0];
    unsigned form = take(in, 8);
    layer->padding = form & 1 ? PYCNN_SAME : PYCNN_VALID;
    layer->no_bias = form >> 1 & 1;
    for (int axis = 0; axis < 2; axis++) {
        size_t side = layer->shape[axis] + 2 * (form & 1);
        layer->kernel[axis] = size_up_to(in, side < 6 ? side : 6);
        layer->strides[axis] = take(in, 4);
        size_t dilation = 1 + take(in, 3);
        bool fits = form & 1 || (layer->kernel[axis] - 1) * dilation < layer->shape[axis];
        layer->dilation[axis] = fits ? dilation : 1;
    }
    if (!p->tame && take(in, 4) == 0) {
        size_t *sizes[] = {layer->shape, layer->kernel, layer->strides, layer->dilation};
        sizes[take(in, 4)][take(in, 2)] = any_size(in, 9);
    }
    size_t places = windows_of(layer, 0) * windows_of(layer, 1);
    size_t room = p->tall ? FEW_UNITS : MOST_UNITS;
    size_t most = places == 0 || places > room ? 1 : room / places;
    layer->units = p->tame || layer->units <= room ? 1 + layer->units % most : layer->units;
}

static void any_layer(pycnn_layer_spec *layer, input *in, program *p, size_t inputs);

/* One or two layers, and what is beside them; where all is to be in order they are as wide. */
static void fill_residual(pycnn_layer_spec *layer, input *in, program *p, size_t inputs)
{
    pycnn_layer_spec *within = &p->within[p->within_count];
    unsigned form = take(in, 4);
    layer->inner_depth = 1 + (form & 1);
    layer->inner = within;
    p->within_count += 3;
    size_t width = inputs;
    for (size_t l = 0; l < layer->inner_depth; l++) {
        any_layer(&within[l], in, p, width);
        width = width_of(&within[l], width);
    }
    if (form & 2) {
        layer->shortcut = &within[2];
        any_layer(&within[2], in, p, inputs);
        if (p->tame) {
            within[2].kind = PYCNN_DENSE;
            within[2].units = width;
        }
    } else if (p->tame && width != inputs) {
        within[layer->inner_depth - 1].kind = PYCNN_DENSE;
        within[layer->inner_depth - 1].units = inputs;
    }
}

static void any_layer(pycnn_layer_spec *layer, input *in, program *p, size_t inputs)
{
    *layer = (pycnn_layer_spec){.epsilon = 1e-3, .momentum = 0.1, .scale = -0.5, .offset = 0.1};
    layer->kind = p->plain ? PYCNN_DENSE : (int)take(in, p->tame ? 8 : 9);
    if (layer->kind == PYCNN_RESIDUAL && p->within_count + 3 > MOST_WITHIN) {
        layer->kind = PYCNN_DENSE;
    }
    layer->activation = (int)take(in, PYCNN_ACTIVATION_COUNT + (p->tame ? 0 : 1));
    if (p->tame && layer->kind == PYCNN_CONVOLUTION && layer->activation == PYCNN_SOFTMAX) {
        layer->activation = PYCNN_TANH; /* that is of rows alone */
    }
    layer->units = units_of(p, in);
    unsigned extras = p->plain ? 0 : take(in, 8);
    if (extras & 1) {
        layer->l1 = 0.01, layer->l2 = 0.1;
    }
    if (extras & 2) {
        layer->max_norm = 1;
    }
    layer->rate = (extras & 4) ? 0.5 : 0.1;
    if (!p->tame && take(in, 4) == 0) {
        double *fields[] = {&layer->l1,      &layer->l2,       &layer->max_norm, &layer->rate,
                            &layer->epsilon, &layer->momentum, &layer->scale,    &layer->offset};
        *fields[take(in, sizeof fields / sizeof *fields)] = special(in);
    }
    if (layer->kind == PYCNN_RESIDUAL) {
        fill_residual(layer, in, p, inputs);
    }
    if (layer->kind == PYCNN_CONVOLUTION) {
        fill_convolution(layer, in, p, inputs);
    }
}

static pycnn_optimizer any_optimizer(input *in, bool tame)
{
    pycnn_optimizer optimizer = {.beta_1 = 0.9, .beta_2 = 0.99, .epsilon = 1e-3};
    optimizer.kind = (int)take(in, PYCNN_OPTIMIZER_COUNT + (tame ? 0 : 1));
    if (tame && optimizer.kind == PYCNN_RPROP) {
        optimizer.kind = PYCNN_SGD; /* the sign of a gradient near 0 is anybody's */
    }
    unsigned extras = take(in, 64);
    optimizer.nesterov = extras & 1;
    optimizer.centered = !tame && (extras & 2);
    optimizer.momentum = (extras & 4) ? 0.9 : 0;
    optimizer.weight_decay = (extras & 8) ? 0.01 : 0;
    optimizer.clip_value = (extras & 16) ? 0.1 : 0;
    optimizer.clip_norm = (extras & 32) ? 0.5 : 0;
    if (!tame && take(in, 4) == 0) {
        double *fields[] = {&optimizer.momentum,     &optimizer.beta_1,     &optimizer.beta_2,
                            &optimizer.epsilon,      &optimizer.clip_value, &optimizer.clip_norm,
                            &optimizer.weight_decay, &optimizer.increase,   &optimizer.decrease,
                            &optimizer.min_step,     &optimizer.max_step};
        *fields[take(in, sizeof fields / sizeof *fields)] = special(in);
    }
    return optimizer;
}

/* An output activation that a loss is made for. */
static int suited(int loss, int activation)
{
    switch (loss) {
    case PYCNN_BINARY_CROSSENTROPY: return PYCNN_SIGMOID;
    case PYCNN_CATEGORICAL_CROSSENTROPY:
    case PYCNN_KL_DIVERGENCE: return PYCNN_SOFTMAX;
    case PYCNN_POISSON: return PYCNN_SOFTPLUS;
    case PYCNN_HINGE: return PYCNN_LINEAR;
    default: return activation;
    }
}

static void read_program(program *p, input *in)
{
    *p = (program){.bad_label = SIZE_MAX, .bad_order = SIZE_MAX};
    unsigned flags = take(in, 256);
    p->tame = flags & 1;
    p->first = flags & 2;
    p->labels = flags & 4;
    p->weights = flags & 8;
    p->ordered = flags & 16;
    p->no_optimizer = flags & 32;
    p->with_rates = flags & 64;
    p->with_norms = flags & 128;
    unsigned form = take(in, 32);
    p->plain = form < 8;
    p->tall = form == 31;
    p->seed = take(in, 256);
    p->inputs = units_of(p, in);
    p->depth = 1 + take(in, MOST_DEPTH);
    for (size_t l = 0, width = p->inputs; l < p->depth; l++) {
        any_layer(&p->layers[l], in, p, width);
        width = width_of(&p->layers[l], width);
    }
    p->loss = (int)take(in, PYCNN_LOSS_COUNT + (p->tame ? 1 : 2));
    if (p->loss == PYCNN_LOSS_COUNT) {
        p->loss = PYCNN_CUSTOM;
    }
    unsigned more = take(in, 8);
    p->seeded = more & 1;
    p->gaps = more & 2 && p->loss != PYCNN_CATEGORICAL_CROSSENTROPY &&
              p->loss != PYCNN_KL_DIVERGENCE && p->loss != PYCNN_CUSTOM;
    if (p->loss == PYCNN_HUBER || p->loss == PYCNN_QUANTILE || more & 4) {
        p->loss_parameter = 0.3; /* label smoothing, where there are labels */
    }
    pycnn_layer_spec *last = &p->layers[p->depth - 1];
    if (p->tame || take(in, 8)) {
        last->kind = PYCNN_DENSE;
        last->activation = suited(p->loss, last->activation);
    }
    if (!p->tame && take(in, 8) == 0) {
        p->loss_parameter = special(in);
    }
    size_t least = p->tall ? TALL : 0;
    p->rows = least + size_up_to(in, MOST_ROWS);
    p->batch = p->plain ? 1 + take(in, 4) : least + size_up_to(in, MOST_ROWS);
    p->room = take(in, 2) * least + size_up_to(in, MOST_ROWS);
    p->part = take(in, 256) * p->rows / 256;
    p->piece = 1 + take(in, 4);
    p->interruptions = take(in, 4);
    p->threads = take(in, 8);
    p->mode = (int)take(in, p->tame ? 3 : 4);
    p->epochs = 1 + take(in, MOST_EPOCHS);
    p->steps = take(in, 8);
    p->draws = 1 + take(in, MOST_DRAWS);
    p->optimizer = any_optimizer(in, p->tame);
    if (p->plain) {
        p->no_optimizer = true;
        p->with_norms = false;
    }
    p->learning_rate = 0.05;
    p->missing = -1;
    p->sample_offset = take(in, 100);
    for (size_t i = 0; i < MOST_EPOCHS + MOST_DRAWS; i++) {
        p->keys[i] = pycnn_dropout_key(p->seed, i);
    }
    for (size_t i = 0; i < 4; i++) {
        p->odd_at[i] = SIZE_MAX;
    }
    if (!p->tame) {
        p->learning_rate = take(in, 2) ? 0.05 : special(in);
        p->fails = take(in, 8) == 1;
        p->missing = take(in, 4) == 1 ? (int)take(in, OUT_PARAMETERS) : -1;
        p->theta_excess = take(in, 16) == 1 ? any_size(in, 3) : 0;
        p->epoch = take(in, 8) == 1 ? take(in, 4) : 0;
        p->position = take(in, 8) == 1 ? any_size(in, MOST_ROWS) : 0;
        if (take(in, 16) == 1) {
            p->rows = p->part = 0;
        }
        if (take(in, 8) == 1) {
            p->batch = any_size(in, MOST_ROWS);
        }
        if (take(in, 8) == 1) {
            p->room = any_size(in, MOST_ROWS);
        }
        p->bad_label = take(in, 8) == 1 ? take(in, MOST_ROWS) : SIZE_MAX;
        p->bad_order = take(in, 8) == 1 ? take(in, MOST_ROWS) : SIZE_MAX;
        for (size_t i = 0; i < 4; i++) {
            if (take(in, 3) == 1) {
                p->odd_at[i] = take(in, 256);
                p->odd[i] = special(in);
            }
        }
    }
}

/* ---------------------------------------------------------------- its numbers */

typedef struct {
    pycnn_dataset data;
    double *theta;
    size_t theta_size;                             /* as the core is told */
    size_t parameters, statistics, outputs, units; /* units: of all layers */
} numbers;

static void put_odd(const program *p, int which, double *values, size_t count)
{
    if (p->odd_at[which] != SIZE_MAX && count > 0) {
        values[p->odd_at[which] % count] = p->odd[which];
    }
}

static double target(int loss, double value, size_t column, size_t chosen)
{
    switch (loss) {
    case PYCNN_CATEGORICAL_CROSSENTROPY:
    case PYCNN_KL_DIVERGENCE: return column == chosen ? 1 : 0;
    case PYCNN_BINARY_CROSSENTROPY: return value > 0 ? 1 : 0;
    case PYCNN_HINGE: return value > 0 ? 1 : -1;
    case PYCNN_POISSON: return fabs(value);
    default: return value;
    }
}

/* A pointer as the core gets it. */
#define LENT(p, which, pointer) ((p)->missing == (which) ? NULL : (pointer))

static numbers make_numbers(const program *p, const pycnn_network *net)
{
    numbers n = {.parameters = pycnn_network_parameter_count(net),
                 .statistics = pycnn_network_statistic_count(net),
                 .theta_size = pycnn_network_theta_size(net) + p->theta_excess,
                 .outputs = p->inputs};
    for (size_t l = 0; l < p->depth; l++) {
        n.outputs = width_of(&p->layers[l], n.outputs);
        n.units += n.outputs;
    }
    uint64_t state = p->seed;
    size_t of_x = p->rows * p->inputs, of_y = p->rows * n.outputs;
    double *x = place(X, of_x * sizeof *x, p->first);
    for (size_t i = 0; i < of_x; i++) {
        x[i] = random_value(&state);
    }
    put_odd(p, 0, x, of_x);
    double *y = place(Y, of_y * sizeof *y, p->first);
    for (size_t i = 0; i < of_y; i++) {
        y[i] = target(p->loss, random_value(&state), i % n.outputs,
                      (i / n.outputs + p->seed) % n.outputs);
    }
    for (size_t i = p->seed % 3; i < of_y && p->gaps; i += 3) {
        y[i] = NAN;
    }
    put_odd(p, 1, y, of_y);
    double *weight = place(WEIGHT, p->rows * sizeof *weight, p->first);
    size_t *label = place(LABEL, of_y * sizeof *label, p->first);
    for (size_t i = 0; i < p->rows; i++) {
        weight[i] = i % 5 == 1 ? 0 : 1 + 0.5 * random_value(&state);
        label[i] = (i + p->seed) % n.outputs;
    }
    put_odd(p, 2, weight, p->rows);
    if (p->bad_label < p->rows) {
        label[p->bad_label] = n.outputs + p->seed;
    }
    bool classes = p->loss == PYCNN_CATEGORICAL_CROSSENTROPY;
    bool labels = p->labels && (classes || !p->tame);
    n.data = (pycnn_dataset){.rows = p->rows,
                             .x = LENT(p, X, x),
                             .y = labels ? NULL : LENT(p, Y, y),
                             .label = labels ? LENT(p, LABEL, label) : NULL,
                             .weight = p->weights ? weight : NULL};
    n.theta = place(THETA, (n.parameters + n.statistics) * sizeof *n.theta, p->first);
    if (p->seeded) {
        pycnn_initialize(n.theta, n.parameters + n.statistics, net, p->seed);
    } else {
        for (size_t i = 0; i < n.parameters; i++) {
            n.theta[i] = 0.5 * random_value(&state);
        }
        for (size_t i = 0; i < n.statistics; i++) { /* means and variances, at their place or not */
            n.theta[n.parameters + i] = 1 + 0.5 * random_value(&state);
        }
    }
    put_odd(p, 3, n.theta, n.parameters + n.statistics);
    return n;
}

/* ---------------------------------------------------------------- what came of it */

typedef struct {
    size_t calls, count;
    int status[MOST_CALLS];
    double correct[MOST_CALLS]; /* which answers are right may hang on the last bit */
    size_t end[MOST_CALLS];     /* of what each call has written, in values */
    double values[8 * ROOM / sizeof(double)];
} outcome;

static outcome outcomes[4];

/* Notes a status, and what the call has written where that counts. */
static bool note(outcome *found, int status, const void *values, size_t count)
{
    if (status < PYCNN_OK || status >= PYCNN_ERROR_FILE || status == PYCNN_ERROR_INTERRUPTED ||
        found->calls == MOST_CALLS || pycnn_strerror(status)[0] == 0) {
        abort();
    }
    found->correct[found->calls] = 0;
    found->status[found->calls++] = status;
    if (status == PYCNN_OK && values != NULL) {
        if (found->count + count > sizeof found->values / sizeof *found->values) {
            abort();
        }
        memcpy(found->values + found->count, values, count * sizeof(double));
        found->count += count;
    }
    found->end[found->calls - 1] = found->count;
    return status == PYCNN_OK;
}

static void note_totals(outcome *found, int status, const pycnn_totals *totals)
{
    double values[] = {totals->loss, totals->weight};
    if (note(found, status, values, 2)) {
        found->correct[found->calls - 1] = totals->correct;
    }
}

static int squares(void *context, double *losses, double *gradient, const double *outputs,
                   const double *targets, size_t rows, size_t units)
{
    for (size_t i = 0; i < rows; i++) {
        losses[i] = 0;
        for (size_t j = 0; j < units; j++) {
            double error = outputs[i * units + j] - (targets == NULL ? 0 : targets[i * units + j]);
            losses[i] += 0.5 * error * error;
            if (gradient != NULL) {
                gradient[i * units + j] = error;
            }
        }
    }
    return *(const bool *)context;
}

/* Stands in for the core's clock, under the linker's option --wrap: each look at it is long after
 * the one before, so that short calls are polled, too. */
uint64_t __wrap_pycnn_milliseconds(void);
uint64_t __wrap_pycnn_milliseconds(void)
{
    static uint64_t now;
    return now += 1000;
}

/* Interrupts every other time, so often. */
static int interrupt(void *context)
{
    size_t *left = context;
    if (*left == 0) {
        return 0;
    }
    return (*left)-- % 2 == 0;
}

/* Whether some layer sums over the samples in chains, which begin anew with each part of them. */
static bool sums_in_chains(const pycnn_layer_spec *layers, size_t count)
{
    for (size_t l = 0; l < count; l++) {
        if (layers[l].kind == PYCNN_BATCH_NORM || layers[l].kind == PYCNN_LAYER_NORM ||
            layers[l].kind == PYCNN_CONVOLUTION) {
            return true;
        }
    }
    return false;
}

/* The sums of all data; or those of two parts, one after the other. */
static int sum_gradients(pycnn_totals *sums, double *grad, double *statistics, const program *p,
                         const pycnn_network *net, pycnn_workspace *ws, const numbers *n,
                         bool whole)
{
    const uint64_t *keys = LENT(p, KEYS, p->keys);
    const double *theta = LENT(p, THETA, n->theta);
    pycnn_dataset part = n->data;
    size_t first = 0;
    if (!whole && p->part > 0 && !sums_in_chains(p->layers, p->depth) &&
        !sums_in_chains(p->within, p->within_count)) {
        part.rows = first = p->part;
        int status = pycnn_gradient_sums(sums, grad, statistics, net, ws, theta, n->theta_size,
                                         &part, keys, p->sample_offset);
        if (status != PYCNN_OK) {
            return status;
        }
        part.rows = p->rows - first;
        part.x += first * p->inputs;
        part.y = part.y == NULL ? NULL : part.y + first * n->outputs;
        part.label = part.label == NULL ? NULL : part.label + first;
        part.weight = part.weight == NULL ? NULL : part.weight + first;
    }
    return pycnn_gradient_sums(sums, grad, statistics, net, ws, theta, n->theta_size, &part, keys,
                               p->sample_offset + first);
}

/* All steps in one call; or in several, some of which are interrupted and go on. */
static int take_steps(pycnn_training *state, const double *rates, const program *p,
                      const pycnn_network *net, pycnn_workspace *ws, const numbers *n, bool whole)
{
    size_t steps = 0, done = 0, left = 2 * p->interruptions;
    int status;
    pycnn_workspace_set_poll(ws, whole ? NULL : interrupt, &left);
    do {
        size_t most = whole || p->piece > p->steps - done ? p->steps - done : p->piece;
        state->learning_rates = rates == NULL ? NULL : rates + done;
        status = pycnn_train(&steps, LENT(p, THETA, n->theta), n->theta_size, state, net, ws,
                             &n->data, most);
        if (steps > most || (steps > 0 && state->epoch > state->epochs)) {
            abort();
        }
        done += steps;
    } while ((status == PYCNN_OK && steps > 0 && done < p->steps) ||
             status == PYCNN_ERROR_INTERRUPTED);
    pycnn_workspace_set_poll(ws, NULL, NULL);
    return status;
}

static void train(const program *p, const pycnn_network *net, pycnn_workspace *ws, numbers *n,
                  bool whole, outcome *found)
{
    size_t slots = pycnn_optimizer_slots(&p->optimizer);
    if (slots > MOST_SLOTS) {
        abort();
    }
    size_t *order = place(ORDER, p->epochs * p->rows * sizeof *order, p->first);
    for (size_t i = 0; i < p->epochs * p->rows; i++) {
        order[i] = (7 * i + p->seed) % p->rows;
    }
    for (size_t i = 0; i < p->epochs && p->seeded && p->rows > 0; i++) {
        if (pycnn_permutation(order + i * p->rows, p->rows, p->seed, i) != PYCNN_OK) {
            abort();
        }
    }
    if (p->bad_order < p->rows) {
        order[p->bad_order] = p->rows + p->seed;
    }
    double *rates = place(RATES, (p->steps + 1) * sizeof *rates, p->first);
    for (size_t i = 0; i <= p->steps; i++) {
        rates[i] = p->learning_rate / (double)(1 + i);
    }
    pycnn_totals *totals = place(TOTALS, p->epochs * sizeof *totals, p->first);
    double *memory = place(SLOTS, slots * n->parameters * sizeof *memory, p->first);
    double *norms = place(NORMS, p->epochs * sizeof *norms, p->first);
    pycnn_training state = {
        .epochs = p->epochs,
        .epoch = p->epoch,
        .position = p->position,
        .batch_size = p->batch,
        .learning_rate = p->learning_rate,
        .order = p->ordered ? order : NULL,
        .totals = LENT(p, TOTALS, totals),
        .optimizer = p->no_optimizer ? NULL : &p->optimizer,
        .slots = LENT(p, SLOTS, memory),
        .dropout_keys = LENT(p, KEYS, p->keys),
        .sample_offset = p->sample_offset,
        .norms = p->with_norms ? norms : NULL,
    };
    size_t all = n->parameters + n->statistics;
    int status = take_steps(&state, p->with_rates ? rates : NULL, p, net, ws, n, whole);
    bool good = note(found, status, NULL, 0);
    double reached[] = {(double)state.epoch, (double)state.position, (double)state.updates};
    note(found, PYCNN_OK, reached, 3); /* the last finished step, whatever has come behind it */
    note(found, PYCNN_OK, n->theta, all);
    note(found, PYCNN_OK, memory, slots * n->parameters);
    note(found, PYCNN_OK, norms, p->epochs);
    for (size_t i = 0; i < p->epochs; i++) {
        note_totals(found, PYCNN_OK, &totals[i]);
    }
    state.learning_rates = p->with_rates ? rates : NULL;
    double *grad = place(GRAD, n->parameters * sizeof *grad, p->first);
    pycnn_totals sums = {0};
    status = sum_gradients(&sums, LENT(p, GRAD, grad),
                           LENT(p, STATISTICS, n->theta + n->parameters), p, net, ws, n, whole);
    if (note(found, status, grad, n->parameters) && good && state.epoch < state.epochs) {
        status = pycnn_update(n->theta, n->theta_size, &state, grad, &sums, net, ws);
        note(found, status, n->theta, all);
    }
}

static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* Row by row, from before a page or from behind one, the outputs are those of all rows. */
static void check_predictor(const double *out, const program *p, const pycnn_network *net,
                            const numbers *n)
{
    pycnn_predictor *predictor = NULL;
    if (pycnn_predictor_create(&predictor, net, n->theta, n->theta_size) != PYCNN_OK ||
        pycnn_predictor_update(predictor, n->theta, n->theta_size) != PYCNN_OK) {
        abort();
    }
    double *x = place(A, p->inputs * sizeof *x, p->first);
    double *y = place(Z, n->outputs * sizeof *y, p->first);
    for (size_t i = p->seed % 3; i < p->rows; i += 1 + p->rows / 8) {
        memcpy(x, n->data.x + i * p->inputs, p->inputs * sizeof *x);
        if (pycnn_predictor_run(predictor, y, x) != PYCNN_OK) {
            abort();
        }
        for (size_t j = 0; j < n->outputs; j++) {
            if (!same(y[j], out[i * n->outputs + j])) {
                fprintf(stderr, "row %zu, output %zu: %.17g and %.17g\n", i, j, y[j],
                        out[i * n->outputs + j]);
                abort();
            }
        }
    }
    pycnn_predictor_destroy(predictor);
}

/* The outputs for all rows; or for two parts, one after the other. */
static int predict(double *out, const program *p, const pycnn_network *net, pycnn_workspace *ws,
                   const numbers *n, bool whole)
{
    const double *theta = LENT(p, THETA, n->theta);
    const double *x = n->data.x;
    size_t first = whole ? 0 : p->part;
    if (first > 0) {
        int status = pycnn_predict(out, net, ws, theta, n->theta_size, x, first);
        if (status != PYCNN_OK) {
            return status;
        }
        out += first * n->outputs;
        x += first * p->inputs;
    }
    return pycnn_predict(out, net, ws, theta, n->theta_size, x, p->rows - first);
}

/* The arrays lie behind each other, and their names fit where they are said to. */
static void check_tensors(const program *p, const pycnn_network *net)
{
    size_t end = 0, count = pycnn_network_tensor_count(net);
    for (size_t i = 0; i < count; i++) {
        pycnn_tensor tensor;
        if (pycnn_network_tensor(net, i, &tensor) != PYCNN_OK || tensor.offset != end ||
            tensor.dims > PYCNN_MOST_DIMS) {
            abort();
        }
        size_t size = 1;
        for (size_t k = 0; k < PYCNN_MOST_DIMS; k++) {
            size *= tensor.shape[k];
        }
        end += tensor.size;
        size_t length = pycnn_network_tensor_name(net, i, NULL, 0);
        size_t room_for = p->seed % 2 ? length + 1 : p->seed % (length + 1);
        char *name = place(NAME, room_for, p->first);
        if (size != tensor.size || pycnn_network_tensor_name(net, i, name, room_for) != length ||
            (room_for > 0 && strlen(name) != room_for - 1)) {
            abort();
        }
    }
    if (end != pycnn_network_theta_size(net) ||
        end != pycnn_network_parameter_count(net) + pycnn_network_statistic_count(net)) {
        abort();
    }
}

/* Does all that the program says, with the kernels of one set: data at once, or in parts. */
static void execute(const program *p, const char *isa, pycnn_threads *threads, bool whole,
                    outcome *found)
{
    found->calls = found->count = 0;
    setenv("PYCNN_ISA", isa, 1);
    pycnn_network *net = NULL;
    pycnn_workspace *ws = NULL;
    int status = pycnn_network_create(&net, p->inputs, LENT(p, LAYERS, p->layers), p->depth,
                                      p->loss, p->loss_parameter);
    size_t layer = 0;
    const char *problem = pycnn_network_check(p->inputs, LENT(p, LAYERS, p->layers), p->depth,
                                              p->loss, p->loss_parameter, &layer);
    bool found_it = layer == SIZE_MAX || layer < p->depth + p->within_count;
    if ((problem == NULL) != (status == PYCNN_OK) ||
        (problem != NULL && (problem[0] == 0 || !found_it))) {
        abort();
    }
    if (note(found, status, NULL, 0) && pycnn_network_theta_size(net) < ROOM / 32) {
        check_tensors(p, net);
        note(found, pycnn_workspace_create(&ws, net, p->room, p->mode), NULL, 0);
    }
    if (ws != NULL) {
        pycnn_workspace_set_threads(ws, threads);
        pycnn_workspace_set_loss(ws, LENT(p, LOSS, squares), (void *)(uintptr_t)&p->fails);
        numbers n = make_numbers(p, net);
        const double *theta = LENT(p, THETA, n.theta), *x = n.data.x;
        const uint64_t *keys = LENT(p, KEYS, p->keys);
        size_t of_y = p->rows * n.outputs;
        double *out = place(OUT, p->draws * of_y * sizeof *out, p->first);
        double *y = LENT(p, OUT, out);
        pycnn_totals totals = {0};
        double penalty = pycnn_penalty(net, theta, n.theta_size);
        note(found, PYCNN_OK, &penalty, 1);
        status = y == NULL || x == NULL ? pycnn_predict(y, net, ws, theta, n.theta_size, x, p->rows)
                                        : predict(y, p, net, ws, &n, whole);
        if (note(found, status, out, of_y)) {
            check_predictor(out, p, net, &n);
        }
        status = pycnn_predict_finite(y, net, ws, theta, n.theta_size, x, p->rows);
        note(found, status, out, of_y);
        status = pycnn_predict_samples(y, net, ws, theta, n.theta_size, x, p->rows, keys, p->draws,
                                       p->sample_offset);
        note(found, status, out, p->draws * of_y);
        note_totals(found, pycnn_evaluate(&totals, net, ws, theta, n.theta_size, &n.data), &totals);
        double *grad = place(GRAD, n.parameters * sizeof *grad, p->first);
        double *g = LENT(p, GRAD, grad);
        for (int dropping = 0; dropping < 2; dropping++) {
            status = pycnn_gradients(&totals, g, net, ws, theta, n.theta_size, &n.data,
                                     dropping ? keys : NULL);
            note_totals(found, status, &totals);
            note(found, PYCNN_OK, grad, status == PYCNN_OK ? n.parameters : 0);
        }
        size_t of_z = n.units * p->rows;
        double *z = place(Z, of_z * sizeof *z, p->first);
        double *a = place(A, of_z * sizeof *a, p->first);
        double *delta = place(DELTA, of_z * sizeof *delta, p->first);
        status = pycnn_trace(&totals, g, LENT(p, Z, z), LENT(p, A, a), LENT(p, DELTA, delta), net,
                             ws, theta, n.theta_size, &n.data);
        note_totals(found, status, &totals);
        if (status == PYCNN_OK) {
            note(found, status, z, of_z);
            note(found, status, a, of_z);
            note(found, status, delta, of_z);
        }
        double *below = place(Z, n.data.rows * p->inputs * sizeof *below, p->first);
        status = pycnn_input_gradient(LENT(p, Z, below), net, ws, theta, n.theta_size, &n.data);
        note(found, status, below, status == PYCNN_OK ? n.data.rows * p->inputs : 0);
        train(p, net, ws, &n, whole, found);
    }
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* ---------------------------------------------------------------- and what is wrong with it */

static const char *sets[3];
static size_t set_count;
static pycnn_threads *pools[3]; /* of two threads and more */

static void fail(const char *isa, const char *what, size_t where, double a, double b)
{
    fprintf(stderr, "%s and %s: %s %zu: %.17g and %.17g\n", sets[0], isa, what, where, a, b);
    abort();
}

static void compare(const outcome *a, const outcome *b, const char *isa, double tolerance)
{
    for (size_t call = 0, i = 0; call < a->calls || call < b->calls; call++) {
        if (a->calls != b->calls || a->status[call] != b->status[call]) {
            fail(isa, "status of call", call, a->status[call], b->status[call]);
        }
        if (tolerance == 0 && !same(a->correct[call], b->correct[call])) {
            fail(isa, "right answers of call", call, a->correct[call], b->correct[call]);
        }
        double scale = 1; /* rounding errors follow a call's largest numbers */
        for (size_t j = i; j < b->end[call]; j++) {
            scale = fmax(scale, fabs(b->values[j]));
        }
        for (; i < a->end[call]; i++) {
            double left = a->values[i], right = b->values[i];
            if (!same(left, right) && !(fabs(left - right) <= tolerance * scale)) {
                fail(isa, "number", i, left, right);
            }
        }
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const known[] = {"avx512", "avx2", "neon"};
    (void)argc, (void)argv;
    make_rooms();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        setenv("PYCNN_ISA", known[i], 1);
        if (pycnn_isa() != NULL) {
            sets[set_count++] = known[i];
        }
    }
    if (set_count == 0) {
        sets[set_count++] = "baseline";
    }
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        if (pycnn_threads_create(&pools[i], 2 + i) != PYCNN_OK) {
            abort();
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    input in = {bytes, size};
    static program p;
    read_program(&p, &in);
    execute(&p, sets[0], NULL, true, &outcomes[0]);
    for (size_t i = 1; i < set_count; i++) {
        execute(&p, sets[i], NULL, false, &outcomes[i]);
        compare(&outcomes[0], &outcomes[i], sets[i], 0);
    }
    execute(&p, sets[0], pools[p.threads < 3 ? p.threads : 0], false, &outcomes[3]);
    compare(&outcomes[0], &outcomes[3], "threads", 0);
    if (p.tame || p.seed % 4 == 0) {
        execute(&p, "baseline", NULL, false, &outcomes[3]);
    }
    if (p.tame) {
        compare(&outcomes[0], &outcomes[3], "baseline", 1e-9);
    }
    return 0;
}
