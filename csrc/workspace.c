/* Scratch memory for mini-batches, and how a mini-batch is partitioned into slices. */
#include "workspace.h"

enum {
    ALIGNMENT = 64, /* buffers start on a cache line */
    CHUNK_UNIT = 8, /* samples: a multiple of every kernel's lanes, and of CHAINS */
    /* Numbers of a layer and a slice that are too few to need panels: half of the first-level
     * cache. */
    SMALL_SLICE = 1 << 11,
    /* Numbers of a layer of images and a slice that should stay in the second-level cache beside
     * those of the next layer. */
    LARGE_SLICE = 1 << 16
};

/* Multiply-adds of a forward pass below which one thread is as fast as several: about 10 us. */
#define WORK_WORTH_SHARING ((size_t)1 << 18)

/* The same for a chunk of the samples, about: 5 to 20 ms, and as much on the way back. Not for
 * fewer samples, though: weights that lie in cache are used for so many. */
#define WORK_AT_A_TIME ((size_t)1 << 27)
enum { LEAST_AT_A_TIME = 192 };

/* Milliseconds between two questions to the caller: what a call into Python costs does not show. */
enum { POLL_PERIOD = 25 };

_Static_assert(CHUNK_UNIT % CHAINS == 0, "chunks must begin where chains do");
_Static_assert((size_t)MOST_CHUNKS <= MOST_SLICES, "a chunk needs a slice");

#define MOST_ONLINE_PARAMETERS ((size_t)1 << 17)

/* ---------------------------------------------------------------- the buffers */

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

/* Columns of rows of `units` numbers, and one for the bias. */
static size_t row_width(const pycnn_network *net, size_t units)
{
    return round_up(units + 1, net->kernels->panel);
}

/* Whether pycnn_train may use the layout of online.h: a network so large that its parameters would
 * leave the cache does better without a second copy of them. */
static bool wants_online(const pycnn_network *net, int mode)
{
    bool wanted = mode >= PYCNN_BACKWARD && net->kernels->online != NULL &&
                  net->loss != PYCNN_CUSTOM && !net->constrained &&
                  net->parameter_count <= MOST_ONLINE_PARAMETERS;
    for (size_t l = 0; l < net->depth; l++) {
        wanted = wanted && net->layers[l].trains_online;
    }
    return wanted;
}

static void hand_out_online(pycnn_workspace *ws, arena *memory, size_t l)
{
    const layer *here = &ws->net->layers[l];
    const size_t lanes = ws->net->kernels->lanes;
    online_layer *online = &ws->online[l];
    online->fan_in = here->fan_in;
    online->fan_out = here->fan_out;
    online->in_stride = round_up(here->fan_in, lanes);
    online->out_stride = round_up(here->fan_out, lanes);
    online->activation = here->activation;
    online->f = here->f;
    online->columns = take(memory, here->fan_in + 1, online->out_stride);
    online->rows = l > 0 ? take(memory, here->fan_out, online->in_stride) : NULL;
    /* As elsewhere, only the losses and some derivatives read z. */
    const bool last = l + 1 == ws->net->depth, derived = here->activation->from_z && !last;
    online->z = take(memory, FEW, online->out_stride);
    online->output = derived ? take(memory, FEW, online->out_stride) : last ? NULL : online->z;
    online->from = derived ? online->z : online->output;
    online->delta = take(memory, FEW, online->out_stride);
}

/* In a forward pass alone an output is done with when its last reader has read it: all take turns
 * in a few buffers, in which each slice has room for the widest. 0: every layer has one of its own.
 */
static size_t shared_width(const pycnn_network *net, int mode)
{
    size_t width = 0;
    for (size_t l = 0; l < net->depth && mode < PYCNN_BACKWARD; l++) {
        width = net->layers[l].fan_out > width ? net->layers[l].fan_out : width;
    }
    return width;
}

static double *take_output(pycnn_workspace *ws, arena *memory, size_t l, size_t samples)
{
    if (ws->shared_width == 0) {
        return take(memory, ws->net->layers[l].fan_out, samples);
    }
    size_t b = 0;
    while (b < ws->shared_count && ws->layers[b].shared_until >= l) {
        b++;
    }
    struct layer_buffers *shared = &ws->layers[b];
    if (b == ws->shared_count) {
        ws->shared_count++;
        shared->shared = take(memory, ws->shared_width, samples);
    }
    shared->shared_until = ws->net->layers[l].last_reader;
    return shared->shared;
}

