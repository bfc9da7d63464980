/* Making the plan: a list of layers, each of which reads what earlier ones give. */
#include "plan.h"

/* Layers within layers within ...: each takes a little of the stack. And in all: specs may share
 * those within them, so that a few make up any number. */
enum { MOST_NESTED = 250, MOST_LAYERS = 1 << 20 };

/* Adds the number of layers, those that they are made of included. */
static int count_layers(size_t *count, const pycnn_layer_spec *specs, size_t depth, size_t level)
{
    RETURN_IF(specs == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(depth == 0 || depth > MOST_LAYERS || level > MOST_NESTED, PYCNN_ERROR_SIZE);
    for (const pycnn_layer_spec *spec = specs; spec < specs + depth; spec++) {
        const layer_ops *ops = pycnn_layer_ops(spec->kind);
        RETURN_IF(ops == NULL, PYCNN_ERROR_ARGUMENT);
        RETURN_IF(++*count > MOST_LAYERS, PYCNN_ERROR_SIZE);
        if (ops->compose != NULL) {
            TRY(count_layers(count, spec->inner, spec->inner_depth, level + 1));
        }
        if (ops->compose != NULL && spec->shortcut != NULL) {
            TRY(count_layers(count, spec->shortcut, 1, level + 1));
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
    net->widest = self->fan_out > net->widest ? self->fan_out : net->widest;
    net->tensor_count += self->tensor_count;
    net->statistic_tensor_count += self->statistic_tensor_count;
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
        }
    }
}

int pycnn_plan_append(pycnn_network *net, const pycnn_layer_spec *spec, size_t *top, size_t place)
{
    size_t inputs[MOST_INPUTS] = {*top}, input_count = 1, part = net->depth;
    const layer_ops *ops = pycnn_layer_ops(spec->kind);
    if (ops->compose != NULL) {
        TRY(ops->compose(net, spec, inputs, &input_count));
    }
    *top = net->depth++;
    for (; part < *top; part++) { /* those that have no nearer one */
        layer *within = &net->layers[part];
        within->parent = within->parent == NO_LAYER ? *top : within->parent;
    }
    layer *self = &net->layers[*top];
    self->ops = ops;
    self->parent = NO_LAYER;
    self->place = place;
    self->first_tensor = net->tensor_count;
    self->first_statistic = net->statistic_tensor_count;
    self->number = *top;
    self->fan_in = pycnn_plan_width(net, inputs[0]);
    self->offset = net->parameter_count;
    self->statistic_offset = net->statistic_count;
    TRY(ops->create(self, spec));
    assert(self->fan_out > 0 && self->weight_count <= self->parameter_count);
    connect(net, self, inputs, input_count);
    return add_up(net, self);
}

static int create_layers(pycnn_network *net, const pycnn_layer_spec *specs, size_t depth)
{
    size_t top = THE_DATA;
    for (size_t l = 0; l < depth; l++) {
        TRY(pycnn_plan_append(net, &specs[l], &top, l + 1));
        net->layers[top].traced = true;
    }
    net->outputs = pycnn_plan_width(net, top);
    /* The bytes of theta must be countable too. */
    size_t bytes = 0;
    TRY(add_product(&bytes, net->parameter_count, sizeof(double)));
    return add_product(&bytes, net->statistic_count, sizeof(double));
}

/* A loss reads z and f(z) of the last layer. */
static int check_loss(const pycnn_network *net)
{
    const layer *last = &net->layers[net->depth - 1];
    RETURN_IF(last->writes_z, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!pycnn_loss_accepts(net->loss, last->f), PYCNN_ERROR_PAIRING);
    return PYCNN_OK;
}

/* The kernels that suit the widest layer. */
static int choose_kernels(pycnn_network *net)
{
    net->kernels = pycnn_kernels_find(net->widest);
    RETURN_IF(net->kernels == NULL, PYCNN_ERROR_ISA);
    for (size_t l = 0; l < net->depth; l++) {
        layer *self = &net->layers[l];
        self->kernels = net->kernels;
        self->activation = &net->kernels->activations[self->f];
    }
    return PYCNN_OK;
}

static int make_plan(pycnn_network *net, const pycnn_layer_spec *layers, size_t depth)
{
    TRY(create_layers(net, layers, depth));
    TRY(check_loss(net));
    return choose_kernels(net);
}

int pycnn_network_create(pycnn_network **out, size_t inputs, const pycnn_layer_spec *layers,
                         size_t depth, int loss, double loss_parameter)
{
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    RETURN_IF(layers == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(inputs == 0 || depth == 0, PYCNN_ERROR_SIZE);
    RETURN_IF(loss < 0 || (loss >= PYCNN_LOSS_COUNT && loss != PYCNN_CUSTOM), PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!pycnn_loss_takes(loss, loss_parameter), PYCNN_ERROR_ARGUMENT);
    size_t bytes = sizeof(pycnn_network), count = 0;
    TRY(count_layers(&count, layers, depth, 0));
    TRY(add_product(&bytes, count, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = net->widest = net->work = inputs; /* to bring a sample in is work too */
    net->loss = loss;
    net->loss_parameter = loss_parameter;
    const int status = make_plan(net, layers, depth);
    if (status != PYCNN_OK) {
        PYCNN_FREE(net);
        return status;
    }
    *out = net;
    return PYCNN_OK;
}

void pycnn_network_destroy(pycnn_network *net) { PYCNN_FREE(net); }

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
