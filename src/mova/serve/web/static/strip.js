import { clock, el, fresh } from "./dom.js";
import { Tip } from "./tip.js";

/**
 * The time axis of a video: relevance as height and heat, moments as marks below, the position as a line.
 * It is a slider for keyboards and screen readers.
 */
export class Strip {
  constructor({ onSeek, onMark }) {
    this.onSeek = onSeek;
    this.duration = 1;
    this.data = null;
    this.canvas = el("canvas");
    this.head = el("span", { class: "head" });
    this.tip = new Tip();
    this.entry = null;
    this.curve = el("div", { class: "curve", role: "slider", tabindex: "0", "aria-label": "Position in the video", "aria-valuemin": "0" }, this.canvas, this.head, this.tip.root);
    this.lane = el("div", { class: "lane", role: "group", "aria-label": "Moments in this video" });
    this.endLabel = el("span");
    this.root = el("div", { class: "strip" }, this.curve, this.lane, el("div", { class: "scale", "aria-hidden": "true" }, el("span", { text: "0:00" }), this.endLabel));
    this.onMark = onMark;
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.curve);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  #listen() {
    const time = (event) => {
      const box = this.curve.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.duration;
    };
    let dragging = false;
    this.curve.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      dragging = true;
      this.curve.setPointerCapture(event.pointerId);
      this.#point(time(event));
      this.onSeek(time(event));
    });
    this.curve.addEventListener("pointermove", (event) => {
      const at = time(event);
      this.#point(at);
      if (dragging) this.onSeek(at);
    });
    for (const name of ["pointerup", "pointercancel"]) this.curve.addEventListener(name, () => { dragging = false; });
    this.curve.addEventListener("pointerleave", (event) => this.tip.hide(event.pointerType === "touch"));
    this.curve.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -this.duration / 10, PageUp: this.duration / 10 };
      const target = event.key === "Home" ? 0 : event.key === "End" ? this.duration : event.key in steps ? this.time + steps[event.key] : null;
      if (target === null) return;
      event.preventDefault();
      this.onSeek(Math.min(this.duration, Math.max(0, target)));
    });
  }

  #point(time) {
    if (this.entry) this.tip.show(this.entry, time, this.duration, clock(time, this.duration < 600));
  }

  /** Show another video: its length and moments, at first without relevance. */
  reset(entry, moments = []) {
    const { duration } = entry;
    this.entry = entry;
    this.duration = Math.max(duration, 0.1);
    this.data = null;
    this.curve.setAttribute("aria-valuemax", this.duration.toFixed(1));
    this.endLabel.textContent = clock(duration);
    this.lane.replaceChildren(...moments.map((moment) => el("button", {
      type: "button",
      class: moment.evidence === "none" ? "faint" : null,
      "aria-label": `Moment from ${clock(moment.start, true)} to ${clock(moment.end, true)}`,
      title: `${clock(moment.start, true)} – ${clock(moment.end, true)}`,
      style: { left: `${(100 * moment.start) / this.duration}%`, width: `${(100 * (moment.end - moment.start)) / this.duration}%` },
      on: { click: () => this.onMark(moment) },
    })));
    this.marks = moments;
    this.lane.hidden = moments.length === 0;
    this.move(0);
    this.draw();
  }

  /** Mark one of the moments as the present one. */
  current(moment) {
    [...this.lane.children].forEach((mark, place) => mark.setAttribute("aria-current", String(this.marks[place] === moment)));
  }

  /** Show relevance over time, as `/relevance` returns it. */
  heat(data) {
    this.data = data;
    this.draw();
  }

  /** Move the line. */
  move(time) {
    this.time = time;
    this.head.style.left = `${(100 * Math.min(time, this.duration)) / this.duration}%`;
    this.curve.setAttribute("aria-valuenow", time.toFixed(1));
    this.curve.setAttribute("aria-valuetext", `${clock(time, true)} of ${clock(this.duration)}`);
  }

  draw() {
    const { width, height, context } = fresh(this.canvas, this.curve);
    if (!width) return;
    if (!this.data) return;
    const { times, values, low, high } = this.data;
    context.fillStyle = getComputedStyle(this.curve).getPropertyValue("--accent");
    const scale = Math.max(high - low, 1e-6);
    for (let i = 0; i < times.length; i += 1) {
      const left = (times[i] / this.duration) * width;
      const right = ((times[i + 1] ?? this.duration) / this.duration) * width;
      const heat = Math.min(1, Math.max(0, (values[i] - low) / scale));
      const tall = Math.max(1.5, heat * (height - 4));
      context.globalAlpha = 0.16 + 0.84 * heat ** 1.5;
      const gap = right - left > 4 ? 1 : 0;
      context.fillRect(left, height - tall, Math.max(right - left - gap, 0.5), tall);
    }
  }
}
