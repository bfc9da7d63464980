// The core, compiled to WebAssembly: memory, structs, and calls that fail as exceptions.

import fused from "../build/core.wasm";
import plain from "../build/core_plain.wasm";
import * as C from "../build/layout.ts";
import { ACTIVATIONS, Architecture, Data, LOSSES, Layer, OPTIMIZERS, Optimizer } from "./model.ts";

type Field = readonly [number, string];
type Layout = { readonly SIZE: number } & Record<string, Field | number>;
type Call = (...values: number[]) => number;
type Call64 = (...values: (number | bigint)[]) => number & bigint;

export class CoreError extends Error {}

export class Core {
  private constructor(private readonly exports: Record<string, unknown>) {
    this.call("_initialize");
  }

  /** The fused kernels where the browser has relaxed SIMD, and plain C where it has not. */
  static async load(): Promise<Core> {
    const bytes = WebAssembly.validate(fused) ? fused : plain;
    const { instance } = await WebAssembly.instantiate(bytes);
    return new Core(instance.exports);
  }

  call(name: string, ...values: number[]): number {
    return (this.exports[name] as Call)(...values);
  }

  call64(name: string, ...values: (number | bigint)[]): number & bigint {
    return (this.exports[name] as Call64)(...values);
  }

  /** A call that returns a status, of numbers and, for uint64_t, bigints. */
  must(name: string, ...values: (number | bigint)[]): void {
    const status = this.call64(name, ...values) as number;
    if (status !== C.PYCNN_OK) {
      throw new CoreError(this.text(this.call("pycnn_strerror", status)));
    }
  }

  get isa(): string {
    return this.text(this.call("pycnn_isa"));
  }

  private get buffer(): ArrayBuffer {
    return (this.exports.memory as WebAssembly.Memory).buffer;
  }

  get view(): DataView {
    return new DataView(this.buffer);
  }

  bytes(at: number, count: number): Uint8Array {
    return new Uint8Array(this.buffer, at, count);
  }

  doubles(at: number, count: number): Float64Array {
    return new Float64Array(this.buffer, at, count);
  }

  words(at: number, count: number): Uint32Array {
    return new Uint32Array(this.buffer, at, count);
  }

  text(at: number): string {
    if (at === 0) {
      return "";
    }
    const rest = new Uint8Array(this.buffer, at);
    return new TextDecoder().decode(rest.slice(0, rest.indexOf(0)));
  }

  allocate(bytes: number): number {
    const at = this.call("malloc", Math.max(bytes, 8));
    if (at === 0) {
      throw new CoreError("out of memory");
    }
    this.bytes(at, bytes).fill(0);
    return at;
  }

  /** Memory for doubles, which begins with some. */
  numbers(values: ArrayLike<number>): number {
    const at = this.allocate(8 * values.length);
    this.doubles(at, values.length).set(values);
    return at;
  }

  indices(values: ArrayLike<number>): number {
    const at = this.allocate(4 * values.length);
    this.words(at, values.length).set(values);
    return at;
  }

  free(...blocks: number[]): void {
    blocks.forEach((block) => this.call("free", block));
  }

  /** Memory for something that a call makes, and puts there. */
  made(name: string, ...values: number[]): number {
    const out = this.allocate(4);
    try {
      this.must(name, out, ...values);
      return this.words(out, 1)[0];
    } finally {
      this.free(out);
    }
  }

  set(at: number, layout: Layout, values: Record<string, number>): void {
    for (const [name, value] of Object.entries(values)) {
      const [offset, kind] = layout[name] as Field;
      if (kind === "double") {
        this.view.setFloat64(at + offset, value, true);
      } else {
        this.view.setUint32(at + offset, value, true);
      }
    }
  }

  get(at: number, layout: Layout, name: string): number {
    const [offset, kind] = layout[name] as Field;
    return kind === "double"
      ? this.view.getFloat64(at + offset, true)
      : this.view.getUint32(at + offset, true);
  }
}

interface Spec {
  fields: Record<string, number>;
  seen: number[]; // its `shape`
  after: number[]; // of what it gives
}