/* Whether what a layer leaves for its k-th input is added to what a later layer has left. */
static bool is_part(const pycnn_workspace *ws, const layer *self, size_t k)
{
    const size_t below = self->inputs[k];
    if (below == THE_DATA) {
        return ws->mode == PYCNN_TRACE && ws->net->last_reader != self->number;
    }
    return ws->net->layers[below].last_reader != self->number;
}

/* Numbers that a layer keeps of each sample. */
static size_t saved_per_sample(const pycnn_workspace *ws, const layer *self)
{
    return self->saved_per_sample - (ws->mode < PYCNN_BACKWARD ? self->saved_for_delta : 0);
}

/* Rows of all samples that a layer packs itself. */
static double *take_rows(pycnn_workspace *ws, arena *memory, const layer *self, size_t samples)
{
    const size_t panel = ws->net->kernels->panel;
    size_t rows = 0;
    memory->overflow |= add_product(&rows, self->row_positions, samples) != PYCNN_OK;
    if (ws->mode < PYCNN_BACKWARD || rows == 0) {
        return NULL;
    }
    return take(memory, rows,
                round_up(self->row_widths[0], panel) + round_up(self->row_widths[1], panel));
}

static void hand_out(pycnn_workspace *ws, arena *memory)
{
    const pycnn_network *net = ws->net;
    const size_t m = round_up(ws->capacity, CHUNK_UNIT);
    const bool backward = ws->mode >= PYCNN_BACKWARD;
    bool narrow = true;
    ws->shared_count = 0;
    ws->whole.input = take(memory, net->inputs, m);
    ws->whole.rows = take(memory, row_width(net, net->inputs), m);
    ws->whole.delta = ws->mode == PYCNN_TRACE ? take(memory, net->inputs, m) : NULL;
    ws->whole.y = take(memory, net->outputs, m);
    ws->whole.weight = take(memory, net->positions, m);
    ws->whole.loss = take(memory, net->positions, m);
    ws->whole.correct = take(memory, net->positions, m);
    ws->whole.lengths = net->takes_lengths ? take(memory, m, 1) : NULL;
    ws->whole.state = take(memory, net->state_count, m);
    ws->loss_rows =
        net->loss == PYCNN_CUSTOM ? take(memory, 3 * net->outputs + net->positions, m) : NULL;
    ws->grad = backward ? take(memory, net->parameter_count, 1) : NULL;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *here = &net->layers[l];
        const size_t units = here->fan_out;
        const bool last = l + 1 == net->depth;
        struct layer_buffers *buffers = &ws->layers[l];
        buffers->output = take_output(ws, memory, l, m);
        /* The losses read the output layer's z; elsewhere only a trace and some derivatives do. */
        const bool derived = backward && here->activation->from_z;
        /* And of a single sample the outputs of a position reach into the z of the next one. */
        const bool keep_z = last || derived || (backward && here->writes_z) ||
                            ws->mode == PYCNN_TRACE || meets_in_columns(here);
        buffers->z = keep_z ? take(memory, units, m) : buffers->output;
        const bool keep_rows = backward && here->rows_wanted;
        buffers->output_rows = keep_rows ? take(memory, row_width(net, units), m) : NULL;
        buffers->delta = backward ? take(memory, units, m) : NULL;
        for (size_t k = 0; k < here->input_count; k++) {
            buffers->parts[k] =
                backward && is_part(ws, here, k) ? take(memory, here->fan_in, m) : NULL;
        }
        buffers->saved = take(memory, ws->most_slices, here->saved_per_slice);
        buffers->saved_samples = take(memory, saved_per_sample(ws, here), m);
        buffers->own_rows = take_rows(ws, memory, here, m);
    }
    for (size_t l = 0; l < net->depth && ws->online != NULL; l++) {
        hand_out_online(ws, memory, l);
        narrow = narrow && ws->online[l].out_stride == net->kernels->lanes;
    }
    const int kind = narrow ? ONLINE_NARROW : ONLINE_ANY;
    ws->online_kernels = ws->online == NULL ? NULL : &net->kernels->online[kind];
}

