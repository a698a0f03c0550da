// What whoever is logged in may do. The server refuses the rest; the page does not show it.

const may = { role: "administrator", name: "", address: "" };

/** Takes over what the API says about who is logged in. */
export function setRights({ role = "administrator", user }) {
  may.role = role;
  may.name = user.replace(/@[^@]*$/, "");
}

/** May change settings, the team and what programs use. */
export const isAdministrator = () => may.role === "administrator";
/** May look only. */
export const isReader = () => may.role === "reader";
/** The name of whoever is logged in. */
export const ownName = () => may.name;
