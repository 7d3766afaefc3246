"use strict";
const said = document.getElementById("said"), rows = document.getElementById("keys");

// call asks the admin API. An answer that is no success has a detail for people.
async function call(method, path, body) {
  const init = { method, headers: {} };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const answer = await fetch("/account/keys" + path, init);
  const result = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) {
    // With unknown_outcome the key may exist: its token would be lost otherwise.
    throw new Error(result.detail + (result.token ? " If it happened, the key is " + result.token : ""));
  }
  return result;
}

// Text only ever goes into the page as text: names are whatever somebody typed.
function cell(row, text) { row.insertCell().textContent = text; }

async function show() {
  const list = [];
  let next = null;
  do {
    const page = await call("GET", next ? "?cursor=" + encodeURIComponent(next) : "");
    list.push(...page.keys);
    next = page.next;
  } while (next);
  rows.replaceChildren();
  for (const key of list) {
    const row = rows.insertRow();
    cell(row, key.name);
    cell(row, key.id);
    cell(row, key.scopes.join(" "));
    cell(row, key.state);
    cell(row, key.last_used_at ?? "never");
    const button = document.createElement("button");
    button.textContent = "Delete";
    button.onclick = () => tell(async () => { await call("DELETE", "/" + key.id); return "Deleted."; });
    row.insertCell().append(button);
  }
}

// tell does something, shows what it says, and the keys as they are then. What it said
// stays if they cannot be shown: it may be a token, which comes but once.
async function tell(something) {
  try {
    said.textContent = await something();
  } catch (error) {
    said.textContent = error.message;
  }
  try {
    await show();
  } catch (error) {
    rows.replaceChildren();
    said.textContent += " The keys cannot be shown: " + error.message;
  }
}

document.getElementById("create").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  tell(async () => {
    const made = await call("POST", "", { name: form.name.value, scopes: form.scope.value.split(" ") });
    return "Shown this once: " + made.token;
  });
};

tell(async () => "");
