/* What the core reads, writes and allocates. */
#include "check.h"
#include "pycnn_file.h"

#ifdef HAVE_POSIX
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

/* Frames are as large as they are where a compiler optimizes and adds nothing of its own. */
#if defined(__has_feature)
#define HAVE_FEATURE(name) __has_feature(name)
#else
#define HAVE_FEATURE(name) 0
#endif
#if defined(HAVE_POSIX) && defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !HAVE_FEATURE(address_sanitizer) &&              \
    !HAVE_FEATURE(thread_sanitizer)
#define HAVE_PLAIN_STACK 1
#endif

#if defined(HAVE_POSIX) || defined(PYCNN_FAILING_MALLOC_H)
/* ---------------------------------------------------------------- every kind of layer */

enum { POSITIONS = 27, VOCABULARY = 7 }; /* more positions than there are queries together */

#define SEQUENCE(features) .shape = {1, POSITIONS, (features)}

static const pycnn_layer_spec forward_cell = {
    .kind = PYCNN_GRU, .units = 5, SEQUENCE(3), .return_sequences = 1};
static const pycnn_layer_spec backward_cell = {
    .kind = PYCNN_LSTM, .units = 5, SEQUENCE(3), .return_sequences = 1, .reverse = 1};
static const pycnn_layer_spec attend[] = {
    {.kind = PYCNN_LAYER_NORM, SEQUENCE(6), .epsilon = 1},
    {.kind = PYCNN_ATTENTION, SEQUENCE(6), .heads = 2, .causal = 1},
    {.kind = PYCNN_DROPOUT, SEQUENCE(6), .rate = 0.5}};
static const pycnn_layer_spec perceptron[] = {{.activation = PYCNN_GELU, .units = 11, SEQUENCE(6)},
                                              {.units = 6, SEQUENCE(11)}};
static const pycnn_layer_spec block[] = {
    {.kind = PYCNN_RESIDUAL, SEQUENCE(6), .inner = attend, .inner_depth = 3},
    {.kind = PYCNN_RESIDUAL, SEQUENCE(6), .inner = perceptron, .inner_depth = 2}};

static const pycnn_layer_spec of_images[] = {
    {.kind = PYCNN_RESCALE, .scale = 0.5, .offset = 0.1},
    {.kind = PYCNN_RESHAPE, .shape = {5, 4, 3}},
    {.kind = PYCNN_CONVOLUTION,
     .activation = PYCNN_GELU,
     .units = 5,
     .shape = {5, 4, 3},
     .kernel = {3, 2},
     .padding = PYCNN_SAME},
    {.kind = PYCNN_ZERO_PADDING, .shape = {5, 4, 5}, .margins = {1, 0, 0, 1}},
    {.kind = PYCNN_MAX_POOL, .shape = {6, 5, 5}, .kernel = {2, 3}, .strides = {1, 2}},
    {.kind = PYCNN_BATCH_NORM, .shape = {5, 2, 5}, .epsilon = 2, .momentum = 0.1},
    {.kind = PYCNN_AVERAGE_POOL,
     .shape = {5, 2, 5},
     .kernel = {3, 2},
     .strides = {2, 1},
     .padding = PYCNN_SAME},
    {.kind = PYCNN_CONVOLUTION,
     .activation = PYCNN_TANH,
     .units = 9,
     .shape = {3, 2, 5},
     .kernel = {2, 2},
     .dilation = {2, 1}},
    DENSE(PYCNN_SOFTMAX, 3)};
static const pycnn_layer_spec of_sequences[] = {
    {.kind = PYCNN_CONCATENATE,
     SEQUENCE(3),
     .inner = &forward_cell,
     .inner_depth = 1,
     .shortcut = &backward_cell},
    {.kind = PYCNN_SIMPLE_RNN,
     .activation = PYCNN_TANH,
     .units = 9,
     SEQUENCE(10),
     .return_sequences = 1},
    {.activation = PYCNN_SOFTMAX, .units = 3, SEQUENCE(9)}};
