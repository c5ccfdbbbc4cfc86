// The pictures of the page: what is marked on them, where the pointer is on each, drawing, zoom, before and after.
//
// gradio gives `element`, `props`, `trigger` and `watch`. `props`:
//   original, magnified, map, grid   URLs of what is shown; the first and the third show the original's pixels
//   warp    `Warp.to_dict()`, from the original to the magnified image, or null
//   marks   [{kind, xy, radius}] on the original
//   asking  whether the model's attention is magnified, and nothing can be marked
//   tool    "point", "box", "brush" or "look": what the pointer does on the original otherwise
//   brush   radius, as a share of the longer side
// All coordinates are continuous, in pixels of the true images, from their top-left corners; nothing is rounded. The
// counterpart of a place comes from the warp's knots, here: no answer of the server can be late for the pointer.

const SVG = "http://www.w3.org/2000/svg";
const DRAG = 4; // CSS pixels: less is a click
const MOST_ZOOM = 16;
const NAMES = ["original", "magnified", "map", "grid"];
const part = (selector) => element.querySelector(selector);
const stageOf = (name) => part(`#${name} .stage`);
const isTarget = (name) => name === "magnified" || name === "grid";
const clip = (value, most) => Math.min(Math.max(value, 0), most);

// ------------------------------------------------------------------------------------------------------------ the warp

// as pmtools/interpolation.py: piecewise linear, extended beyond the outermost knots
function interpolate(x, from, to) {
  let low = 0, high = from.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle] <= x) low = middle;
    else high = middle;
  }
  return to[low] + (x - from[low]) * ((to[high] - to[low]) / (from[high] - from[low]));
}

const forward = (axis, x) => axis.pieces.reduce((at, piece) => interpolate(at, piece.before, piece.after), x);
const backward = (axis, x) => axis.pieces.reduceRight((at, piece) => interpolate(at, piece.after, piece.before), x);
const toTarget = ([x, y]) => [forward(props.warp.x, x), forward(props.warp.y, y)];
const toSource = ([x, y]) => [backward(props.warp.x, x), backward(props.warp.y, y)];
const sizeOf = (name) => ["x", "y"].map((axis) => props.warp[axis][isTarget(name) ? "target_size" : "source_size"]);
const placeOn = (name, xy) => (isTarget(name) ? { source: toSource(xy), target: xy } : { source: xy, target: toTarget(xy) });
const toolOn = (name) => (name === "original" && !props.asking ? props.tool : "look");
const on = (name, { source, target }) => (isTarget(name) ? target : source);

// -------------------------------------------------------------------------------------------------------------- drawing

let place = null; // {source, target}: where the user points
let drawing = null; // the mark that is being made
let pressed = null; // where the pointer went down: {x, y} in CSS pixels, and `centre` of the zoom
const fingers = new Map(); // that are down, by pointer: [x, y] in CSS pixels
let zoom = { scale: 1, centre: [0, 0] }; // what is wished in the middle, on the original

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// a mark on the magnified image is where the warp takes it; a stroke's outline is no line there, and is left out
function drawMark({ kind, xy, radius }, name) {
  const dot = Math.max(...sizeOf(name)) / 110 / zoom.scale;
  const carried = (xy) => on(name, placeOn("original", xy));
  if (kind === "point") {
    const [cx, cy] = carried(xy);
    return [shape("circle", { cx, cy, r: dot })];
  }
  if (kind === "box") {
    const [[x, y], [right, bottom]] = [carried(xy.slice(0, 2)), carried(xy.slice(2))];
    return [shape("rect", { x, y, width: right - x, height: bottom - y })];
  }
  if (isTarget(name)) return [];
  const path = xy.length > 2 ? xy : [...xy, ...xy]; // a single dab is a line of no length, with round ends
  return [shape("polyline", { points: path.join(" "), "stroke-width": 2 * radius, class: "stroke" })];
}

function drawPlace(name) {
  const [width, height] = sizeOf(name), [x, y] = on(name, place);
  const lines = [{ x1: 0, x2: width, y1: y, y2: y }, { x1: x, x2: x, y1: 0, y2: height }];
  return ["rim", "line"].flatMap((kind) => lines.map((line) => shape("line", { ...line, class: kind })));
}

