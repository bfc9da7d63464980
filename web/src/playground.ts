// The playground: two-dimensional data, a network of one's own, its surface while it learns.

import { button, download, fileField, h, inWords, labelled, numberField, select, t } from "./dom.ts";
import { type Activation, type Data, type Layer, type Loss, OPTIMIZERS, type OptimizerName, type Setup } from "./model.ts";
import { cProgram, pythonProgram } from "./programs.ts";
import type { Remote } from "./remote.ts";
import type { Totals } from "./core.ts";
import type { Snapshot } from "./worker.ts";
import { type DataName, generate, readCsv } from "./points.ts";

const GRID = 48; // points a side at which the network is looked at
const MOST_UNITS = 16;
const MOST_LAYERS = 5;
// Okabe and Ito's colours, and marks besides, for those who cannot tell them apart.
const COLOURS: readonly (readonly [number, number, number])[] = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167]];
const SPEEDS = { slow: 10, medium: 60, fast: 1e9 }; // epochs a second
const HIDDEN: Activation[] = ["tanh", "relu", "sigmoid", "gelu", "elu", "leaky_relu", "silu", "softplus", "linear"];
const ENDS: Partial<Record<Loss, Activation>> = {
  binary_crossentropy: "sigmoid", categorical_crossentropy: "softmax", mse: "linear", huber: "linear", hinge: "linear",
};

export class Playground {
  private name: DataName | "own" = "moons";
  private noise = 0.1;
  private count = 200;
  private data: Data = { x: [], y: [] };
  private newClass = 0;
  private hidden: { units: number; activation: Activation }[] = [{ units: 8, activation: "tanh" }, { units: 8, activation: "tanh" }];
  private loss: Loss = "binary_crossentropy";
  private dropout = 0;
  private batchNorm = false;
  private l1 = 0;
  private l2 = 0;
  private optimizer: OptimizerName = "adam";
  private momentum = 0;
  private rate = 0.01;
  private batch = 32;
  private seed = 1;
  private speed: keyof typeof SPEEDS = "medium";
  private curve: Totals[] = [];
  private last: Snapshot | null = null;
  private setup: Setup | null = null; // what is being trained; null for an opened file
  private playing = false;
  private readonly image = new ImageData(GRID, GRID);
  private readonly small = new OffscreenCanvas(GRID, GRID);
  private turn = 0; // of what was begun last: answers to earlier ones are not shown

  constructor(private readonly place: HTMLElement, private readonly remote: Remote) {
  }

  async show(): Promise<void> {
    this.remote.onSnapshot = (snapshot) => {
      if (this.playing) this.take(snapshot);
    };
    if (this.data.x.length === 0) await this.renewData();
    this.draw();
    if (this.last === null) await this.begin();
    else this.paint();
  }

  async leave(): Promise<void> {
    if (this.playing) await this.pause();
    this.last = null; // the worker has one network, and another view may want it
  }

  // ------------------------------------------------------------------ data and network

  private async renewData(): Promise<void> {
    if (this.name === "own") return;
    const numbers = await this.remote.call("random", this.seed, 3 * this.count);
    this.data = generate(this.name, this.count, this.noise, numbers);
  }

  private get classes(): number {
    return Math.max(2, ...this.data.y.map((y) => y + 1));
  }

  private get domain(): { x: number; y: number; side: number } {
    const ranges = [0, 1].map((axis) => {
      const values = this.data.x.map((point) => point[axis]);
      return [Math.min(-1, ...values), Math.max(1, ...values)];
    });
    const side = 1.15 * Math.max(...ranges.map(([low, high]) => high - low));
    const [x, y] = ranges.map(([low, high]) => (low + high - side) / 2);
    return { x, y, side };
  }

  private get grid(): Float64Array {
    const { x, y, side } = this.domain;
    const points = new Float64Array(2 * GRID * GRID);
    for (let i = 0; i < GRID * GRID; i++) {
      points[2 * i] = x + (side * ((i % GRID) + 0.5)) / GRID;
      points[2 * i + 1] = y + (side * (GRID - Math.floor(i / GRID) - 0.5)) / GRID;
    }
    return points;
  }

