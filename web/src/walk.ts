// The lecture's walkthrough: every number of a forward and a backward pass and of the update, in
// the lecture's order, each beside its formula and its edges.

import { button, h, labelled, numberField, select, svg, t } from "./dom.ts";
import { both, frac, math, mi, mn, mo, number, row, sub, sum, sup } from "./math.ts";
import type { Activation, Architecture } from "./model.ts";
import type { Remote } from "./remote.ts";
import type { Figures } from "./worker.ts";

const WIDTHS = [2, 2, 2, 1];
const LAYERS = [1, 2, 3];
const PLAY_MS = 1200;
const LECTURE = {
  theta: [0.1, 0.2, 0.3, 0.4, 0.05, 0.05, 0.5, 0.6, 0.7, 0.8, 0.1, 0.1, 0.9, 1, 0.15],
  x: [0.5, 1],
  y: 1,
  learningRate: 0.1,
  activations: ["relu", "relu", "sigmoid"] as Activation[],
};

type Loss = "binary_crossentropy" | "mse";
type Section = "forward" | "loss" | "backward" | "update";

/** One iteration's numbers: lists are indexed by layer, as the lecture does. */
interface Numbers {
  W: number[][][];
  b: number[][];
  z: number[][];
  a: number[][];
  delta: number[][];
  error: number[][]; // (W[l + 1])^T delta[l + 1]
  slope: number[][];
  loss: number;
  gradient: number[]; // laid out like theta
  theta: number[]; // behind the step
}

interface Step {
  id: string; // of the number: Z1.1, W2.1.2
  section: Section;
  layer: number; // 0 of the loss
  name: Element;
  said: string; // the name, for a screen reader
  value: number;
  formula: Element;
  nodes: string[];
  edges: string[];
}

/** Where a layer's weights, and its biases, begin in theta. */
function offset(l: number): number {
  return LAYERS.filter((k) => k < l).reduce((at, k) => at + WIDTHS[k] * (WIDTHS[k - 1] + 1), 0);
}
const weightAt = (l: number, j: number, k: number) => offset(l) + j * WIDTHS[l - 1] + k;
const biasAt = (l: number, j: number) => offset(l) + WIDTHS[l] * WIDTHS[l - 1] + j;
const times = (u: Element, v: Element) => row(u, mo("·"), v);
const each = (l: number) => [...Array(WIDTHS[l]).keys()];

function slopeOf(activation: Activation, z: number, a: number): number {
  switch (activation) {
    case "relu": return z > 0 ? 1 : 0;
    case "sigmoid": return a * (1 - a);
    case "tanh": return 1 - a * a;
    default: return 1;
  }
}

export class Walk {
  private x = [...LECTURE.x];
  private y = LECTURE.y;
  private theta = [...LECTURE.theta];
  private learningRate = LECTURE.learningRate;
  private activations = [...LECTURE.activations];
  private loss: Loss = "binary_crossentropy";
  private rounded = true;
  private past: number[][] = []; // theta before each iteration that is over
  private history: { prediction: number; loss: number }[] = [];
  private current: number[] = [...LECTURE.theta];
  private numbers!: Numbers;
  private steps: Step[] = [];
  private at = 0;
  private timer = 0;

  constructor(private readonly place: HTMLElement, private readonly remote: Remote) {}

  async leave(): Promise<void> {
    this.stop();
  }

  async show(): Promise<void> {
    await this.compute();
    this.draw();
  }

  private get architecture(): Architecture {
    const layers = this.activations.map((activation, i) => {
      return { kind: "dense" as const, units: WIDTHS[i + 1], activation };
    });
    return { shape: [2], layers, loss: this.loss };
  }

  private get byHand(): boolean {
    return this.rounded && this.loss === "binary_crossentropy";
  }

  // ------------------------------------------------------------------ the numbers

  private async compute(): Promise<void> {
    const { architecture, current, x, y, learningRate } = this;
    const theta = Float64Array.from(current);
    const figures = await this.remote.call("walk", architecture, theta, x, y, learningRate);
    this.numbers = this.collect(figures);
    this.steps = this.listSteps();
  }

