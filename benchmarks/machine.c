/* The machine's own limits: how many fused multiply-adds a core does, how many bytes it reads, and
 * what lies between two cores. */
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#if defined(__x86_64__)
#define HAVE_X86 1
#else
#define HAVE_X86 0
#endif

/* Enough independent chains to hide a multiply-add's latency on two to four pipes; they and two
 * factors must fit the registers. The factors keep the sums where they are: 1 * 0.5 + 0.5. */
#define DEFINE_LIMITS(name, attributes, bytes, CHAINS)                                         \
    attributes double fma_chains_##name(size_t rounds, double factor, double addend)           \
    {                                                                                          \
        typedef double vector __attribute__((vector_size(bytes)));                             \
        const vector m = (vector){0} + factor, a = (vector){0} + addend;                       \
        vector sum[CHAINS];                                                                    \
        for (int c = 0; c < CHAINS; c++) { sum[c] = (vector){0} + 1.0; }                       \
        for (size_t r = 0; r < rounds; r++) {                                                  \
            _Pragma("GCC unroll 32") for (int c = 0; c < CHAINS; c++) { sum[c] = sum[c] * m + a; } \
        }                                                                                      \
        double total = 0;                                                                      \
        for (int c = 0; c < CHAINS; c++) { total += sum[c][0]; }                               \
        return total;                                                                          \
    }                                                                                          \
    const size_t fma_flops_##name = 2 * CHAINS * (bytes) / sizeof(double);                     \
                                                                                               \
    attributes double read_all_##name(const double *data, size_t count)                        \
    {                                                                                          \
        typedef double vector __attribute__((vector_size(bytes)));                             \
        enum { LANES = (bytes) / sizeof(double), WIDE = 8 };                                   \
        vector sum[WIDE];                                                                      \
        for (int w = 0; w < WIDE; w++) { sum[w] = (vector){0}; }                               \
        for (size_t i = 0; i + WIDE * LANES <= count; i += WIDE * LANES) {                     \
            _Pragma("GCC unroll 8") for (int w = 0; w < WIDE; w++)                             \
            {                                                                                  \
                sum[w] += *(const vector *)(data + i + w * LANES);                             \
            }                                                                                  \
        }                                                                                      \
        double total = 0;                                                                      \
        for (int w = 0; w < WIDE; w++) { total += sum[w][0]; }                                 \
        return total;                                                                          \
    }

#if HAVE_X86
DEFINE_LIMITS(avx512, __attribute__((target("avx512f,fma"))), 64, 12)
DEFINE_LIMITS(avx2, __attribute__((target("avx2,fma"))), 32, 12)
int has_avx512(void) { return __builtin_cpu_supports("avx512f"); }
int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
int has_avx512(void) { return 0; }
int has_avx2(void) { return 0; }
#endif
DEFINE_LIMITS(baseline, , 16, 12)

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void wait_for(_Atomic size_t *turn, size_t value)
{
    while (atomic_load_explicit(turn, memory_order_acquire) != value) {
    }
}

/* Two threads, `who` 0 and 1, hand a word to each other: seconds that one way takes. */
double hand_over(_Atomic size_t *turn, size_t rounds, size_t who)
{
    const double start = seconds();
    for (size_t r = 0; r < rounds; r++) {
        wait_for(turn, 2 * r + who);
        atomic_store_explicit(turn, 2 * r + who + 1, memory_order_release);
    }
    return (seconds() - start) / (2.0 * (double)rounds);
}

enum { MOST_ROUNDS = 100 };

static double median(double *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0 && values[j] < values[j - 1]; j--) {
            const double smaller = values[j];
            values[j] = values[j - 1];
            values[j - 1] = smaller;
        }
    }
    return values[count / 2];
}

/* Thread 0 writes what thread 1 then reads, and takes it back to write it again: each one's seconds
 * in the middle of so many rounds, at most 100. The least would be of rounds in which another core
 * has not had it. */
double write_and_read(_Atomic size_t *turn, double *data, size_t count, size_t rounds, size_t who)
{
    double taken[MOST_ROUNDS];
    for (size_t r = 0; r < rounds; r++) {
        wait_for(turn, 2 * r + who);
        const double start = seconds();
        if (who == 0) {
            for (size_t i = 0; i < count; i++) { data[i] = (double)r; }
        } else {
            const volatile double total = read_all_baseline(data, count);
            (void)total;
        }
        taken[r] = seconds() - start;
        atomic_store_explicit(turn, 2 * r + who + 1, memory_order_release);
    }
    return median(taken, rounds);
}