/* *block = so many bytes; NULL where they are only counted */
static int allocate_large(pycnn_workspace *ws, void **block, size_t bytes)
{
    TRY(add_product(&ws->bytes, bytes, 1));
    *block = ws->measured ? NULL : pycnn_allocate(&ws->allocator, bytes);
    return *block == NULL && !ws->measured ? PYCNN_ERROR_MEMORY : PYCNN_OK;
}

static int allocate_buffers(pycnn_workspace *ws)
{
    arena memory = {0};
    hand_out(ws, &memory);
    size_t bytes = ALIGNMENT;
    RETURN_IF(memory.overflow, PYCNN_ERROR_SIZE);
    TRY(add_product(&bytes, memory.used, sizeof(double)));
    TRY(allocate_large(ws, &ws->memory, bytes));
    if (ws->memory != NULL) {
        memset(ws->memory, 0, bytes); /* padding is computed along */
        const uintptr_t start = ((uintptr_t)ws->memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        memory = (arena){.base = (double *)start};
        hand_out(ws, &memory);
    }
    return PYCNN_OK;
}

/* *block = count zeroed elements */
static int allocate(pycnn_workspace *ws, void **block, size_t count, size_t size)
{
    size_t bytes = 0;
    TRY(add_product(&bytes, count, size));
    TRY(add_product(&ws->bytes, bytes, 1));
    *block = pycnn_allocate(&ws->allocator, bytes);
    RETURN_IF(*block == NULL, PYCNN_ERROR_MEMORY);
    memset(*block, 0, bytes);
    return PYCNN_OK;
}

/* What a product copies the weights into: 64 kB, which are too many for the stacks of some threads.
 * A single sample's product copies nothing. */
static int allocate_scratch(pycnn_workspace *ws)
{
    const size_t most = ws->capacity > 1 ? ws->net->kernels->block : 0; /* of products */
    size_t bytes = ALIGNMENT;
    ws->scratch_size = round_up(MAX(most, ws->net->scratch), ALIGNMENT / sizeof(double));
    ws->most_chunks = MIN(MOST_CHUNKS, round_up(ws->capacity, CHUNK_UNIT) / CHUNK_UNIT);
    if (ws->scratch_size > 0) {
        size_t each = 0;
        TRY(add_product(&each, ws->scratch_size, sizeof(double)));
        TRY(add_product(&bytes, ws->most_chunks, each));
        return allocate_large(ws, &ws->scratch, bytes);
    }
    return PYCNN_OK;
}

static int allocate_all(pycnn_workspace *ws)
{
    const size_t depth = ws->net->depth, slices = ws->most_slices;
    void *block;
    TRY(allocate(ws, &block, slices, sizeof *ws->slices));
    ws->slices = block;
    TRY(allocate(ws, &block, slices * depth, sizeof *ws->io));
    ws->io = block;
    TRY(allocate(ws, &block, 2 * slices * depth, sizeof *ws->products));
    ws->products = block;
    TRY(allocate(ws, &block, slices * depth, sizeof *ws->terms));
    ws->terms = block;
    TRY(allocate_scratch(ws));
    TRY(allocate(ws, &block, depth, sizeof *ws->layers));
    ws->layers = block;
    if (wants_online(ws->net, ws->mode)) {
        TRY(allocate(ws, &block, depth, sizeof *ws->online));
        ws->online = block;
    }
    return allocate_buffers(ws);
}

static int create_workspace(pycnn_workspace **out, const pycnn_network *net, size_t batch, int mode,
                            bool measured)
{
    *out = NULL;
    RETURN_IF(net == NULL || mode < PYCNN_FORWARD || mode > PYCNN_TRACE, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(batch == 0 || batch > (size_t)PTRDIFF_MAX / 2, PYCNN_ERROR_SIZE);
    pycnn_workspace *ws = pycnn_allocate(&net->allocator, sizeof *ws);
    RETURN_IF(ws == NULL, PYCNN_ERROR_MEMORY);
    memset(ws, 0, sizeof *ws);
    ws->allocator = net->allocator;
    ws->bytes = sizeof *ws;
    ws->measured = measured;
    ws->net = net;
    ws->capacity = batch;
    ws->mode = mode;
    ws->shared_width = shared_width(net, mode);
    ws->most_slices = MIN(MOST_SLICES, batch / net->kernels->lanes + 1);
    const int status = allocate_all(ws);
    if (status != PYCNN_OK) {
        pycnn_workspace_destroy(ws);
        return status;
    }
    *out = ws;
    return PYCNN_OK;
}

int pycnn_workspace_create(pycnn_workspace **out, const pycnn_network *net, size_t batch, int mode)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    return create_workspace(out, net, batch, mode, false);
}

int pycnn_workspace_size(size_t *bytes, const pycnn_network *net, size_t batch, int mode)
{
    pycnn_workspace *ws;
    RETURN_IF(bytes == NULL, PYCNN_ERROR_ARGUMENT);
    *bytes = 0;
    TRY(create_workspace(&ws, net, batch, mode, true));
    *bytes = ws->bytes;
    pycnn_workspace_destroy(ws);
    return PYCNN_OK;
}

void pycnn_workspace_destroy(pycnn_workspace *ws)
{
    if (ws == NULL) {
        return;
    }
    void *blocks[] = {ws->memory,   ws->online, ws->layers, ws->scratch, ws->terms,
                      ws->products, ws->io,     ws->slices, ws};
    const pycnn_allocator allocator = ws->allocator;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        pycnn_release(&allocator, blocks[i]);
    }
}