  private makeSetup(): Setup {
    const loss = this.classes > 2 ? "categorical_crossentropy" : this.loss;
    const layers: Layer[] = [];
    for (const { units, activation } of this.hidden) {
      const penalty = { l1: this.l1, l2: this.l2 };
      layers.push({ kind: "dense", units, activation: this.batchNorm ? "linear" : activation, ...penalty });
      if (this.batchNorm) layers.push({ kind: "batch_norm", activation });
      if (this.dropout > 0) layers.push({ kind: "dropout", rate: this.dropout });
    }
    const units = loss === "categorical_crossentropy" ? this.classes : 1;
    layers.push({ kind: "dense", units, activation: ENDS[loss]!, l1: this.l1, l2: this.l2 });
    const y = loss === "hinge" ? this.data.y.map((label) => 2 * label - 1) : this.data.y;
    return {
      architecture: { shape: [2], layers, loss },
      optimizer: { kind: this.optimizer, learningRate: this.rate, momentum: this.momentum },
      batchSize: this.batch, seed: this.seed, data: { x: this.data.x, y },
    };
  }

  // ------------------------------------------------------------------ training

  private async begin(): Promise<void> {
    this.playing = false;
    const turn = ++this.turn;
    this.say("");
    if (this.data.x.length < 2) {
      this.paint();
      return;
    }
    const setup = this.makeSetup();
    try {
      const snapshot = await this.remote.call("begin", setup, this.grid);
      if (turn !== this.turn) return;
      [this.curve, this.setup] = [[], setup];
      this.take(snapshot);
      await this.showHash();
    } catch (error) {
      this.say(inWords((error as Error).message));
    }
    this.label();
  }

  private async toggle(): Promise<void> {
    if (this.playing) {
      await this.pause();
    } else if (this.setup !== null) {
      this.playing = true;
      this.label();
      this.place.querySelector("#hash")!.textContent = "…";
      await this.remote.call("play", SPEEDS[this.speed]);
    }
  }

  private async pause(): Promise<void> {
    this.playing = false;
    this.take(await this.remote.call("pause"));
    this.label();
    await this.showHash();
  }

  private async oneEpoch(): Promise<void> {
    if (this.setup === null) return;
    if (this.playing) await this.pause();
    this.take(await this.remote.call("epochs", 1));
    await this.showHash();
  }

  private take(snapshot: Snapshot): void {
    this.curve.push(...snapshot.totals);
    this.last = snapshot;
    if (snapshot.error !== "") {
      this.say(t("stopped", { problem: inWords(snapshot.error) }));
      this.playing = false;
      this.label();
      void this.showHash();
    }
    requestAnimationFrame(() => {
      this.paint();
      if (this.playing) void this.remote.call("seen");
    });
  }

  private async showHash(): Promise<void> {
    const hash = await this.remote.call("hash");
    this.place.querySelector("#hash")!.textContent = hash;
  }

  private label(): void {
    this.place.querySelector("#train")!.textContent = t(this.playing ? "pause" : "train");
  }

  private say(problem: string): void {
    this.place.querySelector("#problem")!.textContent = problem;
  }

  // ------------------------------------------------------------------ pictures

  private canvas(id: string): CanvasRenderingContext2D {
    return this.place.querySelector<HTMLCanvasElement>(`#${id}`)!.getContext("2d")!;
  }

  private paint(): void {
    if (this.place.hidden) return;
    this.paintSurface();
    this.paintCurves();
    this.paintUnits();
    const { last, curve, seed } = this;
    const values = curve.at(-1);
    const short = (value: number) => value.toPrecision(4);
    this.place.querySelector("#status")!.textContent = values === undefined || last === null
      ? t("fresh", { seed })
      : t("status", { epoch: last.epoch, loss: short(values.loss), accuracy: values.accuracy.toFixed(3) });
    const norms = last?.norms.map((norm) => norm.toPrecision(2)).join(", ") ?? "";
    this.place.querySelector("#norms")!.textContent = norms === "" ? "" : t("norms", { norms });
  }

