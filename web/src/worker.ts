// Runs the core beside the page: answers its calls, and trains some steps at a time between them.

import { Core, Network, Totals, Training, activations, draws, predict, trace } from "./core.ts";
import { Architecture, Setup, byLabel } from "./model.ts";
import { sha256 } from "./sha256.ts";

export interface Figures {
  z: Float64Array; // of one layer after the other
  a: Float64Array;
  delta: Float64Array;
  gradient: Float64Array;
  loss: number;
  theta: Float64Array; // behind the step
}

export interface Snapshot {
  epoch: number;
  totals: Totals[]; // of the epochs since the last one
  outputs: Float64Array; // of the grid's points, a row each
  hidden: Float64Array; // of the grid's points, units of one layer after the other
  norms: number[]; // of the loss's gradient over all data, for each dense layer and what follows it
  error: string;
}

const SLICE_MS = 12;
const BETWEEN_SNAPSHOTS_MS = 50;

let core: Core;
let network: Network | null = null;
let training: Training | null = null;
let learned: { setup: Setup; x: number[] } | null = null; // where its norms are looked at
let units = 0; // of all layers together, or 0 where nobody looks into them
let grid: Float64Array = new Float64Array();
let playing = false;
let epochsPerSecond = 60;
let fresh: Totals[] = [];
let failure = "";
let seen = true; // by the page: what it was sent last

function present<T>(thing: T | null): T {
  if (thing === null) throw new Error("there is no network yet");
  return thing;
}

function forget(): void {
  playing = false;
  training?.destroy();
  network?.destroy();
  [training, network, learned, fresh, failure] = [null, null, null, [], ""];
}

function unitsOf(architecture: Architecture): number {
  if (architecture.shape.length > 1) return 0;
  let width = architecture.shape[0];
  return architecture.layers.reduce((sum, layer) => {
    width = layer.kind === "dense" ? layer.units : width;
    return sum + width;
  }, 0);
}

/** The norm of the gradient for each dense layer, with the normalization behind it. */
function gradientNorms(net: Network): number[] {
  if (learned === null) return [];
  const { architecture, data } = learned.setup;
  const { gradient } = trace(net, units, learned.x, data.y, byLabel(architecture.loss));
  const squares: number[] = [];
  let [at, width] = [0, architecture.shape[0]];
  for (const layer of architecture.layers) {
    const count = layer.kind === "dense" ? layer.units * (width + 1) : layer.kind === "batch_norm" ? 2 * width : 0;
    if (layer.kind === "dense") {
      width = layer.units;
      squares.push(0);
    }
    const own = gradient.subarray(at, (at += count));
    squares[squares.length - 1] += own.reduce((sum, value) => sum + value * value, 0);
  }
  return squares.map(Math.sqrt);
}

function snapshot(): Snapshot {
  const net = present(network);
  const rows = grid.length / net.inputs;
  const none = new Float64Array();
  const outputs = rows > 0 ? predict(net, grid) : none;
  const norms = gradientNorms(net);
  const state = { epoch: training?.epoch ?? 0, totals: fresh, outputs, norms, error: failure };
  fresh = [];
  if (units === 0 || rows === 0) return { ...state, hidden: none };
  const { a } = trace(net, units, grid, new Float64Array(rows * net.outputs), false);
  return { ...state, hidden: a };
}

/** Trains until the epoch ends, or for one slice of time. */
function trainUntil(done: () => boolean): void {
  try {
    do {
      const totals = present(training).run(1);
      if (totals !== null) fresh.push(totals);
    } while (!done());
  } catch (error) {
    playing = false;
    failure = String(error instanceof Error ? error.message : error);
  }
}

const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

