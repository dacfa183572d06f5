import { ApiError, ask } from "./api.js";
import { Basket } from "./basket.js";
import { bounds, clock, el, icon, length, plural, typing } from "./dom.js";
import { Example } from "./example.js";
import { Filters } from "./filters.js";
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
const RATES = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const USUAL = 0.05;
/** Seconds before the end of a video that still show a frame. */
const END = 0.01;
const panel = page.querySelector("#bar");
const panelButton = page.querySelector("#bar-button");
const rate = page.querySelector("#rate");
const basket = new Basket(page.querySelector(".basket"), {
  onCount: (count) => {
    page.classList.toggle("choosing", count > 0);
    if (!count) cards.querySelectorAll(".pick input").forEach((input) => { input.checked = false; });
  },
  onError: (error) => { say("The moments could not be exported.", error.message, { bad: true }); scrollTo({ top: 0 }); },
});
const example = new Example(page, { onChange: () => search() });
const filters = new Filters(page.querySelector("#filters-button"), page.querySelector("#filters"), { onChange: () => { if (asks()) search(); } });
const asks = () => box.value.trim() !== "" || example.value !== null;

let answer = null;
let hits = [];
let current = -1;
let running = null;
let player = null;

function stagePlayer() {
  if (!player) {
    const step = (label, path, by) => el("button", { type: "button", class: "secondary icon", title: label, "aria-label": label, on: { click: () => select(current + by, true) } }, icon(path));
    const words = (text) => el("span", { class: "label", text });
    player = new Player(stage, {
      onMark: (moment) => select(hits.indexOf(moment), true),
      buttons: [
        el("button", { type: "button", class: "secondary more-like", title: "More like this picture", "aria-label": "More like this picture", on: { click: moreLike } }, icon("M3 6.5h9.5v8H3zM6 6.5v-3h11v8.5h-4.5M7.75 9v3M6.25 10.5h3"), words("More like this")),
        el("a", { class: "secondary align-link", title: "Align a caption with this video", "aria-label": "Align a caption with this video" }, icon("M3 5h14M3 10h9M3 15h12"), words("Align")),
        el("a", { class: "secondary save", title: "Save this moment as a clip", "aria-label": "Save this moment as a clip" }, icon("M10 3v9m-4-3.5 4 4 4-4M4 16.5h12"), words("Save")),
        el("span", { class: "steps" }, step("Previous moment", "M12 5l-5 5 5 5", -1), step("Next moment", "M8 5l5 5-5 5", 1)),
      ],
    });
  }
  return player;
}

function card({ video, start, end, score, evidence, thumbnail }, { label, time, onOpen }) {
  const image = el("img", { src: thumbnail, alt: "", loading: "lazy", width: 320, height: 180 });
  const thumb = el("span", { class: "thumb" }, image, el("span", { class: "time", text: time }), start === undefined ? null : el("span", { class: "where" }, el("i", { style: { left: `${(100 * start) / video.duration}%`, width: `${(100 * (end - start)) / video.duration}%` } })));
  image.addEventListener("error", () => { image.remove(); thumb.classList.add("none"); });
  return el("li", {}, el("button", { type: "button", class: "card", "aria-label": label, on: { click: onOpen } },
    thumb,
    el("span", { class: "name", text: video.name, title: video.name }),
    el("span", { class: "line" }, evidence === "none" ? null : evidence ? el("span", { class: `score word ${evidence}`, text: WORDS[evidence] }) : score === undefined ? null : el("span", { class: "score", text: score.toFixed(3) }), video.folder ? el("span", { class: "folder", text: video.folder, title: video.folder }) : null)));
}

const percent = (value) => `${(100 * value).toLocaleString("en", { maximumSignificantDigits: 2 })} %`;
const WORDS = { strong: "strong", weak: "weak", none: "no evidence" };

/** Words about the second model, if it was asked. */
function second(answer) {
  return answer.rerank?.asked ? ` · the first ${answer.rerank.asked} also ranked by ${answer.rerank.model}` : "";
}

/** Cards of moments; before the first one that is no evidence, a line that says so. `before` moments come before them. */
function moments(results, before = []) {
  let mixed = before.some((moment) => moment.evidence === "none") || answer.evidence === "none";
  return results.flatMap((moment) => {
    const word = moment.evidence ?? null;
    const item = card(moment, {
      label: `${moment.video.name}, from ${bounds(moment).join(" to ")}, ${word ? WORDS[word] : `score ${moment.score.toFixed(3)}`}`,
      time: bounds(moment).join(" – "),
      onOpen: () => select(hits.indexOf(moment), true),
    });
    if (word === "none") item.querySelector(".card").classList.add("faint");
    const box = el("input", { type: "checkbox", "aria-label": `Choose ${moment.video.name}, ${clock(moment.start)}`, on: { change: () => basket.set(moment, box.checked, answer?.query ?? "") } });
    box.checked = basket.has(moment);
    item.append(el("label", { class: "pick" }, box));
    if (word !== "none" || mixed) return [item];
    mixed = true;
    return [el("li", { class: "divider", text: "Nearest, but no evidence" }), item];
  });
}

