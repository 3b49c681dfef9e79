// The shop: node shop.js PORT INVENTORY PRICING PAYMENT (the last three as host:port).
'use strict';
const http = require('http');

const [port, inventory, pricing, payment] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });

// The only thing done for tracing: what came in goes out.
function carried(req) {
  return Object.fromEntries(Object.entries(req.headers)
    .filter(([name]) => name.startsWith('x-b3-') || name === 'b3' || name === 'x-request-id'));
}

function call(req, method, server, path) {
  return new Promise((resolve, reject) => {
    http.request(`http://${server}${path}`, { method, agent, headers: carried(req) }, (answer) => {
      let body = '';
      answer.on('data', (data) => { body += data; });
      answer.on('end', () => resolve({ status: answer.statusCode, body: body.trim() }));
    }).on('error', reject).end();
  });
}

async function answer(req, res) {
  const [, page, product] = req.url.split('/');
  const [stock, price] = await Promise.all([
    call(req, 'GET', inventory, `/stock/${product}`),
    call(req, 'GET', pricing, `/price/${product}`),
  ]);
  let paid = { status: 200, body: 'not asked for' };
  if (page === 'buy') paid = await call(req, 'POST', payment, `/pay/${product}`);
  const status = Math.max(stock.status, price.status, paid.status);
  res.writeHead(status, { 'Content-Type': 'application/json' });
  res.end(JSON.stringify({ product, stock: stock.body, price: price.body, payment: paid.body }) + '\n');
}

http.createServer((req, res) => {
  answer(req, res).catch((error) => {
    res.writeHead(502);
    res.end(`${error.message}\n`);
  });
}).listen(Number(port));
