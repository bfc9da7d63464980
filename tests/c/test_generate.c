/* What a writer draws: by hand, from what the whole network says; in pieces; and what is refused.
 */
#include "check.h"

enum { VOCABULARY = 7, WIDTH = 4, WRITTEN = 40, MOST = 64 };

/* The same layers on some tokens; with a window they are a part of so many. */
static pycnn_network *transformer(size_t length, size_t window)
{
    const pycnn_layer_spec attention[] = {
        {.kind = PYCNN_LAYER_NORM, .shape = {1, length, WIDTH}, .epsilon = 1e-5},
        {.kind = PYCNN_ATTENTION,
         .shape = {1, length, WIDTH},
         .heads = 2,
         .causal = 1,
         .window = window},
    };
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_EMBEDDING, .vocabulary = VOCABULARY, .units = WIDTH},
        {.kind = PYCNN_POSITION_EMBEDDING, .shape = {1, length, WIDTH}, .window = window},
        {.kind = PYCNN_RESIDUAL, .shape = {1, length, WIDTH}, .inner = attention, .inner_depth = 2},
        {.kind = PYCNN_DENSE,
         .activation = PYCNN_SOFTMAX,
         .units = VOCABULARY,
         .shape = {1, length, WIDTH}},
    };
    return create(length, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
}

static pycnn_network *recurrent(size_t length, size_t window)
{
    (void)window;
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_EMBEDDING, .vocabulary = VOCABULARY, .units = WIDTH},
        {.kind = PYCNN_GRU, .units = 5, .shape = {1, length, WIDTH}, .return_sequences = 1},
        {.kind = PYCNN_DENSE,
         .activation = PYCNN_SOFTMAX,
         .units = VOCABULARY,
         .shape = {1, length, 5}},
    };
    return create(length, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
}

static const pycnn_sampling how = {.temperature = 1.2, .top_k = 6};

/* What the network of `length` draws from the outputs at the last token of its window. */
static void write_by_hand(size_t *tokens, size_t known, const pycnn_network *net, size_t length,
                          const double *theta)
{
    pycnn_workspace *ws = workspace(net, 1, PYCNN_FORWARD);
    double *x = doubles(length), *y = doubles(length * VOCABULARY);
    size_t first = 0;
    for (size_t i = 1; i < known + WRITTEN; i++) {
        const size_t there = i - first;
        memset(x, 0, length * sizeof *x);
        for (size_t t = 0; t < there; t++) {
            x[t] = (double)tokens[first + t];
        }
        if (i >= known) {
            CHECK(pycnn_predict(y, net, ws, theta, pycnn_network_theta_size(net), x, 1) == 0);
            CHECK(pycnn_sample(&tokens[i], y + (there - 1) * VOCABULARY, VOCABULARY, &how,
                               pycnn_draw(3, i - known)) == PYCNN_OK);
        }
        first += there == length ? length - length / 2 : 0;
    }
    pycnn_workspace_destroy(ws);
    free(x), free(y);
}

