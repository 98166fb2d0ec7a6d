// Elements without a framework. Text goes in as text only, so nothing that a customer wrote is ever markup.

/** An element; `attributes` with a value of false, null or undefined are left out, so are such children. */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? '' : value);
    }
  }
  fill(made, ...children);
  return made;
}

/** Replace everything inside. */
export function fill(parent, ...children) {
  parent.textContent = '';
  for (const child of children.flat()) {
    if (child !== false && child !== null && child !== undefined && child !== '') {
      parent.append(child);
    }
  }
}
