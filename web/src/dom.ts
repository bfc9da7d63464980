// Making elements, and the page's words in two languages.

import { CORE_TEXTS } from "./core_text.ts";
import { TEXTS, type Key, type Language } from "./text.ts";

let language: Language = "en";

export function setLanguage(wanted: Language): void {
  language = wanted;
}

/** The words of a key, with values for what stands in braces. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
}

/** What the core said, in the page's language; in the core's where nobody has put it into that. */
export function inWords(problem: string): string {
  const numbers = problem.match(/\d+/g) ?? [];
  const said = CORE_TEXTS[language][problem.replace(/\d+/g, "#")];
  return said === undefined ? problem : said.replace(/#/g, () => numbers.shift()!);
}

type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;
type Child = Node | string;

function fill<E extends Element>(element: E, attributes: Attributes, children: Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[Name] {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  return fill(element as SVGElement, attributes, children);
}

/** A labelled control. */
export function labelled(text: string, control: HTMLElement): HTMLLabelElement {
  return h("label", {}, h("span", {}, text), control);
}

export function select(
  options: readonly (readonly [string, string])[], chosen: string, change: (value: string) => void,
  attributes: Attributes = {},
): HTMLSelectElement {
  const made = options.map(([value, text]) => {
    return h("option", { value, selected: value === chosen }, text);
  });
  const changed = (event: Event) => change((event.target as HTMLSelectElement).value);
  return h("select", { ...attributes, change: changed }, ...made);
}

/** A field for a number, which goes back to the last one where there is none. */
export function numberField(
  value: number, change: (value: number) => void, attributes: Attributes = {},
): HTMLInputElement {
  let last = value;
  const changed = () => {
    const [low, high] = [field.min, field.max];
    const given = field.valueAsNumber;
    const fits = (low === "" || given >= Number(low)) && (high === "" || given <= Number(high));
    if (Number.isFinite(given) && fits) change((last = given));
    else field.value = String(last);
  };
  const field = h("input", { type: "number", step: "any", value, change: changed, ...attributes });
  return field;
}

/** A field for a file, which may be the same again. */
export function fileField(
  change: (file: File) => void, attributes: Attributes = {},
): HTMLInputElement {
  const changed = () => {
    const file = field.files?.[0];
    if (file !== undefined) change(file);
    field.value = "";
  };
  const field = h("input", { type: "file", change: changed, ...attributes });
  return field;
}

export function button(text: string, click: () => void, attributes: Attributes = {}) {
  return h("button", { type: "button", click, ...attributes }, text);
}

/** Hands a file to the reader. */
export function download(name: string, content: BlobPart, type: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