void pycnn_workspace_set_loss(pycnn_workspace *ws, pycnn_loss_function *function, void *context)
{
    if (ws != NULL) {
        ws->loss_function = function;
        ws->loss_context = context;
    }
}

int pycnn_workspace_set_sequences(pycnn_workspace *ws, const pycnn_sequences *sequences)
{
    RETURN_IF(ws == NULL || (sequences != NULL && !IS_RESERVED(sequences)), PYCNN_ERROR_ARGUMENT);
    const pycnn_sequences none = {0}, next = sequences == NULL ? none : *sequences;
    RETURN_IF(next.lengths != NULL && !ws->net->takes_lengths, PYCNN_ERROR_LENGTHS);
    ws->sequences = next;
    ws->batch = 0; /* what layers read and write of a slice is another */
    return PYCNN_OK;
}

void pycnn_workspace_set_poll(pycnn_workspace *ws, pycnn_poll_function *function, void *context)
{
    if (ws != NULL) {
        ws->poll = function;
        ws->poll_context = context;
    }
}

int pycnn_workspace_poll(pycnn_workspace *ws)
{
    RETURN_IF(ws->poll == NULL, PYCNN_OK);
    const uint64_t now = pycnn_milliseconds();
    const bool first = ws->polled == 0; /* of this call, whose first piece has been the wait */
    RETURN_IF(!first && now - ws->polled < POLL_PERIOD, PYCNN_OK);
    ws->polled = now;
    return !first && ws->poll(ws->poll_context) != 0 ? PYCNN_ERROR_INTERRUPTED : PYCNN_OK;
}

void pycnn_workspace_set_threads(pycnn_workspace *ws, pycnn_threads *threads)
{
    if (ws != NULL) {
        ws->threads = threads;
    }
}

/* ---------------------------------------------------------------- the slices */

/* Chunks that are worked on together, for a thread each. */
static size_t count_together(const pycnn_workspace *ws, size_t batch)
{
    const size_t threads = pycnn_threads_count(ws->threads);
    if (threads == 1 || batch < WORK_WORTH_SHARING / ws->net->work) {
        return 1;
    }
    return MIN(MIN(threads, MOST_CHUNKS), round_up(batch, CHUNK_UNIT) / CHUNK_UNIT);
}

/* How many times so many chunks there are. */
static size_t count_rounds(const pycnn_workspace *ws, size_t batch)
{
    const size_t samples = WORK_AT_A_TIME / ws->net->work;
    const size_t chunk = batch / ws->together;
    const size_t rounds = chunk / (samples > LEAST_AT_A_TIME ? samples : LEAST_AT_A_TIME);
    return rounds < 1 ? 1 : MIN(rounds, ws->most_slices / ws->together);
}

/* Whether in training threads share out the first layer forward by its units, as its gradient is,
 * rather than by samples: then each reads no weights but those that it has updated itself, while
 * all samples cross from thread to thread. Not where that is more, nor where shares are less equal.
 */