static const pycnn_layer_spec of_their_ends[] = {
    {.kind = PYCNN_LSTM, .units = 9, SEQUENCE(3), .return_sequences = 1},
    {.kind = PYCNN_GRU, .units = 3, SEQUENCE(9)},
    DENSE(PYCNN_SOFTMAX, 3)};
static const pycnn_layer_spec of_tokens[] = {
    {.kind = PYCNN_EMBEDDING, .vocabulary = VOCABULARY, .units = 6},
    {.kind = PYCNN_POSITION_EMBEDDING, SEQUENCE(6)},
    {.kind = PYCNN_STACK, SEQUENCE(6), .inner = block, .inner_depth = 2},
    {.kind = PYCNN_TIED_DENSE, .activation = PYCNN_SOFTMAX, .units = VOCABULARY, SEQUENCE(6)}};

typedef struct {
    size_t inputs;
    const pycnn_layer_spec *layers;
    size_t depth;
    bool knows_lengths, reads_tokens;
} architecture;

static const architecture every_kind[] = {{60, of_images, 9, false, false},
                                          {3 * POSITIONS, of_sequences, 3, true, false},
                                          {3 * POSITIONS, of_their_ends, 3, true, false},
                                          {POSITIONS, of_tokens, 4, true, true}};
enum { EVERY_KIND = sizeof every_kind / sizeof *every_kind };

static problem problem_of(const architecture *built, uint64_t seed, size_t rows)
{
    problem p = make_problem(seed, rows, built->inputs, built->layers, built->depth,
                             PYCNN_CATEGORICAL_CROSSENTROPY);
    free(p.theta); /* which has statistics, too */
    p.theta = random_doubles(seed, p.theta_size);
    for (size_t i = 0; i < rows * p.inputs && built->reads_tokens; i++) {
        p.x[i] = (double)(i * 5 % VOCABULARY);
    }
    return p;
}
#endif

#ifdef HAVE_POSIX
#if !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS MAP_ANON
#endif

/* A copy that ends where an unmapped page begins: reading or writing past it is a crash. */
typedef struct {
    void *pages, *block;
    size_t length;
} guarded;

static guarded guard(const void *source, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t used = (bytes + page - 1) / page * page;
    guarded g = {.length = used + page};
    g.pages = mmap(NULL, g.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.pages == MAP_FAILED || mprotect((char *)g.pages + used, page, PROT_NONE) != 0) {
        printf("cannot map a guard page\n");
        exit(EXIT_FAILURE);
    }
    g.block = (char *)g.pages + used - bytes;
    if (source != NULL) {
        memcpy(g.block, source, bytes);
    }
    return g;
}

/* What the core only reads, it gets where writing is a crash too. */
static guarded guard_constant(const void *source, size_t bytes)
{
    guarded g = guard(source, bytes);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(mprotect(g.pages, g.length - page, PROT_READ) == 0);
    return g;
}

/* An allocator whose blocks end there, too; in front of each lies a page that says how long it is.
 */
static void *allocate_guarded(void *context, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), aligned = (bytes + 15) / 16 * 16;
    const guarded g = guard(NULL, page + aligned);
    (void)context;
    memcpy(g.pages, &g, sizeof g);
    return memset((char *)g.block + page, 0xa5, aligned); /* nothing may count on zeroed memory */
}

static void release_guarded(void *context, void *block)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const guarded *g = (const void *)((char *)block - (uintptr_t)block % page - page);
    (void)context;
    munmap(g->pages, g->length);
}

