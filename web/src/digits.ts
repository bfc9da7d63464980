// Digits: a network that learns to read them, one to draw, what its first layer looks at, and what
// the hidden layers make of the drawn one.

import bytes from "../build/digits.bin";
import { button, download, fileField, h, inWords, labelled, numberField, select, t } from "./dom.ts";
import type { LayerOutput } from "./core.ts";
import type { Layer, Setup } from "./model.ts";
import type { Remote } from "./remote.ts";
import type { Snapshot } from "./worker.ts";

const SIDE = 8;
const PIXELS = SIDE * SIDE;
const COUNT = bytes.length / (PIXELS + 1);
const LEARNED = 1497;
const INK = 16; // a pixel's largest value

const pixelsOf = (i: number) => [...bytes.subarray(i * PIXELS, (i + 1) * PIXELS)].map((v) => v / INK);
const labelOf = (i: number) => bytes[COUNT * PIXELS + i];
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const SEEN = { x: range(0, LEARNED).map(pixelsOf), y: range(0, LEARNED).map(labelOf) };
const UNSEEN = { x: Float64Array.from(range(LEARNED, COUNT).flatMap(pixelsOf)), y: range(LEARNED, COUNT).map(labelOf) };

const LAYERS: Record<"dense" | "convolution", Layer[]> = {
  dense: [
    { kind: "dense", units: 32, activation: "relu" },
    { kind: "dense", units: 10, activation: "softmax" },
  ],
  convolution: [
    { kind: "convolution", units: 8, kernel: 3, activation: "relu" },
    { kind: "max_pool", kernel: 2 },
    { kind: "dense", units: 10, activation: "softmax" },
  ],
};
type Kind = keyof typeof LAYERS;

export class Digits {
  private kind: Kind = "dense";
  private rate = 0.1;
  private seed = 1;
  private drawn: number[] = pixelsOf(LEARNED);
  private number = LEARNED;
  private playing = false;
  private begun = false;
  private opened = false; // a model file: nothing is known of how it was trained
  private filters: [number, number] = [0, 0]; // pictures of the first layer's weights, and their side

  constructor(private readonly place: HTMLElement, private readonly remote: Remote) {}

  async show(): Promise<void> {
    this.remote.onSnapshot = (snapshot) => {
      if (this.playing) void this.take(snapshot).then(() => this.remote.call("seen"));
    };
    this.draw();
    if (!this.begun) await this.begin();
  }

  async leave(): Promise<void> {
    if (this.playing) await this.pause();
    this.begun = false; // the worker has one network, and another view may want it
  }

  private async begin(): Promise<void> {
    this.playing = false;
    const setup: Setup = {
      architecture: {
        shape: this.kind === "dense" ? [PIXELS] : [SIDE, SIDE, 1],
        layers: LAYERS[this.kind],
        loss: "categorical_crossentropy",
      },
      optimizer: { kind: "sgd", learningRate: this.rate, momentum: 0 },
      batchSize: 32,
      seed: this.seed,
      data: SEEN,
    };
    [this.begun, this.opened] = [true, false];
    this.filters = this.kind === "dense" ? [32, SIDE] : [8, 3];
    this.say("");
    await this.take(await this.remote.call("begin", setup, new Float64Array()));
    await this.rest();
  }

  private async toggle(): Promise<void> {
    if (this.playing) {
      await this.pause();
    } else if (!this.opened) {
      this.playing = true;
      this.label();
      this.find("#digits-hash").textContent = "…";
      await this.remote.call("play", 10);
    }
  }

  private async pause(): Promise<void> {
    this.playing = false;
    await this.take(await this.remote.call("pause"));
    await this.rest();
  }

  private async oneEpoch(): Promise<void> {
    if (this.opened) return;
    if (this.playing) await this.pause();
    await this.take(await this.remote.call("epochs", 1));
    await this.rest();
  }

  private async rest(): Promise<void> {
    this.label();
    this.find("#digits-hash").textContent = await this.remote.call("hash");
  }

  private async open(file: File): Promise<void> {
    if (this.playing) await this.pause();
    try {
      const content = new Uint8Array(await file.arrayBuffer());
      const none = new Float64Array();
      const { snapshot, description } = await this.remote.call("load", content, PIXELS, none, 10);
      [this.opened, this.filters] = [true, filtersOf(JSON.parse(description) as Description)];
      this.say("");
      await this.take(snapshot);
      await this.rest();
    } catch (error) {
      this.say(t("noModel", { problem: inWords((error as Error).message) }));
    }
  }