static bool wants_units(const pycnn_workspace *ws)
{
    const layer *first = &ws->net->layers[0];
    const size_t threads = ws->together, batch = ws->batch, units = first->fan_out;
    const size_t most_units = round_up((units + threads - 1) / threads, CHUNK_UNIT);
    const size_t most_samples = round_up((batch + threads - 1) / threads, CHUNK_UNIT);
    return threads > 1 && !is_long(ws) && first->ops->forward_part != NULL &&
           first->f != PYCNN_SOFTMAX && units > batch && units * most_samples >= batch * most_units;
}

double *pycnn_workspace_scratch(const pycnn_workspace *ws, size_t chunk)
{
    if (ws->scratch == NULL) {
        return NULL;
    }
    const uintptr_t start = ((uintptr_t)ws->scratch + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return (double *)start + chunk % ws->most_chunks * ws->scratch_size;
}

/* Points a layer's io at those of the layers below. */
static void connect(pycnn_workspace *ws, size_t l, size_t s)
{
    const layer *self = &ws->net->layers[l];
    layer_io *io = io_of(ws, l, s);
    for (size_t k = 0; k < self->input_count; k++) {
        const layer_io *below = self->inputs[k] == THE_DATA ? NULL : io_of(ws, self->inputs[k], s);
        const double *input = below == NULL ? ws->slices[s].input : below->output;
        double *delta = below == NULL ? ws->slices[s].delta : below->delta;
        double *part = ws->layers[l].parts[k];
        io->added_to[k] = part == NULL ? NULL : delta;
        delta = part == NULL ? delta : part + io->first * self->fan_in;
        if (k == 0) {
            io->input = input;
            io->input_rows = below == NULL ? ws->slices[s].rows : below->output_rows;
            io->delta_input = delta;
        } else {
            io->second_input = input;
            io->delta_second_input = delta;
        }
    }
}

/* Points a slice of a chunk at its part of each buffer. [units,batch] matrices of a slice lie
 * together: the slice that begins with sample i has the doubles from units * i on. */
static void place(pycnn_workspace *ws, size_t s, size_t chunk)
{
    const pycnn_network *net = ws->net;
    slice *self = &ws->slices[s];
    const size_t first = self->first;
    self->rows = ws->whole.rows + first * net->kernels->panel;
    /* A single sample's row and column are the same. */
    self->input = ws->batch == 1 ? self->rows : ws->whole.input + first * net->inputs;
    self->delta = ws->whole.delta == NULL ? NULL : ws->whole.delta + first * net->inputs;
    self->y = ws->whole.y + first * net->outputs;
    self->weight = ws->whole.weight + first * net->positions;
    self->loss = ws->whole.loss + first * net->positions;
    self->correct = ws->whole.correct + first * net->positions;
    self->lengths = ws->sequences.lengths == NULL ? NULL : ws->whole.lengths + first;
    self->state = ws->sequences.state == NULL ? NULL : ws->whole.state + first * net->state_count;
    for (size_t l = 0; l < net->depth; l++) {
        const layer *here = &net->layers[l];
        const struct layer_buffers *buffers = &ws->layers[l];
        const size_t at = first * here->fan_out;
        const size_t output_at = ws->shared_width == 0 ? at : first * ws->shared_width;
        layer_io *io = io_of(ws, l, s);
        io->context = &ws->context;
        io->first = first;
        io->batch = self->batch;
        io->stride = self->stride;
        io->distance = panel_distance(ws);
        io->output = buffers->output + output_at;
        io->z = buffers->z == buffers->output ? io->output : buffers->z + at;
        io->z_is_own = ws->mode == PYCNN_BACKWARD && io->z != io->output && l + 1 < net->depth;
        io->output_rows = buffers->output_rows == NULL
                              ? NULL
                              : buffers->output_rows + first * net->kernels->panel;
        if (ws->batch == 1 && io->output_rows != NULL) {
            io->output_rows = io->output; /* it has room for one number more */
        }
        io->delta = buffers->delta == NULL ? NULL : buffers->delta + at;
        io->lengths = here->has_lengths ? self->lengths : NULL;
        io->state = self->state == NULL ? NULL : self->state + here->state_offset * self->stride;
        io->saved = buffers->saved + s * here->saved_per_slice;
        io->saved_samples = buffers->saved_samples + first * saved_per_sample(ws, here);
        io->own_rows = buffers->own_rows;
        io->delta_is_dz = l + 1 == net->depth && pycnn_loss_activation(net->loss) >= 0;
        connect(ws, l, s);
        io->scratch = pycnn_workspace_scratch(ws, chunk);

        product_panel *forward = &ws->products[l * ws->most_slices + s];
        product_panel *backward = forward + net->depth * ws->most_slices;
        gradient_terms *terms = &ws->terms[l * ws->most_slices + s];
        *forward = (product_panel){io->z, io->input, io->stride};
        *backward = (product_panel){io->delta_input, io->delta, io->stride};
        *terms = (gradient_terms){.delta = io->delta, .stride = io->stride, .batch = io->batch};
        io->forward = forward;
        io->backward = backward;
        io->terms = terms;
    }
}

/* The i-th of `of` nearly equal parts of `count` begins here. */
static size_t part_begins(size_t count, size_t i, size_t of)
{
    return i * (count / of) + MIN(i, count % of);
}

/* Samples of a slice: those of a panel; more where layers are narrow, and whole panels more where
 * there would be too many slices. Of large images so few that they stay in cache. */
static size_t slice_width(const pycnn_network *net, size_t samples, size_t most, size_t unit)
{
    const size_t panel = net->kernels->panel;
    size_t least = panel % unit == 0 ? panel : 2 * panel;
    if (net->slice_by_slice && (samples + CHAINS - 1) / CHAINS <= most) {
        const size_t fits = LARGE_SLICE / net->widest / CHAINS * CHAINS;
        least = MIN(least, MAX(fits, CHAINS));
    }
    const size_t small = SMALL_SLICE / net->widest / unit * unit;
    const size_t needed = round_up((samples + most - 1) / most, least);
    const size_t width = small > least ? small : least;
    return width > needed ? width : needed;
}

/* Partitions a chunk, samples first ... last - 1, into at most `most` slices, the next ones; all
 * but the last slice of a mini-batch fill whole vectors. */
static void partition_chunk(pycnn_workspace *ws, size_t chunk, size_t first, size_t last,
                            size_t most)
{
    const pycnn_network *net = ws->net;
    const size_t lanes = net->kernels->lanes, unit = net->sums_samples ? CHAINS : lanes;
    const size_t width = slice_width(net, last - first, most, unit);
    assert(width % unit == 0 && CHUNK_UNIT % lanes == 0);
    const size_t units = (last - first + unit - 1) / unit,
                 count = (last - first + width - 1) / width;
    /* Nearly equal ones, unless that makes them other than whole panels. */
    const bool whole = net->kernels->panel % unit != 0;
    for (size_t s = 0; s < count; s++) {
        assert(ws->slice_count < ws->most_slices);
        slice *self = &ws->slices[ws->slice_count];
        const size_t begin = whole ? s * width : part_begins(units, s, count) * unit;
        const size_t end = whole ? (s + 1) * width : part_begins(units, s + 1, count) * unit;
        self->first = first + begin;
        self->batch = MIN(first + end, last) - self->first;
        self->stride = ws->batch == 1 ? 1 : round_up(self->batch, lanes);
        place(ws, ws->slice_count++, chunk);
    }
}

void pycnn_workspace_partition(pycnn_workspace *ws, size_t batch)
{
    const size_t threads = pycnn_threads_count(ws->threads);
    if (ws->batch == batch && ws->threads_meant == threads) {
        return;
    }
    ws->batch = batch;
    ws->threads_meant = threads;
    ws->slice_count = 0;
    ws->together = count_together(ws, batch);
    ws->chunk_count = ws->together * count_rounds(ws, batch);
    ws->by_units = wants_units(ws);
    const size_t units = round_up(batch, CHUNK_UNIT) / CHUNK_UNIT;
    for (size_t t = 0; t < ws->chunk_count; t++) {
        ws->chunks[t] = ws->slice_count;
        partition_chunk(ws, t, part_begins(units, t, ws->chunk_count) * CHUNK_UNIT,
                        MIN(part_begins(units, t + 1, ws->chunk_count) * CHUNK_UNIT, batch),
                        ws->most_slices / ws->chunk_count);
    }
    ws->chunks[ws->chunk_count] = ws->slice_count;
}
