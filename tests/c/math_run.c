/* Evaluates the core's own functions, for test_kernels.py:
 *
 *     math_run exp|log|log1p|tanh|gelu|... < doubles > doubles
 *     math_run softmax UNITS               < doubles > doubles      columns of UNITS values each
 *
 * It is compiled once for each instruction set, with -DKERNELS_AVX512, -DKERNELS_AVX2,
 * -DKERNELS_NEON or -DKERNELS_BASELINE: it includes that set's functions, since exp and log1p have
 * no name outside.
 */
#if defined(KERNELS_AVX512)
#include "kernels_avx512.c"
#define TARGET BEGIN_TARGET("avx512f,avx2,fma", 512)
#elif defined(KERNELS_AVX2)
#include "kernels_avx2.c"
#define TARGET BEGIN_TARGET("avx2,fma", 256)
#elif defined(KERNELS_NEON)
#include "kernels_neon.c"
#define TARGET
#undef END_TARGET
#define END_TARGET
#elif defined(KERNELS_BASELINE)
#include "activation.c"
#define TARGET
#define END_TARGET
#define LANES 1
#define SUFFIX(name) name
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define EACH(i, count) for (size_t i = 0; i < (count); i++)
#endif

#include <stdio.h>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#endif

TARGET

static void exp_forward(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, exponential(LOAD(z + i))); }
}

static void log_forward(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, logarithm(LOAD(z + i))); }
}

static void log1p_forward(double *a, const double *z, size_t units, size_t stride)
{
    EACH(i, units * stride) { STORE(a + i, log_one_plus(LOAD(z + i), 1 / (1 + LOAD(z + i)))); }
}

END_TARGET

static const struct {
    const char *name;
    void (*forward)(double *a, const double *z, size_t units, size_t stride);
} functions[] = {
    {"exp", exp_forward},
    {"log", log_forward},
    {"log1p", log1p_forward},
    {"tanh", SUFFIX(tanh_forward)},
    {"sigmoid", SUFFIX(sigmoid_forward)},
    {"relu", SUFFIX(relu_forward)},
    {"softmax", SUFFIX(softmax_forward)},
    {"leaky_relu", SUFFIX(leaky_relu_forward)},
    {"elu", SUFFIX(elu_forward)},
    {"selu", SUFFIX(selu_forward)},
    {"gelu", SUFFIX(gelu_forward)},
    {"gelu_tanh", SUFFIX(gelu_tanh_forward)},
    {"silu", SUFFIX(silu_forward)},
    {"softplus", SUFFIX(softplus_forward)},
    {"softsign", SUFFIX(softsign_forward)},
    {"hard_sigmoid", SUFFIX(hard_sigmoid_forward)},
    {"hard_tanh", SUFFIX(hard_tanh_forward)},
};

int main(int argc, char **argv)
{
    static double z[1 << 20], a[1 << 20]; /* zeros behind what is read */
#if defined(_WIN32)
    _setmode(_fileno(stdin), _O_BINARY), _setmode(_fileno(stdout), _O_BINARY);
#endif
    const size_t count = fread(z, sizeof *z, sizeof z / sizeof *z, stdin);
    const bool columns = argc > 2;
    const size_t units = columns ? strtoul(argv[2], NULL, 10) : 1;
    const size_t samples = count / units;
    for (size_t i = 0; argc > 1 && i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(argv[1], functions[i].name) != 0) {
            continue;
        }
        /* One column at a time is a path of its own: stride 1. */
        for (size_t j = 0; columns && j < samples; j++) {
            functions[i].forward(a + j * units, z + j * units, units, 1);
        }
        if (!columns) {
            functions[i].forward(a, z, 1, (count + LANES - 1) / LANES * LANES);
        }
        return fwrite(a, sizeof *a, count, stdout) != count;
    }
    return 2;
}
