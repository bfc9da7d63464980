// Learning from a stream: samples come one by one, each is predicted first and learned from then,
// and nothing is kept. What they follow drifts, and the network with it.
//
//     cc -O2 -Icsrc csrc/*.c examples/c/online.c -o online -pthread -lm && ./online
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pycnn.h"

enum {
    INPUTS = 3,
    UNITS = 16,
    THETA = (INPUTS + 1) * UNITS + UNITS + 1,
    SAMPLES = 60000,
    PART = 10000
};

// A sensor: three readings, and what should be told from them, which changes slowly.
static void read_sensor(double x[INPUTS], double *y, size_t time)
{
    static uint64_t state = 1;
    for (int i = 0; i < INPUTS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (double)(state >> 11) / (double)(1ull << 52) - 1; // in [-1, 1)
    }
    const double drift = (double)time / SAMPLES;
    *y = sin(2 * x[0]) * x[1] + drift * x[2];
}

int main(void)
{
    const pycnn_layer_spec layers[] = {
        {.kind = PYCNN_DENSE, .activation = PYCNN_TANH, .units = UNITS},
        {.kind = PYCNN_DENSE, .activation = PYCNN_LINEAR, .units = 1}};
    _Alignas(64) double theta[THETA]; // wide layers take half of the time then
    double first = 0, error = 0;
    pycnn_network *net = NULL;
    pycnn_workspace *workspace = NULL;
    // Theta's size goes along wherever theta does: an array of another size would be refused.
    int status = pycnn_network_create(&net, INPUTS, layers, 2, PYCNN_MSE, 0);
    if (status == PYCNN_OK) {
        status = pycnn_workspace_create(&workspace, net, 1, PYCNN_BACKWARD);
    }
    if (status == PYCNN_OK) {
        status = pycnn_initialize(theta, THETA, net, 1);
    }

    // The training's state is one for the whole stream, which is an epoch that does not end: what
    // an optimizer remembers would go on in it. Here it is plain gradient descent.
    pycnn_training state;
    pycnn_training_init(&state);
    state.batch_size = 1;
    state.learning_rate = 0.05;
    for (size_t time = 0; time < SAMPLES && status == PYCNN_OK; time++) {
        double x[INPUTS], y, guess;
        read_sensor(x, &y, time);
        status = pycnn_predict(&guess, net, workspace, theta, THETA, x, 1);
        error += (guess - y) * (guess - y);
        if (status == PYCNN_OK) {
            const pycnn_dataset sample = {.rows = 1, .x = x, .y = &y};
            size_t steps;
            state.epoch = state.position = 0; // of this sample, which is all the data of the call
            status = pycnn_train(&steps, theta, THETA, &state, net, workspace, &sample, 1);
        }
        if ((time + 1) % PART == 0) {
            error = sqrt(error / PART);
            first = time + 1 == PART ? error : first;
            printf("after %5zu samples: error %.4f\n", time + 1, error);
            error = time + 1 < SAMPLES ? 0 : error;
        }
    }
    pycnn_workspace_destroy(workspace); // NULL is fine
    pycnn_network_destroy(net);
    if (status != PYCNN_OK) {
        fprintf(stderr, "online: %s\n", pycnn_strerror(status));
        return EXIT_FAILURE;
    }
    const int learned = error < first / 2;
    printf("%.4f at first, %.4f in the end: %s\n", first, error,
           learned ? "learned" : "not learned");
    return learned ? EXIT_SUCCESS : EXIT_FAILURE;
}
