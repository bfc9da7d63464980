/* Instruction sets: all of them agree. */
#include "check.h"

#ifdef HAVE_POSIX
static void test_instruction_sets_agree(void)
{
    char before[32] = "";
    snprintf(before, sizeof before, "%s", getenv("PYCNN_ISA") == NULL ? "" : getenv("PYCNN_ISA"));
    static const size_t rows[] = {1, 2, 7, 131};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        size_t count = 0;
        setenv("PYCNN_ISA", instruction_sets[BASELINE], 1);
        double *plain = compute_everything(rows[r], &count, NULL), *fused = NULL;
        for (size_t i = 0; i < BASELINE; i++) {
            setenv("PYCNN_ISA", instruction_sets[i], 1);
            if (pycnn_isa() == NULL) {
                continue; /* not this machine's */
            }
            double *result = compute_everything(rows[r], &count, NULL);
            CHECK(agree(result, plain, count, 1e-12));
            CHECK(fused == NULL || same_bits(result, fused, count));
            free(fused);
            fused = result;
        }
        free(plain), free(fused);
    }
    setenv("PYCNN_ISA", "no such set", 1);
    pycnn_network *net = (pycnn_network *)&not_null; /* must become NULL */
    const pycnn_layer_spec layers[] = {DENSE(PYCNN_RELU, 2)};
    CHECK(pycnn_isa() == NULL);
    CHECK(pycnn_network_create(&net, 2, layers, 1, PYCNN_MSE, 0) == PYCNN_ERROR_ISA && net == NULL);
    setenv("PYCNN_ISA", before, 1);
}
#endif

const test cpu_tests[] = {
#ifdef HAVE_POSIX
    ONCE("instruction sets agree", test_instruction_sets_agree),
#endif
    {0},
};
