import { ask } from "./api.js";
import { el, plural } from "./dom.js";

const NAMES = ["folder", "after", "before", "longer", "shorter"];
const MINUTE = 60;

/** Which videos are searched: below a folder, of a date, of a length. */
export class Filters {
  /** `onChange` is called when a person has changed them. */
  constructor(button, form, { onChange }) {
    this.button = button;
    this.form = form;
    button.addEventListener("click", () => this.open(form.hidden));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => { if (form.reportValidity()) { this.#count(); onChange(); } });
    form.querySelector(".clear-filters").addEventListener("click", () => { this.clear(); onChange(); });
  }

  open(open) {
    this.form.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) { this.#folders(); this.form.elements.folder.focus(); }
  }

  /** Ask once which folders hold videos, page by page. */
  async #folders() {
    if (this.asked) return;
    this.asked = true;
    const select = this.form.elements.folder;
    const { value } = select;
    try {
      const folders = [];
      for (let cursor = null; cursor !== undefined;) {
        const page = await ask(`/library/folders?${new URLSearchParams(cursor ? { cursor } : {})}`);
        folders.push(...page.folders);
        cursor = page.next;
      }
      select.replaceChildren(select.options[0], ...folders.map(({ name, videos }) => el("option", { value: name, text: `${name} (${plural(videos, "video")})` })));
      select.value = value;
      if (select.selectedIndex < 0) select.value = "";
    } catch {
      this.asked = false;
    }
  }

  /** The filters that are set, as the address of the page names them. */
  address() {
    return Object.fromEntries(NAMES.map((name) => [name, this.form.elements[name].value]).filter(([, value]) => value !== ""));
  }

  /** The part of the body of a search. The last day counts whole; lengths are seconds. */
  body() {
    const set = this.address();
    if (!Object.keys(set).length) return {};
    if ("folder" in set) set.folders = [set.folder];
    delete set.folder;
    if (set.before) set.before = nextDay(set.before);
    for (const name of ["longer", "shorter"]) if (name in set) set[name] = Number(set[name]) * MINUTE;
    return { filter: set };
  }

  /** Take them over from the address of the page. */
  restore(values) {
    for (const name of NAMES) {
      const field = this.form.elements[name];
      const value = values.get(name) ?? "";
      if (name === "folder" && value && ![...field.options].some((option) => option.value === value)) {
        field.append(el("option", { value, text: value }));
        this.asked = false;
        this.#folders();
      }
      field.value = value;
    }
    this.#count();
  }

  clear() {
    for (const name of NAMES) this.form.elements[name].value = "";
    this.#count();
  }

  #count() {
    const count = Object.keys(this.address()).length;
    this.button.textContent = count ? `Filters (${count})` : "Filters";
    this.button.classList.toggle("set", count > 0);
    this.form.querySelector(".clear-filters").hidden = !count;
  }
}

function nextDay(day) {
  const date = new Date(`${day}T12:00:00Z`);
  date.setUTCDate(date.getUTCDate() + 1);
  return date.toISOString().slice(0, 10);
}
