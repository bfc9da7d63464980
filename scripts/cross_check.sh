#!/usr/bin/env bash
# Compiles the C core and its test programs without warnings for every platform that a compiler here
# can reach, and runs them where they can be run. Longer than CI has patience for.
#
#     scripts/cross_check.sh [FOLDER]        programs go there; by default into a temporary folder
#
# Uses what it finds, and says what it does without:
#     gcc, clang or clang-N             native
#     aarch64-linux-gnu-gcc             64-bit ARM (Debian: gcc-aarch64-linux-gnu and
#                                       libc6-dev-arm64-cross)
#     zig, or python3 -m ziglang        Linux, musl, Windows, macOS, WebAssembly; ZIG names another
#     python3 with pytest, hypothesis, mpmath  the functions' values on 64-bit ARM
#     qemu-aarch64, wine, wasmtime      run what is not native (Debian: qemu-user, wine); WASMTIME
set -u
cd "$(dirname "$0")/.." || exit 1

work=${1:-$(mktemp -d)}
mkdir -p "$work"
# Where ziglang keeps what it builds, unless the caller knows a better place.
export ZIG_GLOBAL_CACHE_DIR=${ZIG_GLOBAL_CACHE_DIR:-$work/zig-cache}
export ZIG_LOCAL_CACHE_DIR=${ZIG_LOCAL_CACHE_DIR:-$work/zig-cache}
export WINEDEBUG=-all WINEPREFIX=${WINEPREFIX:-$work/wine}

flags=(-ffp-contract=off -Wall -Wextra -Werror -Icsrc)
programs=(kernels_run test_core hash_run)
passed=0 failed=0 skipped=0
hash=$(sed -n 's/^HASH = "\(.*\)"$/\1/p' tests/test_kernels.py)

good() { passed=$((passed + 1)) && echo "ok       $*"; }
bad() { failed=$((failed + 1)) && echo "FAILED   $*"; }
without() { skipped=$((skipped + 1)) && echo "without  $*"; }

# attempt WHAT COMMAND...: the command must succeed
attempt() {
    local what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        good "$what"
    else
        bad "$what: $*"
        { grep -E 'failed|error|warning' "$work/log" || cat "$work/log"; } | tail -n 12
        return 1
    fi
}

# run_programs WHAT SUFFIX ISAS RUNNER...: the test programs, and the hash of each instruction set
run_programs() {
    local what=$1 suffix=$2 isas=$3
    shift 3
    for program in kernels_run test_core; do
        attempt "$what: $program" "$@" "$work/$program-$suffix"
    done
    for isa in $isas; do
        for threads in 1 2 3 4 7; do
            local line
            line=$(PYCNN_ISA=$isa "$@" "$work/hash_run-$suffix" $threads 2>&1 | tail -n 1)
            line=${line%$'\r'} # of Windows
            case "$line" in
            "$isa $hash") good "$what: hash with $isa, $threads threads" ;;
            *"PYCNN_ISA must"*) without "$what: $isa, which cannot run here" ;;
            *) bad "$what: hash with $isa, $threads threads: $line, not $hash" ;;
            esac
        done
    done
}

