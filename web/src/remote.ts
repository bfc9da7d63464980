// The worker as the page calls it: each call is a promise.

import source from "../build/worker.js";
import type { Calls, Snapshot } from "./worker.ts";

type Answer = { id: number; result: unknown; error?: string } | { snapshot: Snapshot };
type Waiting = { resolve: (value: unknown) => void; reject: (error: Error) => void };

export class Remote {
  onSnapshot: (snapshot: Snapshot) => void = () => {};
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  /** From a blob, since a page that is a file may not start a worker from another file. */
  constructor() {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.answer(data);
  }

  private answer(data: Answer): void {
    if ("snapshot" in data) {
      this.onSnapshot(data.snapshot);
      return;
    }
    const waiting = this.waiting.get(data.id);
    this.waiting.delete(data.id);
    if (data.error === undefined) waiting?.resolve(data.result);
    else waiting?.reject(new Error(data.error));
  }

  call<Name extends keyof Calls>(
    name: Name, ...values: Parameters<Calls[Name]>
  ): Promise<Awaited<ReturnType<Calls[Name]>>> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as Waiting["resolve"], reject });
      this.worker.postMessage({ id, name, values });
    });
  }
}
