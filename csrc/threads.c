/* A small pool of threads: workers spin for a moment, then sleep.
 *
 * The tasks to do are one atomic word, the ticket: generation, number of tasks, next task. A worker
 * takes a task by adding 1 to the ticket that it has read; this fails if the ticket is another one
 * by then, so nobody ever takes a task of a generation that is over. The caller waits for the tasks
 * and not for the workers: one that oversleeps holds nobody up.
 */
#include "kernels.h"
#include "allocator.h"
#include "mode.h"
#include "threads.h"

/* Without a system's threads, on purpose or because the compiler has no atomics, this needs nothing
 * but the C library. */
#if defined(PYCNN_NO_THREADS) || defined(__STDC_NO_ATOMICS__)
#define ONE_THREAD 1
#include <time.h>
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef HANDLE os_thread;
typedef SRWLOCK os_mutex;
typedef CONDITION_VARIABLE os_condition;
#define THREAD_FUNCTION static DWORD WINAPI
#define THREAD_RESULT 0
#define os_lock(m) AcquireSRWLockExclusive(m)
#define os_unlock(m) ReleaseSRWLockExclusive(m)
#define os_wait(c, m) SleepConditionVariableSRW(c, m, INFINITE, 0)
#define os_wake_all(c) WakeAllConditionVariable(c)
#define os_yield() SwitchToThread()
#define os_process() GetCurrentProcessId()
#define os_join(t) (WaitForSingleObject(t, INFINITE), CloseHandle(t))
typedef DWORD os_pid;
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
typedef pthread_t os_thread;
typedef pthread_mutex_t os_mutex;
typedef pthread_cond_t os_condition;
#define THREAD_FUNCTION static void *
#define THREAD_RESULT NULL
#define os_lock(m) pthread_mutex_lock(m)
#define os_unlock(m) pthread_mutex_unlock(m)
#define os_wait(c, m) pthread_cond_wait(c, m)
#define os_wake_all(c) pthread_cond_broadcast(c)
#define os_yield() sched_yield()
#define os_process() getpid()
#define os_join(t) pthread_join(t, NULL)
typedef pid_t os_pid;
#endif

uint64_t pycnn_milliseconds(void)
{
#if defined(ONE_THREAD) && !defined(__wasi__) /* which has no clock() */
    return (uint64_t)((double)clock() * 1000 / CLOCKS_PER_SEC);
#elif defined(_WIN32)
    return GetTickCount64();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
#endif
}

#if !defined(ONE_THREAD)
#include <stdatomic.h>

static double nanoseconds(void)
{
#if defined(_WIN32)
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart * 1e9 / (double)rate.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
#endif
}

enum {
    TASK_BITS = 20,
    /* Looks at the ticket before a worker sleeps: 20 to 100 us, longer than the pauses within a
     * training step, shorter than anyone would notice. */
    SPINS = 1 << 12,
    /* Looks before the caller lets others run, while it waits for the last tasks. */
    SPINS_BEFORE_YIELD = 1 << 12,
    /* Milliseconds between two measurements of how far apart the cores are, and how many have to
     * say that they are near before that is believed: of several threads any may take part. */
    APART_PERIOD = 50,
    APART_MEMORY = 4,
    /* A measurement is the least time of some rounds, of which the first does not count. */
    ROUNDS = 5,
    TURNS = 16, /* even */
    /* Looks for a partner, who may have to wake up, and then for each turn, before it is given up.
     */
    LOOKS_FOR_PARTNER = 1 << 16,
    LOOKS = 1 << 12
};

/* Nanoseconds that a word takes from one core to another: 25 to 110 where they have a third-level
 * cache in common, 140 and more where they have not. */
#if !defined(PYCNN_APART)
#define PYCNN_APART 125
#endif

#define TASK_MASK (((uint64_t)1 << TASK_BITS) - 1)

enum { ALIGNMENT = 64 }; /* a cache line: what threads contend for lies apart */

struct pycnn_threads {
    pycnn_allocator allocator;
    void *memory;      /* that this lies in: malloc aligns to less than a cache line */
    size_t wanted;     /* threads in all, the caller included */
    size_t workers;    /* threads started */
    os_thread *worker; /* [wanted - 1] */
    os_pid process;    /* that the workers live in */
    atomic_flag busy;  /* a caller is running its tasks */
    bool started;

    _Alignas(ALIGNMENT) _Atomic uint64_t ticket; /* generation | tasks | next task */
    _Atomic(task_function *) run;
    _Atomic(void *) context;
    _Alignas(ALIGNMENT) _Atomic size_t done; /* tasks of this generation */

    _Alignas(ALIGNMENT) _Atomic uint64_t measured; /* milliseconds */
    _Atomic unsigned apart;                        /* measurements that have yet to say otherwise */

    _Alignas(ALIGNMENT) _Atomic size_t sleepers;
    atomic_bool stop;
    os_mutex mutex;
    os_condition wake;
};