function draw() {
  if (!props.warp) return;
  for (const name of NAMES) {
    const marked = name === "original" || name === "magnified" ? [...props.marks, ...(drawing ? [drawing] : [])] : [];
    stageOf(name).querySelector("svg").replaceChildren(
      ...marked.flatMap((mark) => drawMark(mark, name)), ...(place ? drawPlace(name) : []));
  }
  part("#numbers").hidden = !place;
  part("#no_place").hidden = !!place;
  if (!place) return;
  const pixel = place.source.map((value, i) => clip(Math.floor(value), sizeOf("original")[i] - 1));
  const [from, to] = [toTarget(pixel), toTarget(pixel.map((value) => value + 1))];
  part("#source_xy").textContent = place.source.map((value) => value.toFixed(2)).join(", ");
  part("#target_xy").textContent = place.target.map((value) => value.toFixed(2)).join(", ");
  part("#scale_xy").textContent = to.map((value, i) => (value - from[i]).toFixed(2)).join(" × ");
}

// The part of each picture that is seen: the same place in the middle of all of them.
function frame() {
  if (!props.warp) return;
  zoom.scale = clip(zoom.scale - 1, MOST_ZOOM - 1) + 1;
  const middle = placeOn("original", centre());
  for (const name of NAMES) {
    const size = sizeOf(name), canvas = stageOf(name).firstElementChild;
    const shift = size.map((side, i) => clip((on(name, middle)[i] / side) * zoom.scale - 0.5, zoom.scale - 1));
    Object.assign(canvas.style, { width: `${100 * zoom.scale}%`, height: `${100 * zoom.scale}%`,
                                  left: `${-100 * shift[0]}%`, top: `${-100 * shift[1]}%` });
    stageOf(name).dataset.tool = toolOn(name);
  }
  part(".bar output").textContent = `${Math.round(100 * zoom.scale)} %`;
  part(".views").classList.toggle("zoomed", zoom.scale > 1);
  draw();
}

function centre() { // as it is seen: the frame stays within the picture
  return sizeOf("original").map((side, i) => {
    const half = side / zoom.scale / 2;
    return half + clip(zoom.centre[i] - half, side - 2 * half);
  });
}

function zoomBy(factor, xy) {
  if (xy) zoom.centre = centre().map((value, i) => xy[i] + (value - xy[i]) / factor); // `xy` stays where it is seen
  else if (place && zoom.scale === 1) zoom.centre = place.source;
  zoom.scale *= factor;
  if (zoom.scale < 1.01) zoom = { scale: 1, centre: sizeOf("original").map((side) => side / 2) };
  frame();
}

let known = null;
function show() {
  if (!props.warp) return;
  for (const name of NAMES) {
    const image = stageOf(name).querySelector("img"), [width, height] = sizeOf(name);
    if (image.getAttribute("src") !== props[name]) image.src = props[name];
    stageOf(name).querySelector("svg").setAttribute("viewBox", `0 0 ${width} ${height}`);
    stageOf(name).style.setProperty("--aspect", width / height);
  }
  part(".views").style.setProperty("--aspect", sizeOf("magnified")[0] / sizeOf("magnified")[1]);
  if (known !== props.original) { // another picture: all that was going on here is over
    known = props.original;
    drawing = place = null;
    zoom = { scale: 1, centre: sizeOf("original").map((side) => side / 2) };
  }
  if (place) place = placeOn("original", place.source); // it stays on the picture, though the warp has moved
  frame();
}

// ------------------------------------------------------------------------------------------------------------- pointing

