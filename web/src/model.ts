// What a network and its training are, as plain data: the controls make it, the worker runs it, and
// the programs to take home are written of it.

export const ACTIVATIONS = [
  "linear", "sigmoid", "relu", "tanh", "softmax", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh",
  "silu", "softplus", "softsign", "hard_sigmoid", "hard_tanh",
] as const;
export type Activation = (typeof ACTIVATIONS)[number];

// In the order of pycnn_loss.
export const LOSSES = [
  "mse", "binary_crossentropy", "categorical_crossentropy", "mae", "huber", "poisson", "hinge",
] as const;
export type Loss = (typeof LOSSES)[number];

// In the order of pycnn_optimizer_kind.
export const OPTIMIZERS = ["sgd", "adam", "rmsprop", "adagrad"] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];

export type Layer =
  | { kind: "dense"; units: number; activation: Activation; l1?: number; l2?: number }
  | { kind: "dropout"; rate: number }
  | { kind: "batch_norm"; activation: Activation }
  | { kind: "convolution"; units: number; kernel: number; activation: Activation }
  | { kind: "max_pool"; kernel: number };

export interface Architecture {
  shape: number[]; // of a sample: [features], or of an image [rows, columns, features]
  layers: Layer[];
  loss: Loss;
}

export interface Optimizer {
  kind: OptimizerName;
  learningRate: number;
  momentum: number; // of gradient descent
}

export interface Data {
  x: number[][];
  y: number[]; // classes, or a target each
}

export interface Setup {
  architecture: Architecture;
  optimizer: Optimizer;
  batchSize: number;
  seed: number;
  data: Data;
}

/** Whether targets are class numbers for a softmax, and no row of numbers. */
export function byLabel(loss: Loss): boolean {
  return loss === "categorical_crossentropy";
}