static bool same_tokens(const size_t *a, const size_t *b, size_t count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

/* Another text in between, or none; in pieces of so many tokens. */
static void check_writer(pycnn_writer *writer, const size_t *expected, size_t known, size_t piece)
{
    size_t tokens[MOST], done;
    memcpy(tokens, expected, known * sizeof *tokens);
    for (size_t written = 0; written < WRITTEN; written += done) {
        const size_t count = piece < WRITTEN - written ? piece : WRITTEN - written;
        CHECK(pycnn_writer_run(&done, tokens, known + written, count, writer, &how, 3, written) ==
              PYCNN_OK);
        if (!CHECK(done == count)) {
            return;
        }
    }
    CHECK(same_tokens(tokens, expected, known + WRITTEN));
}

static void check_network(pycnn_network *make(size_t, size_t), size_t length, size_t window,
                          size_t known)
{
    pycnn_network *whole = make(length, 0), *step = make(1, window);
    pycnn_network *half = window > 1 ? make(window / 2, window) : NULL;
    const size_t size = pycnn_network_theta_size(whole);
    double *theta = random_doubles(length + known, size);
    size_t expected[MOST];
    for (size_t i = 0; i < known; i++) {
        expected[i] = 3 * i % VOCABULARY;
    }
    write_by_hand(expected, known, whole, length, theta);
    for (int by_halves = 0; by_halves <= (half != NULL); by_halves++) {
        pycnn_writer *writer;
        CHECK(pycnn_writer_create(&writer, step, by_halves ? half : NULL, theta, size) == PYCNN_OK);
        check_writer(writer, expected, known, WRITTEN);
        check_writer(writer, expected, known, 1);
        check_writer(writer, expected, known, 7);
        pycnn_writer_destroy(writer);
    }
    free(theta);
    pycnn_network_destroy(whole);
    pycnn_network_destroy(step);
    pycnn_network_destroy(half);
}

static void test_a_window_that_is_full_begins_the_next_with_its_half(void)
{
    for (size_t length = 1; length <= 9; length += length == 5 ? 3 : 1) {
        for (size_t known = 1; known <= 20; known += known % 2 + 3) {
            check_network(transformer, length, length, known);
        }
    }
}

static void test_what_has_no_window_remembers_all(void)
{
    for (size_t known = 1; known <= 9; known += 4) {
        check_network(recurrent, known + WRITTEN, 0, known);
    }
}

static void test_what_cannot_write_is_refused(void)
{
    pycnn_network *step = transformer(1, 6), *half = transformer(3, 6), *other = recurrent(1, 0);
    const pycnn_layer_spec dense[] = {DENSE(PYCNN_SOFTMAX, 2)};
    pycnn_network *numbers = create(1, dense, 1, PYCNN_CATEGORICAL_CROSSENTROPY);
    const size_t size = pycnn_network_theta_size(step);
    double *theta = random_doubles(1, size);
    pycnn_writer *writer = (pycnn_writer *)&not_null;
    CHECK(pycnn_writer_create(NULL, step, half, theta, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_create(&writer, NULL, half, theta, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(writer == NULL);
    CHECK(pycnn_writer_create(&writer, step, half, NULL, size) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_create(&writer, step, half, theta, size + 1) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_writer_create(&writer, half, NULL, theta, size) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_writer_create(&writer, step, step, theta, size) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_writer_create(&writer, step, other, theta, size) == PYCNN_ERROR_SIZE);
    CHECK(pycnn_writer_create(&writer, numbers, NULL, theta, 4) == PYCNN_ERROR_TOKEN);
    pycnn_writer_destroy(NULL);

    size_t tokens[MOST] = {1, 2, 3}, done = 9;
    CHECK(pycnn_writer_create(&writer, step, half, theta, size) == PYCNN_OK);
    CHECK(pycnn_writer_run(NULL, tokens, 3, 2, writer, &how, 0, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, NULL, 3, 2, writer, &how, 0, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, tokens, 3, 2, NULL, &how, 0, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, tokens, 3, 2, writer, NULL, 0, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(done == 0);
    CHECK(pycnn_writer_run(&done, tokens, 0, 2, writer, &how, 0, 0) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, tokens, 3, 2, writer, &how, 0, 0) == PYCNN_OK && done == 2);
    CHECK(pycnn_writer_run(&done, tokens, 4, 2, writer, &how, 0, 1) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, tokens, 5, 2, writer, &how, 0, 5) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_writer_run(&done, tokens, 5, 2, writer, &how, 0, 2) == PYCNN_OK && done == 2);
    tokens[6] = VOCABULARY;
    CHECK(pycnn_writer_run(&done, tokens, 7, 2, writer, &how, 0, 4) == PYCNN_ERROR_TOKEN);
    CHECK(pycnn_writer_run(&done, tokens, 7, 2, writer, &how, 0, 0) == PYCNN_ERROR_TOKEN);
    CHECK(done == 0);
    pycnn_writer_destroy(writer);

    theta[size - 1] = NAN; /* a bias of the last layer's */
    CHECK(pycnn_writer_create(&writer, step, half, theta, size) == PYCNN_OK);
    CHECK(pycnn_writer_run(&done, tokens, 3, 2, writer, &how, 0, 0) == PYCNN_ERROR_NOT_FINITE);
    CHECK(done == 0);
    pycnn_writer_destroy(writer);
    free(theta);
    pycnn_network_destroy(step);
    pycnn_network_destroy(half);
    pycnn_network_destroy(other);
    pycnn_network_destroy(numbers);
}

/* Of the caller's allocator: those that still succeed, and the blocks that are alive. */
typedef struct {
    size_t left, alive;
} heap;

static void *take(void *context, size_t bytes)
{
    heap *self = context;
    if (self->left == 0) {
        return NULL;
    }
    self->left--, self->alive++;
    return memset(checked_malloc(bytes), 0xa5, bytes);
}

static void give(void *context, void *block)
{
    ((heap *)context)->alive--;
    free(block);
}

static void test_every_allocation_of_a_writer_may_fail(void)
{
    heap own = {.left = SIZE_MAX};
    const pycnn_allocator allocator = {take, give, &own};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_EMBEDDING, .vocabulary = 2, .units = 2},
        {.kind = PYCNN_ATTENTION, .shape = {1, 1, 2}, .heads = 1, .causal = 1, .window = 2},
        {.kind = PYCNN_DENSE, .activation = PYCNN_SOFTMAX, .units = 2, .shape = {1, 1, 2}},
    };
    pycnn_network *net;
    CHECK(pycnn_network_create_with(&net, 1, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY, 0,
                                    &allocator) == PYCNN_OK);
    const size_t size = pycnn_network_theta_size(net);
    double *theta = random_doubles(1, size);
    int status = PYCNN_ERROR_MEMORY;
    size_t n = 0;
    for (; status == PYCNN_ERROR_MEMORY && n < 100; n++) {
        pycnn_writer *writer;
        own.left = n;
        status = pycnn_writer_create(&writer, net, net, theta, size);
        CHECK((status == PYCNN_OK) == (writer != NULL));
        if (status == PYCNN_OK) {
            size_t tokens[20] = {1}, done;
            own.left = 0; /* nor does it need more to write */
            CHECK(pycnn_writer_run(&done, tokens, 1, 19, writer, &how, 0, 0) == PYCNN_OK);
        }
        pycnn_writer_destroy(writer);
        CHECK(own.alive == 1);
    }
    CHECK(status == PYCNN_OK && n > 5);
    pycnn_network_destroy(net);
    CHECK(own.alive == 0);
    free(theta);
}

const test generate_tests[] = {
    FOR_EACH_SET("a window that is full begins the next with its half",
                 test_a_window_that_is_full_begins_the_next_with_its_half),
    FOR_EACH_SET("what has no window remembers all", test_what_has_no_window_remembers_all),
    ONCE("what cannot write is refused", test_what_cannot_write_is_refused),
    ONCE("every allocation of a writer may fail", test_every_allocation_of_a_writer_may_fail),
    {0},
};
