/* The canvas of _draw.py; Gradio gives `element`, `props`, `watch`. The value is 784 hexadecimal digits, row by row. */
const SIZE = 28, BRUSH = 1.6;
const sheet = element.querySelector("canvas"), clear = element.querySelector("button");
const context = sheet.getContext("2d");
let ink = new Array(SIZE * SIZE).fill(0), last = null, cursor = { x: 13.5, y: 13.5 }, down = false, timer = 0;

const written = () => ink.map((shade) => Math.round(shade * 15).toString(16)).join("");

function show() {
  const style = getComputedStyle(sheet), image = context.createImageData(SIZE, SIZE);
  const [paper, pen, mark] = [style.backgroundColor, style.color, style.outlineColor]
    .map((colour) => (colour.match(/[\d.]+/g) || [0, 0, 0]).slice(0, 3).map(Number));
  const here = Math.floor(cursor.y) * SIZE + Math.floor(cursor.x), focus = document.activeElement === sheet && sheet.matches(":focus-visible");
  ink.forEach((shade, at) => {
    const colour = focus && at === here ? mark : paper.map((part, i) => part + (pen[i] - part) * shade);
    image.data.set([...colour, 255], at * 4);
  });
  context.putImageData(image, 0, 0);
}

// The server is told a moment after the last change, so that a stroke is one question and not a hundred.
function changed() {
  show();
  clearTimeout(timer);
  timer = setTimeout(() => { props.value = written(); }, 120);
}

function stroke(a, b) {
  const dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  for (let y = 0; y < SIZE; y++) for (let x = 0; x < SIZE; x++) {
    const px = x + .5 - a.x, py = y + .5 - a.y;
    const share = length ? Math.min(Math.max((px * dx + py * dy) / length, 0), 1) : 0;
    const shade = Math.min(Math.max(BRUSH - Math.hypot(px - share * dx, py - share * dy), 0), 1);
    ink[y * SIZE + x] = Math.max(ink[y * SIZE + x], shade);
  }
  changed();
}

function at(event) {
  const box = sheet.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * SIZE, y: (event.clientY - box.top) / box.height * SIZE };
}

function wipe() {
  ink.fill(0);
  down = false;
  changed();
}

sheet.addEventListener("pointerdown", (event) => {
  sheet.setPointerCapture(event.pointerId);
  last = at(event);
  stroke(last, last);
});
sheet.addEventListener("pointermove", (event) => {
  if (!last) return;
  const here = at(event);
  stroke(last, here);
  last = here;
});
["pointerup", "pointercancel"].forEach((name) => sheet.addEventListener(name, () => { last = null; }));
sheet.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === " ") down = !down;
  else if (event.key === "Delete" || event.key === "Backspace") wipe();
  else if (!move) return;
  event.preventDefault();
  const from = cursor, [dx, dy] = move || [0, 0];
  cursor = { x: Math.min(Math.max(from.x + dx, .5), SIZE - .5), y: Math.min(Math.max(from.y + dy, .5), SIZE - .5) };
  if (down) stroke(from, cursor);
  else show();
});
["focus", "blur"].forEach((name) => sheet.addEventListener(name, show));
clear.addEventListener("click", wipe);

function read() {
  if (typeof props.value !== "string" || props.value === written()) return;
  ink = [...props.value.padEnd(SIZE * SIZE, "0")].slice(0, SIZE * SIZE).map((digit) => parseInt(digit, 16) / 15 || 0);
  show();
}
watch("value", read);
new MutationObserver(show).observe(document.body, { attributeFilter: ["class"] }); // dark or light
read();
