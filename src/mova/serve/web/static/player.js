import { address, probe } from "./api.js";
import { clock, el, icon } from "./dom.js";
import { Strip } from "./strip.js";

const BEFORE = 4;
const AFTER = 20;
const SHARPNESS = 0.15;
/** Seconds of a preview, at most. */
const LONGEST = 120;
/** Videos that this browser cannot play; they get a converted preview at once the next time. */
const foreign = new Set();

/** A video with its strip: plays moments, falls back to converted previews of the part that is wanted. */
export class Player {
  /** `buttons` are put beside the title; `onMark` is called for a click on a mark, `onTime` with the position. */
  constructor(root, { onMark = () => {}, onTime = () => {}, buttons = [] } = {}) {
    this.onTime = onTime;
    this.video = el("video", { controls: true, playsinline: true, preload: "metadata", "aria-label": "Video" });
    this.message = el("div", { class: "message", role: "status", hidden: true });
    this.strip = new Strip({ onSeek: (time) => this.seek(time), onMark });
    this.title = el("h2", { class: "title" });
    this.facts = el("p", { class: "facts" });
    this.replay = el("button", { type: "button", class: "secondary icon", title: "Play this moment", "aria-label": "Play this moment", on: { click: () => this.playMoment() } }, icon("M4.5 6.5A7 7 0 1 1 3 11M4 2.5v4.5h4.5"));
    root.replaceChildren(
      el("div", { class: "screen" }, this.video, this.message),
      this.strip.root,
      el("div", { class: "about" }, this.title, this.facts),
      el("div", { class: "buttons" }, this.replay, ...buttons),
    );
    this.entry = null;
    this.moment = null;
    this.offset = 0;
    this.preview = null;
    this.wanted = null;
    this.until = null;
    this.wantsPlay = false;
    this.#listen();
  }

  #listen() {
    const { video } = this;
    video.addEventListener("loadedmetadata", () => {
      if (!this.preview && video.videoWidth === 0) { this.#convert(); return; }
      this.say(null);
      if (this.wanted !== null) video.currentTime = Math.max(0, this.wanted - this.offset);
      if (this.wantsPlay) this.play();
    });
    video.addEventListener("error", () => {
      if (!video.getAttribute("src")) return;
      if (this.preview) this.#explain();
      else this.#convert();
    });
    const frame = () => {
      this.#tick();
      if (!video.paused && !video.ended) requestAnimationFrame(frame);
    };
    video.addEventListener("pause", () => { this.wantsPlay = false; });
    video.addEventListener("play", () => requestAnimationFrame(frame));
    for (const name of ["timeupdate", "seeked"]) video.addEventListener(name, () => this.#tick());
  }

  #tick() {
    if (!this.entry || this.video.readyState < 1) return;
    const time = this.time;
    this.strip.move(time);
    this.onTime(time);
    if (this.until !== null && time >= this.until - 0.02 && !this.video.seeking) {
      this.until = null;
      if (!this.video.paused) this.video.pause();
    }
  }

  /** Position in the video, seconds; until it is loaded, the one that is wanted. */
  get time() { return this.video.readyState < 1 && this.wanted !== null ? this.wanted : this.video.currentTime + this.offset; }

  /** Show a video; `moments` are marked on its strip. Nothing is loaded again if it is the present one. */
  open(entry, moments = [], poster = "") {
    const same = this.entry?.id === entry.id && this.entry?.version === entry.version;
    this.entry = entry;
    this.moment = null;
    this.until = null;
    this.title.textContent = entry.name;
    this.facts.textContent = [entry.folder, clock(entry.duration)].filter(Boolean).join(" · ");
    this.replay.hidden = true;
    this.strip.reset(entry, moments);
    if (same) {
      this.strip.move(this.time);
      return;
    }
    this.say(null);
    this.video.poster = poster;
    this.offset = 0;
    this.preview = null;
    this.wanted = null;
    this.wantsPlay = false;
    if (foreign.has(entry.id)) this.#convert(0);
    else this.video.src = `/api/v1/videos/${entry.id}/file`;
  }

  /** Go to a moment of the open video, and play it if asked. */
  show(moment, play) {
    this.moment = moment;
    this.replay.hidden = false;
    this.strip.current(moment);
    this.facts.replaceChildren(...[
      moment.evidence ? el("span", { class: `word ${moment.evidence}`, text: `${moment.evidence === "none" ? "no" : moment.evidence} evidence` }) : null,
      el("span", { text: `${clock(moment.start, true)} – ${clock(moment.end, true)} of ${clock(this.entry.duration)}` }),
      moment.score === undefined ? null : el("span", { text: `score ${moment.score.toFixed(3)}` }),
      this.entry.folder ? el("span", { text: this.entry.folder }) : null,
    ].filter(Boolean));
    this.seek(moment.start, play ? moment.end : null);
    if (play) this.play();
  }

  playMoment() {
    if (this.moment) this.show(this.moment, true);
  }

  play() {
    this.wantsPlay = true;
    this.video.play().then(() => { this.wantsPlay = false; }, () => { /* refused, or not loaded yet: tried again then */ });
  }

  toggle() {
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  /** Go to a time; playing stops at `until`. */
  seek(time, until = null) {
    this.until = until;
    this.wanted = time;
    if (this.preview && (time < this.preview.start || time >= this.preview.end - SHARPNESS)) {
      this.#convert(time);
      return;
    }
    if (this.video.readyState >= 1) this.video.currentTime = Math.max(0, time - this.offset);
    this.strip.move(time);
  }

  /** Ask for a converted preview around a time. */
  #convert(time = this.wanted ?? this.moment?.start ?? 0) {
    foreign.add(this.entry.id);
    const start = Math.max(0, Math.floor(time - BEFORE));
    const end = Math.min(this.entry.duration, Math.ceil(Math.max(time, this.moment?.end ?? 0, this.until ?? 0) + AFTER));
    this.preview = { start, end: Math.min(end, start + LONGEST) };
    this.wanted = time;
    this.wantsPlay ||= !this.video.paused;
    this.offset = start;
    this.say("Your browser cannot play this format. Converting this part…", { busy: true });
    this.video.src = address(`/videos/${this.entry.id}/preview`, { start, end: this.preview.end.toFixed(2) });
  }

  /** Say why there is no preview. */
  async #explain() {
    const { entry, preview } = this;
    let text = "This part cannot be played here.";
    let file = `/api/v1/videos/${entry.id}/file?download=true`;
    try {
      await probe(`/videos/${entry.id}/preview?start=${preview.start}&end=${preview.end.toFixed(2)}`);
    } catch (error) {
      text = error.message;
      file = null;
    }
    if (this.entry === entry && this.preview === preview) this.say(text, { file });
  }

  /** Show a message over the picture, or none; `file` is the address of the whole file, to save it instead. */
  say(text, { busy = false, file = null } = {}) {
    this.message.hidden = text === null;
    this.message.replaceChildren(...(text === null ? [] : [busy ? el("span", { class: "spinner" }) : null, el("p", { text }), file ? el("a", { class: "secondary", href: file, text: "Save the file" }) : null].filter(Boolean)));
  }
}
