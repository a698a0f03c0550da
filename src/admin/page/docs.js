// API reference, made from the OpenAPI document.

import { el, fill, search } from "./dom.js";
import { get } from "./api.js";

const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.anyOf && !schema.type) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  const range = schema.minimum === undefined || schema.maximum === undefined ? "" : ` ${schema.minimum} to ${schema.maximum}`;
  return [schema.type ?? "anything"].flat().join(" or ") + range;
};

const rows = (title, list) => (list.length === 0 ? null : [el("h4", {}, title), el("div", { class: "scroll" }, el("table", {},
  el("thead", {}, el("tr", {}, ["Name", "Type", "Meaning"].map((t) => el("th", { scope: "col" }, t)))),
  el("tbody", {}, list.map(([name, type, description, required]) => el("tr", {},
    el("td", { class: "mono" }, name, required ? " (required)" : ""), el("td", {}, type), el("td", {}, description ?? ""))))))]);

const members = (schema) => Object.entries(schema?.properties ?? {}).map(([name, value]) =>
  [name, typeOf(value), value.description, (schema.required ?? []).includes(name)]);

export async function docs(content) {
  const api = await get("openapi.json");
  const blocks = [];
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const body = operation.requestBody?.content["application/json"].schema;
      const [status, answer] = Object.entries(operation.responses)[0];
      const schema = Object.values(answer.content ?? {})[0]?.schema;
      const block = el("details", { class: "card" },
        el("summary", {}, el("span", { class: "mono" }, `${method.toUpperCase()} ${api.servers[0].url}${path}`), ` ${operation.summary}`),
        operation.description ? el("p", {}, operation.description) : null,
        rows("Parameters", operation.parameters.map((p) => [p.name, `${typeOf(p.schema)}, in the ${p.in}`, p.description, p.required])),
        body?.$ref ? el("p", {}, `Body: ${typeOf(body)}`) : rows("Body", members(body)),
        el("p", {}, `Answer: ${status}${schema ? `, ${typeOf(schema)}` : ""}`));
      blocks.push([`${method} ${path} ${operation.summary}`.toLowerCase(), block]);
    }
  }
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) =>
    el("details", { class: "card" }, el("summary", {}, name), rows("Fields", members(schema)) ?? el("p", {}, "An object.")));
  fill(content, el("h1", {}, "API"),
    el("p", {}, api.info.description, " For programs: ", el("a", { href: "api/openapi.json" }, "openapi.json"), "."),
    el("div", { class: "row top" }, search("Search the API", (text) => {
      for (const [known, block] of blocks) block.hidden = !known.includes(text);
    })),
    el("h2", {}, "Requests"), blocks.map(([, block]) => block), el("h2", {}, "Schemas"), schemas);
}