static size_t tasks_of(uint64_t ticket) { return (size_t)(ticket >> TASK_BITS & TASK_MASK); }
static size_t next_of(uint64_t ticket) { return (size_t)(ticket & TASK_MASK); }
static bool has_work(uint64_t ticket) { return next_of(ticket) < tasks_of(ticket); }

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("yield");
#endif
}

/* Does tasks until there are none. */
static void work(pycnn_threads *pool)
{
    uint64_t ticket = atomic_load(&pool->ticket);
    while (has_work(ticket)) {
        if (atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + 1)) {
            /* The generation cannot end before this task is done: these are its own. */
            task_function *run = atomic_load_explicit(&pool->run, memory_order_relaxed);
            void *context = atomic_load_explicit(&pool->context, memory_order_relaxed);
            run(context, next_of(ticket));
            atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
            ticket = atomic_load(&pool->ticket);
        }
    }
}

static void sleep_until_work(pycnn_threads *pool)
{
    os_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_work(atomic_load(&pool->ticket)) && !atomic_load(&pool->stop)) {
        os_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    os_unlock(&pool->mutex);
}

THREAD_FUNCTION live(void *argument)
{
    pycnn_threads *pool = argument;
    KEEP_MODE;
    while (!atomic_load(&pool->stop)) {
        int spins = 0;
        while (spins < SPINS &&
               !has_work(atomic_load_explicit(&pool->ticket, memory_order_acquire))) {
            relax();
            spins++;
        }
        if (spins == SPINS) {
            sleep_until_work(pool);
        }
        work(pool);
    }
    return THREAD_RESULT;
}

/* Starts the workers; where that fails (no memory, WebAssembly) there are fewer, or none. */
static void start(pycnn_threads *pool)
{
    pool->started = true;
    pool->process = os_process();
#if !defined(_WIN32)
    sigset_t all, before; /* the host's signals are for the host's threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    bool failed = false;
    while (pool->workers + 1 < pool->wanted && !failed) {
        os_thread *thread = &pool->worker[pool->workers];
#if defined(_WIN32)
        *thread = CreateThread(NULL, 0, live, pool, 0, NULL);
        failed = *thread == NULL;
#else
        failed = pthread_create(thread, NULL, live, pool) != 0;
#endif
        pool->workers += !failed;
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &before, NULL);
#endif
}

int pycnn_threads_create_with(pycnn_threads **out, size_t count, const pycnn_allocator *allocator)
{
    pycnn_allocator kept;
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    TRY(pycnn_keep_allocator(&kept, allocator));
    RETURN_IF(count == 0, PYCNN_ERROR_SIZE);
    count = MIN(count, MOST_CHUNKS); /* more could never work */
    size_t bytes = 0;
    TRY(add_product(&bytes, count, sizeof(os_thread)));
    void *memory = pycnn_allocate(&kept, sizeof(pycnn_threads) + ALIGNMENT);
    os_thread *worker = pycnn_allocate(&kept, bytes);
    if (memory == NULL || worker == NULL) {
        pycnn_release(&kept, memory);
        pycnn_release(&kept, worker);
        return PYCNN_ERROR_MEMORY;
    }
    const uintptr_t start = ((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    pycnn_threads *pool = (pycnn_threads *)start;
    memset(pool, 0, sizeof *pool);
    pool->allocator = kept;
    pool->memory = memory;
    pool->wanted = count;
    pool->worker = worker;
    atomic_flag_clear(&pool->busy);
#if defined(_WIN32)
    InitializeSRWLock(&pool->mutex);
    InitializeConditionVariable(&pool->wake);
#else
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
#endif
    *out = pool;
    return PYCNN_OK;
}

void pycnn_threads_destroy(pycnn_threads *pool)
{
    if (pool == NULL) {
        return;
    }
    /* In a child of the process that started them there are no workers to join, and the state of
     * mutex and condition is whatever it was at the fork. */
    const bool here = !pool->started || pool->process == os_process();
    if (here) {
        os_lock(&pool->mutex);
        atomic_store(&pool->stop, true);
        os_wake_all(&pool->wake);
        os_unlock(&pool->mutex);
        for (size_t i = 0; i < pool->workers; i++) {
            os_join(pool->worker[i]);
        }
#if !defined(_WIN32)
        pthread_mutex_destroy(&pool->mutex);
        pthread_cond_destroy(&pool->wake);
#endif
    }
    const pycnn_allocator allocator = pool->allocator;
    pycnn_release(&allocator, pool->worker);
    pycnn_release(&allocator, pool->memory);
}

size_t pycnn_threads_count(const pycnn_threads *pool) { return pool == NULL ? 1 : pool->wanted; }

static void run_alone(size_t tasks, task_function *run, void *context)
{
    for (size_t task = 0; task < tasks; task++) {
        run(context, task);
    }
}

void pycnn_threads_run(pycnn_threads *pool, size_t tasks, task_function *run, void *context)
{
    if (pool == NULL || pool->wanted == 1 || tasks <= 1 || tasks > TASK_MASK ||
        atomic_flag_test_and_set(&pool->busy)) {
        run_alone(tasks, run, context);
        return;
    }
    if (!pool->started) {
        start(pool);
    }
    if (pool->workers == 0 || pool->process != os_process()) {
        atomic_flag_clear(&pool->busy);
        run_alone(tasks, run, context);
        return;
    }
    const uint64_t generation = (atomic_load(&pool->ticket) >> (2 * TASK_BITS)) + 1;
    atomic_store_explicit(&pool->run, run, memory_order_relaxed);
    atomic_store_explicit(&pool->context, context, memory_order_relaxed);
    atomic_store(&pool->done, 0);
    atomic_store(&pool->ticket, generation << (2 * TASK_BITS) | (uint64_t)tasks << TASK_BITS);
    if (atomic_load(&pool->sleepers) > 0) {
        os_lock(&pool->mutex);
        os_wake_all(&pool->wake);
        os_unlock(&pool->mutex);
    }
    work(pool);
    int spins = 0;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) < tasks) {
        if (spins < SPINS_BEFORE_YIELD) {
            relax();
            spins++;
        } else { /* more threads than processors, perhaps */
            os_yield();
        }
    }
    atomic_flag_clear(&pool->busy);
}

