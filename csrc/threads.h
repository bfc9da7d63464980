/* A small pool of threads, held by the caller. */
#ifndef PYCNN_THREADS_H
#define PYCNN_THREADS_H

#include "common.h"

typedef void task_function(void *context, size_t task);

/* Threads that may work together, the caller included; 1 without a pool. */
PYCNN_PRIVATE size_t pycnn_threads_count(const pycnn_threads *pool);

/* Calls run(context, task) once for each task below `tasks`, on the pool's threads and this one, in
 * no order; returns when all are done. Where there is no pool, or it is busy with another caller's
 * tasks, or belongs to the parent of this process, or tasks are 2^20 or more, this thread does all.
 */
PYCNN_PRIVATE void pycnn_threads_run(pycnn_threads *pool, size_t tasks, task_function *run,
                                     void *context);

/* Whether the threads' cores have been seen, lately, to have no cache in common: what one of them
 * has written then takes long to reach another, and to be written again. It is measured now and
 * then; only times depend on it. */
PYCNN_PRIVATE bool pycnn_threads_apart(pycnn_threads *pool);

/* A clock that never goes back. */
PYCNN_PRIVATE uint64_t pycnn_milliseconds(void);

#endif
