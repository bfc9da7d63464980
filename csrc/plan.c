/* Making the plan: each layer on top of the one before. */
#include "plan.h"

static int create_layer(pycnn_network *net, layer *self, const pycnn_layer_spec *spec)
{
    self->ops = pycnn_layer_ops(spec->kind);
    RETURN_IF(self->ops == NULL, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!(spec->l1 >= 0 && spec->l2 >= 0), PYCNN_ERROR_ARGUMENT);
    self->l1 = spec->l1;
    self->l2 = spec->l2;
    self->offset = net->parameter_count;
    self->statistic_offset = net->statistic_count;
    TRY(self->ops->create(self, spec));
    assert(self->fan_out > 0 && self->weight_count <= self->parameter_count);
    net->penalized = net->penalized || self->l1 > 0 || self->l2 > 0;
    net->constrained = net->constrained || self->max_norm > 0;
    net->meets = net->meets || self->ops->meet != NULL;
    net->chains = net->chains || self->sums_samples;
    net->widest = self->fan_out > net->widest ? self->fan_out : net->widest;
    TRY(add_product(&net->work, self->work, 1));
    TRY(add_product(&net->parameter_count, self->parameter_count, 1));
    return add_product(&net->statistic_count, self->statistic_count, 1);
}

static int create_layers(pycnn_network *net, const pycnn_layer_spec *specs)
{
    size_t fan_in = net->inputs;
    for (size_t l = 0; l < net->depth; l++) {
        layer *self = &net->layers[l];
        self->fan_in = fan_in;
        self->number = l;
        TRY(create_layer(net, self, &specs[l]));
        if (l > 0) {
            net->layers[l - 1].rows_wanted = self->reads_rows;
        }
        fan_in = self->fan_out;
    }
    net->outputs = fan_in;
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

static int make_plan(pycnn_network *net, const pycnn_layer_spec *layers)
{
    TRY(create_layers(net, layers));
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
    size_t bytes = sizeof(pycnn_network);
    TRY(add_product(&bytes, depth, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = net->widest = net->work = inputs; /* to bring a sample in is work too */
    net->depth = depth;
    net->loss = loss;
    net->loss_parameter = loss_parameter;
    const int status = make_plan(net, layers);
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
