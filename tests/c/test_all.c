// The C core's own test program: it needs nothing but the core.
//
//     cc -O2 -Icsrc csrc/*.c tests/c/check.c tests/c/test_*.c -o test_core -pthread -lm &&
//     ./test_core
//
// With `-include tests/c/failing_malloc.h` it also makes each allocation of the core fail in turn.
// All of it runs once for each instruction set that the machine has, or for that of PYCNN_ISA; with
// arguments only those suites: test_core threads dense. With `best` in front of them it runs for
// the instruction set alone that the core chooses by itself.
#include "check.h"

/* Each is a file. */
extern const test activation_tests[], attention_tests[], convolution_tests[], cpu_tests[],
    dense_tests[], composite_tests[], dropout_tests[], embedding_tests[], file_tests[],
    layer_tests[], loss_tests[], memory_tests[], network_tests[], normalization_tests[],
    online_tests[], optimizer_tests[], pass_tests[], plan_tests[], pool_tests[], position_tests[],
    predictor_tests[], random_tests[], recurrent_tests[], reshape_tests[], sample_tests[],
    generate_tests[], sequence_tests[], status_tests[], tensor_tests[], threads_tests[],
    update_tests[], workspace_tests[];

#define SUITE(name) {#name, name##_tests}
static const struct {
    const char *name;
    const test *tests;
} suites[] = {SUITE(status),    SUITE(cpu),       SUITE(activation),    SUITE(loss),
              SUITE(dense),     SUITE(dropout),   SUITE(normalization), SUITE(composite),
              SUITE(layer),     SUITE(plan),      SUITE(tensor),        SUITE(random),
              SUITE(sample),    SUITE(generate),  SUITE(workspace),     SUITE(pass),
              SUITE(update),    SUITE(optimizer), SUITE(online),        SUITE(predictor),
              SUITE(network),   SUITE(threads),   SUITE(convolution),   SUITE(attention),
              SUITE(position),  SUITE(pool),      SUITE(recurrent),     SUITE(reshape),
              SUITE(embedding), SUITE(sequence),  SUITE(file),          SUITE(memory)};
enum { SUITE_COUNT = sizeof suites / sizeof *suites };

static bool is_asked_for(const char *suite, int count, char **asked)
{
    bool found = count == 0;
    for (int i = 0; i < count; i++) {
        found = found || strcmp(suite, asked[i]) == 0;
    }
    return found;
}

static void run_suites(bool once, int count, char **asked)
{
    for (size_t i = 0; i < SUITE_COUNT; i++) {
        const test *each = suites[i].tests;
        for (; each->run != NULL && is_asked_for(suites[i].name, count, asked); each++) {
            if (each->once == once) {
                const size_t before = checks_failed;
                each->run();
                printf("%s  %-9s %s\n", checks_failed == before ? "ok    " : "FAILED", pycnn_isa(),
                       each->name);
                fflush(stdout);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (pycnn_isa() == NULL) {
        printf("PYCNN_ISA=%s: %s\n", getenv("PYCNN_ISA"), pycnn_strerror(PYCNN_ERROR_ISA));
        return EXIT_FAILURE;
    }
    const int best = argc > 1 && strcmp(argv[1], "best") == 0, count = argc - 1 - best;
    char **asked = argv + 1 + best;
    run_suites(true, count, asked);
    bool all_sets = false;
#ifdef HAVE_POSIX
    const char *isa = getenv("PYCNN_ISA");
    all_sets = !best && (isa == NULL || *isa == '\0');
    for (size_t i = 0; i < SET_COUNT && all_sets; i++) {
        setenv("PYCNN_ISA", instruction_sets[i], 1);
        if (pycnn_isa() != NULL) {
            run_suites(false, count, asked);
        }
    }
#endif
    if (!all_sets) {
        run_suites(false, count, asked);
    }
    printf("%zu passed, %zu failed\n", (size_t)checks_passed, (size_t)checks_failed);
    return checks_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
