/* One row at a time: each layer's parameters in the layout that suits a single sample, and a
 * workspace of one sample, in which the layers have been connected once and for all. */
#include "mode.h"
#include "workspace.h"

enum { CACHE_LINE = 64 }; /* on which begins what a layer packs */

struct pycnn_predictor {
    pycnn_allocator allocator; /* the network's */
    pycnn_workspace *ws;
    online_layer *narrow; /* [depth] as the kernels for narrow networks read it; NULL: it is not */
    double *state;        /* [state_count] of the sequence that the rows are parts of ... */
    bool goes_on;         /* ... since somebody has asked for it */
    double *packed[];     /* [depth] what a layer packs, or a copy of its parameters */
};

/* Adds the room for what a layer packs. One that packs nothing has a copy of its parameters. */
static int add_packed(size_t *count, const layer *self)
{
    const size_t width = round_up(self->packed_width, self->kernels->lanes);
    TRY(self->ops->pack == NULL ? add_product(count, self->parameter_count, 1)
                                : add_product(count, self->packed_rows, width));
    *count = round_up(*count, CACHE_LINE / sizeof(double));
    return PYCNN_OK;
}

/* In one block of zeros the predictor, and behind it what its layers pack. */
static int allocate_predictor(pycnn_predictor **out, const pycnn_network *net)
{
    size_t bytes = sizeof **out, count = 0;
    TRY(add_product(&bytes, net->depth, sizeof *(*out)->packed));
    const size_t head = bytes;
    for (size_t l = 0; l < net->depth; l++) {
        TRY(add_packed(&count, &net->layers[l]));
    }
    TRY(add_product(&count, net->state_count, 1)); /* behind all of these */
    TRY(add_product(&bytes, count, sizeof(double)));
    TRY(add_product(&bytes, CACHE_LINE, 1));
    pycnn_predictor *self = pycnn_allocate(&net->allocator, bytes);
    RETURN_IF(self == NULL, PYCNN_ERROR_MEMORY);
    memset(self, 0, bytes);
    self->allocator = net->allocator;
    const uintptr_t behind = (uintptr_t)self + head + CACHE_LINE - 1;
    double *first = (double *)(behind / CACHE_LINE * CACHE_LINE);
    count = 0;
    for (size_t l = 0; l < net->depth; l++) {
        self->packed[l] = first + count;
        TRY(add_packed(&count, &net->layers[l]));
    }
    self->state = first + count;
    *out = self;
    return PYCNN_OK;
}

/* Whether the network is dense and none of its layers fills more than a vector. */
static bool is_narrow(const pycnn_network *net)
{
    bool narrow = net->kernels->online != NULL;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *self = &net->layers[l];
        narrow = narrow && self->trains_online && self->fan_out <= net->kernels->lanes;
    }
    return narrow;
}

/* What such layers pack is what the kernels for narrow networks read: in one run, where the calls
 * of each layer would take twice as long as its sums. */
static int make_narrow(pycnn_predictor *self)
{
    const pycnn_network *net = self->ws->net;
    self->narrow = pycnn_allocate(&self->allocator, net->depth * sizeof *self->narrow);
    RETURN_IF(self->narrow == NULL, PYCNN_ERROR_MEMORY);
    for (size_t l = 0; l < net->depth; l++) {
        const layer *here = &net->layers[l];
        double *output = io_of(self->ws, l, 0)->output;
        self->narrow[l] = (online_layer){.fan_in = here->fan_in,
                                         .fan_out = here->fan_out,
                                         .f = here->f,
                                         .activation = here->activation,
                                         .columns = self->packed[l],
                                         .z = output,
                                         .output = output};
    }
    return PYCNN_OK;
}

static int make_workspace(pycnn_predictor *self, const pycnn_network *net)
{
    TRY(pycnn_workspace_create(&self->ws, net, 1, PYCNN_FORWARD));
    pycnn_workspace_partition(self->ws, 1);
    return is_narrow(net) ? make_narrow(self) : PYCNN_OK;
}

static void pack_all(pycnn_predictor *self, const double *theta)
{
    const pycnn_network *net = self->ws->net;
    const double *statistics = theta + net->parameter_count;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *here = &net->layers[l];
        const double *own = theta + here->offset;
        if (here->ops->pack == NULL) {
            memcpy(self->packed[l], own, here->parameter_count * sizeof *own);
        } else {
            here->ops->pack(here, self->packed[l], own, statistics + here->statistic_offset);
        }
    }
}