  private get ground(): number {
    return matchMedia("(prefers-color-scheme: dark)").matches ? 21 : 255;
  }

  /** 257 colours from the first class's by way of the ground to the second's, as pixels. */
  private palette(strength: number): Uint32Array {
    const pixels = new Uint32Array(257);
    for (let i = 0; i <= 256; i++) {
      pixels[i] = this.mixed(COLOURS[i > 128 ? 1 : 0], (strength * Math.abs(i - 128)) / 128);
    }
    return pixels;
  }

  private mixed(colour: readonly number[], strength: number): number {
    const { ground } = this;
    const [r, g, b] = colour.map((value) => Math.round(ground + strength * (value - ground)));
    return (255 << 24) | (b << 16) | (g << 8) | r; // as bytes lie in memory: red first
  }

  /** What a grid's point looks like: how sure the network is of which class. */
  private look(outputs: Float64Array, units: number): (i: number) => number {
    const sure = (share: number) => Math.max(0, Math.min(256, Math.round(256 * share)));
    if (units === 1) {
      const palette = this.palette(0.55);
      const signs = this.setup?.architecture.loss === "hinge";
      return (i) => palette[sure(signs ? (outputs[i] + 1) / 2 : outputs[i])];
    }
    const palettes = COLOURS.map((colour) => {
      return Uint32Array.from({ length: 257 }, (_, i) => this.mixed(colour, (0.55 * i) / 256));
    });
    return (i) => {
      let best = 0;
      for (let k = 1; k < units; k++) {
        if (outputs[i * units + k] > outputs[i * units + best]) best = k;
      }
      const excess = (outputs[i * units + best] - 1 / units) / (1 - 1 / units);
      return palettes[best % palettes.length][sure(excess)];
    };
  }

  private paintSurface(): void {
    const context = this.canvas("surface");
    const { width } = context.canvas;
    context.clearRect(0, 0, width, width);
    if (this.last !== null && this.last.outputs.length > 0) {
      const { outputs } = this.last;
      const units = outputs.length / (GRID * GRID);
      this.paintImage(context, this.look(outputs, units));
    }
    const { x, y, side } = this.domain;
    const light = matchMedia("(prefers-color-scheme: dark)").matches ? 0.35 : 0;
    this.data.x.forEach(([px, py], i) => {
      const [cx, cy] = [((px - x) / side) * width, width - ((py - y) / side) * width];
      const [r, g, b] = COLOURS[this.data.y[i]].map((value) => value + light * (255 - value));
      context.fillStyle = `rgb(${r} ${g} ${b})`;
      context.strokeStyle = light ? "#000" : "#fff";
      this.mark(context, cx, cy, this.data.y[i]);
    });
  }

