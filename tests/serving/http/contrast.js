// Texts that are shown with less than 4.5 to 1 against the nearest ground that is painted (WCAG AA).
const parse = (color) => {
  const parts = color.match(/[\d.]+/g).map(Number);
  return parts.length < 4 ? [...parts, 1] : parts;
};
const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const color = parse(getComputedStyle(node).backgroundColor);
    if (color[3] > 0.99) return color;
  }
  return [255, 255, 255, 1];
};
const bad = [];
for (const node of document.querySelectorAll("main *, header *, footer *")) {
  const said = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!said || !node.checkVisibility() || node.closest("svg, option, :disabled, label:has(:disabled)")) continue;
  const [one, two] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
  const ratio = (one + 0.05) / (two + 0.05);
  if (ratio < 4.5) bad.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
}
return bad;