/* Every call that there is for such a network, on buffers of just their sizes. */
static void call_on_guarded_buffers(const problem *p, const pycnn_sequences *sequences)
{
    enum { EPOCHS = 2 };
    const size_t rows = p->data.rows, positions = pycnn_network_positions(p->net);
    const size_t one = sizeof(double), traced = p->units * rows;
    const size_t states = pycnn_network_state_count(p->net);
    pycnn_workspace *ws = workspace(p->net, rows / 2 + 1, PYCNN_BACKWARD);
    pycnn_workspace *trace = workspace(p->net, rows, PYCNN_TRACE);
    CHECK(pycnn_workspace_set_sequences(ws, sequences) == PYCNN_OK);
    CHECK(pycnn_workspace_set_sequences(trace, sequences) == PYCNN_OK);
    size_t *order = checked_malloc(EPOCHS * rows * sizeof *order);
    for (size_t i = 0; i < EPOCHS * rows; i++) {
        order[i] = rows - 1 - i % rows;
    }
    guarded x = guard_constant(p->x, rows * p->inputs * one);
    guarded y = guard_constant(p->y, rows * p->outputs * one);
    guarded weight = guard_constant(p->weight, rows * one);
    guarded label = guard_constant(p->label, rows * positions * sizeof *p->label);
    guarded orders = guard_constant(order, EPOCHS * rows * sizeof *order);
    guarded constant_theta = guard_constant(p->theta, p->theta_size * one);
    guarded theta = guard(p->theta, p->theta_size * one);
    guarded slots = guard(NULL, 2 * p->parameters * one);
    guarded grad = guard(NULL, p->parameters * one);
    guarded output = guard(NULL, rows * p->outputs * one);
    guarded z = guard(NULL, traced * one), a = guard(NULL, traced * one);
    guarded delta = guard(NULL, traced * one);
    guarded below = guard(NULL, rows * p->inputs * one);
    guarded epochs = guard(NULL, EPOCHS * sizeof(pycnn_totals));
    guarded state_of_rows = guard(NULL, rows * states * one);
    pycnn_totals totals;
    pycnn_optimizer adam;
    const uint64_t key = 1;
    size_t steps = 0;
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    for (int labelled = 0; labelled < 2; labelled++) {
        const pycnn_dataset data = {.rows = rows,
                                    .x = x.block,
                                    .y = labelled ? NULL : y.block,
                                    .label = labelled ? label.block : NULL,
                                    .weight = weight.block};
        pycnn_training state = {.epochs = EPOCHS,
                                .batch_size = 4,
                                .learning_rate = 0.1,
                                .optimizer = labelled ? &adam : NULL,
                                .slots = labelled ? slots.block : NULL,
                                .order = labelled ? orders.block : NULL,
                                .totals = epochs.block};
        const double *read = constant_theta.block;
        const size_t size = p->theta_size;
        CHECK(pycnn_predict(output.block, p->net, ws, read, size, x.block, rows) == PYCNN_OK);
        CHECK(pycnn_predict_samples(output.block, p->net, ws, read, size, x.block, rows, &key, 1,
                                    0) == PYCNN_OK);
        pycnn_predictor *predictor;
        const double *last = (const double *)x.block + (rows - 1) * p->inputs;
        double *put = (double *)output.block + (rows - 1) * p->outputs;
        CHECK(pycnn_predictor_create(&predictor, p->net, read, size) == PYCNN_OK);
        CHECK(pycnn_predictor_run(predictor, put, last) == PYCNN_OK);
        if (states > 0) {
            CHECK(pycnn_predictor_steps(predictor, output.block, x.block, state_of_rows.block,
                                        rows) == PYCNN_OK);
        }
        pycnn_predictor_destroy(predictor);
        CHECK(pycnn_evaluate(&totals, p->net, ws, read, size, &data) == PYCNN_OK);
        CHECK(pycnn_gradients(&totals, grad.block, p->net, ws, read, size, &data, NULL) ==
              PYCNN_OK);
        CHECK(pycnn_trace(&totals, grad.block, z.block, a.block, delta.block, p->net, trace, read,
                          size, &data) == PYCNN_OK);
        CHECK(pycnn_input_gradient(below.block, p->net, trace, read, size, &data) == PYCNN_OK);
        CHECK(pycnn_train(&steps, theta.block, size, &state, p->net, ws, &data, SIZE_MAX) ==
              PYCNN_OK);
        pycnn_training own = {.learning_rate = 0.1};
        memset(grad.block, 0, p->parameters * one);
        totals = (pycnn_totals){0};
        CHECK(pycnn_gradient_sums(&totals, grad.block, NULL, p->net, ws, theta.block, size, &data,
                                  NULL, 0) == PYCNN_OK);
        CHECK(pycnn_update(theta.block, size, &own, grad.block, &totals, p->net, ws) == PYCNN_OK);
    }
    guarded all[] = {x,    y,      weight, label, orders, constant_theta, theta,  slots,
                     grad, output, z,      a,     delta,  below,          epochs, state_of_rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        munmap(all[i].pages, all[i].length);
    }
    free(order);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(trace);
}

