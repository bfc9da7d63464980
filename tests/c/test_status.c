/* Texts: of each status, the version, the compiler. */
#include "check.h"

static void test_every_status_has_words(void)
{
    for (int a = PYCNN_OK; a <= PYCNN_ERROR_IO; a++) {
        CHECK(strlen(pycnn_strerror(a)) > 5);
        CHECK(strcmp(pycnn_strerror(a), "unknown status") != 0);
        for (int b = PYCNN_OK; b < a; b++) {
            CHECK(strcmp(pycnn_strerror(a), pycnn_strerror(b)) != 0);
        }
    }
    CHECK(strcmp(pycnn_strerror(-1), "unknown status") == 0);
    CHECK(strcmp(pycnn_strerror(PYCNN_ERROR_IO + 1), "unknown status") == 0);
    CHECK(strcmp(pycnn_version(), PYCNN_VERSION) == 0);
    CHECK(strlen(pycnn_isa()) > 0 && strlen(pycnn_compiler()) > 0);
}

const test status_tests[] = {
    FOR_EACH_SET("every status has words", test_every_status_has_words),
    {0},
};
