/* What the suites share: checks, numbers, and networks and data to test on. */
#include "check.h"
#include "plan.h"

#ifdef HAVE_POSIX
#include <unistd.h>
#endif

/* ---------------------------------------------------------------- checks and numbers */

_Atomic size_t checks_passed, checks_failed; /* some suites check on several threads */

bool check_at(bool good, const char *what, const char *file, int line)
{
    if (good) {
        checks_passed++;
    } else if (checks_failed++ < 20) {
        printf("%s:%d: failed: %s\n", file, line, what);
    }
    return good;
}

double not_null;

void *checked_malloc(size_t size)
{
    void *block = malloc(size);
    if (block == NULL) {
        printf("the test program itself is out of memory\n");
        exit(EXIT_FAILURE);
    }
    return block;
}

double *doubles(size_t count) { return checked_malloc((count + 1) * sizeof(double)); }

/* splitmix64: the same numbers everywhere. */
static uint64_t next_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_value(uint64_t *state)
{
    return (double)(next_bits(state) >> 11) / (double)(1ull << 52) - 1;
}

double *random_doubles(uint64_t seed, size_t count)
{
    double *values = doubles(count);
    for (size_t i = 0; i < count; i++) {
        values[i] = random_value(&seed);
    }
    return values;
}

double *copy_doubles(const double *source, size_t count)
{
    double *copy = doubles(count);
    memcpy(copy, source, count * sizeof *copy);
    return copy;
}

const char *path_for_tests(void)
{
    static char path[300];
    long process = 0;
    const char *folder = getenv("TMPDIR");
#ifdef HAVE_POSIX
    process = (long)getpid();
    folder = folder == NULL ? "/tmp" : folder;
#endif
    folder = folder == NULL ? "." : folder;
    snprintf(path, sizeof path, "%.200s/pycnn_test_%ld.safetensors", folder, process);
    return path;
}

bool same_bits(const void *a, const void *b, size_t count)
{
    return memcmp(a, b, count * sizeof(double)) == 0;
}

double largest(const double *values, size_t count)
{
    double result = 0;
    for (size_t i = 0; i < count; i++) {
        result = fabs(values[i]) > result ? fabs(values[i]) : result;
    }
    return result;
}

bool agree(const double *a, const double *b, size_t count, double tolerance)
{
    const double scale = largest(b, count);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(a[i] - b[i]) <= tolerance * scale)) {
            return false;
        }
    }
    return true;
}

bool near(double a, double b, double tolerance) { return agree(&a, &b, 1, tolerance); }

/* ---------------------------------------------------------------- networks and data to test on */

int output_for(int loss)
{
    switch (loss) {
    case PYCNN_BINARY_CROSSENTROPY: return PYCNN_SIGMOID;
    case PYCNN_CATEGORICAL_CROSSENTROPY: return PYCNN_SOFTMAX;
    case PYCNN_KL_DIVERGENCE: return PYCNN_SOFTMAX;
    case PYCNN_POISSON: return PYCNN_SOFTPLUS;
    default: return PYCNN_LINEAR;
    }
}

double parameter_of(int loss)
{
    return loss == PYCNN_HUBER ? 0.75 : loss == PYCNN_QUANTILE ? 0.25 : 0;
}

pycnn_network *create(size_t inputs, const pycnn_layer_spec *layers, size_t depth, int loss)
{
    pycnn_network *net = NULL;
    if (!CHECK(pycnn_network_create(&net, inputs, layers, depth, loss, parameter_of(loss)) ==
               PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    return net;
}

pycnn_workspace *workspace(const pycnn_network *net, size_t batch, int mode)
{
    pycnn_workspace *ws = NULL;
    if (!CHECK(pycnn_workspace_create(&ws, net, batch, mode) == PYCNN_OK)) {
        exit(EXIT_FAILURE);
    }
    return ws;
}

void free_problem(problem *p)
{
    pycnn_network_destroy(p->net);
    free(p->theta);
    free(p->x);
    free(p->y);
    free(p->weight);
    free(p->label);
}

problem make_problem(uint64_t seed, size_t rows, size_t inputs, const pycnn_layer_spec *layers,
                     size_t depth, int loss)
{
    problem p = {.inputs = inputs, .net = create(inputs, layers, depth, loss)};
    p.outputs = pycnn_network_outputs(p.net);
    p.parameters = pycnn_network_parameter_count(p.net);
    p.theta_size = pycnn_network_theta_size(p.net);
    for (size_t l = 0; l < p.net->depth; l++) {
        p.units += p.net->layers[l].traced ? p.net->layers[l].fan_out : 0;
    }
    p.theta = random_doubles(seed, p.parameters);
    p.x = random_doubles(seed + 1, rows * inputs);
    p.weight = random_doubles(seed + 2, rows);
    p.y = doubles(rows * p.outputs);
    const size_t positions = pycnn_network_positions(p.net), features = p.outputs / positions;
    p.label = checked_malloc((rows * positions + 1) * sizeof *p.label);
    memset(p.y, 0, rows * p.outputs * sizeof *p.y);
    uint64_t state = seed + 3;
    for (size_t i = 0; i < rows; i++) {
        p.weight[i] += 1.5;
    }
    for (size_t i = 0; i < rows * positions; i++) {
        p.label[i] = next_bits(&state) % features;
        p.y[i * features + p.label[i]] = 1;
    }
    p.data = (pycnn_dataset){.rows = rows, .x = p.x, .y = p.y};
    return p;
}

problem classifier(uint64_t seed, size_t rows)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 7), DENSE(PYCNN_RELU, 6),
                                              DENSE(PYCNN_SOFTMAX, 3)};
    return make_problem(seed, rows, 5, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
}