static void test_no_call_reads_or_writes_past_a_buffer(void)
{
    enum { LARGEST = 19 };
    for (size_t n = 0; n < 2 * LARGEST; n++) {
        const size_t rows = n / 2 + 1;
        problem p = n % 2 == 0 ? classifier(rows, rows) : image_classifier(rows, rows);
        call_on_guarded_buffers(&p, NULL);
        free_problem(&p);
    }
}

/* The same of every kind of layer, whose own memory ends at a page's end too; samples that go
 * through it alone, as a part of a vector, and as more than one; whole ones and shorter ones. */
static void test_no_layer_reads_or_writes_past_its_memory(void)
{
    static const pycnn_allocator allocator = {allocate_guarded, release_guarded, NULL};
    static const size_t batches[] = {1, 2, 9, 13};
    for (size_t n = 0; n < EVERY_KIND * 4; n++) {
        const size_t rows = batches[n % 4];
        const architecture *built = &every_kind[n / 4];
        problem p = problem_of(built, n, rows);
        pycnn_network_destroy(p.net);
        if (!CHECK(pycnn_network_create_with(&p.net, built->inputs, built->layers, built->depth,
                                             PYCNN_CATEGORICAL_CROSSENTROPY, 0,
                                             &allocator) == PYCNN_OK)) {
            exit(EXIT_FAILURE);
        }
        call_on_guarded_buffers(&p, NULL);
        if (built->knows_lengths) {
            size_t *length = checked_malloc(rows * sizeof *length);
            for (size_t i = 0; i < rows; i++) {
                length[i] = 1 + i % POSITIONS;
            }
            guarded lengths = guard_constant(length, rows * sizeof *length);
            guarded state = guard(NULL, rows * pycnn_network_state_count(p.net) * sizeof(double));
            const pycnn_sequences sequences = {
                .lengths = lengths.block,
                .state = pycnn_network_state_count(p.net) > 0 ? state.block : NULL};
            call_on_guarded_buffers(&p, &sequences);
            munmap(lengths.pages, lengths.length), munmap(state.pages, state.length);
            free(length);
        }
        free_problem(&p);
    }
}
#endif

/* ---------------------------------------------------------------- an allocator of the caller's */

typedef struct {
    size_t blocks, bytes; /* that are alive; that were asked for */
    size_t left;          /* allocations that still succeed */
} heap;

static void *heap_allocate(void *context, size_t bytes)
{
    heap *self = context;
    if (self->left == 0) {
        return NULL;
    }
    self->left--, self->blocks++;
    self->bytes += bytes;
    return memset(checked_malloc(bytes), 0xa5, bytes); /* nothing may count on zeroed memory */
}

static void heap_release(void *context, void *block)
{
    CHECK(block != NULL && ((heap *)context)->blocks-- > 0);
    free(block);
}

