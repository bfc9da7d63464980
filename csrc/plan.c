/* Making the plan: a list of layers, each of which reads what earlier ones give. */
#include "mode.h"
#include "plan.h"

/* Layers within layers within ...: each takes a little of the stack. And in all: specs may share
 * those within them, so that a few make up any number. */
enum { MOST_NESTED = 250, MOST_LAYERS = 1 << 20 };

/* What is wrong with a network that cannot be, and with which of its layers, in the order in which
 * they are written: a composite one, its inner layers, its shortcut, the next. */
typedef struct {
    const char *why;
    size_t layer; /* or NO_LAYER */
} refusal;

static int refuse(refusal *found, int status, size_t layer, const char *why)
{
    *found = (refusal){why, layer};
    return status;
}

/* Adds the number of layers, those that they are made of included. Those counted are in front; what
 * `specs` are a part of is the last one. */
static int count_layers(size_t *count, refusal *found, const pycnn_layer_spec *specs, size_t depth,
                        size_t level)
{
    const size_t whole = level == 0 ? NO_LAYER : *count - 1;
    if (specs == NULL) {
        return refuse(found, PYCNN_ERROR_ARGUMENT, whole, "there is no list of layers: it is NULL");
    }
    if (depth == 0) {
        return refuse(found, PYCNN_ERROR_SIZE, whole, "the list of layers is empty");
    }
    if (level > MOST_NESTED) {
        return refuse(found, PYCNN_ERROR_SIZE, whole, "layers are nested too deeply");
    }
    for (const pycnn_layer_spec *spec = specs; spec < specs + depth; spec++) {
        const layer_ops *ops = pycnn_layer_ops(spec->kind);
        if (*count == MOST_LAYERS) {
            return refuse(found, PYCNN_ERROR_SIZE, *count, "there are too many layers");
        }
        if (ops == NULL) {
            return refuse(found, PYCNN_ERROR_ARGUMENT, *count, "kind is no pycnn_layer_kind");
        }
        if (!IS_RESERVED(spec)) {
            return refuse(found, PYCNN_ERROR_ARGUMENT, *count, "reserved must be 0");
        }
        ++*count;
        if (ops->compose != NULL) {
            TRY(count_layers(count, found, spec->inner, spec->inner_depth, level + 1));
        }
        if (ops->compose != NULL && spec->shortcut != NULL) {
            TRY(count_layers(count, found, spec->shortcut, 1, level + 1));
        }
    }
    return PYCNN_OK;
}

size_t pycnn_plan_width(const pycnn_network *net, size_t l)
{
    return l == THE_DATA ? net->inputs : net->layers[l].fan_out;
}

/* Sums over the layers, and what holds of the network where it holds of one of them. */
static int add_up(pycnn_network *net, const layer *self)
{
    net->penalized = net->penalized || self->l1 > 0 || self->l2 > 0;
    net->constrained = net->constrained || self->max_norm > 0;
    net->needs_batch = net->needs_batch || self->ops->reduce != NULL;
    net->sums_samples = net->sums_samples || self->sums_samples;
    net->has_window = net->has_window || self->window > 0;
    net->shares_gradient = net->shares_gradient || self->shares_gradient;
    net->widest = self->fan_out > net->widest ? self->fan_out : net->widest;
    net->tensor_count += self->tensor_count;
    net->statistic_tensor_count += self->statistic_tensor_count;
    net->scratch = MAX(net->scratch, self->scratch);
    net->slice_by_slice = net->slice_by_slice || self->slice_by_slice;
    net->takes_lengths = net->takes_lengths && (self->knows_lengths || !self->has_lengths);
    TRY(add_product(&net->state_count, self->state_count, 1));
    TRY(add_product(&net->work, self->work, 1));
    TRY(add_product(&net->parameter_count, self->parameter_count, 1));
    return add_product(&net->statistic_count, self->statistic_count, 1);
}

/* Has the layers below know who reads them. */
static void connect(pycnn_network *net, layer *self, const size_t inputs[MOST_INPUTS], size_t count)
{
    assert(count == 1 || inputs[0] != inputs[1]);
    self->input_count = count;
    for (size_t k = 0; k < count; k++) {
        self->inputs[k] = inputs[k];
        if (inputs[k] != THE_DATA) {
            layer *below = &net->layers[inputs[k]];
            below->last_reader = self->number;
            below->rows_wanted = below->rows_wanted || self->reads_rows;
            self->has_lengths = self->has_lengths || (below->has_lengths && below->positions > 0);
        } else {
            net->last_reader = self->number;
            self->has_lengths = true;
        }
    }
}

/* The spec and its texts are the caller's, and may be gone when the name is asked for. */
static int keep_name(pycnn_network *net, layer *self, const char *name)
{
    self->named = name != NULL;
    for (size_t i = 0; self->named && name[i] != 0; i++) {
        REQUIRE(i + 1 < MOST_NAME, net, PYCNN_ERROR_SIZE, "name must have less than 32 bytes");
        self->name[i] = name[i];
    }
    return PYCNN_OK;
}

