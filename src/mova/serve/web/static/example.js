import { ask } from "./api.js";
import { clock, el } from "./dom.js";

const EQUAL = "0.5";
const LIST = "list";

/** The example of a search: its picture in the box, and below the box what counts of it. */
export class Example {
  /** `onChange` is called when a person has changed what counts. */
  constructor(page, { onChange }) {
    this.value = null;
    this.chip = page.querySelector(".like");
    this.panel = page.querySelector(".alike");
    this.by = page.querySelector("#by");
    this.list = page.querySelector("#values");
    this.words = page.querySelector("#words");
    this.box = page.querySelector("#query");
    this.by.addEventListener("change", () => {
      this.show();
      if (this.by.value === LIST && !this.list.value.trim()) this.list.focus();
      else onChange();
    });
    this.list.addEventListener("change", onChange);
    this.words.addEventListener("change", onChange);
  }

  /** Search with a moment `{ video, time }` from now on; null: by words alone. */
  set(example, { by = "", words = EQUAL } = {}) {
    this.value = example;
    if (example) {
      this.chip.querySelector("img").src = `/api/v1/videos/${example.video.id}/thumbnail?${new URLSearchParams({ t: example.time, v: example.video.version, height: 180 })}`;
      this.chip.title = `Like ${example.video.name} at ${clock(example.time, true)}`;
      this.#concepts(by);
    }
    this.words.value = words;
    this.#respect(by);
    this.box.placeholder = example ? "Add words" : "A dog runs after a ball";
    this.show();
  }

  /** Choose a respect; one that has no entry in the menu, or none yet, is written out. */
  #respect(by) {
    const known = [...this.by.options].some((option) => option.value === by);
    this.by.value = known ? by : LIST;
    this.list.value = known ? "" : by;
  }

  /** Ask once which concepts the model knows. */
  async #concepts(by) {
    if (this.asked) return;
    this.asked = true;
    try {
      const { respects } = await ask("/search/respects");
      this.by.lastElementChild.before(...respects.map((name) => el("option", { value: name, text: `the ${name}` })));
      this.#respect(by);
      this.show();
    } catch {
      this.asked = false;
    }
  }

  /** What counts: everything with or without words, or one respect, which leaves no place for words. */
  show() {
    const text = this.box.value.trim() !== "";
    this.chip.hidden = !this.value;
    this.panel.hidden = !this.value;
    this.by.disabled = text;
    if (text) this.#respect("");
    this.panel.querySelector(".weight").hidden = !text;
    this.list.hidden = this.by.value !== LIST;
  }

  /** The respect, empty for everything. */
  get respect() { return this.by.value === LIST ? this.list.value.trim() : this.by.value; }

  /** Its part of the body of a search. */
  body() {
    if (!this.value) return { like: null };
    return { like: { video: this.value.video.id, time: this.value.time }, words: Number(this.words.value), ...(this.respect ? { by: this.respect } : {}) };
  }

  /** Its part of the address of the page. */
  address() {
    if (!this.value) return {};
    return { like: this.value.video.id, t: this.value.time, ...(this.respect ? { by: this.respect } : {}), ...(this.words.value === EQUAL ? {} : { words: this.words.value }) };
  }
}