static void test_memory_comes_from_the_callers_allocator(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 7), DENSE(PYCNN_LINEAR, 2)};
    heap own = {.left = SIZE_MAX};
    const pycnn_allocator allocator = {heap_allocate, heap_release, &own};
    pycnn_network *net;
    pycnn_workspace *ws;
    pycnn_threads *threads;
    pycnn_predictor *predictor;
    enum { SIZE = 7 * 4 + 2 * 8 };
    const double theta[SIZE] = {0};
    CHECK(pycnn_network_create_with(&net, 3, layers, 2, PYCNN_MSE, 0, &allocator) == PYCNN_OK);
    CHECK(own.blocks == 1);
    static const size_t batches[] = {1, 3, 8, 100, 1000};
    for (int mode = PYCNN_FORWARD; mode <= PYCNN_TRACE; mode++) {
        for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
            size_t bytes, before = own.bytes;
            CHECK(pycnn_workspace_size(&bytes, net, batches[i], mode) == PYCNN_OK);
            CHECK(own.blocks == 1 && own.bytes - before <= bytes);
            before = own.bytes;
            CHECK(pycnn_workspace_create(&ws, net, batches[i], mode) == PYCNN_OK);
            CHECK(own.bytes - before == bytes && own.blocks > 2);
            pycnn_workspace_destroy(ws);
            CHECK(own.blocks == 1);
        }
    }
    size_t bytes = 1;
    CHECK(pycnn_workspace_size(NULL, net, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_size(&bytes, NULL, 1, PYCNN_FORWARD) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_workspace_size(&bytes, net, 0, PYCNN_FORWARD) == PYCNN_ERROR_SIZE && bytes == 0);
    CHECK(pycnn_workspace_create(&ws, net, 9, PYCNN_BACKWARD) == PYCNN_OK);
    pycnn_network_destroy(net); /* the network may go first */
    pycnn_workspace_destroy(ws);
    CHECK(own.blocks == 0);
    CHECK(pycnn_threads_create_with(&threads, 2, &allocator) == PYCNN_OK);
    pycnn_threads_destroy(threads);
    CHECK(own.blocks == 0);

    /* Each allocation fails in turn. */
    bool failed = true;
    for (size_t n = 0; failed && n < 100; n++) {
        own.left = n;
        int status = pycnn_network_create_with(&net, 3, layers, 2, PYCNN_MSE, 0, &allocator);
        ws = NULL, threads = NULL, predictor = NULL;
        if (status == PYCNN_OK) {
            status = pycnn_workspace_create(&ws, net, 4, PYCNN_TRACE);
        }
        if (status == PYCNN_OK) {
            status = pycnn_predictor_create(&predictor, net, theta, SIZE);
        }
        if (status == PYCNN_OK) {
            status = pycnn_threads_create_with(&threads, 3, &allocator);
        }
        failed = status != PYCNN_OK;
        CHECK(!failed || status == PYCNN_ERROR_MEMORY);
        pycnn_predictor_destroy(predictor), pycnn_network_destroy(net);
        pycnn_workspace_destroy(ws), pycnn_threads_destroy(threads);
        CHECK(own.blocks == 0);
    }
    CHECK(!failed);
    for (int i = 0; i < 2; i++) {
        pycnn_allocator half = allocator;
        half.allocate = i == 0 ? NULL : half.allocate;
        half.release = i == 0 ? half.release : NULL;
        CHECK(pycnn_network_create_with(&net, 3, layers, 2, PYCNN_MSE, 0, &half) ==
              PYCNN_ERROR_ARGUMENT);
        CHECK(pycnn_threads_create_with(&threads, 2, &half) == PYCNN_ERROR_ARGUMENT);
        CHECK(net == NULL && threads == NULL);
    }
}

#ifdef HAVE_PLAIN_STACK
enum { STACK = 1 << 20, PAINT = 0x5a };

/* Bytes of stack that a thread takes for a function, and for what the system does itself. */
static size_t stack_of(void *(*run)(void *), void *argument)
{
    unsigned char *stack =
        mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t how;
    pthread_t thread;
    if (!CHECK(stack != MAP_FAILED)) {
        return 0;
    }
    memset(stack, PAINT, STACK);
    pthread_attr_init(&how);
    CHECK(pthread_attr_setstack(&how, stack, STACK) == 0);
    CHECK(pthread_create(&thread, &how, run, argument) == 0);
    pthread_join(thread, NULL);
    size_t untouched = 0;
    while (untouched < STACK && stack[untouched] == PAINT) {
        untouched++;
    }
    pthread_attr_destroy(&how);
    munmap(stack, STACK);
    return STACK - untouched;
}

static void *do_nothing(void *argument) { return argument; }