  private collect(figures: Figures): Numbers {
    const { current: theta, x, y, learningRate } = this;
    const perUnit = (values: ArrayLike<number>) => {
      let at = 0;
      return [[], ...LAYERS.map((l) => each(l).map(() => values[at++]))];
    };
    const W = [[], ...LAYERS.map((l) => each(l).map((j) => each(l - 1).map((k) => theta[weightAt(l, j, k)])))];
    const b = [[], ...LAYERS.map((l) => each(l).map((j) => theta[biasAt(l, j)]))];
    const [z, a, delta] = [perUnit(figures.z), perUnit(figures.a), perUnit(figures.delta)];
    a[0] = x;
    const slope = z.map((row, l) => row.map((v, j) => slopeOf(this.activations[l - 1], v, a[l][j])));
    let { loss } = figures;
    let [gradient, after] = [[...figures.gradient], [...figures.theta]];
    if (this.byHand) {
      // The lecture rounds its prediction, and goes on from there.
      const guess = this.lectured(a[3][0]);
      a[3] = [guess];
      loss = y === 1 ? -Math.log(guess) : y === 0 ? -Math.log(1 - guess)
        : -(y * Math.log(guess) + (1 - y) * Math.log(1 - guess));
      loss = this.lectured(loss);
      delta[3] = [guess - y];
    }
    const error: number[][] = [[], [], [], []];
    for (const l of [2, 1]) {
      error[l] = each(l).map((k) => each(l + 1).reduce((s, j) => s + W[l + 1][j][k] * delta[l + 1][j], 0));
      if (this.byHand) delta[l] = error[l].map((e, k) => e * slope[l][k]);
    }
    if (this.byHand) {
      for (const l of LAYERS) {
        for (const j of each(l)) {
          for (const k of each(l - 1)) gradient[weightAt(l, j, k)] = delta[l][j] * a[l - 1][k];
          gradient[biasAt(l, j)] = delta[l][j];
        }
      }
      after = theta.map((value, i) => value - learningRate * gradient[i]);
    }
    return { W, b, z, a, delta, error, slope, loss, gradient, theta: after };
  }

  /** As many decimals as the number has, but no more than six. */
  private format(value: number, decimals = 6): string {
    if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(3).replace("e", " · 10^");
    const text = value.toFixed(decimals).replace(/0+$/, "");
    return /\.\d\d/.test(text) ? text : value.toFixed(2);
  }

