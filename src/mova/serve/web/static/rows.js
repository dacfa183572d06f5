import { ask } from "./api.js";
import { el } from "./dom.js";

const LIMIT = 50;

/** A list that is loaded page by page, with a button below it while there is more; its section is hidden if it is empty. */
export class Rows {
  /** `path` answers with pages, whose rows are under `key`; `row` makes an item of one of them. */
  constructor(root, { path, key, row, limit = LIMIT }) {
    this.root = root;
    this.list = root.querySelector("ul");
    this.path = path;
    this.key = key;
    this.row = row;
    this.limit = limit;
    this.asked = 0;
    this.button = el("button", { type: "button", class: "secondary", text: "Show more", on: { click: () => this.#more() } });
    this.more = el("div", { class: "more", hidden: true }, this.button);
    root.append(this.more);
  }

  /** Load the first page in the place of what is shown; return its document, or null if another call came after it. */
  async load(values = {}) {
    this.values = values;
    const found = await this.#ask();
    if (found) this.list.replaceChildren(...found[this.key].map(this.row));
    return found;
  }

  /** Show a sentence in the place of rows. */
  say(text) {
    this.root.hidden = false;
    this.more.hidden = true;
    this.list.replaceChildren(el("li", { class: "none", text }));
  }

  async #ask(cursor = null) {
    this.asked += 1;
    const turn = this.asked;
    const found = await ask(`${this.path}?${new URLSearchParams({ ...this.values, limit: this.limit, ...(cursor ? { cursor } : {}) })}`);
    if (turn !== this.asked) return null;
    this.next = found.next ?? null;
    this.root.hidden = found.total === 0;
    this.more.hidden = !this.next;
    return found;
  }

  async #more() {
    this.button.disabled = true;
    try {
      const found = await this.#ask(this.next);
      if (found) this.list.append(...found[this.key].map(this.row));
    } catch (error) {
      this.list.append(el("li", { class: "none", text: error.message }));
    } finally {
      this.button.disabled = false;
    }
  }
}