async function play(): Promise<void> {
  const run = training;
  let [shown, before, allowed] = [0, performance.now(), 0];
  while (playing && training === run) {
    const start = performance.now();
    allowed = Math.min(allowed + ((start - before) / 1000) * epochsPerSecond, epochsPerSecond);
    before = start;
    if (allowed >= 1) {
      const until = present(training).epoch + Math.floor(allowed);
      trainUntil(() => performance.now() - start > SLICE_MS || present(training).epoch >= until);
      allowed -= Math.floor(allowed);
    }
    if (seen && performance.now() - shown > BETWEEN_SNAPSHOTS_MS) {
      [shown, seen] = [performance.now(), false];
      postMessage({ snapshot: snapshot() });
    }
    await pause();
  }
  if (failure !== "" && training === run) postMessage({ snapshot: snapshot() });
}

const calls = {
  async start() {
    core = await Core.load();
    return { isa: core.isa, fused: core.isa !== "baseline" };
  },

  /** One forward and backward pass of one sample, and a step of gradient descent. */
  walk(
    architecture: Architecture, theta: Float64Array, x: number[], y: number, learningRate: number,
  ): Figures {
    const net = Network.create(core, architecture, 0);
    net.values.set(theta);
    const figures = trace(net, unitsOf(architecture), x, [y], false);
    const optimizer = { kind: "sgd", learningRate, momentum: 0 } as const;
    const step = new Training(net, { x: [x], y: [y] }, false, optimizer, 1, 0);
    try {
      step.run(1);
      return { ...figures, theta: net.values.slice() };
    } finally {
      step.destroy();
      net.destroy();
    }
  },

  random(seed: number, count: number): number[] {
    const numbers = draws(core, seed);
    return Array.from({ length: count }, () => numbers.next().value as number);
  },

  /** A new network and its training; the points at which it is looked at are rows of x. */
  begin(setup: Setup, points: Float64Array): Snapshot {
    forget();
    const { architecture, data, optimizer, batchSize, seed } = setup;
    network = Network.create(core, architecture, seed);
    training = new Training(
      network, data, byLabel(architecture.loss), optimizer, batchSize, seed,
    );
    [grid, units] = [points, unitsOf(architecture)];
    if (units > 0 && points.length > 0) learned = { setup, x: data.x.flat() };
    return snapshot();
  },

  play(speed: number): void {
    [playing, epochsPerSecond, failure, seen] = [true, speed, "", true];
    void play();
  },

  /** The page has drawn what it was sent, and can take more. */
  seen(): void {
    seen = true;
  },

  pace(speed: number): void {
    epochsPerSecond = speed;
  },

  /** Ends with the epoch: so many epochs are what a program can repeat. */
  pause(): Snapshot {
    playing = false;
    if (training?.midway && failure === "") trainUntil(() => !present(training).midway);
    return snapshot();
  },

  /** Trains to the end of so many epochs. */
  epochs(count: number): Snapshot {
    failure = "";
    const until = present(training).epoch + count;
    trainUntil(() => present(training).epoch >= until);
    return snapshot();
  },

  hash(): string {
    const { values } = present(network);
    return sha256(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  },

  save: () => present(network).save(),

  /** A network from a model file, of so many inputs and, where that matters, outputs. */
  load(content: Uint8Array, inputs: number, points: Float64Array, outputs?: number) {
    const loaded = Network.parse(core, content);
    const counts = [["inputs", loaded.inputs, inputs], ["outputs", loaded.outputs, outputs]] as const;
    for (const [what, has, needed] of counts) {
      if (needed === undefined || has === needed) continue;
      loaded.destroy();
      throw new Error(`the network of this file has ${has} ${what}, and ${needed} are needed`);
    }
    forget();
    [network, grid, units] = [loaded, points, 0];
    return { snapshot: snapshot(), description: loaded.description };
  },

  theta: () => present(network).values.slice(),

  predict: (x: ArrayLike<number>) => predict(present(network), x),

  activations: (x: ArrayLike<number>, shape: number[]) => activations(present(network), x, shape),
};

export type Calls = typeof calls;

interface Request {
  id: number;
  name: keyof Calls;
  values: unknown[];
}

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  try {
    const call = calls[data.name] as (...values: unknown[]) => unknown;
    postMessage({ id: data.id, result: await call(...data.values) });
  } catch (error) {
    postMessage({ id: data.id, error: error instanceof Error ? error.message : String(error) });
  }
};