/** What a layer's struct says. */
function specOf(layer: Layer, shape: number[]): Spec {
  const activation = "activation" in layer ? ACTIVATIONS.indexOf(layer.activation) : 0;
  switch (layer.kind) {
    case "dense": {
      const { units, l1 = 0, l2 = 0 } = layer;
      return { fields: { kind: C.PYCNN_DENSE, activation, units, l1, l2 }, seen: [], after: [units] };
    }
    case "dropout":
      return { fields: { kind: C.PYCNN_DROPOUT, rate: layer.rate }, seen: [], after: shape };
    case "batch_norm": {
      const fields = { kind: C.PYCNN_BATCH_NORM, activation, epsilon: 1e-5, momentum: 0.1 };
      return { fields, seen: shape.length === 3 ? shape : [], after: shape };
    }
    case "convolution": {
      const [rows, columns] = shape.slice(0, 2).map((n) => n - layer.kernel + 1);
      const fields = { kind: C.PYCNN_CONVOLUTION, activation, units: layer.units };
      return { fields, seen: shape, after: [rows, columns, layer.units] };
    }
    case "max_pool": {
      const after = [...shape.slice(0, 2).map((n) => Math.floor(n / layer.kernel)), shape[2]];
      return { fields: { kind: C.PYCNN_MAX_POOL }, seen: shape, after };
    }
  }
}

function makeSpecs(core: Core, architecture: Architecture): number {
  const layout = C.pycnn_layer_spec;
  const specs = core.allocate(layout.SIZE * architecture.layers.length);
  let shape = architecture.shape;
  architecture.layers.forEach((layer, i) => {
    const at = specs + i * layout.SIZE;
    const { fields, seen, after } = specOf(layer, shape);
    core.set(at, layout, fields);
    core.words(at + layout.shape[0], 3).set(seen);
    if (layer.kind === "convolution" || layer.kind === "max_pool") {
      core.words(at + layout.kernel[0], 2).fill(layer.kernel);
      core.words(at + layout.strides[0], 2).fill(layer.kind === "max_pool" ? layer.kernel : 1);
    }
    shape = after;
  });
  return specs;
}

export interface Totals {
  loss: number;
  accuracy: number;
}

/** A network with its theta, as a model file of the core's holds both. */
export class Network {
  private constructor(
    readonly core: Core,
    private readonly file: number,
  ) {}

  static create(core: Core, architecture: Architecture, seed: number): Network {
    const specs = makeSpecs(core, architecture);
    const inputs = architecture.shape.reduce((product, n) => product * n, 1);
    const depth = architecture.layers.length;
    const loss = LOSSES.indexOf(architecture.loss);
    const parameter = architecture.loss === "huber" ? 1 : 0;
    try {
      const file = core.made("pycnn_file_create", inputs, specs, depth, loss, parameter);
      const network = new Network(core, file);
      const { theta, thetaSize, net } = network;
      core.must("pycnn_initialize", theta, thetaSize, net, BigInt(seed));
      return network;
    } finally {
      core.free(specs);
    }
  }

  /** Reads a model file; of one that is none it says why. */
  static parse(core: Core, content: Uint8Array): Network {
    const at = core.allocate(content.length);
    core.bytes(at, content.length).set(content);
    const out = core.allocate(8);
    try {
      const status = core.call("pycnn_file_parse", out, at, content.length, out + 4);
      if (status !== C.PYCNN_OK) {
        throw new CoreError(core.text(core.words(out, 2)[1]));
      }
      return new Network(core, core.words(out, 1)[0]);
    } finally {
      core.free(at, out);
    }
  }

  private read(name: "net" | "theta" | "theta_size" | "description"): number {
    return this.core.get(this.file, C.pycnn_file, name);
  }
  get net(): number {
    return this.read("net");
  }
  get theta(): number {
    return this.read("theta");
  }
  get thetaSize(): number {
    return this.read("theta_size");
  }
  get description(): string {
    return this.core.text(this.read("description"));
  }
  get inputs(): number {
    return this.core.call("pycnn_network_inputs", this.net);
  }
  get outputs(): number {
    return this.core.call("pycnn_network_outputs", this.net);
  }
  get parameters(): number {
    return this.core.call("pycnn_network_parameter_count", this.net);
  }
  get values(): Float64Array {
    return this.core.doubles(this.theta, this.thetaSize);
  }

