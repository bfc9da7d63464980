/* Sequences: layers that do the same at each position, a loss of each, lengths, states. */
#include "check.h"

enum { ROWS = 21, STEPS = 5, FEATURES = 3, CLASSES = 4 };

#define AT_EACH(f, n, from)                                                               \
    {                                                                                     \
        .kind = PYCNN_DENSE, .activation = (f), .units = (n), .shape = {1, STEPS, (from)} \
    }

static const pycnn_layer_spec tagger[] = {
    AT_EACH(PYCNN_TANH, 9, FEATURES),
    {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-3, .shape = {1, STEPS, 9}},
    {.kind = PYCNN_DROPOUT, .rate = 0.5},
    AT_EACH(PYCNN_SOFTMAX, CLASSES, 9),
};
static const pycnn_layer_spec by_row[] = {
    DENSE(PYCNN_TANH, 9),
    {.kind = PYCNN_LAYER_NORM, .epsilon = 1e-3},
    {.kind = PYCNN_DROPOUT, .rate = 0.5},
    DENSE(PYCNN_SOFTMAX, CLASSES),
};
enum { DEPTH = 4, PLACES = ROWS * STEPS };

/* A network of sequences, and the same one of which each position is a sample. */
typedef struct {
    problem whole, rows;
} pair;

static pair make_pair(int loss)
{
    pycnn_layer_spec last = tagger[DEPTH - 1], last_row = by_row[DEPTH - 1];
    pycnn_layer_spec layers[DEPTH], row_layers[DEPTH];
    last.activation = last_row.activation = output_for(loss);
    memcpy(layers, tagger, sizeof tagger);
    memcpy(row_layers, by_row, sizeof by_row);
    layers[DEPTH - 1] = last, row_layers[DEPTH - 1] = last_row;
    const pair p = {make_problem(7, ROWS, STEPS * FEATURES, layers, DEPTH, loss),
                    make_problem(7, PLACES, FEATURES, row_layers, DEPTH, loss)};
    memcpy(p.whole.theta, p.rows.theta, p.rows.theta_size * sizeof(double));
    memcpy(p.whole.x, p.rows.x, PLACES * FEATURES * sizeof(double));
    memcpy(p.whole.y, p.rows.y, PLACES * CLASSES * sizeof(double));
    return p;
}

static void free_pair(pair *p)
{
    free_problem(&p->whole);
    free_problem(&p->rows);
}

static void test_each_position_is_as_a_sample(void)
{
    pair p = make_pair(PYCNN_CATEGORICAL_CROSSENTROPY);
    const problem *q = &p.whole;
    CHECK(q->theta_size == p.rows.theta_size && q->outputs == STEPS * CLASSES);
    CHECK(pycnn_network_positions(q->net) == STEPS && pycnn_network_positions(p.rows.net) == 1);
    CHECK(pycnn_network_state_count(q->net) == 0 && pycnn_network_positions(NULL) == 0);
    pycnn_tensor tensor;
    CHECK(pycnn_network_tensor(q->net, 0, &tensor) == PYCNN_OK);
    CHECK(tensor.dims == 2 && tensor.shape[0] == 9 && tensor.shape[1] == FEATURES &&
          tensor.shape[2] == 1 && tensor.shape[3] == 1);
    double *start = doubles(q->theta_size), *row_start = doubles(q->theta_size);
    CHECK(pycnn_initialize(start, q->theta_size, q->net, 3) == PYCNN_OK);
    CHECK(pycnn_initialize(row_start, q->theta_size, p.rows.net, 3) == PYCNN_OK);
    CHECK(same_bits(start, row_start, q->theta_size));
    double *y = doubles(PLACES * CLASSES), *expected = doubles(PLACES * CLASSES);
    pycnn_workspace *ws = workspace(p.rows.net, 8, PYCNN_FORWARD);
    CHECK(pycnn_predict(expected, p.rows.net, ws, q->theta, q->theta_size, q->x, PLACES) ==
          PYCNN_OK);
    pycnn_workspace_destroy(ws);
    for (size_t room = 1; room <= ROWS; room += 4) {
        ws = workspace(q->net, room, PYCNN_FORWARD);
        CHECK(pycnn_predict(y, q->net, ws, q->theta, q->theta_size, q->x, ROWS) == PYCNN_OK);
        CHECK(same_bits(y, expected, PLACES * CLASSES));
        pycnn_workspace_destroy(ws);
    }
    pycnn_predictor *predictor = NULL;
    CHECK(pycnn_predictor_create(&predictor, q->net, q->theta, q->theta_size) == PYCNN_OK);
    memset(y, 0, PLACES * CLASSES * sizeof *y);
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(pycnn_predictor_run(predictor, y + i * q->outputs, q->x + i * q->inputs) == PYCNN_OK);
    }
    CHECK(same_bits(y, expected, PLACES * CLASSES));
    pycnn_predictor_destroy(predictor);
    free(y), free(expected), free(start), free(row_start);
    free_pair(&p);
}

