import { el } from "./dom.js";

/** Pictures are asked for only when the pointer rests this long, and a tip of a finger stays this long. Milliseconds. */
const REST = 120;
const STAY = 2500;
/** Pictures along the axis of a video, at most: neighboring positions share one. */
const PICTURES = 120;

/** A small window over a time axis: the frame at a time, and words about it. */
export class Tip {
  constructor() {
    this.image = el("img", { alt: "", hidden: true });
    this.words = el("span");
    this.root = el("span", { class: "tip", hidden: true }, this.image, this.words);
    this.image.addEventListener("error", () => { this.image.hidden = true; });
    this.image.addEventListener("load", () => {
      this.image.hidden = false;
      if (this.leaving) { this.root.hidden = false; this.#leave(); }
    });
    this.entry = null;
  }

  /** Show a time of a video with words, at its place on an axis of `duration` seconds. */
  show(entry, time, duration, words) {
    this.#stay();
    this.root.hidden = false;
    this.root.style.setProperty("--at", `${(100 * time) / duration}%`);
    this.words.textContent = words;
    if (this.entry !== entry) this.image.hidden = true;
    this.entry = entry;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.#picture(entry, time, duration), REST);
  }

  #picture(entry, time, duration) {
    const step = Math.max(0.25, duration / PICTURES);
    const at = Math.min(Math.floor(time / step) * step + step / 2, Math.max(0, duration - 0.05));
    const address = `/api/v1/videos/${entry.id}/thumbnail?${new URLSearchParams({ t: at.toFixed(2), v: entry.version, height: 180 })}`;
    if (this.image.getAttribute("src") !== address) this.image.src = address;
  }

  /** Hide it; after a touch only in a while, so that it can be read. */
  hide(touch = false) {
    if (touch) {
      this.#leave();
      return;
    }
    this.#stay();
    clearTimeout(this.waiting);
    this.root.hidden = true;
  }

  #leave() {
    this.#stay();
    this.leaving = setTimeout(() => { this.root.hidden = true; }, STAY);
  }

  #stay() {
    clearTimeout(this.leaving);
    this.leaving = null;
  }
}
