/* Which instruction sets may run here: what the processor has and the operating system saves. */
#include "cpu.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

unsigned pycnn_cpu_features(void)
{
    enum { OSXSAVE = 1 << 27, FMA = 1 << 12 };  /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, AVX512F = 1 << 16 };  /* leaf 7, ebx */
    enum { YMM_STATE = 0x6, ZMM_STATE = 0xe6 }; /* xcr0 */
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || !(c & FMA)) {
        return 0;
    }
    const uint64_t saved = read_xcr0();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (saved & YMM_STATE) != YMM_STATE) {
        return 0;
    }
    unsigned features = 0;
    if (b & AVX2) {
        features |= CPU_AVX2;
        if ((b & AVX512F) && (saved & ZMM_STATE) == ZMM_STATE) {
            features |= CPU_AVX512;
        }
    }
    return features;
}

#elif defined(__aarch64__)

unsigned pycnn_cpu_features(void) { return CPU_NEON; } /* part of the architecture */

#elif defined(__wasm_relaxed_simd__)
#include <wasm_simd128.h>

/* Relaxed: whether a product is rounded before it is added to, the engine decides. */
unsigned pycnn_cpu_features(void)
{
    const volatile double above_one = 1 + 0x1p-30, its_square = 1 + 0x1p-29; /* rounded */
    const v128_t a = wasm_f64x2_splat(above_one), c = wasm_f64x2_splat(-its_square);
    return wasm_f64x2_extract_lane(wasm_f64x2_relaxed_madd(a, a, c), 0) == 0 ? 0 : CPU_WASM;
}

#else

unsigned pycnn_cpu_features(void) { return 0; }

#endif