/* A softmax of each position that is no output: its derivative and, in a prediction, its place. */
static void test_a_softmax_within_is_of_each_position(void)
{
    static const pycnn_layer_spec layers[] = {
        AT_EACH(PYCNN_SOFTMAX, 7, FEATURES),
        {.kind = PYCNN_CONVOLUTION,
         .activation = PYCNN_SOFTMAX,
         .units = CLASSES,
         .shape = {1, STEPS, 7},
         .kernel = {1, 1}},
    };
    static const pycnn_layer_spec rows[] = {DENSE(PYCNN_SOFTMAX, 7), DENSE(PYCNN_SOFTMAX, CLASSES)};
    problem p = make_problem(3, ROWS, STEPS * FEATURES, layers, 2, PYCNN_MSE);
    problem q = make_problem(3, PLACES, FEATURES, rows, 2, PYCNN_MSE);
    double *y = doubles(PLACES * CLASSES), *expected = doubles(PLACES * CLASSES);
    double *grad = doubles(p.parameters), *row_grad = doubles(p.parameters);
    pycnn_totals totals;
    memcpy(q.x, p.x, PLACES * FEATURES * sizeof *q.x);
    memcpy(q.y, p.y, PLACES * CLASSES * sizeof *q.y);
    memcpy(q.theta, p.theta, p.theta_size * sizeof *q.theta);
    for (size_t room = 1; room < 20; room += 9) {
        pycnn_workspace *forward = workspace(p.net, room, PYCNN_FORWARD);
        pycnn_workspace *ws = workspace(p.net, room, PYCNN_BACKWARD);
        pycnn_workspace *row_ws = workspace(q.net, room, PYCNN_BACKWARD);
        CHECK(pycnn_predict(y, p.net, forward, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
        CHECK(pycnn_predict(expected, q.net, row_ws, q.theta, q.theta_size, q.x, PLACES) ==
              PYCNN_OK);
        CHECK(same_bits(y, expected, PLACES * CLASSES));
        CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
              PYCNN_OK);
        CHECK(pycnn_gradients(&totals, row_grad, q.net, row_ws, q.theta, q.theta_size, &q.data,
                              NULL) == PYCNN_OK);
        CHECK(agree(grad, row_grad, p.parameters, 1e-13));
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(row_ws);
        pycnn_workspace_destroy(forward);
    }
    free(y), free(expected), free(grad), free(row_grad);
    free_problem(&p), free_problem(&q);
}

static bool same_totals(const pycnn_totals *a, const pycnn_totals *b)
{
    return near(a->loss, b->loss, 1e-13) && near(a->weight, b->weight, 1e-14) &&
           near(a->correct, b->correct, 1e-13);
}

/* Evaluates and takes gradients of both networks. */
static void check_pair(const pair *p)
{
    const problem *q = &p->whole, *r = &p->rows;
    double *grad = doubles(q->parameters), *row_grad = doubles(q->parameters);
    pycnn_totals totals, row_totals;
    for (size_t room = 3; room <= 24; room += 21) {
        pycnn_workspace *ws = workspace(q->net, room, PYCNN_BACKWARD);
        pycnn_workspace *row_ws = workspace(r->net, room, PYCNN_BACKWARD);
        CHECK(pycnn_evaluate(&totals, q->net, ws, q->theta, q->theta_size, &q->data) == PYCNN_OK);
        CHECK(pycnn_evaluate(&row_totals, r->net, row_ws, q->theta, q->theta_size, &r->data) ==
              PYCNN_OK);
        CHECK(same_totals(&totals, &row_totals));
        CHECK(pycnn_gradients(&totals, grad, q->net, ws, q->theta, q->theta_size, &q->data, NULL) ==
              PYCNN_OK);
        CHECK(pycnn_gradients(&row_totals, row_grad, r->net, row_ws, q->theta, q->theta_size,
                              &r->data, NULL) == PYCNN_OK);
        CHECK(same_totals(&totals, &row_totals));
        CHECK(agree(grad, row_grad, q->parameters, 1e-12));
        pycnn_workspace_destroy(ws), pycnn_workspace_destroy(row_ws);
    }
    free(grad), free(row_grad);
}

static void test_each_position_has_a_loss(void)
{
    for (int loss = 0; loss < LOSSES; loss++) {
        pair p = make_pair(loss);
        check_pair(&p);
        p.whole.data.weight = p.rows.data.weight = p.rows.weight;
        p.whole.data.weight_per_position = 1;
        p.rows.weight[7] = 0;
        check_pair(&p);
        /* The weight of a sample is that of its positions. */
        for (size_t i = 0; i < PLACES; i++) {
            p.rows.weight[i] = p.whole.weight[i / STEPS];
        }
        p.whole.data.weight = p.whole.weight, p.whole.data.weight_per_position = 0;
        check_pair(&p);
        /* A position without any target is not there, whatever the loss. */
        for (size_t j = 0; j < CLASSES; j++) {
            p.whole.y[9 * CLASSES + j] = p.whole.y[20 * CLASSES + j] = NAN;
        }
        p.rows.weight[9] = p.rows.weight[20] = 0;
        check_pair(&p);
        free_pair(&p);
    }
}

static void test_labels_are_of_positions(void)
{
    pair p = make_pair(PYCNN_CATEGORICAL_CROSSENTROPY);
    problem *q = &p.whole;
    size_t label[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        label[i] = i * i % CLASSES;
        p.rows.weight[i] = i % 7 > 0 ? 1 : 0;
    }
    p.rows.data.weight = p.rows.weight;
    p.rows.data.y = NULL, p.rows.data.label = label;
    size_t observed[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        observed[i] = i % 7 > 0 ? label[i] : SIZE_MAX;
    }
    q->data.y = NULL, q->data.label = observed;
    check_pair(&p);
    pycnn_workspace *ws = workspace(q->net, 8, PYCNN_BACKWARD);
    pycnn_totals totals;
    observed[11] = CLASSES;
    CHECK(pycnn_evaluate(&totals, q->net, ws, q->theta, q->theta_size, &q->data) ==
          PYCNN_ERROR_LABEL);
    pycnn_workspace_destroy(ws);
    /* Of a row that is no sequence, there is no label that has not been observed. */
    ws = workspace(p.rows.net, 8, PYCNN_BACKWARD);
    label[2] = SIZE_MAX;
    CHECK(pycnn_evaluate(&totals, p.rows.net, ws, q->theta, q->theta_size, &p.rows.data) ==
          PYCNN_ERROR_LABEL);
    pycnn_workspace_destroy(ws);
    free_pair(&p);
}

/* ---------------------------------------------------------------- lengths */

/* What is computed of sequences, in a workspace with so much room and on so many threads. */
typedef struct {
    double *y, *grad, *theta, *by_input;
    pycnn_totals totals[3];
} computed;

static computed compute(const problem *p, const pycnn_sequences *sequences, size_t room,
                        pycnn_threads *threads, const size_t *order)
{
    computed c = {.y = doubles(ROWS * p->outputs),
                  .grad = doubles(p->parameters),
                  .by_input = doubles(ROWS * p->inputs)};
    pycnn_workspace *ws = workspace(p->net, room, PYCNN_TRACE);
    pycnn_workspace_set_threads(ws, threads);
    CHECK(pycnn_workspace_set_sequences(ws, sequences) == PYCNN_OK);
    CHECK(pycnn_predict_finite(c.y, p->net, ws, p->theta, p->theta_size, p->x, ROWS) == PYCNN_OK);
    CHECK(pycnn_evaluate(&c.totals[0], p->net, ws, p->theta, p->theta_size, &p->data) == PYCNN_OK);
    CHECK(pycnn_gradients(&c.totals[1], c.grad, p->net, ws, p->theta, p->theta_size, &p->data,
                          NULL) == PYCNN_OK);
    CHECK(pycnn_input_gradient(c.by_input, p->net, ws, p->theta, p->theta_size, &p->data) ==
          PYCNN_OK);
    const pycnn_training plan = {
        .epochs = 1, .batch_size = 8, .learning_rate = 0.1, .order = order};
    c.theta = trained(p, ws, plan, &c.totals[2]);
    CHECK(pycnn_workspace_set_sequences(ws, NULL) == PYCNN_OK);
    pycnn_workspace_destroy(ws);
    return c;
}

static void free_computed(computed *c)
{
    free(c->y), free(c->grad), free(c->theta), free(c->by_input);
}

static bool same_computed(const computed *a, const computed *b, const problem *p)
{
    return same_bits(a->y, b->y, ROWS * p->outputs) && same_bits(a->grad, b->grad, p->parameters) &&
           same_bits(a->theta, b->theta, p->parameters) &&
           same_bits(a->by_input, b->by_input, ROWS * p->inputs) &&
           same_bits(a->totals, b->totals, 9);
}

static void test_what_lies_behind_a_length_is_not_there(void)
{
    pair p = make_pair(PYCNN_CATEGORICAL_CROSSENTROPY);
    problem *q = &p.whole;
    size_t lengths[ROWS], order[ROWS], label[PLACES];
    double *weight = doubles(PLACES), *zeros = copy_doubles(q->x, ROWS * q->inputs);
    for (size_t i = 0; i < ROWS; i++) {
        lengths[i] = 1 + i * 3 % STEPS;
        order[i] = i * 4 % ROWS;
    }
    for (size_t i = 0; i < PLACES; i++) {
        const bool there = i % STEPS < lengths[i / STEPS];
        label[i] = there ? i % CLASSES : 1000;
        weight[i] = there ? 1 : 0;
        for (size_t j = 0; j < FEATURES && !there; j++) {
            q->x[i * FEATURES + j] = NAN;
            zeros[i * FEATURES + j] = 0;
        }
    }
    q->data.y = NULL, q->data.label = label;
    const pycnn_sequences sequences = {.lengths = lengths};
    const computed found = compute(q, &sequences, ROWS, NULL, order);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t k = lengths[i] * FEATURES; k < q->inputs; k++) {
            CHECK(found.by_input[i * q->inputs + k] == 0);
        }
    }
    for (size_t threads = 1; threads <= 3; threads++) { /* nor does anything else matter */
        pycnn_threads *pool = NULL;
        CHECK(pycnn_threads_create(&pool, threads) == PYCNN_OK);
        computed again = compute(q, &sequences, ROWS, pool, order);
        CHECK(same_computed(&again, &found, q));
        free_computed(&again);
        pycnn_threads_destroy(pool);
    }
    computed in_pieces = compute(q, &sequences, 8, NULL, order);
    CHECK(same_bits(in_pieces.y, found.y, ROWS * q->outputs));
    CHECK(same_bits(in_pieces.theta, found.theta, q->parameters));
    CHECK(same_bits(in_pieces.by_input, found.by_input, ROWS * q->inputs));
    CHECK(agree(in_pieces.grad, found.grad, q->parameters, 1e-14));
    free_computed(&in_pieces);

    problem same = *q; /* zeros that weigh nothing are the same */
    for (size_t i = 0; i < PLACES; i++) {
        label[i] %= CLASSES;
    }
    same.x = zeros, same.data.x = zeros;
    same.data.weight = weight, same.data.weight_per_position = 1;
    computed expected = compute(&same, NULL, ROWS, NULL, order);
    CHECK(same_computed(&expected, &found, q));
    free_computed(&expected);
    free_computed((computed[]){found});
    free(weight), free(zeros);
    free_pair(&p);
}