problem image_classifier(uint64_t seed, size_t rows)
{
    static const pycnn_layer_spec layers[] = {{.kind = PYCNN_CONVOLUTION,
                                               .activation = PYCNN_GELU,
                                               .units = 5,
                                               .shape = {4, 5, 2},
                                               .kernel = {3, 2},
                                               .padding = PYCNN_SAME},
                                              {.kind = PYCNN_CONVOLUTION,
                                               .activation = PYCNN_RELU,
                                               .units = 9,
                                               .shape = {4, 5, 5},
                                               .kernel = {2, 3},
                                               .strides = {1, 2},
                                               .no_bias = 1},
                                              DENSE(PYCNN_SOFTMAX, 3)};
    return make_problem(seed, rows, 40, layers, 3, PYCNN_CATEGORICAL_CROSSENTROPY);
}

/* ---------------------------------------------------------------- what they compute */

double *trained(const problem *p, pycnn_workspace *ws, pycnn_training state, pycnn_totals *totals)
{
    double *theta = copy_doubles(p->theta, p->parameters);
    memset(totals, 0, state.epochs * sizeof *totals);
    state.totals = totals;
    size_t steps = 0;
    CHECK(pycnn_train(&steps, theta, p->theta_size, &state, p->net, ws, &p->data, SIZE_MAX) ==
          PYCNN_OK);
    CHECK(state.epoch == state.epochs && state.position == 0);
    const size_t rows = p->data.rows, size = state.batch_size;
    CHECK(steps == state.epochs * (rows / size + (rows % size != 0)));
    return theta;
}

double *compute_everything(size_t rows, size_t *count, pycnn_threads *threads)
{
    static const pycnn_layer_spec layers[] = {DENSE(PYCNN_TANH, 65), DENSE(PYCNN_SIGMOID, 129),
                                              DENSE(PYCNN_RELU, 43), DENSE(PYCNN_SOFTMAX, 10)};
    problem p = make_problem(7, rows, 37, layers, 4, PYCNN_CATEGORICAL_CROSSENTROPY);
    for (size_t i = 0; i < p.parameters; i++) {
        p.theta[i] *= 0.2;
    }
    p.data.weight = p.weight;
    pycnn_workspace *ws = workspace(p.net, rows, PYCNN_TRACE);
    pycnn_workspace_set_threads(ws, threads);
    const size_t traced = p.units * rows;
    *count = 2 * p.parameters + 3 * traced + rows * (p.inputs + p.outputs);
    double *all = doubles(*count), *at = all;
    pycnn_totals totals, epochs[3];
    const pycnn_training plan = {.epochs = 3, .batch_size = 70, .learning_rate = 0.5};
    CHECK(pycnn_trace(&totals, at, at + p.parameters, at + p.parameters + traced,
                      at + p.parameters + 2 * traced, p.net, ws, p.theta, p.theta_size,
                      &p.data) == PYCNN_OK);
    at += p.parameters + 3 * traced;
    CHECK(pycnn_input_gradient(at, p.net, ws, p.theta, p.theta_size, &p.data) == PYCNN_OK);
    at += rows * p.inputs;
    double *theta = trained(&p, ws, plan, epochs);
    memcpy(at, theta, p.parameters * sizeof *at);
    at += p.parameters;
    CHECK(pycnn_predict(at, p.net, ws, theta, p.theta_size, p.x, rows) == PYCNN_OK);
    free(theta);
    pycnn_workspace_destroy(ws);
    free_problem(&p);
    return all;
}

/* ---------------------------------------------------------------- instruction sets */

const char *const instruction_sets[SET_COUNT] = {"avx512", "avx2", "neon", "wasm", "baseline"};
