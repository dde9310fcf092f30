// Logs a browser in with the user and password or the token that was typed, or with the token in the address after
// `#token=`.
//
// What stands after `#` is never sent to a server, so a link with a token leaves no trace in logs; it is taken out of
// the address before anything else happens. Keeps the page's key (see auth.rs); the cookie is out of a script's reach.

const form = document.getElementById("login");
const user = document.getElementById("user");
const field = document.getElementById("password");
const problem = document.getElementById("problem");
const button = form.querySelector("button");

async function login(credential) {
  button.disabled = true;
  problem.hidden = true;
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(credential),
    });
    const body = await answer.json();
    if (answer.ok) {
      localStorage.setItem("muster-key", body.key);
      location.replace("/");
      return;
    }
    say(`${body.message} (${body.code})`);
  } catch {
    say("The console could not be reached. Is Muster still running?");
  }
  button.disabled = false;
  field.select();
  field.focus();
}

function say(text) {
  problem.textContent = text;
  problem.hidden = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = user.value.trim();
  // A password may begin or end with a space; a token never does.
  login(name ? { user: name, password: field.value } : { token: field.value.trim() });
});

function loginByAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  login({ token });
}
// A link that differs only after `#` does not load the page again.
addEventListener("hashchange", loginByAddress);
loginByAddress();
