// A client on fetch and http: node client.js HOST PORT TAG. Six requests.
'use strict';
const assert = require('assert');
const http = require('http');

const [host, port, tag] = process.argv.slice(2);
const base = `http://${host}:${port}`;

async function get(method, verb, n, options) {
  const answer = await fetch(`${base}/${verb}/${tag}/${n}`, { method, ...options });
  assert.strictEqual(answer.status, 200);
  return (await answer.text()).trim();
}

function chunked(n) {
  return new Promise((resolve, reject) => {
    const req = http.request(`${base}/echo/${tag}/${n}`, { method: 'POST' }, (res) => {
      let body = '';
      res.on('data', (data) => { body += data; });
      res.on('end', () => resolve(body.trim()));
    });
    req.on('error', reject);
    req.write('a'.repeat(100));
    setImmediate(() => req.end('b'.repeat(50)));
  });
}

(async () => {
  for (let n = 0; n < 3; n++) await get('GET', 'small', n);
  await get('HEAD', 'small', 3);
  assert.strictEqual(await get('POST', 'echo', 4, { body: 'p'.repeat(3000) }), '3000');
  assert.strictEqual(await chunked(5), '150');
})().catch((error) => { console.error(error); process.exit(1); });