// --- more like this ---

function moreLike() {
  if (!player?.entry) return;
  const entry = player.entry;
  const time = Math.min(player.time, entry.duration - END);
  box.value = "";
  example.set({ video: entry, time: Math.max(0, Math.floor(100 * time) / 100) });
  fit();
  search();
  scrollTo({ top: 0 });
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
  if (!answer) return;
  const asked = answer;
  const { like, by } = asked.body;
  try {
    const data = await ask(`/videos/${video.id}/relevance?${new URLSearchParams({ q: answer.query.slice(0, 2000), ...(like ? { like: like.video, t: like.time } : {}), ...(by ? { by } : {}) })}`);
    if (player.entry.id === video.id && answer === asked) player.strip.heat(data);
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

const bar = () => RATES[Number(rate.value)];

const request = (query) => ({ query, one_per_video: one.checked, false_alarm: bar(), ...example.body(), ...filters.body() });

async function search({ push = true } = {}) {
  const query = box.value.trim();
  if (!asks()) { start({ push }); return; }
  example.show();
  const body = request(query);
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  if (push) history.pushState(null, "", `/?${new URLSearchParams({ q: query.slice(0, 2000), ...(one.checked ? { one: 1 } : {}), ...example.address(), ...(bar() === USUAL ? {} : { rate: bar() }), ...filters.address() })}`);
  document.title = `${query.slice(0, 60) || `Like ${example.value.video.name}`} · mova`;
  state("searching");
  heading.hidden = true;
  more.hidden = true;
  summary.textContent = "Searching…";
  player?.video.pause();
  const ghosts = setTimeout(() => { stage.hidden = true; cards.replaceChildren(...Array.from({ length: GHOSTS }, () => el("li", { class: "ghost", "aria-hidden": "true" }))); }, 150);
  const slow = setTimeout(() => { summary.textContent = "Searching… the first search waits until the model is loaded."; }, 3000);
  try {
    const found = await ask("/search", { method: "POST", body, signal });
    clearTimeout(ghosts);
    show({ ...found, body });
  } catch (error) {
    if (error.name === "AbortError") return;
    clearTimeout(ghosts);
    await fail(error);
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
  if (found.evidence === "none") {
    const rate = `A text about something else finds a moment as good as these in ${percent(found.false_alarm)} of cases.`;
    if (found.seldom_detects === undefined) say("Nothing here shows that.", `${rate} The nearest are below; they are no evidence.`);
    else say("No evidence that anything here shows that.", `${rate} ${found.model} has evidence for only ${percent(found.seldom_detects)} of what videos show, so look at the nearest below.`);
    return;
  }
  if (wide.matches) select(0, false);
}

function summarize() {
  const judged = answer.evidence !== undefined;
  panelButton.hidden = !judged;
  if (!judged) panel.hidden = true;
  panelButton.textContent = `False alarms: ${percent(bar())}`;
  if (answer.evidence === "none") {
    summary.replaceChildren(el("b", { text: hits.length ? "No evidence" : "No moment" }), ` in ${plural(answer.videos, "video")}`, el("span", { class: "took", text: ` · ${answer.elapsed_seconds.toFixed(2)} s${second(answer)}` }));
    return;
  }
  const good = hits.filter((hit) => hit.evidence !== "none");
  const videos = new Set(good.map((hit) => hit.video.id)).size;
  summary.replaceChildren(el("b", { text: plural(good.length, "moment") }), ` in ${plural(videos, "video")}, of ${answer.videos.toLocaleString("en")} searched`, el("span", { class: "took", text: ` · ${answer.elapsed_seconds.toFixed(2)} s${second(answer)}` }));
}

async function loadMore() {
  const button = more.querySelector("button");
  if (button.disabled || !answer?.next) return;
  button.disabled = true;
  const asked = answer;
  try {
    const next = await ask("/search", { method: "POST", body: { ...asked.body, cursor: asked.next } });
    if (asked !== answer) return;
    cards.append(...moments(next.results, hits));
    hits.push(...next.results);
    answer.next = next.next ?? null;
    more.hidden = !answer.next;
    summarize();
  } catch (error) {
    say("There are no more moments to show.", error.message, { bad: true });
  } finally {
    button.disabled = false;
  }
}

/** Show why a search failed; if nothing is indexed, that. */
async function fail(error) {
  cards.replaceChildren();
  stage.hidden = true;
  hits = [];
  answer = null;
  state("failed");
  summary.textContent = "";
  if (error instanceof ApiError && error.status === 404) {
    const library = await ask("/videos?limit=1").catch(() => null);
    if (library?.total === 0) { empty(); return; }
  }
  if (error instanceof ApiError && error.status === 400 && Object.keys(filters.address()).length) {
    say("No video passes these filters.", error.message, { button: el("button", { type: "button", class: "secondary", text: "Clear the filters", on: { click: () => { filters.clear(); search(); } } }) });
    return;
  }
  const retry = el("button", { type: "button", class: "secondary", text: "Try again", on: { click: () => search({ push: false }) } });
  say("The search did not work.", error.message, { bad: true, button: retry });
}

function empty() {
  state("empty");
  say("Nothing is indexed yet.", "Add a folder with videos; then search here.", { button: el("a", { class: "primary", href: "/library", text: "Open the library" }) });
}

/** The page before the first search: what there is to search in. */
async function start({ push = false, play: wanted = null } = {}) {
  running?.abort();
  answer = null;
  hits = [];
  if (push) history.pushState(null, "", "/");
  document.title = "Find · mova";
  state("start");
  example.set(null);
  panel.hidden = true;
  filters.open(false);
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
    if (wanted) play(await ask(`/videos/${encodeURIComponent(wanted)}`));
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
box.addEventListener("input", () => { fit(); example.show(); });
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); search(); }
  if (event.key === "Escape") box.blur();
});
page.querySelector(".like button").addEventListener("click", () => { example.set(null); box.focus(); search(); });
panelButton.addEventListener("click", () => { panel.hidden = !panel.hidden; panelButton.setAttribute("aria-expanded", String(!panel.hidden)); if (!panel.hidden) rate.focus(); });
function showRate() {
  panel.querySelector("output").textContent = percent(bar());
  rate.setAttribute("aria-valuetext", percent(bar()));
  panel.querySelector("p").textContent = `Of 1,000 texts about something that is not here, about ${Math.round(1000 * bar())} would still count as found. Fewer false alarms, fewer finds.`;
}
rate.addEventListener("input", showRate);
rate.addEventListener("change", () => search());
clear.addEventListener("click", () => { box.value = ""; fit(); box.focus(); start({ push: true }); });
one.addEventListener("change", () => { if (asks()) search(); });
more.addEventListener("click", loadMore);
page.querySelector("#keys").addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const moves = { j: 1, k: -1 };
  if (event.key in moves && hits.length) { event.preventDefault(); select(Math.min(Math.max(current + moves[event.key], 0), hits.length - 1), true, true); }
  else if (event.key === "/") { event.preventDefault(); box.focus(); box.select(); }
  else if (event.key === "m" && player && !stage.hidden) { event.preventDefault(); moreLike(); }
  else if (event.key === "x" && hits[current]) {
    event.preventDefault();
    const input = cards.querySelectorAll(".card")[current].parentElement.querySelector(".pick input");
    input.checked = !input.checked;
    basket.set(hits[current], input.checked, answer.query);
  }
  else if (event.key === "?") { event.preventDefault(); keys.showModal(); }
  else if (event.key === " " && player && !stage.hidden && !event.target.closest("button, a, video, [role=slider]")) { event.preventDefault(); player.toggle(); }
});

async function restore() {
  const values = new URLSearchParams(location.search);
  box.value = values.get("q") ?? "";
  one.checked = values.has("one");
  const wanted = RATES.indexOf(Number(values.get("rate") ?? USUAL));
  rate.value = String(wanted < 0 ? RATES.indexOf(USUAL) : wanted);
  showRate();
  fit();
  filters.restore(values);
  example.set(null);
  if (values.has("like")) {
    try {
      const video = await ask(`/videos/${encodeURIComponent(values.get("like"))}`);
      example.set({ video, time: Number(values.get("t")) || 0 }, { by: values.get("by") ?? "", words: values.get("words") ?? undefined });
    } catch { /* the example is gone: the words alone are searched */ }
  }
  if (asks()) search({ push: false });
  else start({ play: values.get("video") });
}

addEventListener("popstate", restore);
restore();
if (wide.matches && !box.value) box.focus();
