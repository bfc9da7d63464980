#!/usr/bin/env bash
# Runs each fuzzer for so many seconds, from the inputs in fuzz/corpus/: fuzz/run.sh PYTHON SECONDS
# PYTHON has pycnn[cli] and atheris. What is found is in fuzz/found/, and the status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1 seconds=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p fuzz/found "$work"/{core,model_file,table}

sane=(-O1 -g "-fsanitize=fuzzer,address,undefined" -fno-sanitize-recover=undefined)
"${CC:-clang}" "${sane[@]}" -DPYCNN_CHECKED -Icsrc csrc/*.c fuzz/core.c -o "$work/fuzz_core" \
    -Wl,--wrap=pycnn_milliseconds -pthread -lm

found=0
run() { # run NAME COMMAND ...: new inputs go into the first folder
    local name=$1
    shift
    echo "== $name"
    "$@" "$work/$name" "fuzz/corpus/$name" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="fuzz/found/$name-" -rss_limit_mb=4096 >"$work/$name.log" 2>&1 || found=1
    grep -E "^#.*(DONE|INITED)|^stat::number_of_exec|^stat::peak|^==.*ERROR|ERROR: lib|Error|and .*: " \
        "$work/$name.log" | tail -n 12 || tail "$work/$name.log"
}
# The kernels are many lines: what libFuzzer does for each of them would take most of the time.
run core "$work/fuzz_core" -max_len=200 -entropic=0 -use_cmp=0
run model_file "$python" fuzz/model_file.py -max_len=8192
run table "$python" fuzz/table.py -max_len=2048
exit "$found"