int pycnn_predictor_create(pycnn_predictor **out, const pycnn_network *net, const double *theta,
                           size_t theta_size)
{
    KEEP_MODE;
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(net == NULL || theta == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(theta_size != theta_size_of(net), PYCNN_ERROR_SIZE);
    pycnn_predictor *self;
    TRY(allocate_predictor(&self, net));
    const int status = make_workspace(self, net);
    if (status != PYCNN_OK) {
        pycnn_predictor_destroy(self);
        return status;
    }
    pack_all(self, theta);
    *out = self;
    return PYCNN_OK;
}

void pycnn_predictor_destroy(pycnn_predictor *self)
{
    if (self != NULL) {
        pycnn_release(&self->allocator, self->narrow);
        pycnn_workspace_destroy(self->ws);
        pycnn_release(&self->allocator, self);
    }
}

int pycnn_predictor_update(pycnn_predictor *self, const double *theta, size_t theta_size)
{
    KEEP_MODE;
    RETURN_IF(self == NULL || theta == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(theta_size != theta_size_of(self->ws->net), PYCNN_ERROR_SIZE);
    pack_all(self, theta);
    return PYCNN_OK;
}

/* Lets rows go on from a state; NULL: each is a whole sequence. */
static void go_on_from(const pycnn_predictor *self, double *state)
{
    const pycnn_network *net = self->ws->net;
    for (size_t l = 0; l < net->depth; l++) {
        io_of(self->ws, l, 0)->state = state == NULL ? NULL : state + net->layers[l].state_offset;
    }
}

double *pycnn_predictor_state(pycnn_predictor *self, size_t *count)
{
    const pycnn_network *net = self == NULL ? NULL : self->ws->net;
    const size_t numbers = net == NULL ? 0 : net->state_count;
    if (count != NULL) {
        *count = numbers;
    }
    if (numbers == 0) {
        return NULL;
    }
    self->goes_on = true;
    go_on_from(self, self->state);
    return self->state;
}

static void run_layers(const pycnn_predictor *self)
{
    const pycnn_workspace *ws = self->ws;
    const pycnn_network *net = ws->net;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *here = &net->layers[l];
        const layer_io *io = io_of(ws, l, 0);
        if (here->ops->forward_packed == NULL) {
            here->ops->forward(here, self->packed[l], io, 1);
        } else {
            here->ops->forward_packed(here, self->packed[l], io);
        }
    }
}

static void run(const pycnn_predictor *self, double *y, const double *x)
{
    const pycnn_workspace *ws = self->ws;
    const pycnn_network *net = ws->net;
    double *input = ws->slices[0].input;
    memcpy(input, x, net->inputs * sizeof *x);
    if (self->narrow != NULL) {
        const double *const rows[] = {input};
        net->kernels->online[ONLINE_NARROW].forward(self->narrow, net->depth, rows, 1, false);
    } else {
        run_layers(self);
    }
    memcpy(y, io_of(ws, net->depth - 1, 0)->output, net->outputs * sizeof *y);
}

int pycnn_predictor_run(pycnn_predictor *self, double *y, const double *x)
{
    KEEP_MODE;
    RETURN_IF(self == NULL || y == NULL || x == NULL, PYCNN_ERROR_ARGUMENT);
    run(self, y, x);
    return PYCNN_OK;
}

int pycnn_predictor_steps(pycnn_predictor *self, double *y, const double *x, double *states,
                          size_t rows)
{
    KEEP_MODE;
    RETURN_IF(self == NULL || y == NULL || x == NULL, PYCNN_ERROR_ARGUMENT);
    const pycnn_network *net = self->ws->net;
    RETURN_IF(states == NULL && net->state_count > 0, PYCNN_ERROR_ARGUMENT);
    for (size_t i = 0; i < rows; i++) {
        go_on_from(self, states == NULL ? NULL : states + i * net->state_count);
        run(self, y + i * net->outputs, x + i * net->inputs);
    }
    go_on_from(self, self->goes_on ? self->state : NULL);
    return PYCNN_OK;
}
