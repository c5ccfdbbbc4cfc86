// One picture of the page: what is marked on it, where the pointer is, and drawing with pointer or keyboard.
//
// gradio gives `element`, `props`, `trigger` and `watch`. `props`:
//   image   URL of what is shown            size    [width, height] of the true image, in its pixels
//   marks   [{kind, xy, radius}]            place   [x, y] or null
//   tool    "point", "box", "brush", "look" or null (nothing can be marked here)
//   brush   radius, as a share of the longer side
// All coordinates are continuous, in pixels of the true image, from its top-left corner; nothing is rounded.

const SVG = "http://www.w3.org/2000/svg";
const DRAG = 4; // CSS pixels: less is a click
const part = (name) => element.querySelector(name);

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function drawMark({ kind, xy, radius }) {
  const [width, height] = props.size;
  const dot = Math.max(width, height) / 110;
  if (kind === "box") return [shape("rect", { x: xy[0], y: xy[1], width: xy[2] - xy[0], height: xy[3] - xy[1] })];
  if (kind === "point") return [shape("circle", { cx: xy[0], cy: xy[1], r: dot })];
  const path = xy.length > 2 ? xy : [...xy, ...xy]; // a single dab is a line of no length, with round ends
  return [shape("polyline", { points: path.join(" "), "stroke-width": 2 * radius, class: "stroke" })];
}

function drawPlace([x, y]) {
  const [width, height] = props.size;
  const lines = [{ x1: 0, x2: width, y1: y, y2: y }, { x1: x, x2: x, y1: 0, y2: height }];
  return ["rim", "line"].flatMap((name) => lines.map((line) => shape("line", { ...line, class: name })));
}

function draw() {
  const image = part("img"), overlay = part("svg");
  if (!props.image) return;
  if (image.getAttribute("src") !== props.image) image.src = props.image;
  const [width, height] = props.size;
  part(".stage").style.aspectRatio = `${width} / ${height}`;
  part(".stage").style.maxWidth = `calc(70vh * ${width / height})`;
  part(".stage").dataset.tool = props.tool || "look";
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const marks = [...(props.marks || []), ...(drawing ? [drawing] : [])].flatMap(drawMark);
  const place = here || props.place;
  overlay.replaceChildren(...marks, ...(place ? drawPlace(place) : []));
}

let drawing = null; // the mark that is being made
let pressed = null; // where the pointer went down, in CSS pixels
let here = null; // where the user points on this picture, ahead of the server's answer

function at(event) {
  const box = part("img").getBoundingClientRect();
  const [width, height] = props.size;
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [
    inside(((event.clientX - box.left) / box.width) * width, width),
    inside(((event.clientY - box.top) / box.height) * height, height),
  ];
}

function spanned([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

function finish() {
  const mark = drawing;
  drawing = null;
  if (mark) trigger("mark", { kind: mark.kind, xy: mark.xy, radius: mark.radius || 0 });
  draw();
}

let waiting = false;
function look(place) {
  here = place;
  draw();
  if (waiting) return;
  waiting = true; // the pointer moves faster than a server answers
  setTimeout(() => {
    waiting = false;
    if (here) trigger("look", { x: here[0], y: here[1] });
  }, 40);
}

// from here on the place is what the server says: the user may point at another picture
function leave() {
  if (here && waiting) trigger("look", { x: here[0], y: here[1] });
  here = null;
}

element.addEventListener("pointerdown", (event) => {
  if (event.button || !event.target.closest(".stage") || !props.image) return;
  event.preventDefault();
  part(".stage").focus({ preventScroll: true });
  part(".stage").setPointerCapture(event.pointerId);
  const place = at(event);
  pressed = [event.clientX, event.clientY];
  if (props.tool === "box" && !drawing) drawing = { kind: "box", xy: [...place, ...place], corner: place };
  if (props.tool === "brush") drawing = { kind: "stroke", xy: place, radius: props.brush * Math.max(...props.size) };
  draw();
});

element.addEventListener("pointermove", (event) => {
  if (!event.target.closest(".stage") || !props.image) return;
  const place = at(event);
  if (drawing && drawing.kind === "box") drawing.xy = spanned(drawing.corner, place);
  if (drawing && drawing.kind === "stroke" && pressed) drawing.xy = [...drawing.xy, ...place];
  look(place);
});
element.addEventListener("pointerleave", leave);
element.addEventListener("focusout", leave);

element.addEventListener("pointerup", (event) => {
  if (!pressed) return;
  const place = at(event);
  const dragged = Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > DRAG;
  pressed = null;
  look(place);
  if (props.tool === "point") drawing = { kind: "point", xy: place };
  // a box is dragged, or has its corners clicked: then the first click leaves it open
  if (drawing && drawing.kind === "box" && !dragged && !drawing.open) drawing.open = true;
  else finish();
});

element.addEventListener("pointercancel", () => { pressed = drawing = null; draw(); });

element.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const [width, height] = props.size || [0, 0];
  const [x, y] = here || props.place || [width / 2, height / 2];
  if (event.key === "Escape") drawing = null;
  else if (event.key === "Enter" && props.tool === "point") drawing = { kind: "point", xy: [x, y] };
  else if (event.key === "Enter" && props.tool === "box" && !drawing)
    drawing = { kind: "box", xy: [x, y, x, y], corner: [x, y], open: true };
  else if (step) {
    const far = event.shiftKey ? 10 : 1;
    const moved = [Math.min(Math.max(x + far * step[0], 0), width), Math.min(Math.max(y + far * step[1], 0), height)];
    if (drawing) drawing.xy = spanned(drawing.corner, moved);
    event.preventDefault();
    return look(moved);
  } else if (event.key !== "Enter") return;
  event.preventDefault();
  if (drawing && !(drawing.open && drawing.xy[0] === drawing.xy[2])) finish();
  else draw();
});

let shown = null; // the size of the picture before: with another picture, all that was going on here is over
watch(["image", "size", "marks", "place", "tool", "brush"], () => {
  const now = `${props.tool} ${props.size}`;
  if (now !== shown) drawing = here = null;
  shown = now;
  draw();
});
draw();