  save(): Uint8Array {
    const { core } = this;
    const path = core.allocate(8); // a name of no characters: nothing is written to a disk
    try {
      core.must("pycnn_file_save", this.file, path);
      return core.bytes(core.call("page_saved"), core.call("page_saved_size")).slice();
    } finally {
      core.free(path);
    }
  }

  destroy(): void {
    this.core.call("pycnn_file_destroy", this.file);
  }
}

/** Data in the core's memory. */
class Dataset {
  readonly at: number;
  private readonly blocks: number[];

  constructor(
    private readonly core: Core,
    readonly rows: number,
    x: ArrayLike<number>,
    y: ArrayLike<number>,
    labels: boolean,
  ) {
    this.at = core.allocate(C.pycnn_dataset.SIZE);
    this.blocks = [core.numbers(x), labels ? core.indices(y) : core.numbers(y), this.at];
    const [values, targets] = this.blocks;
    core.set(this.at, C.pycnn_dataset, { rows, x: values, [labels ? "label" : "y"]: targets });
  }

  destroy(): void {
    this.core.free(...this.blocks);
  }
}

export interface Traced {
  z: Float64Array; // [units, rows] of one layer after the other
  a: Float64Array;
  delta: Float64Array;
  gradient: Float64Array;
  loss: number;
}

/** Everything between input and gradient; `units` are those of all layers together. */
export function trace(
  network: Network, units: number, x: ArrayLike<number>, y: ArrayLike<number>, labels: boolean,
): Traced {
  const { core, net } = network;
  const rows = x.length / network.inputs;
  const data = new Dataset(core, rows, x, y, labels);
  const workspace = core.made("pycnn_workspace_create", net, rows, C.PYCNN_TRACE);
  const sizes = [3, network.parameters, units * rows, units * rows, units * rows];
  const blocks = sizes.map((size) => core.allocate(8 * size));
  try {
    const [totals, gradient, z, a, delta] = blocks;
    const { theta, thetaSize } = network;
    core.must(
      "pycnn_trace", totals, gradient, z, a, delta, net, workspace, theta, thetaSize, data.at,
    );
    const [sums, grad, zs, as, deltas] = blocks.map((at, i) => core.doubles(at, sizes[i]).slice());
    return { z: zs, a: as, delta: deltas, gradient: grad, loss: sums[0] / sums[1] };
  } finally {
    core.free(...blocks);
    core.call("pycnn_workspace_destroy", workspace);
    data.destroy();
  }
}

/** What comes out of a layer for one sample. */
export interface LayerOutput {
  shape: number[]; // rows, columns and features; what is no image has one place
  values: Float64Array;
}

/** What the layers compute of one sample, which has so many rows, columns and features. */
export function activations(
  network: Network, x: ArrayLike<number>, shape: number[],
): LayerOutput[] {
  const { core, net } = network;
  const at = core.allocate(16 * core.call("page_depth", net));
  try {
    core.words(at, shape.length).set(shape);
    const count = core.call("page_shapes", at, net);
    const shapes = Array.from({ length: count }, (_, l) => [...core.words(at + 16 * l, 4)]);
    const ends = shapes.map(([rows, columns, features]) => rows * columns * features);
    ends.forEach((size, l) => (ends[l] = size + (ends[l - 1] ?? 0)));
    const { a } = trace(network, ends[count - 1], x, new Float64Array(network.outputs), false);
    return shapes.flatMap(([rows, columns, features, computes], l) => {
      const values = a.slice(ends[l - 1] ?? 0, ends[l]);
      return computes ? [{ shape: [rows, columns, features], values }] : [];
    });
  } finally {
    core.free(at);
  }
}

/** The outputs for rows of x. */
export function predict(network: Network, x: ArrayLike<number>): Float64Array {
  const { core, net, theta, thetaSize, outputs } = network;
  const rows = x.length / network.inputs;
  const workspace = core.made("pycnn_workspace_create", net, Math.min(rows, 256), C.PYCNN_FORWARD);
  const blocks = [core.allocate(8 * rows * outputs), core.numbers(x)];
  try {
    core.must("pycnn_predict", blocks[0], net, workspace, theta, thetaSize, blocks[1], rows);
    return core.doubles(blocks[0], rows * outputs).slice();
  } finally {
    core.free(...blocks);
    core.call("pycnn_workspace_destroy", workspace);
  }
}

