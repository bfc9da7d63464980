/* What the core reads, writes and allocates. */
#include "check.h"

#ifdef HAVE_POSIX
#include <sys/mman.h>
#include <unistd.h>
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

static void test_no_call_reads_or_writes_past_a_buffer(void)
{
    enum { LARGEST = 19, EPOCHS = 2 };
    for (size_t rows = 1; rows <= LARGEST; rows++) {
        problem p = classifier(rows, rows);
        pycnn_workspace *ws = workspace(p.net, rows / 2 + 1, PYCNN_BACKWARD);
        pycnn_workspace *trace = workspace(p.net, rows, PYCNN_TRACE);
        const size_t one = sizeof(double), traced = p.units * rows;
        size_t order[EPOCHS * LARGEST];
        for (size_t i = 0; i < EPOCHS * rows; i++) {
            order[i] = rows - 1 - i % rows;
        }
        guarded x = guard_constant(p.x, rows * p.inputs * one);
        guarded y = guard_constant(p.y, rows * p.outputs * one);
        guarded weight = guard_constant(p.weight, rows * one);
        guarded label = guard_constant(p.label, rows * sizeof *p.label);
        guarded orders = guard_constant(order, EPOCHS * rows * sizeof *order);
        guarded constant_theta = guard_constant(p.theta, p.parameters * one);
        guarded theta = guard(p.theta, p.parameters * one);
        guarded grad = guard(NULL, p.parameters * one);
        guarded output = guard(NULL, rows * p.outputs * one);
        guarded z = guard(NULL, traced * one), a = guard(NULL, traced * one);
        guarded delta = guard(NULL, traced * one);
        guarded epochs = guard(NULL, EPOCHS * sizeof(pycnn_totals));
        pycnn_totals totals;
        size_t steps = 0;
        for (int labelled = 0; labelled < 2; labelled++) {
            const pycnn_dataset data = {.rows = rows,
                                        .x = x.block,
                                        .y = labelled ? NULL : y.block,
                                        .label = labelled ? label.block : NULL,
                                        .weight = weight.block};
            pycnn_training state = {.epochs = EPOCHS,
                                    .batch_size = 4,
                                    .learning_rate = 0.1,
                                    .order = labelled ? orders.block : NULL,
                                    .totals = epochs.block};
            const double *read = constant_theta.block;
            CHECK(pycnn_predict(output.block, p.net, ws, read, p.theta_size, x.block, rows) ==
                  PYCNN_OK);
            CHECK(pycnn_evaluate(&totals, p.net, ws, read, p.theta_size, &data) == PYCNN_OK);
            CHECK(pycnn_gradients(&totals, grad.block, p.net, ws, read, p.theta_size, &data,
                                  NULL) == PYCNN_OK);
            CHECK(pycnn_trace(&totals, grad.block, z.block, a.block, delta.block, p.net, trace,
                              read, p.theta_size, &data) == PYCNN_OK);
            CHECK(pycnn_train(&steps, theta.block, p.theta_size, &state, p.net, ws, &data,
                              SIZE_MAX) == PYCNN_OK);
            pycnn_training own = {.learning_rate = 0.1};
            memset(grad.block, 0, p.parameters * one);
            totals = (pycnn_totals){0};
            CHECK(pycnn_gradient_sums(&totals, grad.block, NULL, p.net, ws, theta.block,
                                      p.theta_size, &data, NULL, 0) == PYCNN_OK);
            CHECK(pycnn_update(theta.block, p.theta_size, &own, grad.block, &totals, p.net, ws) ==
                  PYCNN_OK);
        }
        guarded all[] = {x,    y,      weight, label, orders, constant_theta, theta,
                         grad, output, z,      a,     delta,  epochs};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            munmap(all[i].pages, all[i].length);
        }
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(trace);
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

static void test_every_allocation_may_fail(void)
{
    const pycnn_layer_spec inner[] = {DENSE(PYCNN_TANH, 3), DENSE(PYCNN_RELU, 2)};
    const pycnn_layer_spec residual = {.kind = PYCNN_RESIDUAL, .inner = inner, .inner_depth = 2};
    const pycnn_layer_spec layers[] = {residual, DENSE(PYCNN_RELU, 2)};
    CHECK(blocks_alive == 0); /* what came before has given everything back */
    bool failed_once = true;
    size_t n = 0;
    for (; failed_once && n < 100; n++) {
        allocations = 0, fail_at = n;
        pycnn_network *net = NULL;
        pycnn_workspace *ws = NULL;
        pycnn_threads *threads = NULL;
        int status = pycnn_network_create(&net, 2, layers, 2, PYCNN_MSE, 0);
        CHECK((status == PYCNN_OK) == (net != NULL));
        if (status == PYCNN_OK) {
            status = pycnn_workspace_create(&ws, net, 4, PYCNN_TRACE);
            CHECK((status == PYCNN_OK) == (ws != NULL));
        }
        if (status == PYCNN_OK) {
            status = pycnn_threads_create(&threads, 3);
            CHECK((status == PYCNN_OK) == (threads != NULL));
        }
        failed_once = allocations > n;
        CHECK(status == (failed_once ? PYCNN_ERROR_MEMORY : PYCNN_OK));
        pycnn_threads_destroy(threads);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
        CHECK(blocks_alive == 0);
    }
    CHECK(n > 2 && n < 100);
    fail_at = SIZE_MAX;

    /* No other call allocates. */
    problem p = classifier(3, 6);
    pycnn_workspace *ws = workspace(p.net, 6, PYCNN_BACKWARD);
    double output[6 * 3], *grad = doubles(p.parameters);
    pycnn_totals totals;
    allocations = 0;
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
    free(grad);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
    CHECK(blocks_alive == 0);
}
#endif

const test memory_tests[] = {
#ifdef HAVE_POSIX
    FOR_EACH_SET("no call reads or writes past a buffer",
                 test_no_call_reads_or_writes_past_a_buffer),
#endif
#ifdef PYCNN_FAILING_MALLOC_H
    FOR_EACH_SET("every allocation may fail", test_every_allocation_may_fail),
#endif
    {0},
};
