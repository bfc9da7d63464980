/* Choosing the kernels; what is made of several of them. */
#include "kernels.h"

#include <math.h>

#include "cpu.h"
#include "simd.h"

const kernel_table *pycnn_kernels_find(size_t width)
{
    /* Best first. A new instruction set is one more row here. */
    static const kernel_table *const tables[] = {
#if HAVE_X86
        &pycnn_kernels_avx512,
        &pycnn_kernels_avx2,
#elif HAVE_NEON
        &pycnn_kernels_neon,
#elif HAVE_WASM
        &pycnn_kernels_wasm,
#endif
        &pycnn_kernels_baseline,
    };
#if defined(PYCNN_NO_GETENV)
    const char *asked = NULL;
#else
    const char *asked = getenv("PYCNN_ISA");
#endif
    const bool any = asked == NULL || *asked == '\0';
    const unsigned features = pycnn_cpu_features();
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const kernel_table *table = tables[i];
        const bool runs = (table->feature & ~features) == 0;
        if (runs && (any ? width >= table->least_width : strcmp(asked, table->name) == 0)) {
            return table;
        }
    }
    return NULL;
}

void pycnn_make_columns(double *columns, size_t stride, const double *weight, const double *bias,
                        const kernel_table *kernels, size_t units, size_t fan_in)
{
    kernels->transpose(columns, stride, weight, fan_in, units, fan_in);
    memcpy(columns + fan_in * stride, bias, units * sizeof *bias);
}

static uint64_t hash_of(uint64_t hash, const double *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3;
    }
    return hash;
}

bool pycnn_kernels_exact(const kernel_table *kernels)
{
    enum { UNITS = 2, SAMPLES = 8, COUNT = UNITS * SAMPLES };
    const uint64_t expected = kernels->feature == 0 ? 0x1fe31c2a2786cdb7 : 0x9d5ac402288ff750;
    double z[COUNT], a[COUNT], y[COUNT], delta[COUNT], loss[SAMPLES], correct[SAMPLES];
    for (size_t i = 0; i < COUNT; i++) {
        z[i] = 0.7 * ((double)i - 9.3);
    }
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t f = 0; f < PYCNN_ACTIVATION_COUNT; f++) {
        kernels->activations[f].forward(a, z, UNITS, SAMPLES);
        hash = hash_of(hash, a, COUNT);
    }
    kernels->activations[PYCNN_SIGMOID].forward(a, z, UNITS, SAMPLES);
    kernels->activations[PYCNN_SOFTMAX].forward(y, z, UNITS, SAMPLES);
    const loss_inputs in = {
        .z = z, .a = a, .y = y, .units = UNITS, .stride = SAMPLES, .parameter = 0.3};
    const loss_outputs out = {.loss = loss, .correct = correct, .delta = delta};
    for (size_t l = 0; l < PYCNN_LOSS_COUNT; l++) {
        kernels->losses[l](&out, &in);
        hash = hash_of(hash_of(hash, loss, SAMPLES), delta, COUNT);
    }
    return hash == expected;
}

double pycnn_norm(double *shrunk, double *x, const kernel_table *kernels, size_t count)
{
    double square = kernels->penalty(x, 0, 2, count); /* sum x^2 */
    *shrunk = isinf(square) ? 0x1p-600 : 1;
    if (*shrunk < 1) {
        for (size_t i = 0; i < count; i++) {
            x[i] *= *shrunk;
        }
        square = kernels->penalty(x, 0, 2, count);
    }
    return sqrt(square);
}

double pycnn_norm_scale(double most, double norm, double shrunk)
{
    return norm > most * shrunk ? most / norm : 1 / shrunk;
}

void pycnn_hold_norm(double *x, double most, const kernel_table *kernels, size_t count)
{
    double shrunk;
    const double norm = pycnn_norm(&shrunk, x, kernels, count);
    const double scale = pycnn_norm_scale(most, norm, shrunk);
    for (size_t k = 0; k < count && scale != 1; k++) {
        x[k] *= scale;
    }
}

size_t pycnn_find_not_finite(const double *x, size_t count)
{
    enum { BLOCK = 64 };
    size_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        double zero[8] = {0}; /* x * 0 is NaN just for infinity and NaN */
        for (size_t j = 0; j < BLOCK; j++) {
            zero[j % 8] += x[i + j] * 0;
        }
        if (zero[0] + zero[1] + zero[2] + zero[3] + zero[4] + zero[5] + zero[6] + zero[7] != 0) {
            break;
        }
    }
    while (i < count && isfinite(x[i])) {
        i++;
    }
    return i;
}
