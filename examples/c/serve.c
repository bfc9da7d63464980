// A model from Python answers: rows of numbers come from the standard input, predictions go to the
// standard output, a line each.
//
//     cc -O2 -Icsrc csrc/*.c examples/c/serve.c -o serve -pthread -lm
//     echo "0.5, 0.25" | ./serve model.safetensors
#include <stdio.h>
#include <stdlib.h>

#include "pycnn_file.h"

// Reads one row; returns whether there was one. What is no number ends the program.
static int read_row(double *x, size_t inputs)
{
    for (size_t i = 0; i < inputs; i++) {
        if (scanf(i == 0 ? " %lf" : " %*1[,]%lf", &x[i]) != 1 && scanf(" %lf", &x[i]) != 1) {
            if (i == 0 && feof(stdin)) {
                return 0;
            }
            fprintf(stderr, "serve: a row must be %zu numbers\n", inputs);
            exit(EXIT_FAILURE);
        }
    }
    return 1;
}

// The label of the largest output, or of a sigmoid alone that of its side of 1/2; else the numbers.
static void show(const pycnn_file *model, const double *y, size_t outputs)
{
    size_t best = outputs == 1 && model->class_count == 2 ? y[0] > 0.5 : 0;
    for (size_t j = 1; j < outputs; j++) {
        best = y[j] > y[best] ? j : best;
    }
    if (model->classes != NULL) {
        printf("%s ", model->classes[best]);
    }
    for (size_t j = 0; j < outputs; j++) {
        printf("%.17g%c", y[j], j + 1 < outputs ? ' ' : '\n');
    }
    fflush(stdout); // who asks waits for the answer
}

int main(int count, char **arguments)
{
    pycnn_file *model = NULL;
    pycnn_predictor *predictor = NULL;
    const char *problem = "";
    if (count != 2) {
        fprintf(stderr, "usage: serve MODEL\n");
        return EXIT_FAILURE;
    }
    int status = pycnn_file_load(&model, arguments[1], &problem);
    if (status == PYCNN_OK) { // a copy of theta that is laid out for single rows
        status = pycnn_predictor_create(&predictor, model->net, model->theta, model->theta_size);
    }
    if (status != PYCNN_OK) {
        fprintf(stderr, "serve: %s: %s. %s\n", arguments[1], pycnn_strerror(status),
                problem == NULL ? "" : problem);
        pycnn_file_destroy(model);
        return EXIT_FAILURE;
    }
    const size_t inputs = pycnn_network_inputs(model->net);
    const size_t outputs = pycnn_network_outputs(model->net);
    double *x = malloc(inputs * sizeof *x), *y = malloc(outputs * sizeof *y);
    while (x != NULL && y != NULL && status == PYCNN_OK && read_row(x, inputs)) {
        status = pycnn_predictor_run(predictor, y, x);
        pycnn_file_restore(model, y, 1); // into the targets' unit, where they have one
        show(model, y, outputs);
    }
    free(x), free(y);
    pycnn_predictor_destroy(predictor);
    pycnn_file_destroy(model);
    return status == PYCNN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
