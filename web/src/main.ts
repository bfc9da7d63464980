// The page: its tabs, its language, and where the core runs.

import { Digits } from "./digits.ts";
import { setLanguage, t } from "./dom.ts";
import { Playground } from "./playground.ts";
import { Remote } from "./remote.ts";
import { TEXTS, type Key, type Language } from "./text.ts";
import { Walk } from "./walk.ts";

const byId = (id: string) => document.getElementById(id)!;
const remote = new Remote();
const views = {
  walk: new Walk(byId("walk"), remote),
  playground: new Playground(byId("playground"), remote),
  digits: new Digits(byId("digits"), remote),
};
type View = keyof typeof views;
const names = Object.keys(views) as View[];

/** The view of the address, behind its #. */
function wanted(): View {
  return names.find((name) => location.hash === `#${name}`) ?? "walk";
}

async function show(): Promise<void> {
  const chosen = wanted();
  for (const name of names) {
    byId(name).hidden = name !== chosen;
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === chosen));
    tab.tabIndex = name === chosen ? 0 : -1;
    if (name !== chosen) await views[name].leave();
  }
  await views[chosen].show();
}

function wireTabs(): void {
  const tabs = byId("tabs");
  tabs.addEventListener("click", ({ target }) => {
    const tab = (target as Element).closest("[role=tab]");
    if (tab) location.hash = tab.id.replace("tab-", "");
  });
  tabs.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step === undefined) return;
    const next = names[(names.indexOf(wanted()) + step + names.length) % names.length];
    location.hash = next;
    byId(`tab-${next}`).focus();
  });
  addEventListener("hashchange", () => void show());
}

function speak(language: Language): void {
  setLanguage(language);
  document.documentElement.lang = language;
  document.querySelectorAll<HTMLElement>("[data-t]").forEach((element) => {
    element.textContent = t(element.dataset.t as Key);
  });
}

async function start(): Promise<void> {
  const chooser = byId("language") as HTMLSelectElement;
  chooser.value = navigator.language.slice(0, 2) in TEXTS ? navigator.language.slice(0, 2) : "en";
  speak(chooser.value as Language);
  wireTabs();
  try {
    const { isa, fused } = await remote.call("start");
    const say = () => (byId("core").textContent = t(fused ? "fused" : "unfused", { isa }));
    chooser.addEventListener("change", () => {
      speak(chooser.value as Language);
      say();
      void show();
    });
    say();
    await show();
  } catch (error) {
    byId("core").textContent = t("broken", { problem: String(error) });
  }
}

// For who wants to look inside: the worker's calls, in the browser's console.
Object.assign(globalThis, { pycnn: remote });
void start();
