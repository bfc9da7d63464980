#!/usr/bin/env bash
# Installs the C library into a temporary folder, static and shared, by CMake and by Meson, and builds
# a program with each in the ways that other projects do: find_package, add_subdirectory, pkg-config,
# a subproject. Says what it does without; needs nothing but cmake, meson, pkg-config and a compiler.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')

quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" && echo "FAILED: $*" && exit 1; }; }
works() {
    LD_LIBRARY_PATH="$prefix/lib" DYLD_LIBRARY_PATH="$prefix/lib" quietly "$2"
    grep -q ": learned" "$work/log" || { echo "FAILED: $1" && exit 1; }
    echo "ok       $1"
}

# Another project, of one program.
mkdir "$work/user" "$work/user/subprojects"
cp "$root/examples/c/xor.c" "$work/user/main.c"
cat >"$work/user/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.21)
project(user C)
if(SOURCE)
  add_subdirectory("${SOURCE}" pycnn)
else()
  find_package(pycnn CONFIG REQUIRED)
endif()
add_executable(main main.c)
target_link_libraries(main PRIVATE pycnn::pycnn)
EOF
cat >"$work/user/meson.build" <<'EOF'
project('user', 'c')
executable('main', 'main.c', dependencies: dependency('pycnn', fallback: ['pycnn', 'pycnn_dep']))
EOF
ln -s "$root" "$work/user/subprojects/pycnn"

by_pkg_config() { # WHAT, for what lies in $prefix
    command -v pkg-config >/dev/null || { echo "without  pkg-config" && return; }
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
    # shellcheck disable=SC2046 # they are several words
    quietly cc $(pkg-config --cflags pycnn) "$work/user/main.c" $(pkg-config --libs pycnn) -o "$work/main"
    works "$1" "$work/main"
}

if command -v cmake >/dev/null; then
    for shared in OFF ON; do
        prefix=$work/cmake-$shared build=$work/build-$shared
        # The tests are the same code in both.
        quietly cmake -S "$root" -B "$build" -DBUILD_SHARED_LIBS=$shared -DPYCNN_BUILD_TESTS=$shared \
            -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib
        quietly cmake --build "$build" --parallel 2
        quietly ctest --test-dir "$build"
        quietly cmake --install "$build"
        by_pkg_config "cmake, shared $shared: pkg-config"
        for how in find_package add_subdirectory; do
            source=
            [ $how = find_package ] || source=$root
            quietly cmake -S "$work/user" -B "$build-$how" -DSOURCE="$source" \
                -DBUILD_SHARED_LIBS=$shared -DCMAKE_PREFIX_PATH="$prefix"
            quietly cmake --build "$build-$how" --parallel 2
            works "cmake, shared $shared: $how" "$build-$how/main"
        done
    done
else
    echo "without  cmake"
fi

if command -v meson >/dev/null; then
    for library in static shared; do
        prefix=$work/meson-$library build=$work/meson-build-$library
        quietly meson setup "$build" "$root" --prefix "$prefix" --libdir lib -Ddefault_library=$library
        quietly meson test -C "$build"
        quietly meson install -C "$build"
        by_pkg_config "meson, $library: pkg-config"
    done
    quietly env PKG_CONFIG_PATH= meson setup "$work/meson-user" "$work/user" -Ddefault_library=static
    quietly meson compile -C "$work/meson-user"
    works "meson: a subproject" "$work/meson-user/main"
else
    echo "without  meson"
fi
