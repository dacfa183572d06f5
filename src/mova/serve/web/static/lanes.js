import { clock, el, fresh } from "./dom.js";
import { Tip } from "./tip.js";

const STEP = 0.1;
const SHORTEST = 0.1;
const DRAG = 5;
const MORE = 0.6;
/** Length of a span that is added at the position of the player, seconds. */
const ADDED = 2;
/** Seconds rounded to hundredths: what a hand can set. Spans that were not touched keep their exact times. */
const round = (seconds) => Math.round(seconds * 100) / 100;
const name = (start, end) => `${start} ${end}`;

/**
 * The row of a sentence: its text, its spans as text, and a lane with the posterior as color, and spans whose edges
 * can be dragged. `onSeek(time, options)` shows a time: it plays `until` another one, or stands `still`; `onChange()`
 * is called after every correction; `time()` is the position of the player.
 */
export class Lane {
  constructor(number, sentence, data, { video, onSeek, onChange, time }) {
    this.video = video;
    this.now = time;
    this.data = data;
    this.duration = data.duration;
    this.sentence = sentence;
    this.original = sentence.spans.map((span) => [span.start, span.end]);
    this.known = new Map(sentence.spans.map((span) => [name(span.start, span.end), span.posterior]));
    this.onSeek = onSeek;
    this.onChange = onChange;
    this.canvas = el("canvas");
    this.cursor = el("span", { class: "cursor" });
    this.tip = new Tip();
    this.track = el("div", { class: "track" }, this.canvas, this.cursor, this.tip.root);
    this.chips = el("div", { class: "spans" });
    this.root = el("article", { class: "sentence", "aria-label": `Sentence ${number}` },
      el("div", { class: "said" }, el("span", { class: "number", text: number }), el("p", { class: "text", text: sentence.text })),
      this.chips, el("div", { class: "lane-wrap" }, this.track));
    this.reset();
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.track);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Back to what the model said. */
  reset() {
    this.spans = this.original.map(([start, end]) => ({ start, end, was: { start, end } }));
    this.show();
  }

  get changed() { return JSON.stringify(this.pairs()) !== JSON.stringify(this.original); }

  /** Start and end of every span, in order. */
  pairs() { return this.spans.map(({ start, end }) => [start, end]).sort((a, b) => a[0] - b[0]); }

  #posterior(span) { return this.known.get(name(span.start, span.end)); }

