/* Layers that are made of layers. */
#include "check.h"

#define INSIDE(...) \
    .inner = (const pycnn_layer_spec[]) { __VA_ARGS__ }
#define COUNT(...) (sizeof((const pycnn_layer_spec[]){__VA_ARGS__}) / sizeof(pycnn_layer_spec))
#define RESIDUAL(f, n, ...)  \
    {.kind = PYCNN_RESIDUAL, \
     .activation = (f),      \
     .units = (n),           \
     INSIDE(__VA_ARGS__),    \
     .inner_depth = COUNT(__VA_ARGS__)}
#define BESIDE(f, n, s, ...)            \
    {.kind = PYCNN_RESIDUAL,            \
     .activation = (f),                 \
     .units = (n),                      \
     INSIDE(__VA_ARGS__),               \
     .inner_depth = COUNT(__VA_ARGS__), \
     .shortcut = &(const pycnn_layer_spec)s}

#define STACK(...) {.kind = PYCNN_STACK, INSIDE(__VA_ARGS__), .inner_depth = COUNT(__VA_ARGS__)}

/* Arguments of a macro must not hold commas outside parentheses. */
#define D(f, n) DENSE(PYCNN_##f, n)
#define PENALIZED {.kind = PYCNN_DENSE, .units = 6, .l1 = 0.02, .l2 = 0.1}
#define BATCH_NORM \
    {.kind = PYCNN_BATCH_NORM, .activation = PYCNN_TANH, .epsilon = 1e-3, .momentum = 0.1}
#define LAYER_NORM {.kind = PYCNN_LAYER_NORM, .activation = PYCNN_SIGMOID, .epsilon = 1e-3}
#define DROPOUT {.kind = PYCNN_DROPOUT, .rate = 0.4}

enum { INPUTS = 6, ROWS = 37, MOST = 4 };

typedef struct {
    const char *name;
    pycnn_layer_spec layers[MOST];
    size_t depth;
    bool in_pieces; /* no layer needs the batch */
} stack;

static const stack stacks[] = {
    {"the identity beside",
     {RESIDUAL(PYCNN_TANH, 6, D(TANH, 9), D(LINEAR, 6)), D(LINEAR, 2)},
     2,
     true},
    {"a layer beside",
     {D(SIGMOID, 5), BESIDE(PYCNN_SILU, 7, D(TANH, 7), D(GELU, 4), D(LINEAR, 7)), D(LINEAR, 2)},
     3,
     true},
    {"at the end", {D(TANH, 2), RESIDUAL(PYCNN_SOFTMAX, 2, D(TANH, 3), D(LINEAR, 2))}, 2, true},
    {"penalties",
     {RESIDUAL(PYCNN_LINEAR, 6, D(TANH, 9), PENALIZED), BESIDE(PYCNN_TANH, 6, PENALIZED, PENALIZED),
      D(LINEAR, 2)},
     3,
     true},
    {"without parameters",
     {RESIDUAL(PYCNN_TANH, 6, DROPOUT, DROPOUT), DROPOUT, BESIDE(PYCNN_TANH, 6, DROPOUT, DROPOUT),
      D(LINEAR, 2)},
     4,
     true},
    {"normalized and dropped",
     {D(TANH, 6), BESIDE(PYCNN_SOFTPLUS, 6, BATCH_NORM, D(LINEAR, 6), DROPOUT, BATCH_NORM),
      LAYER_NORM, D(LINEAR, 2)},
     4,
     false},
    {"normalized alone",
     {RESIDUAL(PYCNN_TANH, 6, BATCH_NORM), RESIDUAL(PYCNN_TANH, 6, LAYER_NORM), D(LINEAR, 2)},
     3,
     false},
    {"nested",
     {D(TANH, 6),
      BESIDE(PYCNN_TANH, 6, BESIDE(PYCNN_SIGMOID, 6, D(LINEAR, 6), D(TANH, 4), D(LINEAR, 6)),
             RESIDUAL(PYCNN_LINEAR, 6, RESIDUAL(PYCNN_TANH, 6, D(TANH, 6), D(LINEAR, 6)),
                      D(LINEAR, 6)),
             DROPOUT, D(TANH, 6)),
      RESIDUAL(PYCNN_LINEAR, 6, RESIDUAL(PYCNN_TANH, 6, RESIDUAL(PYCNN_TANH, 6, D(LINEAR, 6)))),
      D(LINEAR, 2)},
     4,
     true},
    {"stacked",
     {STACK(D(TANH, 6), RESIDUAL(PYCNN_LINEAR, 6, LAYER_NORM, D(LINEAR, 6), DROPOUT)),
      STACK(RESIDUAL(PYCNN_TANH, 6, STACK(D(LINEAR, 6)))), D(LINEAR, 2)},
     3,
     false},
};