static void test_lengths_are_refused(void)
{
    static const size_t lengths[ROWS] = {1};
    static const pycnn_layer_spec flat[] = {
        AT_EACH(PYCNN_TANH, 2, FEATURES), {.kind = PYCNN_RESHAPE}, DENSE(PYCNN_SOFTMAX, CLASSES)};
    static const pycnn_layer_spec wide[] = {
        {.kind = PYCNN_CONVOLUTION, .units = 2, .shape = {1, STEPS, FEATURES}, .kernel = {1, 2}}};
    static const pycnn_layer_spec normed[] = {
        AT_EACH(PYCNN_TANH, 2, FEATURES),
        {.kind = PYCNN_BATCH_NORM, .epsilon = 1, .shape = {1, STEPS, 2}}};
    static const pycnn_layer_spec row[] = {DENSE(PYCNN_LINEAR, CLASSES)};
    static const struct {
        const pycnn_layer_spec *layers;
        size_t depth;
    } networks[] = {{flat, 3}, {wide, 1}, {normed, 2}, {row, 1}};
    pycnn_sequences sequences = {.lengths = lengths};
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        pycnn_network *net =
            create(STEPS * FEATURES, networks[i].layers, networks[i].depth, PYCNN_MSE);
        pycnn_workspace *ws = workspace(net, 4, PYCNN_FORWARD);
        CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_ERROR_LENGTHS);
        CHECK(pycnn_workspace_set_sequences(ws, &(pycnn_sequences){0}) == PYCNN_OK);
        pycnn_workspace_destroy(ws);
        pycnn_network_destroy(net);
    }
    problem p =
        make_problem(7, ROWS, STEPS * FEATURES, tagger, DEPTH, PYCNN_CATEGORICAL_CROSSENTROPY);
    pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
    double *y = doubles(ROWS * p.outputs);
    pycnn_totals totals;
    sequences.reserved[3] = 1;
    CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_ERROR_ARGUMENT);
    sequences.reserved[3] = 0;
    CHECK(pycnn_workspace_set_sequences(NULL, &sequences) == PYCNN_ERROR_ARGUMENT);
    for (size_t i = 0; i < 2; i++) {
        size_t wrong[ROWS];
        for (size_t k = 0; k < ROWS; k++) {
            wrong[k] = k < 10 ? STEPS : i * (STEPS + 1);
        }
        sequences.lengths = wrong;
        CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_OK);
        CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, 10) == PYCNN_OK);
        CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, ROWS) == PYCNN_ERROR_LENGTHS);
        CHECK(pycnn_evaluate(&totals, p.net, ws, p.theta, p.theta_size, &p.data) ==
              PYCNN_ERROR_LENGTHS);
    }
    CHECK(pycnn_workspace_set_sequences(ws, NULL) == PYCNN_OK);
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    p.x[ROWS * p.inputs - 1] = NAN;
    CHECK(pycnn_predict_finite(y, p.net, ws, p.theta, p.theta_size, p.x, ROWS) ==
          PYCNN_ERROR_NOT_FINITE);
    free(y);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
}

