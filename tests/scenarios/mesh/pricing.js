// Prices: node pricing.js PORT.
'use strict';
const http = require('http');

http.createServer((req, res) => {
  const product = Number(req.url.split('/')[2]) || 0;
  res.end(`${(product * 7) % 50}.99\n`);
}).listen(Number(process.argv[2]));
