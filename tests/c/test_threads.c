/* The pool: any number of threads, callers and processes, and errors that cross them. */
#include "check.h"
#include "threads.h"

#ifdef HAVE_POSIX
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static void test_threads_give_the_same_bits(void)
{
    static const size_t rows[] = {1, 33, 131}, counts[] = {1, 2, 3, 8, 100};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t count = 0;
        double *alone = compute_everything(rows[r], &count, NULL);
        for (size_t t = 0; t < sizeof counts / sizeof *counts; t++) {
            pycnn_threads *threads = NULL;
            CHECK(pycnn_threads_create(&threads, counts[t]) == PYCNN_OK);
            double *together = compute_everything(rows[r], &count, threads);
            CHECK(same_bits(alone, together, count));
            free(together);
            pycnn_threads_destroy(threads);
        }
        free(alone);
    }
}

static void test_errors_reach_the_caller_from_other_threads(void)
{
    enum { ROWS = 400 };
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 60), DENSE(PYCNN_SOFTMAX, 10)};
    problem p = make_problem(17, ROWS, 60, layers, 2, PYCNN_CATEGORICAL_CROSSENTROPY);
    p.data.y = NULL, p.data.label = p.label;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace_set_threads(ws, threads);
    double *theta = copy_doubles(p.theta, p.parameters);
    double *y[2] = {doubles(ROWS * p.outputs), doubles(ROWS * p.outputs)};
    pycnn_totals totals = {0};
    pycnn_training state = {
        .epochs = 1, .batch_size = ROWS, .learning_rate = 0.1, .totals = &totals};
    size_t steps = 0, order[ROWS];
    for (size_t i = 0; i < ROWS; i++) {
        order[i] = i;
    }
    state.order = order;
    for (size_t at = 0; at < ROWS; at += 133) { /* the first, the last, and some between */
        const size_t label = p.label[at];
        p.label[at] = p.outputs;
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 1) ==
              PYCNN_ERROR_LABEL);
        p.label[at] = label, order[at] = ROWS;
        CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 1) ==
              PYCNN_ERROR_INDEX);
        order[at] = at;
        const double x = p.x[at * 60 + 59];
        p.x[at * 60 + 59] = at % 2 ? NAN : -INFINITY;
        CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.theta_size, p.x, ROWS) ==
              PYCNN_ERROR_NOT_FINITE);
        CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.theta_size, p.x + at * 60, 1) ==
              PYCNN_ERROR_NOT_FINITE);
        p.x[at * 60 + 59] = x;
        CHECK(steps == 0 && state.position == 0 && totals.weight == 0);
        CHECK(same_bits(theta, p.theta, p.parameters));
    }
    CHECK(pycnn_predict_finite(y[0], p.net, ws, theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(y[1], p.net, ws, theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(same_bits(y[0], y[1], ROWS * p.outputs));
    CHECK(pycnn_train(&steps, theta, p.theta_size, &state, p.net, ws, &p.data, 1) == PYCNN_OK &&
          steps == 1);
    free(theta), free(y[0]), free(y[1]);
    pycnn_workspace_destroy(ws);
    pycnn_threads_destroy(threads);
    free_problem(&p);
}

static void test_pools_that_cannot_be(void)
{
    pycnn_threads *threads = (pycnn_threads *)&not_null; /* must become NULL */
    CHECK(pycnn_threads_create(NULL, 2) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_threads_create(&threads, 0) == PYCNN_ERROR_SIZE && threads == NULL);
    CHECK(pycnn_threads_create(&threads, SIZE_MAX) == PYCNN_OK); /* as many as can work */
    pycnn_threads_destroy(threads);
    pycnn_threads_destroy(NULL);
    pycnn_workspace_set_threads(NULL, NULL);
    CHECK(pycnn_threads_create(&threads, 4) == PYCNN_OK); /* never used: none is started */
    pycnn_threads_destroy(threads);
}

#ifdef HAVE_POSIX
/* A child has none of its parent's threads, and does the work alone. */
static void test_a_forked_child_goes_on_alone(void)
{
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    size_t count = 0;
    double *before = compute_everything(131, &count, threads);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        double *result = compute_everything(131, &count, threads);
        const bool same = same_bits(before, result, count);
        free(result);
        pycnn_threads_destroy(threads);
        _exit(same ? 0 : 1);
    }
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    double *after = compute_everything(131, &count, threads);
    CHECK(same_bits(before, after, count));
    free(before), free(after);
    pycnn_threads_destroy(threads);
}

static void *compute_in_a_thread(void *threads)
{
    size_t count = 0;
    return compute_everything(131, &count, threads);
}

/* One of the callers gets the pool, the others work on their own threads. */
static void test_callers_may_share_a_pool(void)
{
    enum { CALLERS = 4 };
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 2) == PYCNN_OK);
    size_t count = 0;
    double *alone = compute_everything(131, &count, NULL);
    pthread_t caller[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        if (pthread_create(&caller[i], NULL, compute_in_a_thread, threads) != 0) {
            printf("cannot start a thread\n");
            exit(EXIT_FAILURE);
        }
    }
    void *result[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(caller[i], &result[i]);
    }
    for (int i = 0; i < CALLERS; i++) {
        CHECK(same_bits(alone, result[i], count));
        free(result[i]);
    }
    free(alone);
    pycnn_threads_destroy(threads);
}
#endif

/* Whether two meet is the system's choice, so is what is found; here, that it ends. */
static void test_threads_may_ask_how_far_apart_they_are(void)
{
    pycnn_threads *threads = NULL;
    CHECK(!pycnn_threads_apart(NULL));
    CHECK(pycnn_threads_create(&threads, 1) == PYCNN_OK);
    CHECK(!pycnn_threads_apart(threads));
    pycnn_threads_destroy(threads);
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    const uint64_t start = pycnn_milliseconds();
    while (pycnn_milliseconds() - start < 200) {
        (void)pycnn_threads_apart(threads);
    }
    pycnn_threads_destroy(threads);
}

const test threads_tests[] = {
    FOR_EACH_SET("errors reach the caller from other threads",
                 test_errors_reach_the_caller_from_other_threads),
    FOR_EACH_SET("pools that cannot be", test_pools_that_cannot_be),
#ifdef __OPTIMIZE__
    FOR_EACH_SET("threads give the same bits", test_threads_give_the_same_bits),
#else /* for sanitizers, to which kernels are alike and slow */
    ONCE("threads give the same bits", test_threads_give_the_same_bits),
#endif
#ifdef HAVE_POSIX
    ONCE("a forked child goes on alone", test_a_forked_child_goes_on_alone),
    ONCE("callers may share a pool", test_callers_may_share_a_pool),
#endif
    ONCE("threads may ask how far apart they are", test_threads_may_ask_how_far_apart_they_are),
    {0},
};