  private listSteps(): Step[] {
    const { W, b, z, a, delta, error, slope, loss, gradient, theta } = this.numbers;
    const { y, learningRate, activations } = this;
    const f = (value: number, guarded = false) => number(this.format(value), guarded);
    const node = (l: number, j: number) => `n${l}.${j}`;
    const edge = (l: number, j: number, k: number) => `e${l}.${j}.${k}`;
    const into = (l: number, j: number) => each(l - 1).map((k) => edge(l, j, k));
    const at = (l: number) => row(mo("["), mn(String(l)), mo("]"));
    const named = (name: string, l: number, ...index: number[]) =>
      both(mi(name), mn(index.map((i) => i + 1).join("")), at(l));
    const slopeOfLoss = (of: Element) => row(mo("∂"), mi("L"), mo("/"), mo("∂"), of);
    const steps: Step[] = [];
    const add = (
      section: Section, id: string, said: string, name: Element, value: number,
      general: Element[], nodes: string[], edges: string[], ...worked: Element[]
    ) => {
      const lines = [...general, ...worked, f(value)].map((line) => row(mo("="), line));
      const formula = math(name.cloneNode(true) as Element, ...lines);
      const layer = Number(id.match(/\d/)?.[0] ?? 0);
      steps.push({ id, section, layer, said, name, value, formula, nodes, edges });
    };

    for (const l of LAYERS) {
      for (const j of each(l)) {
        const inputs = each(l - 1);
        add("forward", `Z${l}.${j + 1}`, `Z ${l}, ${j + 1}`, named("z", l, j), z[l][j],
          [row(sum(inputs.map((k) => times(named("W", l, j, k), named("a", l - 1, k)))), mo("+"), named("b", l, j))],
          [node(l, j), ...inputs.map((k) => node(l - 1, k))], into(l, j),
          row(sum(inputs.map((k) => times(f(W[l][j][k], k > 0), f(a[l - 1][k], true)))), mo("+"), f(b[l][j], true)),
          row(sum(inputs.map((k) => f(W[l][j][k] * a[l - 1][k], k > 0))), mo("+"), f(b[l][j], true)),
          row(f(inputs.reduce((s, k) => s + W[l][j][k] * a[l - 1][k], 0)), mo("+"), f(b[l][j], true)));
      }
      for (const j of each(l)) {
        add("forward", `A${l}.${j + 1}`, `A ${l}, ${j + 1}`, named("a", l, j), a[l][j],
          [row(mi(l === 3 ? "ŷ" : "f"), ...(l === 3 ? [mo("="), mi("f")] : []), mo("("), named("z", l, j), mo(")"))],
          [node(l, j)], [], this.applied(activations[l - 1], z[l][j], f));
      }
    }
    const guess = a[3][0];
    const log = (inner: Element) => row(mi("log"), mo("("), inner, mo(")"));
    const crossEntropy = (p: Element, target: Element) =>
      row(mo("−"), mo("["), target, log(p), mo("+"), mo("("), mn("1"), mo("−"), target.cloneNode(true) as Element,
        mo(")"), log(row(mn("1"), mo("−"), p.cloneNode(true) as Element)), mo("]"));
    const squared = (p: Element, target: Element) =>
      row(frac(mn("1"), mn("2")), sup(row(mo("("), p, mo("−"), target, mo(")")), mn("2")));
    const logarithm = (p: number) => (p > 0 ? f(this.lectured(Math.log(p)), true) : log(f(p)));
    const lossOf = this.loss === "mse" ? squared : crossEntropy;
    const logarithms = row(mo("−"), mo("["), times(f(y), logarithm(guess)), mo("+"), times(f(1 - y), log(f(1 - guess))), mo("]"));
    add("loss", "L", "L", mi("L"), loss, [lossOf(mi("ŷ"), mi("y"))], [node(3, 0)], [],
      lossOf(f(guess), f(y, true)), ...(this.loss === "mse" ? [] : [logarithms]));

    const slopeAt = (l: number, j: number) => row(sup(mi("f"), mo("′")), mo("("), named("z", l, j), mo(")"));
    for (const l of [3, 2, 1]) {
      const readers = l < 3 ? each(l + 1) : [];
      const edges = (j: number) => readers.map((i) => edge(l + 1, i, j));
      const nodes = (j: number) => [node(l, j), ...readers.map((i) => node(l + 1, i))];
      const transposed = (j: number) =>
        sub(row(mo("("), sup(mi("W"), row(at(l + 1), mo("⊤"))), sup(mi("δ"), at(l + 1)), mo(")")), mn(String(j + 1)));
      if (l === 3) {
        const difference = row(mi("ŷ"), mo("−"), mi("y"));
        const worked = row(f(guess), mo("−"), f(y, true));
        const mse = this.loss === "mse";
        add("backward", "δ3.1", "delta 3, 1", named("δ", 3, 0), delta[3][0],
          [mse ? row(mo("("), difference, mo(")"), mo("·"), slopeAt(3, 0)) : difference],
          nodes(0), [], mse ? row(mo("("), worked, mo(")"), mo("·"), f(slope[3][0], true)) : worked);
      } else {
        for (const j of each(l)) {
          const products = sum(readers.map((i) => times(named("W", l + 1, i, j), named("δ", l + 1, i))));
          const said = `W ${l + 1} transposed times delta ${l + 1}, ${j + 1}`;
          add("backward", `E${l}.${j + 1}`, said, transposed(j), error[l][j], [products], nodes(j), edges(j),
            sum(readers.map((i) => times(f(W[l + 1][i][j], i > 0), f(delta[l + 1][i], true)))),
            ...(readers.length > 1 ? [sum(readers.map((i) => f(W[l + 1][i][j] * delta[l + 1][i], i > 0)))] : []));
        }
        for (const j of each(l)) {
          add("backward", `F${l}.${j + 1}`, `slope of f at z ${l}, ${j + 1}`, slopeAt(l, j), slope[l][j],
            [...this.slopeOf(activations[l - 1], z[l][j], a[l][j], f)], [node(l, j)], []);
        }
        for (const j of each(l)) {
          add("backward", `δ${l}.${j + 1}`, `delta ${l}, ${j + 1}`, named("δ", l, j), delta[l][j],
            [times(transposed(j), slopeAt(l, j))], [node(l, j)], [], times(f(error[l][j]), f(slope[l][j], true)));
        }
      }
      for (const j of each(l)) {
        for (const k of each(l - 1)) {
          add("backward", `dW${l}.${j + 1}.${k + 1}`, `dL by dW ${l}, ${j + 1} ${k + 1}`,
            slopeOfLoss(named("W", l, j, k)), gradient[weightAt(l, j, k)],
            [times(named("δ", l, j), named("a", l - 1, k))], [node(l, j), node(l - 1, k)], [edge(l, j, k)],
            times(f(delta[l][j]), f(a[l - 1][k], true)));
        }
      }
      for (const j of each(l)) {
        add("backward", `db${l}.${j + 1}`, `dL by db ${l}, ${j + 1}`, slopeOfLoss(named("b", l, j)),
          gradient[biasAt(l, j)], [named("δ", l, j)], [node(l, j)], []);
      }
    }

    for (const l of [3, 2, 1]) {
      const parts = [...each(l).flatMap((j) => each(l - 1).map((k) => [j, k])), ...each(l).map((j) => [j])];
      for (const [j, k] of parts) {
        const isBias = k === undefined;
        const place = isBias ? biasAt(l, j) : weightAt(l, j, k);
        const symbol = () => (isBias ? named("b", l, j) : named("W", l, j, k));
        const old = f(isBias ? b[l][j] : W[l][j][k]);
        add("update", isBias ? `b${l}.${j + 1}` : `W${l}.${j + 1}.${k + 1}`,
          isBias ? `new b ${l}, ${j + 1}` : `new W ${l}, ${j + 1} ${k + 1}`, symbol(), theta[place],
          [row(symbol(), mo("−"), times(mi("α"), slopeOfLoss(symbol())))],
          isBias ? [node(l, j)] : [node(l, j), node(l - 1, k)], isBias ? [] : [edge(l, j, k)],
          row(old, mo("−"), times(f(learningRate), f(gradient[place], true))),
          row(old.cloneNode(true) as Element, mo("−"), f(learningRate * gradient[place], true)));
      }
    }
    return steps;
  }

