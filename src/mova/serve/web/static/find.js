import { ApiError, ask } from "./api.js";
import { clock, el, icon, length, plural, typing } from "./dom.js";
import { Player } from "./player.js";

const page = document.querySelector(".find");
const form = page.querySelector(".search");
const box = page.querySelector("#query");
const clear = page.querySelector(".clear");
const toolbar = page.querySelector(".toolbar");
const summary = page.querySelector(".summary");
const one = page.querySelector("#one");
const notice = page.querySelector(".notice");
const stage = page.querySelector(".stage");
const heading = page.querySelector(".section-title");
const cards = page.querySelector(".cards");
const more = page.querySelector(".more");
const keys = page.querySelector("dialog.keys");
const wide = matchMedia("(min-width: 64rem)");
const GHOSTS = 8;

let answer = null;
let hits = [];
let current = -1;
let running = null;
let player = null;

function stagePlayer() {
  if (!player) {
    const step = (label, path, by) => el("button", { type: "button", class: "secondary icon", title: label, "aria-label": label, on: { click: () => select(current + by, true) } }, icon(path));
    player = new Player(stage, {
      onMark: (moment) => select(hits.indexOf(moment), true),
      buttons: [step("Previous moment", "M12 5l-5 5 5 5", -1), step("Next moment", "M8 5l5 5-5 5", 1), el("a", { class: "secondary icon align-link", title: "Align a caption with this video", "aria-label": "Align a caption with this video" }, icon("M3 5h14M3 10h9M3 15h12")), el("a", { class: "secondary icon save", title: "Save this moment as a clip", "aria-label": "Save this moment as a clip" }, icon("M10 3v9m-4-3.5 4 4 4-4M4 16.5h12"))],
    });
  }
  return player;
}

function card({ video, start, end, score, thumbnail }, { label, time, onOpen }) {
  const image = el("img", { src: thumbnail, alt: "", loading: "lazy", width: 320, height: 180 });
  const thumb = el("span", { class: "thumb" }, image, el("span", { class: "time", text: time }), start === undefined ? null : el("span", { class: "where" }, el("i", { style: { left: `${(100 * start) / video.duration}%`, width: `${(100 * (end - start)) / video.duration}%` } })));
  image.addEventListener("error", () => { image.remove(); thumb.classList.add("none"); });
  return el("li", {}, el("button", { type: "button", class: "card", "aria-label": label, on: { click: onOpen } },
    thumb,
    el("span", { class: "name", text: video.name, title: video.name }),
    el("span", { class: "line" }, score === undefined ? null : el("span", { class: "score", text: score.toFixed(3) }), video.folder ? el("span", { class: "folder", text: video.folder, title: video.folder }) : null)));
}

function moments(results) {
  return results.map((moment, place) => card(moment, {
    label: `${moment.video.name}, from ${clock(moment.start)} to ${clock(moment.end)}, score ${moment.score.toFixed(3)}`,
    time: `${clock(moment.start)} – ${clock(moment.end)}`,
    onOpen: () => select(hits.indexOf(results[place]), true),
  }));
}

/** Show a moment on the stage. */
function select(place, play, focus = false) {
  if (place < 0 || place >= hits.length) return;
  const moment = hits[place];
  const changes = player?.entry?.id !== moment.video.id || !player.strip.marks?.includes(moment);
  current = place;
  stage.hidden = false;
  const shown = stagePlayer();
  if (changes) {
    shown.open(moment.video, hits.filter((other) => other.video.id === moment.video.id), moment.thumbnail);
    heat(moment.video);
  }
  shown.show(moment, play);
  stage.querySelector(".align-link").href = `/align?video=${moment.video.id}`;
  stage.querySelector(".save").href = `/api/v1/videos/${moment.video.id}/clip?start=${moment.start}&end=${moment.end}`;
  const buttons = [...cards.querySelectorAll(".card")];
  buttons.forEach((button, index) => button.setAttribute("aria-current", String(index === place)));
  if (focus) buttons[place].focus({ preventScroll: true });
  if (focus || !wide.matches) buttons[place].scrollIntoView({ block: "nearest" });
  if (place >= hits.length - 2 && answer?.next) loadMore();
}

async function heat(video) {
  const query = answer?.query;
  if (!query) return;
  try {
    const data = await ask(`/videos/${video.id}/relevance?${new URLSearchParams({ q: query.slice(0, 2000) })}`);
    if (player.entry.id === video.id && answer?.query === query) player.strip.heat(data);
  } catch { /* the strip stays flat; the player says what is wrong with the file */ }
}

function state(name) {
  page.dataset.state = name;
  toolbar.hidden = name === "start" || name === "empty";
  notice.hidden = true;
  notice.className = "notice";
  notice.replaceChildren();
}

function say(title, text, { bad = false, button = null } = {}) {
  notice.className = bad ? "notice bad" : "notice";
  notice.replaceChildren(el("strong", { text: title }), el("p", { text }), ...(button ? [button] : []));
  notice.hidden = false;
}

