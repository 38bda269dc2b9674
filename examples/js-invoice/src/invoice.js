// Prices an order: POST {"items": [{"name", "price", "quantity"}]}, get the same with totals.
import { getEnvironment } from "wasi:cli/environment@0.2.10";

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  const response = await route(request, pathname);
  console.log(`${request.method} ${pathname} ${response.status}`);
  return response;
}

async function route(request, pathname) {
  if (pathname === "/healthz") return json(200, { ok: true });
  if (pathname !== "/") return json(404, { error: `nothing at ${pathname}` });
  if (request.method !== "POST") return json(405, { error: "POST an order" });
  try {
    return json(200, priced(JSON.parse(await request.text())));
  } catch (problem) {
    return json(400, { error: problem.message });
  }
}

// Asked for at each request: what the module's top level sees is the environment of the build.
function taxPercent() {
  return Number(new Map(getEnvironment()).get("TAX_PERCENT") ?? 0);
}

function priced({ items }) {
  if (!Array.isArray(items) || items.length === 0) throw new Error("an order has items");
  const lines = items.map(({ name, price, quantity = 1 }) => {
    if (!(price >= 0) || !(quantity > 0)) throw new Error(`${name}: a price and a quantity are positive numbers`);
    return { name, price, quantity, total: cents(price * quantity) };
  });
  const net = cents(lines.reduce((sum, { total }) => sum + total, 0));
  const tax = cents((net * taxPercent()) / 100);
  return { id: crypto.randomUUID(), items: lines, net, tax, total: cents(net + tax) };
}

const cents = (amount) => Math.round(amount * 100) / 100;

function json(status, body) {
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { "content-type": "application/json" } });
}