  private applied(activation: Activation, z: number, f: (value: number, guarded?: boolean) => Element): Element {
    switch (activation) {
      case "relu": return row(mi("max"), mo("("), mn("0"), mo(","), f(z), mo(")"));
      case "sigmoid": return frac(mn("1"), row(mn("1"), mo("+"), sup(mi("e"), f(-z))));
      case "tanh": return row(mi("tanh"), mo("("), f(z), mo(")"));
      default: return f(z);
    }
  }

  /** How the slope follows from z, or a. */
  private slopeOf(activation: Activation, z: number, a: number, f: (value: number, guarded?: boolean) => Element): Element[] {
    switch (activation) {
      case "relu": return [row(sup(mi("f"), mo("′")), mo("("), f(z), mo(")"))];
      case "sigmoid": return [times(f(a), row(mo("("), mn("1"), mo("−"), f(a), mo(")")))];
      case "tanh": return [row(mn("1"), mo("−"), sup(f(a, true), mn("2")))];
      default: return [];
    }
  }

  /** A number as the lecture writes it: rounded to three decimals, where that is asked for. */
  private lectured(value: number): number {
    return this.byHand ? Math.round(value * 1000) / 1000 : value;
  }

  // ------------------------------------------------------------------ moving through them

  private go(step: number): void {
    this.at = Math.max(0, Math.min(step, this.steps.length - 1));
    this.mark();
  }

  private async forth(): Promise<void> {
    if (this.at + 1 < this.steps.length) {
      this.go(this.at + 1);
    } else {
      await this.iterate(1);
    }
  }

  private async back(): Promise<void> {
    const before = this.at === 0 ? this.past.pop() : undefined;
    if (before === undefined) {
      this.go(this.at - 1);
      return;
    }
    this.history.pop();
    this.current = before;
    await this.compute();
    this.at = this.steps.length - 1;
    this.draw();
  }

