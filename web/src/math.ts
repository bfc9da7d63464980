// Formulas as MathML.

type Part = Element | string;

function element(name: string, ...children: Part[]): Element {
  const made = document.createElementNS("http://www.w3.org/1998/Math/MathML", name);
  made.append(...children);
  return made;
}

export const mi = (text: string) => element("mi", text);
export const mn = (text: string) => element("mn", text);

/** An operator or a bracket, as large as the text. */
export function mo(text: string): Element {
  const made = element("mo", text);
  made.setAttribute("stretchy", "false");
  return made;
}

export const row = (...parts: Part[]) => element("mrow", ...parts);
export const sub = (base: Element, index: Element) => element("msub", base, index);
export const sup = (base: Element, index: Element) => element("msup", base, index);
export const frac = (above: Element, below: Element) => element("mfrac", above, below);
export const both = (base: Element, below: Element, above: Element) =>
  element("msubsup", base, below, above);
export const math = (...parts: Part[]) => element("math", ...parts);

/** A number, in parentheses where it is negative and stands behind a sign. */
export function number(text: string, guarded = false): Element {
  const negative = text.startsWith("-");
  const body = negative ? row(mo("−"), mn(text.slice(1))) : mn(text);
  return negative && guarded ? row(mo("("), body, mo(")")) : body;
}

/** Terms with plus signs between them. */
export function sum(terms: Element[]): Element {
  return row(...terms.flatMap((term, i) => (i === 0 ? [term] : [mo("+"), term])));
}