/* ---------------------------------------------------------------- states */

enum { UNITS = 3, PARTS = 2, REMEMBERED = 2 * UNITS + UNITS + 2 };

/* Three layers that remember, and four classes at each of so many positions. */
static problem remembering(size_t steps)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_LSTM, .units = UNITS, .shape = {1, steps, FEATURES}, .return_sequences = 1},
        {.kind = PYCNN_SIMPLE_RNN,
         .activation = PYCNN_TANH,
         .units = UNITS,
         .shape = {1, steps, UNITS},
         .return_sequences = 1},
        {.kind = PYCNN_GRU, .units = 2, .shape = {1, steps, UNITS}, .return_sequences = 1},
        {.kind = PYCNN_DENSE,
         .activation = PYCNN_SOFTMAX,
         .units = CLASSES,
         .shape = {1, steps, 2}},
    };
    return make_problem(5, ROWS, steps * FEATURES, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
}

/* part[ROWS,width / PARTS] of whole[ROWS,width] */
static void take_part(double *part, const double *whole, size_t width, size_t index)
{
    for (size_t i = 0; i < ROWS; i++) {
        memcpy(part + i * width / PARTS, whole + i * width + index * width / PARTS,
               width / PARTS * sizeof *part);
    }
}

static void test_parts_of_sequences_go_on(void)
{
    enum { WHOLE = 6, SOME = WHOLE / PARTS };
    problem p = remembering(WHOLE), q = remembering(SOME);
    double *y = doubles(ROWS * p.outputs), *x = doubles(ROWS * q.inputs);
    double *part = doubles(ROWS * q.outputs), *expected = doubles(ROWS * q.outputs);
    double *state = doubles(ROWS * REMEMBERED), *before = doubles(ROWS * REMEMBERED);
    CHECK(pycnn_network_state_count(q.net) == REMEMBERED && p.theta_size == q.theta_size);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace *whole = workspace(p.net, ROWS, PYCNN_FORWARD);
    CHECK(pycnn_predict(y, p.net, whole, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    for (size_t room = 1; room <= ROWS; room += 10) {
        pycnn_workspace *ws = workspace(q.net, room, PYCNN_FORWARD);
        const pycnn_sequences sequences = {.state = state};
        pycnn_workspace_set_threads(ws, threads);
        CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_OK);
        memset(state, 0, ROWS * REMEMBERED * sizeof *state);
        for (size_t k = 0; k < PARTS; k++) {
            take_part(x, p.x, p.inputs, k);
            take_part(expected, y, p.outputs, k);
            memcpy(before, state, ROWS * REMEMBERED * sizeof *state);
            /* What is drawn reads a state, and leaves it. */
            CHECK(pycnn_predict_samples(part, q.net, ws, p.theta, q.theta_size, x, ROWS,
                                        (uint64_t[]){1}, 1, 0) == PYCNN_OK);
            CHECK(same_bits(part, expected, ROWS * q.outputs));
            CHECK(same_bits(state, before, ROWS * REMEMBERED));
            /* Data are gone through as predictions are. */
            const pycnn_dataset data = {.rows = ROWS, .x = x, .y = q.y};
            pycnn_totals totals;
            CHECK(pycnn_evaluate(&totals, q.net, ws, p.theta, q.theta_size, &data) == PYCNN_OK);
            CHECK(!same_bits(state, before, ROWS * REMEMBERED));
            double *left = copy_doubles(state, ROWS * REMEMBERED);
            memcpy(state, before, ROWS * REMEMBERED * sizeof *state);
            CHECK(pycnn_predict(part, q.net, ws, p.theta, q.theta_size, x, ROWS) == PYCNN_OK);
            CHECK(same_bits(part, expected, ROWS * q.outputs));
            CHECK(same_bits(state, left, ROWS * REMEMBERED));
            free(left);
        }
        CHECK(pycnn_workspace_set_sequences(ws, NULL) == PYCNN_OK);
        CHECK(pycnn_predict(part, q.net, ws, p.theta, q.theta_size, x, ROWS) == PYCNN_OK);
        CHECK(!same_bits(part, expected, ROWS * q.outputs));
        pycnn_workspace_destroy(ws);
    }
    pycnn_workspace_destroy(whole);
    pycnn_threads_destroy(threads);
    free(y), free(x), free(part), free(expected), free(state), free(before);
    free_problem(&p), free_problem(&q);
}

/* Of samples that go through together all go on, or none, whichever thread one fails in. */
static void test_states_stay_where_a_sample_fails(void)
{
    problem p = remembering(2);
    double *y = doubles(ROWS * p.outputs), *x = copy_doubles(p.x, ROWS * p.inputs);
    double *state = random_doubles(3, ROWS * REMEMBERED);
    double *before = copy_doubles(state, ROWS * REMEMBERED);
    pycnn_threads *threads = NULL;
    CHECK(pycnn_threads_create(&threads, 3) == PYCNN_OK);
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_FORWARD);
    pycnn_workspace_set_threads(ws, threads);
    const pycnn_sequences sequences = {.state = state};
    CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_OK);
    for (size_t row = 0; row < ROWS; row += ROWS - 1) {
        x[row * p.inputs] = NAN;
        CHECK(pycnn_predict_finite(y, p.net, ws, p.theta, p.theta_size, x, ROWS) ==
              PYCNN_ERROR_NOT_FINITE);
        CHECK(same_bits(state, before, ROWS * REMEMBERED));
        x[row * p.inputs] = 0;
    }
    CHECK(pycnn_predict_finite(y, p.net, ws, p.theta, p.theta_size, x, ROWS) == PYCNN_OK);
    for (size_t row = 0; row < ROWS; row++) {
        CHECK(!same_bits(state + row * REMEMBERED, before + row * REMEMBERED, REMEMBERED));
    }
    pycnn_workspace_destroy(ws);
    pycnn_threads_destroy(threads);
    free(y), free(x), free(state), free(before);
    free_problem(&p);
}