  private async iterate(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { a, loss, theta } = this.numbers;
      if (!theta.every(Number.isFinite)) break;
      this.history.push({ prediction: a[3][0], loss });
      this.past.push(this.current);
      this.current = theta;
      await this.compute();
    }
    this.at = 0;
    this.draw();
  }

  private async again(): Promise<void> {
    this.stop();
    [this.past, this.history, this.current, this.at] = [[], [], [...this.theta], 0];
    await this.compute();
    this.draw();
  }

  private stop(): void {
    clearInterval(this.timer);
    this.timer = 0;
  }

  private toggle(): void {
    if (this.timer) this.stop();
    else this.timer = window.setInterval(() => void this.forth(), PLAY_MS);
    this.place.querySelector("#play")!.textContent = t(this.timer ? "pause" : "play");
  }

  // ------------------------------------------------------------------ drawing

  private draw(): void {
    const focused = document.activeElement?.id;
    this.place.replaceChildren(
      h("p", { class: "intro" }, t("walkIntro")),
      h("div", { class: "walk" },
        h("div", { class: "stage" }, this.drawing(), this.controls(), h("div", { id: "formula", "aria-live": "polite" })),
        this.figures()),
      this.settings(),
    );
    this.mark();
    if (focused && this.place.querySelector(`[id="${focused}"]`)) document.getElementById(focused)!.focus();
  }

  private drawing(): SVGElement {
    const { W, b, a } = this.numbers;
    const short = (value: number) => this.format(value, 3); // a circle has room for no more
    const x = (l: number) => 60 + 180 * l;
    const y = (l: number, j: number) => (WIDTHS[l] === 1 ? 160 : 90 + 150 * j);
    const names = [["x₁", "x₂"], ["h₁₁", "h₁₂"], ["h₂₁", "h₂₂"], ["o₁"]];
    const [lines, weights, nodes]: SVGElement[][] = [[], [], []];
    for (const l of LAYERS) {
      for (const j of each(l)) {
        for (const k of each(l - 1)) {
          const [from, to] = [{ x: x(l - 1), y: y(l - 1, k) }, { x: x(l), y: y(l, j) }];
          const part = j === k && l < 3 ? 0.5 : 0.39;
          lines.push(svg("line", { class: "edge", id: `e${l}.${j}.${k}`, x1: from.x, y1: from.y, x2: to.x, y2: to.y }));
          const place = { x: from.x + part * (to.x - from.x), y: from.y + part * (to.y - from.y) - 6 };
          weights.push(svg("text", place, short(W[l][j][k])));
        }
      }
    }
    WIDTHS.forEach((_, l) => each(l).forEach((j) => {
      const [cx, cy] = [x(l), y(l, j)];
      const bias = l > 0 ? [svg("text", { x: cx, y: cy + 47, class: "small" }, `b = ${short(b[l][j])}`)] : [];
      nodes.push(svg("g", { class: "node", id: `n${l}.${j}` },
        svg("circle", { cx, cy, r: 31 }),
        svg("text", { x: cx, y: cy + 5 }, short(a[l][j])),
        svg("text", { x: cx, y: cy - 38, class: "small" }, names[l][j]), ...bias));
    }));
    const label = t("drawing");
    return svg("svg", { viewBox: "0 0 660 310", role: "img", "aria-label": label }, ...lines, ...weights, ...nodes);
  }

  private controls(): HTMLElement {
    const slider = h("input", {
      type: "range", id: "position", min: 0, max: this.steps.length - 1, value: this.at, "aria-label": t("position"),
      input: () => this.go(slider.valueAsNumber),
    });
    const run = (count: number) => button(count === 1 ? t("iterateOnce") : t("iterate", { count }), () => void this.iterate(count), { id: `iterate${count}` });
    return h("div", { class: "controls" },
      button(t("first"), () => this.go(0), { id: "first" }),
      button(t("previous"), () => void this.back(), { id: "previous" }),
      button(t(this.timer ? "pause" : "play"), () => this.toggle(), { id: "play" }),
      button(t("next"), () => void this.forth(), { id: "next", class: "main" }),
      slider, run(1), run(10), run(100),
      button(t("restart"), () => void this.again(), { id: "restart" }),
      h("p", { id: "where", class: "small" }));
  }

  private figures(): HTMLElement {
    const symbol = (step: Step) => {
      const shown = math(step.name.cloneNode(true) as Element);
      shown.setAttribute("aria-hidden", "true"); // what is said stands before it
      return shown;
    };
    const buttons = this.steps.map((step, i) =>
      h("button", { type: "button", class: "figure", "data-id": step.id, click: () => this.go(i) },
        h("span", { class: "said" }, `${step.said}:`), symbol(step), h("span", { class: "value" })));
    const sections = (["forward", "loss", "backward", "update"] as const).map((section) => {
      const layers = [...new Set(this.steps.filter((step) => step.section === section).map((step) => step.layer))];
      const parts = layers.flatMap((layer) => {
        const own = buttons.filter((_, i) => this.steps[i].section === section && this.steps[i].layer === layer);
        const title = layer === 0 ? [] : [h("h3", {}, t("layer", { layer }))];
        return [...title, h("div", { class: "figures" }, ...own)];
      });
      return h("section", {}, h("h2", {}, t(section)), ...parts);
    });
    const log = this.history.slice(-5).map(({ prediction, loss }, i) => {
      const iteration = this.history.length - Math.min(5, this.history.length) + i + 1;
      const values = { iteration, prediction: this.format(prediction), loss: this.format(loss) };
      return h("li", {}, t("history", values));
    });
    return h("div", { class: "numbers" }, ...sections, h("ul", { class: "small", id: "history" }, ...log));
  }

  /** Shows where the walk stands: numbers up to here, this one's formula, its nodes and edges. */
  private mark(): void {
    const step = this.steps[this.at];
    this.place.querySelectorAll<HTMLElement>(".figure").forEach((figure, i) => {
      const known = i <= this.at;
      const value = known ? this.format(this.steps[i].value) : "…";
      figure.querySelector(".value")!.textContent = value;
      figure.title = known ? String(this.steps[i].value) : "";
      if (i === this.at) figure.setAttribute("aria-current", "step");
      else figure.removeAttribute("aria-current");
    });
    const backward = step.section === "backward" || step.section === "update";
    this.place.querySelectorAll(".node, .edge").forEach((part) => {
      const on = step.nodes.includes(part.id) || step.edges.includes(part.id);
      part.classList.toggle("on", on && !backward);
      part.classList.toggle("back", on && backward);
    });
    const iteration = this.past.length + 1;
    this.place.querySelector("#where")!.textContent = t("step", { step: this.at + 1, steps: this.steps.length, iteration });
    this.place.querySelector("#formula")!.replaceChildren(h("h3", {}, t(step.section)), step.formula);
    this.place.querySelector<HTMLInputElement>("#position")!.value = String(this.at);
  }

  private settings(): HTMLElement {
    const renew = () => void this.again();
    const activation = (i: number) => {
      const offered = i < 2 || this.loss === "mse" ? ["relu", "sigmoid", "tanh", "linear"] : ["sigmoid"];
      const title = i < 2 ? t("hidden", { layer: i + 1 }) : t("output");
      return labelled(title, select(offered.map((f) => [f, f] as const), this.activations[i], (value) => {
        this.activations[i] = value as Activation;
        renew();
      }));
    };
    const loss = select([["binary_crossentropy", "binary cross-entropy"], ["mse", "½ (ŷ − y)²"]], this.loss, (value) => {
      this.loss = value as Loss;
      if (value === "binary_crossentropy") this.activations[2] = "sigmoid";
      renew();
    });
    const rounding = select([["lecture", t("lecture")], ["exact", t("exact")]], this.rounded ? "lecture" : "exact", (value) => {
      this.rounded = value === "lecture";
      renew();
    }, { id: "rounding" });
    const inputs = this.x.map((value, k) => labelled(k === 0 ? "x₁" : "x₂", numberField(value, (given) => {
      this.x[k] = given;
      renew();
    })));
    const limits: Record<string, number> = this.loss === "mse" ? {} : { min: 0, max: 1 };
    const theta = (index: number, label: string) => numberField(this.theta[index], (given) => {
      this.theta[index] = given;
      renew();
    }, { "aria-label": label, id: `theta${index}` });
    const matrices = LAYERS.map((l) => h("fieldset", {}, h("legend", {}, `W[${l}], b[${l}]`),
      ...each(l).map((j) => h("div", { class: "matrix" },
        ...each(l - 1).map((k) => theta(weightAt(l, j, k), t("weight", { layer: l, from: k + 1, to: j + 1 }))),
        theta(biasAt(l, j), t("bias", { layer: l, to: j + 1 }))))));
    return h("details", { open: true, class: "settings" }, h("summary", {}, t("settings")),
      h("div", { class: "fields" }, ...inputs,
        labelled(t("target"), numberField(this.y, (value) => { this.y = value; renew(); }, limits)),
        labelled(t("learningRate"), numberField(this.learningRate, (value) => { this.learningRate = value; renew(); }, { min: 0, id: "alpha" })),
        labelled(t("lossFunction"), loss), activation(0), activation(1), activation(2), labelled(t("rounding"), rounding)),
      h("div", { class: "fields" }, ...matrices));
  }
}
