// Who is at the page: the first use of a box, logging in and out.

const at = (id) => document.getElementById(id);

/** Sends JSON; gives what came, or throws an Error with what the box says. */
export async function send(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The box did not answer.");
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(said?.detail ?? `The box answered ${answer.status}.`), { status: answer.status });
  return said;
}

const ROLES = ["viewer", "listener", "admin"];
let me = null;

/** Whether who is logged in may do what this role may. */
export const may = (role) => me !== null && ROLES.indexOf(me.role) >= ROLES.indexOf(role);

/** Shows the page to who is known, and the door to everybody else; `inside` is called at each entry. */
export async function enter(inside) {
  me = null;
  let said;
  try {
    said = await send("GET", "/api/v1/access");
  } catch (error) {
    at("link").textContent = error.message;
    setTimeout(enter, 2000, inside);
    return;
  }
  at("link").textContent = "";
  const known = said.name !== null;
  at("door").hidden = known;
  at("inside").hidden = !known;
  at("who").hidden = !known;
  if (known) {
    me = said;
    at("who-name").textContent = `${said.name}, ${said.role}`;
    inside(said);
    return;
  }
  const first = said.firstUse;
  at("door-title").textContent = first ? "First use" : "Log in";
  at("door-code").hidden = !first;
  at("code").required = first;
  at("door-first").hidden = !first;
  at("door-submit").textContent = first ? "Make the first administrator" : "Log in";
  at("password").autocomplete = first ? "new-password" : "current-password";
  at("door-form").onsubmit = async (event) => {
    event.preventDefault();
    const [code, name, password] = ["code", "name", "password"].map((id) => at(id).value);
    try {
      await (first ? send("POST", "/api/v1/access/first", { code, name, password }) : send("POST", "/api/v1/access/login", { name, password }));
      at("door-said").textContent = "";
      at("password").value = "";
      enter(inside);
    } catch (error) {
      at("door-said").textContent = error.message;
    }
  };
}

at("logout").addEventListener("click", async () => {
  await send("POST", "/api/v1/access/logout").catch(() => {});
  location.reload();
});