async function search({ push = true } = {}) {
  const query = box.value.trim();
  if (!query) { start({ push }); return; }
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  if (push) history.pushState(null, "", `/?${new URLSearchParams(one.checked ? { q: query.slice(0, 2000), one: 1 } : { q: query.slice(0, 2000) })}`);
  document.title = `${query.slice(0, 60)} · mova`;
  state("searching");
  heading.hidden = true;
  more.hidden = true;
  summary.textContent = "Searching…";
  player?.video.pause();
  const ghosts = setTimeout(() => { stage.hidden = true; cards.replaceChildren(...Array.from({ length: GHOSTS }, () => el("li", { class: "ghost", "aria-hidden": "true" }))); }, 150);
  const slow = setTimeout(() => { summary.textContent = "Searching… the first search waits until the model is loaded."; }, 3000);
  try {
    const found = await ask("/search", { method: "POST", body: { query, one_per_video: one.checked }, signal });
    clearTimeout(ghosts);
    show(found);
  } catch (error) {
    if (error.name === "AbortError") return;
    clearTimeout(ghosts);
    fail(error);
  } finally {
    clearTimeout(slow);
    clearTimeout(ghosts);
  }
}

function show(found) {
  answer = found;
  hits = [...found.results];
  current = -1;
  state("results");
  cards.replaceChildren(...moments(hits));
  summarize();
  more.hidden = !found.next;
  stage.hidden = true;
  if (!hits.length) {
    say("Nothing to show.", "The index has no moments yet.");
    return;
  }
  if (wide.matches) select(0, false);
}

function summarize() {
  const videos = new Set(hits.map((hit) => hit.video.id)).size;
  summary.replaceChildren(el("b", { text: plural(hits.length, "moment") }), ` in ${plural(videos, "video")}, of ${answer.videos.toLocaleString("en")} searched`, el("span", { class: "took", text: ` · ${answer.elapsed_seconds.toFixed(2)} s` }));
}

async function loadMore() {
  const button = more.querySelector("button");
  if (button.disabled || !answer?.next) return;
  button.disabled = true;
  const asked = answer;
  try {
    const next = await ask("/search", { method: "POST", body: { query: answer.query, one_per_video: one.checked, cursor: answer.next } });
    if (asked !== answer) return;
    hits.push(...next.results);
    answer = { ...answer, next: next.next ?? null };
    cards.append(...moments(next.results));
    more.hidden = !answer.next;
    summarize();
  } catch (error) {
    say("There are no more moments to show.", error.message, { bad: true });
  } finally {
    button.disabled = false;
  }
}

function fail(error) {
  cards.replaceChildren();
  stage.hidden = true;
  hits = [];
  answer = null;
  state("failed");
  summary.textContent = "";
  const retry = el("button", { type: "button", class: "secondary", text: "Try again", on: { click: () => search({ push: false }) } });
  if (error instanceof ApiError && error.status === 404) empty();
  else say("The search did not work.", error.message, { bad: true, button: retry });
}

function empty() {
  state("empty");
  say("Nothing is indexed yet.", "Add a folder with videos; then search here.", { button: el("a", { class: "secondary", href: "/library", text: "Open the library" }) });
}

/** The page before the first search: what there is to search in. */
async function start({ push = false } = {}) {
  running?.abort();
  answer = null;
  hits = [];
  if (push) history.pushState(null, "", "/");
  document.title = "Find · mova";
  state("start");
  player?.video.pause();
  stage.hidden = true;
  more.hidden = true;
  cards.replaceChildren();
  heading.hidden = true;
  try {
    const library = await ask("/videos?limit=24");
    if (page.dataset.state !== "start") return;
    if (!library.total) { empty(); return; }
    heading.textContent = `${plural(library.total, "video")} to search in, ${length(library.duration)} in all`;
    heading.hidden = false;
    cards.replaceChildren(...library.videos.map((video) => card(
      { video, thumbnail: `/api/v1/videos/${video.id}/thumbnail?${new URLSearchParams({ t: (video.duration / 3).toFixed(2), v: video.version })}` },
      { label: `Play ${video.name}, ${clock(video.duration)}`, time: clock(video.duration), onOpen: () => play(video) },
    )));
  } catch (error) {
    say("The videos cannot be listed.", error.message, { bad: true });
  }
}

/** Play a video from its start. */
function play(video) {
  stage.hidden = false;
  const shown = stagePlayer();
  stage.querySelector(".align-link").href = `/align?video=${video.id}`;
  stage.querySelector(".save").href = `/api/v1/videos/${video.id}/file?download=true`;
  shown.open(video, []);
  shown.seek(0);
  shown.play();
  [...cards.querySelectorAll(".card")].forEach((button) => button.setAttribute("aria-current", String(button.getAttribute("aria-label").startsWith(`Play ${video.name},`))));
}

function fit() {
  clear.hidden = !box.value; // first: it takes width from the box
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
box.addEventListener("input", fit);
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); search(); }
  if (event.key === "Escape") box.blur();
});
clear.addEventListener("click", () => { box.value = ""; fit(); box.focus(); start({ push: true }); });
one.addEventListener("change", () => { if (box.value.trim()) search(); });
more.addEventListener("click", loadMore);
page.querySelector("#keys").addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const moves = { j: 1, k: -1 };
  if (event.key in moves && hits.length) { event.preventDefault(); select(Math.min(Math.max(current + moves[event.key], 0), hits.length - 1), true, true); }
  else if (event.key === "/") { event.preventDefault(); box.focus(); box.select(); }
  else if (event.key === "?") { event.preventDefault(); keys.showModal(); }
  else if (event.key === " " && player && !stage.hidden && !event.target.closest("button, a, video, [role=slider]")) { event.preventDefault(); player.toggle(); }
});

function restore() {
  const values = new URLSearchParams(location.search);
  box.value = values.get("q") ?? "";
  one.checked = values.has("one");
  fit();
  if (box.value.trim()) search({ push: false });
  else start();
}

addEventListener("popstate", restore);
restore();
if (wide.matches && !box.value) box.focus();