/* A state that a training goes on from follows its rows, in whatever order they come. */
static void test_a_state_is_its_rows(void)
{
    problem p = remembering(STEPS);
    double *states[2] = {random_doubles(3, ROWS * REMEMBERED), doubles(ROWS * REMEMBERED)};
    double *theta[2];
    size_t order[ROWS];
    problem moved = p;
    moved.x = doubles(ROWS * p.inputs), moved.y = doubles(ROWS * p.outputs);
    moved.data.x = moved.x, moved.data.y = moved.y;
    for (size_t i = 0; i < ROWS; i++) {
        order[i] = (i * 4 + 3) % ROWS;
        memcpy(moved.x + i * p.inputs, p.x + order[i] * p.inputs, p.inputs * sizeof *p.x);
        memcpy(moved.y + i * p.outputs, p.y + order[i] * p.outputs, p.outputs * sizeof *p.y);
        memcpy(states[1] + i * REMEMBERED, states[0] + order[i] * REMEMBERED,
               REMEMBERED * sizeof *p.x);
    }
    for (int k = 0; k < 2; k++) {
        pycnn_workspace *ws = workspace(p.net, 8, PYCNN_BACKWARD);
        const pycnn_sequences sequences = {.state = states[k]};
        const pycnn_training plan = {
            .epochs = 1, .batch_size = 8, .learning_rate = 0.1, .order = k == 0 ? order : NULL};
        pycnn_totals totals;
        CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_OK);
        theta[k] = trained(k == 0 ? &p : &moved, ws, plan, &totals);
        pycnn_workspace_destroy(ws);
    }
    CHECK(same_bits(theta[0], theta[1], p.theta_size));
    for (size_t i = 0; i < ROWS; i++) {
        CHECK(same_bits(states[1] + i * REMEMBERED, states[0] + order[i] * REMEMBERED, REMEMBERED));
    }
    free(theta[0]), free(theta[1]), free(states[0]), free(states[1]);
    free(moved.x), free(moved.y);
    free_problem(&p);
}