/* Lengths count the positions of the data: a layer that sees others in the same numbers does not
 * know them. */
static void know_lengths(const pycnn_network *net, layer *self, const pycnn_layer_spec *spec)
{
    const bool shaped = self->ops->compose == NULL && spec->shape[2] > 0;
    const size_t seen = shaped ? pycnn_sequence_positions(spec) : self->input_positions;
    self->knows_lengths = self->knows_lengths && (self->vocabulary > 0 || seen == net->steps);
}

/* Appends a layer itself, on top of `inputs`. */
static int append_alone(pycnn_network *net, const pycnn_layer_spec *spec, layer *self,
                        const size_t inputs[MOST_INPUTS], size_t input_count)
{
    self->ops = pycnn_layer_ops(spec->kind);
    self->number = net->depth++;
    self->fan_in = pycnn_plan_width(net, inputs[0]);
    self->offset = net->parameter_count;
    self->statistic_offset = net->statistic_count;
    self->state_offset = net->state_count;
    self->input_positions = inputs[0] == THE_DATA ? net->steps : net->layers[inputs[0]].positions;
    self->parent = NO_LAYER;
    self->first_tensor = net->tensor_count;
    self->first_statistic = net->statistic_tensor_count;
    TRY(keep_name(net, self, spec->name));
    const int status = self->ops->create(self, spec);
    net->refusal = self->refusal;
    TRY(status);
    assert(self->fan_out > 0 && self->weight_count <= self->parameter_count);
    net->steps = self->vocabulary > 0 ? self->fan_in : net->steps; /* tokens are positions */
    connect(net, self, inputs, input_count);
    know_lengths(net, self, spec);
    return add_up(net, self);
}

int pycnn_plan_append(pycnn_network *net, const pycnn_layer_spec *spec, size_t *top, size_t place)
{
    size_t inputs[MOST_INPUTS] = {*top}, input_count = 1, part = net->depth;
    const layer_ops *ops = pycnn_layer_ops(spec->kind);
    const size_t met = net->met++;
    int status = ops->compose == NULL ? PYCNN_OK : ops->compose(net, spec, inputs, &input_count);
    if (status == PYCNN_OK) {
        *top = net->depth;
        for (; part < *top; part++) { /* those that have no nearer one */
            layer *within = &net->layers[part];
            within->parent = within->parent == NO_LAYER ? *top : within->parent;
        }
        net->layers[*top].place = place;
        status = append_alone(net, spec, &net->layers[*top], inputs, input_count);
    }
    if (status != PYCNN_OK && net->refused == NO_LAYER) { /* else it is one within */
        net->refused = met;
    }
    return status;
}

/* Positions of the data's samples, by the first layer that says what it reads, or puts through. */
static size_t find_steps(const pycnn_layer_spec *specs, size_t depth, size_t inputs)
{
    size_t steps = 0;
    for (size_t l = 0; l < depth && steps == 0; l++) {
        const pycnn_layer_spec *spec = &specs[l];
        const bool composite = pycnn_layer_ops(spec->kind)->compose != NULL;
        if (spec->shape[2] > 0 && !composite) {
            const size_t positions = pycnn_sequence_positions(spec);
            return positions > 0 && inputs % positions == 0 ? positions : 0;
        }
        if (composite) {
            steps = find_steps(spec->inner, spec->inner_depth, inputs);
        }
    }
    return steps;
}

/* *last: the last layer's place in the order in which they are written */
static int create_layers(pycnn_network *net, const pycnn_layer_spec *specs, size_t depth,
                         size_t *last)
{
    size_t top = THE_DATA;
    net->steps = find_steps(specs, depth, net->inputs);
    for (size_t l = 0; l < depth; l++) {
        *last = net->met;
        TRY(pycnn_plan_append(net, &specs[l], &top, l + 1));
        net->layers[top].traced = true;
    }
    const layer *output = &net->layers[top];
    net->outputs = output->fan_out;
    net->has_sequence = output->positions > 0;
    net->has_lengths = net->has_sequence && output->has_lengths;
    net->positions = net->has_sequence ? output->positions : 1;
    net->features = net->outputs / net->positions;
    net->takes_lengths = net->takes_lengths && net->steps > 0;
    /* The bytes of theta must be countable too. */
    size_t bytes = 0;
    TRY(add_product(&bytes, net->parameter_count, sizeof(double)));
    return add_product(&bytes, net->statistic_count, sizeof(double));
}

/* A loss reads z and f(z) of the last layer. */
static int check_loss(pycnn_network *net, size_t written)
{
    const layer *last = &net->layers[net->depth - 1];
    net->refused = written;
    REQUIRE(!last->writes_z, net, PYCNN_ERROR_ARGUMENT,
            "the last layer must not be one that drops");
    REQUIRE(pycnn_loss_accepts(net->loss, last->f), net, PYCNN_ERROR_PAIRING,
            "this output activation does not go with the loss");
    net->refused = NO_LAYER;
    return PYCNN_OK;
}

