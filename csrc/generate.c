/* What a network of tokens writes: each token is drawn by what it makes of those before it, one
 * position at a time. What layers remember stays in the state of a predictor. */
#include "mode.h"
#include "plan.h"
#include "random.h"

struct pycnn_writer {
    pycnn_allocator allocator; /* the network's */
    pycnn_predictor *step;     /* of one position */
    pycnn_predictor *half;     /* of half a window; NULL: that is read one by one, too */
    size_t vocabulary, window; /* positions that can be remembered; 0: any number */
    size_t read;               /* tokens of the text that are in the state */
    size_t state_count;
    double *state, *half_state;
    double *tokens; /* [window / 2] as a predictor reads them */
    double y[];     /* of either */
};

/* The most positions that all layers can remember. */
static size_t window_of(const pycnn_network *net)
{
    size_t window = SIZE_MAX;
    for (size_t l = 0; l < net->depth; l++) {
        const size_t own = net->layers[l].window;
        window = own > 0 && own < window ? own : window;
    }
    return window == SIZE_MAX ? 0 : window;
}

static int check_networks(const pycnn_network *step, const pycnn_network *half)
{
    const size_t vocabulary = step->layers[0].vocabulary;
    RETURN_IF(vocabulary == 0, PYCNN_ERROR_TOKEN);
    RETURN_IF(step->inputs != 1 || step->outputs != vocabulary, PYCNN_ERROR_SIZE);
    RETURN_IF(half == NULL, PYCNN_OK);
    RETURN_IF(half->inputs != window_of(step) / 2 || window_of(half) != window_of(step),
              PYCNN_ERROR_SIZE);
    RETURN_IF(half->layers[0].vocabulary != vocabulary || half->state_count != step->state_count,
              PYCNN_ERROR_SIZE);
    return PYCNN_OK;
}

static int allocate_writer(pycnn_writer **out, const pycnn_network *step, const pycnn_network *half)
{
    const size_t tokens = half == NULL ? 1 : half->inputs;
    size_t bytes = sizeof **out, count = 0;
    TRY(add_product(&count, half == NULL ? step->outputs : MAX(step->outputs, half->outputs), 1));
    const size_t outputs = count;
    TRY(add_product(&count, tokens, 1));
    TRY(add_product(&bytes, count, sizeof(double)));
    pycnn_writer *self = pycnn_allocate(&step->allocator, bytes);
    RETURN_IF(self == NULL, PYCNN_ERROR_MEMORY);
    memset(self, 0, bytes);
    self->allocator = step->allocator;
    self->vocabulary = step->outputs;
    self->window = window_of(step);
    self->tokens = self->y + outputs;
    *out = self;
    return PYCNN_OK;
}

static int make_predictors(pycnn_writer *self, const pycnn_network *step, const pycnn_network *half,
                           const double *theta, size_t theta_size)
{
    TRY(pycnn_predictor_create(&self->step, step, theta, theta_size));
    self->state = pycnn_predictor_state(self->step, &self->state_count);
    if (half != NULL) {
        TRY(pycnn_predictor_create(&self->half, half, theta, theta_size));
        self->half_state = pycnn_predictor_state(self->half, NULL);
    }
    return PYCNN_OK;
}

int pycnn_writer_create(pycnn_writer **out, const pycnn_network *step, const pycnn_network *half,
                        const double *theta, size_t theta_size)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(step == NULL || theta == NULL, PYCNN_ERROR_ARGUMENT);
    TRY(check_networks(step, half));
    pycnn_writer *self;
    TRY(allocate_writer(&self, step, half));
    const int status = make_predictors(self, step, half, theta, theta_size);
    if (status != PYCNN_OK) {
        pycnn_writer_destroy(self);
        return status;
    }
    *out = self;
    return PYCNN_OK;
}

void pycnn_writer_destroy(pycnn_writer *self)
{
    if (self != NULL) {
        pycnn_predictor_destroy(self->step);
        pycnn_predictor_destroy(self->half);
        pycnn_release(&self->allocator, self);
    }
}

/* The token with which the window begins that has so many tokens behind it: when one is full, its
 * last half begins the next. */
static size_t window_begin(const pycnn_writer *self, size_t known)
{
    const size_t window = self->window, step = window - window / 2;
    return window == 0 || known <= window ? 0 : (known - window + step - 1) / step * step;
}

/* The state remembers nothing but the window, from its first token on. */
static void begin(pycnn_writer *self, size_t first)
{
    for (size_t i = 0; i < self->state_count; i++) {
        self->state[i] = 0;
    }
    self->read = first;
}

/* The first half of a window at once, unless it is all that is known: the last token's output is
 * wanted. */
static int read_half(pycnn_writer *self, const size_t *tokens, size_t known)
{
    const size_t count = self->window / 2, bytes = self->state_count * sizeof *self->state;
    if (self->half == NULL || known - self->read <= count) {
        return PYCNN_OK;
    }
    for (size_t i = 0; i < count; i++) {
        self->tokens[i] = (double)tokens[self->read + i];
    }
    memset(self->half_state, 0, bytes);
    TRY(pycnn_predictor_run(self->half, self->y, self->tokens));
    memcpy(self->state, self->half_state, bytes);
    self->read += count;
    return PYCNN_OK;
}

/* Has the state remember all tokens, and y be the last one's output. */
static int read_tokens(pycnn_writer *self, const size_t *tokens, size_t known, bool anew)
{
    const size_t first = window_begin(self, known);
    if (anew || first != window_begin(self, self->read)) {
        begin(self, first);
        TRY(read_half(self, tokens, known));
    }
    for (; self->read < known; self->read++) {
        const double token = (double)tokens[self->read];
        TRY(pycnn_predictor_run(self->step, self->y, &token));
    }
    return PYCNN_OK;
}

int pycnn_writer_run(size_t *done, size_t *tokens, size_t known, size_t count, pycnn_writer *self,
                     const pycnn_sampling *how, uint64_t seed, size_t written)
{
    KEEP_MODE;
    RETURN_IF(done == NULL || tokens == NULL || self == NULL, PYCNN_ERROR_ARGUMENT);
    *done = 0;
    RETURN_IF(known == 0 || written >= known || (written > 0 && self->read + 1 != known),
              PYCNN_ERROR_ARGUMENT);
    for (size_t i = written > 0 ? self->read : window_begin(self, known); i < known; i++) {
        RETURN_IF(tokens[i] >= self->vocabulary, PYCNN_ERROR_TOKEN);
    }
    random_stream stream = pycnn_stream(seed, FOR_GENERATING);
    pycnn_stream_skip(&stream, written, 1);
    for (; *done < count; ++*done) {
        TRY(read_tokens(self, tokens, known + *done, written + *done == 0));
        TRY(pycnn_sample(&tokens[known + *done], self->y, self->vocabulary, how,
                         pycnn_stream_uniform(&stream)));
    }
    return PYCNN_OK;
}