static void test_a_predictor_steps_through_a_sequence(void)
{
    problem p = remembering(STEPS), q = remembering(1);
    double *y = doubles(p.outputs), one[CLASSES], first[CLASSES];
    size_t count = 7;
    pycnn_predictor *predictor = NULL;
    pycnn_workspace *ws = workspace(p.net, 1, PYCNN_FORWARD);
    CHECK(pycnn_predictor_create(&predictor, q.net, p.theta, q.theta_size) == PYCNN_OK);
    for (int k = 0; k < 2; k++) { /* each row is a whole sequence, at first */
        CHECK(pycnn_predictor_run(predictor, k == 0 ? first : one, p.x) == PYCNN_OK);
    }
    CHECK(same_bits(one, first, CLASSES));
    double *state = pycnn_predictor_state(predictor, &count);
    CHECK(state != NULL && count == REMEMBERED && largest(state, count) == 0);
    for (size_t i = 0; i < 3; i++) {
        const double *x = p.x + i * p.inputs;
        memset(state, 0, count * sizeof *state);
        CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, x, 1) == PYCNN_OK);
        for (size_t t = 0; t < STEPS; t++) {
            CHECK(pycnn_predictor_run(predictor, one, x + t * FEATURES) == PYCNN_OK);
            CHECK(same_bits(one, y + t * CLASSES, CLASSES));
            CHECK(pycnn_predictor_update(predictor, p.theta, q.theta_size) == PYCNN_OK);
        }
    }
    CHECK(pycnn_predictor_state(predictor, NULL) == state);
    CHECK(pycnn_predictor_state(NULL, &count) == NULL && count == 0);
    pycnn_predictor_destroy(predictor);
    problem none = classifier(1, 1);
    CHECK(pycnn_predictor_create(&predictor, none.net, none.theta, none.theta_size) == PYCNN_OK);
    CHECK(pycnn_predictor_state(predictor, &count) == NULL && count == 0);
    pycnn_predictor_destroy(predictor);
    free(y);
    pycnn_workspace_destroy(ws);
    free_problem(&p), free_problem(&q), free_problem(&none);
}