enum { STACKS = sizeof stacks / sizeof *stacks };

/* With means and variances behind the parameters. */
static problem make(const stack *s, uint64_t seed)
{
    problem p = make_problem(seed, ROWS, INPUTS, s->layers, s->depth, PYCNN_MSE);
    const size_t statistics = pycnn_network_statistic_count(p.net);
    double *theta = doubles(p.parameters + statistics);
    for (size_t i = 0; i < p.parameters + statistics; i++) {
        theta[i] = i < p.parameters ? 0.7 * p.theta[i] : 1.25;
    }
    free(p.theta);
    p.theta = theta;
    return p;
}

static double loss_of(const problem *p, pycnn_workspace *ws, double *grad, const uint64_t *key)
{
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p->net, ws, p->theta, p->theta_size, &p->data, key) ==
          PYCNN_OK);
    return totals.loss / totals.weight;
}

static void test_gradients_meet_central_differences(void)
{
    const double h = 1e-5;
    for (size_t i = 0; i < STACKS; i++) {
        problem p = make(&stacks[i], 7 + i);
        p.data.rows = 11; /* are enough here */
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
        double *grad = doubles(p.parameters), *numeric = doubles(p.parameters);
        double *unused = doubles(p.parameters);
        for (uint64_t key = 0; key < 3; key++) { /* 0: as in prediction */
            const uint64_t *training = key == 0 ? NULL : &key;
            loss_of(&p, ws, grad, training);
            for (size_t k = 0; k < p.parameters; k++) {
                const double value = p.theta[k];
                p.theta[k] = value + h;
                const double above = loss_of(&p, ws, unused, training);
                p.theta[k] = value - h;
                numeric[k] = (above - loss_of(&p, ws, unused, training)) / (2 * h);
                p.theta[k] = value;
            }
            CHECK(largest(grad, p.parameters) > 1e-2);
            if (!CHECK(agree(grad, numeric, p.parameters, 2e-8))) {
                printf("%s\n", stacks[i].name);
            }
        }
        free(grad), free(numeric), free(unused);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

/* Each sample's own, times its weight; and the same bits where samples come in pieces, or alone. */
static void test_gradients_by_the_input_meet_central_differences(void)
{
    enum { FEW = 11, COUNT = FEW * INPUTS }; /* are enough here */
    const double h = 1e-5;
    for (size_t i = 0; i < STACKS; i++) {
        problem p = make(&stacks[i], 7 + i);
        p.data.rows = FEW;
        p.data.weight = p.weight;
        double x[COUNT], gradient[COUNT], numeric[COUNT], other[COUNT];
        pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
        memcpy(x, p.x, sizeof x);
        p.data.x = x;
        CHECK(pycnn_input_gradient(gradient, p.net, ws, p.theta, p.theta_size, &p.data) ==
              PYCNN_OK);
        for (size_t k = 0; k < COUNT; k++) {
            pycnn_totals totals[2];
            for (int above = 0; above < 2; above++) {
                x[k] = p.x[k] + (above ? h : -h);
                CHECK(pycnn_evaluate(&totals[above], p.net, ws, p.theta, p.theta_size, &p.data) ==
                      PYCNN_OK);
            }
            x[k] = p.x[k];
            numeric[k] = (totals[1].loss - totals[0].loss) / (2 * h);
        }
        CHECK(largest(gradient, COUNT) > 1e-2);
        if (!CHECK(agree(gradient, numeric, COUNT, 2e-8))) {
            printf("%s\n", stacks[i].name);
        }
        for (size_t room = 1; room < FEW; room += 4) {
            pycnn_workspace *small = workspace(p.net, room, PYCNN_TRACE);
            CHECK(pycnn_input_gradient(other, p.net, small, p.theta, p.theta_size, &p.data) ==
                  PYCNN_OK);
            CHECK(same_bits(other, gradient, COUNT));
            pycnn_workspace_destroy(small);
        }
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

/* Both ways as networks of their own. */
static void test_the_output_is_the_sum_of_both_ways(void)
{
    static const pycnn_layer_spec inner[] = {D(TANH, 9), D(SIGMOID, 5)}, beside[] = {D(TANH, 5)};
    const stack whole = {
        "", {BESIDE(PYCNN_SOFTSIGN, 5, D(TANH, 5), D(TANH, 9), D(SIGMOID, 5))}, 1, true};
    problem p = make(&whole, 3);
    problem q = make_problem(3, ROWS, INPUTS, inner, 2, PYCNN_MSE);
    problem r = make_problem(3, ROWS, INPUTS, beside, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_TRACE);
    pycnn_workspace *ws_q = workspace(q.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace *ws_r = workspace(r.net, ROWS, PYCNN_FORWARD);
    enum { COUNT = 5 * ROWS };
    double output[COUNT], one[COUNT], other[COUNT], z[COUNT], a[COUNT], delta[COUNT];
    double *grad = doubles(p.parameters);
    pycnn_totals totals;
    CHECK(p.parameters == q.parameters + r.parameters); /* in this order */
    CHECK(pycnn_predict(output, p.net, ws, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(one, q.net, ws_q, p.theta, q.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predict(other, r.net, ws_r, p.theta + q.parameters, r.theta_size, p.x, ROWS) ==
          PYCNN_OK);
    CHECK(pycnn_trace(&totals, grad, z, a, delta, p.net, ws, p.theta, p.theta_size, &p.data) ==
          PYCNN_OK);
    for (size_t i = 0; i < ROWS; i++) { /* the trace is that of the whole layer alone */
        for (size_t j = 0; j < 5; j++) {
            const size_t at = 5 * i + j, traced = j * ROWS + i;
            const double sum = one[at] + other[at], f = sum / (1 + fabs(sum));
            const double slope = (1 - fabs(f)) * (1 - fabs(f));
            CHECK(z[traced] == sum && near(a[traced], f, 1e-15));
            CHECK(same_bits(&a[traced], &output[at], 1));
            CHECK(fabs(delta[traced] - (f - p.y[at]) * slope) < 1e-14);
        }
    }
    free(grad);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(ws_q), pycnn_workspace_destroy(ws_r);
    free_problem(&p), free_problem(&q), free_problem(&r);
}

/* theta after some epochs, the gradient before and the predictions after, one behind the other. */
static double *results(const stack *s, size_t capacity, size_t batch, size_t threads, size_t *count)
{
    problem p = make(s, 11);
    const pycnn_optimizer adam = {
        .kind = PYCNN_ADAM, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-8, .clip_norm = 0.5};
    const uint64_t keys[2] = {3, 4};
    const size_t all = p.parameters + pycnn_network_statistic_count(p.net);
    pycnn_workspace *ws = workspace(p.net, capacity, PYCNN_BACKWARD);
    pycnn_workspace *forward = workspace(p.net, capacity, PYCNN_FORWARD);
    pycnn_threads *pool = NULL;
    CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
    pycnn_workspace_set_threads(ws, pool), pycnn_workspace_set_threads(forward, pool);
    *count = all + p.parameters + p.outputs * ROWS;
    double *result = doubles(*count), *grad = result + all, *output = grad + p.parameters;
    double *slots = doubles(2 * p.parameters);
    memset(slots, 0, 2 * p.parameters * sizeof *slots);
    pycnn_totals totals, epochs[2] = {{0}};
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    size_t steps = 0;
    pycnn_training state = {.epochs = 2,
                            .batch_size = batch,
                            .learning_rate = 0.03,
                            .totals = epochs,
                            .optimizer = batch % 2 == 0 ? &adam : NULL,
                            .slots = slots,
                            .dropout_keys = keys};
    CHECK(pycnn_train(&steps, p.theta, p.theta_size, &state, p.net, ws, &p.data, SIZE_MAX) ==
          PYCNN_OK);
    memcpy(result, p.theta, all * sizeof *result);
    CHECK(pycnn_predict(output, p.net, forward, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    double *row = doubles(p.outputs); /* whose bits do not depend on those beside it */
    for (size_t i = 0; i < ROWS; i += 5) {
        CHECK(pycnn_predict(row, p.net, forward, p.theta, p.theta_size, p.x + i * INPUTS, 1) ==
              PYCNN_OK);
        CHECK(same_bits(row, output + i * p.outputs, p.outputs));
    }
    free(row), free(slots);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(forward);
    pycnn_threads_destroy(pool);
    free_problem(&p);
    return result;
}

static void test_threads_and_pieces_give_the_same_bits(void)
{
    static const size_t batches[] = {1, 2, 8, 17, ROWS};
    for (size_t i = 0; i < STACKS; i++) {
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            size_t count;
            double *alone = results(&stacks[i], ROWS, batches[b], 1, &count);
            for (size_t threads = 2; threads <= 7; threads += 1 + (i + b) % 3) {
                double *other = results(&stacks[i], ROWS, batches[b], threads, &count);
                CHECK(same_bits(alone, other, count));
                free(other);
            }
            for (size_t capacity = 1; capacity < ROWS && stacks[i].in_pieces; capacity += 9) {
                double *other = results(&stacks[i], capacity, batches[b], 2, &count);
                CHECK(same_bits(alone, other, count));
                free(other);
            }
            free(alone);
        }
    }
}

/* Wide enough to be worth sharing, and to be partitioned into many slices. */
static void test_many_threads_share_large_layers(void)
{
    enum { LARGE = 400, BATCH = 350 };
    const pycnn_layer_spec layers[] = {
        D(RELU, 96), RESIDUAL(PYCNN_RELU, 96, D(RELU, 64), BATCH_NORM, DROPOUT, D(LINEAR, 96)),
        BESIDE(PYCNN_RELU, 80, D(LINEAR, 80), LAYER_NORM, D(RELU, 80)), D(SOFTMAX, 3)};
    double *theta[8] = {NULL};
    size_t count = 0;
    for (size_t threads = 1; threads <= 7; threads++) {
        problem p = make_problem(1, LARGE, 20, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
        count = p.parameters + pycnn_network_statistic_count(p.net);
        theta[threads] = doubles(count);
        for (size_t i = 0; i < count; i++) {
            theta[threads][i] = i < p.parameters ? 0.1 * p.theta[i] : 1;
        }
        pycnn_threads *pool = NULL;
        pycnn_workspace *ws = workspace(p.net, BATCH, PYCNN_BACKWARD);
        CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
        pycnn_workspace_set_threads(ws, pool);
        pycnn_totals totals = {0};
        pycnn_training state = {
            .epochs = 1, .batch_size = BATCH, .learning_rate = 0.1, .totals = &totals};
        size_t steps = 0;
        CHECK(pycnn_train(&steps, theta[threads], p.theta_size, &state, p.net, ws, &p.data, 9) ==
              PYCNN_OK);
        CHECK(steps == 2 && same_bits(theta[threads], theta[1], count));
        pycnn_workspace_destroy(ws);
        pycnn_threads_destroy(pool);
        free_problem(&p);
    }
    for (size_t threads = 1; threads <= 7; threads++) {
        free(theta[threads]);
    }
}

#ifdef HAVE_POSIX
static void test_instruction_sets_agree(void)
{
    char before[32] = "";
    snprintf(before, sizeof before, "%s", getenv("PYCNN_ISA") == NULL ? "" : getenv("PYCNN_ISA"));
    for (size_t i = 0; i < STACKS; i++) {
        size_t count;
        setenv("PYCNN_ISA", instruction_sets[BASELINE], 1);
        double *plain = results(&stacks[i], ROWS, 9, 1, &count), *fused = NULL;
        for (size_t set = 0; set < BASELINE; set++) {
            setenv("PYCNN_ISA", instruction_sets[set], 1);
            if (pycnn_isa() == NULL) {
                continue; /* not this machine's */
            }
            double *result = results(&stacks[i], ROWS, 9, 1, &count);
            CHECK(agree(result, plain, count, 1e-11));
            CHECK(fused == NULL || same_bits(result, fused, count));
            free(fused);
            fused = result;
        }
        free(plain), free(fused);
    }
    setenv("PYCNN_ISA", before, 1);
}
#endif

static void test_weights_inside_are_held_to_their_norm(void)
{
    static const pycnn_layer_spec narrow = {
        .kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = INPUTS, .max_norm = 0.5};
    const pycnn_layer_spec layers[] = {{.kind = PYCNN_RESIDUAL,
                                        .units = INPUTS,
                                        .inner = &narrow,
                                        .inner_depth = 1,
                                        .shortcut = &narrow}};
    problem p = make_problem(2, ROWS, INPUTS, layers, 1, PYCNN_MSE);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_totals totals;
    double *theta = trained(
        &p, ws, (pycnn_training){.epochs = 1, .batch_size = ROWS, .learning_rate = 0.1}, &totals);
    for (size_t unit = 0; unit < 2 * INPUTS; unit++) { /* b lies behind each W */
        const double *weight = theta + unit * INPUTS + (unit < INPUTS ? 0 : INPUTS);
        double square = 0;
        for (size_t k = 0; k < INPUTS; k++) {
            square += weight[k] * weight[k];
        }
        CHECK(sqrt(square) < 0.5 * (1 + 1e-15));
    }
    free(theta);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void expect_no_network(int status, const pycnn_layer_spec *spec)
{
    pycnn_network *net = (pycnn_network *)&not_null; /* must become NULL */
    CHECK(pycnn_network_create(&net, INPUTS, spec, 1, PYCNN_MSE, 0) == status);
    CHECK(net == NULL);
}

static void test_layers_that_do_not_fit(void)
{
    enum { MANY = 300 };
    const pycnn_layer_spec alone[] = {
        RESIDUAL(PYCNN_RELU, 5, D(RELU, 5)), /* the input has 6 */
        BESIDE(PYCNN_RELU, 5, D(RELU, 4), D(RELU, 5)),
        {.kind = PYCNN_RESIDUAL, .inner = alone, .inner_depth = 0},
        RESIDUAL(PYCNN_RELU, 6, RESIDUAL(PYCNN_RELU, 4, D(RELU, 4)), D(RELU, 6)),
        RESIDUAL(PYCNN_RELU, 6, D(RELU, 0)),
        {.kind = PYCNN_STACK, .inner = alone, .inner_depth = 0},
        STACK(D(RELU, 0)),
        RESIDUAL(PYCNN_RELU, 6, STACK(D(RELU, 5))),
    };
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        expect_no_network(PYCNN_ERROR_SIZE, &alone[i]);
    }
    const pycnn_layer_spec unknown[] = {
        {.kind = PYCNN_RESIDUAL, .inner_depth = 1},
        RESIDUAL(PYCNN_ACTIVATION_COUNT, 6, D(RELU, 6)),
        RESIDUAL(PYCNN_RELU, 6, {.kind = 99, .units = 6}),
        BESIDE(PYCNN_RELU, 6, {.kind = -1}, D(RELU, 6)),
        {.kind = PYCNN_STACK, .inner_depth = 1},
        {.kind = PYCNN_STACK, INSIDE(D(RELU, 6)), .inner_depth = 1, .shortcut = alone},
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect_no_network(PYCNN_ERROR_ARGUMENT, &unknown[i]);
    }
    const pycnn_layer_spec drops_all[] = {
        RESIDUAL(PYCNN_RELU, 6, {.kind = PYCNN_DROPOUT, .rate = 1})};
    expect_no_network(PYCNN_ERROR_RANGE, drops_all);
    pycnn_layer_spec nested[MANY] = {D(RELU, 6)};
    for (size_t i = 1; i < MANY; i++) {
        nested[i] = (pycnn_layer_spec)RESIDUAL(PYCNN_RELU, 6, D(RELU, 6));
        nested[i].inner = &nested[i - 1];
    }
    pycnn_network *net = NULL;
    CHECK(pycnn_network_create(&net, INPUTS, &nested[200], 1, PYCNN_MSE, 0) == PYCNN_OK);
    pycnn_network_destroy(net);
    expect_no_network(PYCNN_ERROR_SIZE, &nested[MANY - 1]);
}

static void test_specs_that_share_layers_are_counted_in_time(void)
{
    enum { LEVELS = 40 }; /* 2^40 dense layers */
    pycnn_layer_spec nested[LEVELS + 1] = {D(RELU, 6)};
    for (size_t i = 1; i <= LEVELS; i++) {
        nested[i] = (pycnn_layer_spec){.kind = PYCNN_RESIDUAL,
                                       .inner = &nested[i - 1],
                                       .inner_depth = 1,
                                       .shortcut = &nested[i - 1]};
    }
    expect_no_network(PYCNN_ERROR_SIZE, &nested[LEVELS]);
    pycnn_network *net = NULL;
    CHECK(pycnn_network_create(&net, INPUTS, &nested[3], 1, PYCNN_MSE, 0) == PYCNN_OK);
    CHECK(pycnn_network_parameter_count(net) == 8 * (6 * 6 + 6));
    pycnn_network_destroy(net);
}

const test composite_tests[] = {
    FOR_EACH_SET("gradients of layers within layers meet central differences",
                 test_gradients_meet_central_differences),
    FOR_EACH_SET("gradients by the input meet central differences",
                 test_gradients_by_the_input_meet_central_differences),
    FOR_EACH_SET("the output is the sum of both ways", test_the_output_is_the_sum_of_both_ways),
    FOR_EACH_SET("threads and pieces give the same bits, with layers within layers",
                 test_threads_and_pieces_give_the_same_bits),
    ONCE("many threads share large layers within layers", test_many_threads_share_large_layers),
#ifdef HAVE_POSIX
    ONCE("instruction sets agree on layers within layers", test_instruction_sets_agree),
#endif
    ONCE("weights inside are held to their norm", test_weights_inside_are_held_to_their_norm),
    ONCE("layers that do not fit", test_layers_that_do_not_fit),
    ONCE("specs that share layers are counted in time",
         test_specs_that_share_layers_are_counted_in_time),
    {0},
};
