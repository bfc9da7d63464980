"""Exported C files on the machines they are for: sizes, instructions or cycles, and the self-test.

    python scripts/export_targets.py

makes some networks, compiles each for the host, Cortex-M3, Cortex-M4F and the ATmega328p, and runs
it there, within QEMU and simavr. Debian calls what it needs gcc-arm-none-eabi,
libnewlib-arm-none-eabi, qemu-system-arm, gcc-avr, avr-libc and simavr; what is missing is left out.
The output is the table of docs/export.md.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pycnn import (
    GRU,
    LSTM,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Network,
)

ROWS = 4
NETWORKS = {
    "4-8-3": lambda: Network(4, [Dense(8, "tanh"), Dense(3, "softmax")], seed=0),
    "64-32-10": lambda: Network(64, [Dense(32, "relu"), Dense(10, "softmax")], seed=0),
    "64-128-10": lambda: Network(64, [Dense(128, "relu"), Dense(10, "softmax")], seed=0),
    "convolution": lambda: Network(
        (8, 8, 1),
        [
            *(Conv2D(4, 3, "relu"), MaxPool2D(2), Conv2D(16, 2, "relu")),
            *(GlobalAveragePool2D(), Dense(10, "softmax")),
        ],
        seed=0,
    ),
    "GRU(16)": lambda: Network((8, 4), [GRU(16), Dense(3, "softmax")], seed=0),
    "LSTM(16)": lambda: Network((8, 4), [LSTM(16), Dense(3, "softmax")], seed=0),
}
HOST = """
#include <stdio.h>
#include <time.h>
int main(void)
{
    static model_real x[model_INPUTS], y[model_OUTPUTS];
    struct timespec a, b;
    double best = 1e9, t;
    int i, k;
    for (i = 0; i < model_INPUTS; i++) {
        x[i] = (model_real)(i % 7) / 7;
    }
    for (k = 0; k < 20; k++) {
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (i = 0; i < 1000; i++) {
            x[0] = (model_real)i;
            model_predict(x, y);
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        t = (double)(b.tv_sec - a.tv_sec) * 1e6 + (double)(b.tv_nsec - a.tv_nsec) * 1e-3;
        best = t < best ? t : best;
    }
    printf("wrong %d time %.3f\\n", model_self_test(), best / 1000);
    return 0;
}
"""
# There are no start-up files: nothing else is needed before main. A call's instructions are counted
# by the clock, which `-icount` makes one of instructions, held against a loop of 2,000,000.
ARM = r"""
extern unsigned stack_top;
static int wrong;
static void host(int call, const void *what)
{
    register int r0 __asm__("r0") = call;
    register const void *r1 __asm__("r1") = what;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}
static void say(const char *what, unsigned long n)
{
    char text[16], *at = text + 15;
    *at = 0;
    do {
        *--at = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    host(4, what);
    host(4, at);
}
#define TICK (*(volatile unsigned *)0xE000E010)
#define LOAD (*(volatile unsigned *)0xE000E014)
#define NOW (*(volatile unsigned *)0xE000E018)
__attribute__((noinline)) static void work(void)
{
    static const model_real x[model_INPUTS] = {1, 2};
    model_real y[model_OUTPUTS];
    unsigned char *low = (unsigned char *)&wrong + 64, *p, *sp;
    unsigned start, loop, call, n = 1000000;
    LOAD = 0xFFFFFF;
    NOW = 0;
    TICK = 5;
    start = NOW;
    __asm__ volatile("1: subs %0, #1\n bne 1b" : "+r"(n) : : "cc");
    loop = (start - NOW) & 0xFFFFFF;
    start = NOW;
    model_predict(x, y);
    call = (start - NOW) & 0xFFFFFF;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    for (p = low; p < sp - 64; p++) {
        *(volatile unsigned char *)p = 0xA5;
    }
    model_predict(x, y);
    for (p = low; *(volatile unsigned char *)p == 0xA5; p++) {
    }
    wrong = model_self_test();
    say("wrong ", (unsigned long)wrong);
    say(" stack ", (unsigned long)((unsigned char *)&stack_top - p));
    say(" time ", (unsigned long)((unsigned long long)call * 2000000 / loop));
    host(4, "\n");
    host(0x18, (const void *)0x20026);
}
static void run(void)
{
    *(volatile unsigned *)0xE000ED88 |= 0xF << 20; /* the floating-point unit, if any */
    work();
    for (;;) {
    }
}
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {&stack_top, run};
"""
LINK = """
MEMORY {{ FLASH (rx) : ORIGIN = 0, LENGTH = {flash}K
          RAM (rw) : ORIGIN = 0x20000000, LENGTH = 64K }}
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.ex*) }} > FLASH
  .data : {{ *(.data*) }} > RAM
  .bss : {{ *(.bss*) *(COMMON) }} > RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
}}
"""
AVR = r"""
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdlib.h>
static volatile unsigned high;
ISR(TIMER1_OVF_vect)
{
    high++;
}
static void put(const char *text)
{
    while (*text) {
        while (!(UCSR0A & 1 << UDRE0)) {
        }
        UDR0 = (uint8_t)*text++;
    }
}
static void say(const char *what, unsigned long n)
{
    char text[12];
    put(what);
    put(ultoa(n, text, 10));
}
extern uint8_t __heap_start;
int main(void)
{
    model_real x[model_INPUTS], y[model_OUTPUTS];
    uint8_t *p;
    unsigned i;
    unsigned long cycles;
    int wrong;
    for (i = 0; i < model_INPUTS; i++) {
        x[i] = (model_real)(i % 7) / 7;
    }
    TIMSK1 = 1 << TOIE1;
    sei();
    TCCR1B = 1;
    model_predict(x, y);
    cli();
    i = TCNT1;
    high += TIFR1 & 1 << TOV1 && i < 0x8000;
    cycles = ((unsigned long)high << 16) + i;
    for (p = &__heap_start; p < (uint8_t *)SP - 8; p++) {
        *p = 0xA5;
    }
    model_predict(x, y);
    for (p = &__heap_start; *p == 0xA5; p++) {
    }
    i = (unsigned)((uint8_t *)RAMEND - p + 1);
    wrong = model_self_test();
    UCSR0B = 1 << TXEN0;
    say("wrong ", (unsigned long)wrong);
    say(" stack ", i);
    say(" time ", cycles);
    put("\n");
    sleep_mode();
    return 0;
}
"""


STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


def shown(time):
    """Return a number with three digits that count."""
    return f"{time:.3g}" if time < 100 else f"{float(f'{time:.3g}'):,.0f}"


def run(*command, folder):
    """Run a command and return what it prints."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def sections(size, folder, name):
    """Return the bytes of flash and of RAM that a program or an object has for itself."""
    text, data, bss, *_ = run(size, name, folder=folder).splitlines()[1].split()
    return int(text) + int(data), int(data) + int(bss)


