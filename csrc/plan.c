/* Making the plan: each layer on top of the one before. */
#include "plan.h"

static int create_layers(pycnn_network *net, const pycnn_layer_spec *specs)
{
    size_t fan_in = net->inputs;
    for (size_t l = 0; l < net->depth; l++) {
        layer *self = &net->layers[l];
        self->ops = pycnn_layer_ops(specs[l].kind);
        RETURN_IF(self->ops == NULL, PYCNN_ERROR_ARGUMENT);
        self->kernels = net->kernels;
        self->fan_in = fan_in;
        self->offset = net->parameter_count;
        self->statistic_offset = net->statistic_count;
        self->number = l;
        TRY(self->ops->create(self, &specs[l]));
        RETURN_IF(!(specs[l].l1 >= 0 && specs[l].l2 >= 0), PYCNN_ERROR_ARGUMENT);
        self->l1 = specs[l].l1;
        self->l2 = specs[l].l2;
        net->penalized = net->penalized || self->l1 > 0 || self->l2 > 0;
        net->constrained = net->constrained || self->max_norm > 0;
        net->meets = net->meets || self->ops->meet != NULL;
        net->chains = net->chains || self->ops->chains;
        TRY(add_product(&net->parameter_count, self->parameter_count, 1));
        TRY(add_product(&net->statistic_count, self->statistic_count, 1));
        fan_in = self->fan_out;
    }
    net->outputs = fan_in;
    /* The bytes of theta must be countable too. */
    size_t bytes = 0;
    TRY(add_product(&bytes, net->parameter_count, sizeof(double)));
    return add_product(&bytes, net->statistic_count, sizeof(double));
}

static size_t widest(size_t inputs, const pycnn_layer_spec *layers, size_t depth)
{
    size_t width = inputs; /* layers other than the dense have that of one before them */
    for (size_t l = 0; l < depth; l++) {
        width = layers[l].kind == PYCNN_DENSE && layers[l].units > width ? layers[l].units : width;
    }
    return width;
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
    RETURN_IF(layers[depth - 1].kind == PYCNN_DROPOUT, PYCNN_ERROR_ARGUMENT);
    RETURN_IF(!pycnn_loss_accepts(loss, layers[depth - 1].activation), PYCNN_ERROR_PAIRING);
    const size_t width = widest(inputs, layers, depth);
    const kernel_table *kernels = pycnn_kernels_find(width);
    RETURN_IF(kernels == NULL, PYCNN_ERROR_ISA);

    size_t bytes = sizeof(pycnn_network);
    TRY(add_product(&bytes, depth, sizeof(layer)));
    pycnn_network *net = PYCNN_MALLOC(bytes);
    RETURN_IF(net == NULL, PYCNN_ERROR_MEMORY);
    memset(net, 0, bytes);
    net->inputs = inputs;
    net->depth = depth;
    net->loss = loss;
    net->loss_parameter = loss_parameter;
    net->kernels = kernels;
    net->widest = width;
    const int status = create_layers(net, layers);
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