  /** Shows what the network has become: how well it reads, what it says of the drawn one. */
  private async take(snapshot: Snapshot): Promise<void> {
    const outputs = await this.remote.call("predict", UNSEEN.x);
    const right = UNSEEN.y.filter((label, i) => label === largest(outputs.subarray(10 * i, 10 * i + 10)));
    const accuracy = (right.length / UNSEEN.y.length).toFixed(3);
    const loss = snapshot.totals.at(-1)?.loss.toPrecision(4);
    const { epoch, error } = snapshot;
    this.find("#digits-status").textContent = loss === undefined
      ? t("digitsFresh", { epoch, accuracy }) : t("digitsStatus", { epoch, loss, accuracy });
    if (error !== "") {
      this.playing = false;
      this.say(t("stopped", { problem: inWords(error) }));
      this.label();
    }
    await this.read();
    this.paintFilters(await this.remote.call("theta"));
  }

  private async read(): Promise<void> {
    const outputs = await this.remote.call("predict", this.drawn);
    const best = largest(outputs);
    this.place.querySelectorAll<HTMLMeterElement>("meter").forEach((meter, digit) => {
      meter.value = outputs[digit];
      meter.nextElementSibling!.textContent = outputs[digit].toFixed(3);
      meter.parentElement!.classList.toggle("best", digit === best);
    });
    // A file's own loss is no function here: a pass with it fails.
    const layers = await this.remote.call("activations", this.drawn, [SIDE, SIDE, 1]).catch(() => []);
    this.paintHidden(layers.slice(0, -1));
  }

  // ------------------------------------------------------------------ pictures

  private find(selector: string): HTMLElement {
    return this.place.querySelector<HTMLElement>(selector)!;
  }

  private label(): void {
    this.find("#digits-train").textContent = t(this.playing ? "pause" : "train");
  }

  private say(problem: string): void {
    this.find("#digits-problem").textContent = problem;
  }

  private paintDrawn(): void {
    const canvas = this.find("#pad") as HTMLCanvasElement;
    const context = canvas.getContext("2d")!;
    const size = canvas.width / SIDE;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = getComputedStyle(canvas).color;
    this.drawn.forEach((ink, i) => {
      context.globalAlpha = ink;
      context.fillRect((i % SIDE) * size, Math.floor(i / SIDE) * size, size, size);
    });
    context.globalAlpha = 1;
  }

  /** Ink around the pointer: all of it where it is, and less up to a pixel away. */
  private async paintAt(event: PointerEvent): Promise<void> {
    if (event.buttons === 0 && event.type !== "pointerdown") return;
    const { left, top, width, height } = (event.target as HTMLElement).getBoundingClientRect();
    const [x, y] = [((event.clientX - left) / width) * SIDE, ((event.clientY - top) / height) * SIDE];
    this.drawn = this.drawn.map((ink, i) => {
      const distance = Math.hypot((i % SIDE) + 0.5 - x, Math.floor(i / SIDE) + 0.5 - y);
      return Math.max(ink, Math.round(INK * Math.max(0, Math.min(1, 1.4 - distance))) / INK);
    });
    this.paintDrawn();
    await this.read();
  }

  private paintFilters(theta: Float64Array): void {
    const [count, side] = this.filters;
    const pictures = range(0, count).map((unit) => {
      const weights = theta.subarray(unit * side * side, (unit + 1) * side * side);
      const canvas = h("canvas", { width: side, height: side });
      paintSigned(canvas, weights, largestSize(weights));
      return canvas;
    });
    this.find("#filters").replaceChildren(...pictures);
  }

  /** A picture of each feature of an image, or of each unit a cell; a layer's share their scale. */
  private paintHidden(layers: LayerOutput[]): void {
    const place = this.find("#hidden");
    const shapes = layers.map(({ shape }) => shape.join()).join(" ");
    if (place.dataset.shapes !== shapes) {
      place.dataset.shapes = shapes;
      place.replaceChildren(...layers.map(({ shape: [rows, columns, features] }) => {
        const pictures = range(0, features).map(() => h("canvas", { width: columns, height: rows }));
        const kind = rows * columns === 1 ? "units cells" : "units";
        return h("div", {}, h("h3", {}), h("div", { class: kind, role: "img" }, ...pictures));
      }));
    }
    this.find("#hidden-title").hidden = layers.length === 0;
    layers.forEach(({ shape: [rows, columns, features], values }, l) => {
      const [title, pictures] = place.children[l].children;
      const byFeature = range(0, features).map((feature) => {
        return Float64Array.from({ length: rows * columns }, (_, place) => values[place * features + feature]);
      });
      const sizes = byFeature.map(largestSize);
      const largest = Math.max(...sizes);
      const said = { layer: l + 1, count: features, rows, columns, largest: largest.toPrecision(3) };
      title.textContent = t(rows * columns === 1 ? "hiddenUnits" : "hiddenMaps", said);
      pictures.setAttribute("aria-label", t("hiddenSaid", { title: title.textContent, active: threeLargest(sizes) }));
      pictures.querySelectorAll("canvas").forEach((canvas, feature) => {
        paintSigned(canvas, byFeature[feature], largest);
      });
    });
  }

