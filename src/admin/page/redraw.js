// Redraws a part of the page in place: what stays the same keeps its element, with focus, scrolling and what is open.

/** Nodes that are left out when they are drawn. */
const isDrawn = (child) => child !== null && child !== undefined && child !== false;

const keyOf = (node) => node.dataset?.key;

/** Puts a listener on an element, in place of the one for the same event. */
export function listen(element, type, handler) {
  element.handlers ??= new Map();
  if (!element.handlers.has(type)) element.addEventListener(type, (event) => element.handlers.get(type)(event));
  element.handlers.set(type, handler);
}

/**
 * Makes the children of an element these. An element that was there stays if it has the same `data-key`, or the same
 * name and place among those without one; then only what differs in it is changed.
 */
export function redraw(element, ...children) {
  const nodes = children.flat(Infinity).filter(isDrawn).map((child) => (child instanceof Node ? child : new Text(String(child))));
  patchChildren(element, nodes);
  return element;
}

const isSame = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh) && old.type === fresh.type;

function patchChildren(parent, wanted) {
  const given = new Set(wanted);
  const left = [...parent.childNodes].filter((node) => !given.has(node));
  const keyed = new Map(left.filter(keyOf).map((node) => [keyOf(node), node]));
  const plain = left.filter((node) => !keyOf(node));
  const next = wanted.map((fresh) => {
    if (fresh.parentNode === parent) return fresh;
    const at = keyOf(fresh) ? -1 : plain.findIndex((node) => isSame(node, fresh));
    const old = keyOf(fresh) ? keyed.get(keyOf(fresh)) : plain[at];
    if (!old || !isSame(old, fresh)) return fresh;
    if (at >= 0) plain.splice(0, at + 1);
    patch(old, fresh);
    return old;
  });
  const kept = new Set(next);
  for (const node of [...parent.childNodes]) if (!kept.has(node)) node.remove();
  order(parent, next);
}

/** Brings children into their order. The one with the focus is not moved, because moving takes the focus away. */
function order(parent, next) {
  let place = parent.firstChild;
  for (const node of next) {
    while (place && place !== node && node.parentNode === parent && node.contains(document.activeElement)) {
      const moved = place;
      place = place.nextSibling;
      parent.append(moved);
    }
    if (place === node) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
}

function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  patchAttributes(old, fresh);
  for (const [type, handler] of fresh.handlers ?? []) listen(old, type, handler);
  // What somebody has typed or chosen stays, unless what is true has changed.
  for (const [property, value] of Object.entries(fresh.given ?? {})) {
    if (old.given?.[property] !== value && old !== document.activeElement) old[property] = value;
  }
  old.given = fresh.given;
  if (old.nodeName !== "TEXTAREA") patchChildren(old, [...fresh.childNodes]);
}

/** Whether an attribute belongs to whoever uses the page: parts that were opened, buttons that are at work. */
const isOwn = (element, name) => (element.nodeName === "DETAILS" && name === "open") || (name === "disabled" && element.isBusy);

function patchAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !isOwn(old, name)) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isOwn(old, name)) old.removeAttribute(name);
  }
}