# build WHAT SUFFIX COMPILER...: all programs
build() {
    local what=$1 suffix=$2
    shift 2
    for program in "${programs[@]}"; do
        local sources=("tests/c/$program.c")
        [ "$program" = test_core ] && sources=(tests/c/check.c tests/c/test_*.c)
        attempt "$what: compile $program" \
            "$@" "${flags[@]}" csrc/*.c "${sources[@]}" -o "$work/$program-$suffix" -lm ||
            return 1
    done
}

x86="avx512 avx2"
case $(uname -m) in
arm64 | aarch64) native=neon ;;
*) native=$x86 ;;
esac

clang=$(compgen -c clang | grep -E '^clang(-[0-9]+)?$' | sort -V | head -n 1)
for compiler in gcc $clang; do
    for level in -O0 -O2 -O3; do
        if command -v "$compiler" >/dev/null; then
            build "$compiler $level" "$compiler$level" "$compiler" -std=gnu11 $level -pthread &&
                run_programs "$compiler $level" "$compiler$level" "$native"
        else
            without "$compiler"
        fi
    done
done

# It must not need GNU extensions, nor more of a compiler than C11.
for file in csrc/*.c; do
    for compiler in gcc $clang; do
        attempt "$compiler -std=c11 -pedantic $file" \
            "$compiler" -std=c11 -pedantic -D_POSIX_C_SOURCE=200809L "${flags[@]}" -O2 \
            -c "$file" -o "$work/plain.o"
    done
done
# And none is left when there are no vectors: a compiler that does not call itself GNU.
if [ -n "$clang" ]; then
    for file in csrc/*.c; do
        attempt "no GNU extensions: $file" \
            "$clang" -std=c11 -pedantic -D_POSIX_C_SOURCE=200809L -U__GNUC__ -U__clang__ \
            "${flags[@]}" -O2 -c "$file" -o "$work/plain.o"
    done
fi

# What clang-cl compiles for Windows, as far as it goes without an SDK: the kernels need of the C
# library no more than a few declarations.
if [ -n "$clang" ]; then
    mkdir -p "$work/sdk"
    for header in assert.h malloc.h math.h stdlib.h string.h; do : >"$work/sdk/$header"; done
    cat >"$work/sdk/stdlib.h" <<'SDK'
#include <stddef.h>
void *malloc(size_t), free(void *);
void *memcpy(void *, const void *, size_t), *memset(void *, int, size_t);
char *getenv(const char *);
int strcmp(const char *, const char *);
double exp(double), expm1(double), log(double), log1p(double), tanh(double), fabs(double);
double sqrt(double), erfc(double), copysign(double, double);
#define INFINITY __builtin_inff()
#define isinf(x) __builtin_isinf(x)
#define isnan(x) __builtin_isnan(x)
#define isfinite(x) __builtin_isfinite(x)
#define assert(x) ((void)0)
SDK
    for target in x86_64 aarch64; do
        for file in csrc/*.c; do
            [ "$file" = csrc/threads.c ] && continue # needs the SDK
            attempt "clang-cl $target: $file" "$clang" --driver-mode=cl \
                "--target=$target-pc-windows-msvc" -imsvc "$work/sdk" /O2 /W4 /WX /std:c11 \
                -Wno-unused-command-line-argument /clang:-ffp-contract=off -Icsrc /c "$file" \
                "/Fo$work/cl.obj"
        done
    done
fi

qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static)
if command -v aarch64-linux-gnu-gcc >/dev/null; then
    build "aarch64-linux-gnu-gcc" arm-gcc aarch64-linux-gnu-gcc -std=gnu11 -O2 -static -pthread &&
        if [ -n "$qemu" ]; then
            run_programs "aarch64 by gcc" arm-gcc neon "$qemu"
            if python3 -c "import hypothesis, mpmath, numpy, pytest" 2>/dev/null; then
                attempt "aarch64 by gcc: values of the functions" \
                    env PYCNN_CROSS=aarch64-linux-gnu-gcc \
                    python3 -m pytest -q tests/test_kernels.py -k "functions or softmax"
            else without "pytest, hypothesis, mpmath and numpy"; fi
        else without qemu; fi
else
    without aarch64-linux-gnu-gcc
fi

if [ -z "${ZIG:-}" ]; then
    if command -v zig >/dev/null; then ZIG=zig; else ZIG="python3 -m ziglang"; fi
fi
zig() { $ZIG cc -std=gnu11 -O2 "$@"; }
if $ZIG version >/dev/null 2>&1; then
    for target in aarch64-linux-gnu aarch64-linux-musl x86_64-linux-musl x86_64-windows-gnu \
        aarch64-windows-gnu aarch64-macos x86_64-macos wasm32-wasi; do
        suffix=$target.exe
        options=()
        case $target in
        *-musl) options=(-static) ;;
        wasm32-wasi) options=(-D__STDC_NO_ATOMICS__ -D_WASI_EMULATED_SIGNAL) ;; # no threads
        esac
        build "$target" "$suffix" zig -target "$target" "${options[@]}" || continue
        case $target in
        aarch64-linux-musl)
            if [ -n "$qemu" ]; then
                run_programs "$target" "$suffix" neon "$qemu"
            else without qemu; fi ;;
        x86_64-linux-musl)
            if [ "$(uname -sm)" = "Linux x86_64" ]; then
                run_programs "$target" "$suffix" "$x86"
            fi ;;
        x86_64-windows-gnu)
            if command -v wine >/dev/null; then
                run_programs "$target" "$suffix" "$x86" wine
            else without wine; fi ;;
        wasm32-wasi)
            if ${WASMTIME:-wasmtime} --help >/dev/null 2>&1; then
                run_programs "$target" "$suffix" "" ${WASMTIME:-wasmtime}
            else without wasmtime; fi ;;
        esac
    done
else
    without "zig (python3 -m pip install ziglang)"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
