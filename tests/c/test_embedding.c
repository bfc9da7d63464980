/* Tokens: rows of a table, outputs by the same table, and what is no token. */
#include "check.h"

enum { VOCABULARY = 11, LENGTH = 6, UNITS = 5, HIDDEN = 9 };

#define EMBEDDING {.kind = PYCNN_EMBEDDING, .vocabulary = VOCABULARY, .units = UNITS}

/* 6 tokens -> 5 each -> 9 gelu -> 5 tanh -> 11 softmax, by the table */
static const pycnn_layer_spec tied[] = {
    EMBEDDING,
    DENSE(PYCNN_GELU, HIDDEN),
    DENSE(PYCNN_TANH, UNITS),
    {.kind = PYCNN_TIED_DENSE, .units = VOCABULARY, .activation = PYCNN_SOFTMAX},
};
/* The same at each position. */
static const pycnn_layer_spec tied_sequence[] = {
    EMBEDDING,
    {.kind = PYCNN_CONVOLUTION,
     .units = UNITS,
     .activation = PYCNN_TANH,
     .shape = {1, LENGTH, UNITS},
     .kernel = {1, 3},
     .padding = PYCNN_SAME},
    {.kind = PYCNN_TIED_DENSE,
     .units = VOCABULARY,
     .activation = PYCNN_TANH,
     .shape = {1, LENGTH, UNITS}},
    DENSE(PYCNN_LINEAR, 2),
};
static const pycnn_layer_spec alone[] = {EMBEDDING, DENSE(PYCNN_TANH, 4)};

