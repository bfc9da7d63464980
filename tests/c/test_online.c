/* Mini-batches of a few samples, which train in a layout of their own. */
#include "check.h"

/* Mini-batches of a few samples train in a layout of their own: with the bits of the others. Here a
 * batch size that is larger than the data asks for the general way. */
static void test_few_samples_train_as_many_do(void)
{
    static const size_t widths[] = {1, 2, 4, 5, 8, 9, 16, 17, 33};
    enum { WIDTHS = sizeof widths / sizeof *widths, EPOCHS = 5 };
    for (size_t n = 0; n < 3 * ACTIVATIONS * ACTIVATIONS; n++) {
        const size_t rows = 1 + n % 4;
        const int loss = (int)(n / 4 % (LOSSES + 1)) % LOSSES; /* mse twice, */
        const int end =
            loss == PYCNN_MSE ? (int)(n % ACTIVATIONS) : output_for(loss); /* with all */
        const pycnn_layer_spec layers[] = {
            DENSE((int)(n / 3 % ACTIVATIONS), widths[n % WIDTHS]),
            DENSE((int)(n / 3 / ACTIVATIONS), widths[n / WIDTHS % WIDTHS]), DENSE(end, 1 + n % 11)};
        problem p = make_problem(n, rows, 1 + n % 18, layers + n % 3, 3 - n % 3, loss);
        p.data.weight = n % 2 ? p.weight : NULL;
        pycnn_workspace *ws = workspace(p.net, 4, PYCNN_BACKWARD);
        pycnn_totals totals[2][EPOCHS];
        pycnn_training plan = {.epochs = EPOCHS, .batch_size = 1000, .learning_rate = 0.01};
        double *general = trained(&p, ws, plan, totals[0]);
        plan.batch_size = rows;
        double *few = trained(&p, ws, plan, totals[1]);
        CHECK(same_bits(general, few, p.parameters));
        CHECK(same_bits(totals[0], totals[1], 3 * EPOCHS));
        free(general), free(few);
        pycnn_workspace_destroy(ws);
        free_problem(&p);
    }
}

const test online_tests[] = {
    FOR_EACH_SET("few samples train as many do", test_few_samples_train_as_many_do),
    {0},
};
