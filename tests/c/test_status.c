/* Texts: of each status, the version, the compiler. */
#include "check.h"

static void test_every_status_has_words(void)
{
    for (int a = PYCNN_OK; a <= PYCNN_ERROR_LENGTHS; a++) {
        CHECK(strlen(pycnn_strerror(a)) > 5);
        CHECK(strcmp(pycnn_strerror(a), "unknown status") != 0);
        for (int b = PYCNN_OK; b < a; b++) {
            CHECK(strcmp(pycnn_strerror(a), pycnn_strerror(b)) != 0);
        }
    }
    CHECK(strcmp(pycnn_strerror(-1), "unknown status") == 0);
    CHECK(strcmp(pycnn_strerror(PYCNN_ERROR_LENGTHS + 1), "unknown status") == 0);
    CHECK(strcmp(pycnn_version(), PYCNN_VERSION) == 0);
    CHECK(strlen(pycnn_isa()) > 0 && strlen(pycnn_compiler()) > 0);
}

/* Where another value belongs here, an older program would be misread: PYCNN_ABI is another one. */
static void test_the_layout_is_that_of_the_abi(void)
{
    CHECK(pycnn_abi() == PYCNN_ABI && PYCNN_ABI == 1);
    if (sizeof(void *) == 8) {
        CHECK(sizeof(pycnn_layer_spec) == 328 && offsetof(pycnn_layer_spec, shortcut) == 80);
        CHECK(sizeof(pycnn_tensor) == 104 && offsetof(pycnn_tensor, offset) == 64);
        CHECK(sizeof(pycnn_dataset) == 72 && offsetof(pycnn_dataset, weight) == 32);
        CHECK(sizeof(pycnn_totals) == 24 && offsetof(pycnn_totals, correct) == 16);
        CHECK(sizeof(pycnn_optimizer) == 136 && offsetof(pycnn_optimizer, max_step) == 96);
        CHECK(sizeof(pycnn_training) == 144 && offsetof(pycnn_training, norms) == 104);
    }
}

const test status_tests[] = {
    ONCE("the layout is that of the ABI", test_the_layout_is_that_of_the_abi),
    FOR_EACH_SET("every status has words", test_every_status_has_words),
    {0},
};