  /** A circle, square, triangle or diamond. */
  private mark(context: CanvasRenderingContext2D, x: number, y: number, kind: number): void {
    const r = 6.5;
    const corners = [[], [[-1, -1], [1, -1], [1, 1], [-1, 1]], [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]], [[0, -1.4], [1.4, 0], [0, 1.4], [-1.4, 0]]][kind];
    context.beginPath();
    if (corners.length === 0) context.arc(x, y, r, 0, 2 * Math.PI);
    corners.forEach(([dx, dy]) => context.lineTo(x + 0.9 * r * dx, y + 0.9 * r * dy));
    context.closePath();
    context.lineWidth = 1.5;
    context.fill();
    context.stroke();
  }

  private paintImage(context: CanvasRenderingContext2D, look: (i: number) => number): void {
    const pixels = new Uint32Array(this.image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = look(i);
    if (context.canvas.width === GRID) {
      context.putImageData(this.image, 0, 0);
      return;
    }
    this.small.getContext("2d")!.putImageData(this.image, 0, 0);
    context.drawImage(this.small, 0, 0, context.canvas.width, context.canvas.height);
  }

  private paintCurves(): void {
    const context = this.canvas("curves");
    const { width, height } = context.canvas;
    const key = (id: string) => getComputedStyle(this.place.querySelector(id)!).color;
    context.clearRect(0, 0, width, height);
    const most = this.curve.reduce((largest, { loss }) => Math.max(largest, loss), 1e-9);
    const line = (colour: string, dash: number[], value: (totals: Totals) => number) => {
      context.beginPath();
      const step = Math.max(1, Math.floor(this.curve.length / width));
      for (let i = 0; i < this.curve.length; i += step) {
        const x = (i / Math.max(1, this.curve.length - 1)) * (width - 8) + 4;
        context.lineTo(x, height - 4 - value(this.curve[i]) * (height - 8));
      }
      if (this.curve.length === 1) context.lineTo(width - 4, height - 4 - value(this.curve[0]) * (height - 8));
      context.setLineDash(dash);
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.stroke();
    };
    line(key("#loss-key"), [], ({ loss }) => loss / most);
    line(key("#accuracy-key"), [6, 4], ({ accuracy }) => accuracy);
  }

  private paintUnits(): void {
    const place = this.place.querySelector("#units")!;
    const { last, setup } = this;
    if (last === null || setup === null || last.hidden.length === 0) {
      place.replaceChildren();
      return;
    }
    const seen = this.hidden.map((layer) => layer.units);
    if (place.querySelectorAll("canvas").length !== seen.reduce((sum, n) => sum + n, 0) || place.childElementCount !== seen.length) {
      place.replaceChildren(...seen.map((units, l) => {
        const label = t("unitsPictures", { layer: l + 1 });
        const pictures = [...Array(units).keys()].map(() => h("canvas", { width: GRID, height: GRID }));
        return h("div", {}, h("h2", {}, t("layer", { layer: l + 1 })), h("div", { class: "units", role: "img", "aria-label": label }, ...pictures));
      }));
    }
    const each = GRID * GRID;
    const canvases = [...place.querySelectorAll("canvas")];
    const palette = this.palette(0.85);
    let [at, picture] = [0, 0];
    const perHidden = 1 + Number(this.batchNorm) + Number(this.dropout > 0);
    this.hidden.forEach(({ units }) => {
      at += (this.batchNorm ? 1 : 0) * units; // what is behind the normalization is shown
      for (let j = 0; j < units; j++) {
        const values = last.hidden.subarray((at + j) * each, (at + j + 1) * each);
        let most = 1e-9;
        for (const value of values) most = Math.max(most, Math.abs(value));
        const context = canvases[picture++].getContext("2d")!;
        this.paintImage(context, (i) => palette[Math.round(128 * (1 + values[i] / most))]);
      }
      at += (perHidden - (this.batchNorm ? 1 : 0)) * units;
    });
  }

  // ------------------------------------------------------------------ files

  private async open(file: File): Promise<void> {
    await this.leave();
    try {
      const content = new Uint8Array(await file.arrayBuffer());
      const { snapshot, description } = await this.remote.call("load", content, 2, this.grid);
      this.turn++;
      [this.setup, this.curve] = [null, []];
      this.take(snapshot);
      const { layers } = JSON.parse(description) as { layers: { kind: string; units?: number }[] };
      this.say(t("loaded", { layers: layers.map(({ kind, units }) => (units ? `${kind} ${units}` : kind)).join(", ") }));
      await this.showHash();
    } catch (error) {
      this.say(t("noModel", { problem: inWords((error as Error).message) }));
    }
  }

  private async readData(file: File): Promise<void> {
    try {
      this.data = readCsv(await file.text());
    } catch (error) {
      this.say(t("noCsv", { problem: (error as Error).message }));
      return;
    }
    this.name = "own";
    this.draw();
    await this.begin();
  }

  private async addPoint(event: MouseEvent): Promise<void> {
    const canvas = event.target as HTMLCanvasElement;
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const { x, y, side } = this.domain;
    const grain = (value: number) => Math.round(value * 1024) / 1024;
    const point = [x + (side * (event.clientX - left)) / width, y + side * (1 - (event.clientY - top) / height)];
    if (this.name !== "own") this.name = "own";
    this.data = { x: [...this.data.x, point.map(grain)], y: [...this.data.y, this.newClass] };
    this.draw();
    await this.begin();
  }

  private async save(): Promise<void> {
    download("playground.safetensors", (await this.remote.call("save")) as BlobPart, "application/octet-stream");
  }

  private async program(write: (setup: Setup, epochs: number, hash: string) => string, name: string): Promise<void> {
    if (this.setup === null) return;
    if (this.playing) await this.pause();
    download(name, write(this.setup, this.last?.epoch ?? 0, await this.remote.call("hash")), "text/plain");
  }

  // ------------------------------------------------------------------ the page

  private draw(): void {
    const focused = document.activeElement?.id;
    const surface = h("canvas", { id: "surface", width: 480, height: 480, role: "img", "aria-label": t("surface"), click: (event) => void this.addPoint(event as MouseEvent) });
    const view = h("div", { class: "view" }, this.controls(), surface,
      h("p", { id: "status" }), h("p", { id: "norms", class: "small" }), h("p", { id: "problem", class: "error", role: "alert" }),
      h("p", { class: "small" }, h("span", { id: "loss-key" }, t("lossKey")), " · ", h("span", { id: "accuracy-key" }, t("accuracyKey"))),
      h("canvas", { id: "curves", width: 480, height: 140, role: "img", "aria-label": t("curves") }));
    const side = h("div", { class: "side" }, h("div", { id: "units" }), this.takeHome());
    view.addEventListener("dragover", (event) => event.preventDefault());
    view.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file !== undefined) void this.readData(file);
    });
    this.place.replaceChildren(h("div", { class: "playground" }, view, this.form(), side));
    this.label();
    this.paint();
    if (focused) document.getElementById(focused)?.focus();
  }

  private controls(): HTMLElement {
    return h("div", { class: "row" },
      button("", () => void this.toggle(), { id: "train", class: "main" }),
      button(t("oneEpoch"), () => void this.oneEpoch(), { id: "one-epoch" }),
      button(t("rewind"), () => void this.begin(), { id: "rewind" }),
      labelled(t("speed"), select([["slow", t("slow")], ["medium", t("medium")], ["fast", t("fast")]], this.speed, (value) => {
        this.speed = value as keyof typeof SPEEDS;
        if (this.playing) void this.remote.call("pace", SPEEDS[this.speed]);
      }, { id: "speed" })));
  }

  private form(): HTMLElement {
    const renew = () => void this.begin();
    const redraw = () => {
      this.draw();
      renew();
    };
    const anew = async () => {
      await this.renewData();
      redraw();
    };
    const number = (id: string, value: number, min: number, max: number, set: (value: number) => void, step: string | number = "any") =>
      numberField(value, (given) => { set(given); renew(); }, { id, min, max, step });
    const dataNames = (["moons", "rings", "xor", "spiral", "own"] as const).map((name) => [name, t(name)] as const);
    const losses = (Object.keys(ENDS) as Loss[]).map((loss) => [loss, loss.replace("_", " ")] as const);
    const classes = [...Array(4).keys()].map((k) => [String(k), String(k)] as const);
    const layers = this.hidden.map((layer, l) => h("div", { class: "row" },
      labelled(`${t("layer", { layer: l + 1 })}: ${t("units")}`, number(`units${l}`, layer.units, 1, MOST_UNITS, (value) => { layer.units = Math.round(value); this.draw(); }, 1)),
      labelled(t("activation"), select(HIDDEN.map((f) => [f, f] as const), layer.activation, (value) => { layer.activation = value as Activation; renew(); }, { id: `activation${l}` }))));
    const norm = h("input", { type: "checkbox", id: "batch-norm", checked: this.batchNorm, change: () => { this.batchNorm = norm.checked; renew(); } });
    const check = h("label", { class: "check" }, norm, h("span", {}, t("batchNorm")));
    const csv = fileField((file) => void this.readData(file), { id: "csv", accept: ".csv,text/csv" });
    return h("form", { submit: (event) => event.preventDefault() },
      h("fieldset", {}, h("legend", {}, t("data")),
        h("div", { class: "row" },
          labelled(t("data"), select(dataNames, this.name, (value) => {
            this.name = value as DataName | "own";
            if (value === "own") this.data = { x: [], y: [] };
            void anew();
          }, { id: "data" })),
          labelled(t("points"), numberField(this.count, (value) => { this.count = Math.round(value); void anew(); }, { id: "points", min: 10, max: 2000, step: 1 })),
          labelled(t("noise"), numberField(this.noise, (value) => { this.noise = value; void anew(); }, { id: "noise", min: 0, max: 1 })),
          labelled(t("pointClass"), select(classes, String(this.newClass), (value) => { this.newClass = Number(value); }, { id: "point-class" })),
          labelled(t("csv"), csv)),
        h("p", { class: "small" }, t("pointsHint"))),
      h("fieldset", {}, h("legend", {}, t("network")), ...layers,
        h("div", { class: "row" },
          button(t("addLayer"), () => { this.hidden.push({ units: 4, activation: "tanh" }); redraw(); }, { id: "add-layer", disabled: this.hidden.length >= MOST_LAYERS }),
          button(t("removeLayer"), () => { this.hidden.pop(); redraw(); }, { id: "remove-layer", disabled: this.hidden.length === 0 })),
        h("div", { class: "row" },
          labelled(t("lossFunction"), select(losses, this.classes > 2 ? "categorical_crossentropy" : this.loss, (value) => { this.loss = value as Loss; renew(); }, { id: "loss", disabled: this.classes > 2 })),
          check,
          labelled(t("dropout"), number("dropout", this.dropout, 0, 0.9, (value) => { this.dropout = value; })),
          labelled(t("l1"), number("l1", this.l1, 0, 10, (value) => { this.l1 = value; })),
          labelled(t("l2"), number("l2", this.l2, 0, 10, (value) => { this.l2 = value; })))),
      h("fieldset", {}, h("legend", {}, t("training")), h("div", { class: "row" },
        labelled(t("optimizer"), select(OPTIMIZERS.map((kind) => [kind, kind] as const), this.optimizer, (value) => { this.optimizer = value as OptimizerName; redraw(); }, { id: "optimizer" })),
        labelled(t("rate"), number("rate", this.rate, 0, 10, (value) => { this.rate = value; })),
        ...(this.optimizer === "sgd" ? [labelled(t("momentum"), number("momentum", this.momentum, 0, 0.999, (value) => { this.momentum = value; }))] : []),
        labelled(t("batch"), number("batch", this.batch, 1, 5000, (value) => { this.batch = Math.round(value); }, 1)),
        labelled(t("seed"), numberField(this.seed, (value) => { this.seed = Math.round(value); void anew(); }, { id: "seed", min: 0, max: 2 ** 32, step: 1 })))));
  }

  private takeHome(): HTMLElement {
    const model = fileField((file) => void this.open(file), { id: "open-model", accept: ".safetensors" });
    return h("fieldset", {}, h("legend", {}, t("takeHome")), h("div", { class: "row" },
      button(t("model"), () => void this.save(), { id: "save-model" }),
      button(t("python"), () => void this.program(pythonProgram, "playground.py"), { id: "save-python" }),
      button(t("c"), () => void this.program(cProgram, "playground.c"), { id: "save-c" }),
      labelled(t("openModel"), model)),
      h("p", { class: "small" }, t("hash")), h("p", { id: "hash" }));
  }
}