typedef struct {
    const char *name;
    const pycnn_layer_spec *layers;
    size_t depth;
    int loss;
} example;
static const example examples[] = {
    {"tied", tied, 4, PYCNN_CATEGORICAL_CROSSENTROPY},
    {"tied at each position", tied_sequence, 4, PYCNN_MSE},
    {"an embedding", alone, 2, PYCNN_MSE},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

/* Samples of tokens, some of which come often. */
static problem make_example(const example *e, size_t rows)
{
    problem p = make_problem(3, rows, LENGTH, e->layers, e->depth, e->loss);
    uint64_t state = 7;
    for (size_t i = 0; i < rows * LENGTH; i++) {
        const double share = (random_value(&state) + 1) / 2;
        p.x[i] = floor(share * share * VOCABULARY);
    }
    return p;
}

static void test_rows(void)
{
    const pycnn_layer_spec layer = EMBEDDING;
    pycnn_network *net = create(LENGTH, &layer, 1, PYCNN_MSE);
    problem p = make_example(&examples[2], 29);
    double *theta = random_doubles(5, VOCABULARY * UNITS), *y = doubles(29 * LENGTH * UNITS);
    CHECK(pycnn_network_outputs(net) == LENGTH * UNITS);
    CHECK(pycnn_network_theta_size(net) == VOCABULARY * UNITS);
    for (size_t batch = 1; batch <= 29; batch += 7) {
        pycnn_workspace *ws = workspace(net, batch, PYCNN_FORWARD);
        CHECK(pycnn_predict(y, net, ws, theta, VOCABULARY * UNITS, p.x, 29) == PYCNN_OK);
        for (size_t i = 0; i < 29 * LENGTH; i++) {
            CHECK(same_bits(y + i * UNITS, theta + (size_t)p.x[i] * UNITS, UNITS));
        }
        pycnn_workspace_destroy(ws);
    }
    free(theta), free(y);
    free_problem(&p);
    pycnn_network_destroy(net);
}

static double loss_of(const problem *p, pycnn_workspace *ws)
{
    pycnn_totals totals;
    CHECK(pycnn_evaluate(&totals, p->net, ws, p->theta, p->theta_size, &p->data) == PYCNN_OK);
    return totals.loss / totals.weight;
}

static void check_gradient(const example *e)
{
    problem p = make_example(e, 13);
    pycnn_workspace *ws = workspace(p.net, 13, PYCNN_BACKWARD);
    double *grad = doubles(p.parameters), *numeric = doubles(p.parameters);
    pycnn_totals totals;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    for (size_t i = 0; i < p.parameters; i++) {
        const double kept = p.theta[i], h = 1e-5;
        p.theta[i] = kept + h;
        const double above = loss_of(&p, ws);
        p.theta[i] = kept - h;
        numeric[i] = (above - loss_of(&p, ws)) / (2 * h);
        p.theta[i] = kept;
    }
    if (!CHECK(agree(grad, numeric, p.parameters, 1e-7))) {
        printf("%s\n", e->name);
    }
    free(grad), free(numeric);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* Whatever the threads are, also where the gradient would otherwise not be written down. */
static void check_training(const example *e)
{
    problem p = make_example(e, 200);
    pycnn_optimizer adam = {.kind = PYCNN_ADAM};
    pycnn_optimizer_init(&adam, PYCNN_ADAM);
    double *slots = doubles(2 * p.parameters), *first[2] = {NULL, NULL};
    for (size_t threads = 1; threads <= 3; threads++) {
        pycnn_threads *pool = NULL;
        CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
        for (int with_adam = 0; with_adam < 2; with_adam++) {
            pycnn_workspace *ws = workspace(p.net, 64, PYCNN_BACKWARD);
            pycnn_workspace_set_threads(ws, pool);
            pycnn_training state;
            pycnn_training_init(&state);
            pycnn_totals totals[10] = {{0}};
            state.batch_size = 64;
            state.learning_rate = 0.05;
            state.optimizer = with_adam ? &adam : NULL;
            memset(slots, 0, 2 * p.parameters * sizeof *slots);
            state.slots = slots;
            double *theta = trained(&p, ws, state, totals);
            CHECK(totals[9].loss < totals[0].loss);
            if (first[with_adam] == NULL) {
                first[with_adam] = theta;
            } else {
                CHECK(same_bits(theta, first[with_adam], p.theta_size));
                free(theta);
            }
            pycnn_workspace_destroy(ws);
        }
        pycnn_threads_destroy(pool);
    }
    free(first[0]), free(first[1]), free(slots);
    free_problem(&p);
}

/* One sample, in a batch, alone, and by a predictor. */
static void check_single(const example *e)
{
    problem p = make_example(e, 9);
    pycnn_workspace *ws = workspace(p.net, 9, PYCNN_FORWARD),
                    *one = workspace(p.net, 1, PYCNN_FORWARD);
    pycnn_predictor *predictor;
    double *all = doubles(9 * p.outputs), *y = doubles(p.outputs);
    CHECK(pycnn_predictor_create(&predictor, p.net, p.theta, p.theta_size) == PYCNN_OK);
    CHECK(pycnn_predict(all, p.net, ws, p.theta, p.theta_size, p.x, 9) == PYCNN_OK);
    for (size_t i = 0; i < 9; i++) {
        const double *x = p.x + i * LENGTH;
        CHECK(pycnn_predict(y, p.net, one, p.theta, p.theta_size, x, 1) == PYCNN_OK);
        CHECK(same_bits(y, all + i * p.outputs, p.outputs));
        CHECK(pycnn_predictor_run(predictor, y, x) == PYCNN_OK);
        CHECK(same_bits(y, all + i * p.outputs, p.outputs));
    }
    const double none[LENGTH] = {1, 2, 3, VOCABULARY, 4, 5};
    CHECK(pycnn_predictor_run(predictor, y, none) == PYCNN_OK); /* as of a NaN */
    CHECK(isnan(y[0]));
    free(all), free(y);
    pycnn_predictor_destroy(predictor);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(one);
    free_problem(&p);
}

static void test_examples(void)
{
    for (const example *e = examples; e < examples + EXAMPLES; e++) {
        check_gradient(e);
        check_training(e);
        check_single(e);
    }
}

/* The pieces of a mini-batch add up, of shared arrays too. */
static void test_sums(void)
{
    problem p = make_example(&examples[0], 16);
    pycnn_workspace *ws = workspace(p.net, 16, PYCNN_BACKWARD);
    double *whole = doubles(p.parameters), *pieces = doubles(p.parameters);
    pycnn_dataset half = p.data;
    pycnn_totals totals;
    memset(whole, 0, p.parameters * sizeof *whole);
    memset(pieces, 0, p.parameters * sizeof *pieces);
    CHECK(pycnn_gradient_sums(&totals, whole, NULL, p.net, ws, p.theta, p.theta_size, &p.data, NULL,
                              0) == PYCNN_OK);
    half.rows = 8;
    for (size_t i = 0; i < 2; i++) {
        half.x = p.data.x + i * 8 * LENGTH;
        half.y = p.data.y + i * 8 * p.outputs;
        CHECK(pycnn_gradient_sums(&totals, pieces, NULL, p.net, ws, p.theta, p.theta_size, &half,
                                  NULL, 0) == PYCNN_OK);
    }
    CHECK(agree(pieces, whole, p.parameters, 1e-14));
    free(whole), free(pieces);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void test_no_tokens(void)
{
    static const double wrong[] = {-1, VOCABULARY, 0.5, 1e300, -1e-300};
    problem p = make_example(&examples[0], 5);
    pycnn_workspace *ws = workspace(p.net, 5, PYCNN_TRACE);
    double *y = doubles(5 * p.outputs), *grad = doubles(p.parameters), *dx = doubles(5 * LENGTH);
    double *before = copy_doubles(p.theta, p.theta_size);
    pycnn_totals totals;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const double kept = p.x[3 * LENGTH + 2];
        p.x[3 * LENGTH + 2] = wrong[i];
        pycnn_training state;
        size_t steps = 0;
        pycnn_training_init(&state);
        CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, 5) == PYCNN_ERROR_TOKEN);
        CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) ==
              PYCNN_ERROR_TOKEN);
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
              PYCNN_ERROR_TOKEN);
        CHECK(pycnn_train(&steps, p.theta, p.theta_size, &state, p.net, ws, &p.data, 9) ==
              PYCNN_ERROR_TOKEN);
        CHECK(steps == 0 && same_bits(p.theta, before, p.theta_size));
        p.x[3 * LENGTH + 2] = kept;
    }
    CHECK(pycnn_input_gradient(dx, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
    CHECK(largest(dx, 5 * LENGTH) == 0);
    free(y), free(grad), free(dx), free(before);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

static void check_refused(const pycnn_layer_spec *layers, size_t depth, size_t inputs, int status,
                          size_t which, const char *why)
{
    pycnn_network *net = (pycnn_network *)(void *)&not_null;
    size_t layer;
    CHECK(pycnn_network_create(&net, inputs, layers, depth, PYCNN_MSE, 0) == status);
    CHECK(net == NULL);
    const char *said = pycnn_network_check(inputs, layers, depth, PYCNN_MSE, 0, &layer);
    CHECK(said != NULL && strstr(said, why) != NULL && layer == which);
}

static void test_refusals(void)
{
    const pycnn_layer_spec behind[] = {DENSE(PYCNN_TANH, 4), EMBEDDING};
    const pycnn_layer_spec nothing[] = {{.kind = PYCNN_EMBEDDING, .units = 3}};
    const pycnn_layer_spec no_units[] = {{.kind = PYCNN_EMBEDDING, .vocabulary = 3}};
    const pycnn_layer_spec huge[] = {
        {.kind = PYCNN_EMBEDDING, .vocabulary = SIZE_MAX / 2, .units = SIZE_MAX / 2}};
    const pycnn_layer_spec untied[] = {DENSE(PYCNN_TANH, 4), {.kind = PYCNN_TIED_DENSE}};
    const pycnn_layer_spec first[] = {{.kind = PYCNN_TIED_DENSE}};
    const pycnn_layer_spec wide[] = {
        EMBEDDING, DENSE(PYCNN_TANH, 4), {.kind = PYCNN_TIED_DENSE, .units = VOCABULARY}};
    const pycnn_layer_spec rows[] = {
        EMBEDDING, {.kind = PYCNN_TIED_DENSE, .units = VOCABULARY, .shape = {LENGTH, 1, UNITS}}};
    const pycnn_layer_spec other[] = {
        EMBEDDING,
        {.kind = PYCNN_TIED_DENSE, .units = VOCABULARY, .shape = {1, LENGTH - 1, UNITS}}};
    const pycnn_layer_spec none[] = {EMBEDDING, {.kind = PYCNN_TIED_DENSE}};
    check_refused(behind, 2, 3, PYCNN_ERROR_ARGUMENT, 1, "must be the first layer");
    check_refused(nothing, 1, 3, PYCNN_ERROR_SIZE, 0, "vocabulary must be");
    check_refused(no_units, 1, 3, PYCNN_ERROR_SIZE, 0, "units must be");
    check_refused(huge, 1, 3, PYCNN_ERROR_SIZE, 0, "too large");
    check_refused(untied, 2, 3, PYCNN_ERROR_ARGUMENT, 1, "first layer is an embedding");
    check_refused(first, 1, 3, PYCNN_ERROR_ARGUMENT, 0, "first layer is an embedding");
    check_refused(wide, 3, LENGTH, PYCNN_ERROR_SIZE, 2, "as many features");
    check_refused(none, 2, LENGTH, PYCNN_ERROR_SIZE, 1, "vocabulary");
    check_refused(rows, 2, LENGTH, PYCNN_ERROR_SIZE, 1, "one row");
    check_refused(other, 2, LENGTH, PYCNN_ERROR_SIZE, 1, "as many numbers");
}

const test embedding_tests[] = {
    FOR_EACH_SET("each token becomes its row of the table", test_rows),
    FOR_EACH_SET("gradients, threads and single samples", test_examples),
    FOR_EACH_SET("pieces of a mini-batch add up", test_sums),
    FOR_EACH_SET("what is no token is refused before anything is computed", test_no_tokens),
    ONCE("embeddings that cannot be", test_refusals),
    {0},
};