/* The kernels that suit the widest layer. */
static int choose_kernels(pycnn_network *net)
{
    net->kernels = pycnn_kernels_find(net->widest);
    RETURN_IF(net->kernels == NULL, PYCNN_ERROR_ISA);
    KEEP_MODE;
    RETURN_IF(!pycnn_kernels_exact(net->kernels), PYCNN_ERROR_BUILD);
    for (size_t l = 0; l < net->depth; l++) {
        layer *self = &net->layers[l];
        self->kernels = net->kernels;
        self->activation = &net->kernels->activations[self->f];
    }
    return PYCNN_OK;
}

static int make_plan(pycnn_network *net, const pycnn_layer_spec *layers, size_t depth)
{
    size_t last = NO_LAYER;
    TRY(create_layers(net, layers, depth, &last));
    TRY(check_loss(net, last));
    return choose_kernels(net);
}

static int check_arguments(refusal *found, size_t inputs, int loss, double loss_parameter)
{
    if (inputs == 0) {
        return refuse(found, PYCNN_ERROR_SIZE, NO_LAYER, "inputs must be at least 1");
    }
    if (loss < 0 || (loss >= PYCNN_LOSS_COUNT && loss != PYCNN_CUSTOM)) {
        return refuse(found, PYCNN_ERROR_ARGUMENT, NO_LAYER, "loss is no pycnn_loss");
    }
    if (!pycnn_loss_takes(loss, loss_parameter)) {
        return refuse(found, PYCNN_ERROR_RANGE, NO_LAYER,
                      "loss_parameter is none that the loss can have");
    }
    return PYCNN_OK;
}

static int create_network(pycnn_network **out, refusal *found, size_t inputs,
                          const pycnn_layer_spec *layers, size_t depth, int loss,
                          double loss_parameter, const pycnn_allocator *allocator)
{
    pycnn_allocator kept;
    *out = NULL;
    TRY(pycnn_keep_allocator(&kept, allocator));
    size_t bytes = sizeof(pycnn_network), count = 0;
    TRY(check_arguments(found, inputs, loss, loss_parameter));
    TRY(count_layers(&count, found, layers, depth, 0));
    TRY(add_product(&bytes, count, sizeof(layer)));
    pycnn_network *net = pycnn_allocate(&kept, bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->allocator = kept;
    net->inputs = net->widest = net->work = inputs; /* to bring a sample in is work too */
    net->loss = loss;
    net->loss_parameter = loss_parameter;
    net->refused = NO_LAYER;
    net->takes_lengths = true;
    const int status = make_plan(net, layers, depth);
    if (status != PYCNN_OK) {
        *found = (refusal){net->refusal, net->refused};
        pycnn_release(&kept, net);
        return status;
    }
    *out = net;
    return PYCNN_OK;
}

int pycnn_network_create(pycnn_network **out, size_t inputs, const pycnn_layer_spec *layers,
                         size_t depth, int loss, double loss_parameter)
{
    return pycnn_network_create_with(out, inputs, layers, depth, loss, loss_parameter, NULL);
}

int pycnn_network_create_with(pycnn_network **out, size_t inputs, const pycnn_layer_spec *layers,
                              size_t depth, int loss, double loss_parameter,
                              const pycnn_allocator *allocator)
{
    refusal ignored;
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    return create_network(out, &ignored, inputs, layers, depth, loss, loss_parameter, allocator);
}

const char *pycnn_network_check(size_t inputs, const pycnn_layer_spec *layers, size_t depth,
                                int loss, double loss_parameter, size_t *layer)
{
    refusal found = {NULL, NO_LAYER};
    pycnn_network *net;
    const int status =
        create_network(&net, &found, inputs, layers, depth, loss, loss_parameter, NULL);
    pycnn_network_destroy(net);
    if (layer != NULL) {
        *layer = found.layer;
    }
    return status == PYCNN_OK ? NULL : found.why != NULL ? found.why : pycnn_strerror(status);
}

void pycnn_network_destroy(pycnn_network *net)
{
    if (net != NULL) {
        pycnn_release(&net->allocator, net);
    }
}

size_t pycnn_network_parameter_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->parameter_count;
}

size_t pycnn_network_statistic_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->statistic_count;
}

size_t pycnn_network_theta_size(const pycnn_network *net)
{
    return net == NULL ? 0 : theta_size_of(net);
}

size_t pycnn_network_inputs(const pycnn_network *net) { return net == NULL ? 0 : net->inputs; }

size_t pycnn_network_outputs(const pycnn_network *net) { return net == NULL ? 0 : net->outputs; }

size_t pycnn_network_positions(const pycnn_network *net)
{
    return net == NULL ? 0 : net->positions;
}

size_t pycnn_network_state_count(const pycnn_network *net)
{
    return net == NULL ? 0 : net->state_count;
}