/* What the predictor itself remembers, or does not, is as it was. */
static void test_a_predictor_steps_through_several_sequences(void)
{
    problem p = remembering(STEPS), q = remembering(1);
    double *y = doubles(ROWS * p.outputs), *states = doubles(ROWS * REMEMBERED);
    double x[ROWS * FEATURES], some[ROWS * CLASSES], own[2][CLASSES];
    pycnn_predictor *predictor = NULL;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_FORWARD);
    CHECK(pycnn_predict(y, p.net, ws, p.theta, p.theta_size, p.x, ROWS) == PYCNN_OK);
    CHECK(pycnn_predictor_create(&predictor, q.net, p.theta, q.theta_size) == PYCNN_OK);
    memset(states, 0, ROWS * REMEMBERED * sizeof *states);
    for (size_t t = 0; t < STEPS; t++) {
        for (size_t i = 0; i < ROWS; i++) {
            memcpy(x + i * FEATURES, p.x + i * p.inputs + t * FEATURES, FEATURES * sizeof *x);
        }
        CHECK(pycnn_predictor_run(predictor, own[t > 0], p.x) == PYCNN_OK);
        CHECK(pycnn_predictor_steps(predictor, some, x, states, ROWS) == PYCNN_OK);
        for (size_t i = 0; i < ROWS; i++) {
            CHECK(same_bits(some + i * CLASSES, y + i * p.outputs + t * CLASSES, CLASSES));
        }
    }
    CHECK(same_bits(own[0], own[1], CLASSES));
    double *state = pycnn_predictor_state(predictor, NULL);
    CHECK(pycnn_predictor_run(predictor, own[0], p.x) == PYCNN_OK);
    CHECK(pycnn_predictor_steps(predictor, some, x, states, ROWS) == PYCNN_OK);
    CHECK(pycnn_predictor_run(predictor, own[1], p.x + FEATURES) == PYCNN_OK);
    CHECK(same_bits(own[1], y + CLASSES, CLASSES) && largest(state, REMEMBERED) > 0);
    CHECK(pycnn_predictor_steps(predictor, some, x, NULL, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_steps(predictor, some, NULL, states, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_steps(predictor, NULL, x, states, ROWS) == PYCNN_ERROR_ARGUMENT);
    CHECK(pycnn_predictor_steps(NULL, some, x, states, ROWS) == PYCNN_ERROR_ARGUMENT);
    pycnn_predictor_destroy(predictor);
    free(y), free(states);
    pycnn_workspace_destroy(ws);
    free_problem(&p), free_problem(&q);
}

/* ---------------------------------------------------------------- a loss of the caller's */

static int half_of_squares(void *context, double *losses, double *gradient, const double *outputs,
                           const double *targets, size_t rows, size_t units)
{
    CHECK(units == CLASSES && rows % STEPS == 0);
    *(size_t *)context += rows;
    for (size_t i = 0; i < rows; i++) {
        losses[i] = 0;
        for (size_t j = i * units; j < (i + 1) * units; j++) {
            const double error = outputs[j] - targets[j];
            losses[i] += 0.5 * error * error;
            if (gradient != NULL) {
                gradient[j] = error;
            }
        }
    }
    return 0;
}

static void test_the_callers_loss_is_of_positions(void)
{
    problem p = make_problem(7, ROWS, STEPS * FEATURES, tagger, DEPTH, PYCNN_MSE);
    problem q = make_problem(7, ROWS, STEPS * FEATURES, tagger, DEPTH, PYCNN_CUSTOM);
    double *grad = doubles(p.parameters), *own = doubles(p.parameters);
    size_t lengths[ROWS], rows = 0;
    pycnn_workspace *ws = workspace(p.net, ROWS, PYCNN_BACKWARD);
    pycnn_workspace *own_ws = workspace(q.net, ROWS, PYCNN_BACKWARD);
    for (size_t i = 0; i < ROWS; i++) {
        lengths[i] = 1 + i % STEPS;
    }
    const pycnn_sequences sequences = {.lengths = lengths};
    CHECK(pycnn_workspace_set_sequences(ws, &sequences) == PYCNN_OK);
    CHECK(pycnn_workspace_set_sequences(own_ws, &sequences) == PYCNN_OK);
    pycnn_workspace_set_loss(own_ws, half_of_squares, &rows);
    p.data.weight = q.data.weight = p.weight;
    pycnn_totals totals, own_totals;
    CHECK(pycnn_gradients(&totals, grad, p.net, ws, p.theta, p.theta_size, &p.data, NULL) ==
          PYCNN_OK);
    q.data.y = p.y, q.data.x = p.x;
    CHECK(pycnn_gradients(&own_totals, own, q.net, own_ws, p.theta, p.theta_size, &q.data, NULL) ==
          PYCNN_OK);
    own_totals.correct = totals.correct; /* such a loss has none */
    CHECK(rows == PLACES && same_totals(&own_totals, &totals));
    CHECK(agree(own, grad, p.parameters, 1e-13));
    free(grad), free(own);
    pycnn_workspace_destroy(ws), pycnn_workspace_destroy(own_ws);
    free_problem(&p), free_problem(&q);
}

/* Lengths count the data's positions, and a pool that sees others has no use for them. */
static void test_lengths_of_other_positions_are_refused(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_SIMPLE_RNN, .units = 2, .shape = {1, 40, 1}, .return_sequences = 1},
        {.kind = PYCNN_AVERAGE_POOL, .shape = {1, 1, 80}, .kernel = {1, 1}},
    };
    size_t lengths[] = {3, 40};
    pycnn_network *net = create(40, layers, 2, PYCNN_MSE);
    pycnn_workspace *ws = workspace(net, 2, PYCNN_FORWARD);
    CHECK(pycnn_workspace_set_sequences(ws, &(pycnn_sequences){.lengths = lengths}) ==
          PYCNN_ERROR_LENGTHS);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
}