  /** The free time around a span or a point, between the other spans of the sentence: they do not overlap. */
  #room(time, span = null) {
    const others = this.spans.filter((other) => other !== span);
    return [
      Math.max(0, ...others.filter((other) => other.end <= time).map((other) => other.end)),
      Math.min(this.duration, ...others.filter((other) => other.start >= time).map((other) => other.start)),
    ];
  }

  show() {
    this.spans.sort((a, b) => a.start - b.start);
    this.track.querySelectorAll(".span").forEach((node) => node.remove());
    for (const span of this.spans) this.track.append(this.#bar(span));
    this.#chips();
  }

  #chips() {
    const chips = this.spans.map((span) => {
      const sure = this.#posterior(span);
      return el("button", { type: "button", class: sure === undefined ? "chip changed" : "chip", title: "Go there", on: { click: () => this.onSeek(span.start, { until: span.end }) } },
        `${clock(span.start, true)} – ${clock(span.end, true)}`, el("i", { text: sure === undefined ? "corrected" : sure === null ? "" : `${Math.round(100 * sure)} %` }));
    });
    const shown = this.sentence.shown;
    if (!chips.length) chips.push(el("span", { class: "none", text: this.original.length ? "Marked as not shown" : `Probably not shown${shown === null ? "" : ` (${Math.round(100 * shown)} %)`}` }));
    const likely = this.spans.length || this.original.length ? null : this.sentence.likely;
    if (likely) {
      chips.push(el("button", { type: "button", class: "chip likely", title: "Go to the most probable place", on: { click: () => this.onSeek(likely.start, { until: likely.end }) } },
        `if at all ${clock(likely.start, true)} – ${clock(likely.end, true)}`));
    }
    this.chips.replaceChildren(...chips, el("button", { type: "button", class: "chip add", text: "+", title: "Add a span at the position of the player", "aria-label": "Add a span at the position of the player", on: { click: () => this.#add() } }));
    this.root.classList.toggle("absent", this.spans.length === 0);
  }

  /** Add a span where the player is, as long as there is room. */
  #add() {
    const at = Math.min(this.now(), this.duration - SHORTEST);
    const inside = this.spans.find((span) => at >= span.start && at < span.end);
    const [first, last] = this.#room(inside ? inside.end : at);
    const start = Math.max(first, round(inside ? inside.end : at));
    const end = Math.min(last, round(start + ADDED));
    if (end - start < SHORTEST) return;
    const span = { start, end };
    this.spans.push(span);
    this.show();
    this.track.querySelectorAll(".span")[this.spans.indexOf(span)].querySelector(".edge.to").focus();
    this.onChange();
  }

  #place(node, span) {
    node.style.left = `${(100 * span.start) / this.duration}%`;
    node.style.width = `${(100 * (span.end - span.start)) / this.duration}%`;
    const changed = this.#posterior(span) === undefined;
    node.classList.toggle("changed", changed);
    const text = `${clock(span.start, true)} to ${clock(span.end, true)}`;
    node.setAttribute("aria-label", `Span from ${text}. Delete removes it.`);
    node.querySelectorAll(".edge").forEach((edge) => edge.setAttribute("aria-valuetext", clock(span[edge.dataset.side], true)));
    node.querySelectorAll(".edge").forEach((edge) => edge.setAttribute("aria-valuenow", span[edge.dataset.side].toFixed(2)));
  }

  #bar(span) {
    const bar = el("div", { class: "span", tabindex: "0", role: "group" });
    for (const [side, name, label] of [["start", "from", "Start of the span"], ["end", "to", "End of the span"]]) {
      const edge = el("button", { type: "button", class: `edge ${name}`, role: "slider", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": this.duration.toFixed(2), "data-side": side });
      edge.addEventListener("pointerdown", (event) => this.#drag(event, edge, span, side, bar));
      edge.addEventListener("keydown", (event) => {
        const steps = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP, PageDown: -1, PageUp: 1 };
        if (!(event.key in steps)) return;
        event.preventDefault();
        event.stopPropagation();
        this.#move(span, side, span[side] + steps[event.key], bar);
        this.onChange();
      });
      bar.append(edge);
    }
    bar.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") {
        event.preventDefault();
        this.spans = this.spans.filter((other) => other !== span);
        this.show();
        this.onChange();
      } else if (event.key === "Enter" && event.target === bar) this.onSeek(span.start, { until: span.end });
    });
    this.#place(bar, span);
    return bar;
  }

  #move(span, side, time, bar) {
    const [first, last] = this.#room((span.start + span.end) / 2, span);
    const at = span.was && round(time) === round(span.was[side]) ? span.was[side] : round(time);
    if (side === "start") span.start = Math.max(first, Math.min(at, round(span.end - SHORTEST)));
    else span.end = Math.min(last, Math.max(at, round(span.start + SHORTEST)));
    this.#place(bar, span);
    this.#chips();
    this.onSeek(side === "start" ? span.start : Math.max(span.start, span.end - 0.02), { still: true });
  }

  #time(event) {
    const box = this.track.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * this.duration;
  }

  #drag(event, edge, span, side, bar) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    edge.focus();
    this.#point(this.#time(event));
    edge.setPointerCapture(event.pointerId);
    edge.classList.add("dragged");
    const before = span[side];
    const stop = new AbortController();
    const on = (type, call) => edge.addEventListener(type, call, { signal: stop.signal });
    const done = () => {
      stop.abort();
      edge.classList.remove("dragged");
      this.onChange();
    };
    let moved = false;
    on("pointermove", (next) => {
      moved ||= Math.abs(next.clientX - event.clientX) > 1;
      if (moved) this.#move(span, side, this.#time(next), bar);
    });
    on("pointerup", () => {
      if (!moved) this.onSeek(this.#time(event));
      done();
    });
    on("pointercancel", () => {
      span[side] = before;
      this.#place(bar, span);
      this.#chips();
      done();
    });
  }

  #listen() {
    let from = null;
    let made = null;
    this.track.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".edge")) return;
      from = { x: event.clientX, time: this.#time(event), mouse: event.pointerType === "mouse" };
      this.track.setPointerCapture(event.pointerId);
      this.#point(from.time);
    });
    this.track.addEventListener("pointermove", (event) => {
      const at = this.#time(event);
      this.#point(at);
      if (from && from.mouse && Math.abs(event.clientX - from.x) > DRAG && !event.target.closest(".span")) {
        const [first, last] = this.#room(from.time, made);
        if (last - first < SHORTEST) return;
        made ??= { start: from.time, end: from.time };
        made.start = Math.min(Math.max(first, round(Math.min(from.time, at))), last - SHORTEST);
        made.end = Math.min(last, Math.max(round(Math.max(from.time, at)), made.start + SHORTEST));
        this.spans = [...this.spans.filter((span) => span !== made), made];
        this.show();
        this.onSeek(at, { still: true });
      }
    });
    this.track.addEventListener("pointerup", (event) => {
      if (from && !made) this.onSeek(this.#time(event));
      if (made) this.onChange();
      from = null;
      made = null;
    });
    this.track.addEventListener("pointercancel", () => {
      if (made) {
        this.spans = this.spans.filter((span) => span !== made);
        this.show();
      }
      from = null;
      made = null;
    });
    this.track.addEventListener("pointerleave", (event) => this.tip.hide(event.pointerType === "touch"));
  }

  /** Show the frame and the posterior at a time. */
  #point(time) {
    const after = this.data.times.findIndex((start) => start > time);
    const bin = after === -1 ? this.data.times.length - 1 : Math.max(0, after - 1);
    this.tip.show(this.video, time, this.duration, `${clock(time, true)} · ${Math.round(100 * (this.sentence.posterior[bin] ?? 0))} %`);
  }

  /** Show the position of the player. */
  move(time) {
    this.cursor.style.left = `${(100 * Math.min(time, this.duration)) / this.duration}%`;
    this.root.classList.toggle("now", this.spans.some((span) => time >= span.start && time < span.end));
  }

  draw() {
    const { width, height, context } = fresh(this.canvas, this.track);
    if (!width) return;
    context.fillStyle = getComputedStyle(this.track).getPropertyValue("--accent");
    const { times } = this.data;
    const ratio = devicePixelRatio || 1;
    const pixel = (x) => Math.round(x * ratio) / ratio; // whole pixels: no seams between bins
    this.sentence.posterior.forEach((value, bin) => {
      if (value < 0.01) return;
      const left = pixel((times[bin] / this.duration) * width);
      const right = pixel(((times[bin + 1] ?? this.duration) / this.duration) * width);
      context.globalAlpha = Math.min(1, value) ** MORE * 0.92;
      context.fillRect(left, 0, right - left, height);
    });
  }
}
