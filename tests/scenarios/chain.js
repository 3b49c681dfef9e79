// A link of a chain of services: node chain.js PORT NAME [ROUTE=URL]... (see chain.py).
'use strict';
const http = require('http');

const [port, name, ...routes] = process.argv.slice(2);
const next = Object.fromEntries(routes.map((r) => [r.slice(0, r.indexOf('=')), r.slice(r.indexOf('=') + 1)]));
const agent = new http.Agent({ keepAlive: true, maxSockets: 100 });

const server = http.createServer((req, res) => {
  const base = next[req.url.split('/')[2]];
  if (!base) {
    res.end(`${name}\n`);
    return;
  }
  const headers = Object.fromEntries(Object.entries(req.headers)
    .filter(([key]) => key.startsWith('x-b3-') || key === 'b3' || key === 'x-request-id'));
  http.get(base + req.url, { headers, agent }, (answer) => {
    res.writeHead(answer.statusCode);
    res.write(`${name} `);
    answer.pipe(res);
  }).on('error', (error) => {
    res.writeHead(502);
    res.end(`${error.message}\n`);
  });
});
// The caller keeps its connections longer than Node's five seconds.
server.keepAliveTimeout = 600000;
server.listen(Number(port), '::');
