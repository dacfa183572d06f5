"use strict";
const stage = document.querySelector(".stage");
const video = stage.querySelector("video");
const message = stage.querySelector(".message");
const track = stage.querySelector(".track");
const rows = stage.querySelector(".sentences");
const keys = document.querySelector("dialog");
const cards = [...document.querySelectorAll(".card")];
const wide = matchMedia("(min-width: 64rem)");
const EARLY = 0.02;
let current = -1;
let wanted = 0;
let until = null;

const card = () => cards[current];
const seconds = (name, of = card()) => Number(of.dataset[name]);

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function seek(time, end) {
  wanted = time;
  until = end;
  if (video.readyState >= 1) video.currentTime = time;
}

function play() {
  video.play().catch(() => { /* refused, or not loaded: the message says why, or the controls start it */ });
}

function say(text) {
  message.hidden = !text;
  message.replaceChildren(...(text ? [make("p", {}, text)] : []));
}

/** The moments of the same video, as marks on its length. */
function mark() {
  const length = seconds("duration");
  track.hidden = !length;
  if (!length) return;
  const same = cards.filter((other) => other.dataset.video === card().dataset.video);
  track.replaceChildren(...same.map((other) => {
    const [start, end] = [seconds("start", other), seconds("end", other)];
    const button = make("button", { type: "button", title: other.dataset.span, "aria-label": `Moment ${other.dataset.span}`, "aria-current": String(other === card()) });
    button.style.left = `${(100 * start) / length}%`;
    button.style.width = `${(100 * (end - start)) / length}%`;
    button.addEventListener("click", () => select(cards.indexOf(other), { start: true }));
    return button;
  }));
}

function list() {
  const sentences = JSON.parse(card().dataset.sentences || "[]");
  rows.hidden = !sentences.length;
  rows.replaceChildren(...sentences.map(([text, label, start, end]) => {
    const button = make("button", { type: "button" }, make("span", {}, label), text);
    button.addEventListener("click", () => { seek(start, end); play(); });
    return make("li", {}, button);
  }));
}

function select(place, { start = false, focus = false } = {}) {
  if (place < 0 || place >= cards.length) return;
  const before = card();
  current = place;
  const picture = card().querySelector("img");
  stage.hidden = false;
  cards.forEach((other, index) => other.setAttribute("aria-current", String(index === place)));
  stage.querySelector(".title").textContent = card().querySelector(".name").textContent;
  stage.querySelector(".title").title = card().dataset.path;
  stage.querySelector(".facts").textContent = card().dataset.facts;
  stage.querySelector(".open").href = card().href;
  seek(seconds("start"), start ? seconds("end") : null);
  if (before?.dataset.video !== card().dataset.video) {
    say("");
    video.poster = picture ? picture.src : "";
    video.src = card().dataset.video;
  }
  mark();
  list();
  if (start) play();
  if (focus) card().focus({ preventScroll: true });
  if (focus || !wide.matches) card().scrollIntoView({ block: "nearest" });
}

function step(by) {
  select(Math.min(Math.max(current + by, 0), cards.length - 1), { start: true, focus: true });
}

function close() {
  video.pause();
  stage.hidden = true;
  card()?.focus();
}

video.addEventListener("loadedmetadata", () => {
  if (video.videoWidth) video.currentTime = wanted;
  else say(card().dataset.foreign);
});
video.addEventListener("error", () => say(card().dataset.foreign));
video.addEventListener("timeupdate", () => {
  if (until === null || video.seeking || video.currentTime < until - EARLY) return;
  until = null;
  video.pause();
});
video.addEventListener("seeked", () => { if (until !== null && (video.currentTime > until || video.currentTime < wanted - 1)) until = null; });

cards.forEach((each, place) => each.addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  select(place, { start: true });
}));
stage.querySelector(".again").addEventListener("click", () => { seek(seconds("start"), seconds("end")); play(); });
stage.querySelector(".copy").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(card().dataset.example);
    button.textContent = "Copied";
  } catch {
    prompt("This moment", card().dataset.example);
  }
  setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
});
document.querySelector("#keys-button").hidden = false;
document.querySelector("#keys-button").addEventListener("click", () => keys.showModal());
document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || keys.open || !cards.length) return;
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "r" && !stage.hidden) { seek(seconds("start"), seconds("end")); play(); }
  else if (event.key === "Escape" && !stage.hidden) close();
  else if (event.key === "?") keys.showModal();
  else if (event.key === " " && !stage.hidden && !event.target.closest("button, video, summary")) { if (video.paused) play(); else video.pause(); }
  else return;
  event.preventDefault();
});
if (wide.matches && cards.length && document.body.dataset.open === "yes") select(0);
