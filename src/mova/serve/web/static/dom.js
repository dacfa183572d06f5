/** Make an element. Properties are attributes, except `on` (listeners), `class`, `text` and `style` (an object). */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, call] of Object.entries(value)) node.addEventListener(event, call);
    else if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "style") for (const [key, item] of Object.entries(value)) node.style.setProperty(key, item);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make a drawing of strokes, 20 by 20. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of [["width", 20], ["height", 20], ["viewBox", "0 0 20 20"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Format seconds as m:ss or h:mm:ss, with a tenth if asked. */
export function clock(seconds, tenths = false) {
  const unit = tenths ? 10 : 1;
  const total = Math.round(Math.max(0, seconds) * unit);
  const whole = Math.floor(total / unit);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const head = hours ? `${hours}:${String(minutes).padStart(2, "0")}` : `${minutes}`;
  return `${head}:${String(whole % 60).padStart(2, "0")}${tenths ? `.${total % unit}` : ""}`;
}

/** Format start and end of a moment; with tenths where whole seconds would be equal. */
export function bounds({ start, end }) {
  const tenths = clock(start) === clock(end);
  return [clock(start, tenths), clock(end, tenths)];
}

/** Say a length of time in words: "41 min", "2 h 5 min". */
export function length(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** Whether a key press belongs to a field, so that it is no shortcut. */
export function typing(event) {
  return event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest?.("input, textarea, select, dialog, [contenteditable]");
}

/** Empty a canvas and give it the size of an element, in device pixels; drawing is in CSS pixels. */
export function fresh(canvas, element) {
  const { width, height } = element.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { width, height, context };
}
