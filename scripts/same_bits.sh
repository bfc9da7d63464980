#!/usr/bin/env bash
# Tell whether trainings end in the bits of another commit:
#
#     scripts/same_bits.sh COMMIT
#
# Both are built, that commit and what lies here, and each runs tests/c/hash_run.c with every
# instruction set of this processor and 1 to 7 threads, and its scripts/training_hashes.py on both
# backends. It ends with success where no hash differs. Needs git, cc, and a python (or $PYTHON) with
# what pycnn depends on.
set -euo pipefail

[ $# = 1 ] || { sed -n '2,9s/^# \?//p' "$0" && exit 2; }
unset PYTHONPATH PYCNN_BACKEND PYCNN_ISA PYCNN_NUM_THREADS PYCNN_NO_EXTENSION
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/before" "$work/now"
git -C "$root" archive "$1" | tar -xf - -C "$work/before"
git -C "$root" ls-files -z --cached --others --exclude-standard |
    (cd "$root" && xargs -0 tar -cf - --ignore-failed-read --) | tar -xf - -C "$work/now"

hashes_of_the_core() {
    for isa in avx512 avx2 neon baseline; do
        PYCNN_ISA=$isa "$1/hash_run" >"$work/first" 2>&1 || continue # not on this processor
        for threads in 1 2 3 4 5 6 7; do
            echo "$isa, $threads threads"
            PYCNN_ISA=$isa "$1/hash_run" $threads
        done
    done
}

for version in before now; do
    tree=$work/$version
    cc -O2 -ffp-contract=off "-I$tree/csrc" "$tree"/csrc/*.c "$tree/tests/c/hash_run.c" \
        -o "$tree/hash_run" -pthread -lm
    hashes_of_the_core "$tree" >"$work/core-$version"
    "$python" -m pip install -q --no-deps --target "$tree/installed" "$tree"
done
test -s "$work/core-now"
cmp "$work/core-before" "$work/core-now" && echo "the core: $(grep -c : "$work/core-now") hashes, equal"

cd "$work"
differ=$(cmp -s core-before core-now && echo 0 || echo 1)
for backend in c numpy; do
    PYTHONPATH=before/installed "$python" before/scripts/training_hashes.py \
        --backend $backend >before-$backend
    PYTHONPATH=now/installed "$python" now/scripts/training_hashes.py \
        --backend $backend --against before-$backend >now-$backend || differ=1
    grep -E 'DIFFERS|^gone' now-$backend ||
        echo "$backend: $(wc -l <now-$backend) trainings, none differs"
done
exit "$differ"