function at(name, event) {
  const box = stageOf(name).querySelector("img").getBoundingClientRect();
  const [width, height] = sizeOf(name);
  return [clip(((event.clientX - box.left) / box.width) * width, width),
          clip(((event.clientY - box.top) / box.height) * height, height)];
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

// the stage under an event, its name, and the tool that works there
function under(event) {
  const stage = event.target.closest?.(".stage");
  if (!stage || !props.warp) return {};
  const name = stage.closest("figure").id;
  return { stage, name, tool: toolOn(name) };
}

element.addEventListener("pointerdown", (event) => {
  const { stage, name, tool } = under(event);
  if (event.button || !stage) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  if (fingers.size > 1) { pressed = drawing = null; return draw(); } // two fingers zoom
  const xy = at(name, event);
  pressed = { x: event.clientX, y: event.clientY, centre: centre() };
  if (tool === "box" && !drawing) drawing = { kind: "box", xy: [...xy, ...xy], corner: xy };
  if (tool === "brush") drawing = { kind: "stroke", xy, radius: props.brush * Math.max(...sizeOf(name)) };
  draw();
});

element.addEventListener("pointermove", (event) => {
  const { stage, name, tool } = under(event);
  if (!stage) return;
  if (fingers.size > 1) return pinch(name, event);
  const xy = at(name, event);
  if (drawing && drawing.kind === "box" && tool === "box") drawing.xy = spanned(drawing.corner, xy);
  if (drawing && drawing.kind === "stroke" && pressed) drawing.xy = [...drawing.xy, ...xy];
  if (pressed && !drawing && tool === "look" && zoom.scale > 1) {
    pan(name, pressed.centre, [event.clientX - pressed.x, event.clientY - pressed.y]);
  }
  place = placeOn(name, at(name, event));
  draw();
});

// the picture moves with the pointer, by CSS pixels
function pan(name, from, by) {
  const box = stageOf(name).querySelector("img").getBoundingClientRect();
  const shown = [box.width, box.height], size = sizeOf(name);
  const to = on(name, placeOn("original", from)).map((value, i) => clip(value - (by[i] / shown[i]) * size[i], size[i]));
  zoom.centre = placeOn(name, to).source;
  frame();
}

function pinch(name, event) {
  if (!fingers.has(event.pointerId)) return;
  const grip = () => {
    const [[a, b], [c, d]] = fingers.values();
    return { x: (a + c) / 2, y: (b + d) / 2, spread: Math.hypot(a - c, b - d) };
  };
  const before = grip();
  const held = placeOn(name, at(name, { clientX: before.x, clientY: before.y })).source;
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  const after = grip();
  zoomBy(after.spread / before.spread || 1, held);
  pan(name, centre(), [after.x - before.x, after.y - before.y]);
}

element.addEventListener("pointerup", (event) => {
  fingers.delete(event.pointerId);
  const { stage, name, tool } = under(event);
  if (!pressed || !stage) return;
  const xy = at(name, event);
  const dragged = Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > DRAG;
  pressed = null;
  place = placeOn(name, xy);
  if (tool === "point") drawing = { kind: "point", xy };
  // a box is dragged, or has its corners clicked: then the first click leaves it open
  if (drawing && drawing.kind === "box" && !dragged && !drawing.open) drawing.open = true;
  else finish();
});

element.addEventListener("pointercancel", () => { fingers.clear(); pressed = drawing = null; draw(); });

element.addEventListener("wheel", (event) => { // with Ctrl, as a pinch on a touch pad is: the wheel itself moves the page
  const { stage, name } = under(event);
  if (!stage || !event.ctrlKey) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 300), placeOn(name, at(name, event)).source);
}, { passive: false });

// ------------------------------------------------------------------------------------------------- keyboard and buttons

element.addEventListener("keydown", (event) => {
  const { stage, name, tool } = under(event);
  if (!stage || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const size = sizeOf(name);
  const xy = place ? on(name, place) : size.map((side) => side / 2);
  if (event.key === "Escape") drawing = null;
  else if (event.key === "+" || event.key === "=") zoomBy(1.5, place?.source);
  else if (event.key === "-") zoomBy(1 / 1.5, place?.source);
  else if (event.key === "0") zoomBy(0);
  else if (event.key === "Enter" && tool === "point") drawing = { kind: "point", xy };
  else if (event.key === "Enter" && tool === "box" && !drawing) drawing = { kind: "box", xy: [...xy, ...xy], corner: xy, open: true };
  else if (step) {
    const moved = xy.map((value, i) => clip(value + (event.shiftKey ? 10 : 1) * step[i], size[i]));
    if (drawing && tool === "box") drawing.xy = spanned(drawing.corner, moved);
    place = placeOn(name, moved);
    if (zoom.scale > 1) zoom.centre = place.source;
    event.preventDefault();
    return frame();
  } else if (event.key !== "Enter") return;
  event.preventDefault();
  if (drawing && !(drawing.open && drawing.xy[0] === drawing.xy[2])) finish();
  else draw();
});

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
  if (event.target.matches?.("textarea, input[type=text], input[type=number], input:not([type])")) return; // their own
  event.preventDefault();
  if (drawing) { drawing = null; draw(); }
  else trigger("undo");
});

part("#zoom_in").addEventListener("click", () => zoomBy(1.5));
part("#zoom_out").addEventListener("click", () => zoomBy(1 / 1.5));
part("#zoom_all").addEventListener("click", () => zoomBy(0));
part("#compare").addEventListener("change", (event) => part(".views").classList.toggle("comparing", event.target.checked));
part("#cut").addEventListener("input", (event) => part(".views").style.setProperty("--cut", `${event.target.value}%`));

watch(["original", "magnified", "map", "grid", "warp"], show);
watch(["tool", "asking"], () => { drawing = null; frame(); });
watch(["marks"], draw);
show();