  // ------------------------------------------------------------------ the page

  private draw(): void {
    const renew = () => void this.begin();
    const paint = (event: Event) => void this.paintAt(event as PointerEvent);
    const pad = h("canvas", {
      id: "pad", width: 320, height: 320, role: "img", "aria-label": t("drawHere"), pointerdown: paint, pointermove: paint,
    });
    const replace = (drawn: number[]) => {
      this.drawn = drawn;
      this.paintDrawn();
      void this.read();
    };
    const says = range(0, 10).map((digit) => h("li", {},
      h("span", {}, String(digit)), h("meter", { min: 0, max: 1, value: 0, "aria-label": String(digit) }), h("span", { class: "value" })));
    const kinds = [["dense", t("denseKind")], ["convolution", t("convolutionKind")]] as const;
    const train = h("div", { class: "row" },
      button("", () => void this.toggle(), { id: "digits-train", class: "main" }),
      button(t("oneEpoch"), () => void this.oneEpoch(), { id: "digits-epoch" }),
      button(t("rewind"), renew, { id: "digits-rewind" }),
      labelled(t("kind"), select(kinds, this.kind, (value) => { this.kind = value as Kind; renew(); }, { id: "digits-kind" })),
      labelled(t("rate"), numberField(this.rate, (value) => { this.rate = value; renew(); }, { min: 0, max: 10 })),
      labelled(t("seed"), numberField(this.seed, (value) => { this.seed = Math.round(value); renew(); }, { min: 0, max: 2 ** 32, step: 1 })));
    const save = async () => download("digits.safetensors", (await this.remote.call("save")) as BlobPart, "application/octet-stream");
    const files = h("fieldset", {}, h("legend", {}, t("takeHome")), h("div", { class: "row" },
      button(t("model"), () => void save(), { id: "digits-save" }),
      labelled(t("openModel"), fileField((file) => void this.open(file), { id: "digits-open", accept: ".safetensors" }))),
      h("p", { class: "small" }, t("hash")), h("p", { id: "digits-hash", class: "hash" }));
    this.place.replaceChildren(
      h("p", { class: "intro" }, t("digitsIntro")), train,
      h("p", { id: "digits-status", role: "status" }), h("p", { id: "digits-problem", class: "error", role: "alert" }),
      h("div", { class: "digits" },
        h("div", {}, pad, h("div", { class: "row" },
          button(t("erase"), () => replace(Array<number>(PIXELS).fill(0)), { id: "erase" }),
          labelled(t("sample"), numberField(this.number, (value) => {
            this.number = Math.round(value);
            replace(pixelsOf(this.number));
          }, { id: "sample", min: 0, max: COUNT - 1, step: 1 })))),
        h("div", {}, h("h2", {}, t("says")), h("ul", { id: "says" }, ...says)),
        h("div", {}, h("h2", { id: "hidden-title" }, t("hiddenTitle")), h("div", { id: "hidden" }),
          h("h2", {}, t("filters")), h("div", { id: "filters", class: "units", role: "img", "aria-label": t("filters") }), files)),
      h("p", { class: "small" }, t("credit")));
    this.label();
    this.paintDrawn();
  }
}

interface Description {
  inputs: number | number[];
  layers: { kind: string; units?: number; filters?: number; kernel_size?: number[] }[];
}

/** What of a model's first layer can be shown: a dense one's weights, or square filters of grey images. */
function filtersOf({ inputs, layers }: Description): [number, number] {
  const { kind, units = 0, filters = 0, kernel_size: [rows, columns] = [0, 0] } = layers[0];
  if (kind === "dense") return [units, SIDE];
  const grey = Array.isArray(inputs) && inputs.at(-1) === 1;
  return kind === "conv2d" && grey && rows === columns ? [filters, rows] : [0, 0];
}

function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** The largest absolute value. */
function largestSize(values: Float64Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** The numbers, from 1 on, of the largest values. */
function threeLargest(values: number[]): string {
  return [...values.keys()].sort((i, j) => values[j] - values[i]).slice(0, 3).map((i) => i + 1).join(", ");
}

/** Negative numbers in blue, positive ones in vermilion, the largest without the ground behind it. */
function paintSigned(canvas: HTMLCanvasElement, values: Float64Array, largest: number): void {
  const image = new ImageData(canvas.width, canvas.height);
  values.forEach((value, i) => {
    const colour = value > 0 ? [213, 94, 0] : [0, 114, 178];
    image.data.set([...colour, (255 * Math.abs(value)) / (largest || 1)], 4 * i);
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
