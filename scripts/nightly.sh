#!/usr/bin/env bash
# What takes too long for each change, one job a command; .github/workflows runs them by night.
#
#     scripts/nightly.sh sanitizers [gcc|clang]  memory and undefined behaviour: C tests, Python tests
#     scripts/nightly.sh threads                 data races, with two threads
#     scripts/nightly.sh valgrind                the C tests and the C example
#     scripts/nightly.sh fuzz [SECONDS]          each fuzzer for so long; by default an hour
#     scripts/nightly.sh flags                   options of the compilers that change arithmetic
#     scripts/nightly.sh frozen                  a program by PyInstaller and by Nuitka
#     scripts/nightly.sh newest                  the tests with the newest releases, and what comes
#     scripts/nightly.sh everything              the tests with nothing skipped, signals, kills
#
# Needs Python 3.11 or later (PYTHON names another), gcc, clang with its runtime libraries, valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."

job=${1:-}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Not in build/, where the next job would find what this one has compiled with other flags.
printf '[build]\nbuild_base = %s\n' "$work/build" >"$work/build.cfg"
export DIST_EXTRA_CONFIG=$work/build.cfg
c_tests=(csrc/*.c tests/c/check.c tests/c/test_*.c)
c_flags=(-g -Icsrc)
# What reaches the core, but not what measures time, memory or stack, or runs compilers.
core_tests=(agreement concurrency convolution custom_loss determinism fit input_gradient lbfgs layers losses metrics
    optimizers partial_fit pool predict_samples resume shapes smoothing sources training_matrix)
core_tests=("${core_tests[@]/#/tests/test_}")
core_tests=("${core_tests[@]/%/.py}" --capture=sys) # a sanitizer's last words are not kept back

# install FLAGS EXTRA: pycnn, compiled with more flags, into an environment of its own
install() {
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q pytest hypothesis pandas mpmath
    PYCNN_CFLAGS="$1" PYCNN_LDFLAGS="$2" "$work/venv/bin/pip" install -q .
}

# Python's own flags have overflow wrap around, and would hide it.
sane="-O1 -g -fno-omit-frame-pointer -fstrict-overflow -fno-wrapv -fno-sanitize-recover=undefined"

case $job in
sanitizers)
    export CC=${2:-gcc}
    "$CC" -O1 "${c_flags[@]}" -fsanitize=address,undefined -fno-sanitize-recover=all \
        -include tests/c/failing_malloc.h "${c_tests[@]}" -o "$work/c" -pthread -lm
    "$work/c"
    if [ "$CC" = gcc ]; then
        flags=-fsanitize=address,undefined
        preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
    else
        flags="-fsanitize=address,undefined -shared-libasan"
        preload=$("$CC" -print-file-name="libclang_rt.asan-$(uname -m).so")
    fi
    install "$sane $flags" "$flags"
    LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
        UBSAN_OPTIONS=print_stacktrace=1 "$work/venv/bin/python" -m pytest -q "${core_tests[@]}"
    ;;
threads)
    # The threads of NumPy's BLAS are not watched, and what they do would look like races.
    export CC=gcc OPENBLAS_NUM_THREADS=1 PYCNN_NUM_THREADS=2 TSAN_OPTIONS=halt_on_error=1
    "$CC" -O1 "${c_flags[@]}" -fsanitize=thread "${c_tests[@]}" -o "$work/c" -pthread -lm
    setarch -R "$work/c"
    install "$sane -fsanitize=thread" -fsanitize=thread
    # What is computed while a fit begins is thrown away, of which the sanitizer cannot know; and one
    # test reads the parameters while they are trained, to see that they change.
    LD_PRELOAD=$(gcc -print-file-name=libtsan.so) setarch -R "$work/venv/bin/python" -m pytest -q \
        "${core_tests[@]}" -k "not amid_a_fit and not ctrl_c_during_a_long_fit"
    ;;
valgrind)
    for source in "${c_tests[*]}" "csrc/*.c examples/c/xor.c"; do
        # shellcheck disable=SC2086  # a list of files
        "${CC:-gcc}" -O1 "${c_flags[@]}" $source -o "$work/c" -pthread -lm
        valgrind -q --leak-check=full --error-exitcode=9 "$work/c" >/dev/null
    done
    ;;
fuzz)
    seconds=${2:-3600}
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --require-hashes -r requirements/fuzz.txt
    "$work/venv/bin/pip" install -q ".[cli]"
    fuzz/run.sh "$work/venv/bin/python" "$seconds"
    ;;
flags)
    "$python" scripts/flags.py
    ;;
frozen)
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q . pyinstaller nuitka
    cp tests/whole_program.py "$work/program.py"
    cd "$work"
    venv/bin/python program.py >expected
    cat expected
    venv/bin/pyinstaller --onefile --log-level WARN program.py
    env -i PATH=/usr/bin:/bin dist/program | diff expected -
    echo "PyInstaller: the same"
    venv/bin/python -m nuitka --standalone --quiet --include-package-data=pycnn.datasets program.py
    env -i PATH=/usr/bin:/bin program.dist/program.bin | diff expected -
    echo "Nuitka: the same"
    ;;
newest)
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q ".[test]"
    "$work/venv/bin/pip" install -q --pre --upgrade numpy scikit-learn cffi
    "$work/venv/bin/pip" list | grep -iE '^(numpy|scikit-learn|cffi) '
    "$work/venv/bin/pytest" -q
    ;;
everything)
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q ".[reference]"
    export OMP_WAIT_POLICY=PASSIVE
    PYCNN_EVERY_COMPILER=1 PYCNN_NO_SKIPS=1 "$work/venv/bin/pytest" -q
    "$work/venv/bin/python" scripts/interrupt.py --count 2000
    "$work/venv/bin/python" scripts/kill_and_resume.py --kills 200
    "$work/venv/bin/python" scripts/against_baseline.py --count 10000
    "$work/venv/bin/python" scripts/memory_map.py --folder "$work"
    "$work/venv/bin/python" scripts/fuzz_model_files.py --count 200000 --processes 2
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