/* ---------------------------------------------------------------- how far apart */

/* A word that two threads hand to each other. */
typedef struct {
    _Alignas(ALIGNMENT) _Atomic unsigned players;
    _Alignas(ALIGNMENT) _Atomic unsigned turn; /* whose: even numbers are the first player's */
    _Alignas(ALIGNMENT) double nanoseconds;    /* that a turn took at least; 0: none was measured */
} handover_game;

static bool wait_for(const _Atomic unsigned *word, unsigned value, int most)
{
    for (int looks = 0; looks < most; looks++) {
        if (atomic_load_explicit(word, memory_order_acquire) == value) {
            return true;
        }
    }
    return false;
}

/* A thread that has no partner, or loses it, gives up. */
static void hand_over(void *context, size_t task)
{
    (void)task;
    handover_game *game = context;
    const unsigned player = atomic_fetch_add(&game->players, 1);
    unsigned turn = player;
    if (!wait_for(&game->players, 2, LOOKS_FOR_PARTNER)) {
        return;
    }
    for (int round = 0; round < ROUNDS; round++) {
        const double start = nanoseconds();
        for (int i = 0; i < TURNS / 2; i++, turn += 2) {
            if (!wait_for(&game->turn, turn, LOOKS)) {
                return;
            }
            atomic_store_explicit(&game->turn, turn + 1, memory_order_release);
        }
        const double taken = (nanoseconds() - start) / TURNS;
        if (player == 0 && (round == 1 || (round > 1 && taken < game->nanoseconds))) {
            game->nanoseconds = taken;
        }
    }
}

bool pycnn_threads_apart(pycnn_threads *pool)
{
    if (pycnn_threads_count(pool) == 1) {
        return false;
    }
    uint64_t measured = atomic_load_explicit(&pool->measured, memory_order_relaxed);
    const uint64_t now = pycnn_milliseconds();
    unsigned apart = atomic_load_explicit(&pool->apart, memory_order_relaxed);
    if (now - measured >= APART_PERIOD &&
        atomic_compare_exchange_strong(&pool->measured, &measured, now)) { /* one caller does */
        handover_game game = {0};
        pycnn_threads_run(pool, 2, hand_over, &game);
        apart = game.nanoseconds > PYCNN_APART ? APART_MEMORY : apart - (apart > 0);
        atomic_store_explicit(&pool->apart, apart, memory_order_relaxed);
    }
    return apart > 0;
}

#else /* every task runs on the caller's thread */

bool pycnn_threads_apart(pycnn_threads *pool)
{
    (void)pool;
    return false;
}

int pycnn_threads_create_with(pycnn_threads **out, size_t count, const pycnn_allocator *allocator)
{
    pycnn_allocator unused;
    RETURN_IF(out == NULL, PYCNN_ERROR_ARGUMENT);
    *out = NULL;
    TRY(pycnn_keep_allocator(&unused, allocator));
    RETURN_IF(count == 0, PYCNN_ERROR_SIZE);
    return PYCNN_OK;
}

void pycnn_threads_destroy(pycnn_threads *pool) { (void)pool; }

size_t pycnn_threads_count(const pycnn_threads *pool)
{
    (void)pool;
    return 1;
}

void pycnn_threads_run(pycnn_threads *pool, size_t tasks, task_function *run, void *context)
{
    (void)pool;
    for (size_t task = 0; task < tasks; task++) {
        run(context, task);
    }
}

#endif

int pycnn_threads_create(pycnn_threads **out, size_t count)
{
    return pycnn_threads_create_with(out, count, NULL);
}
