// The programs that do in Python and in C what was done in the page, to the same bits.

import { type Layer, type Setup, byLabel } from "./model.ts";

const list = (values: number[]) => values.join(", ");

function pythonLayer(layer: Layer): string {
  switch (layer.kind) {
    case "dense": {
      const penalties = [layer.l1 ? `l1=${layer.l1}` : "", layer.l2 ? `l2=${layer.l2}` : ""];
      return `Dense(${[layer.units, `"${layer.activation}"`, ...penalties.filter(Boolean)].join(", ")})`;
    }
    case "dropout": return `Dropout(${layer.rate})`;
    case "batch_norm": return `BatchNorm("${layer.activation}")`;
    case "convolution": return `Conv2D(${layer.units}, ${layer.kernel}, "${layer.activation}")`;
    case "max_pool": return `MaxPool2D(${layer.kernel})`;
  }
}

function pythonOptimizer({ kind, learningRate, momentum }: Setup["optimizer"]): string {
  const name = { sgd: "SGD", adam: "Adam", rmsprop: "RMSprop", adagrad: "Adagrad" }[kind];
  const settings = kind === "sgd" && momentum > 0 ? `, momentum=${momentum}` : "";
  return `optimizers.${name}(${learningRate}${settings})`;
}

export function pythonProgram(setup: Setup, epochs: number, hash: string): string {
  const { architecture, data, batchSize, seed } = setup;
  const layers = architecture.layers.map(pythonLayer);
  const classes = [...new Set(layers.map((layer) => layer.split("(")[0]))].sort();
  const shape = architecture.shape.length === 1 ? architecture.shape[0] : `(${list(architecture.shape)})`;
  const fit = epochs === 0 ? "" : `net.fit(
    X,
    y,
    epochs=${epochs},
    batch_size=${Math.min(batchSize, data.x.length)},
    optimizer=${pythonOptimizer(setup.optimizer)},
    progress=False,
)
`;
  return `# What was trained in pycnn's page, trained again: the same start, the same bits.
import hashlib

import numpy as np

from pycnn import ${["Network", ...classes].sort().join(", ")}, optimizers

X = np.array([
${data.x.map((row) => `    [${list(row)}],`).join("\n")}
])
y = np.array([${list(data.y)}])
layers = [
${layers.map((layer) => `    ${layer},`).join("\n")}
]
net = Network(${shape}, layers, loss="${architecture.loss}", seed=${seed})
${fit}print(hashlib.sha256(net.theta.tobytes()).hexdigest())
print("${hash}  in the page")
`;
}

function cLayer(layer: Layer): string {
  const activation = "activation" in layer ? `.activation = PYCNN_${layer.activation.toUpperCase()}` : "";
  switch (layer.kind) {
    case "dense": {
      const penalties = [layer.l1 ? `.l1 = ${layer.l1}` : "", layer.l2 ? `.l2 = ${layer.l2}` : ""];
      return ["{.kind = PYCNN_DENSE", activation, `.units = ${layer.units}`, ...penalties.filter(Boolean)].join(", ") + "}";
    }
    case "dropout": return `{.kind = PYCNN_DROPOUT, .rate = ${layer.rate}}`;
    case "batch_norm": return `{.kind = PYCNN_BATCH_NORM, ${activation}, .epsilon = 1e-5, .momentum = 0.1}`;
    default: throw new Error(`no program is written of a layer of kind ${layer.kind}`);
  }
}

export function cProgram(setup: Setup, epochs: number, hash: string): string {
  const { architecture, data, optimizer, batchSize, seed } = setup;
  const rows = data.x.length;
  const labels = byLabel(architecture.loss);
  const target = labels ? "static const size_t label" : "static const double y";
  return `// What was trained in pycnn's page, trained again: playground.safetensors becomes the same bytes.
//
//     cc -O2 -Icsrc csrc/*.c playground.c -o playground -pthread -lm && ./playground
//
// SHA-256 of theta: ${hash}
#include <stdio.h>
#include <stdlib.h>

#include "pycnn_file.h"

enum { ROWS = ${rows}, INPUTS = ${architecture.shape[0]}, EPOCHS = ${epochs}, BATCH = ${Math.min(batchSize, rows)}, SEED = ${seed} };

static const double x[ROWS * INPUTS] = {
${data.x.map((row) => `    ${list(row)},`).join("\n")}
};
${target}[ROWS] = {${list(data.y)}};

static const pycnn_layer_spec layers[] = {
${architecture.layers.map((layer) => `    ${cLayer(layer)},`).join("\n")}
};

static void must(int status)
{
    if (status != PYCNN_OK) {
        fprintf(stderr, "%s\\n", pycnn_strerror(status));
        exit(EXIT_FAILURE);
    }
}

int main(void)
{
    const pycnn_dataset data = {.rows = ROWS, .x = x, .${labels ? "label = label" : "y = y"}};
    pycnn_file *file;
    pycnn_workspace *workspace;
    must(pycnn_file_create(&file, INPUTS, layers, sizeof layers / sizeof *layers, PYCNN_${architecture.loss.toUpperCase()}, ${architecture.loss === "huber" ? 1 : 0}));
    must(pycnn_initialize(file->theta, file->theta_size, file->net, SEED));
    must(pycnn_workspace_create(&workspace, file->net, BATCH, PYCNN_BACKWARD));

    pycnn_optimizer optimizer;
    pycnn_optimizer_init(&optimizer, PYCNN_${optimizer.kind.toUpperCase()});
${optimizer.kind === "sgd" ? `    optimizer.momentum = ${optimizer.momentum};\n` : ""}    double *slots = calloc(pycnn_optimizer_slots(&optimizer) * pycnn_network_parameter_count(file->net) + 1,
                           sizeof *slots);
    must(slots == NULL ? PYCNN_ERROR_MEMORY : PYCNN_OK);
    static size_t order[ROWS];
    uint64_t key;
    pycnn_training training;
    pycnn_training_init(&training);
    training.batch_size = BATCH;
    training.learning_rate = ${optimizer.learningRate};
    training.optimizer = &optimizer;
    training.slots = slots;
    training.order = order;
    training.dropout_keys = &key;
    training.epochs = 1;
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        size_t steps;
        must(pycnn_permutation(order, ROWS, SEED, epoch));
        key = pycnn_dropout_key(SEED, epoch);
        training.epoch = training.position = 0;
        must(pycnn_train(&steps, file->theta, file->theta_size, &training, file->net, workspace, &data, SIZE_MAX));
    }
    must(pycnn_file_save(file, "playground.safetensors"));
    pycnn_workspace_destroy(workspace);
    pycnn_file_destroy(file);
    free(slots);
    return EXIT_SUCCESS;
}
`;
}