/* A window keeps what it has seen in a state, which is the caller's to change. */
static void test_states_of_a_window_may_hold_anything(void)
{
    enum { WINDOW = 4, WIDTH = 2 };
    static const double counts[] = {1e9, -1, NAN, INFINITY, 2.5};
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_POSITION_EMBEDDING, .shape = {1, 1, WIDTH}, .window = WINDOW},
        {.kind = PYCNN_ATTENTION, .shape = {1, 1, WIDTH}, .heads = 1, .window = WINDOW},
    };
    pycnn_network *net = create(WIDTH, layers, 2, PYCNN_MSE);
    const size_t size = pycnn_network_theta_size(net), numbers = pycnn_network_state_count(net);
    double *theta = random_doubles(1, size), *grad = doubles(size), *state = doubles(numbers);
    double x[WIDTH] = {0.5, -1}, y[WIDTH];
    pycnn_predictor *predictor;
    CHECK(pycnn_predictor_create(&predictor, net, theta, size) == PYCNN_OK);
    size_t count;
    double *kept = pycnn_predictor_state(predictor, &count);
    CHECK(count == numbers);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (size_t k = 0; k < numbers; k++) {
            kept[k] = counts[i];
        }
        CHECK(pycnn_predictor_run(predictor, y, x) == PYCNN_OK);
    }
    pycnn_predictor_destroy(predictor);

    /* There is no way back to what came before. */
    pycnn_workspace *ws = workspace(net, 1, PYCNN_BACKWARD);
    const pycnn_dataset data = {.rows = 1, .x = x, .y = x};
    pycnn_totals totals;
    memset(state, 0, numbers * sizeof *state);
    CHECK(pycnn_workspace_set_sequences(ws, &(pycnn_sequences){.state = state}) == PYCNN_OK);
    CHECK(pycnn_evaluate(&totals, net, ws, theta, size, &data) == PYCNN_OK);
    CHECK(pycnn_gradients(&totals, grad, net, ws, theta, size, &data, NULL) == PYCNN_ERROR_LENGTHS);
    pycnn_workspace_destroy(ws);
    pycnn_network_destroy(net);
    free(theta), free(grad), free(state);
}

const test sequence_tests[] = {
    FOR_EACH_SET("lengths of other positions are refused",
                 test_lengths_of_other_positions_are_refused),
    FOR_EACH_SET("states of a window may hold anything", test_states_of_a_window_may_hold_anything),
    FOR_EACH_SET("each position is as a sample", test_each_position_is_as_a_sample),
    FOR_EACH_SET("a softmax within is of each position", test_a_softmax_within_is_of_each_position),
    FOR_EACH_SET("each position has a loss", test_each_position_has_a_loss),
    FOR_EACH_SET("labels are of positions", test_labels_are_of_positions),
    FOR_EACH_SET("what lies behind a length is not there",
                 test_what_lies_behind_a_length_is_not_there),
    ONCE("lengths are refused", test_lengths_are_refused),
    FOR_EACH_SET("parts of sequences go on", test_parts_of_sequences_go_on),
    FOR_EACH_SET("states stay where a sample fails", test_states_stay_where_a_sample_fails),
    FOR_EACH_SET("a state is its row's", test_a_state_is_its_rows),
    FOR_EACH_SET("a predictor steps through a sequence", test_a_predictor_steps_through_a_sequence),
    FOR_EACH_SET("a predictor steps through several sequences",
                 test_a_predictor_steps_through_several_sequences),
    FOR_EACH_SET("the caller's loss is of positions", test_the_callers_loss_is_of_positions),
    {0},
};