/** A training as Python's Network.fit runs it, some steps at a time. */
export class Training {
  epoch = 0; // epochs finished
  private readonly core: Core;
  private readonly data: Dataset;
  private readonly workspace: number;
  private readonly optimizer: number;
  private readonly state: number;
  private readonly blocks: number[]; // slots, order, key, totals

  constructor(
    private readonly network: Network,
    data: Data,
    labels: boolean,
    optimizer: Optimizer,
    batchSize: number,
    private readonly seed: number,
  ) {
    const core = (this.core = network.core);
    const rows = data.x.length;
    this.data = new Dataset(core, rows, data.x.flat(), data.y, labels);
    const batch = Math.min(batchSize, rows);
    this.workspace = core.made("pycnn_workspace_create", network.net, batch, C.PYCNN_BACKWARD);
    this.optimizer = core.allocate(C.pycnn_optimizer.SIZE);
    core.call("pycnn_optimizer_init", this.optimizer, OPTIMIZERS.indexOf(optimizer.kind));
    if (optimizer.kind === "sgd") {
      core.set(this.optimizer, C.pycnn_optimizer, { momentum: optimizer.momentum });
    }
    const slots = core.call("pycnn_optimizer_slots", this.optimizer) * network.parameters;
    const sizes = [8 * slots, 4 * rows, 8, C.pycnn_totals.SIZE];
    this.blocks = sizes.map((size) => core.allocate(size));
    this.state = core.allocate(C.pycnn_training.SIZE);
    core.call("pycnn_training_init", this.state);
    const [slotsAt, order, dropout_keys, totals] = this.blocks;
    core.set(this.state, C.pycnn_training, {
      epochs: 1, batch_size: batch, learning_rate: optimizer.learningRate, order, totals,
      optimizer: this.optimizer, slots: slotsAt, dropout_keys,
    });
    this.beginEpoch();
  }

  /** One epoch is one training of the core's, whose order and dropout are those of its number. */
  private beginEpoch(): void {
    const { core, blocks, seed, epoch } = this;
    const [, order, key, totals] = blocks;
    core.must("pycnn_permutation", order, this.data.rows, BigInt(seed), epoch);
    const drawn = core.call64("pycnn_dropout_key", BigInt(seed), epoch) as bigint;
    core.view.setBigUint64(key, BigInt.asUintN(64, drawn), true);
    core.bytes(totals, C.pycnn_totals.SIZE).fill(0);
    core.set(this.state, C.pycnn_training, { epoch: 0, position: 0 });
  }

  /** Whether an epoch has begun and not ended. */
  get midway(): boolean {
    return this.core.get(this.state, C.pycnn_training, "position") > 0;
  }

  /** Takes up to so many steps, and returns the sums of an epoch that has ended with them. */
  run(steps: number): Totals | null {
    const { core, network, blocks } = this;
    const taken = core.allocate(4);
    try {
      core.must(
        "pycnn_train", taken, network.theta, network.thetaSize, this.state, network.net,
        this.workspace, this.data.at, steps,
      );
    } finally {
      core.free(taken);
    }
    if (core.get(this.state, C.pycnn_training, "epoch") === 0) {
      return null;
    }
    const [loss, weight, correct] = core.doubles(blocks[3], 3);
    this.epoch += 1;
    this.beginEpoch();
    return { loss: loss / weight, accuracy: correct / weight };
  }

  destroy(): void {
    this.core.call("pycnn_workspace_destroy", this.workspace);
    this.core.free(this.optimizer, this.state, ...this.blocks);
    this.data.destroy();
  }
}

/** Numbers from [0, 1), as pycnn_draw has them. */
export function* draws(core: Core, seed: number): Generator<number> {
  for (let i = 0; ; i++) {
    yield core.call64("pycnn_draw", BigInt(seed), i) as number;
  }
}