enum { STACK_ROWS = 70 };

/* What a call takes of the stack follows from the kernels, not from sizes: every kind of layer, and
 * mini-batches that take each of the ways there are. */
static void *make_every_call(void *argument)
{
    const problem *p = argument;
    const size_t size = p->theta_size, rows = STACK_ROWS;
    const uint64_t key = 1;
    size_t order[STACK_ROWS], steps;
    for (int mode = PYCNN_FORWARD; mode <= PYCNN_TRACE; mode++) {
        pycnn_workspace_destroy(workspace(p->net, 9, mode));
    }
    pycnn_workspace *ws = workspace(p->net, rows, PYCNN_TRACE);
    double *theta = copy_doubles(p->theta, size), *grad = doubles(p->parameters);
    double *slots = doubles(3 * p->parameters), *out = doubles(p->outputs * rows);
    double *trace = doubles(3 * rows * p->units);
    CHECK(pycnn_initialize(theta, size, p->net, 3) == PYCNN_OK);
    CHECK(pycnn_permutation(order, rows, 3, 4) == PYCNN_OK);
    pycnn_predictor *predictor;
    CHECK(pycnn_predictor_create(&predictor, p->net, theta, size) == PYCNN_OK);
    CHECK(pycnn_predictor_run(predictor, out, p->x) == PYCNN_OK);
    pycnn_predictor_destroy(predictor);
    for (int kind = 0; kind < PYCNN_OPTIMIZER_COUNT; kind++) {
        for (size_t batch = 1; batch <= rows; batch += 23) {
            pycnn_training state;
            pycnn_optimizer optimizer;
            pycnn_totals totals = {0};
            pycnn_training_init(&state), pycnn_optimizer_init(&optimizer, kind);
            memset(slots, 0, 3 * p->parameters * sizeof *slots);
            state.epochs = 1, state.batch_size = batch, state.slots = slots, state.order = order;
            state.learning_rate = 1e-3; /* that nothing diverges */
            state.optimizer = batch == 24 ? NULL : &optimizer;
            CHECK(pycnn_train(&steps, theta, size, &state, p->net, ws, &p->data, 9) == PYCNN_OK);
            memset(grad, 0, p->parameters * sizeof *grad);
            CHECK(pycnn_gradient_sums(&totals, grad, NULL, p->net, ws, theta, size, &p->data, &key,
                                      0) == PYCNN_OK);
            CHECK(pycnn_update(theta, size, &state, grad, &totals, p->net, ws) == PYCNN_OK);
        }
    }
    pycnn_totals totals;
    CHECK(pycnn_predict_samples(out, p->net, ws, theta, size, p->x, rows, &key, 1, 0) == PYCNN_OK);
    for (size_t count = 1; count <= rows; count += 23) {
        CHECK(pycnn_predict_finite(out, p->net, ws, theta, size, p->x, count) == PYCNN_OK);
    }
    CHECK(pycnn_evaluate(&totals, p->net, ws, theta, size, &p->data) == PYCNN_OK);
    CHECK(pycnn_trace(&totals, grad, trace, trace + rows * p->units, trace + 2 * rows * p->units,
                      p->net, ws, theta, size, &p->data) == PYCNN_OK);
    double *below = doubles(rows * p->inputs);
    CHECK(pycnn_input_gradient(below, p->net, ws, theta, size, &p->data) == PYCNN_OK);
    free(below);
    pycnn_workspace_destroy(ws);
    free(theta), free(grad), free(slots), free(out), free(trace);
    return NULL;
}

