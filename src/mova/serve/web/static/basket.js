import { save } from "./api.js";
import { clock, plural } from "./dom.js";

/** Characters of the name of an exported moment. */
const LABEL = 1000;
const named = (moment) => `${moment.video.id} ${moment.start} ${moment.end}`;
/** A text as the name of a moment; whole characters only. */
const shorten = (text) => ([...text].length > LABEL ? `${[...text].slice(0, LABEL - 1).join("")}…` : text);

/** The moments that were chosen, in the order of choice, and their export. */
export class Basket {
  /** `onCount` is called with the number of moments, `onError` with the error of an export. */
  constructor(root, { onCount, onError }) {
    this.root = root;
    this.chosen = new Map();
    this.onCount = onCount;
    this.onError = onError;
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.format) this.#take(button.dataset.format, button);
      else { this.chosen.clear(); this.#show(); }
    });
  }

  has(moment) { return this.chosen.has(named(moment)); }

  /** Put a moment in, with the text that found it, or take it out. */
  set(moment, on, text) {
    if (on) this.chosen.set(named(moment), { video: moment.video.id, start: moment.start, end: moment.end, label: shorten(text) });
    else this.chosen.delete(named(moment));
    this.#show();
  }

  #show() {
    const moments = [...this.chosen.values()];
    this.root.hidden = !moments.length;
    this.root.querySelector(".count").textContent = `${plural(moments.length, "moment")}, ${clock(moments.reduce((sum, moment) => sum + moment.end - moment.start, 0))}`;
    this.onCount(moments.length);
  }

  async #take(format, button) {
    const text = button.textContent;
    button.disabled = true;
    if (format === "zip") button.textContent = "Cutting…";
    try {
      await save("/exports", { format, moments: [...this.chosen.values()] }, `moments.${format}`);
    } catch (error) {
      this.onError(error);
    } finally {
      button.disabled = false;
      button.textContent = text;
    }
  }
}
