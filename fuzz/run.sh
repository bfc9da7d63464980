#!/usr/bin/env bash
# Runs each fuzzer for so many seconds, from the inputs in fuzz/corpus/: fuzz/run.sh PYTHON SECONDS
# PYTHON has pycnn[cli] and atheris. What is found is in fuzz/found/, and the status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1 seconds=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p fuzz/found "$work"/{core,file,model_file,table,objects}

sane=(-O1 -g "-fsanitize=fuzzer,address,undefined" -fno-sanitize-recover=undefined -ffp-contract=off
    -DPYCNN_CHECKED "-I$PWD/csrc")
sources=("$PWD"/csrc/*.c)
(cd "$work/objects" && "${CC:-clang}" "${sane[@]}" -c "${sources[@]}")
"${CC:-clang}" "${sane[@]}" fuzz/core.c "$work"/objects/*.o -o "$work/fuzz_core" \
    -Wl,--wrap=pycnn_milliseconds -pthread -lm
rm "$work/objects/pycnn_file.o" # it is a part of its fuzzer
"${CC:-clang}" "${sane[@]}" fuzz/file.c "$work"/objects/*.o -o "$work/fuzz_file" -pthread -lm

found=0
run() { # run NAME CORPUS COMMAND ...: new inputs go into the first folder
    local name=$1 corpus=fuzz/corpus/$2
    shift 2
    echo "== $name"
    "$@" "$work/$name" "$corpus" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="fuzz/found/$name-" -rss_limit_mb=4096 >"$work/$name.log" 2>&1 || found=1
    grep -E "^#.*(DONE|INITED)|^stat::number_of_exec|^stat::peak|^==.*ERROR|ERROR: lib|Error|and .*: " \
        "$work/$name.log" | tail -n 12 || tail "$work/$name.log"
}
# The kernels are many lines: what libFuzzer does for each of them would take most of the time.
run core core "$work/fuzz_core" -max_len=200 -entropic=0 -use_cmp=0
run file model_file "$work/fuzz_file" -max_len=8192 # the inputs are of one kind
run model_file model_file "$python" fuzz/model_file.py -max_len=8192
run table table "$python" fuzz/table.py -max_len=2048
exit "$found"