static void test_every_call_takes_less_than_16_kB_of_stack(void)
{
    enum { UNITS = 67 };
    const pycnn_layer_spec inner[] = {DENSE(PYCNN_GELU, 9), DENSE(PYCNN_SOFTPLUS, UNITS)};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_CONVOLUTION, .units = 9, .shape = {1, 31, 1}, .kernel = {1, 5}},
        {.units = UNITS, .activation = PYCNN_TANH, .l1 = 1e-3, .l2 = 1e-3, .max_norm = 1},
        {.kind = PYCNN_BATCH_NORM, .units = UNITS, .epsilon = 1, .activation = PYCNN_SOFTMAX},
        {.kind = PYCNN_DROPOUT, .units = UNITS, .rate = 0.5},
        {.kind = PYCNN_RESIDUAL, .units = UNITS, .inner = inner, .inner_depth = 2},
        {.kind = PYCNN_LAYER_NORM, .units = UNITS, .epsilon = 1, .activation = PYCNN_SELU},
        DENSE(PYCNN_SOFTMAX, 5)};
    problem p = make_problem(9, STACK_ROWS, 31, layers, 7, PYCNN_CATEGORICAL_CROSSENTROPY);
    problem plain = classifier(9, STACK_ROWS);
    free(p.theta);
    p.theta = random_doubles(9, p.theta_size);
    const size_t system = stack_of(do_nothing, NULL);
    const size_t all = stack_of(make_every_call, &p), dense = stack_of(make_every_call, &plain);
    CHECK(all > system && all - system < 16 << 10 && dense - system < 16 << 10);
    free_problem(&p), free_problem(&plain);
    for (size_t i = 0; i < EVERY_KIND; i++) {
        p = problem_of(&every_kind[i], i, STACK_ROWS);
        CHECK(stack_of(make_every_call, &p) - system < 16 << 10);
        free_problem(&p);
    }
}
#endif

#ifdef PYCNN_FAILING_MALLOC_H
static size_t allocations, blocks_alive, fail_at = SIZE_MAX;

void *pycnn_test_malloc(size_t size)
{
    if (allocations++ == fail_at) {
        return NULL;
    }
    void *block = malloc(size);
    blocks_alive += block != NULL;
    if (block != NULL) {
        memset(block, 0xa5, size); /* nothing may count on zeroed memory */
    }
    return block;
}

void pycnn_test_free(void *block)
{
    blocks_alive -= block != NULL;
    free(block);
}

/* Makes one of each, where every allocation fails in turn. */
static void fail_in_turn(size_t inputs, const pycnn_layer_spec *layers, size_t depth, int loss)
{
    static const double theta[5000];
    CHECK(blocks_alive == 0); /* what came before has given everything back */
    bool failed_once = true;
    size_t n = 0;
    for (; failed_once && n < 300; n++) {
        allocations = 0, fail_at = n;
        pycnn_network *net = NULL;
        pycnn_workspace *ws = NULL;
        pycnn_threads *threads = NULL;
        pycnn_predictor *predictor = NULL;
        int status = pycnn_network_create(&net, inputs, layers, depth, loss, 0);
        CHECK((status == PYCNN_OK) == (net != NULL));
        if (status == PYCNN_OK) {
            status = pycnn_workspace_create(&ws, net, 4, PYCNN_TRACE);
            CHECK((status == PYCNN_OK) == (ws != NULL));
        }
        if (status == PYCNN_OK) {
            status = pycnn_threads_create(&threads, 3);
            CHECK((status == PYCNN_OK) == (threads != NULL));
        }
        if (status == PYCNN_OK) {
            const size_t size = pycnn_network_theta_size(net);
            CHECK(size <= sizeof theta / sizeof *theta);
            status = pycnn_predictor_create(&predictor, net, theta, size);
            CHECK((status == PYCNN_OK) == (predictor != NULL));
        }
        failed_once = allocations > n;
        CHECK(status == (failed_once ? PYCNN_ERROR_MEMORY : PYCNN_OK));
        pycnn_predictor_destroy(predictor);
        pycnn_threads_destroy(threads);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
        CHECK(blocks_alive == 0);
    }
    CHECK(n > 2 && n < 300);
    fail_at = SIZE_MAX;
}

