// Points in the plane, each with its class: made, or read.

import { t } from "./dom.ts";
import type { Data } from "./model.ts";

export type DataName = "xor" | "moons" | "rings" | "spiral";

const MOST_ROWS = 5000;

// Whole multiples of 1/1024: short to write down, and the same in every browser.
const grain = (value: number) => Math.round(value * 1024) / 1024;

const SHAPES: Record<DataName, (label: number, u: number, v: number) => [number, number]> = {
  xor: (label, u, v) => {
    const [x, y] = [2 * u - 1, 2 * v - 1];
    return x * y < 0 === (label === 1) ? [x, y] : [-x, y];
  },
  moons: (label, u) => {
    const angle = Math.PI * u;
    return label === 0
      ? [Math.cos(angle) - 0.5, Math.sin(angle) - 0.25]
      : [0.5 - Math.cos(angle), 0.25 - Math.sin(angle)];
  },
  rings: (label, u) => {
    const [angle, radius] = [2 * Math.PI * u, label === 0 ? 1.1 : 0.5];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  spiral: (label, u) => {
    const [angle, radius] = [1.5 * 2 * Math.PI * u + Math.PI * label, 0.1 + 1.1 * u];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
};

/** Points of two classes by turns; `numbers` from [0, 1), three for each, decide where. */
export function generate(name: DataName, count: number, noise: number, numbers: number[]): Data {
  const y = Array.from({ length: count }, (_, i) => i % 2);
  const x = y.map((label, i) => {
    const [u, v, w] = numbers.slice(3 * i, 3 * i + 3);
    const [radius, angle] = [noise * Math.sqrt(-2 * Math.log(1 - v)), 2 * Math.PI * w];
    const [px, py] = SHAPES[name](label, u, v);
    return [grain(px + radius * Math.cos(angle)), grain(py + radius * Math.sin(angle))];
  });
  return { x, y };
}

/** Two columns of numbers and a label; a first line without numbers has the columns' names. */
export function readCsv(text: string): Data {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const cells = lines.map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const isRow = (row: string[]) =>
    row.length === 3 && row.slice(0, 2).every((cell) => cell !== "" && Number.isFinite(Number(cell)));
  const rows = cells.length > 0 && !isRow(cells[0]) ? cells.slice(1) : cells;
  if (!rows.every(isRow)) throw new Error(t("csvColumns"));
  if (rows.length < 2 || rows.length > MOST_ROWS) throw new Error(t("csvRows"));
  const labels = [...new Set(rows.map((row) => row[2]))].sort();
  if (labels.length < 2 || labels.length > 4) throw new Error(t("csvClasses"));
  return {
    x: rows.map((row) => row.slice(0, 2).map(Number)),
    y: rows.map((row) => labels.indexOf(row[2])),
  };
}