def on_host(folder):
    """Compile and run a file here; return bytes, microseconds and rows that are wrong."""
    run("gcc", "-std=c99", *STRICT, "-O3", "-march=native", "-c", "model.c", folder=folder)
    flash, ram = sections("size", folder, "model.o")
    (folder / "main.c").write_text('#define _POSIX_C_SOURCE 199309L\n#include "model.c"\n' + HOST)
    run("gcc", "-std=c99", "-O3", "-march=native", "main.c", "-o", "host", "-lm", folder=folder)
    return flash, ram, run("./host", folder=folder)


def on_arm(folder, *machine, cpu, flash):
    """Do so for a Cortex-M: instructions in place of microseconds, and the stack."""
    options = [*cpu.split(), "-mthumb", "-Os", "-ffunction-sections", "-fdata-sections"]
    strict = [*STRICT, "-Wdouble-promotion"]
    run("arm-none-eabi-gcc", "-std=c99", *strict, *options, "-c", "model.c", folder=folder)
    _, ram = sections("arm-none-eabi-size", folder, "model.o")
    (folder / "main.c").write_text('#include "model.c"\n' + ARM)
    (folder / "link.ld").write_text(LINK.format(flash=flash))
    link = ["-nostartfiles", "-T", "link.ld", "-Wl,--gc-sections", "-specs=nosys.specs"]
    build = ["arm-none-eabi-gcc", *options, "main.c", "-o", "arm.elf", *link, "-lm"]
    run(*build, folder=folder)
    size, _ = sections("arm-none-eabi-size", folder, "arm.elf")
    emulate = ["qemu-system-arm", "-machine", *machine, "-nographic", "-icount", "shift=0"]
    emulate += ["-semihosting-config", "enable=on,target=native", "-kernel", "arm.elf"]
    return size, ram, run(*emulate, folder=folder)


def on_avr(folder):
    """Do so for an ATmega328p: cycles in place of microseconds, and the stack."""
    options = ["-std=gnu99", "-mmcu=atmega328p", "-DF_CPU=16000000UL", "-Os"]
    options += ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-mcall-prologues"]
    (folder / "main.c").write_text('#include "model.c"\n' + AVR)
    build = ["avr-gcc", *options, "main.c", "-o", "avr.elf", "-lm"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    if re.search(r"is too large|region `\w+' overflowed|relocation truncated", done.stderr):
        return None, 0, ""
    run("avr-gcc", *options, *STRICT, "-c", "model.c", folder=folder)
    _, ram = sections("avr-size", folder, "model.o")
    size, _ = sections("avr-size", folder, "avr.elf")
    text = run("simavr", "-m", "atmega328p", "-f", "16000000", "avr.elf", folder=folder)
    return size, ram, text


M4F = "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16"
TARGETS = {
    "x86-64, us": ("gcc", on_host),
    "Cortex-M3, instructions": (
        "qemu-system-arm",
        lambda at: on_arm(at, "lm3s6965evb", cpu="-mcpu=cortex-m3", flash=256),
    ),
    "Cortex-M4F, instructions": (
        "qemu-system-arm",
        lambda at: on_arm(at, "mps2-an386", cpu=M4F, flash=256),
    ),
    "ATmega328p, cycles": ("simavr", on_avr),
}


def main():
    """Print the table."""
    print("| network | weights | machine | program, bytes | stack, bytes | a row | wrong |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    failed = False
    for what, make in NETWORKS.items():
        for weights in ("float", "int8"):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                make().export_c(folder / "model.c", weights=weights, self_test=ROWS)
                for target, (needed, measure) in TARGETS.items():
                    if not shutil.which(needed):
                        continue
                    size, ram, text = measure(folder)
                    found = dict(re.findall(r"(wrong|stack|time) ([\d.]+)", text))
                    machine, unit = target.split(", ")
                    cells = [size or "too large", found.get("stack", ""), found.get("time", "")]
                    cells[2] = f"{shown(float(cells[2]))} {unit}" if cells[2] else ""
                    wrong = found.get("wrong", "" if size is None else "?")
                    failed |= wrong not in ("0", "") or ram > 0
                    cells = [what, weights, machine, *map(str, cells), wrong]
                    print("|", " | ".join(cells), "|", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