static void test_every_allocation_may_fail(void)
{
    const pycnn_layer_spec inner[] = {DENSE(PYCNN_TANH, 3), DENSE(PYCNN_RELU, 2)};
    const pycnn_layer_spec residual = {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 2};
    const pycnn_layer_spec layers[] = {residual, DENSE(PYCNN_RELU, 2)};
    fail_in_turn(2, layers, 2, PYCNN_MSE);
    fail_in_turn(2, layers + 1, 1, PYCNN_MSE);
    for (const architecture *built = every_kind; built < every_kind + EVERY_KIND; built++) {
        fail_in_turn(built->inputs, built->layers, built->depth, PYCNN_CATEGORICAL_CROSSENTROPY);
    }

    /* No other call allocates. */
    problem p = classifier(3, 6);
    pycnn_workspace *ws = workspace(p.net, 6, PYCNN_BACKWARD);
    double output[6 * 3], *grad = doubles(p.parameters);
    pycnn_totals totals;
    pycnn_predictor *predictor;
    CHECK(pycnn_predictor_create(&predictor, p.net, p.theta, p.theta_size) == PYCNN_OK);
    allocations = 0;
    CHECK(pycnn_predictor_run(predictor, output, p.x) == PYCNN_OK);
    CHECK(pycnn_predictor_update(predictor, p.theta, p.theta_size) == PYCNN_OK);
    CHECK(pycnn_predict(output, p.net, ws, p.theta, p.theta_size, p.x, 6) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    free(trained(&p, ws, (pycnn_training){.epochs = 1, .batch_size = 2, .learning_rate = 0.1},
                 &totals));
    CHECK(pycnn_gradient_sums(&totals, grad, NULL, p.net, ws, p.theta, p.theta_size, &p.data, NULL,
                              0) == PYCNN_OK);
    CHECK(pycnn_update(p.theta, p.theta_size, &(pycnn_training){.learning_rate = 0.1}, grad,
                       &totals, p.net, ws) == PYCNN_OK);
    CHECK(allocations == 0);
    pycnn_predictor_destroy(predictor);
    free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
    CHECK(blocks_alive == 0);
}

static void test_every_allocation_of_a_file_may_fail(void)
{
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 2),
                                       {.kind = PYCNN_BATCH_NORM, .epsilon = 1}};
    CHECK(blocks_alive == 0);
    bool failed_once = true;
    size_t n = 0;
    for (; failed_once && n < 100; n++) {
        allocations = 0, fail_at = n;
        pycnn_file *file = NULL, *back = NULL;
        const char *problem = NULL;
        int status = pycnn_file_create(&file, 2, layers, 2, PYCNN_MSE, 0);
        CHECK((status == PYCNN_OK) == (file != NULL));
        if (status == PYCNN_OK) {
            status = pycnn_file_save(file, path_for_tests());
        }
        if (status == PYCNN_OK) {
            status = pycnn_file_load(&back, path_for_tests(), &problem);
            CHECK((status == PYCNN_OK) == (back != NULL));
        }
        failed_once = allocations > n;
        CHECK(status == (failed_once ? PYCNN_ERROR_MEMORY : PYCNN_OK));
        pycnn_file_destroy(file);
        pycnn_file_destroy(back);
        CHECK(blocks_alive == 0);
    }
    CHECK(n > 20 && n < 100);
    fail_at = SIZE_MAX;
    remove(path_for_tests());
}
#endif

const test memory_tests[] = {
    FOR_EACH_SET("memory comes from the caller's allocator",
                 test_memory_comes_from_the_callers_allocator),
#ifdef HAVE_PLAIN_STACK
    FOR_EACH_SET("every call takes less than 16 kB of stack",
                 test_every_call_takes_less_than_16_kB_of_stack),
#endif
#ifdef HAVE_POSIX
    FOR_EACH_SET("no call reads or writes past a buffer",
                 test_no_call_reads_or_writes_past_a_buffer),
    FOR_EACH_SET("no layer reads or writes past its memory",
                 test_no_layer_reads_or_writes_past_its_memory),
#endif
#ifdef PYCNN_FAILING_MALLOC_H
    FOR_EACH_SET("every allocation may fail", test_every_allocation_may_fail),
    ONCE("every allocation of a file may fail", test_every_allocation_of_a_file_may_fail),
#endif
    {0},
};
